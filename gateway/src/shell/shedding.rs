//! Sheds load: a core that has more to do than it can do in time refuses a share of the new
//! requests at once, rather than all of them too late.
//!
//! A request waits behind all that became ready before it, most of it in the kernel. How much that
//! is, is measured and not guessed: when a head has been read, a mark is sent, a byte through a
//! socket pair, which becomes ready behind what is ready already. The processor time that the
//! core's thread takes until the mark's turn comes is the work that whatever becomes ready now has
//! before it. It is processor time because another process on the core, or a machine that stands
//! still, is no queue of ours, and refusing would not end it. One mark is under way at a time, none
//! soon after the last, and none without requests: what measuring costs is not to be seen in a
//! profile, and an idle core sleeps.
//!
//! A recorder that is behind is a queue, too: calls wait for room in its ring (`room`). So
//! what counts is the longer of the two, the work and how long the first frame has waited.
//!
//! From the marks [`Control`] makes the share of requests to refuse, which holds the work that
//! waits at the limit (`limits.queue_delay`). They are refused on their heads alone, before anybody
//! is authenticated or a body is read: refusing costs a fraction of serving. What runs already
//! goes on: no stream is cut for want of time.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use compio::BufResult;
use compio::io::AsyncRead;
use rustix::time::{ClockId, clock_gettime};

use control::Control;

mod control;

/// Between two marks.
const MARK_INTERVAL: Duration = Duration::from_millis(5);

/// How one core decides which requests it has no time for.
pub(super) struct Shedding {
    /// None: never sheds.
    control: Option<RefCell<Control>>,
    /// Where marks are sent.
    marks: UnixStream,
    /// Where they arrive, until the core waits for them.
    arrivals: Cell<Option<UnixStream>>,
    /// Processor time that the thread had taken when the mark was sent that is under way.
    marked_work: Cell<Option<Duration>>,
    /// When the last mark arrived.
    arrived_at: Cell<Option<Instant>>,
}

// === impl Shedding ===

impl Shedding {
    /// Keeps the work that waits at `limit`; zero means that nothing is ever shed.
    pub(super) fn past(limit: Duration) -> io::Result<Self> {
        let (marks, arrivals) = UnixStream::pair()?;
        marks.set_nonblocking(true)?;
        arrivals.set_nonblocking(true)?;
        Ok(Self {
            control: (!limit.is_zero()).then(|| RefCell::new(Control::holding(limit))),
            marks,
            arrivals: Cell::new(Some(arrivals)),
            marked_work: Cell::new(None),
            arrived_at: Cell::new(None),
        })
    }

    /// Asked once for each head that has been read: true when its request must be refused.
    pub(super) fn refuses(&self) -> bool {
        let Some(control) = &self.control else {
            return false;
        };
        let mut control = control.borrow_mut();
        if self.marked_work.get().is_none() {
            let since = self.arrived_at.get().map(|at| at.elapsed());
            if since.is_none_or(|since| since >= MARK_INTERVAL) {
                if since.is_none_or(|since| control.outlived(since)) {
                    control.forget();
                }
                let sent = (&self.marks).write(&[0]).is_ok();
                self.marked_work.set(sent.then(work_done));
            }
        }
        control.refuses()
    }

    /// The core has worked so long in one piece, in which nobody else could have a turn.
    pub(super) fn worked(&self, piece: Duration) {
        if let Some(control) = &self.control {
            control.borrow_mut().worked(piece);
        }
    }

    /// The mark's turn has come; the recorder is so far behind.
    fn arrived(&self, behind: Duration) {
        let (Some(marked_work), Some(control)) = (self.marked_work.take(), &self.control) else {
            return;
        };
        let now = Instant::now();
        let last = self.arrived_at.replace(Some(now));
        let waits = work_done().saturating_sub(marked_work).max(behind);
        let step = last.map_or(waits, |last| now.duration_since(last));
        control.borrow_mut().measured(waits, step);
    }

