//! The floor's io_uring: the one place in this crate with `unsafe`.
//!
//! What may be handed to the kernel is decided here once, so that the relay above is safe code:
//! memory of the pool and the upstream's address are leaked, so the kernel can use them for as long
//! as it likes, and nothing here ever reads or writes the pool's bytes. They go from one socket to
//! the other without a reference in Rust to what they are. A file descriptor that was closed too
//! early is an error of the kernel's (`EBADF`), not undefined behaviour.
#![allow(unsafe_code)] // the kernel's queues have no safe form; each block says why it is sound

use std::os::fd::{FromRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use socket2::{SockAddr, Socket};

use crate::error::{Doing, Result};

/// Entries of the submission queue; a full queue is handed over early.
const SUBMISSIONS: u32 = 1024;

/// Entries of the completion queue: every connection may have a few.
const COMPLETIONS: u32 = 32 << 10;

/// Buffers of the pool; a power of two. When all are in use, receiving waits for the sends.
const BUFFERS: u16 = 512;

/// Size of each: a request of 1 KiB with its head fits, and a large body takes few of them.
pub(super) const BUFFER_BYTES: usize = 16 << 10;

/// The pool's number.
const GROUP: u16 = 0;

/// The tag of accepting; no other operation may have it.
pub(super) const ACCEPT: u64 = 0;

/// `MSG_WAITALL`: the kernel itself goes on with a send that was short. `MSG_NOSIGNAL`: a peer that
/// went away is an error, not the end of the process.
const SEND_FLAGS: i32 = 0x100 | 0x4000;

/// Rings, pool and upstream of one relay.
pub(super) struct Ring {
    ring: IoUring,
    pool: Pool,
    upstream: &'static SockAddr,
    released: bool,
}

/// Bytes that were received, in a buffer of the pool.
#[derive(Debug)]
pub(super) struct Piece {
    buffer: u16,
    from: u32,
    to: u32,
}

/// What the kernel says about something that was asked of it.
#[derive(Debug)]
pub(super) struct Completion {
    /// What the operation was given.
    pub(super) tag: u64,
    /// Its result: negative when it failed.
    pub(super) result: i32,
    /// What was received.
    pub(super) piece: Option<Piece>,
    /// Who was accepted.
    pub(super) accepted: Option<Socket>,
    /// More completions of the same operation will come.
    pub(super) more: bool,
}

/// Buffers that the kernel picks from, and the ring in which they are offered to it.
struct Pool {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
}

// === impl Ring ===

impl Ring {
    /// Sets everything up; fails where the kernel forbids io_uring or is older than 6.0.
    pub(super) fn new(upstream: SockAddr) -> Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)
            .doing(|| "making an io_uring".into())?;
        let mut pool = Pool::map()?;
        // SAFETY: the entries are page-aligned, as many as said, and never unmapped.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                pool.entries.as_ptr() as u64,
                BUFFERS,
                GROUP,
                0,
            )
        }
        .doing(|| "registering buffers".into())?;
        for buffer in 0..BUFFERS {
            pool.offer(buffer);
        }
        let upstream = Box::leak(Box::new(upstream));
        Ok(Ring {
            ring,
            pool,
            upstream,
            released: false,
        })
    }

    /// Accepts connections until the listener fails.
    pub(super) fn accept(&mut self, listener: RawFd) -> Result<()> {
        let accept = opcode::AcceptMulti::new(Fd(listener));
        self.push(&accept.build().user_data(ACCEPT))
    }

    /// Connects a socket to the upstream.
    pub(super) fn connect(&mut self, socket: RawFd, tag: u64) -> Result<()> {
        let (address, length) = (self.upstream.as_ptr(), self.upstream.len());
        let connect = opcode::Connect::new(Fd(socket), address.cast(), length);
        self.push(&connect.build().user_data(tag))
    }

    /// Receives into buffers of the pool until the end, a failure, or a lack of buffers.
    pub(super) fn receive(&mut self, socket: RawFd, tag: u64) -> Result<()> {
        let receive = opcode::RecvMulti::new(Fd(socket), GROUP);
        self.push(&receive.build().user_data(tag))
    }

    /// Sends a piece; whoever gets the completion gives the piece back or sends its rest.
    pub(super) fn send(&mut self, socket: RawFd, piece: &Piece, tag: u64) -> Result<()> {
        let address = self
            .pool
            .address(piece.buffer)
            .wrapping_add(piece.from as usize);
        let send = opcode::Send::new(Fd(socket), address, piece.to - piece.from);
        self.push(&send.flags(SEND_FLAGS).build().user_data(tag))
    }

    /// Ends the operation that was given `of`.
    pub(super) fn cancel(&mut self, of: u64, tag: u64) -> Result<()> {
        self.push(&opcode::AsyncCancel::new(of).build().user_data(tag))
    }

    /// Gives a piece's buffer back to the pool.
    pub(super) fn release(&mut self, piece: Piece) {
        self.pool.offer(piece.buffer);
        self.released = true;
    }

    /// True when a buffer was given back since this was last asked.
    pub(super) fn take_released(&mut self) -> bool {
        std::mem::take(&mut self.released)
    }

    /// Hands over what was asked for, waits for at least one completion, and appends all there are.
    pub(super) fn wait(&mut self, completions: &mut Vec<Completion>) -> Result<()> {
        match self.ring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error).doing(|| "waiting for the kernel".into()),
        }
        completions.extend(self.ring.completion().map(|entry| {
            let (result, flags) = (entry.result(), entry.flags());
            let piece = cqueue::buffer_select(flags).map(|buffer| Piece {
                buffer,
                from: 0,
                to: result.max(0) as u32,
            });
            let accepted = (entry.user_data() == ACCEPT && result >= 0).then(|| {
                // SAFETY: only accepting has this tag, each of its completions brings a new file
                // descriptor, and nobody else is told of it.
                unsafe { Socket::from_raw_fd(result) }
            });
            Completion {
                accepted,
                tag: entry.user_data(),
                result,
                piece,
                more: cqueue::more(flags),
            }
        }));
        Ok(())
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<()> {
        loop {
            // SAFETY: every entry is made above. What they point to (buffers of the pool, the
            // upstream's address) is never freed, so it outlives every operation.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring
                .submit()
                .doing(|| "handing a full queue to the kernel".into())?;
        }
    }
}

