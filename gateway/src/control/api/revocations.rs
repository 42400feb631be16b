//! Who is cut off: listing, revoking, lifting.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operator::Operator;
use super::problem::{Body, Problem, Query};
use super::{Api, Shared};
use crate::control::revocations::{RevokeError, Told};
use crate::cutoff::{Revocation, TEXT_BYTES_MAX, Wanted, parse_until};
use crate::exchange::unix_seconds;

/// The longest list that one answer has.
pub(super) const PAGE_MAX: usize = 1000;
/// The list that an answer has when nothing else is said.
pub(super) const PAGE: usize = 100;

/// A revocation to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct NewRevocation {
    /// Whom to cut off.
    pub(in crate::control) who: Wanted,
    /// Until when: `2026-11-30T18:00:00Z`, or a span from now such as `2h`. Absent: for good.
    pub(in crate::control) until: Option<String>,
    /// Why, for whoever reads the list.
    pub(in crate::control) reason: String,
}

/// A revocation that was made, and what came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::control) struct Made {
    pub(in crate::control) revocation: Revocation,
    pub(in crate::control) effect: Told,
}

/// A part of the list.
#[derive(Debug, Serialize, ToSchema)]
struct Page {
    revocations: Vec<Revocation>,
    /// `after` for the next part; absent when this is the end.
    next: Option<String>,
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Behind the revocation with this id.
    after: Option<String>,
    /// At most so many; 100 when absent, 1000 at most.
    limit: Option<usize>,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list, revoke))
        .routes(routes!(lift))
}

/// Those in force, the oldest first.
#[utoipa::path(get, path = "/revocations", tag = "revocations", params(Part),
    security(("bearer" = ["viewer"])), responses(
    (status = 200, description = "A part of the list.", body = Page),
    (status = 400, description = "The query is not understood.", body = Problem)))]
async fn list(State(api): Shared, Query(part): Query<Part>) -> Json<Page> {
    let limit = part.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let found = api.revocations.page(part.after.as_deref(), limit);
    let next = (found.len() == limit).then(|| found.last().map(|last| last.id.clone()));
    Json(Page {
        revocations: found.iter().map(|it| it.as_ref().clone()).collect(),
        next: next.flatten(),
    })
}

/// Cuts somebody off; the answer comes when it has taken effect on every core.
#[utoipa::path(post, path = "/revocations", tag = "revocations", request_body = NewRevocation,
    security(("bearer" = ["admin"])),
    responses(
        (status = 201, description = "In force, and written down.", body = Made),
        (status = 422, description = "Nobody is meant by it.", body = Problem),
        (status = 503, description = "In force, but not written down.", body = Problem),
        (status = 507, description = "No more can be kept.", body = Problem)))]
async fn revoke(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Body(wanted): Body<NewRevocation>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    Ok((
        StatusCode::CREATED,
        Json(make(&api, &operator, wanted).await?),
    ))
}

/// Makes a revocation, and waits until it has taken effect.
pub(in crate::control) async fn make(
    api: &Api,
    operator: &Operator,
    wanted: NewRevocation,
) -> Result<Made, Problem> {
    let target = wanted
        .who
        .target(&api.revocations.issuers())
        .map_err(|error| Problem::invalid(error.to_string()))?;
    let until = wanted
        .until
        .map(|text| parse_until(&text, unix_seconds()))
        .transpose()
        .map_err(|reason| Problem::invalid(format!("`until`: {reason}")))?;
    let reason = text("reason", wanted.reason)?;
    let (revocation, effect) = api
        .revocations
        .revoke(target, until, reason, operator.to_string())
        .await?;
    let revocation = revocation.as_ref().clone();
    Ok(Made { revocation, effect })
}

/// Takes a revocation back.
#[utoipa::path(delete, path = "/revocations/{id}", tag = "revocations",
    security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The revocation's id.")),
    responses(
        (status = 200, description = "It is no longer in force.", body = Revocation),
        (status = 404, description = "There is none with this id.", body = Problem),
        (status = 409, description = "It stands in the watched file.", body = Problem),
        (status = 503, description = "It stays: the state cannot be written.", body = Problem)))]
async fn lift(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<Json<Revocation>, Problem> {
    let lifted = api.revocations.lift(&id, &operator.to_string()).await?;
    Ok(Json(lifted.as_ref().clone()))
}

/// One line of text, within its bound.
pub(super) fn text(name: &str, value: String) -> Result<String, Problem> {
    let good = !value.trim().is_empty()
        && value.len() <= TEXT_BYTES_MAX
        && !value.chars().any(char::is_control);
    match good {
        true => Ok(value),
        false => Err(Problem::invalid(format!(
            "`{name}` must be 1 to {TEXT_BYTES_MAX} bytes of text on one line"
        ))),
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let (status, code) = match &error {
            RevokeError::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "too_many_revocations"),
            RevokeError::NotKept(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_kept"),
            RevokeError::NotLifted(_) => (StatusCode::SERVICE_UNAVAILABLE, "state_unavailable"),
            RevokeError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_id"),
            RevokeError::InFile(_) => (StatusCode::CONFLICT, "in_file"),
        };
        Self::new(status, code, error.to_string())
    }
}
