//! A rule's context, ready to be looked for: one pass over the bytes before a match.

use super::bytes::{ByteSet, contains, insert};
use crate::rule::Context;

/// The words of a [`Context`]; finds what it finds.
#[derive(Debug)]
pub(super) struct Nearby {
    words: Vec<Vec<u8>>,
    within: usize,
    /// What the words begin with, in either case.
    initials: ByteSet,
}

// === impl Nearby ===

impl Nearby {
    pub(super) fn new(context: &Context) -> Nearby {
        let mut initials = [0; 4];
        for initial in context.words.iter().filter_map(|word| word.bytes().next()) {
            insert(&mut initials, initial.to_ascii_lowercase());
            insert(&mut initials, initial.to_ascii_uppercase());
        }
        Nearby {
            words: context
                .words
                .iter()
                .map(|word| word.clone().into_bytes())
                .collect(),
            within: context.within,
            initials,
        }
    }

    /// Does one of the words stand in `before`, the whole text before the match?
    pub(super) fn stands_in(&self, before: &[u8]) -> bool {
        let from = before.len().saturating_sub(self.within);
        let mut joined = from > 0 && before[from - 1].is_ascii_alphanumeric();
        for at in from..before.len() {
            let byte = before[at];
            if !joined && contains(&self.initials, byte) && self.begins(&before[at..]) {
                return true;
            }
            joined = byte.is_ascii_alphanumeric();
        }
        false
    }

    /// Does the text begin with one of the words, as a whole word?
    fn begins(&self, text: &[u8]) -> bool {
        self.words.iter().any(|word| {
            text.get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word))
                && !text.get(word.len()).is_some_and(u8::is_ascii_alphanumeric)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_definition_finds() {
        let context = Context {
            words: vec!["tel".to_owned(), "my tel".to_owned(), "#".to_owned()],
            within: 8,
        };
        let nearby = Nearby::new(&context);
        for text in [
            "my TEL: ",
            "tel",
            "my_tel=",
            "hotel: ",
            "telly ",
            "tel is far away",
            "",
            "a#",
            "#1",
            "# ",
            "My Tel ",
            "xmy tel",
            "tel     ",
            "tel      ",
            "étel ",
            "teltel tel",
        ] {
            let expected = context.stands_in(text.as_bytes());
            assert_eq!(nearby.stands_in(text.as_bytes()), expected, "{text:?}");
        }
    }
}
