//! What one core counts and times of its calls, and how the control thread gets it.
//!
//! A core writes its own tally and nobody else's, without a lock or an atomic. When the control
//! thread wants to know, it asks all cores; each answers at its next turn with a copy, and goes on.
//! A core that does not answer in time is told by its last copy, and counted as late.
//!
//! What callers can choose is bounded: a model's name counts only once its call was sent on, and
//! past [`CALLS_MAX`] kinds of calls the model is `other`.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hdrhistogram::Histogram;
use penstock_policies::{Direction, Finding};
use penstock_recorder::frame::{Outcome, Timings};
use tokio::sync::watch;

/// Kinds of calls that a core counts apart.
pub const CALLS_MAX: usize = 1000;
/// Kinds of verdicts that a core counts apart: rules times guards are the operator's own number.
const VERDICTS_MAX: usize = 10_000;
/// The longest time that is told from longer ones.
const NANOSECONDS_MAX: u64 = 3_600_000_000_000;
/// Significant digits of what is timed: within 1 %.
const DIGITS: u8 = 2;
/// What is kept of a model's name, which callers choose.
const MODEL_BYTES_MAX: usize = 128;
/// A model's name where there are too many, and where it does not count.
const OTHER: &str = "other";

/// A stretch of a call's life that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the request's head to the end of its inspection.
    Inspect,
    /// From there until it was sent to the engine.
    Forward,
    /// From there to the first byte of the answer: the engine's time.
    FirstByte,
    /// From there to the last byte that the client got.
    Answer,
    /// The longest that text was held back by masking, of calls where any was.
    Hold,
    /// From the request's head to the last byte, of calls that were completed.
    Total,
}

/// One kind of call.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKind {
    /// The pattern of its path; empty for a path that no profile has.
    pub route: &'static str,
    /// The model that was asked; empty when the call was not sent on.
    pub model: String,
    /// How it ended.
    pub outcome: &'static str,
    /// The code of the error that its caller got; empty for none.
    pub code: String,
}

/// One kind of verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerdictKind {
    /// `request` or `response`.
    pub direction: &'static str,
    /// The guard.
    pub guard: String,
    /// The rule.
    pub rule: String,
    /// What the guard did.
    pub action: &'static str,
}

/// A call that has ended.
pub struct Ended<'a> {
    /// As in [`CallKind`].
    pub route: &'static str,
    /// As its body named it.
    pub model: Option<&'a str>,
    /// How it ended.
    pub outcome: Outcome,
    /// The error's code.
    pub code: Option<&'a str>,
    /// When what happened.
    pub timings: Timings,
}

/// A kind of call, before it is known whether it is a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CallParts<'a> {
    route: &'static str,
    model: &'a str,
    outcome: &'static str,
    code: &'a str,
}

/// One core's counts and times, or those of several together.
#[derive(Clone, Debug)]
pub struct Tally {
    calls: Vec<(CallKind, u64)>,
    /// Where a kind is in `calls`, by the hash of its parts: counting needs no owned key.
    known: HashMap<u64, usize, RandomState>,
    /// Where the last one is: mostly the next is like it, and what is looked for elsewhere is in no
    /// near cache by then.
    last: usize,
    verdicts: HashMap<VerdictKind, u64, RandomState>,
    phases: [Histogram<u64>; Phase::ALL.len()],
    /// Frames that wait for room in the ring.
    pub ring_backlog: u64,
}

/// The tallies of all cores, for the control thread.
#[derive(Debug)]
pub struct Tallies {
    asked: watch::Sender<u64>,
    told: Box<[watch::Sender<Told>]>,
}

#[derive(Clone, Debug, Default)]
struct Told {
    generation: u64,
    tally: Option<Arc<Tally>>,
}

/// What all cores told.
#[derive(Debug)]
pub struct Gathered {
    /// All of it together.
    pub tally: Tally,
    /// Cores whose part is an older one.
    pub late: usize,
}

// === impl CallKind ===

impl CallKind {
    fn parts(&self) -> CallParts<'_> {
        CallParts {
            route: self.route,
            model: &self.model,
            outcome: self.outcome,
            code: &self.code,
        }
    }

    /// Is it this kind, by names that need not be read? May say no of one that is.
    fn is_plainly(&self, parts: &CallParts<'_>) -> bool {
        std::ptr::eq(self.route, parts.route)
            && std::ptr::eq(self.outcome, parts.outcome)
            && self.model == parts.model
            && self.code == parts.code
    }
}

// === impl CallParts ===

impl CallParts<'_> {
    fn to_kind(self) -> CallKind {
        CallKind {
            route: self.route,
            model: self.model.to_owned(),
            outcome: self.outcome,
            code: self.code.to_owned(),
        }
    }
}

// === impl Phase ===

impl Phase {
    /// Every phase, in the order in which they happen.
    pub const ALL: [Self; 6] = [
        Self::Inspect,
        Self::Forward,
        Self::FirstByte,
        Self::Answer,
        Self::Hold,
        Self::Total,
    ];

