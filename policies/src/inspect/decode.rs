//! Content codings: gzip, deflate, br and zstd, undone within bounds.
//!
//! A few kilobytes can unpack to gigabytes, so the output is bounded twice: in bytes, and in its
//! ratio to the input. The gateway forwards what it read, never what it received, so there is no
//! second reading of a coded body that could differ from this one.

use std::fmt;
use std::io::Read;

use flate2::{Decompress, FlushDecompress, Status};

/// How much a body may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeBounds {
    /// Most bytes that may come out.
    pub max_bytes: usize,
    /// Most bytes that may come out for each byte that goes in.
    pub max_ratio: usize,
}

/// Why a body was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A coding that is not known, or more of them than are undone.
    Unsupported,
    /// Not what its coding says, or cut short, or followed by something else.
    Corrupt,
    /// More than `max_bytes` came out.
    TooLarge,
    /// More than `max_ratio` times the input came out.
    Ratio,
}

/// Most codings, one over the other, that are undone.
pub const CODINGS_MAX: usize = 2;

/// Below this output the ratio is not looked at: small bodies of spaces compress without malice.
pub const RATIO_FREE_BYTES: usize = 64 << 10;

/// Largest zstd window, as a power of two: what RFC 8878 asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

const STEP_BYTES: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Undoes the codings of a `Content-Encoding` field value, the last one named first.
pub fn decode_content(
    encoding: &str,
    body: &[u8],
    bounds: &DecodeBounds,
) -> Result<Vec<u8>, DecodeError> {
    let mut codings = Vec::new();
    for word in encoding
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let coding = match word.to_ascii_lowercase().as_str() {
            "identity" => continue,
            "gzip" | "x-gzip" => Coding::Gzip,
            "deflate" => Coding::Deflate,
            "br" => Coding::Brotli,
            "zstd" => Coding::Zstd,
            _ => return Err(DecodeError::Unsupported),
        };
        if codings.len() == CODINGS_MAX {
            return Err(DecodeError::Unsupported);
        }
        codings.push(coding);
    }
    let mut decoded: Option<Vec<u8>> = None;
    for coding in codings.into_iter().rev() {
        decoded = Some(decode_one(
            coding,
            decoded.as_deref().unwrap_or(body),
            bounds,
        )?);
    }
    match decoded {
        Some(decoded) => Ok(decoded),
        None if body.len() > bounds.max_bytes => Err(DecodeError::TooLarge),
        None => Ok(body.to_vec()),
    }
}

fn decode_one(coding: Coding, body: &[u8], bounds: &DecodeBounds) -> Result<Vec<u8>, DecodeError> {
    let mut out = Output {
        bytes: Vec::new(),
        input: body.len(),
        bounds,
    };
    match coding {
        Coding::Gzip => {
            let mut reader = flate2::bufread::GzDecoder::new(body);
            out.read_all(&mut reader)?;
            nothing_after(reader.into_inner())?;
        }
        Coding::Deflate => {
            // `deflate` means zlib (RFC 9110, 8.4.1.2), but senders of raw deflate have always
            // existed, and raw deflate may begin like zlib.
            let zlib = out.inflate(body, true);
            if zlib == Err(DecodeError::Corrupt) {
                out.bytes.clear();
                out.inflate(body, false)?;
            } else {
                zlib?;
            }
        }
        Coding::Brotli => out.read_all(&mut brotli::Decompressor::new(body, STEP_BYTES))?,
        Coding::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(body);
            let mut reader = decoder.map_err(|_| DecodeError::Corrupt)?.single_frame();
            reader
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|_| DecodeError::Corrupt)?;
            out.read_all(&mut reader)?;
            nothing_after(reader.finish())?;
        }
    }
    Ok(out.bytes)
}

fn nothing_after(rest: &[u8]) -> Result<(), DecodeError> {
    if rest.is_empty() {
        Ok(())
    } else {
        Err(DecodeError::Corrupt)
    }
}

/// What came out so far, and how much may.
struct Output<'a> {
    bytes: Vec<u8>,
    input: usize,
    bounds: &'a DecodeBounds,
}

impl Output<'_> {
    fn check(&self) -> Result<(), DecodeError> {
        let length = self.bytes.len();
        if length > self.bounds.max_bytes {
            return Err(DecodeError::TooLarge);
        }
        let ratio_max = self.input.saturating_mul(self.bounds.max_ratio);
        if length > ratio_max.max(RATIO_FREE_BYTES) {
            return Err(DecodeError::Ratio);
        }
        Ok(())
    }

    fn read_all(&mut self, reader: &mut dyn Read) -> Result<(), DecodeError> {
        let mut step = [0; STEP_BYTES];
        loop {
            let count = reader.read(&mut step).map_err(|_| DecodeError::Corrupt)?;
            if count == 0 {
                return Ok(());
            }
            self.bytes.extend_from_slice(&step[..count]);
            self.check()?;
        }
    }

    /// Driven by hand, because the reader adapters take a stream that was cut short for complete.
    fn inflate(&mut self, body: &[u8], zlib: bool) -> Result<(), DecodeError> {
        let mut inflater = Decompress::new(zlib);
        loop {
            let consumed = inflater.total_in() as usize;
            let produced = self.bytes.len();
            self.bytes.reserve(STEP_BYTES);
            let status = inflater
                .decompress_vec(&body[consumed..], &mut self.bytes, FlushDecompress::None)
                .map_err(|_| DecodeError::Corrupt)?;
            self.check()?;
            let moved = inflater.total_in() as usize > consumed || self.bytes.len() > produced;
            match status {
                Status::StreamEnd => return nothing_after(&body[inflater.total_in() as usize..]),
                Status::Ok | Status::BufError if moved => {}
                Status::Ok | Status::BufError => return Err(DecodeError::Corrupt),
            }
        }
    }
}

// === impl DecodeError ===

impl DecodeError {
    /// Stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            DecodeError::Unsupported => "content_encoding_unsupported",
            DecodeError::Corrupt => "content_encoding_corrupt",
            DecodeError::TooLarge => "body_too_large",
            DecodeError::Ratio => "content_encoding_ratio",
        }
    }

    /// The HTTP status of the answer, when a caller sent the body.
    pub fn status(self) -> u16 {
        match self {
            DecodeError::Unsupported => 415,
            DecodeError::Corrupt => 400,
            DecodeError::TooLarge | DecodeError::Ratio => 413,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecodeError::Unsupported => {
                "The content encoding is not supported; send gzip, deflate, br, zstd, or none."
            }
            DecodeError::Corrupt => "The body is not what its content encoding says.",
            DecodeError::TooLarge => "The decoded body is larger than this gateway accepts.",
            DecodeError::Ratio => "The body expands more than this gateway accepts.",
        })
    }
}

impl std::error::Error for DecodeError {}
