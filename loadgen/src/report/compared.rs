//! A comparison as a table for people, and as a page.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::compare::{Comparison, Row, RowUnit, Verdict};
use super::html::{document, figures_of};
use super::pictures::{Picture, curve};
use super::reading::leading;
use super::table::wrapped;
use crate::chart::{Axis, Chart, ChartError, Color, Series, Unit, nanoseconds};
use crate::outcome::{Metric, Outcome};

/// Width of sentences.
const COLUMNS: usize = 100;

/// The comparison as text, with its last line break.
pub fn table(comparison: &Comparison) -> String {
    let [a, b] = &comparison.runs;
    let mut text = format!("A  {a}\nB  {b}\n");
    for warning in &comparison.warnings {
        text.push_str(&wrapped(&format!("Note: {warning}."), COLUMNS));
    }
    let width = comparison
        .rows
        .iter()
        .map(|row| row.figure.len())
        .max()
        .unwrap_or(0)
        + 2;
    let interval = confidence(comparison);
    // writing into a String does not fail
    let _ = writeln!(
        text,
        "\n{:<width$}{:>12}{:>12}{:>10}   {interval:<20}",
        "", "A", "B", "change"
    );
    let told = |row: &&Row| row.verdict != Verdict::TooLittleData;
    for row in comparison.rows.iter().filter(told) {
        let _ = writeln!(
            text,
            "{:<width$}{:>12}{:>12}{:>10}   {:<20}{}",
            row.figure,
            row.shown(row.a),
            row.shown(row.b),
            row.change(row.change),
            row.interval(),
            row.verdict.words()
        );
    }
    let silent = comparison.rows.iter().filter(|row| !told(row));
    let silent: Vec<_> = silent.map(|row| row.figure.as_str()).collect();
    if !silent.is_empty() {
        let line = format!(
            "\nToo little data to say anything of {}.",
            silent.join(", ")
        );
        text.push_str(&wrapped(&line, COLUMNS));
    }
    text.push('\n');
    text.push_str(&wrapped(&explained(comparison), COLUMNS));
    text
}

fn confidence(comparison: &Comparison) -> String {
    format!("{} % interval", comparison.confidence * 100.0)
}

fn explained(comparison: &Comparison) -> String {
    format!(
        "\"Worse\" and \"better\" are said where the whole interval lies more than {} % away from \
         no change; \"no difference shown\" does not mean that there is none. {}.",
        comparison.margin * 100.0,
        comparison.method
    )
}

/// The comparison as one page that fetches nothing, with both runs' curves.
pub fn page(comparison: &Comparison, a: &Outcome, b: &Outcome) -> Result<String, ChartError> {
    let first = leading(a);
    let mut pictures = Vec::new();
    let metrics = [first, Metric::EndToEnd];
    for (at, metric) in metrics.iter().enumerate() {
        if at > 0 && *metric == first {
            continue;
        }
        match Picture::of(&curves(comparison, *metric, a, b)) {
            Ok(picture) => pictures.push(picture),
            Err(ChartError::Empty(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let title = format!("{} against {}", comparison.runs[1], comparison.runs[0]);
    Ok(document(&title, &body(&title, comparison, &pictures)).into_string())
}

fn curves(comparison: &Comparison, metric: Metric, a: &Outcome, b: &Outcome) -> Chart {
    let mut chart = Chart::new(format!("By percentile: {}", metric.title()))
        .subtitle("from the intended start where there is one; lower is better")
        .x(Axis::percentile("percentile"))
        .y(Axis::log("", Unit::Nanoseconds));
    let runs = [(a, Color::Orange, "A"), (b, Color::Blue, "B")];
    for ((outcome, color, letter), name) in runs.into_iter().zip(&comparison.runs) {
        if let Some(found) = outcome.distribution(metric, None) {
            let series = Series::line(format!("{letter}: {name}"), curve(&found.histogram));
            chart = chart.series(series.color(color));
        }
    }
    chart
}

fn body(title: &str, comparison: &Comparison, pictures: &[Picture]) -> Markup {
    let [a, b] = &comparison.runs;
    html! {
        header { h1 { (title) } p { "A is " (a) ", B is " (b) "." } }
        @if !comparison.warnings.is_empty() {
            div.card.verdict.bad {
                @for warning in &comparison.warnings { p { (warning) } }
            }
        }
        @if !pictures.is_empty() {
            h2 { "Pictures" }
            (figures_of(pictures))
        }
        h2 { "Figures" }
        div.scroll {
            table {
                thead {
                    tr {
                        th { "figure" } th { "A" } th { "B" } th { "change" }
                        th { (confidence(comparison)) } th.text { "verdict" }
                    }
                }
                tbody {
                    @for row in &comparison.rows {
                        tr {
                            th { (row.figure) }
                            td { (row.shown(row.a)) }
                            td { (row.shown(row.b)) }
                            td { (row.change(row.change)) }
                            td { (row.interval()) }
                            td.text {
                                span.good[row.verdict == Verdict::Better]
                                    .fails[row.verdict == Verdict::Worse] { (row.verdict.words()) }
                            }
                        }
                    }
                }
            }
        }
        h2 { "How to read it" }
        div.card { p { (explained(comparison)) } }
    }
}

// === impl Row ===

impl Row {
    fn shown(&self, value: f64) -> String {
        match self.unit {
            RowUnit::Nanoseconds => nanoseconds(value),
            RowUnit::PerSecond => format!("{value:.1}/s"),
            RowUnit::Share => format!("{:.3} %", value * 100.0),
        }
    }

    fn change(&self, value: f64) -> String {
        match self.unit {
            RowUnit::Share => format!("{:+.3} %", value * 100.0),
            RowUnit::Nanoseconds | RowUnit::PerSecond => format!("× {value:.3}"),
        }
    }

    fn interval(&self) -> String {
        self.interval.map_or_else(
            || "–".into(),
            |(low, high)| match self.unit {
                RowUnit::Share => format!("{:+.3} to {:+.3} %", low * 100.0, high * 100.0),
                RowUnit::Nanoseconds | RowUnit::PerSecond => format!("{low:.3} to {high:.3}"),
            },
        )
    }
}
