//! What the client may have of a response.
//!
//! A filter takes the upstream's bytes as they come and appends to `out` those that may be sent.
//! The response's own media type decides how it is read, never the request's `stream` flag:
//!
//! | media type | reading |
//! | --- | --- |
//! | `text/event-stream` | event by event; each text channel is masked as it streams |
//! | `application/x-ndjson` and kin | line by line, likewise |
//! | `application/json`, `*+json`, none | whole, at [`ResponseFilter::finish`] |
//! | `text/plain`; `text/html` of an error | whole, as one text |
//! | anything else | refused |
//!
//! Where no guard looks at the caller's responses the filter passes every byte through untouched,
//! whatever its type.
//!
//! What this does not see: a value cut in two over two strings of a body, or over two events in a
//! field that is no known text; see `shape` for those that are.
//! The first piece of a tool's name is sent before it is known whether another follows, so of a
//! match that is cut over a name's pieces the first piece is seen, and nothing more. A number is
//! read by its first eight digits or more: one written with an exponent or below one is not.
//!
//! An upstream that breaks off is the gateway's to report: it then drops the filter without calling
//! `finish`, and what was held back is never released.

mod alike;
mod channels;
mod clean;
mod error;
mod error_body;
mod event;
mod judge;
mod logprobs;
mod media;
mod shape;
mod sse;
mod stencil;
mod stream;
mod synth;
#[cfg(test)]
mod tests;
mod whole;

pub use channels::CHANNELS_MAX;
pub use error::{FilterError, ResponseRefusal};
pub use error_body::{error_body, error_event};
pub use sse::EVENT_BYTES_MAX;

use crate::policy::{PolicySet, Scope};
use crate::profile::Route;
use crate::verdict::{Finding, Findings};
use media::Reading;
use stream::Stream;
use whole::Whole;

/// Most bytes of a response that is read whole, unless the gateway sets another bound.
pub const RESPONSE_BYTES_MAX: usize = 32 << 20;

/// Filters one response.
#[derive(Debug)]
pub struct ResponseFilter {
    mode: Mode,
    findings: Findings,
    /// The first error stays: nothing passes after it.
    failed: Option<FilterError>,
}

#[derive(Debug)]
enum Mode {
    Through,
    Whole(Box<Whole>),
    Stream(Box<Stream>),
}

// === impl PolicySet ===

impl PolicySet {
    /// A filter for one response, by its status and media type.
    pub fn response_filter(
        &self,
        scope: &Scope,
        route: &Route,
        status: u16,
        content_type: Option<&str>,
    ) -> Result<ResponseFilter, ResponseRefusal> {
        let scope = &scope.for_answers_of(route.operation);
        let mode = if !scope.guards_response() {
            Mode::Through
        } else {
            match media::reading(status, content_type)? {
                Reading::Json => Mode::Whole(Box::new(Whole::json(scope.clone()))),
                Reading::Text => Mode::Whole(Box::new(Whole::text(scope.clone()))),
                Reading::Events => Mode::Stream(Box::new(Stream::events(scope.clone()))),
                Reading::Lines => Mode::Stream(Box::new(Stream::lines(scope.clone()))),
            }
        };
        Ok(ResponseFilter {
            mode,
            findings: Findings::default(),
            failed: None,
        })
    }
}

// === impl ResponseFilter ===

impl ResponseFilter {
    /// Sets the bound on a response that is read whole; [`RESPONSE_BYTES_MAX`] otherwise.
    pub fn with_max_body(mut self, bytes: usize) -> ResponseFilter {
        if let Mode::Whole(whole) = &mut self.mode {
            whole.set_bytes_max(bytes);
        }
        self
    }

    /// Takes the next bytes from the upstream. After an error nothing more may be sent.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.run(|mode, findings| match mode {
            Mode::Through => {
                out.extend_from_slice(input);
                Ok(())
            }
            Mode::Whole(whole) => whole.push(input),
            Mode::Stream(stream) => stream.push(input, findings, out),
        })
    }

    /// The upstream ended the response properly: everything still held or buffered is decided.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.run(|mode, findings| match mode {
            Mode::Through => Ok(()),
            Mode::Whole(whole) => whole.finish(findings, out),
            Mode::Stream(stream) => stream.finish(findings, out),
        })
    }

    /// The time bound of held text was reached: it is masked now, never released as it is.
    pub fn expire(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.run(|mode, findings| match mode {
            Mode::Through | Mode::Whole(_) => Ok(()),
            Mode::Stream(stream) => stream.expire(findings, out),
        })
    }

    /// Bytes of text held back because they may become a match.
    pub fn held_bytes(&self) -> usize {
        match &self.mode {
            Mode::Through | Mode::Whole(_) => 0,
            Mode::Stream(stream) => stream.held_bytes(),
        }
    }

    /// Bytes of text that have been let out or replaced: while this stands still and something is
    /// held, it is the same text that is held.
    pub fn released_bytes(&self) -> usize {
        match &self.mode {
            Mode::Through | Mode::Whole(_) => 0,
            Mode::Stream(stream) => stream.released_bytes(),
        }
    }

    /// The findings since the last call.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.findings.take()
    }

    /// Whether bytes come out as they go in; otherwise they come at `finish`, and only then is the
    /// length known.
    pub fn streams(&self) -> bool {
        !matches!(self.mode, Mode::Whole(_))
    }

    /// Whether no guard looks: bytes and length are the upstream's own.
    pub fn passes_through(&self) -> bool {
        matches!(self.mode, Mode::Through)
    }

    fn run(
        &mut self,
        step: impl FnOnce(&mut Mode, &mut Findings) -> Result<(), FilterError>,
    ) -> Result<(), FilterError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = step(&mut self.mode, &mut self.findings);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }
}
