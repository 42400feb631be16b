//! The rules at hand, before any policy says which of them count: the shipped packs, the
//! operator's laid over them, or a file of rules alone.
//!
//! A policy needs them to look up what its guards name; whoever develops rules, or measures them,
//! needs nothing else.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::PolicyError;
use crate::rule::{Format, ImportNote, Pack, PackError, Rule, shipped};
use crate::scan::{RuleError, Scanner};

/// Largest policy or pack file that is read.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files in the folder, and most in its `packs`.
pub(super) const FILES_MAX: usize = 256;

/// What ends the name of a file that may be a pack.
pub(super) const PACK_ENDINGS: [&str; 4] = ["toml", "yaml", "yml", "json"];

/// Packs, each under a name of its own.
#[derive(Clone, Debug, Default)]
pub struct Library {
    pub(super) packs: Vec<Pack>,
    imports: Vec<Import>,
}

/// A file of another program's rules that was read, and what is not as it says.
#[derive(Clone, Debug)]
pub struct Import {
    /// The pack it became.
    pub pack: String,
    /// Rules of the file that are exactly as they were, nearly so, and not there.
    pub counts: (usize, usize, usize),
    /// What is not honoured as it stands there.
    pub notes: Vec<ImportNote>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

// === impl Library ===

impl Library {
    /// The packs that come with the program; files of one name are one pack.
    pub fn shipped() -> Library {
        let mut packs: Vec<Pack> = Vec::new();
        for (name, text) in shipped() {
            let pack = Pack::parse(name, text).expect("the tests parse every shipped pack");
            match packs.iter_mut().find(|known| known.name == *name) {
                Some(known) => known.rules.extend(pack.rules),
                None => packs.push(pack),
            }
        }
        Library {
            packs,
            imports: Vec::new(),
        }
    }

    /// The rules of a policy folder, whether its guards use them or not: the shipped packs with
    /// those of its `packs` laid over them.
    ///
    /// A folder without `packs` whose files are packs is taken as they are, and so is one file:
    /// then nothing that is shipped joins.
    pub fn read(path: &Path) -> Result<Library, Vec<PolicyError>> {
        if path.is_file() {
            return Library::read_files(&[path]);
        }
        let below = path.join("packs");
        let (mut library, files) = if below.is_dir() {
            (
                Library::shipped(),
                read_folder(&below, &PACK_ENDINGS, FILE_BYTES_MAX)?,
            )
        } else {
            let files = read_folder(path, &PACK_ENDINGS, FILE_BYTES_MAX)?;
            match files.iter().any(|file| is_policy(&file.text)) {
                true => (Library::shipped(), Vec::new()),
                false => (Library::default(), files),
            }
        };
        let mut errors = Vec::new();
        library.add(&files, &mut errors);
        if library.packs.is_empty() && errors.is_empty() {
            let reason = "neither a policy folder nor a folder of packs: no *.toml here";
            errors.push(PolicyError::of_file(path, reason));
        }
        if errors.is_empty() {
            Ok(library)
        } else {
            Err(errors)
        }
    }

    /// The rules of these files and no others, each a pack named for its file.
    pub fn read_files(paths: &[&Path]) -> Result<Library, Vec<PolicyError>> {
        let mut library = Library::default();
        let mut errors = Vec::new();
        for path in paths {
            match read_file(path, FILE_BYTES_MAX) {
                Ok(text) => {
                    let path = path.to_path_buf();
                    library.add(&[Source { path, text }], &mut errors);
                }
                Err(reason) => errors.push(PolicyError::of_file(path, reason)),
            }
        }
        if errors.is_empty() {
            Ok(library)
        } else {
            Err(errors)
        }
    }

    /// The packs, the shipped ones first.
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// The files of other programs among them.
    pub fn imports(&self) -> &[Import] {
        &self.imports
    }

    /// A scanner of all the rules, in the order of the packs and of their files.
    pub fn scanner(&self) -> Result<Scanner, Vec<RuleError>> {
        let rules = self.packs.iter().flat_map(|pack| &pack.rules);
        Scanner::compile(rules.cloned().collect())
    }

    /// Lays the user's packs over those that are there: a rule of the same id in a pack of the same
    /// name replaces the old one, any other rule joins.
    pub(super) fn add(&mut self, user: &[Source], errors: &mut Vec<PolicyError>) {
        for source in user {
            match self.parse(source) {
                Ok(pack) => self.lay(source, pack, errors),
                Err(found) => errors.extend(found),
            }
        }
    }

