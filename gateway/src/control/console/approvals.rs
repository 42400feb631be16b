//! Requests that people decide on: those that wait, live; one of them with all that a decision
//! needs; and the decision, with its reason.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Form;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use penstock_recorder::log::escape;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::error::RecvError;

use super::page::{csrf, empty, plain};
use super::{Desk, Role, login, page};
use crate::approvals::{Decision, Excerpt, Manner, Matter, Person, Standing};
use crate::control::api::approvals::{ApprovalView, EventView, HoldView};
use crate::control::api::problem::Problem;
use crate::control::approvals::Change;
use crate::control::state::approvals::Filter;
use crate::cutoff::TEXT_BYTES_MAX;

/// Waiting ones on the page.
const WAITING_MAX: usize = 50;
/// Decided ones on the page.
const DECIDED_MAX: usize = 30;
/// How often a stream of changes says that it is still there, and looks whether its session is.
const LOOK: Duration = Duration::from_secs(5);

/// The form of a decision.
#[derive(Deserialize)]
pub(super) struct Asked {
    decision: Decision,
    reason: String,
}

pub(super) async fn list(desk: Desk) -> Markup {
    let content = html! {
        p.hidden id="said" role="status" aria-live="polite" {}
        div data-refresh="/console/approvals/waiting" data-events="/console/approvals/events" data-says="said" data-every="30" {
            (content(&desk).await)
        }
    };
    desk.page("Approvals", "/console/approvals", &content)
}

/// What is live of it, for the script.
pub(super) async fn waiting(desk: Desk) -> Markup {
    content(&desk).await
}

async fn content(desk: &Desk) -> Markup {
    let waiting = page_of(desk, Some(Standing::Pending), false, WAITING_MAX).await;
    let all = page_of(desk, None, true, WAITING_MAX + DECIDED_MAX).await;
    let (waiting, all) = match (waiting, all) {
        (Ok(waiting), Ok(all)) => (waiting, all),
        (Err(problem), _) | (_, Err(problem)) => {
            return html! { p.note.bad role="alert" { (plain(&problem.detail)) } };
        }
    };
    let decided = all.iter().filter(|view| view.standing != Standing::Pending);
    let decided: Vec<&ApprovalView> = decided.take(DECIDED_MAX).collect();
    html! {
        h2 { "Waiting" @if !waiting.is_empty() { " (" (waiting.len()) @if waiting.len() == WAITING_MAX { " or more" } ")" } }
        @if waiting.is_empty() {
            (empty("Nothing waits. A request that a policy holds appears here at once: who asks, for what, and why it is held."))
        }
        @for view in &waiting { (card(view)) }
        h2 { "Before" }
        @if decided.is_empty() {
            (empty("Nothing was decided yet. What people said would stand here, with who and when."))
        } @else {
            (table(&decided))
        }
    }
}

async fn page_of(
    desk: &Desk,
    standing: Option<Standing>,
    newest: bool,
    limit: usize,
) -> Result<Vec<ApprovalView>, Problem> {
    let filter = Filter {
        standing,
        subject: None,
        newest,
    };
    let found = desk.api.approvals.page(&filter, None, limit).await?;
    let person = person(desk);
    let view = |approval| ApprovalView::of(&desk.api, approval, person.as_ref());
    Ok(found.into_iter().map(view).collect())
}

/// The person who is signed in, as approvals know persons.
fn person(desk: &Desk) -> Option<Person> {
    let person = desk.operator().person()?;
    Some(Person {
        issuer: person.issuer.clone(),
        subject: person.subject.clone(),
        groups: person.groups.clone(),
    })
}

fn asked_for(matter: &Matter) -> Markup {
    html! {
        (plain(&matter.operation))
        @if let Some(model) = &matter.model { " on " code { (plain(model)) } }
    }
}

/// A time as the API writes it.
fn time(machine: &str) -> Markup {
    let human = machine.replace('T', " ").replace('Z', " UTC");
    html! { time datetime=(machine) { (human) } }
}

