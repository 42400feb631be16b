//! Readiness of sockets, and a timer that is exact: epoll and a timerfd.
//!
//! An async runtime would do, but for its timer: tokio's has a grain of a millisecond, which at
//! 1 000 requests a second is the whole distance between two of them. And of the 10 µs that there are
//! for a request at 100 000 a second, two system calls take most.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// Readiness events taken in one call.
const EVENTS_MAX: usize = 512;
/// What the timer is known by; no socket has this token.
const TIMER: u64 = u64::MAX;
/// Shorter waits than this are spent looking again and again: waking up would take as long.
const SPIN_NS: u64 = 40_000;

/// What happened to a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// What it was registered under.
    pub(super) token: u64,
    /// It can be read, or has ended or failed.
    pub(super) readable: bool,
    /// It can be written, or has failed.
    pub(super) writable: bool,
    /// The peer has ended it, or it has failed: behind what can be read comes the end, of which
    /// nothing more will be told.
    pub(super) ends: bool,
}

/// Waits for sockets and for the time.
pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<epoll::Event>,
}

// === impl Poller ===

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?;
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), flags)?;
        Ok(Self {
            epoll,
            timer,
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Registers a socket for everything, once: it is told when something changes, so it must be
    /// read until there is no more. Closing it takes it out.
    pub(super) fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(token),
            flags,
        )?)
    }

    /// Looks, or waits for at most so long; true when it really waited.
    pub(super) fn wait(&mut self, most_ns: u64) -> io::Result<bool> {
        self.events.clear();
        let sleeps = most_ns > SPIN_NS;
        let timeout = if sleeps {
            // Awake a little early: the rest is spent looking.
            self.arm(Duration::from_nanos(most_ns - SPIN_NS))?;
            None
        } else {
            Some(Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            })
        };
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(sleeps),
            Err(error) => Err(error.into()),
        }
    }

    fn arm(&self, after: Duration) -> io::Result<()> {
        let value = Timespec {
            tv_sec: after.as_secs().min(i32::MAX as u64) as i64,
            tv_nsec: i64::from(after.subsec_nanos()),
        };
        let once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let time = Itimerspec {
            it_interval: once,
            it_value: value,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time)?;
        Ok(())
    }

    /// How many things the last wait found.
    pub(super) fn count(&self) -> usize {
        self.events.len()
    }

    /// The `index`-th thing that the last wait found; none for the timer.
    pub(super) fn ready(&self, index: usize) -> Option<Ready> {
        let event = self.events.get(index)?;
        let (data, flags) = (event.data, event.flags);
        let token = data.u64();
        let failed = EventFlags::ERR | EventFlags::HUP;
        let ends = flags.intersects(EventFlags::RDHUP | failed);
        (token != TIMER).then(|| Ready {
            token,
            readable: ends || flags.contains(EventFlags::IN),
            writable: flags.intersects(EventFlags::OUT | failed),
            ends,
        })
    }
}
