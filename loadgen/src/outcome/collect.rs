//! Beside the run: what a slot has counted is added up and kept, by another thread.
//!
//! Adding up and keeping a slot's times takes a while. On the thread that sends requests that would
//! be a stall in every slot, charged to the server. So the recorder hands a whole [`Window`] over and
//! gets an empty one back. Where both threads have to share a core it is a stall all the same: that is
//! why [`Tally`] touches no more than what was counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::metric::{Basis, Measured, Metric, Moments};
use super::progress::Progress;
use super::tally::Tally;
use super::times::Times;

/// Windows on their way in one direction. With more the recorder makes new ones.
const WINDOWS: usize = 4;
/// Histograms of a window: each metric from the actual start, and those that have it from the
/// intended one.
const LANES: usize = Metric::ALL.len() * 2;

/// The times of one slot, while they are counted.
pub(super) struct Window {
    pub(super) slot: usize,
    lanes: [Option<Tally>; LANES],
    used: bool,
}

/// All times of a run, and those of each slot.
pub(super) struct Collected {
    pub(super) totals: BTreeMap<Metric, Measured<Times>>,
    pub(super) slots: BTreeMap<usize, BTreeMap<Metric, Measured<Moments>>>,
}

/// What the thread has so far.
#[derive(Default)]
struct Sums {
    totals: BTreeMap<Metric, Measured<Tally>>,
    slots: BTreeMap<usize, BTreeMap<Metric, Measured<Moments>>>,
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
        lane.get_or_insert_with(Tally::new).record(ns);
        self.used = true;
    }

    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    fn each(&self) -> impl Iterator<Item = (Metric, Basis, &Tally)> {
        let names = Metric::ALL
            .into_iter()
            .flat_map(|metric| Basis::ALL.map(|basis| (metric, basis)));
        let lanes = names.zip(&self.lanes);
        lanes.filter_map(|((metric, basis), lane)| {
            let tally = lane.as_ref().filter(|tally| !tally.is_empty())?;
            Some((metric, basis, tally))
        })
    }

    fn clear(&mut self) {
        self.lanes.iter_mut().flatten().for_each(Tally::clear);
        self.used = false;
    }
}

// === impl Collector ===

impl Collector {
    pub(super) fn start(progress: Arc<Progress>) -> std::io::Result<Self> {
        let (full, incoming) = sync_channel::<Box<Window>>(WINDOWS);
        let (outgoing, empty) = sync_channel(WINDOWS);
        let collect = move || {
            let mut sums = Sums::default();
            for mut window in incoming {
                sums.take(&window);
                sums.tell(&progress);
                window.clear();
                let _ = outgoing.try_send(window); // full: the recorder has enough of them
            }
            sums.collected()
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

// === impl Sums ===

impl Sums {
    fn take(&mut self, window: &Window) {
        for (metric, basis, tally) in window.each() {
            let total = self.totals.entry(metric).or_default();
            lane(total, basis).get_or_insert_with(Tally::new).add(tally);
            let slot = self.slots.entry(window.slot).or_default();
            // A slot comes twice when the clock's events were out of order: the later one counts
            // what it has, added to what is there.
            let kept = lane(slot.entry(metric).or_default(), basis);
            *kept = Some(match kept.take() {
                None => Moments::from(tally),
                Some(before) => {
                    let mut sum = Tally::of(&before.histogram);
                    sum.add(tally);
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

    fn collected(self) -> Collected {
        let totals = self.totals.into_iter();
        let times = |tally: Tally| tally.to_times();
        Collected {
            totals: totals
                .map(|(metric, measured)| (metric, measured.map(times)))
                .collect(),
            slots: self.slots,
        }
    }
}

fn lane<T>(measured: &mut Measured<T>, basis: Basis) -> &mut Option<T> {
    match basis {
        Basis::Intended => &mut measured.intended,
        Basis::Sent => &mut measured.sent,
    }
}
