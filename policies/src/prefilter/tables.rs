//! The tables of all kernels, and the kernel that needs no special instructions.

use super::bytes::{contains, iter};
use super::rarity::rate;
use super::{BLOCK, WINDOW_BYTES, Window, bucket};

/// The bytes that decide a block: its places and their neighbours.
pub(super) const SPAN: usize = BLOCK + WINDOW_BYTES - 1;

/// Buckets of a set: the bits of a byte.
const SET_BUCKETS: usize = 8;

/// Up to two to this many sets: more would cost more than they keep out.
const SETS_MAX: u32 = 4;

/// What looking a block up in a set costs, in places that are looked at in vain.
const SET_COST: f32 = 0.18;

/// How many entries a table has: one for each ASCII byte, or for each other one.
pub(super) const EXACT: usize = 128;

/// What stands for a byte that is not at hand, and may belong to any bucket: DEL, which texts do
/// not have. Where one does, its neighbours are looked at in vain.
pub(super) const ABSENT: u8 = 0x7F;

/// All buckets, eight to a set.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) sets: Box<[Set]>,
}

/// Eight buckets: by byte of the window, which of them a byte may belong to.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Set {
    /// By byte, below 128.
    pub(super) exact: [[u8; EXACT]; WINDOW_BYTES],
    /// By the lower half of a byte.
    pub(super) low: [[u8; 16]; WINDOW_BYTES],
    /// By the upper half of a byte.
    pub(super) upper: [[u8; 16]; WINDOW_BYTES],
    /// By byte, from 128 on.
    pub(super) beyond: [[u8; EXACT]; WINDOW_BYTES],
}

// === impl Tables ===

impl Tables {
    /// As few sets as do: one more must keep out hits that cost more than it does.
    pub(super) fn new(windows: Vec<Window>) -> Tables {
        let mut best = Vec::new();
        let mut best_cost = f32::INFINITY;
        for sets in (0..=SETS_MAX).map(|doubled| 1_usize << doubled) {
            let buckets = bucket::group(windows.clone(), sets * SET_BUCKETS);
            let rate: f32 = buckets.iter().map(rate).sum();
            let used = buckets.len().div_ceil(SET_BUCKETS);
            let cost = used as f32 * SET_COST + rate * BLOCK as f32;
            if cost < best_cost {
                (best, best_cost) = (buckets, cost);
            }
        }
        Tables {
            sets: best.chunks(SET_BUCKETS).map(Set::new).collect(),
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        size_of_val(&*self.sets)
    }

    /// May a window begin with these bytes, behind which anything may come?
    #[inline]
    pub(super) fn may_begin(&self, bytes: &[u8]) -> bool {
        self.sets.iter().any(|set| {
            let looked = bytes.iter().take(WINDOW_BYTES).enumerate();
            looked.fold(u8::MAX, |left, (place, byte)| left & set.look(place, *byte)) != 0
        })
    }

    pub(super) fn block(&self, span: &[u8; SPAN]) -> u64 {
        span.windows(WINDOW_BYTES)
            .enumerate()
            .fold(0, |mask, (place, bytes)| {
                mask | u64::from(self.may_begin(bytes)) << place
            })
    }
}

// === impl Set ===

impl Set {
    fn new(buckets: &[Window]) -> Set {
        let mut set = Set {
            exact: [[0; EXACT]; WINDOW_BYTES],
            low: [[0; 16]; WINDOW_BYTES],
            upper: [[0; 16]; WINDOW_BYTES],
            beyond: [[0; EXACT]; WINDOW_BYTES],
        };
        for (index, bucket) in buckets.iter().enumerate() {
            let bit = 1 << index;
            for (place, class) in bucket.0.iter().enumerate() {
                for byte in iter(class) {
                    match set.exact[place].get_mut(usize::from(byte)) {
                        Some(entry) => *entry |= bit,
                        None => set.beyond[place][usize::from(byte) - EXACT] |= bit,
                    }
                    set.low[place][usize::from(byte & 15)] |= bit;
                    set.upper[place][usize::from(byte >> 4)] |= bit;
                }
                set.exact[place][usize::from(ABSENT)] |= bit;
                debug_assert!(
                    (0..=255).all(|b| !contains(class, b) || set.look(place, b) & bit != 0)
                );
            }
        }
        set
    }

    #[inline]
    fn look(&self, place: usize, byte: u8) -> u8 {
        match self.exact[place].get(usize::from(byte)) {
            Some(entry) => *entry,
            None => self.beyond[place][usize::from(byte) - EXACT],
        }
    }
}
