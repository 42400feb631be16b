//! From the letter of a pack's fields to what they mean, each fault with its place.

use std::ops::Range;

use regex_syntax::hir::Look;
use toml::Spanned;

use super::diagnostic::suggest;
use super::pack::{RawAllow, RawConfirm, RawContext, RawRegion, RawRule};
use super::syntax::{self, SyntaxFault};
use super::{
    Allow, Checks, Confidence, Confirm, Context, EXAMPLE_JOIN, LOOK_AHEAD_BYTES_MAX,
    LOOK_BEHIND_BYTES_MAX, MATCH_BYTES_MAX, Pattern, REGION_BYTES_MAX, Region, Speaker, Validator,
};

/// The longest rule id.
const ID_CHARS_MAX: usize = 64;

/// A fault within a rule, not yet located in lines.
pub(super) struct Fault {
    pub(super) span: Range<usize>,
    pub(super) reason: String,
    pub(super) suggestion: Option<String>,
}

pub(super) type Checked<T> = Result<T, Fault>;

pub(super) fn fault<T>(at: &Spanned<T>, reason: impl Into<String>) -> Fault {
    Fault {
        span: at.span(),
        reason: reason.into(),
        suggestion: None,
    }
}

pub(super) fn check_id(raw: &Spanned<String>) -> Checked<String> {
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

pub(super) fn check_description(raw: &Spanned<String>) -> Checked<String> {
    if raw.get_ref().trim().is_empty() {
        return Err(fault(raw, "say in a few words what the rule finds"));
    }
    Ok(raw.get_ref().clone())
}

pub(super) fn parse_pattern(raw: &Spanned<String>) -> Checked<Pattern> {
    let pattern = parse_any_pattern(raw)?;
    match pattern.hir.properties().minimum_len() {
        Some(0) => Err(fault(raw, "the expression matches the empty text")),
        _ => Ok(pattern),
    }
}

/// An expression that may match the empty text.
fn parse_any_pattern(raw: &Spanned<String>) -> Checked<Pattern> {
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
        Some(_) => Ok(Pattern { source, hir }),
    }
}

