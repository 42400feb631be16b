//! Counting while a run goes on, cheap enough for 100 000 requests a second on the thread that
//! sends them: an event is a few additions and one bucket of one histogram. What costs more is done
//! by another thread when a slot is over.
//!
//! All moments are nanoseconds since the run's start, on one clock. Events come in the order in which
//! they happened; one that comes late is counted in the slot that is open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::collect::{Collected, Collector, Window};
use super::tally::Tally;
use super::{
    Asked, Basis, Counts, Fault, Goodput, Lag, Lateness, Loop, Metric, Objective, Outcome,
    Progress, Rates, SCHEMA, Slot, Timeline, Times,
};
use crate::machine::Machine;

/// Slots at most; what happens later is counted in the last one.
pub const SLOTS_MAX: usize = 4096;
/// Slots that a run has, roughly, when it takes as long as it was meant to.
const SLOTS: f64 = 60.0;
/// Lengths that a slot may have, in seconds.
const SLOT_S: [f64; 12] = [
    0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 600.0,
];

/// Counts what happens in a run.
pub struct Recorder {
    open: bool,
    slot_ns: u64,
    objectives: Vec<Objective>,
    window: Box<Window>,
    collector: Collector,
    progress: Arc<Progress>,
    lag: Tally,
    reading: Tally,
    busy_share: f64,
    slots: Vec<Slot>,
    /// Of each slot, how many ended and how many were given up without a start.
    gone: Vec<(u64, u64)>,
    counts: Counts,
    errors: BTreeMap<Fault, u64>,
    error_count: u64,
    ended: u64,
    met: u64,
}

/// How an exchange that was started came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered with 2xx, to a proper end.
    Good,
    /// Not so.
    Failed(Fault),
    /// The generator went away in the middle, as it was asked to. First byte and first token count
    /// if they came.
    Left,
}

/// An exchange that is over. Moments are nanoseconds since the run's start.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// When it should have started. In closed loop the same as `started_ns`.
    pub intended_ns: u64,
    /// When the generator began with it: connecting if it had to, else writing.
    pub started_ns: u64,
    /// When the first byte of the answer's head was read.
    pub first_byte_ns: Option<u64>,
    /// When the first text came that is not empty.
    pub first_token_ns: Option<u64>,
    /// When the last text came.
    pub last_token_ns: Option<u64>,
    /// When it was over: of an answer, when its last bytes had been read.
    pub ended_ns: u64,
    /// The longest time between two events with text, when there were two.
    pub gap_max_ns: Option<u64>,
    /// Tokens of the answer.
    pub tokens: u64,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Places where a mask stood.
    pub masked_spans: u64,
    /// Whether the text was another than the one expected.
    pub altered: bool,
    /// A secret had been planted in its prompt.
    pub planted: bool,
    /// And came back as it was.
    pub leaked: bool,
    /// How it ended.
    pub end: End,
}

// === impl Recorder ===

