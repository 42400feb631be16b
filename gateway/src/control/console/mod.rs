//! The console: pages for operators, on the control listeners, rendered here and escaped whole.
//!
//! A page needs no script to show its content and to send its forms; the one script that there is
//! refreshes what is live and plays answers in their time. Whoever is signed in has a session
//! ([`session`]) and with it a role; each group of routes says which one it needs. A form is taken
//! only with the session's token in it and only from a page of ours, by `Origin` or
//! `Sec-Fetch-Site`. Pages are never cached, never framed, and run nothing that is not served from
//! here.

mod approvals;
mod assets;
mod call;
mod calls;
mod chart;
mod keys;
mod login;
mod oidc;
mod overview;
mod page;
mod policies;
mod rates;
mod records;
mod revocations;
mod session;
mod texts;

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::api::operator::{Operator, Role};
use super::api::{Api, problem::Problem};
use crate::config::ControlSection;
use crate::exchange::unix_seconds;
use crate::identity::IssuerConfig;
use session::{Flash, Signed};
pub(super) use session::{LINK_MAX, Sessions};

/// What pages may load and do: nothing but what comes from here, and no frame around them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
    base-uri 'none'";
/// The longest form that is read.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// Pages that are told of changes at a time: half of the connections of a listener.
const STREAMS_MAX: usize = 64;

/// What the console has of its own.
#[derive(Default)]
pub struct Console {
    pub(super) sessions: Sessions,
    rates: rates::Rates,
    records: Option<records::Records>,
    streams: Streams,
    oidc: Option<oidc::Oidc>,
}

/// Places for streams of changes.
struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

type Shared = State<Arc<Api>>;

// === impl Console ===

impl Console {
    /// As configured; `url` is what links to it begin with.
    #[must_use]
    pub fn new(section: &ControlSection, issuers: &[IssuerConfig], url: Option<&str>) -> Self {
        Self {
            sessions: Sessions::default(),
            rates: rates::Rates::default(),
            records: section.log_dir.clone().map(records::Records::new),
            streams: Streams::default(),
            oidc: oidc::Oidc::new(section, issuers, url),
        }
    }
}

/// Keeps what the overview shows of the last minutes. Runs for ever.
pub(super) async fn keep(api: Arc<Api>) {
    api.console.rates.keep(&api.counters).await;
}

/// All pages.
pub(super) fn router(api: Arc<Api>) -> Router<Arc<Api>> {
    let pages = Router::new()
        .route("/console", get(overview::page))
        .route("/console/now", get(overview::now))
        .route("/console/approvals", get(approvals::list))
        .route("/console/approvals/waiting", get(approvals::waiting))
        .route("/console/approvals/events", get(approvals::events))
        .route("/console/approvals/{id}", get(approvals::one))
        .route("/console/approvals/{id}/now", get(approvals::now))
        .route("/console/calls", get(calls::list))
        .route("/console/calls/{id}", get(call::page))
        .route("/console/calls/{id}/replay", get(call::replay))
        .route("/console/calls/{id}/pieces", get(call::pieces))
        .route("/console/policies", get(policies::page))
        .route("/console/revocations", get(revocations::page))
        .route("/console/keys", get(keys::page))
        .route_layer(from_fn(viewer));
    let decisions = Router::new()
        .route("/console/approvals/{id}/decide", post(approvals::decide))
        .route_layer(from_fn(approver));
    let changes = Router::new()
        .route("/console/reload", post(policies::reload))
        .route("/console/revocations/add", post(revocations::add))
        .route("/console/revocations/{id}/lift", post(revocations::lift))
        .route("/console/keys/add", post(keys::add))
        .route("/console/keys/{id}/rotate", post(keys::rotate))
        .route("/console/keys/{id}/revoke", post(keys::revoke))
        .route_layer(from_fn(admin));
    let signed_in = pages
        .merge(decisions)
        .merge(changes)
        .route("/console/logout", post(login::logout))
        .route_layer(from_fn_with_state(api, signed_in));
    Router::new()
        .route("/", get(|| async { Redirect::to("/console") }))
        .route("/console/login", get(login::page))
        .route("/console/login/start", get(oidc::start))
        .route("/console/login/callback", get(oidc::callback))
        .route("/console/link", get(login::link).post(login::use_link))
        .route("/console/assets/{digest}/{name}", get(assets::serve))
        .merge(signed_in)
        .layer(from_fn(guarded))
}

/// Headers of every answer.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 5] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Lets in whoever has a session, and a form only where it is one of the session's own.
async fn signed_in(State(api): Shared, request: Request, next: Next) -> Response {
    let Some(signed) = session_of(&api, request.headers()) else {
        return match *request.method() {
            Method::GET if !is_by_script(request.headers()) => {
                Redirect::to("/console/login").into_response()
            }
            _ => {
                let detail = "Your session has ended. Sign in again.";
                page::refusal(StatusCode::UNAUTHORIZED, "Signed out", detail)
            }
        };
    };
    let mut request = match *request.method() {
        Method::POST => match own_form(&api, &signed, request).await {
            Ok(request) => request,
            Err(refused) => return refused,
        },
        _ => request,
    };
    request.extensions_mut().insert(signed);
    next.run(request).await
}

