//! What all cores share: the configured issuers and the latest keys of each.
//!
//! A core only ever reads: the keys of an issuer are an immutable snapshot behind one atomic
//! pointer, replaced whole by the control thread. A snapshot's generation changes exactly when its
//! keys do, so a core can tell at a glance that what it has verified still stands.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::algorithm::AlgorithmSet;
use super::claims::ClaimRules;
use super::config::{IdentityConfigError, IssuerConfig, Settled};
use super::gate::RefreshGate;
use super::header::TokenTypes;
use super::introspection::{Desk, IntrospectionStatus};
use super::issued::KeyTable;
use super::keys::KeySet;
use super::source::KeySource;

/// The time of day in seconds since the epoch, handed in so that tests need not wait.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The time of day of this machine.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        // A clock before 1970 makes every token "not yet valid" rather than anything valid.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    })
}

/// Issuers, keys, and what callers without a credential are.
pub struct IdentityShared {
    pub(super) issuers: Vec<Issuer>,
    /// Issuer by `iss`.
    by_url: HashMap<String, usize>,
    pub(super) anonymous_groups: Option<Vec<String>>,
    /// Keys the hash by which caches know tokens; random per process.
    pub(super) token_hash_key: [u8; 32],
    pub(super) clock: Clock,
    issued: ArcSwap<KeyTable>,
    /// Where opaque tokens are asked about.
    pub(super) introspection: Option<Desk>,
}

/// How an issuer is doing, for the control API and `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerStatus {
    /// The configured name.
    pub name: String,
    /// The configured `iss`.
    pub url: String,
    /// Usable keys at hand.
    pub key_count: usize,
    /// Changes when the keys do.
    pub generation: u64,
    /// When the keys were last fetched.
    pub fetched_unix: Option<u64>,
    /// Why the last fetch failed, or which keys it left out.
    pub trouble: Option<String>,
    /// How asking about opaque tokens goes, where it is configured.
    pub introspection: Option<IntrospectionStatus>,
}

/// One issuer.
pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) rules: ClaimRules,
    pub(super) algorithms: AlgorithmSet,
    pub(super) token_types: TokenTypes,
    pub(super) source: KeySource,
    pub(super) refresh_s: u64,
    pub(super) keys_max_age_s: u64,
    pub(super) gate: RefreshGate,
    snapshot: ArcSwap<Snapshot>,
    trouble: Mutex<Option<String>>,
}

/// The keys of an issuer at one moment. Before the first fetch: none, generation 0.
pub(super) struct Snapshot {
    pub(super) keys: Option<Arc<KeySet>>,
    pub(super) generation: u64,
    pub(super) fetched_unix: u64,
}

// === impl IdentityShared ===

impl IdentityShared {
    /// Checks the configuration. Nothing is fetched yet: see [`super::load_initial`].
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn new(
        issuers: Vec<IssuerConfig>,
        anonymous_groups: Option<Vec<String>>,
    ) -> Result<Arc<Self>, Vec<IdentityConfigError>> {
        Self::with_clock(issuers, anonymous_groups, system_clock())
    }

    /// The same with a clock of the caller's.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    ///
    /// # Panics
    /// When the operating system has no random numbers: nothing else here would be safe then.
    pub fn with_clock(
        issuers: Vec<IssuerConfig>,
        anonymous_groups: Option<Vec<String>>,
        clock: Clock,
    ) -> Result<Arc<Self>, Vec<IdentityConfigError>> {
        // Chosen by hand: jsonwebtoken panics if it has to guess and another crate of the build
        // brought a second implementation. An error means that it was chosen before.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let mut errors = Vec::new();
        let mut settled = Vec::with_capacity(issuers.len());
        let mut by_url = HashMap::with_capacity(issuers.len());
        let mut introspection: Option<Desk> = None;
        for config in issuers {
            if by_url.insert(config.url.clone(), settled.len()).is_some() {
                errors.push(IdentityConfigError {
                    issuer: config.name.clone(),
                    key: "url",
                    reason: "another [[issuer]] has it already".to_owned(),
                });
            }
            match config.settle() {
                Ok(mut issuer) => {
                    match (issuer.introspection.take(), &introspection) {
                        (None, _) => {}
                        (Some(asker), None) => {
                            introspection = Some(Desk::new(settled.len(), asker));
                        }
                        (Some(_), Some(_)) => errors.push(IdentityConfigError {
                            issuer: issuer.name.clone(),
                            key: "introspection",
                            reason: "another [[issuer]] has it already, and an opaque token does \
                                     not say whom to ask"
                                .to_owned(),
                        }),
                    }
                    settled.push(Issuer::new(issuer));
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if let Some(groups) = &anonymous_groups {
            tracing::warn!(
                ?groups,
                "ANONYMOUS CALLERS ARE LET IN: with anonymous_groups a request without any \
                 credential is served as these groups; take it out before real use"
            );
        }
        let mut token_hash_key = [0; 32];
        aws_lc_rs::rand::fill(&mut token_hash_key).expect("the system has random numbers");
        Ok(Arc::new(Self {
            issuers: settled,
            by_url,
            anonymous_groups,
            token_hash_key,
            clock,
            issued: ArcSwap::default(),
            introspection,
        }))
    }

    /// How each issuer is doing, in the configured order.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let mut status: Vec<IssuerStatus> = self.issuers.iter().map(Issuer::status).collect();
        if let Some(desk) = &self.introspection {
            status[desk.issuer].introspection = Some(desk.status());
        }
        status
    }

    /// Puts the keys that this gateway has issued in the place of those before.
    pub fn set_issued_keys(&self, table: KeyTable) {
        self.issued.store(Arc::new(table));
    }

    /// Whether an issuer with this URL is configured.
    #[must_use]
    pub fn has_issuer(&self, url: &str) -> bool {
        self.by_url.contains_key(url)
    }

    pub(super) fn issued_keys(&self) -> arc_swap::Guard<Arc<KeyTable>> {
        self.issued.load()
    }

    pub(super) fn issuer_index(&self, url: &str) -> Option<usize> {
        self.by_url.get(url).copied()
    }
}

impl fmt::Debug for IdentityShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityShared")
            .field("issuers", &self.status())
            .finish_non_exhaustive()
    }
}

