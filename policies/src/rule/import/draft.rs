//! From an alternative of a foreign expression to rules of ours.
//!
//! One rule for each alternative that has a secret of its own, more where one would be too dear to
//! run, each under the name of the foreign rule, the second on with a number.

use regex_syntax::hir::{Hir, HirKind};

use super::allow;
use super::decompose::{Row, Whole, bytes_min, flat, rows, trim_outer, without_groups};
use super::gaps;
use super::keywords::{as_context, required, whole_words, with_dots};
use super::shape::{
    REGION_BYTES, ROUNDS_COUNTED_MAX, Shape, TAIL_BYTES_MIN, ask_for_keywords, context_of, looser,
    shape,
};
use super::tree::Misfit;
use super::{At, FAILED_ATTEMPTS_MAX, IMPORTED_RULES_MAX, ImportKind, ImportNote, Reading};
use crate::rule::{
    Allow, Checks, Confidence, Confirm, MATCH_BYTES_MAX, Pattern, Region, Rule, Template,
};
use crate::scan::candidate::Compiled;

/// The longest rule id.
const ID_BYTES_MAX: usize = 64;

/// How often a prefix is made shorter when it is too dear.
const PREFIX_TRIES_MAX: usize = 16;

/// The most branches of one alternation that are told apart.
const BRANCHES_MAX: usize = 64;

/// A rule of a foreign file, understood.
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) hir: Hir,
    /// The group that is the secret; by default the first that takes part.
    pub(super) group: Option<u32>,
    /// Lower case.
    pub(super) keywords: Vec<String>,
    pub(super) entropy_bits_min: Option<f64>,
    pub(super) allow: Allow,
    pub(super) confidence: Confidence,
    pub(super) confirm: Option<Confirm>,
}

/// Makes rules of a draft and puts them to the others.
pub(super) fn build(reading: &mut Reading, at: &At<'_>, draft: &Draft) {
    let whole = |why: &str| format!("{why}: the whole match is taken for the secret");
    let found = match rows(&draft.hir, draft.group) {
        Ok(rows) => rows,
        Err(Whole::Repeated) => {
            let what = whole("the secret is a group that is repeated");
            reading.note(at, ImportKind::Approximated, what);
            vec![whole_row(&draft.hir)]
        }
        Err(Whole::TooMany) => {
            let what = whole("the groups are in too many alternatives");
            reading.note(at, ImportKind::Approximated, what);
            vec![whole_row(&draft.hir)]
        }
    };
    let found: Vec<Row> = found
        .into_iter()
        .flat_map(split_at_start)
        .flat_map(|row| split_by_keyword(row, &draft.keywords))
        .collect();
    let id = reading.unique_id(&draft.id);
    if id != draft.id && Some(draft.id.as_str()) == at.rule {
        reading.note(at, ImportKind::Approximated, format!("called `{id}` here"));
    }
    let several = found.len() > 1;
    let mut made = 0;
    for row in found {
        let rules = build_row(reading, at, draft, row);
        if rules.is_empty() && several {
            let what = "one of its alternatives is missing";
            reading.note(at, ImportKind::Approximated, what);
        }
        for mut rule in rules {
            if reading.rules.len() >= IMPORTED_RULES_MAX {
                let what = format!("more than {IMPORTED_RULES_MAX} rules");
                return reading.note(at, ImportKind::Refused, what);
            }
            made += 1;
            rule.id = match made {
                1 => id.clone(),
                number => reading.unique_id(&format!("{id}-{number}")),
            };
            reading.rules.push(rule);
        }
    }
}

// === impl Row ===

impl Row {
    /// Does every match contain one of these words?
    fn asks_for(&self, words: &[String]) -> bool {
        required(&self.joined(), words)
    }

    fn joined(&self) -> Hir {
        let secret = std::slice::from_ref(&self.secret);
        Hir::concat([&self.prefix[..], secret, &self.suffix[..]].concat())
    }
}

fn whole_row(hir: &Hir) -> Row {
    Row {
        prefix: Vec::new(),
        secret: without_groups(hir),
        suffix: Vec::new(),
    }
}

