//! From a folder to a [`PolicySet`]: read, decode, lay packs over one another, compile.
//!
//! Errors are gathered as far as they are independent: an operator who made three slips reads about
//! three slips.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::Engine;
use super::error::PolicyError;
use super::file::PolicyFile;
use super::resolve::{Names, Place};
use super::scope::Grant;
use super::{Guard, GuardSummary, PolicySet, PolicySources, Summary};
use crate::mask::MaskKey;
use crate::rule::{Pack, shipped};
use crate::scan::{RuleIndex, Scanner};
use crate::verdict::Action;

/// Largest policy or pack file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files in the folder, and most in its `packs`.
const FILES_MAX: usize = 256;

/// A file that was read.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

pub(super) fn load(sources: &PolicySources<'_>) -> Result<PolicySet, Vec<PolicyError>> {
    let files = read_folder(sources.dir)?;
    if files.is_empty() {
        let reason = "no *.toml here; a policy needs at least one grant to be of use";
        return Err(vec![PolicyError::of_file(sources.dir, reason)]);
    }
    let pack_dir = sources.dir.join("packs");
    let pack_files = if pack_dir.is_dir() {
        read_folder(&pack_dir)?
    } else {
        Vec::new()
    };
    let mut errors = Vec::new();
    let mut names = Names {
        packs: packs(&pack_files, &mut errors),
        used: vec![],
        index: <_>::default(),
    };
    let mut warnings = Vec::new();
    let (grants, mut guards) = resolve(&files, &mut names, &mut errors, &mut warnings);
    if !errors.is_empty() {
        return Err(errors);
    }
    guards.extend(withhold(sources.withheld, &mut names));
    warn_of_gaps(&grants, &guards, &mut warnings);
    let summary = summary(&files, &names, &grants, &guards);
    let version = version(&files, &pack_files, &names);
    let ids = names.used.iter().map(|rule| Arc::from(rule.id())).collect();
    let scanner = Scanner::compile(names.used).map_err(|errors| {
        let error = |error: &crate::scan::RuleError| {
            PolicyError::of_file(
                sources.dir,
                format!("rule \"{}\": {}", error.rule, error.reason),
            )
        };
        errors.iter().map(error).collect::<Vec<_>>()
    })?;
    let engine = Engine {
        scanner,
        key: MaskKey::new(sources.pseudonym_key),
        ids,
    };
    Ok(PolicySet {
        everything: false,
        grants,
        guards,
        engine: Some(Arc::new(engine)),
        packs: names.packs,
        version,
        warnings,
        summary,
    })
}

/// The meaning of all files together.
fn resolve(
    files: &[Source],
    names: &mut Names,
    errors: &mut Vec<PolicyError>,
    warnings: &mut Vec<String>,
) -> (Vec<Arc<Grant>>, Vec<Guard>) {
    let mut grants = Vec::new();
    let mut guards: Vec<Guard> = Vec::new();
    for source in files {
        let decoded: PolicyFile = match toml::from_str(&source.text) {
            Ok(decoded) => decoded,
            Err(error) => {
                errors.push(PolicyError::from_toml(&source.path, &source.text, &error));
                continue;
            }
        };
        let mut at = Place {
            source,
            errors,
            warnings,
        };
        for table in decoded.grant {
            grants.extend(at.grant(&table).map(Arc::new));
        }
        for table in decoded.guard {
            let guard = at.guard(&table, names);
            if let Some(guard) = &guard
                && guards.iter().any(|other| other.name == guard.name)
            {
                let name = table.get_ref().name.clone();
                at.error(&name, format!("a second guard named \"{}\"", guard.name));
            }
            guards.extend(guard);
        }
    }
    (grants, guards)
}

