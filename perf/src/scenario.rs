//! What is measured: how many connections, what is asked and answered, and what counts as one unit.
//!
//! A scenario is data; adding one is adding an entry to [`SCENARIOS`]. Names are part of the command
//! line's contract.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// Connections, each with one request under way at any time.
    pub connections: usize,
    /// What each connection asks for, one after the other, from the beginning again. Each
    /// connection begins at another one.
    pub exchanges: &'static [Exchange],
    /// Time between two events of a stream. The upstream works in steps, as a batching inference
    /// engine does: at every step each stream that is under way gets one event, in one write of its
    /// own. Chosen so that the proxies are not saturated: one that falls behind reads several events
    /// at once and looks cheaper than it is.
    pub step: Duration,
    /// What is counted.
    pub unit: Unit,
    /// How long a connection lives, and whether it is encrypted.
    pub wire: Wire,
    /// How slow the clients are, where they are.
    pub pace: Option<Pace>,
    /// What is done with this traffic.
    pub method: Method,
}

/// One request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The model that the request names; permissions in `subjects/` grant `bench-*`.
    pub model: &'static str,
    /// Size of the request's body.
    pub request_bytes: usize,
    /// Messages in it that the conversation's requests before it had, too.
    pub repeated: usize,
    /// What the upstream answers with.
    pub answer: Answer,
}

/// What the upstream answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// One JSON document of so many bytes, at once.
    Json {
        /// Size of its body.
        bytes: usize,
    },
    /// A stream of server-sent events: a role, the tokens, a finish reason, and `[DONE]`.
    Stream {
        /// Pieces of text in it.
        tokens: usize,
    },
}

/// What counts as one unit of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A whole exchange.
    Request,
    /// One event of a stream.
    Event,
}

/// A connection's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// In clear, kept for all requests.
    Kept,
    /// In clear, a new one for each request.
    New,
    /// TLS, kept for all requests.
    TlsKept,
    /// TLS, a new one for each request, continuing an earlier session.
    TlsResumed,
    /// TLS, a new one for each request, with a full handshake.
    TlsFull,
}

/// Slow clients send and take this much at a time, and pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of the request sent at a time.
    pub send_bytes: usize,
    /// Bytes of the answer taken at a time, from a small receive buffer.
    pub take_bytes: usize,
    /// Time between two times.
    pub every: Duration,
}

/// What is done with a scenario's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A closed loop: the cost of a unit.
    Cost,
    /// An open loop at half of what the reference can do: the latency that a subject adds.
    HalfLoad,
    /// Connections that rest, then streams on all of them: the memory that each takes.
    Memory,
}

const KIB: usize = 1 << 10;

const SMALL: Exchange = json("bench-1k", KIB, KIB);
const STREAM: Exchange = Exchange {
    model: "bench-stream-200",
    request_bytes: KIB,
    repeated: 0,
    answer: Answer::Stream { tokens: 200 },
};

/// What the other scenarios differ from.
const PLAIN: Scenario = Scenario {
    name: "small",
    connections: 64,
    exchanges: &[SMALL],
    step: Duration::from_millis(10),
    unit: Unit::Request,
    wire: Wire::Kept,
    pace: None,
    method: Method::Cost,
};

/// Sixteen turns, the last with 31 messages before it: what chats and agents send. Each connection has
/// one after the other.
const CONVERSATION: [Exchange; 16] = {
    let mut turns = [turn(0); 16];
    let mut nth = 1;
    while nth < turns.len() {
        turns[nth] = turn(nth);
        nth += 1;
    }
    turns
};

