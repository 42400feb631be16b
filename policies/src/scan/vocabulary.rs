//! Which rules' words stand before a place, found out once for all rules.
//!
//! A number may be a hundred things: where one stands, every national number, telephone and card
//! is tried, and most of them want a word before them. Asking each rule to search the same hundred
//! bytes for words of its own is dear. So the words of all rules are one [`Vocabulary`], and the
//! text before such a place is read once: [`Heard`] remembers of every *topic*, which is the words
//! of a rule, where one of them began last. As places follow each other, only the text between
//! them is read.
//!
//! Some rules say in `after` what must stand before them, which begins with certain words, too.
//!
//! A word is known by its first four bytes, so a topic may be taken for heard that is not: a rule
//! searches for its words itself before it matches. The answer no is certain.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind, Look};

use super::candidate::Compiled;
use super::leads::{After, needed};
use super::view::View;
use crate::rule::{LOOK_BEHIND_BYTES_MAX, Rule};

/// How many topics are told apart; with more, some share a place.
const TOPICS_MAX: usize = 128;

/// How many bytes of a word are looked at. Words that are shorter are looked at whole.
const KEY_BYTES: usize = 4;

/// How many bytes of what an `after` begins with are looked at, if it has no more.
const OPENING_BYTES: usize = 3;

/// The bit of such beginnings, and what tells their keys from those of words.
const OPENING: usize = KEY_BYTES + 1;
const OPENING_KEY: u32 = 1 << 24;

/// The most ways in which an `after` may begin.
const OPENINGS_MAX: usize = 4096;

/// So many bytes are soon read.
const NEAR_BYTES: usize = 32;

/// An ASCII letter or digit: no word begins behind it.
const JOINS: u8 = 0x80;

/// Entries of the table for each key, so that what is not in it is mostly seen at once.
const ENTRIES_PER_KEY: usize = 4;

/// The words of all rules that match only behind one of some words.
#[derive(Debug)]
pub(super) struct Vocabulary {
    /// By byte: a bit for each length of which a word begins with it, [`KEY_BYTES`] standing for
    /// that and more and [`OPENING`] for what is no whole word, and whether it joins.
    kinds: Box<[u8; 256]>,
    keys: Keys,
    /// By rule.
    wanted: Box<[Option<Wanted>]>,
}

/// The topics that have a word with a key.
#[derive(Debug)]
struct Keys {
    /// By hash of the key, and from there on until an entry of no list.
    entries: Box<[Entry]>,
    /// Lists of topics; the first is empty.
    lists: Box<[Box<[u8]>]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    key: u32,
    list: u32,
}

/// What must stand before a rule's match.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    topic: u8,
    /// Within how many bytes.
    within: u8,
}

/// What a word is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Known {
    first: u8,
    length: usize,
    key: u32,
}

/// What was heard of a text up to a place.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    until: usize,
    /// By topic: the lower half of where a word of it began last. What began so long ago that the
    /// half comes round again is taken for near.
    last: [u16; TOPICS_MAX],
}

// === impl Vocabulary ===

impl Vocabulary {
    pub(super) fn new(rules: &[Rule], compiled: &[Compiled]) -> Vocabulary {
        let mut kinds = Box::new([0; 256]);
        for byte in (0..=u8::MAX).filter(u8::is_ascii_alphanumeric) {
            kinds[usize::from(byte)] = JOINS;
        }
        let mut topics: HashMap<Vec<Known>, usize, FixedState> = HashMap::default();
        let mut wanted = Vec::with_capacity(rules.len());
        let mut keys: Vec<(u32, u8)> = Vec::new();
        for (rule, compiled) in rules.iter().zip(compiled) {
            let Some((mut words, within)) = words(rule, compiled) else {
                wanted.push(None);
                continue;
            };
            words.sort_unstable();
            words.dedup();
            let new = topics.len();
            let topic = *topics.entry(words.clone()).or_insert(new) % TOPICS_MAX;
            let topic = topic as u8;
            wanted.push(Some(Wanted { topic, within }));
            for word in words {
                keys.push((word.key, topic));
                for first in (0..=u8::MAX).filter(|byte| fold(*byte) == word.first) {
                    kinds[usize::from(first)] |= bit(word.length);
                }
            }
        }
        Vocabulary {
            kinds,
            keys: Keys::new(keys),
            wanted: wanted.into_boxed_slice(),
        }
    }

