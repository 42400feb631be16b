//! How the gateway is doing: `GET /healthz` answers 200 while calls can be served and 503 with the
//! reason while they cannot; `GET /status` tells what runs: driver, cores, policy, issuers,
//! recorder, counters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, Shared};
use crate::config::OnLoss;

/// What does not change while the gateway runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `io_uring` or `poll`.
    pub driver: &'static str,
    /// Cores that serve.
    pub cores: Vec<usize>,
    /// The bound TCP address.
    pub listen: Option<String>,
    /// Where the control API and the console are reached over TCP.
    pub control_listen: Option<SocketAddr>,
    /// What links to the console begin with.
    pub control_url: Option<String>,
    /// Where the model is.
    pub upstream: String,
    /// Whether calls are recorded.
    pub recording: bool,
    /// What happens to calls without a recorder.
    pub on_recorder_loss: OnLoss,
}

/// For anybody: a load balancer has no token.
pub(super) fn open_routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(healthz))
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(status))
}

/// Whether calls can be served.
#[utoipa::path(get, path = "/healthz", tag = "health", responses(
    (status = 200, description = "Calls can be served.", body = Object),
    (status = 503, description = "They cannot, and why.", body = Object)))]
async fn healthz(State(api): Shared) -> (StatusCode, Json<Value>) {
    let recorder = api.recorder_alive.load(Ordering::Relaxed);
    let refuses = api.facts.recording && !recorder && api.facts.on_recorder_loss == OnLoss::Refuse;
    if refuses {
        let body = json!({"status": "unavailable", "reason": "no recorder is connected"});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body));
    }
    (StatusCode::OK, Json(json!({"status": "ok"})))
}

/// What runs: driver, cores, policy, issuers, recorder, counters.
#[utoipa::path(get, path = "/status", tag = "health", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "What runs.", body = Object)))]
async fn status(State(api): Shared) -> Json<Value> {
    let issuers: Vec<Value> = api
        .identity
        .status()
        .into_iter()
        .map(|issuer| {
            json!({
                "name": issuer.name,
                "url": issuer.url,
                "keys": issuer.key_count,
                "fetched_unix": issuer.fetched_unix,
                "trouble": issuer.trouble,
                "introspection": issuer.introspection,
            })
        })
        .collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": api.started.elapsed().as_secs(),
        "driver": api.facts.driver,
        "cores": api.facts.cores,
        "listen": api.facts.listen,
        "control": {
            "listen": api.facts.control_listen,
            "url": api.facts.control_url,
        },
        "upstream": api.facts.upstream,
        "policy_version": api.node.in_force.load().policy.version(),
        "policy": api.reloader.standing(),
        "issuers": issuers,
        "recorder": {
            "enabled": api.facts.recording,
            "connected": api.recorder_alive.load(Ordering::Relaxed),
        },
        "state": api.fleet.standing(),
        "revocations": api.revocations.summary(),
        "issued_keys": api.keys.count(),
        "counters": api.counters.totals(),
    }))
}
