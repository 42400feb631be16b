//! The double's other listener: what it saw, and what it shall say. It has an address of its own,
//! so that no gateway in front of the double leads here.
//!
//! | route | answers |
//! | --- | --- |
//! | `GET /__double/requests[?last=N]` | the last requests, byte for byte |
//! | `GET /__double/counters` | the counters |
//! | `POST /__double/clear` | forgets both |
//! | `PUT /__double/script` | takes another script (TOML or JSON) |
//! | `POST /__double/pause?ms=N` | stands still: nothing is accepted, read or written meanwhile |

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::Value;

use super::Shared;
use super::ledger::{Counters, REQUESTS_KEPT};
use super::script::Script;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/__double/requests", get(requests))
        .route("/__double/counters", get(counters))
        .route("/__double/clear", post(clear))
        .route("/__double/script", put(script))
        .route("/__double/pause", post(pause))
        .with_state(shared)
}

async fn requests(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Vec<Value>> {
    let last = query
        .get("last")
        .and_then(|text| text.parse().ok())
        .unwrap_or(REQUESTS_KEPT);
    let requests = shared.ledger.requests();
    let skipped = requests.len().saturating_sub(last);
    Json(
        requests[skipped..]
            .iter()
            .map(|request| request.to_json())
            .collect(),
    )
}

async fn counters(State(shared): State<Arc<Shared>>) -> Json<Counters> {
    Json(shared.ledger.counters())
}

async fn clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.ledger.clear();
    StatusCode::NO_CONTENT
}

async fn pause(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<BTreeMap<String, String>>,
) -> (StatusCode, &'static str) {
    match query.get("ms").and_then(|text| text.parse().ok()) {
        Some(ms) => {
            shared.pause(Duration::from_millis(ms));
            (StatusCode::NO_CONTENT, "")
        }
        None => (StatusCode::BAD_REQUEST, "say how long: ?ms=1000"),
    }
}

async fn script(State(shared): State<Arc<Shared>>, body: String) -> (StatusCode, String) {
    match Script::parse(&body) {
        Ok(script) => {
            *shared.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
            (StatusCode::NO_CONTENT, String::new())
        }
        Err(why) => (StatusCode::BAD_REQUEST, why),
    }
}
