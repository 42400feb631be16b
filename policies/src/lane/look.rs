//! The quick look at text as it comes: where does another lane have something to read?
//!
//! Text seldom does. So every byte is asked eight questions at once ([`crate::prefilter::flags`])
//! and what is asked of several bytes in a row is a few shifts:
//!
//! - The lane of escapes is called where a character could be undone: at one that is read as
//!   another, or at a mark that an escape could follow. It may be called in vain, never too late:
//!   nothing before the place where it is called is undone together with what stands behind.
//! - The lane of encoded runs is called where eight base64 characters in a row could be six bytes
//!   of printable ASCII, or twelve hexadecimal digits could: at the last of them.

use std::sync::LazyLock;

use super::escape::{MARKS, may_begin};
use super::fold::{Fold, fold};
use crate::prefilter::flags::{FLAGS, Flags};
use crate::prefilter::{BLOCK, Level};

/// Of four base64 characters that stand for printable bytes it may be the first, second, third.
const FIRST: usize = 0;
const SECOND: usize = 1;
const THIRD: usize = 2;
/// It is of the alphabet of base64.
const BASE64: usize = 3;
/// It may be the first digit of a printable byte.
const LEADS: usize = 4;
/// It is a hexadecimal digit.
const HEX: usize = 5;
/// An escape may begin with it.
const MARK: usize = 6;
/// A character begins with it that may be read as another.
const FOLDS: usize = 7;

/// The flags that are asked for in runs.
const RUNS: usize = 6;

/// How many bytes back a run shows itself at most: one less than twelve digits.
const BACK: usize = 11;

/// Bytes that are looked at in one go, with those before in a word.
const GO: usize = 64 - BACK;

/// What is known of bytes.
struct Table {
    flags: Flags,
    /// By first byte, the second bytes of characters that are read as others: a bit for each value.
    folding: [u64; 256],
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let folding = folding();
    let flags = Flags(std::array::from_fn(|byte| {
        let byte = byte as u8;
        base64_flags(byte)
            | hex_flags(byte)
            | u8::from(MARKS.contains(&byte)) << MARK
            | u8::from(folding[usize::from(byte)] != 0) << FOLDS
    }));
    Table { flags, folding }
});

/// What the last bytes were, from piece to piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// By flag, the last [`BACK`] bytes; the latest in the highest of so many bits.
    before: [u16; RUNS],
}

/// What is asked of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) escapes: Escapes,
    /// Where the lane of runs is called, unless it is awake.
    pub(crate) runs: bool,
}

/// What is asked for the lane of escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// Where it is called: it is asleep.
    Called,
    /// Where it may be let go: the first place with nothing undone in so many bytes before it.
    Quiet(usize),
}

/// How far a text was read, and why no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// Offset of a character, or the text's end.
    pub(crate) at: usize,
    /// The lane of escapes is called here.
    pub(crate) escapes: bool,
    /// The lane of runs is called here.
    pub(crate) runs: bool,
}

// === impl Wanted ===

impl Wanted {
    /// Every lane is asleep.
    pub(crate) const BOTH: Wanted = Wanted {
        escapes: Escapes::Called,
        runs: true,
    };
}

// === impl Stop ===

impl Stop {
    /// Is a lane called?
    pub(crate) fn is_call(&self) -> bool {
        self.escapes || self.runs
    }
}

// === impl Look ===

