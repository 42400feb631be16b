//! Tells what a crash leaves from what a hand leaves.
//!
//! A process that is killed, or a machine that loses power, leaves a record unfinished in one way
//! only: some sectors of it never reached the disk, and read as zeros or lie past the end of the
//! file. Everything that was synced is there. So damage is a torn end if both hold:
//!
//! 1. a whole sector's share of the record is zero or missing ([`explains`]), and
//! 2. no later record says that this place had been synced before ([`disclaimed`]).
//!
//! Anything else was altered. What this cannot tell apart: someone who zeroes whole sectors behind
//! the last sync leaves what a crash leaves. That is the same as cutting the end off, which a hash
//! chain alone never shows.

use std::io;
use std::ops::Range;

use super::format::{RECORD_HEADER_BYTES, RECORD_MAGIC, RecordHeader};
use super::read::Window;

/// The unit that a disk writes as a whole.
const SECTOR_BYTES: u64 = 512;

/// Whether missing sectors explain damage to a record with this extent.
///
/// Parts of a record are never zero by themselves at either end (magic, trailer), so a zero share
/// at its first or last sector means that the sector is missing.
pub(super) fn explains(window: &mut Window, extent: Range<u64>) -> io::Result<bool> {
    if window.file_bytes() < extent.end {
        return Ok(true);
    }
    let mut at = extent.start;
    while at < extent.end {
        let sector_end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        let end = sector_end.min(extent.end);
        let share = window.bytes(at, (end - at) as usize)?;
        if share.iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        at = end;
    }
    Ok(false)
}

/// Whether a later record claims that the bytes at `offset` were synced before it was written.
pub(super) fn disclaimed(window: &mut Window, offset: u64) -> io::Result<bool> {
    const STEP: usize = 64 * 1024;
    let mut at = offset + 8; // records start at multiples of eight
    while at + RECORD_HEADER_BYTES as u64 <= window.file_bytes() {
        let bytes = window.bytes(at, STEP + RECORD_HEADER_BYTES)?;
        let places = bytes.len().saturating_sub(RECORD_HEADER_BYTES).min(STEP);
        for place in (0..=places).step_by(8) {
            let rest = &bytes[place..];
            if rest.starts_with(&RECORD_MAGIC)
                && let Some(header) = rest.first_chunk::<RECORD_HEADER_BYTES>()
                && let Some(header) = RecordHeader::decode(header)
                && header.durable > offset
            {
                return Ok(true);
            }
        }
        at += STEP as u64;
    }
    Ok(false)
}
