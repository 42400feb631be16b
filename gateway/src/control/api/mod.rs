//! The control API: JSON over HTTP, on a Unix socket that only the gateway's own user and group may
//! use. Whoever can connect is an operator; the data plane's ports never carry it.
//!
//! Each subject is a file with its handlers and a `routes` function; [`routes`] joins them. What a
//! handler says of itself with `utoipa::path` is the OpenAPI document at `/openapi.json`, so the
//! document cannot forget a route: there is no other way to add one. Errors are problem documents
//! (RFC 9457) with a stable `code`.

mod health;
mod keys;
mod logout;
mod metrics;
mod operator;
mod problem;
mod reload;
mod revocations;

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, State};
use axum::{Json, Router};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::keys::Keys;
use super::revocations::Revocations;
use crate::exchange::Node;
use crate::identity::IdentityShared;
use crate::reload::Reloader;
use crate::telemetry::Counters;

pub use health::Facts;
use problem::Problem;

/// The largest body that the API reads; what it takes are short objects.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Everything that handlers need.
pub(super) struct Api {
    pub(super) facts: Facts,
    pub(super) started: Instant,
    pub(super) identity: Arc<IdentityShared>,
    pub(super) node: Arc<Node>,
    pub(super) reloader: Reloader,
    pub(super) counters: Counters,
    pub(super) recorder_alive: Arc<AtomicBool>,
    pub(super) revocations: Arc<Revocations>,
    pub(super) keys: Arc<Keys>,
    pub(super) replays: logout::Replays,
}

/// What handlers are given.
type Shared = State<Arc<Api>>;

/// The document's own part; routes add theirs.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Penstock control API",
        description = "What operators see of a gateway and tell it. Served on its control socket.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT")
    ),
    components(schemas(Problem))
)]
struct Document;

/// Serves the socket on a task of its own.
pub(super) fn serve(listener: UnixListener, api: Arc<Api>) -> std::io::Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let router = router(api).into_make_service_with_connect_info::<operator::Operator>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("the control API ended: {error}");
        }
    });
    Ok(())
}

/// Serves `/metrics` alone on a port, on a task of its own.
pub(super) fn serve_metrics(listener: std::net::TcpListener, api: Arc<Api>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, metrics::alone(api)).await {
            tracing::error!("the metrics' port ended: {error}");
        }
    });
    Ok(())
}

/// All subjects; a new one is a line here.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(openapi))
        .merge(health::routes())
        .merge(reload::routes())
        .merge(metrics::routes())
        .merge(revocations::routes())
        .merge(keys::routes())
        .merge(logout::routes())
}

/// The document, as it is served and printed.
fn document() -> OpenApi {
    routes().into_openapi()
}

fn router(api: Arc<Api>) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(axum::middleware::from_fn(operator::identify))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "about",
    responses((status = 200, description = "This API as OpenAPI 3.1.", body = Object)))]
async fn openapi() -> Json<OpenApi> {
    Json(document())
}