impl Look {
    /// Reads text up to the first place that is asked for. What is behind that place has not been
    /// read.
    #[inline]
    pub(crate) fn read(&mut self, level: Level, text: &str, wanted: Wanted) -> Stop {
        let (table, bytes): (&Table, _) = (&TABLE, text.as_bytes());
        let mut from = 0;
        let mut quiet_to = match wanted.escapes {
            Escapes::Quiet(bytes) => text.ceil_char_boundary(bytes.min(text.len())),
            Escapes::Called => usize::MAX,
        };
        // The bytes before are in the lowest bits; later they are read again with those behind.
        let mut words = [0; FLAGS];
        table
            .flags
            .masks(level, &bytes[..bytes.len().min(GO)], &mut words);
        words.iter_mut().for_each(|word| *word <<= BACK);
        for (word, before) in words.iter_mut().zip(self.before) {
            *word |= u64::from(before);
        }
        loop {
            let end = bytes.len().min(from + GO);
            let asked = (words[MARK] | words[FOLDS]) >> BACK;
            let mut stop = Stop {
                at: end,
                escapes: false,
                runs: false,
            };
            match wanted.escapes {
                Escapes::Called if asked != 0 => {
                    if let Some(at) = table.first_undone(text, from, asked) {
                        (stop.at, stop.escapes) = (at, true);
                    }
                }
                Escapes::Quiet(bytes) => {
                    quiet_to = table.quiet_to(text, from, asked, quiet_to, bytes);
                    stop.at = end.min(quiet_to);
                }
                Escapes::Called => {}
            }
            if wanted.runs {
                let runs = run_ends(&words) >> BACK;
                let at = from + runs.trailing_zeros() as usize;
                if runs != 0 && at <= stop.at && at < end {
                    stop = Stop {
                        at,
                        escapes: stop.escapes && at == stop.at,
                        runs: true,
                    };
                }
            }
            if stop.is_call() || stop.at == quiet_to || end == bytes.len() {
                self.note(&words, stop.at - from);
                return stop;
            }
            from = end;
            let ahead = bytes.len().min(from + GO);
            table
                .flags
                .masks(level, &bytes[from - BACK..ahead], &mut words);
        }
    }

    /// So many bytes of these words have been read.
    #[inline]
    fn note(&mut self, words: &[u64; FLAGS], count: usize) {
        for (before, word) in self.before.iter_mut().zip(words) {
            *before = (word >> count) as u16 & ((1 << BACK) - 1);
        }
    }
}

// === impl Table ===

impl Table {
    /// The first of the places asked for, as a mask from an offset on, where something may be undone.
    fn first_undone(&self, text: &str, from: usize, asked: u64) -> Option<usize> {
        places(from, asked).find(|at| self.is_undone(text, *at))
    }

    /// Up to where a text is to be read that must be quiet for so many bytes, once these places have
    /// been looked at.
    #[inline]
    fn quiet_to(&self, text: &str, from: usize, asked: u64, known: usize, bytes: usize) -> usize {
        let mut quiet_to = known;
        for at in places(from, asked) {
            if at >= quiet_to {
                break;
            }
            if self.is_undone(text, at) {
                quiet_to = text.ceil_char_boundary(text.len().min(at + 1 + bytes));
            }
        }
        quiet_to
    }

    /// May something be undone here, where a mark is or a character begins that may fold?
    #[inline]
    fn is_undone(&self, text: &str, at: usize) -> bool {
        match text.as_bytes()[at].is_ascii() {
            true => may_begin(&text.as_bytes()[at..]),
            false => self.folds(text, at),
        }
    }

    /// Is the character read as another? Most are told by their second byte.
    #[inline]
    fn folds(&self, text: &str, at: usize) -> bool {
        let bytes = text.as_bytes();
        let second = bytes.get(at + 1).map_or(0, |byte| byte & 63);
        let folds = |c| fold(c) != Fold::Same;
        self.folding[usize::from(bytes[at])] >> second & 1 == 1
            && text[at..].chars().next().is_some_and(folds)
    }
}

/// How many bytes at the beginning of a text are as they are, whatever comes.
pub(super) fn plain_prefix(level: Level, text: &str) -> usize {
    let (table, bytes): (&Table, _) = (&TABLE, text.as_bytes());
    let mut words = [0; FLAGS];
    for (block, from) in bytes.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        table.flags.masks(level, block, &mut words);
        if let Some(at) = table.first_undone(text, from, words[MARK] | words[FOLDS]) {
            return at;
        }
    }
    bytes.len()
}

/// How much of a text is to be read by the lane of runs, which is awake: what goes on with a run,
/// the character behind it, and no more than `most`.
pub(crate) fn run_within(text: &str, most: usize) -> usize {
    let run = text.bytes().take(most - 4);
    let run = run.take_while(|byte| base64_value(*byte).is_some()).count();
    text.ceil_char_boundary((run + 1).min(text.len()))
}

/// Where runs show that they may hide text: their eighth character, or twelfth digit.
#[inline]
fn run_ends(words: &[u64; FLAGS]) -> u64 {
    let group = words[BASE64] & words[THIRD] << 1 & words[SECOND] << 2 & words[FIRST] << 3;
    let pair = words[HEX] & words[LEADS] << 1;
    let two = pair & pair << 2;
    let four = two & two << 4;
    (group & group << 4) | (four & two << 8)
}

