//! Signing in and out: the page that offers it, one-time links, the cookie.
//!
//! The cookie is `SameSite=Strict`, so a page that another site leads to comes without it. What
//! ends a sign-in is therefore a page of ours that leads on by itself, not a redirect.

use std::time::Instant;

use axum::Form;
use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use serde::Deserialize;

use super::session::{AGE_MAX, Secret, Signed};
use super::{Desk, Shared, is_same_origin, page, still_in};
use crate::control::api::Api;
use crate::control::api::operator::{Operator, Role};

/// What a link carries.
#[derive(Deserialize)]
pub(super) struct Code {
    code: String,
}

/// Whether browsers reach the console by TLS.
pub(super) fn is_secure(api: &Api) -> bool {
    let url = api.facts.control_url.as_deref();
    url.is_some_and(|url| url.starts_with("https://"))
}

/// With the prefix a browser takes the cookie only by TLS, from this very host, for all of it.
pub(super) fn cookie_name(api: &Api) -> &'static str {
    match is_secure(api) {
        true => "__Host-penstock",
        false => "penstock-console",
    }
}

/// A cookie for this host.
pub(super) fn set_cookie(
    api: &Api,
    name: &str,
    value: &str,
    site: &str,
    seconds: u64,
) -> HeaderValue {
    let secure = if is_secure(api) { "; Secure" } else { "" };
    let text =
        format!("{name}={value}; Path=/; HttpOnly; SameSite={site}; Max-Age={seconds}{secure}");
    // Our own names, base64url and numbers: there is nothing that a header cannot hold.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// How to sign in.
pub(super) async fn page(State(api): Shared) -> Response {
    let provider = api.console.oidc.as_ref().map(|oidc| oidc.issuer_name());
    let content = html! {
        @if let Some(name) = provider {
            p { a.button href="/console/login/start" { "Sign in with " (page::plain(name)) } }
            p.quiet { "Or with a one-time link. On the gateway's machine:" }
        } @else {
            p { "Sign in with a one-time link. On the gateway's machine:" }
        }
        pre { code { "penstock-gateway console --config gateway.toml" } }
        p.quiet { "It prints a link that works once, for two minutes." }
    };
    page::open_page("Sign in", &content).into_response()
}

/// Asks before a link is used up: programs that look at links beforehand do not press buttons.
pub(super) async fn link(State(api): Shared, Query(Code { code }): Query<Code>) -> Response {
    let Some(operator) = api.console.sessions.of_link(&code, Instant::now()) else {
        return spent();
    };
    let role = operator.role.map_or("no role", Role::as_str);
    let content = html! {
        p { "This link signs you in as " strong { (page::plain(&operator.to_string())) } ", " (role) "." }
        form method="post" action="/console/link" {
            input type="hidden" name="code" value=(code);
            button type="submit" autofocus { "Sign in" }
        }
    };
    page::open_page("Sign in", &content).into_response()
}

/// Signs in by a link.
pub(super) async fn use_link(
    State(api): Shared,
    headers: HeaderMap,
    Form(Code { code }): Form<Code>,
) -> Response {
    if !is_same_origin(&api, &headers) {
        let detail = "This form did not come from a page of the console.";
        return page::refusal(StatusCode::FORBIDDEN, "Not sent", detail);
    }
    match api.console.sessions.use_link(&code, Instant::now()) {
        Some(operator) => begin(&api, operator),
        None => spent(),
    }
}

fn spent() -> Response {
    let content = html! {
        p { "A link works once, for two minutes; this one no longer does. Get another on the gateway's machine:" }
        pre { code { "penstock-gateway console --config gateway.toml" } }
    };
    (
        StatusCode::GONE,
        page::open_page("This link is used up", &content),
    )
        .into_response()
}

/// Begins a session and leads to the overview.
pub(super) fn begin(api: &Api, operator: Operator) -> Response {
    tracing::info!(%operator, role = operator.role.map(Role::as_str), "signed in to the console");
    let id: Secret = api.console.sessions.begin(operator, Instant::now());
    let cookie = set_cookie(
        api,
        cookie_name(api),
        id.expose(),
        "Strict",
        AGE_MAX.as_secs(),
    );
    let content = html! {
        meta http-equiv="refresh" content="0; url=/console";
        p { a href="/console" { "Go to the console" } }
    };
    let page = page::open_page("Signed in", &content);
    ([(SET_COOKIE, cookie)], page).into_response()
}

/// Ends the session.
pub(super) async fn logout(desk: Desk) -> Response {
    let Desk { api, signed } = desk;
    tracing::info!(operator = %signed.operator, "signed out of the console");
    api.console.sessions.end(&signed.session);
    let cookie = set_cookie(&api, cookie_name(&api), "", "Strict", 0);
    ([(SET_COOKIE, cookie)], Redirect::to("/console/login")).into_response()
}

/// The session, if it still is one: for what goes on by itself.
pub(super) fn look(api: &Api, signed: &Signed) -> Option<Signed> {
    let signed = api.console.sessions.look(&signed.session, Instant::now())?;
    still_in(api, signed)
}
