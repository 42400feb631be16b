//! The recorder's end: check, copy out, and only later, when the copy is on disk, let go.

use rkyv::util::AlignedVec;

use super::Region;
use super::RingId;
use super::bell::Bell;
use super::layout::{PADDING, entry_bytes, stamp};
use super::primitive::{Ordering, fence};

/// Where frames are copied to before they are validated.
pub type FrameBuffer = AlignedVec;

/// The end of a ring that frames are taken from.
///
/// Three positions: `released <= position <= tail_seen`. Taking frames moves `position`;
/// [`release`](Self::release) moves the head that the producer sees.
pub struct Consumer {
    region: Region,
    bell: Bell,
    id: RingId,
    released: u64,
    position: u64,
    tail_seen: u64,
}

/// A frame was copied out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Position just past the frame: what [`Consumer::release`] takes once it is safe.
    pub end: u64,
}

/// The shared memory says something that no honest producer writes. The ring is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The tail went back, beyond the ring's size, or off the grid.
    #[error("the tail says {tail}, after {seen}, with {released} released")]
    Tail {
        /// What the shared memory says.
        tail: u64,
        /// What it said before.
        seen: u64,
        /// How far we have let go.
        released: u64,
    },
    /// A length that does not fit in what was published.
    #[error("the entry at {position} claims {length} bytes")]
    Length {
        /// Position of the entry.
        position: u64,
        /// What it claims.
        length: u32,
    },
    /// Not the entry that belongs at this position.
    #[error("the entry at {position} is stamped {stamp:#010x}")]
    Stamp {
        /// Position of the entry.
        position: u64,
        /// What it is stamped with.
        stamp: u32,
    },
    /// A position to go on from that is not between the head and the tail.
    #[error("cannot go on at {position}: the ring holds {head} to {tail}")]
    Resume {
        /// The position asked for.
        position: u64,
        /// The head in shared memory.
        head: u64,
        /// The tail in shared memory.
        tail: u64,
    },
}

// === impl Consumer ===

impl Consumer {
    /// Starts at the head that the shared memory shows, which an earlier consumer left there.
    /// It is read this once: from here on the head is ours alone to write.
    pub(super) fn new(region: Region, bell: Bell, id: RingId) -> Result<Self, Corrupt> {
        let head = region.head().load(Ordering::Acquire);
        let tail = region.tail().load(Ordering::Acquire);
        let sound = head.is_multiple_of(8)
            && tail
                .checked_sub(head)
                .is_some_and(|held| held <= region.size().bytes());
        if !sound {
            return Err(Corrupt::Resume {
                position: head,
                head,
                tail,
            });
        }
        Ok(Self {
            region,
            bell,
            id,
            released: head,
            position: head,
            tail_seen: head,
        })
    }

    /// The ring's name.
    pub fn id(&self) -> RingId {
        self.id
    }

    /// Position just past the last frame that was taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Position that the producer has been told.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Bytes that the ring holds.
    pub fn capacity(&self) -> u64 {
        self.region.size().bytes()
    }

    /// Skips what an earlier consumer has already written, and says so to the producer.
    ///
    /// `position` is what the log says; the head may be behind it, when the recorder died between
    /// writing and releasing. A head before the log's position is never trusted over the log.
    pub fn resume_at(&mut self, position: u64) -> Result<(), Corrupt> {
        let head = self.released;
        let tail = self.region.tail().load(Ordering::Acquire);
        let reachable = (head..=tail).contains(&position)
            && tail - head <= self.capacity()
            && position.is_multiple_of(8);
        if !reachable {
            return Err(Corrupt::Resume {
                position,
                head,
                tail,
            });
        }
        self.position = position;
        self.tail_seen = position;
        self.release(position);
        Ok(())
    }

    /// Whether nothing is published beyond what was taken.
    pub fn is_empty(&self) -> bool {
        self.region.tail().load(Ordering::Acquire) == self.position
    }

    /// Copies the next frame out; `None` when there is none.
    ///
    /// The bytes in `into` are the payload as it was when it was copied, unvalidated.
    pub fn receive(&mut self, into: &mut FrameBuffer) -> Result<Option<Received>, Corrupt> {
        loop {
            if self.position == self.tail_seen && !self.look_for_more()? {
                return Ok(None);
            }
            let size = self.region.size();
            let position = self.position;
            let offset = size.offset(position);
            let length = self.region.data_word(offset).load(Ordering::Acquire);
            let stamped = self.region.data_word(offset + 4).load(Ordering::Relaxed);
            if stamped != stamp(position) {
                return Err(Corrupt::Stamp {
                    position,
                    stamp: stamped,
                });
            }
            let published = self.tail_seen - position;
            let contiguous = size.contiguous(position);
            if length == PADDING {
                // Padding alone is never published, so something lies behind it; and it never
                // starts at the start of the data, so this loop turns at most twice.
                if contiguous >= published || offset == 0 {
                    return Err(Corrupt::Length { position, length });
                }
                self.position += contiguous;
                continue;
            }
            let payload = length as usize;
            let fits = payload > 0
                && payload <= size.frame_bytes_max()
                && entry_bytes(payload) <= published.min(contiguous);
            if !fits {
                return Err(Corrupt::Length { position, length });
            }
            self.region
                .copy_out(offset + super::layout::ENTRY_HEADER_BYTES, payload, into);
            self.position += entry_bytes(payload);
            return Ok(Some(Received { end: self.position }));
        }
    }

    /// Gives the space up to `end` back to the producer. Call it when the frames are on disk.
    ///
    /// # Panics
    /// When `end` was not received yet, or was released before: a bug of the caller.
    pub fn release(&mut self, end: u64) {
        assert!(
            (self.released..=self.position).contains(&end),
            "released out of order"
        );
        self.released = end;
        self.region.head().store(end, Ordering::Release);
    }

    /// Says that we are about to sleep. `false`: do not, a frame has come meanwhile.
    ///
    /// After `true` the producer rings the bell once for the next frame. A ring that is corrupt
    /// keeps us awake, so that `receive` can say why.
    pub fn sleep(&mut self) -> bool {
        self.region.sleeping().store(1, Ordering::Relaxed);
        // Pairs with the fence in `Producer::publish`.
        fence(Ordering::SeqCst);
        if self.region.tail().load(Ordering::Relaxed) == self.position {
            return true;
        }
        self.wake();
        false
    }

    /// Says that we are awake: no bell is needed.
    pub fn wake(&mut self) {
        self.region.sleeping().store(0, Ordering::Relaxed);
    }

    /// The bell, to be waited for with edge-triggered epoll; it is never read.
    #[cfg(not(loom))]
    pub fn bell(&self) -> std::os::fd::BorrowedFd<'_> {
        self.bell.fd()
    }

    #[cfg(loom)]
    pub(super) fn wait(&self) {
        self.bell.wait();
    }

    fn look_for_more(&mut self) -> Result<bool, Corrupt> {
        let tail = self.region.tail().load(Ordering::Acquire);
        let sound = tail >= self.tail_seen
            && tail - self.released <= self.capacity()
            && tail.is_multiple_of(8);
        if !sound {
            let (seen, released) = (self.tail_seen, self.released);
            return Err(Corrupt::Tail {
                tail,
                seen,
                released,
            });
        }
        let more = tail > self.tail_seen;
        self.tail_seen = tail;
        Ok(more)
    }
}
