//! Three neighbouring bytes as a question: may a match begin with these, may these stand before it?
//!
//! A [`TripleSet`] is a bitmap over three byte classes, read off the automata. Letters are classes
//! of their own, in both cases, because words are what texts are made of; digits are one, and so
//! are bytes that mean much the same between words. With at most 64 classes the third is a bit in
//! a word of 64, so that asking is two loads and a shift, and the 32 KiB of a set are touched only
//! where the text's own triples are.
//!
//! Answers err on one side: what is not in the set is impossible.

use std::collections::BTreeSet;

use super::automaton::{Automaton, DEAD};

/// The class of what is not there: behind the start of the text, or not at hand yet.
pub(super) const NOTHING: u8 = 0;

/// How many classes there are; a set of classes is a word.
pub(super) const CLASSES: usize = 64;

/// The class of every byte.
pub(super) static CLASS: [u8; 256] = classes();

/// A set of classes.
pub(super) type ClassSet = u64;

/// What it means that a text has no byte at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It may come yet.
    Unknown,
    /// The text ends there.
    AtEnd,
}

/// An automaton by which a rule is told from others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) rule: u16,
    pub(super) automaton: &'a Automaton,
    /// What it still reads when it has read so many bytes counts as a match.
    pub(super) len_max: usize,
}

/// A set of triples of classes.
#[derive(Clone, Debug)]
pub(super) struct TripleSet(Box<[ClassSet]>);

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            letter @ b'a'..=b'z' => letter - b'a' + 1,
            letter @ b'A'..=b'Z' => letter - b'A' + 27,
            b'0'..=b'9' => 53,
            0..=b' ' | 0x7F => 54,
            b'_' => 55,
            b'-' => 56,
            b'.' => 57,
            b'/' => 58,
            b'"' | b'\'' | b'\\' | b'`' => 59,
            b':' | b'=' => 60,
            b',' | b';' | b'?' | b'@' | 0x80.. => 61,
            b'<' | b'>' | b'|' | b'(' | b')' | b'[' | b']' | b'{' | b'}' => 62,
            _ => 63,
        };
        byte += 1;
    }
    classes
}

#[inline]
pub(super) fn class_of(byte: u8) -> u8 {
    CLASS[usize::from(byte)]
}

// === impl TripleSet ===

impl TripleSet {
    pub(super) fn empty() -> TripleSet {
        TripleSet(vec![0; CLASSES * CLASSES].into_boxed_slice())
    }

    #[inline]
    pub(super) fn contains(&self, first: u8, second: u8, third: u8) -> bool {
        self.0[usize::from(first) << 6 | usize::from(second)] >> third & 1 != 0
    }

    pub(super) fn union(&mut self, other: &TripleSet) {
        for (word, bits) in self.0.iter_mut().zip(&other.0) {
            *word |= bits;
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The triples with which a text may begin that the automaton reads; where the text has fewer
    /// than three bytes, [`NOTHING`] stands for the others and means what `missing` says.
    pub(super) fn read_by(told: &Told<'_>, missing: Missing) -> TripleSet {
        let mut set = TripleSet::empty();
        for start in told.automaton.distinct_starts() {
            set.add(told, start, missing);
        }
        set
    }

    fn add(&mut self, told: &Told<'_>, start: u16, missing: Missing) {
        let automaton = told.automaton;
        let may_stop = |ended| ended || missing == Missing::Unknown;
        if may_stop(automaton.accepts_at_end(start)) {
            self.insert(NOTHING, NOTHING, 1);
        }
        for first in steps(automaton, start) {
            if may_stop(first.ended) {
                self.insert(first.class, NOTHING, 1);
            }
            if first.ended || told.len_max <= 1 {
                self.insert_all(first.class);
                continue;
            }
            for second in steps(automaton, first.state) {
                let bits = match second.ended || told.len_max <= 2 {
                    true => ClassSet::MAX,
                    false => steps(automaton, second.state)
                        .iter()
                        .fold(may_stop(false).into(), |set, third| set | 1 << third.class),
                };
                self.insert(first.class, second.class, bits);
            }
        }
    }

    fn insert(&mut self, first: u8, second: u8, thirds: ClassSet) {
        self.0[usize::from(first) << 6 | usize::from(second)] |= thirds;
    }

    fn insert_all(&mut self, first: u8) {
        (0..CLASSES as u8).for_each(|second| self.insert(first, second, ClassSet::MAX));
    }
}

/// One step of an automaton over the bytes of a class.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    class: u8,
    state: u16,
    /// A match ended with this byte or before it: what follows may be anything.
    ended: bool,
}

/// The steps from a state that lead to a match, each once.
fn steps(automaton: &Automaton, state: u16) -> BTreeSet<Step> {
    let mut steps = BTreeSet::new();
    for byte in 0..=255_u8 {
        let (next, before) = automaton.step(state, byte);
        let ended = before || automaton.accepts_at_end(next);
        if next != DEAD || ended {
            steps.insert(Step {
                class: class_of(byte),
                state: next,
                ended,
            });
        }
    }
    steps
}