/// What stands before a secret may be the start of the text, which is nothing to look back at: such
/// an alternative is told from the others.
fn split_at_start(mut row: Row) -> Vec<Row> {
    row.prefix = trim_outer(row.prefix);
    let (Some(last), true) = (row.prefix.last(), bytes_min(&row.prefix) == 0) else {
        return vec![row];
    };
    let HirKind::Alternation(branches) = last.kind() else {
        return vec![row];
    };
    let others = &row.prefix[..row.prefix.len() - 1];
    let (empty, some): (Vec<Hir>, Vec<Hir>) = branches
        .iter()
        .cloned()
        .partition(|branch| branch.properties().minimum_len() == Some(0));
    let with = |branches: Vec<Hir>| Row {
        prefix: [others, &[Hir::alternation(branches)]].concat(),
        ..row.clone()
    };
    let kinds = [empty, some].into_iter().filter(|kind| !kind.is_empty());
    kinds.map(with).collect()
}

/// Secrets of which some contain a keyword and some do not: the latter alone need one near.
fn split_by_keyword(row: Row, keywords: &[String]) -> Vec<Row> {
    if keywords.is_empty() || row.asks_for(keywords) {
        return vec![row];
    }
    let parts = flat(row.secret.clone());
    let branched = parts
        .iter()
        .enumerate()
        .find_map(|(at, part)| match part.kind() {
            HirKind::Alternation(branches) if branches.len() <= BRANCHES_MAX => {
                Some((at, branches))
            }
            _ => None,
        });
    let Some((at, branches)) = branched else {
        return vec![row];
    };
    let with = |branches: Vec<Hir>| {
        let mut parts = parts.clone();
        parts[at] = Hir::alternation(branches);
        Row {
            secret: Hir::concat(parts),
            ..row.clone()
        }
    };
    let (keyed, bare): (Vec<Hir>, Vec<Hir>) = branches
        .iter()
        .cloned()
        .partition(|branch| with(vec![branch.clone()]).asks_for(keywords));
    let kinds = [keyed, bare].into_iter().filter(|kind| !kind.is_empty());
    kinds.map(with).collect()
}

/// The rules of a row: one, if its expression is not too dear to be run as one.
fn build_row(reading: &mut Reading, at: &At<'_>, draft: &Draft, row: Row) -> Vec<Rule> {
    let keyed = draft.keywords.is_empty() || row.asks_for(&draft.keywords);
    let joined = row.joined();
    let mut shape = shape(reading, at, row);
    let minimum = shape.pattern.properties().minimum_len();
    if minimum.is_none_or(|length| length == 0) {
        let what = "the expression matches nothing, or the empty text";
        reading.note(at, ImportKind::Refused, what);
        return Vec::new();
    }
    let dotted = || required(&with_dots(&joined), &draft.keywords);
    if !keyed && dotted() {
        let what = "keywords: a dot of the expression may be any character";
        reading.note(at, ImportKind::Approximated, what);
    } else if !keyed {
        ask_for_keywords(reading, at, &draft.keywords, &mut shape);
    }
    let rule = finish(draft, shape);
    let Err(reason) = runs(reading, at, &rule) else {
        return vec![rule];
    };
    let split = split_prefix(&rule);
    if split.iter().all(|rule| runs(reading, at, rule).is_ok()) && !split.is_empty() {
        return split;
    }
    if let Some(shorter) = with_shorter_prefix(reading, at, &rule, &draft.keywords) {
        let what = match (&rule.context, &shorter.context) {
            (None, Some(near)) => format!(
                "what stands before the secret is dear: its end is asked for, and a whole word \
                 within {} bytes",
                near.within
            ),
            _ => "what stands before the secret is dear: its end is asked for".to_owned(),
        };
        reading.note(at, ImportKind::Approximated, what);
        return vec![shorter];
    }
    let counted = format!("repetitions are counted to {ROUNDS_COUNTED_MAX} only");
    let looser = with_pattern(&rule, looser(&rule.pattern.hir));
    let mut ways = with_gaps(&rule, &[]);
    if looser.pattern.hir != rule.pattern.hir {
        ways.push((vec![looser.clone()], vec![counted.clone()]));
        ways.extend(with_gaps(&looser, &[counted]));
    }
    for (rules, told) in ways {
        if rules.iter().all(|rule| runs(reading, at, rule).is_ok()) {
            for what in told {
                reading.note(at, ImportKind::Approximated, what);
            }
            return rules;
        }
    }
    reading.note(at, ImportKind::Refused, reason);
    Vec::new()
}

