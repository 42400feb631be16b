//! What the text commands print: one object a line, the keys of `compare`, and dated files.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Doing, Error, Result};
use crate::machine::{self, Machine};
use crate::report::Spread;

/// One figure over all rounds: a line of `--json`.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct FigureLine {
    /// What was done, such as `gitleaks/block/english`.
    pub scenario: String,
    /// Who did it.
    pub subject: String,
    /// What was counted.
    pub figure: String,
    /// In what.
    pub unit: String,
    /// The middle round.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many rounds.
    pub rounds: usize,
}

/// A written result: figures are worth nothing without where and when.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// When, in UTC.
    pub date: &'a str,
    /// Which command, with its arguments.
    pub command: String,
    /// Which state of the repository; `+` when files differ from it.
    pub commit: Option<String>,
    /// Where.
    pub machine: &'a Machine,
    /// How it was built.
    pub profile: &'static str,
    /// What else has to be known to repeat it.
    pub conditions: Vec<String>,
    /// Everything measured.
    pub figures: &'a [FigureLine],
}

/// How this program was built; figures of a debug build mean nothing.
pub fn profile() -> &'static str {
    match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    }
}

/// The command that was typed, without the folder of the program.
pub fn command_line() -> String {
    let words = std::env::args().skip(1);
    let words: Vec<_> = std::iter::once("penstock-perf".to_owned())
        .chain(words)
        .collect();
    words.join(" ")
}

/// Writes a record into a folder, named by its date; gives the path.
pub fn write(
    folder: &Path,
    date: &str,
    machine: &Machine,
    conditions: &[String],
    figures: &[FigureLine],
) -> Result<PathBuf> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let record = Record {
        date,
        command: command_line(),
        commit: machine::commit(),
        machine,
        profile: profile(),
        conditions: conditions.to_vec(),
        figures,
    };
    let text = serde_json::to_string_pretty(&record)
        .map_err(|error| Error::Unable(format!("writing JSON: {error}")))?;
    fs::create_dir_all(folder).doing(|| format!("creating {}", folder.display()))?;
    let path = folder.join(format!("{name}-{}.json", date.replace(':', "-")));
    fs::write(&path, text + "\n").doing(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// Prints the figures, one object a line.
pub fn print_json(figures: &[FigureLine]) -> Result<()> {
    for figure in figures {
        let line = serde_json::to_string(figure);
        println!(
            "{}",
            line.map_err(|error| Error::Unable(format!("writing JSON: {error}")))?
        );
    }
    Ok(())
}

/// Prints rows as a table in Markdown, the first row being its head.
pub fn print_table(rows: &[Vec<String>]) {
    let mut text = String::new();
    crate::report::render(rows, &mut text);
    println!("{text}");
}

// === impl FigureLine ===

impl FigureLine {
    /// A figure from the values of its rounds; none of no values.
    pub fn of(
        scenario: impl Into<String>,
        subject: &str,
        figure: &str,
        unit: &str,
        values: Vec<f64>,
    ) -> Option<FigureLine> {
        let spread = Spread::of(values)?;
        Some(FigureLine {
            scenario: scenario.into(),
            subject: subject.to_owned(),
            figure: figure.to_owned(),
            unit: unit.to_owned(),
            median: spread.median,
            min: spread.min,
            max: spread.max,
            rounds: spread.rounds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_keys_of_compare() {
        let line = FigureLine::of("a/b", "penstock", "speed", "GB/s", vec![2.0, 1.0, 4.0]);
        let text = serde_json::to_string(&line.expect("has values")).expect("JSON");
        let keys = r#"{"scenario":"a/b","subject":"penstock","figure":"speed","unit":"GB/s","#;
        assert_eq!(
            text,
            [keys, r#""median":2.0,"min":1.0,"max":4.0,"rounds":3}"#].concat()
        );
        assert!(FigureLine::of("a", "b", "c", "d", Vec::new()).is_none());
    }
}
