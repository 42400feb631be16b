//! From the letter of a file to its meaning: every word known, every name found.
//!
//! Wrong words do not stop the reading: each leaves an error with its place, and the table that it
//! stands in is dropped, which is harmless because a policy with an error is never used.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use super::Guard;
use super::error::PolicyError;
use super::file::{GrantTable, GuardTable};
use super::glob::Glob;
use super::library::Source;
use super::media::{Media, MediaSet};
use super::runs::RunRule;
use super::scope::{Grant, Limits};
use crate::profile::Operation;
use crate::rule::{Confidence, Pack, Rule, position, suggest};
use crate::scan::RuleIndex;
use crate::verdict::Action;

/// Everything that files may refer to, and what they referred to so far.
pub(super) struct Names {
    pub(super) packs: Vec<Pack>,
    /// Rules in use, in the order of first use; the position is the rule index.
    pub(super) used: Vec<Rule>,
    pub(super) index: BTreeMap<String, RuleIndex>,
}

/// The file that is being resolved, and where its errors go.
pub(super) struct Place<'a> {
    pub(super) source: &'a Source,
    pub(super) errors: &'a mut Vec<PolicyError>,
}

impl Place<'_> {
    pub(super) fn error<T>(
        &mut self,
        at: &Spanned<T>,
        reason: impl Into<String>,
    ) -> &mut PolicyError {
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
    pub(super) fn unknown<'k>(
        &mut self,
        at: &Spanned<String>,
        kind: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let word = at.get_ref();
        let suggestion = suggest(word, known.clone()).map(str::to_owned);
        let mut reason = format!("unknown {kind} \"{word}\"");
        if suggestion.is_none() {
            let mut all: Vec<&str> = known.collect();
            all.truncate(KNOWN_WORDS_MAX);
            reason += &format!("; known here: {}", all.join(", "));
        }
        self.error(at, reason).suggestion = suggestion;
    }

    /// What a `[[grant]]` means; nothing if any of it is wrong.
    pub(super) fn grant(&mut self, table: &Spanned<GrantTable>) -> Option<Grant> {
        let before = self.errors.len();
        let grant = table.get_ref();
        let operations = self.operations(&grant.operations);
        let mut media = MediaSet::NONE;
        for word in &grant.media {
            match Media::from_name(word.get_ref()) {
                Some(kind) => media.insert(kind),
                None => self.unknown(word, "kind of media", Media::ALL.iter().map(|m| m.as_str())),
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
        let line = position(&self.source.text, table.span().start).line;
        let file = self.source.path.file_name().unwrap_or_default();
        Some(Grant {
            place: format!("{}:{line}", file.to_string_lossy()),
            groups: globs(&grant.groups),
            models: globs(&grant.models),
            operations,
            limits: Limits {
                prompt_tokens: grant.limits.prompt_tokens,
                body_bytes: grant.limits.body_bytes,
            },
            media,
        })
    }

    /// The operations that are named.
    pub(super) fn operations(&mut self, words: &[Spanned<String>]) -> Vec<Operation> {
        let mut operations = Vec::new();
        for word in words {
            match Operation::from_name(word.get_ref()) {
                Some(operation) => operations.push(operation),
                None => self.unknown(word, "operation", Operation::ALL.iter().map(|o| o.as_str())),
            }
        }
        operations
    }

    /// What a `[[guard]]` means; nothing if any of it is wrong.
    pub(super) fn guard(
        &mut self,
        table: &Spanned<GuardTable>,
        names: &mut Names,
    ) -> Option<Guard> {
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
        let action = self.action(guard, response);
        let approvers = guard.approvers.as_ref().map(|table| self.approvers(table));
        let least = self.least(guard);
        let rules = self.rules(guard, names);
        let runs = self.runs(guard, action);
        if rules.is_empty() && runs.is_none() && self.errors.len() == before {
            self.error(table, "a guard must name packs or rules, or stop weights");
        }
        if guard.name.get_ref().is_empty() {
            self.error(
                &guard.name,
                "a guard needs a name: people will read it in an answer",
            );
        }
        let restores = self.restores(guard, (request, action), &rules, names);
        let (observed, rules) = self.observed(guard, rules, names);
        if self.errors.len() > before {
            return None;
        }
        Some(Guard {
            name: Arc::from(guard.name.get_ref().as_str()),
            request,
            response,
            action,
            least,
            restores,
            groups: guard.groups.iter().map(|text| Glob::new(text)).collect(),
            except_groups: guard
                .except_groups
                .iter()
                .map(|text| Glob::new(text))
                .collect(),
            rules,
            observed,
            runs,
            observes_runs: guard.observe,
            approvers: approvers.map(Arc::new),
        })
    }

    /// A guard's rules in those that are only observed and those that are acted on.
    fn observed(
        &mut self,
        guard: &GuardTable,
        rules: Vec<RuleIndex>,
        names: &Names,
    ) -> (Vec<RuleIndex>, Vec<RuleIndex>) {
        if guard.observe {
            return (rules, Vec::new());
        }
        let id = |rule: &RuleIndex| names.used[usize::from(rule.0)].id();
        for word in &guard.observe_rules {
            if !rules.iter().any(|rule| id(rule) == word.get_ref().as_str()) {
                self.unknown(word, "rule of this guard", rules.iter().map(id));
            }
        }
        let observes = |rule: &RuleIndex| {
            let mut words = guard.observe_rules.iter();
            words.any(|word| word.get_ref().as_str() == id(rule))
        };
        rules.into_iter().partition(observes)
    }

    /// What a guard says of runs that are no text.
    fn runs(&mut self, guard: &GuardTable, action: Action) -> Option<RunRule> {
        if !guard.weights && guard.opaque_bytes.is_none() {
            return None;
        }
        if action == Action::Mask {
            let reason = "weights and opaque runs cannot be masked: what they are shows when \
                          their beginning is out; use \"block\" or \"flag\"";
            self.error(&guard.action, reason);
        }
        if let Some(bytes) = &guard.opaque_bytes
            && *bytes.get_ref() < OPAQUE_BYTES_MIN
        {
            let reason = format!(
                "opaque_bytes is at least {OPAQUE_BYTES_MIN}: shorter runs are keys, digests and ids"
            );
            self.error(bytes, reason);
        }
        Some(RunRule {
            weights: guard.weights,
            opaque_bytes: guard.opaque_bytes.as_ref().map(|bytes| *bytes.get_ref()),
        })
    }

    /// What a guard does on a match. A wrong word is taken for the strictest.
    fn action(&mut self, guard: &GuardTable, response: bool) -> Action {
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
            Action::Hold if guard.approvers.is_none() => {
                let reason = "a guard that holds must say who may approve: \
                              approvers = { groups = [\"security\"] }";
                self.error(&guard.action, reason);
            }
            _ => {}
        }
        if guard.approvers.is_some() && action != Action::Hold {
            self.error(
                &guard.action,
                "approvers belong to a guard whose action is \"hold\"",
            );
        }
        action
    }

    /// From which confidence on a match counts.
    fn least(&mut self, guard: &GuardTable) -> Confidence {
        let Some(word) = &guard.min_confidence else {
            return Confidence::Medium;
        };
        Confidence::from_name(word.get_ref()).unwrap_or_else(|| {
            let known = Confidence::ALL.map(Confidence::as_str);
            self.unknown(word, "confidence", known.into_iter());
            Confidence::Low
        })
    }

    /// Whether a guard puts back what it masked on the way in. Every replacement must tell by itself
    /// which value it stands for.
    fn restores(
        &mut self,
        guard: &GuardTable,
        (request, action): (bool, Action),
        rules: &[RuleIndex],
        names: &Names,
    ) -> bool {
        let Some(restore) = guard.restore.as_ref().filter(|restore| *restore.get_ref()) else {
            return false;
        };
        if !request || action != Action::Mask {
            let reason = "only what a guard masks in requests can be put back in their answers: \
                          restore needs the action \"mask\" and the direction \"request\" or \
                          \"both\"";
            self.error(restore, reason);
        }
        for index in rules {
            let rule = &names.used[usize::from(index.0)];
            let why = match &rule.region {
                Some(_) => Some("stands for a region, which is never held whole"),
                None => rule.template.not_restorable(rule.id()),
            };
            if let Some(why) = why {
                let reason = format!(
                    "the replacement of rule \"{}\" {why}; leave restore out, or put the rule in \
                     a guard without it",
                    rule.id()
                );
                self.error(restore, reason);
            }
        }
        true
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

/// The least that `opaque_bytes` may be.
const OPAQUE_BYTES_MIN: usize = 256;

/// Most words that an error lists as known.
const KNOWN_WORDS_MAX: usize = 12;
