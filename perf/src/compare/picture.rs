//! Pictures of a comparison: a bar for each subject, whiskers from the least to the greatest round.

use penstock_loadgen::chart::{Axis, Chart, Series, Unit};

use crate::error::{Error, Result};
use crate::report::{Cell, Comparison, Figure, REFERENCE};
use crate::scenario::{Method, Scenario};

/// Width for each subject, and beside all of them, in CSS pixels.
const WIDTHS: [u32; 2] = [84, 160];

/// Height of a picture.
const HEIGHT: u32 = 360;

/// One picture for each scenario that has figures: a name for the file, and the SVG. `conditions`
/// stands under the title.
pub fn draw(comparison: &Comparison, conditions: &str) -> Result<Vec<(String, String)>> {
    let mut pictures = Vec::new();
    for cells in comparison.cells.chunk_by(|a, b| a.scenario == b.scenario) {
        let scenario = &cells[0].scenario; // a chunk has at least one
        for (name, figure, title) in shown(scenario) {
            if let Some(svg) = bars(cells, figure, &title, conditions)? {
                pictures.push((name, svg));
            }
        }
    }
    Ok(pictures)
}

/// What of a scenario is worth a picture.
fn shown(scenario: &Scenario) -> Vec<(String, Figure, String)> {
    let name = |end: &str| format!("{scenario}{end}");
    match scenario.method {
        Method::Cost => {
            let title = format!(
                "{scenario}: CPU time a {}, in microseconds",
                scenario.unit()
            );
            vec![(name(""), Figure::CpuUsPerUnit, title)]
        }
        Method::HalfLoad => [
            (Figure::AddedLatencyP50Us, "-p50", "median"),
            (Figure::AddedLatencyP99Us, "-p99", "99th percentile"),
        ]
        .map(|(figure, end, what)| {
            let title = format!("{scenario}: latency added, {what}, in microseconds");
            (name(end), figure, title)
        })
        .into(),
        Method::Memory => [
            (
                Figure::BytesPerIdleConnection,
                "-idle",
                "connection at rest",
            ),
            (Figure::BytesPerStream, "-stream", "stream under way"),
        ]
        .map(|(figure, end, what)| {
            let title = format!("{scenario}: bytes a {what}");
            (name(end), figure, title)
        })
        .into(),
    }
}

fn bars(cells: &[Cell], figure: Figure, title: &str, conditions: &str) -> Result<Option<String>> {
    let measured: Vec<_> = cells
        .iter()
        .filter_map(|cell| Some((cell.subject, cell.spread(figure)?)))
        .collect();
    if measured.is_empty() {
        return Ok(None);
    }
    let names = measured.iter().map(|(subject, _)| subject.name());
    let [each, beside] = WIDTHS;
    let points = measured.iter().enumerate();
    let points = points.map(|(at, (_, spread))| (at as f64, spread.median));
    let spread = measured.iter().map(|(_, spread)| (spread.min, spread.max));
    let mut chart = Chart::new(title)
        .subtitle(conditions)
        .size(beside + each * measured.len().max(4) as u32, HEIGHT)
        .x(Axis::categories("", names))
        .y(Axis::linear("", Unit::Plain).from_zero())
        .series(Series::bars("median, least to greatest", points).spread(spread));
    if let Some((_, spread)) = measured.iter().find(|(subject, _)| *subject == REFERENCE) {
        chart = chart.mark_y(spread.median, REFERENCE.name());
    }
    let svg = chart.svg();
    svg.map(Some)
        .map_err(|error| Error::Unable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Sample;
    use crate::subject::Subject;

    #[test]
    fn each_subject_has_a_bar_and_the_reference_a_line() {
        let scenario: Scenario = "small".parse().expect("a scenario");
        let subjects = [Subject::Floor, Subject::Nginx, Subject::PenstockOn];
        let mut comparison = Comparison::new(&[scenario], &subjects);
        assert!(
            draw(&comparison, "nothing measured")
                .expect("no picture")
                .is_empty()
        );
        for (subject, cpu) in subjects.into_iter().zip([9.0, 17.0, 25.0]) {
            let mut sample = Sample::default();
            sample.set(Figure::CpuUsPerUnit, cpu);
            comparison.cell(&scenario, subject).samples.push(sample);
        }
        let pictures = draw(&comparison, "on a machine").expect("a picture");
        let [(name, svg)] = &pictures[..] else {
            panic!("{} pictures", pictures.len())
        };
        assert_eq!(name, "small");
        for text in [
            "floor",
            "nginx",
            "penstock-on",
            "on a machine",
            "CPU time a request",
        ] {
            assert!(svg.contains(text), "{text}");
        }
    }
}
