//! Policies as they are in force: version, since when and by whose asking; grants, guards, packs;
//! how the last reload went.

use axum::response::Response;
use maud::{Markup, html};
use penstock_policies::{ListedGrant, ListedGuard, PolicySet};

use super::page::{count, csrf, empty, plain, time};
use super::{Desk, Role};
use crate::control::api::problem::Problem;
use crate::reload::{Attempt, Outcome, Standing, Trigger};

pub(super) async fn page(desk: Desk) -> Markup {
    let in_force = desk.api.node.in_force.load_full();
    let policy = &in_force.policy;
    let standing = desk.api.reloader.standing();
    let content = html! {
        (standing_list(&standing, policy))
        @if desk.may(Role::Admin) {
            form.inline method="post" action="/console/reload" {
                (csrf(&desk.signed.csrf))
                button type="submit" { "Read the files again" }
            }
        }
        @if let Some(last) = &standing.last { (attempt(last)) }
        (warnings(policy, standing.last.as_ref()))
        h2 { "Grants: who may do what" }
        (grants(&policy.listed_grants()))
        h2 { "Guards: what may be said" }
        (guards(&policy.listed_guards()))
        @let holds = &policy.summary().holds;
        @if !holds.is_empty() {
            h2 { "Holds: what a person is asked about" }
            ul { @for hold in holds { li { (plain(hold)) } } }
        }
        h2 { "Packs: the rules themselves" }
        (packs(policy))
    };
    desk.page("Policies", "/console/policies", &content)
}

/// Reads everything again, as the API does.
pub(super) async fn reload(desk: Desk) -> Response {
    tracing::info!(operator = %desk.operator(), "a reload is asked for");
    let problem = |detail: &str| Problem::invalid(detail);
    let done = match desk.api.reloader.ask(Trigger::Call) {
        Err(_) => Err(problem("Too many wait for a reload already.")),
        Ok(told) => match told.await {
            Err(_) => Err(problem(
                "The reload ended before its time; the log says why.",
            )),
            Ok(attempt) if !attempt.is_good() => {
                let first = attempt.errors.first().map(ToString::to_string);
                Err(problem(&format!(
                    "Refused, what was in force stays: {}",
                    first.unwrap_or_default()
                )))
            }
            Ok(attempt) if attempt.policies == Outcome::Applied => {
                Ok(format!("Policy {} is in force.", attempt.policy_version))
            }
            Ok(_) => Ok("The files say what they said before.".to_owned()),
        },
    };
    desk.back("/console/policies", done)
}

fn asked_by(triggers: &[Trigger]) -> String {
    let names = triggers.iter().map(|trigger| match trigger {
        Trigger::Start => "the start of the gateway",
        Trigger::Signal => "SIGHUP",
        Trigger::Watch => "a change of the files",
        Trigger::Call => "an operator",
    });
    names.collect::<Vec<_>>().join(", ")
}

fn standing_list(standing: &Standing, policy: &PolicySet) -> Markup {
    let files = policy.summary().files.join(", ");
    html! {
        dl.list {
            dt { "Version" } dd { code { (standing.version) } }
            dt { "In force since" } dd { (time(standing.since_unix)) ", by " (asked_by(&standing.by)) }
            dt { "Files" } dd { @if files.is_empty() { "none: policies are off" } @else { (plain(&files)) } }
            dt { "Reloads" } dd { (standing.applied) " applied, " (standing.unchanged) " unchanged, " (standing.refused) " refused" }
        }
    }
}

fn attempt(last: &Attempt) -> Markup {
    html! {
        @if last.is_good() {
            p.quiet { "Last reload " (time(last.at_unix)) ", by " (asked_by(&last.triggers)) ": good." }
        } @else {
            section.note.bad aria-label="The last reload" {
                p { strong { "The last reload was refused" } ", " (time(last.at_unix)) ", by " (asked_by(&last.triggers)) ". What was in force before stays." }
                ul { @for error in &last.errors { li { code { (plain(&error.to_string())) } } } }
            }
        }
        @if !last.needs_restart.is_empty() {
            p.note { "Changed, and counts only after a restart: " (plain(&last.needs_restart.join(", "))) }
        }
    }
}