/// The places in a mask from an offset on.
#[inline]
fn places(from: usize, mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = from + mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            at
        })
    })
}

fn folding() -> [u64; 256] {
    let mut folding = [0; 256];
    for c in ('\u{80}'..=char::MAX).filter(|c| fold(*c) != Fold::Same) {
        let mut utf8 = [0; 4];
        c.encode_utf8(&mut utf8);
        folding[usize::from(utf8[0])] |= 1 << (utf8[1] & 63);
    }
    folding
}

fn base64_flags(byte: u8) -> u8 {
    let Some(value) = base64_value(byte) else {
        return 0;
    };
    // Tab and line ends begin with 2 and 3, what is printable with 8 to 31.
    let first = value == 2 || value == 3 || (8..32).contains(&value);
    // The high half of the second byte: 0 for tab and line ends, or 2 to 7.
    let second = value & 15 == 0 || (2..8).contains(&(value & 15));
    // The highest bits of the third byte: no byte above 0x7F.
    let third = value & 3 < 2;
    u8::from(first) << FIRST | u8::from(second) << SECOND | u8::from(third) << THIRD | 1 << BASE64
}

fn hex_flags(byte: u8) -> u8 {
    match hex_value(byte) {
        Some(value) => u8::from((2..8).contains(&value)) << LEADS | 1 << HEX,
        None => 0,
    }
}

/// The value of a base64 character, of either alphabet.
pub(super) const fn base64_value(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// The value of a hexadecimal digit.
pub(super) const fn hex_value(byte: u8) -> Option<u8> {
    Some(match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => return None,
    })
}

