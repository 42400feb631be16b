//! The pack loader: TOML in, valid rules or located faults out.
//!
//! Decoding is strict: an unknown key is a fault. A decoder stops at its first fault; what is
//! wrong with the rules themselves is collected over the whole pack.

use std::collections::HashSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::diagnostic::{PackError, Position, decode_error, position, suggest};
use super::syntax::{self, SyntaxFault};
use super::{
    Checks, Context, EXAMPLE_JOIN, LOOK_BEHIND_BYTES_MAX, MATCH_BYTES_MAX, Pattern,
    REGION_BYTES_MAX, Region, Rule, Speaker, Template, Validator,
};

/// The longest rule id.
const ID_CHARS_MAX: usize = 64;

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
struct RawRule {
    id: Spanned<String>,
    description: Spanned<String>,
    regex: Spanned<String>,
    #[serde(default)]
    keywords: Option<Spanned<Vec<String>>>,
    after: Option<Spanned<String>>,
    context: Option<Spanned<RawContext>>,
    validate: Option<Spanned<String>>,
    entropy: Option<Spanned<f64>>,
    max_len: Option<Spanned<usize>>,
    region: Option<Spanned<RawRegion>>,
    replace: Option<Spanned<String>>,
    #[serde(default)]
    roles: Vec<Spanned<String>>,
    matches: Spanned<Vec<String>>,
    misses: Spanned<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContext {
    words: Vec<String>,
    within: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegion {
    end: Spanned<String>,
    max: Spanned<usize>,
}

/// A fault within a rule, not yet located in lines.
struct Fault {
    span: Range<usize>,
    reason: String,
    suggestion: Option<String>,
}

type Checked<T> = Result<T, Fault>;

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
    let id = take.one(check_id(&raw.id));
    let description = take.one(check_description(&raw.description));
    let pattern = take.one(parse_pattern(&raw.regex));
    let max_len = match &pattern {
        Some(pattern) => take.one(check_length(raw, pattern)),
        None => None,
    };
    let after = take.one(raw.after.as_ref().map(parse_after).transpose());
    let context = take.one(raw.context.as_ref().map(check_context).transpose());
    let checks = take.one(check_checks(raw));
    let region = match max_len {
        Some(len) => take.one(
            raw.region
                .as_ref()
                .map(|r| check_region(r, len))
                .transpose(),
        ),
        None => None,
    };
    let template = take.one(match &raw.replace {
        Some(source) => Template::parse(source.get_ref()).map_err(|why| fault(source, why)),
        None => Ok(Template::default()),
    });
    let roles = take.one(raw.roles.iter().map(check_role).collect());
    let matches = take.one(check_examples(&raw.matches));
    let misses = take.one(check_examples(&raw.misses));
    let validator = checks.as_ref().and_then(|checks| checks.validator);
    let template = template.map(|template| template.never(validator));
    Some(Rule {
        id: id?,
        description: description?,
        pattern: pattern?,
        max_len: max_len?,
        after: after?,
        context: context?,
        checks: checks?,
        region: region?,
        template: template?,
        roles: roles?,
        matches: matches?,
        misses: misses?,
    })
}

/// Collects faults while the good parts go on.
struct Taking<'f> {
    faults: &'f mut Vec<Fault>,
}

impl Taking<'_> {
    fn one<T>(&mut self, checked: Checked<T>) -> Option<T> {
        checked.map_err(|fault| self.faults.push(fault)).ok()
    }
}

fn fault<T>(at: &Spanned<T>, reason: impl Into<String>) -> Fault {
    Fault {
        span: at.span(),
        reason: reason.into(),
        suggestion: None,
    }
}

fn check_id(raw: &Spanned<String>) -> Checked<String> {
    let id = raw.get_ref();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edges = id.starts_with('-') || id.ends_with('-');
    if id.is_empty() || id.len() > ID_CHARS_MAX || edges || !id.chars().all(plain) {
        let reason =
            format!("an id is 1 to {ID_CHARS_MAX} lower-case letters, digits and inner hyphens");
        return Err(fault(raw, reason));
    }
    Ok(id.clone())
}

fn check_description(raw: &Spanned<String>) -> Checked<String> {
    if raw.get_ref().trim().is_empty() {
        return Err(fault(raw, "say in a few words what the rule finds"));
    }
    Ok(raw.get_ref().clone())
}

fn parse_pattern(raw: &Spanned<String>) -> Checked<Pattern> {
    let source = raw.get_ref().clone();
    let hir = syntax::parse(&source).map_err(|SyntaxFault { offset, reason }| {
        let span = raw.span();
        // The offset lands on the character in a plain literal string; an escaped or multi-line
        // one may move it, never past the value.
        let start = (span.start + 1 + offset).min(span.end);
        Fault {
            span: start..span.end,
            reason,
            suggestion: None,
        }
    })?;
    match hir.properties().minimum_len() {
        None => Err(fault(raw, "the expression can match nothing at all")),
        Some(0) => Err(fault(raw, "the expression matches the empty text")),
        Some(_) => Ok(Pattern { source, hir }),
    }
}

