//! How sure a percentile of one run is, and the ratio of two.
//!
//! What is drawn again and again is one of two things:
//!
//! * **Slots.** Latencies of neighbouring requests resemble each other: a pause makes hundreds slow.
//!   Taken one by one they promise more certainty than there is. So whole slots of the timeline are
//!   drawn with replacement (a block bootstrap, H. R. Künsch 1989), their histograms added, and the
//!   percentile read from the sum. Needs [`SLOTS_MIN`] slots with values.
//! * **Ranks**, where a run is too short for that. The rank of a quantile among n independent values
//!   follows a beta distribution whatever the values' own one is (David and Nagaraja, "Order
//!   Statistics", 2.2), so ranks are drawn from it and the values read from the histogram.
//!
//! Either way a percentile needs [`BEYOND_MIN`] values on both of its sides; else there is no answer.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Beta, Distribution as _};

use crate::outcome::{CompactTimes, Times};

/// Slots with values that a block bootstrap needs.
pub const SLOTS_MIN: usize = 10;
/// Values that must lie beyond a percentile, on either side.
pub const BEYOND_MIN: f64 = 10.0;
/// How often is drawn.
pub const DRAWS: usize = 1000;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Whole slots of the timeline.
    Slots,
    /// Ranks of independent values.
    Ranks,
}

/// Times of one run, ready to be drawn from.
pub struct Sample {
    /// All, ascending, each with its count.
    values: Vec<(u64, u64)>,
    /// How many are at or below each of `values`.
    at_most: Vec<u64>,
    total: u64,
    /// For each slot, places in `values` and counts there.
    slots: Vec<Vec<(usize, u64)>>,
}

/// What came of drawing: for each share that was asked for, a value in each draw.
pub struct Draws(Vec<Vec<f64>>);

// === impl Sample ===

impl Sample {
    /// From all times of a run, and those of its slots.
    pub fn new<'a>(all: &Times, slots: impl Iterator<Item = &'a CompactTimes>) -> Self {
        let values: Vec<_> = all.counted().collect();
        let places: BTreeMap<u64, usize> = values
            .iter()
            .enumerate()
            .map(|(at, (ns, _))| (*ns, at))
            .collect();
        let slots = slots.map(|slot| {
            let counted = slot.counted().iter();
            counted
                .filter_map(|(ns, count)| Some((*places.get(ns)?, *count)))
                .collect()
        });
        let sums = values.iter().scan(0, |sum, (_, count)| {
            *sum += count;
            Some(*sum)
        });
        Self {
            at_most: sums.collect(),
            total: all.count(),
            slots: slots.filter(|slot: &Vec<_>| !slot.is_empty()).collect(),
            values,
        }
    }

    /// What can be drawn.
    pub fn method(&self) -> Method {
        if self.slots.len() >= SLOTS_MIN {
            Method::Slots
        } else {
            Method::Ranks
        }
    }

    /// Whether there is enough on both sides of a share.
    pub fn supports(&self, share: f64) -> bool {
        let total = self.total as f64;
        // a little less than the bound is the bound: 1 − 0.99 is not exactly 0.01
        (total * share).min(total * (1.0 - share)) >= BEYOND_MIN - 1e-6
    }

    /// The value that this share of all is at or below.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = rank(share, self.total);
        let place = self.at_most.partition_point(|at_most| *at_most < rank);
        let value = self.values.get(place).or(self.values.last());
        value.map_or(0.0, |(ns, _)| *ns as f64)
    }

    /// Draws the quantiles at these shares, which ascend.
    pub fn draw(&self, method: Method, shares: &[f64], seed: u64) -> Draws {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut draws = vec![Vec::with_capacity(DRAWS); shares.len()];
        let mut counts = vec![0u64; self.values.len()];
        for _ in 0..DRAWS {
            let drawn = match method {
                Method::Slots => {
                    counts.fill(0);
                    for _ in 0..self.slots.len() {
                        let slot = &self.slots[dice.random_range(0..self.slots.len())];
                        slot.iter().for_each(|(at, count)| counts[*at] += count);
                    }
                    self.read(&counts, shares)
                }
                Method::Ranks => shares
                    .iter()
                    .map(|share| self.at_drawn_rank(*share, &mut dice))
                    .collect(),
            };
            draws
                .iter_mut()
                .zip(drawn)
                .for_each(|(values, value)| values.push(value));
        }
        Draws(draws)
    }

    /// The value at a rank drawn for a share.
    fn at_drawn_rank(&self, share: f64, dice: &mut StdRng) -> f64 {
        let rank = rank(share, self.total) as f64;
        match Beta::new(rank, self.total as f64 + 1.0 - rank) {
            Ok(beta) => self.quantile(beta.sample(dice)),
            Err(_) => self.quantile(share), // both parameters are at least 1
        }
    }

    /// Values at ascending shares of counts that stand beside `values`.
    fn read(&self, counts: &[u64], shares: &[f64]) -> Vec<f64> {
        let total = counts.iter().sum();
        let mut ranks = shares.iter().map(|share| rank(*share, total)).peekable();
        let mut found = Vec::with_capacity(shares.len());
        let mut at_most = 0;
        for (count, (ns, _)) in counts.iter().zip(&self.values) {
            at_most += count;
            while ranks.next_if(|rank| *rank <= at_most).is_some() {
                found.push(*ns as f64);
            }
            if found.len() == shares.len() {
                break;
            }
        }
        found
    }
}

