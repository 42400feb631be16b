//! What a run of the load generator found: one [`Outcome`], which goes into JSON and back.
//!
//! Everything that a reader may want later is in it: what was asked, on which machine, the counts,
//! and for every [`Metric`] whole histograms, not only the percentiles that somebody thought of. So
//! tables, pictures, HdrHistogram logs, assertions and comparisons are all made from an `Outcome`,
//! at once or a year later.
//!
//! Times are whole nanoseconds unless a name ends otherwise. Most metrics have two series, told
//! apart by [`Basis`]: counted from when a request should have started, and from when it was really
//! sent. The first is what a user of the service feels, also while the service stalls and requests
//! queue up before it; the second is what the service did with the requests that reached it. A tool
//! that only has the second leaves out exactly the requests that fared worst (coordinated omission).
//!
//! [`Recorder`] does the counting while the run goes on.

mod asked;
mod collect;
mod fault;
mod metric;
mod objective;
mod progress;
mod recorder;
mod tally;
mod times;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

pub use asked::{Asked, Loop, without_credentials};
pub use fault::Fault;
pub use metric::{Basis, Distribution, Measured, Metric, Moments};
pub use objective::{Objective, parse_time};
pub use progress::Progress;
pub use recorder::{End, Ended, Recorder, SLOTS_MAX};
pub use times::{CompactTimes, DIGITS, TIME_NS_MAX, Times, TimesError};

/// The shape of an [`Outcome`]; another number means that fields changed their meaning.
pub const SCHEMA: &str = "penstock-loadgen-outcome/1";

/// How a run went.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// [`SCHEMA`].
    pub schema: String,
    /// When the run began, ISO 8601 in UTC.
    pub began: String,
    /// From the first intended start to the last thing that happened.
    pub elapsed_s: f64,
    /// What the command line meant, resolved.
    pub asked: Asked,
    /// Where the generator ran.
    pub machine: Machine,
    /// How many of what.
    pub counts: Counts,
    /// Counts over `elapsed_s`.
    pub rates: Rates,
    /// Whether the generator itself kept up.
    pub lag: Lag,
    /// Answers that met every objective; absent where none was stated.
    pub goodput: Option<Goodput>,
    /// Times, by metric. A metric that never happened is absent.
    pub metrics: BTreeMap<Metric, Measured<Distribution>>,
    /// The run in slots of equal length.
    pub timeline: Timeline,
    /// What was asserted of it, and whether it held.
    #[serde(default)]
    pub assertions: Vec<Checked>,
}

/// Whether an assertion held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// As it was written.
    pub assertion: String,
    /// What was measured: times in nanoseconds, shares from 0 to 1. Null when nothing was.
    pub measured: Option<f64>,
    /// The same for people.
    pub shown: String,
    /// Whether it held; without a measurement it does not.
    pub holds: bool,
}

/// How many of what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Requests that should have started.
    pub intended: u64,
    /// Requests that did.
    pub started: u64,
    /// Answered well, to a proper end.
    pub completed: u64,
    /// What did not end well, by class: `status_503`, `timeout`, `truncated`, `not_sent`, …
    pub errors: BTreeMap<String, u64>,
    /// Errors of all classes, of `intended`; 0 to 1. Those left on purpose are no errors.
    pub error_rate: f64,
    /// Streams that ended before their proper end; among the errors too.
    pub truncated: u64,
    /// Answers whose text was not the one expected, by its hash. Not among the errors.
    pub altered: u64,
    /// Places in answers where a mask stood.
    pub masked_spans: u64,
    /// Exchanges that the generator itself broke off, as it was asked to.
    pub left_on_purpose: u64,
    /// Tokens of answers: events that brought text, or what the usage said.
    pub tokens: u64,
    /// Bytes of answers' bodies.
    pub bytes: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Kept connections that proved dead before an answer, whose request was sent again.
    pub retried: u64,
    /// Prompts in which a secret was planted.
    pub planted: u64,
    /// Planted secrets that came back as they were.
    pub leaked: u64,
}

/// Counts over the whole time, a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Intended starts.
    pub offered_per_s: f64,
    /// Actual starts.
    pub started_per_s: f64,
    /// Good answers.
    pub completed_per_s: f64,
    /// Tokens of answers.
    pub tokens_per_s: f64,
}

