//! Recent calls, the newest first: who, what, how it ended, what guards did.

use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use penstock_recorder::frame::Outcome;
use serde::Deserialize;

use super::page::{empty, plain, span, time};
use super::records::{Cursor, Listed, Rest, Row, Wanted};
use super::{Desk, records};

/// Which part of the list.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Part {
    subject: String,
    model: String,
    verdicts: Option<String>,
    before: Option<String>,
}

// === impl Part ===

impl Part {
    fn wanted(&self) -> Wanted {
        let said = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Wanted {
            subject: said(&self.subject),
            model: said(&self.model),
            verdicts: self.verdicts.is_some(),
        }
    }

    /// The address of the part behind this one.
    fn behind(&self, next: Cursor) -> String {
        let mut pairs = vec![("before", next.to_string())];
        if !self.subject.is_empty() {
            pairs.push(("subject", self.subject.clone()));
        }
        if !self.model.is_empty() {
            pairs.push(("model", self.model.clone()));
        }
        if self.verdicts.is_some() {
            pairs.push(("verdicts", "on".to_owned()));
        }
        let mut url = reqwest::Url::parse("http://console/console/calls");
        if let Ok(url) = &mut url {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        let query = url.ok().and_then(|url| url.query().map(str::to_owned));
        format!("/console/calls?{}", query.unwrap_or_default())
    }
}

pub(super) async fn list(desk: Desk, Query(part): Query<Part>) -> Response {
    let content = match &desk.api.console.records {
        None => no_log(),
        Some(records) => {
            let before = part.before.as_deref().and_then(|text| text.parse().ok());
            match records.page(part.wanted(), before).await {
                Ok(listed) => html! { (filter(&part)) (table(&part, &listed)) },
                Err(reason) => {
                    html! { (filter(&part)) p.note.bad role="alert" { (plain(&reason)) } }
                }
            }
        }
    };
    desk.page("Calls", "/console/calls", &content)
        .into_response()
}

/// What to write so that there is a log to show.
pub(super) fn no_log() -> Markup {
    html! {
        (empty("Recorded calls would stand here: who asked which model, and what became of it."))
        p { "Say in gateway.toml where the recorder writes, and let the gateway's user read it:" }
        pre { code { "[control]\nlog_dir = \"/var/lib/penstock/log\"" } }
    }
}

fn filter(part: &Part) -> Markup {
    html! {
        form.filter method="get" action="/console/calls" role="search" {
            label { "Caller " input type="search" name="subject" value=(part.subject) autocomplete="off"; }
            label { "Model " input type="search" name="model" value=(part.model) autocomplete="off"; }
            label.check { input type="checkbox" name="verdicts" checked[part.verdicts.is_some()]; " with verdicts only" }
            button type="submit" { "Show" }
        }
    }
}

fn table(part: &Part, listed: &Listed) -> Markup {
    html! {
        @if let Some(note) = &listed.note { p.note role="status" { (plain(note)) } }
        @if listed.rows.is_empty() {
            (empty(match part.wanted() == Wanted::default() {
                true => "No call is on record yet. Each will be a line here, from the moment it is known.",
                false => "No recorded call is like that.",
            }))
        } @else {
            table.fold {
                thead { tr {
                    th { "When" } th { "Caller" } th { "Operation" } th { "Model" } th { "Ended" }
                    th { "Verdicts" } th.number { "Took" }
                } }
                tbody { @for row in &listed.rows { (line(row)) } }
            }
        }
        @if listed.rows.len() >= records::PAGE || listed.next.is_some() {
            @if let Some(next) = listed.next {
                p { a.button.quiet rel="next" href=(part.behind(next)) { "Older calls" } }
            }
        }
    }
}

fn line(row: &Row) -> Markup {
    let rest = &row.rest;
    let took = rest.last_unix_ns.saturating_sub(row.opened_unix_ns);
    html! {
        tr {
            td data-label="When" { a href=(format!("/console/calls/{}", row.id)) { (time(row.opened_unix_ns / 1_000_000_000)) } }
            td data-label="Caller" { span title=(plain(&row.issuer)) { (or_dash(&row.subject)) } }
            td data-label="Operation" { (plain(&row.operation)) }
            td data-label="Model" { (or_dash(rest.model.as_deref().unwrap_or_default())) }
            td data-label="Ended" { (ended(rest)) }
            td data-label="Verdicts" {
                @if rest.verdicts.is_empty() { span.quiet { "none" } }
                @for (action, times) in &rest.verdicts {
                    span.tag.(tag_class(action)) { (plain(action)) " " (times) } " "
                }
            }
            td.number data-label="Took" { (span(took)) }
        }
    }
}

fn or_dash(text: &str) -> String {
    match text.is_empty() {
        true => "–".to_owned(),
        false => plain(text),
    }
}

/// The look of what a guard did.
pub(super) fn tag_class(action: &str) -> &'static str {
    match action {
        "block" | "deny" | "refuse" => "bad",
        "mask" | "hold" => "warn",
        _ => "",
    }
}

/// How a call ended, in words.
pub(super) fn ended(rest: &Rest) -> Markup {
    let status = rest.status.map(|status| status.to_string());
    let (class, word) = match (rest.closed, rest.abandoned, rest.outcome) {
        (_, true, _) => ("bad", "gateway was gone"),
        (false, ..) => ("", "under way"),
        (true, _, Some(outcome)) => outcome_word(outcome),
        (true, _, None) => ("", "closed"),
    };
    html! {
        span.tag.(class) { (word) }
        @if let Some(status) = status { " " (status) }
        @if let Some(code) = &rest.error_code { " " code { (plain(code)) } }
    }
}

/// An outcome's look and word.
pub(super) fn outcome_word(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Completed => ("good", "completed"),
        Outcome::Refused => ("bad", "refused"),
        Outcome::Blocked => ("bad", "blocked"),
        Outcome::ClientGone => ("", "client gone"),
        Outcome::UpstreamFailed => ("bad", "upstream failed"),
        Outcome::GatewayFailed => ("bad", "gateway failed"),
    }
}