/// The rank of the value that this share of so many is at or below; 1 is the least.
fn rank(share: f64, total: u64) -> u64 {
    // shares such as 0.99 are not exact: a little above a whole rank is that rank
    let rank = (share * total as f64 - 1e-6).ceil() as u64;
    rank.clamp(1, total.max(1))
}

// === impl Draws ===

impl Draws {
    /// The values of one share in each draw.
    pub fn of(&self, share: usize) -> &[f64] {
        &self.0[share]
    }
}

/// The middle part of drawn values that holds this share of them.
pub fn interval(mut drawn: Vec<f64>, confidence: f64) -> (f64, f64) {
    drawn.sort_by(f64::total_cmp);
    let beyond = (1.0 - confidence) / 2.0;
    let at = |share: f64| {
        let place = (share * (drawn.len() as f64 - 1.0)).round();
        drawn.get(place as usize).copied().unwrap_or(f64::NAN)
    };
    (at(beyond), at(1.0 - beyond))
}

/// Means of values drawn with replacement; `None` where there are fewer than [`SLOTS_MIN`].
pub fn means(values: &[f64], seed: u64) -> Option<Vec<f64>> {
    if values.len() < SLOTS_MIN {
        return None;
    }
    let mut dice = StdRng::seed_from_u64(seed);
    let mut one = || {
        let drawn = values
            .iter()
            .map(|_| values[dice.random_range(0..values.len())]);
        drawn.sum::<f64>() / values.len() as f64
    };
    Some((0..DRAWS).map(|_| one()).collect())
}

/// The ratio of two drawn quantities, draw by draw.
pub fn ratios(below: &[f64], above: &[f64]) -> Vec<f64> {
    above
        .iter()
        .zip(below)
        .map(|(above, below)| above / below)
        .collect()
}

/// An interval for the difference of two shares, b − a, by Newcombe's hybrid of Wilson scores
/// (R. G. Newcombe, Statistics in Medicine 17, 1998, method 10): good at and near 0 too.
pub fn share_difference(a: (u64, u64), b: (u64, u64), confidence: f64) -> (f64, f64) {
    let z = normal_quantile(0.5 + confidence / 2.0);
    let wilson = |(hits, total): (u64, u64)| {
        let n = total.max(1) as f64;
        let share = hits as f64 / n;
        let middle = share + z * z / (2.0 * n);
        let half = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + z * z / n;
        (share, (middle - half) / scale, (middle + half) / scale)
    };
    let ((a, a_low, a_high), (b, b_low, b_high)) = (wilson(a), wilson(b));
    let difference = b - a;
    (
        difference - ((b - b_low).powi(2) + (a_high - a).powi(2)).sqrt(),
        difference + ((b_high - b).powi(2) + (a - a_low).powi(2)).sqrt(),
    )
}