    /// Its name in metrics and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Forward => "forward",
            Self::FirstByte => "first_byte",
            Self::Answer => "answer",
            Self::Hold => "hold",
            Self::Total => "total",
        }
    }
}

// === impl Tally ===

impl Default for Tally {
    fn default() -> Self {
        let phase = || {
            Histogram::new_with_bounds(1, NANOSECONDS_MAX, DIGITS)
                // The bounds are constants that satisfy what the constructor asks.
                .expect("1 to an hour in nanoseconds, two digits")
        };
        Self {
            calls: Vec::new(),
            known: HashMap::default(),
            last: 0,
            verdicts: HashMap::default(),
            phases: std::array::from_fn(|_| phase()),
            ring_backlog: 0,
        }
    }
}

impl Tally {
    /// Counts a call that has ended, and its times.
    pub fn call(&mut self, ended: &Ended<'_>) {
        let t = ended.timings;
        let outcome = outcome_name(ended.outcome);
        let model = match t.forwarded {
            0 => "",
            _ => ended.model.unwrap_or_default(),
        };
        let model = &model[..model.floor_char_boundary(MODEL_BYTES_MAX)];
        self.count(CallParts {
            route: ended.route,
            model,
            outcome,
            code: ended.code.unwrap_or_default(),
        });
        self.time(Phase::Inspect, 0, t.inspected);
        self.time(Phase::Forward, t.inspected, t.forwarded);
        self.time(Phase::FirstByte, t.forwarded, t.first_byte);
        self.time(Phase::Answer, t.first_byte, t.last_byte);
        self.time(Phase::Hold, 0, t.held_max);
        if ended.outcome == Outcome::Completed {
            self.time(Phase::Total, 0, t.last_byte);
        }
    }

    /// Counts what guards found.
    pub fn findings(&mut self, direction: Direction, findings: &[Finding]) {
        for finding in findings {
            let kind = VerdictKind {
                direction: direction.as_str(),
                guard: finding.guard.to_string(),
                rule: finding.rule.to_string(),
                action: finding.action.as_str(),
            };
            if self.verdicts.len() < VERDICTS_MAX || self.verdicts.contains_key(&kind) {
                *self.verdicts.entry(kind).or_default() += 1;
            }
        }
    }

    /// Adds another core's.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.calls {
            let place = self.place(kind.parts());
            self.calls[place].1 += count;
        }
        for (kind, count) in &other.verdicts {
            *self.verdicts.entry(kind.clone()).or_default() += count;
        }
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            // Both have the same bounds.
            let _ = mine.add(theirs);
        }
        self.ring_backlog += other.ring_backlog;
    }

    /// Calls by kind, sorted.
    #[must_use]
    pub fn calls(&self) -> Vec<(&CallKind, u64)> {
        sorted(self.calls.iter().map(|(kind, count)| (kind, *count)))
    }

    /// Verdicts by kind, sorted.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(&VerdictKind, u64)> {
        sorted(self.verdicts.iter().map(|(kind, count)| (kind, *count)))
    }

    /// Nanoseconds of one phase.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> &Histogram<u64> {
        &self.phases[phase as usize]
    }

    fn count(&mut self, mut parts: CallParts<'_>) {
        let is_last = |(kind, _): &(CallKind, u64)| kind.is_plainly(&parts);
        if !self.calls.get(self.last).is_some_and(is_last) {
            if self.calls.len() >= CALLS_MAX && self.find(&parts).is_none() {
                parts.model = OTHER;
            }
            self.last = self.place(parts);
        }
        self.calls[self.last].1 += 1;
    }

    /// Where calls of this kind are counted, which may be a new place.
    fn place(&mut self, parts: CallParts<'_>) -> usize {
        self.find(&parts).unwrap_or_else(|| {
            let hash = self.known.hasher().hash_one(parts);
            self.known.insert(hash, self.calls.len());
            self.calls.push((parts.to_kind(), 0));
            self.calls.len() - 1
        })
    }

    fn find(&self, parts: &CallParts<'_>) -> Option<usize> {
        let is_it = |place: &usize| self.calls[*place].0.parts() == *parts;
        let place = *self.known.get(&self.known.hasher().hash_one(parts))?;
        // Of two kinds with one hash, which is not to be expected, the later one is known.
        Some(place).filter(is_it).or_else(|| (0..place).find(is_it))
    }

    fn time(&mut self, phase: Phase, from: u64, to: u64) {
        // Zero is what did not happen; clocks may step back.
        if to > 0 {
            self.phases[phase as usize].saturating_record(to.saturating_sub(from).max(1));
        }
    }
}

fn sorted<'a, K: Ord>(counts: impl Iterator<Item = (&'a K, u64)>) -> Vec<(&'a K, u64)> {
    let mut counts: Vec<_> = counts.collect();
    counts.sort();
    counts
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Refused => "refused",
        Outcome::Blocked => "blocked",
        Outcome::ClientGone => "client_gone",
        Outcome::UpstreamFailed => "upstream_failed",
        Outcome::GatewayFailed => "gateway_failed",
    }
}

