//! The configured issuers at one moment, and the latest keys of each.
//!
//! The keys of an issuer are an immutable snapshot behind one atomic pointer, replaced whole by the
//! control thread. A snapshot's generation changes exactly when its keys do, so a core can tell at a
//! glance that what it has verified still stands. When the configuration changes, an issuer that is
//! configured as before is the same one, with its keys and its answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::algorithm::AlgorithmSet;
use super::claims::ClaimRules;
use super::config::{IdentityConfigError, IssuerConfig, Settled};
use super::gate::RefreshGate;
use super::header::TokenTypes;
use super::introspection::{Asker, Desk, IntrospectionStatus};
use super::keys::KeySet;
use super::source::KeySource;

/// The issuers, and what callers without a credential are.
pub(super) struct Providers {
    pub(super) issuers: Vec<Arc<Issuer>>,
    /// Issuer by `iss`.
    by_url: HashMap<String, usize>,
    pub(super) anonymous_groups: Option<Vec<String>>,
    /// Which issuer is asked about opaque tokens, and where.
    pub(super) introspection: Option<(usize, Arc<Desk>)>,
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
    /// What it was made of, to be known again.
    config: IssuerConfig,
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

// === impl Providers ===

impl Providers {
    /// Checks the configuration. Nothing is fetched: what was there `before` under the same
    /// configuration is taken over, everything else begins without keys.
    pub(super) fn new(
        configs: Vec<IssuerConfig>,
        anonymous_groups: Option<Vec<String>>,
        before: Option<&Providers>,
    ) -> Result<Self, Vec<IdentityConfigError>> {
        let mut errors = Vec::new();
        let mut providers = Self {
            issuers: Vec::with_capacity(configs.len()),
            by_url: HashMap::with_capacity(configs.len()),
            anonymous_groups,
            introspection: None,
        };
        for config in configs {
            let index = providers.issuers.len();
            if providers.by_url.insert(config.url.clone(), index).is_some() {
                errors.push(IdentityConfigError {
                    issuer: config.name.clone(),
                    key: "url",
                    reason: "another [[issuer]] has it already".to_owned(),
                });
            }
            match config.clone().settle() {
                Ok(settled) => errors.extend(providers.add(config, settled, before)),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let before = before.and_then(|before| before.anonymous_groups.as_ref());
        if let Some(groups) = providers.anonymous_groups.as_ref()
            && before != Some(groups)
        {
            tracing::warn!(
                ?groups,
                "ANONYMOUS CALLERS ARE LET IN: with anonymous_groups a request without any \
                 credential is served as these groups; take it out before real use"
            );
        }
        Ok(providers)
    }

    fn add(
        &mut self,
        config: IssuerConfig,
        mut settled: Settled,
        before: Option<&Providers>,
    ) -> Option<IdentityConfigError> {
        let index = self.issuers.len();
        let asker = settled.introspection.take();
        let known = before.and_then(|before| {
            let at = before.issuers.iter().position(|it| it.config == config)?;
            Some((before, at))
        });
        let mut error = None;
        if let Some(asker) = asker {
            match &self.introspection {
                None => self.introspection = Some((index, desk(asker, known))),
                Some(_) => {
                    error = Some(IdentityConfigError {
                        issuer: config.name.clone(),
                        key: "introspection",
                        reason: "another [[issuer]] has it already, and an opaque token does not \
                                 say whom to ask"
                            .to_owned(),
                    });
                }
            }
        }
        self.issuers.push(match known {
            Some((before, at)) => before.issuers[at].clone(),
            None => Arc::new(Issuer::new(config, settled)),
        });
        error
    }

    /// Whether these are the same issuers, each the very one.
    pub(super) fn is_same(&self, other: &Providers) -> bool {
        let mut pairs = self.issuers.iter().zip(&other.issuers);
        self.issuers.len() == other.issuers.len()
            && pairs.all(|(left, right)| Arc::ptr_eq(left, right))
            && self.anonymous_groups == other.anonymous_groups
    }

    pub(super) fn index_of(&self, url: &str) -> Option<usize> {
        self.by_url.get(url).copied()
    }

    pub(super) fn status(&self) -> Vec<IssuerStatus> {
        let issuers = self.issuers.iter();
        let mut status: Vec<IssuerStatus> = issuers.map(|issuer| issuer.status()).collect();
        if let Some((index, desk)) = &self.introspection {
            status[*index].introspection = Some(desk.status());
        }
        status
    }
}

/// The desk of an issuer that is known from before, or a new one.
fn desk(asker: Asker, known: Option<(&Providers, usize)>) -> Arc<Desk> {
    let before = known.and_then(|(before, at)| {
        let (index, desk) = before.introspection.as_ref()?;
        (*index == at).then(|| desk.clone())
    });
    before.unwrap_or_else(|| Arc::new(Desk::new(asker)))
}

// === impl Issuer ===

impl Issuer {
    fn new(config: IssuerConfig, settled: Settled) -> Self {
        Self {
            config,
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
