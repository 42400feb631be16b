//! The rules at hand, before any policy says which of them count: the shipped packs, the
//! operator's laid over them, or a file of rules alone.
//!
//! A policy needs them to look up what its guards name; whoever develops rules, or measures them,
//! needs nothing else.

use std::path::{Path, PathBuf};

use super::error::PolicyError;
use crate::rule::{Pack, shipped};
use crate::scan::{RuleError, Scanner};

/// Largest policy or pack file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files in the folder, and most in its `packs`.
const FILES_MAX: usize = 256;

/// Packs, each under a name of its own.
#[derive(Clone, Debug)]
pub struct Library {
    packs: Vec<Pack>,
}

/// A file that was read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

// === impl Library ===

impl Library {
    /// The packs that come with the program.
    pub fn shipped() -> Library {
        Library {
            packs: shipped_packs(),
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
        let (mut packs, files) = if below.is_dir() {
            (shipped_packs(), read_folder(&below)?)
        } else {
            let files = read_folder(path)?;
            match files.iter().any(|file| is_policy(&file.text)) {
                true => (shipped_packs(), Vec::new()),
                false => (Vec::new(), files),
            }
        };
        let mut errors = Vec::new();
        add_user_packs(&mut packs, &files, &mut errors);
        if packs.is_empty() && errors.is_empty() {
            let reason = "neither a policy folder nor a folder of packs: no *.toml here";
            errors.push(PolicyError::of_file(path, reason));
        }
        if errors.is_empty() {
            Ok(Library { packs })
        } else {
            Err(errors)
        }
    }

    /// The rules of these files and no others, each a pack named for its file.
    pub fn read_files(paths: &[&Path]) -> Result<Library, Vec<PolicyError>> {
        let mut packs = Vec::new();
        let mut errors = Vec::new();
        for path in paths {
            match read_file(path) {
                Ok(text) => {
                    let path = path.to_path_buf();
                    add_user_packs(&mut packs, &[Source { path, text }], &mut errors);
                }
                Err(reason) => errors.push(PolicyError::of_file(path, reason)),
            }
        }
        if errors.is_empty() {
            Ok(Library { packs })
        } else {
            Err(errors)
        }
    }

    /// The packs, the shipped ones first.
    pub fn packs(&self) -> &[Pack] {
        &self.packs
    }

    /// A scanner of all the rules, in the order of the packs and of their files.
    pub fn scanner(&self) -> Result<Scanner, Vec<RuleError>> {
        let rules = self.packs.iter().flat_map(|pack| &pack.rules);
        Scanner::compile(rules.cloned().collect())
    }
}

/// Is this the text of a policy, not of a pack?
fn is_policy(text: &str) -> bool {
    let opens = |line: &str| {
        let line = line.trim_start();
        line.starts_with("[[grant]]") || line.starts_with("[[guard]]")
    };
    text.lines().any(opens)
}

/// The `*.toml` files of a folder, in the order of their names.
pub(super) fn read_folder(dir: &Path) -> Result<Vec<Source>, Vec<PolicyError>> {
    let fail = |path: &Path, what: &str, error: std::io::Error| {
        vec![PolicyError::of_file(path, format!("{what}: {error}"))]
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| fail(dir, "cannot be read", error))? {
        let path = entry
            .map_err(|error| fail(dir, "cannot be listed", error))?
            .path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
            && path.is_file()
        {
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
        match read_file(&path) {
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

fn read_file(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path)
        .map_err(|error| format!("cannot be read: {error}"))?
        .len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("has {bytes} bytes; {FILE_BYTES_MAX} are the most"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))
}

/// The shipped packs; files of one name are one pack.
pub(super) fn shipped_packs() -> Vec<Pack> {
    let mut packs: Vec<Pack> = Vec::new();
    for (name, text) in shipped() {
        let pack = Pack::parse(name, text).expect("the tests parse every shipped pack");
        match packs.iter_mut().find(|known| known.name == *name) {
            Some(known) => known.rules.extend(pack.rules),
            None => packs.push(pack),
        }
    }
    packs
}

/// Lays the user's packs over those that are there: a rule of the same id in a pack of the same
/// name replaces the old one, any other rule joins.
pub(super) fn add_user_packs(
    packs: &mut Vec<Pack>,
    user: &[Source],
    errors: &mut Vec<PolicyError>,
) {
    for source in user {
        let Some(name) = source.path.file_stem().and_then(|stem| stem.to_str()) else {
            errors.push(PolicyError::of_file(
                &source.path,
                "a pack's file name must be UTF-8",
            ));
            continue;
        };
        let pack = match Pack::parse(name, &source.text) {
            Ok(pack) => pack,
            Err(found) => {
                errors.extend(found.into_iter().map(|error| PolicyError {
                    file: source.path.clone(),
                    line: error.line,
                    column: error.column,
                    reason: match &error.rule {
                        Some(rule) => format!("rule \"{rule}\": {}", error.reason),
                        None => error.reason,
                    },
                    suggestion: error.suggestion,
                }));
                continue;
            }
        };
        for rule in &pack.rules {
            let elsewhere = packs
                .iter()
                .filter(|other| other.name != pack.name)
                .find(|other| other.rules.iter().any(|known| known.id() == rule.id()));
            if let Some(other) = elsewhere {
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
        match packs.iter_mut().find(|known| known.name == pack.name) {
            Some(known) => {
                for rule in pack.rules {
                    match known.rules.iter_mut().find(|old| old.id() == rule.id()) {
                        Some(old) => *old = rule,
                        None => known.rules.push(rule),
                    }
                }
            }
            None => packs.push(pack),
        }
    }
}
