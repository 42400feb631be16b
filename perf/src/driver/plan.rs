//! Everything that a scenario sends, built before the clock runs, and who sends what when.

use std::sync::Arc;

use crate::scenario::{Answer, Scenario, Unit};
use crate::traffic::{self, Expected, NUMBER_LETTERS};

/// A request, whole, with the answer that must come back.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Head and body, with a number of zero.
    request: Vec<u8>,
    /// Where its number stands.
    numbers_at: Vec<usize>,
    /// The answer's body.
    pub expected: Arc<Expected>,
}

/// The requests of a scenario, in the order in which connections send them.
#[derive(Debug, Clone)]
pub struct Plan {
    /// First requests, spread over the connections; empty where they are as the others.
    first: Vec<Prepared>,
    /// Then these in turn, from the beginning again.
    cycle: Vec<Prepared>,
    /// What is counted.
    pub unit: Unit,
}

// === impl Prepared ===

impl Prepared {
    /// The request with this number, in place of what is in `bytes`.
    pub fn write(&self, number: u64, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&self.request);
        for &at in &self.numbers_at {
            traffic::write_number(number, &mut bytes[at..at + NUMBER_LETTERS]);
        }
    }

    /// The request's size.
    pub fn size(&self) -> usize {
        self.request.len()
    }
}

// === impl Plan ===

impl Plan {
    /// For connections to `host`; `field` is a further line of each head.
    pub fn new(scenario: &Scenario, host: &str, field: &str) -> Plan {
        let prepare = |exchange, tokens| {
            let (request, numbers_at) = traffic::request(host, field, exchange, tokens);
            Prepared {
                request,
                numbers_at,
                expected: Arc::new(traffic::answer(exchange, tokens)),
            }
        };
        let cycle: Vec<Prepared> = scenario
            .exchanges
            .iter()
            .map(|exchange| prepare(exchange, traffic::tokens(exchange)))
            .collect();
        let first = match scenario.exchanges {
            [stream] if scenario.connections > 1 => match stream.answer {
                Answer::Stream { tokens } => (1..=tokens).map(|n| prepare(stream, n)).collect(),
                Answer::Json { .. } => Vec::new(),
            },
            _ => Vec::new(),
        };
        Plan {
            first,
            cycle,
            unit: scenario.unit,
        }
    }

    /// The number of the `nth` request of a connection: the same in all requests of a pass through the
    /// plan, which is a conversation where it repeats anything, and in no others.
    pub fn number_of(&self, connection: usize, nth: usize) -> u64 {
        let pass = (connection + nth) / self.cycle.len();
        (connection as u64) << 32 | pass as u64
    }

    /// The `nth` request of one of so many connections.
    pub fn of(&self, connection: usize, connections: usize, nth: usize) -> &Prepared {
        match self.first.len() {
            0 => &self.cycle[(connection + nth) % self.cycle.len()],
            phases if nth == 0 => &self.first[connection * phases / connections.max(1)],
            _ => &self.cycle[(connection + nth) % self.cycle.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(name: &str) -> Plan {
        let scenario: Scenario = name.parse().expect("a scenario");
        Plan::new(&scenario, "h", "A: b")
    }

    fn events(prepared: &Prepared) -> usize {
        match &*prepared.expected {
            Expected::Json(_) => 0,
            Expected::Stream(stream) => stream.events.len() - traffic::FRAME_EVENTS,
        }
    }

    #[test]
    fn streams_end_evenly_from_the_beginning_on() {
        let plan = plan("stream1000");
        let first: Vec<_> = (0..1000).map(|it| events(plan.of(it, 1000, 0))).collect();
        assert_eq!(first.iter().filter(|&&tokens| tokens == 1).count(), 5);
        assert_eq!(first.iter().max(), Some(&200));
        assert_eq!(events(plan.of(0, 1000, 1)), 200);
    }

    #[test]
    fn a_number_is_that_of_one_request_or_of_one_conversation() {
        let numbers = |plan: &Plan, connection, count| -> Vec<u64> {
            (0..count)
                .map(|nth| plan.number_of(connection, nth))
                .collect()
        };
        let small = plan("small");
        let mut all = [numbers(&small, 0, 100), numbers(&small, 1, 100)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 200);
        // The fourth connection begins with the fourth turn.
        let turns = numbers(&plan("conversation"), 3, 45);
        let lengths: Vec<usize> = turns.chunk_by(|a, b| a == b).map(<[u64]>::len).collect();
        assert_eq!(lengths, [13, 16, 16]);
    }

    #[test]
    fn what_is_sent_differs_by_its_number_alone() {
        let plan = plan("conversation");
        let prepared = plan.of(2, 32, 0);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        prepared.write(1, &mut one);
        prepared.write(2, &mut other);
        assert_eq!(one.len(), prepared.size());
        let differing = one.iter().zip(&other).filter(|(a, b)| a != b).count();
        assert_eq!(differing, 5, "four messages before, and a new one");
    }

    #[test]
    fn connections_of_a_mix_begin_at_different_places_and_send_all_of_it() {
        let plan = plan("mixed");
        let sent = |connection| -> Vec<usize> {
            (0..9)
                .map(|nth| events(plan.of(connection, 64, nth)))
                .collect()
        };
        assert_ne!(sent(0), sent(1));
        for connection in 0..64 {
            assert_eq!(sent(connection).iter().sum::<usize>(), 40);
        }
    }
}
