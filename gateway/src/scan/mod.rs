//! `penstock-gateway scan`: rules over files, without a gateway, to develop and to measure them.
//!
//! Every rule is reported on its own: none hides another, as masking would have it where matches
//! overlap. A value that was found is never printed; `--context` shows its line with every match
//! masked. What could not be read is an error even if something was found: a report that is not
//! whole must not pass for one.

mod report;
mod source;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use penstock_policies::rule::suggest;
use penstock_policies::scan::{RuleMask, Scanner};
use penstock_policies::{Confidence, Import, Library};

use report::{Style, Totals};
pub use source::{FILE_BYTES_MAX, Source, Text};

/// What to scan, by which rules, and how to say what was found.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Rules: a policy folder (shipped packs and its own, whether its guards use them or not), a
    /// folder of packs alone, or one pack. Without it the shipped packs
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Only the rules of this file: a pack in development, a gitleaks or Betterleaks configuration,
    /// Presidio recognizers. May be given more than once
    #[arg(long, value_name = "FILE", conflicts_with = "policies")]
    rules: Vec<PathBuf>,
    /// Only this rule. May be given more than once
    #[arg(long = "rule", value_name = "ID")]
    only_rules: Vec<String>,
    /// Only the rules of this pack. May be given more than once
    #[arg(long = "pack", value_name = "NAME")]
    only_packs: Vec<String>,
    /// Only findings of at least this confidence: low, medium or high
    #[arg(long, value_name = "LEVEL", default_value = "low", hide_default_value = true,
        hide_possible_values = true, value_parser = confidence())]
    min_confidence: Confidence,
    /// One JSON object a line: file, line, column (characters, from 1), start, end (bytes, from
    /// 0), rule, pack, confidence, lane
    #[arg(long)]
    json: bool,
    /// Show the line of each finding, every match in it masked
    #[arg(long, conflicts_with = "json")]
    context: bool,
    /// Files, folders with all that is below them, or `-` for standard input, which is also what
    /// is read when none is given
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Reads the name of a confidence.
fn confidence() -> impl clap::builder::TypedValueParser<Value = Confidence> {
    let names = Confidence::ALL.map(Confidence::as_str);
    let known = |name: String| Confidence::from_name(&name).unwrap_or_default();
    PossibleValuesParser::new(names).map(known)
}

/// Exit code: nothing found.
const CLEAN: u8 = 0;
/// Exit code: something found.
const FOUND: u8 = 1;
/// Exit code: the command line, the rules or a file were no good.
const FAILED: u8 = 2;

/// Runs the scan; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    let code = prepare(arguments).map_or_else(
        |reasons| {
            for reason in reasons {
                eprintln!("penstock-gateway: {reason}");
            }
            FAILED
        },
        |(library, scanner, wanted)| scan(arguments, &library, &scanner, &wanted),
    );
    ExitCode::from(code)
}

/// The rules, ready, and which of them to report.
fn prepare(arguments: &Arguments) -> Result<(Library, Scanner, RuleMask), Vec<String>> {
    let library = read_library(arguments)?;
    let scanner = library
        .scanner()
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let wanted = select(arguments, &library, &scanner)?;
    Ok((library, scanner, wanted))
}

fn read_library(arguments: &Arguments) -> Result<Library, Vec<String>> {
    let read = match &arguments.policies {
        _ if !arguments.rules.is_empty() => {
            let paths: Vec<&Path> = arguments.rules.iter().map(PathBuf::as_path).collect();
            Library::read_files(&paths)
        }
        Some(path) => Library::read(path),
        None => Ok(Library::shipped()),
    };
    let library = read.map_err(|errors| {
        let lines = errors.iter().map(ToString::to_string);
        lines.collect::<Vec<_>>()
    })?;
    for line in library.imports().iter().flat_map(Import::lines) {
        eprintln!("penstock-gateway: {line}");
    }
    Ok(library)
}

/// The rules that `--rule` and `--pack` leave: all, or those that either names.
fn select(
    arguments: &Arguments,
    library: &Library,
    scanner: &Scanner,
) -> Result<RuleMask, Vec<String>> {
    if arguments.only_rules.is_empty() && arguments.only_packs.is_empty() {
        return Ok(scanner.all());
    }
    let mut errors = Vec::new();
    let mut unknown = |kind: &str, name: &str, known: Vec<&str>| {
        let near = match suggest(name, known.iter().copied()) {
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => String::new(),
        };
        errors.push(format!("no {kind} \"{name}\"{near}"));
    };
    let mut wanted = scanner.none();
    for id in &arguments.only_rules {
        match scanner.index_of(id) {
            Some(rule) => wanted.insert(rule),
            None => unknown("rule", id, scanner.rules().iter().map(|r| r.id()).collect()),
        }
    }
    for name in &arguments.only_packs {
        let packs = library.packs();
        match packs.iter().find(|pack| pack.name == *name) {
            Some(pack) => pack
                .rules
                .iter()
                .filter_map(|rule| scanner.index_of(rule.id()))
                .for_each(|rule| wanted.insert(rule)),
            None => unknown(
                "pack",
                name,
                packs.iter().map(|p| p.name.as_str()).collect(),
            ),
        }
    }
    if errors.is_empty() {
        Ok(wanted)
    } else {
        Err(errors)
    }
}

/// Scans everything named; the exit code.
fn scan(arguments: &Arguments, library: &Library, scanner: &Scanner, wanted: &RuleMask) -> u8 {
    let begun = Instant::now();
    let style = match (arguments.json, arguments.context) {
        (true, _) => Style::Json,
        (_, true) => Style::Context,
        _ => Style::Line,
    };
    let mut totals = Totals::new(library, scanner, arguments.min_confidence);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let stdin = [PathBuf::from("-")];
    let named: &[PathBuf] = if arguments.files.is_empty() {
        &stdin
    } else {
        &arguments.files
    };
    for argument in named {
        let sources = match Source::named(argument) {
            Ok(sources) => sources,
            Err(reason) => {
                totals.fail(&reason);
                continue;
            }
        };
        for source in sources {
            let name = source.name();
            let text = match source.read() {
                Ok(text) => text,
                Err(reason) => {
                    totals.fail(&format!("{name}: {reason}"));
                    continue;
                }
            };
            if let Some(remark) = &text.remark {
                eprintln!("penstock-gateway: {name}: {remark}");
            }
            let told = totals.report(&name, &text, wanted, style, &mut out);
            if let Err(error) = told.and_then(|()| out.flush()) {
                // Whoever read the report has gone, or its disk is full: nothing is left to do.
                eprintln!("penstock-gateway: the report cannot be written: {error}");
                return FAILED;
            }
        }
    }
    eprintln!("{}", totals.summary(begun.elapsed()));
    match totals {
        Totals { failures: 1.., .. } => FAILED,
        Totals { findings: 1.., .. } => FOUND,
        _ => CLEAN,
    }
}
