//! `verify`: every byte of a log; exit code 1 when something was altered.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use penstock_recorder::log::escape;
use penstock_recorder::segment;

use super::Failure;

#[derive(Args)]
pub(super) struct Options {
    /// Folder of the log.
    dir: PathBuf,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn verify(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let dir = options.dir.display();
    let report = segment::verify(&options.dir).map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot read {dir}: {error}"))
    })?;
    if options.json {
        let mut value = serde_json::to_value(&report).map_err(std::io::Error::from)?;
        value["good"] = report.is_good().into();
        serde_json::to_writer(&mut *out, &value).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return if report.is_good() {
            Ok(())
        } else {
            Err(Failure::Told)
        };
    }
    writeln!(
        out,
        "{}, {}, {}, {}; {}",
        count(report.segments, "segment"),
        count(report.records, "record"),
        count(report.frames, "frame"),
        count(report.bytes, "byte"),
        report.state
    )?;
    if let Some(torn) = &report.torn_tail {
        writeln!(
            out,
            "torn end: {} at byte {} ({}): {}. A crash leaves this; what was synced is whole",
            escape::line(&torn.file),
            torn.offset,
            count(torn.bytes, "byte"),
            torn.detail
        )?;
    }
    for problem in &report.problems {
        let place = match (problem.offset, problem.end) {
            (Some(from), Some(to)) if to > from + 1 => format!(" bytes {from} to {}", to - 1),
            (Some(from), _) => format!(" byte {from}"),
            _ => String::new(),
        };
        let trouble = serde_json::to_value(problem.trouble).map_err(std::io::Error::from)?;
        let trouble = trouble.as_str().unwrap_or("wrong").to_uppercase();
        writeln!(
            out,
            "{trouble}: {}{place}: {}",
            escape::line(&problem.file),
            problem.detail
        )?;
    }
    if report.is_good() {
        if let Some(chain) = &report.chain {
            writeln!(out, "chain {chain}")?;
        }
        writeln!(out, "nothing was altered")?;
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

/// A number and its noun.
fn count(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}
