//! The control thread's side of issued keys: who may have one, with what, for how long; the state
//! that keeps them; the table that cores see.
//!
//! A key is written down before it works: one that a restart forgot would fail its owner at night.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::revocations::new_id;
use super::state::{State, StateError};
use crate::cutoff::Cutoff;
use crate::exchange::unix_seconds;
use crate::identity::{IdentityShared, IssuedKey, KeyTable, KeyText};

/// The most keys that are kept, ended ones included until they are forgotten.
pub(crate) const KEYS_MAX: usize = 10_000;
/// The most keys that one person may own at a time.
const KEYS_PER_OWNER_MAX: usize = 50;
/// The most groups that a key may have.
pub(crate) const KEY_GROUPS_MAX: usize = 64;
/// How long a key that ended is still listed.
const LISTED_AFTER_S: u64 = 30 * 24 * 3600;
/// How often uses are written down, and ended keys forgotten.
const UPKEEP: Duration = Duration::from_secs(60);

/// A key and what only operators and its owner see of it.
#[derive(Clone, Debug)]
pub(crate) struct KeyEntry {
    pub(crate) key: Arc<IssuedKey>,
    /// Its first signs.
    pub(crate) hint: String,
    /// What its owner calls it.
    pub(crate) name: String,
    pub(crate) created_unix: u64,
    /// The owner by their own token, or the user id of an operator.
    pub(crate) created_by: String,
    /// The key that it was made to replace.
    pub(crate) replaces: Option<String>,
    /// The last use that is written down.
    pub(crate) noted_unix: u64,
}

/// What a new key is to be.
pub(crate) struct NewKey {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) tenant: String,
    pub(crate) groups: Vec<String>,
    pub(crate) name: String,
    pub(crate) expires_unix: u64,
    pub(crate) created_by: String,
}

/// What has become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyState {
    /// It works.
    Active,
    /// Its time is over.
    Expired,
    /// It, its owner, or all keys of its owner are revoked.
    Revoked,
}

/// Why a key was not issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// No key has this id.
    #[error("no key has the id {0:?}; `keys list` shows those there are")]
    Unknown(String),
    /// No more are kept.
    #[error("{KEYS_MAX} keys are kept already; those that ended are forgotten after 30 days")]
    Full,
    /// This owner has as many as one person may.
    #[error("{0} owns {KEYS_PER_OWNER_MAX} keys already, the most that one person may")]
    OwnerFull(String),
    /// It would outlive what is allowed.
    #[error("a key may live for {0} at most (`key_lifetime_max` in [control])")]
    TooLong(String),
    /// The key has ended already.
    #[error("this key has {0} already: create another in place of it")]
    Ended(&'static str),
    /// There is nowhere to keep it, or it cannot be written.
    #[error("the key was not issued: {0}")]
    NotKept(String),
}

/// All issued keys.
pub struct Keys {
    entries: Mutex<BTreeMap<String, KeyEntry>>,
    identity: Arc<IdentityShared>,
    cutoff: Arc<Cutoff>,
    lifetime_max: Duration,
    state: OnceLock<State>,
    /// Held while the state is written or read: what is read must not be older than what is known.
    writing: tokio::sync::Mutex<()>,
}

// === impl Keys ===

