//! Why a message was not accepted: one table of answers, each with a code that stays.
//!
//! A [`Refusal`] is the client's fault and closes its connection: after a message that could not
//! be framed, nobody knows where the next one starts. A [`ResponseFault`] is the upstream's, and
//! becomes a 502 without a retry on that connection.

use std::fmt;

/// Why a request was refused. The connection closes after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status to answer with.
    pub status: u16,
    /// A stable name for programs and dashboards.
    pub code: &'static str,
    /// What a developer should change; never echoes the request.
    pub message: &'static str,
}

/// What was wrong with an upstream's response. The upstream connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFault {
    /// A stable name for programs and dashboards.
    pub code: &'static str,
    /// What the upstream did; never echoes the response.
    pub message: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self {
            status,
            code,
            message,
        }
    }

    pub(super) const fn bad(code: &'static str, message: &'static str) -> Self {
        Self::new(400, code, message)
    }
}

impl ResponseFault {
    pub(super) const fn new(code: &'static str, message: &'static str) -> Self {
        Self { code, message }
    }
}

impl From<Refusal> for ResponseFault {
    /// For the rules that hold both ways, such as those of chunks.
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code,
            message: refusal.message,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl fmt::Display for ResponseFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}
impl std::error::Error for ResponseFault {}

// The start line and the shape of the head.

pub(super) const NOT_HTTP: Refusal = Refusal::bad(
    "not_http",
    "These bytes are no HTTP request. Check that the client speaks HTTP/1.1 to this port.",
);
pub(super) const TLS_ON_PLAIN_PORT: Refusal = Refusal::bad(
    "tls_on_plain_port",
    "The client started a TLS handshake on a plain HTTP port. Use http:// or the TLS port.",
);
pub(super) const HTTP2_PREFACE: Refusal = Refusal::new(
    505,
    "http2_preface",
    "This listener speaks HTTP/1.1. Turn HTTP/2 with prior knowledge off in the client.",
);
pub(super) const VERSION_UNSUPPORTED: Refusal = Refusal::new(
    505,
    "http_version_unsupported",
    "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
);
pub(super) const VERSION_MALFORMED: Refusal = Refusal::bad(
    "http_version_malformed",
    "The request line must end in HTTP/1.1 exactly (RFC 9112 §2.3).",
);
pub(super) const REQUEST_LINE_MALFORMED: Refusal = Refusal::bad(
    "request_line_malformed",
    "The request line must be METHOD, one space, target, one space, version (RFC 9112 §3).",
);
pub(super) const REQUEST_LINE_TOO_LONG: Refusal = Refusal::new(
    414,
    "request_line_too_long",
    "The request line is longer than allowed. Move data from the URL into the body.",
);
pub(super) const HEAD_TOO_LARGE: Refusal = Refusal::new(
    431,
    "head_too_large",
    "The header section is larger than allowed. Send fewer or shorter fields.",
);
pub(super) const TOO_MANY_FIELDS: Refusal = Refusal::new(
    431,
    "too_many_fields",
    "The request has more header fields than allowed.",
);
pub(super) const BARE_LF: Refusal = Refusal::bad(
    "bare_lf",
    "Lines end in CR LF; a line feed alone is refused (RFC 9112 §2.2).",
);
pub(super) const BARE_CR: Refusal = Refusal::bad(
    "bare_cr",
    "A carriage return stands only before a line feed (RFC 9112 §2.2).",
);
pub(super) const EMPTY_LINES: Refusal = Refusal::bad(
    "empty_lines",
    "At most one empty line may come before a request line (RFC 9112 §2.2).",
);
pub(super) const FIELD_NAME_INVALID: Refusal = Refusal::bad(
    "field_name_invalid",
    "A field line is a name, a colon directly after it, and a value on the same line: no space \
     before the colon, no folded lines, no control characters (RFC 9112 §5).",
);
pub(super) const FIELD_VALUE_INVALID: Refusal = Refusal::bad(
    "field_value_invalid",
    "Field values hold no control characters, NUL or bare line ends (RFC 9110 §5.5).",
);
pub(super) const FIELD_AMBIGUOUS: Refusal = Refusal::bad(
    "field_name_ambiguous",
    "Content_Length and Transfer_Encoding with underscores are refused: some servers read them \
     as the field with a hyphen.",
);

// Method, target and host.

