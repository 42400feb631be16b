//! Reads one HTTP answer and checks every byte of its body against the expected one.
//!
//! Strict about what the measurement relies on (status 200, a known framing, the exact body,
//! nothing after it) and indifferent to the rest of the head. Input may be split anywhere.

use super::body::{BodyCursor, Lateness, Units};
use crate::traffic::Expected;

/// An answer's head may be this long.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Hexadecimal digits and extensions of one chunk's size line.
const SIZE_LINE_BYTES_MAX: usize = 64;

/// Of an answer that is not a 200 so much is shown.
const REFUSAL_SHOWN_BYTES: usize = 600;

/// Where in an answer the next byte belongs.
#[derive(Debug)]
pub struct AnswerReader {
    stage: Stage,
    head: Vec<u8>,
    body: BodyCursor,
    refusal: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Length {
        left: usize,
    },
    ChunkSize {
        size: usize,
        line_bytes: usize,
        extension: bool,
    },
    ChunkData {
        left: usize,
    },
    ChunkEnd,
    Trailer {
        line_bytes: usize,
    },
    Done,
}

// === impl AnswerReader ===

impl AnswerReader {
    /// A reader before the first byte of an answer.
    pub fn new(lateness: Lateness) -> AnswerReader {
        AnswerReader {
            stage: Stage::Head,
            head: Vec::new(),
            body: BodyCursor::new(lateness),
            refusal: None,
        }
    }

    /// Starts over for the next answer, keeping buffers.
    pub fn reset(&mut self) {
        self.stage = Stage::Head;
        self.head.clear();
        self.body.reset();
        self.refusal = None;
    }

    /// The status of an answer that is not a 200, once [`AnswerReader::feed`] has complained.
    pub fn refusal(&self) -> Option<u16> {
        self.refusal
    }