    pub(super) fn table_bytes(&self) -> usize {
        let lists = self.keys.lists.iter().map(|list| size_of_val(&**list));
        size_of_val(&*self.kinds)
            + size_of_val(&*self.keys.entries)
            + size_of_val(&*self.wanted)
            + lists.sum::<usize>()
    }

    /// The words of which one must stand before a match of this rule, if there are such.
    #[inline]
    pub(super) fn wanted(&self, rule: u16) -> Option<Wanted> {
        self.wanted[usize::from(rule)]
    }
}

/// The words of which one must begin before a match of the rule, and within how many bytes;
/// nothing if that is not known.
fn words(rule: &Rule, compiled: &Compiled) -> Option<(Vec<Known>, u8)> {
    // Words behind a match are not known when it begins.
    let context = rule.context.as_ref().filter(|context| context.after == 0);
    let (words, within) = match (context, &rule.after, &compiled.after) {
        (Some(context), ..) => {
            let words = context.words.iter();
            let words = words.map(|word| Known::word(word.as_bytes()));
            (words.collect(), context.within)
        }
        (None, Some(after), Some(After::Backwards(_))) => openings(&after.hir)?,
        _ => return None,
    };
    let near = within <= LOOK_BEHIND_BYTES_MAX;
    let within = u8::try_from(within).ok().filter(|_| near);
    Some((words, within?))
}

/// What this begins with, if that is always a word's first bytes, and how long it may be.
fn openings(after: &Hir) -> Option<(Vec<Known>, usize)> {
    let parts = needed(after);
    let [boundary, rest @ ..] = &parts[..] else {
        return None;
    };
    let begins = matches!(boundary.kind(), HirKind::Look(Look::WordAscii));
    let rest = Hir::concat(rest.to_vec());
    let within = rest.properties().maximum_len().filter(|_| begins)?;
    let mut extractor = Extractor::new();
    extractor
        .kind(ExtractKind::Prefix)
        .limit_literal_len(KEY_BYTES)
        .limit_total(OPENINGS_MAX);
    let begun = extractor.extract(&rest);
    let words = begun.literals()?.iter().map(|literal| {
        let bytes = literal.as_bytes();
        // Behind a boundary, what begins with a letter has none before it.
        let tells = bytes.len() >= OPENING_BYTES && bytes[0].is_ascii_alphanumeric();
        tells.then(|| Known::opening(bytes))
    });
    Some((words.collect::<Option<_>>()?, within))
}

/// Letters of both cases become one; a few other bytes do, too.
#[inline]
fn fold(byte: u8) -> u8 {
    byte | 0x20
}

/// What stands for up to four bytes. No byte is zero when it is folded, so lengths differ.
#[inline]
fn key(bytes: &[u8]) -> u32 {
    let fold = |key, byte: &u8| key << 8 | u32::from(fold(*byte));
    bytes.iter().fold(0, fold)
}

/// The key of the beginning of what need not be a whole word.
#[inline]
fn opening_key(bytes: &[u8]) -> u32 {
    OPENING_KEY | key(&bytes[..OPENING_BYTES])
}

/// The bit of a length.
#[inline]
fn bit(length: usize) -> u8 {
    1 << length
}

/// Where in a table of this size, a power of two, the search for a key begins.
#[inline]
fn place(key: u32, size: usize) -> usize {
    // Knuth's multiplier: the upper bits of the product depend on all bytes.
    let hash = u64::from(key.wrapping_mul(2_654_435_769));
    ((hash * size as u64) >> 32) as usize
}

// === impl Known ===

impl Known {
    fn word(word: &[u8]) -> Known {
        let length = word.len().min(KEY_BYTES);
        Known {
            // No word is empty: a pack that has one is refused.
            first: fold(word[0]),
            length,
            key: key(&word[..length]),
        }
    }

    /// What need not be a whole word.
    fn opening(bytes: &[u8]) -> Known {
        if bytes.len() >= KEY_BYTES {
            return Known::word(bytes);
        }
        Known {
            first: fold(bytes[0]),
            length: OPENING,
            key: opening_key(bytes),
        }
    }
}

// === impl Keys ===

impl Keys {
    fn new(mut keys: Vec<(u32, u8)>) -> Keys {
        keys.sort_unstable();
        keys.dedup();
        let size = (keys.len() * ENTRIES_PER_KEY).next_power_of_two();
        let mut entries = vec![Entry::default(); size].into_boxed_slice();
        let mut lists = vec![Box::default()];
        for same in keys.chunk_by(|a, b| a.0 == b.0) {
            let key = same[0].0;
            let mut at = place(key, size);
            while entries[at].list != 0 {
                at = (at + 1) & (size - 1);
            }
            entries[at] = Entry {
                key,
                list: lists.len() as u32,
            };
            lists.push(same.iter().map(|(_, topic)| *topic).collect());
        }
        Keys {
            entries,
            lists: lists.into_boxed_slice(),
        }
    }

