//! The control API: JSON over HTTP, on a Unix socket that only the gateway's own user and group may
//! use, and on TCP where configured. The data plane's ports never carry it. Who may do what is said
//! in [`operator`].
//!
//! Each subject is a file with its handlers and a `routes` function; [`routes`] joins them. What a
//! handler says of itself with `utoipa::path` is the OpenAPI document at `/openapi.json`, so the
//! document cannot forget a route: there is no other way to add one. Errors are problem documents
//! (RFC 9457) with a stable `code`.

pub(in crate::control) mod approvals;
mod console_links;
mod health;
mod hooks;
pub(in crate::control) mod keys;
mod logout;
mod metrics;
mod notifications;
pub(in crate::control) mod operator;
pub(in crate::control) mod problem;
mod reload;
pub(in crate::control) mod revocations;
mod scim;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::approvals::Approvals;
use super::console::Console;
use super::fleet::Fleet;
use super::keys::Keys;
use super::listen::{self, TcpPlace};
use super::notify::Notifier;
use super::revocations::Revocations;
use super::scim::Scim;
use crate::config::CONNECTIONS_PER_ADDRESS;
use crate::exchange::Node;
use crate::identity::IdentityShared;
use crate::reload::Reloader;
use crate::telemetry::Counters;

pub use health::Facts;
pub use operator::Access;
use problem::Problem;

/// The largest body that the API reads; what it takes are short objects.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// The largest body that is read at all, for routes that take more than most.
const ANY_BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a body may take.
const BODY_MAX: Duration = Duration::from_secs(15);

/// Everything that handlers need.
pub(super) struct Api {
    pub(super) facts: Facts,
    pub(super) access: Access,
    pub(super) started: Instant,
    pub(super) identity: Arc<IdentityShared>,
    pub(super) node: Arc<Node>,
    pub(super) reloader: Reloader,
    pub(super) counters: Counters,
    pub(super) recorder_alive: Arc<AtomicBool>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) keys: Arc<Keys>,
    pub(super) scim: Option<Arc<Scim>>,
    pub(super) approvals: Arc<Approvals>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) notifier: Notifier,
    pub(super) console: Console,
    pub(super) replays: logout::Replays,
}

/// What handlers are given.
type Shared = State<Arc<Api>>;

/// The document's own part; routes add theirs.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Penstock control API",
        description = "What operators see of a gateway and tell it. Served on its control socket, \
            whose users administer it, and over TCP where `[control] listen` says so, for bearers of \
            an identity provider's token. Where `security` names a role, a group of the token's must \
            give it (`[control.roles]`); without one any role may.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(Problem)),
    modifiers(&Bearer)
)]
struct Document;

/// How operators show who they are.
struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", scheme.clone());
        // A provisioning service has a token of its own.
        components.add_security_scheme("scim", scheme);
    }
}

/// Serves `/metrics` alone on a port, on a task of its own.
pub(super) fn serve_metrics(listener: std::net::TcpListener, api: Arc<Api>) -> std::io::Result<()> {
    let place = TcpPlace {
        listener,
        tls: None,
        per_address_max: CONNECTIONS_PER_ADDRESS,
    };
    listen::serve_tcp(place, metrics::alone(api))
}

/// For anybody: what tells nothing, and what brings a proof of its own along.
fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(openapi))
        .merge(health::open_routes())
        .merge(logout::routes())
        .merge(hooks::routes())
        .merge(scim::routes())
}

/// For whoever is known, with a role or without: their own affairs.
fn own_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().merge(keys::routes())
}

/// For operators; a new subject is a line here. Each route's `security` states the role that it
/// needs, and that is what is asked for.
fn operator_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .merge(health::routes())
        .merge(reload::routes())
        .merge(metrics::routes())
        .merge(revocations::routes())
        .merge(approvals::routes())
        .merge(notifications::routes())
        .merge(console_links::routes())
}

/// The document, as it is served and printed.
fn document() -> OpenApi {
    OpenApiRouter::with_openapi(Document::openapi())
        .merge(open_routes())
        .merge(own_routes())
        .merge(operator_routes())
        .into_openapi()
}

/// Everything that the control listeners serve.
pub(super) fn router(api: Arc<Api>) -> Router {
    let plain = |routes: OpenApiRouter<Arc<Api>>| routes.split_for_parts().0;
    let known = from_fn_with_state(api.clone(), operator::known);
    let needs = Arc::new(operator::Needs::of(&document()));
    let with_role = from_fn_with_state((api.clone(), needs), operator::with_role);
    plain(open_routes())
        .merge(plain(own_routes()).route_layer(known))
        .merge(plain(operator_routes()).route_layer(with_role))
        .merge(super::console::router(api.clone()))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(whole_body))
        .with_state(api)
}

/// Reads the body within its time, so that no handler waits for one that does not come.
async fn whole_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let read = axum::body::to_bytes(body, ANY_BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_MAX, read).await {
        Ok(Ok(bytes)) => {
            next.run(Request::from_parts(parts, Body::from(bytes)))
                .await
        }
        Ok(Err(_)) => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Problem::new(status, "request_too_large", "The body is too large.").into_response()
        }
        Err(_) => {
            let detail = "The body did not come in time.";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail).into_response()
        }
    }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "about",
    responses((status = 200, description = "This API as OpenAPI 3.1.", body = Object)))]
async fn openapi() -> Json<OpenApi> {
    Json(document())
}
