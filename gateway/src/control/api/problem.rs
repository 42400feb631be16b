//! Errors of the control API: one shape for all, a problem document (RFC 9457) with a stable `code`
//! for programs and a `detail` for the person who must act. No detail repeats a secret.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why the API refused, or failed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The HTTP status again.
    pub(crate) status: u16,
    /// Stable, for programs.
    pub(crate) code: String,
    /// The status in words.
    pub(crate) title: String,
    /// What is wrong and what to do, for a person.
    pub(crate) detail: String,
}

/// A JSON body; what does not decode is a [`Problem`], and so is an unknown member.
pub(super) struct Body<T>(pub(super) T);

/// A query string; what does not decode is a [`Problem`].
pub(super) struct Query<T>(pub(super) T);

// === impl Problem ===

impl Problem {
    /// A problem with this status.
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            code: code.to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            detail: detail.into(),
        }
    }

    /// What was sent cannot be acted on.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Four strings and a number: there is nothing that cannot be written as JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let media = [(CONTENT_TYPE, "application/problem+json")];
        (status, media, body).into_response()
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::UNPROCESSABLE_ENTITY => "invalid",
            _ => "body_not_json",
        };
        Self::new(status, code, rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "invalid_query", rejection.body_text())
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let axum::Json(value) = axum::Json::<T>::from_request(request, state).await?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(value) =
            axum::extract::Query::<T>::from_request_parts(parts, state).await?;
        Ok(Self(value))
    }
}

/// No such path.
pub(super) async fn not_found() -> Problem {
    let detail = "There is nothing at this path; GET /openapi.json lists what there is.";
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

/// The path is there, the method is not.
pub(super) async fn method_not_allowed() -> Problem {
    let detail = "This path does not take this method; GET /openapi.json lists what it takes.";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
