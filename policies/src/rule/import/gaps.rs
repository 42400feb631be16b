//! Stretches of nearly any text between what an expression is really about.
//!
//! `data:` and, within a hundred characters whatever they are, `kind: secret`: such a gap is dear to
//! count, and must never be followed without end. A text that holds the first mark would be taken
//! for a match as soon as it is long enough, since a match that outgrows its bound counts. So gaps
//! stay counted, if need be less far than the file says.

use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, Hir, HirKind, Repetition,
};

/// How many characters of a gap are followed: the first that can be run.
pub(super) const CHARACTERS: [u32; 2] = [256, 64];

/// A gap that is longer may outgrow the bound of a match.
const LONG_CHARACTERS: u32 = 512;

/// How many of the printable ASCII characters are nearly any.
const NEARLY_ANY: usize = 80;

/// Does the part match one character, nearly whatever it is?
fn is_nearly_any(hir: &Hir) -> bool {
    match characters(hir) {
        Some(class) => {
            let printable = (' '..='~').filter(|c| contains(&class, *c)).count();
            printable >= NEARLY_ANY && contains(&class, ' ')
        }
        None => false,
    }
}

fn contains(class: &ClassUnicode, c: char) -> bool {
    let ranges = class.ranges().iter();
    ranges
        .clone()
        .any(|range| (range.start()..=range.end()).contains(&c))
}

/// The characters of a part that matches a single one in each of its alternatives.
fn characters(hir: &Hir) -> Option<ClassUnicode> {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Alternation(branches) => {
            let mut all = ClassUnicode::empty();
            for branch in branches {
                all.union(&characters(branch)?);
            }
            Some(all)
        }
        _ => None,
    }
}

/// Is the part itself a gap?
pub(super) fn is_gap(hir: &Hir) -> bool {
    matches!(hir.kind(), HirKind::Repetition(it) if is_nearly_any(&it.sub))
}

/// Is there a gap that is counted, but further than a match may be long, or gap after gap, such as
/// any lines?
pub(super) fn has_long(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Repetition(it) => {
            let long = it.max.is_none_or(|max| max > LONG_CHARACTERS);
            let counted = it.max.is_some() && is_gap(hir);
            (long && (counted || holds_gap(&it.sub))) || has_long(&it.sub)
        }
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(has_long),
        HirKind::Capture(capture) => has_long(&capture.sub),
        _ => false,
    }
}

fn holds_gap(hir: &Hir) -> bool {
    is_gap(hir)
        || match hir.kind() {
            HirKind::Repetition(it) => holds_gap(&it.sub),
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(holds_gap),
            HirKind::Capture(capture) => holds_gap(&capture.sub),
            _ => false,
        }
}

/// The expression with its gaps followed for so many characters, or as many as they must have.
pub(super) fn within(hir: &Hir, most: u32) -> Hir {
    let all = |parts: &[Hir]| {
        parts
            .iter()
            .map(|part| within(part, most))
            .collect::<Vec<_>>()
    };
    match hir.kind() {
        HirKind::Repetition(it) => {
            let max = match is_gap(hir) {
                true => Some(it.max.map_or(most, |max| max.min(most)).max(it.min)),
                false => it.max,
            };
            let sub = Box::new(within(&it.sub, most));
            Hir::repetition(Repetition {
                max,
                sub,
                ..it.clone()
            })
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        _ => hir.clone(),
    }
}

/// The expression with its gaps counted in bytes, which needs less room to look at.
pub(super) fn in_bytes(hir: &Hir) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(in_bytes).collect::<Vec<_>>();
    match hir.kind() {
        HirKind::Repetition(it) if is_gap(hir) => {
            let sub = characters(&it.sub).and_then(|class| bytes(&class));
            let sub = sub.unwrap_or_else(|| (*it.sub).clone());
            Hir::repetition(Repetition {
                sub: Box::new(sub),
                ..it.clone()
            })
        }
        HirKind::Repetition(it) => {
            let sub = Box::new(in_bytes(&it.sub));
            Hir::repetition(Repetition { sub, ..it.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        _ => hir.clone(),
    }
}

/// Is there a gap that is counted in bytes?
pub(super) fn has_bytes(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(class) => matches!(class, Class::Bytes(_)),
        HirKind::Repetition(it) => has_bytes(&it.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(has_bytes),
        _ => false,
    }
}

/// The bytes of a class that holds every character beyond ASCII.
fn bytes(class: &ClassUnicode) -> Option<Hir> {
    let last = class.ranges().last()?;
    if last.start() > '\u{80}' || last.end() != char::MAX {
        return None;
    }
    let ascii = class
        .ranges()
        .iter()
        .filter(|range| range.start() <= '\u{7F}');
    let ranges = ascii.map(|range| {
        let end = range.end().min('\u{7F}');
        ClassBytesRange::new(range.start() as u8, end as u8)
    });
    let beyond = [ClassBytesRange::new(0x80, 0xFF)];
    Some(Hir::class(Class::Bytes(ClassBytes::new(
        ranges.chain(beyond),
    ))))
}

#[cfg(test)]
mod tests {
    use super::super::super::syntax::parse;
    use super::*;

    fn parsed(pattern: &str) -> Hir {
        parse(pattern).expect("parses")
    }

    #[test]
    fn a_gap_is_nearly_any_text() {
        for gap in [r"(?s:.){0,9}?", r".*", "[^\"]+", r"(?:.|[\r\n]){0,32}?"] {
            assert!(is_gap(&parsed(gap)), "{gap}");
        }
        for other in [r"\S+", r"[\w.-]+", r"\s*", ".", "(?:ab)+"] {
            assert!(!is_gap(&parsed(other)), "{other}");
        }
    }

    #[test]
    fn gaps_are_followed_less_far() {
        assert_eq!(within(&parsed(r"a.*b\w*"), 64), parsed(r"a.{0,64}b\w*"));
        assert_eq!(
            within(&parsed(r"(?:x|a[^;]{70,})"), 64),
            parsed(r"(?:x|a[^;]{70})")
        );
        assert!(has_long(&parsed(r"a(?:.{0,600}b|c)")));
        assert!(has_long(&parsed(r"a(?:.{0,60}\n)*b")));
        assert!(!has_long(&parsed(r"a.{0,60}\w{600}")));
    }

    #[test]
    fn gaps_are_counted_in_bytes() {
        let bytes = |pattern: &str| in_bytes(&parsed(pattern)).properties().maximum_len();
        assert_eq!(bytes(r"a.{0,60}b"), Some(62));
        assert_eq!(bytes(r"a[^;]{0,60}?b"), Some(62));
    }
}
