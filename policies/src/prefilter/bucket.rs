//! Many windows in few buckets.
//!
//! A bucket is itself a window: at each place the union of its members' classes. So a bucket lets
//! through what none of its members would, and which windows share one decides how much. Each
//! window joins the bucket whose share of ordinary text's places grows least by it, the commonest
//! windows first; then, a few times over, every window is taken out and chooses again among what
//! the buckets have become. How much a bucket lets through is counted in a sample; what would come
//! where the sample has nothing is reckoned from how common its bytes are.

use super::bytes::{beyond, union};
use super::rarity::{rate, share};
use super::sample::{Sample, Through, Union};
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
    sampled: Union,
    /// By place: how much of ordinary text the union lets through there.
    shares: [f32; WINDOW_BYTES],
    rate: f32,
}

/// Puts the windows into at most so many buckets, which is one at least.
pub(super) fn group(
    mut windows: Vec<Window>,
    buckets_max: usize,
    sample: &mut Sample,
) -> Vec<Window> {
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
    let windows: Vec<(Window, Through)> = rated
        .into_iter()
        .map(|(window, _)| {
            let through = sample.through(&window);
            (window, through)
        })
        .collect();
    let sample = &*sample;
    let mut buckets: Vec<Bucket> = (0..buckets_max.min(windows.len()))
        .map(|_| Bucket::new(sample))
        .collect();
    let mut home = Vec::with_capacity(windows.len());
    for (index, window) in windows.iter().enumerate() {
        let chosen = choose(&buckets, sample, window);
        buckets[chosen].add(sample, index, window);
        home.push(chosen);
    }
    let rounds = if windows.len() > CHOOSE_AGAIN_MAX {
        0
    } else {
        ROUNDS
    };
    for _ in 0..rounds {
        for (index, window) in windows.iter().enumerate() {
            buckets[home[index]].remove(sample, index, &windows);
            home[index] = choose(&buckets, sample, window);
            buckets[home[index]].add(sample, index, window);
        }
    }
    buckets
        .into_iter()
        .filter_map(|bucket| bucket.union)
        .collect()
}

/// The bucket that grows least by the window.
fn choose(buckets: &[Bucket], sample: &Sample, (window, through): &(Window, Through)) -> usize {
    let (mut least, mut chosen) = (f32::INFINITY, 0);
    for (index, bucket) in buckets.iter().enumerate() {
        let mut growth = match &bucket.union {
            None => rate(window),
            Some(union) => {
                let with = window.0.iter().zip(&union.0).zip(&bucket.shares);
                let with = with.map(|((class, union), had)| had + share(&beyond(class, union)));
                with.product::<f32>() - bucket.rate
            }
        };
        // What is seen can only be added.
        if growth < least && bucket.union.is_some() {
            growth += sample.growth(&bucket.sampled, through, least - growth);
        }
        if growth < least {
            (least, chosen) = (growth, index);
        }
    }
    chosen
}

// === impl Bucket ===

impl Bucket {
    fn new(sample: &Sample) -> Bucket {
        Bucket {
            members: Vec::new(),
            union: None,
            sampled: sample.empty(),
            shares: [0.0; WINDOW_BYTES],
            rate: 0.0,
        }
    }

    fn add(&mut self, sample: &Sample, index: usize, (window, through): &(Window, Through)) {
        self.members.push(index);
        let union = match &self.union {
            None => window.clone(),
            Some(union) => merge(union, window),
        };
        self.union = Some(union);
        sample.add(&mut self.sampled, std::iter::once(through));
        self.rate_anew();
    }

    fn remove(&mut self, sample: &Sample, index: usize, windows: &[(Window, Through)]) {
        self.members.retain(|member| *member != index);
        let left = self.members.iter().map(|member| &windows[*member]);
        self.sampled = sample.empty();
        sample.add(&mut self.sampled, left.clone().map(|(_, through)| through));
        let mut left = left.map(|(window, _)| window);
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
