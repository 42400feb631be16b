//! Many windows in few buckets.
//!
//! A bucket is itself a window: at each place the union of its members' classes. So a bucket lets
//! through what none of its members would, and which windows share one decides how much. Windows
//! are sorted so that similar ones are neighbours, and then those two neighbours are merged, again
//! and again, whose union adds the fewest places of ordinary text.

use super::Window;
use super::bytes::{iter, union};
use super::rarity::rate;

/// So many buckets are merged pair by pair; of more, many pairs at once.
const ONE_BY_ONE_MAX: usize = 512;

/// A bucket with the share of ordinary text's places that it names.
type Rated = (Window, f32);

/// The windows sorted and rated, similar ones next to each other, each once.
pub(super) fn sort(mut windows: Vec<Window>) -> Vec<Rated> {
    windows.sort_by_cached_key(key);
    windows.dedup();
    let mut buckets: Vec<Rated> = windows.into_iter().map(rated).collect();
    while buckets.len() > ONE_BY_ONE_MAX {
        buckets = halve(&buckets);
    }
    buckets
}

/// Merges until there are at most `buckets_max`, which is one at least.
pub(super) fn merge_to(buckets: &mut Vec<Rated>, buckets_max: usize) {
    // What merging a bucket with the next one adds.
    let mut added: Vec<f32> = buckets
        .windows(2)
        .map(|two| cost(&two[0], &two[1]))
        .collect();
    while buckets.len() > buckets_max {
        let cheapest = added.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        let Some((left, _)) = cheapest else { break };
        let right = buckets.remove(left + 1).0;
        buckets[left] = rated(merge(&buckets[left].0, &right));
        added.remove(left);
        if left > 0 {
            added[left - 1] = cost(&buckets[left - 1], &buckets[left]);
        }
        if let Some(next) = buckets.get(left + 1) {
            added[left] = cost(&buckets[left], next);
        }
    }
}

/// Merges the cheaper half of the neighbours two by two.
fn halve(buckets: &[Rated]) -> Vec<Rated> {
    let pairs: Vec<Rated> = buckets
        .windows(2)
        .map(|two| rated(merge(&two[0].0, &two[1].0)))
        .collect();
    let added = |at: usize| pairs[at].1 - buckets[at].1 - buckets[at + 1].1;
    let mut sorted: Vec<f32> = (0..pairs.len()).map(added).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let cheap = sorted[sorted.len() / 2];
    let mut merged = Vec::with_capacity(buckets.len());
    let mut at = 0;
    while at < buckets.len() {
        let pair = at < pairs.len() && added(at) <= cheap;
        merged.push(if pair { &pairs[at] } else { &buckets[at] }.clone());
        at += 1 + usize::from(pair);
    }
    merged
}

/// Windows are alike that begin alike; the greatest byte of a class is its lower-case letter.
fn key(window: &Window) -> Vec<(u8, u32)> {
    let alike = |class| {
        let count = iter(class).count() as u32;
        (iter(class).last().unwrap_or(0), count)
    };
    let mut key: Vec<_> = window.0.iter().map(alike).collect();
    // What stands first is mostly "no part of a word" or anything: two kinds of windows.
    key[0].0 = 0;
    key
}

fn rated(window: Window) -> Rated {
    let rate = rate(&window);
    (window, rate)
}

fn cost(left: &Rated, right: &Rated) -> f32 {
    rate(&merge(&left.0, &right.0)) - left.1 - right.1
}

fn merge(left: &Window, right: &Window) -> Window {
    let mut merged = left.clone();
    for (class, other) in merged.0.iter_mut().zip(&right.0) {
        union(class, other);
    }
    merged
}
