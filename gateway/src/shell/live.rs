//! The exchanges that a core has under way and for whom, so that a caller who is cut off is cut off
//! in the middle of a call as well.
//!
//! An exchange is entered by the slot of its connection's deadline. Cutting it makes that deadline
//! due at once and marks it ([`Deadline::is_cut`]): whatever the connection waits for, its client's
//! body, the engine, the next token, it waits no longer. Only what is being written to the client
//! may still go out, for as long as [`super::timers::CUT_GRACE`].
//!
//! An exchange is decided and entered without waiting in between, and cores are woken after the
//! snapshot is in place: so an exchange either was decided by the new snapshot or is found here.

use std::cell::RefCell;
use std::rc::Rc;

use super::timers::{Deadline, Timers};
use super::worker::Worker;
use crate::cutoff::Snapshot;
use crate::identity::Principal;

/// One core's exchanges.
pub(super) struct Live {
    timers: Timers,
    /// By the slot of the connection's deadline.
    callers: RefCell<Vec<Option<Rc<Principal>>>>,
}

/// An exchange that is under way; taken out when dropped.
pub(super) struct Entry<'a> {
    live: &'a Live,
    slot: usize,
}

/// Runs for ever: with each new generation of revocations, ends the exchanges of those concerned,
/// and says that it has.
pub(super) async fn heed_cutoff(worker: Rc<Worker>, index: usize) {
    let node = worker.core.node.clone();
    let mut generations = node.cutoff.generations();
    loop {
        let generation = *generations.borrow_and_update();
        let now_unix = crate::exchange::unix_seconds();
        let ended = worker.live.cut(&node.cutoff.snapshot(), now_unix);
        node.cutoff.applied(index, generation, ended);
        // An error means that nobody is left to publish another.
        if generations.changed().await.is_err() {
            return;
        }
    }
}

// === impl Live ===

impl Live {
    /// Nothing is under way.
    pub(super) fn new(timers: Timers) -> Self {
        Self {
            timers,
            callers: RefCell::default(),
        }
    }

    /// An exchange for this caller, on the connection with this deadline, has been admitted.
    pub(super) fn enter(&self, deadline: &Deadline, caller: &Rc<Principal>) -> Entry<'_> {
        let slot = deadline.slot();
        let mut callers = self.callers.borrow_mut();
        if callers.len() <= slot {
            callers.resize_with(slot + 1, || None);
        }
        callers[slot] = Some(caller.clone());
        Entry { live: self, slot }
    }

    /// Cuts the exchanges of those who are cut off; how many.
    fn cut(&self, snapshot: &Snapshot, now_unix: u64) -> u64 {
        if snapshot.count() == 0 {
            return 0;
        }
        let mut cut = Vec::new();
        for (slot, caller) in self.callers.borrow_mut().iter_mut().enumerate() {
            // Taken out, so that it is counted once.
            if caller
                .take_if(|caller| snapshot.revokes(caller, now_unix))
                .is_some()
            {
                cut.push(slot);
            }
        }
        // After the borrow has ended: what is woken may enter or leave.
        cut.iter().for_each(|slot| self.timers.cut(*slot));
        cut.len() as u64
    }
}

// === impl Entry ===

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.live.callers.borrow_mut()[self.slot] = None;
        self.live.timers.uncut(self.slot);
    }
}
