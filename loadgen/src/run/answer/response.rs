//! Delimits one HTTP/1.1 answer, whatever its input is cut into.
//!
//! Strict where a lenient reader would measure the wrong thing (framing, chunk sizes, bytes behind
//! the end), indifferent to every field that it does not need. Nothing is kept of a body here.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A head may be this long.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The size line of a chunk, and a trailer, may be this long.
const LINE_BYTES_MAX: usize = 1024;
/// A field by which a server says what text its answer has: the BLAKE3 of it, in hexadecimal.
pub const DIGEST_FIELD: &str = "x-text-blake3";

/// Where a head ends.
static HEAD_END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));

/// What came is no HTTP/1.1 answer: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// What a body is, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Server-sent events.
    Events,
    /// JSON.
    Json,
    /// Something else, or encoded.
    Other,
}

/// What is needed of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// What the body is.
    pub body: Body,
    /// The connection stays open behind this answer.
    pub keep: bool,
    /// What the server says of the text.
    pub digest: Option<[u8; 32]>,
}

/// Takes what was delimited.
pub trait Sink {
    /// The head of the final answer; interim ones are skipped.
    fn head(&mut self, head: &Head);
    /// Bytes of the body.
    fn body(&mut self, bytes: &[u8]);
}

/// Where in an answer the next byte belongs.
#[derive(Debug)]
pub struct ResponseReader {
    stage: Stage,
    head: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Length {
        left: u64,
    },
    ChunkSize {
        size: u64,
        bytes: usize,
        digits: bool,
    },
    ChunkData {
        left: u64,
    },
    ChunkEnd {
        carriage: bool,
    },
    Trailer {
        bytes: usize,
    },
    UntilClose,
    Done,
}

// === impl ResponseReader ===

impl Default for ResponseReader {
    fn default() -> Self {
        Self {
            stage: Stage::Head,
            head: Vec::new(),
        }
    }
}

impl ResponseReader {
    /// Starts over, keeping the buffer.
    pub fn reset(&mut self) {
        self.stage = Stage::Head;
        self.head.clear();
    }

    /// Nothing has come yet.
    pub fn is_untouched(&self) -> bool {
        self.stage == Stage::Head && self.head.is_empty()
    }

    /// Takes what was read; true when the answer is complete.
    pub fn feed(&mut self, mut input: &[u8], sink: &mut impl Sink) -> Result<bool, Malformed> {
        while !input.is_empty() {
            input = match self.stage {
                Stage::Head => self.read_head(input, sink)?,
                Stage::Length { left } => {
                    let (left, rest) = take(input, left, sink);
                    self.stage = match left {
                        0 => Stage::Done,
                        left => Stage::Length { left },
                    };
                    rest
                }
                Stage::ChunkData { left } => {
                    let (left, rest) = take(input, left, sink);
                    self.stage = match left {
                        0 => Stage::ChunkEnd { carriage: false },
                        left => Stage::ChunkData { left },
                    };
                    rest
                }
                Stage::UntilClose => {
                    sink.body(input);
                    &[]
                }
                Stage::Done => return Err(Malformed("bytes behind the end of an answer")),
                framing => {
                    self.stage = framing.byte(input[0])?;
                    &input[1..]
                }
            };
        }
        Ok(self.stage == Stage::Done)
    }

    /// The connection has ended; true when the answer was to end so.
    pub fn end(&mut self) -> bool {
        if self.stage == Stage::UntilClose {
            self.stage = Stage::Done;
        }
        self.stage == Stage::Done
    }

    fn read_head<'a>(
        &mut self,
        input: &'a [u8],
        sink: &mut impl Sink,
    ) -> Result<&'a [u8], Malformed> {
        // The usual case, a whole head in one read, is parsed where it lies.
        if self.head.is_empty()
            && let Some(end) = HEAD_END.find(input)
        {
            self.stage = begin(&input[..end + 2], sink)?;
            return Ok(&input[end + 4..]);
        }
        let held = self.head.len();
        self.head.extend_from_slice(input);
        let from = held.saturating_sub(3);
        match HEAD_END.find(&self.head[from..]) {
            Some(at) => {
                let end = from + at;
                self.stage = begin(&self.head[..end + 2], sink)?;
                self.head.clear();
                Ok(&input[end + 4 - held..])
            }
            None if self.head.len() > HEAD_BYTES_MAX => Err(Malformed("a head without end")),
            None => Ok(&[]),
        }
    }
}

fn take<'a>(input: &'a [u8], left: u64, sink: &mut impl Sink) -> (u64, &'a [u8]) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    let (now, rest) = input.split_at(count);
    sink.body(now);
    (left - count as u64, rest)
}

// === impl Stage ===