const _: () = assert!(FOLDS < FLAGS);

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};

    const BOTH: Wanted = Wanted::BOTH;

    fn levels() -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(|level| level.is_available())
    }

    /// The first call in a text that comes in pieces of so many bytes.
    fn first_call(level: Level, text: &str, cut: usize, wanted: Wanted) -> Option<usize> {
        let mut look = Look::default();
        let mut from = 0;
        while from < text.len() {
            let end = text.ceil_char_boundary(from + cut);
            let stop = look.read(level, &text[from..end], wanted);
            if stop.is_call() {
                return Some(from + stop.at);
            }
            from = end;
        }
        None
    }

    #[test]
    fn encoded_text_is_seen_wherever_it_stands() {
        for word in [
            "secret",
            "A\tb\r\n~x",
            "key: 12345678",
            "the quick brown fox",
        ] {
            let hex: String = word.bytes().map(|byte| format!("{byte:02X}")).collect();
            let mut codes = vec![
                (BASE64_STANDARD.encode(word), 7),
                (BASE64_URL_SAFE_NO_PAD.encode(word), 7),
            ];
            codes.extend(Some((hex, 11)).filter(|_| !word.contains('\t')));
            for (code, last) in codes {
                for before in 0..75 {
                    let text = format!("{}{code}{}", " .".repeat(before), " ,".repeat(9));
                    for (level, cut) in levels().flat_map(|l| [1, 5, 64, 65, 1000].map(|c| (l, c)))
                    {
                        let called = first_call(level, &text, cut, BOTH);
                        assert_eq!(called, Some(2 * before + last), "{text} in {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn ordinary_text_calls_nobody() {
        let text = "It was the best of times, it was the worst of times; we had everything before \
                    us, we had nothing before us. fn main() { let value = compute(3, 4); } 今天. \
                    550e8400-e29b-41d4-a716-446655440000 2026-11-21T09:24:30Z, Größe 100 % & more, \
                    if a && b || c { d(&mut e, &f) } 5% of";
        for (level, cut) in levels().flat_map(|l| [1, 5, 64, 100, 1000].map(|c| (l, c))) {
            let escapes = match cut > 64 {
                true => Escapes::Called,
                false => Escapes::Quiet(text.len()),
            };
            let wanted = Wanted { escapes, ..BOTH };
            assert_eq!(first_call(level, text, cut, wanted), None, "in {cut}");
        }
    }

    /// The definition of a run that shows itself, byte by byte.
    fn shows(bytes: &[u8], at: usize) -> bool {
        let base64 = (at + 1).checked_sub(8).is_some_and(|from| {
            bytes[from..=at].chunks(4).all(|group| {
                let flags = |index: usize, flag: usize| base64_flags(group[index]) >> flag & 1 == 1;
                flags(0, FIRST) && flags(1, SECOND) && flags(2, THIRD) && flags(3, BASE64)
            })
        });
        let hex = (at + 1).checked_sub(12).is_some_and(|from| {
            bytes[from..=at]
                .chunks(2)
                .all(|pair| hex_flags(pair[0]) >> LEADS & 1 == 1 && hex_flags(pair[1]) != 0)
        });
        base64 || hex
    }

    #[test]
    fn runs_are_seen_where_the_definition_sees_them() {
        // Few letters make many runs.
        for alphabet in ["VUQz- VU", "3456a37 "] {
            let text: String = (0..2000_u64)
                .map(|at| {
                    let random = at.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) >> 7;
                    char::from(alphabet.as_bytes()[random as usize % alphabet.len()])
                })
                .collect();
            let (mut from, mut seen) = (0, 0);
            while let Some(expected) =
                (from..text.len()).find(|at| shows(&text.as_bytes()[from..], at - from))
            {
                for (level, cut) in levels().flat_map(|l| [1, 7, 53, 64, 5000].map(|c| (l, c))) {
                    let called = first_call(level, &text[from..], cut, BOTH);
                    assert_eq!(called, Some(expected - from), "from {from} in {cut}");
                }
                from = expected - 3;
                seen += 1;
            }
            assert!(seen > 20, "{alphabet} {seen}");
        }
    }

    /// The lane of escapes is kept as long as the definition keeps it, and no call is missed.
    #[test]
    fn quiet_is_what_the_definition_calls_quiet() {
        let words = [
            "a",
            "，",
            "─",
            " ",
            "%4",
            "\\n",
            "&",
            "ё",
            "&amp;",
            "aGVsbG8gd29ybGQ=",
        ];
        for seed in 0..300_u64 {
            let text: String = (0..40)
                .map(|at| {
                    let random = (seed * 40 + at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
                    words[random as usize % (words.len() + 20) % words.len()]
                })
                .collect();
            let undone = |at: usize| text.is_char_boundary(at) && TABLE.is_undone(&text, at);
            let plain = (0..text.len()).find(|at| undone(*at));
            for (level, quiet) in levels().flat_map(|l| [1, 5, 30, 64, 200].map(|q| (l, q))) {
                assert_eq!(plain_prefix(level, &text), plain.unwrap_or(text.len()));
                let (mut at, mut expected) = (0, text.ceil_char_boundary(quiet.min(text.len())));
                while at < expected {
                    if undone(at) {
                        let end = text.len().min(at + 1 + quiet);
                        expected = text.ceil_char_boundary(end);
                    }
                    at += 1;
                }
                let wanted = |runs| Wanted {
                    escapes: Escapes::Quiet(quiet),
                    runs,
                };
                let stop = Look::default().read(level, &text, wanted(false));
                assert_eq!(
                    (stop.at, stop.is_call()),
                    (expected, false),
                    "{text} {quiet}"
                );
                let run = first_call(level, &text, text.len(), wanted(true));
                let stop = Look::default().read(level, &text, wanted(true));
                assert_eq!(run.unwrap_or(expected), stop.at, "{text} {quiet}");
                let anywhere = Wanted {
                    escapes: Escapes::Quiet(text.len()),
                    runs: true,
                };
                let called = first_call(level, &text, text.len(), anywhere);
                assert_eq!(run, called.filter(|at| *at <= expected && *at < text.len()));
            }
        }
    }

    /// What is passed counts for what comes.
    #[test]
    fn passing_is_reading() {
        let text = "see aGVsbG8gd29ybGQ= there";
        for cut in 0..10 {
            let mut look = Look::default();
            let none = Wanted {
                escapes: Escapes::Quiet(text.len()),
                runs: false,
            };
            let passed = look.read(Level::best(), &text[..cut], none);
            assert!(passed.at == cut && !passed.is_call());
            let called = look.read(Level::best(), &text[cut..], BOTH);
            assert!(called.is_call());
            assert_eq!(called.at + cut, 11);
        }
    }
}