/// The rule's bound: as given, or the expression's own.
fn check_length(raw: &RawRule, pattern: &Pattern) -> Checked<usize> {
    let properties = pattern.hir.properties();
    let shortest = properties.minimum_len().unwrap_or(0);
    match (&raw.max_len, properties.maximum_len()) {
        (Some(given), _) if !(shortest..=MATCH_BYTES_MAX).contains(given.get_ref()) => {
            let reason = format!(
                "max_len must be at least the shortest match ({shortest} bytes) and at most \
                 {MATCH_BYTES_MAX}; a longer secret is a region"
            );
            Err(fault(given, reason))
        }
        (Some(given), longest) => Ok(longest.unwrap_or(usize::MAX).min(*given.get_ref())),
        (None, Some(longest)) if longest <= MATCH_BYTES_MAX => Ok(longest),
        (None, _) => {
            let reason = format!(
                "the expression has no bound of its own below {MATCH_BYTES_MAX} bytes: give \
                 max_len, or bound the repetition"
            );
            Err(fault(&raw.regex, reason))
        }
    }
}

fn parse_after(raw: &Spanned<String>) -> Checked<Pattern> {
    let pattern = parse_pattern(raw)?;
    match pattern.hir.properties().maximum_len() {
        Some(length) if length <= LOOK_BEHIND_BYTES_MAX => Ok(pattern),
        _ => Err(fault(
            raw,
            format!(
                "`after` must be bounded to {LOOK_BEHIND_BYTES_MAX} bytes: `\\s{{0,8}}`, not `\\s*`"
            ),
        )),
    }
}

fn check_context(raw: &Spanned<RawContext>) -> Checked<Context> {
    let context = raw.get_ref();
    if !(1..=LOOK_BEHIND_BYTES_MAX).contains(&context.within) {
        return Err(fault(
            raw,
            format!("`within` is 1 to {LOOK_BEHIND_BYTES_MAX} bytes"),
        ));
    }
    let usable =
        |word: &String| !word.is_empty() && word.is_ascii() && word.len() <= context.within;
    if context.words.is_empty() || !context.words.iter().all(usable) {
        return Err(fault(
            raw,
            "`words` are one or more ASCII words no longer than `within`",
        ));
    }
    let words = context
        .words
        .iter()
        .map(|word| word.to_ascii_lowercase())
        .collect();
    Ok(Context {
        words,
        within: context.within,
    })
}

fn check_checks(raw: &RawRule) -> Checked<Checks> {
    let mut checks = Checks::default();
    if let Some(name) = &raw.validate {
        checks.validator = Some(Validator::from_name(name.get_ref()).ok_or_else(|| Fault {
            span: name.span(),
            reason: format!("`validate` is one of {}", Validator::NAMES.join(", ")),
            suggestion: suggest(name.get_ref(), Validator::NAMES).map(str::to_owned),
        })?);
    }
    if let Some(bits) = &raw.entropy {
        if !(*bits.get_ref() > 0.0 && *bits.get_ref() < 8.0) {
            return Err(fault(
                bits,
                "`entropy` is in bits a byte: more than 0 and less than 8",
            ));
        }
        checks.entropy_bits_min = Some(*bits.get_ref());
    }
    if let Some(words) = &raw.keywords {
        if words
            .get_ref()
            .iter()
            .any(|word| word.is_empty() || !word.is_ascii())
        {
            return Err(fault(words, "keywords are ASCII and not empty"));
        }
        checks.keywords = words
            .get_ref()
            .iter()
            .map(|word| word.to_ascii_lowercase())
            .collect();
    }
    Ok(checks)
}

fn check_region(raw: &Spanned<RawRegion>, max_len: usize) -> Checked<Region> {
    let RawRegion { end, max } = raw.get_ref();
    let pattern = parse_pattern(end)?;
    if !pattern.hir.properties().look_set().is_empty() {
        return Err(fault(end, "an end marker takes no `^`, `$` or `\\b`"));
    }
    if !(max_len..=REGION_BYTES_MAX).contains(max.get_ref()) {
        let reason =
            format!("`max` is {max_len} (the opening's bound) to {REGION_BYTES_MAX} bytes");
        return Err(fault(max, reason));
    }
    Ok(Region {
        end: pattern,
        max: *max.get_ref(),
    })
}

fn check_role(raw: &Spanned<String>) -> Checked<Speaker> {
    Speaker::from_name(raw.get_ref()).ok_or_else(|| {
        let known = Speaker::ALL.map(Speaker::as_str);
        Fault {
            span: raw.span(),
            reason: format!("a role is one of {}", known.join(", ")),
            suggestion: suggest(raw.get_ref(), known).map(str::to_owned),
        }
    })
}

fn check_examples(raw: &Spanned<Vec<String>>) -> Checked<Vec<String>> {
    if raw.get_ref().is_empty() {
        return Err(fault(
            raw,
            "a rule carries at least one example that matches and one that misses",
        ));
    }
    Ok(raw
        .get_ref()
        .iter()
        .map(|example| example.replace(EXAMPLE_JOIN, ""))
        .collect())
}
