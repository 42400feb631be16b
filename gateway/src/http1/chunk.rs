//! Chunked bodies (RFC 9112 §7.1): a decoder that is one state per byte, and the writers.
//!
//! The grammar accepted is the RFC's with its leniencies removed: 1 to 16 hex digits, then CR LF
//! or an extension; data of exactly that size; CR LF; a last chunk of size 0; trailers; CR LF.
//! Extensions and trailers are checked for form, bounded, and dropped. The state moves on each
//! byte alone, so a body cut anywhere decodes the same.

use std::ops::Range;

use super::refusal::{self, Refusal};
use super::scan::is_token_byte;

/// Bytes of extensions that one chunk may carry.
pub(super) const CHUNK_EXTENSION_MAX: usize = 256;
/// Bytes of extensions that all chunks of a body may carry together.
pub(super) const BODY_EXTENSIONS_MAX: usize = 16 * 1024;
/// Bytes of the trailer section, line ends included.
pub(super) const TRAILERS_MAX: usize = 8 * 1024;
/// Digits of a chunk size; leading zeros count.
const SIZE_DIGITS_MAX: u8 = 16;

/// Takes a chunked body apart. One a body.
#[derive(Debug, Clone)]
pub struct ChunkDecoder {
    state: State,
    /// The size being read; then the data bytes still to come of this chunk.
    remaining: u64,
    digits: u8,
    chunk_extension: usize,
    body_extensions: usize,
    trailers: usize,
    /// What ended the body early; every later call says the same.
    fault: Option<Refusal>,
}

/// What one call of [`ChunkDecoder::decode`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkStep {
    /// How many bytes of the input were used; call again with the rest while there is one.
    pub consumed: usize,
    /// Where in the input body data lies; may be empty.
    pub data: Range<usize>,
    /// The body is over; what follows in the input belongs to the next message.
    pub done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    /// Within the digits.
    Size,
    /// After `;`, before the first byte of the extension's name.
    ExtensionStart,
    /// Within an extension.
    Extension,
    /// After the CR of a size line.
    SizeLf,
    /// Within a chunk's data.
    Data,
    /// After a chunk's data.
    DataCr,
    /// After the CR that ends a chunk's data.
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// After the CR of the empty line.
    EndLf,
    Done,
}

/// Writes one chunk. Nothing for no data: an empty chunk would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.reserve(data.len() + 20);
        chunk_start(out, data.len());
        out.extend_from_slice(data);
        chunk_end(out);
    }
}

