//! One-time links by which somebody at the control socket signs in to the console.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operator::Operator;
use super::problem::Problem;
use super::{Api, Shared};
use crate::control::console::{LINK_MAX, Sessions};
use crate::control::listen::Peer;
use crate::cutoff::format_time;
use crate::exchange::unix_seconds;

/// A link.
#[derive(Serialize, ToSchema)]
struct LoginLink {
    /// To be opened in a browser, once.
    url: String,
    /// Whom it signs in.
    operator: String,
    /// Until when it can be used.
    #[schema(format = DateTime)]
    expires: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(make))
}

/// Makes a link that signs whoever asks for it in to the console, once, within two minutes.
#[utoipa::path(post, path = "/console-links", tag = "console",
    security(("bearer" = ["viewer"])),
    responses(
        (status = 201, description = "To be opened in a browser.", body = LoginLink),
        (status = 403, description = "Only on the control socket.", body = Problem),
        (status = 409, description = "The console is not reached over TCP.", body = Problem)))]
async fn make(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Extension(peer): Extension<Peer>,
) -> Result<(StatusCode, Json<LoginLink>), Problem> {
    if !matches!(peer, Peer::Local(_)) {
        let detail = "Links are made on the gateway's own machine, through the control socket.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "not_local", detail));
    }
    let url = api.facts.control_url.as_deref().ok_or_else(|| {
        let detail = "A browser cannot reach the console: say `listen` in [control].";
        Problem::new(StatusCode::CONFLICT, "no_listener", detail)
    })?;
    let sessions: &Sessions = &api.console.sessions;
    let code = sessions.link(operator.clone(), Instant::now());
    tracing::info!(%operator, "a link to the console was made");
    Ok((
        StatusCode::CREATED,
        Json(LoginLink {
            url: format!("{url}/console/link?code={code}"),
            operator: operator.to_string(),
            expires: format_time(unix_seconds() + LINK_MAX.as_secs()),
        }),
    ))
}
