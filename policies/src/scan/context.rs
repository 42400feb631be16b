//! A rule's context, ready to be looked for: one pass over the bytes before a match.

use aho_corasick::AhoCorasick;

use crate::rule::Context;

/// The words of a [`Context`]; finds what it finds.
#[derive(Debug)]
pub(super) struct Nearby {
    words: AhoCorasick,
    within: usize,
}

// === impl Nearby ===

impl Nearby {
    pub(super) fn new(context: &Context) -> Nearby {
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&context.words)
            // A pack file is at most 4 MiB, far below the builder's limits.
            .expect("a few words make an automaton");
        Nearby {
            words,
            within: context.within,
        }
    }

    /// Does one of the words stand, as a whole word, in `before`, the whole text before the match?
    pub(super) fn stands_in(&self, before: &[u8]) -> bool {
        let from = before.len().saturating_sub(self.within);
        let letter = |at: usize| before.get(at).is_some_and(u8::is_ascii_alphanumeric);
        // Overlapping, since a word may be found inside another that is not whole.
        self.words
            .find_overlapping_iter(&before[from..])
            .any(|found| {
                let (start, end) = (from + found.start(), from + found.end());
                let joined = (start > 0 && letter(start - 1)) || letter(end);
                !joined
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
            after: 0,
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
