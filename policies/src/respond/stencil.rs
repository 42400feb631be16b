//! Reading an event by its likeness to an earlier one.
//!
//! The events of a stream differ in a delta and perhaps in a count. A [`Stencil`] is an event that
//! was parsed and found to be nothing but its envelope and pieces of texts: its bytes, with a hole
//! for each piece, for each number that says nothing, and for each string that may change from
//! event to event. A later event that has the same bytes around its holes, and in each hole what
//! the hole takes, has the same structure, so it is understood without parsing it.
//!
//! Strict by intent. A hole for a string takes the inside of one valid JSON string literal; one for
//! a number takes one JSON number, of so few digits that no rule would be asked about it. Numbers
//! and strings that say where a piece belongs, or that something ends, are no holes. So nothing
//! fits that the parser would refuse or would read in another way; what does not fit is parsed.

use std::ops::Range;
use std::sync::Arc;

use super::sse::Framing;
use crate::text::{Doc, Kind, NUMBER_DIGITS_MIN};

/// Largest event that is made a stencil. Its envelope is then within every other bound too.
const STENCIL_BYTES_MAX: usize = 4096;

/// Most stencils of one stream: one for each text that streams at the same time.
const STENCILS_MAX: usize = 8;

/// Most holes of one stencil, and most pieces among them.
const HOLES_MAX: usize = 24;
const PIECES_MAX: usize = 4;

/// After so many stencils of which none was used, only every so many-th event becomes one.
const UNUSED_MAX: u32 = 16;

/// Strings at the top of an event that may differ from event to event; nothing is told by them.
const PASSING_TEXTS: [&str; 7] = [
    "created_at",
    "event_id",
    "id",
    "obfuscation",
    "request_id",
    "system_fingerprint",
    "timestamp",
];

/// The clocks at the top of an event, which no rule is asked about up to so many digits.
const PASSING_CLOCKS: [&str; 2] = ["created", "created_at"];
const CLOCK_DIGITS_MAX: usize = 12;

/// Numbers that say which text a piece belongs to; see [`super::shape`].
const PLACES: [&str; 4] = ["index", "output_index", "content_index", "summary_index"];

/// Most digits behind a point, and in an exponent, of a number that fits a hole.
const FRACTION_DIGITS_MAX: usize = 17;
const EXPONENT_DIGITS_MAX: usize = 2;

/// An event with holes.
#[derive(Debug)]
pub(super) struct Stencil {
    raw: Vec<u8>,
    holes: Vec<Hole>,
    pub(super) shape: Arc<Shape>,
}

/// Where the pieces are in an event.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) framing: Framing,
    pub(super) pieces: Vec<PieceShape>,
}

/// One piece of a stencil.
#[derive(Debug)]
pub(super) struct PieceShape {
    pub(super) slot: usize,
    pub(super) node: usize,
    /// The containers from the root to the piece.
    pub(super) spine: Vec<usize>,
    pub(super) location: String,
}

#[derive(Debug)]
struct Hole {
    span: Range<usize>,
    takes: Takes,
}

/// What fits a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// The inside of a string literal that is the piece of this index.
    Piece(usize),
    /// The inside of a string literal that is a text of its own.
    Text,
    /// A number with so many digits before its point at most.
    Number { digits_max: usize },
}

/// What an event has in one hole.
#[derive(Clone, Debug)]
pub(super) struct Fill {
    pub(super) takes: Takes,
    pub(super) range: Range<usize>,
    /// It is not what the stencil has there.
    pub(super) differs: bool,
    /// Where its text is among the unescaped ones, if it has an escape.
    pub(super) unescaped: Option<Range<usize>>,
}

/// The stencils of one stream.
#[derive(Debug, Default)]
pub(super) struct Stencils {
    list: Vec<Stencil>,
    /// The texts that were open when they were made.
    generation: u64,
    /// The one that was used last.
    last: usize,
    unused: u32,
    fills: Vec<Fill>,
    unescaped: String,
    /// How many events were understood without parsing.
    #[cfg(test)]
    pub(super) used: usize,
    /// Every event is parsed, as a test's oracle has it.
    #[cfg(test)]
    pub(super) is_off: bool,
}

