//! Keys that this gateway has issued: the list, issuing, replacing, revoking. A key is shown once,
//! on the page after it was issued.

use axum::Form;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::page::{csrf, empty, plain, time};
use super::session::Flash;
use super::{Desk, Role};
use crate::control::api::keys::{Owner, Rotation, WantedKey, end, issue, rotate as replace};
use crate::control::api::problem::Problem;
use crate::control::keys::{KeyEntry, KeyState};
use crate::identity::KeyText;

/// Keys on one page.
const PAGE: usize = 100;

#[derive(Deserialize)]
pub(super) struct Part {
    after: Option<String>,
}

/// The form of a new key.
#[derive(Deserialize)]
pub(super) struct Asked {
    owner: String,
    issuer: String,
    name: String,
    groups: String,
    expires: String,
}

/// The form of a replacement.
#[derive(Deserialize)]
pub(super) struct Overlap {
    overlap: String,
}

/// The form of an end.
#[derive(Deserialize)]
pub(super) struct Reason {
    reason: String,
}

pub(super) async fn page(desk: Desk, Query(part): Query<Part>) -> Markup {
    let found = desk.api.keys.page(part.after.as_deref(), PAGE, |_| true);
    let content = html! {
        @if desk.may(Role::Admin) { (form(&desk)) }
        h2 { "Keys" }
        @if found.is_empty() {
            (empty("No key was issued. Each would be a line here: whose it is, what it is for, until when, last used."))
        } @else {
            (table(&desk, &found))
        }
        @if let Some(last) = found.last().filter(|_| found.len() == PAGE) {
            p { a.button.quiet rel="next" href=(format!("/console/keys?after={}", last.key.id)) { "More" } }
        }
    };
    desk.page("Keys", "/console/keys", &content)
}

fn table(desk: &Desk, found: &[KeyEntry]) -> Markup {
    html! {
        table.fold {
            thead { tr { th { "Key" } th { "Owner" } th { "Groups" } th { "State" } th { "Ends" } th { "Last used" } th { span.hidden { "Actions" } } } }
            tbody {
                @for entry in found {
                    @let key = &entry.key;
                    @let state = desk.api.keys.state_of(entry);
                    @let used = key.last_used_unix();
                    tr {
                        td data-label="Key" { (plain(&entry.name)) " " code { (plain(&entry.hint)) "…" } }
                        td data-label="Owner" { span title=(plain(&key.issuer)) { (plain(&key.subject)) } " " span.quiet { "by " (plain(&entry.created_by)) } }
                        td data-label="Groups" { @if key.groups.is_empty() { span.quiet { "none" } } @else { (plain(&key.groups.join(", "))) } }
                        td data-label="State" { (state_tag(state)) }
                        td data-label="Ends" { (time(key.expires_unix)) }
                        td data-label="Last used" { @if used > 0 { (time(used)) } @else { span.quiet { "never" } } }
                        td.actions { @if state == KeyState::Active && desk.may(Role::Admin) { (actions(desk, entry)) } }
                    }
                }
            }
        }
    }
}

fn state_tag(state: KeyState) -> Markup {
    let (class, word) = match state {
        KeyState::Active => ("good", "active"),
        KeyState::Expired => ("", "ended"),
        KeyState::Revoked => ("bad", "revoked"),
    };
    html! { span.tag.(class) { (word) } }
}

fn actions(desk: &Desk, entry: &KeyEntry) -> Markup {
    let id = &entry.key.id;
    html! {
        details.menu {
            summary { "Change" span.hidden { " the key " (plain(&entry.name)) } }
            form.stack method="post" action=(format!("/console/keys/{id}/rotate")) {
                (csrf(&desk.signed.csrf))
                label { "The old one goes on for" input name="overlap" value="24h" required; }
                button type="submit" { "Replace" }
            }
            form.stack method="post" action=(format!("/console/keys/{id}/revoke")) {
                (csrf(&desk.signed.csrf))
                label { "Why" input name="reason" required maxlength="512" autocomplete="off"; }
                button.danger type="submit" { "Revoke for good" }
            }
        }
    }
}

fn form(desk: &Desk) -> Markup {
    let issuers = desk.api.revocations.issuers();
    html! {
        details.panel {
            summary { "Issue a key" }
            form.stack method="post" action="/console/keys/add" {
                (csrf(&desk.signed.csrf))
                label { "Owner: the subject, as their tokens have it" input name="owner" required maxlength="512" autocomplete="off" spellcheck="false"; }
                label { "Identity provider"
                    select name="issuer" { @for (name, url) in &issuers { option value=(url) { (plain(name)) } } }
                }
                label { "What it is for" input name="name" required maxlength="512" autocomplete="off"; }
                label { "Groups, with commas between" input name="groups" autocomplete="off" spellcheck="false"; }
                label { "Ends" input name="expires" value="30days" required autocomplete="off"; }
                button type="submit" { "Issue" }
            }
        }
    }
}

pub(super) async fn add(desk: Desk, Form(asked): Form<Asked>) -> Response {
    let groups = asked
        .groups
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty());
    let wanted = WantedKey {
        owner: Some(Owner {
            issuer: Some(asked.issuer).filter(|issuer| !issuer.is_empty()),
            subject: asked.owner.trim().to_owned(),
        }),
        name: asked.name.trim().to_owned(),
        groups: Some(groups.map(str::to_owned).collect()),
        expires: asked.expires.trim().to_owned(),
    };
    let issued = issue(&desk.api, desk.operator().clone(), wanted).await;
    show_once(&desk, issued)
}

pub(super) async fn rotate(
    desk: Desk,
    Path(id): Path<String>,
    Form(asked): Form<Overlap>,
) -> Response {
    let rotation = Rotation {
        overlap: Some(asked.overlap.trim().to_owned()),
        expires: None,
    };
    let issued = replace(&desk.api, desk.operator().clone(), &id, rotation).await;
    show_once(&desk, issued)
}

pub(super) async fn revoke(
    desk: Desk,
    Path(id): Path<String>,
    Form(asked): Form<Reason>,
) -> Response {
    let reason = asked.reason.trim().to_owned();
    let made = end(&desk.api, desk.operator().clone(), id, reason).await;
    let done = made.map(|made| {
        format!(
            "The key is revoked; {} calls were ended.",
            made.effect.ended
        )
    });
    desk.back("/console/keys", done)
}

fn show_once(desk: &Desk, issued: Result<(KeyEntry, KeyText), Problem>) -> Response {
    let flash = match issued {
        Ok((entry, secret)) => {
            let what = format!(
                "The key “{}” of {} works from now on.",
                entry.name, entry.key.subject
            );
            Flash::Key(what, secret.expose().to_owned())
        }
        Err(problem) => Flash::Failed(problem.detail),
    };
    desk.api.console.sessions.leave(&desk.signed.session, flash);
    Redirect::to("/console/keys").into_response()
}