fn card(view: &ApprovalView) -> Markup {
    html! {
        article.held {
            h3.title {
                a href=(format!("/console/approvals/{}", view.id)) { strong { (plain(&view.caller.subject)) } " asks: " (asked_for(&view.matter)) }
            }
            ul { @for hold in &view.holds { (hold_line(hold)) } }
            @for excerpt in view.matter.excerpts.iter().take(1) { (excerpt_of(excerpt, 600)) }
            p.quiet { "Since " (time(&view.created)) " · decide before " (time(&view.expires)) " · " (manner(view.manner)) }
            p { a.button href=(format!("/console/approvals/{}", view.id)) {
                @if view.may_decide == Some(true) { "Look and decide" } @else { "Look" }
                span.hidden { " on the request of " (plain(&view.caller.subject)) }
            } }
        }
    }
}

fn hold_line(hold: &HoldView) -> Markup {
    let held = &hold.held;
    html! {
        li {
            strong { (plain(&held.hold)) } ": " (plain(&held.why)) " "
            span.quiet {
                @if held.covered_by.is_some() { "covered by an earlier approval" } @else {
                    (hold.approved) " of " (held.quorum) " approvals, by members of " (plain(&held.groups.join(", ")))
                }
            }
        }
    }
}

fn manner(manner: Manner) -> &'static str {
    match manner {
        Manner::Wait => "the caller's connection waits",
        Manner::Ticket => "the caller comes back with a ticket",
    }
}

fn excerpt_of(excerpt: &Excerpt, chars: usize) -> Markup {
    let clipped = excerpt
        .text
        .as_deref()
        .map(|text| match text.char_indices().nth(chars) {
            None => escape::lines(text),
            Some((at, _)) => format!("{}…", escape::lines(&text[..at])),
        });
    html! {
        h3 { (plain(&excerpt.location)) }
        @match clipped {
            Some(text) => { pre.text { (text) } },
            None => { p.quiet { "Its text is not shown here." } },
        }
    }
}

fn table(decided: &[&ApprovalView]) -> Markup {
    html! {
        table.fold {
            thead { tr { th { "Asked" } th { "Caller" } th { "For" } th { "Held by" } th { "Stands" } th { "By" } } }
            tbody {
                @for view in decided {
                    tr {
                        td data-label="Asked" { a href=(format!("/console/approvals/{}", view.id)) { (time(&view.created)) } }
                        td data-label="Caller" { (plain(&view.caller.subject)) }
                        td data-label="For" { (asked_for(&view.matter)) }
                        td data-label="Held by" { (plain(&view.holds.iter().map(|it| it.held.hold.as_str()).collect::<Vec<_>>().join(", "))) }
                        td data-label="Stands" { (standing(view.standing)) }
                        td data-label="By" { (last_person(view)) }
                    }
                }
            }
        }
    }
}

fn standing(standing: Standing) -> Markup {
    let (class, word) = match standing {
        Standing::Pending => ("warn", "waiting"),
        Standing::Approved => ("good", "approved"),
        Standing::Used => ("good", "used"),
        Standing::Denied => ("bad", "denied"),
        Standing::Expired => ("", "expired"),
        Standing::Withdrawn => ("", "withdrawn"),
    };
    html! { span.tag.(class) { (word) } }
}

fn last_person(view: &ApprovalView) -> Markup {
    let by = view
        .history
        .iter()
        .rev()
        .find_map(|event| event.by.as_ref());
    html! { @match by { Some(by) => (plain(&by.subject)), None => { span.quiet { "nobody" } } } }
}

pub(super) async fn one(desk: Desk, Path(id): Path<String>) -> Response {
    let view = match find(&desk, &id).await {
        Ok(view) => view,
        Err(refused) => return refused,
    };
    let content = html! {
        p.hidden id="said" role="status" aria-live="polite" {}
        div data-refresh=(format!("/console/approvals/{}/now", view.id))
            data-events=(format!("/console/approvals/events?of={}", view.id)) data-says="said" data-every="30" {
            (all_of(&desk, &view))
        }
    };
    desk.page("Approval", "/console/approvals", &content)
        .into_response()
}