    /// The topics that have a word with this key.
    #[inline]
    fn topics(&self, key: u32) -> &[u8] {
        let mut at = place(key, self.entries.len());
        loop {
            let entry = self.entries[at];
            if entry.key == key || entry.list == 0 {
                return &self.lists[entry.list as usize];
            }
            at = (at + 1) & (self.entries.len() - 1);
        }
    }
}

// === impl Heard ===

impl Heard {
    /// Is there little between this place and the last that was listened to?
    #[inline]
    pub(super) fn is_near(&self, at: usize) -> bool {
        at.wrapping_sub(self.until) < NEAR_BYTES
    }

    /// May what is wanted stand before `at`, which has been listened to?
    #[inline]
    pub(super) fn has(&self, wanted: Wanted, at: usize) -> bool {
        let last = self.last[usize::from(wanted.topic)];
        (at as u16).wrapping_sub(last) <= u16::from(wanted.within)
    }

    /// Listens to what stands before `at`. How many bytes that took.
    #[inline]
    pub(super) fn listen(&mut self, vocabulary: &Vocabulary, view: &View<'_>, at: usize) -> usize {
        match at == self.until {
            true => 0,
            false => self.listen_on(vocabulary, view, at),
        }
    }

    fn listen_on(&mut self, vocabulary: &Vocabulary, view: &View<'_>, at: usize) -> usize {
        let mut from = at.saturating_sub(LOOK_BEHIND_BYTES_MAX).max(view.base());
        if self.until < at {
            // The last few words may not have been at hand whole.
            from = from.max(self.until.saturating_sub(KEY_BYTES - 1));
        }
        self.until = at;
        let text = view.before(at);
        let base = view.base();
        let joins = |kind: u8| kind & JOINS != 0;
        let kind = |offset: usize| vocabulary.kinds[usize::from(text[offset])];
        let mut joined = from > base && joins(kind(from - 1 - base));
        for offset in from - base..text.len() {
            let lengths = kind(offset);
            if !joined && lengths & !JOINS != 0 {
                self.hear(vocabulary, &text[offset..], lengths, base + offset);
            }
            joined = joins(lengths);
        }
        at - from
    }

    /// Words of these lengths may begin at `start`, and `rest` is what stands from there on.
    fn hear(&mut self, vocabulary: &Vocabulary, rest: &[u8], lengths: u8, start: usize) {
        for length in 1..=KEY_BYTES.min(rest.len()) {
            if lengths & bit(length) == 0 {
                continue;
            }
            // A word is whole where the match begins, too, whatever follows.
            let joined =
                length < KEY_BYTES && rest.get(length).is_some_and(u8::is_ascii_alphanumeric);
            if !joined {
                self.note(vocabulary, key(&rest[..length]), start);
            }
        }
        if lengths & bit(OPENING) != 0 && rest.len() >= OPENING_BYTES {
            self.note(vocabulary, opening_key(rest), start);
        }
    }

    #[inline]
    fn note(&mut self, vocabulary: &Vocabulary, key: u32, start: usize) {
        for topic in vocabulary.keys.topics(key) {
            self.last[usize::from(*topic)] = start as u16;
        }
    }
}

