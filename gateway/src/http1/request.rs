//! Reading a request head (RFC 9112 §3, RFC 9110 §7).
//!
//! Order of judgement, so that an answer is the same every time: what the scanner sees by position,
//! what the tokenizer cannot split, then version, method, target, Host, Connection, Upgrade,
//! framing, Expect.

use std::mem::MaybeUninit;

use super::fields::{Fields, Notable, Span};
use super::framing::{self, Framing};
use super::head::{FIELDS_MAX, HeadLimits, Method, Progress, Version};
use super::refusal::{self, Refusal};
use super::scan::{Flaw, HeadScanner, Start};
use super::target;

/// A valid request head. Make one with `default()`, fill it with [`parse_request_into`], and use it
/// again for the next request of the connection: its memory stays.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The version the client spoke. Answers say HTTP/1.1 regardless (RFC 9110 §6.2).
    pub version: Version,
    /// All fields as sent.
    pub fields: Fields,
    /// How long the body is.
    pub framing: Framing,
    /// Whether the client lets the connection go on after this request.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// Path and query, empty for the absolute form without a path.
    origin: Span,
    path_len: usize,
    has_query: bool,
    host: Span,
}

/// Reads one request head from the start of `buf` into `head`, remembering in `scanner` how far it
/// got. While the answer is `Incomplete`, call again with the same bytes and more. After
/// `Complete`, drop `consumed` bytes before the next request. On anything but `Complete` the
/// contents of `head` mean nothing.
pub fn parse_request_into(
    scanner: &mut HeadScanner,
    buf: &[u8],
    limits: &HeadLimits,
    head: &mut RequestHead,
) -> Result<Progress<()>, Refusal> {
    let Some(range) = scanner
        .advance(buf, Start::Request, limits)
        .map_err(Refusal::from)?
    else {
        return Ok(Progress::Incomplete);
    };
    let consumed = range.end;
    head.read(&buf[range])?;
    Ok(Progress::Complete {
        value: (),
        consumed,
    })
}

/// Reads one request head from the start of `buf`, from scratch.
pub fn parse_request(buf: &[u8], limits: &HeadLimits) -> Result<Progress<RequestHead>, Refusal> {
    let mut head = RequestHead::default();
    let progress = parse_request_into(&mut HeadScanner::default(), buf, limits, &mut head)?;
    Ok(match progress {
        Progress::Incomplete => Progress::Incomplete,
        Progress::Complete { consumed, .. } => Progress::Complete {
            value: head,
            consumed,
        },
    })
}

// === impl RequestHead ===

impl Default for RequestHead {
    fn default() -> Self {
        Self {
            method: Method::Get,
            version: Version::Http11,
            fields: Fields::default(),
            framing: Framing::None,
            keep_alive: false,
            expect_continue: false,
            origin: Span::default(),
            path_len: 0,
            has_query: false,
            host: Span::default(),
        }
    }
}