/// Who is signed in, as the cookie says; whoever was revoked since is no longer.
fn session_of(api: &Api, headers: &HeaderMap) -> Option<Signed> {
    let name = login::cookie_name(api);
    let cookie = cookie(headers, name)?;
    let signed = api.console.sessions.find(cookie, Instant::now())?;
    still_in(api, signed)
}

/// Nobody who was revoked.
fn still_in(api: &Api, signed: Signed) -> Option<Signed> {
    if signed.operator.is_revoked(&api.node.cutoff, unix_seconds()) {
        api.console.sessions.end(&signed.session);
        return None;
    }
    Some(signed)
}

/// The value of a cookie; none where there are several of the name.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut found = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(it, _)| *it == name)
        .map(|(_, value)| value);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn is_by_script(headers: &HeaderMap) -> bool {
    let by = headers
        .get("sec-fetch-mode")
        .and_then(|it| it.to_str().ok());
    by.is_some_and(|mode| mode != "navigate")
}

/// Whether a form comes from a page of ours. Browsers say `Origin: null` where pages send no
/// referrer, as ours do; then `Sec-Fetch-Site`, which no page can set, decides.
fn is_same_origin(api: &Api, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match headers.get(ORIGIN).and_then(|value| value.to_str().ok()) {
        Some(origin) if origin != "null" => {
            let scheme = origin.split_once("://").map(|(scheme, _)| scheme);
            let own = api.facts.control_url.as_deref();
            let by_host = || {
                let host = text("host")?;
                let scheme = if login::is_secure(api) {
                    "https"
                } else {
                    "http"
                };
                Some(format!("{scheme}://{host}"))
            };
            scheme.is_some() && (own == Some(origin) || by_host().as_deref() == Some(origin))
        }
        _ => text("sec-fetch-site") == Some("same-origin"),
    }
}

#[derive(Deserialize)]
struct Token {
    csrf: String,
}

/// Reads the form, and refuses one that is not of this session or not from here.
async fn own_form(api: &Api, signed: &Signed, request: Request) -> Result<Request, Response> {
    let refused = || {
        let detail = "This form did not come from a page of your session. Go back, reload the \
                      page, and send it again.";
        page::refusal(StatusCode::FORBIDDEN, "Not sent", detail)
    };
    if !is_same_origin(api, request.headers()) {
        return Err(refused());
    }
    let (parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, FORM_BYTES_MAX).await else {
        let detail = "What was sent is too long.";
        return Err(page::refusal(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Not sent",
            detail,
        ));
    };
    let looked = Request::from_parts(parts.clone(), Body::from(bytes.clone()));
    match Form::<Token>::from_request(looked, &()).await {
        Ok(Form(token)) if signed.csrf.is(&token.csrf) => {
            Ok(Request::from_parts(parts, Body::from(bytes)))
        }
        _ => Err(refused()),
    }
}

async fn viewer(request: Request, next: Next) -> Response {
    with_role(Role::Viewer, request, next).await
}

async fn approver(request: Request, next: Next) -> Response {
    with_role(Role::Approver, request, next).await
}

async fn admin(request: Request, next: Next) -> Response {
    with_role(Role::Admin, request, next).await
}

async fn with_role(needed: Role, request: Request, next: Next) -> Response {
    let signed = request.extensions().get::<Signed>();
    let may = signed.map(|signed| signed.operator.may(needed));
    match may {
        Some(Ok(())) => next.run(request).await,
        Some(Err(problem)) => {
            page::refusal(StatusCode::FORBIDDEN, "Not yours to do", &problem.detail)
        }
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

/// What every page is made with.
struct Desk {
    api: Arc<Api>,
    signed: Signed,
}

// === impl Desk ===

impl Desk {
    fn operator(&self) -> &Operator {
        &self.signed.operator
    }

    fn may(&self, role: Role) -> bool {
        self.signed.operator.may(role).is_ok()
    }

    /// A page at an entry of the menu.
    fn page(&self, title: &str, place: &str, content: &maud::Markup) -> maud::Markup {
        let page = page::Page {
            title,
            place,
            signed: &self.signed,
            flash: self.api.console.sessions.take(&self.signed.session),
        };
        page.with(content)
    }

    /// Back to a page, which says how it went.
    fn back(&self, to: &str, done: Result<String, Problem>) -> Response {
        let flash = match done {
            Ok(text) => Flash::Done(text),
            Err(problem) => Flash::Failed(problem.detail),
        };
        self.api.console.sessions.leave(&self.signed.session, flash);
        Redirect::to(to).into_response()
    }
}

impl axum::extract::FromRequestParts<Arc<Api>> for Desk {
    type Rejection = StatusCode;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        api: &Arc<Api>,
    ) -> Result<Self, StatusCode> {
        let signed = Extension::<Signed>::from_request_parts(parts, api).await;
        let Extension(signed) = signed.map_err(|_| StatusCode::UNAUTHORIZED)?;
        Ok(Self {
            api: api.clone(),
            signed,
        })
    }
}
