//! The control API, on a Unix socket that only the gateway's own user and group may use.
//!
//! `GET /healthz` answers 200 while calls can be served and 503 with the reason while they cannot;
//! `GET /status` tells what runs: driver, cores, policy, issuers, recorder, counters.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::config::OnLoss;
use crate::exchange::Node;
use crate::identity::IdentityShared;
use crate::shell::bind_unix;
use crate::telemetry::Counters;

/// What does not change while the gateway runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `io_uring` or `poll`.
    pub driver: &'static str,
    /// Cores that serve.
    pub cores: Vec<usize>,
    /// The bound TCP address.
    pub listen: Option<String>,
    /// Where the model is.
    pub upstream: String,
    /// Whether calls are recorded.
    pub recording: bool,
    /// What happens to calls without a recorder.
    pub on_recorder_loss: OnLoss,
}

/// Everything that the API tells.
pub(super) struct Status {
    pub(super) facts: Facts,
    pub(super) started: Instant,
    pub(super) identity: Arc<IdentityShared>,
    pub(super) node: Arc<Node>,
    pub(super) counters: Counters,
    pub(super) recorder_alive: Arc<AtomicBool>,
}

/// Binds the socket and serves it on a task of its own.
pub(super) async fn serve(socket: PathBuf, status: Status) -> std::io::Result<()> {
    let listener = bind_unix(&socket)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/status", get(show))
        .with_state(Arc::new(status));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("the control API ended: {error}");
        }
    });
    Ok(())
}

async fn healthz(State(status): State<Arc<Status>>) -> (StatusCode, Json<Value>) {
    let recorder = status.recorder_alive.load(Ordering::Relaxed);
    let refuses =
        status.facts.recording && !recorder && status.facts.on_recorder_loss == OnLoss::Refuse;
    if refuses {
        let body = json!({"status": "unavailable", "reason": "no recorder is connected"});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(body));
    }
    (StatusCode::OK, Json(json!({"status": "ok"})))
}

async fn show(State(status): State<Arc<Status>>) -> Json<Value> {
    let issuers: Vec<Value> = status
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
            })
        })
        .collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": status.started.elapsed().as_secs(),
        "driver": status.facts.driver,
        "cores": status.facts.cores,
        "listen": status.facts.listen,
        "upstream": status.facts.upstream,
        "policy_version": status.node.policy.load().version(),
        "issuers": issuers,
        "recorder": {
            "enabled": status.facts.recording,
            "connected": status.recorder_alive.load(Ordering::Relaxed),
        },
        "counters": status.counters.totals(),
    }))
}
