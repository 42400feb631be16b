//! From a folder to a [`PolicySet`]: read, decode, resolve every name, compile the rules in use.
//!
//! Errors are gathered as far as they are independent: an operator who made three slips reads about
//! three slips.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

use super::engine::Engine;
use super::error::{PolicyError, closest};
use super::file::{ApproversTable, GrantTable, GuardTable, PolicyFile};
use super::glob::Glob;
use super::scope::{Grant, Limits};
use super::{Guard, GuardSummary, PolicySet, PolicySources, Summary};
use crate::mask::MaskKey;
use crate::profile::Operation;
use crate::rule::{Pack, Rule, shipped};
use crate::scan::{RuleIndex, Scanner};
use crate::verdict::Action;

/// Largest policy or pack file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Most files in the folder, and most in its `packs`.
const FILES_MAX: usize = 256;

/// A file that was read.
struct Source {
    path: PathBuf,
    text: String,
}

/// Everything that files may refer to, and what they referred to so far.
struct Names {
    packs: Vec<Pack>,
    /// Rules in use, in the order of first use; the position is the rule index.
    used: Vec<Rule>,
    index: BTreeMap<String, RuleIndex>,
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
    let mut grants = Vec::new();
    let mut guards: Vec<Guard> = Vec::new();
    let mut warnings = Vec::new();
    for source in &files {
        let decoded: PolicyFile = match toml::from_str(&source.text) {
            Ok(decoded) => decoded,
            Err(error) => {
                errors.push(PolicyError::from_toml(&source.path, &source.text, &error));
                continue;
            }
        };
        let mut at = Place {
            source,
            errors: &mut errors,
            warnings: &mut warnings,
        };
        for table in decoded.grant {
            grants.extend(at.grant(&table).map(Arc::new));
        }
        for table in decoded.guard {
            let guard = at.guard(&table, &mut names);
            if let Some(guard) = &guard
                && guards.iter().any(|other| other.name == guard.name)
            {
                let name = table.get_ref().name.clone();
                at.error(&name, format!("a second guard named \"{}\"", guard.name));
            }
            guards.extend(guard);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
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
                    reason: error.reason,
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

/// The file that is being resolved, and where its errors go.
struct Place<'a> {
    source: &'a Source,
    errors: &'a mut Vec<PolicyError>,
    warnings: &'a mut Vec<String>,
}

impl Place<'_> {
    fn error<T>(&mut self, at: &Spanned<T>, reason: impl Into<String>) -> &mut PolicyError {
        let offset = at.span().start;
        self.errors.push(PolicyError::at(
            &self.source.path,
            &self.source.text,
            offset,
            reason,
        ));
        self.errors
            .last_mut()
            .expect("an error was pushed in the line above")
    }

    /// An unknown word where one of `known` was expected.
    fn unknown<'k>(
        &mut self,
        at: &Spanned<String>,
        kind: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let word = at.get_ref();
        let suggestion = closest(word, known.clone());
        let mut reason = format!("unknown {kind} \"{word}\"");
        if suggestion.is_none() {
            let mut all: Vec<&str> = known.collect();
            all.truncate(KNOWN_WORDS_MAX);
            reason += &format!("; known here: {}", all.join(", "));
        }
        self.error(at, reason).suggestion = suggestion;
    }

    fn grant(&mut self, table: &Spanned<GrantTable>) -> Option<Grant> {
        let before = self.errors.len();
        let grant = table.get_ref();
        let mut operations = Vec::new();
        for word in &grant.operations {
            match Operation::from_name(word.get_ref()) {
                Some(operation) => operations.push(operation),
                None => self.unknown(word, "operation", Operation::ALL.iter().map(|o| o.as_str())),
            }
        }
        if grant.groups.is_empty() {
            self.error(table, "a grant must name its groups (\"*\" is every group)");
        }
        if grant.operations.is_empty() {
            self.error(table, "a grant must name its operations");
        }
        for name in grant
            .groups
            .iter()
            .chain(&grant.models)
            .filter(|n| n.get_ref().is_empty())
        {
            self.error(name, "an empty name fits nothing; leave it out");
        }
        let per_model = operations.iter().find(|operation| operation.is_per_model());
        if let Some(operation) = per_model
            && grant.models.is_empty()
        {
            let reason =
                format!("a grant of \"{operation}\" must name its models ([\"*\"] is all)");
            self.error(table, reason);
        }
        if self.errors.len() > before {
            return None;
        }
        let globs =
            |names: &[Spanned<String>]| names.iter().map(|n| Glob::new(n.get_ref())).collect();
        Some(Grant {
            groups: globs(&grant.groups),
            models: globs(&grant.models),
            operations,
            limits: Limits {
                prompt_tokens: grant.limits.prompt_tokens,
                body_bytes: grant.limits.body_bytes,
            },
        })
    }