impl Default for Heard {
    fn default() -> Heard {
        Heard {
            until: 0,
            last: [0; TOPICS_MAX],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rule::Pack;

    const WORDS: [&[&str]; 9] = [
        &["tel"],
        &["tel", "phone number"],
        &["id"],
        &["n", "#"],
        &["identity card"],
        &["电话", "ид"],
        &["é", "-"],
        &["ident"],
        &["d.o.b"],
    ];

    const PARTS: [&str; 24] = [
        "tel",
        "TEL",
        "hotel",
        "phone",
        " ",
        " ",
        "_",
        "number",
        "id",
        "Id",
        "n",
        "#",
        "identity",
        "card",
        "电",
        "话",
        "ид",
        "é",
        "-",
        "ident",
        "d.o.b",
        "7",
        "12345",
        "................",
    ];

    /// What must stand before rules that are so rare that it is read backwards.
    const AFTERS: [&str; 4] = [
        r"(?i)\b(?:ident(?:ity)?|tel)[ _-]?(?:card|number)?[:= ]{0,2}",
        r"(?: ?x)?\b(?:id: |card)-?",
        r"(?i)\b(?:d\.?o\.?b|iden)[0-9 -]{0,9}",
        r"\bnum[a-z]{0,3}",
    ];

    fn rules() -> Vec<Rule> {
        let mut toml = String::new();
        for (index, after) in (0..).zip(AFTERS) {
            toml.push_str(&format!(
                "[[rule]]\nid = \"a{index}\"\ndescription = \"test\"\nregex = 'qzj\\^~[0-9]'\n\
                 after = '{after}'\nmatches = [\"\"]\nmisses = [\"\"]\n"
            ));
        }
        for (index, words) in (0..).zip(WORDS) {
            let within = [16, 40, 128][index % 3];
            toml.push_str(&format!(
                "[[rule]]\nid = \"r{index}\"\ndescription = \"test\"\nregex = '[0-9]'\n\
                 context = {{ words = {words:?}, within = {within} }}\n\
                 matches = [\"\"]\nmisses = [\"\"]\n"
            ));
        }
        Pack::parse("test", &toml).expect("parses").rules
    }

    fn compiled(rules: &[Rule]) -> Vec<Compiled> {
        let compiled = |rule| Compiled::new(rule).expect("compiles");
        rules.iter().map(compiled).collect()
    }

    /// As much of a text as a stream may have at hand at this place.
    fn view(text: &str, at: usize, more: usize) -> View<'_> {
        let base = text.floor_char_boundary(at.saturating_sub(LOOK_BEHIND_BYTES_MAX + 1));
        let end = text.ceil_char_boundary((at + more).min(text.len()));
        View::new(&text[base..end], base, end == text.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        /// Places follow each other, mostly; some step back.
        #[test]
        fn what_stands_before_is_heard(
            parts in proptest::collection::vec(0..PARTS.len(), 0..80),
            steps in proptest::collection::vec((0..24_usize, 0..6_usize, 0..5_usize), 1..40),
        ) {
            let text: String = parts.iter().map(|part| PARTS[*part]).collect();
            let rules = rules();
            let compiled = compiled(&rules);
            let vocabulary = Vocabulary::new(&rules, &compiled);
            let mut heard = Heard::default();
            let mut at = 0_usize;
            for (step, turn, more) in steps {
                at = match turn {
                    0 => text.floor_char_boundary(at.saturating_sub(3 * step)),
                    _ => text.ceil_char_boundary((at + step).min(text.len())),
                };
                let view = view(&text, at, more);
                let read = heard.listen(&vocabulary, &view, at);
                prop_assert!(read <= LOOK_BEHIND_BYTES_MAX);
                for ((index, rule), compiled) in (0..).zip(&rules).zip(&compiled) {
                    let wanted = vocabulary.wanted(index).expect("it wants words");
                    let before = &text.as_bytes()[..at];
                    let context = rule.context.as_ref();
                    let stands = context.is_none_or(|context| context.stands_in(before));
                    if stands && compiled.may_follow(&view, at) {
                        prop_assert!(heard.has(wanted, at), "{} at {at} of {text:?}", rule.id());
                    }
                }
            }
        }
    }

    #[test]
    fn what_stands_elsewhere_is_not() {
        let rules = rules();
        let vocabulary = Vocabulary::new(&rules, &compiled(&rules));
        let told = |text: &str| -> Vec<&str> {
            let mut heard = Heard::default();
            heard.listen(&vocabulary, &View::whole(text), text.len());
            let here = |(rule, _): &(u16, &Rule)| {
                let wanted = vocabulary.wanted(*rule).expect("it wants words");
                heard.has(wanted, text.len())
            };
            let heard = (0..).zip(&rules).filter(here);
            heard.map(|(_, rule)| rule.id()).collect()
        };
        let far = " ".repeat(LOOK_BEHIND_BYTES_MAX);
        assert!(told(&format!("tel id # 电话 {far}")).is_empty());
        assert!(told(&format!("{far}hotel, idea, telly: "))[..] == ["a0"]);
        assert_eq!(told(&format!("{far}my Tel: ")), ["a0", "r0", "r1"]);
        assert_eq!(told(&format!("{far}id{}", " ".repeat(20))), ["r2"]);
        assert_eq!(told(&format!("{far}id: ")), ["a1", "r2"]);
        assert_eq!(told(&format!("{far}xNUMid: numb")), ["a3"]);
        assert_eq!(told(&format!("{far}电话：")), ["r5"]);
    }
}
