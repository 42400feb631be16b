//! A small readiness loop over epoll, shared by the driver and the upstream.
//!
//! An async runtime would cost more than the work itself here, and the load side must stay cheaper
//! than the cheapest subject: both ends of a proxy fit on one core only when they are this lean.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::error::{Doing, Result};

/// Readiness events taken in one call.
const EVENTS_MAX: usize = 256;

/// Waits until registered sockets are readable (or writable, for those that asked).
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// What a socket is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the other side's end.
    Read,
    /// The same, or room to write.
    ReadWrite,
}

// === impl Poller ===

impl Poller {
    /// A poller without sockets.
    pub fn new() -> Result<Poller> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).doing(|| "making an epoll".into())?;
        Ok(Poller {
            epoll,
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Registers a socket under `token`; closing the socket removes it.
    pub fn add(&self, socket: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(token),
            interest.flags(),
        )
        .doing(|| "registering a socket".into())
    }

    /// Changes what a registered socket is waited for.
    pub fn change(&self, socket: impl AsFd, token: u64, interest: Interest) -> Result<()> {
        epoll::modify(
            &self.epoll,
            socket,
            EventData::new_u64(token),
            interest.flags(),
        )
        .doing(|| "changing a registration".into())
    }

    /// Waits at most `timeout` (rounded up to a millisecond) and calls `ready` with each token.
    pub fn wait(
        &mut self,
        timeout: Duration,
        mut ready: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        self.events.clear();
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).doing(|| "waiting for sockets".into()),
        }
        for event in &self.events {
            let data = event.data;
            ready(data.u64())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}

// === impl Interest ===

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Interest::Read => EventFlags::IN,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
        }
    }
}
