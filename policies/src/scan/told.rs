//! How rules are told apart by what they begin with: the classes of bytes in which their automata
//! are read side by side ([`mod@super::trie`]).
//!
//! Letters are classes of their own, in both cases, because words are what texts are made of;
//! digits are one, and so are bytes that mean much the same between words. What goes on with a
//! character of several bytes can stand where nothing else can: each of the 64 such bytes has a
//! class of its own among all those of other bytes, and who reads knows from the character's first
//! byte which of the two it is. So a text in Chinese is told apart as closely as one in English.

use super::automaton::{Automaton, Before, DEAD};

/// How many classes there are.
pub(super) const CLASSES: usize = 64;

/// The class of every byte.
pub(super) static CLASS: [u8; 256] = classes();

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
    /// Those that begin a character and those that go on with one, each with its class.
    bytes: [Vec<(u8, u8)>; 2],
}

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
            b',' | b';' | b'?' | b'@' => 61,
            b'<' | b'>' | b'|' | b'(' | b')' | b'[' | b']' | b'{' | b'}' => 62,
            goes_on @ 0x80..0xC0 => goes_on - 0x80,
            // What begins a character, with what seldom begins a match. None shares its class with
            // a letter or a digit: `\b` tells them apart, and numbers stand in every text.
            0xC0..0xE0 => 60,
            0xE0..0xE3 => 63,
            0xE3 => 0,
            0xE4 => 59,
            0xE5 => 56,
            0xE6 => 57,
            0xE7 => 58,
            0xE8 => 61,
            0xE9 => 62,
            0xEA..0xEE => 55,
            0xEE.. => 54,
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

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) fn new(told: &Told<'a>) -> Reader<'a> {
        let automaton = told.automaton;
        let told_apart = |goes_on: bool| {
            let mut bytes: Vec<(u8, u8, u8, u8)> = (0..=255_u8)
                .filter(|byte| (0x80..0xC0).contains(byte) == goes_on)
                .map(|byte| (class_of(byte), automaton.class_of(byte), rest(byte), byte))
                .collect();
            bytes.sort_unstable();
            bytes.dedup_by_key(|(class, own, rest, _)| (*class, *own, *rest));
            let classed = |(class, _, _, byte): &(u8, u8, u8, u8)| (*class, *byte);
            bytes.iter().map(classed).collect()
        };
        Reader {
            automaton,
            len_max: told.len_max,
            bytes: [false, true].map(told_apart),
        }
    }

    /// A byte of each class and way, where so many bytes of a character are to come.
    pub(super) fn bytes(&self, rest: u8) -> &[(u8, u8)] {
        &self.bytes[usize::from(rest > 0)]
    }
}

/// How many bytes of a character come behind the one that it begins with.
pub(super) fn rest(first: u8) -> u8 {
    match first {
        0..0xC0 => 0,
        0xC0..0xE0 => 1,
        0xE0..0xF0 => 2,
        _ => 3,
    }
}