/// What is live of it, for the script.
pub(super) async fn now(desk: Desk, Path(id): Path<String>) -> Response {
    match find(&desk, &id).await {
        Ok(view) => all_of(&desk, &view).into_response(),
        Err(refused) => refused,
    }
}

async fn find(desk: &Desk, id: &str) -> Result<ApprovalView, Response> {
    let found = desk.api.approvals.get(id).await.map_err(|error| {
        let problem = Problem::from(error);
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::NOT_FOUND);
        page::refusal(status, "No such approval", &problem.detail)
    })?;
    Ok(ApprovalView::of(&desk.api, found, person(desk).as_ref()))
}

fn all_of(desk: &Desk, view: &ApprovalView) -> Markup {
    let matter = &view.matter;
    let call = format!("/console/calls/{}", matter.session);
    html! {
        p { (standing(view.standing)) " " strong { (plain(&view.caller.subject)) } " asks: " (asked_for(matter)) }
        h2 { "Why it is held" }
        ul { @for hold in &view.holds { (hold_line(hold)) } }
        h2 { "What would be sent" }
        @if matter.excerpts.is_empty() { (empty("No text of it is shown: see [approvals] show.")) }
        @for excerpt in &matter.excerpts { (excerpt_of(excerpt, super::texts::TEXT_CHARS_MAX)) }
        (decide_form(desk, view))
        h2 { "About it" }
        dl.list {
            dt { "Caller" } dd { (plain(&view.caller.subject)) " " span.quiet { "of " (plain(&view.caller.issuer)) } }
            @if let Some(key) = &view.caller.key { dt { "Key" } dd { code { (plain(key)) } } }
            dt { "Request" } dd { (plain(&matter.method)) " " (plain(&matter.path)) }
            dt { "Size" } dd { (page::count(matter.prompt_tokens)) " prompt tokens, " (page::count(matter.body_bytes)) " bytes" }
            dt { "Goes to" } dd { (plain(&matter.upstream)) }
            dt { "Policy" } dd { code { (plain(&matter.policy_version)) } }
            dt { "Asked" } dd { (time(&view.created)) ", " (manner(view.manner)) }
            @match view.standing {
                Standing::Pending => { dt { "Decide before" } dd { (time(&view.expires)) } },
                Standing::Approved => { dt { "Use before" } dd { (time(&view.expires)) } },
                _ => {},
            }
            dt { "Call" } dd { a href=(call) { code { (plain(&matter.session)) } } }
        }
        h2 { "History" }
        (history(&view.history))
    }
}

fn history(events: &[EventView]) -> Markup {
    html! {
        table.fold {
            thead { tr { th { "When" } th { "What" } th { "By" } th { "Why" } } }
            tbody {
                @for event in events {
                    tr {
                        td data-label="When" { (time(&event.at)) }
                        td data-label="What" { (event.event.as_str()) }
                        td data-label="By" { @match &event.by { Some(by) => (plain(&by.subject)), None => { span.quiet { "–" } } } }
                        td data-label="Why" { (plain(event.reason.as_deref().unwrap_or_default())) }
                    }
                }
            }
        }
    }
}

fn decide_form(desk: &Desk, view: &ApprovalView) -> Markup {
    let is_open = matches!(view.standing, Standing::Pending | Standing::Approved);
    html! {
        @if view.may_decide == Some(true) && desk.may(Role::Approver) {
            h2 { "Decide" }
            form.stack method="post" action=(format!("/console/approvals/{}/decide", view.id)) {
                (csrf(&desk.signed.csrf))
                label { "Reason: the caller and the record get it; a denial needs one"
                    textarea name="reason" rows="2" maxlength=(TEXT_BYTES_MAX) {} }
                div.choice {
                    @if view.standing == Standing::Pending {
                        button type="submit" name="decision" value="approve" { "Approve" }
                    }
                    button.danger type="submit" name="decision" value="deny" { "Deny" }
                }
            }
        } @else if is_open {
            p.note {
                @if desk.operator().person().is_none() {
                    "You are signed in as a user of this machine, and only a person can decide: sign in with your identity provider, or let [[control.local]] say whose user id it is."
                } @else if !desk.may(Role::Approver) {
                    "Your role lets you look. Deciding needs the role approver."
                } @else {
                    "It is not yours to decide on: it is your own request, you have said yes already, or none of your groups approves it."
                }
            }
        }
    }
}

