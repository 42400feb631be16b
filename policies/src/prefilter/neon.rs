//! The kernel of 64-bit Arm, where NEON is always there.

use std::arch::aarch64::*;

use super::tables::{SPAN, Tables};
use super::{BLOCK, WINDOW_BYTES};

pub(super) fn block(tables: &Tables, span: &[u8; SPAN], places: usize) -> u64 {
    let mut mask = 0;
    for start in (0..places.min(BLOCK)).step_by(16) {
        // SAFETY: NEON is part of the target.
        mask |= u64::from(unsafe { sixteen(tables, span, start) }) << start;
    }
    mask
}

#[target_feature(enable = "neon")]
fn sixteen(tables: &Tables, span: &[u8; SPAN], start: usize) -> u16 {
    let mut low = [vdupq_n_u8(0); WINDOW_BYTES];
    let mut upper = low;
    for place in 0..WINDOW_BYTES {
        // SAFETY: behind each place of a window the span has a block, and `start` is within it by
        // 16 bytes or more.
        let bytes = unsafe { vld1q_u8(span.as_ptr().add(start + place)) };
        low[place] = vandq_u8(bytes, vdupq_n_u8(15));
        upper[place] = vshrq_n_u8::<4>(bytes);
    }
    let mut any = vdupq_n_u8(0);
    for set in &tables.sets {
        let mut buckets = vdupq_n_u8(u8::MAX);
        for place in 0..WINDOW_BYTES {
            // SAFETY: a table has 16 entries.
            let (by_low, by_upper) = unsafe {
                (
                    vld1q_u8(set.low[place].as_ptr()),
                    vld1q_u8(set.upper[place].as_ptr()),
                )
            };
            let by_low = vqtbl1q_u8(by_low, low[place]);
            let by_upper = vqtbl1q_u8(by_upper, upper[place]);
            buckets = vandq_u8(buckets, vandq_u8(by_low, by_upper));
        }
        any = vorrq_u8(any, buckets);
    }
    // A bit for each byte: its place among eight, then the sum of eight.
    let places: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: sixteen bytes.
    let places = unsafe { vld1q_u8(places.as_ptr()) };
    let bits = vandq_u8(vtstq_u8(any, any), places);
    let (first, second) = (vaddv_u8(vget_low_u8(bits)), vaddv_u8(vget_high_u8(bits)));
    u16::from(first) | u16::from(second) << 8
}
