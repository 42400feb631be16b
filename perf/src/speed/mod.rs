//! How fast texts are scanned, beside Vectorscan: `penstock-perf scan`.
//!
//! One thread, pinned to one core, which Vectorscan's process shares and uses in turn; CPU time,
//! not wall time; rounds interleaved, median and extremes. Both sides get the same texts in the
//! same blocks and the same chunks. Our side masks: it finds where a match begins and ends, checks
//! it, and writes the text anew; what Vectorscan does not do is said in [`vectorscan`].

mod contest;
mod each;
pub mod event;
mod gitleaks;
pub mod ours;
pub mod vectorscan;

use std::path::PathBuf;

use crate::corpus;
use crate::error::{Error, Result};
use crate::figures::{self, FigureLine};
use crate::machine::{Machine, Moment};
use crate::process::{self, Placement};
use crate::rulesets;
use contest::Contest;

/// Measures scanning beside Vectorscan.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to measure: secrets, personal, gitleaks, scaling, compile, event, each.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "secrets,personal,scaling,compile,event"
    )]
    sets: Vec<String>,
    /// A gitleaks configuration, for the set of that name.
    #[arg(long, value_name = "FILE")]
    gitleaks: Option<PathBuf>,
    /// Which corpora; all when none is named.
    #[arg(long, value_delimiter = ',')]
    corpus: Vec<String>,
    /// Where they are.
    #[arg(long, default_value = corpus::FOLDER)]
    corpora: PathBuf,
    /// Rounds of each side.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The least CPU time of a round.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    round_ms: u32,
    /// Bytes of a block.
    #[arg(long, default_value_t = 65_536)]
    block: usize,
    /// Bytes of a chunk of a stream.
    #[arg(long, default_value_t = 24)]
    chunk: usize,
    /// Measure Penstock without Vectorscan.
    #[arg(long)]
    alone: bool,
    /// One JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
    /// Also write everything to a dated file in this folder.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

/// The command; true when everything asked for was measured.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let (date, machine) = (Moment::now().iso(), Machine::this());
    eprintln!("{date}, {}", machine.describe());
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures mean nothing");
    }
    process::pin_to(Placement::on_this_machine()?.subject)?;
    let corpora = corpus::load(&arguments.corpora, &arguments.corpus)?;
    let mut contest = Contest::new(arguments, corpora);
    for set in &arguments.sets {
        match set.as_str() {
            "secrets" | "personal" => contest.rules(set, rulesets::named(set)?)?,
            "gitleaks" => {
                let Some(path) = &arguments.gitleaks else {
                    return Err(Error::Unable(
                        "the set gitleaks needs --gitleaks FILE".into(),
                    ));
                };
                contest.gitleaks(path)?;
            }
            "scaling" => contest.scaling()?,
            "compile" => contest.compile()?,
            "event" => contest.events()?,
            "each" => contest.each("everything")?,
            other => return Err(Error::Unable(format!("no set `{other}`; see --help"))),
        }
    }
    let (lines, conditions, complete) = contest.finish();
    match arguments.json {
        true => figures::print_json(&lines)?,
        false => print(&lines),
    }
    if let Some(folder) = &arguments.write {
        let path = figures::write(folder, &date, &machine, &conditions, &lines)?;
        eprintln!("written to {}", path.display());
    }
    Ok(complete)
}

/// One row a scenario and figure; both sides in it where there are two.
fn print(lines: &[FigureLine]) {
    let head = [
        "scenario",
        "figure",
        "unit",
        "penstock",
        "min to max",
        "vectorscan",
        "min to max",
        "x vectorscan",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for line in lines.iter().filter(|line| line.subject == "penstock") {
        let rival = lines.iter().find(|other| {
            other.subject != "penstock"
                && (&other.scenario, &other.figure) == (&line.scenario, &line.figure)
        });
        let spread = |of: &FigureLine| format!("{:.3} to {:.3}", of.min, of.max);
        rows.push(vec![
            line.scenario.clone(),
            line.figure.clone(),
            line.unit.clone(),
            format!("{:.3}", line.median),
            spread(line),
            rival.map_or("-".into(), |of| format!("{:.3}", of.median)),
            rival.map_or("-".into(), spread),
            rival
                .filter(|of| of.median > 0.0 && line.figure != "matches")
                .map_or("-".into(), |of| format!("{:.2}", line.median / of.median)),
        ]);
    }
    figures::print_table(&rows);
}
