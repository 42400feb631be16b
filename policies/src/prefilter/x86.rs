//! The kernels of x86-64.
//!
//! `vbmi` reads a text's end with masked loads, so that a piece of a few bytes costs no copy; the
//! others are given the bytes of a block and their neighbours as an array.

use std::arch::x86_64::*;

use super::classes::{ABSENT, CLASSES};
use super::flags::FLAGS;
use super::tables::{SPAN, Tables};
use super::{BATCH_BLOCKS, BLOCK, Level, WINDOW_BYTES, first};

pub(super) fn is_available(level: Level) -> bool {
    match level {
        Level::Ssse3 => is_x86_feature_detected!("ssse3"),
        Level::Avx2 => is_x86_feature_detected!("avx2"),
        Level::Avx512 => {
            is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
        }
        Level::Vbmi => Level::Avx512.is_available() && is_x86_feature_detected!("avx512vbmi"),
        Level::Scalar | Level::Neon => false,
    }
}

/// The masks of the blocks; there must be a byte in each.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn vbmi(tables: &Tables, rest: &[u8], masks: &mut [u64]) {
    match masks.len() {
        // A piece of a stream mostly is one.
        1 => vbmi_blocks::<{ 2 * BLOCK }>(tables, rest, masks),
        _ => vbmi_blocks::<{ (BATCH_BLOCKS + 1) * BLOCK }>(tables, rest, masks),
    }
}

/// The same for blocks of which, with the one behind them, no more than so many bytes are read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn vbmi_blocks<const BYTES: usize>(tables: &Tables, rest: &[u8], masks: &mut [u64]) {
    let mut classes = [ABSENT; BYTES];
    let quarters = quarters(&tables.classes.0);
    let read = &rest[..rest.len().min(masks.len() * BLOCK + WINDOW_BYTES - 1)];
    for (bytes, classes) in read.chunks(BLOCK).zip(classes.as_chunks_mut::<BLOCK>().0) {
        let present = first(bytes.len());
        // SAFETY: what `present` leaves out, and that is all behind `bytes`, is not read.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(present, bytes.as_ptr().cast()) };
        let classed = entries(&quarters, bytes);
        // SAFETY: there is room for a block.
        unsafe { _mm512_mask_storeu_epi8(classes.as_mut_ptr().cast(), present, classed) };
    }
    for (mask, at) in masks.iter_mut().zip((0..).step_by(BLOCK)) {
        let mut neighbours = [_mm512_setzero_si512(); WINDOW_BYTES];
        let mut beyond = [0; WINDOW_BYTES];
        let mut any_beyond = 0;
        for place in 0..WINDOW_BYTES {
            let behind = &classes[at + place..at + place + BLOCK];
            // SAFETY: that is a block.
            neighbours[place] = unsafe { _mm512_loadu_epi8(behind.as_ptr().cast()) };
            beyond[place] = _mm512_movepi8_mask(neighbours[place]);
            any_beyond |= beyond[place];
        }
        let found = match any_beyond {
            0 => vbmi_block::<false>(tables, &neighbours, &beyond),
            _ => vbmi_block::<true>(tables, &neighbours, &beyond),
        };
        *mask = found & first(rest.len() - at);
    }
}

/// The places of a block at which a window may begin, by the classes of the places' neighbours, of
/// which some may be those of bytes from 128 on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn vbmi_block<const BEYOND: bool>(
    tables: &Tables,
    neighbours: &[__m512i; WINDOW_BYTES],
    beyond: &[u64; WINDOW_BYTES],
) -> u64 {
    let mut any = _mm512_setzero_si512();
    for set in &tables.sets {
        let mut buckets = _mm512_set1_epi8(-1);
        for place in 0..WINDOW_BYTES {
            let mut looked = look(&set.classed[place], neighbours[place]);
            if BEYOND {
                let others = look(&set.beyond[place], neighbours[place]);
                looked = _mm512_mask_blend_epi8(beyond[place], looked, others);
            }
            buckets = _mm512_and_si512(buckets, looked);
        }
        any = _mm512_or_si512(any, buckets);
    }
    _mm512_test_epi8_mask(any, any)
}

/// The entries of a table by the lower six bits of each byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look(table: &[u8; CLASSES], bytes: __m512i) -> __m512i {
    // SAFETY: a table has 64 entries.
    let table = unsafe { _mm512_loadu_epi8(table.as_ptr().cast()) };
    _mm512_permutexvar_epi8(bytes, table)
}

/// A table of 256 entries in four registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn quarters(table: &[u8; 256]) -> [__m512i; 4] {
    let quarter = |at: usize| {
        // SAFETY: the table has four quarters of 64 entries.
        unsafe { _mm512_loadu_epi8(table.as_ptr().add(at * BLOCK).cast()) }
    };
    [quarter(0), quarter(1), quarter(2), quarter(3)]
}

/// Its entries by each byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn entries(quarters: &[__m512i; 4], bytes: __m512i) -> __m512i {
    let below = _mm512_permutex2var_epi8(quarters[0], bytes, quarters[1]);
    match _mm512_movepi8_mask(bytes) {
        0 => below,
        // The upper bit of an index is not read.
        beyond => {
            let above = _mm512_permutex2var_epi8(quarters[2], bytes, quarters[3]);
            _mm512_mask_blend_epi8(beyond, below, above)
        }
    }
}