fn warnings(policy: &PolicySet, last: Option<&Attempt>) -> Markup {
    let warnings = last.map_or_else(|| policy.warnings(), |last| last.warnings.as_slice());
    html! {
        @if !warnings.is_empty() {
            section.note.warn aria-label="Warnings" {
                ul { @for warning in warnings { li { (plain(warning)) } } }
            }
        }
    }
}

fn names(names: &[String]) -> Markup {
    html! { @for (index, name) in names.iter().enumerate() { @if index > 0 { ", " } code { (plain(name)) } } }
}

fn grants(grants: &[ListedGrant]) -> Markup {
    html! {
        @if grants.is_empty() {
            (empty("Nothing is granted, so every call is refused. Each [[grant]] would be a line here."))
        } @else {
            table.fold {
                thead { tr { th { "Groups" } th { "May" } th { "On models" } th { "Unread content" } th { "Bounds" } th { "Written in" } } }
                tbody {
                    @for grant in grants {
                        tr {
                            td data-label="Groups" { (names(&grant.groups)) }
                            td data-label="May" { (grant.operations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")) }
                            td data-label="On models" { @if grant.models.is_empty() { span.quiet { "–" } } @else { (names(&grant.models)) } }
                            td data-label="Unread content" { @if grant.media.is_empty() { span.quiet { "none" } } @else { (grant.media.join(", ")) } }
                            td data-label="Bounds" {
                                @if let Some(tokens) = grant.limits.prompt_tokens { (count(tokens)) " prompt tokens " }
                                @if let Some(bytes) = grant.limits.body_bytes { (count(bytes)) " bytes" }
                                @if grant.limits == Default::default() { span.quiet { "none" } }
                            }
                            td data-label="Written in" { code { (plain(&grant.place)) } }
                        }
                    }
                }
            }
        }
    }
}

fn guards(guards: &[ListedGuard]) -> Markup {
    html! {
        @if guards.is_empty() {
            (empty("No guard looks at anything. Each [[guard]] would be a line here."))
        } @else {
            table.fold {
                thead { tr { th { "Guard" } th { "Looks at" } th { "Does" } th.number { "Rules" } th { "For" } th { "On trial" } } }
                tbody {
                    @for guard in guards {
                        tr {
                            td data-label="Guard" { (plain(&guard.name)) }
                            td data-label="Looks at" {
                                (match (guard.request, guard.response) { (true, true) => "requests, answers", (true, false) => "requests", _ => "answers" })
                                @if guard.runs { ", weights and long runs" }
                            }
                            td data-label="Does" { span.tag.(super::calls::tag_class(guard.action.as_str())) { (guard.action.as_str()) } @if guard.restores { " and puts back" } }
                            td.number data-label="Rules" { (count((guard.rules + guard.observed) as u64)) }
                            td data-label="For" {
                                @if guard.groups.is_empty() { "everybody" } @else { (names(&guard.groups)) }
                                @if !guard.except_groups.is_empty() { " except " (names(&guard.except_groups)) }
                            }
                            td data-label="On trial" {
                                @match (guard.rules, guard.observed) {
                                    (_, 0) => { span.quiet { "no" } },
                                    (0, _) => "all of it",
                                    (_, some) => { (some) " rules" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn packs(policy: &PolicySet) -> Markup {
    let packs = &policy.summary().packs;
    html! {
        @if packs.is_empty() {
            (empty("No pack is read."))
        } @else {
            dl.numbers { @for (name, rules) in packs { div { dt { (plain(name)) } dd { (count(*rules as u64)) " rules" } } } }
            p.quiet { (count(policy.summary().rules_used as u64)) " rules are used by at least one guard." }
        }
    }
}
