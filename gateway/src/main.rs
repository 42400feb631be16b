//! The command line of the gateway; everything else is in the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use penstock_gateway::{check, client, rehearse, run, scan};
use penstock_recorder::unread::end_quietly_when_nobody_reads;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Penstock: the identity-aware gateway in front of a self-hosted model.
#[derive(Parser)]
#[command(name = "penstock-gateway", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM.
    Run {
        /// gateway.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check configuration and policies, run each rule's own examples, show what would run.
    Check {
        /// gateway.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON object in place of text.
        #[arg(long)]
        json: bool,
    },
    /// Scan files by rules, without a gateway; exits with 0 when nothing is found, 1 when
    /// something is, 2 when anything could not be scanned.
    Scan(scan::Arguments),
    /// Show requests that wait for people, and decide on them.
    Approvals(client::approvals::Arguments),
    /// Issue, list, rotate and revoke keys of this gateway.
    Keys(client::keys::Arguments),
    /// Say what would become of a request and why: who, route, grant, rules, and the caller's
    /// error; exits with 0 when it would pass, 1 when it would be stopped or held, 2 when that
    /// cannot be said.
    Explain(rehearse::explain::Arguments),
    /// Say which recorded exchanges would have ended otherwise under other policies; exits with 0
    /// when none would, 1 when some would, 2 when that cannot be said.
    PolicyDiff(rehearse::diff::Arguments),
    /// Let a running gateway read policies and certificates again; exits with 1 when anything was
    /// refused, and says what.
    Reload(client::reload::Arguments),
    /// Cut somebody off at once, in the middle of what they are doing; list who is; take it back.
    Revoke(client::revoke::Arguments),
    /// Show notices to receivers that did not arrive, send them again, give them up; try out a
    /// receiver.
    Notifications(client::notifications::Arguments),
    /// Print a one-time link to the console, for a browser that reaches this gateway.
    Console(client::console::Arguments),
    /// How long calls took, phase by phase, since the gateway started.
    Histograms(client::histograms::Arguments),
    /// What a running gateway tells of itself.
    Status(client::status::Arguments),
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    if !matches!(command, Command::Run { .. }) {
        end_quietly_when_nobody_reads();
    }
    match command {
        Command::Run { config } => run::main(&config),
        Command::Check { config, json } => check::main(&config, json),
        Command::Scan(arguments) => scan::main(&arguments),
        Command::Approvals(arguments) => client::approvals::main(&arguments),
        Command::Keys(arguments) => client::keys::main(&arguments),
        Command::Explain(arguments) => rehearse::explain::main(&arguments),
        Command::PolicyDiff(arguments) => rehearse::diff::main(&arguments),
        Command::Reload(arguments) => client::reload::main(&arguments),
        Command::Revoke(arguments) => client::revoke::main(&arguments),
        Command::Notifications(arguments) => client::notifications::main(&arguments),
        Command::Console(arguments) => client::console::main(&arguments),
        Command::Histograms(arguments) => client::histograms::main(&arguments),
        Command::Status(arguments) => client::status::main(&arguments),
    }
}