/// By flag of the table, the bytes that have it; there are no more than a block.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn flags(table: &[u8; 256], bytes: &[u8], masks: &mut [u64; FLAGS]) {
    let present = first(bytes.len());
    // SAFETY: what `present` leaves out, and that is all behind `bytes`, is not read.
    let read = unsafe { _mm512_maskz_loadu_epi8(present, bytes.as_ptr().cast()) };
    let looked = entries(&quarters(table), read);
    for (flag, mask) in masks.iter_mut().enumerate() {
        *mask = _mm512_mask_test_epi8_mask(present, looked, _mm512_set1_epi8(1 << flag));
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn avx512(tables: &Tables, span: &[u8; SPAN]) -> u64 {
    let half = _mm512_set1_epi8(15);
    let mut low = [_mm512_setzero_si512(); WINDOW_BYTES];
    let mut upper = low;
    for place in 0..WINDOW_BYTES {
        // SAFETY: behind each place of a window the span has a block.
        let bytes = unsafe { _mm512_loadu_epi8(span.as_ptr().add(place).cast()) };
        low[place] = _mm512_and_si512(bytes, half);
        upper[place] = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), half);
    }
    let mut any = _mm512_setzero_si512();
    for set in &tables.sets {
        let mut buckets = _mm512_set1_epi8(-1);
        for place in 0..WINDOW_BYTES {
            // SAFETY: a table has 16 entries.
            let (by_low, by_upper) = unsafe {
                (
                    _mm_loadu_si128(set.low[place].as_ptr().cast()),
                    _mm_loadu_si128(set.upper[place].as_ptr().cast()),
                )
            };
            let by_low = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(by_low), low[place]);
            let by_upper = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(by_upper), upper[place]);
            buckets = _mm512_and_si512(buckets, _mm512_and_si512(by_low, by_upper));
        }
        any = _mm512_or_si512(any, buckets);
    }
    _mm512_test_epi8_mask(any, any)
}

#[target_feature(enable = "avx2")]
pub(super) fn avx2(tables: &Tables, span: &[u8; SPAN], places: usize) -> u64 {
    let half = _mm256_set1_epi8(15);
    let mut mask = 0;
    for start in (0..places.min(BLOCK)).step_by(32) {
        let mut low = [_mm256_setzero_si256(); WINDOW_BYTES];
        let mut upper = low;
        for place in 0..WINDOW_BYTES {
            // SAFETY: behind each place of a window the span has a block.
            let bytes = unsafe { _mm256_loadu_si256(span.as_ptr().add(start + place).cast()) };
            low[place] = _mm256_and_si256(bytes, half);
            upper[place] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), half);
        }
        let mut any = _mm256_setzero_si256();
        for set in &tables.sets {
            let mut buckets = _mm256_set1_epi8(-1);
            for place in 0..WINDOW_BYTES {
                // SAFETY: a table has 16 entries.
                let (by_low, by_upper) = unsafe {
                    (
                        _mm_loadu_si128(set.low[place].as_ptr().cast()),
                        _mm_loadu_si128(set.upper[place].as_ptr().cast()),
                    )
                };
                let by_low = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(by_low), low[place]);
                let by_upper =
                    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(by_upper), upper[place]);
                buckets = _mm256_and_si256(buckets, _mm256_and_si256(by_low, by_upper));
            }
            any = _mm256_or_si256(any, buckets);
        }
        let none = _mm256_cmpeq_epi8(any, _mm256_setzero_si256());
        mask |= u64::from(!_mm256_movemask_epi8(none) as u32) << start;
    }
    mask
}

#[target_feature(enable = "ssse3")]
pub(super) fn ssse3(tables: &Tables, span: &[u8; SPAN], places: usize) -> u64 {
    let half = _mm_set1_epi8(15);
    let mut mask = 0;
    for start in (0..places.min(BLOCK)).step_by(16) {
        let mut low = [_mm_setzero_si128(); WINDOW_BYTES];
        let mut upper = low;
        for place in 0..WINDOW_BYTES {
            // SAFETY: behind each place of a window the span has a block.
            let bytes = unsafe { _mm_loadu_si128(span.as_ptr().add(start + place).cast()) };
            low[place] = _mm_and_si128(bytes, half);
            upper[place] = _mm_and_si128(_mm_srli_epi16::<4>(bytes), half);
        }
        let mut any = _mm_setzero_si128();
        for set in &tables.sets {
            let mut buckets = _mm_set1_epi8(-1);
            for place in 0..WINDOW_BYTES {
                // SAFETY: a table has 16 entries.
                let (by_low, by_upper) = unsafe {
                    (
                        _mm_loadu_si128(set.low[place].as_ptr().cast()),
                        _mm_loadu_si128(set.upper[place].as_ptr().cast()),
                    )
                };
                let by_low = _mm_shuffle_epi8(by_low, low[place]);
                let by_upper = _mm_shuffle_epi8(by_upper, upper[place]);
                buckets = _mm_and_si128(buckets, _mm_and_si128(by_low, by_upper));
            }
            any = _mm_or_si128(any, buckets);
        }
        let none = _mm_cmpeq_epi8(any, _mm_setzero_si128());
        mask |= u64::from(!_mm_movemask_epi8(none) as u16) << start;
    }
    mask
}