/// Is [`tried`] well, as long as the file has not had too many that were not?
fn runs(reading: &mut Reading, at: &At<'_>, rule: &Rule) -> Result<(), String> {
    if reading.failed >= FAILED_ATTEMPTS_MAX {
        return Err("the file has too many that do not run".to_owned());
    }
    let result = tried(rule);
    if result.is_err() {
        reading.failed += 1;
        if reading.failed == FAILED_ATTEMPTS_MAX {
            let reason = format!(
                "too many expressions cannot be run: {FAILED_ATTEMPTS_MAX} attempts at this rule \
                 and those before it failed"
            );
            let misfit = Misfit {
                at: at.place,
                reason,
            };
            reading.error(at.rule, misfit);
        }
    }
    result
}

/// Can the rule be run, and does it find nothing merely because much text follows a mark?
fn tried(rule: &Rule) -> Result<(), String> {
    let compiled =
        Compiled::new(rule).map_err(|reason| format!("the expression is too dear: {reason}"))?;
    let longest = rule.pattern.hir.properties().maximum_len();
    let bounded = longest.is_some_and(|bytes| bytes <= rule.max_len);
    match !bounded && (gaps::has_long(&rule.pattern.hir) || compiled.swallows_text()) {
        true => Err("any text of any length may stand between its marks".to_owned()),
        false => Ok(()),
    }
}

/// Rules with nearly any text between two marks followed less far, one or one for each branch, and
/// what is to be told of that.
fn with_gaps(rule: &Rule, told: &[String]) -> Vec<(Vec<Rule>, Vec<String>)> {
    let mut ways = Vec::new();
    for gap in gaps::CHARACTERS {
        let hir = gaps::within(&rule.pattern.hir, gap);
        if hir == rule.pattern.hir {
            continue;
        }
        let what = format!("nearly any text between two marks is followed for {gap} characters");
        let told = [told, &[what]].concat();
        let narrower = with_pattern(rule, hir);
        let split = split_pattern(&narrower);
        ways.push((vec![narrower], told.clone()));
        if !split.is_empty() {
            ways.push((split, told));
        }
    }
    ways
}

fn with_pattern(rule: &Rule, hir: Hir) -> Rule {
    let longest = hir.properties().maximum_len().unwrap_or(usize::MAX);
    Rule {
        max_len: longest.min(rule.max_len),
        pattern: pattern(hir),
        ..rule.clone()
    }
}

/// A rule for each branch of the first alternation that a match contains.
fn split_pattern(rule: &Rule) -> Vec<Rule> {
    let with = |hir| with_pattern(rule, hir);
    branches_of(&rule.pattern.hir)
        .into_iter()
        .map(with)
        .collect()
}

/// The expression once for each branch of its first alternation; nothing if it has none.
fn branches_of(hir: &Hir) -> Vec<Hir> {
    let parts = flat(hir.clone());
    let branched = parts
        .iter()
        .enumerate()
        .find_map(|(at, part)| match part.kind() {
            HirKind::Alternation(branches) if branches.len() <= BRANCHES_MAX => {
                Some((at, branches))
            }
            _ => None,
        });
    let Some((at, branches)) = branched else {
        return Vec::new();
    };
    let with = |branch: &Hir| {
        let mut parts = parts.clone();
        parts[at] = branch.clone();
        Hir::concat(parts)
    };
    branches.iter().map(with).collect()
}

