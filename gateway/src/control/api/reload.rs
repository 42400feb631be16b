//! Policies and certificates, read again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operator::Operator;
use super::problem::Problem;
use super::{Api, Shared};
use crate::reload::{Attempt, Trigger};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(reload))
}

/// Reads all files again and puts what is good in force; the answer comes when that is over.
#[utoipa::path(post, path = "/reload", tag = "policies", security(("bearer" = ["admin"])), responses(
    (status = 200, description = "Everything is in force, or was already.", body = Attempt),
    (status = 422, description = "Something is wrong; what was in force stays.", body = Attempt),
    (status = 429, description = "Too many wait for a reload already.", body = Problem)))]
async fn reload(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
) -> Result<Response, Problem> {
    tracing::info!(%operator, "a reload is asked for");
    let too_many = || {
        let detail = "Too many wait for a reload already; ask again when one has ended.";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
    };
    let told = api.reloader.ask(Trigger::Call).map_err(|_| too_many())?;
    let attempt = told.await.map_err(|_| {
        let detail = "The reload ended before its time; the log says why.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "reload_failed", detail)
    })?;
    let status = match attempt.is_good() {
        true => StatusCode::OK,
        false => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok((status, Json(attempt.as_ref())).into_response())
}
