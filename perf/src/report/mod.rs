//! Statistics over rounds, and their forms: a table for people, one JSON object a line for programs,
//! comma-separated values for spreadsheets.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::scenario::{Scenario, Unit};
use crate::subject::Subject;

mod table;

pub(crate) use table::render;

/// Ratios in the table are to this subject, and its capacity is what half load is half of.
pub const REFERENCE: Subject = Subject::Nginx;

/// Other work on the machine beyond this share of one core is warned about.
const OTHERS_BUSY_PERCENT_MAX: f64 = 10.0;

/// Which figure is the difference of which.
const ADDED: [(Figure, Figure); 3] = [
    (Figure::AddedLatencyP50Us, Figure::LatencyP50Us),
    (Figure::AddedLatencyP99Us, Figure::LatencyP99Us),
    (Figure::AddedLatencyP999Us, Figure::LatencyP999Us),
];

/// One kind of number that a round yields. The first six names are a contract; the rest say under
/// which conditions those were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// CPU time of the subject's processes for one unit of work.
    CpuUsPerUnit,
    /// Units that one fully used core would do in a second, at that cost.
    UnitsPerCoreSecond,
    /// Median latency: of a whole answer, or of one event from upstream to client.
    #[serde(rename = "latency_p50_us")]
    LatencyP50Us,
    /// 99th percentile of the same.
    #[serde(rename = "latency_p99_us")]
    LatencyP99Us,
    /// 99.9th percentile of the same.
    #[serde(rename = "latency_p999_us")]
    LatencyP999Us,
    /// Resident memory of the subject's processes at the window's end.
    RssBytes,
    /// CPU time of the recorder for one unit of work, where there is one.
    RecorderCpuUsPerUnit,
    /// Units done in a second of wall time.
    UnitsPerSecond,
    /// Events with which not all text came that the upstream had sent by then.
    LateTextPercent,
    /// TLS handshakes that continued an earlier session.
    ResumedPercent,
    /// Requests a second that were offered.
    OfferedPerSecond,
    /// 99th percentile of how late the generator itself was with a request.
    #[serde(rename = "generator_lag_p99_us")]
    GeneratorLagP99Us,
    /// Median latency less that of `direct` in the same round.
    #[serde(rename = "added_latency_p50_us")]
    AddedLatencyP50Us,
    /// The same of the 99th percentile.
    #[serde(rename = "added_latency_p99_us")]
    AddedLatencyP99Us,
    /// The same of the 99.9th percentile.
    #[serde(rename = "added_latency_p999_us")]
    AddedLatencyP999Us,
    /// Memory that one more connection takes which rests.
    BytesPerIdleConnection,
    /// Memory that one more stream under way takes, beyond its client's connection.
    BytesPerStream,
    /// How much of one core the subject used; well under 100 means that it also slept and woke.
    SubjectBusyPercent,
    /// The same of driver and upstream together.
    LoadBusyPercent,
    /// The same of all that has no part in the measurement; more than a little spoils it.
    OthersBusyPercent,
}

/// The figures of one round of one subject.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    figures: BTreeMap<Figure, f64>,
}

/// All rounds of one subject in one scenario.
#[derive(Debug)]
pub struct Cell {
    /// The kind of traffic.
    pub scenario: Scenario,
    /// Who carried it.
    pub subject: Subject,
    /// One for each round.
    pub samples: Vec<Sample>,
    /// Why there are none.
    pub failure: Option<String>,
    /// Why it was not tried: this subject does not do that.
    pub skipped: Option<&'static str>,
}

/// Everything that one run measured.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Scenario by scenario, subjects in the order asked for.
    pub cells: Vec<Cell>,
}

/// One figure over all rounds: a line of `--json`.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub struct Line {
    scenario: &'static str,
    subject: &'static str,
    figure: Figure,
    unit: &'static str,
    median: f64,
    min: f64,
    max: f64,
    rounds: usize,
}

/// Median and extremes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub rounds: usize,
}

// === impl Figure ===

impl Figure {
    /// As `--json` names it.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            // A variant without fields is written as a string.
            _ => String::new(),
        }
    }

    /// What the figure is counted in.
    pub fn unit(self, scenario: &Scenario) -> &'static str {
        match (self, scenario.unit == Unit::Event) {
            (Figure::CpuUsPerUnit | Figure::RecorderCpuUsPerUnit, false) => "us/request",
            (Figure::CpuUsPerUnit | Figure::RecorderCpuUsPerUnit, true) => "us/event",
            (Figure::UnitsPerCoreSecond | Figure::UnitsPerSecond, false) => "requests/s",
            (Figure::UnitsPerCoreSecond | Figure::UnitsPerSecond, true) => "events/s",
            (Figure::LatencyP50Us | Figure::LatencyP99Us | Figure::LatencyP999Us, _) => "us",
            (Figure::AddedLatencyP50Us | Figure::AddedLatencyP99Us, _) => "us",
            (Figure::AddedLatencyP999Us | Figure::GeneratorLagP99Us, _) => "us",
            (Figure::RssBytes, _) => "bytes",
            (Figure::BytesPerIdleConnection, _) => "bytes/connection",
            (Figure::BytesPerStream, _) => "bytes/stream",
            (Figure::ResumedPercent, _) => "percent of handshakes",
            (Figure::OfferedPerSecond, _) => "requests/s",
            (Figure::LateTextPercent, _) => "percent of events",
            (Figure::SubjectBusyPercent | Figure::LoadBusyPercent, _) => "percent of a core",
            (Figure::OthersBusyPercent, _) => "percent of a core",
        }
    }
}

