//! `penstock-perf overload`: arguments, the tables, and the dated files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Course, Options, Point, overload, picture};
use crate::compare::command::{available, parse_window};
use crate::error::{Doing, Error, Result};
use crate::figures::{self, FigureLine, print_json};
use crate::machine::{self, Machine, Moment};
use crate::report::render;
use crate::scenario::{Method, Scenario};
use crate::subject::Subject;

/// The most clients: a subject has a connection to each and one behind it, and 20 000 files are
/// what a system commonly allows.
const CLIENTS_MAX: u64 = 9_000;

/// The highest load that makes sense.
const LOAD_MAX: f64 = 10.0;

/// What to offer, and to whom.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The kind of traffic, of those whose connections are kept.
    #[arg(long, default_value = "small")]
    scenario: Scenario,
    /// Who is offered it; what is missing is installed.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "floor,nginx,penstock-off,penstock-on"
    )]
    subjects: Vec<Subject>,
    /// Multiples of what a subject can do.
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = parse_load,
        default_value = "0.1,0.25,0.5,0.75,0.9,1,1.1,1.25,1.5,2,3"
    )]
    loads: Vec<f64>,
    /// The measured part of each point, such as 1s.
    #[arg(long, default_value = "1s", value_parser = parse_window)]
    duration: Duration,
    /// An answer within this time of its intended start is a good one.
    #[arg(long, default_value = "100ms", value_parser = parse_window)]
    objective: Duration,
    /// A client waits this long for its answer.
    #[arg(long, default_value = "1s", value_parser = parse_window)]
    patience: Duration,
    /// The most clients at a time, each with a connection.
    #[arg(long, default_value_t = 8000, value_parser = clap::value_parser!(u64).range(1..=CLIENTS_MAX))]
    clients: u64,
    /// Print one JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// Also write everything to dated files in this folder: JSON with the machine's description,
    /// CSV, and two pictures.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

/// A written result.
#[derive(Debug, Serialize)]
struct Record<'a> {
    date: &'a str,
    command: String,
    commit: Option<String>,
    machine: &'a Machine,
    profile: &'a str,
    objective_ms: u128,
    patience_ms: u128,
    clients: u64,
    courses: &'a [Course],
}

/// Measures and prints; true when every subject went through every load.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut say = |text: &str| eprintln!("{text}");
    let date = Moment::now().iso();
    let machine = Machine::this();
    say(&format!("{date}, {}", machine.describe()));
    if cfg!(debug_assertions) {
        say("this is a debug build: its figures mean nothing");
    }
    let scenario = arguments.scenario;
    if scenario.wire.is_new() || scenario.pace.is_some() || scenario.method != Method::Cost {
        return Err(Error::Unable(format!(
            "{scenario} cannot be offered at a rate"
        )));
    }
    let (subjects, missing) = available(&arguments.subjects, &mut say);
    let options = Options {
        scenario,
        subjects,
        loads: arguments.loads.clone(),
        window: arguments.duration,
        objective: arguments.objective,
        patience: arguments.patience,
        clients: arguments.clients as usize,
    };
    let courses = overload(&options, &mut say)?;
    match arguments.json {
        true => print_json(&lines(&courses))?,
        false => println!("\n{}", tables(&courses, &options)),
    }
    if let Some(folder) = &arguments.write {
        let record = Record {
            date: &date,
            command: figures::command_line(),
            commit: machine::commit(),
            machine: &machine,
            profile: figures::profile(),
            objective_ms: options.objective.as_millis(),
            patience_ms: options.patience.as_millis(),
            clients: arguments.clients,
            courses: &courses,
        };
        let pictures = picture::draw(&courses, &options)?;
        for path in write(folder, &record, pictures)? {
            say(&format!("written to {}", path.display()));
        }
    }
    Ok(missing == 0 && courses.iter().all(|course| course.failure.is_none()))
}

fn write(
    folder: &Path,
    record: &Record<'_>,
    pictures: Vec<(&str, String)>,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).doing(|| format!("creating {}", folder.display()))?;
    let name = format!("overload-{}", record.date.replace(':', "-"));
    let json = serde_json::to_string_pretty(record)
        .map_err(|error| Error::Unable(format!("writing JSON: {error}")))?;
    let mut files = vec![
        (".json".to_owned(), json + "\n"),
        (".csv".to_owned(), csv(record.courses)),
    ];
    files.extend(
        pictures
            .into_iter()
            .map(|(of, svg)| (format!("-{of}.svg"), svg)),
    );
    let write = |(end, text): (String, String)| {
        let path = folder.join(format!("{name}{end}"));
        fs::write(&path, text).doing(|| format!("writing {}", path.display()))?;
        Ok(path)
    };
    files.into_iter().map(write).collect()
}