impl Recorder {
    /// For a run that is meant to last so long. `kind` decides whether there are intended starts.
    pub fn new(kind: Loop, planned: Duration, objectives: Vec<Objective>) -> std::io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let planned = planned.as_secs_f64();
        let fitting = SLOT_S.into_iter().find(|slot| planned / slot <= SLOTS);
        let slot_s = fitting.unwrap_or(SLOT_S[SLOT_S.len() - 1]);
        Ok(Self {
            open: kind == Loop::Open,
            slot_ns: (slot_s * 1e9) as u64,
            objectives,
            window: Window::new(),
            collector: Collector::start(Arc::clone(&progress))?,
            progress,
            lag: Tally::new(),
            reading: Tally::new(),
            busy_share: 0.0,
            slots: Vec::new(),
            gone: Vec::new(),
            counts: Counts::default(),
            errors: BTreeMap::new(),
            error_count: 0,
            ended: 0,
            met: 0,
        })
    }

    /// For the thread that shows how it goes.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// A request has come due. Not called in closed loop.
    pub fn intended(&mut self, at_ns: u64) {
        self.counts.intended += 1;
        self.progress.set_intended(self.counts.intended);
        let slot = self.slot(at_ns);
        self.slots[slot].intended += 1;
    }

    /// The generator turned to a request so long after it was due, by no fault of the server.
    pub fn lag(&mut self, ns: u64) {
        self.lag.record(ns);
    }

    /// What [`Recorder::lag`] has counted.
    pub fn lag_times(&self) -> Times {
        self.lag.to_times()
    }

    /// A socket was read so long after it had something to read, at most.
    #[inline]
    pub fn reading_lag(&mut self, ns: u64) {
        self.reading.record(ns);
    }

    /// What [`Recorder::reading_lag`] has counted.
    pub fn reading_lag_times(&self) -> Times {
        self.reading.to_times()
    }

    /// The share of the time that the generator's thread was not waiting.
    pub fn busy_share(&mut self, share: f64) {
        self.busy_share = share;
    }

    /// A kept connection proved dead: its request is sent again on a new one.
    pub fn retried(&mut self) {
        self.counts.retried += 1;
    }

    /// A request was started.
    pub fn started(&mut self, at_ns: u64) {
        if !self.open {
            self.intended(at_ns);
        }
        self.counts.started += 1;
        self.progress.set_started(self.counts.started);
        let slot = self.slot(at_ns);
        self.slots[slot].started += 1;
    }

    /// A request that had come due was given up before it was started.
    pub fn not_sent(&mut self, at_ns: u64) {
        self.error(Fault::NotSent);
        let slot = self.slot(at_ns);
        self.slots[slot].errors += 1;
        self.gone[slot].1 += 1;
    }

    /// A connection was made, and took so long.
    pub fn connected(&mut self, at_ns: u64, took_ns: u64) {
        self.counts.connections += 1;
        self.record(at_ns, Metric::Connect, Basis::Sent, took_ns);
    }

    /// TLS was agreed on, and took so long.
    pub fn tls_agreed(&mut self, at_ns: u64, took_ns: u64) {
        self.record(at_ns, Metric::Tls, Basis::Sent, took_ns);
    }

    /// An event with text came so long after the one before.
    #[inline]
    pub fn between_tokens(&mut self, at_ns: u64, gap_ns: u64) {
        self.record(at_ns, Metric::BetweenTokens, Basis::Sent, gap_ns);
    }

    /// An exchange is over.
    pub fn ended(&mut self, ended: &Ended) {
        let slot = self.slot(ended.ended_ns);
        self.turn_to(slot);
        self.ended += 1;
        self.gone[slot].0 += 1;
        self.slots[slot].tokens += ended.tokens;
        self.counts.tokens += ended.tokens;
        self.counts.bytes += ended.bytes;
        self.counts.masked_spans += ended.masked_spans;
        self.counts.altered += u64::from(ended.altered);
        self.counts.planted += u64::from(ended.planted);
        self.counts.leaked += u64::from(ended.leaked);
        match ended.end {
            End::Good => {
                self.counts.completed += 1;
                self.slots[slot].completed += 1;
                self.both(Metric::EndToEnd, ended, ended.ended_ns);
                if let Some(pace) = ended.per_output_token() {
                    self.window
                        .record(Metric::PerOutputToken, Basis::Sent, pace);
                }
                if !ended.altered && self.objectives.iter().all(|objective| objective.met(ended)) {
                    self.met += 1;
                    self.slots[slot].met += 1;
                }
            }
            End::Left => self.counts.left_on_purpose += 1,
            End::Failed(fault) => {
                self.error(fault);
                self.slots[slot].errors += 1;
                self.both(Metric::Failed, ended, ended.ended_ns);
            }
        }
        if !matches!(ended.end, End::Failed(_)) {
            if let Some(at) = ended.first_byte_ns {
                self.both(Metric::FirstByte, ended, at);
            }
            if let Some(at) = ended.first_token_ns {
                self.both(Metric::Ttft, ended, at);
            }
        }
        self.progress.set_ended(self.ended);
        self.progress.set_completed(self.counts.completed);
        self.progress.set_tokens(self.counts.tokens);
    }

    /// The run is over: what it found. `began` is in ISO 8601, `over_ns` when the last thing
    /// happened.
    pub fn finish(
        mut self,
        asked: Asked,
        began: String,
        over_ns: u64,
        verdict: Lateness,
    ) -> Outcome {
        self.slot(over_ns.saturating_sub(1)); // so that a quiet end has slots too
        let elapsed_s = (over_ns as f64 / 1e9).max(1e-9);
        let rate = |count: u64| count as f64 / elapsed_s;
        self.counts.errors = self
            .errors
            .iter()
            .map(|(fault, count)| (fault.to_string(), *count))
            .collect();
        self.counts.truncated = self.errors.get(&Fault::Truncated).copied().unwrap_or(0);
        self.counts.error_rate = self.error_count as f64 / self.counts.intended.max(1) as f64;
        let Collected { totals, mut slots } = self.collector.finish(self.window);
        let (mut in_flight, mut waiting) = (0, 0);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let (ended, given_up) = self.gone[index];
            in_flight += slot.started as i64 - ended as i64;
            waiting += slot.intended as i64 - slot.started as i64 - given_up as i64;
            slot.in_flight = in_flight.max(0) as u64;
            slot.waiting = waiting.max(0) as u64;
            slot.metrics = slots.remove(&index).unwrap_or_default();
        }
        let goodput = (!self.objectives.is_empty()).then(|| Goodput {
            objectives: self.objectives,
            met: self.met,
            share: self.met as f64 / self.counts.intended.max(1) as f64,
            per_s: rate(self.met),
        });
        Outcome {
            schema: SCHEMA.into(),
            began,
            elapsed_s,
            asked,
            machine: Machine::this(),
            rates: Rates {
                offered_per_s: rate(self.counts.intended),
                started_per_s: rate(self.counts.started),
                completed_per_s: rate(self.counts.completed),
                tokens_per_s: rate(self.counts.tokens),
            },
            counts: self.counts,
            lag: Lag {
                times: self.open.then(|| self.lag.to_times().into()),
                reading: (!self.reading.is_empty()).then(|| self.reading.to_times().into()),
                busy_share: self.busy_share,
                verdict,
            },
            goodput,
            metrics: totals
                .into_iter()
                .map(|(metric, times)| (metric, times.map(Into::into)))
                .collect(),
            timeline: Timeline {
                slot_s: self.slot_ns as f64 / 1e9,
                slots: self.slots,
            },
            assertions: Vec::new(),
        }
    }

    fn error(&mut self, fault: Fault) {
        *self.errors.entry(fault).or_default() += 1;
        self.error_count += 1;
        self.progress.set_errors(self.error_count);
    }

    fn both(&mut self, metric: Metric, ended: &Ended, at_ns: u64) {
        let sent = at_ns.saturating_sub(ended.started_ns);
        self.window.record(metric, Basis::Sent, sent);
        if self.open {
            let intended = at_ns.saturating_sub(ended.intended_ns);
            self.window.record(metric, Basis::Intended, intended);
        }
    }

    #[inline]
    fn record(&mut self, at_ns: u64, metric: Metric, basis: Basis, ns: u64) {
        let slot = self.slot(at_ns);
        self.turn_to(slot);
        self.window.record(metric, basis, ns);
    }

    /// The slot of a moment; it exists afterwards.
    #[inline]
    fn slot(&mut self, at_ns: u64) -> usize {
        let slot = ((at_ns / self.slot_ns) as usize).min(SLOTS_MAX - 1);
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, Slot::default);
            self.gone.resize(slot + 1, (0, 0));
        }
        slot
    }

    /// Hands the window over when a later slot has begun.
    #[inline]
    fn turn_to(&mut self, slot: usize) {
        if slot <= self.window.slot {
            return;
        }
        if self.window.is_used() {
            let full = std::mem::replace(&mut self.window, Window::new());
            self.window = self.collector.exchange(full);
        }
        self.window.slot = slot;
    }
}