    /// Takes what was read; true when the answer is complete. Says what is wrong otherwise.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        expected: &Expected,
        units: &mut impl Units,
    ) -> Result<bool, String> {
        while !input.is_empty() {
            input = match self.stage {
                Stage::Head => self.read_head(input)?,
                Stage::Length { left } => {
                    let (now, rest) = input.split_at(left.min(input.len()));
                    self.body.advance(now, expected, units)?;
                    self.stage = match left - now.len() {
                        0 => self.finish(expected)?,
                        left => Stage::Length { left },
                    };
                    rest
                }
                Stage::ChunkData { left } => {
                    let (now, rest) = input.split_at(left.min(input.len()));
                    self.body.advance(now, expected, units)?;
                    self.stage = match left - now.len() {
                        0 => Stage::ChunkEnd,
                        left => Stage::ChunkData { left },
                    };
                    rest
                }
                Stage::Done => {
                    return Err(format!("{} bytes after its end", input.len()));
                }
                Stage::ChunkSize { .. } | Stage::ChunkEnd | Stage::Trailer { .. } => {
                    self.stage = self.framing_byte(input[0], expected)?;
                    &input[1..]
                }
            };
        }
        Ok(self.stage == Stage::Done)
    }

    /// True when nothing of an answer has come yet.
    pub fn untouched(&self) -> bool {
        self.stage == Stage::Head && self.head.is_empty()
    }

    fn read_head<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], String> {
        // The usual case, a whole head in one read, is parsed where it lies.
        if self.head.is_empty()
            && let Some(end) = head_end(input)
        {
            self.stage = self.framing(input, end)?;
            return Ok(&input[end..]);
        }
        let held = self.head.len();
        self.head.extend_from_slice(input);
        match head_end(&self.head) {
            Some(end) => {
                let head = std::mem::take(&mut self.head);
                self.stage = self.framing(&head, end)?;
                self.head = head;
                Ok(&input[end - held..])
            }
            None if self.head.len() > HEAD_BYTES_MAX => {
                Err(format!("no end of its head within {HEAD_BYTES_MAX} bytes"))
            }
            None => Ok(&[]),
        }
    }

    /// Of an answer whose head ends there; what came with it is told where it is a refusal.
    fn framing(&mut self, answer: &[u8], end: usize) -> Result<Stage, String> {
        self.refusal = status(&answer[..end]);
        match self.refusal {
            Some(_) => Err(format!(
                "not a 200:\n{}",
                String::from_utf8_lossy(&answer[..answer.len().min(REFUSAL_SHOWN_BYTES)])
            )),
            None => framing(&answer[..end]),
        }
    }

    fn framing_byte(&mut self, byte: u8, expected: &Expected) -> Result<Stage, String> {
        match self.stage {
            Stage::ChunkSize {
                size,
                line_bytes,
                extension,
            } => {
                if line_bytes >= SIZE_LINE_BYTES_MAX {
                    return Err("a chunk size line that does not end".into());
                }
                let line_bytes = line_bytes + 1;
                Ok(match byte {
                    b'\n' if line_bytes < 3 => return Err("an empty chunk size line".into()),
                    b'\n' if size == 0 => Stage::Trailer { line_bytes: 0 },
                    b'\n' => Stage::ChunkData { left: size },
                    b'\r' => Stage::ChunkSize {
                        size,
                        line_bytes,
                        extension: true,
                    },
                    b';' => Stage::ChunkSize {
                        size,
                        line_bytes,
                        extension: true,
                    },
                    _ if extension => Stage::ChunkSize {
                        size,
                        line_bytes,
                        extension,
                    },
                    _ => {
                        let digit = (byte as char).to_digit(16).ok_or("a bad chunk size")?;
                        let size = size << 4 | digit as usize;
                        Stage::ChunkSize {
                            size,
                            line_bytes,
                            extension,
                        }
                    }
                })
            }
            Stage::ChunkEnd => match byte {
                b'\r' => Ok(Stage::ChunkEnd),
                b'\n' => Ok(Stage::ChunkSize {
                    size: 0,
                    line_bytes: 0,
                    extension: false,
                }),
                _ => Err("a chunk that is longer than its size".into()),
            },
            Stage::Trailer { line_bytes } => match byte {
                b'\n' if line_bytes <= 1 => self.finish(expected),
                b'\n' => Ok(Stage::Trailer { line_bytes: 0 }),
                _ if line_bytes > HEAD_BYTES_MAX => Err("an endless trailer".into()),
                _ => Ok(Stage::Trailer {
                    line_bytes: line_bytes + 1,
                }),
            },
            // The caller sends only the three stages above here.
            Stage::Head | Stage::Length { .. } | Stage::ChunkData { .. } | Stage::Done => {
                unreachable!("not a stage of framing")
            }
        }
    }

    fn finish(&self, expected: &Expected) -> Result<Stage, String> {
        self.body.finish(expected).map(|()| Stage::Done)
    }
}

/// Length of a complete head, blank line included.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|&byte| byte == b'\n') {
        let end = from + at + 1;
        if bytes[..end].ends_with(b"\r\n\r\n") {
            return Some(end);
        }
        from = end;
    }
    None
}

/// Value of the first field of this name (lower case).
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let (before, after) = line.split_at_checked(name.len())?;
        let value = after.strip_prefix(b":")?;
        before
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| value.trim_ascii())
    })
}

/// The status of an HTTP/1.1 answer that is not a 200.
fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (status != 200).then_some(status)
}

