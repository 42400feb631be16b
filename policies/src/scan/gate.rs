//! Three neighbouring bytes as a question: may a match begin with these, may these stand before it?
//!
//! A [`TripleSet`] is a bitmap over three byte classes, read off the automata. Letters are classes
//! of their own, in both cases, because words are what texts are made of; digits are one, and so
//! are bytes that mean much the same between words. With at most 64 classes the third is a bit in
//! a word of 64, so that asking is two loads and a shift, and the 32 KiB of a set are touched only
//! where the text's own triples are.
//!
//! Answers err on one side: what is not in the set is impossible.

use std::collections::HashMap;

use super::automaton::{Automaton, Before, DEAD};

/// The class of what is not at hand, and may be anything.
pub(super) const NOTHING: u8 = 0;

/// How many classes there are; a set of classes is a word.
pub(super) const CLASSES: usize = 64;

/// The class of every byte.
pub(super) static CLASS: [u8; 256] = classes();

/// A set of classes.
pub(super) type ClassSet = u64;

/// What stands before a place: there `\b` tells rules apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// A letter, a digit or an underscore.
    Word,
    /// Anything else, or nothing.
    Other,
}

/// An automaton by which a rule is told from others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) rule: u16,
    pub(super) automaton: &'a Automaton,
    /// What it still reads when it has read so many bytes counts as a match.
    pub(super) len_max: usize,
}

/// An automaton with one byte for each way in which it and the classes tell bytes apart.
pub(super) struct Reader<'a> {
    pub(super) automaton: &'a Automaton,
    pub(super) len_max: usize,
    pub(super) bytes: Vec<(u8, u8)>,
}

/// By second class, the third ones.
type Row = Box<[ClassSet; CLASSES]>;

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
            b',' | b';' | b'?' | b'@' | 0x80..0xC0 | 0xE0.. => 61,
            // What begins a character of two bytes, so that a rule that may begin with an accented
            // letter is not named at every character of a text in Chinese.
            b'<' | b'>' | b'|' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | 0xC0..0xE0 => 62,
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

// === impl Behind ===

impl Behind {
    #[inline]
    pub(super) fn from_byte(byte: Option<u8>) -> Behind {
        match Before::from_byte(byte) {
            Before::Word => Behind::Word,
            _ => Behind::Other,
        }
    }

    /// The states in which an automaton may start here, each once; without the dead one.
    pub(super) fn starts(self, automaton: &Automaton) -> Vec<u16> {
        let here = |before: &Before| (*before == Before::Word) == (self == Behind::Word);
        let starts = Before::ALL.into_iter().filter(here);
        let mut starts: Vec<u16> = starts.map(|before| automaton.start(before)).collect();
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|start| *start != DEAD);
        starts
    }
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

    pub(super) fn table_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    pub(super) fn union(&mut self, other: &TripleSet) {
        for (word, bits) in self.0.iter_mut().zip(&other.0) {
            *word |= bits;
        }
    }

    /// The triples with which a text may begin that the automaton reads; where fewer than three
    /// bytes are at hand, [`NOTHING`] stands for the others, and anything may come.
    pub(super) fn read_by(told: &Told<'_>, behind: Behind) -> TripleSet {
        let mut set = TripleSet::empty();
        let reader = Reader::new(told);
        let mut rows = HashMap::new();
        set.insert(NOTHING, NOTHING, 1);
        for start in behind.starts(told.automaton) {
            for (first, state, ended) in reader.steps(start) {
                set.insert(first, NOTHING, 1);
                if ended || told.len_max <= 1 {
                    set.insert_all(first);
                    continue;
                }
                let row: &Row = rows
                    .entry(state)
                    .or_insert_with(|| Box::new(reader.row(state)));
                let from = usize::from(first) << 6;
                for (word, bits) in set.0[from..from + CLASSES].iter_mut().zip(row.iter()) {
                    *word |= bits;
                }
            }
        }
        set
    }

    fn insert(&mut self, first: u8, second: u8, thirds: ClassSet) {
        self.0[usize::from(first) << 6 | usize::from(second)] |= thirds;
    }

    fn insert_all(&mut self, first: u8) {
        (0..CLASSES as u8).for_each(|second| self.insert(first, second, ClassSet::MAX));
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(told: &Told<'a>) -> Reader<'a> {
        let automaton = told.automaton;
        let mut bytes: Vec<(u8, u8, u8)> = (0..=255_u8)
            .map(|byte| (class_of(byte), automaton.class_of(byte), byte))
            .collect();
        bytes.sort_unstable();
        bytes.dedup_by_key(|(class, own, _)| (*class, *own));
        Reader {
            automaton,
            len_max: told.len_max,
            bytes: bytes
                .iter()
                .map(|(class, _, byte)| (*class, *byte))
                .collect(),
        }
    }

    /// The steps from a state that lead to a match: class, next state, and whether a match ended
    /// with this byte or before it, so that what follows may be anything.
    fn steps(&self, state: u16) -> impl Iterator<Item = (u8, u16, bool)> {
        self.bytes.iter().filter_map(move |(class, byte)| {
            let (next, before) = self.automaton.step(state, *byte);
            let ended = before || self.automaton.accepts(next);
            (next != DEAD || ended).then_some((*class, next, ended))
        })
    }

    /// By second class, which thirds may follow when the first has led to this state.
    fn row(&self, state: u16) -> [ClassSet; CLASSES] {
        const NONE: ClassSet = 1 << NOTHING;
        let mut row = [0; CLASSES];
        row[usize::from(NOTHING)] = NONE;
        for (second, next, ended) in self.steps(state) {
            row[usize::from(second)] |= match ended || self.len_max <= 2 {
                true => ClassSet::MAX,
                false => self
                    .steps(next)
                    .fold(NONE, |set, (third, ..)| set | 1 << third),
            };
        }
        row
    }
}
