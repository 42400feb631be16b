//! What the gateway says of itself: log lines, counters, distributions of times. Never a body,
//! never a credential.

mod counters;
mod tally;

pub use counters::{CoreCounters, CounterSet, Counters, Totals};
pub use tally::{CALLS_MAX, CallKind, Ended, Gathered, Phase, Tallies, Tally, VerdictKind};

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};

/// Starts logging to standard error.
pub fn start(log: &LogSection) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|error| format!("[log] `level` is not understood: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Where a line cannot be written, as on a full disk, there is nowhere to say so: it would be
        // said on the same standard error, with a panic when that fails.
        .log_internal_errors(false)
        .with_env_filter(filter);
    match log.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|error| error.to_string())
}