    /// A file as a pack, whoever's format it is in.
    fn parse(&mut self, source: &Source) -> Result<Pack, Vec<PolicyError>> {
        let Some(name) = source.path.file_stem().and_then(|stem| stem.to_str()) else {
            let reason = "a pack's file name must be UTF-8";
            return Err(vec![PolicyError::of_file(&source.path, reason)]);
        };
        let located = |errors: Vec<PackError>| {
            let error = |error: PackError| PolicyError {
                file: source.path.clone(),
                line: error.line,
                column: error.column,
                reason: match &error.rule {
                    Some(rule) => format!("rule \"{rule}\": {}", error.reason),
                    None => error.reason,
                },
                suggestion: error.suggestion,
            };
            errors.into_iter().map(error).collect::<Vec<_>>()
        };
        let file_name = source.path.to_string_lossy();
        let Some(format) = Format::detect(&file_name, &source.text) else {
            return Pack::parse(name, &source.text).map_err(located);
        };
        let mut imported = format.read(name, &source.text).map_err(located)?;
        // Other programs' rules were not named with ours in mind: on a clash the pack's name goes
        // before the rule's.
        let mut ids: HashSet<String> = imported
            .pack
            .rules
            .iter()
            .map(Rule::id)
            .map(str::to_owned)
            .collect();
        for rule in &mut imported.pack.rules {
            if self.holder(rule.id(), name).is_some() {
                let taken = |id: &str| ids.contains(id) || self.holder(id, name).is_some();
                imported.notes.push(rule.rename_for(name, &taken));
                ids.insert(rule.id().to_owned());
            }
        }
        self.imports.push(Import {
            pack: name.to_owned(),
            counts: imported.counts(),
            notes: imported.notes,
        });
        Ok(imported.pack)
    }

    /// The pack, other than `except`, that has a rule of this id.
    fn holder(&self, id: &str, except: &str) -> Option<&Pack> {
        let others = self.packs.iter().filter(|other| other.name != except);
        others
            .into_iter()
            .find(|other| other.rules.iter().any(|known| known.id() == id))
    }

    fn lay(&mut self, source: &Source, pack: Pack, errors: &mut Vec<PolicyError>) {
        for rule in &pack.rules {
            if let Some(other) = self.holder(rule.id(), &pack.name) {
                let reason = format!(
                    "rule \"{}\" is also in pack \"{}\"; give it another id, or put it in \
                     packs/{}.toml to replace that one",
                    rule.id(),
                    other.name,
                    other.name
                );
                errors.push(PolicyError::of_file(&source.path, reason));
            }
        }
        let Some(known) = self.packs.iter_mut().find(|known| known.name == pack.name) else {
            return self.packs.push(pack);
        };
        for rule in pack.rules {
            match known.rules.iter_mut().find(|old| old.id() == rule.id()) {
                Some(old) => *old = rule,
                None => known.rules.push(rule),
            }
        }
    }
}

// === impl Import ===

impl Import {
    /// What there is to say of the file: how much of it there is, then what is not as it says.
    pub fn lines(&self) -> Vec<String> {
        let (exact, nearly, missing) = self.counts;
        let pack = &self.pack;
        let count = format!(
            "pack {pack}: {exact} rules as they were, {nearly} not wholly, {missing} not at all"
        );
        let notes = ImportNote::summary(&self.notes);
        let notes = notes.into_iter().map(|line| format!("pack {pack}: {line}"));
        std::iter::once(count).chain(notes).collect()
    }
}

/// Is this the text of a policy, not of a pack?
fn is_policy(text: &str) -> bool {
    let opens = |line: &str| {
        let line = line.trim_start();
        ["[[grant]]", "[[guard]]", "[[hold]]", "[[tokenizer]]"]
            .iter()
            .any(|table| line.starts_with(table))
    };
    text.lines().any(opens)
}

/// The files of a folder whose names have one of these endings, in the order of their names.
pub(super) fn read_folder(
    dir: &Path,
    endings: &[&str],
    bytes_max: u64,
) -> Result<Vec<Source>, Vec<PolicyError>> {
    let fail = |path: &Path, what: &str, error: std::io::Error| {
        vec![PolicyError::of_file(path, format!("{what}: {error}"))]
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| fail(dir, "cannot be read", error))? {
        let path = entry
            .map_err(|error| fail(dir, "cannot be listed", error))?
            .path();
        let ending = path.extension().unwrap_or_default();
        if endings.iter().any(|known| *known == ending) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.len() > FILES_MAX {
        let reason = format!("holds {} files; {FILES_MAX} are the most", paths.len());
        return Err(vec![PolicyError::of_file(dir, reason)]);
    }
    let mut sources = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        match read_file(&path, bytes_max) {
            Ok(text) => sources.push(Source { path, text }),
            Err(reason) => errors.push(PolicyError::of_file(&path, reason)),
        }
    }
    if errors.is_empty() {
        Ok(sources)
    } else {
        Err(errors)
    }
}

fn read_file(path: &Path, bytes_max: u64) -> Result<String, String> {
    let bytes = std::fs::metadata(path)
        .map_err(|error| format!("cannot be read: {error}"))?
        .len();
    if bytes > bytes_max {
        return Err(format!("has {bytes} bytes; {bytes_max} are the most"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}