// === impl Stencils ===

impl Stencils {
    /// The stencil that this event fits; what it has in the holes is then at [`Self::fills`].
    pub(super) fn find(&mut self, raw: &[u8], generation: u64) -> Option<usize> {
        if self.generation != generation {
            self.list.clear();
            return None;
        }
        let count = self.list.len();
        for turn in 0..count {
            let at = (self.last + turn) % count;
            self.unescaped.clear();
            if self.list[at].fit(raw, &mut self.fills, &mut self.unescaped) {
                self.last = at;
                self.unused = 0;
                #[cfg(test)]
                {
                    self.used += 1;
                }
                return Some(at);
            }
        }
        None
    }

    pub(super) fn shape(&self, at: usize) -> &Arc<Shape> {
        &self.list[at].shape
    }

    pub(super) fn fills(&self) -> &[Fill] {
        &self.fills
    }

    /// The text of a string's hole.
    pub(super) fn text<'s>(&'s self, raw: &'s [u8], fill: &Fill) -> &'s str {
        match &fill.unescaped {
            Some(range) => &self.unescaped[range.clone()],
            // It was found to be UTF-8 when it was found to fit.
            None => std::str::from_utf8(&raw[fill.range.clone()]).unwrap_or_default(),
        }
    }

    /// Whether another stencil is worth making.
    pub(super) fn wants(&mut self, raw: &[u8]) -> bool {
        #[cfg(test)]
        if self.is_off {
            return false;
        }
        self.unused = self.unused.saturating_add(1);
        let rarely = self.unused > UNUSED_MAX && !self.unused.is_multiple_of(UNUSED_MAX);
        raw.len() <= STENCIL_BYTES_MAX && !rarely
    }

    pub(super) fn keep(&mut self, stencil: Stencil, generation: u64) {
        if self.generation != generation {
            self.list.clear();
            self.generation = generation;
        }
        if self.list.len() < STENCILS_MAX {
            self.last = self.list.len();
            self.list.push(stencil);
        } else {
            self.last = (self.last + 1) % STENCILS_MAX;
            self.list[self.last] = stencil;
        }
    }
}

// === impl Stencil ===

impl Stencil {
    /// Of an event whose JSON begins at `start` of its bytes; `None` where it has too many pieces.
    pub(super) fn cut(raw: &[u8], start: usize, doc: &Doc<'_>, shape: Shape) -> Option<Stencil> {
        if shape.pieces.is_empty() || shape.pieces.len() > PIECES_MAX {
            return None;
        }
        debug_assert_eq!(raw.get(start..start + doc.raw().len()), Some(doc.raw()));
        let mut holes = Vec::new();
        for (index, piece) in shape.pieces.iter().enumerate() {
            if shape.pieces[..index]
                .iter()
                .any(|other| other.slot == piece.slot)
            {
                return None;
            }
            holes.push(Hole {
                span: inside(doc, piece.node, start),
                takes: Takes::Piece(index),
            });
        }
        for member in doc.members(0) {
            if doc.kind(member.value) == Kind::String && PASSING_TEXTS.contains(&member.key) {
                holes.push(Hole {
                    span: inside(doc, member.value, start),
                    takes: Takes::Text,
                });
            }
        }
        // Elsewhere an `index` at the top is that of the token, and places nothing.
        let counts = ["stop", "type"]
            .iter()
            .all(|key| doc.member(0, key).is_none());
        doc.numbers(&mut |depth, key, node| {
            let places = PLACES.contains(&key) && !(depth == 1 && key == "index" && counts);
            if places || holes.len() >= HOLES_MAX {
                return;
            }
            let clock = depth == 1 && PASSING_CLOCKS.contains(&key);
            let span = doc.span(node);
            holes.push(Hole {
                span: span.start + start..span.end + start,
                takes: Takes::Number {
                    digits_max: if clock {
                        CLOCK_DIGITS_MAX
                    } else {
                        NUMBER_DIGITS_MIN - 1
                    },
                },
            });
        });
        holes.sort_by_key(|hole| hole.span.start);
        Some(Stencil {
            raw: raw.to_vec(),
            holes,
            shape: Arc::new(shape),
        })
    }

