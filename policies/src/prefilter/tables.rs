//! The tables of all kernels, and the look that needs no special instructions.

use super::bytes::iter;
use super::classes::{ABSENT, BEYOND, CLASSES, Classes};
use super::rarity::rate;
use super::sample::Sample;
use super::{BLOCK, WINDOW_BYTES, Window, bucket};

/// The bytes that decide a block: its places and their neighbours.
pub(super) const SPAN: usize = BLOCK + WINDOW_BYTES - 1;

/// Buckets of a set: the bits of a byte.
const SET_BUCKETS: usize = 8;

/// Up to two to this many sets, of which [`Buckets`] has the bits: more would cost more than they
/// keep out.
const SETS_MAX: u32 = 4;

/// Where buckets would have more windows than this on average, more sets are taken unasked.
const CROWD: usize = 40;

/// What looking a block up in a set costs, in places that are looked at in vain.
const SET_COST: f32 = 0.18;

/// All buckets.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// By which the sets' tables are asked.
    pub(super) classes: Classes,
    /// Eight to a set, for the kernels that look many places up at once.
    pub(super) sets: Box<[Set]>,
    /// A bit each, for a place alone: by byte of the window, and byte, those it may belong to.
    single: Box<[[Buckets; 256]; WINDOW_BYTES]>,
}

/// A bit for each bucket.
type Buckets = u128;

/// Eight buckets: by byte of the window, which of them a byte may belong to.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Set {
    /// By class of a byte below 128, or of one that is absent.
    pub(super) classed: [[u8; CLASSES]; WINDOW_BYTES],
    /// By that of any other byte.
    pub(super) beyond: [[u8; CLASSES]; WINDOW_BYTES],
    /// By the lower half of a byte.
    pub(super) low: [[u8; 16]; WINDOW_BYTES],
    /// By the upper half of a byte.
    pub(super) upper: [[u8; 16]; WINDOW_BYTES],
}

// === impl Tables ===

impl Tables {
    /// As few sets as do: one more must keep out hits that cost more than it does. Only where it is
    /// asked by classes does a window have whole ones: others need not let that much through.
    pub(super) fn new(mut windows: Vec<Window>, by_classes: bool) -> Tables {
        let classes = Classes::of(&windows);
        if by_classes {
            windows = windows.iter().map(|it| classes.widen(it)).collect();
        }
        let mut sample = Sample::new();
        let mut best = Vec::new();
        let mut best_cost = f32::INFINITY;
        for sets in (0..=SETS_MAX).map(|doubled| 1_usize << doubled) {
            // Buckets into which so many crowd let everything through; and what more sets keep out
            // cannot save more than there is.
            let is_last = sets == 1 << SETS_MAX;
            if windows.len() > sets * SET_BUCKETS * CROWD && !is_last {
                continue;
            } else if sets as f32 * SET_COST >= best_cost {
                break;
            }
            let buckets = bucket::group(windows.clone(), sets * SET_BUCKETS, &mut sample);
            let rate: f32 = buckets.iter().map(rate).sum();
            let used = buckets.len().div_ceil(SET_BUCKETS);
            let cost = used as f32 * SET_COST + rate * BLOCK as f32;
            if cost < best_cost {
                (best, best_cost) = (buckets, cost);
            }
        }
        let mut single = Box::new([[0; 256]; WINDOW_BYTES]);
        for (index, bucket) in best.iter().enumerate() {
            for (table, class) in single.iter_mut().zip(&bucket.0) {
                iter(class).for_each(|byte| table[usize::from(byte)] |= 1 << index);
            }
        }
        Tables {
            sets: best
                .chunks(SET_BUCKETS)
                .map(|buckets| Set::new(buckets, &classes))
                .collect(),
            classes,
            single,
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        size_of_val(&*self.sets) + size_of_val(&*self.single)
    }

    /// May a window begin with these bytes, one at least, behind which anything may come?
    #[inline]
    fn may_begin(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk() {
            Some(whole) => self.begins(whole),
            None => {
                let looked = self.single.iter().zip(bytes);
                looked.fold(Buckets::MAX, |left, (table, byte)| {
                    left & table[usize::from(*byte)]
                }) != 0
            }
        }
    }

    /// Does a window begin with these bytes? All are looked up: to stop early is to guess.
    #[inline]
    fn begins(&self, bytes: &[u8; WINDOW_BYTES]) -> bool {
        let mut left = Buckets::MAX;
        for (table, byte) in self.single.iter().zip(bytes) {
            left &= table[usize::from(*byte)];
        }
        left != 0
    }

    /// Takes from the places of a block, which begins these bytes, those that begin no window.
    pub(super) fn refuse(&self, bytes: &[u8], mask: u64) -> u64 {
        let mut left = mask;
        let mut bits = mask;
        while bits != 0 {
            let place = bits.trailing_zeros();
            bits &= bits - 1;
            left &= !(u64::from(!self.may_begin(&bytes[place as usize..])) << place);
        }
        left
    }

    /// Where windows may begin in these bytes, of which no more than a block are looked at.
    pub(super) fn places(&self, bytes: &[u8]) -> u64 {
        let mut mask = 0;
        let mut places = 0;
        let bytes = &bytes[..bytes.len().min(SPAN)];
        for whole in bytes.array_windows() {
            mask |= u64::from(self.begins(whole)) << places;
            places += 1;
        }
        for place in places..bytes.len().min(BLOCK) {
            mask |= u64::from(self.may_begin(&bytes[place..])) << place;
        }
        mask
    }
}

// === impl Set ===

impl Set {
    fn new(buckets: &[Window], classes: &Classes) -> Set {
        let mut set = Set {
            classed: [[0; CLASSES]; WINDOW_BYTES],
            beyond: [[0; CLASSES]; WINDOW_BYTES],
            low: [[0; 16]; WINDOW_BYTES],
            upper: [[0; 16]; WINDOW_BYTES],
        };
        for (index, bucket) in buckets.iter().enumerate() {
            let bit = 1 << index;
            for (place, class) in bucket.0.iter().enumerate() {
                for byte in iter(class) {
                    let class = classes.0[usize::from(byte)];
                    let kind = match class < BEYOND {
                        true => &mut set.classed,
                        false => &mut set.beyond,
                    };
                    kind[place][usize::from(class) % CLASSES] |= bit;
                    set.low[place][usize::from(byte & 15)] |= bit;
                    set.upper[place][usize::from(byte >> 4)] |= bit;
                }
                set.classed[place][usize::from(ABSENT)] |= bit;
            }
        }
        set
    }
}
