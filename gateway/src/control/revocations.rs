//! The control thread's side of cutting off: one register of all revocations, the state that keeps
//! those of the API, the watched file, and the snapshots that cores see.
//!
//! A revocation takes effect first and is written down second: who must be cut off does not wait
//! for a disk or a server, and where that fails they are cut off all the same, whoever revoked is
//! told so, and writing it down is tried again. Where gateways share a state, what others have
//! revoked and lifted is read again whenever the state tells of it ([`super::fleet`]).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;

use super::state::{State, StateError};
use crate::config::StatePlace;
use crate::cutoff::{
    Cutoff, Effect, FileError, Register, RegisterFull, Revocation, Source, Target, read_file,
};
use crate::exchange::unix_seconds;
use crate::identity::IdentityShared;

/// How often the watched file is looked at.
const FILE_LOOK: Duration = Duration::from_millis(250);
/// How often revocations whose time is over are forgotten; they end at their time all the same.
const FORGET: Duration = Duration::from_secs(60);
/// How often writing down is tried again that has failed.
const WRITE_AGAIN: Duration = Duration::from_secs(2);
/// How long a revocation waits for cores to say that it has taken effect.
const EFFECT_MAX: Duration = Duration::from_secs(1);

/// All revocations, and how they get to the cores.
pub struct Revocations {
    register: Mutex<Register>,
    cutoff: Arc<Cutoff>,
    /// Which issuers there are.
    identity: Arc<IdentityShared>,
    place: Option<StatePlace>,
    state: OnceLock<State>,
    /// In force, and not in the state yet.
    unwritten: Mutex<BTreeMap<String, Arc<Revocation>>>,
    /// Held while the state is written or read: what is read must not be older than what is in
    /// force.
    writing: tokio::sync::Mutex<()>,
    watched: Option<PathBuf>,
    /// Why the watched file was not taken, the last time it was read.
    trouble: Mutex<Option<String>>,
}

/// What there is, for `/status`.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    by_api: usize,
    by_file: usize,
    /// Exchanges that were ended under way, since the start.
    ended: u64,
    file: Option<PathBuf>,
    file_trouble: Option<String>,
    state: Option<String>,
}

/// How a revocation went.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Told {
    /// Exchanges that were under way and were ended.
    pub(super) ended: u64,
    /// Every core has said that it acts on it; one that stands still is the alternative.
    pub(super) everywhere: bool,
    /// From the request's arrival until then, in microseconds.
    pub(super) took_us: u64,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum RevokeError {
    /// No more can be kept.
    #[error(transparent)]
    Full(#[from] RegisterFull),
    /// It is in force and was not written down.
    #[error(
        "it is in force now and was NOT written down, so a restart would forget it: {0}. Writing \
         it is tried again while the gateway runs; `status` says what is not written yet"
    )]
    NotKept(StateError),
    /// It could not be taken out of the state, so it stays.
    #[error("it stays in force, because it cannot be taken out of the state: {0}")]
    NotLifted(StateError),
    /// No revocation has this id.
    #[error("no revocation has the id {0:?}; `revoke --list` shows those there are")]
    Unknown(String),
    /// It stands in the watched file.
    #[error("it stands in {0}: take it out there")]
    InFile(String),
}

// === impl Revocations ===

impl Revocations {
    /// Nothing is loaded yet.
    #[must_use]
    pub fn new(
        cutoff: Arc<Cutoff>,
        identity: Arc<IdentityShared>,
        place: Option<StatePlace>,
        watched: Option<PathBuf>,
    ) -> Arc<Self> {
        Arc::new(Self {
            register: Mutex::default(),
            cutoff,
            identity,
            place,
            state: OnceLock::new(),
            unwritten: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            watched,
            trouble: Mutex::default(),
        })
    }

    /// Reads state and file. To be done before the first connection is accepted: the gateway must
    /// not run without knowing who is cut off.
    ///
    /// # Errors
    /// When either cannot be read.
    pub async fn load(&self) -> Result<(), String> {
        if let Some(place) = &self.place {
            let state = State::open(place).await.map_err(|it| it.to_string())?;
            let kept = state.revocations().await.map_err(|it| it.to_string())?;
            let now = unix_seconds();
            let mut register = self.register();
            for revocation in kept {
                register
                    .add(revocation, now)
                    .map_err(|error| error.to_string())?;
            }
            tracing::info!(
                "state: {}, {} revocations",
                state.place(),
                register.count(Source::Api)
            );
            drop(register);
            // Nobody else sets it: this runs once.
            let _ = self.state.set(state);
        }
        if let Some(file) = &self.watched {
            self.take_file(file).map_err(|error| error.to_string())?;
        }
        let register = self.register();
        self.cutoff.publish(register.snapshot());
        Ok(())
    }

