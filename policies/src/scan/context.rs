//! A rule's context, ready to be looked for: one pass over the bytes before a match, and one over
//! those behind it.

use aho_corasick::AhoCorasick;

use super::effort::Work;
use super::view::View;
use crate::rule::Context;

/// The words of a [`Context`]; finds what it finds.
#[derive(Debug)]
pub(super) struct Nearby {
    words: AhoCorasick,
    within: usize,
    after: usize,
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
            after: context.after,
        }
    }

    /// May a word stand behind the match?
    pub(super) fn looks_behind(&self) -> bool {
        self.after > 0
    }

    /// Does one of the words stand near `start..end`? Nothing while the text that decides has not
    /// come.
    pub(super) fn stands_near(
        &self,
        view: &View<'_>,
        start: usize,
        end: usize,
        work: &mut Work,
    ) -> Option<bool> {
        if self.stands_before(view.before(start), work) {
            return Some(true);
        }
        match self.looks_behind() {
            true => self.stands_behind(view.from(end), view.is_last(), work),
            false => Some(false),
        }
    }

    /// Does one of the words stand, as a whole word, in `before`, the whole text before the match?
    pub(super) fn stands_before(&self, before: &[u8], work: &mut Work) -> bool {
        let from = before.len().saturating_sub(self.within);
        work.spend((before.len() - from) as u64);
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

    /// Does one of the words stand in `behind`, what is at hand behind the match? `last` says that
    /// nothing more comes.
    fn stands_behind(&self, behind: &[u8], last: bool, work: &mut Work) -> Option<bool> {
        let window = &behind[..behind.len().min(self.after)];
        work.spend((window.len()) as u64);
        let letter = |at: usize| behind.get(at).is_some_and(u8::is_ascii_alphanumeric);
        // The byte behind a word tells whether it is whole, so it must have come.
        let stands = self.words.find_overlapping_iter(window).any(|found| {
            let joined = (found.start() > 0 && letter(found.start() - 1)) || letter(found.end());
            !joined && (last || found.end() < behind.len())
        });
        match stands {
            true => Some(true),
            false if last || behind.len() > self.after => Some(false),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 16] = [
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
    ];

    #[test]
    fn finds_what_the_definition_finds() {
        let context = Context {
            words: vec!["tel".to_owned(), "my tel".to_owned(), "#".to_owned()],
            within: 8,
            after: 6,
        };
        let nearby = Nearby::new(&context);
        let work = &mut Work::unbounded();
        for text in TEXTS {
            let bytes = text.as_bytes();
            let expected = context.stands_in(bytes);
            assert_eq!(nearby.stands_before(bytes, work), expected, "{text:?}");
            let expected = context.stands_behind(bytes);
            let found = nearby.stands_behind(bytes, true, work);
            assert_eq!(found, Some(expected), "{text:?}");
            // Less of it decides the same, or nothing yet.
            for end in 0..bytes.len() {
                let found = nearby.stands_behind(&bytes[..end], false, work);
                assert!(
                    found.is_none_or(|found| found == expected),
                    "{text:?} {end}"
                );
            }
        }
    }
}
