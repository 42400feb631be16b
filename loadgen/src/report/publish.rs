//! Where an outcome goes when a run is over, and what the program's exit code says of it.
//!
//! [`Arguments`] are part of `penstock-loadgen run`'s command line. They are made [`Ready`] before
//! the run: an assertion that cannot be read must not cost an hour of load first.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::assertion::Assertion;
use super::{hdr, html, table};
use crate::outcome::{Outcome, OutcomeError};

/// What stands for standard output where a file is asked for.
const STDOUT: &str = "-";

/// Where an outcome goes.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
#[command(next_help_heading = "Output")]
pub struct Arguments {
    /// Write the outcome as JSON: to a file, or to standard output in the table's place.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STDOUT)]
    pub json: Option<PathBuf>,
    /// Write a report for browsers: one file with pictures, without scripts, fetching nothing.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write a log of HdrHistograms, tagged by metric and series, a line for each slot of time.
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Write each distribution by percentile into this folder, as HdrHistogram's plotters read it.
    #[arg(long, value_name = "DIR")]
    pub hgrm: Option<PathBuf>,
    /// Exit with 99 unless this holds: ttft.p99<250ms, end_to_end.sent.p50<1s, error_rate<=1%,
    /// rate>=100, goodput>=95%, altered==0; several by commas or again.
    #[arg(long, value_name = "EXPR", value_delimiter = ',')]
    pub assert: Vec<String>,
    /// Show no progress while it runs, though there is a terminal.
    #[arg(long)]
    pub no_progress: bool,
}

/// [`Arguments`] that were looked at and can be followed.
#[derive(Clone, Debug)]
pub struct Ready {
    arguments: Arguments,
    assertions: Vec<Assertion>,
}

/// How a run ended, for the program's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it ran, and what was asserted held.
    Good,
    /// 1: nothing was answered well.
    Failed,
    /// 2: the generator was late, so no figure of the run is to be used, nor a verdict on it.
    Late,
    /// 99: an assertion does not hold.
    Asserted,
}

/// What could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file or standard output.
    #[error("writing {0}: {1}")]
    Write(String, #[source] io::Error),
    /// The outcome itself.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
    /// The report.
    #[error("the report cannot be made: {0}")]
    Report(#[from] crate::chart::ChartError),
}

// === impl Arguments ===

impl Arguments {
    /// Reads the assertions. The error is for the person who wrote the command line.
    pub fn ready(self) -> Result<Ready, String> {
        let assertions = self.assert.iter().map(|text| text.parse());
        Ok(Ready {
            assertions: assertions.collect::<Result<_, _>>()?,
            arguments: self,
        })
    }
}

// === impl Ready ===

impl Ready {
    /// Whether progress shall be shown, were there a terminal.
    pub fn wants_progress(&self) -> bool {
        !self.arguments.no_progress
    }

    /// Checks the assertions, writes everything that was asked for, prints the table, or the JSON
    /// in its place, and says how the run ended. The assertions' results become part of the outcome.
    pub fn publish(&self, outcome: &mut Outcome) -> Result<Exit, PublishError> {
        outcome.assertions = self
            .assertions
            .iter()
            .map(|assertion| assertion.check(outcome))
            .collect();
        let asked = &self.arguments;
        if let Some(path) = &asked.hlog {
            let bytes = hdr::hlog(outcome);
            write(
                path,
                &bytes.map_err(|error| PublishError::Write(shown(path), error))?,
            )?;
        }
        if let Some(folder) = &asked.hgrm {
            fs::create_dir_all(folder)
                .map_err(|error| PublishError::Write(shown(folder), error))?;
            for (name, times) in hdr::named(outcome) {
                write(
                    &folder.join(format!("{name}.hgrm")),
                    hdr::hgrm(times).as_bytes(),
                )?;
            }
        }
        if let Some(path) = &asked.html {
            write(path, html::page(outcome)?.as_bytes())?;
        }
        let mut quiet = false;
        if let Some(path) = &asked.json {
            write(path, outcome.to_json()?.as_bytes())?;
            quiet = path.as_os_str() == STDOUT;
        }
        if quiet {
            // the JSON is for a program; what a person must know goes to stderr
            for checked in outcome.assertions.iter().filter(|checked| !checked.holds) {
                eprintln!(
                    "FAILS  {}  (measured: {})",
                    checked.assertion, checked.shown
                );
            }
        } else {
            write(Path::new(STDOUT), table::table(outcome).as_bytes())?;
        }
        if outcome.lag.verdict.late {
            eprintln!("penstock-loadgen: {}", outcome.lag.verdict.reason);
        }
        Ok(Exit::of(outcome))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    let written = if path.as_os_str() == STDOUT {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush())
    } else {
        fs::write(path, bytes)
    };
    written.map_err(|error| PublishError::Write(shown(path), error))
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == STDOUT {
        "to standard output".into()
    } else {
        path.display().to_string()
    }
}

// === impl Exit ===

impl Exit {
    /// What an outcome, with its assertions checked, comes to. A late generator is told before all
    /// else, since nothing else is then known.
    pub fn of(outcome: &Outcome) -> Self {
        if outcome.lag.verdict.late {
            Exit::Late
        } else if outcome.assertions.iter().any(|checked| !checked.holds) {
            Exit::Asserted
        } else if outcome.counts.completed + outcome.counts.left_on_purpose == 0 {
            Exit::Failed
        } else {
            Exit::Good
        }
    }

    /// As a process gives it.
    pub fn code(self) -> u8 {
        match self {
            Exit::Good => 0,
            Exit::Failed => 1,
            Exit::Late => 2,
            Exit::Asserted => 99,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exit::Good => "good",
            Exit::Failed => "no request was answered well",
            Exit::Late => "the generator was late",
            Exit::Asserted => "an assertion does not hold",
        })
    }
}
