//! `penstock-perf bench`: instructions of small pieces of the data path, against a committed record.
//!
//! Instructions, because they repeat to the last digit where time differs by a tenth: a gate that a
//! loaded machine cannot trip. They are not time: a cache miss costs as much as a hundred of them,
//! and the widest vector instructions are not counted at all, because valgrind does not know them
//! (the scanner is counted on its AVX2 lane). For time there is
//! `cargo bench -p penstock-benches --bench times`, of the same cases.
//!
//! - [`cases`]: what is counted; [`count`]: how; [`record`]: the record and the 2 % rule
//! - [`sources`]: what tells `scripts/lint` that nothing can have changed

pub mod cases;
pub mod count;
pub mod record;
pub mod sources;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::error::{Doing, Error, Result};
use crate::figures::{FigureLine, print_json, print_table};
use crate::machine::{self, Moment};
use cases::CASES;
use record::{Change, MadeWith, Record, TOLERANCE};

/// Where the record is, from the root of the repository.
pub const RECORD: &str = "perf/baseline/instructions.json";

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Count only where sources changed since the record; what `scripts/lint` runs.
    #[arg(long, conflicts_with_all = ["accept", "update"])]
    check: bool,
    /// Write the record, with this reason for every count that changed by more than 2 %.
    #[arg(long, value_name = "REASON")]
    accept: Option<String>,
    /// Write the record; refused when a count changed by more than 2 %.
    #[arg(long, conflicts_with = "accept")]
    update: bool,
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Exit code where nothing can be said: other tools than the record's, or tools that are missing.
pub const UNSAID: u8 = 3;

/// What counts say beside the record.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// No case changed by more than the tolerance.
    Holds,
    /// These did, or are new, or gone.
    Beyond(Vec<String>),
    /// The record was made with other tools.
    Unsaid(String),
}

/// Success when nothing changed beyond the tolerance, or changes were accepted; [`UNSAID`] when
/// that cannot be told here.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut say = |text: &str| eprintln!("{text}");
    let root = root()?;
    let path = root.join(RECORD);
    let mut record = read(&path)?;
    let sources = sources::digest(&root)?;
    if arguments.check && record.sources == sources {
        say("the sources are those of the record: nothing can have changed");
        return Ok(ExitCode::SUCCESS);
    }
    let runner = match count::ensure(&root, &mut say) {
        Ok(runner) => runner,
        Err(reason) => return Ok(unsaid(&format!("not counted: {reason}"))),
    };
    let here = count::made_with()?;
    let differs = record.differs(&here);
    if let (Some(why), true) = (&differs, arguments.check) {
        return Ok(unsaid(&format!("not counted, since not comparable: {why}")));
    }
    say("building and counting (minutes)");
    let now = count::count(&root, &runner)?;
    let changes = record.changes(&now);
    match arguments.json {
        true => print_json(&lines(&now))?,
        false => print(&record, &changes),
    }
    if arguments.update || arguments.accept.is_some() {
        return write(&path, &mut record, &now, here, sources, arguments);
    }
    Ok(match verdict(&changes, differs) {
        Verdict::Holds => {
            say("nothing changed by more than 2 %; --update takes the new counts over, and then");
            say("the next check of these sources need not count");
            ExitCode::SUCCESS
        }
        Verdict::Beyond(beyond) => {
            for change in &beyond {
                say(&format!("beyond {:.0} %: {change}", 100.0 * TOLERANCE));
            }
            say(
                "if that is meant to be: penstock-perf bench --accept \"why\", and commit the record",
            );
            ExitCode::FAILURE
        }
        Verdict::Unsaid(why) => unsaid(&format!("not comparable: {why}")),
    })
}

fn unsaid(why: &str) -> ExitCode {
    eprintln!("instructions: {why}");
    ExitCode::from(UNSAID)
}

fn verdict(changes: &[Change], differs: Option<String>) -> Verdict {
    if let Some(why) = differs {
        return Verdict::Unsaid(why);
    }
    let beyond = changes.iter().filter(|change| change.needs_reason());
    let beyond: Vec<String> = beyond.map(ToString::to_string).collect();
    match beyond.is_empty() {
        true => Verdict::Holds,
        false => Verdict::Beyond(beyond),
    }
}

