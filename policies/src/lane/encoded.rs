//! The lane that reads what base64 and hexadecimal runs say.
//!
//! # What is found
//!
//! A run is a stretch of characters of the alphabet, base64 of either kind or hexadecimal digits.
//! It is read in every phase, because nothing says where in it the encoding begins. When six bytes
//! in a row of one phase are text (eight characters of base64, twelve digits), the run is *hot*
//! from there on: its bytes in that phase are a text of their own, from as far back as they are
//! text within the group before, to the first byte that is none, or the end of the run; a line end
//! within is passed over, as in mail. So ids, hashes, pictures and camelCase are let go at once,
//! or never hot.
//!
//! In that text is found what [`crate::scan`] finds in a text, and, once more, what its own runs
//! say. What is found is replaced in T: the groups that carry it whole, but nothing before the
//! place where the run became hot, which may have been sent. So at most the first eight characters
//! of base64, or twelve digits, stay of an encoded secret that is a run's beginning. What is told of a
//! match is where all of it is.
//!
//! A match that is not decided when it holds [`HELD_BYTES_MAX`] of T is taken for one, and what
//! follows is swallowed for as long as anything in it is undecided.
//!
//! # Why it may sleep
//!
//! Hot or not, and since where, depends on the last twelve characters alone. [`super::look`] sees
//! whether they could do it; this lane is awake only while a run is hot.

use std::ops::RangeInclusive;

use super::hot::{Hot, Out, Terms};
use super::look::{base64_value, hex_value};

/// How deep encodings in encodings are read.
const DEPTH_MAX: u8 = 2;

/// How much text before what comes must be read again by a lane that is woken.
pub(crate) const REACH_BYTES: usize = 12;

/// So much of the text that came is held for a run at most.
const HELD_BYTES_MAX: usize = 4000;

/// So many characters of line ends in a row do not end a run.
const BREAKS_MAX: u8 = 2;

/// The state of the lane in one text.
#[derive(Debug)]
pub(crate) struct Encoded {
    depth: u8,
    /// How much of the text was read.
    pub(super) read: usize,
    base64: Run,
    hex: Run,
}

/// How a run is read.
#[derive(Debug)]
struct Code {
    /// The value of a character; [`NONE`] of what is none.
    values: [u8; 256],
    bits: u32,
    /// Characters and bytes of a group.
    chars: usize,
    bytes: usize,
    /// So many groups of text make it hot.
    groups: u8,
    /// Do tabs and line ends make it hot, too?
    spaces: bool,
}

static BASE64: Code = Code {
    values: values(6),
    bits: 6,
    chars: 4,
    bytes: 3,
    groups: 2,
    spaces: true,
};

static HEX: Code = Code {
    values: values(4),
    bits: 4,
    chars: 2,
    bytes: 1,
    groups: 6,
    spaces: false,
};

/// The value of a byte that is no character of an alphabet.
const NONE: u8 = u8::MAX;

/// By byte, its value in the alphabet whose characters have so many bits.
const fn values(bits: u32) -> [u8; 256] {
    let (mut values, mut byte) = ([NONE; 256], 0);
    while byte < 256 {
        let value = match bits {
            6 => base64_value(byte as u8),
            _ => hex_value(byte as u8),
        };
        if let Some(value) = value {
            values[byte] = value;
        }
        byte += 1;
    }
    values
}

/// One alphabet's run.
#[derive(Debug)]
struct Run {
    code: &'static Code,
    recent: Recent,
    /// How many groups of text came last, by phase.
    texts: [u8; 4],
    /// Characters of the run, modulo the group.
    phase: usize,
    hot: Option<Box<Hot>>,
    /// Characters of line ends that came last, in a hot run.
    breaks: u8,
    /// Where the last hot run came to its end: what was before does not heat another.
    cooled: usize,
    /// Tells it from the runs that hot runs around it are read in.
    id: u8,
}

/// The last [`REACH_BYTES`] characters of a run.
#[derive(Debug, Default)]
struct Recent {
    /// Values and places, as a ring.
    values: [u8; RING],
    places: [usize; RING],
    /// Characters that came.
    count: usize,
    /// The values of the last few, the latest in the lowest bits.
    word: u32,
}

/// A power of two, and no less than [`REACH_BYTES`].
const RING: usize = 16;

// === impl Encoded ===

impl Default for Encoded {
    fn default() -> Self {
        Encoded::new(1, 0)
    }
}

impl Encoded {
    fn new(depth: u8, around: u8) -> Encoded {
        Encoded {
            depth,
            read: 0,
            base64: Run::new(&BASE64, around * 4 + 1),
            hex: Run::new(&HEX, around * 4 + 2),
        }
    }

