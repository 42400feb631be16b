//! The command line: what can be asked for, and how an answer becomes an exit code.

mod replay;
mod sessions;
mod show;
mod time;
mod verify;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use penstock_recorder::daemon::{self, Config};
use penstock_recorder::log::{FindError, LogError, escape};

const FAILED: u8 = 1;

/// Writes and reads Penstock's tamper-evident log of sessions.
#[derive(Parser)]
#[command(name = "penstock-recorder", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take gateways' rings over and write the log, until SIGTERM or SIGINT.
    Run(Run),
    /// List the sessions of a log.
    Sessions(sessions::Options),
    /// Show one session: identity, decisions, request, answer, controls, timings.
    Show(show::Options),
    /// Stream a session's answer to the terminal again, with its real timing.
    Replay(replay::Options),
    /// Check every byte of a log; name what was altered.
    Verify(verify::Options),
}

#[derive(Args)]
struct Run {
    /// Configuration (TOML): socket, directory, allowed_uids, segment_bytes, sync_interval, …
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write the socket's path to this file once gateways may connect.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Find(#[from] FindError),
    #[error(transparent)]
    Config(#[from] daemon::ConfigError),
    #[error(transparent)]
    Run(#[from] daemon::RunError),
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Told already; only the exit code is left to say.
    #[error("")]
    Told,
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let result = match cli.command {
        Command::Run(options) => run(&options),
        Command::Sessions(options) => sessions::sessions(&options, &mut out),
        Command::Show(options) => show::show(&options, &mut out),
        Command::Replay(options) => replay::replay(&options, &mut out),
        Command::Verify(options) => verify::verify(&options, &mut out),
    };
    match result.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has seen enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Told) => {
            let _ = out.flush();
            ExitCode::from(FAILED)
        }
        Err(failure) => {
            let _ = out.flush();
            eprintln!("penstock-recorder: {}", escape::line(&failure.to_string()));
            ExitCode::from(FAILED)
        }
    }
}

fn run(options: &Run) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PENSTOCK_RECORDER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let config = Config::load(&options.config)?;
    daemon::run(&config, options.ready_file.as_deref())?;
    Ok(())
}