    /// Waits for marks, for ever. The wait stands before a mark is sent: one that began afterwards
    /// would be over at once.
    pub(super) async fn run(&self, behind: impl Fn() -> Duration) {
        let arrivals = self.arrivals.take().map(compio::net::UnixStream::from_std);
        let Some(Ok(mut arrivals)) = arrivals else {
            return tracing::error!("load cannot be measured, and nothing will be shed");
        };
        let mut mark = Vec::with_capacity(1);
        loop {
            let BufResult(outcome, buffer) = arrivals.read(mark).await;
            match outcome {
                Ok(1..) => self.arrived(behind()),
                ended => {
                    // The last share would be refused for ever.
                    if let Some(control) = &self.control {
                        control.borrow_mut().forget();
                    }
                    return tracing::error!("load is no longer measured: {ended:?}");
                }
            }
            mark = buffer;
            mark.clear();
        }
    }
}

/// Processor time that this thread has taken since it began.
fn work_done() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither part of this clock is ever negative.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(10);
    /// A queue that grows for longer than the allowance.
    const GROWING: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(60)];

    /// Takes processor time, however busy the machine is.
    fn work_for(time: Duration) {
        let began = work_done();
        while work_done() < began + time {}
    }

    /// A head, and the mark that it set on its way while the core does this much.
    fn marks(shedding: &Shedding, work: Duration) {
        std::thread::sleep(MARK_INTERVAL);
        shedding.refuses();
        assert!(shedding.marked_work.get().is_some());
        work_for(work);
        shedding.arrived(Duration::ZERO);
    }

    #[test]
    fn work_that_waits_is_measured_and_sheds() {
        let shedding = Shedding::past(LIMIT).unwrap();
        let refused = |of| (0..of).filter(|_| shedding.refuses()).count();
        assert_eq!(refused(100), 0, "nothing is known yet");
        shedding.arrived(Duration::ZERO);
        for work in GROWING {
            assert_eq!(refused(100), 0, "not yet");
            marks(&shedding, work);
        }
        assert!(refused(100) > 0);
    }

    #[test]
    fn a_core_that_stands_still_has_no_queue() {
        let shedding = Shedding::past(LIMIT).unwrap();
        for _ in 0..2 * GROWING.len() {
            std::thread::sleep(MARK_INTERVAL);
            shedding.refuses();
            // Another process has the core, or the machine was stopped.
            std::thread::sleep(LIMIT * 3);
            shedding.arrived(Duration::ZERO);
        }
        assert_eq!((0..1000).filter(|_| shedding.refuses()).count(), 0);
    }

    #[test]
    fn a_recorder_that_is_behind_is_work_that_waits() {
        let shedding = Shedding::past(LIMIT).unwrap();
        let refused = (1..1000).any(|mark| {
            std::thread::sleep(MARK_INTERVAL);
            let refuses = (0..100).any(|_| shedding.refuses());
            shedding.arrived(LIMIT * mark);
            refuses
        });
        assert!(refused, "it becomes later and later");
    }

    #[test]
    fn marks_are_not_set_soon_after_each_other() {
        let shedding = Shedding::past(LIMIT).unwrap();
        shedding.refuses();
        assert!(
            shedding.marked_work.get().is_some(),
            "the first head sets one"
        );
        shedding.arrived(Duration::ZERO);
        // A machine that takes longer than that for one line begins anew.
        let soon = (0..100).any(|_| {
            shedding.arrived_at.set(Some(Instant::now()));
            shedding.marked_work.set(None);
            shedding.refuses();
            shedding.marked_work.get().is_none()
        });
        assert!(soon);
        std::thread::sleep(MARK_INTERVAL);
        shedding.refuses();
        assert!(shedding.marked_work.get().is_some());
    }

    #[test]
    fn where_measuring_ends_shedding_ends() {
        let shedding = Shedding::past(LIMIT).unwrap();
        for work in GROWING {
            marks(&shedding, work);
        }
        assert!((0..100).any(|_| shedding.refuses()));
        shedding.marks.shutdown(std::net::Shutdown::Both).unwrap();
        let runtime = super::super::runtime::build(None).unwrap();
        runtime.block_on(shedding.run(|| Duration::ZERO));
        assert!((0..100).all(|_| !shedding.refuses()));
    }

    #[test]
    fn without_a_limit_nothing_is_shed() {
        let shedding = Shedding::past(Duration::ZERO).unwrap();
        assert!(!shedding.refuses());
        assert!(shedding.marked_work.get().is_none());
    }
}