/// A rule for each of the words with which what stands before a secret may begin: many words and
/// a stretch behind them that may contain them make one automaton large.
fn split_prefix(rule: &Rule) -> Vec<Rule> {
    let Some(after) = &rule.after else {
        return Vec::new();
    };
    let with = |hir| Rule {
        after: Some(pattern(hir)),
        ..rule.clone()
    };
    branches_of(&after.hir).into_iter().map(with).collect()
}

fn finish(draft: &Draft, shape: Shape) -> Rule {
    let longest = shape.pattern.properties().maximum_len();
    let mut rule = Rule {
        id: draft.id.clone(),
        description: draft.description.clone(),
        max_len: longest.unwrap_or(usize::MAX).min(MATCH_BYTES_MAX),
        allow: allow::within(&draft.allow, &shape.pattern),
        pattern: pattern(shape.pattern),
        after: shape.after.map(pattern),
        before: shape.before.map(pattern),
        context: shape.context,
        checks: Checks {
            entropy_bits_min: draft.entropy_bits_min,
            ..Checks::default()
        },
        confidence: draft.confidence,
        confirm: draft.confirm.clone(),
        roles: Vec::new(),
        region: shape.region.map(|end| Region {
            end: pattern(end),
            max: REGION_BYTES,
        }),
        template: Template::default(),
        matches: Vec::new(),
        misses: Vec::new(),
    };
    let room = MATCH_BYTES_MAX - rule.behind_bytes().min(MATCH_BYTES_MAX / 2);
    rule.max_len = rule.max_len.min(room);
    rule
}

fn pattern(hir: Hir) -> Pattern {
    Pattern {
        source: hir.to_string(),
        hir,
    }
}

/// A foreign name in the letters of our ids.
pub(super) fn slug(name: &str) -> String {
    let mut id = String::new();
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => id.push(c),
            _ if !id.is_empty() && !id.ends_with('-') => id.push('-'),
            _ => {}
        }
        if id.len() >= ID_BYTES_MAX - 6 {
            break;
        }
    }
    match id.trim_matches('-') {
        "" => "rule".to_owned(),
        id => id.to_owned(),
    }
}

/// The rule with as much of what stands before its secret as can be run, and with a word for the
/// rest where one is sure to stand there whole, or else, where a gap is
/// left out, the file's own keywords.
fn with_shorter_prefix(
    reading: &mut Reading,
    at: &At<'_>,
    rule: &Rule,
    keywords: &[String],
) -> Option<Rule> {
    let parts = flat(rule.after.as_ref()?.hir.clone());
    (1..parts.len()).take(PREFIX_TRIES_MAX).find_map(|from| {
        let tail = trim_outer(parts[from..].to_vec());
        let words = whole_words(&parts[..from]);
        if tail.is_empty() || (words.is_empty() && bytes_min(&tail) < TAIL_BYTES_MIN) {
            return None;
        }
        let left = Hir::concat([&tail[..], std::slice::from_ref(&rule.pattern.hir)].concat());
        let gap = gaps::has_bytes(&rule.after.as_ref()?.hir);
        let words = match words.is_empty() && gap && !required(&left, keywords) {
            true => as_context(keywords),
            false => words,
        };
        let shorter = Rule {
            after: Some(pattern(Hir::concat(tail))),
            context: rule.context.clone().or_else(|| context_of(words)),
            ..rule.clone()
        };
        runs(reading, at, &shorter).is_ok().then_some(shorter)
    })
}

// === impl Rule ===

impl Rule {
    /// Puts the pack's name before the rule's, and says so.
    pub(crate) fn rename_for(&mut self, pack: &str, taken: &dyn Fn(&str) -> bool) -> ImportNote {
        let first = slug(&format!("{pack}-{}", self.id));
        let mut named = first.clone();
        let mut number = 2;
        while taken(&named) {
            named = format!("{first}-{number}");
            number += 1;
        }
        ImportNote {
            rule: Some(std::mem::replace(&mut self.id, named.clone())),
            line: 0,
            what: format!("called `{named}` here, since another pack has a rule of its name"),
            kind: ImportKind::Approximated,
        }
    }
}
