//! Reading a response head from an upstream (RFC 9112 §4, §6.3).
//!
//! Inference servers are software too: what a gateway would refuse from a client, it does not
//! believe from an upstream either. The reason phrase is dropped; it carries nothing.

use std::mem::MaybeUninit;

use super::fields::{Fields, Notable};
use super::framing::{self, Framing, ResponseFraming};
use super::head::{FIELDS_MAX, HeadLimits, Progress, Version};
use super::refusal::ResponseFault;
use super::scan::{Flaw, HeadScanner, Start};

/// A valid response head. Reusable, like [`RequestHead`](super::RequestHead).
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// 100 to 599, never 101.
    pub status: u16,
    /// The version that the upstream spoke.
    pub version: Version,
    /// All fields as sent.
    pub fields: Fields,
    /// How long the body is.
    pub framing: ResponseFraming,
    /// The `Content-Length` that was declared, even if there is no body (HEAD, 304).
    pub declared_length: Option<u64>,
    /// Whether the connection may carry another request after this response.
    pub keep_alive: bool,
    /// A 1xx response: not the answer yet, another head follows.
    pub interim: bool,
}

/// Reads one response head from the start of `buf` into `head`, remembering in `scanner` how far it
/// got. `head_request` says that the request was HEAD. Calls as for
/// [`parse_request_into`](super::parse_request_into).
pub fn parse_response_into(
    scanner: &mut HeadScanner,
    buf: &[u8],
    head_request: bool,
    limits: &HeadLimits,
    head: &mut ResponseHead,
) -> Result<Progress<()>, ResponseFault> {
    let Some(range) = scanner.advance(buf, Start::Response, limits)? else {
        return Ok(Progress::Incomplete);
    };
    let consumed = range.end;
    head.read(&buf[range], head_request)?;
    Ok(Progress::Complete {
        value: (),
        consumed,
    })
}

/// Reads one response head from the start of `buf`, from scratch.
pub fn parse_response(
    buf: &[u8],
    head_request: bool,
    limits: &HeadLimits,
) -> Result<Progress<ResponseHead>, ResponseFault> {
    let mut head = ResponseHead::default();
    let mut scanner = HeadScanner::default();
    Ok(
        match parse_response_into(&mut scanner, buf, head_request, limits, &mut head)? {
            Progress::Incomplete => Progress::Incomplete,
            Progress::Complete { consumed, .. } => Progress::Complete {
                value: head,
                consumed,
            },
        },
    )
}

// === impl ResponseHead ===

impl Default for ResponseHead {
    fn default() -> Self {
        Self {
            status: 200,
            version: Version::Http11,
            fields: Fields::default(),
            framing: ResponseFraming::None,
            declared_length: None,
            keep_alive: false,
            interim: false,
        }
    }
}

impl ResponseHead {
    fn read(&mut self, bytes: &[u8], head_request: bool) -> Result<(), ResponseFault> {
        let mut table = [const { MaybeUninit::uninit() }; FIELDS_MAX];
        let mut tokens = httparse::Response::new(&mut []);
        match httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut tokens,
            bytes,
            &mut table,
        ) {
            Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
            Ok(_) => return Err(STATUS_LINE_MALFORMED),
            Err(error) => return Err(diagnose(error)),
        }
        let (Some(minor), Some(status)) = (tokens.version, tokens.code) else {
            return Err(STATUS_LINE_MALFORMED);
        };
        match status {
            101 => return Err(SWITCHING_PROTOCOLS),
            100..=599 => self.status = status,
            _ => return Err(STATUS_OUT_OF_RANGE),
        }
        self.version = if minor == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        self.interim = status < 200;
        let notable = self.fields.load(bytes, tokens.headers)?;
        self.frame(&notable, head_request)
    }

    /// Sets framing and persistence (RFC 9112 §6.3, §9.3).
    fn frame(&mut self, notable: &Notable, head_request: bool) -> Result<(), ResponseFault> {
        let declared = framing::declared(self.version, &self.fields, notable)?;
        self.declared_length = match declared {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked => None,
        };
        // 1xx and 204 must not declare a body at all (RFC 9110 §8.6, RFC 9112 §6.1). A length of
        // zero is common and harmless; anything else means that bytes follow which nobody frames.
        let empty_by_status = self.interim || self.status == 204;
        if empty_by_status && !matches!(declared, Framing::None | Framing::Length(0)) {
            return Err(BODY_WHERE_NONE_MAY_BE);
        }
        self.framing = match declared {
            _ if empty_by_status || self.status == 304 || head_request => ResponseFraming::None,
            Framing::None => ResponseFraming::UntilClose,
            Framing::Length(length) => ResponseFraming::Length(length),
            Framing::Chunked => ResponseFraming::Chunked,
        };
        self.keep_alive = notable.connection.persists(self.version)
            && self.framing != ResponseFraming::UntilClose;
        Ok(())
    }
}

const STATUS_LINE_MALFORMED: ResponseFault = ResponseFault::new(
    "status_line_malformed",
    "The upstream's status line is not HTTP/1.x, a space and three digits (RFC 9112 §4).",
);
const STATUS_OUT_OF_RANGE: ResponseFault = ResponseFault::new(
    "status_out_of_range",
    "The upstream's status is not within 100 to 599.",
);
const SWITCHING_PROTOCOLS: ResponseFault = ResponseFault::new(
    "switching_protocols",
    "The upstream switched protocols although no upgrade was asked for.",
);
const BODY_WHERE_NONE_MAY_BE: ResponseFault = ResponseFault::new(
    "body_where_none_may_be",
    "The upstream declared a body on a status that has none (RFC 9110 §8.6).",
);

fn diagnose(error: httparse::Error) -> ResponseFault {
    match error {
        httparse::Error::HeaderName => ResponseFault::new(
            "field_name_invalid",
            "The upstream sent a field line without a proper name and colon, or a folded line.",
        ),
        httparse::Error::HeaderValue => ResponseFault::new(
            "field_value_invalid",
            "The upstream sent a field value with control characters or bare line ends.",
        ),
        httparse::Error::TooManyHeaders => ResponseFault::new(
            "too_many_fields",
            "The upstream sent more fields than allowed.",
        ),
        httparse::Error::Version => ResponseFault::new(
            "http_version_unsupported",
            "The upstream does not answer in HTTP/1.0 or HTTP/1.1.",
        ),
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
            STATUS_LINE_MALFORMED
        }
    }
}

impl From<Flaw> for ResponseFault {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::FirstByte(_) | Flaw::EmptyLines => {
                Self::new("not_http", "The upstream's bytes are no HTTP/1.x response.")
            }
            Flaw::LineTooLong => Self::new(
                "status_line_too_long",
                "The upstream's status line is too long.",
            ),
            Flaw::HeadTooLong => Self::new(
                "head_too_large",
                "The upstream's header section is too large.",
            ),
            Flaw::TooManyFields => Self::new(
                "too_many_fields",
                "The upstream sent more fields than allowed.",
            ),
            Flaw::BareLf => Self::new("bare_lf", "The upstream ended a line without CR."),
        }
    }
}