// === impl Ended ===

impl Ended {
    /// From the first token to the last, by the tokens after the first.
    fn per_output_token(&self) -> Option<u64> {
        let span = self.last_token_ns?.saturating_sub(self.first_token_ns?);
        (self.tokens >= 2).then(|| span / (self.tokens - 1))
    }
}

// === impl Objective ===

impl Objective {
    fn met(&self, ended: &Ended) -> bool {
        let from = match self.basis {
            Basis::Intended => ended.intended_ns,
            Basis::Sent => ended.started_ns,
        };
        let since = |at: Option<u64>| at.map(|at| at.saturating_sub(from));
        let took = match self.metric {
            Metric::FirstByte => since(ended.first_byte_ns),
            Metric::Ttft => since(ended.first_token_ns),
            Metric::EndToEnd => since(Some(ended.ended_ns)),
            // an answer with one token has no gap that could be too long
            Metric::BetweenTokens => Some(ended.gap_max_ns.unwrap_or(0)),
            Metric::PerOutputToken => Some(ended.per_output_token().unwrap_or(0)),
            Metric::Connect | Metric::Tls | Metric::Failed => None, // refused when it was read
        };
        took.is_some_and(|took| took <= self.limit_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::metric::Measured;

    const MS: u64 = 1_000_000;

    fn asked(kind: Loop) -> Asked {
        Asked {
            command: Vec::new(),
            target: "http://127.0.0.1:1".into(),
            api: "chat".into(),
            model: "m".into(),
            stream: true,
            kind,
            arrivals: "constant, 10/s".into(),
            rate_per_s: Some(10.0),
            duration_s: 1.0,
            seed: 1,
            connections: 1,
            http: "HTTP/1.1".into(),
            tls: false,
            keep_alive: true,
            timeout_s: 1.0,
            workload: String::new(),
            notes: Vec::new(),
        }
    }

    fn good(intended_ms: u64, started_ms: u64, ended_ms: u64) -> Ended {
        Ended {
            intended_ns: intended_ms * MS,
            started_ns: started_ms * MS,
            first_byte_ns: Some((started_ms + 1) * MS),
            first_token_ns: Some((started_ms + 2) * MS),
            last_token_ns: Some(ended_ms * MS),
            ended_ns: ended_ms * MS,
            gap_max_ns: Some(MS),
            tokens: 5,
            bytes: 100,
            masked_spans: 1,
            altered: false,
            planted: false,
            leaked: false,
            end: End::Good,
        }
    }

    fn finish(recorder: Recorder, kind: Loop) -> Outcome {
        let verdict = Lateness::judge(&recorder.lag_times(), MS, 0.01);
        recorder.finish(
            asked(kind),
            "2026-01-01T00:00:00Z".into(),
            1_000 * MS,
            verdict,
        )
    }

    #[test]
    fn both_series_counts_and_slots_are_what_was_recorded() {
        let objectives = vec!["ttft<100ms".parse().unwrap()];
        let mut recorder = Recorder::new(Loop::Open, Duration::from_secs(1), objectives).unwrap();
        // ten requests, a tenth of a second apart; the server stands still for the first half
        for n in 0..10u64 {
            recorder.intended(n * 100 * MS);
        }
        for n in 0..8u64 {
            let start = (n * 100).max(500 + n);
            recorder.lag(n * 1_000);
            recorder.started(start * MS);
            recorder.between_tokens((start + 8) * MS, MS);
            recorder.ended(&good(n * 100, start, start + 10));
        }
        let failed = End::Failed(Fault::Status(503));
        recorder.started(800 * MS);
        recorder.ended(&Ended {
            end: failed,
            tokens: 0,
            ..good(800, 800, 801)
        });
        recorder.not_sent(999 * MS);
        let outcome = finish(recorder, Loop::Open);

        let counts = &outcome.counts;
        assert_eq!(
            (counts.intended, counts.started, counts.completed),
            (10, 9, 8)
        );
        assert_eq!(counts.errors["status_503"] + counts.errors["not_sent"], 2);
        assert!((counts.error_rate - 0.2).abs() < 1e-9);
        assert_eq!((counts.tokens, counts.masked_spans), (40, 9));
        let ms = |metric, basis| {
            let found = outcome.distribution(metric, Some(basis)).unwrap();
            (found.count, found.max_ns / MS)
        };
        assert_eq!(ms(Metric::EndToEnd, Basis::Sent), (8, 10));
        assert_eq!(ms(Metric::EndToEnd, Basis::Intended), (8, 510));
        assert_eq!(ms(Metric::Failed, Basis::Sent), (1, 1));
        assert_eq!(ms(Metric::PerOutputToken, Basis::Sent), (8, 2));
        let goodput = outcome.goodput.as_ref().unwrap();
        assert_eq!(goodput.met, 3, "those due from 500 on, and none before");
        let slots = &outcome.timeline.slots;
        assert_eq!((slots.len(), outcome.timeline.slot_s), (10, 0.1));
        assert_eq!((slots[3].waiting, slots[3].in_flight), (4, 0));
        assert_eq!(slots.iter().map(|slot| slot.completed).sum::<u64>(), 8);
        assert_eq!(slots[9].waiting + slots[9].in_flight, 0);
        let in_slots: u64 = slots
            .iter()
            .filter_map(|slot| slot.metrics.get(&Metric::EndToEnd)?.sent.as_ref())
            .map(|moments| moments.count)
            .sum();
        assert_eq!(in_slots, 8);
        assert!(!outcome.lag.verdict.late, "{}", outcome.lag.verdict.reason);

        let read = Outcome::from_json(&outcome.to_json().unwrap()).unwrap();
        assert_eq!(read.to_json().unwrap(), outcome.to_json().unwrap());
        let other = outcome
            .to_json()
            .unwrap()
            .replace(SCHEMA, "penstock-loadgen-outcome/2");
        assert!(matches!(
            Outcome::from_json(&other),
            Err(super::super::OutcomeError::Schema(_))
        ));
    }

    #[test]
    fn a_closed_loop_has_no_intended_series() {
        let mut recorder = Recorder::new(Loop::Closed, Duration::from_secs(1), Vec::new()).unwrap();
        recorder.started(0);
        recorder.ended(&good(0, 0, 10));
        recorder.started(10 * MS);
        recorder.ended(&Ended {
            end: End::Left,
            ..good(10, 10, 15)
        });
        let outcome = finish(recorder, Loop::Closed);
        let Measured { intended, sent } = &outcome.metrics[&Metric::EndToEnd];
        assert!(intended.is_none() && sent.as_ref().is_some_and(|sent| sent.count == 1));
        assert_eq!(
            outcome.metrics[&Metric::Ttft].sent.as_ref().unwrap().count,
            2
        );
        assert_eq!(
            (outcome.counts.intended, outcome.counts.left_on_purpose),
            (2, 1)
        );
        assert!(outcome.lag.times.is_none() && outcome.goodput.is_none());
        assert_eq!(outcome.counts.error_rate, 0.0);
    }

    #[test]
    fn long_runs_have_bounded_slots() {
        let mut recorder = Recorder::new(Loop::Closed, Duration::from_secs(1), Vec::new()).unwrap();
        recorder.started(0);
        recorder.ended(&good(0, 0, 3_600_000));
        assert_eq!(recorder.slots.len(), SLOTS_MAX);
        let hour = Recorder::new(Loop::Open, Duration::from_secs(3600), Vec::new()).unwrap();
        assert_eq!(hour.slot_ns, 60_000 * MS);
    }
}
