//! From a folder's texts to a [`PolicySet`]: decode, lay packs over one another, compile.
//!
//! Errors are gathered as far as they are independent: an operator who made three slips reads about
//! three slips.

use std::sync::Arc;

use super::bound::Bound;
use super::engine::Engine;
use super::error::PolicyError;
use super::file::PolicyFile;
use super::files::PolicyFiles;
use super::hold::HoldRule;
use super::library::{Import, Library, Source};
use super::resolve::{Names, Place};
use super::scope::Grant;
use super::tokens::{ModelTokenizer, Tokenizers};
use super::{Guard, GuardSummary, Observes, PolicySet, Summary};
use crate::mask::MaskKey;
use crate::rule::{Confidence, Pack, shipped};
use crate::scan::{RuleIndex, Scanner};
use crate::verdict::Action;

pub(super) fn compile(
    sources: &PolicyFiles,
    pseudonym_key: [u8; 32],
    withheld: &[String],
) -> Result<PolicySet, Vec<PolicyError>> {
    let PolicyFiles {
        dir,
        policies: files,
        packs: pack_files,
        tokenizers,
    } = sources;
    if files.is_empty() {
        let reason = "no *.toml here; a policy needs at least one grant to be of use";
        return Err(vec![PolicyError::of_file(dir, reason)]);
    }
    let mut errors = Vec::new();
    let mut library = Library::shipped();
    library.add(pack_files, &mut errors);
    let mut warnings: Vec<String> = library.imports().iter().flat_map(Import::lines).collect();
    let mut names = Names {
        packs: library.packs,
        used: vec![],
        index: <_>::default(),
    };
    let resolved = resolve(sources, &mut names, &mut errors, &mut warnings);
    if !errors.is_empty() {
        return Err(errors);
    }
    let Resolved {
        grants,
        mut guards,
        holds,
        bound,
        tokenizers: used_tokenizers,
    } = resolved;
    guards.extend(withhold(withheld, &mut names));
    warn_of_gaps(&grants, &guards, &mut warnings);
    let mut summary = summary(files, &names, &grants, &guards);
    summary.holds = holds.iter().map(|hold| hold.describe()).collect();
    summary.tokenizers = used_tokenizers
        .iter()
        .map(ModelTokenizer::describe)
        .collect();
    let version = version(files, pack_files, tokenizers, &names);
    let ids = names.used.iter().map(|rule| Arc::from(rule.id())).collect();
    let scanner = Scanner::compile(names.used).map_err(|errors| {
        let error = |error: &crate::scan::RuleError| {
            PolicyError::of_file(dir, format!("rule \"{}\": {}", error.rule, error.reason))
        };
        errors.iter().map(error).collect::<Vec<_>>()
    })?;
    warnings.extend(scanner.slow_rules());
    let engine = Engine {
        scanner,
        key: MaskKey::new(pseudonym_key),
        ids,
        bound,
        tokenizers: Tokenizers::new(used_tokenizers),
    };
    Ok(PolicySet {
        everything: false,
        grants,
        guards,
        holds: holds.into_iter().map(Arc::new).collect(),
        engine: Some(Arc::new(engine)),
        packs: names.packs,
        version,
        warnings,
        summary,
    })
}

/// What all files mean together.
#[derive(Default)]
struct Resolved {
    grants: Vec<Arc<Grant>>,
    guards: Vec<Guard>,
    holds: Vec<HoldRule>,
    bound: Bound,
    tokenizers: Vec<ModelTokenizer>,
}

// === impl Resolved ===

impl Resolved {
    /// A guard and a hold are known to people by their names, so no two share one.
    fn has(&self, name: &str) -> bool {
        self.guards.iter().any(|guard| &*guard.name == name)
            || self.holds.iter().any(|hold| &*hold.name == name)
    }
}

fn resolve(
    sources: &PolicyFiles,
    names: &mut Names,
    errors: &mut Vec<PolicyError>,
    warnings: &mut Vec<String>,
) -> Resolved {
    let mut all = Resolved::default();
    let mut bound = None;
    let mut observe = false;
    for source in &sources.policies {
        let decoded: PolicyFile = match toml::from_str(&source.text) {
            Ok(decoded) => decoded,
            Err(error) => {
                errors.push(PolicyError::from_toml(&source.path, &source.text, &error));
                continue;
            }
        };
        let mut at = Place { source, errors };
        if let Some(table) = &decoded.inspection {
            if bound.is_some() {
                at.error(table, "a second [inspection]; one in all files is enough");
            }
            bound = Some(at.bound(table));
            observe |= table.get_ref().observe;
        }
        for table in decoded.grant {
            all.grants.extend(at.grant(&table).map(Arc::new));
        }
        for table in decoded.guard {
            let guard = at.guard(&table, names);
            if let Some(guard) = &guard
                && all.has(&guard.name)
            {
                let name = table.get_ref().name.clone();
                at.error(&name, format!("a second guard named \"{}\"", guard.name));
            }
            all.guards.extend(guard);
        }
        for table in decoded.hold {
            let hold = at.hold(&table);
            if let Some(hold) = &hold
                && all.has(&hold.name)
            {
                let name = table.get_ref().name.clone();
                at.error(&name, format!("\"{}\" is the name of another", hold.name));
            }
            all.holds.extend(hold);
        }
        for table in decoded.tokenizer {
            let tokenizer = at.tokenizer(&table, &sources.tokenizers);
            all.tokenizers.extend(tokenizer);
        }
    }
    if observe {
        all.guards.iter_mut().for_each(Guard::observe);
        all.holds.iter_mut().for_each(HoldRule::observe);
    }
    warn_of_observers(&all.guards, observe, warnings);
    all.bound = bound.unwrap_or_default();
    all
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
        least: Confidence::Low,
        restores: false,
        groups: Vec::new(),
        except_groups: Vec::new(),
        rules,
        observed: Vec::new(),
        runs: None,
        observes_runs: false,
        approvers: None,
    })
}

/// A guard that does not act must not be forgotten.
fn warn_of_observers(guards: &[Guard], all: bool, warnings: &mut Vec<String>) {
    if all {
        let warning = "ALL GUARDS ONLY OBSERVE: what they find is recorded, and nothing is blocked, \
                       held or masked. Remove `observe` from [inspection] to let them act";
        return warnings.push(warning.to_owned());
    }
    for guard in guards {
        let name = &guard.name;
        match guard.observes() {
            Observes::Nothing => {}
            Observes::Rules(count) => warnings.push(format!(
                "guard \"{name}\" only observes {count} of its rules: their matches are recorded \
                 and not acted on"
            )),
            Observes::Everything => warnings.push(format!(
                "guard \"{name}\" only observes: what it finds is recorded and not acted on"
            )),
        }
    }
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
                rules: guard.rules.len() + guard.observed.len(),
                approvers: guard.approvers.as_ref().map(|it| it.to_string()),
                observes: guard.observes(),
            })
            .collect(),
        packs: names
            .packs
            .iter()
            .map(|pack| (pack.name.clone(), pack.rules.len()))
            .collect(),
        rules_used: names.used.len(),
        ..Summary::default()
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
fn version(
    files: &[Source],
    pack_files: &[Source],
    tokenizers: &[Source],
    names: &Names,
) -> String {
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
        tokenizers
            .iter()
            .map(|source| (format!("tokenizers/{}", file_name(source)), &*source.text)),
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
