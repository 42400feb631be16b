//! Classes of bytes, 64 for those of ASCII and 64 for the others: as many as a register has bytes, in
//! which one instruction looks up each of 64.
//!
//! What the windows do not tell apart is one class from the start. If that leaves too many, those two
//! are put together that cost least, until there are few enough: bytes of which hardly any window
//! has one without the other, or which hardly any text has. A window then lets through whole
//! classes, at every level, so that all name the same places.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use foldhash::fast::FixedState;

use super::Window;
use super::bytes::{ALL, ByteSet, contains, insert};
use super::rarity::{rate, share, share_of_byte};

/// How many classes there are of either kind.
pub(super) const CLASSES: usize = 64;

/// The class, of those of ASCII, of what is not at hand and may be any byte.
pub(super) const ABSENT: u8 = CLASSES as u8 - 1;

/// Marks the class of a byte from 128 on.
pub(super) const BEYOND: u8 = 0x80;

/// So many sets of bytes are weighed, those that decide most. What only others tell apart is put
/// together for nothing.
const SETS_MAX: usize = 512;

/// The class of every byte.
#[derive(Clone, Debug)]
pub(super) struct Classes(pub(super) [u8; 256]);

/// Bytes that some windows have.
#[derive(Clone)]
struct Weighed {
    /// How often the windows that have them begin, all together.
    weight: f32,
    /// How much of ordinary text they are.
    share: f32,
}

/// A class while there are too many.
struct Group {
    bytes: Vec<u8>,
    share: f32,
    /// By set that is weighed: whether it has these bytes.
    within: Vec<bool>,
}

// === impl Classes ===

impl Classes {
    /// Those by which these windows let least through that they would not by themselves.
    pub(super) fn of(windows: &[Window]) -> Classes {
        let (sets, weighed) = weigh(windows);
        let mut classes = [0; 256];
        let kinds = [(0..=127, 0, CLASSES - 1), (128..=255, BEYOND, CLASSES)];
        for (bytes, mark, count) in kinds {
            let groups = fewer(groups(bytes, &sets), weighed.clone(), count);
            for (class, group) in (mark..).zip(&groups) {
                for byte in &group.bytes {
                    classes[usize::from(*byte)] = class;
                }
            }
        }
        Classes(classes)
    }

    /// The window with whole classes in place of bytes.
    pub(super) fn widen(&self, window: &Window) -> Window {
        let mut wide = window.clone();
        for set in wide.0.iter_mut().filter(|set| **set != ALL) {
            let all = (0..=255_u8).filter(|byte| contains(set, *byte));
            let classes = all.fold(0_u128, |all, byte| all | 1 << self.number(byte));
            let whole = (0..=255_u8).filter(|byte| classes >> self.number(*byte) & 1 != 0);
            *set = whole.fold([0; 4], |mut set, byte| {
                insert(&mut set, byte);
                set
            });
        }
        wide
    }

    /// A number below 128 for a byte's class of either kind.
    fn number(&self, byte: u8) -> usize {
        let class = self.0[usize::from(byte)];
        usize::from(class % BEYOND) + if class < BEYOND { 0 } else { CLASSES }
    }
}

/// The sets of bytes of the windows, those first that decide most.
fn weigh(windows: &[Window]) -> (Vec<ByteSet>, Vec<Weighed>) {
    let mut weights: HashMap<ByteSet, f32, FixedState> = HashMap::default();
    for window in windows {
        let rate = rate(window);
        for set in window.0.iter().filter(|set| **set != ALL) {
            *weights.entry(*set).or_default() += rate;
        }
    }
    let mut weights: Vec<(ByteSet, f32)> = weights.into_iter().collect();
    weights.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    weights.truncate(SETS_MAX);
    let weighed = weights.iter().map(|(set, weight)| Weighed {
        weight: *weight,
        share: share(set),
    });
    let weighed = weighed.collect();
    (weights.into_iter().map(|(set, _)| set).collect(), weighed)
}

/// Those of the bytes that none of the sets tells apart, together.
fn groups(bytes: RangeInclusive<u8>, sets: &[ByteSet]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for byte in bytes {
        let within: Vec<bool> = sets.iter().map(|set| contains(set, byte)).collect();
        match groups.iter_mut().find(|group| group.within == within) {
            Some(group) => {
                group.bytes.push(byte);
                group.share += share_of_byte(byte);
            }
            None => groups.push(Group {
                bytes: vec![byte],
                share: share_of_byte(byte),
                within,
            }),
        }
    }
    groups
}