pub(super) async fn decide(
    desk: Desk,
    Path(id): Path<String>,
    Form(asked): Form<Asked>,
) -> Response {
    let done = said(&desk, &id, asked).await;
    // What is no id goes back to the list: it could not stand in a header.
    let is_id = id
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    match is_id {
        true => desk.back(&format!("/console/approvals/{id}"), done),
        false => desk.back("/console/approvals", done),
    }
}

async fn said(desk: &Desk, id: &str, asked: Asked) -> Result<String, Problem> {
    let person = person(desk).ok_or_else(|| {
        let detail = "Only a person can decide on this.";
        Problem::new(StatusCode::FORBIDDEN, "not_a_person", detail)
    })?;
    // Lines of a text area become one: it stands in a header and on a line of the log.
    let reason = asked
        .reason
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    if reason.len() > TEXT_BYTES_MAX || reason.chars().any(char::is_control) {
        let detail = format!("the reason must be at most {TEXT_BYTES_MAX} bytes of text");
        return Err(Problem::invalid(detail));
    }
    let decided = desk
        .api
        .approvals
        .decide(id, &person, asked.decision, &reason);
    let decided = decided.await?;
    Ok(match decided.standing {
        Standing::Approved | Standing::Used => "Approved: the request may go on.".to_owned(),
        Standing::Denied => "Denied: the caller is told why.".to_owned(),
        _ => "Your yes is written down; more people must say so.".to_owned(),
    })
}

/// Which changes are told.
#[derive(Deserialize)]
pub(super) struct About {
    /// Those of this approval only.
    of: Option<String>,
}

/// Says when anything has changed, until the session ends.
pub(super) async fn events(desk: Desk, Query(about): Query<About>) -> Response {
    let Ok(place) = desk.api.console.streams.0.clone().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    struct Stream {
        desk: Desk,
        changes: tokio::sync::broadcast::Receiver<Change>,
        about: About,
        ended: bool,
        _place: Arc<OwnedSemaphorePermit>,
    }
    let start = Stream {
        changes: desk.api.approvals.subscribe(),
        about,
        desk,
        ended: false,
        _place: Arc::new(place),
    };
    let stream = futures_util::stream::unfold(start, |mut stream| async move {
        if stream.ended {
            return None;
        }
        let mut cut = stream.desk.api.node.cutoff.generations();
        loop {
            let event = tokio::select! {
                changed = stream.changes.recv() => match changed {
                    Ok(Change { approval, .. }) if stream.about.of.as_ref().is_some_and(|id| *id != approval.id) => None,
                    Ok(Change { approval, event }) => Some(format!("{}: a request of {}", event.as_str(), plain(&approval.caller.subject))),
                    Err(RecvError::Lagged(_)) => Some("several changes".to_owned()),
                    Err(RecvError::Closed) => return None,
                },
                _ = cut.changed() => None,
                () = tokio::time::sleep(LOOK) => None,
            };
            if login::look(&stream.desk.api, &stream.desk.signed).is_none() {
                stream.ended = true;
                let event = SseEvent::default().event("ended").data("signed out");
                return Some((Ok::<_, Infallible>(event), stream));
            }
            if let Some(text) = event {
                return Some((Ok(SseEvent::default().event("changed").data(text)), stream));
            }
        }
    });
    Sse::new(stream)
        .keep_alive(KeepAlive::new().interval(LOOK))
        .into_response()
}
