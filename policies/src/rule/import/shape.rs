//! Where the parts of an alternative go: what is looked back at, matched, looked ahead at.
//!
//! Our rules look at so many bytes before a match and so many behind; what is longer is asked for in
//! part, or is matched with the secret. Each step down from what the expression says is told.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition};

use super::decompose::{Row, bytes_max, bytes_min, flat, is_any_text, trim_far, trim_outer};
use super::gaps::{in_bytes, is_gap};
use super::keywords::{as_context, whole_words};
use super::{At, ImportKind, Reading};
use crate::rule::{Context, LOOK_AHEAD_BYTES_MAX, LOOK_BEHIND_BYTES_MAX};

/// The cap of a region that was a match of any length.
pub(super) const REGION_BYTES: usize = 16 << 10;

/// The shortest end of a long prefix that tells enough to be asked for alone.
pub(super) const TAIL_BYTES_MIN: usize = 3;

/// How many rounds of a repetition are counted when counting all of them is too dear.
pub(super) const ROUNDS_COUNTED_MAX: u32 = 8;

/// How many blanks are followed where any number may stand.
const BLANKS_MAX: u32 = 16;

/// One alternative, in the shape of a rule.
pub(super) struct Shape {
    pub(super) after: Option<Hir>,
    pub(super) pattern: Hir,
    pub(super) before: Option<Hir>,
    pub(super) region: Option<Hir>,
    pub(super) context: Option<Context>,
}

/// What of a row is looked back at, matched, looked ahead at.
pub(super) fn shape(reading: &mut Reading, at: &At<'_>, row: Row) -> Shape {
    let Row {
        mut prefix,
        secret,
        suffix,
    } = row;
    let mut suffix = trim_far(suffix);
    let mut middle = vec![secret];
    // What has no length tells something of the secret's own edges.
    while prefix.last().is_some_and(is_look) {
        middle.splice(..0, prefix.pop());
    }
    let looks = suffix.iter().take_while(|part| is_look(part)).count();
    middle.extend(suffix.drain(..looks));
    let fits = |parts: &[Hir], max: usize| bytes_max(parts).is_some_and(|bytes| bytes <= max);
    for (parts, max) in [
        (&mut prefix, LOOK_BEHIND_BYTES_MAX),
        (&mut suffix, LOOK_AHEAD_BYTES_MAX),
    ] {
        let bounded: Vec<Hir> = parts.iter().map(with_bounded_blanks).collect();
        if !fits(parts, max) && fits(&bounded, max) {
            let what = format!("blanks beside the secret are followed for {BLANKS_MAX} bytes");
            reading.note(at, ImportKind::Approximated, what);
            *parts = bounded;
        }
    }
    if !fits(&prefix, LOOK_BEHIND_BYTES_MAX) && prefix.iter().any(|part| in_bytes(part) != *part) {
        let what = "any text before the secret is counted in bytes";
        reading.note(at, ImportKind::Approximated, what);
        let bounded = prefix.iter().map(with_bounded_blanks);
        prefix = bounded.map(|part| in_bytes(&part)).flat_map(flat).collect();
    }
    let mut context = None;
    if !fits(&prefix, LOOK_BEHIND_BYTES_MAX) {
        let (tail, words) = tail(&prefix);
        if bytes_min(&tail) >= TAIL_BYTES_MIN && fits(&suffix, LOOK_AHEAD_BYTES_MAX) {
            let what = match words.is_empty() {
                true => "what stands before the secret is long: its end is asked for".to_owned(),
                false => format!(
                    "what stands before the secret is long: its end is asked for, and its \
                     beginning within {LOOK_BEHIND_BYTES_MAX} bytes"
                ),
            };
            reading.note(at, ImportKind::Approximated, what);
            context = context_of(words);
            prefix = tail;
        }
    }
    if !fits(&suffix, LOOK_AHEAD_BYTES_MAX) && fits(&prefix, LOOK_BEHIND_BYTES_MAX) {
        let (head, words) = head(&suffix);
        // Words are a kind of context already, or what is left tells nothing.
        if let (None, Some(behind)) = (&context, context_behind(words)) {
            let what = format!(
                "what stands behind the secret is long: its beginning is asked for, and a word of \
                 its end within {LOOK_BEHIND_BYTES_MAX} bytes"
            );
            reading.note(at, ImportKind::Approximated, what);
            context = Some(behind);
            suffix = head;
        }
    }
    if !fits(&prefix, LOOK_BEHIND_BYTES_MAX) || !fits(&suffix, LOOK_AHEAD_BYTES_MAX) {
        let what = "what stands around the secret is long: the whole match is masked";
        reading.note(at, ImportKind::Approximated, what);
        let parts = [prefix, middle, suffix].concat();
        (prefix, middle, suffix) = (Vec::new(), parts, Vec::new());
    }
    if let Some(both) = prefix.last().and_then(|last| overlap(last, &middle)) {
        middle.insert(0, both);
    }
    let (middle, region) = open(reading, at, middle);
    if region.is_some() && !suffix.is_empty() {
        reading.note(at, ImportKind::Ignored, "what stands behind the secret");
        suffix.clear();
    }
    let joined = |parts: Vec<Hir>| (!parts.is_empty()).then(|| Hir::concat(parts));
    Shape {
        after: joined(prefix),
        pattern: Hir::concat(middle),
        before: joined(suffix),
        region,
        context,
    }
}