/// Puts together what costs least until there are no more than so many.
fn fewer(mut groups: Vec<Group>, mut weighed: Vec<Weighed>, count: usize) -> Vec<Group> {
    // By the later one, and the earlier.
    let mut costs: Vec<Vec<f32>> = (0..groups.len())
        .map(|at| {
            let earlier = groups[..at].iter();
            earlier.map(|it| it.cost(&groups[at], &weighed)).collect()
        })
        .collect();
    while groups.len() > count {
        let pairs = (0..groups.len()).flat_map(|late| (0..late).map(move |early| (early, late)));
        let least = pairs.min_by(|a, b| costs[a.1][a.0].total_cmp(&costs[b.1][b.0]));
        let Some((early, late)) = least else {
            break;
        };
        let gone = groups.remove(late);
        costs.remove(late);
        for row in &mut costs[late..] {
            row.remove(late);
        }
        groups[early].join(gone, &mut weighed);
        for other in (0..groups.len()).filter(|other| *other != early) {
            let (first, second) = (early.min(other), early.max(other));
            costs[second][first] = groups[first].cost(&groups[second], &weighed);
        }
    }
    groups
}

// === impl Group ===

impl Group {
    /// What it costs to put two together: how much more the windows let through.
    fn cost(&self, other: &Group, weighed: &[Weighed]) -> f32 {
        let both = self.within.iter().zip(&other.within).zip(weighed);
        let costs = both.map(|((mine, theirs), set)| match (mine, theirs) {
            (true, false) => set.weight * other.share / set.share,
            (false, true) => set.weight * self.share / set.share,
            _ => 0.0,
        });
        costs.sum()
    }

    /// Takes in what another one has: each set that has some of it has now all of it.
    fn join(&mut self, other: Group, weighed: &mut [Weighed]) {
        let both = self.within.iter_mut().zip(&other.within).zip(weighed);
        for ((mine, theirs), set) in both {
            match (*mine, *theirs) {
                (true, false) => set.share += other.share,
                (false, true) => set.share += self.share,
                _ => {}
            }
            *mine |= *theirs;
        }
        self.share += other.share;
        self.bytes.extend(other.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::WINDOW_BYTES;
    use super::*;

    fn window(sets: &[&[u8]]) -> Window {
        let mut window = Window([ALL; WINDOW_BYTES]);
        for (set, bytes) in window.0.iter_mut().zip(sets) {
            *set = [0; 4];
            bytes.iter().for_each(|byte| insert(set, *byte));
        }
        window
    }

    /// Windows of one byte each are told apart as they are, while there are no more than classes.
    #[test]
    fn few_bytes_have_classes_of_their_own() {
        let bytes = (b'A'..b'A' + 61).chain(0x80..0xBE);
        let windows: Vec<Window> = bytes.map(|byte| window(&[&[byte], b"xy"])).collect();
        let classes = Classes::of(&windows);
        for window in &windows {
            assert_eq!(classes.widen(window), *window);
        }
        assert_eq!(
            Classes::of(&[]).widen(&windows[0]).0[0].map(u64::count_ones),
            [64, 64, 0, 0]
        );
    }

    /// What must be put together is what costs least: rare bytes rather than common ones, and such as
    /// the same windows have.
    #[test]
    fn many_bytes_share_what_costs_least() {
        let alone = |byte: u8| window(&[&[byte], b"e"]);
        let windows: Vec<Window> = (0x20..=0xFF).map(alone).collect();
        let classes = Classes::of(&windows);
        assert!(classes.0.iter().all(|class| *class != ABSENT));
        let kinds: [&[u8]; 2] = [&classes.0[..128], &classes.0[128..]];
        for (kind, (mark, count)) in kinds.into_iter().zip([(0, CLASSES - 1), (BEYOND, CLASSES)]) {
            let mut used: Vec<u8> = kind.to_vec();
            used.sort_unstable();
            used.dedup();
            let expected: Vec<u8> = (0..count as u8).map(|class| mark | class).collect();
            assert_eq!(used, expected, "all are used, and no others");
        }
        for common in *b" etao" {
            assert_eq!(classes.widen(&alone(common)), alone(common));
        }
        for window in &windows {
            let wide = classes.widen(window);
            for (set, was) in wide.0.iter().zip(&window.0) {
                let of = |byte: u8| classes.0[usize::from(byte)];
                for byte in 0..=255_u8 {
                    let shares =
                        (0..=255).any(|other| contains(was, other) && of(other) == of(byte));
                    assert_eq!(contains(set, byte), shares, "{byte}");
                }
            }
        }
    }
}
