//! The table at the end of a run, for a person who is tired.

use std::fmt::Write as _;

use super::reading::reading;
use crate::chart::nanoseconds;
use crate::outcome::{Basis, Distribution, Loop, Metric, Outcome};

/// Width of the names of rows.
const NAME: usize = 21;
/// Width of the names of series.
const SERIES: usize = 9;
/// Width of sentences.
const COLUMNS: usize = 100;

/// The whole text, with its last line break.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    // writing into a String does not fail
    let _ = head(outcome, &mut text);
    let _ = counts(outcome, &mut text);
    let _ = times(outcome, &mut text);
    for sentence in reading(outcome) {
        text.push('\n');
        text.push_str(&wrapped(&sentence, COLUMNS));
    }
    if !outcome.assertions.is_empty() {
        text.push('\n');
    }
    for checked in &outcome.assertions {
        let verdict = if checked.holds { "holds" } else { "FAILS" };
        let _ = writeln!(
            text,
            "{verdict}  {}  (measured: {})",
            checked.assertion, checked.shown
        );
    }
    text
}

/// What was asked, in a line each: name and value. The report has the same.
pub fn conditions(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let asked = &outcome.asked;
    let kind = match asked.kind {
        Loop::Open => "open loop: the clock decides when a request starts",
        Loop::Closed => "closed loop: the last answer decides when the next request starts",
    };
    let streams = if asked.stream { ", streams" } else { "" };
    let secure = if asked.tls { " over TLS" } else { "" };
    let kept = if asked.keep_alive {
        "kept alive"
    } else {
        "new for each request"
    };
    let mut rows = vec![
        ("target", asked.target.clone()),
        (
            "asked",
            format!("{}{streams}, model {}", asked.api, asked.model),
        ),
        (
            "arrivals",
            format!("{} for {} s", asked.arrivals, asked.duration_s),
        ),
        ("loop", kind.into()),
        (
            "connections",
            format!(
                "{} at most, {}{secure}, {kept}",
                asked.connections, asked.http
            ),
        ),
        ("workload", asked.workload.clone()),
        ("timeout", format!("{} s", asked.timeout_s)),
        ("seed", asked.seed.to_string()),
        ("machine", outcome.machine.describe()),
        (
            "began",
            format!("{}, took {:.2} s", outcome.began, outcome.elapsed_s),
        ),
    ];
    rows.extend(asked.notes.iter().map(|note| ("note", note.clone())));
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

/// Counts in a line each: name and value. The report has the same.
pub fn figures(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let (counts, rates) = (&outcome.counts, &outcome.rates);
    let mut rows = vec![
        (
            "requests",
            format!(
                "{} intended, {} started, {} answered well ({:.1}/s)",
                counts.intended, counts.started, counts.completed, rates.completed_per_s
            ),
        ),
        ("errors", errors(outcome)),
    ];
    if counts.tokens > 0 {
        let line = format!(
            "{} ({:.1}/s); {} streams truncated, {} answers altered, {} masked spans",
            counts.tokens,
            rates.tokens_per_s,
            counts.truncated,
            counts.altered,
            counts.masked_spans
        );
        rows.push(("tokens", line));
    }
    if counts.left_on_purpose > 0 {
        rows.push(("left on purpose", counts.left_on_purpose.to_string()));
    }
    if counts.planted > 0 {
        let line = format!(
            "{} planted, {} came back unmasked",
            counts.planted, counts.leaked
        );
        rows.push(("secrets", line));
    }
    if counts.retried > 0 {
        let line = format!("{} on connections that had died at rest", counts.retried);
        rows.push(("sent again", line));
    }
    if let Some(good) = &outcome.goodput {
        let objectives: Vec<_> = good.objectives.iter().map(ToString::to_string).collect();
        let line = format!(
            "{:.2} % of requests ({:.1}/s) met {}",
            good.share * 100.0,
            good.per_s,
            objectives.join(" and ")
        );
        rows.push(("goodput", line));
    }
    if let Some(lag) = &outcome.lag.times {
        let late = if outcome.lag.verdict.late {
            "LATE"
        } else {
            "in time"
        };
        let (p99, max) = (
            nanoseconds(lag.p99_ns as f64),
            nanoseconds(lag.max_ns as f64),
        );
        let busy = outcome.lag.busy_share * 100.0;
        rows.push((
            "generator",
            format!("{late}: lag p99 {p99}, at most {max}; busy {busy:.0} % of the time"),
        ));
    }
    rows
}

fn errors(outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    let mut line = format!("{} ({:.3} %)", outcome.errors(), counts.error_rate * 100.0);
    let classes = counts.errors.iter();
    for (index, (class, count)) in classes.filter(|(_, count)| **count > 0).enumerate() {
        let _ = write!(
            line,
            "{} {class} {count}",
            if index == 0 { ":" } else { "," }
        );
    }
    line
}

/// Rows of the table of times: name, series, distribution.
pub fn rows(outcome: &Outcome) -> Vec<(Metric, Basis, &Distribution)> {
    let metrics = outcome.metrics.iter();
    let all = metrics.flat_map(|(metric, measured)| {
        measured
            .each()
            .map(|(basis, found)| (*metric, basis, found))
    });
    all.filter(|(.., found)| found.count > 0).collect()
}

fn head(outcome: &Outcome, text: &mut String) -> std::fmt::Result {
    let shown = ["target", "asked", "arrivals", "loop", "connections", "note"];
    for (name, value) in conditions(outcome) {
        if shown.contains(&name) {
            writeln!(text, "{name:<16}{value}")?;
        }
    }
    Ok(())
}

fn counts(outcome: &Outcome, text: &mut String) -> std::fmt::Result {
    writeln!(text)?;
    for (name, value) in figures(outcome) {
        writeln!(text, "{name:<16}{value}")?;
    }
    Ok(())
}

fn times(outcome: &Outcome, text: &mut String) -> std::fmt::Result {
    let rows = rows(outcome);
    if rows.is_empty() {
        return Ok(());
    }
    let title = |name: &str| format!("{name:>10}");
    let columns = ["count", "mean", "p50", "p90", "p99", "p99.9", "max"];
    writeln!(
        text,
        "\n{:<1$}{2}",
        "",
        NAME + SERIES,
        columns.map(title).concat()
    )?;
    let mut before = None;
    for (metric, basis, found) in rows {
        let both = metric.has_intended() && outcome.asked.kind == Loop::Open;
        let title = if before == Some(metric) {
            ""
        } else {
            metric.title()
        };
        let series = if both { basis.name() } else { "" };
        before = Some(metric);
        let mut line = format!("{title:<NAME$}{series:<SERIES$}{:>10}", found.count);
        let cells = [
            found.mean_ns,
            found.p50_ns as f64,
            found.p90_ns as f64,
            found.p99_ns as f64,
            found.p999_ns as f64,
            found.max_ns as f64,
        ];
        for cell in cells {
            write!(line, "{:>10}", nanoseconds(cell))?;
        }
        writeln!(text, "{line}")?;
    }
    if outcome.asked.kind == Loop::Open {
        writeln!(
            text,
            "intended: from when a request should have started, which is what users feel; \
             sent: from when it was.",
        )?;
    }
    Ok(())
}

/// Breaks a text at blanks; each line ends with a line break.
pub(super) fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split(' ') {
        let long = word.chars().count();
        if width > 0 && width + 1 + long > columns {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += long;
    }
    lines.push('\n');
    lines
}
