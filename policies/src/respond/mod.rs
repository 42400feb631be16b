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
//! Where no guard acts on the caller's responses the filter passes every byte through untouched,
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

use std::cell::RefCell;

use crate::inspect::Scratch;
use crate::mask::Vault;
use crate::policy::{PolicySet, Scope};
use crate::profile::Route;
use crate::text::Parser;
use crate::verdict::{Finding, Findings};
use judge::Work;
use media::Reading;
use stream::Stream;
use whole::Whole;

/// Most bytes of a response that is read whole, unless the gateway sets another bound.
pub const RESPONSE_BYTES_MAX: usize = 32 << 20;

/// Filters one response.
#[derive(Debug)]
pub struct ResponseFilter {
    mode: Mode,
    restore: Option<Box<Restore>>,
    observer: Option<Box<Observer>>,
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

/// The second half of a filter that puts values back: it reads what the first half gives.
#[derive(Debug)]
struct Restore {
    mode: Mode,
    /// What came of the first half: of the last call if this streams, of all if it does not.
    masked: Vec<u8>,
    /// Nothing is looked for here, so nothing is found.
    findings: Findings,
}

/// What only observes reads the same bytes beside the filter, as if it acted; what it would send is
/// dropped. So nothing of the answer changes or waits, and what is found is what would be found.
#[derive(Debug)]
struct Observer {
    /// None once it would have ended the answer.
    mode: Option<Mode>,
    findings: Findings,
    dropped: Vec<u8>,
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
            Mode::new(
                media::reading(status, content_type)?,
                Work::Guard(scope.clone()),
            )
        };
        let observer = scope.observes_response().then(|| {
            let reading = media::reading(status, content_type);
            Box::new(Observer::new(reading, scope))
        });
        Ok(ResponseFilter {
            mode,
            restore: None,
            observer,
            findings: Findings::default(),
            failed: None,
        })
    }
}

// === impl ResponseFilter ===

impl ResponseFilter {
    /// Sets the bound on a response that is read whole; [`RESPONSE_BYTES_MAX`] otherwise.
    pub fn with_max_body(mut self, bytes: usize) -> ResponseFilter {
        let restore = self.restore.as_mut().map(|restore| &mut restore.mode);
        let observer = self.observer.as_mut();
        let observer = observer.and_then(|observer| observer.mode.as_mut());
        for mode in [Some(&mut self.mode), restore, observer]
            .into_iter()
            .flatten()
        {
            if let Mode::Whole(whole) = mode {
                whole.set_bytes_max(bytes);
            }
        }
        self
    }

    /// Puts back what this exchange's request had masked; see
    /// [`RequestVerdict::vault`](crate::RequestVerdict::vault). Guards look at the answer before
    /// that, so what is put back is neither found nor masked. Where the media type has no reader,
    /// nothing is put back.
    pub fn restoring(
        mut self,
        vault: Vault,
        status: u16,
        content_type: Option<&str>,
    ) -> ResponseFilter {
        let reading = media::reading(status, content_type);
        if let (false, Ok(reading)) = (vault.is_empty(), reading) {
            self.restore = Some(Box::new(Restore {
                mode: Mode::new(reading, Work::Restore(vault)),
                masked: Vec::new(),
                findings: Findings::default(),
            }));
        }
        self
    }

    /// Whether values are put back. Then [`ResponseFilter::masked`] is what may be written down.
    pub fn restores(&self) -> bool {
        self.restore.is_some()
    }

    /// Where values are put back: the answer without them, which is what may be written down. Of
    /// the last call if the filter streams, of the whole answer after `finish` if it does not.
    pub fn masked(&self) -> Option<&[u8]> {
        self.restore.as_ref().map(|restore| &*restore.masked)
    }

