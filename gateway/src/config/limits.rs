//! Every bound of the data path, with its default and what the caller sees past it.

use serde::Deserialize;

use super::units::{Size, Span};
use crate::http1::HEAD_MAX;

/// `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Request line → 414.
    pub request_line: Size,
    /// Request head → 431.
    pub head: Size,
    /// Header fields → 431.
    pub fields: usize,
    /// Request body, encoded or decoded → 413.
    pub body: Size,
    /// Decoded size against encoded size of a compressed body → 413.
    pub decode_ratio: usize,
    /// A response that must be inspected whole → 502.
    pub response_body: Size,
    /// From the first byte of a head to its end → 408.
    pub head_read: Span,
    /// Bytes a second below which a body is too slow, after `body_grace` → 408.
    pub body_rate: Size,
    /// How long a body may take before its rate is looked at.
    pub body_grace: Span,
    /// Between two requests on a connection; then it is closed.
    pub idle: Span,
    /// A client that does not take its answer.
    pub write_stall: Span,
    /// Connections a core serves at once → 503 with Retry-After.
    pub connections_per_core: usize,
    /// The work that may wait before a request on its core, as the processor time that it takes. A
    /// share of new requests is refused so that no more does → 503 with Retry-After. Zero: never.
    pub queue_delay: Span,
    /// Texts, of 256 bytes and more, that a core remembers to have read and to have found nothing in.
    /// Where the same caller sends one again it is not read again. Zero: every text is read.
    pub remembered_texts: usize,
    /// Upstream connect → 504.
    pub upstream_connect: Span,
    /// From the request's last byte to the response's first → 504.
    pub upstream_first_byte: Span,
    /// Between two reads of a response → abort.
    pub upstream_idle: Span,
    /// How long a pooled upstream connection may rest. Below the five seconds that uvicorn,
    /// which most engines use, keeps an idle connection: so we close first, and a request is
    /// seldom sent into a connection that the engine is just closing.
    pub upstream_keep_alive: Span,
    /// Pooled upstream connections a core keeps.
    pub upstream_pool: usize,
    /// How long masked text may be held in a stream before its tail is masked.
    pub hold: Span,
    /// How long a core waits for room in its ring before the recorder counts as lost.
    pub ring_wait: Span,
    /// How long running exchanges may go on after SIGTERM.
    pub drain: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: Size::kib(8),
            head: Size::kib(32),
            fields: 100,
            body: Size::mib(8),
            decode_ratio: 100,
            response_body: Size::mib(64),
            head_read: Span::secs(10),
            body_rate: Size(1024),
            body_grace: Span::secs(10),
            idle: Span::secs(75),
            write_stall: Span::secs(30),
            connections_per_core: 10_000,
            queue_delay: Span::ms(25),
            remembered_texts: 8192,
            upstream_connect: Span::secs(5),
            upstream_first_byte: Span::secs(300),
            upstream_idle: Span::secs(120),
            upstream_keep_alive: Span::secs(4),
            upstream_pool: 1024,
            hold: Span::secs(10),
            ring_wait: Span::secs(2),
            drain: Span::secs(30),
        }
    }
}

/// A body is inspected in memory, whole: beyond this it is a file, not a prompt.
const BODY_MAX: usize = 1 << 30;

/// 32 MiB a core.
const REMEMBERED_TEXTS_MAX: usize = 1 << 20;

/// The tokenizer's index of fields has this many places.
const FIELDS_MAX: usize = 100;

impl Limits {
    pub(super) fn validate(&self) -> Result<(), String> {
        let positive = [
            ("request_line", self.request_line.0),
            ("head", self.head.0),
            ("fields", self.fields),
            ("body", self.body.0),
            ("decode_ratio", self.decode_ratio),
            ("response_body", self.response_body.0),
            ("connections_per_core", self.connections_per_core),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("[limits] `{name}` must be more than 0"));
        }
        let spans = [
            ("head_read", self.head_read),
            ("body_grace", self.body_grace),
            ("idle", self.idle),
            ("write_stall", self.write_stall),
            ("upstream_connect", self.upstream_connect),
            ("upstream_first_byte", self.upstream_first_byte),
            ("upstream_idle", self.upstream_idle),
            ("hold", self.hold),
        ];
        if let Some((name, _)) = spans.iter().find(|(_, span)| span.0.is_zero()) {
            return Err(format!("[limits] `{name}` must be more than 0"));
        }
        if self.head.0 > HEAD_MAX {
            return Err(format!("[limits] `head` may be at most {HEAD_MAX} bytes"));
        }
        if self.body.0 > BODY_MAX || self.response_body.0 > BODY_MAX {
            return Err("[limits] `body` and `response_body` may be at most 1GiB".to_owned());
        }
        if self.fields > FIELDS_MAX {
            return Err(format!("[limits] `fields` may be at most {FIELDS_MAX}"));
        }
        if self.remembered_texts > REMEMBERED_TEXTS_MAX {
            return Err(format!(
                "[limits] `remembered_texts` may be at most {REMEMBERED_TEXTS_MAX}"
            ));
        }
        if self.request_line.0 > self.head.0 {
            return Err("[limits] `request_line` may not exceed `head`".to_owned());
        }
        Ok(())
    }
}