    /// The state, once loaded; `None` without a place for one.
    pub(super) fn state(&self) -> Option<&State> {
        self.state.get()
    }

    /// Name and URL of each configured issuer.
    pub(super) fn issuers(&self) -> Vec<(String, String)> {
        self.identity.names()
    }

    /// Cuts somebody off, at once and everywhere, and writes it down.
    pub(super) async fn revoke(
        &self,
        target: Target,
        until: Option<u64>,
        reason: String,
        by: String,
    ) -> Result<(Arc<Revocation>, Told), RevokeError> {
        let since = Instant::now();
        let now = unix_seconds();
        let revocation = Arc::new(Revocation {
            id: new_id(),
            target,
            until,
            reason,
            by,
            source: Source::Api,
            created: Some(now),
        });
        let ended_before = self.cutoff.ended();
        let generation = {
            let mut register = self.register();
            register.add(revocation.clone(), now)?;
            if self.state.get().is_some() {
                lock(&self.unwritten).insert(revocation.id.clone(), revocation.clone());
            }
            self.cutoff.publish(register.snapshot())
        };
        let Effect { ended, everywhere } = self
            .cutoff
            .effect(generation, ended_before, EFFECT_MAX)
            .await;
        let told = Told {
            ended,
            everywhere,
            took_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
        };
        tracing::warn!(
            id = revocation.id,
            kind = revocation.target.kind(),
            issuer = revocation.target.issuer(),
            who = revocation.target.value(),
            by = revocation.by,
            ended,
            took_us = told.took_us,
            "revoked"
        );
        self.write(&revocation).await.map_err(|error| {
            tracing::error!("a revocation was not written down: {error}");
            RevokeError::NotKept(error)
        })?;
        Ok((revocation, told))
    }

    /// Writes one down, unless that has been done.
    async fn write(&self, revocation: &Revocation) -> Result<(), StateError> {
        let Some(state) = self.state.get() else {
            return Ok(());
        };
        let _one = self.writing.lock().await;
        if lock(&self.unwritten).contains_key(&revocation.id) {
            state.keep_revocation(revocation).await?;
            lock(&self.unwritten).remove(&revocation.id);
        }
        Ok(())
    }

    /// Writes down what is in force and could not be written before.
    pub(super) async fn write_rest(&self) -> Result<(), StateError> {
        let rest: Vec<_> = lock(&self.unwritten).values().cloned().collect();
        for revocation in rest {
            self.write(&revocation).await?;
            tracing::info!(id = revocation.id, "a revocation is written down after all");
        }
        Ok(())
    }

    /// How many are in force and not written down.
    pub(super) fn unwritten(&self) -> usize {
        lock(&self.unwritten).len()
    }

    /// Reads the state again, for what other gateways have revoked and lifted.
    pub(super) async fn read_again(&self) -> Result<(), StateError> {
        let Some(state) = self.state.get() else {
            return Ok(());
        };
        let _one = self.writing.lock().await;
        let mut kept = state.revocations().await?;
        kept.extend(lock(&self.unwritten).values().cloned());
        let mut register = self.register();
        match register.replace_api(kept) {
            Ok(true) => {
                self.cutoff.publish(register.snapshot());
                tracing::warn!(
                    "revocations were changed by another gateway: {} now",
                    register.count(Source::Api)
                );
            }
            Ok(false) => {}
            // Those in force stay; it is what there is room for.
            Err(full) => tracing::error!("revocations of other gateways are not taken: {full}"),
        }
        Ok(())
    }

    /// Takes a revocation back: from the state first, so that a restart does not bring it back.
    pub(super) async fn lift(&self, id: &str, by: &str) -> Result<Arc<Revocation>, RevokeError> {
        let found = self.register().find(id).cloned();
        let revocation = found.ok_or_else(|| RevokeError::Unknown(id.to_owned()))?;
        if revocation.source == Source::File {
            return Err(RevokeError::InFile(revocation.by.clone()));
        }
        let _one = self.writing.lock().await;
        if let Some(state) = self.state.get() {
            let lifted = state.lift(id, by, unix_seconds()).await;
            lifted.map_err(RevokeError::NotLifted)?;
            lock(&self.unwritten).remove(id);
        }
        let mut register = self.register();
        register.remove(id);
        self.cutoff.publish(register.snapshot());
        drop(register);
        tracing::warn!(
            id,
            kind = revocation.target.kind(),
            issuer = revocation.target.issuer(),
            who = revocation.target.value(),
            by,
            "revocation lifted"
        );
        Ok(revocation)
    }

    /// The ids of those that `by` made of exactly this target, and that the state keeps.
    pub(super) fn made(&self, target: &Target, by: &str) -> Vec<String> {
        self.register().made(target, by)
    }

