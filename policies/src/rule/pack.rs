//! The pack loader: TOML in, valid rules or located faults out.
//!
//! Decoding is strict: an unknown key is a fault. A decoder stops at its first fault; what is
//! wrong with the rules themselves is collected over the whole pack.

use std::collections::HashSet;

use serde::Deserialize;
use toml::Spanned;

use super::diagnostic::{PackError, Position, decode_error, position};
use super::fields::{self, Checked, Fault, fault};
use super::{Rule, Template};

/// A file of rules.
#[derive(Clone, Debug)]
pub struct Pack {
    /// The name it was parsed under.
    pub name: String,
    /// Its rules, in the order of the file.
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPack {
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) id: Spanned<String>,
    pub(super) description: Spanned<String>,
    pub(super) regex: Spanned<String>,
    pub(super) keywords: Option<Spanned<Vec<String>>>,
    pub(super) after: Option<Spanned<String>>,
    pub(super) before: Option<Spanned<String>>,
    pub(super) context: Option<Spanned<RawContext>>,
    pub(super) validate: Option<Spanned<String>>,
    pub(super) entropy: Option<Spanned<f64>>,
    pub(super) allow: Option<Spanned<RawAllow>>,
    pub(super) confidence: Option<Spanned<String>>,
    pub(super) confirm: Option<Spanned<RawConfirm>>,
    pub(super) roles: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) max_len: Option<Spanned<usize>>,
    pub(super) region: Option<Spanned<RawRegion>>,
    pub(super) replace: Option<Spanned<String>>,
    pub(super) matches: Spanned<Vec<String>>,
    pub(super) misses: Spanned<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContext {
    pub(super) words: Vec<String>,
    pub(super) within: Option<usize>,
    pub(super) after: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAllow {
    #[serde(default)]
    pub(super) values: Vec<String>,
    #[serde(default)]
    pub(super) words: Vec<String>,
    #[serde(default)]
    pub(super) regexes: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfirm {
    pub(super) words: Option<Vec<String>>,
    pub(super) within: Option<usize>,
    pub(super) after: Option<usize>,
    pub(super) validate: Option<Spanned<String>>,
    pub(super) entropy: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRegion {
    pub(super) end: Spanned<String>,
    pub(super) max: Spanned<usize>,
}

// === impl Pack ===

impl Pack {
    /// Parses a pack. `name` appears in every error: give the file's path.
    pub fn parse(name: &str, toml_text: &str) -> Result<Pack, Vec<PackError>> {
        let raw: RawPack = toml::from_str(toml_text)
            .map_err(|error| vec![decode_error(name, toml_text, &error)])?;
        let mut errors = Vec::new();
        let mut rules = Vec::with_capacity(raw.rule.len());
        let mut ids = HashSet::new();
        for rule in &raw.rule {
            let mut faults = Vec::new();
            if !ids.insert(rule.id.get_ref().as_str()) {
                faults.push(fault(&rule.id, "another rule of this pack has the same id"));
            }
            rules.extend(build_rule(rule, &mut faults));
            errors.extend(faults.into_iter().map(|fault| {
                let Position { line, column } = position(toml_text, fault.span.start);
                PackError {
                    pack: name.to_owned(),
                    line,
                    column,
                    rule: Some(rule.id.get_ref().clone()),
                    reason: fault.reason,
                    suggestion: fault.suggestion,
                }
            }));
        }
        if errors.is_empty() {
            Ok(Pack {
                name: name.to_owned(),
                rules,
            })
        } else {
            errors.sort_by_key(|error| (error.line, error.column));
            Err(errors)
        }
    }
}

/// Builds the rule, or says everything that is wrong with it.
fn build_rule(raw: &RawRule, faults: &mut Vec<Fault>) -> Option<Rule> {
    let mut take = Taking { faults };
    let id = take.one(fields::check_id(&raw.id));
    let description = take.one(fields::check_description(&raw.description));
    let pattern = take.one(fields::parse_pattern(&raw.regex));
    let max_len = match &pattern {
        Some(pattern) => take.one(fields::check_length(raw, pattern)),
        None => None,
    };
    let after = take.given(&raw.after, fields::parse_after);
    let before = take.given(&raw.before, fields::parse_before);
    let context = take.given(&raw.context, fields::check_context);
    let checks = take.one(fields::check_checks(raw));
    let allow = take.given(&raw.allow, fields::check_allow);
    let confidence = take.given(&raw.confidence, fields::check_confidence);
    let confirm = take.given(&raw.confirm, fields::check_confirm);
    let roles = take.given(&raw.roles, fields::check_roles);
    let region = match max_len {
        Some(len) => take.given(&raw.region, |region| fields::check_region(region, len)),
        None => None,
    };
    let template = take.given(&raw.replace, |source| {
        Template::parse(source.get_ref()).map_err(|why| fault(source, why))
    });
    let matches = take.one(fields::check_examples(&raw.matches));
    let misses = take.one(fields::check_examples(&raw.misses));
    let validator = checks.as_ref().and_then(|checks| checks.validator);
    let rule = Rule {
        id: id?,
        description: description?,
        pattern: pattern?,
        max_len: max_len?,
        after: after?,
        before: before?,
        context: context?,
        checks: checks?,
        allow: allow?,
        confidence: confidence?.unwrap_or_default(),
        confirm: confirm?,
        roles: roles?.unwrap_or_default(),
        region: region?,
        template: template?.unwrap_or_default().never(validator),
        matches: matches?,
        misses: misses?,
    };
    take.one(fields::check_waiting(
        raw,
        rule.max_len,
        rule.behind_bytes(),
    ))?;
    Some(rule)
}

/// Collects faults while the good parts go on.
struct Taking<'f> {
    faults: &'f mut Vec<Fault>,
}

impl Taking<'_> {
    fn one<T>(&mut self, checked: Checked<T>) -> Option<T> {
        checked.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// A field that may be left out.
    fn given<R, T>(
        &mut self,
        raw: &Option<R>,
        check: impl FnOnce(&R) -> Checked<T>,
    ) -> Option<Option<T>> {
        self.one(raw.as_ref().map(check).transpose())
    }
}