impl RequestHead {
    /// Forgets the request and keeps the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self {
            fields,
            ..Self::default()
        };
    }

    /// Bytes on the heap, used or not.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.fields.memory()
    }

    /// The path, as sent: percent-encoded, starting with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.path_len {
            0 => "/",
            len => self.fields.ascii(self.origin.sub(0, len)),
        }
    }

    /// What follows the `?`, as sent; empty and absent are different.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.has_query.then(|| &self.target()[self.path_len + 1..])
    }

    /// Path and query as one, to be written into a request line.
    #[must_use]
    pub fn target(&self) -> &str {
        match self.path_len {
            0 => "/",
            _ => self.fields.ascii(self.origin),
        }
    }

    /// The host asked for, with its port if one was given. Empty only for HTTP/1.0 without `Host`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.fields.ascii(self.host)
    }

    /// Judges a whole head, from the request line to the empty line.
    fn read(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let mut table = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut tokens = httparse::Request::new(&mut []);
        match tokens.parse_with_uninit_headers(bytes, &mut table) {
            Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
            // The scanner and the tokenizer disagree on where the head ends: trust neither.
            Ok(_) => return Err(refusal::REQUEST_LINE_MALFORMED),
            Err(error) => return Err(diagnose(error, bytes)),
        }
        let (Some(method), Some(path), Some(minor)) = (tokens.method, tokens.path, tokens.version)
        else {
            return Err(refusal::REQUEST_LINE_MALFORMED);
        };
        self.version = if minor == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        self.method = match Method::from_name(method) {
            Some(method) => method,
            None if matches!(method, "CONNECT" | "TRACE") => {
                return Err(refusal::METHOD_NOT_ALLOWED);
            }
            None => return Err(refusal::METHOD_UNKNOWN),
        };
        let target = target::parse(path)?;
        let notable = self.fields.load(bytes, tokens.headers)?;
        self.place(Span::of(bytes, path.as_bytes()), &target, &notable)?;
        self.frame(&notable)
    }

    /// Sets target and host (RFC 9112 §3.2).
    fn place(
        &mut self,
        whole: Span,
        target: &target::Target,
        notable: &Notable,
    ) -> Result<(), Refusal> {
        self.origin = whole.sub(target.origin.start, target.origin.len());
        self.path_len = target.path_len;
        self.has_query = target.has_query;
        let authority = target
            .authority
            .as_ref()
            .map(|at| whole.sub(at.start, at.len()));
        let host = match notable.host.count {
            0 => None,
            1 => Some(notable.host.value),
            _ => return Err(refusal::HOST_REPEATED),
        };
        if host.is_some_and(|host| !target::is_host(self.fields.bytes(host))) {
            return Err(refusal::HOST_INVALID);
        }
        self.host = match (host, authority) {
            (None, _) if self.version == Version::Http11 => return Err(refusal::HOST_MISSING),
            (None, authority) => authority.unwrap_or_default(),
            (Some(host), None) => host,
            (Some(host), Some(authority)) => {
                let (host_bytes, target_bytes) =
                    (self.fields.bytes(host), self.fields.bytes(authority));
                if !host_bytes.eq_ignore_ascii_case(target_bytes) {
                    return Err(refusal::TARGET_HOST_MISMATCH);
                }
                host
            }
        };
        Ok(())
    }

    /// Sets framing and everything that concerns the connection.
    fn frame(&mut self, notable: &Notable) -> Result<(), Refusal> {
        if notable.upgrade.count > 0 {
            return Err(refusal::UPGRADE);
        }
        self.framing = framing::declared(self.version, &self.fields, notable)?;
        self.keep_alive = notable.connection.persists(self.version);
        self.expect_continue = false;
        // A server ignores expectations of an HTTP/1.0 client (RFC 9110 §10.1.1).
        if notable.expect.count > 0 && self.version == Version::Http11 {
            let expected = self.fields.bytes(notable.expect.value);
            if notable.expect.count > 1 || !expected.eq_ignore_ascii_case(b"100-continue") {
                return Err(refusal::EXPECTATION_UNKNOWN);
            }
            self.expect_continue = !matches!(self.framing, Framing::None | Framing::Length(0));
        }
        Ok(())
    }
}

/// Says in our words what the tokenizer stumbled over.
fn diagnose(error: httparse::Error, head: &[u8]) -> Refusal {
    match error {
        httparse::Error::HeaderName => refusal::FIELD_NAME_INVALID,
        httparse::Error::HeaderValue => refusal::FIELD_VALUE_INVALID,
        httparse::Error::TooManyHeaders => refusal::TOO_MANY_FIELDS,
        httparse::Error::NewLine => refusal::BARE_CR,
        httparse::Error::Token | httparse::Error::Status => refusal::REQUEST_LINE_MALFORMED,
        httparse::Error::Version => {
            let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
            if line.starts_with(b"PRI * HTTP/2") {
                return refusal::HTTP2_PREFACE;
            }
            let mut parts = line.split(|&byte| byte == b' ').skip(2);
            match (parts.next().unwrap_or_default(), parts.next()) {
                ([b'H', b'T', b'T', b'P', b'/', major, b'.', minor], None)
                    if major.is_ascii_digit() && minor.is_ascii_digit() =>
                {
                    refusal::VERSION_UNSUPPORTED
                }
                _ => refusal::VERSION_MALFORMED,
            }
        }
    }
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        /// The first byte of a TLS record that carries a handshake.
        const TLS_HANDSHAKE: u8 = 0x16;
        match flaw {
            Flaw::FirstByte(TLS_HANDSHAKE) => refusal::TLS_ON_PLAIN_PORT,
            Flaw::FirstByte(_) => refusal::NOT_HTTP,
            Flaw::EmptyLines => refusal::EMPTY_LINES,
            Flaw::LineTooLong => refusal::REQUEST_LINE_TOO_LONG,
            Flaw::HeadTooLong => refusal::HEAD_TOO_LARGE,
            Flaw::TooManyFields => refusal::TOO_MANY_FIELDS,
            Flaw::BareLf => refusal::BARE_LF,
        }
    }
}