/// The normal distribution's quantile, by bisection on its series: exact enough for an interval.
fn normal_quantile(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 9.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if normal_share(middle) < share {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// The share of a normal distribution below x ≥ 0 (Marsaglia's series).
fn normal_share(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    let mut n = 1.0;
    while term > 1e-16 * sum && n < 400.0 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(values: &[u64], slots: usize) -> Sample {
        let count = |values: &[u64]| {
            let mut times = Times::new();
            values.iter().for_each(|ns| times.record(*ns));
            times
        };
        let pieces = values.chunks(values.len().div_ceil(slots.max(1)));
        let slots: Vec<_> = pieces
            .map(|piece| CompactTimes::from(&count(piece)))
            .collect();
        Sample::new(&count(values), slots.iter())
    }

    /// Log-normal-like values: a sum of a few uniform ones, exponentiated.
    fn latencies(count: usize, shift: f64, dice: &mut StdRng) -> Vec<u64> {
        let one = |dice: &mut StdRng| {
            let bell: f64 = (0..6).map(|_| dice.random_range(-1.0..1.0)).sum();
            (1e6 * shift * (0.4 * bell).exp()) as u64
        };
        (0..count).map(|_| one(dice)).collect()
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_sorted_values(
            values in prop::collection::vec(1u64..2_000, 1..300), share in 0.01f64..1.0
        ) {
            // below 2048 every value has a bucket of its own, so the oracle is exact
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let rank = ((share * sorted.len() as f64 - 1e-6).ceil() as usize).max(1);
            prop_assert_eq!(sample(&values, 1).quantile(share), sorted[rank - 1] as f64);
        }
    }

    /// Over many pairs of runs with a known ratio, an interval of 95 % holds it about as often.
    #[test]
    fn intervals_hold_the_true_ratio_as_often_as_they_say() {
        let mut dice = StdRng::seed_from_u64(11);
        for (method, slots) in [(Method::Ranks, 1), (Method::Slots, 40)] {
            let mut held = [0; 2];
            let rounds = 40;
            for round in 0..rounds {
                let a = sample(&latencies(800, 1.0, &mut dice), slots);
                let b = sample(&latencies(800, 1.3, &mut dice), slots);
                assert_eq!(a.method(), method);
                let shares = [0.5, 0.95];
                let a = a.draw(method, &shares, round);
                let b = b.draw(method, &shares, round + 1000);
                for (at, held) in held.iter_mut().enumerate() {
                    let (low, high) = interval(ratios(a.of(at), b.of(at)), 0.95);
                    *held += u32::from((low..=high).contains(&1.3));
                    assert!(high / low < 1.6, "as wide as it must be: {low} {high}");
                }
            }
            // 38 of 40 are expected; with fewer than 33 it would be another interval
            assert!(held.iter().all(|held| *held >= 33), "{method:?} {held:?}");
        }
    }

    /// Slow slots among fast ones: single values promise too much, slots do not.
    #[test]
    fn values_that_resemble_their_neighbours_give_wider_intervals() {
        let mut dice = StdRng::seed_from_u64(5);
        let values: Vec<u64> = (0..40)
            .flat_map(|slot| latencies(50, if slot % 4 == 0 { 8.0 } else { 1.0 }, &mut dice))
            .collect();
        let sample = sample(&values, 40);
        let wide = |method| {
            let (low, high) = interval(sample.draw(method, &[0.8], 1).of(0).to_vec(), 0.95);
            high / low
        };
        assert!(wide(Method::Slots) > 1.2 * wide(Method::Ranks));
    }

    #[test]
    fn a_percentile_needs_values_beyond_it() {
        let of = |count: u64| sample(&(1..=count).collect::<Vec<_>>(), 1);
        assert!(of(1000).supports(0.99) && !of(999).supports(0.99));
        assert!(of(20).supports(0.5) && !of(19).supports(0.5));
        assert!(!of(999).supports(0.01));
    }

    #[test]
    fn shares_differ_as_newcombes_table_has_it() {
        // 56/70 − 48/80 at 95 %: 0.0524 to 0.3339 in the paper
        let (low, high) = share_difference((48, 80), (56, 70), 0.95);
        assert!(
            (low - 0.0524).abs() < 5e-5 && (high - 0.3339).abs() < 5e-5,
            "{low} {high}"
        );
        // 0/10 − 0/20 in the paper: −0.1611 to 0.2775
        let (low, high) = share_difference((0, 20), (0, 10), 0.95);
        assert!(
            (low + 0.1611).abs() < 5e-5 && (high - 0.2775).abs() < 5e-5,
            "{low} {high}"
        );
    }
}
