//! `penstock-loadgen compare`: two outcomes, side by side.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use penstock_loadgen::outcome::Outcome;
use penstock_loadgen::report::compare::{Comparison, Question, compare};
use penstock_loadgen::report::compared;

use super::Failure;

const NOTES: &str = "\
Exit codes: 0 compared; 1 a file is no outcome, or its generator was late; 2 wrong usage;
99 with --fail-if-worse: a figure is worse in B, or one that --on names has too little data.";

/// Compare two runs by their JSON: both values of each figure, the ratio with a confidence interval,
/// and better, worse, or no difference shown.
#[derive(Args)]
#[command(after_help = NOTES)]
pub(super) struct Arguments {
    /// The run to compare with: what `run --json FILE` wrote.
    a: PathBuf,
    /// The run to judge.
    b: PathBuf,
    /// Only these figures, as the table names them: ttft.p99, end_to_end.sent.p50, error_rate.
    #[arg(long, value_name = "FIGURE", value_delimiter = ',')]
    on: Vec<String>,
    /// How often, in per cent, an interval shall hold the truth.
    #[arg(long, value_name = "PERCENT", default_value_t = 99.0)]
    confidence: f64,
    /// Changes of up to so many per cent are no difference.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    margin: f64,
    /// What the draws come from: the same seed gives the same intervals.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Exit with 99 when a figure is worse in B, or has too little data though --on names it.
    #[arg(long)]
    fail_if_worse: bool,
    /// Print the comparison as JSON in the table's place.
    #[arg(long)]
    json: bool,
    /// Also write it as a page for browsers, with both runs' curves.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn main(arguments: &Arguments) -> Result<(), Failure> {
    let possible = (50.0..100.0).contains(&arguments.confidence);
    if !possible || !(0.0..100.0).contains(&arguments.margin) {
        let text = "--confidence is 50 to below 100, --margin 0 to below 100";
        return Err(Failure::Usage(text.into()));
    }
    let question = Question {
        confidence: arguments.confidence / 100.0,
        margin: arguments.margin / 100.0,
        seed: arguments.seed,
        figures: arguments.on.clone(),
    };
    let (a, b) = (read(&arguments.a)?, read(&arguments.b)?);
    let (a_name, b_name) = (name(&arguments.a), name(&arguments.b));
    let comparison = compare((&a_name, &a), (&b_name, &b), &question).map_err(Failure::failed)?;
    if let Some(path) = &arguments.html {
        let page = compared::page(&comparison, &a, &b).map_err(Failure::failed)?;
        let written = fs::write(path, page);
        written.map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    }
    print(&comparison, arguments.json)?;
    // a figure that was asked for by name and says nothing must not let a gate pass
    let silent = !arguments.on.is_empty() && comparison.is_silent();
    if arguments.fail_if_worse && (comparison.is_worse() || silent) {
        return Err(Failure::Asserted);
    }
    Ok(())
}

fn print(comparison: &Comparison, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string_pretty(comparison).map_err(Failure::failed)? + "\n"
    } else {
        compared::table(comparison)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::failed)
}

fn read(path: &Path) -> Result<Outcome, Failure> {
    let told =
        |error: &dyn std::fmt::Display| Failure::Failed(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| told(&error))?;
    Outcome::from_json(&text).map_err(|error| told(&error))
}

/// Files are told apart by as much of their path as that takes.
fn name(path: &Path) -> String {
    path.display().to_string()
}