impl Stage {
    /// One byte of the framing of chunks.
    fn byte(self, byte: u8) -> Result<Stage, Malformed> {
        match self {
            Stage::ChunkSize {
                size,
                bytes,
                digits,
            } => {
                if bytes >= LINE_BYTES_MAX {
                    return Err(Malformed("a chunk size line without end"));
                }
                let line = |size, digits| Stage::ChunkSize {
                    size,
                    bytes: bytes + 1,
                    digits,
                };
                match (byte, digits) {
                    (b'\n', _) if bytes == 0 => Err(Malformed("an empty chunk size line")),
                    (b'\n', true) => Err(Malformed("a chunk size line without carriage return")),
                    (b'\n', false) if size == 0 => Ok(Stage::Trailer { bytes: 0 }),
                    (b'\n', false) => Ok(Stage::ChunkData { left: size }),
                    (b'\r' | b';' | b' ' | b'\t', _) if bytes > 0 => Ok(line(size, false)),
                    (_, false) => Ok(line(size, false)), // an extension
                    (_, true) => {
                        let digit = char::from(byte).to_digit(16);
                        let digit = digit.ok_or(Malformed("a chunk size that is no number"))?;
                        let size = size.checked_mul(16).map(|size| size + u64::from(digit));
                        Ok(line(size.ok_or(Malformed("a chunk size too large"))?, true))
                    }
                }
            }
            Stage::ChunkEnd { carriage } => match (byte, carriage) {
                (b'\r', false) => Ok(Stage::ChunkEnd { carriage: true }),
                (b'\n', true) => Ok(Stage::chunk_size()),
                _ => Err(Malformed("a chunk that is longer than its size")),
            },
            Stage::Trailer { bytes } => match byte {
                b'\n' if bytes <= 1 => Ok(Stage::Done),
                b'\n' => Ok(Stage::Trailer { bytes: 0 }),
                _ if bytes > LINE_BYTES_MAX => Err(Malformed("a trailer without end")),
                _ => Ok(Stage::Trailer { bytes: bytes + 1 }),
            },
            other => Ok(other), // the caller gives only the three above
        }
    }

    fn chunk_size() -> Stage {
        Stage::ChunkSize {
            size: 0,
            bytes: 0,
            digits: true,
        }
    }
}

/// Reads a head (with the end of its last line, without the empty one): what comes behind it.
fn begin(head: &[u8], sink: &mut impl Sink) -> Result<Stage, Malformed> {
    let mut lines = Lines(head);
    let status_line = lines.next().unwrap_or_default();
    let (status, mut keep) = status(status_line)?;
    let (mut length, mut chunked) = (None, false);
    let (mut body, mut encoded, mut digest) = (Body::Other, false, None);
    for line in lines {
        let colon = memchr::memchr(b':', line).ok_or(Malformed("a field without colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            14 if is("content-length") => {
                let digits = std::str::from_utf8(value).ok();
                let digits = digits.filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let new: Option<u64> = digits.and_then(|text| text.parse().ok());
                if new.is_none() || length.is_some_and(|old| Some(old) != new) {
                    return Err(Malformed("a content-length that is no number, or two"));
                }
                length = new;
            }
            17 if is("transfer-encoding") => {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("a transfer-encoding other than chunked"));
                }
                chunked = true;
            }
            10 if is("connection") => {
                if value.eq_ignore_ascii_case(b"close") {
                    keep = false;
                } else if value.eq_ignore_ascii_case(b"keep-alive") {
                    keep = true;
                }
            }
            12 if is("content-type") => body = media(value),
            16 if is("content-encoding") => encoded = !value.eq_ignore_ascii_case(b"identity"),
            13 if is(DIGEST_FIELD) => digest = hexadecimal(value),
            _ => {}
        }
    }
    if chunked && length.is_some() {
        return Err(Malformed("both content-length and transfer-encoding"));
    }
    if status / 100 == 1 {
        return match status {
            101 => Err(Malformed("another protocol that nobody asked for")),
            _ => Ok(Stage::Head),
        };
    }
    let stage = match (length, chunked) {
        _ if matches!(status, 204 | 304) => Stage::Done,
        (_, true) => Stage::chunk_size(),
        (Some(0), _) => Stage::Done,
        (Some(left), _) => Stage::Length { left },
        (None, _) => Stage::UntilClose,
    };
    sink.head(&Head {
        status,
        body: if encoded { Body::Other } else { body },
        keep: keep && stage != Stage::UntilClose,
        digest,
    });
    Ok(stage)
}

fn status(line: &[u8]) -> Result<(u16, bool), Malformed> {
    let keep = line.starts_with(b"HTTP/1.1 ");
    if !keep && !line.starts_with(b"HTTP/1.0 ") {
        return Err(Malformed("a status line that is none"));
    }
    let digits = line
        .get(9..12)
        .filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let ends = matches!(line.get(12), None | Some(b' '));
    let number = digits
        .filter(|_| ends)
        .ok_or(Malformed("a status that is no number"))?;
    let value = number
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if value < 100 {
        return Err(Malformed("a status below 100"));
    }
    Ok((value, keep))
}

fn media(value: &[u8]) -> Body {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let media = value[..end].trim_ascii();
    if media.eq_ignore_ascii_case(b"text/event-stream") {
        Body::Events
    } else if media.eq_ignore_ascii_case(b"application/json") {
        Body::Json
    } else {
        Body::Other
    }
}

/// 32 bytes in hexadecimal.
pub(crate) fn hexadecimal(text: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8; // two digits
    }
    Some(bytes)
}

/// Lines that end with CR LF.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let at = memchr::memchr(b'\n', self.0)?;
        let line = self.0[..at].strip_suffix(b"\r").unwrap_or(&self.0[..at]);
        self.0 = &self.0[at + 1..];
        Some(line)
    }
}
