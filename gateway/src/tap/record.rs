//! One exchange's record, frame by frame, in the order in which things happened.

use penstock_policies::{Direction, Finding};
use penstock_recorder::frame::{
    Approval, Close, ControlRun, ControlState, Decision, Frame, FrameBody, Outcome,
    PIECE_BYTES_MAX, RequestBody, ResponseChunk, ResponseHead, SessionId, Timings,
};

use super::Tap;

pub use penstock_recorder::frame::Open;

/// What a record keeps of a model's name and of a media type, which others choose: a frame must
/// always fit the ring.
const MODEL_BYTES_MAX: usize = 256;
const MEDIA_BYTES_MAX: usize = 256;

/// The beginning of a text that somebody else chose.
pub(crate) fn clip(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

/// Numbers the frames of one session and remembers what its close must tell.
pub struct Record {
    session: SessionId,
    index: u32,
    state: State,
    opened_unix_ns: u64,
    controls: Vec<ControlRun>,
    timings: Timings,
    request_bytes: u64,
    response_bytes: u64,
    lost: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Open,
    Closed,
}

/// A moment of the exchange that its close tells in nanoseconds since the opening.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    Inspected,
    Forwarded,
    FirstByte,
    LastByte,
}

// === impl Record ===

impl Record {
    /// A session that has not opened yet.
    pub fn new(session: SessionId, now_unix_ns: u64) -> Self {
        Self {
            session,
            index: 0,
            state: State::Fresh,
            opened_unix_ns: now_unix_ns,
            controls: Vec::new(),
            timings: Timings::default(),
            request_bytes: 0,
            response_bytes: 0,
            lost: false,
        }
    }

    fn put(&mut self, tap: &Tap, at_unix_ns: u64, body: FrameBody) {
        let kept = tap.record(Frame {
            session: self.session,
            index: self.index,
            at_unix_ns,
            body,
        });
        self.lost |= !kept;
        self.index += 1;
    }

    /// Whether a frame of this session found no room and was counted as lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.lost
    }

    /// Who calls and what they want; once, before anything else.
    pub(crate) fn open(&mut self, tap: &Tap, open: Open) {
        debug_assert!(self.state == State::Fresh);
        self.state = State::Open;
        self.put(tap, self.opened_unix_ns, FrameBody::Open(open));
    }

    /// True before [`Record::open`].
    pub(crate) fn is_fresh(&self) -> bool {
        self.state == State::Fresh
    }

    /// The body as the model will see it, cut in pieces.
    pub(crate) fn request_body(&mut self, tap: &Tap, at: u64, media: &str, body: &[u8]) {
        self.request_bytes = body.len() as u64;
        let mut offset = 0;
        loop {
            let piece = &body[offset..body.len().min(offset + PIECE_BYTES_MAX)];
            let last = offset + piece.len() == body.len();
            let frame = RequestBody {
                offset: offset as u64,
                last,
                media: clip(media, MEDIA_BYTES_MAX),
                bytes: piece.to_vec(),
            };
            self.put(tap, at, FrameBody::RequestBody(frame));
            offset += piece.len();
            if last {
                break;
            }
        }
    }

    /// What guards found; the rule and the place, never the value.
    pub(crate) fn findings(&mut self, tap: &Tap, at: u64, way: Direction, findings: &[Finding]) {
        if findings.is_empty() {
            return;
        }
        tap.keep_findings(way, findings);
        for finding in findings {
            let decision = Decision {
                guard: finding.guard.to_string(),
                rule: finding.rule.to_string(),
                action: finding.verdict().to_owned(),
                direction: way.as_str().to_owned(),
                location: finding.location.clone(),
                start: finding.start as u64,
                end: finding.end as u64,
            };
            self.put(tap, at, FrameBody::Decision(decision));
        }
    }

    /// Something has happened to the approval that this session waits for or goes on by.
    pub(crate) fn approval(&mut self, tap: &Tap, at: u64, approval: Approval) {
        self.put(tap, at, FrameBody::Approval(approval));
    }

    /// A control ran, or was skipped because nothing asked for it.
    pub(crate) fn control(&mut self, name: &str, ran: bool) {
        let state = if ran {
            ControlState::Ran
        } else {
            ControlState::Skipped
        };
        self.controls.push(ControlRun {
            name: name.to_owned(),
            state,
        });
    }

    /// The head of the answer as the client gets it.
    pub(crate) fn response_head(
        &mut self,
        tap: &Tap,
        at: u64,
        status: u16,
        media: &str,
        upstream_status: u16,
    ) {
        let head = ResponseHead {
            status,
            media: clip(media, MEDIA_BYTES_MAX),
            upstream_status,
        };
        self.put(tap, at, FrameBody::ResponseHead(head));
    }

    /// A piece of the answer as the client gets it.
    pub(crate) fn response_chunk(&mut self, tap: &Tap, at: u64, bytes: &[u8]) {
        self.response_bytes += bytes.len() as u64;
        for piece in bytes.chunks(PIECE_BYTES_MAX) {
            let chunk = ResponseChunk {
                bytes: piece.to_vec(),
            };
            self.put(tap, at, FrameBody::ResponseChunk(chunk));
        }
    }

    /// Notes when something happened.
    pub(crate) fn moment(&mut self, moment: Moment, now_unix_ns: u64) {
        let since = now_unix_ns.saturating_sub(self.opened_unix_ns);
        match moment {
            Moment::Inspected => self.timings.inspected = since,
            Moment::Forwarded => self.timings.forwarded = since,
            Moment::FirstByte => self.timings.first_byte = since,
            Moment::LastByte => self.timings.last_byte = since,
        }
    }

    /// When what happened.
    pub(crate) fn timings(&self) -> Timings {
        self.timings
    }

    /// Text was held back for so long.
    pub(crate) fn held(&mut self, nanoseconds: u64) {
        self.timings.held_max = self.timings.held_max.max(nanoseconds);
    }

    /// The end; a second call does nothing.
    pub(crate) fn close(&mut self, tap: &Tap, at: u64, end: End<'_>) {
        if self.state != State::Open {
            return;
        }
        self.state = State::Closed;
        let close = Close {
            status: end.status,
            outcome: end.outcome,
            error_code: end.code.map(str::to_owned),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            model: end.model.map(|model| clip(model, MODEL_BYTES_MAX)),
            timings: self.timings,
            controls: std::mem::take(&mut self.controls),
        };
        self.put(tap, at, FrameBody::Close(close));
    }
}

/// How an exchange ended, for its close.
pub(crate) struct End<'a> {
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) code: Option<&'a str>,
    pub(crate) model: Option<&'a str>,
}