/// The guard that keeps the gateway's own credentials from every caller, whatever else applies: an
/// engine that repeats the head it was sent must not hand them out. It is no part of the version,
/// since nobody should be able to test guesses against that.
fn withhold(texts: &[String], names: &mut Names) -> Option<Guard> {
    let mut rules = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let quoted = toml::Value::String(regex_syntax::escape(text));
        let example = toml::Value::String(text.clone());
        let pack = format!(
            "[[rule]]\nid = \"upstream-credential-{number}\"\n\
             description = \"A credential of the gateway's own\"\nregex = {quoted}\n\
             max_len = {}\nreplace = \"[masked:credential]\"\n\
             matches = [{example}]\nmisses = [\"none\"]\n",
            text.len()
        );
        // The texts are bounded, literal and not empty: see `PolicySources::withheld`.
        let parsed = Pack::parse("withheld", &pack).expect("a literal rule is a rule");
        for rule in parsed.rules {
            let index = RuleIndex(u16::try_from(names.used.len()).expect("rules fit 16 bits"));
            names.index.insert(rule.id().to_owned(), index);
            names.used.push(rule);
            rules.push(index);
        }
    }
    (!rules.is_empty()).then(|| Guard {
        name: Arc::from("the engine's credential"),
        request: false,
        response: true,
        action: Action::Mask,
        groups: Vec::new(),
        except_groups: Vec::new(),
        rules,
    })
}

/// What a policy does not cover, and probably was meant to.
fn warn_of_gaps(grants: &[Arc<Grant>], guards: &[Guard], warnings: &mut Vec<String>) {
    if grants.is_empty() {
        warnings.push("nothing is granted: every caller will be refused".to_owned());
    }
    for (word, looks) in [
        ("request", guards.iter().any(|guard| guard.request)),
        ("response", guards.iter().any(|guard| guard.response)),
    ] {
        if !looks {
            warnings.push(format!("no guard looks at any {word}"));
        }
    }
}

/// The `*.toml` files of a folder, in the order of their names.
fn read_folder(dir: &Path) -> Result<Vec<Source>, Vec<PolicyError>> {
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

/// The shipped packs with the user's laid over them: a rule of the same id in a pack of the same
/// name replaces the shipped one, any other rule joins.
fn packs(user: &[Source], errors: &mut Vec<PolicyError>) -> Vec<Pack> {
    let mut packs: Vec<Pack> = shipped()
        .iter()
        .map(|(name, text)| Pack::parse(name, text).expect("the tests parse every shipped pack"))
        .collect();
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
    packs
}

fn summary(files: &[Source], names: &Names, grants: &[Arc<Grant>], guards: &[Guard]) -> Summary {
    Summary {
        files: files.iter().map(file_name).collect(),
        grants: grants.len(),
        guards: guards
            .iter()
            .map(|guard| GuardSummary {
                name: guard.name.to_string(),
                direction: match (guard.request, guard.response) {
                    (true, true) => "both",
                    (true, false) => "request",
                    _ => "response",
                },
                action: guard.action,
                rules: guard.rules.len(),
            })
            .collect(),
        packs: names
            .packs
            .iter()
            .map(|pack| (pack.name.clone(), pack.rules.len()))
            .collect(),
        rules_used: names.used.len(),
    }
}

fn file_name(source: &Source) -> String {
    source
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The version of what was read: policy files, user packs, and the shipped packs in use.
fn version(files: &[Source], pack_files: &[Source], names: &Names) -> String {
    let in_use = |name: &str| {
        let pack = names.packs.iter().find(|pack| pack.name == name);
        pack.is_some_and(|pack| {
            pack.rules
                .iter()
                .any(|rule| names.index.contains_key(rule.id()))
        })
    };
    let mut parts: Vec<(String, &str)> = Vec::new();
    parts.extend(
        files
            .iter()
            .map(|source| (file_name(source), source.text.as_str())),
    );
    parts.extend(
        pack_files
            .iter()
            .map(|source| (format!("packs/{}", file_name(source)), &*source.text)),
    );
    parts.extend(
        shipped()
            .iter()
            .filter(|(name, _)| in_use(name))
            .map(|(name, text)| (format!("shipped/{name}"), *text)),
    );
    version_of(parts.iter().map(|(name, text)| (name.as_str(), *text)))
}

/// Sixteen hexadecimal digits of BLAKE3 over names and contents, each preceded by its length.
pub(super) fn version_of<'a>(parts: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in parts {
        for part in [name, text] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