    fn guard(&mut self, table: &Spanned<GuardTable>, names: &mut Names) -> Option<Guard> {
        let before = self.errors.len();
        let guard = table.get_ref();
        let (request, response) = match guard.direction.get_ref().as_str() {
            "request" => (true, false),
            "response" => (false, true),
            "both" => (true, true),
            _ => {
                let known = ["request", "response", "both"];
                self.unknown(&guard.direction, "direction", known.into_iter());
                (false, false)
            }
        };
        let action = match guard.action.get_ref().as_str() {
            "allow" => Action::Allow,
            "flag" => Action::Flag,
            "mask" => Action::Mask,
            "hold" => Action::Hold,
            "block" => Action::Block,
            _ => {
                let known = ["flag", "mask", "hold", "block"];
                self.unknown(&guard.action, "action", known.into_iter());
                Action::Block
            }
        };
        match action {
            Action::Allow => {
                let reason = "a guard cannot allow: it only looks for what must not pass; use \
                              \"flag\", or except_groups to leave callers out";
                self.error(&guard.action, reason);
            }
            Action::Hold if response => {
                let reason = "only requests can be held; a response can be masked or blocked";
                self.error(&guard.action, reason);
            }
            Action::Hold => self.approvers(guard),
            _ => {}
        }
        if guard.approvers.is_some() && action != Action::Hold {
            self.error(
                &guard.action,
                "approvers belong to a guard whose action is \"hold\"",
            );
        }
        let rules = self.rules(guard, names);
        if rules.is_empty() && self.errors.len() == before {
            self.error(table, "a guard must name packs or rules");
        }
        if guard.name.get_ref().is_empty() {
            self.error(
                &guard.name,
                "a guard needs a name: people will read it in an answer",
            );
        }
        if self.errors.len() > before {
            return None;
        }
        Some(Guard {
            name: Arc::from(guard.name.get_ref().as_str()),
            request,
            response,
            action,
            groups: guard.groups.iter().map(|text| Glob::new(text)).collect(),
            except_groups: guard
                .except_groups
                .iter()
                .map(|text| Glob::new(text))
                .collect(),
            rules,
        })
    }

    fn approvers(&mut self, guard: &GuardTable) {
        let Some(table) = &guard.approvers else {
            let name = guard.name.get_ref();
            self.warnings.push(format!(
                "guard \"{name}\" holds, but nobody is named to approve"
            ));
            return;
        };
        let ApproversTable {
            groups,
            quorum,
            expires,
        } = table.get_ref();
        if groups.is_empty() {
            self.error(table, "approvers must name their groups");
        }
        if *quorum == Some(0) {
            self.error(table, "a quorum of 0 would approve by itself");
        }
        if let Some(expires) = expires
            && !is_duration(expires)
        {
            let reason = format!("expires = \"{expires}\" is not a duration such as \"30m\"");
            self.error(table, reason);
        }
    }

    /// The rules that a guard names, each once, numbered for the scanner.
    fn rules(&mut self, guard: &GuardTable, names: &mut Names) -> Vec<RuleIndex> {
        let Names { packs, used, index } = names;
        let mut wanted: Vec<&Rule> = Vec::new();
        for name in &guard.packs {
            match packs
                .iter()
                .find(|pack| pack.name == name.get_ref().as_str())
            {
                Some(pack) => wanted.extend(&pack.rules),
                None => self.unknown(name, "pack", packs.iter().map(|pack| pack.name.as_str())),
            }
        }
        for name in &guard.rules {
            let mut all = packs.iter().flat_map(|pack| &pack.rules);
            match all.find(|rule| rule.id() == name.get_ref().as_str()) {
                Some(rule) => wanted.push(rule),
                None => {
                    let known = packs
                        .iter()
                        .flat_map(|pack| &pack.rules)
                        .map(|rule| rule.id());
                    self.unknown(name, "rule", known);
                }
            }
        }
        let mut rules = Vec::new();
        for rule in wanted {
            let at = match index.get(rule.id()) {
                Some(at) => *at,
                None => {
                    let Ok(next) = u16::try_from(used.len()) else {
                        self.error(&guard.name, "more than 65 535 rules are in use");
                        return rules;
                    };
                    used.push(rule.clone());
                    index.insert(rule.id().to_owned(), RuleIndex(next));
                    RuleIndex(next)
                }
            };
            if !rules.contains(&at) {
                rules.push(at);
            }
        }
        rules
    }
}

/// Most words that an error lists as known.
const KNOWN_WORDS_MAX: usize = 12;

/// Digits and a unit: `s`, `m`, `h` or `d`.
fn is_duration(text: &str) -> bool {
    let digits = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or("");
    !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_digit())
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
