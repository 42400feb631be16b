//! One page with pictures: a file that can be mailed, put beside a build, and read in ten years.
//!
//! It fetches nothing and runs nothing: no script, no font, no style attribute, the pictures inside
//! as SVG. A content security policy in the page says so, with the digest of its one style sheet; a
//! server with a stricter one shows the same page unstyled. Light and dark are the browser's choice.
//! Every name that came from outside is escaped by the template library.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::pictures::{Picture, pictures};
use super::reading::{leading, reading};
use super::table::{conditions, figures, rows};
use crate::chart::{ChartError, DARK_STYLE, nanoseconds};
use crate::outcome::{Basis, Loop, Metric, Outcome};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(outcome: &Outcome) -> Result<String, ChartError> {
    let pictures = pictures(outcome)?;
    Ok(document(&title(outcome), &body(outcome, &pictures)).into_string())
}

/// A page of this house: head, policy, style, and what is in it.
pub(super) fn document(title: &str, body: &Markup) -> Markup {
    let style = format!("{STYLE}@media (prefers-color-scheme:dark){{{DARK_STYLE}}}\n");
    let digest = STANDARD.encode(digest(&SHA256, style.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{digest}'");
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { (title) }
                style { (PreEscaped(style)) }
            }
            body { main { (body) } }
        }
    }
}

fn title(outcome: &Outcome) -> String {
    format!("Load on {}", outcome.asked.target)
}

fn body(outcome: &Outcome, pictures: &[Picture]) -> Markup {
    let asked = &outcome.asked;
    let kind = match asked.kind {
        Loop::Open => "open loop",
        Loop::Closed => "closed loop",
    };
    html! {
        header {
            h1 { (title(outcome)) }
            p {
                (asked.model) " · " (asked.api) @if asked.stream { ", streams" }
                " · " (kind) ": " (asked.arrivals) " for " (asked.duration_s) " s · " (outcome.began)
            }
        }
        (verdict(outcome))
        (keys(outcome))
        h2 { "What the figures mean" }
        div.card { @for sentence in reading(outcome) { p { (sentence) } } }
        @if !pictures.is_empty() {
            h2 { "Pictures" }
            (figures_of(pictures))
        }
        h2 { "Times" }
        (times(outcome))
        h2 { "Counts" }
        div.card { (list(&figures(outcome))) }
        h2 { "Errors" }
        (errors(outcome))
        h2 { "Conditions" }
        div.card {
            (list(&conditions(outcome)))
            @if !asked.command.is_empty() {
                p { code { (asked.command.join(" ")) } }
            }
        }
        footer {
            "Made by penstock-loadgen. Times are HdrHistograms with three significant digits; the \
             JSON of this run holds them whole."
        }
    }
}

/// Each picture twice: for wide screens and for narrow ones, where small text would be unreadable.
pub(super) fn figures_of(pictures: &[Picture]) -> Markup {
    html! {
        div.pictures {
            @for picture in pictures {
                figure {
                    div.wide { (PreEscaped(&picture.wide)) }
                    div.narrow { (PreEscaped(&picture.narrow)) }
                }
            }
        }
    }
}

fn verdict(outcome: &Outcome) -> Markup {
    let late = outcome.lag.verdict.late;
    let failing = outcome
        .assertions
        .iter()
        .filter(|checked| !checked.holds)
        .count();
    let bad = late || failing > 0;
    if !bad && outcome.assertions.is_empty() {
        return html! {};
    }
    html! {
        div.card.verdict.bad[bad] {
            @if late {
                p { strong { "Not to be used: the generator was late." } " " (outcome.lag.verdict.reason) }
            } @else if failing > 0 {
                p { strong { (failing) " of " (outcome.assertions.len()) " assertions do not hold." } }
            } @else {
                p { strong { "All " (outcome.assertions.len()) " assertions hold." } }
            }
            @for checked in &outcome.assertions {
                div {
                    @if checked.holds { span.good { "holds" } } @else { span.fails { "FAILS" } }
                    " " code { (checked.assertion) } " — measured: " (checked.shown)
                }
            }
        }
    }
}

