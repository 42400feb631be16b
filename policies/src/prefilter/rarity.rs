//! How often each byte stands in ordinary text.
//!
//! Counted over this repository: a third each of its prose (documents and comments), of its code,
//! and of its documents cut up into chat events as JSON. Per 65536 bytes; what was hardly seen
//! counts as [`FLOOR`], because rare is not the same as absent from other people's texts.

use super::Window;
use super::bytes::{ByteSet, iter};

/// A sample of ordinary text, put together from letters and answers written for it, in English and
/// some of them in nineteen other languages, from this repository's documents and code as they
/// were, and from chat events, logs and tables. It decides how fast texts like it are read; and one
/// validator (`random_letters`) goes by which letters commonly stand side by side in it.
pub(crate) const ORDINARY: &[u8] = include_bytes!("ordinary.txt");

const FLOOR: u16 = 8;

/// By byte, below 128; the bytes of other characters are taken for equally common.
#[rustfmt::skip]
const SEEN: [u16; 128] = [
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 872, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    10149, 68, 2658, 75, 9, 8, 130, 63, 593, 591, 45, 10, 1179, 342, 920, 102,
    719, 287, 194, 245, 104, 135, 100, 141, 87, 78, 1294, 266, 48, 322, 102, 20,
    2, 141, 40, 91, 59, 132, 50, 24, 45, 69, 13, 30, 51, 43, 70, 96,
    80, 1, 98, 167, 177, 39, 29, 63, 12, 12, 2, 185, 261, 184, 1, 420,
    277, 2966, 542, 1833, 1621, 5249, 854, 494, 1608, 2294, 120, 392, 1950, 1080, 2918, 2823,
    871, 70, 2346, 2988, 3888, 1082, 234, 522, 241, 454, 39, 399, 178, 398, 1, 1,
];

const SEEN_HIGH: u16 = 20;

/// How much of ordinary text is in the set.
pub(crate) fn share(set: &ByteSet) -> f32 {
    let sum: u32 = iter(set).map(count).sum();
    (sum as f32 / 65536.0).min(1.0)
}

/// How much of ordinary text is this byte.
pub(crate) fn share_of_byte(byte: u8) -> f32 {
    count(byte) as f32 / 65536.0
}

fn count(byte: u8) -> u32 {
    match SEEN.get(usize::from(byte)) {
        Some(seen) => u32::from(*seen.max(&FLOOR)),
        None => u32::from(SEEN_HIGH),
    }
}

/// At how many places of ordinary text the window begins, as if its bytes were independent.
pub(crate) fn rate(window: &Window) -> f32 {
    window.0.iter().map(share).product()
}
