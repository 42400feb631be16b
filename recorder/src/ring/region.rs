//! The shared memory, mapped: the only place in this crate with `unsafe`.
//!
//! Promises to the files beside it: every offset is checked against the size of the mapping before
//! it is used (a failed check is a bug here, so it panics), the mapping lives as long as the
//! `Region`, and it cannot be shrunk because the memfd is sealed before it is mapped.
//!
//! The other process can write anywhere in this memory at any time. Therefore the consumer's reads
//! are atomic (relaxed words): whatever they give is a plain value that cannot change afterwards.
//! The producer only writes to the part that the protocol gives to it alone, and never reads back.
#![allow(unsafe_code)] // mapped memory has no safe form; each block says why it is sound

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use rkyv::util::AlignedVec;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::RingId;
use super::layout::{
    DATA_BYTES_AT, DataSize, HEAD_AT, HEADER_BYTES, HEADER_BYTES_AT, ID_AT, MAGIC, MAGIC_AT,
    SLEEPING_AT, TAIL_AT, VERSION, VERSION_AT,
};
use super::primitive::{AtomicU32, AtomicU64, Ordering};

/// One side's view of a ring's memory.
pub(super) struct Region {
    base: NonNull<u8>,
    size: DataSize,
}

/// What the header page says; untrusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HeaderFields {
    pub(super) magic: u64,
    pub(super) version: u32,
    pub(super) header_bytes: u32,
    pub(super) data_bytes: u64,
    pub(super) id: RingId,
}

// SAFETY: the mapping belongs to the process, not to a thread, and is only unmapped on drop. A
// `Region` is used by one side at a time (`Producer` and `Consumer` take `&mut self`), and what it
// shares with the other side it shares through atomics.
unsafe impl Send for Region {}

// === impl Region ===

impl Region {
    /// Maps a memfd of exactly `HEADER_BYTES + size` bytes whose size can no longer change.
    ///
    /// The caller has checked the size and the seals.
    pub(super) fn map(memfd: impl AsFd, size: DataSize) -> std::io::Result<Self> {
        let length = HEADER_BYTES + size.bytes() as usize;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing that exists.
        let base = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                memfd,
                0,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(rustix::io::Errno::NOMEM)?;
        Ok(Self { base, size })
    }

    pub(super) fn size(&self) -> DataSize {
        self.size
    }

    pub(super) fn head(&self) -> &AtomicU64 {
        self.word64(HEAD_AT)
    }

    pub(super) fn tail(&self) -> &AtomicU64 {
        self.word64(TAIL_AT)
    }

    pub(super) fn sleeping(&self) -> &AtomicU32 {
        self.word32(SLEEPING_AT)
    }

    /// A word of the data, at a multiple of four.
    pub(super) fn data_word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset + 4 <= self.size.bytes() as usize);
        self.word32(HEADER_BYTES + offset)
    }

    /// Copies data out into memory that is ours alone. `offset` is a multiple of eight.
    pub(super) fn copy_out(&self, offset: usize, length: usize, into: &mut AlignedVec) {
        let whole = length.next_multiple_of(8);
        assert!(offset + whole <= self.size.bytes() as usize);
        into.clear();
        into.reserve(whole);
        let target = into.as_mut_ptr().cast::<u64>();
        for index in 0..whole / 8 {
            let word = self
                .word64(HEADER_BYTES + offset + 8 * index)
                .load(Ordering::Relaxed);
            // SAFETY: `whole` bytes were reserved just now, and the vector is aligned to sixteen.
            unsafe { target.add(index).write(word) };
        }
        // SAFETY: the first `whole` bytes were written above, and `length` is no more.
        unsafe { into.set_len(length) };
    }

    /// The producer's free space, to be written in place.
    ///
    /// # Safety
    /// The range must be owned by the caller under the protocol: it lies between the tail and the
    /// head (plus one turn), so that the consumer does not look at it.
    pub(super) unsafe fn slot(&mut self, offset: usize, length: usize) -> &mut [MaybeUninit<u8>] {
        assert!(offset + length <= self.size.bytes() as usize);
        // SAFETY: in bounds of the mapping as just checked; `&mut self` and the caller's promise
        // make this the only reference of this process; nothing is read through it.
        unsafe {
            let start = self.base.as_ptr().add(HEADER_BYTES + offset);
            std::slice::from_raw_parts_mut(start.cast(), length)
        }
    }

    /// Writes the part of the header that never changes; the memory is not yet shared.
    pub(super) fn write_header(&mut self, id: RingId) {
        self.word64(MAGIC_AT).store(MAGIC, Ordering::Relaxed);
        self.word32(VERSION_AT).store(VERSION, Ordering::Relaxed);
        self.word32(HEADER_BYTES_AT)
            .store(HEADER_BYTES as u32, Ordering::Relaxed);
        self.word64(DATA_BYTES_AT)
            .store(self.size.bytes(), Ordering::Relaxed);
        let (first, second) = halves(id);
        self.word64(ID_AT).store(first, Ordering::Relaxed);
        self.word64(ID_AT + 8).store(second, Ordering::Release);
    }

    /// Reads what the header claims.
    pub(super) fn read_header(&self) -> HeaderFields {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.word64(ID_AT).load(Ordering::Acquire).to_ne_bytes());
        id[8..].copy_from_slice(&self.word64(ID_AT + 8).load(Ordering::Acquire).to_ne_bytes());
        HeaderFields {
            magic: self.word64(MAGIC_AT).load(Ordering::Acquire),
            version: self.word32(VERSION_AT).load(Ordering::Acquire),
            header_bytes: self.word32(HEADER_BYTES_AT).load(Ordering::Acquire),
            data_bytes: self.word64(DATA_BYTES_AT).load(Ordering::Acquire),
            id: RingId(id),
        }
    }

    fn word32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.length());
        // SAFETY: in bounds and aligned as just checked (the mapping is page-aligned), valid for
        // the lifetime of `self`; this process touches these bytes only through atomics while the
        // reference lives, as `slot` needs `&mut self`.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    fn word64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.length());
        // SAFETY: as in `word32`.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    fn length(&self) -> usize {
        HEADER_BYTES + self.size.bytes() as usize
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `map`, unmapped once; no reference outlives `self`.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.length()) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

fn halves(id: RingId) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, rest @ ..] = id.0;
    (
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u64::from_ne_bytes(rest),
    )
}
