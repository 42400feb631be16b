//! Writing heads. Everything that leaves the gateway is written here, field by field.
//!
//! A writer states framing and Host itself and skips fields that are not its caller's to state
//! (those for one connection, `Host`, `Content-Length`, `Expect`). Values that could end a line
//! are an error, not a hope: identity claims and configuration go through the same door as parsed
//! fields. Nothing is formatted; digits and slices are appended.

use super::fields::{Fields, Role};
use super::framing::{Framing, ResponseFraming};
use super::head::Method;
use super::scan::is_token;

/// A name, value, target or host that cannot stand in a head. Nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The field name is no token.
    #[error("a header field name must be a token")]
    Name,
    /// The value holds a control character.
    #[error("a header field value must not hold control characters")]
    Value,
    /// The target or the host holds something other than visible ASCII.
    #[error("a request target and host must be visible ASCII")]
    Target,
}

/// Whether the connection goes on after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// It goes on, and the peer expects so (HTTP/1.1).
    KeepAlive,
    /// It goes on, and the peer must be told so (an HTTP/1.0 client that asked for it).
    KeepAliveStated,
    /// It closes, and the peer is told so.
    Close,
}

/// Writes a request head at the end of a buffer. It is whole only after
/// [`finish`](Self::finish).
#[derive(Debug)]
#[must_use = "a head without finish() is no head"]
pub struct RequestWriter<'a> {
    out: &'a mut Vec<u8>,
    method: Method,
}

/// Writes a response head at the end of a buffer. It is whole only after
/// [`finish`](Self::finish).
#[derive(Debug)]
#[must_use = "a head without finish() is no head"]
pub struct ResponseWriter<'a> {
    out: &'a mut Vec<u8>,
    status: u16,
}

/// Writes `100 Continue`, whole.
pub fn write_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

// === impl RequestWriter ===

impl<'a> RequestWriter<'a> {
    /// Starts with the request line and `Host`. `target` is in origin form.
    pub fn new(
        out: &'a mut Vec<u8>,
        method: Method,
        target: &str,
        host: &str,
    ) -> Result<Self, FieldError> {
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !target.starts_with('/') || !visible(target) || host.is_empty() || !visible(host) {
            return Err(FieldError::Target);
        }
        for part in [
            method.as_str(),
            " ",
            target,
            " HTTP/1.1\r\nhost: ",
            host,
            "\r\n",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        Ok(Self { out, method })
    }

    /// Adds a field, unless the writer states it itself or it concerns one connection only.
    pub fn field(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        add_field(self.out, name, value)
    }

    /// Adds the fields of a parsed message that may be forwarded and that `keep` wants.
    pub fn copy(&mut self, fields: &Fields, keep: impl FnMut(&str) -> bool) {
        copy_fields(self.out, fields, keep);
    }

    /// Ends the head, stating how long the body is.
    pub fn finish(self, framing: Framing) {
        match framing {
            Framing::None if self.method.anticipates_content() => add_length(self.out, 0),
            Framing::None => {}
            Framing::Length(length) => add_length(self.out, length),
            Framing::Chunked => add_chunked(self.out),
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

// === impl ResponseWriter ===

impl<'a> ResponseWriter<'a> {
    /// Starts with the status line, HTTP/1.1 whatever the client spoke (RFC 9110 §6.2).
    pub fn new(out: &'a mut Vec<u8>, status: u16) -> Self {
        debug_assert!((100..=599).contains(&status), "no such status");
        out.extend_from_slice(b"HTTP/1.1 ");
        add_decimal(out, u64::from(status));
        out.push(b' ');
        out.extend_from_slice(reason(status).as_bytes());
        out.extend_from_slice(b"\r\n");
        Self { out, status }
    }

    /// Adds a field, unless the writer states it itself or it concerns one connection only.
    pub fn field(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        add_field(self.out, name, value)
    }

    /// Adds the fields of a parsed message that may be forwarded and that `keep` wants.
    pub fn copy(&mut self, fields: &Fields, keep: impl FnMut(&str) -> bool) {
        copy_fields(self.out, fields, keep);
    }

    /// Ends the head, stating how long the body is. A status that has no body states none,
    /// whatever is given; any other status without a body states a length of 0, except in answers
    /// to HEAD: those end with [`finish_head`](Self::finish_head). `UntilClose` always closes.
    pub fn finish(self, framing: ResponseFraming, persistence: Persistence) {
        match framing {
            _ if self.status < 200 || matches!(self.status, 204 | 304) => {}
            ResponseFraming::None => add_length(self.out, 0),
            ResponseFraming::Length(length) => add_length(self.out, length),
            ResponseFraming::Chunked => add_chunked(self.out),
            ResponseFraming::UntilClose => {
                return end_head(self.out, Persistence::Close);
            }
        }
        end_head(self.out, persistence);
    }

    /// Ends the head of an answer to HEAD, which has no body but may say how long it would be.
    pub fn finish_head(self, declared_length: Option<u64>, persistence: Persistence) {
        if let Some(length) = declared_length {
            add_length(self.out, length);
        }
        end_head(self.out, persistence);
    }
}

fn end_head(out: &mut Vec<u8>, persistence: Persistence) {
    out.extend_from_slice(match persistence {
        Persistence::KeepAlive => b"\r\n",
        Persistence::KeepAliveStated => b"connection: keep-alive\r\n\r\n",
        Persistence::Close => b"connection: close\r\n\r\n",
    });
}

fn add_field(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), FieldError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldError::Name);
    }
    // A fold over all bytes instead of an early exit: it compiles to vector instructions.
    let control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    if value
        .iter()
        .fold(false, |found, &byte| found | control(byte))
    {
        return Err(FieldError::Value);
    }
    if Role::of(name.as_bytes()) == Role::EndToEnd {
        add_line(out, name, value);
    }
    Ok(())
}

/// Parsed fields were checked when they were parsed.
fn copy_fields(out: &mut Vec<u8>, fields: &Fields, mut keep: impl FnMut(&str) -> bool) {
    for (name, value) in fields.end_to_end() {
        if keep(name) {
            add_line(out, name, value);
        }
    }
}

fn add_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn add_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    add_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

fn add_chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

fn add_decimal(out: &mut Vec<u8>, mut number: u64) {
    /// Digits of the largest u64.
    const DIGITS_MAX: usize = 20;
    let mut digits = [0_u8; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The usual phrase for a status (RFC 9110 §15, RFC 6585); empty for one that has none.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        529 => "Site Is Overloaded",
        _ => "",
    }
}