    /// Is a run hot, so that the lane must be given what comes?
    pub(crate) fn is_awake(&self) -> bool {
        self.base64.hot.is_some() || self.hex.hot.is_some()
    }

    /// Begins at `at`, with the bytes that stand before it.
    pub(crate) fn wake(&mut self, before: &[u8], at: usize) {
        let from = at - before.len();
        for run in [&mut self.base64, &mut self.hex] {
            run.forget();
            for (byte, place) in before.iter().zip(from..) {
                if place >= run.cooled {
                    run.take(*byte, place);
                }
            }
        }
        self.read = at;
    }

    /// Reads the next text; at the `last` of it the text ends.
    pub(crate) fn read(&mut self, text: &str, last: bool, terms: Terms<'_>, out: &mut dyn Out) {
        for run in [&mut self.base64, &mut self.hex] {
            for (byte, place) in text.bytes().zip(self.read..) {
                if self.depth == 1 {
                    run.relieve(place, terms, out);
                }
                run.read(byte, place, self.depth, terms, out);
            }
            if last {
                run.finish(usize::MAX, terms, out);
            } else if let Some(hot) = &mut run.hot {
                hot.scan(false, terms, out);
            }
        }
        self.read += text.len();
    }

    /// Everything before this place is decided.
    pub(crate) fn decided_to(&self, masks: bool) -> usize {
        let runs = [&self.base64, &self.hex].into_iter();
        let decided = runs.filter_map(|run| run.decided_to(masks));
        decided.min().unwrap_or(self.read)
    }

    /// Masks what is held, as the cursor of the plain lane does.
    pub(crate) fn force(&mut self, terms: Terms<'_>, out: &mut dyn Out) {
        for run in [&mut self.base64, &mut self.hex] {
            if let Some(hot) = &mut run.hot {
                hot.force(terms, out);
            }
        }
    }
}

// === impl Code ===

impl Code {
    /// The bytes of a group whose values are in the lowest bits of a word.
    fn bytes_of(&self, word: u32) -> [u8; 3] {
        let [_, bytes @ ..] = (word << (8 * (3 - self.bytes))).to_be_bytes();
        bytes
    }
}

// === impl Recent ===

impl Recent {
    fn push(&mut self, value: u8, place: usize, bits: u32) {
        let at = self.count % RING;
        (self.values[at], self.places[at]) = (value, place);
        self.count += 1;
        self.word = self.word << bits | u32::from(value);
    }

    /// The place of the character so many characters before the last.
    fn place(&self, back: usize) -> usize {
        self.places[(self.count - 1 - back) % RING]
    }

    /// The values of these characters, counted from the last.
    fn word(&self, back: RangeInclusive<usize>, bits: u32) -> u32 {
        back.rev().fold(0, |word, back| {
            word << bits | u32::from(self.values[(self.count - 1 - back) % RING])
        })
    }
}

// === impl Run ===

impl Run {
    fn new(code: &'static Code, id: u8) -> Run {
        Run {
            code,
            id,
            cooled: 0,
            recent: Recent::default(),
            texts: [0; 4],
            phase: 0,
            hot: None,
            breaks: 0,
        }
    }

    /// Holds no more than may be held, before `place` is read.
    fn relieve(&mut self, place: usize, terms: Terms<'_>, out: &mut dyn Out) {
        let Some(hot) = &mut self.hot else { return };
        if place < hot.held + HELD_BYTES_MAX || terms.plan.mask.is_empty() {
            return;
        }
        hot.scan(false, terms, out);
        let held = self.decided_to(true).unwrap_or(place);
        let Some(hot) = &mut self.hot else { return };
        hot.held = held;
        if place >= held + HELD_BYTES_MAX {
            hot.force(terms, out);
        }
    }

    fn forget(&mut self) {
        self.recent.count = 0;
        self.texts = [0; 4];
    }

    /// Takes note of a byte; true when it completes a group.
    fn take(&mut self, byte: u8, place: usize) -> bool {
        let value = self.code.values[usize::from(byte)];
        if value == NONE {
            self.forget();
            return false;
        }
        self.recent.push(value, place, self.code.bits);
        self.phase = (self.phase + 1) & (self.code.chars - 1);
        if self.recent.count < self.code.chars {
            return false;
        }
        let bytes = self.code.bytes_of(self.recent.word);
        let spaces = self.code.spaces;
        let all = bytes[..self.code.bytes].iter();
        let text = |byte: &u8| (b' '..=b'~').contains(byte) || (spaces && is_space(*byte));
        let count = &mut self.texts[self.phase];
        *count = match all.clone().all(text) {
            true => (*count + 1).min(self.code.groups),
            false => 0,
        };
        true
    }

