//! Where identity providers say that a login has ended: OpenID Connect Back-Channel Logout 1.0.
//!
//! The provider posts a signed logout token. One with a session ends the tokens of that session;
//! one with a subject alone ends every token of theirs that was issued until then, and not the next
//! login. Issued keys are no logins and go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{Api, Shared};
use crate::cutoff::Target;
use crate::exchange::unix_seconds;
use crate::identity::{AuthError, Logout, verify_logout};

/// How long a logout is kept: longer than any token lives that was issued before it.
const KEPT_S: u64 = 30 * 24 * 3600;
/// Ids of logout tokens that are remembered; each for some minutes.
const REMEMBERED_MAX: usize = 100_000;
/// How long a logout waits for fresh keys of its issuer.
const KEYS_WAIT: Duration = Duration::from_secs(3);

/// What a provider posts.
#[derive(Deserialize, ToSchema)]
struct Posted {
    /// A signed JWT of type `logout+jwt`.
    logout_token: String,
}

/// Logout tokens that were taken, by issuer and id, until they would no longer be.
#[derive(Default)]
pub(in crate::control) struct Replays(Mutex<HashMap<(String, String), u64>>);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(logout))
}

/// Ends the logins that a provider's logout token names.
#[utoipa::path(post, path = "/logout", tag = "revocations",
    request_body(content = Posted, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Those logins have ended."),
        (status = 400, description = "This is no logout token of a configured issuer, or was used \
            before.", body = Problem),
        (status = 503, description = "Not now; post it again.", body = Problem)))]
async fn logout(
    State(api): Shared,
    posted: Result<Form<Posted>, FormRejection>,
) -> Result<Response, Problem> {
    let bad = |code: &str, detail: String| Problem::new(StatusCode::BAD_REQUEST, code, detail);
    let Form(posted) = posted.map_err(|error| bad("invalid_request", error.body_text()))?;
    let logout = verified(&api, posted.logout_token.as_bytes())
        .await
        .map_err(|error| bad(error.code, error.message.to_owned()))?;
    api.replays.take(&logout)?;
    if let Some(state) = api.revocations.state() {
        match state.take_logout(&logout).await {
            Ok(true) => {}
            Ok(false) => return Err(replayed()),
            // What is remembered here must do, as the login's end must not wait for a database: it
            // takes effect below, where the same database fails and the provider is told so.
            Err(error) => tracing::error!("a logout token was not written down: {error}"),
        }
    }
    let issuer = logout.issuer.clone();
    let target = match (&logout.session, &logout.subject) {
        (Some(session), _) => Target::Session {
            issuer,
            session: session.clone(),
        },
        (None, subject) => Target::Logins {
            issuer,
            subject: subject.clone().unwrap_or_default(),
            issued_up_to: logout.issued_unix,
        },
    };
    let until = Some(unix_seconds() + KEPT_S);
    let by = format!("logout token of {}", logout.issuer);
    let revoked = api
        .revocations
        .revoke(target, until, "logged out".to_owned(), by);
    if let Err(error) = revoked.await {
        // The provider shall post it again, and then it must not look like a replay.
        api.replays.forget(&logout);
        if let Some(state) = api.revocations.state()
            && let Err(error) = state.forget_logout(&logout).await
        {
            tracing::error!("a logout token is not forgotten: {error}");
        }
        return Err(error.into());
    }
    Ok((StatusCode::OK, [(CACHE_CONTROL, "no-store")]).into_response())
}

/// Verifies, waiting once for fresh keys where they may change the answer.
async fn verified(api: &Api, token: &[u8]) -> Result<Logout, AuthError> {
    let refresh = match verify_logout(&api.identity, token, unix_seconds()) {
        Err(AuthError {
            refresh: Some(refresh),
            ..
        }) => refresh,
        other => return other,
    };
    // Whether the keys came or the wait is over: the second decision is final.
    let _ = tokio::time::timeout(KEYS_WAIT, refresh).await;
    verify_logout(&api.identity, token, unix_seconds())
}

// === impl Replays ===

impl Replays {
    /// Remembers a token; refuses one that is remembered already.
    fn take(&self, logout: &Logout) -> Result<(), Problem> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = unix_seconds();
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, expires| *expires >= now);
        }
        if known.len() >= REMEMBERED_MAX {
            let detail = "Too many logouts in a short time. Post it again later.";
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many",
                detail,
            ));
        }
        match known.insert(name(logout), logout.expires_unix) {
            None => Ok(()),
            Some(_) => Err(replayed()),
        }
    }

    fn forget(&self, logout: &Logout) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&name(logout));
    }
}

fn replayed() -> Problem {
    let detail = "A logout token with this `jti` was taken already.";
    Problem::new(StatusCode::BAD_REQUEST, "replayed", detail)
}

fn name(logout: &Logout) -> (String, String) {
    (logout.issuer.clone(), logout.token_id.clone())
}
