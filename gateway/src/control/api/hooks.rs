//! What chat systems post when somebody presses a button of a notice.
//!
//! Nobody signs in here: Slack's signature is the proof, and who pressed the button is looked up in
//! the configuration. What they may decide is decided where everybody's word is weighed.

use std::sync::Arc;

use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest as _, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{Api, Shared};
use crate::approvals::{Decision, Person, Standing};
use crate::exchange::unix_seconds;
use crate::identity::Principal;
use crate::notify::{SlackPerson, Unsigned, slack_pressed};

/// The largest body: Slack sends the whole message back in which the button was.
const BODY_BYTES_MAX: usize = 128 * 1024;
/// What stands as the reason of an approval by a button.
const REASON: &str = "approved in Slack";

/// What Slack posts.
#[derive(Deserialize, ToSchema)]
struct SlackPosted {
    /// An interaction, as JSON.
    payload: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(slack))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// Takes an approval that somebody gives by a button in Slack. The answer says that it was heard;
/// what came of it goes to whoever pressed the button.
#[utoipa::path(post, path = "/hooks/slack", tag = "notifications", operation_id = "slack_interaction",
    request_body(content = SlackPosted, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "It was heard."),
        (status = 400, description = "It is no interaction with a button of ours.", body = Problem),
        (status = 401, description = "Slack did not sign this, or not now, or it came before.",
            body = Problem),
        (status = 503, description = "Too many came at once.", body = Problem)))]
async fn slack(State(api): Shared, head: HeaderMap, body: Bytes) -> Result<StatusCode, Problem> {
    let field = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
    let timestamp = field("x-slack-request-timestamp");
    let signature = field("x-slack-signature");
    let heard = api.notifier.hear_slack(timestamp, signature, &body).await?;
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "not_understood", detail);
    let posted = form(body)
        .await
        .ok_or_else(|| bad("it is no form with a `payload`"))?;
    let pressed = slack_pressed(&posted.payload).map_err(bad)?;
    let Some(id) = pressed.approves else {
        return Ok(StatusCode::OK);
    };
    let receiver = heard.receiver();
    let said = match heard.person(&pressed.user) {
        None => {
            tracing::warn!(
                receiver,
                user = pressed.user,
                "an unknown user of Slack pressed a button"
            );
            "Nothing was approved: this gateway does not know who you are. An administrator adds \
             you to [[notify.people]]."
                .to_owned()
        }
        Some(person) if is_revoked(&api, person) => {
            tracing::warn!(
                receiver,
                subject = person.subject,
                "a revoked person pressed a button"
            );
            "Nothing was approved: your access was revoked.".to_owned()
        }
        Some(person) => approve(&api, &id, person).await,
    };
    heard.answer(pressed.answer_to.as_deref(), said);
    Ok(StatusCode::OK)
}

/// What came of it, for whoever pressed the button.
async fn approve(api: &Api, id: &str, person: &SlackPerson) -> String {
    let (subject, issuer) = (&person.subject, person.issuer.clone().unwrap_or_default());
    let by = Person {
        issuer,
        subject: subject.clone(),
        groups: person.groups.clone(),
    };
    match api
        .approvals
        .decide(id, &by, Decision::Approve, REASON)
        .await
    {
        Ok(approval) => {
            tracing::info!(id, subject, "approved in Slack");
            match approval.standing {
                Standing::Pending => "You have approved this. It needs more people.".to_owned(),
                _ => "You have approved this.".to_owned(),
            }
        }
        Err(error) => {
            tracing::warn!(id, subject, "not approved in Slack: {error}");
            format!("Nothing was approved: {error}.")
        }
    }
}

/// Whether somebody is cut off. They come without a login that could have ended.
fn is_revoked(api: &Api, person: &SlackPerson) -> bool {
    let issuer = person.issuer.clone().unwrap_or_default();
    let mut principal = Principal::oidc(issuer, person.subject.clone(), Vec::new(), u64::MAX);
    principal.issued_unix = u64::MAX;
    api.node.cutoff.revokes(&principal, unix_seconds())
}

/// The form whose bytes were signed.
async fn form(body: Bytes) -> Option<SlackPosted> {
    let request = Request::post("/")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .ok()?;
    let Form(posted) = Form::from_request(request, &()).await.ok()?;
    Some(posted)
}

impl From<Unsigned> for Problem {
    fn from(error: Unsigned) -> Self {
        let (status, code) = match error {
            Unsigned::TooMany => (StatusCode::SERVICE_UNAVAILABLE, "too_many"),
            Unsigned::Misshapen | Unsigned::Stale | Unsigned::Wrong => {
                (StatusCode::UNAUTHORIZED, "not_signed")
            }
            Unsigned::Replayed => (StatusCode::UNAUTHORIZED, "replayed"),
        };
        Self::new(status, code, error.to_string())
    }
}