    /// Takes the next bytes from the upstream. After an error nothing more may be sent.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        if let Some(observer) = &mut self.observer {
            observer.step(|mode, findings, out| mode.push(input, findings, out));
        }
        self.run(
            out,
            |mode, findings, out| mode.push(input, findings, out),
            |_, _, _| Ok(()),
        )
    }

    /// The upstream ended the response properly: everything still held or buffered is decided.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        if let Some(observer) = &mut self.observer {
            observer.step(|mode, findings, out| mode.finish(None, findings, out));
        }
        self.run(
            out,
            |mode, findings, out| mode.finish(None, findings, out),
            |mode, findings, out| mode.finish(None, findings, out),
        )
    }

    /// The same with the buffers of one core, which spares making new ones for every answer.
    pub fn finish_in(
        &mut self,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        let parser = RefCell::new(&mut scratch.parser);
        let finish = |mode: &mut Mode, findings: &mut Findings, out: &mut Vec<u8>| {
            mode.finish(Some(&mut parser.borrow_mut()), findings, out)
        };
        if let Some(observer) = &mut self.observer {
            observer.step(finish);
        }
        self.run(out, finish, finish)
    }

    /// The time bound of held text was reached: it is masked now, never released as it is.
    pub fn expire(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.run(
            out,
            |mode, findings, out| mode.expire(findings, out),
            |mode, findings, out| mode.expire(findings, out),
        )
    }

    /// Bytes of text held back because they may become a match.
    pub fn held_bytes(&self) -> usize {
        self.modes().map(Mode::held_bytes).sum()
    }

    /// Bytes of text that have been let out or replaced: while this stands still and something is
    /// held, it is the same text that is held.
    pub fn released_bytes(&self) -> usize {
        self.modes().map(Mode::released_bytes).sum()
    }

    /// The findings since the last call.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        let mut findings = self.findings.take();
        if let Some(observer) = &mut self.observer {
            findings.extend(observer.findings.take_observed());
        }
        findings
    }

    /// Whether something looks at the bytes without acting on them: then they have to come through
    /// here even if the filter lets them through.
    pub fn observes(&self) -> bool {
        self.observer.is_some()
    }

    /// Whether bytes come out as they go in; otherwise they come at `finish`, and only then is the
    /// length known.
    pub fn streams(&self) -> bool {
        self.modes().all(Mode::streams)
    }

    /// Whether no guard acts and nothing is put back: bytes and length are the upstream's own.
    pub fn passes_through(&self) -> bool {
        self.modes().all(|mode| matches!(mode, Mode::Through))
    }

    fn modes(&self) -> impl Iterator<Item = &Mode> {
        let restore = self.restore.iter().map(|restore| &restore.mode);
        std::iter::once(&self.mode).chain(restore)
    }

    /// One step of the first half, what comes of it through the second, and then the second's own.
    fn run(
        &mut self,
        out: &mut Vec<u8>,
        step: impl FnOnce(&mut Mode, &mut Findings, &mut Vec<u8>) -> Result<(), FilterError>,
        then: impl FnOnce(&mut Mode, &mut Findings, &mut Vec<u8>) -> Result<(), FilterError>,
    ) -> Result<(), FilterError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = match self.restore.as_deref_mut() {
            None => step(&mut self.mode, &mut self.findings, out),
            Some(Restore {
                mode,
                masked,
                findings,
            }) => {
                if mode.streams() {
                    masked.clear();
                }
                let from = masked.len();
                let stepped = step(&mut self.mode, &mut self.findings, masked);
                // What came before an error may still be sent.
                let restored = mode.push(&masked[from..], findings, out);
                stepped
                    .and(restored)
                    .and_then(|()| then(mode, findings, out))
            }
        };
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }
}

// === impl Observer ===

impl Observer {
    fn new(reading: Result<Reading, ResponseRefusal>, scope: &Scope) -> Observer {
        let mut findings = Findings::default();
        let mode = match reading {
            Ok(reading) => Some(Mode::new(reading, Work::Observe(scope.clone()))),
            Err(refusal) => {
                findings.note(refusal.code);
                None
            }
        };
        Observer {
            mode,
            findings,
            dropped: Vec::new(),
        }
    }

    /// One step as if it acted. What would have ended the answer ends the looking.
    fn step(
        &mut self,
        step: impl FnOnce(&mut Mode, &mut Findings, &mut Vec<u8>) -> Result<(), FilterError>,
    ) {
        let Some(mode) = &mut self.mode else {
            return;
        };
        self.dropped.clear();
        let Err(error) = step(mode, &mut self.findings, &mut self.dropped) else {
            return;
        };
        self.mode = None;
        // What a block found has been noted where it was found.
        if !matches!(error, FilterError::Blocked(_)) {
            self.findings.note(error.code());
        }
    }
}

// === impl Mode ===

impl Mode {
    fn new(reading: Reading, work: Work) -> Mode {
        match reading {
            Reading::Json => Mode::Whole(Box::new(Whole::json(work))),
            Reading::Text => Mode::Whole(Box::new(Whole::text(work))),
            Reading::Events => Mode::Stream(Box::new(Stream::events(work))),
            Reading::Lines => Mode::Stream(Box::new(Stream::lines(work))),
        }
    }

    fn push(
        &mut self,
        input: &[u8],
        findings: &mut Findings,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        match self {
            Mode::Through => {
                out.extend_from_slice(input);
                Ok(())
            }
            Mode::Whole(whole) => whole.push(input),
            Mode::Stream(stream) => stream.push(input, findings, out),
        }
    }

    fn finish(
        &mut self,
        parser: Option<&mut Parser>,
        findings: &mut Findings,
        out: &mut Vec<u8>,
    ) -> Result<(), FilterError> {
        match self {
            Mode::Through => Ok(()),
            Mode::Whole(whole) => whole.finish(parser, findings, out),
            Mode::Stream(stream) => stream.finish(findings, out),
        }
    }

    fn expire(&mut self, findings: &mut Findings, out: &mut Vec<u8>) -> Result<(), FilterError> {
        match self {
            Mode::Through | Mode::Whole(_) => Ok(()),
            Mode::Stream(stream) => stream.expire(findings, out),
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Mode::Through | Mode::Whole(_) => 0,
            Mode::Stream(stream) => stream.held_bytes(),
        }
    }

    fn released_bytes(&self) -> usize {
        match self {
            Mode::Through | Mode::Whole(_) => 0,
            Mode::Stream(stream) => stream.released_bytes(),
        }
    }

    fn streams(&self) -> bool {
        !matches!(self, Mode::Whole(_))
    }
}