    /// At most `limit`, in the order of their ids, behind `after`.
    pub(super) fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<Revocation>> {
        self.register().page(after, limit)
    }

    /// What there is.
    pub(super) fn summary(&self) -> Summary {
        let register = self.register();
        Summary {
            by_api: register.count(Source::Api),
            by_file: register.count(Source::File),
            ended: self.cutoff.ended(),
            file: self.watched.clone(),
            file_trouble: lock(&self.trouble).clone(),
            state: self.place.as_ref().map(ToString::to_string),
        }
    }

    /// Runs for ever: reads the file again when it changes, and forgets what has ended.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut seen = self.watched.as_deref().map(stamp);
        let mut forgotten = Instant::now();
        let mut written = Instant::now();
        loop {
            tokio::time::sleep(FILE_LOOK).await;
            if let Some(file) = &self.watched {
                let now = Some(stamp(file));
                if now != seen {
                    seen = now;
                    self.reread(file);
                }
            }
            if written.elapsed() >= WRITE_AGAIN && self.unwritten() > 0 {
                // Whoever revoked has been told; `/status` says how many there are.
                let _ = self.write_rest().await;
                written = Instant::now();
            }
            if forgotten.elapsed() >= FORGET {
                forgotten = Instant::now();
                self.forget_ended().await;
            }
        }
    }

    fn reread(&self, file: &Path) {
        match self.take_file(file) {
            Ok(count) => {
                self.cutoff.publish(self.register().snapshot());
                *lock(&self.trouble) = None;
                tracing::warn!("{}: read again, {count} revocations", file.display());
            }
            Err(error) => {
                tracing::error!("revocations not taken, those before stay: {error}");
                *lock(&self.trouble) = Some(error.to_string());
            }
        }
    }

    fn take_file(&self, file: &Path) -> Result<usize, TakeError> {
        let revocations = read_file(file, &self.issuers())?;
        let count = revocations.len();
        self.register().replace_file(revocations)?;
        Ok(count)
    }

    async fn forget_ended(&self) {
        let now = unix_seconds();
        if let Some(state) = self.state.get()
            && let Err(error) = state.forget_logouts(now).await
        {
            tracing::error!("logout tokens of the past are still written down: {error}");
        }
        let ended = self.register().take_ended(now);
        if ended.is_empty() {
            return;
        }
        tracing::info!("{} revocations have ended", ended.len());
        self.cutoff.publish(self.register().snapshot());
        if let Some(state) = self.state.get()
            && let Err(error) = state.forget_ended(&ended).await
        {
            // They have no effect any more; the next restart reads and forgets them.
            tracing::error!("revocations that ended are still written down: {error}");
        }
    }

    fn register(&self) -> MutexGuard<'_, Register> {
        lock(&self.register)
    }
}

#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Full(#[from] RegisterFull),
}

/// Nothing that is done under these locks can panic half way, so what a panic left is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What changes when the file does.
fn stamp(file: &Path) -> Option<(u64, u64, i64, i64)> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

/// The last name that was made: when, and what it has behind its time.
static LAST_ID: Mutex<(u64, [u8; 10])> = Mutex::new((0, [0; 10]));

/// A name that is nobody else's. Those of one process are in the order in which they are made, also
/// within a millisecond and when the clock is set back (RFC 9562 section 6.2, method 2).
pub(super) fn new_id() -> String {
    let mut random = [0; 10];
    // Without random numbers nothing here is safe, TLS and token caches included.
    aws_lc_rs::rand::fill(&mut random).expect("the system's random numbers fail");
    // The last seven bytes are a counter with a random start: so it does not overflow.
    random[3] &= 0x7f;
    let now_ms = crate::exchange::unix_ns() / 1_000_000;
    // What a panic left is whole: nothing that is done under it can panic half way.
    let mut last = LAST_ID.lock().unwrap_or_else(PoisonError::into_inner);
    if now_ms > last.0 {
        *last = (now_ms, random);
    } else {
        for byte in last.1[3..].iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
    let (made_ms, behind) = *last;
    penstock_recorder::frame::SessionId::v7(made_ms, behind).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_in_which_they_are_made() {
        // Far more than one in each millisecond, by several threads.
        let made = |_| (0..5_000).map(|_| new_id()).collect::<Vec<String>>();
        let of_threads: Vec<Vec<String>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|nth| scope.spawn(move || made(nth))).collect();
            let ended = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.map(|made| made.expect("it ends")).collect()
        });
        for ids in &of_threads {
            assert!(ids.is_sorted(), "{ids:?}");
        }
        let mut all = of_threads.concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 20_000);
        assert!(
            all.iter()
                .all(|id| id.as_bytes()[14] == b'7' && matches!(id.as_bytes()[19], b'8'..=b'b'))
        );
    }
}
