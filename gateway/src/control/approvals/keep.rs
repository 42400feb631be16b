//! What is done about approvals without anybody asking: those that are over are marked, old ones
//! forgotten, and changes that other gateways made are heard of, by those who wait here and by those
//! who look on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{ApprovalError, Approvals};
use crate::control::state::{State, StateError};

/// How often what is over is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// What is marked as over in one look.
const EXPIRED_MAX: usize = 500;
/// How often old approvals are forgotten.
const FORGET: Duration = Duration::from_secs(600);
/// Clocks of several gateways on one state differ by less.
pub(super) const CLOCKS_APART_MS: u64 = 60_000;
/// Changes that are looked through at once, the newest. Whoever looks on cannot be that far behind
/// without being told that they missed some.
const HEARD_MAX: usize = 4 * super::CHANGES_MAX;

impl Approvals {
    /// Runs for ever: marks what is over, hears what other gateways on the same state have
    /// decided, forgets what is old.
    pub(in crate::control) async fn keep(self: std::sync::Arc<Self>) {
        let Some(state) = self.state.get() else {
            return;
        };
        let mut forgotten = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = self.look(state).await {
                tracing::error!("approvals cannot be looked through: {error}");
            }
            if forgotten.elapsed() >= FORGET {
                forgotten = tokio::time::Instant::now();
                let keep_ms = u64::try_from(self.settings.keep.as_millis()).unwrap_or(u64::MAX);
                let before = self.clock.now_ms().saturating_sub(keep_ms);
                if let Err(error) = state.forget_approvals(before).await {
                    tracing::error!("old approvals are not forgotten: {error}");
                }
            }
        }
    }

    async fn look(&self, state: &State) -> Result<(), ApprovalError> {
        if self.has_orphans.load(Ordering::Relaxed) {
            self.withdraw_orphans(state).await?;
        }
        let now = self.clock.now_ms();
        let expired = state.expired_approvals(now, EXPIRED_MAX).await;
        for id in expired.map_err(ApprovalError::state)? {
            self.change(&id, |approval, now| approval.expire(now))
                .await?;
        }
        self.hear(state, now).await.map_err(ApprovalError::state)
    }

    /// Withdraws what an earlier run of this gateway left waiting: those connections ended with it.
    pub(super) async fn withdraw_orphans(&self, state: &State) -> Result<(), ApprovalError> {
        let of = (self.settings.gateway.as_str(), self.run.as_str());
        let orphans = state.orphaned_waits(of).await;
        for id in orphans.map_err(ApprovalError::state)? {
            let reason = "the gateway ended while the caller waited";
            let withdrawn = self.change(&id, |approval, now| approval.withdraw(now, reason));
            withdrawn.await?;
        }
        self.has_orphans.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// From now on what other gateways do is told to subscribers; nothing that was before.
    pub(super) async fn listen(&self, state: &State) -> Result<(), StateError> {
        if !state.is_shared() {
            return Ok(());
        }
        let now = self.clock.now_ms();
        self.news().begin(now);
        let since = now.saturating_sub(CLOCKS_APART_MS);
        for (id, _) in state.changed_approvals(since, HEARD_MAX).await? {
            if let Some(approval) = state.approval(&id).await? {
                self.news().of(&approval, None, now);
            }
        }
        Ok(())
    }

    /// Another gateway may have changed approvals: those that somebody waits for here are looked
    /// at, and whoever looks on is told.
    pub(in crate::control) async fn read_again(&self) -> Result<(), StateError> {
        let Some(state) = self.state.get() else {
            return Ok(());
        };
        let now = self.clock.now_ms();
        self.hear(state, now).await?;
        let Some(since) = self.news().since_ms() else {
            return Ok(());
        };
        let changed = state.changed_approvals(since, HEARD_MAX).await?;
        for (id, revision) in changed.iter().rev() {
            if self.news().is_known(id, *revision) {
                continue;
            }
            if let Some(approval) = state.approval(id).await? {
                self.publish(&approval, None);
            }
        }
        self.news().read_at(now);
        Ok(())
    }

    async fn hear(&self, state: &State, now: u64) -> Result<(), StateError> {
        if self.waiting().is_empty() {
            return Ok(());
        }
        let since = now.saturating_sub(CLOCKS_APART_MS);
        for id in state.changed_waits(&self.run, since).await? {
            self.heard(state, &id).await?;
        }
        Ok(())
    }

    /// Somebody, perhaps another gateway, has changed it: who waits for it is told.
    async fn heard(&self, state: &State, id: &str) -> Result<(), StateError> {
        let known = self.waiting().get(id).map(|waiter| waiter.revision);
        let Some(known) = known else { return Ok(()) };
        let approval = state.approval(id).await?;
        if let Some(approval) = approval.filter(|it| it.revision > known) {
            self.tell_waiter(&approval);
        }
        Ok(())
    }
}