/// Writes a chunk's size line; the caller adds `len` bytes of data, more than none, then
/// [`chunk_end`].
pub fn chunk_start(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len > 0, "an empty chunk ends the body");
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(len >> (place * 4)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the line end after a chunk's data.
pub fn chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Writes the last chunk and the end of the body, without trailers.
pub fn last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

// === impl ChunkDecoder ===

impl Default for ChunkDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkDecoder {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::SizeStart,
            remaining: 0,
            digits: 0,
            chunk_extension: 0,
            body_extensions: 0,
            trailers: 0,
            fault: None,
        }
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on in a body: uses `input` up to the second run of data, or all of it. Data that came
    /// before a fault is given first, and the fault with the next call, so that what a caller sees
    /// does not depend on how the bytes arrived. A fault is final.
    pub fn decode(&mut self, input: &[u8]) -> Result<ChunkStep, Refusal> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut data = 0..0;
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                if !data.is_empty() {
                    break;
                }
                let left = input.len() - at;
                let run = usize::try_from(self.remaining).map_or(left, |size| size.min(left));
                data = at..at + run;
                at += run;
                self.remaining -= run as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
            } else {
                if let Err(fault) = self.step(input[at]) {
                    self.fault = Some(fault);
                    if data.is_empty() {
                        return Err(fault);
                    }
                    break;
                }
                at += 1;
            }
        }
        Ok(ChunkStep {
            consumed: at,
            data,
            done: self.state == State::Done,
        })
    }

    /// One byte of what surrounds the data.
    fn step(&mut self, byte: u8) -> Result<(), Refusal> {
        self.state = match self.state {
            State::SizeStart | State::Size => self.size(byte)?,
            State::ExtensionStart | State::Extension => self.extension(byte)?,
            State::SizeLf => {
                expect(byte, b'\n', refusal::CHUNK_SIZE_INVALID)?;
                if self.remaining == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                }
            }
            State::DataCr => {
                expect(byte, b'\r', refusal::CHUNK_END_INVALID)?;
                State::DataLf
            }
            State::DataLf => {
                expect(byte, b'\n', refusal::CHUNK_END_INVALID)?;
                State::SizeStart
            }
            State::EndLf => {
                expect(byte, b'\n', refusal::TRAILER_INVALID)?;
                State::Done
            }
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.trailer(byte)?
            }
            // `decode` handles these two itself.
            State::Data | State::Done => self.state,
        };
        Ok(())
    }

    fn size(&mut self, byte: u8) -> Result<State, Refusal> {
        let first = self.state == State::SizeStart;
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if !first => return Ok(State::SizeLf),
            b';' if !first => {
                self.chunk_extension = 0;
                return Ok(State::ExtensionStart);
            }
            _ => return Err(refusal::CHUNK_SIZE_INVALID),
        };
        if first {
            (self.digits, self.remaining) = (0, 0);
        }
        self.digits += 1;
        if self.digits > SIZE_DIGITS_MAX {
            return Err(refusal::CHUNK_SIZE_INVALID);
        }
        // Cannot overflow: 16 digits are 64 bits.
        self.remaining = self.remaining << 4 | u64::from(digit);
        if self.remaining > i64::MAX as u64 {
            return Err(refusal::CHUNK_SIZE_TOO_LARGE);
        }
        Ok(State::Size)
    }

    /// `*( ";" name [ "=" value ] )` (RFC 9112 §7.1.1), judged by its bytes: a name starts with a
    /// token byte, and no control character stands anywhere, quoted or not, so the first CR ends
    /// the line for every reader.
    fn extension(&mut self, byte: u8) -> Result<State, Refusal> {
        let first = self.state == State::ExtensionStart;
        match byte {
            b'\r' if !first => return Ok(State::SizeLf),
            _ if first && !is_token_byte(byte) => return Err(refusal::CHUNK_EXTENSION_INVALID),
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => return Err(refusal::CHUNK_EXTENSION_INVALID),
        }
        self.chunk_extension += 1;
        self.body_extensions += 1;
        if self.chunk_extension > CHUNK_EXTENSION_MAX || self.body_extensions > BODY_EXTENSIONS_MAX
        {
            return Err(refusal::CHUNK_EXTENSION_TOO_LARGE);
        }
        Ok(State::Extension)
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Refusal> {
        if self.state == State::TrailerStart && byte == b'\r' {
            return Ok(State::EndLf);
        }
        self.trailers += 1;
        if self.trailers > TRAILERS_MAX {
            return Err(refusal::TRAILER_TOO_LARGE);
        }
        match (self.state, byte) {
            (State::TrailerStart, _) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerName, _) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err(refusal::TRAILER_INVALID),
        }
    }
}

