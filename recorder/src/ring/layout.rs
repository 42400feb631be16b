//! Where everything lies in the shared memory, and the arithmetic of positions. No I/O, no
//! atomics: this is the part that both sides must agree on.
//!
//! ```text
//! byte 0      magic, version, header size, data size, ring id      written once, at creation
//! byte 128    head: u64      position up to which the consumer has finished (consumer writes)
//! byte 256    tail: u64      position up to which frames are published      (producer writes)
//! byte 384    sleeping: u32  1 while the consumer wants to be woken         (both write)
//! byte 4096   data: a power of two of bytes
//! ```
//!
//! The three words that change lie 128 bytes apart, because x86 prefetches cache lines in pairs.
//!
//! A position counts bytes since the ring was made and never wraps in practice (2^64 bytes); the
//! byte it stands for is `position mod data size`. An entry is `length: u32`, `stamp: u32` (the low
//! half of its position, so that a reader that lost its place notices), then `length` bytes of
//! payload, padded to 8. An entry never wraps: if it does not fit before the end, a padding entry
//! (`length` = [`PADDING`]) tells the reader to go on at the start.
#![cfg_attr(loom, allow(dead_code))] // the model has no header page

/// First bytes of the shared memory.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"PNSTRING");
/// Version of the layout; the two sides refuse each other unless it is equal.
pub(super) const VERSION: u32 = 1;
/// Bytes before the data: one page.
pub(super) const HEADER_BYTES: usize = 4096;

pub(super) const MAGIC_AT: usize = 0;
pub(super) const VERSION_AT: usize = 8;
pub(super) const HEADER_BYTES_AT: usize = 12;
pub(super) const DATA_BYTES_AT: usize = 16;
pub(super) const ID_AT: usize = 24;
pub(super) const HEAD_AT: usize = 128;
pub(super) const TAIL_AT: usize = 256;
pub(super) const SLEEPING_AT: usize = 384;

/// Smallest ring: a frame with the longest piece of a body must fit in its share.
#[cfg(not(any(loom, test)))]
pub(super) const DATA_BYTES_MIN: usize = 512 * 1024;
/// Tests use tiny rings, so that wrapping and filling happen all the time.
#[cfg(any(loom, test))]
pub(super) const DATA_BYTES_MIN: usize = 64;
/// Largest ring: a bound for what a peer can make the recorder map.
pub(super) const DATA_BYTES_MAX: usize = 1 << 30;

/// Bytes before each payload.
pub(super) const ENTRY_HEADER_BYTES: usize = 8;
/// Length word of an entry that only fills the space up to the end of the data.
pub(super) const PADDING: u32 = u32::MAX;
/// A frame may take at most this part of the ring, or a single one would block it.
pub(super) const FRAME_SHARE: usize = 4;

/// Size of the data, known to be a power of two within bounds; knows where a position lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataSize(u64);

impl DataSize {
    pub(super) fn new(bytes: usize) -> Option<Self> {
        let good = bytes.is_power_of_two() && (DATA_BYTES_MIN..=DATA_BYTES_MAX).contains(&bytes);
        good.then_some(Self(bytes as u64))
    }

    pub(super) fn bytes(self) -> u64 {
        self.0
    }

    /// Offset in the data of a position.
    pub(super) fn offset(self, position: u64) -> usize {
        (position & (self.0 - 1)) as usize
    }

    /// Bytes from a position to the end of the data.
    pub(super) fn contiguous(self, position: u64) -> u64 {
        self.0 - (position & (self.0 - 1))
    }

    /// Longest payload.
    pub(super) fn frame_bytes_max(self) -> usize {
        (self.0 as usize / FRAME_SHARE).saturating_sub(ENTRY_HEADER_BYTES)
    }
}

/// Bytes that an entry with this payload takes.
pub(super) fn entry_bytes(payload: usize) -> u64 {
    (ENTRY_HEADER_BYTES + payload.next_multiple_of(8)) as u64
}

/// What the stamp of the entry at this position must be.
pub(super) fn stamp(position: u64) -> u32 {
    (position & u64::from(u32::MAX)) as u32
}
