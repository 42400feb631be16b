//! Opaque tokens: their issuer is asked what they stand for (RFC 7662, OAuth 2.0 Token
//! Introspection).
//!
//! A core that meets a token which is no JWT looks for the issuer's answer at the [`Desk`]. Where
//! there is none it leaves the question there and gets something to wait for; the control thread
//! asks ([`run_introspection`]), and the core looks once more. One token has one question under
//! way, however many calls carry it.
//!
//! What is promised: an answer is used for at most [`ANSWER_AGE_MAX`], counted from before the
//! question was sent and by a clock that is never set, and not past the token's `exp`. After that
//! the issuer must answer anew; when it does not, nobody is served on its last word. Tokens are
//! known by a keyed hash; the token itself is held while its question is open, and never logged.
//! What an active token must say is what a JWT must ([`super::claims`]).

mod ask;
mod config;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, mem};

use tokio::sync::{Notify, watch};

use super::cache::{TokenCache, TokenHash};
use super::error::{AuthError, INACTIVE_TOKEN, NOT_ANSWERED, TOO_MANY_QUESTIONS};
use super::gate::RefreshWait;
use super::json::Object;

pub use ask::run_introspection;
pub use config::IntrospectionConfig;

pub(super) use ask::{Asker, Endpoint};

/// The longest that an answer is used.
pub(super) const ANSWER_AGE_MAX: Duration = Duration::from_secs(30);
/// How long a token is refused without asking again once its issuer has called it inactive.
const INACTIVE_AGE_MAX: Duration = Duration::from_secs(5);
/// How long a token is refused without asking again when its issuer could not be asked.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(1);
/// Tokens that are remembered as active.
const ACTIVE_MAX: usize = 4096;
/// Tokens that are remembered as refused: apart, so that made-up ones displace no good ones.
const REFUSED_MAX: usize = 4096;
/// Questions that are open at a time, under way or not; past it callers get a 503.
const OPEN_MAX: usize = 1024;

/// What an issuer said of an active token.
pub(super) struct Told {
    pub(super) claims: Object,
    asked: Instant,
    asked_unix: u64,
    /// `exp`, where the answer has it.
    expires_unix: Option<u64>,
}

/// A token that somebody waits to know about.
pub(super) struct Question {
    hash: TokenHash,
    token: String,
}

/// What came of a question.
pub(super) enum Outcome {
    /// The token is active; this is all that the issuer said.
    Active(Object, Option<u64>),
    /// The token is not active.
    Inactive,
    /// There is no answer, for this reason.
    Failed(String),
}

/// The questions that are open and the answers there are, of the one issuer that is asked.
pub(super) struct Desk {
    pub(super) asker: Asker,
    state: Mutex<State>,
    /// Wakes the task that asks.
    wanted: Notify,
}

struct State {
    active: TokenCache<Arc<Told>>,
    refused: TokenCache<(Refused, Instant)>,
    /// Questions without an answer yet; a sender that is dropped releases those who wait.
    open: HashMap<TokenHash, watch::Sender<()>>,
    waiting: VecDeque<Question>,
    status: IntrospectionStatus,
}

#[derive(Clone, Copy)]
enum Refused {
    Inactive,
    Failed,
}

/// How asking goes, for the control API.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct IntrospectionStatus {
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that were not.
    pub failed: u64,
    /// Questions that are open now.
    pub open: usize,
    /// Why the last question was not answered; absent once one is again.
    pub trouble: Option<String>,
}

// === impl Told ===

impl Told {
    pub(super) fn new(claims: Object, expires_unix: Option<u64>, asked: (Instant, u64)) -> Self {
        Self {
            claims,
            asked: asked.0,
            asked_unix: asked.1,
            expires_unix,
        }
    }

    /// Whether it may still be used, at these two readings of the two clocks.
    pub(super) fn is_good(&self, now: Instant, now_unix: u64) -> bool {
        // One that had expired when it was asked about is the leeway's to judge, not asked again.
        let expired = self
            .expires_unix
            .is_some_and(|end| self.asked_unix < end && end <= now_unix);
        now.saturating_duration_since(self.asked) < ANSWER_AGE_MAX && !expired
    }
}

// === impl Desk ===