// === impl Sample ===

impl Sample {
    /// Stores a figure.
    pub fn set(&mut self, figure: Figure, value: f64) {
        self.figures.insert(figure, value);
    }

    /// Reads one.
    pub fn of(&self, figure: Figure) -> Option<f64> {
        self.figures.get(&figure).copied()
    }
}

// === impl Spread ===

impl Spread {
    /// Of any values; none of no values.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        // More digits than these would only pretend.
        values
            .iter_mut()
            .for_each(|value| *value = (*value * 1e3).round() / 1e3);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => (values[middle - 1] + values[middle]) / 2.0,
            _ => values[middle],
        };
        Some(Spread {
            median,
            min,
            max,
            rounds: values.len(),
        })
    }
}

// === impl Cell ===

impl Cell {
    /// One figure over this cell's rounds.
    pub fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(
            self.samples
                .iter()
                .filter_map(|sample| sample.of(figure))
                .collect(),
        )
    }

    fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let figures = self
            .samples
            .first()
            .into_iter()
            .flat_map(|first| first.figures.keys());
        figures.filter_map(|&figure| {
            let Spread {
                median,
                min,
                max,
                rounds,
            } = self.spread(figure)?;
            let (scenario, subject) = (self.scenario.name, self.subject.name());
            let unit = figure.unit(&self.scenario);
            Some(Line {
                scenario,
                subject,
                figure,
                unit,
                median,
                min,
                max,
                rounds,
            })
        })
    }
}

// === impl Comparison ===

impl Comparison {
    /// A cell for each pair, still empty.
    pub fn new(scenarios: &[Scenario], subjects: &[Subject]) -> Comparison {
        let cells = scenarios.iter().flat_map(|&scenario| {
            subjects.iter().map(move |&subject| Cell {
                scenario,
                subject,
                samples: Vec::new(),
                failure: None,
                skipped: None,
            })
        });
        Comparison {
            cells: cells.collect(),
        }
    }

    /// The cell of a pair that [`Comparison::new`] was given.
    ///
    /// # Panics
    /// When it was not given that pair.
    pub fn cell(&mut self, scenario: &Scenario, subject: Subject) -> &mut Cell {
        let cell = self
            .cells
            .iter_mut()
            .find(|cell| cell.scenario == *scenario && cell.subject == subject);
        match cell {
            Some(cell) => cell,
            None => panic!("{subject} is not measured under {scenario}"),
        }
    }

    /// True when everything that was asked for was measured.
    pub fn complete(&self) -> bool {
        self.cells.iter().all(|cell| {
            cell.skipped.is_some() || (cell.failure.is_none() && !cell.samples.is_empty())
        })
    }

    /// Says so when the machine was too busy with other things for these figures to be believed.
    pub fn warning(&self) -> Option<String> {
        let spreads = self
            .cells
            .iter()
            .filter_map(|cell| cell.spread(Figure::OthersBusyPercent));
        let most = spreads.map(|spread| spread.median).fold(0.0, f64::max);
        (most > OTHERS_BUSY_PERCENT_MAX).then(|| {
            format!(
                "other work kept up to {most:.0} % of a core busy: do not publish these figures"
            )
        })
    }

    /// Every figure, in order.
    pub fn lines(&self) -> Vec<Line> {
        self.cells.iter().flat_map(Cell::lines).collect()
    }

    /// What a subject adds to the latency of `direct`, round by round, where that tells something.
    pub fn add_latencies(&mut self, scenario: &Scenario) {
        if !scenario.latency_tells() {
            return;
        }
        let direct = |cell: &&Cell| cell.scenario == *scenario && cell.subject == Subject::Direct;
        let Some(direct) = self
            .cells
            .iter()
            .find(direct)
            .map(|cell| cell.samples.clone())
        else {
            return;
        };
        let others = self
            .cells
            .iter_mut()
            .filter(|cell| cell.scenario == *scenario && cell.subject != Subject::Direct);
        for (sample, direct) in others.flat_map(|cell| cell.samples.iter_mut().zip(&direct)) {
            for (added, latency) in ADDED {
                if let (Some(with), Some(without)) = (sample.of(latency), direct.of(latency)) {
                    sample.set(added, with - without);
                }
            }
        }
    }

