//! The first page: whether all is well, how much there is to do, how long it takes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use maud::{Markup, html};

use super::chart;
use super::page::{count, digits, plain, span, time};
use super::{Desk, page};
use crate::config::OnLoss;
use crate::control::api::Api;
use crate::exchange::unix_seconds;
use crate::telemetry::{Gathered, Phase, Tally, Totals};

/// How long cores have to tell their figures; one that is late is told by its last ones.
const PATIENCE: Duration = Duration::from_millis(300);

pub(super) async fn page(desk: Desk) -> Markup {
    let content = html! {
        div data-refresh="/console/now" data-every="5" { (content(&desk.api).await) }
    };
    desk.page("Overview", "/console", &content)
}

/// What is live of it, for the script.
pub(super) async fn now(desk: Desk) -> Markup {
    content(&desk.api).await
}

async fn content(api: &Api) -> Markup {
    let gathered = api.node.tallies.gather(PATIENCE).await;
    let totals = api.counters.totals();
    html! {
        (state(api))
        h2 { "Calls a second" }
        (rates(api))
        h2 { "How calls ended" }
        (ends(&totals, &gathered))
        h2 { "How long each phase took" }
        p.quiet {
            "Since the gateway started, over all cores; the axis is logarithmic."
            @if gathered.late > 0 { " " (gathered.late) " cores were late: theirs is an older part." }
        }
        div.figures {
            @for phase in Phase::ALL { (phase_figure(phase, &gathered.tally)) }
        }
    }
}

/// A card of the first row: a name, what there is, and whether it is as it should be.
fn card(name: &str, value: &Markup, good: Option<bool>) -> Markup {
    let class = match good {
        None => "",
        Some(true) => "good",
        Some(false) => "bad",
    };
    html! { div class=(class) { dt { (name) } dd { (value) } } }
}

fn state(api: &Api) -> Markup {
    let facts = &api.facts;
    let standing = api.reloader.standing();
    let connected = api.recorder_alive.load(Ordering::Relaxed);
    let recorder = match (facts.recording, connected, facts.on_recorder_loss) {
        (false, ..) => ("off: no call leaves a trace", Some(false)),
        (true, true, _) => ("connected", Some(true)),
        (true, false, OnLoss::Refuse) => ("gone: calls are refused", Some(false)),
        (true, false, OnLoss::Serve) => ("gone: calls are served unrecorded", Some(false)),
    };
    let is_refused = standing.last.as_ref().is_some_and(|last| !last.is_good());
    let revoked = api.node.cutoff.snapshot().count();
    html! {
        dl.cards {
            (card("Recorder", &html! { (recorder.0) }, recorder.1))
            (card("Policy in force", &html! {
                a href="/console/policies" { code { (standing.version.get(..12).unwrap_or(&standing.version)) } }
                " since " (time(standing.since_unix))
                @if is_refused { " · the last reload was refused" }
            }, is_refused.then_some(false)))
            @for issuer in api.identity.status() {
                @let has_keys = issuer.key_count > 0;
                (card("Identity provider", &html! {
                    (plain(&issuer.name)) ": " (issuer.key_count) " keys"
                    @if let Some(at) = issuer.fetched_unix { ", fetched " (time(at)) }
                    @if let Some(trouble) = &issuer.trouble { " · " (plain(trouble)) }
                }, Some(has_keys && issuer.trouble.is_none())))
            }
            (card("Cut off", &html! { a href="/console/revocations" { (revoked) " revocations" } }, None))
            (card("Issued keys", &html! { a href="/console/keys" { (api.keys.count()) " kept" } }, None))
            (card("Gateway", &html! {
                "version " (env!("CARGO_PKG_VERSION")) ", up " (uptime(api.started.elapsed())) ", "
                (facts.cores.len()) @if facts.cores.len() == 1 { " core, " } @else { " cores, " } (facts.driver)
            }, None))
        }
    }
}

fn uptime(elapsed: Duration) -> String {
    let minutes = elapsed.as_secs() / 60;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

fn rates(api: &Api) -> Markup {
    let known = api.console.rates.known(Instant::now());
    let Some(last) = known.last() else {
        return page::empty("Calls a second stand here once the gateway has run for five seconds.");
    };
    html! {
        figure.card {
            (chart::rates(&known))
            figcaption.legend {
                span { span.key.line-a {} "requests " strong { (digits(last.requests)) } "/s" }
                span { span.key.line-b {} "refused or blocked " strong { (digits(last.refused)) } "/s" }
                span { span.key.line-c {} "failed upstream " strong { (digits(last.failed)) } "/s" }
                span.quiet { "as of " (time(unix_seconds())) }
            }
        }
    }
}

fn ends(totals: &Totals, gathered: &Gathered) -> Markup {
    let figures = [
        ("requests", totals.requests),
        ("sent on", totals.forwarded),
        ("refused", totals.refused),
        ("blocked by a guard", totals.blocked),
        ("requests masked", totals.masked_requests),
        ("answers masked", totals.masked_responses),
        ("cut off", totals.revoked + totals.cut_off),
        ("failed upstream", totals.upstream_failures),
        ("shed when late", totals.shed),
    ];
    let verdicts = gathered.tally.verdicts();
    html! {
        dl.numbers {
            @for (name, value) in figures { div { dt { (name) } dd { (count(value)) } } }
        }
        @if !verdicts.is_empty() {
            details {
                summary { "What guards found, by rule" }
                table.fold {
                    thead { tr { th { "Guard" } th { "Rule" } th { "Direction" } th { "Action" } th.number { "Times" } } }
                    tbody {
                        @for (kind, times) in verdicts {
                            tr {
                                td data-label="Guard" { (plain(&kind.guard)) }
                                td data-label="Rule" { code { (plain(&kind.rule)) } }
                                td data-label="Direction" { (kind.direction) }
                                td data-label="Action" { (kind.action) }
                                td.number data-label="Times" { (count(times)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn phase_figure(phase: Phase, tally: &Tally) -> Markup {
    let histogram = tally.phase(phase);
    let what = match phase {
        Phase::Inspect => "from the request's arrival to the verdict on it",
        Phase::Forward => "from the verdict until it was sent on",
        Phase::FirstByte => "the model's own: until its first byte",
        Phase::Answer => "from the first byte to the last",
        Phase::Hold => "the longest that masking held text back",
        Phase::Total => "from arrival to the last byte, of calls that completed",
    };
    html! {
        figure.card {
            figcaption { strong { (phase.as_str().replace('_', " ")) } " " span.quiet { (what) } }
            @if histogram.is_empty() {
                (page::empty("No call has come to this phase yet."))
            } @else {
                (chart::distribution(phase.as_str(), histogram))
                dl.quantiles {
                    div { dt { "calls" } dd { (count(histogram.len())) } }
                    @for (name, quantile) in [("50 %", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("99.9 %", 0.999)] {
                        div { dt { (name) } dd { (span(histogram.value_at_quantile(quantile))) } }
                    }
                    div { dt { "longest" } dd { (span(histogram.max())) } }
                }
            }
        }
    }
}
