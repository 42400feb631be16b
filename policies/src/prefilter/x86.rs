//! The kernels of x86-64.
//!
//! `vbmi` reads a text's end with masked loads, so that a piece of a few bytes costs no copy; the
//! others are given the bytes of a block and their neighbours as an array.

use std::arch::x86_64::*;

use super::flags::FLAGS;
use super::tables::{ABSENT, EXACT, SPAN, Tables};
use super::{BLOCK, Level, WINDOW_BYTES, first};

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
pub(super) fn vbmi(tables: &Tables, mut rest: &[u8], masks: &mut [u64]) {
    for mask in masks {
        let mut neighbours = [_mm512_set1_epi8(ABSENT as i8); WINDOW_BYTES];
        if rest.len() >= SPAN {
            for (place, bytes) in neighbours.iter_mut().enumerate() {
                // SAFETY: `rest` has SPAN bytes: a block behind each place of a window.
                *bytes = unsafe { _mm512_loadu_epi8(rest.as_ptr().add(place).cast()) };
            }
        } else {
            for (place, bytes) in neighbours.iter_mut().enumerate() {
                let present = first(rest.len().saturating_sub(place));
                let start = rest.as_ptr().wrapping_add(place);
                // SAFETY: what `present` leaves out, and that is all behind `rest`, is not read.
                *bytes = unsafe { _mm512_mask_loadu_epi8(*bytes, present, start.cast()) };
            }
        }
        *mask = vbmi_block(tables, &neighbours) & first(rest.len());
        rest = rest.get(BLOCK..).unwrap_or_default();
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn vbmi_block(tables: &Tables, neighbours: &[__m512i; WINDOW_BYTES]) -> u64 {
    let mut beyond = [0; WINDOW_BYTES];
    let mut any_beyond = 0;
    for place in 0..WINDOW_BYTES {
        beyond[place] = _mm512_movepi8_mask(neighbours[place]);
        any_beyond |= beyond[place];
    }
    let mut any = _mm512_setzero_si512();
    for set in &tables.sets {
        let mut buckets = _mm512_set1_epi8(-1);
        for place in 0..WINDOW_BYTES {
            let mut looked = look(&set.exact[place], neighbours[place]);
            if any_beyond != 0 {
                // The upper bit of an index is not read.
                let others = look(&set.beyond[place], neighbours[place]);
                looked = _mm512_mask_blend_epi8(beyond[place], looked, others);
            }
            buckets = _mm512_and_si512(buckets, looked);
        }
        any = _mm512_or_si512(any, buckets);
    }
    _mm512_test_epi8_mask(any, any)
}

/// The entries of a table by the lower seven bits of each byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look(table: &[u8; EXACT], bytes: __m512i) -> __m512i {
    let table = table.as_ptr();
    // SAFETY: a table has 128 entries.
    let (lower, upper) = unsafe {
        (
            _mm512_loadu_epi8(table.cast()),
            _mm512_loadu_epi8(table.add(64).cast()),
        )
    };
    _mm512_permutex2var_epi8(lower, bytes, upper)
}

/// By flag of the table, the bytes that have it; there are no more than a block.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn flags(table: &[u8; 256], bytes: &[u8], masks: &mut [u64; FLAGS]) {
    let present = first(bytes.len());
    // SAFETY: what `present` leaves out, and that is all behind `bytes`, is not read.
    let read = unsafe { _mm512_maskz_loadu_epi8(present, bytes.as_ptr().cast()) };
    let quarter = |at: usize| {
        // SAFETY: the table has four quarters of 64 entries.
        unsafe { _mm512_loadu_epi8(table.as_ptr().add(at * BLOCK).cast()) }
    };
    let below = _mm512_permutex2var_epi8(quarter(0), read, quarter(1));
    let beyond = _mm512_movepi8_mask(read);
    let looked = match beyond {
        0 => below,
        _ => {
            let above = _mm512_permutex2var_epi8(quarter(2), read, quarter(3));
            _mm512_mask_blend_epi8(beyond, below, above)
        }
    };
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
