//! SCIM 2.0 for a provisioning service (RFC 7644): `Users`, and what the service asks first.
//!
//! The service shows a token of its own (`[control] scim`), whichever listener it comes by; an
//! operator's rights are not needed and not enough. Errors have SCIM's shape. Groups, bulk, sorting
//! and every filter but `userName eq`, `externalId eq` and `id eq` are not served, and the
//! service's configuration says so.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Query;
use super::{Api, Shared};
use crate::control::revocations::RevokeError;
use crate::control::scim::{
    CORE_SCHEMA, Filter, Invalid, Scim, ScimError, User, parse_changes, parse_filter,
};

const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
const MEDIA: &str = "application/scim+json";
/// The most users that one answer has.
const PAGE_MAX: u64 = 200;
/// How many an answer has when nothing else is said.
const PAGE: u64 = 100;

/// The provisioning service, known by its token.
struct Service(Arc<Scim>);

/// An error as SCIM has them.
struct Refused {
    status: StatusCode,
    kind: Option<&'static str>,
    detail: String,
}

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Part {
    /// `userName eq "…"`, `externalId eq "…"` or `id eq "…"`.
    filter: Option<String>,
    /// The first one's place, from 1.
    start_index: Option<i64>,
    /// At most so many; 100 when absent, 200 at most.
    count: Option<i64>,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(configuration))
        .routes(routes!(resource_types))
        .routes(routes!(schemas))
        .routes(routes!(list, create))
        .routes(routes!(get, replace, change, delete))
}

/// What of SCIM is served.
#[utoipa::path(get, path = "/scim/v2/ServiceProviderConfig", tag = "scim", security(("scim" = [])),
    responses((status = 200, description = "What is served.", body = Object)))]
async fn configuration(_service: Service) -> Response {
    let no = json!({"supported": false});
    scim(
        StatusCode::OK,
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": {"supported": true},
            "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
            "filter": {"supported": true, "maxResults": PAGE_MAX},
            "changePassword": no, "sort": no, "etag": no,
            "authenticationSchemes": [{
                "type": "oauthbearertoken", "name": "Bearer token", "primary": true,
                "description": "The token of [control] scim in the gateway's configuration.",
            }],
            "meta": {"resourceType": "ServiceProviderConfig",
                "location": "/scim/v2/ServiceProviderConfig"},
        }),
    )
}

/// The kinds of things there are: users.
#[utoipa::path(get, path = "/scim/v2/ResourceTypes", tag = "scim", security(("scim" = [])),
    responses((status = 200, description = "A list of one.", body = Object)))]
async fn resource_types(_service: Service) -> Response {
    let user = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": "User", "name": "User", "endpoint": "/Users", "schema": CORE_SCHEMA,
        "description": "Somebody who may be cut off.",
        "meta": {"resourceType": "ResourceType", "location": "/scim/v2/ResourceTypes/User"},
    });
    listed(&[user], 1, 1)
}

/// What of a user is understood; other attributes are kept as they are sent.
#[utoipa::path(get, path = "/scim/v2/Schemas", tag = "scim", security(("scim" = [])),
    responses((status = 200, description = "A list of one.", body = Object)))]
async fn schemas(_service: Service) -> Response {
    let attribute = |name: &str, kind: &str, required: bool, unique: &str, what: &str| {
        json!({
            "name": name, "type": kind, "multiValued": false, "required": required,
            "caseExact": name == "externalId", "mutability": "readWrite", "returned": "default",
            "uniqueness": unique, "description": what,
        })
    };
    let user = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
        "id": CORE_SCHEMA, "name": "User", "description": "Somebody who may be cut off.",
        "attributes": [
            attribute("userName", "string", true, "server", "The name at the service."),
            attribute("externalId", "string", false, "none", "The service's own id."),
            attribute("active", "boolean", false, "none", "False: revoked here, at once."),
        ],
        "meta": {"resourceType": "Schema", "location": format!("/scim/v2/Schemas/{CORE_SCHEMA}")},
    });
    listed(&[user], 1, 1)
}

/// Users, by a filter or all.
#[utoipa::path(get, path = "/scim/v2/Users", tag = "scim", security(("scim" = [])),
    params(Part), responses(
    (status = 200, description = "A part of the list.", body = Object),
    (status = 400, description = "The filter is not understood.", body = Object)))]
async fn list(Service(scim): Service, Query(part): Query<Part>) -> Result<Response, Refused> {
    let filter = part
        .filter
        .as_deref()
        .map_or(Ok(Filter::All), parse_filter)?;
    // Places below 1 and counts below 0 are taken for those (RFC 7644, section 3.4.2.4).
    let start = part.start_index.unwrap_or(1).max(1).unsigned_abs();
    let count = part.count.map_or(PAGE, |count| count.max(0).unsigned_abs());
    let (users, total) = scim.page(&filter, start - 1, count.min(PAGE_MAX)).await?;
    let users: Vec<Value> = users.iter().map(User::to_json).collect();
    Ok(listed(&users, total, start))
}

/// Tells of somebody new; inactive, they are cut off.
#[utoipa::path(post, path = "/scim/v2/Users", tag = "scim", security(("scim" = [])),
    request_body = Object, responses(
    (status = 201, description = "They are known now.", body = Object),
    (status = 400, description = "This is no user.", body = Object),
    (status = 409, description = "Somebody else has the userName.", body = Object)))]