// === impl Piece ===

impl Piece {
    /// Leaves out the first `count` bytes, which were sent; true when some are left.
    pub(super) fn advance(&mut self, count: usize) -> bool {
        self.from = (self.from + count as u32).min(self.to);
        self.from < self.to
    }
}

// === impl Pool ===

impl Pool {
    /// Maps the offers and the buffers. They are never unmapped: a ring's teardown goes on in the
    /// kernel after its file is closed, and a process has one.
    fn map() -> Result<Pool> {
        let map = |length: usize| -> Result<NonNull<u8>> {
            let flags = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
            let base = unsafe { mmap_anonymous(ptr::null_mut(), length, flags, MapFlags::PRIVATE) }
                .doing(|| "mapping buffers".into())?;
            // mmap never gives the zero page to anybody who did not ask for it.
            Ok(NonNull::new(base.cast()).unwrap_or(NonNull::dangling()))
        };
        let entries = map(size_of::<BufRingEntry>() * usize::from(BUFFERS))?.cast();
        let memory = map(BUFFER_BYTES * usize::from(BUFFERS))?;
        Ok(Pool {
            entries,
            memory,
            tail: 0,
        })
    }

    fn address(&self, buffer: u16) -> *const u8 {
        debug_assert!(buffer < BUFFERS);
        self.memory
            .as_ptr()
            .wrapping_add(usize::from(buffer) * BUFFER_BYTES)
    }

    /// Lets the kernel receive into a buffer that nobody uses.
    fn offer(&mut self, buffer: u16) {
        let index = usize::from(self.tail % BUFFERS);
        let address = self.address(buffer) as u64;
        // SAFETY: the index is below the number of entries that were mapped, and the kernel reads
        // an entry only after the tail has passed it.
        let entry = unsafe { &mut *self.entries.as_ptr().add(index) };
        entry.set_addr(address);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the first entry is mapped, zeroed at first, and holds the tail where its own
        // fields leave room; two bytes at an even address, which the kernel reads atomically.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr());
            AtomicU16::from_ptr(tail.cast_mut()).store(self.tail, Ordering::Release);
        }
    }
}
