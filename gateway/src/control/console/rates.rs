//! How many calls a second there were in the last minutes, for the overview.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::Counters;

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Looks that are kept: a quarter of an hour.
const LOOKS_MAX: usize = 181;

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    requests: u64,
    refused: u64,
    failed: u64,
}

/// Calls a second between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    /// Seconds before now at which it ended.
    pub(super) ago_s: f64,
    pub(super) requests: f64,
    /// Refused or blocked, for whatever reason.
    pub(super) refused: f64,
    /// Failed upstream.
    pub(super) failed: f64,
}

/// The last looks.
#[derive(Default)]
pub(super) struct Rates(Mutex<VecDeque<Look>>);

// === impl Rates ===

impl Rates {
    /// Looks at the counters for ever.
    pub(super) async fn keep(&self, counters: &Counters) {
        loop {
            let totals = counters.totals();
            self.note(Look {
                at: Instant::now(),
                requests: totals.requests,
                refused: totals.refused + totals.blocked,
                failed: totals.upstream_failures,
            });
            tokio::time::sleep(LOOK).await;
        }
    }

    fn note(&self, look: Look) {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() == LOOKS_MAX {
            looks.pop_front();
        }
        looks.push_back(look);
    }

    /// What is known, the oldest first.
    pub(super) fn known(&self, now: Instant) -> Vec<Rate> {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = looks.iter().zip(looks.iter().skip(1));
        pairs.map(|(from, to)| between(*from, *to, now)).collect()
    }
}

fn between(from: Look, to: Look, now: Instant) -> Rate {
    let seconds = to.at.duration_since(from.at).as_secs_f64().max(1e-3);
    // Counts of a quarter of an hour are far below what a float holds exactly.
    let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
    Rate {
        ago_s: now.duration_since(to.at).as_secs_f64(),
        requests: rate(from.requests, to.requests),
        refused: rate(from.refused, to.refused),
        failed: rate(from.failed, to.failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_the_time_between() {
        let rates = Rates::default();
        let start = Instant::now();
        let look = |seconds: u64, requests: u64| Look {
            at: start + Duration::from_secs(seconds),
            requests,
            refused: requests / 2,
            failed: 0,
        };
        assert!(rates.known(start).is_empty());
        rates.note(look(0, 0));
        rates.note(look(5, 10));
        rates.note(look(15, 10));
        let known = rates.known(start + Duration::from_secs(20));
        assert_eq!(known.len(), 2);
        assert_eq!(
            (known[0].requests, known[0].refused, known[0].ago_s),
            (2.0, 1.0, 15.0)
        );
        assert_eq!((known[1].requests, known[1].ago_s), (0.0, 5.0));
        for nth in 0..500 {
            rates.note(look(20 + nth, 10));
        }
        assert_eq!(
            rates.known(start + Duration::from_secs(600)).len(),
            LOOKS_MAX - 1
        );
    }
}
