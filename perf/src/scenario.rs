//! What is measured: how many connections, what comes back, and what counts as one unit.
//!
//! A scenario is data; adding one is adding a line to [`SCENARIOS`]. Names are part of the command
//! line's contract.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// Keep-alive connections, each with one request under way at any time.
    pub connections: usize,
    /// What the upstream answers with.
    pub answer: Answer,
}

/// What the upstream answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// One JSON document of 1 KiB, at once. The unit is the request.
    Json,
    /// A stream of server-sent events. The unit is the event.
    ///
    /// The upstream works in steps, as a batching inference engine does: at every step each stream
    /// that is under way gets one event, in one write of its own.
    Stream {
        /// Time between two steps. Chosen so that no subject is saturated: a subject that falls
        /// behind reads several events at once and looks cheaper than it is.
        step: Duration,
    },
}

/// Every scenario that can be measured.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "small",
        connections: 64,
        answer: Answer::Json,
    },
    Scenario {
        name: "stream1",
        connections: 1,
        answer: stream_each(2),
    },
    Scenario {
        name: "stream100",
        connections: 100,
        answer: stream_each(10),
    },
    Scenario {
        name: "stream1000",
        connections: 1000,
        answer: stream_each(100),
    },
];

const fn stream_each(step_ms: u64) -> Answer {
    Answer::Stream {
        step: Duration::from_millis(step_ms),
    }
}

// === impl Scenario ===

impl Scenario {
    /// What one unit of work is called: `request` or `event`.
    pub fn unit(&self) -> &'static str {
        match self.answer {
            Answer::Json => "request",
            Answer::Stream { .. } => "event",
        }
    }

    /// True when the answers are streams.
    pub fn streams(&self) -> bool {
        matches!(self.answer, Answer::Stream { .. })
    }

    /// The model that the request names; permissions in `subjects/` grant `bench-*`.
    pub fn model(&self) -> &'static str {
        match self.answer {
            Answer::Json => "bench-1k",
            Answer::Stream { .. } => "bench-stream-64",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Scenario, String> {
        SCENARIOS
            .iter()
            .find(|scenario| scenario.name == name)
            .copied()
            .ok_or_else(|| {
                let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
                format!("no scenario `{name}`; there are {}", names.join(", "))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_to_themselves_and_others_are_told_what_there_is() {
        for scenario in SCENARIOS {
            assert_eq!(scenario.name.parse::<Scenario>().as_ref(), Ok(scenario));
        }
        let error = "smal".parse::<Scenario>().expect_err("not a scenario");
        assert!(error.contains("small, stream1"), "{error}");
    }
}
