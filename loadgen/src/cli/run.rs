//! `penstock-loadgen run`.

use super::Failure;

/// Placeholder until the generator lands.
#[derive(clap::Args)]
pub(super) struct Arguments {}

pub(super) fn main(_arguments: Arguments) -> Result<(), Failure> {
    Err(Failure::Failed("not built yet".into()))
}
