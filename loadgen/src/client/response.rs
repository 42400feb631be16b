//! Response heads, whole responses and server-sent events.

use std::collections::VecDeque;

use serde_json::Value;

/// How the length of a body is known (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Status line and fields of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// Fields in their order, names as they came.
    pub fields: Vec<(String, String)>,
}

/// A response that was read to its proper end.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status and fields.
    pub head: Head,
    /// The decoded body.
    pub body: Vec<u8>,
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event:` field.
    pub name: Option<String>,
    /// The `data:` lines, joined by newlines.
    pub data: String,
}

/// Cuts a byte stream into events, at any split of the input.
#[derive(Debug, Default)]
pub struct EventReader {
    pending: Vec<u8>,
    ready: VecDeque<Event>,
}

// === impl Head ===

impl Head {
    /// The first field of this name, whatever its case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().find(same).map(|field| field.1.as_str())
    }

    /// All fields of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields
            .iter()
            .filter(same)
            .map(|field| field.1.as_str())
    }

    pub(crate) fn framing(&self, of_head_request: bool) -> Result<Framing, String> {
        let lengths: Vec<_> = self.all("content-length").collect();
        let codings: Vec<_> = self.all("transfer-encoding").collect();
        if !lengths.is_empty() && !codings.is_empty() {
            return Err("both content-length and transfer-encoding".into());
        }
        if of_head_request || self.status / 100 == 1 || matches!(self.status, 204 | 304) {
            return Ok(Framing::None);
        }
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(Framing::UntilClose),
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            ([digits], []) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits
                    .parse()
                    .map(Framing::Length)
                    .map_err(|_| "content-length too large".into())
            }
            _ => Err(format!("framing fields {lengths:?} {codings:?}")),
        }
    }
}

/// Reads a head that ends with an empty line.
pub fn parse_head(bytes: &[u8]) -> Result<Head, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the head is not UTF-8".to_owned())?;
    let text = text
        .strip_suffix("\r\n\r\n")
        .ok_or("the head does not end with CRLF CRLF")?;
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let bad_status = || format!("bad status line {status_line:?}");
    let rest = status_line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
        .ok_or_else(bad_status)?;
    let (digits, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad_status());
    }
    let status = digits.parse().map_err(|_| bad_status())?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("bad field {line:?}"))?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(token) || value.contains(['\r', '\n', '\0']) {
            return Err(format!("bad field {line:?}"));
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Head {
        status,
        reason: reason.to_owned(),
        fields,
    })
}

// === impl Response ===

impl Response {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The body as text; what is not UTF-8 shows as replacement characters.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none: the body is in the message.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The body as server-sent events.
    pub fn events(&self) -> Vec<Event> {
        let mut reader = EventReader::default();
        reader.push(&self.body);
        std::iter::from_fn(|| reader.next_ready()).collect()
    }
}

// === impl Event ===

impl Event {
    /// The data as JSON; `None` when it is none (as `[DONE]`).
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.data).ok()
    }
}

// === impl EventReader ===

impl EventReader {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        while let Some((block, end)) = block(&self.pending) {
            if let Some(event) = event(&self.pending[..block]) {
                self.ready.push_back(event);
            }
            self.pending.drain(..end);
        }
    }

    /// The next event that has arrived whole.
    pub fn next_ready(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Bytes of an event that has not ended.
    pub fn rest(&self) -> &[u8] {
        &self.pending
    }
}

/// Where the first event ends, without and with its blank line.
fn block(bytes: &[u8]) -> Option<(usize, usize)> {
    let lf = memchr::memmem::find(bytes, b"\n\n").map(|at| (at, at + 2));
    let crlf = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| (at, at + 4));
    [lf, crlf].into_iter().flatten().min()
}

fn event(block: &[u8]) -> Option<Event> {
    let text = String::from_utf8_lossy(block);
    let (mut name, mut data) = (None, Vec::new());
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = Some(value.to_owned()),
            "data" => data.push(value.to_owned()),
            _ => {} // comments, id, retry
        }
    }
    (name.is_some() || !data.is_empty()).then(|| Event {
        name,
        data: data.join("\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_at_every_split() {
        let stream =
            b"data: {\"a\":1}\n\nevent: ping\ndata: x\ndata: y\n\n: note\n\ndata: [DONE]\r\n\r\n";
        let whole = {
            let mut reader = EventReader::default();
            reader.push(stream);
            std::iter::from_fn(|| reader.next_ready()).collect::<Vec<_>>()
        };
        assert_eq!(whole.len(), 3);
        assert_eq!(
            whole[1],
            Event {
                name: Some("ping".into()),
                data: "x\ny".into()
            }
        );
        for split in 0..stream.len() {
            let mut reader = EventReader::default();
            reader.push(&stream[..split]);
            reader.push(&stream[split..]);
            assert_eq!(
                std::iter::from_fn(|| reader.next_ready()).collect::<Vec<_>>(),
                whole
            );
            assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn heads_that_are_wrong_are_refused() {
        for bytes in [
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnovalue\r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
        ] {
            assert!(parse_head(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(parse_head(head.as_bytes()).unwrap().framing(false).is_err());
        let head = parse_head(b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n").unwrap();
        assert!(head.framing(false).is_err());
    }
}
