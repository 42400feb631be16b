//! Sets of bytes.

/// A set of bytes.
pub(super) type ByteSet = [u64; 4];

#[inline]
pub(super) fn contains(set: &ByteSet, byte: u8) -> bool {
    set[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
}

pub(super) fn insert(set: &mut ByteSet, byte: u8) {
    set[usize::from(byte >> 6)] |= 1 << (byte & 63);
}
