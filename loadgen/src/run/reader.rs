//! Reads one response from a socket, noting when its events come.

use std::time::Instant;

use serde_json::Value;

use super::worker::Trouble;
use crate::client::Framing;
use crate::client::{EventReader, Head, parse_head};
use crate::http::Socket;

/// The longest head or chunk line that is read.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What a response was, and when.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) keep: bool,
    pub(super) bytes: u64,
    /// When text came: one entry an event that carries some.
    pub(super) tokens: Vec<Instant>,
    /// An error event came in the stream.
    pub(super) failed: bool,
}

/// The body as it comes.
struct Events {
    reader: EventReader,
    stream: bool,
    answered: Answered,
}

/// Reads a response that starts at the front of `buffer`, and leaves there what follows it.
pub(super) async fn read(socket: &Socket, buffer: &mut Vec<u8>) -> Result<Answered, Trouble> {
    let head = read_head(socket, buffer).await?;
    let framing = head.framing(false).map_err(|_| Trouble::Malformed)?;
    let stream = head
        .field("content-type")
        .is_some_and(|media| media.starts_with("text/event-stream"));
    let close = head
        .field("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let mut events = Events {
        reader: EventReader::default(),
        stream,
        answered: Answered {
            status: head.status,
            keep: !close && framing != Framing::UntilClose,
            bytes: 0,
            tokens: Vec::new(),
            failed: false,
        },
    };
    match framing {
        Framing::None => {}
        Framing::Length(length) => events.length(socket, buffer, length).await?,
        Framing::Chunked => events.chunks(socket, buffer).await?,
        Framing::UntilClose => {
            while events.piece(buffer, usize::MAX) > 0 || socket.read(buffer).await? > 0 {}
        }
    }
    Ok(events.answered)
}

async fn read_head(socket: &Socket, buffer: &mut Vec<u8>) -> Result<Head, Trouble> {
    loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            let head = parse_head(&buffer[..at + 4]).map_err(|_| Trouble::Malformed)?;
            buffer.drain(..at + 4);
            if head.status / 100 != 1 {
                return Ok(head);
            }
            continue;
        }
        if buffer.len() > LINE_BYTES_MAX {
            return Err(Trouble::Malformed);
        }
        fill(socket, buffer).await?;
    }
}

async fn fill(socket: &Socket, buffer: &mut Vec<u8>) -> Result<(), Trouble> {
    if socket.read(buffer).await? == 0 {
        return Err(Trouble::Closed);
    }
    Ok(())
}

async fn line_end(socket: &Socket, buffer: &mut Vec<u8>) -> Result<usize, Trouble> {
    loop {
        if let Some(at) = memchr::memmem::find(buffer, b"\r\n") {
            return Ok(at);
        }
        if buffer.len() > LINE_BYTES_MAX {
            return Err(Trouble::Malformed);
        }
        fill(socket, buffer).await?;
    }
}

// === impl Events ===

impl Events {
    async fn length(
        &mut self,
        socket: &Socket,
        buffer: &mut Vec<u8>,
        mut left: u64,
    ) -> Result<(), Trouble> {
        while left > 0 {
            let taken = self.piece(buffer, usize::try_from(left).unwrap_or(usize::MAX));
            left -= taken as u64;
            if taken == 0 {
                fill(socket, buffer).await?;
            }
        }
        Ok(())
    }

    async fn chunks(&mut self, socket: &Socket, buffer: &mut Vec<u8>) -> Result<(), Trouble> {
        loop {
            let end = line_end(socket, buffer).await?;
            let digits = buffer[..end]
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default();
            let digits = std::str::from_utf8(digits).map_err(|_| Trouble::Malformed)?;
            let size = u64::from_str_radix(digits, 16).map_err(|_| Trouble::Malformed)?;
            buffer.drain(..end + 2);
            if size == 0 {
                break;
            }
            self.length(socket, buffer, size).await?;
            if line_end(socket, buffer).await? != 0 {
                return Err(Trouble::Malformed);
            }
            buffer.drain(..2);
        }
        loop {
            let end = line_end(socket, buffer).await?; // trailers, then an empty line
            buffer.drain(..end + 2);
            if end == 0 {
                return Ok(());
            }
        }
    }

    /// Takes at most `most` bytes of body from the front of `buffer`.
    fn piece(&mut self, buffer: &mut Vec<u8>, most: usize) -> usize {
        let count = buffer.len().min(most);
        self.answered.bytes += count as u64;
        if self.stream && count > 0 {
            let now = Instant::now();
            self.reader.push(&buffer[..count]);
            while let Some(event) = self.reader.next_ready() {
                let value = event.json().unwrap_or(Value::Null);
                self.answered.failed |= is_error(&value);
                if has_text(&value) {
                    self.answered.tokens.push(now);
                }
            }
        }
        buffer.drain(..count);
        count
    }
}

fn is_error(value: &Value) -> bool {
    value["error"].is_object() || value["type"] == "error" || value["type"] == "response.failed"
}

/// Whether an event brings text, reasoning or a piece of a tool call.
fn has_text(value: &Value) -> bool {
    let filled = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if let Some(choice) = value["choices"].get(0) {
        let delta = &choice["delta"];
        return filled(&choice["text"])
            || ["content", "reasoning_content", "reasoning", "refusal"]
                .iter()
                .any(|field| filled(&delta[field]))
            || delta["tool_calls"].is_array();
    }
    value["type"] == "content_block_delta"
        || value["type"]
            .as_str()
            .is_some_and(|name| name.ends_with(".delta"))
}
