//! Notices on their way and those that did not arrive: listing, sending again, giving up, trying out
//! a receiver.

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
use super::revocations::{PAGE, PAGE_MAX};
use super::{Api, Shared};
use crate::control::notify::NotifyError;
use crate::control::state::{Delivery, DeliveryFilter, Standing};
use crate::cutoff::format_time;

/// A notice for one receiver.
#[derive(Debug, Serialize, ToSchema)]
struct Notification {
    /// The same at every attempt; receivers see it.
    id: String,
    receiver: String,
    /// `waiting`, `delivered`, `dead` or `dropped`.
    standing: &'static str,
    /// The approval that it is about.
    approval: String,
    /// `requested`, `approved`, `denied`, `expired` or `test`.
    event: &'static str,
    told: String,
    /// Attempts so far.
    attempts: u32,
    /// When the next attempt is, of one that waits.
    next: Option<String>,
    /// Why the last attempt failed; empty when none did.
    last_error: String,
}

/// A part of the list.
#[derive(Debug, Serialize, ToSchema)]
struct NotificationPage {
    notifications: Vec<Notification>,
    /// `after` for the next part; absent when this is the end.
    next: Option<String>,
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct NotificationPart {
    /// Those that stand so: `waiting`, `delivered`, `dead`, `dropped`; all when absent.
    standing: Option<String>,
    /// Those for this receiver.
    receiver: Option<String>,
    /// Behind the one with this id.
    after: Option<String>,
    /// At most so many; 100 when absent, 1000 at most.
    limit: Option<usize>,
}

/// Which receiver is tried out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Trial {
    /// Its name.
    receiver: String,
}

/// What was sent to try out a receiver, or what became of a notice.
#[derive(Debug, Serialize, ToSchema)]
struct Handled {
    /// The notice's id.
    id: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(test))
        .routes(routes!(retry))
        .routes(routes!(drop_one))
}

/// Notices, in the order of the approvals that they are about.
#[utoipa::path(get, path = "/notifications", tag = "notifications", params(NotificationPart),
    operation_id = "list_notifications", security(("bearer" = ["admin"])), responses(
    (status = 200, description = "A part of the list.", body = NotificationPage),
    (status = 400, description = "The query is not understood.", body = Problem),
    (status = 503, description = "The state cannot be read.", body = Problem)))]
async fn list(
    State(api): Shared,
    Query(part): Query<NotificationPart>,
) -> Result<Json<NotificationPage>, Problem> {
    let standing = part.standing.as_deref().map(|name| {
        Standing::named(name).ok_or_else(|| {
            let detail = "`standing` is waiting, delivered, dead or dropped.";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
        })
    });
    let filter = DeliveryFilter {
        standing: standing.transpose()?,
        receiver: part.receiver,
    };
    let limit = part.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let after = part.after.unwrap_or_default();
    let found = api.notifier.page(&filter, &after, limit).await?;
    let next = (found.len() == limit).then(|| found.last().map(|last| last.id.clone()));
    Ok(Json(NotificationPage {
        notifications: found.into_iter().map(Notification::from).collect(),
        next: next.flatten(),
    }))
}

/// Sends a notice that says that it is a test, to see whether a receiver is set up well.
#[utoipa::path(post, path = "/notifications/test", tag = "notifications", request_body = Trial,
    operation_id = "test_receiver", security(("bearer" = ["admin"])), responses(
    (status = 202, description = "It is sent; the list says what became of it.", body = Handled),
    (status = 404, description = "No receiver has this name.", body = Problem),
    (status = 422, description = "No receiver is named.", body = Problem),
    (status = 503, description = "The state cannot be written.", body = Problem)))]
async fn test(
    State(api): Shared,
    Body(trial): Body<Trial>,
) -> Result<(StatusCode, Json<Handled>), Problem> {
    let id = api.notifier.test(&trial.receiver).await?;
    Ok((StatusCode::ACCEPTED, Json(Handled { id })))
}

/// Sends a notice again, now, and as often as a new one.
#[utoipa::path(post, path = "/notifications/{id}/retry", tag = "notifications",
    operation_id = "retry_notification",
    security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The notice's id.")), responses(
    (status = 200, description = "It is sent again.", body = Handled),
    (status = 404, description = "None with this id waits or is dead.", body = Problem),
    (status = 503, description = "The state cannot be written.", body = Problem)))]
async fn retry(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<Json<Handled>, Problem> {
    api.notifier.send_again(&id).await?;
    tracing::info!(%operator, id, "a notice is sent again");
    Ok(Json(Handled { id }))
}

/// Gives a notice up for good.
#[utoipa::path(delete, path = "/notifications/{id}", tag = "notifications",
    operation_id = "drop_notification",
    security(("bearer" = ["admin"])),
    params(("id" = String, Path, description = "The notice's id.")), responses(
    (status = 200, description = "It is given up.", body = Handled),
    (status = 404, description = "None with this id waits or is dead.", body = Problem),
    (status = 503, description = "The state cannot be written.", body = Problem)))]
async fn drop_one(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
) -> Result<Json<Handled>, Problem> {
    api.notifier.give_up(&id).await?;
    tracing::warn!(%operator, id, "a notice is given up");
    Ok(Json(Handled { id }))
}

impl From<Delivery> for Notification {
    fn from(delivery: Delivery) -> Self {
        let is_waiting = delivery.standing == Standing::Waiting;
        Self {
            id: delivery.id,
            receiver: delivery.receiver,
            standing: delivery.standing.as_str(),
            event: delivery.notice.event.as_str(),
            approval: delivery.notice.approval,
            told: format_time(delivery.told_ms / 1000),
            attempts: delivery.attempts,
            next: is_waiting.then(|| format_time(delivery.next_ms / 1000)),
            last_error: delivery.last_error,
        }
    }
}

impl From<NotifyError> for Problem {
    fn from(error: NotifyError) -> Self {
        let (status, code) = match &error {
            NotifyError::UnknownReceiver(_) => (StatusCode::NOT_FOUND, "unknown_receiver"),
            NotifyError::UnknownId(_) => (StatusCode::NOT_FOUND, "unknown_id"),
            NotifyError::State(_) | NotifyError::NoState => {
                (StatusCode::SERVICE_UNAVAILABLE, "state_unavailable")
            }
        };
        Self::new(status, code, error.to_string())
    }
}
