//! Many windows in few buckets.
//!
//! A bucket is itself a window: at each place the union of its members' classes. So a bucket lets
//! through what none of its members would, and which windows share one decides how much. Each
//! window joins the bucket whose share of ordinary text's places grows least by it, the commonest
//! windows first; then, a few times over, every window is taken out and chooses again among what
//! the buckets have become. (Merging sorted neighbours, tried before, named ten times as many
//! places: what windows have in common is seldom what they begin with.)

use super::bytes::{beyond, union};
use super::rarity::{rate, share};
use super::{WINDOW_BYTES, Window};

/// How often every window chooses again.
const ROUNDS: usize = 3;

/// Windows so many choose once only: compiling thousands of rules must stay quick.
const CHOOSE_AGAIN_MAX: usize = 4096;

/// A bucket while it is being filled.
struct Bucket {
    members: Vec<usize>,
    /// None while it is empty.
    union: Option<Window>,
    /// By place: how much of ordinary text the union lets through there.
    shares: [f32; WINDOW_BYTES],
    rate: f32,
}

/// Puts the windows into at most so many buckets, which is one at least.
pub(super) fn group(mut windows: Vec<Window>, buckets_max: usize) -> Vec<Window> {
    windows.sort_by_cached_key(|window| window.0);
    windows.dedup();
    let mut rated: Vec<(Window, f32)> = windows
        .into_iter()
        .map(|window| {
            let rate = rate(&window);
            (window, rate)
        })
        .collect();
    rated.sort_by(|left, right| right.1.total_cmp(&left.1));
    let windows: Vec<Window> = rated.into_iter().map(|(window, _)| window).collect();
    let mut buckets: Vec<Bucket> = (0..buckets_max.min(windows.len()))
        .map(|_| Bucket::default())
        .collect();
    let mut home = Vec::with_capacity(windows.len());
    for (index, window) in windows.iter().enumerate() {
        let chosen = choose(&buckets, window);
        buckets[chosen].add(index, window);
        home.push(chosen);
    }
    let rounds = if windows.len() > CHOOSE_AGAIN_MAX {
        0
    } else {
        ROUNDS
    };
    for _ in 0..rounds {
        for (index, window) in windows.iter().enumerate() {
            buckets[home[index]].remove(index, &windows);
            home[index] = choose(&buckets, window);
            buckets[home[index]].add(index, window);
        }
    }
    buckets
        .into_iter()
        .filter_map(|bucket| bucket.union)
        .collect()
}

/// The bucket that grows least by the window.
fn choose(buckets: &[Bucket], window: &Window) -> usize {
    let growth = |bucket: &Bucket| match &bucket.union {
        None => rate(window),
        Some(union) => {
            let with = window.0.iter().zip(&union.0).zip(&bucket.shares);
            let with = with.map(|((class, union), had)| had + share(&beyond(class, union)));
            with.product::<f32>() - bucket.rate
        }
    };
    let grown = buckets.iter().map(growth).enumerate();
    let least = grown.min_by(|left, right| left.1.total_cmp(&right.1));
    least.map_or(0, |(index, _)| index)
}

// === impl Bucket ===

impl Default for Bucket {
    fn default() -> Self {
        Bucket {
            members: Vec::new(),
            union: None,
            shares: [0.0; WINDOW_BYTES],
            rate: 0.0,
        }
    }
}

impl Bucket {
    fn add(&mut self, index: usize, window: &Window) {
        self.members.push(index);
        let union = match &self.union {
            None => window.clone(),
            Some(union) => merge(union, window),
        };
        self.union = Some(union);
        self.rate_anew();
    }

    fn remove(&mut self, index: usize, windows: &[Window]) {
        self.members.retain(|member| *member != index);
        let mut left = self.members.iter().map(|member| &windows[*member]);
        let first = left.next().cloned();
        self.union = first.map(|first| left.fold(first, |all, window| merge(&all, window)));
        self.rate_anew();
    }

    fn rate_anew(&mut self) {
        let union = self.union.as_ref();
        self.shares = union.map_or([0.0; WINDOW_BYTES], |union| {
            std::array::from_fn(|place| share(&union.0[place]))
        });
        self.rate = self.shares.iter().product();
    }
}

fn merge(left: &Window, right: &Window) -> Window {
    let mut merged = left.clone();
    for (class, other) in merged.0.iter_mut().zip(&right.0) {
        union(class, other);
    }
    merged
}
