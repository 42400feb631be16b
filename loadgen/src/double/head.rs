//! The head of an answer, in the order and case that the imitated server writes it.

use std::fmt::Write as _;

use super::script::Framing;

/// When every answer was made: the moment in which everything was created.
const DATE: &str = "Wed, 01 Jan 2025 00:00:00 GMT";
/// The field that its application adds after uvicorn's own.
const ADDED_LAST: &str = "x-request-id";

/// What the head says.
pub(super) struct Head<'a> {
    pub(super) status: u16,
    pub(super) content_type: &'a str,
    pub(super) fields: &'a [(String, String)],
    pub(super) encoding: Option<&'a str>,
    pub(super) framing: Framing,
    /// Length of the body.
    pub(super) length: usize,
    /// Says that the connection ends.
    pub(super) closes: bool,
    /// Written as uvicorn writes it.
    pub(super) uvicorn: bool,
}

impl Head<'_> {
    /// Whether the status forbids a body.
    pub(super) fn bodyless(&self) -> bool {
        self.status == 204 || self.status == 304
    }

    /// The head with its blank line.
    pub(super) fn write(&self) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut line = |name: &str, value: &str| {
            let _ = write!(head, "{name}: {value}\r\n"); // writes to a String
        };
        let last = |field: &&(String, String)| self.uvicorn && field.0 == ADDED_LAST;
        let length = self.length.to_string();
        let framing = match self.framing {
            _ if self.bodyless() => None,
            Framing::Length => Some(("content-length", length.as_str())),
            Framing::Chunked if self.uvicorn => Some(("Transfer-Encoding", "chunked")),
            Framing::Chunked => Some(("transfer-encoding", "chunked")),
            Framing::Close => None,
        };
        let early = framing.filter(|_| self.uvicorn && self.framing == Framing::Length);
        if self.uvicorn {
            line("date", DATE);
            line("server", "uvicorn");
            let first = self.fields.iter().filter(|field| !last(field));
            first.for_each(|(name, value)| line(name, value));
        } else {
            line("server", "penstock-double");
        }
        if let Some((name, value)) = early {
            line(name, value);
        }
        if !self.content_type.is_empty() {
            line("content-type", self.content_type);
        }
        let rest = self
            .fields
            .iter()
            .filter(|field| !self.uvicorn || last(field));
        rest.for_each(|(name, value)| line(name, value));
        if let Some(encoding) = self.encoding {
            line("content-encoding", encoding);
        }
        if let Some((name, value)) = framing.filter(|_| early.is_none()) {
            line(name, value);
        }
        match (self.closes, self.uvicorn) {
            (true, true) => line("Connection", "close"),
            (true, false) => line("connection", "close"),
            (false, _) => {}
        }
        head.push_str("\r\n");
        head
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "Status",
    }
}
