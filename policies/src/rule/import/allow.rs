//! Allow-lists of other programs: what a rule may find and is not to report.

use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

use super::LIST_MAX;
use super::decompose::flat;
use crate::rule::{Allow, Pattern, syntax};

/// An expression of an allow-list; says why it cannot be one.
pub(super) fn allow_pattern(source: &str) -> Result<Pattern, String> {
    let hir = syntax::parse(source).map_err(|fault| fault.reason)?;
    match hir.properties().minimum_len() {
        None | Some(0) => Err("it allows the empty text, and so everything".to_owned()),
        Some(_) => Ok(Pattern {
            source: source.to_owned(),
            hir,
        }),
    }
}

/// Puts words to a list of an allow-list, as many as one takes.
pub(super) fn add_words(list: &mut Vec<String>, words: &[&str]) {
    let usable = words.iter().filter(|word| !word.is_empty());
    let room = LIST_MAX.saturating_sub(list.len());
    list.extend(usable.take(room).map(|word| word.to_ascii_lowercase()));
}

/// What of an allow-list can fit a match at all: an expression that needs a byte which no match has
/// would be run for nothing.
pub(super) fn within(allow: &Allow, pattern: &Hir) -> Option<Allow> {
    let bytes = bytes_in(pattern);
    let mut allow = allow.clone();
    allow.patterns.retain(|it| {
        flat(it.hir.clone()).iter().all(|part| {
            let needed = bytes_in(part);
            part.properties().minimum_len() == Some(0)
                || (0..256).any(|byte| bytes[byte] && needed[byte])
        })
    });
    let empty = allow.values.is_empty() && allow.words.is_empty() && allow.patterns.is_empty();
    (!empty).then_some(allow)
}

/// The bytes that a match of an expression may have in it.
fn bytes_in(hir: &Hir) -> [bool; 256] {
    let mut bytes = [false; 256];
    mark_bytes(hir, &mut bytes);
    bytes
}

fn mark_bytes(hir: &Hir, bytes: &mut [bool; 256]) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => {
            literal
                .0
                .iter()
                .for_each(|byte| bytes[usize::from(*byte)] = true);
        }
        HirKind::Class(Class::Unicode(class)) => {
            for range in class.iter() {
                let (start, end) = (range.start() as u32, range.end() as u32);
                for byte in start..=end.min(0x7F) {
                    bytes[byte as usize] = true;
                }
                if end > 0x7F {
                    bytes[0x80..].fill(true);
                }
            }
        }
        HirKind::Class(_) => bytes.fill(true),
        HirKind::Repetition(Repetition { sub, .. }) => mark_bytes(sub, bytes),
        HirKind::Capture(capture) => mark_bytes(&capture.sub, bytes),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().for_each(|part| mark_bytes(part, bytes));
        }
    }
}
