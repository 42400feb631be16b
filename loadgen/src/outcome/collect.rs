//! Beside the run: what a slot has counted is added up and kept, by another thread.
//!
//! Adding up, compressing and clearing a slot's histograms takes about a millisecond. On the thread
//! that sends requests that would be a stall in every slot, charged to the server. So the recorder
//! hands a whole [`Window`] over and gets an empty one back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::metric::{Basis, Measured, Metric, Moments};
use super::progress::Progress;
use super::times::Times;

/// Windows on their way in one direction. With more the recorder makes new ones.
const WINDOWS: usize = 4;
/// Histograms of a window: each metric from the actual start, and those that have it from the
/// intended one.
const LANES: usize = Metric::ALL.len() * 2;

/// The times of one slot, while they are counted.
pub(super) struct Window {
    pub(super) slot: usize,
    lanes: [Option<Times>; LANES],
    used: bool,
}

/// All times of a run, and those of each slot.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) totals: BTreeMap<Metric, Measured<Times>>,
    pub(super) slots: BTreeMap<usize, BTreeMap<Metric, Measured<Moments>>>,
}

/// The way to the thread that adds up.
pub(super) struct Collector {
    full: SyncSender<Box<Window>>,
    empty: Receiver<Box<Window>>,
    thread: JoinHandle<Collected>,
}

// === impl Window ===

impl Window {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            slot: 0,
            lanes: [const { None }; LANES],
            used: false,
        })
    }

    #[inline]
    pub(super) fn record(&mut self, metric: Metric, basis: Basis, ns: u64) {
        let lane = &mut self.lanes[metric as usize * 2 + basis as usize];
        lane.get_or_insert_with(Times::new).record(ns);
        self.used = true;
    }

    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    fn each(&self) -> impl Iterator<Item = (Metric, Basis, &Times)> {
        let names = Metric::ALL
            .into_iter()
            .flat_map(|metric| Basis::ALL.map(|basis| (metric, basis)));
        let lanes = names.zip(&self.lanes);
        lanes.filter_map(|((metric, basis), lane)| {
            let times = lane.as_ref().filter(|times| !times.is_empty())?;
            Some((metric, basis, times))
        })
    }

    fn clear(&mut self) {
        self.lanes
            .iter_mut()
            .flatten()
            .filter(|times| !times.is_empty())
            .for_each(Times::clear);
        self.used = false;
    }
}

// === impl Collector ===

impl Collector {
    pub(super) fn start(progress: Arc<Progress>) -> std::io::Result<Self> {
        let (full, incoming) = sync_channel::<Box<Window>>(WINDOWS);
        let (outgoing, empty) = sync_channel(WINDOWS);
        let collect = move || {
            let mut collected = Collected::default();
            for mut window in incoming {
                collected.take(&window);
                collected.tell(&progress);
                window.clear();
                let _ = outgoing.try_send(window); // full: the recorder has enough of them
            }
            collected
        };
        let thread = std::thread::Builder::new()
            .name("collector".into())
            .spawn(collect)?;
        Ok(Self {
            full,
            empty,
            thread,
        })
    }

    /// Takes a full window and gives an empty one. Waits only where the thread is several slots
    /// behind.
    pub(super) fn exchange(&self, window: Box<Window>) -> Box<Window> {
        if let Err(TrySendError::Full(window)) = self.full.try_send(window) {
            let _ = self.full.send(window); // ended: finish() gives the reason
        }
        self.empty.try_recv().unwrap_or_else(|_| Window::new())
    }

    pub(super) fn finish(self, last: Box<Window>) -> Collected {
        self.exchange(last);
        drop(self.full);
        match self.thread.join() {
            Ok(collected) => collected,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

// === impl Collected ===

impl Collected {
    fn take(&mut self, window: &Window) {
        for (metric, basis, times) in window.each() {
            let total = self.totals.entry(metric).or_default();
            lane(total, basis).get_or_insert_with(Times::new).add(times);
            let slot = self.slots.entry(window.slot).or_default();
            // A slot comes twice when the clock's events were out of order: the later one counts
            // what it has, added to what is there.
            let kept = lane(slot.entry(metric).or_default(), basis);
            *kept = Some(match kept.take() {
                None => Moments::from(times),
                Some(before) => {
                    let mut sum = before.histogram.to_times();
                    sum.add(times);
                    Moments::from(&sum)
                }
            });
        }
    }

    fn tell(&self, progress: &Progress) {
        let usual = |metric| {
            let measured = self.totals.get(&metric)?;
            measured.intended.as_ref().or(measured.sent.as_ref())
        };
        if let Some(times) = usual(Metric::EndToEnd) {
            progress.set_end_to_end_p50_ns(times.quantile(0.5));
            progress.set_end_to_end_p99_ns(times.quantile(0.99));
        }
        if let Some(times) = usual(Metric::Ttft) {
            progress.set_ttft_p50_ns(times.quantile(0.5));
            progress.set_ttft_p99_ns(times.quantile(0.99));
        }
    }
}

fn lane<T>(measured: &mut Measured<T>, basis: Basis) -> &mut Option<T> {
    match basis {
        Basis::Intended => &mut measured.intended,
        Basis::Sent => &mut measured.sent,
    }
}
