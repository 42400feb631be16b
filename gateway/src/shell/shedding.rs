//! Sheds load: a core that is late refuses new requests at once, rather than all of them in time.
//!
//! A request waits for its core behind everything that became ready before it. How long is
//! measured, not guessed: when a head has been read, a mark goes through the core's loop, as a
//! short timer, and the time until its turn comes is what anything that becomes ready now has to
//! wait. One mark is under way at a time, none soon after the last, and none without requests: what
//! measuring costs is not to be seen in a profile, and an idle core sleeps.
//!
//! When every mark has been past the limit (`limits.queue_delay`) for some time, new requests are
//! refused on their heads alone, before anybody is authenticated or a body is read: refusing costs
//! a fraction of serving. One mark is not enough: a single long prompt, or another process on the
//! core, can be what it waited for. A mark within half the limit ends it. What runs already goes
//! on: no stream is cut for want of time.

use std::cell::{Cell, RefCell};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Late for so many times the limit is a queue, and not one long piece of work.
const PATIENCE: u32 = 5;

/// A mark's timer: long enough to be one, and nothing beside any limit.
const MARK: Duration = Duration::from_micros(100);
/// Between two marks.
const MARK_INTERVAL: Duration = Duration::from_millis(5);

/// How one core decides which requests come too late.
pub(super) struct Shedding {
    /// None: never sheds.
    limit: Option<Duration>,
    /// When the mark that is under way was set.
    mark: Cell<Option<Instant>>,
    /// Wakes the task that carries the mark.
    marker: RefCell<Option<Waker>>,
    /// When the first was set of the marks that have all been late.
    late_since: Cell<Option<Instant>>,
    /// The last mark, once it has arrived.
    last: Cell<Option<Arrival>>,
}

#[derive(Clone, Copy)]
struct Arrival {
    at: Instant,
    /// Until when what it told counts.
    fresh_until: Instant,
}

// === impl Shedding ===

impl Shedding {
    /// Sheds past `limit`; zero means never.
    pub(super) fn past(limit: Duration) -> Self {
        Self {
            limit: (!limit.is_zero()).then_some(limit),
            mark: Cell::new(None),
            marker: RefCell::new(None),
            late_since: Cell::new(None),
            last: Cell::new(None),
        }
    }

    /// Asked once for each head that has been read: true when its request must be refused.
    pub(super) fn refuses(&self) -> bool {
        self.limit
            .is_some_and(|limit| self.refuses_at(Instant::now(), limit))
    }

    fn refuses_at(&self, now: Instant, limit: Duration) -> bool {
        if self.mark.get().is_none() {
            let last = self.last.get();
            if last.is_none_or(|last| now > last.fresh_until) {
                self.late_since.set(None);
            }
            if last.is_none_or(|last| now.saturating_duration_since(last.at) >= MARK_INTERVAL) {
                self.mark.set(Some(now));
                if let Some(marker) = self.marker.take() {
                    marker.wake();
                }
            }
        }
        self.has_been_late(now, limit)
    }

    fn has_been_late(&self, now: Instant, limit: Duration) -> bool {
        let since = self.late_since.get();
        since.is_some_and(|since| now.saturating_duration_since(since) > limit * PATIENCE)
    }

    /// The mark's turn has come.
    fn arrived(&self, now: Instant) {
        let (Some(mark), Some(limit)) = (self.mark.take(), self.limit) else {
            return;
        };
        let delay = now.saturating_duration_since(mark);
        let bound = if self.has_been_late(now, limit) {
            limit / 2
        } else {
            limit
        };
        let late_since = self.late_since.get().unwrap_or(mark);
        self.late_since.set((delay > bound).then_some(late_since));
        self.last.set(Some(Arrival {
            at: now,
            // A late core comes to its next head only after about as long; but what was measured
            // before a pause tells nothing of the time after it.
            fresh_until: now + limit + 2 * delay,
        }));
    }

    /// Carries the marks through the loop, for ever; `sleep` is the runtime's.
    pub(super) async fn run<S, F>(&self, sleep: S)
    where
        S: Fn(Duration) -> F,
        F: Future<Output = ()>,
    {
        loop {
            std::future::poll_fn(|cx| {
                if self.mark.get().is_some() {
                    return Poll::Ready(());
                }
                *self.marker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
            sleep(MARK).await;
            self.arrived(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(50);

    /// A core's decisions, told the time.
    struct Clocked {
        shedding: Shedding,
        now: Instant,
    }

    impl Clocked {
        fn new() -> Self {
            let shedding = Shedding::past(LIMIT);
            let now = Instant::now();
            Self { shedding, now }
        }

        fn passes(&mut self, time: Duration) {
            self.now += time;
        }

        fn refuses(&self) -> bool {
            self.shedding.refuses_at(self.now, LIMIT)
        }

        /// A head sets a mark, which is under way for so long.
        fn marks(&mut self, ms: u64) {
            self.passes(MARK_INTERVAL);
            self.refuses();
            self.passes(Duration::from_millis(ms));
            self.shedding.arrived(self.now);
        }
    }

    #[test]
    fn lateness_that_lasts_sheds_until_a_mark_comes_in_half_the_limit() {
        let mut core = Clocked::new();
        assert!(!core.refuses(), "nothing is known yet");
        core.marks(200);
        assert!(!core.refuses(), "one long piece of work is no queue");
        core.marks(60);
        assert!(core.refuses(), "late for more than five times the limit");
        core.marks(40);
        assert!(core.refuses(), "40 ms are not half of 50");
        core.marks(20);
        assert!(!core.refuses(), "20 ms are");
        core.marks(40);
        assert!(!core.refuses(), "and 40 ms are within the limit again");
    }

    #[test]
    fn a_mark_in_time_ends_counting() {
        let mut core = Clocked::new();
        for _ in 0..10 {
            core.marks(100);
            assert!(!core.refuses());
            core.marks(50);
        }
    }

    #[test]
    fn what_was_measured_before_a_pause_counts_no_more() {
        let mut core = Clocked::new();
        core.marks(150);
        core.marks(150);
        assert!(core.refuses());
        core.passes(LIMIT);
        assert!(
            core.refuses(),
            "such a core comes to its next head no sooner"
        );
        core.shedding.arrived(core.now);
        core.passes(LIMIT * 10);
        assert!(!core.refuses());
        core.passes(LIMIT * 2);
        assert!(!core.refuses(), "counting begins anew");
    }

    #[test]
    fn marks_are_not_set_soon_after_each_other() {
        let mut core = Clocked::new();
        core.marks(1);
        core.refuses();
        assert!(core.shedding.mark.get().is_none());
        core.passes(MARK_INTERVAL);
        core.refuses();
        assert!(core.shedding.mark.get().is_some());
    }

    #[test]
    fn without_a_limit_nothing_is_shed() {
        let shedding = Shedding::past(Duration::ZERO);
        assert!(!shedding.refuses());
        assert!(shedding.mark.get().is_none());
    }
}
