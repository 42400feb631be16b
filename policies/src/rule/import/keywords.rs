//! Does every match of an expression contain one of these words?
//!
//! Scanners of files try a rule only where one of its keywords stands somewhere in the file. Where
//! the expression cannot match without one, that is only haste, and our own prefilter's business.
//! Where it can, the keyword says something, and must be asked for in another way.

use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

use super::decompose::flat;

/// How many parts of an expression are read for the literals at its beginning.
const PARTS_MAX: usize = 48;

/// How many phrases an expression is written out as.
const PHRASES_MAX: usize = 64;

/// A class of more characters is not written out.
const CLASS_MAX: usize = 8;

/// Whether each match of `hir` contains one of `words`, which are of lower case, in any case.
/// Errs on the side of no.
pub(super) fn required(hir: &Hir, words: &[String]) -> bool {
    contains_one(&lower(hir), words)
}

fn contains_one(hir: &Hir, words: &[String]) -> bool {
    let parts = flat(hir.clone());
    let begins_with_one = |at: usize| {
        let end = parts.len().min(at + PARTS_MAX);
        let rest = Hir::concat(parts[at..end].to_vec());
        let found = Extractor::new().extract(&rest);
        found.literals().is_some_and(|literals| {
            !literals.is_empty()
                && literals.iter().all(|literal| {
                    let text = literal.as_bytes();
                    words.iter().any(|word| {
                        text.windows(word.len().max(1))
                            .any(|w| w == word.as_bytes())
                    })
                })
        })
    };
    (0..parts.len()).any(begins_with_one)
        || parts.iter().any(|part| match part.kind() {
            HirKind::Alternation(branches) => {
                branches.iter().all(|branch| contains_one(branch, words))
            }
            HirKind::Repetition(Repetition { min: 1.., sub, .. }) => contains_one(sub, words),
            HirKind::Capture(capture) => contains_one(&capture.sub, words),
            _ => false,
        })
}

/// The expression of what its matches are in lower case.
fn lower(hir: &Hir) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(lower).collect::<Vec<_>>();
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => hir.clone(),
        HirKind::Literal(literal) => Hir::literal(literal.0.to_ascii_lowercase()),
        HirKind::Class(Class::Unicode(class)) => {
            let mut small = ClassUnicode::empty();
            for range in class.iter() {
                let (start, end) = (range.start(), range.end());
                small.push(*range);
                let (from, to) = (start.max('A'), end.min('Z'));
                if from <= to {
                    let letters =
                        ClassUnicodeRange::new(from.to_ascii_lowercase(), to.to_ascii_lowercase());
                    small.push(letters);
                }
            }
            small.difference(&ClassUnicode::new([ClassUnicodeRange::new('A', 'Z')]));
            Hir::class(Class::Unicode(small))
        }
        HirKind::Class(class) => Hir::class(class.clone()),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            sub: Box::new(lower(&repetition.sub)),
            ..repetition.clone()
        }),
        HirKind::Capture(capture) => lower(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
    }
}

/// The expression with a full stop for any character: what its author meant by most of his dots.
pub(super) fn with_dots(hir: &Hir) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(with_dots).collect::<Vec<_>>();
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) if class.ranges().len() <= 2 && any(class) => {
            Hir::literal(*b".")
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        HirKind::Capture(capture) => with_dots(&capture.sub),
        _ => hir.clone(),
    }
}

/// Every character, or every one but the end of a line?
fn any(class: &ClassUnicode) -> bool {
    let ranges = class.ranges();
    ranges.first().is_some_and(|range| range.start() == '\0')
        && ranges.last().is_some_and(|range| range.end() == char::MAX)
}

/// What the first stretch of an expression says that can be written out as words or phrases and
/// after which no letter follows. Of blanks that may be many, none and one are written out.
pub(super) fn whole_words(parts: &[Hir]) -> Vec<String> {
    let parts = flat(lower(&Hir::concat(parts.to_vec())));
    let ends = |part: &Hir| {
        matches!(
            part.kind(),
            HirKind::Look(Look::WordAscii | Look::WordEndAscii)
        )
    };
    let mut from = 0;
    while from < parts.len() {
        let mut said = vec![String::new()];
        let mut whole = Vec::new();
        let mut at = from;
        while let Some(part) = parts.get(at) {
            if ends(part) {
                whole.clone_from(&said);
            } else if let Some(longer) = written_out(part).and_then(|next| joined(&said, &next)) {
                said = longer;
            } else {
                break;
            }
            at += 1;
        }
        let words = as_context(&whole);
        if !words.is_empty() {
            return words;
        }
        from += 1;
    }
    Vec::new()
}

