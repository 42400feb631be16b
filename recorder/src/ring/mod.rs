//! A byte ring in shared memory: one producer (a core of the gateway), one consumer (the recorder).
//!
//! What it promises:
//! 1. A frame that [`Producer::push`] accepted is seen by the consumer exactly once, in order,
//!    whole; also by a consumer that takes over the same memory after the first one died.
//! 2. The producer makes no system call while the consumer is awake. It rings the bell (an eventfd)
//!    only when the consumer said that it sleeps.
//! 3. Neither side believes the other. The consumer checks every cursor and length, and copies a
//!    frame out before it is validated, so that the producer cannot change what was validated. The
//!    producer ignores a head that makes no sense: it then sees a full ring, never a wrong write.
//! 4. The memory cannot be shrunk under a reader (which would be a SIGBUS): the memfd is sealed,
//!    and the consumer refuses one that is not.
//!
//! It does not promise that a frame outlives both processes: memory is not a disk. The consumer
//! moves the head only when the frames behind it are in the log and synced, so that whatever the
//! recorder had not yet written is still in the ring when it comes back.
//!
//! The order of stores is model-checked with loom (`model.rs`); behaviour against a queue and
//! against a hostile producer is in `tests.rs`. Files: `layout` (where things lie), `region` (the
//! memory itself, and the only `unsafe` of this crate), `producer`, `consumer`, `bell`.

mod bell;
mod consumer;
mod layout;
#[cfg(not(loom))]
mod memfd;
#[cfg(all(loom, test))]
mod model;
#[cfg(loom)]
mod modelled;
mod primitive;
mod producer;
#[cfg(not(loom))]
mod region;
#[cfg(all(test, not(loom)))]
mod tests;

pub use self::consumer::{Consumer, Corrupt, FrameBuffer, Received};
#[cfg(not(loom))]
pub use self::memfd::{AttachError, RingFds, attach, create};
pub use self::producer::{Producer, PushError};

use std::fmt;

#[cfg(loom)]
use self::modelled::Region;
#[cfg(not(loom))]
use self::region::Region;

/// Names a ring for good: a restarted recorder knows by it what it has written already.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct RingId(pub [u8; 16]);

// === impl RingId ===

impl RingId {
    /// Stands in records for the recorder itself.
    pub const NIL: Self = Self([0; 16]);
}

impl fmt::Display for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