async fn create(Service(service): Service, body: Bytes) -> Result<Response, Refused> {
    let user = service.create(object(&body)?).await?;
    let location = [(LOCATION, user.location())];
    Ok((location, scim(StatusCode::CREATED, user.to_json())).into_response())
}

/// One user.
#[utoipa::path(get, path = "/scim/v2/Users/{id}", tag = "scim", security(("scim" = [])),
    params(("id" = String, Path, description = "The user's id.")), responses(
    (status = 200, description = "The user.", body = Object),
    (status = 404, description = "There is none with this id.", body = Object)))]
async fn get(Service(service): Service, Path(id): Path<String>) -> Result<Response, Refused> {
    Ok(scim(StatusCode::OK, service.find(&id).await?.to_json()))
}

/// Replaces a user; `active` cuts off and lets in.
#[utoipa::path(put, path = "/scim/v2/Users/{id}", tag = "scim", security(("scim" = [])),
    request_body = Object,
    params(("id" = String, Path, description = "The user's id.")), responses(
    (status = 200, description = "As they are now.", body = Object),
    (status = 404, description = "There is none with this id.", body = Object)))]
async fn replace(
    Service(service): Service,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Refused> {
    let user = service.replace(&id, object(&body)?).await?;
    Ok(scim(StatusCode::OK, user.to_json()))
}

/// Changes a user; `active` cuts off and lets in.
#[utoipa::path(patch, path = "/scim/v2/Users/{id}", tag = "scim", security(("scim" = [])),
    request_body = Object,
    params(("id" = String, Path, description = "The user's id.")), responses(
    (status = 200, description = "As they are now.", body = Object),
    (status = 400, description = "This is no change.", body = Object),
    (status = 404, description = "There is none with this id.", body = Object)))]
async fn change(
    Service(service): Service,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Refused> {
    let changes = parse_changes(&Value::Object(object(&body)?))?;
    let user = service.change(&id, &changes).await?;
    Ok(scim(StatusCode::OK, user.to_json()))
}

/// Forgets a user and cuts them off for good.
#[utoipa::path(delete, path = "/scim/v2/Users/{id}", tag = "scim", security(("scim" = [])),
    params(("id" = String, Path, description = "The user's id.")), responses(
    (status = 204, description = "Cut off, and forgotten."),
    (status = 404, description = "There is none with this id.", body = Object)))]
async fn delete(Service(service): Service, Path(id): Path<String>) -> Result<Response, Refused> {
    service.delete(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn scim(status: StatusCode, body: Value) -> Response {
    (status, [(CONTENT_TYPE, MEDIA)], body.to_string()).into_response()
}

fn listed(resources: &[Value], total: u64, start: u64) -> Response {
    scim(
        StatusCode::OK,
        json!({
            "schemas": [LIST],
            "totalResults": total,
            "startIndex": start,
            "itemsPerPage": resources.len(),
            "Resources": resources,
        }),
    )
}

/// The body as a JSON object, whatever media type it is said to be.
fn object(body: &Bytes) -> Result<Map<String, Value>, Refused> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(Refused {
            status: StatusCode::BAD_REQUEST,
            kind: Some("invalidSyntax"),
            detail: "the body is no JSON object".to_owned(),
        }),
    }
}

// === impl Service ===

impl FromRequestParts<Arc<Api>> for Service {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Refused> {
        let refused = |status, detail: &str| Refused {
            status,
            kind: None,
            detail: detail.to_owned(),
        };
        let State(api): Shared = State(api.clone());
        let service = api.scim.clone().ok_or_else(|| {
            let detail = "SCIM is not served here: say `scim` in [control].";
            refused(StatusCode::NOT_FOUND, detail)
        })?;
        let mut sent = parts.headers.get_all(AUTHORIZATION).iter();
        let known = match (sent.next(), sent.next()) {
            (Some(value), None) => bearer(value.as_bytes()).is_some_and(|it| service.knows(it)),
            _ => false,
        };
        match known {
            true => Ok(Self(service)),
            false => {
                let detail = "Send the provisioning token as 'Authorization: Bearer <token>'.";
                Err(refused(StatusCode::UNAUTHORIZED, detail))
            }
        }
    }
}

/// The token behind `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

// === impl Refused ===

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut body = json!({
            "schemas": [ERROR],
            "status": status.as_u16().to_string(),
            "detail": self.detail,
        });
        if let Some(kind) = self.kind {
            body["scimType"] = json!(kind);
        }
        let answer = scim(status, body);
        match status {
            StatusCode::UNAUTHORIZED => {
                ([(WWW_AUTHENTICATE, "Bearer realm=\"penstock\"")], answer).into_response()
            }
            StatusCode::SERVICE_UNAVAILABLE => ([(RETRY_AFTER, "1")], answer).into_response(),
            _ => answer,
        }
    }
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: Some(invalid.kind),
            detail: invalid.detail,
        }
    }
}

impl From<ScimError> for Refused {
    fn from(error: ScimError) -> Self {
        let (status, kind) = match error {
            ScimError::Invalid(invalid) => return invalid.into(),
            ScimError::Unknown => (StatusCode::NOT_FOUND, None),
            ScimError::Taken => (StatusCode::CONFLICT, Some("uniqueness")),
            ScimError::Revoke(RevokeError::Full(_)) => (StatusCode::INSUFFICIENT_STORAGE, None),
            ScimError::State(_) | ScimError::Revoke(_) | ScimError::Stateless => {
                (StatusCode::SERVICE_UNAVAILABLE, None)
            }
        };
        Self {
            status,
            kind,
            detail: error.to_string(),
        }
    }
}
