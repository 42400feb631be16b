//! Eight questions about a byte, answered for 64 bytes at once.
//!
//! A table gives every byte eight flags. [`Flags::masks`] turns the flags of up to 64 bytes by a
//! quarter: a word for each flag, with a bit for each byte that has it, so that questions about
//! neighbours become shifts.

use super::{BLOCK, Level};

/// How many flags a byte has.
pub(crate) const FLAGS: usize = 8;

/// A table of flags.
#[repr(C, align(64))]
pub(crate) struct Flags(pub(crate) [u8; 256]);

// === impl Flags ===

impl Flags {
    /// By flag, the bytes that have it, the first in the lowest bit; no more than [`BLOCK`] bytes.
    ///
    /// Written in place: the words are read one by one as soon as they are there, which a copy of
    /// them all would wait for.
    #[inline]
    pub(crate) fn masks(&self, level: Level, bytes: &[u8], masks: &mut [u64; FLAGS]) {
        debug_assert!(bytes.len() <= BLOCK);
        match level {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a level is only given that the processor has.
            Level::Vbmi => unsafe { super::x86::flags(&self.0, bytes, masks) },
            _ => self.by_lookup(bytes, masks),
        }
    }

    fn by_lookup(&self, bytes: &[u8], masks: &mut [u64; FLAGS]) {
        let mut looked = [0; BLOCK];
        for (flags, byte) in looked.iter_mut().zip(bytes) {
            *flags = self.0[usize::from(*byte)];
        }
        masks.fill(0);
        for (eight, flags) in looked.chunks_exact(8).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(flags);
            let turned = turn(u64::from_le_bytes(word)).to_le_bytes();
            for (mask, bits) in masks.iter_mut().zip(turned) {
                *mask |= u64::from(bits) << (8 * eight);
            }
        }
    }
}

/// Turns a matrix of eight by eight bits: bit `i` of byte `j` becomes bit `j` of byte `i`.
fn turn(mut word: u64) -> u64 {
    // Ever larger squares change places with those across the diagonal.
    for (shift, upper) in [
        (7, 0x00AA_00AA_00AA_00AA),
        (14, 0x0000_CCCC_0000_CCCC),
        (28, 0x0000_0000_F0F0_F0F0),
    ] {
        let swapped = (word ^ (word >> shift)) & upper;
        word ^= swapped ^ (swapped << shift);
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_says_what_the_table_says() {
        let table = Flags(std::array::from_fn(|byte| {
            (byte as u8).wrapping_mul(167) ^ 0x5A
        }));
        let bytes: Vec<u8> = (0..400_u32).map(|at| (at * 89 % 256) as u8).collect();
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            for from in 0..256 {
                for len in [0, 1, 7, 8, 24, 52, 63, 64] {
                    let piece = &bytes[from..from + len];
                    let mut masks = [u64::MAX; FLAGS];
                    table.masks(level, piece, &mut masks);
                    for (flag, mask) in masks.into_iter().enumerate() {
                        let expected = (0..len).fold(0, |all, at| {
                            let has = table.0[usize::from(piece[at])] >> flag & 1;
                            all | u64::from(has) << at
                        });
                        assert_eq!(mask, expected, "{level:?} {from} {len} {flag}");
                    }
                }
            }
        }
    }
}
