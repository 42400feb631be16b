//! Where `run`'s outcome goes: the library's files, table and verdicts, as this program's failures.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use penstock_loadgen::outcome::{Outcome, Progress};
use penstock_loadgen::report::live::Live;
use penstock_loadgen::report::publish::{self, Exit};

use super::Failure;

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Output")]
pub(super) struct Arguments {
    #[command(flatten)]
    files: publish::Arguments,
}

/// Arguments whose assertions were read, before any load is sent.
pub(super) struct Ready(publish::Ready);

// === impl Arguments ===

impl Arguments {
    pub(super) fn ready(self) -> Result<Ready, Failure> {
        self.files.ready().map(Ready).map_err(Failure::Usage)
    }
}

// === impl Ready ===

impl Ready {
    /// A line in the terminal while the run goes on, until it is dropped.
    pub(super) fn live(&self, progress: Arc<Progress>, planned: Duration) -> Live {
        Live::start(progress, planned, self.0.wants_progress())
    }

    /// Writes everything that was asked for, and judges.
    pub(super) fn publish(&self, mut outcome: Outcome) -> Result<(), Failure> {
        match self.0.publish(&mut outcome).map_err(Failure::failed)? {
            Exit::Good => Ok(()),
            Exit::Failed => Err(Failure::Failed(Exit::Failed.to_string())),
            Exit::Late => Err(Failure::Late),
            Exit::Asserted => Err(Failure::Asserted),
        }
    }
}