/// The texts that a part matches, if they are few.
fn written_out(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![std::str::from_utf8(&literal.0).ok()?.to_owned()]),
        HirKind::Class(Class::Unicode(class)) => {
            let blank = |c: &char| class.iter().any(|it| (it.start()..=it.end()).contains(c));
            if class.iter().all(|range| range.end() <= ' ') {
                return blank(&' ').then(|| vec![" ".to_owned()]);
            }
            let all = class.iter().flat_map(|range| range.start()..=range.end());
            let all: Vec<String> = all.take(CLASS_MAX + 1).map(String::from).collect();
            (all.len() <= CLASS_MAX).then_some(all)
        }
        HirKind::Repetition(Repetition {
            min: min @ 0..=1,
            max,
            sub,
            ..
        }) => {
            let once = written_out(sub)?;
            let blanks = once.iter().all(|text| text == " ");
            match (min, max) {
                (0, Some(1)) => Some([vec![String::new()], once].concat()),
                (0, _) if blanks => Some([vec![String::new()], once].concat()),
                (1, _) if blanks => Some(once),
                _ => None,
            }
        }
        HirKind::Concat(parts) => parts.iter().try_fold(vec![String::new()], |said, part| {
            joined(&said, &written_out(part)?)
        }),
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(written_out(branch)?);
            }
            (all.len() <= PHRASES_MAX).then_some(all)
        }
        HirKind::Empty => Some(vec![String::new()]),
        _ => None,
    }
}

/// Each of the one followed by each of the others.
fn joined(said: &[String], next: &[String]) -> Option<Vec<String>> {
    if said.len() * next.len() > PHRASES_MAX {
        return None;
    }
    let mut longer = Vec::new();
    for text in said {
        longer.extend(next.iter().map(|next| format!("{text}{next}")));
    }
    Some(longer)
}

/// The words as context can ask for them: letters and digits at both ends, each once.
pub(super) fn as_context(words: &[String]) -> Vec<String> {
    let mut usable: Vec<String> = Vec::new();
    for word in words {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let word = word.to_ascii_lowercase();
        if word.len() > 1 && word.is_ascii() && !usable.contains(&word) {
            usable.push(word);
        }
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::super::super::syntax::parse;
    use super::*;

    #[test]
    fn a_word_that_the_expression_asks_for_is_seen() {
        let asks = |pattern: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            required(&parse(pattern).expect("parses"), &words)
        };
        assert!(asks(
            "(?i)[a-z]{0,50}?(?:adafruit)x*=([a-z]{4})",
            &["adafruit"]
        ));
        assert!(asks("(?:ghu|ghs)_[0-9a-zA-Z]{36}", &["ghu_", "ghs_"]));
        assert!(asks("A3T[A-Z]|AKIA", &["a3t", "akia"]));
        assert!(asks(r"\b(?:x[0-9]+|y(?-i:Jira))z", &["x", "jira"]));
        assert!(!asks("(?:ghu|ghs)_", &["ghu_"]));
        assert!(!asks("(?:sgp_)?[a-f0-9]{40}", &["sgp_"]));
        assert!(!asks("[a-z]+", &["a"]));
        assert!(!asks("a.b{2}", &["a.bb"]));
        let dotted = with_dots(&parse("a.b{2}").expect("parses"));
        assert!(required(&dotted, &["a.bb".to_owned()]));
    }

    #[test]
    fn context_words_are_whole() {
        let of = |pattern: &str| whole_words(&[parse(pattern).expect("parses")]);
        assert_eq!(of(r"(?i)\b(?:curl|wget)\b.*x"), ["curl", "wget"]);
        assert_eq!(of(r"(?i)\bpoly.{0,20}key"), [""; 0]);
        assert_eq!(of(r"(?i)\bpoly.{0,20}\bkey\b"), ["key"]);
        let phrases = ["kind:b", "kind:'b", "kind: b", "kind: 'b"];
        assert_eq!(of(r"(?i)\bkind:[ \t]*'?\bb\b'?.*x"), phrases);
        let words = ["sgp_".to_owned(), "Sgp".to_owned(), "_".to_owned()];
        assert_eq!(as_context(&words), ["sgp"]);
    }
}
