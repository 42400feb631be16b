//! Coarse deadlines, one slot per connection.
//!
//! A connection has one deadline at a time (reading a head, waiting for the model, resting), moves
//! it many times per call and almost never reaches it. So setting one is a store, no heap, no
//! system call; one ticker per core looks at all slots every [`TICK`] and wakes the few that are
//! due. A deadline is met up to one tick late, never early. The ticker runs only while something
//! is armed, so that an idle core sleeps.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How often deadlines are looked at; each may be late by this much.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// How long a connection that is cut may still write what it has begun to write: long enough for a
/// client that reads, short enough that one that does not keeps nothing.
pub(super) const CUT_GRACE: Duration = Duration::from_millis(40);

/// A slot's deadline when nothing is armed.
const NEVER: u64 = u64::MAX;

/// All slots of one core.
#[derive(Clone)]
pub(super) struct Timers(Rc<Inner>);

struct Inner {
    origin: Instant,
    /// Milliseconds since `origin`, refreshed by the ticker.
    now_ms: Cell<u64>,
    armed: Cell<usize>,
    ticker: RefCell<Option<Waker>>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

struct Slot {
    due_ms: u64,
    /// The connection rests between two calls, so it may be ended early.
    resting: bool,
    /// Whoever calls is cut off: due whatever the time is.
    cut: bool,
    waker: Option<Waker>,
}

/// One connection's slot; freed on drop.
pub(super) struct Deadline {
    timers: Timers,
    index: usize,
}

// === impl Timers ===

impl Timers {
    /// No slots, nothing armed.
    pub(super) fn new() -> Self {
        Self::since(Instant::now())
    }

    fn since(origin: Instant) -> Self {
        Self(Rc::new(Inner {
            origin,
            now_ms: Cell::new(0),
            armed: Cell::new(0),
            ticker: RefCell::new(None),
            slots: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
        }))
    }

    /// A new slot, not armed.
    pub(super) fn slot(&self) -> Deadline {
        let mut slots = self.0.slots.borrow_mut();
        let index = self.0.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot {
                due_ms: NEVER,
                resting: false,
                cut: false,
                waker: None,
            });
            slots.len() - 1
        });
        Deadline {
            timers: self.clone(),
            index,
        }
    }

    /// Milliseconds since the core started, at most one tick old while anything is armed.
    pub(super) fn now_ms(&self) -> u64 {
        self.0.now_ms.get()
    }

    /// Reads the clock now: for measurements that need it fresh, and after a long piece of work,
    /// because a deadline that is set next must not begin in the past.
    pub(super) fn refresh(&self) -> u64 {
        let now = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.0.now_ms.set(now);
        now
    }

    /// Runs for ever: looks at the slots every tick while any is armed.
    pub(super) async fn run<S, F>(&self, sleep: S)
    where
        S: Fn(Duration) -> F,
        F: Future<Output = ()>,
    {
        loop {
            std::future::poll_fn(|cx| self.poll_armed(cx)).await;
            sleep(TICK).await;
            self.tick();
        }
    }

    /// Makes the deadline of every resting connection due: the core is about to stop.
    pub(super) fn end_rest(&self) {
        for slot in self
            .0
            .slots
            .borrow_mut()
            .iter_mut()
            .filter(|slot| slot.resting)
        {
            slot.due_ms = 0;
        }
        self.tick();
    }

    /// Makes the deadline in this slot due, and leaves what is being written a moment.
    pub(super) fn cut(&self, slot: usize) {
        let now = self.refresh();
        let grace = u64::try_from(CUT_GRACE.as_millis()).unwrap_or(NEVER);
        let waker = {
            let slot = &mut self.0.slots.borrow_mut()[slot];
            slot.cut = true;
            if slot.due_ms != NEVER {
                slot.due_ms = slot.due_ms.min(now + grace);
            }
            slot.waker.take()
        };
        // Woken after the borrow has ended, as in `tick`.
        waker.into_iter().for_each(Waker::wake);
    }

    /// The exchange that was cut, if it was, is over.
    pub(super) fn uncut(&self, slot: usize) {
        self.0.slots.borrow_mut()[slot].cut = false;
    }

    fn poll_armed(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.armed.get() > 0 {
            return Poll::Ready(());
        }
        *self.0.ticker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn tick(&self) {
        let now = self.refresh();
        let mut due = Vec::new();
        for slot in self.0.slots.borrow_mut().iter_mut() {
            if slot.due_ms <= now {
                due.extend(slot.waker.take());
            }
        }
        // Woken after the borrow has ended: a waker may run code that takes a slot.
        due.into_iter().for_each(Waker::wake);
    }
}

// === impl Deadline ===