/// The repository that the command runs in.
fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().doing(|| "asking for the current folder".into())?;
    let is_root = |folder: &&Path| folder.join("perf/benches/counts.rs").is_file();
    let found = here.ancestors().find(is_root).map(Path::to_owned);
    found.ok_or_else(|| Error::Unable("run this within the repository: it builds a bench".into()))
}

fn read(path: &Path) -> Result<Record> {
    if !path.exists() {
        return Ok(Record::default());
    }
    let text = fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::Unable(format!("{}: {error}", path.display())))
}

fn write(
    path: &Path,
    record: &mut Record,
    now: &BTreeMap<String, f64>,
    here: MadeWith,
    sources: String,
    arguments: &Arguments,
) -> Result<ExitCode> {
    let date = Moment::now().iso();
    if record.differs(&here).is_some() {
        // Counts of another compiler say nothing about these.
        record.cases.clear();
    }
    if let Err(beyond) = record.update(now, arguments.accept.as_deref(), &date) {
        eprintln!("not written: these need a reason (--accept \"why\"):");
        beyond.iter().for_each(|change| eprintln!("  {change}"));
        return Ok(ExitCode::FAILURE);
    }
    record.made_with = here;
    record.sources = sources;
    record.commit = machine::commit();
    let text = serde_json::to_string_pretty(record)
        .map_err(|error| Error::Unable(format!("writing JSON: {error}")))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).doing(|| format!("creating {}", folder.display()))?;
    }
    fs::write(path, text + "\n").doing(|| format!("writing {}", path.display()))?;
    eprintln!("written to {RECORD}: commit it");
    Ok(ExitCode::SUCCESS)
}

fn lines(now: &BTreeMap<String, f64>) -> Vec<FigureLine> {
    let line = |(name, count): (&String, &f64)| {
        let unit = CASES
            .iter()
            .find(|case| case.name == name)
            .map_or("", |case| case.unit);
        let unit = format!("instructions/{unit}");
        FigureLine::of(
            name,
            "penstock",
            "instructions_per_unit",
            &unit,
            vec![*count],
        )
    };
    now.iter().filter_map(line).collect()
}

fn print(record: &Record, changes: &[Change]) {
    let head = [
        "case",
        "instructions",
        "a",
        "reference",
        "change %",
        "what",
        "accepted because",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for case in CASES {
        let Some(change) = changes.iter().find(|change| change.name == case.name) else {
            continue;
        };
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.0}"));
        let percent = change
            .share()
            .map_or("-".into(), |share| format!("{:+.2}", 100.0 * share));
        let reason = record
            .cases
            .get(case.name)
            .map(|counted| counted.reason.clone());
        rows.push(vec![
            case.name.to_owned(),
            number(change.now),
            case.unit.to_owned(),
            number(change.reference),
            percent,
            case.what.to_owned(),
            reason.unwrap_or_default(),
        ]);
    }
    print_table(&rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(name: &str, reference: f64, now: f64) -> Change {
        Change {
            name: name.into(),
            reference: Some(reference),
            now: Some(now),
        }
    }

    #[test]
    fn one_case_beyond_the_tolerance_fails_the_check_and_is_named() {
        let steady = changed("frame", 330.0, 331.0);
        assert_eq!(verdict(std::slice::from_ref(&steady), None), Verdict::Holds);
        let slower = changed("event", 10_000.0, 10_300.0);
        assert_eq!(
            verdict(&[steady, slower], None),
            Verdict::Beyond(vec![
                "event: 10000 \u{2192} 10300 instructions (+3.0 %)".into()
            ])
        );
    }

    #[test]
    fn nothing_is_said_of_counts_that_other_tools_made() {
        let slower = changed("event", 10_000.0, 20_000.0);
        let why = "recorded with AVX2, here no AVX2".to_owned();
        assert_eq!(verdict(&[slower], Some(why.clone())), Verdict::Unsaid(why));
    }
}
