//! What the cores count and time: `GET /metrics` for Prometheus and whatever reads OpenMetrics,
//! `GET /histograms` with whole distributions for whoever wants to calculate with them.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use serde::Serialize;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Api, Shared};
use crate::control::metrics::{Figures, IssuerFigures, MEDIA_TYPE, render};
use crate::telemetry::{Gathered, Phase};

/// How long cores have to tell their figures; one that is late is told by its last ones.
const PATIENCE: Duration = Duration::from_millis(500);

/// The distribution of one phase.
#[derive(Serialize, utoipa::ToSchema)]
struct PhaseHistogram {
    /// `inspect`, `forward`, `first_byte`, `answer`, `hold` or `total`.
    phase: &'static str,
    /// Calls in it.
    count: u64,
    /// Nanoseconds, with two significant digits: HdrHistogram's V2 format in base64.
    histogram: String,
}

/// All phases.
#[derive(Serialize, utoipa::ToSchema)]
struct Histograms {
    /// When the gateway started, in seconds since 1970: what is counted began then.
    since_unix: u64,
    /// When they were gathered.
    at_unix: u64,
    /// Cores whose part is an older one.
    cores_late: usize,
    /// In the order in which they happen.
    phases: Vec<PhaseHistogram>,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(metrics))
        .routes(routes!(histograms))
}

/// A router with nothing but `/metrics`, for a port that a scraper can reach.
pub(in crate::control) fn alone(api: Arc<Api>) -> axum::Router {
    axum::Router::new()
        .route("/metrics", get(metrics))
        .with_state(api)
}

/// Figures in OpenMetrics' text format.
#[utoipa::path(get, path = "/metrics", tag = "metrics", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "OpenMetrics 1.0, text.", body = String,
        content_type = MEDIA_TYPE)))]
async fn metrics(State(api): Shared) -> Response {
    let recording = api.facts.recording;
    let issuers = api
        .identity
        .status()
        .into_iter()
        .map(|issuer| IssuerFigures {
            name: issuer.name,
            keys: issuer.key_count as u64,
            fetched_unix: issuer.fetched_unix.unwrap_or_default(),
            asked: issuer.introspection.map(|it| (it.answered, it.failed)),
        });
    let figures = Figures {
        gathered: gather(&api).await,
        totals: api.counters.totals(),
        cores: api.facts.cores.len(),
        policy_version: api.node.in_force.load().policy.version().to_owned(),
        recorder: recording.then(|| api.recorder_alive.load(Ordering::Relaxed)),
        revocations: api.node.cutoff.snapshot().count() as u64,
        revoked_exchanges: api.node.cutoff.ended(),
        approvals: api.approvals.counts(),
        approvals_pending: api.approvals.pending().await,
        issuers: issuers.collect(),
        state: api.fleet.standing(),
        reloads: api.reloader.standing(),
        receivers: api.notifier.figures(),
        notices_lost: api.notifier.lost(),
    };
    match render(figures) {
        Ok(text) => {
            let media = HeaderValue::from_static(MEDIA_TYPE);
            ([(header::CONTENT_TYPE, media)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whole distributions of the times of calls, merged over all cores.
#[utoipa::path(get, path = "/histograms", tag = "metrics", security(("bearer" = ["viewer"])),
    responses((status = 200, description = "Since the gateway started.", body = Histograms)))]
async fn histograms(State(api): Shared) -> Response {
    let gathered = gather(&api).await;
    let mut serializer = V2Serializer::new();
    let phases = Phase::ALL.into_iter().map(|phase| {
        let histogram = gathered.tally.phase(phase);
        let mut bytes = Cursor::new(Vec::new());
        serializer.serialize(histogram, &mut bytes).ok()?;
        Some(PhaseHistogram {
            phase: phase.as_str(),
            count: histogram.len(),
            histogram: STANDARD.encode(bytes.into_inner()),
        })
    });
    let Some(phases) = phases.collect::<Option<Vec<_>>>() else {
        let body = json!({"code": "internal_error", "detail": "a histogram cannot be written"});
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
    };
    let at = SystemTime::now();
    Json(Histograms {
        since_unix: unix(at - api.started.elapsed()),
        at_unix: unix(at),
        cores_late: gathered.late,
        phases,
    })
    .into_response()
}

async fn gather(api: &Api) -> Gathered {
    api.node.tallies.gather(PATIENCE).await
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
