//! Reading answers, without a socket: HTTP framing, server-sent events, and what their JSON means.
//!
//! Three layers, each of which takes its input cut anywhere and allocates nothing once its buffers
//! have grown: [`response`] delimits the body, [`events`] cuts it into events, [`document`] finds
//! text, usage, errors and the end in one event or one whole body. [`Answer`] is the three together
//! and says at the end whether the answer was good.

pub mod document;
pub mod events;
pub mod response;

use crate::outcome::Fault;
use document::{Document, Seen};
use events::Cutter;
use response::{Body, Head, Malformed, ResponseReader};

/// Text of one answer that is kept for its hash, masks and leaks; what is longer is not looked at.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A body that is no stream and longer than this is not parsed.
const WHOLE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Told about an answer while it comes.
pub trait Watch {
    /// The head is here.
    fn head(&mut self, head: &Head);
    /// An event of a stream brought text that is not empty.
    fn text(&mut self);
}

/// One answer while it is read, and what it was in the end.
pub struct Answer {
    response: ResponseReader,
    body: Reading,
}

struct Reading {
    kind: Body,
    status: u16,
    digest: Option<[u8; 32]>,
    keep: bool,
    cutter: Cutter,
    document: Document,
    whole: Vec<u8>,
    bytes: u64,
    error_event: bool,
    ended: bool,
    malformed: bool,
    texts: u64,
    usage_out: Option<u64>,
}

/// What the answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Good, or why not.
    pub fault: Option<Fault>,
    /// The status, 0 when no head came.
    pub status: u16,
    /// The connection can be used again.
    pub keep: bool,
    /// Bytes of the body.
    pub bytes: u64,
    /// Tokens: what the usage says, else events with text.
    pub tokens: u64,
    /// The server's own word for what the text should be: its BLAKE3.
    pub digest: Option<[u8; 32]>,
}

// === impl Answer ===

impl Default for Answer {
    fn default() -> Self {
        Self {
            response: ResponseReader::default(),
            body: Reading {
                kind: Body::Other,
                status: 0,
                digest: None,
                keep: false,
                cutter: Cutter::default(),
                document: Document::default(),
                whole: Vec::new(),
                bytes: 0,
                error_event: false,
                ended: false,
                malformed: false,
                texts: 0,
                usage_out: None,
            },
        }
    }
}

impl Answer {
    /// Starts over for the next answer, keeping buffers.
    pub fn reset(&mut self) {
        self.response.reset();
        let body = &mut self.body;
        body.cutter.reset();
        body.document.reset();
        body.whole.clear();
        body.kind = Body::Other;
        (body.status, body.bytes, body.texts) = (0, 0, 0);
        (body.keep, body.error_event, body.ended, body.malformed) = (false, false, false, false);
        (body.digest, body.usage_out) = (None, None);
    }

    /// Takes what was read; true when the answer is complete.
    pub fn feed(&mut self, input: &[u8], watch: &mut impl Watch) -> Result<bool, Malformed> {
        let Self { response, body } = self;
        let mut sink = Sink { body, watch };
        let done = response.feed(input, &mut sink)?;
        if done {
            sink.finish();
        }
        Ok(done)
    }

    /// The connection has ended. True when that completes the answer.
    pub fn end(&mut self, watch: &mut impl Watch) -> bool {
        let done = self.response.end();
        if done {
            let body = &mut self.body;
            Sink { body, watch }.finish();
        }
        done
    }

    /// Nothing of an answer has come yet.
    pub fn is_untouched(&self) -> bool {
        self.response.is_untouched()
    }

    /// The head has come.
    pub fn has_head(&self) -> bool {
        self.body.status > 0
    }

    /// Events with text so far.
    pub fn texts(&self) -> u64 {
        self.body.texts
    }

    /// What the model said: the answer's own text, and behind it reasoning, refusals and arguments.
    pub fn said(&self) -> (&str, &str) {
        self.body.document.said()
    }

    /// What came. Meaningful once the answer is complete, or will not be.
    pub fn summary(&self) -> Summary {
        let body = &self.body;
        let fault = if body.status == 0 {
            Some(Fault::Closed)
        } else if body.status / 100 != 2 {
            Some(Fault::Status(body.status))
        } else if body.error_event {
            Some(Fault::ErrorEvent)
        } else if body.malformed {
            Some(Fault::Malformed)
        } else if body.kind == Body::Events && !body.ended {
            Some(Fault::Truncated)
        } else {
            None
        };
        Summary {
            fault,
            status: body.status,
            keep: body.keep,
            bytes: body.bytes,
            tokens: body.usage_out.unwrap_or(body.texts),
            digest: body.digest,
        }
    }
}

/// Body and watcher together, as the response reader wants them.
struct Sink<'a, W> {
    body: &'a mut Reading,
    watch: &'a mut W,
}

impl<W: Watch> response::Sink for Sink<'_, W> {
    fn head(&mut self, head: &Head) {
        self.body.status = head.status;
        self.body.kind = head.body;
        self.body.keep = head.keep;
        self.body.digest = head.digest;
        self.watch.head(head);
    }

    fn body(&mut self, bytes: &[u8]) {
        let body = &mut *self.body;
        body.bytes += bytes.len() as u64;
        match body.kind {
            Body::Events => {
                let (cutter, document) = (&mut body.cutter, &mut body.document);
                let mut seen = Seen::default();
                let mut texts = 0;
                let fits = cutter.feed(bytes, |event| {
                    if event.data == b"[DONE]" {
                        seen.ended = true;
                        return;
                    }
                    seen.error |= event.named_error;
                    let found = document.event(event.data);
                    texts += u64::from(found.text);
                    seen.add(found);
                });
                body.note(seen);
                body.malformed |= !fits;
                for _ in 0..texts {
                    body.texts += 1;
                    self.watch.text();
                }
            }
            Body::Json if body.whole.len() + bytes.len() <= WHOLE_BYTES_MAX => {
                body.whole.extend_from_slice(bytes);
            }
            Body::Json | Body::Other => {}
        }
    }
}

impl<W: Watch> Sink<'_, W> {
    /// The body is complete: one that is no stream is read now.
    fn finish(&mut self) {
        let body = &mut *self.body;
        if body.kind == Body::Json && body.status / 100 == 2 {
            let whole = std::mem::take(&mut body.whole);
            let seen = body.document.whole(&whole);
            body.whole = whole;
            body.note(seen);
            body.texts += u64::from(seen.text);
        }
    }
}

// === impl Reading ===

impl Reading {
    fn note(&mut self, seen: Seen) {
        self.error_event |= seen.error;
        self.ended |= seen.ended;
        self.malformed |= seen.malformed;
        self.usage_out = seen.usage_out.or(self.usage_out);
    }
}

#[cfg(test)]
mod tests;
