//! One call: who, what was asked, what was decided, what was answered; and its answer again, in the
//! time in which it came.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use penstock_recorder::frame::{Close, ControlState, FrameBody, Open, SessionId};
use penstock_recorder::log::{Session, escape};
use serde_json::{Value, json};

use super::page::{empty, plain, span, time};
use super::records::Call;
use super::texts::{Marked, Masks, clipped, marked, messages, pieces as pieces_of};
use super::{Desk, calls, page};

pub(super) async fn page(desk: Desk, Path(id): Path<String>) -> Response {
    let call = match find(&desk, &id).await {
        Ok(call) => call,
        Err(refused) => return refused,
    };
    let session = &call.session;
    let content = html! {
        @if call.cut { p.note role="status" { "Too much is recorded of this call to show all of it here; penstock-recorder show has the rest." } }
        p.actions { a.button href=(format!("/console/calls/{}/replay", session.id)) { "Replay the answer" } }
        (facts(session))
        h2 { "Verdicts" }
        (verdicts(session))
        h2 { "Request" }
        (request(&desk, session))
        h2 { "Answer" }
        (answer(&desk, session))
        (controls(session))
    };
    desk.page("Call", "/console/calls", &content)
        .into_response()
}

pub(super) async fn replay(desk: Desk, Path(id): Path<String>) -> Response {
    let call = match find(&desk, &id).await {
        Ok(call) => call,
        Err(refused) => return refused,
    };
    let session = &call.session;
    let model = session.model().unwrap_or_default();
    let subject = session
        .open()
        .map(|open| open.subject.clone())
        .unwrap_or_default();
    let content = html! {
        p { a href=(format!("/console/calls/{}", session.id)) { "Back to the call" } " · "
            (plain(&subject)) " · " (plain(model)) " · " (time(opened_ns(session) / 1_000_000_000)) }
        section.replay data-replay=(format!("/console/calls/{}/pieces", session.id)) aria-label="Replay" {
            div.controls {
                button type="button" data-do="play" { "Play" }
                button.quiet type="button" data-do="end" { "Jump to the end" }
                label { "Speed "
                    select data-do="speed" {
                        @for (value, name) in [("0.25", "¼ ×"), ("1", "1 ×"), ("2", "2 ×"), ("5", "5 ×"), ("20", "20 ×")] {
                            option value=(value) selected[value == "1"] { (name) }
                        }
                    }
                }
                label.wide { "Position " input type="range" data-do="seek" min="0" max="1000" value="0" step="1"; }
                output data-clock { "0.0 s" }
            }
            p.quiet { "Keys: space plays and pauses, arrow keys move by a second, End jumps to the end. "
                mark { "Marked" } " is what stands in the place of a masked value." }
            pre.text data-text tabindex="0" { }
            noscript { (answer(&desk, session)) }
        }
    };
    desk.page("Replay", "/console/calls", &content)
        .into_response()
}

/// The answer for the script: pieces with their times, masks marked.
pub(super) async fn pieces(desk: Desk, Path(id): Path<String>) -> Response {
    let call = match find(&desk, &id).await {
        Ok(call) => call,
        Err(refused) => return refused,
    };
    let in_force = desk.api.node.in_force.load();
    let masks = Masks::of(&in_force.policy, &call.session, "response");
    let pieces = marked(&pieces_of(&call.session), &masks);
    let parts = |parts: &Marked| -> Vec<Value> {
        parts
            .iter()
            .map(|(is_mask, text)| json!([i32::from(*is_mask), text]))
            .collect()
    };
    let pieces: Vec<Value> = pieces
        .iter()
        .map(|piece| json!([piece.at_ms, parts(&piece.parts)]))
        .collect();
    let ended = call
        .session
        .close()
        .map(|close| close.timings.last_byte / 1_000_000);
    Json(json!({ "pieces": pieces, "ended_ms": ended, "cut": call.cut })).into_response()
}

async fn find(desk: &Desk, id: &str) -> Result<Call, Response> {
    let missing = |detail: &str| page::refusal(StatusCode::NOT_FOUND, "No such call", detail);
    let Some(records) = &desk.api.console.records else {
        return Err(missing("No log is configured: [control] log_dir."));
    };
    let Ok(id) = id.parse::<SessionId>() else {
        return Err(missing("This is no id of a call."));
    };
    match records.call(id).await {
        Ok(Some(call)) => Ok(call),
        Ok(None) => Err(missing("No call with this id is in the log.")),
        Err(reason) => Err(page::refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "The log cannot be read",
            &reason,
        )),
    }
}

fn opened_ns(session: &Session) -> u64 {
    session
        .frames
        .first()
        .map_or(0, |first| first.frame.at_unix_ns)
}

/// A list of names and values; those without a value are left out.
fn listed(rows: &[(&str, Option<Markup>)]) -> Markup {
    html! {
        dl.list {
            @for (name, value) in rows {
                @if let Some(value) = value { dt { (name) } dd { (value) } }
            }
        }
    }
}

fn text(value: &str) -> Option<Markup> {
    (!value.is_empty()).then(|| html! { (plain(value)) })
}