impl Keys {
    /// None are loaded yet.
    #[must_use]
    pub fn new(
        identity: Arc<IdentityShared>,
        cutoff: Arc<Cutoff>,
        lifetime_max: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            identity,
            cutoff,
            lifetime_max,
            state: OnceLock::new(),
            writing: tokio::sync::Mutex::default(),
        })
    }

    /// Reads the keys. One whose issuer is no longer configured is left out: nobody vouches for its
    /// owner.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) async fn load(&self, state: &State) -> Result<(), String> {
        let kept = state.keys().await.map_err(|error| error.to_string())?;
        for entry in kept.iter().filter(|entry| !self.vouched(entry)) {
            tracing::warn!(
                id = entry.key.id,
                issuer = entry.key.issuer,
                "a key is not taken: its owner's issuer is not configured"
            );
        }
        self.take(kept);
        // Nobody else sets it: this runs once.
        let _ = self.state.set(state.clone());
        Ok(())
    }

    /// Reads the state again, for what other gateways have issued, replaced and forgotten.
    pub(super) async fn read_again(&self) -> Result<(), StateError> {
        let Some(state) = self.state.get() else {
            return Ok(());
        };
        let _one = self.writing.lock().await;
        let kept = state.keys().await?;
        self.take(kept);
        Ok(())
    }

    /// Puts these in the place of all. Those that are the same stay, with their last use.
    fn take(&self, kept: Vec<KeyEntry>) {
        let mut entries = self.entries();
        let mut before = std::mem::take(&mut *entries);
        for entry in kept.into_iter().filter(|entry| self.vouched(entry)) {
            let same = |known: &KeyEntry| known.key.expires_unix == entry.key.expires_unix;
            let entry = match before.remove(&entry.key.id).filter(same) {
                Some(known) => known,
                None => entry,
            };
            entries.insert(entry.key.id.clone(), entry);
        }
        self.publish(&entries);
    }

    /// Whether somebody vouches for its owner.
    fn vouched(&self, entry: &KeyEntry) -> bool {
        self.identity.has_issuer(&entry.key.issuer)
    }

    /// Issues a key; the text is shown once and nowhere kept.
    pub(super) async fn issue(&self, wanted: NewKey) -> Result<(KeyEntry, KeyText), KeyError> {
        self.check_lifetime(wanted.expires_unix)?;
        self.check_room(&wanted.issuer, &wanted.subject)?;
        self.keep(wanted, None).await
    }

    /// Issues a key like this one, which ends after `overlap_s`.
    pub(super) async fn rotate(
        &self,
        id: &str,
        expires_unix: Option<u64>,
        overlap_s: u64,
        by: String,
    ) -> Result<(KeyEntry, KeyText), KeyError> {
        let old = self.find(id)?;
        match self.state_of(&old) {
            KeyState::Active => {}
            KeyState::Expired => return Err(KeyError::Ended("expired")),
            KeyState::Revoked => return Err(KeyError::Ended("been revoked")),
        }
        let now = unix_seconds();
        let lifetime = old.key.expires_unix.saturating_sub(old.created_unix);
        let most = self.lifetime_max.as_secs();
        let expires_unix = expires_unix.unwrap_or(now + lifetime.min(most));
        self.check_lifetime(expires_unix)?;
        self.check_room(&old.key.issuer, &old.key.subject)?;
        let ended = KeyEntry {
            key: Arc::new(old.key.ending(old.key.expires_unix.min(now + overlap_s))),
            ..old.clone()
        };
        let wanted = NewKey {
            issuer: old.key.issuer.clone(),
            subject: old.key.subject.clone(),
            tenant: old.key.tenant.clone(),
            groups: old.key.groups.clone(),
            name: old.name.clone(),
            expires_unix,
            created_by: by,
        };
        self.keep(wanted, Some(ended)).await
    }

    async fn keep(
        &self,
        wanted: NewKey,
        replaced: Option<KeyEntry>,
    ) -> Result<(KeyEntry, KeyText), KeyError> {
        let state = self.state.get().ok_or_else(|| {
            KeyError::NotKept("there is no state to keep it in ([control] state)".to_owned())
        })?;
        let text = KeyText::draw();
        let key = IssuedKey::new(
            new_id(),
            wanted.issuer,
            wanted.subject,
            wanted.tenant,
            wanted.groups,
            wanted.expires_unix,
            text.hash(),
            0,
        );
        let entry = KeyEntry {
            key: Arc::new(key),
            hint: text.hint(),
            name: wanted.name,
            created_unix: unix_seconds(),
            created_by: wanted.created_by,
            replaces: replaced.as_ref().map(|old| old.key.id.clone()),
            noted_unix: 0,
        };
        let _one = self.writing.lock().await;
        let kept = state.keep_key(&entry, replaced.as_ref()).await;
        kept.map_err(|error: StateError| KeyError::NotKept(error.to_string()))?;
        let mut entries = self.entries();
        for entry in replaced.into_iter().chain([entry.clone()]) {
            entries.insert(entry.key.id.clone(), entry);
        }
        self.publish(&entries);
        drop(entries);
        tracing::info!(
            id = entry.key.id,
            owner = entry.key.subject,
            by = entry.created_by,
            replaces = entry.replaces,
            "key issued"
        );
        Ok((entry, text))
    }

    /// The one with this id.
    pub(super) fn find(&self, id: &str) -> Result<KeyEntry, KeyError> {
        let found = self.entries().get(id).cloned();
        found.ok_or_else(|| KeyError::Unknown(id.to_owned()))
    }

    /// At most `limit` that `wanted` lets through, in the order of their ids, behind `after`.
    pub(super) fn page(
        &self,
        after: Option<&str>,
        limit: usize,
        wanted: impl Fn(&IssuedKey) -> bool,
    ) -> Vec<KeyEntry> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries()
            .range::<str, _>((from, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .filter(|entry| wanted(&entry.key))
            .take(limit)
            .cloned()
            .collect()
    }

    /// What has become of it.
    pub(super) fn state_of(&self, entry: &KeyEntry) -> KeyState {
        let now = unix_seconds();
        if self.cutoff.revokes(&entry.key.principal(), now) {
            KeyState::Revoked
        } else if entry.key.is_over(now) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.entries().len()
    }

    /// Runs for ever: writes down uses, forgets what ended long ago.
    pub(super) async fn keep_up(self: Arc<Self>) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.write_down().await;
        }
    }

    /// Writes down when keys were last used; also the last thing before the process ends.
    pub(super) async fn write_down(&self) {
        let Some(state) = self.state.get() else {
            return;
        };
        let used: Vec<(String, u64)> = self
            .entries()
            .values()
            .filter(|entry| entry.key.last_used_unix() > entry.noted_unix)
            .map(|entry| (entry.key.id.clone(), entry.key.last_used_unix()))
            .collect();
        let before = unix_seconds().saturating_sub(LISTED_AFTER_S);
        let over = |entry: &KeyEntry| entry.key.expires_unix < before;
        let forget = self.entries().values().any(over);
        let _one = self.writing.lock().await;
        let written = async {
            if !used.is_empty() {
                state.keys_used(&used).await?;
            }
            if forget {
                state.forget_keys(before).await?;
            }
            Ok::<(), StateError>(())
        };
        if let Err(error) = written.await {
            return tracing::error!("uses of keys are not written down: {error}");
        }
        let mut entries = self.entries();
        for (id, at) in used {
            if let Some(entry) = entries.get_mut(&id) {
                entry.noted_unix = at;
            }
        }
        if forget {
            entries.retain(|_, entry| !over(entry));
            self.publish(&entries);
        }
    }

    fn check_lifetime(&self, expires_unix: u64) -> Result<(), KeyError> {
        let most = self.lifetime_max.as_secs();
        // A moment of grace: "90days" is said some milliseconds before it is looked at.
        match expires_unix > unix_seconds() + most + 1 {
            true => Err(KeyError::TooLong(
                humantime::format_duration(self.lifetime_max).to_string(),
            )),
            false => Ok(()),
        }
    }

    fn check_room(&self, issuer: &str, subject: &str) -> Result<(), KeyError> {
        let entries = self.entries();
        if entries.len() >= KEYS_MAX {
            return Err(KeyError::Full);
        }
        let now = unix_seconds();
        let theirs =
            |key: &IssuedKey| key.subject == subject && key.issuer == issuer && !key.is_over(now);
        let owned = entries.values().filter(|entry| theirs(&entry.key)).count();
        match owned >= KEYS_PER_OWNER_MAX {
            true => Err(KeyError::OwnerFull(subject.to_owned())),
            false => Ok(()),
        }
    }

    fn publish(&self, entries: &BTreeMap<String, KeyEntry>) {
        let keys = entries.values().map(|entry| entry.key.clone());
        self.identity.set_issued_keys(KeyTable::of(keys));
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, KeyEntry>> {
        // Nothing that is done under it can panic half way, so what a panic left is whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
