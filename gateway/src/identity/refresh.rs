//! Keeping the keys fresh: on schedule, and once when a token names an unknown key.
//!
//! Runs on the control thread's tokio runtime, one independent loop per issuer, so that a provider
//! that hangs delays nobody else. A fetch that fails leaves the keys as they are; how long those
//! are trusted is for the reader of the snapshot to judge.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::config::{IdentityConfigError, IssuerConfig};
use super::keys::KeySet;
use super::providers::{Issuer, Providers};
use super::shared::IdentityShared;

/// How soon a failed fetch is tried again, in seconds, unless the schedule is tighter.
const RETRY_S: u64 = 15;
/// The longest that start waits for a provider; after it the gateway serves its other issuers.
const INITIAL_LOAD_MAX: Duration = Duration::from_secs(5);

/// Fetches the keys of every issuer once, side by side, for at most five seconds. Issuers that
/// cannot be had are warned about; their callers get 503 until [`run_refresher`] has succeeded.
/// Returns how many issuers have keys.
pub async fn load_initial(shared: &IdentityShared) -> usize {
    let providers = shared.providers();
    load(providers.issuers.iter(), shared).await
}

/// Puts the issuers of a changed configuration in the place of those before, and returns whether
/// they differ. Those that are configured as before stay as they are; the keys of the others are
/// fetched first, so that their callers are not turned away for want of them.
///
/// # Errors
/// Everything that is wrong with the configuration; then nothing changes.
pub async fn change_issuers(
    shared: &IdentityShared,
    issuers: Vec<IssuerConfig>,
    anonymous_groups: Option<Vec<String>>,
) -> Result<bool, Vec<IdentityConfigError>> {
    let before = shared.providers();
    let providers = Providers::new(issuers, anonymous_groups, Some(&before))?;
    if providers.is_same(&before) {
        return Ok(false);
    }
    let issuers = providers.issuers.iter();
    let without = issuers.filter(|issuer| issuer.snapshot().keys.is_none());
    load(without, shared).await;
    shared.publish(providers);
    Ok(true)
}

/// Fetches the keys of these issuers, side by side. Returns how many have keys then.
async fn load(issuers: impl Iterator<Item = &Arc<Issuer>>, shared: &IdentityShared) -> usize {
    let loads = issuers.map(|issuer| async {
        let load = refresh(issuer, shared);
        let loaded = tokio::time::timeout(INITIAL_LOAD_MAX, load).await;
        if loaded.is_err() {
            let reason = format!("no answer within {} s", INITIAL_LOAD_MAX.as_secs());
            tracing::warn!(issuer = %issuer.name, "keys not available: {reason}");
            issuer.set_trouble(Some(reason));
        }
        loaded == Ok(true)
    });
    join_all(loads)
        .await
        .into_iter()
        .filter(|&loaded| loaded)
        .count()
}

/// Keeps the keys of every issuer fresh, for as long as it is polled.
pub async fn run_refresher(shared: Arc<IdentityShared>) {
    let mut changes = shared.changes();
    loop {
        let providers = shared.providers();
        let issuers = providers.issuers.iter();
        let all = join_all(issuers.map(|issuer| keep_fresh(issuer, &shared)));
        tokio::select! {
            // None of them ends; where there are none, there is nothing to do until there are.
            _ = all, if !providers.issuers.is_empty() => {}
            _ = changes.changed() => {}
        }
    }
}

async fn keep_fresh(issuer: &Issuer, shared: &IdentityShared) {
    let scheduled = issuer.source.poll_s(issuer.refresh_s);
    // Begun anew when other issuers come and go: that must not put the next fetch off.
    let snapshot = issuer.snapshot().clone();
    let mut delay_s = match &snapshot.keys {
        Some(_) => {
            let age_s = (shared.clock)().saturating_sub(snapshot.fetched_unix);
            scheduled.saturating_sub(age_s)
        }
        None => RETRY_S.min(scheduled),
    };
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(delay_s)) => {}
            () = issuer.gate.wanted() => {}
        }
        let refreshed = refresh(issuer, shared).await;
        delay_s = if refreshed {
            scheduled
        } else {
            RETRY_S.min(scheduled)
        };
    }
}

/// Fetches once. Returns whether it succeeded.
async fn refresh(issuer: &Issuer, shared: &IdentityShared) -> bool {
    // Held to the end of the fetch, or until this future is dropped: it releases those who wait.
    let attempt = issuer.gate.begin((shared.clock)());
    let loaded = issuer
        .source
        .load()
        .await
        .and_then(|document| KeySet::parse(&document));
    let refreshed = match loaded {
        Ok(keys) => {
            adopt(issuer, keys, (shared.clock)());
            true
        }
        Err(reason) => {
            tracing::warn!(issuer = %issuer.name, "keys could not be fetched: {reason}");
            issuer.set_trouble(Some(reason));
            false
        }
    };
    drop(attempt);
    refreshed
}

fn adopt(issuer: &Issuer, keys: KeySet, now_unix: u64) {
    let (count, ignored) = (keys.len(), keys.ignored.clone());
    if !issuer.replace_keys(keys, now_unix) {
        return;
    }
    tracing::info!(issuer = %issuer.name, keys = count, "keys changed");
    for reason in ignored {
        tracing::warn!(issuer = %issuer.name, "left out {reason}");
    }
    if count == 0 {
        tracing::warn!(issuer = %issuer.name, "the provider publishes no usable key");
    }
}