/// What the head says about the body.
fn framing(head: &[u8]) -> Result<Stage, String> {
    if !head.starts_with(b"HTTP/1.1 200 ") {
        let begin = String::from_utf8_lossy(&head[..head.len().min(100)]);
        return Err(format!("not HTTP/1.1:\n{}", begin.trim_end()));
    }
    if let Some(coding) = field(head, "transfer-encoding") {
        return match coding.eq_ignore_ascii_case(b"chunked") {
            true => Ok(Stage::ChunkSize {
                size: 0,
                line_bytes: 0,
                extension: false,
            }),
            false => Err(format!(
                "transfer coding {}",
                String::from_utf8_lossy(coding)
            )),
        };
    }
    let length = field(head, "content-length").ok_or("neither a length nor chunks")?;
    match std::str::from_utf8(length)
        .ok()
        .and_then(|digits| digits.parse().ok())
    {
        Some(left) if left > 0 => Ok(Stage::Length { left }),
        _ => Err(format!(
            "content-length {}",
            String::from_utf8_lossy(length)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::body::Counted;
    use crate::traffic::{json_answer, stream_answer};

    fn json() -> Expected {
        Expected::Json(json_answer("m", 1024))
    }

    fn chunked(body: &[u8], sizes: &[usize]) -> Vec<u8> {
        let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n".to_vec();
        let mut rest = body;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            let size = (*sizes.next().expect("cycle")).min(rest.len());
            wire.extend_from_slice(format!("{size:X};x=y\r\n").as_bytes());
            wire.extend_from_slice(&rest[..size]);
            wire.extend_from_slice(b"\r\n");
            rest = &rest[size..];
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        wire
    }

    fn read_in_pieces(wire: &[u8], piece: usize, expected: &Expected) -> Result<u64, String> {
        let mut reader = AnswerReader::new(Lateness::Refused);
        let mut counted = Counted::default();
        let mut done = false;
        for bytes in wire.chunks(piece) {
            assert!(!done, "complete before its last byte");
            done = reader.feed(bytes, expected, &mut counted)?;
        }
        assert!(done, "not complete after its last byte");
        Ok(counted.units)
    }

    #[test]
    fn answers_are_read_at_every_piece_size() {
        let head = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 1024\r\n\r\n";
        let wire = [head, &json_answer("m", 1024)[..]].concat();
        let stream = stream_answer("m", 61);
        let body: Vec<u8> = stream
            .events
            .iter()
            .flat_map(|event| event.bytes.clone())
            .collect();
        let stream = Expected::Stream(stream);
        let chunks = chunked(&body, &[1, 7, 400, 33]);
        for piece in 1..200 {
            assert_eq!(read_in_pieces(&wire, piece, &json()), Ok(1));
            assert_eq!(read_in_pieces(&chunks, piece, &stream), Ok(64));
        }
        assert_eq!(read_in_pieces(&chunks, usize::MAX, &stream), Ok(64));
    }

    #[test]
    fn whatever_is_not_the_expected_answer_is_refused() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n".to_vec();
        let good = [head, json_answer("m", 1024)].concat();
        let feed = |wire: &[u8]| {
            AnswerReader::new(Lateness::Refused)
                .feed(wire, &json(), &mut Counted::default())
                .map(|_| ())
        };
        assert_eq!(feed(&good), Ok(()));

        let mut other = good.clone();
        *other.last_mut().expect("not empty") = b'!';
        assert!(feed(&other).expect_err("changed").contains("\"!\""));
        let more = [&good[..], b"x"].concat();
        assert!(feed(&more).expect_err("more").contains("after its end"));
        let short = String::from_utf8_lossy(&good)
            .replace("1024", "1023")
            .into_bytes();
        assert!(
            feed(&short[..short.len() - 1])
                .expect_err("short")
                .contains("1 bytes early")
        );
        let denied = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}";
        assert!(feed(denied).expect_err("403").contains("403 Forbidden"));
        let mut reader = AnswerReader::new(Lateness::Refused);
        assert!(
            reader
                .feed(denied, &json(), &mut Counted::default())
                .is_err()
        );
        assert_eq!(reader.refusal(), Some(403));
        assert!(
            feed(b"HTTP/1.1 200 OK\r\n\r\n")
                .expect_err("no framing")
                .contains("neither")
        );
    }
}
