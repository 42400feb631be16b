//! The strings and long numbers of a JSON document, each with its place in the original bytes.
//!
//! simd-json validates and unescapes; it does so in a copy, because it writes in place. Every node
//! of its tape is then matched with the structural character where it began in the original, so
//! that a document in which nothing changed is forwarded byte for byte, and one in which something
//! did differs in the changed literals only.
//!
//! Strict by intent: UTF-8 without a byte order mark, one value, no trailing bytes, numbers as RFC
//! 8259 has them, no lone surrogates. What this refuses is refused to the caller; nothing is
//! repaired, because the model's server may repair it differently.

mod doc;
mod edit;
mod path;
mod protocol;
#[cfg(test)]
mod tests;

use std::fmt;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape};

use doc::Spans;
pub(crate) use doc::{Doc, Kind, NUMBER_DIGITS_MIN, Place, Role, Text};
pub(crate) use edit::{Edits, push_escaped, write_string};
pub(crate) use path::{Step, render};
pub(crate) use protocol::is_protocol;

/// Deepest nesting of objects and arrays that is read.
pub const DEPTH_MAX: usize = 128;

/// A document longer than this makes the parser give its buffers back afterwards.
const KEEP_BYTES_MAX: usize = 1 << 20;

/// Why bytes are not a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not UTF-8; the offset of the first bad byte. Byte order marks and UTF-16 are meant too.
    NotUtf8 {
        /// Offset of the first byte that is not UTF-8.
        at: usize,
    },
    /// Not JSON at this offset, as far as the parser can tell.
    NotJson {
        /// Offset near which the document stops being JSON.
        at: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

/// Reusable buffers for reading one document at a time.
pub(crate) struct Parser {
    input: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
    spans: Spans,
}

// === impl Parser ===

impl Default for Parser {
    fn default() -> Self {
        Parser {
            input: Vec::new(),
            buffers: Buffers::with_max_depth(0, DEPTH_MAX),
            tape: Tape(Vec::new()),
            spans: Spans::default(),
        }
    }
}

impl Parser {
    /// Reads `raw` and hands the document to `read`.
    pub(crate) fn with<T>(
        &mut self,
        raw: &[u8],
        read: impl FnOnce(&Doc<'_>) -> T,
    ) -> Result<T, JsonError> {
        refuse_other_encodings(raw)?;
        if u32::try_from(raw.len().saturating_add(INPUT_PADDING)).is_err() {
            return Err(JsonError::NotJson {
                at: 0,
                reason: "the document is longer than 4 GiB",
            });
        }
        let Parser {
            input,
            buffers,
            tape,
            spans,
        } = self;
        input.clear();
        input.extend_from_slice(raw);
        input.resize(raw.len() + INPUT_PADDING, b' ');
        let mut filled: Tape<'_> = std::mem::replace(tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(input, raw.len(), buffers, &mut filled);
        let result = match parsed {
            Ok(()) if spans.fill(raw, buffers.structural_indexes(), filled.0.len()) => {
                Ok(read(&Doc::new(raw, &filled.0, spans)))
            }
            Ok(()) => Err(JsonError::NotJson {
                at: 0,
                reason: "the parser lost its place",
            }),
            Err(error) => Err(explain(raw, &error)),
        };
        *tape = filled.reset();
        if raw.len() > KEEP_BYTES_MAX {
            *self = Parser::default();
        }
        result
    }
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser")
            .field("capacity", &self.input.capacity())
            .finish_non_exhaustive()
    }
}

/// Byte order marks, and the NUL bytes that betray UTF-16 and UTF-32 without one.
fn refuse_other_encodings(raw: &[u8]) -> Result<(), JsonError> {
    match raw {
        [0xEF, 0xBB, 0xBF, ..] => Err(JsonError::NotJson {
            at: 0,
            reason: "a byte order mark is no part of JSON",
        }),
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => Err(JsonError::NotUtf8 { at: 0 }),
        [0, ..] => Err(JsonError::NotUtf8 { at: 0 }),
        [_, 0, ..] => Err(JsonError::NotUtf8 { at: 1 }),
        _ => Ok(()),
    }
}

/// The parser's error in words that say nothing of the text.
fn explain(raw: &[u8], error: &simd_json::Error) -> JsonError {
    if let Err(utf8) = std::str::from_utf8(raw) {
        return JsonError::NotUtf8 {
            at: utf8.valid_up_to(),
        };
    }
    let reason = match error.error() {
        ErrorType::DepthLimitExceeded => return JsonError::TooDeep,
        ErrorType::Eof | ErrorType::UnterminatedString => "the document ends too early",
        ErrorType::InvalidEscape
        | ErrorType::InvalidUnicodeEscape
        | ErrorType::InvalidUnicodeCodepoint => "a string has an invalid escape",
        ErrorType::InvalidNumber | ErrorType::InvalidExponent | ErrorType::ExpectedNumber => {
            "a number is not a JSON number, or does not fit 64 bits"
        }
        ErrorType::KeyMustBeAString => "a key must be a string",
        ErrorType::TrailingData => "something follows the end of the document",
        _ => "the document is not well-formed",
    };
    JsonError::NotJson {
        at: error.index().min(raw.len()),
        reason,
    }
}

// === impl JsonError ===

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::NotUtf8 { at } => write!(f, "the text is not UTF-8 at byte {at}"),
            JsonError::NotJson { at, reason } => {
                write!(f, "the text is not JSON near byte {at}: {reason}")
            }
            JsonError::TooDeep => {
                write!(f, "the document is nested deeper than {DEPTH_MAX} levels")
            }
        }
    }
}

impl std::error::Error for JsonError {}
