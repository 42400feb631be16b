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
use crate::prefilter::Level;
use crate::prefilter::flags::{FLAGS, Flags};

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

static TABLE: LazyLock<Flags> = LazyLock::new(|| {
    let folding = folding_leads();
    Flags(std::array::from_fn(|byte| {
        let byte = byte as u8;
        base64_flags(byte)
            | hex_flags(byte)
            | u8::from(MARKS.contains(&byte)) << MARK
            | u8::from(folding[usize::from(byte)]) << FOLDS
    }))
});

/// What the last bytes were, from piece to piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// By flag, the last [`BACK`] bytes; the latest in the highest of so many bits.
    before: [u16; RUNS],
}

/// Which lanes are to be called; the others are awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) escapes: bool,
    pub(crate) runs: bool,
}

/// Who is called, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Offset of a character.
    pub(crate) at: usize,
    pub(crate) escapes: bool,
    pub(crate) runs: bool,
}

// === impl Wanted ===

impl Wanted {
    /// Every lane is asleep.
    pub(crate) const BOTH: Wanted = Wanted {
        escapes: true,
        runs: true,
    };
}

// === impl Look ===

impl Look {
    /// Reads text up to the first place where a wanted lane is called. What is behind that place
    /// has not been read; if none is called, all has been.
    #[inline]
    pub(crate) fn read(&mut self, level: Level, text: &str, wanted: Wanted) -> Option<Call> {
        let (table, bytes): (&Flags, _) = (&TABLE, text.as_bytes());
        let mut from = 0;
        // The bytes before are in the lowest bits; later they are read again with those behind.
        let mut words = table.masks(level, &bytes[..bytes.len().min(GO)]);
        words.iter_mut().for_each(|word| *word <<= BACK);
        for (word, before) in words.iter_mut().zip(self.before) {
            *word |= u64::from(before);
        }
        loop {
            let read = (bytes.len() - from).min(GO);
            let asked = (words[MARK] | words[FOLDS]) >> BACK;
            let escapes = match wanted.escapes && asked != 0 {
                true => first_undone(text, from, asked),
                false => None,
            };
            let runs = if wanted.runs {
                run_ends(&words) >> BACK
            } else {
                0
            };
            let runs = (runs != 0).then(|| from + runs.trailing_zeros() as usize);
            if let Some(at) = [escapes, runs].into_iter().flatten().min() {
                self.note(&words, at - from);
                return Some(Call {
                    at,
                    escapes: escapes == Some(at),
                    runs: runs == Some(at),
                });
            }
            from += read;
            if from == bytes.len() {
                self.note(&words, read);
                return None;
            }
            words = table.masks(level, &bytes[from - BACK..bytes.len().min(from + GO)]);
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

/// How much of a text is to be read by the lane of escapes, which is awake: up to the first place
/// with nothing undone in so many bytes before it, and no more than `most`.
pub(crate) fn undone_within(level: Level, text: &str, quiet: usize, most: usize) -> usize {
    let wanted = Wanted {
        escapes: true,
        runs: false,
    };
    let (mut from, mut end) = (0, text.floor_char_boundary(quiet));
    while end < text.len().min(most)
        && let Some(call) = Look::default().read(level, &text[from..end], wanted)
    {
        from = text.ceil_char_boundary(from + call.at + 1);
        end = text.floor_char_boundary((from + quiet).min(most));
    }
    end
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

/// The first of the places asked for, as a mask from an offset on, where something may be undone.
fn first_undone(text: &str, from: usize, mut asked: u64) -> Option<usize> {
    let bytes = text.as_bytes();
    while asked != 0 {
        let at = from + asked.trailing_zeros() as usize;
        let undone = match bytes[at].is_ascii() {
            true => may_begin(&bytes[at..]),
            false => text[at..]
                .chars()
                .next()
                .is_some_and(|c| fold(c) != Fold::Same),
        };
        if undone {
            return Some(at);
        }
        asked &= asked - 1;
    }
    None
}

/// By byte: does a character begin with it that is read as another?
fn folding_leads() -> [bool; 256] {
    let mut folding = [false; 256];
    for c in ('\u{80}'..=char::MAX).filter(|c| fold(*c) != Fold::Same) {
        let mut utf8 = [0; 4];
        c.encode_utf8(&mut utf8);
        folding[usize::from(utf8[0])] = true;
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
            if let Some(call) = look.read(level, &text[from..end], wanted) {
                return Some(from + call.at);
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
            let wanted = Wanted {
                escapes: cut > 64,
                ..BOTH
            };
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

    /// What is passed counts for what comes.
    #[test]
    fn passing_is_reading() {
        let text = "see aGVsbG8gd29ybGQ= there";
        for cut in 0..10 {
            let mut look = Look::default();
            let none = Wanted {
                escapes: false,
                runs: false,
            };
            assert_eq!(look.read(Level::best(), &text[..cut], none), None);
            let called = look.read(Level::best(), &text[cut..], BOTH);
            assert_eq!(called.map(|call| call.at + cut), Some(11));
        }
    }
}