    /// The bytes of the group so many groups back, and where it begins.
    fn group(&self, back: usize) -> ([u8; 3], usize) {
        let last = back * self.code.chars;
        let first = last + self.code.chars - 1;
        let word = self.recent.word(last..=first, self.code.bits);
        (self.code.bytes_of(word), self.recent.place(first))
    }

    fn read(&mut self, byte: u8, place: usize, depth: u8, terms: Terms<'_>, out: &mut dyn Out) {
        if self.hot.is_some() && matches!(byte, b'\n' | b'\r') && self.breaks < BREAKS_MAX {
            self.breaks += 1;
            return;
        }
        self.breaks = 0;
        if self.code.values[usize::from(byte)] == NONE {
            self.finish(place, terms, out);
        }
        if !self.take(byte, place) {
            return;
        }
        let phase = self.phase;
        match &mut self.hot {
            None if self.texts[phase] >= self.code.groups => self.heat(place + 1, depth),
            Some(hot) if hot.phase == phase => {
                let (bytes, start) = self.group(0);
                let count = bytes[..self.code.bytes]
                    .iter()
                    .take_while(|b| is_text(**b))
                    .count();
                let Some(hot) = &mut self.hot else { return };
                hot.extend(&bytes[..count], (start, place + 1));
                if count < self.code.bytes {
                    self.cool(place + 1, terms, out);
                }
            }
            _ => {}
        }
    }

    /// The last groups are text: from here on the run is hot.
    fn heat(&mut self, from: usize, depth: u8) {
        let inner = (depth < DEPTH_MAX).then(|| Box::new(Encoded::new(depth + 1, self.id)));
        let mut hot = Hot::new(self.phase, self.id, from, inner);
        let groups = usize::from(self.code.groups);
        let ends = |back: usize| self.recent.place(back * self.code.chars) + 1;
        if self.recent.count >= (groups + 1) * self.code.chars {
            // What the group before has of it: it was not all text, or the run were hot already.
            let (bytes, start) = self.group(groups);
            let bytes = &bytes[..self.code.bytes];
            let count = bytes
                .iter()
                .rev()
                .take_while(|byte| is_text(**byte))
                .count();
            hot.extend(&bytes[bytes.len() - count..], (start, ends(groups)));
        }
        for back in (0..groups).rev() {
            let (bytes, start) = self.group(back);
            hot.extend(&bytes[..self.code.bytes], (start, ends(back)));
        }
        self.hot = Some(Box::new(hot));
    }

    fn cool(&mut self, end: usize, terms: Terms<'_>, out: &mut dyn Out) {
        if let Some(mut hot) = self.hot.take() {
            hot.scan(true, terms, out);
            self.forget();
            self.cooled = end;
        }
    }

    /// The run ends: what its last characters carry of a byte counts.
    fn finish(&mut self, end: usize, terms: Terms<'_>, out: &mut dyn Out) {
        let rest = self.rest();
        if let Some(hot) = &mut self.hot {
            let word = match rest {
                0 => 0,
                rest => self.recent.word(0..=rest - 1, self.code.bits),
            };
            let bits = rest as u32 * self.code.bits;
            let count = (bits / 8) as usize;
            let [_, bytes @ ..] = word.checked_shl(24 - bits).unwrap_or(0).to_be_bytes();
            let count = bytes[..count]
                .iter()
                .take_while(|byte| is_text(**byte))
                .count();
            if count > 0 {
                let start = self.recent.place(rest - 1);
                let end = self.recent.place(0) + 1;
                hot.extend(&bytes[..count], (start, end));
            }
        }
        self.cool(end, terms, out);
    }

    /// Characters that came since the hot phase's last group.
    fn rest(&self) -> usize {
        let Some(hot) = &self.hot else { return 0 };
        (self.phase + self.code.chars - hot.phase) % self.code.chars
    }

    fn decided_to(&self, masks: bool) -> Option<usize> {
        let hot = self.hot.as_deref().filter(|_| masks)?;
        let rest = self.rest();
        let pending = match rest {
            0 => None,
            rest => Some(self.recent.place(rest - 1)),
        };
        [hot.decided_to(), pending].into_iter().flatten().min()
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r')
}

fn is_text(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) || is_space(byte)
}

impl Encoded {
    /// How far behind what is decided the places of a match may lie that is not yet told.
    pub(super) fn reach(&self) -> usize {
        let watched = |run: &Run| {
            let hot = run.hot.as_ref()?;
            Some(self.read - hot.watched_from().unwrap_or(self.read))
        };
        let runs = [&self.base64, &self.hex].into_iter();
        runs.filter_map(watched).max().unwrap_or(0) + REACH_BYTES * 4
    }
}
