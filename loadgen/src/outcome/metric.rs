//! What is timed, from where, and how its figures stand in an outcome.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tally::Tally;
use super::times::{CompactTimes, Times};

/// What is timed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Making a connection, TCP or Unix.
    Connect,
    /// Agreeing on TLS on it.
    Tls,
    /// To the first byte of the answer.
    FirstByte,
    /// To the first text of a stream that is not empty.
    Ttft,
    /// Between one event with text and the next.
    BetweenTokens,
    /// From the first token to the last, by the number of tokens after the first; one value a
    /// stream.
    PerOutputToken,
    /// To the end of a good answer.
    EndToEnd,
    /// To the end of an exchange that failed, of whatever class.
    Failed,
}

/// From where a time is counted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// From when the request should have started: what a user feels.
    Intended,
    /// From when the generator really began with it: what the server did with what reached it.
    Sent,
}

/// Something for each basis. `intended` is absent where it has no meaning: a connection, a gap
/// between tokens, a closed loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured<T> {
    /// From the intended start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intended: Option<T>,
    /// From the actual start, or from the event before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<T>,
}

/// Percentiles for people, and the whole histogram for programs. All times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)] // each is what it is called
pub struct Distribution {
    pub count: u64,
    pub mean_ns: f64,
    pub stddev_ns: f64,
    pub min_ns: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p95_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub p9999_ns: u64,
    pub max_ns: u64,
    pub histogram: Times,
}

/// The little that a slot of the timeline needs, and its histogram. All times in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)] // each is what it is called
pub struct Moments {
    pub count: u64,
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
    pub histogram: CompactTimes,
}

// === impl Metric ===

impl Metric {
    /// All of them, in the order of an exchange's life.
    pub const ALL: [Metric; 8] = [
        Metric::Connect,
        Metric::Tls,
        Metric::FirstByte,
        Metric::Ttft,
        Metric::BetweenTokens,
        Metric::PerOutputToken,
        Metric::EndToEnd,
        Metric::Failed,
    ];

    /// Whether it matters for it from where one counts.
    pub fn has_intended(self) -> bool {
        matches!(
            self,
            Metric::FirstByte | Metric::Ttft | Metric::EndToEnd | Metric::Failed
        )
    }

    /// Its name in JSON, assertions and tags.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Connect => "connect",
            Metric::Tls => "tls",
            Metric::FirstByte => "first_byte",
            Metric::Ttft => "ttft",
            Metric::BetweenTokens => "between_tokens",
            Metric::PerOutputToken => "per_output_token",
            Metric::EndToEnd => "end_to_end",
            Metric::Failed => "failed",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Metric::Connect => "connect",
            Metric::Tls => "TLS handshake",
            Metric::FirstByte => "first byte",
            Metric::Ttft => "time to first token",
            Metric::BetweenTokens => "between tokens",
            Metric::PerOutputToken => "per output token",
            Metric::EndToEnd => "end to end",
            Metric::Failed => "until failure",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Metric::ALL.into_iter().find(|metric| metric.name() == text);
        found.ok_or_else(|| {
            let names: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
            format!("{text:?} is no metric: {}", names.join(", "))
        })
    }
}

// === impl Basis ===

impl Basis {
    /// Both.
    pub const ALL: [Basis; 2] = [Basis::Intended, Basis::Sent];

    /// Its name in JSON, assertions and tags.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Intended => "intended",
            Basis::Sent => "sent",
        }
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Measured ===

impl<T> Default for Measured<T> {
    fn default() -> Self {
        Self {
            intended: None,
            sent: None,
        }
    }
}

impl<T> Measured<T> {
    /// What there is for a basis.
    pub fn of(&self, basis: Basis) -> Option<&T> {
        match basis {
            Basis::Intended => self.intended.as_ref(),
            Basis::Sent => self.sent.as_ref(),
        }
    }

    /// The same of something else.
    pub fn map<U>(self, mut with: impl FnMut(T) -> U) -> Measured<U> {
        Measured {
            intended: self.intended.map(&mut with),
            sent: self.sent.map(with),
        }
    }

    /// What there is, with its basis.
    pub fn each(&self) -> impl Iterator<Item = (Basis, &T)> {
        let both = Basis::ALL.into_iter();
        both.filter_map(|basis| Some((basis, self.of(basis)?)))
    }
}

// === impl Distribution, Moments ===

impl From<Times> for Distribution {
    fn from(times: Times) -> Self {
        let histogram = times.histogram();
        Self {
            count: times.count(),
            mean_ns: times.mean(),
            stddev_ns: if times.is_empty() {
                0.0
            } else {
                histogram.stdev()
            },
            min_ns: if times.is_empty() { 0 } else { histogram.min() },
            p50_ns: times.quantile(0.5),
            p90_ns: times.quantile(0.9),
            p95_ns: times.quantile(0.95),
            p99_ns: times.quantile(0.99),
            p999_ns: times.quantile(0.999),
            p9999_ns: times.quantile(0.9999),
            max_ns: histogram.max(),
            histogram: times,
        }
    }
}

impl From<&Tally> for Moments {
    fn from(tally: &Tally) -> Self {
        Self {
            count: tally.count(),
            p50_ns: tally.quantile(0.5),
            p99_ns: tally.quantile(0.99),
            max_ns: tally.max(),
            histogram: tally.to_compact(),
        }
    }
}
