//! The gateway's end: serialise into the ring, publish, wake if asked to.

#[cfg(not(loom))]
use rkyv::ser::allocator::Arena;
#[cfg(not(loom))]
use rkyv::ser::writer::Buffer;

use super::Region;
use super::RingId;
use super::bell::Bell;
use super::layout::{ENTRY_HEADER_BYTES, PADDING, entry_bytes, stamp};
use super::primitive::{Ordering, fence};
#[cfg(not(loom))]
use crate::frame::Frame;

/// The end of a ring that frames are pushed into. `Send`, not `Sync`: it belongs to one core.
pub struct Producer {
    region: Region,
    bell: Bell,
    id: RingId,
    /// Ours: nobody else writes the tail, and we never read it back from shared memory.
    tail: u64,
    /// The consumer's head when we last looked; it can only have grown since.
    head_seen: u64,
    #[cfg(not(loom))]
    arena: Arena,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No room until the recorder has written more of the ring. The caller decides: refuse the
    /// exchange, or count the loss and record it as a gap.
    #[error("the ring is full: the recorder is not keeping up, or gone")]
    Full,
    /// The frame would take more than a quarter of the ring; it will never fit.
    #[error("the frame takes more than a quarter of the ring")]
    TooLarge,
}

// === impl Producer ===

impl Producer {
    pub(super) fn new(region: Region, bell: Bell, id: RingId) -> Self {
        Self {
            region,
            bell,
            id,
            tail: 0,
            head_seen: 0,
            #[cfg(not(loom))]
            arena: Arena::new(),
        }
    }

    /// The ring's name.
    pub fn id(&self) -> RingId {
        self.id
    }

    /// Appends a frame: serialised in place, visible to the consumer as a whole or not at all.
    ///
    /// To spare allocations keep the `Vec` of a chunk: it is borrowed, not taken.
    #[cfg(not(loom))]
    pub fn push(&mut self, frame: &Frame) -> Result<(), PushError> {
        let bound = frame.encoded_bytes_max();
        let offset = self.reserve(bound)?;
        #[allow(unsafe_code)]
        // SAFETY: `reserve` has made sure that these bytes lie between the tail and the head.
        let slot = unsafe { self.region.slot(offset + ENTRY_HEADER_BYTES, bound) };
        let written = rkyv::api::low::to_bytes_in_with_alloc::<_, _, rkyv::rancor::Failure>(
            frame,
            Buffer::from(slot),
            self.arena.acquire(),
        )
        .map_err(|_| PushError::TooLarge)? // the bound was wrong: nothing has been published
        .len();
        self.publish(offset, written);
        Ok(())
    }

    /// Appends bytes as they are. The model, the property tests and hostile producers use it.
    #[cfg(any(test, loom))]
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        let offset = self.reserve(bytes.len())?;
        #[cfg(loom)]
        self.region.copy_in(offset + ENTRY_HEADER_BYTES, bytes);
        #[cfg(not(loom))]
        {
            #[allow(unsafe_code)]
            // SAFETY: as in `push`.
            let slot = unsafe { self.region.slot(offset + ENTRY_HEADER_BYTES, bytes.len()) };
            slot.write_copy_of_slice(bytes);
        }
        self.publish(offset, bytes.len());
        Ok(())
    }

    /// Bytes that the consumer has not finished with.
    pub fn used(&self) -> u64 {
        self.tail - self.head_now()
    }

    /// Bytes that the ring holds.
    pub fn capacity(&self) -> u64 {
        self.region.size().bytes()
    }

    /// Position just past the last frame that was pushed.
    pub fn position(&self) -> u64 {
        self.tail
    }

    /// Position up to which everything is in the log and synced: a frame is durable once this has
    /// reached the [`position`](Self::position) that was current after its push.
    pub fn durable(&self) -> u64 {
        self.head_now()
    }

    /// Finds room for a payload, going on at the start of the data when the end is too near.
    ///
    /// Invariant, kept by every path: `head_seen <= tail <= head_seen + size`.
    fn reserve(&mut self, payload: usize) -> Result<usize, PushError> {
        let size = self.region.size();
        if payload > size.frame_bytes_max() {
            return Err(PushError::TooLarge);
        }
        let contiguous = size.contiguous(self.tail);
        let needed = entry_bytes(payload);
        let padding = if needed > contiguous { contiguous } else { 0 };
        if self.tail + padding + needed > self.head_seen + size.bytes() {
            self.head_seen = self.head_now();
            if self.tail + padding + needed > self.head_seen + size.bytes() {
                return Err(PushError::Full);
            }
        }
        if padding > 0 {
            self.write_entry_header(size.offset(self.tail), PADDING);
            self.tail += padding;
            // Not published: the entry behind it publishes both. Should that one never come, a
            // later call pads again from here, and finds nothing to pad.
        }
        Ok(size.offset(self.tail))
    }

    /// Makes the entry visible, and wakes the consumer if it sleeps.
    fn publish(&mut self, offset: usize, payload: usize) {
        // The length word comes after the payload, the tail after the length word.
        self.write_entry_header(offset, payload as u32);
        self.tail += entry_bytes(payload);
        self.region.tail().store(self.tail, Ordering::Release);
        // Pairs with the fence in `Consumer::sleep`: either we see that it sleeps, or it sees our
        // tail before it does.
        fence(Ordering::SeqCst);
        let sleeping = self.region.sleeping();
        if sleeping.load(Ordering::Relaxed) != 0 {
            sleeping.store(0, Ordering::Relaxed);
            self.bell.ring();
        }
    }

    fn write_entry_header(&self, offset: usize, length: u32) {
        self.region
            .data_word(offset + 4)
            .store(stamp(self.tail), Ordering::Relaxed);
        self.region
            .data_word(offset)
            .store(length, Ordering::Release);
    }

    /// The consumer's head, if it makes sense; otherwise what we knew. The recorder is another
    /// user's process: a wrong head may stop us, but never make us write where it still reads.
    fn head_now(&self) -> u64 {
        let head = self.region.head().load(Ordering::Acquire);
        if (self.head_seen..=self.tail).contains(&head) {
            head
        } else {
            self.head_seen
        }
    }
}
