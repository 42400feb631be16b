//! Sets of bytes.

/// A set of bytes: a bit each.
pub type ByteSet = [u64; 4];

/// Every byte.
pub(crate) const ALL: ByteSet = [u64::MAX; 4];

/// Is the byte in the set?
#[inline]
pub(crate) fn contains(set: &ByteSet, byte: u8) -> bool {
    set[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
}

/// Puts a byte in the set.
pub(crate) fn insert(set: &mut ByteSet, byte: u8) {
    set[usize::from(byte >> 6)] |= 1 << (byte & 63);
}

/// Puts every byte of another set in this one.
pub(crate) fn union(set: &mut ByteSet, other: &ByteSet) {
    for (word, bits) in set.iter_mut().zip(other) {
        *word |= bits;
    }
}

/// What is in the one and not in the other.
pub(super) fn beyond(set: &ByteSet, other: &ByteSet) -> ByteSet {
    std::array::from_fn(|word| set[word] & !other[word])
}

/// The bytes of a set, in order.
pub(crate) fn iter(set: &ByteSet) -> impl Iterator<Item = u8> + '_ {
    (0..4_u8).flat_map(move |word| {
        let mut bits = set[usize::from(word)];
        std::iter::from_fn(move || {
            let bit = bits.trailing_zeros() as u8;
            (bits != 0).then(|| {
                bits &= bits - 1;
                word << 6 | bit
            })
        })
    })
}
