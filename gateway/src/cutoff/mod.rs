//! Cutting off: who may no longer call, from now on and in the middle of what they are doing.
//!
//! A [`Revocation`] names a person, an application, a login session, one token or one key, of one
//! issuer, until a time or for good. The control thread keeps all of them in a [`Register`] and
//! publishes what follows from them as an immutable [`Snapshot`] with a generation. A core looks
//! into the snapshot whenever it has found out who calls, remembered tokens included, and is woken
//! by each new generation to look through the exchanges that it has under way; those concerned end
//! there and then. It reports when it has done so, so that whoever revokes is told when it has
//! taken effect everywhere.
//!
//! While nothing is revoked a call pays one atomic load for this.

mod file;
mod register;
mod revocation;
mod snapshot;
mod time;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::identity::Principal;

pub(crate) use revocation::{is_text, resolve_issuer};

pub use file::{FileError, read_file};
pub use register::{REVOCATIONS_MAX, Register, RegisterFull};
pub use revocation::{Revocation, Source, TEXT_BYTES_MAX, Target, TargetError, Wanted};
pub use snapshot::Snapshot;
pub use time::{format_time, parse_until};

/// What is cut off, as all cores see it.
pub struct Cutoff {
    /// The number of entries of the snapshot, to be looked at before it.
    count: AtomicU64,
    snapshot: ArcSwap<Snapshot>,
    published: watch::Sender<u64>,
    applied: Box<[watch::Sender<Applied>]>,
}

/// How far a core has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The generation that it has looked through its exchanges with.
    pub generation: u64,
    /// Exchanges that it has ended in all, since it started.
    pub ended: u64,
}

/// When a generation had taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Exchanges that were ended by it, as far as the cores have reported.
    pub ended: u64,
    /// Every core has reported.
    pub everywhere: bool,
}

// === impl Cutoff ===

impl Cutoff {
    /// Nothing is cut off on `cores` cores.
    #[must_use]
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicU64::new(0),
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            published: watch::Sender::new(0),
            applied: (0..cores).map(|_| watch::Sender::default()).collect(),
        })
    }

    /// Whether this caller is cut off at this time.
    pub fn revokes(&self, principal: &Principal, now_unix: u64) -> bool {
        // Acquire: who sees the count sees the snapshot that was stored before it.
        self.count.load(Ordering::Acquire) > 0 && self.snapshot.load().revokes(principal, now_unix)
    }

    /// The present snapshot, for a look through many exchanges.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts `snapshot` in place and wakes every core; its generation.
    pub fn publish(&self, snapshot: Snapshot) -> u64 {
        let count = snapshot.count() as u64;
        self.snapshot.store(Arc::new(snapshot));
        self.count.store(count, Ordering::Release);
        let mut generation = 0;
        self.published.send_modify(|published| {
            *published += 1;
            generation = *published;
        });
        generation
    }

    /// Changes with every generation; for cores, on any runtime.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// A core has looked through its exchanges with this generation and ended `ended` of them.
    pub fn applied(&self, core: usize, generation: u64, ended: u64) {
        self.applied[core].send_modify(|applied| {
            applied.generation = generation;
            applied.ended += ended;
        });
    }

    /// Exchanges ended so far, over all cores.
    pub fn ended(&self) -> u64 {
        self.applied.iter().map(|core| core.borrow().ended).sum()
    }

    /// Waits until every core has applied `generation`, at most for `patience`. `ended_before` is
    /// what [`Cutoff::ended`] said before it was published.
    pub async fn effect(&self, generation: u64, ended_before: u64, patience: Duration) -> Effect {
        let all = async {
            for core in &self.applied {
                let mut applied = core.subscribe();
                // The sender lives as long as `self`: this ends only when the core has reported.
                let _ = applied
                    .wait_for(|applied| applied.generation >= generation)
                    .await;
            }
        };
        let everywhere = tokio::time::timeout(patience, all).await.is_ok();
        Effect {
            ended: self.ended().saturating_sub(ended_before),
            everywhere,
        }
    }
}

impl std::fmt::Debug for Cutoff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutoff")
            .field("count", &self.count)
            .field("generation", &*self.published.borrow())
            .finish_non_exhaustive()
    }
}
