//! `penstock-perf compare`: arguments, progress, tables, and the dated files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Options, compare, picture};
use crate::error::{Doing, Error, Result};
use crate::figures;
use crate::machine::{self, Machine, Moment};
use crate::report::{Comparison, Line};
use crate::scenario::Scenario;
use crate::subject::{Subject, install};

/// Shortest and longest measured window.
const WINDOW_MIN: Duration = Duration::from_millis(50);
const WINDOW_MAX: Duration = Duration::from_secs(600);

/// What to compare.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kinds of traffic: small, prompt16k, prompt256k, crowd, conversation, stream1, stream100,
    /// stream1000, stream5000, tls (sessions resumed), tls-full, tls-kept, connect, slow, mixed,
    /// half-load, memory.
    #[arg(long, value_delimiter = ',', default_value = "small,stream100")]
    scenario: Vec<Scenario>,
    /// Who carries it: direct, floor, nginx, haproxy, envoy, litellm, portkey, penstock-off,
    /// penstock-auth, penstock-on. What is missing is installed.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,floor,nginx,penstock-off,penstock-auth,penstock-on"
    )]
    subjects: Vec<Subject>,
    /// Rounds of each subject in each scenario.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The measured part of each round, such as 3s or 500ms.
    #[arg(long, default_value = "3s", value_parser = parse_window)]
    duration: Duration,
    /// Requests a second in `half-load`; by default half of what nginx can do here.
    #[arg(long, value_name = "REQUESTS")]
    rate: Option<f64>,
    /// Print one JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// Also write everything to dated files in this folder: JSON with the machine's description,
    /// CSV, and a picture of each scenario.
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
    rounds: u32,
    window_ms: u128,
    figures: Vec<Line>,
    failures: Vec<Failure<'a>>,
}

#[derive(Debug, Serialize)]
struct Failure<'a> {
    scenario: &'a str,
    subject: &'a str,
    reason: &'a str,
}

/// Compares and prints; true when everything asked for was measured.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut say = |text: &str| eprintln!("{text}");
    let date = Moment::now().iso();
    let machine = Machine::this();
    say(&format!("{date}, {}", machine.describe()));
    if cfg!(debug_assertions) {
        say("this is a debug build: its figures mean nothing");
    }
    if arguments
        .rate
        .is_some_and(|rate| !(1.0..=1e6).contains(&rate))
    {
        return Err(Error::Unable("--rate is between 1 and 1000000".into()));
    }
    let (subjects, missing) = available(&arguments.subjects, &mut say);
    let options = Options {
        scenarios: arguments.scenario.clone(),
        subjects,
        rounds: arguments.rounds,
        window: arguments.duration,
        rate: arguments.rate,
    };
    let comparison = compare(&options, &mut say)?;
    if let Some(warning) = comparison.warning() {
        say(&warning);
    }
    if arguments.json {
        for line in comparison.lines() {
            println!("{}", to_json(serde_json::to_string(&line))?);
        }
    } else {
        println!("\n{}", comparison.table());
    }
    if let Some(folder) = &arguments.write {
        let record = Record {
            date: &date,
            command: figures::command_line(),
            commit: machine::commit(),
            machine: &machine,
            profile: figures::profile(),
            rounds: options.rounds,
            window_ms: options.window.as_millis(),
            figures: comparison.lines(),
            failures: failures(&comparison),
        };
        let conditions = format!(
            "{} cores of {}, {} rounds of {} ms, {date}",
            machine.cores, machine.cpu, record.rounds, record.window_ms
        );
        let pictures = picture::draw(&comparison, &conditions)?;
        for path in write(folder, &record, &comparison, &pictures)? {
            say(&format!("written to {}", path.display()));
        }
    }
    Ok(comparison.complete() && missing == 0)
}

/// The subjects that can be started here, and how many of them cannot.
pub fn available(wanted: &[Subject], say: &mut dyn FnMut(&str)) -> (Vec<Subject>, usize) {
    let mut subjects = wanted.to_vec();
    subjects.retain(|&subject| match install::ensure(subject, say) {
        Ok(()) => true,
        Err(reason) => {
            say(&format!("{subject} is left out: {reason}"));
            false
        }
    });
    let missing = wanted.len() - subjects.len();
    (subjects, missing)
}

fn failures(comparison: &Comparison) -> Vec<Failure<'_>> {
    comparison
        .cells
        .iter()
        .filter(|cell| cell.failure.is_some() || cell.skipped.is_some())
        .map(|cell| Failure {
            scenario: cell.scenario.name,
            subject: cell.subject.name(),
            reason: cell.failure.as_deref().or(cell.skipped).unwrap_or_default(),
        })
        .collect()
}

fn write(
    folder: &Path,
    record: &Record<'_>,
    comparison: &Comparison,
    pictures: &[(String, String)],
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).doing(|| format!("creating {}", folder.display()))?;
    // Colons are not welcome in file names everywhere.
    let name = format!("compare-{}", record.date.replace(':', "-"));
    let json = to_json(serde_json::to_string_pretty(record))? + "\n";
    let mut files = vec![
        (".json".to_owned(), json),
        (".csv".to_owned(), comparison.csv()),
    ];
    let pictures = pictures.iter().cloned();
    files.extend(pictures.map(|(of, svg)| (format!("-{of}.svg"), svg)));
    let write = |(end, text): (String, String)| {
        let path = folder.join(format!("{name}{end}"));
        fs::write(&path, text).doing(|| format!("writing {}", path.display()))?;
        Ok(path)
    };
    files.into_iter().map(write).collect()
}

fn to_json(text: serde_json::Result<String>) -> Result<String> {
    text.map_err(|error| Error::Unable(format!("writing JSON: {error}")))
}
/// A number with its unit: `ms`, `s` or `m`.
pub(crate) fn parse_window(text: &str) -> std::result::Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` has no whole number"))?;
    let window = match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(format!("`{text}` has no unit; write 500ms, 3s or 1m")),
    };
    match (WINDOW_MIN..=WINDOW_MAX).contains(&window) {
        true => Ok(window),
        false => Err(format!(
            "`{text}` is not between {WINDOW_MIN:?} and {WINDOW_MAX:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_a_number_and_a_unit_and_bounds() {
        assert_eq!(parse_window("3s"), Ok(Duration::from_secs(3)));
        assert_eq!(parse_window("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_window("2m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "s",
            "3",
            "3 s",
            "1.5s",
            "-1s",
            "1ms",
            "11m",
            "99999999999999999999s",
        ] {
            assert!(parse_window(wrong).is_err(), "{wrong}");
        }
    }
}