fn keys(outcome: &Outcome) -> Markup {
    let metric = leading(outcome);
    let quantile = |basis| {
        let found = outcome.distribution(metric, Some(basis))?;
        Some(nanoseconds(found.p99_ns as f64))
    };
    let median = outcome.distribution(metric, None);
    let failing = outcome.counts.error_rate > 0.0;
    html! {
        dl.keys {
            div { dt { "answered well" } dd { (format!("{:.1}/s", outcome.rates.completed_per_s)) } }
            @if outcome.asked.kind == Loop::Open {
                div { dt { "offered" } dd { (format!("{:.1}/s", outcome.rates.offered_per_s)) } }
            }
            div.bad[failing] {
                dt { "errors" } dd { (format!("{:.2} %", outcome.counts.error_rate * 100.0)) }
            }
            @if let Some(found) = median {
                div { dt { (metric.title()) ", p50" } dd { (nanoseconds(found.p50_ns as f64)) } }
            }
            @for basis in Basis::ALL {
                @if let Some(p99) = quantile(basis) {
                    div {
                        dt {
                            "p99, " @if basis == Basis::Intended { "from intended start" }
                            @else { "from actual send" }
                        }
                        dd { (p99) }
                    }
                }
            }
            @if outcome.counts.tokens > 0 {
                div { dt { "tokens" } dd { (format!("{:.0}/s", outcome.rates.tokens_per_s)) } }
            }
            @if let Some(good) = &outcome.goodput {
                div { dt { "goodput" } dd { (format!("{:.1} %", good.share * 100.0)) } }
            }
        }
    }
}

fn times(outcome: &Outcome) -> Markup {
    let open = outcome.asked.kind == Loop::Open;
    html! {
        div.scroll {
            table {
                thead {
                    tr {
                        th { "time" } th.text { "counted from" }
                        @for name in ["count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"] {
                            th { (name) }
                        }
                    }
                }
                tbody {
                    @for (metric, basis, found) in rows(outcome) {
                        tr {
                            th { (metric.title()) }
                            td.text {
                                @if metric == Metric::BetweenTokens { "the token before" }
                                @else if metric == Metric::PerOutputToken { "the first token" }
                                @else if !metric.has_intended() { "its own beginning" }
                                @else if basis == Basis::Intended { "intended start" }
                                @else { "actual send" }
                            }
                            td { (found.count) }
                            td { (nanoseconds(found.mean_ns)) }
                            @for ns in [
                                found.p50_ns, found.p90_ns, found.p99_ns, found.p999_ns,
                                found.p9999_ns, found.max_ns,
                            ] {
                                td { (nanoseconds(ns as f64)) }
                            }
                        }
                    }
                    @if rows(outcome).is_empty() {
                        tr { td.text colspan="10" { "Nothing was timed: no request was answered." } }
                    }
                }
            }
        }
        @if open {
            p {
                "“Intended start” counts from when a request should have started, which is what \
                 users feel; “actual send” from when the generator began with it."
            }
        }
    }
}

fn errors(outcome: &Outcome) -> Markup {
    let classes: Vec<_> = outcome
        .counts
        .errors
        .iter()
        .filter(|(_, count)| **count > 0)
        .collect();
    let intended = outcome.counts.intended.max(1) as f64;
    html! {
        @if classes.is_empty() {
            div.card { p { "None." } }
        } @else {
            div.scroll {
                table {
                    thead { tr { th { "class" } th { "count" } th { "of all requests" } } }
                    tbody {
                        @for (class, count) in classes {
                            tr {
                                th { (class) }
                                td { (count) }
                                td { (format!("{:.3} %", *count as f64 / intended * 100.0)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn list(rows: &[(&str, String)]) -> Markup {
    html! {
        dl.list { @for (name, value) in rows { dt { (name) } dd { (value) } } }
    }
}