/// The rule's bound: as given, or the expression's own.
pub(super) fn check_length(raw: &RawRule, pattern: &Pattern) -> Checked<usize> {
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

pub(super) fn parse_after(raw: &Spanned<String>) -> Checked<Pattern> {
    let pattern = parse_any_pattern(raw)?;
    let properties = pattern.hir.properties();
    // `^` alone is empty too: nothing stands before the start of the text.
    if properties.minimum_len() == Some(0) && !properties.look_set().contains(Look::Start) {
        return Err(fault(
            raw,
            "`after` matches the empty text: it always stands",
        ));
    }
    match properties.maximum_len() {
        Some(length) if length <= LOOK_BEHIND_BYTES_MAX => Ok(pattern),
        _ => Err(fault(
            raw,
            format!(
                "`after` must be bounded to {LOOK_BEHIND_BYTES_MAX} bytes: `\\s{{0,8}}`, not `\\s*`"
            ),
        )),
    }
}

pub(super) fn parse_before(raw: &Spanned<String>) -> Checked<Pattern> {
    let pattern = parse_any_pattern(raw)?;
    let properties = pattern.hir.properties();
    if properties.minimum_len() == Some(0) && properties.look_set().is_empty() {
        return Err(fault(
            raw,
            "`before` matches the empty text: it always stands",
        ));
    }
    match properties.maximum_len() {
        Some(length) if length <= LOOK_AHEAD_BYTES_MAX => Ok(pattern),
        _ => Err(fault(
            raw,
            format!(
                "`before` must be bounded to {LOOK_AHEAD_BYTES_MAX} bytes: `\\s{{0,8}}`, not `\\s*`"
            ),
        )),
    }
}

pub(super) fn check_context(raw: &Spanned<RawContext>) -> Checked<Context> {
    let RawContext {
        words,
        within,
        after,
    } = raw.get_ref();
    near(raw, words, *within, *after)
}

/// Words and how near they must be.
fn near<T>(
    raw: &Spanned<T>,
    words: &[String],
    within: Option<usize>,
    after: Option<usize>,
) -> Checked<Context> {
    let bounds = 1..=LOOK_BEHIND_BYTES_MAX;
    let given = [("within", within), ("after", after)];
    for (name, bytes) in given {
        if bytes.is_some_and(|bytes| !bounds.contains(&bytes)) {
            let reason = format!("`{name}` is 1 to {LOOK_BEHIND_BYTES_MAX} bytes");
            return Err(fault(raw, reason));
        }
    }
    let (within, after) = (within.unwrap_or(0), after.unwrap_or(0));
    if within == 0 && after == 0 {
        let reason = "say how near the words are: `within` bytes before, or `after` bytes behind";
        return Err(fault(raw, reason));
    }
    let farthest = within.max(after);
    let usable = |word: &String| !word.is_empty() && word.len() <= farthest;
    if words.is_empty() || !words.iter().all(usable) {
        return Err(fault(
            raw,
            "`words` are one or more words no longer than `within` or `after`",
        ));
    }
    Ok(Context {
        words: spelt_together(words),
        within,
        after,
    })
}

/// The words in lower case; a blank within one is, in names of fields, `_`, `-` or nothing.
fn spelt_together(words: &[String]) -> Vec<String> {
    let mut spelt = lower(words);
    for word in lower(words).iter().filter(|word| word.contains(' ')) {
        spelt.extend(["_", "-", ""].map(|joint| word.replace(' ', joint)));
    }
    spelt.sort_unstable();
    spelt.dedup();
    spelt
}

fn lower(words: &[String]) -> Vec<String> {
    words.iter().map(|word| word.to_ascii_lowercase()).collect()
}

pub(super) fn check_allow(raw: &Spanned<RawAllow>) -> Checked<Allow> {
    let RawAllow {
        values,
        words,
        regexes,
    } = raw.get_ref();
    if values.is_empty() && words.is_empty() && regexes.is_empty() {
        return Err(fault(raw, "`allow` names `values`, `words` or `regexes`"));
    }
    let usable = |word: &String| !word.is_empty();
    if !values.iter().chain(words).all(usable) {
        return Err(fault(raw, "an empty word allows everything or nothing"));
    }
    Ok(Allow {
        values: lower(values),
        words: lower(words),
        patterns: regexes.iter().map(parse_pattern).collect::<Checked<_>>()?,
    })
}

pub(super) fn check_confidence(raw: &Spanned<String>) -> Checked<Confidence> {
    let names = Confidence::ALL.map(Confidence::as_str);
    Confidence::from_name(raw.get_ref()).ok_or_else(|| Fault {
        span: raw.span(),
        reason: format!("`confidence` is one of {}", names.join(", ")),
        suggestion: suggest(raw.get_ref(), names).map(str::to_owned),
    })
}

pub(super) fn check_confirm(raw: &Spanned<RawConfirm>) -> Checked<Confirm> {
    let table = raw.get_ref();
    let context = match &table.words {
        Some(words) => Some(near(raw, words, table.within, table.after)?),
        None if table.within.is_some() || table.after.is_some() => {
            let reason = "`within` and `after` say how near `words` are: name them";
            return Err(fault(raw, reason));
        }
        None => None,
    };
    let confirm = Confirm {
        context,
        validator: table.validate.as_ref().map(check_validator).transpose()?,
        entropy_bits_min: table.entropy.as_ref().map(check_entropy).transpose()?,
    };
    if confirm.context.is_none()
        && confirm.validator.is_none()
        && confirm.entropy_bits_min.is_none()
    {
        return Err(fault(
            raw,
            "`confirm` names `words`, `validate` or `entropy`",
        ));
    }
    Ok(confirm)
}

pub(super) fn check_roles(raw: &Spanned<Vec<Spanned<String>>>) -> Checked<Vec<Speaker>> {
    let known = Speaker::ALL.map(Speaker::as_str);
    let reason = || format!("`roles` are one or more of {}", known.join(", "));
    if raw.get_ref().is_empty() {
        return Err(fault(raw, reason()));
    }
    let speaker = |name: &Spanned<String>| {
        Speaker::from_name(name.get_ref()).ok_or_else(|| Fault {
            span: name.span(),
            reason: reason(),
            suggestion: suggest(name.get_ref(), known).map(str::to_owned),
        })
    };
    raw.get_ref().iter().map(speaker).collect()
}

/// What stands behind a match is waited for with the match itself, under one bound.
pub(super) fn check_waiting(raw: &RawRule, max_len: usize, behind: usize) -> Checked<()> {
    let room = MATCH_BYTES_MAX.saturating_sub(max_len);
    if behind <= room {
        return Ok(());
    }
    let at = raw.max_len.as_ref().map_or(raw.regex.span(), Spanned::span);
    Err(Fault {
        span: at,
        reason: format!(
            "a match of {max_len} bytes and the {behind} bytes behind it that decide are more \
             than the {MATCH_BYTES_MAX} that may be held: give a smaller max_len"
        ),
        suggestion: None,
    })
}

fn check_validator(name: &Spanned<String>) -> Checked<Validator> {
    Validator::from_name(name.get_ref()).ok_or_else(|| Fault {
        span: name.span(),
        reason: format!("`validate` is one of {}", Validator::NAMES.join(", ")),
        suggestion: suggest(name.get_ref(), Validator::NAMES).map(str::to_owned),
    })
}

fn check_entropy(bits: &Spanned<f64>) -> Checked<f64> {
    if *bits.get_ref() > 0.0 && *bits.get_ref() < 8.0 {
        return Ok(*bits.get_ref());
    }
    Err(fault(
        bits,
        "`entropy` is in bits a byte: more than 0 and less than 8",
    ))
}

pub(super) fn check_checks(raw: &RawRule) -> Checked<Checks> {
    let mut checks = Checks {
        validator: raw.validate.as_ref().map(check_validator).transpose()?,
        entropy_bits_min: raw.entropy.as_ref().map(check_entropy).transpose()?,
        keywords: Vec::new(),
    };
    if let Some(words) = &raw.keywords {
        if words
            .get_ref()
            .iter()
            .any(|word| word.is_empty() || !word.is_ascii())
        {
            return Err(fault(words, "keywords are ASCII and not empty"));
        }
        checks.keywords = lower(words.get_ref());
    }
    Ok(checks)
}

pub(super) fn check_region(raw: &Spanned<RawRegion>, max_len: usize) -> Checked<Region> {
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

pub(super) fn check_examples(raw: &Spanned<Vec<String>>) -> Checked<Vec<String>> {
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
