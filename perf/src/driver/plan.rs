//! Everything that a scenario sends, built before the clock runs, and who sends what when.

use std::sync::Arc;

use crate::scenario::{Answer, Scenario, Unit};
use crate::traffic::{self, Expected};

/// A request, whole, with the answer that must come back.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Head and body.
    pub request: Vec<u8>,
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

// === impl Plan ===

impl Plan {
    /// For connections to `host`; `field` is a further line of each head.
    pub fn new(scenario: &Scenario, host: &str, field: &str) -> Plan {
        let prepare = |exchange, tokens| Prepared {
            request: traffic::request(host, field, exchange, tokens),
            expected: Arc::new(traffic::answer(exchange, tokens)),
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
