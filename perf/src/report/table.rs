//! The table of a scenario: a line for each subject, a column for each figure that somebody has.

use std::fmt::Write;

use super::{Cell, Comparison, Figure, REFERENCE};
use crate::scenario::Scenario;
use crate::subject::Subject;

/// How a column writes its figure.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// So many decimals.
    Decimals(usize),
    /// In MiB.
    Mebibytes,
    /// With a percent sign.
    Percent,
}

/// Columns behind those of the CPU time, left to right.
const COLUMNS: &[(&str, Figure, Shape)] = &[
    (
        "recorder us",
        Figure::RecorderCpuUsPerUnit,
        Shape::Decimals(2),
    ),
    ("offered/s", Figure::OfferedPerSecond, Shape::Decimals(0)),
    ("p50 us", Figure::LatencyP50Us, Shape::Decimals(0)),
    ("p99 us", Figure::LatencyP99Us, Shape::Decimals(0)),
    ("p99.9 us", Figure::LatencyP999Us, Shape::Decimals(0)),
    ("added p50", Figure::AddedLatencyP50Us, Shape::Decimals(0)),
    ("added p99", Figure::AddedLatencyP99Us, Shape::Decimals(0)),
    (
        "added p99.9",
        Figure::AddedLatencyP999Us,
        Shape::Decimals(0),
    ),
    ("late us p99", Figure::GeneratorLagP99Us, Shape::Decimals(0)),
    (
        "bytes/idle connection",
        Figure::BytesPerIdleConnection,
        Shape::Decimals(0),
    ),
    ("bytes/stream", Figure::BytesPerStream, Shape::Decimals(0)),
    ("RSS MiB", Figure::RssBytes, Shape::Mebibytes),
    ("late text %", Figure::LateTextPercent, Shape::Decimals(1)),
    ("resumed", Figure::ResumedPercent, Shape::Percent),
    ("busy", Figure::SubjectBusyPercent, Shape::Percent),
    ("load busy", Figure::LoadBusyPercent, Shape::Percent),
    ("others busy", Figure::OthersBusyPercent, Shape::Percent),
];

/// Figures of which the spread is shown beside the median: those that a target speaks of.
const SPREAD: &[Figure] = &[
    Figure::AddedLatencyP50Us,
    Figure::AddedLatencyP99Us,
    Figure::BytesPerIdleConnection,
    Figure::BytesPerStream,
];

// === impl Comparison ===

impl Comparison {
    /// One table for each scenario, in Markdown.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let same_scenario = |a: &Cell, b: &Cell| a.scenario == b.scenario;
        for cells in self.cells.chunk_by(same_scenario) {
            if !text.is_empty() {
                text.push('\n');
            }
            let scenario = &cells[0].scenario; // a chunk has at least one
            render(&rows(scenario, cells), &mut text);
        }
        text
    }
}

fn rows(scenario: &Scenario, cells: &[Cell]) -> Vec<Vec<String>> {
    let unit = scenario.unit();
    let has = |figure: Figure| cells.iter().any(|cell| cell.spread(figure).is_some());
    let costs = has(Figure::CpuUsPerUnit);
    let cost_of = |subject: Subject| {
        let cell = cells.iter().find(|cell| cell.subject == subject)?;
        Some(cell.spread(Figure::CpuUsPerUnit)?.median)
    };
    let against: Vec<(Subject, f64)> = [Subject::Floor, REFERENCE]
        .into_iter()
        .filter_map(|subject| Some((subject, cost_of(subject)?)))
        .collect();
    let columns: Vec<_> = COLUMNS
        .iter()
        .filter(|(_, figure, _)| has(*figure))
        .collect();

    let mut header = vec![scenario.to_string()];
    if costs {
        header.extend([format!("CPU us/{unit}"), "min to max".into()]);
        header.extend(against.iter().map(|(subject, _)| format!("x {subject}")));
        header.push(format!("{unit}s/core s"));
    }
    header.extend(columns.iter().map(|(title, _, _)| (*title).to_owned()));
    let mut rows = vec![header];
    for cell in cells {
        let mut row = vec![cell.subject.name().to_owned()];
        if cell.samples.is_empty() {
            row.push(cell.skipped.unwrap_or("not measured").to_owned());
            rows.push(row);
            continue;
        }
        if costs {
            row.extend(cost(cell, &against));
        }
        let values = columns
            .iter()
            .map(|(_, figure, shape)| shape.write(cell, *figure));
        row.extend(values);
        rows.push(row);
    }
    rows
}

/// The columns of the CPU time.
fn cost(cell: &Cell, against: &[(Subject, f64)]) -> Vec<String> {
    let Some(cpu) = cell.spread(Figure::CpuUsPerUnit) else {
        return vec!["-".into(); 3 + against.len()];
    };
    let per_core = cell.spread(Figure::UnitsPerCoreSecond);
    let mut columns = vec![
        format!("{:.2}", cpu.median),
        format!("{:.2} to {:.2}", cpu.min, cpu.max),
    ];
    columns.extend(
        against
            .iter()
            .map(|(_, of)| format!("{:.2}", cpu.median / of)),
    );
    columns.push(per_core.map_or("-".into(), |spread| format!("{:.0}", spread.median)));
    columns
}

/// Rows as a Markdown table: the first is its head, the first column goes left, all others right.
pub(crate) fn render(rows: &[Vec<String>], text: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &'_ [String], column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| cell(row, column).chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    for (index, row) in rows.iter().enumerate() {
        for (column, &width) in widths.iter().enumerate() {
            let value = cell(row, column);
            // Writing to a String cannot fail.
            let _ = match column {
                0 => write!(text, "| {value:<width$} |"),
                _ => write!(text, " {value:>width$} |"),
            };
        }
        text.push('\n');
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width);
                let _ = match column {
                    0 => write!(text, "| {dashes} |"),
                    _ => write!(text, " {}: |", &dashes[..width.saturating_sub(1)]),
                };
            }
            text.push('\n');
        }
    }
}

// === impl Shape ===

impl Shape {
    fn write(self, cell: &Cell, figure: Figure) -> String {
        let Some(spread) = cell.spread(figure) else {
            return "-".into();
        };
        match self {
            Shape::Decimals(decimals) if SPREAD.contains(&figure) => format!(
                "{:.*} ({:.*} to {:.*})",
                decimals, spread.median, decimals, spread.min, decimals, spread.max
            ),
            Shape::Decimals(decimals) => format!("{:.*}", decimals, spread.median),
            Shape::Mebibytes => format!("{:.1}", spread.median / f64::from(1 << 20)),
            Shape::Percent => format!("{:.0} %", spread.median),
        }
    }
}