// === impl Tallies ===

impl Tallies {
    /// Of `cores` cores that have told nothing yet.
    #[must_use]
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self {
            asked: watch::Sender::new(0),
            told: (0..cores).map(|_| watch::Sender::default()).collect(),
        })
    }

    /// Changes whenever somebody asks; for cores, on any runtime.
    #[must_use]
    pub fn questions(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// A core's answer to question `generation`.
    pub fn tell(&self, core: usize, generation: u64, tally: Tally) {
        self.told[core].send_replace(Told {
            generation,
            tally: Some(Arc::new(tally)),
        });
    }

    /// Asks every core, and waits for all of them at most for `patience`.
    pub async fn gather(&self, patience: Duration) -> Gathered {
        let mut generation = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            generation = *asked;
        });
        let all = async {
            for core in &self.told {
                // The sender lives as long as `self`.
                let _ = core
                    .subscribe()
                    .wait_for(|told| told.generation >= generation)
                    .await;
            }
        };
        let _ = tokio::time::timeout(patience, all).await;
        let mut gathered = Gathered {
            tally: Tally::default(),
            late: 0,
        };
        for core in &self.told {
            let told = core.borrow().clone();
            gathered.late += usize::from(told.generation < generation);
            if let Some(tally) = told.tally {
                gathered.tally.add(&tally);
            }
        }
        gathered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(model: &str, timings: Timings) -> Ended<'_> {
        Ended {
            route: "/v1/chat/completions",
            model: Some(model),
            outcome: Outcome::Completed,
            code: None,
            timings,
        }
    }

    fn whole() -> Timings {
        Timings {
            inspected: 10_000,
            forwarded: 30_000,
            first_byte: 1_030_000,
            last_byte: 2_030_000,
            held_max: 0,
        }
    }

    #[test]
    fn calls_are_counted_by_kind_and_timed_by_phase() {
        let mut tally = Tally::default();
        tally.call(&ended("m", whole()));
        tally.call(&ended("m", whole()));
        let refused = Ended {
            outcome: Outcome::Refused,
            code: Some("model_not_permitted"),
            ..ended("chosen by the caller", Timings::default())
        };
        tally.call(&refused);
        let calls: Vec<_> = tally
            .calls()
            .into_iter()
            .map(|(kind, count)| (kind.model.as_str(), kind.outcome, kind.code.as_str(), count))
            .collect();
        assert_eq!(
            calls,
            [
                ("", "refused", "model_not_permitted", 1),
                ("m", "completed", "", 2)
            ]
        );
        let near = |phase: Phase, nanoseconds: u64| {
            let histogram = tally.phase(phase);
            assert_eq!(histogram.len(), 2, "{phase:?}");
            assert!(
                histogram.equivalent(histogram.max(), nanoseconds),
                "{phase:?}"
            );
        };
        near(Phase::Inspect, 10_000);
        near(Phase::Forward, 20_000);
        near(Phase::FirstByte, 1_000_000);
        near(Phase::Answer, 1_000_000);
        near(Phase::Total, 2_030_000);
        assert_eq!(tally.phase(Phase::Hold).len(), 0);
    }

    #[test]
    fn names_that_callers_choose_are_bounded() {
        let mut tally = Tally::default();
        for nth in 0..CALLS_MAX * 3 {
            tally.call(&ended(&format!("model-{nth}"), whole()));
        }
        assert_eq!(tally.calls().len(), CALLS_MAX + 1);
        let total: u64 = tally.calls().iter().map(|(_, count)| count).sum();
        assert_eq!(total, CALLS_MAX as u64 * 3, "none is lost");
        let long = "é".repeat(1 << 20);
        let mut other = Tally::default();
        other.call(&ended(&long, whole()));
        assert_eq!(other.calls()[0].0.model.len(), MODEL_BYTES_MAX);
        tally.call(&ended("model-0", whole()));
        let first = tally.calls().into_iter().find(|it| it.0.model == "model-0");
        assert_eq!(first.map(|it| it.1), Some(2), "who was known stays known");
    }

    #[tokio::test]
    async fn what_all_cores_tell_is_added_and_who_is_late_is_counted() {
        let tallies = Tallies::new(2);
        let core = tallies.clone();
        let answering = tokio::spawn(async move {
            let mut questions = core.questions();
            let mut tally = Tally::default();
            tally.call(&ended("m", whole()));
            core.tell(1, 0, tally.clone());
            questions.changed().await.unwrap();
            core.tell(0, *questions.borrow(), tally);
        });
        tokio::task::yield_now().await;
        let gathered = tallies.gather(Duration::from_millis(50)).await;
        answering.await.unwrap();
        assert_eq!(gathered.late, 1);
        assert_eq!(
            gathered.tally.calls()[0].1,
            2,
            "the late one by its last copy"
        );
        assert_eq!(gathered.tally.phase(Phase::Total).len(), 2);
    }
}