    fn fit(&self, raw: &[u8], fills: &mut Vec<Fill>, unescaped: &mut String) -> bool {
        fills.clear();
        // Where the rest of the event and of the stencil begin.
        let (mut at, mut own) = (0, 0);
        for hole in &self.holes {
            let fixed = &self.raw[own..hole.span.start];
            if !raw[at..].starts_with(fixed) {
                return false;
            }
            at += fixed.len();
            own = hole.span.end;
            let begun = unescaped.len();
            let end = match hole.takes {
                Takes::Number { digits_max } => number_end(raw, at, digits_max),
                Takes::Piece(_) | Takes::Text => literal_end(raw, at, unescaped),
            };
            let Some(end) = end else { return false };
            let differs = raw[at..end] != self.raw[hole.span.clone()];
            // Longer ones are what they were, or are read by the parser.
            let escapes = unescaped.len() > begun;
            fills.push(Fill {
                takes: hole.takes,
                range: at..end,
                differs,
                unescaped: escapes.then_some(begun..unescaped.len()),
            });
            at = end;
        }
        raw[at..] == self.raw[own..]
    }
}

/// The inside of a string literal, in the event's bytes.
fn inside(doc: &Doc<'_>, node: usize, start: usize) -> Range<usize> {
    let span = doc.span(node);
    start + span.start + 1..start + span.end - 1
}

/// Where the literal ends whose inside begins at `at`, if it is one that can be read here; its
/// text is appended to `unescaped` if it has an escape.
fn literal_end(raw: &[u8], at: usize, unescaped: &mut String) -> Option<usize> {
    let mut ascii = true;
    let mut escapes = false;
    let mut end = at;
    loop {
        match *raw.get(end)? {
            b'"' => break,
            b'\\' => {
                escapes = true;
                end += 2;
            }
            0..=0x1F => return None,
            byte => {
                ascii &= byte.is_ascii();
                end += 1;
            }
        }
    }
    let literal = &raw[at..end];
    if !ascii || escapes {
        let text = std::str::from_utf8(literal).ok()?;
        if escapes {
            unescape(text, unescaped)?;
        }
    }
    Some(end)
}

/// The text of a literal (RFC 8259, 7); `None` for one that is wrong.
fn unescape(literal: &str, out: &mut String) -> Option<()> {
    let mut rest = literal;
    while let Some(found) = rest.find('\\') {
        out.push_str(&rest[..found]);
        let escape = *rest.as_bytes().get(found + 1)?;
        let mut length = 2;
        out.push(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = unit(rest, found)?;
                length = 6;
                match first {
                    0xD800..0xDC00 => {
                        let second = unit(rest, found + 6)?;
                        length = 12;
                        char::decode_utf16([first, second]).next()?.ok()?
                    }
                    _ => char::from_u32(u32::from(first))?,
                }
            }
            _ => return None,
        });
        rest = rest.get(found + length..)?;
    }
    out.push_str(rest);
    Some(())
}

/// The code unit of the `\uXXXX` at `at`.
fn unit(text: &str, at: usize) -> Option<u16> {
    let escape = text.as_bytes().get(at..at + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0_u16, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | value as u16)
    })
}

/// Where a number ends that begins at `at` (RFC 8259, 6), if it has few enough digits.
fn number_end(raw: &[u8], at: usize, digits_max: usize) -> Option<usize> {
    let digits = |from: usize, most: usize| {
        let rest = raw.get(from..)?;
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (1..=most).contains(&count).then_some(from + count)
    };
    let begun = at + usize::from(raw.get(at) == Some(&b'-'));
    // No clock runs below zero, and the sign would make it one character longer.
    if begun > at && digits_max >= NUMBER_DIGITS_MIN {
        return None;
    }
    let mut end = digits(begun, digits_max)?;
    if raw[begun] == b'0' && end > begun + 1 {
        return None;
    }
    if raw.get(end) == Some(&b'.') {
        end = digits(end + 1, FRACTION_DIGITS_MAX)?;
    }
    if matches!(raw.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(raw.get(end + 1), Some(b'+' | b'-')));
        end = digits(end + 1 + sign, EXPONENT_DIGITS_MAX)?;
    }
    Some(end)
}
