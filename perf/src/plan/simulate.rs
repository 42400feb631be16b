//! An oracle for tests: a G/G/k queue, served in the order of arrival, event by event, seeded.
//!
//! It knows nothing of the formulas that it judges.

use crate::dice::Dice;

use super::fit::Load;

/// How long service takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    /// Always the same.
    Constant,
    /// Exponential: variability 1.
    Exponential,
    /// The sum of four exponentials: squared coefficient of variation 1/4.
    Erlang4,
    /// A tenth of the requests take ten times as long as the others.
    TwoKinds,
}

/// A queue to run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queue {
    pub servers: u32,
    pub mean_s: f64,
    pub service: Service,
    /// Added to each latency: what is spent elsewhere.
    pub elsewhere_s: f64,
}

fn uniform(dice: &mut Dice) -> f64 {
    // Never zero, so its logarithm is finite.
    ((dice.roll() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

fn exponential(dice: &mut Dice, mean: f64) -> f64 {
    -mean * uniform(dice).ln()
}

/// As a histogram of three digits keeps them.
fn counted(latencies: &[f64]) -> Vec<(f64, u64)> {
    let mut counts = std::collections::BTreeMap::new();
    for seconds in latencies {
        let ns = (seconds * 1e9) as u64;
        let step = 10_u64.pow((ns.max(1).ilog10()).saturating_sub(2));
        *counts.entry(ns / step * step + step / 2).or_insert(0) += 1;
    }
    counts
        .into_iter()
        .map(|(ns, count)| (ns as f64 / 1e9, count))
        .collect()
}

// === impl Queue ===

impl Queue {
    fn serve(&self, dice: &mut Dice) -> f64 {
        match self.service {
            Service::Constant => self.mean_s,
            Service::Exponential => exponential(dice, self.mean_s),
            Service::Erlang4 => (0..4).map(|_| exponential(dice, self.mean_s / 4.0)).sum(),
            Service::TwoKinds => {
                let short = self.mean_s / 1.9;
                match uniform(dice) < 0.1 {
                    true => 10.0 * short,
                    false => short,
                }
            }
        }
    }

    /// Random arrivals at a rate; what a load generator would report of so many of them.
    pub(super) fn run(&self, rate: f64, requests: usize, seed: u64) -> Load {
        let mut dice = Dice::new(seed);
        let mut free_at = vec![0.0_f64; self.servers as usize];
        let mut now = 0.0;
        let mut end = 0.0_f64;
        let mut latencies = Vec::with_capacity(requests);
        let warm = requests / 10;
        for index in 0..requests + warm {
            now += exponential(&mut dice, 1.0 / rate);
            let first = (0..free_at.len()).min_by(|&a, &b| free_at[a].total_cmp(&free_at[b]));
            let server = first.expect("there is a server");
            let done = now.max(free_at[server]) + self.serve(&mut dice);
            free_at[server] = done;
            end = end.max(done);
            if index >= warm {
                latencies.push(done - now + self.elsewhere_s);
            }
        }
        Load {
            name: format!("{} servers, {rate:.0}/s", self.servers),
            cores: self.servers,
            rate,
            completed: (requests + warm) as f64 / end,
            tokens_each: 10.0,
            latencies: counted(&latencies),
            busy: std::collections::BTreeMap::new(),
        }
    }
}