pub(super) const METHOD_UNKNOWN: Refusal = Refusal::new(
    501,
    "method_not_implemented",
    "Known methods are GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS, in capitals.",
);
pub(super) const METHOD_NOT_ALLOWED: Refusal = Refusal::new(
    405,
    "method_not_allowed",
    "CONNECT and TRACE are refused: this is a gateway to models, not a tunnel.",
);
pub(super) const ASTERISK_TARGET: Refusal = Refusal::bad(
    "asterisk_target",
    "Requests for the whole server (*) are refused.",
);
pub(super) const TARGET_INVALID: Refusal = Refusal::bad(
    "target_invalid",
    "The target must be /path?query or http://host/path?query in visible ASCII, without \
     fragment or backslash, each % followed by two hex digits (RFC 9112 §3.2).",
);
pub(super) const TARGET_HOST_MISMATCH: Refusal = Refusal::bad(
    "target_host_mismatch",
    "The host in the target and the Host field must be the same (RFC 9112 §3.2.2).",
);
pub(super) const HOST_MISSING: Refusal = Refusal::bad(
    "host_missing",
    "An HTTP/1.1 request needs a Host field (RFC 9112 §3.2).",
);
pub(super) const HOST_REPEATED: Refusal = Refusal::bad(
    "host_repeated",
    "A request has one Host field, not several (RFC 9112 §3.2).",
);
pub(super) const HOST_INVALID: Refusal = Refusal::bad(
    "host_invalid",
    "Host must be a name, an IPv4 address or an [IPv6] address, and optionally :port.",
);

// Framing.

pub(super) const LENGTH_INVALID: Refusal = Refusal::bad(
    "content_length_invalid",
    "Content-Length must be decimal digits and nothing else (RFC 9110 §8.6).",
);
pub(super) const LENGTH_REPEATED: Refusal = Refusal::bad(
    "content_length_repeated",
    "Content-Length may stand once, even if the values agree (RFC 9112 §6.3).",
);
pub(super) const LENGTH_TOO_LARGE: Refusal = Refusal::new(
    413,
    "content_length_too_large",
    "Content-Length is beyond any possible body.",
);
pub(super) const CODING_WITH_LENGTH: Refusal = Refusal::bad(
    "transfer_encoding_with_content_length",
    "Transfer-Encoding and Content-Length exclude each other (RFC 9112 §6.1).",
);
pub(super) const CODING_REPEATED: Refusal = Refusal::bad(
    "transfer_encoding_repeated",
    "Transfer-Encoding may stand once and must be exactly: chunked (RFC 9112 §6.1).",
);
pub(super) const CODING_IN_10: Refusal = Refusal::bad(
    "transfer_encoding_in_http10",
    "HTTP/1.0 has no Transfer-Encoding (RFC 9112 §6.1).",
);
pub(super) const CODING_UNKNOWN: Refusal = Refusal::new(
    501,
    "transfer_encoding_unsupported",
    "The only transfer coding spoken here is: chunked. Use Content-Encoding for compression.",
);
pub(super) const UPGRADE: Refusal = Refusal::bad(
    "upgrade_unsupported",
    "Protocol upgrades (WebSocket, h2c) are refused. Set the client to plain HTTP/1.1.",
);
pub(super) const CONNECTION_INVALID: Refusal = Refusal::bad(
    "connection_invalid",
    "Connection must be a list of tokens (RFC 9110 §7.6.1).",
);
pub(super) const CONNECTION_NAMES_END_TO_END: Refusal = Refusal::bad(
    "connection_names_end_to_end_field",
    "Connection may not name a field that the final server needs (RFC 9110 §7.6.1).",
);
pub(super) const EXPECTATION_UNKNOWN: Refusal = Refusal::new(
    417,
    "expectation_unsupported",
    "The only expectation understood is 100-continue (RFC 9110 §10.1.1).",
);

// Chunks.

pub(super) const CHUNK_SIZE_INVALID: Refusal = Refusal::bad(
    "chunk_size_invalid",
    "A chunk starts with 1 to 16 hex digits and CR LF, nothing before or between (RFC 9112 §7.1).",
);
pub(super) const CHUNK_SIZE_TOO_LARGE: Refusal = Refusal::new(
    413,
    "chunk_size_too_large",
    "The chunk size is beyond any possible body.",
);
pub(super) const CHUNK_END_INVALID: Refusal = Refusal::bad(
    "chunk_end_invalid",
    "Chunk data must be exactly as long as announced and end in CR LF (RFC 9112 §7.1).",
);
pub(super) const CHUNK_EXTENSION_INVALID: Refusal = Refusal::bad(
    "chunk_extension_invalid",
    "A chunk extension starts with a name and holds no control characters (RFC 9112 §7.1.1).",
);
pub(super) const CHUNK_EXTENSION_TOO_LARGE: Refusal = Refusal::bad(
    "chunk_extension_too_large",
    "Chunk extensions are longer than allowed.",
);
pub(super) const TRAILER_INVALID: Refusal = Refusal::bad(
    "trailer_invalid",
    "A trailer line is a field line: name, colon, value, CR LF (RFC 9112 §7.1.2).",
);
pub(super) const TRAILER_TOO_LARGE: Refusal = Refusal::new(
    431,
    "trailer_too_large",
    "The trailer section is larger than allowed.",
);
