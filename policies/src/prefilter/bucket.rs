//! Many windows in few buckets.
//!
//! A bucket is itself a window: at each place the union of its members' classes. So a bucket lets
//! through what none of its members would, and which windows share one decides how much. Windows
//! are sorted so that similar ones are neighbours, and then those two neighbours are merged, again
//! and again, whose union adds the fewest places of ordinary text.

use super::Window;
use super::bytes::{iter, union};
use super::rarity::rate;

/// At most `buckets_max` windows that together begin wherever one of `windows` does.
pub(super) fn group(mut windows: Vec<Window>, buckets_max: usize) -> Vec<Window> {
    windows.sort_by_cached_key(key);
    windows.dedup();
    let mut buckets: Vec<(Window, f32)> = windows.into_iter().map(rated).collect();
    // What merging a bucket with the next one adds.
    let mut added: Vec<f32> = buckets
        .windows(2)
        .map(|two| cost(&two[0], &two[1]))
        .collect();
    while buckets.len() > buckets_max {
        let cheapest = added.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        // There are two buckets or more, for the bound is one at least.
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
    buckets.into_iter().map(|(window, _)| window).collect()
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

fn rated(window: Window) -> (Window, f32) {
    let rate = rate(&window);
    (window, rate)
}

fn cost(left: &(Window, f32), right: &(Window, f32)) -> f32 {
    rate(&merge(&left.0, &right.0)) - left.1 - right.1
}

fn merge(left: &Window, right: &Window) -> Window {
    let mut merged = left.clone();
    for (class, other) in merged.0.iter_mut().zip(&right.0) {
        union(class, other);
    }
    merged
}
