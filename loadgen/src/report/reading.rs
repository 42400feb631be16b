//! What the figures of a run mean, in plain sentences; the same under the table and in the report.

use crate::chart::nanoseconds;
use crate::outcome::{Basis, Loop, Metric, Outcome};

/// The series differ when the intended one is so much longer.
const APART: f64 = 1.1;
/// The server did not keep up when it completed less than this share of what was offered.
const KEPT_UP: f64 = 0.98;
/// A percentile needs so many values beyond it.
const BEYOND_MIN: f64 = 10.0;

/// Sentences, the most important first.
pub fn reading(outcome: &Outcome) -> Vec<String> {
    let mut said = Vec::new();
    if outcome.lag.verdict.late {
        said.push(format!(
            "These figures are not to be used: {}. Use a lower rate, fewer connections, or a \
             machine that is less busy.",
            outcome.lag.verdict.reason
        ));
    }
    said.push(match outcome.asked.kind {
        Loop::Open => series(outcome),
        Loop::Closed => format!(
            "Closed loop: {} connections, each of which asked again when it had its answer. That \
             measures how much the server does; a slow server is asked less, so these latencies are \
             not what users have who come at their own pace.",
            outcome.asked.connections
        ),
    });
    said.extend(backlog(outcome));
    let (errors, intended) = (outcome.errors(), outcome.counts.intended);
    if errors > 0 {
        said.push(format!(
            "{errors} of {intended} requests failed. Their times are in \"{}\" and nowhere else: \
             the other latencies are of good answers.",
            Metric::Failed.title()
        ));
    }
    if outcome.counts.altered > 0 {
        said.push(format!(
            "{} answers came to a proper end and had another text than the one expected.",
            outcome.counts.altered
        ));
    }
    said.extend(few(outcome));
    said
}

/// The time that is shown first: to the first token where there are tokens, else to the end.
pub fn leading(outcome: &Outcome) -> Metric {
    let has = |metric| outcome.distribution(metric, None).is_some();
    if has(Metric::Ttft) {
        Metric::Ttft
    } else {
        Metric::EndToEnd
    }
}

fn series(outcome: &Outcome) -> String {
    let metric = leading(outcome);
    let p99 = |basis| {
        let found = outcome.distribution(metric, Some(basis));
        found.map(|found| found.p99_ns as f64)
    };
    let Some((intended, sent)) = p99(Basis::Intended).zip(p99(Basis::Sent)) else {
        return "No request was answered well, so there are no latencies.".into();
    };
    let (title, felt, seen) = (metric.title(), nanoseconds(intended), nanoseconds(sent));
    if intended > sent * APART {
        format!(
            "Counted from when requests should have started, the p99 of \"{title}\" is {felt}; \
             counted from when they were sent it is {seen}. The difference is time that requests \
             waited for their turn behind slow ones. Users feel it. A tool that only counts from \
             the send leaves it out (coordinated omission) and would have told you {seen}."
        )
    } else {
        format!(
            "Both series agree (p99 of \"{title}\": {felt} from the intended start, {seen} from the \
             actual send): requests were sent when they were due, and nothing was left out."
        )
    }
}

fn backlog(outcome: &Outcome) -> Option<String> {
    let rates = &outcome.rates;
    let behind = rates.completed_per_s < KEPT_UP * rates.offered_per_s;
    let last = outcome.timeline.slots.last()?;
    let not_sent = outcome.counts.errors.get("not_sent").copied().unwrap_or(0);
    let open = outcome.asked.kind == Loop::Open;
    (open && behind && last.waiting + not_sent > 0).then(|| {
        format!(
            "The server did not keep up: {:.1} requests a second were offered and {:.1} answered \
             well, and {} had not been sent at the end. Above capacity a longer run gives longer \
             latencies; look for the rate at which both are equal.",
            rates.offered_per_s,
            rates.completed_per_s,
            last.waiting + not_sent,
        )
    })
}

fn few(outcome: &Outcome) -> Option<String> {
    let count = outcome.distribution(leading(outcome), None)?.count as f64;
    let shares = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];
    let (_, first) = shares
        .iter()
        .find(|(share, _)| count * (1.0 - share) < BEYOND_MIN)?;
    Some(format!(
        "With {count} values, fewer than ten lie beyond {first}: read it and what is above as \
         single requests, not as percentiles."
    ))
}
