//! What all cores share: the issuers of this moment, and the keys that this gateway has issued.
//!
//! A core only ever reads: both are immutable behind an atomic pointer, replaced whole by the
//! control thread. The number of the issuers' version tells a core at a glance that they are still
//! those under which it has verified what it remembers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::config::{IdentityConfigError, IssuerConfig};
use super::issued::KeyTable;
use super::providers::{Issuer, IssuerStatus, Providers};
use super::tag::Tagger;

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
    providers: ArcSwap<Providers>,
    /// Counts what `providers` has been, to be looked at in place of it.
    version: watch::Sender<u64>,
    seen: AtomicU64,
    /// Keys the hash by which caches know opaque tokens; random per process.
    pub(super) token_hash_key: [u8; 32],
    /// Makes the tags by which caches know signed tokens.
    pub(super) tagger: Tagger,
    pub(super) clock: Clock,
    issued: ArcSwap<KeyTable>,
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
        let providers = Providers::new(issuers, anonymous_groups, None)?;
        let mut token_hash_key = [0; 32];
        aws_lc_rs::rand::fill(&mut token_hash_key).expect("the system has random numbers");
        Ok(Arc::new(Self {
            providers: ArcSwap::from_pointee(providers),
            version: watch::Sender::new(0),
            seen: AtomicU64::new(0),
            token_hash_key,
            tagger: Tagger::new(),
            clock,
            issued: ArcSwap::default(),
        }))
    }

    /// How each issuer is doing, in the configured order.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.providers().status()
    }

    /// Name and URL of each issuer, in the configured order.
    #[must_use]
    pub fn names(&self) -> Vec<(String, String)> {
        let named = |issuer: &Arc<Issuer>| (issuer.name.clone(), issuer.rules.issuer.clone());
        self.providers().issuers.iter().map(named).collect()
    }

    /// The issuers as they are now.
    pub(super) fn providers(&self) -> Arc<Providers> {
        self.providers.load_full()
    }

    /// Puts other issuers in the place of those there are. Cores take them up with the next
    /// credential that they look at, and forget what they had verified.
    pub(super) fn publish(&self, providers: Providers) {
        self.providers.store(Arc::new(providers));
        // Release: who sees the count sees the providers that were stored before it.
        self.seen.fetch_add(1, Ordering::Release);
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes whenever the issuers do.
    pub(super) fn version(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// The same, to be waited for.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Puts the keys that this gateway has issued in the place of those before.
    pub fn set_issued_keys(&self, table: KeyTable) {
        self.issued.store(Arc::new(table));
    }

    /// Whether an issuer with this URL is configured.
    #[must_use]
    pub fn has_issuer(&self, url: &str) -> bool {
        self.providers.load().index_of(url).is_some()
    }

    pub(super) fn issued_keys(&self) -> arc_swap::Guard<Arc<KeyTable>> {
        self.issued.load()
    }
}

impl fmt::Debug for IdentityShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityShared")
            .field("issuers", &self.status())
            .finish_non_exhaustive()
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
