//! The small types that request and response heads share: bounds, progress, method, version.

/// The most bytes a head may have, whatever is configured: offsets into a head are 16 bits wide.
pub const HEAD_MAX: usize = u16::MAX as usize;

/// The most fields a head may have, whatever is configured: the tokenizer's table is on the stack.
pub const FIELDS_MAX: usize = 256;

/// The shortest head limit that still lets a start line and a field through.
const HEAD_MIN: usize = 64;

/// How large a head may be. Values beyond [`HEAD_MAX`] and [`FIELDS_MAX`] count as those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the request line (or status line) without its line end. Beyond: 414.
    pub request_line: usize,
    /// Bytes of the whole head, from its first byte to the empty line's end. Beyond: 431.
    pub head: usize,
    /// Number of field lines. Beyond: 431.
    pub fields: usize,
}

/// What became of the bytes so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<T> {
    /// No fault so far, but the end has not arrived. Come again with more bytes after the same.
    Incomplete,
    /// Whole and valid.
    Complete {
        /// What was read.
        value: T,
        /// How many bytes of the buffer it took; what follows is the body or the next message.
        consumed: usize,
    },
}

/// The methods that the gateway forwards. CONNECT and TRACE are refused by name, others as unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say all there is to say")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// The two versions of HTTP/1 in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, no `100 Continue`, closes unless told otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}

// === impl HeadLimits ===

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            head: 32 * 1024,
            fields: 100,
        }
    }
}

impl HeadLimits {
    /// The limits that hold once the fixed maxima are applied. A start line limit that the head
    /// limit makes pointless is lowered, so that the longer of the two never hides the other.
    pub(super) fn effective(self) -> Self {
        let head = self.head.clamp(HEAD_MIN, HEAD_MAX);
        Self {
            request_line: self.request_line.min(head - 4),
            head,
            fields: self.fields.min(FIELDS_MAX),
        }
    }
}

// === impl Method ===

impl Method {
    /// What a 405 answer puts in its `Allow` field (RFC 9110 §15.5.6).
    pub const ALLOW: &'static str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

    /// The method of this name; methods are case-sensitive (RFC 9110 §9.1).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => return None,
        })
    }

    /// The name as it stands in a request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// Whether a request without content should still say `Content-Length: 0` (RFC 9110 §8.6).
    #[must_use]
    pub const fn anticipates_content(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Version ===

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        })
    }
}
