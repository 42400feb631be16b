//! Texts that an expression of the rule dialect matches, made by walking it with dice.
//!
//! What stands around a match (boundaries, `after`) is not generated: a text that violates them is
//! a near-miss, and those are wanted, too.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::dice::Dice;

/// The most that an unbounded repetition adds to its least.
const EXTRA_MAX: u32 = 8;

/// The dialect's classes are of ASCII; a Unicode parser has to be told.
pub fn in_ascii(regex: &str) -> String {
    regex
        .replace(r"\b", r"(?-u:\b)")
        .replace(r"\B", r"(?-u:\B)")
        .replace(r"\d", "[0-9]")
        .replace(r"\w", "[0-9A-Za-z_]")
        .replace(r"\s", r"[\t\n\x0B\x0C\r ]")
        .replace(r"\D", "[^0-9]")
        .replace(r"\W", "[^0-9A-Za-z_]")
        .replace(r"\S", r"[^\t\n\x0B\x0C\r ]")
}

/// A parsed expression, ready to be walked many times.
#[derive(Debug, Clone)]
pub struct Generator {
    hir: Hir,
}

// === impl Generator ===

impl Generator {
    /// Of an expression; none of one that does not parse.
    pub fn new(regex: &str) -> Option<Generator> {
        let hir = regex_syntax::parse(&in_ascii(regex)).ok()?;
        Some(Generator { hir })
    }

    /// A text that it matches, but for what it says about the surroundings.
    pub fn text(&self, dice: &mut Dice) -> String {
        let mut out = String::new();
        walk(&self.hir, dice, &mut out);
        out
    }
}

fn walk(hir: &Hir, dice: &mut Dice, out: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(class) => out.extend(member(class, dice)),
        HirKind::Capture(capture) => walk(&capture.sub, dice, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| walk(part, dice, out)),
        HirKind::Alternation(parts) => walk(&parts[dice.below(parts.len())], dice, out),
        HirKind::Repetition(repetition) => {
            let most = repetition
                .max
                .unwrap_or(u32::MAX)
                .min(repetition.min + EXTRA_MAX);
            let extra = dice.below((most - repetition.min) as usize + 1) as u32;
            for _ in 0..repetition.min + extra {
                walk(&repetition.sub, dice, out);
            }
        }
    }
}

/// A character of a class: of its ASCII part where it has one.
fn member(class: &Class, dice: &mut Dice) -> Option<char> {
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => class
            .iter()
            .map(|range| (u32::from(range.start()), u32::from(range.end())))
            .collect(),
        Class::Bytes(class) => class
            .iter()
            .map(|range| (u32::from(range.start()), u32::from(range.end())))
            .collect(),
    };
    let visible = |&(from, to): &(u32, u32)| {
        (from <= 0x7E && to >= 0x20).then(|| (from.max(0x20), to.min(0x7E)))
    };
    let ascii: Vec<(u32, u32)> = ranges.iter().filter_map(visible).collect();
    let ranges = if ascii.is_empty() { ranges } else { ascii };
    let total: usize = ranges
        .iter()
        .map(|(from, to)| (to - from + 1) as usize)
        .sum();
    let mut at = dice.below(total) as u32;
    for (from, to) in ranges {
        let size = to - from + 1;
        if at < size {
            return char::from_u32(from + at);
        }
        at -= size;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_matches() {
        let mut dice = Dice::new(11);
        for regex in [
            r"(?i)\bkey[-_]?[a-f0-9]{8,}\b",
            r"a+b*c?|[^x]{3}é|\d{4}(?:-\w{4}){3}",
            r"[\s.-]{1,3}x",
            r"a\W{1,2}b\D\S",
        ] {
            let whole = regex::Regex::new(&format!("^(?:{})$", in_ascii(regex))).expect("is valid");
            let generator = Generator::new(regex).expect("parses");
            for _ in 0..200 {
                let text = generator.text(&mut dice);
                assert!(whole.is_match(&text), "{regex} made {text:?}");
            }
        }
        assert!(Generator::new("(").is_none());
    }

    #[test]
    fn classes_and_their_complements_are_of_ascii() {
        let is_match = |regex: &str, text: &str| {
            let whole = format!("^(?:{})$", in_ascii(regex));
            regex::Regex::new(&whole).expect("is valid").is_match(text)
        };
        assert!(is_match(r"\W\D\S", "é\u{663}\u{A0}"));
        assert!(!is_match(r"\w|\d|\s", "é"));
        assert!(is_match(r"[^\W]", "a") && !is_match(r"[^\W]", "é"));
    }
}