/// An opening and an end with any text between are a region.
fn open(reading: &mut Reading, at: &At<'_>, parts: Vec<Hir>) -> (Vec<Hir>, Option<Hir>) {
    let parts: Vec<Hir> = parts.into_iter().flat_map(flat).collect();
    let Some(gap) = parts.iter().position(is_any_text) else {
        return (parts, None);
    };
    let (head, tail) = (&parts[..gap], Hir::concat(parts[gap + 1..].to_vec()));
    let properties = tail.properties();
    let ends = properties.minimum_len().is_some_and(|length| length > 0)
        && properties.look_set().is_empty();
    if bytes_min(head) == 0 || !ends {
        return (parts, None);
    }
    let what = format!(
        "any text between two marks is a region: masked from the first to the other, or for \
         {REGION_BYTES} bytes"
    );
    reading.note(at, ImportKind::Approximated, what);
    (head.to_vec(), Some(tail))
}

/// What may belong to the end of what stands before as well as to the secret, such as further `=`
/// behind the first: theirs counts it to the former as far as it can, which looking back from the
/// secret cannot know. So it is matched with the secret, and no end of that is left over.
fn overlap(last: &Hir, middle: &[Hir]) -> Option<Hir> {
    let HirKind::Repetition(run) = last.kind() else {
        return None;
    };
    let HirKind::Class(Class::Unicode(before)) = run.sub.kind() else {
        return None;
    };
    let first = middle.iter().find(|part| !is_look(part))?;
    let mut both = before.clone();
    both.intersect(&first_characters(first)?);
    let rounds = Repetition {
        min: 0,
        max: run.max,
        greedy: true,
        sub: Box::new(Hir::class(Class::Unicode(both.clone()))),
    };
    (run.max != Some(run.min) && run.max.is_some() && !both.ranges().is_empty())
        .then(|| Hir::repetition(rounds))
}

/// The characters with which a match may begin, if that is easily told.
fn first_characters(hir: &Hir) -> Option<ClassUnicode> {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Literal(literal) => {
            let first = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(first, first)]))
        }
        HirKind::Repetition(it) => first_characters(&it.sub),
        HirKind::Concat(parts) => {
            let mut all = ClassUnicode::empty();
            for part in parts.iter().filter(|part| !is_look(part)) {
                all.union(&first_characters(part)?);
                if part.properties().minimum_len() != Some(0) {
                    return Some(all);
                }
            }
            None
        }
        HirKind::Alternation(branches) => {
            let mut all = ClassUnicode::empty();
            for branch in branches {
                all.union(&first_characters(branch)?);
            }
            Some(all)
        }
        _ => None,
    }
}