/// Every scenario that can be measured.
pub const SCENARIOS: &[Scenario] = &[
    PLAIN,
    Scenario {
        name: "prompt16k",
        connections: 32,
        exchanges: &[json("bench-16k", 16 * KIB, KIB)],
        ..PLAIN
    },
    Scenario {
        name: "prompt256k",
        connections: 8,
        exchanges: &[json("bench-256k", 256 * KIB, KIB)],
        ..PLAIN
    },
    Scenario {
        name: "crowd",
        connections: 1500,
        ..PLAIN
    },
    Scenario {
        name: "conversation",
        connections: 32,
        exchanges: &CONVERSATION,
        ..PLAIN
    },
    streams("stream1", 1, 2),
    streams("stream100", 100, 10),
    streams("stream1000", 1000, 100),
    streams("stream5000", 5000, 500),
    Scenario {
        name: "tls",
        wire: Wire::TlsResumed,
        ..PLAIN
    },
    Scenario {
        name: "tls-full",
        wire: Wire::TlsFull,
        ..PLAIN
    },
    Scenario {
        name: "tls-kept",
        wire: Wire::TlsKept,
        ..PLAIN
    },
    Scenario {
        name: "connect",
        wire: Wire::New,
        ..PLAIN
    },
    Scenario {
        name: "slow",
        connections: 200,
        exchanges: &[json("bench-16k", 16 * KIB, 64 * KIB)],
        pace: Some(Pace {
            send_bytes: 2 * KIB,
            take_bytes: 8 * KIB,
            every: Duration::from_millis(5),
        }),
        ..PLAIN
    },
    Scenario {
        name: "mixed",
        exchanges: &[
            SMALL,
            SMALL,
            SMALL,
            json("bench-16k", 16 * KIB, 4 * KIB),
            SMALL,
            SMALL,
            json("bench-answer", KIB, 64 * KIB),
            SMALL,
            Exchange {
                model: "bench-stream-40",
                request_bytes: 4 * KIB,
                repeated: 0,
                answer: Answer::Stream { tokens: 40 },
            },
        ],
        step: Duration::from_millis(2),
        ..PLAIN
    },
    Scenario {
        name: "half-load",
        method: Method::HalfLoad,
        ..PLAIN
    },
    Scenario {
        name: "memory",
        connections: 2000,
        exchanges: &[SMALL, STREAM],
        step: Duration::from_millis(200),
        method: Method::Memory,
        ..PLAIN
    },
];

const fn json(model: &'static str, request_bytes: usize, bytes: usize) -> Exchange {
    Exchange {
        model,
        request_bytes,
        repeated: 0,
        answer: Answer::Json { bytes },
    }
}

/// A turn of a conversation: instructions, what was said before, and a new question.
const fn turn(nth: usize) -> Exchange {
    Exchange {
        repeated: 2 * nth,
        ..json("bench-conversation", (6 + 2 * nth + nth / 8) * KIB, KIB)
    }
}

const fn streams(name: &'static str, connections: usize, step_ms: u64) -> Scenario {
    Scenario {
        name,
        connections,
        exchanges: &[STREAM],
        step: Duration::from_millis(step_ms),
        unit: Unit::Event,
        ..PLAIN
    }
}

// === impl Scenario ===

impl Scenario {
    /// What one unit of work is called: `request` or `event`.
    pub fn unit(&self) -> &'static str {
        match self.unit {
            Unit::Request => "request",
            Unit::Event => "event",
        }
    }

    /// True when some answers are streams.
    pub fn streams(&self) -> bool {
        self.exchanges.iter().any(Exchange::streams)
    }

    /// True when its latencies do not come from a loop that waits for itself: added latency over
    /// `direct` then means something.
    pub fn latency_tells(&self) -> bool {
        self.unit == Unit::Event || self.method == Method::HalfLoad
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
            .ok_or_else(|| format!("no scenario `{name}`; there are {}", names()))
    }
}

/// The names of all scenarios.
pub fn names() -> String {
    let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    names.join(", ")
}

// === impl Exchange ===

impl Exchange {
    /// True when the answer is a stream.
    pub fn streams(&self) -> bool {
        matches!(self.answer, Answer::Stream { .. })
    }
}

// === impl Wire ===

impl Wire {
    /// True when it is encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Wire::TlsKept | Wire::TlsResumed | Wire::TlsFull)
    }

    /// True when each request has a connection of its own.
    pub fn is_new(self) -> bool {
        matches!(self, Wire::New | Wire::TlsResumed | Wire::TlsFull)
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
        assert!(error.contains("small, prompt16k"), "{error}");
    }

    #[test]
    fn a_model_has_one_answer_within_a_scenario() {
        for scenario in SCENARIOS {
            for (index, one) in scenario.exchanges.iter().enumerate() {
                let same = |other: &&Exchange| other.model == one.model;
                let first = scenario.exchanges.iter().position(|other| same(&other));
                let first = &scenario.exchanges[first.unwrap_or(index)];
                assert_eq!(first.answer, one.answer, "{scenario}");
            }
        }
    }
}