impl Deadline {
    /// Due in `span` from now; replaces what was set before.
    pub(super) fn set(&self, span: Duration) {
        let inner = &self.timers.0;
        // Without anything armed the ticker has slept and its clock is old.
        let now = if inner.armed.get() == 0 {
            self.timers.refresh()
        } else {
            inner.now_ms.get()
        };
        let span = u64::try_from(span.as_millis()).unwrap_or(NEVER / 2);
        self.store(now.saturating_add(span).min(NEVER - 1), false);
    }

    /// The same for a connection that rests between two calls.
    pub(super) fn set_resting(&self, span: Duration) {
        self.set(span);
        self.timers.0.slots.borrow_mut()[self.index].resting = true;
    }

    /// Which slot this is.
    pub(super) fn slot(&self) -> usize {
        self.index
    }

    /// Whether it is due because the caller was cut off.
    pub(super) fn is_cut(&self) -> bool {
        self.timers.0.slots.borrow()[self.index].cut
    }

    /// The same, and from now on only time counts: for the last words to a caller who is cut off.
    pub(super) fn take_cut(&self) -> bool {
        std::mem::take(&mut self.timers.0.slots.borrow_mut()[self.index].cut)
    }

    /// Nothing is due.
    pub(super) fn clear(&self) {
        self.store(NEVER, false);
    }

    fn store(&self, due_ms: u64, resting: bool) {
        let inner = &self.timers.0;
        let mut slots = inner.slots.borrow_mut();
        let slot = &mut slots[self.index];
        let (was, is) = (slot.due_ms != NEVER, due_ms != NEVER);
        slot.due_ms = due_ms;
        slot.resting = resting;
        if !is {
            slot.waker = None;
        }
        let armed = inner.armed.get() + usize::from(is) - usize::from(was);
        inner.armed.set(armed);
        drop(slots);
        if is
            && armed == 1
            && let Some(ticker) = inner.ticker.borrow_mut().take()
        {
            ticker.wake();
        }
    }

    /// Ready once the deadline has passed, or the caller was cut off.
    pub(super) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cut() {
            return Poll::Ready(());
        }
        self.poll_late(cx)
    }

    /// Ready once the deadline has passed, whoever was cut off.
    pub(super) fn poll_late(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &self.timers.0;
        let mut slots = inner.slots.borrow_mut();
        let slot = &mut slots[self.index];
        if slot.due_ms <= inner.now_ms.get() {
            return Poll::Ready(());
        }
        if !slot
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            slot.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.clear();
        self.take_cut();
        self.timers.0.free.borrow_mut().push(self.index);
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(deadline: &Deadline) -> bool {
        deadline
            .poll_due(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn due_only_after_its_time_and_slots_are_reused() {
        let timers = Timers::new();
        let deadline = timers.slot();
        assert!(!poll(&deadline));
        deadline.set(Duration::ZERO);
        timers.tick();
        assert!(poll(&deadline));
        deadline.set(Duration::from_secs(3600));
        timers.tick();
        assert!(!poll(&deadline));
        assert_eq!(timers.0.armed.get(), 1);
        drop(deadline);
        assert_eq!(timers.0.armed.get(), 0);
        let again = timers.slot();
        assert_eq!((again.index, timers.0.slots.borrow().len()), (0, 1));
    }

    #[test]
    fn a_cut_makes_due_at_once_and_leaves_writes_a_moment() {
        let timers = Timers::new();
        let deadline = timers.slot();
        let late = |deadline: &Deadline| {
            let mut cx = Context::from_waker(Waker::noop());
            deadline.poll_late(&mut cx).is_ready()
        };
        deadline.set(Duration::from_secs(3600));
        timers.cut(deadline.slot());
        assert!(poll(&deadline) && deadline.is_cut() && !late(&deadline));
        std::thread::sleep(CUT_GRACE * 2);
        timers.tick();
        assert!(late(&deadline), "the moment is over");
        // A wait that begins after the cut does not outlast it either.
        deadline.set(Duration::from_secs(3600));
        assert!(poll(&deadline));
        assert!(deadline.take_cut() && !poll(&deadline));
        // The next connection in this slot is another's.
        timers.cut(deadline.slot());
        drop(deadline);
        let next = timers.slot();
        assert!(!next.is_cut() && !poll(&next));
    }

    #[test]
    fn a_deadline_set_after_long_work_begins_after_it() {
        let hour = Duration::from_secs(3600);
        let timers = Timers::since(Instant::now().checked_sub(hour).unwrap());
        let other = timers.slot();
        other.set(hour * 1000);
        // The last tick was an hour ago.
        timers.0.now_ms.set(0);
        timers.refresh();
        let deadline = timers.slot();
        deadline.set(hour / 2);
        timers.tick();
        assert!(!poll(&deadline));
    }
}