fn facts(session: &Session) -> Markup {
    let open = session.open().cloned().unwrap_or_default();
    let Open {
        issuer,
        subject,
        groups,
        token_id,
        client,
        user_agent,
        method,
        path,
        operation,
        dialect,
        policy_version,
        gateway,
        core,
        ..
    } = &open;
    let close = session.close();
    let rows = [
        ("Session", Some(html! { code { (session.id.to_string()) } })),
        ("Opened", Some(time(opened_ns(session) / 1_000_000_000))),
        ("Caller", text(subject)),
        ("Issuer", text(issuer)),
        ("Groups", text(&groups.join(", "))),
        ("Token or key", token_id.as_deref().and_then(text)),
        ("From", text(client)),
        ("User agent", user_agent.as_deref().and_then(text)),
        ("Request", text(&format!("{method} {path}"))),
        ("Operation", text(&format!("{operation} ({dialect})"))),
        ("Model", session.model().and_then(text)),
        ("Policy", Some(html! { code { (plain(policy_version)) } })),
        ("Served by", text(&format!("{gateway}, core {core}"))),
        (
            "Ended",
            Some(close.map_or_else(
                || html! { span.tag { "under way, or its end was lost" } },
                ended,
            )),
        ),
        ("Times", close.map(times)),
    ];
    listed(&rows)
}

fn ended(close: &Close) -> Markup {
    let (class, word) = calls::outcome_word(close.outcome);
    html! {
        span.tag.(class) { (word) } " " (close.status)
        @if let Some(code) = &close.error_code { " " code { (plain(code)) } }
        " · " (close.request_bytes) " bytes in, " (close.response_bytes) " out"
    }
}

fn times(close: &Close) -> Markup {
    let t = &close.timings;
    let steps = [
        ("inspected", t.inspected),
        ("sent on", t.forwarded),
        ("first byte", t.first_byte),
        ("last byte", t.last_byte),
        ("held at most", t.held_max),
    ];
    let said: Vec<String> = steps
        .into_iter()
        .filter(|(_, ns)| *ns > 0)
        .map(|(name, ns)| format!("{name} {}", span(ns)))
        .collect();
    html! { (said.join(" · ")) }
}

fn verdicts(session: &Session) -> Markup {
    let decisions: Vec<_> = session
        .bodies()
        .filter_map(|body| match body {
            FrameBody::Decision(decision) => Some(decision),
            _ => None,
        })
        .collect();
    html! {
        @if decisions.is_empty() {
            (empty("No guard found anything. Each finding would be a line here: guard, rule, place, what was done."))
        } @else {
            table.fold {
                thead { tr { th { "Did" } th { "Guard" } th { "Rule" } th { "Direction" } th { "Where" } } }
                tbody {
                    @for decision in decisions {
                        tr {
                            td data-label="Did" { span.tag.(calls::tag_class(&decision.action)) { (plain(&decision.action)) } }
                            td data-label="Guard" { (plain(&decision.guard)) }
                            td data-label="Rule" { code { (plain(&decision.rule)) } }
                            td data-label="Direction" { (plain(&decision.direction)) }
                            td data-label="Where" { (plain(&decision.location)) " " span.quiet { (decision.start) "–" (decision.end) } }
                        }
                    }
                }
            }
        }
    }
}

fn request(desk: &Desk, session: &Session) -> Markup {
    let (media, body) = session.request_body();
    let in_force = desk.api.node.in_force.load();
    let masks = Masks::of(&in_force.policy, session, "request");
    if body.is_empty() {
        return empty("No body is recorded: there was none, or it was refused before it was read.");
    }
    let raw = clipped(&String::from_utf8_lossy(&body));
    html! {
        @if let Some(messages) = messages(&body) {
            @for message in messages {
                article.message { h3 { (message.role) } pre.text { (shown(&masks.mark(&message.text))) } }
            }
            details { summary { "As it was sent on (" (plain(&media)) ")" } pre.text { (escape::lines(&raw)) } }
        } @else {
            p.quiet { (plain(&media)) }
            pre.text { (shown(&masks.mark(&raw))) }
        }
    }
}

fn answer(desk: &Desk, session: &Session) -> Markup {
    let text: String = pieces_of(session)
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    let in_force = desk.api.node.in_force.load();
    let masks = Masks::of(&in_force.policy, session, "response");
    html! {
        @if text.is_empty() {
            (empty("No answer is recorded. What the caller got would stand here, masked as they got it."))
        } @else {
            p.quiet { (plain(session.response_media())) }
            pre.text { (shown(&masks.mark(&clipped(&text)))) }
        }
    }
}

fn shown(parts: &Marked) -> Markup {
    html! {
        @for (is_mask, text) in parts {
            @if *is_mask { mark { (escape::lines(text)) } } @else { (escape::lines(text)) }
        }
    }
}

fn controls(session: &Session) -> Markup {
    let controls: Vec<_> = session
        .bodies()
        .filter_map(|body| match body {
            FrameBody::Control(control) => Some(control),
            _ => None,
        })
        .collect();
    html! {
        @if !controls.is_empty() {
            details {
                summary { "Controls: what ran, what was skipped" }
                dl.list {
                    @for control in controls {
                        dt { (plain(&control.name)) }
                        dd {
                            @match control.state {
                                ControlState::Ran => "ran",
                                ControlState::Skipped => "skipped",
                                ControlState::FailedOpen => { span.tag.bad { "failed open" } }
                            }
                            @if !control.detail.is_empty() { ": " (plain(&control.detail)) }
                        }
                    }
                }
            }
        }
    }
}
