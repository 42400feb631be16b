//! The load generator.
//!
//! In open loop, requests have intended starts at a constant rate, whatever the target does, and a
//! latency counts from the intended start: a target that stalls pays for every request that waited
//! meanwhile (coordinated omission is what one gets otherwise). Requests that never found a free
//! connection before the end are reported as not sent, and count as errors. In closed loop each
//! connection sends its next request when the last one is answered; that measures throughput, and
//! its latencies say nothing about users.
//!
//! One thread does the work and another keeps the time, so `start_delay` shows when the generator
//! (or a lack of connections) was late. HTTP/1.1 in clear only.

mod assertion;
mod reader;
mod report;
mod target;
mod worker;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

pub use assertion::{Assertion, Outcome};
pub use report::{Percentiles, Report};
pub use target::{Api, Target, TargetError};

use report::Tally;

/// The most connections of one run.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Requests that came due are still sent for this long after the end; later ones are not.
const GRACE: Duration = Duration::from_millis(250);
/// How long the pacing thread sleeps at a time, so that it notices an early end.
const NAP: Duration = Duration::from_millis(20);

/// What to send, how fast, how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// Intended starts a second; absent in closed loop.
    pub rate: Option<f64>,
    /// How long requests are started.
    pub duration: Duration,
    /// Connections, and so requests at a time.
    pub connections: usize,
    /// How long one request may take from when it is sent.
    pub timeout: Duration,
}

/// What workers share.
struct Course {
    options: Options,
    start: Instant,
    end: Instant,
    /// Intended starts handed out.
    next: Cell<u64>,
    /// Intended starts in all; unlimited in closed loop.
    total: u64,
    due: Arc<Semaphore>,
    stopped: Arc<AtomicBool>,
    tally: RefCell<Tally>,
}

/// Runs until the duration is over or SIGINT or SIGTERM comes, then waits for what is under way.
pub fn run(options: Options) -> io::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, drive(options))
}

async fn drive(options: Options) -> io::Result<Report> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let start = Instant::now();
    let total = match options.rate {
        Some(rate) => (rate * options.duration.as_secs_f64()).round().max(1.0) as u64,
        None => u64::MAX,
    };
    let course = Rc::new(Course {
        start,
        end: start + options.duration,
        next: Cell::new(0),
        total,
        due: Arc::new(Semaphore::new(0)),
        stopped: Arc::new(AtomicBool::new(false)),
        tally: RefCell::new(Tally::new()),
        options,
    });
    let pacer = pace(&course)?;
    let workers: Vec<_> = (0..course.options.connections.clamp(1, CONNECTIONS_MAX))
        .map(|_| tokio::task::spawn_local(worker::work(Rc::clone(&course))))
        .collect();
    let all = async {
        for worker in workers {
            if let Err(error) = worker.await {
                eprintln!("penstock-loadgen: a connection's task failed: {error}");
            }
        }
    };
    tokio::pin!(all);
    let mut signals = 0;
    loop {
        tokio::select! {
            () = &mut all => break,
            _ = interrupt.recv() => signals += 1,
            _ = terminate.recv() => signals += 1,
        }
        course.stopped.store(true, Ordering::Relaxed);
        course.due.add_permits(course.options.connections);
        if signals > 1 {
            break; // asked twice: do not wait for what is under way
        }
    }
    course.stopped.store(true, Ordering::Relaxed);
    if let Some(pacer) = pacer {
        let _ = pacer.join(); // it does nothing that could panic
    }
    Ok(course.report())
}

/// Starts the thread that lets intended starts come due. The runtime's own timer rounds to
/// milliseconds, which would be charged to the target.
fn pace(course: &Course) -> io::Result<Option<thread::JoinHandle<()>>> {
    let Some(rate) = course.options.rate else {
        return Ok(None);
    };
    let (due, stopped) = (Arc::clone(&course.due), Arc::clone(&course.stopped));
    let (start, total, connections) = (course.start, course.total, course.options.connections);
    let pacer = move || {
        for index in 0..total {
            let at = intended(start, rate, index);
            loop {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let left = at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                thread::sleep(left.min(NAP));
            }
            due.add_permits(1);
        }
        due.add_permits(connections); // so that every worker sees the end
    };
    thread::Builder::new()
        .name("pacer".into())
        .spawn(pacer)
        .map(Some)
}

fn intended(start: Instant, rate: f64, index: u64) -> Instant {
    start + Duration::from_secs_f64(index as f64 / rate)
}

// === impl Course ===

impl Course {
    /// The intended start of the next request; `None` when there shall be no more.
    async fn next(&self) -> Option<Instant> {
        let Some(rate) = self.options.rate else {
            let now = Instant::now();
            let more = now < self.end && !self.stopped.load(Ordering::Relaxed);
            return more.then(|| {
                self.next.set(self.next.get() + 1);
                now
            });
        };
        let permit = self.due.acquire().await.ok()?;
        permit.forget();
        let index = self.next.get();
        let late = Instant::now() >= self.end + GRACE;
        if index >= self.total || late || self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        self.next.set(index + 1);
        Some(intended(self.start, rate, index))
    }

    fn report(&self) -> Report {
        let elapsed = self.start.elapsed();
        let asked = match self.options.rate {
            Some(rate) => {
                // an early end asks for no more than had come due by then
                let due = (rate * elapsed.as_secs_f64()) as u64 + 1;
                self.total.min(due).max(self.next.get())
            }
            None => self.next.get(),
        };
        self.tally
            .borrow()
            .report(&self.options, elapsed, asked, self.next.get())
    }
}
