//! Where in a text may something begin? Asked of 64 places at once.
//!
//! Input is a list of [`Window`]s: a few consecutive classes of bytes each. Output is, for every
//! block of 64 places, a word with a bit for each place where some window may begin. It errs on
//! one side: a place without a bit begins no window; a bit may stand for nothing. Bytes behind the
//! end of the text are not known, and so may be anything.
//!
//! # How
//!
//! The windows are shared out over buckets (`bucket`), eight to a set. For each of a window's
//! bytes a set has a table that gives, by the byte, the buckets which it may belong to: a bit
//! each. Looking up the bytes of a place and its neighbours, each in its own table, and taking the
//! bits that all have in common tells the buckets that may begin there. A shuffle instruction
//! looks up 16 to 64 bytes at once; this is the idea of Hyperscan's Teddy with classes in the
//! place of literals.
//!
//! Every [`Level`] of the processor has its own kernel. The byte permutations of AVX-512 VBMI look up
//! 64 entries at once, three times as fast as 128: so bytes are put into as many classes
//! (`classes`), and a table has an entry for each; those from 128 on have another table, which is only
//! looked at where there are such bytes. The other kernels know tables of 16 entries only, and ask for
//! both halves of a byte: they let more through, for the halves of two members of a class may belong to
//! a third byte. What they do is looked at again, place by place, in tables of whole bytes. With more
//! sets than a kernel can keep at hand those are all that is asked, and so it is with pieces of a few
//! bytes: a token of a stream is not worth a block. Where the processor's kernel goes by classes, windows
//! have whole ones for every level: so all that it can do name the same places.

// The kernels are made of the processor's own instructions.
#![allow(unsafe_code)]

pub(crate) mod bytes;

mod bucket;
mod classes;
pub(crate) mod flags;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod rarity;
mod sample;
mod tables;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

pub use bytes::ByteSet;
use tables::{SPAN, Tables};

/// How many bytes a window has. With fewer, buckets let more through that begins no window; with
/// more, the kernels' registers no longer do.
pub const WINDOW_BYTES: usize = 8;

/// Places in a block: the bits of a word.
pub const BLOCK: usize = 64;

/// Where no more bytes are at hand, as in a token, each place is looked at alone.
const SHORT: usize = 10;

/// The most blocks that are looked at in one call.
pub const BATCH_BLOCKS: usize = 16;

/// Consecutive classes of bytes. A class of all bytes may also be missing from the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window(pub [ByteSet; WINDOW_BYTES]);

/// What the processor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// One byte at a time.
    Scalar,
    /// 16 bytes at a time, by halves.
    Neon,
    /// 16 bytes at a time, by halves.
    Ssse3,
    /// 32 bytes at a time, by halves.
    Avx2,
    /// 64 bytes at a time, by halves.
    Avx512,
    /// 64 bytes at a time, each looked up whole.
    Vbmi,
}

/// Compiled windows.
#[derive(Clone, Debug)]
pub struct Prefilter {
    level: Level,
    tables: Tables,
}

/// What a call found: a word for each block, its lowest bit the first place.
pub type Masks = [u64; BATCH_BLOCKS];

// === impl Level ===

impl Level {
    /// Every level, the plainest first.
    pub const ALL: [Level; 6] = [
        Level::Scalar,
        Level::Neon,
        Level::Ssse3,
        Level::Avx2,
        Level::Avx512,
        Level::Vbmi,
    ];

    /// Can this processor do it?
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Level::Scalar => true,
            Level::Neon => cfg!(all(target_arch = "aarch64", not(miri))),
            #[cfg(target_arch = "x86_64")]
            level => !cfg!(miri) && x86::is_available(level),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Over more sets than this its kernel takes longer than to look at each place alone.
    fn sets_max(self) -> usize {
        match self {
            Level::Scalar => 0,
            Level::Neon | Level::Ssse3 => 4,
            Level::Avx2 | Level::Avx512 => 8,
            Level::Vbmi => usize::MAX,
        }
    }

    /// The best that this processor can do.
    #[must_use]
    pub fn best() -> Level {
        let available = Level::ALL
            .into_iter()
            .rev()
            .find(|level| level.is_available());
        available.unwrap_or(Level::Scalar)
    }
}

// === impl Prefilter ===

impl Prefilter {
    /// Compiles windows for this processor.
    #[must_use]
    pub fn new(windows: Vec<Window>) -> Prefilter {
        let level = Level::best();
        Prefilter {
            level,
            tables: Tables::new(windows, level == Level::Vbmi),
        }
    }

    /// The same at another level; `None` where the processor lacks it.
    #[must_use]
    pub fn at(&self, level: Level) -> Option<Prefilter> {
        level.is_available().then(|| Prefilter {
            level,
            tables: self.tables.clone(),
        })
    }

    /// The level at which it runs.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// What its tables take.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.tables.size_bytes()
    }

    /// Looks at the blocks from `from` on, as many as there are masks for, and gives how many
    /// there were. The last one may go past the end of `bytes`; what is there has no bits.
    #[inline]
    pub fn masks(&self, bytes: &[u8], from: usize, masks: &mut Masks) -> usize {
        let rest = bytes.get(from..).unwrap_or_default();
        let blocks = rest.len().div_ceil(BLOCK).min(BATCH_BLOCKS);
        let masks = &mut masks[..blocks];
        match self.level {
            _ if rest.len() <= SHORT || self.tables.sets.len() > self.level.sets_max() => {
                for (mask, block) in masks.iter_mut().zip((0..).step_by(BLOCK)) {
                    *mask = self.tables.places(&rest[block..]);
                }
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefilter is only made with a level that the processor has.
            Level::Vbmi => unsafe { x86::vbmi(&self.tables, rest, masks) },
            _ => self.by_spans(rest, masks),
        }
        blocks
    }

    /// The way of the kernels that read a block and the bytes behind it whole.
    fn by_spans(&self, mut rest: &[u8], masks: &mut [u64]) {
        for mask in masks {
            *mask = match rest.first_chunk::<SPAN>() {
                Some(span) => self.tables.refuse(span, self.block(span, BLOCK)),
                None => self.last_block(rest),
            };
            rest = rest.get(BLOCK..).unwrap_or_default();
        }
    }

    /// A block with fewer bytes than the kernels read: the last places' windows are not all there.
    fn last_block(&self, rest: &[u8]) -> u64 {
        let mut padded = [0; SPAN];
        padded[..rest.len()].copy_from_slice(rest);
        let whole = (rest.len() + 1).saturating_sub(WINDOW_BYTES).min(BLOCK);
        let mask = self.block(&padded, whole) & first(whole);
        self.tables.refuse(rest, mask)
            | self
                .tables
                .places(&rest[whole..])
                .checked_shl(whole as u32)
                .unwrap_or(0)
    }

    /// The first so many places of a block, and perhaps others.
    fn block(&self, span: &[u8; SPAN], places: usize) -> u64 {
        match self.level {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a prefilter is only made with a level that the processor has.
            Level::Avx512 => unsafe { x86::avx512(&self.tables, span) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Avx2 => unsafe { x86::avx2(&self.tables, span, places) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Level::Ssse3 => unsafe { x86::ssse3(&self.tables, span, places) },
            #[cfg(target_arch = "aarch64")]
            Level::Neon => neon::block(&self.tables, span, places),
            _ => self.tables.places(span),
        }
    }
}

/// The lowest bits, so many.
fn first(count: usize) -> u64 {
    match count {
        BLOCK.. => u64::MAX,
        _ => (1 << count) - 1,
    }
}