    /// Every figure as comma-separated values, with a line that names the columns.
    pub fn csv(&self) -> String {
        let mut text = "scenario,subject,figure,unit,median,min,max,rounds\n".to_owned();
        for line in self.lines() {
            let figure = line.figure.name();
            let Line {
                scenario,
                subject,
                unit,
                median,
                min,
                max,
                rounds,
                ..
            } = line;
            text +=
                &format!("{scenario},{subject},{figure},{unit},{median},{min},{max},{rounds}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    fn comparison() -> Comparison {
        let subjects = [Subject::Direct, Subject::Nginx, Subject::Haproxy];
        let mut comparison = Comparison::new(&SCENARIOS[..1], &subjects);
        for (subject, cpu) in [(Subject::Direct, 4.0), (Subject::Nginx, 8.0)] {
            for drift in [0.5, 0.0, 0.1] {
                let mut sample = Sample::default();
                sample.set(Figure::CpuUsPerUnit, cpu + drift);
                sample.set(Figure::RssBytes, f64::from(3 << 20));
                comparison.cell(&SCENARIOS[0], subject).samples.push(sample);
            }
        }
        comparison.cell(&SCENARIOS[0], Subject::Haproxy).failure = Some("gone".into());
        comparison
    }

    #[test]
    fn medians_of_odd_even_and_no_values() {
        let of = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(of(&[]), None);
        let odd = Spread {
            median: 2.0,
            min: 1.0,
            max: 9.0,
            rounds: 3,
        };
        assert_eq!(of(&[9.0, 1.0, 2.0]), Some(odd));
        let even = Spread {
            median: 2.5,
            min: 1.0,
            max: 9.0,
            rounds: 4,
        };
        assert_eq!(of(&[9.0, 1.0, 2.0, 3.0]), Some(even));
    }

    #[test]
    fn lines_are_objects_with_the_agreed_keys() {
        let lines = comparison().lines();
        let first = serde_json::to_string(&lines[0]).expect("JSON");
        let keys = r#"{"scenario":"small","subject":"direct","figure":"cpu_us_per_unit","#;
        let values = r#""unit":"us/request","median":4.1,"min":4.0,"max":4.5,"rounds":3}"#;
        assert_eq!(first, [keys, values].concat());
        let name = |figure: Figure| serde_json::to_value(figure).expect("JSON");
        assert_eq!(name(Figure::LatencyP999Us), "latency_p999_us");
        assert_eq!(name(Figure::UnitsPerCoreSecond), "units_per_core_second");
        assert_eq!(name(Figure::RssBytes), "rss_bytes");
        assert_eq!(lines.len(), 4);
        let csv = comparison().csv();
        assert!(
            csv.contains("\nsmall,direct,cpu_us_per_unit,us/request,4.1,4,4.5,3\n"),
            "{csv}"
        );
    }

    #[test]
    fn a_busy_machine_is_warned_about() {
        let mut comparison = comparison();
        assert_eq!(comparison.warning(), None);
        let samples = &mut comparison.cell(&SCENARIOS[0], Subject::Nginx).samples;
        for sample in samples {
            sample.set(Figure::OthersBusyPercent, 55.0);
        }
        assert!(comparison.warning().expect("busy").contains("55 %"));
    }

    #[test]
    fn added_latency_is_over_direct_of_the_same_round_and_only_where_it_tells() {
        let added = |name: &str| {
            let scenario: Scenario = name.parse().expect("a scenario");
            let subjects = [Subject::Direct, Subject::Nginx];
            let mut comparison = Comparison::new(&[scenario], &subjects);
            for (subject, latencies) in [
                (Subject::Direct, [10.0, 30.0]),
                (Subject::Nginx, [25.0, 46.0]),
            ] {
                for latency in latencies {
                    let mut sample = Sample::default();
                    sample.set(Figure::LatencyP50Us, latency);
                    comparison.cell(&scenario, subject).samples.push(sample);
                }
            }
            comparison.add_latencies(&scenario);
            let spread = comparison
                .cell(&scenario, Subject::Nginx)
                .spread(Figure::AddedLatencyP50Us);
            spread.map(|spread| (spread.min, spread.max))
        };
        assert_eq!(added("half-load"), Some((15.0, 16.0)));
        assert_eq!(added("stream100"), Some((15.0, 16.0)));
        assert_eq!(added("small"), None);
    }

    #[test]
    fn what_a_subject_does_not_do_is_no_failure() {
        let mut comparison = comparison();
        comparison.cell(&SCENARIOS[0], Subject::Haproxy).failure = None;
        assert!(!comparison.complete());
        comparison.cell(&SCENARIOS[0], Subject::Haproxy).skipped = Some("no such thing");
        assert!(comparison.complete());
        assert!(comparison.table().contains("no such thing"));
    }

    #[test]
    fn the_table_relates_to_nginx_and_shows_what_failed() {
        let comparison = comparison();
        assert!(!comparison.complete());
        let table = comparison.table();
        let row = |name: &str| {
            let line = table
                .lines()
                .find(|line| line.starts_with(&format!("| {name} ")));
            let cells = line.expect("a row").split('|').map(str::trim);
            cells.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("direct")[2..5], ["4.10", "4.00 to 4.50", "0.51"]);
        assert_eq!(row("nginx")[4], "1.00");
        assert_eq!(row("haproxy")[2], "not measured");
        let widths: Vec<_> = table.lines().map(|line| line.chars().count()).collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
    }
}
