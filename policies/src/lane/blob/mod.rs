//! Bytes that are no text: weight files, media, and long runs that hide what they are.
//!
//! [`classify`] looks at the first bytes of something and says what kind of file it begins, from
//! the formats' published magic numbers and the fields that follow them; a magic of one or two
//! bytes alone is never enough. [`RunMeter`] follows base64 and hexadecimal runs through a text that
//! comes in pieces and classifies what they carry while they grow, so that a guard can stop a
//! stream of weights after its first few hundred characters.

mod classify;
mod meter;

pub use classify::{BlobKind, CLASSIFY_BYTES, classify};
pub use meter::{Run, RunMeter};
