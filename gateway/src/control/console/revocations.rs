//! Who is cut off: the list, cutting off with a reason, taking back.

use axum::Form;
use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};
use serde::Deserialize;

use super::page::{csrf, empty, plain, time};
use super::{Desk, Role};
use crate::control::api::problem::Problem;
use crate::control::api::revocations::{Made, NewRevocation, make};
use crate::cutoff::{Revocation, Source, Wanted};

/// Revocations on one page.
const PAGE: usize = 100;

/// What can be cut off: the form's value, its name, what it means.
const KINDS: [(&str, &str, &str); 7] = [
    (
        "subject",
        "A person",
        "every token of theirs, and every key that they own",
    ),
    (
        "logins",
        "A person's logins up to now",
        "the next login works, and their keys go on",
    ),
    ("owner", "A person's keys", "their own tokens go on"),
    (
        "session",
        "A login session (sid)",
        "every token of that session",
    ),
    ("token", "One token (jti)", "that token alone"),
    (
        "client",
        "An application (client id)",
        "every token that was issued to it",
    ),
    ("key", "One key, by its id", "that key alone"),
];

#[derive(Deserialize)]
pub(super) struct Part {
    after: Option<String>,
}

/// The form.
#[derive(Deserialize)]
pub(super) struct Asked {
    kind: String,
    value: String,
    issuer: String,
    until: String,
    reason: String,
}

pub(super) async fn page(desk: Desk, Query(part): Query<Part>) -> Markup {
    let found = desk.api.revocations.page(part.after.as_deref(), PAGE);
    let content = html! {
        @if desk.may(Role::Admin) { (form(&desk)) }
        h2 { "In force" }
        @if found.is_empty() {
            (empty("Nobody is cut off. Each revocation would be a line here: whom it names, until when, by whom and why."))
        } @else {
            (table(&desk, &found))
        }
        @if let Some(last) = found.last().filter(|_| found.len() == PAGE) {
            p { a.button.quiet rel="next" href=(format!("/console/revocations?after={}", last.id)) { "More" } }
        }
    };
    desk.page("Revocations", "/console/revocations", &content)
}

fn table(desk: &Desk, found: &[std::sync::Arc<Revocation>]) -> Markup {
    html! {
        table.fold {
            thead { tr { th { "Who" } th { "Until" } th { "Why" } th { "By" } th { "Since" } th { span.hidden { "Actions" } } } }
            tbody {
                @for revocation in found {
                    tr {
                        td data-label="Who" {
                            (kind_name(revocation.target.kind())) " " strong { (plain(revocation.target.value())) }
                            @if !revocation.target.issuer().is_empty() { " " span.quiet { "of " (plain(revocation.target.issuer())) } }
                        }
                        td data-label="Until" { @match revocation.until { Some(until) => (time(until)), None => "for good" } }
                        td data-label="Why" { (plain(&revocation.reason)) }
                        td data-label="By" { (plain(&revocation.by)) }
                        td data-label="Since" { @match revocation.created { Some(at) => (time(at)), None => { span.quiet { "–" } } } }
                        td.actions {
                            @match revocation.source {
                                Source::File => { span.quiet { "stands in the file" } },
                                Source::Api if desk.may(Role::Admin) => {
                                    form method="post" action=(format!("/console/revocations/{}/lift", revocation.id)) {
                                        (csrf(&desk.signed.csrf))
                                        button.quiet type="submit" data-confirm="Take this revocation back?" {
                                            "Take back" span.hidden { " the revocation of " (plain(revocation.target.value())) }
                                        }
                                    }
                                },
                                Source::Api => {},
                            }
                        }
                    }
                }
            }
        }
    }
}

fn kind_name(kind: &str) -> &str {
    match kind {
        "subject" => "person",
        "owner" => "keys of",
        "logins" => "logins of",
        other => other,
    }
}

fn form(desk: &Desk) -> Markup {
    let issuers = desk.api.revocations.issuers();
    html! {
        details.panel {
            summary { "Cut somebody off" }
            form.stack method="post" action="/console/revocations/add" {
                (csrf(&desk.signed.csrf))
                label { "What"
                    select name="kind" { @for (value, name, what) in KINDS { option value=(value) { (name) ": " (what) } } }
                }
                label { "Who: the subject or id" input name="value" required maxlength="512" autocomplete="off" spellcheck="false"; }
                label { "Identity provider"
                    select name="issuer" { @for (name, url) in &issuers { option value=(url) { (plain(name)) } } }
                }
                label { "Until; empty for good" input name="until" placeholder="2h, or 2026-11-30T18:00:00Z" autocomplete="off"; }
                label { "Why" input name="reason" required maxlength="512" autocomplete="off"; }
                p.quiet { "It takes effect at once on every core, calls under way included." }
                button.danger type="submit" { "Cut off" }
            }
        }
    }
}

pub(super) async fn add(desk: Desk, Form(asked): Form<Asked>) -> Response {
    let done = cut_off(&desk, asked).await.map(|made| {
        let ended = made.effect.ended;
        let calls = if ended == 1 { "call was" } else { "calls were" };
        let who = plain(made.revocation.target.value());
        // Microseconds as milliseconds with one digit: nothing is lost that matters.
        let took_ms = made.effect.took_us as f64 / 1000.0;
        match made.effect.everywhere {
            true => format!(
                "{who} is cut off on every core, after {took_ms:.1} ms; {ended} {calls} ended."
            ),
            false => format!("{who} is cut off, but NOT YET on every core: one hangs."),
        }
    });
    desk.back("/console/revocations", done)
}

async fn cut_off(desk: &Desk, asked: Asked) -> Result<Made, Problem> {
    let value = asked.value.trim().to_owned();
    let mut who = Wanted::default();
    let place = match asked.kind.as_str() {
        "subject" => &mut who.subject,
        "logins" => &mut who.logins,
        "owner" => &mut who.owner,
        "session" => &mut who.session,
        "token" => &mut who.token,
        "client" => &mut who.client,
        "key" => &mut who.key,
        _ => return Err(Problem::invalid("choose what is to be cut off")),
    };
    *place = Some(value);
    // A key is known by its id alone.
    who.issuer = Some(asked.issuer).filter(|issuer| !issuer.is_empty() && asked.kind != "key");
    let until = asked.until.trim().to_owned();
    let wanted = NewRevocation {
        who,
        until: Some(until).filter(|until| !until.is_empty()),
        reason: asked.reason.trim().to_owned(),
    };
    make(&desk.api, desk.operator(), wanted).await
}

pub(super) async fn lift(desk: Desk, Path(id): Path<String>) -> Response {
    let by = desk.operator().to_string();
    let lifted = desk.api.revocations.lift(&id, &by).await;
    let done = lifted.map_err(Problem::from);
    let done = done.map(|it| format!("Taken back: {} may call again.", plain(it.target.value())));
    desk.back("/console/revocations", done)
}
