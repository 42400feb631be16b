//! Subcommands, one file each.

mod compare;
mod output;
mod run;
mod token;
mod upstream;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use penstock_recorder::unread::end_quietly_when_nobody_reads;

/// The thing was tried and failed.
const FAILED: u8 = 1;
/// The command line was wrong.
const USAGE: u8 = 2;
/// The generator, and not the server, was late.
const LATE: u8 = 2;
/// The command line of `run` was wrong (`EX_USAGE`): 2 has another meaning there.
const RUN_USAGE: u8 = 64;
/// An assertion did not hold.
const ASSERTED: u8 = 99;

/// Load generator, inference-server double and development identity provider of Penstock.
#[derive(Parser)]
#[command(name = "penstock-loadgen", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Send requests at stated times and report latencies from when each should have started.
    Run(Box<run::Arguments>),
    /// Compare two runs by the JSON that they wrote.
    Compare(compare::Arguments),
    /// Stand where an inference server would stand.
    Upstream(upstream::Arguments),
    /// Development identity provider and tokens.
    Token(token::Arguments),
}

/// Why a subcommand ends without success.
enum Failure {
    /// Arguments that do not go together.
    Usage(String),
    /// It did not work.
    Failed(String),
    /// The generator was late; it was said why.
    Late,
    /// An assertion did not hold; it was said which.
    Asserted,
}

pub(crate) fn main() -> ExitCode {
    end_quietly_when_nobody_reads();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let mut usage = USAGE;
    let result = match cli.command {
        Command::Run(arguments) => {
            usage = RUN_USAGE;
            run::main(*arguments)
        }
        Command::Compare(arguments) => compare::main(&arguments),
        Command::Upstream(arguments) => upstream::main(arguments),
        Command::Token(arguments) => token::main(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("penstock-loadgen: {message}");
            ExitCode::from(usage)
        }
        Err(Failure::Failed(message)) => {
            eprintln!("penstock-loadgen: {message}");
            ExitCode::from(FAILED)
        }
        Err(Failure::Late) => ExitCode::from(LATE),
        Err(Failure::Asserted) => ExitCode::from(ASSERTED),
    }
}

/// Prints what is wrong with a command line, or the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let _ = error.print(); // nobody is there to be told
    let of_run = std::env::args().nth(1).is_some_and(|name| name == "run");
    match (error.exit_code(), of_run) {
        (0, _) => ExitCode::SUCCESS,
        (_, true) => ExitCode::from(RUN_USAGE),
        (_, false) => ExitCode::from(USAGE),
    }
}

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Failure::Failed(error.to_string())
    }
}

/// Waits for SIGINT or SIGTERM.
fn wait_for_signal() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

/// `250ms`, `10s`, `5m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}: use ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "write it as 250ms, 10s, 5m or 1h".to_owned())?;
    Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string())
}