// === impl Issuer ===

impl Issuer {
    fn new(settled: Settled) -> Self {
        Self {
            name: settled.name,
            rules: settled.rules,
            algorithms: settled.algorithms,
            token_types: settled.token_types,
            source: settled.source,
            refresh_s: settled.refresh_s,
            keys_max_age_s: settled.keys_max_age_s,
            gate: RefreshGate::new(),
            snapshot: ArcSwap::from_pointee(Snapshot {
                keys: None,
                generation: 0,
                fetched_unix: 0,
            }),
            trouble: Mutex::new(None),
        }
    }

    pub(super) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Puts freshly fetched keys in place. Returns whether they differ from those before.
    /// Called by the one task that refreshes this issuer.
    pub(super) fn replace_keys(&self, fresh: KeySet, fetched_unix: u64) -> bool {
        let before = self.snapshot.load_full();
        let trouble = (!fresh.ignored.is_empty())
            .then(|| format!("keys left out: {}", fresh.ignored.join("; ")));
        self.set_trouble(trouble);
        let (keys, generation) = match &before.keys {
            Some(keys) if keys.same_keys(&fresh) => (Arc::clone(keys), before.generation),
            _ => (Arc::new(fresh), before.generation + 1),
        };
        self.snapshot.store(Arc::new(Snapshot {
            keys: Some(keys),
            generation,
            fetched_unix,
        }));
        generation != before.generation
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn status(&self) -> IssuerStatus {
        let snapshot = self.snapshot();
        IssuerStatus {
            name: self.name.clone(),
            url: self.rules.issuer.clone(),
            key_count: snapshot.keys.as_ref().map_or(0, |keys| keys.len()),
            generation: snapshot.generation,
            fetched_unix: snapshot.keys.as_ref().map(|_| snapshot.fetched_unix),
            trouble: self
                .trouble
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            introspection: None,
        }
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// The keys, unless there are none or they are too old to be trusted.
    pub(super) fn keys_at(&self, now_unix: u64, max_age_s: u64) -> Option<&KeySet> {
        let fresh = now_unix.saturating_sub(self.fetched_unix) <= max_age_s;
        self.keys.as_deref().filter(|_| fresh)
    }

    /// Nothing was fetched between the two.
    pub(super) fn is_same_fetch(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_error_is_reported() {
        let config = |name: &str, url: &str| IssuerConfig::new(name, url, "penstock");
        let errors = IdentityShared::new(
            vec![
                config("a", "https://a.example"),
                config("b", "http://b.example"),
                config("c", "https://a.example"),
            ],
            None,
        )
        .expect_err("two are wrong");
        let named: Vec<_> = errors.iter().map(|e| (e.issuer.as_str(), e.key)).collect();
        assert_eq!(named, [("b", "url"), ("c", "url")]);
        assert!(
            errors[0]
                .to_string()
                .contains("[[issuer]] \"b\": `url`: must be https")
        );
    }

    #[test]
    fn status_starts_without_keys() {
        let shared = IdentityShared::new(
            vec![IssuerConfig::new("a", "https://a.example", "penstock")],
            None,
        )
        .expect("a good configuration");
        let status = shared.status();
        assert_eq!(status[0].fetched_unix, None);
        assert_eq!((status[0].key_count, status[0].generation), (0, 0));
    }
}
