//! Sets of bytes and of pairs of neighbouring bytes.

/// A set of bytes.
pub(super) type ByteSet = [u64; 4];

/// A set of pairs of bytes.
#[derive(Debug)]
pub(super) struct PairSet(Box<[u64]>);

#[inline]
pub(super) fn contains(set: &ByteSet, byte: u8) -> bool {
    set[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
}

pub(super) fn insert(set: &mut ByteSet, byte: u8) {
    set[usize::from(byte >> 6)] |= 1 << (byte & 63);
}

// === impl PairSet ===

impl PairSet {
    pub(super) fn empty() -> PairSet {
        PairSet(vec![0; 65536 / 64].into_boxed_slice())
    }

    #[inline]
    pub(super) fn contains(&self, left: u8, right: u8) -> bool {
        let index = usize::from(left) << 2 | usize::from(right >> 6);
        self.0[index] >> (right & 63) & 1 != 0
    }

    /// Adds every pair of `left` with a byte of `rights`.
    pub(super) fn insert_row(&mut self, left: u8, rights: &ByteSet) {
        let row = usize::from(left) << 2;
        for (word, bits) in self.0[row..row + 4].iter_mut().zip(rights) {
            *word |= bits;
        }
    }
}
