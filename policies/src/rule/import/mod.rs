//! Rules that were written for other programs, read as they are.
//!
//! | file | known by |
//! | --- | --- |
//! | gitleaks and Betterleaks configuration, TOML | `[[rules]]` |
//! | Presidio recognizers, YAML or JSON | `recognizers`, `ad_hoc_recognizers`, or a list of tables with `supported_entity` |
//!
//! Whatever such a file asks for is honoured exactly, honoured in part, or not at all; the last two
//! are told as [`ImportNote`]s, never passed over. What is left out errs towards finding more,
//! but never so far that a mark and much text behind it are a match (see `gaps`).
//! A file that is not of its format at all is refused with the place of its fault.

mod allow;
mod decompose;
mod draft;
mod filter;
mod gaps;
mod gitleaks;
mod go;
mod keywords;
mod presidio;
mod python;
mod shape;
mod tree;
mod yaml;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::diagnostic::{PackError, Position};
use super::{Pack, Rule};

/// The most rules that are read from one file, alternatives counted.
pub const IMPORTED_RULES_MAX: usize = 4096;

/// The longest expression that is read, in bytes.
pub const IMPORTED_REGEX_BYTES_MAX: usize = 16 << 10;

/// The most attempts at expressions of one file that may fail: each takes until an automaton has
/// grown too big, some 20 ms, and loading a file must not take minutes. A file of 222 rules that
/// people use has 23.
const FAILED_ATTEMPTS_MAX: u32 = 128;

/// The most expressions in the allow-lists of one rule.
const ALLOW_PATTERNS_MAX: usize = 256;

/// The most entries of an allow-list, of keywords or of values that one rule takes.
const LIST_MAX: usize = 4096;

/// A format of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// gitleaks, and Betterleaks after it.
    Gitleaks,
    /// Presidio recognizers.
    Presidio,
}

/// Something in a file that is not honoured as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportNote {
    /// The rule as the file calls it; none when it is about the whole file.
    pub rule: Option<String>,
    /// Line in the file, from one.
    pub line: usize,
    /// What is asked for, and what becomes of it.
    pub what: String,
    /// How much is lost.
    pub kind: ImportKind,
}

/// What becomes of something that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImportKind {
    /// The rule is there and does not do this.
    Ignored,
    /// The rule does nearly this.
    Approximated,
    /// The rule is not there.
    Refused,
}

/// What a file gave.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Its rules.
    pub pack: Pack,
    /// What is not as the file says.
    pub notes: Vec<ImportNote>,
    /// How many rules the file has.
    pub rules_in_file: usize,
}

// === impl Format ===

impl Format {
    /// The format of a file by its name's ending and its shape; none when it is a pack of our own,
    /// or nothing that we know.
    pub fn detect(file_name: &str, text: &str) -> Option<Format> {
        let ending = file_name.rsplit_once('.').map_or("", |(_, ending)| ending);
        match ending {
            "yaml" | "yml" | "json" => Some(Format::Presidio),
            _ => {
                let opens = |line: &str| {
                    let name = line.trim_start().strip_prefix("[[");
                    let name = name.and_then(|name| name.split_once("]]"));
                    name.is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("rules"))
                };
                text.lines().any(opens).then_some(Format::Gitleaks)
            }
        }
    }

    /// Reads a file of this format. `name` becomes the pack's name and stands in every error.
    pub fn read(self, name: &str, text: &str) -> Result<Imported, Vec<PackError>> {
        match self {
            Format::Gitleaks => gitleaks::read(name, text),
            Format::Presidio => presidio::read(name, text),
        }
    }
}

// === impl Imported ===

impl Imported {
    /// How many of the file's rules are exactly as they were, nearly so, and not there.
    pub fn counts(&self) -> (usize, usize, usize) {
        let mut worst: BTreeMap<&str, ImportKind> = BTreeMap::new();
        for note in &self.notes {
            if let Some(rule) = &note.rule {
                let kind = worst.entry(rule).or_insert(note.kind);
                *kind = (*kind).max(note.kind);
            }
        }
        let refused = worst.values().filter(|kind| **kind == ImportKind::Refused);
        let (refused, touched) = (refused.count(), worst.len());
        let exact = self.rules_in_file.saturating_sub(touched);
        (exact, touched - refused, refused)
    }
}

// === impl ImportNote ===

impl ImportNote {
    /// One line for each thing that is not honoured, with all the rules that ask for it.
    pub fn summary<'n>(notes: impl IntoIterator<Item = &'n ImportNote>) -> Vec<String> {
        let mut groups: BTreeMap<(ImportKind, &str), Vec<String>> = BTreeMap::new();
        for note in notes {
            let rules = groups.entry((note.kind, &note.what)).or_default();
            let name = match &note.rule {
                Some(rule) => rule.clone(),
                None => format!("line {}", note.line),
            };
            if rules.last() != Some(&name) {
                rules.push(name);
            }
        }
        let line = |((kind, what), rules): ((ImportKind, &str), Vec<String>)| {
            format!("{kind}: {what}: {}", rules.join(", "))
        };
        groups.into_iter().map(line).collect()
    }
}

impl fmt::Display for ImportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ImportKind::Ignored => "ignored",
            ImportKind::Approximated => "approximated",
            ImportKind::Refused => "refused",
        })
    }
}

/// The rules and notes of a file while it is read.
struct Reading {
    name: String,
    rules: Vec<Rule>,
    notes: Vec<ImportNote>,
    errors: Vec<PackError>,
    rules_in_file: usize,
    /// Attempts at expressions that did not run.
    failed: u32,
    /// Ids that are taken, each with the number that its next namesake gets.
    ids: HashMap<String, usize>,
}

/// The rule that is being read.
struct At<'a> {
    rule: Option<&'a str>,
    place: Position,
}

// === impl Reading ===

impl Reading {
    fn new(name: &str) -> Reading {
        Reading {
            name: name.to_owned(),
            rules: Vec::new(),
            notes: Vec::new(),
            errors: Vec::new(),
            rules_in_file: 0,
            failed: 0,
            ids: HashMap::new(),
        }
    }

    /// A foreign name as an id of ours that no other rule of the file has.
    fn unique_id(&mut self, name: &str) -> String {
        let slug = draft::slug(name);
        let mut id = slug.clone();
        while self.ids.contains_key(&id) {
            let number = self.ids.entry(slug.clone()).or_insert(2);
            id = format!("{slug}-{number}");
            *number += 1;
        }
        self.ids.insert(id.clone(), 2);
        id
    }

    fn note(&mut self, at: &At<'_>, kind: ImportKind, what: impl Into<String>) {
        self.notes.push(ImportNote {
            rule: at.rule.map(str::to_owned),
            line: at.place.line,
            what: what.into(),
            kind,
        });
    }

    /// A fault for which the file is refused.
    fn error(&mut self, rule: Option<&str>, misfit: tree::Misfit) {
        self.errors.push(PackError {
            pack: self.name.clone(),
            line: misfit.at.line,
            column: misfit.at.column,
            rule: rule.map(str::to_owned),
            reason: misfit.reason,
            suggestion: None,
        });
    }

    fn finish(self) -> Result<Imported, Vec<PackError>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(Imported {
            pack: Pack {
                name: self.name,
                rules: self.rules,
            },
            notes: self.notes,
            rules_in_file: self.rules_in_file,
        })
    }
}
