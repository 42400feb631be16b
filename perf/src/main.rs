//! The command line of `penstock-perf`.
//!
//! Exit codes: 0 everything asked for was measured, 1 something was not, 2 wrong usage.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use penstock_perf::compare::command as compare;
use penstock_perf::detect::{self, vectors};
use penstock_perf::error::Result;
use penstock_perf::floor::Floor;
use penstock_perf::overload::command as overload;
use penstock_perf::process;
use penstock_perf::scenario::Scenario;
use penstock_perf::upstream::Upstream;
use penstock_perf::{bench, corpus, hold, oracle, plan, profile, speed};
use penstock_recorder::unread::end_quietly_when_nobody_reads;

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
    Compare(compare::Arguments),
    /// Offer subjects more than they can do, and see what they do with it.
    Overload(overload::Arguments),
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
    /// Count instructions of small pieces of the data path, against the committed record.
    Bench(bench::Arguments),
    /// Say how many cores so many requests a second need, from measured runs; or refuse to (exit 3).
    Plan(plan::Arguments),
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
        /// Take requests that were written anew.
        #[arg(long)]
        rewritten: bool,
    },
}

fn main() -> ExitCode {
    end_quietly_when_nobody_reads();
    let outcome = match Arguments::parse().command {
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Overload(arguments) => overload::run(&arguments),
        Command::Corpus(arguments) => corpus::run(&arguments),
        Command::Hold(arguments) => hold::run(&arguments),
        Command::Scan(arguments) => speed::run(&arguments),
        Command::Oracle(arguments) => oracle::run(&arguments),
        Command::Detect(arguments) => detect::run(&arguments),
        Command::Vectors(arguments) => vectors::run(&arguments),
        Command::Bench(arguments) => return end(bench::run(&arguments)),
        Command::Plan(arguments) => return end(plan::run(&arguments)),
        Command::Profile(arguments) => profile::run(&arguments),
        Command::Launch { core, program } => process::launch(core, &program).map(|()| true),
        Command::Floor { upstream } => relay(upstream).map(|()| true),
        Command::Upstream {
            scenario,
            rewritten,
        } => serve(&scenario, rewritten).map(|()| true),
    };
    end(outcome.map(|good| match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }))
}

fn end(outcome: Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("penstock-perf: {error}");
        ExitCode::FAILURE
    })
}

fn relay(upstream: SocketAddr) -> Result<()> {
    process::raise_file_limit()?;
    let floor = Floor::bind(upstream)?;
    println!("{}", floor.address()?);
    floor.serve()
}

fn serve(scenario: &Scenario, rewritten: bool) -> Result<()> {
    process::raise_file_limit()?;
    let upstream = Upstream::bind(scenario, rewritten)?;
    println!("{}", upstream.address()?);
    upstream.serve()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