/// Any number of blanks as some.
fn with_bounded_blanks(part: &Hir) -> Hir {
    let blank = |hir: &Hir| match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => class.iter().all(|range| range.end() <= ' '),
        HirKind::Literal(literal) => literal.0.iter().all(|byte| *byte <= b' '),
        _ => false,
    };
    match part.kind() {
        HirKind::Repetition(it) if it.max.is_none() && blank(&it.sub) => {
            Hir::repetition(Repetition {
                max: Some(it.min.max(BLANKS_MAX)),
                ..it.clone()
            })
        }
        _ => part.clone(),
    }
}

/// The end of a prefix that can be looked back at, and words that the rest of it contains.
fn tail(prefix: &[Hir]) -> (Vec<Hir>, Vec<String>) {
    let mut from = prefix.len();
    while from > 0 {
        match bytes_max(&prefix[from - 1..]) {
            Some(bytes) if bytes <= LOOK_BEHIND_BYTES_MAX => from -= 1,
            _ => break,
        }
    }
    let words = whole_words(&prefix[..from]);
    (trim_outer(prefix[from..].to_vec()), words)
}

/// The beginning of a suffix that can be looked ahead at, and words that the rest of it contains.
fn head(suffix: &[Hir]) -> (Vec<Hir>, Vec<String>) {
    let fits =
        |to: &usize| bytes_max(&suffix[..*to]).is_some_and(|bytes| bytes <= LOOK_AHEAD_BYTES_MAX);
    let to = (0..suffix.len()).take_while(fits).last().unwrap_or(0);
    let words = whole_words(&suffix[to..]);
    (trim_far(suffix[..to].to_vec()), words)
}

/// One of these words shortly behind a match.
fn context_behind(words: Vec<String>) -> Option<Context> {
    (!words.is_empty()).then_some(Context {
        words,
        within: 0,
        after: LOOK_BEHIND_BYTES_MAX,
    })
}

/// One of these words shortly before a match.
pub(super) fn context_of(words: Vec<String>) -> Option<Context> {
    (!words.is_empty()).then_some(Context {
        words,
        within: LOOK_BEHIND_BYTES_MAX,
        after: 0,
    })
}

/// A keyword that the expression does not ask for must stand near.
pub(super) fn ask_for_keywords(
    reading: &mut Reading,
    at: &At<'_>,
    keywords: &[String],
    shape: &mut Shape,
) {
    let words = as_context(keywords);
    if words.is_empty() || shape.context.is_some() {
        return reading.note(
            at,
            ImportKind::Ignored,
            "keywords that the expression does not need",
        );
    }
    let what = format!(
        "a keyword that the expression does not need must stand within {LOOK_BEHIND_BYTES_MAX} \
         bytes before the match"
    );
    reading.note(at, ImportKind::Approximated, what);
    shape.context = context_of(words);
}

/// The expression with long counts made shorter, but for those of a gap.
pub(super) fn looser(hir: &Hir) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(looser).collect::<Vec<_>>();
    match hir.kind() {
        HirKind::Repetition(_) if is_gap(hir) => hir.clone(),
        HirKind::Repetition(it) => {
            let sub = Box::new(looser(&it.sub));
            let long =
                it.min > ROUNDS_COUNTED_MAX || it.max.is_some_and(|m| m > ROUNDS_COUNTED_MAX);
            Hir::repetition(Repetition {
                min: it.min.min(ROUNDS_COUNTED_MAX),
                max: if long { None } else { it.max },
                greedy: it.greedy,
                sub,
            })
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        _ => hir.clone(),
    }
}

fn is_look(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Look(_))
}