fn expect(byte: u8, expected: u8, refusal: Refusal) -> Result<(), Refusal> {
    if byte == expected {
        Ok(())
    } else {
        Err(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All data of `input`, handed over in pieces of `size` bytes.
    fn decode(input: &[u8], size: usize) -> Result<(Vec<u8>, bool), Refusal> {
        let mut decoder = ChunkDecoder::new();
        let mut data = Vec::new();
        for mut piece in input.chunks(size) {
            while !piece.is_empty() && !decoder.is_done() {
                let step = decoder.decode(piece)?;
                data.extend_from_slice(&piece[step.data]);
                piece = &piece[step.consumed..];
            }
        }
        Ok((data, decoder.is_done()))
    }

    #[test]
    fn a_body_in_pieces_of_any_size() {
        let body = b"4\r\nWiki\r\n5;a=\"b\"\r\npedia\r\n000\r\nX: y\r\n\r\n";
        for size in 1..=body.len() {
            assert_eq!(
                decode(body, size),
                Ok((b"Wikipedia".to_vec(), true)),
                "{size}"
            );
        }
    }

    #[test]
    fn what_follows_the_body_is_left() {
        let mut decoder = ChunkDecoder::new();
        let step = decoder.decode(b"1\r\nx\r\n0\r\n\r\nGET /").expect("valid");
        assert_eq!(
            step,
            ChunkStep {
                consumed: 11,
                data: 3..4,
                done: true
            }
        );
        let step = decoder.decode(b"GET /").expect("over");
        assert_eq!(
            step,
            ChunkStep {
                consumed: 0,
                data: 0..0,
                done: true
            }
        );
    }

    #[test]
    fn data_comes_before_the_fault_that_follows_it() {
        let mut decoder = ChunkDecoder::new();
        let step = decoder.decode(b"1\r\nxy").expect("the data is good");
        assert_eq!(
            step,
            ChunkStep {
                consumed: 4,
                data: 3..4,
                done: false
            }
        );
        assert_eq!(decoder.decode(b"y"), Err(refusal::CHUNK_END_INVALID));
        assert_eq!(
            decoder.decode(b"\r\n"),
            Err(refusal::CHUNK_END_INVALID),
            "final"
        );
    }

    #[test]
    fn bounds_hold_to_the_byte() {
        let extended = |length: usize, chunks: usize| {
            let chunk = format!("1;{}\r\nx\r\n", "a".repeat(length));
            decode(
                format!("{}0\r\n\r\n", chunk.repeat(chunks)).as_bytes(),
                1000,
            )
            .map(|_| ())
        };
        assert_eq!(extended(CHUNK_EXTENSION_MAX, 1), Ok(()));
        assert_eq!(
            extended(CHUNK_EXTENSION_MAX + 1, 1),
            Err(refusal::CHUNK_EXTENSION_TOO_LARGE)
        );
        assert_eq!(extended(256, BODY_EXTENSIONS_MAX / 256), Ok(()));
        assert_eq!(
            extended(1, BODY_EXTENSIONS_MAX + 1),
            Err(refusal::CHUNK_EXTENSION_TOO_LARGE)
        );

        let trailers = |bytes: usize| {
            let trailer = format!("X:{}\r\n", "a".repeat(bytes - 4));
            decode(format!("0\r\n{trailer}\r\n").as_bytes(), 1000).map(|_| ())
        };
        assert_eq!(trailers(TRAILERS_MAX), Ok(()));
        assert_eq!(trailers(TRAILERS_MAX + 1), Err(refusal::TRAILER_TOO_LARGE));

        let size = |digits: &str| decode(format!("{digits}\r\n").as_bytes(), 1000).map(|_| ());
        assert_eq!(size("7fffffffffffffff"), Ok(()));
        assert_eq!(size("FFFFFFFFFFFFFFFF"), Err(refusal::CHUNK_SIZE_TOO_LARGE));
        assert_eq!(size("00000000000000000"), Err(refusal::CHUNK_SIZE_INVALID));
    }

    #[test]
    fn sizes_are_written_in_hex_without_waste() {
        for len in [1, 9, 10, 15, 16, 255, 256, 4095, 4096, 0xdead_beef] {
            let mut out = Vec::new();
            chunk_start(&mut out, len);
            assert_eq!(out, format!("{len:x}\r\n").as_bytes());
        }
        let mut out = Vec::new();
        chunk(&mut out, b"");
        assert!(out.is_empty(), "an empty chunk would end the body");
    }
}