/// How late the generator itself was: from when a request was due to when the generator turned to
/// it. Waiting for a free connection is not in it: that is the server's doing.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Lag {
    /// All of it; absent in closed loop, where nothing is ever due.
    pub times: Option<Distribution>,
    /// How long a socket that could be read waited for it, at most; both loops.
    pub reading: Option<Distribution>,
    /// Share of the time that the generator's thread was not waiting.
    pub busy_share: f64,
    /// What was allowed, and what came of it.
    pub verdict: Lateness,
}

/// What was allowed of lateness, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lateness {
    /// Whether the generator, and not the server, was late: the run's figures are not to be used.
    pub late: bool,
    /// Later than this is late.
    pub limit_ns: u64,
    /// Share of the requests that were later; 0 to 1.
    pub late_share: f64,
    /// The share that is allowed.
    pub late_share_max: f64,
    /// In words, for people.
    pub reason: String,
}

/// Answers that met every objective.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Goodput {
    /// What each answer had to meet.
    pub objectives: Vec<Objective>,
    /// Good answers that met all.
    pub met: u64,
    /// Of the requests that should have started; 0 to 1.
    pub share: f64,
    /// A second.
    pub per_s: f64,
}

/// The run in slots of equal length. The last may be shorter in truth.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// Length of a slot in seconds.
    pub slot_s: f64,
    /// Slots without a gap, from the run's start.
    pub slots: Vec<Slot>,
}

/// What happened in a slot.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    /// Requests that should have started in it.
    pub intended: u64,
    /// Requests that started.
    pub started: u64,
    /// Good ends.
    pub completed: u64,
    /// Errors of all classes.
    pub errors: u64,
    /// Good ends that met every objective.
    pub met: u64,
    /// Tokens of exchanges that ended in it.
    pub tokens: u64,
    /// Started and not ended, at the slot's end.
    pub in_flight: u64,
    /// Intended and not started, at the slot's end.
    pub waiting: u64,
    /// Times of what ended in it.
    pub metrics: BTreeMap<Metric, Measured<Moments>>,
}

/// Why something is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum OutcomeError {
    /// Not JSON, or not of this shape.
    #[error("no outcome of a run: {0}")]
    Shape(#[from] serde_json::Error),
    /// Written by a newer or older generator.
    #[error("an outcome of the shape {0:?}; this program reads {SCHEMA:?}")]
    Schema(String),
}

// === impl Lateness ===

impl Lateness {
    /// Judges what [`Recorder::lag`] counted: late when more than a share of all was later than the
    /// limit. Of nothing, the generator was in time.
    pub fn judge(lag: &Times, limit_ns: u64, late_share_max: f64) -> Self {
        let counted = lag.counted().filter(|(ns, _)| *ns > limit_ns);
        let later: u64 = counted.map(|(_, count)| count).sum();
        let late_share = later as f64 / lag.count().max(1) as f64;
        let late = late_share > late_share_max;
        let word = if late { "late" } else { "in time" };
        let limit = crate::chart::nanoseconds(limit_ns as f64);
        Self {
            late,
            limit_ns,
            late_share,
            late_share_max,
            reason: format!(
                "the generator was {word}: {:.3} % of requests were taken up more than {limit} after \
                 they were due, allowed are {:.3} %",
                late_share * 100.0,
                late_share_max * 100.0
            ),
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Reads what [`Outcome::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, OutcomeError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_str(text)?;
        if head.schema != SCHEMA {
            return Err(OutcomeError::Schema(head.schema));
        }
        Ok(serde_json::from_str(text)?)
    }

    /// As JSON with line breaks, the last one too.
    pub fn to_json(&self) -> Result<String, OutcomeError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The JSON schema of outcomes, in the 2020-12 dialect.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Outcome).to_value()
    }

    /// The distribution of a metric: in the series asked for, else in the one that is usual for it
    /// (from the intended start where that has a meaning). `None` when nothing was counted.
    pub fn distribution(&self, metric: Metric, basis: Option<Basis>) -> Option<&Distribution> {
        let measured = self.metrics.get(&metric)?;
        let found = match basis {
            Some(basis) => measured.of(basis),
            None => measured.intended.as_ref().or(measured.sent.as_ref()),
        };
        found.filter(|distribution| distribution.count > 0)
    }

    /// Errors of all classes.
    pub fn errors(&self) -> u64 {
        self.counts.errors.values().sum()
    }
}
