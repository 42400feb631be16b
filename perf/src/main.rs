//! The command line of `penstock-perf`.
//!
//! Exit codes: 0 everything asked for was measured, 1 something was not, 2 wrong usage.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::Serialize;

use penstock_perf::compare::{self, Options};
use penstock_perf::detect::{self, vectors};
use penstock_perf::error::{Doing, Error, Result};
use penstock_perf::floor::Floor;
use penstock_perf::machine::{self, Machine, Moment};
use penstock_perf::process;
use penstock_perf::report::{Comparison, Line};
use penstock_perf::scenario::Scenario;
use penstock_perf::subject::{Subject, install};
use penstock_perf::upstream::Upstream;
use penstock_perf::{corpus, hold, oracle, profile, speed};

/// Shortest and longest measured window.
const WINDOW_MIN: Duration = Duration::from_millis(50);
const WINDOW_MAX: Duration = Duration::from_secs(600);

/// Measures Penstock beside other proxies: CPU time per unit of work.
#[derive(Debug, Parser)]
#[command(name = "penstock-perf", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drive subjects with the same traffic, in interleaved rounds, and compare their cost.
    Compare(CompareArguments),
    /// Gather the texts on which scanning is measured; `scripts/corpora` installs what they need.
    Corpus(corpus::Arguments),
    /// Count how much of ordinary answers is held back, and for how long.
    Hold(hold::Arguments),
    /// Measure the speed of scanning, beside Vectorscan.
    Scan(speed::Arguments),
    /// Compare what is found with the `regex` crates and Vectorscan, on thousands of texts.
    Oracle(oracle::Arguments),
    /// Score detection on labelled texts: JSON lines of `{"text", "label", "span"}`.
    Detect(detect::Arguments),
    /// Write labelled texts made of the shipped rules' own examples.
    Vectors(vectors::Arguments),
    /// Show where the CPU time of the gateway goes under a scenario: a flame graph, and tables.
    Profile(profile::Arguments),
    /// Become a program that is pinned to a core and ends with its parent.
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        core: usize,
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Relay bytes to an upstream from a loopback port, which is printed.
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// Serve a scenario's answers on a loopback port, which is printed.
    #[command(hide = true)]
    Upstream {
        #[arg(long)]
        scenario: Scenario,
    },
}

#[derive(Debug, clap::Args)]
struct CompareArguments {
    /// Kinds of traffic: small, stream1, stream100, stream1000.
    #[arg(long, value_delimiter = ',', default_value = "small,stream100")]
    scenario: Vec<Scenario>,
    /// Who carries it: direct, floor, nginx, haproxy, penstock-off, penstock-auth, penstock-on.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,nginx,penstock-off,penstock-auth,penstock-on"
    )]
    subjects: Vec<Subject>,
    /// Rounds of each subject in each scenario.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The measured part of each round, such as 3s or 500ms.
    #[arg(long, default_value = "3s", value_parser = parse_window)]
    duration: Duration,
    /// Print one JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// Also write everything, with the machine's description, to a dated file in this folder.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

/// A written result.
#[derive(Debug, Serialize)]
struct Record<'a> {
    date: &'a str,
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

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Compare(arguments) => run_compare(&arguments),
        Command::Corpus(arguments) => corpus::run(&arguments),
        Command::Hold(arguments) => hold::run(&arguments),
        Command::Scan(arguments) => speed::run(&arguments),
        Command::Oracle(arguments) => oracle::run(&arguments),
        Command::Detect(arguments) => detect::run(&arguments),
        Command::Vectors(arguments) => vectors::run(&arguments),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Launch { core, program } => process::launch(core, &program).map(|()| true),
        Command::Floor { upstream } => relay(upstream).map(|()| true),
        Command::Upstream { scenario } => serve(&scenario).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("penstock-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay(upstream: SocketAddr) -> Result<()> {
    process::raise_file_limit()?;
    let floor = Floor::bind(upstream)?;
    println!("{}", floor.address()?);
    floor.serve()
}

fn serve(scenario: &Scenario) -> Result<()> {
    process::raise_file_limit()?;
    let upstream = Upstream::bind(scenario)?;
    println!("{}", upstream.address()?);
    upstream.serve()
}

/// True when everything was measured.
fn run_compare(arguments: &CompareArguments) -> Result<bool> {
    let mut say = |text: &str| eprintln!("{text}");
    let date = Moment::now().iso();
    let machine = Machine::this();
    say(&format!("{date}, {}", machine.describe()));
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    if cfg!(debug_assertions) {
        say("this is a debug build: its figures mean nothing");
    }

    let mut missing = Vec::new();
    for &subject in &arguments.subjects {
        if let Err(reason) = install::ensure(subject, &mut say) {
            say(&format!("{subject} is left out: {reason}"));
            missing.push((subject, reason));
        }
    }
    let subjects = arguments.subjects.iter().copied();
    let options = Options {
        scenarios: arguments.scenario.clone(),
        subjects: subjects
            .filter(|subject| missing.iter().all(|(m, _)| m != subject))
            .collect(),
        rounds: arguments.rounds,
        window: arguments.duration,
    };
    let comparison = compare::compare(&options, &mut say)?;
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
            commit: machine::commit(),
            machine: &machine,
            profile,
            rounds: options.rounds,
            window_ms: options.window.as_millis(),
            figures: comparison.lines(),
            failures: failures(&comparison),
        };
        let path = write_record(folder, &record)?;
        say(&format!("written to {}", path.display()));
    }
    Ok(comparison.complete() && missing.is_empty())
}

fn failures(comparison: &Comparison) -> Vec<Failure<'_>> {
    let failed = |cell: &'_ penstock_perf::report::Cell| cell.failure.is_some();
    comparison
        .cells
        .iter()
        .filter(|cell| failed(cell))
        .map(|cell| Failure {
            scenario: cell.scenario.name,
            subject: cell.subject.name(),
            reason: cell.failure.as_deref().unwrap_or_default(),
        })
        .collect()
}

fn write_record(folder: &Path, record: &Record<'_>) -> Result<PathBuf> {
    fs::create_dir_all(folder).doing(|| format!("creating {}", folder.display()))?;
    // Colons are not welcome in file names everywhere.
    let path = folder.join(format!("{}.json", record.date.replace(':', "-")));
    let text = to_json(serde_json::to_string_pretty(record))?;
    fs::write(&path, text + "\n").doing(|| format!("writing {}", path.display()))?;
    Ok(path)
}

fn to_json(text: serde_json::Result<String>) -> Result<String> {
    text.map_err(|error| Error::Unable(format!("writing JSON: {error}")))
}

/// A number with its unit: `ms`, `s` or `m`.
fn parse_window(text: &str) -> std::result::Result<Duration, String> {
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
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

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