/// Every figure of every point, named as `compare` names its own.
fn lines(courses: &[Course]) -> Vec<FigureLine> {
    let mut lines = Vec::new();
    for course in courses {
        let name = course.subject.name();
        for point in &course.points {
            let scenario = format!("overload-{:.2}", point.load);
            let all = figures_of(point)
                .into_iter()
                .filter_map(|(figure, unit, value)| {
                    FigureLine::of(scenario.clone(), name, figure, unit, vec![value?])
                });
            lines.extend(all);
        }
    }
    lines
}

fn csv(courses: &[Course]) -> String {
    let mut text = "subject,load,figure,unit,value\n".to_owned();
    for course in courses {
        for point in &course.points {
            for (figure, unit, value) in figures_of(point) {
                if let Some(value) = value {
                    let (subject, load) = (course.subject, point.load);
                    text += &format!("{subject},{load},{figure},{unit},{value:.4}\n");
                }
            }
        }
    }
    text
}

fn figures_of(point: &Point) -> [(&'static str, &'static str, Option<f64>); 13] {
    [
        (
            "offered_per_second",
            "requests/s",
            Some(point.offered_per_second),
        ),
        ("good_per_second", "requests/s", Some(point.good_per_second)),
        (
            "answered_share",
            "share of requests",
            Some(point.answered_share),
        ),
        (
            "refused_share",
            "share of requests",
            Some(point.refused_share),
        ),
        (
            "failed_share",
            "share of requests",
            Some(point.failed_share),
        ),
        (
            "given_up_share",
            "share of requests",
            Some(point.given_up_share),
        ),
        ("latency_p50_ms", "ms", point.latency_p50_ms),
        ("latency_p99_ms", "ms", point.latency_p99_ms),
        ("refusal_p50_ms", "ms", point.refusal_p50_ms),
        ("refusal_p99_ms", "ms", point.refusal_p99_ms),
        ("generator_lag_p99_ms", "ms", Some(point.lag_p99_ms)),
        ("busy_share", "share of a core", Some(point.busy_share)),
        (
            "load_busy_share",
            "share of the other cores",
            Some(point.load_busy_share),
        ),
    ]
}

fn tables(courses: &[Course], options: &Options) -> String {
    let mut text = format!(
        "Good: answered within {} ms of the intended start. Clients wait {} ms, and are {} at most.\n",
        options.objective.as_millis(),
        options.patience.as_millis(),
        options.clients
    );
    for course in courses {
        text.push('\n');
        render(&rows(course), &mut text);
        if let Some((best, last)) = course.best_and_last().filter(|(best, _)| *best > 0.0) {
            let percent = 100.0 * last.good_per_second / best;
            let (subject, load) = (course.subject, last.load);
            text += &format!(
                "\n{subject}: goodput at {load} x, the highest load that was offered in time, is \
                 {percent:.0} % of its best.\n"
            );
        }
    }
    text
}

fn rows(course: &Course) -> Vec<Vec<String>> {
    let titles = [
        "offered/s",
        "good/s",
        "answered",
        "refused",
        "failed",
        "given up",
        "p50 ms",
        "p99 ms",
        "refused p50 ms",
        "refused p99 ms",
        "clients",
        "busy",
        "load busy",
        "load side",
    ];
    let mut header = vec![format!(
        "{} ({:.0}/s)",
        course.subject, course.capacity_per_second
    )];
    header.extend(titles.iter().map(|title| (*title).to_owned()));
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let ms = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
    let row = |point: &Point| {
        vec![
            format!("{:.2} x", point.load),
            format!("{:.0}", point.offered_per_second),
            format!("{:.0}", point.good_per_second),
            percent(point.answered_share),
            percent(point.refused_share),
            percent(point.failed_share),
            percent(point.given_up_share),
            ms(point.latency_p50_ms),
            ms(point.latency_p99_ms),
            ms(point.refusal_p50_ms),
            ms(point.refusal_p99_ms),
            point.connections.to_string(),
            percent(point.busy_share),
            percent(point.load_busy_share),
            point.generator().to_owned(),
        ]
    };
    std::iter::once(header)
        .chain(course.points.iter().map(row))
        .collect()
}

fn parse_load(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(load) if load > 0.0 && load <= LOAD_MAX => Ok(load),
        _ => Err(format!(
            "`{text}` is not a number up to {LOAD_MAX}, such as 1.5"
        )),
    }
}