impl Desk {
    pub(super) fn new(asker: Asker) -> Self {
        Self {
            asker,
            state: Mutex::new(State {
                active: TokenCache::new(ACTIVE_MAX),
                refused: TokenCache::new(REFUSED_MAX),
                open: HashMap::new(),
                waiting: VecDeque::new(),
                status: IntrospectionStatus::default(),
            }),
            wanted: Notify::new(),
        }
    }

    /// The issuer's answer about this token.
    ///
    /// # Errors
    /// That it is not active, that it cannot be asked, or that it is being asked: then the error
    /// has something to wait for.
    pub(super) fn look(
        &self,
        hash: &TokenHash,
        token: &[u8],
        now: Instant,
        now_unix: u64,
    ) -> Result<Arc<Told>, AuthError> {
        let mut state = self.lock();
        if let Some(told) = state.active.find(hash) {
            if told.is_good(now, now_unix) {
                return Ok(told.clone());
            }
            state.active.remove(hash);
        }
        if let Some(&mut (refused, until)) = state.refused.find(hash) {
            if now < until {
                return Err(match refused {
                    Refused::Inactive => INACTIVE_TOKEN.into(),
                    Refused::Failed => NOT_ANSWERED.into(),
                });
            }
            state.refused.remove(hash);
        }
        if let Some(open) = state.open.get(hash) {
            return Err(NOT_ANSWERED.with_refresh(Some(RefreshWait::on(open.subscribe()))));
        }
        if state.open.len() >= OPEN_MAX {
            return Err(TOO_MANY_QUESTIONS.into());
        }
        // Credentials are printable ASCII by the time they get here; what is not is no token.
        let token = std::str::from_utf8(token).map_err(|_| INACTIVE_TOKEN)?;
        let (answered, wait) = watch::channel(());
        state.open.insert(*hash, answered);
        state.waiting.push_back(Question {
            hash: *hash,
            token: token.to_owned(),
        });
        drop(state);
        self.wanted.notify_one();
        Err(NOT_ANSWERED.with_refresh(Some(RefreshWait::on(wait))))
    }

    /// The next question that somebody still waits for; those that nobody does are dropped.
    pub(super) fn next(&self) -> Option<Question> {
        let mut state = self.lock();
        while let Some(question) = state.waiting.pop_front() {
            let waited_for = state
                .open
                .get(&question.hash)
                .is_some_and(|open| open.receiver_count() > 0);
            if waited_for {
                return Some(question);
            }
            state.open.remove(&question.hash);
        }
        None
    }

    /// Waits until there may be a question.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Takes the outcome of a question that was sent at `asked`, and releases those who wait.
    pub(super) fn answer(
        &self,
        question: &Question,
        outcome: Outcome,
        asked: (Instant, u64),
        now: Instant,
    ) {
        let hash = question.hash;
        let mut state = self.lock();
        let trouble = match outcome {
            Outcome::Active(claims, expires_unix) => {
                let told = Told::new(claims, expires_unix, asked);
                state.active.insert(hash, Arc::new(told));
                None
            }
            Outcome::Inactive => {
                let until = asked.0 + INACTIVE_AGE_MAX;
                state.refused.insert(hash, (Refused::Inactive, until));
                None
            }
            Outcome::Failed(reason) => {
                let until = now + FAILURE_AGE_MAX;
                state.refused.insert(hash, (Refused::Failed, until));
                Some(reason)
            }
        };
        state.open.remove(&hash);
        match trouble.is_some() {
            true => state.status.failed += 1,
            false => state.status.answered += 1,
        }
        let before = mem::replace(&mut state.status.trouble, trouble.clone());
        drop(state);
        match (before, trouble) {
            (before, Some(reason)) if before.as_ref() != Some(&reason) => {
                tracing::warn!("opaque tokens cannot be asked about, callers get 503: {reason}");
            }
            (Some(_), None) => tracing::info!("opaque tokens can be asked about again"),
            _ => {}
        }
    }

    pub(super) fn status(&self) -> IntrospectionStatus {
        let state = self.lock();
        IntrospectionStatus {
            open: state.open.len(),
            ..state.status.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change, so what a panic left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question(redacted)")
    }
}

#[cfg(test)]
mod tests;
