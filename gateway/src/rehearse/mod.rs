//! Calls without a network: what would become of a request and its answer, and why.
//!
//! Nothing is decided here. A rehearsed call goes through [`crate::exchange`] as a real one does,
//! on a core without sockets, whose tap keeps what a recorder would have got. Only the token is not
//! verified: the caller is whoever the asking says. [`explain`] tells about one call, [`diff`]
//! about those of a log.

mod caller;
pub mod diff;
pub mod explain;
mod message;

use std::rc::Rc;
use std::sync::Arc;

use penstock_policies::{Direction, Finding};
use penstock_recorder::frame::{Close, Decision, Frame, FrameBody, Open};

use crate::exchange::{Abort, Admitted, Answer, Answering, Core, Inspected, Node, Peer, admit_as};
use crate::http1::{Persistence, RequestHead, ResponseHead, Version};
use crate::identity::{Authenticator, IdentityShared, Principal};
use crate::tap::Tap;
use crate::telemetry::Counters;

/// A gateway on which calls are rehearsed, one after another.
struct Stage {
    core: Rc<Core>,
}

/// A request.
struct Request {
    head: RequestHead,
    body: Vec<u8>,
}

/// An engine's answer, in the pieces in which it came.
struct Response {
    head: ResponseHead,
    pieces: Vec<Vec<u8>>,
}

/// What became of a call.
struct Ending {
    /// The gateway's own answer, where it gave one: status, code, message, body.
    refusal: Option<Refusal>,
    /// Everything that a recorder would have got.
    frames: Vec<Frame>,
    /// What guards found, in the order in which it was found.
    findings: Vec<(Direction, Finding)>,
    /// Who would have to approve it, and why; none where it would not be held.
    held: Option<String>,
    /// The request as the model would get it; none when it would not.
    forwarded: bool,
    /// The answer broke off where it could not go on.
    cut: bool,
}

/// What becomes of a call that would be held: nobody is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenHeld {
    /// It ends, and says so.
    Ends,
    /// It goes on, as if people had said yes.
    GoesOn,
}

/// How far a call came.
#[derive(Default)]
struct Way {
    answer: Option<Answer>,
    held: Option<String>,
    forwarded: bool,
    cut: bool,
}

/// An answer of the gateway's own.
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
    body: Vec<u8>,
}

// === impl Stage ===

impl Stage {
    fn new(node: Arc<Node>) -> Result<Self, String> {
        let shared = IdentityShared::new(Vec::new(), None)
            .map_err(|errors| crate::run::lines(errors.iter().map(ToString::to_string)))?;
        let counters = Counters::new(1).core(0);
        let tap = Tap::keeping(counters.clone());
        let authenticator = Authenticator::new(shared, 1);
        Ok(Self {
            core: Core::new(node, 0, authenticator, tap, counters),
        })
    }

    /// Rehearses a call to its end, or to where it would go to the model if there is no answer.
    fn play(
        &self,
        caller: &Rc<Principal>,
        request: Request,
        response: Option<Response>,
        when_held: WhenHeld,
    ) -> Ending {
        let head = request.head.clone();
        let way = match admit_as(&self.core, &head, Peer::Unix, caller) {
            Err(refused) => Way::ended(refused.answer),
            Ok(admitted) => self.forward(admitted, request, response, when_held),
        };
        let (frames, findings) = self.core.tap.take_kept();
        Ending {
            refusal: way.answer.map(Refusal::from),
            frames,
            findings,
            held: way.held,
            forwarded: way.forwarded,
            cut: way.cut,
        }
    }

    fn forward(
        &self,
        admitted: Admitted,
        request: Request,
        response: Option<Response>,
        when_held: WhenHeld,
    ) -> Way {
        let Request { head, body } = request;
        if body.len() > admitted.body_max {
            return Way::ended(admitted.too_large());
        }
        let begun = admitted.begin(&head, body);
        let (held, went_on) = match begun.and_then(|begun| begun.inspect(&head)) {
            Ok(Inspected::Forwarded(forwarded, request)) => (None, Ok((forwarded, request))),
            Ok(Inspected::Held(held)) => {
                let asked = Some(held.asked());
                match when_held {
                    WhenHeld::Ends => (asked, Err(held.rehearsed())),
                    WhenHeld::GoesOn => (asked, held.release(&[], &head)),
                }
            }
            Err(answer) => (None, Err(answer)),
        };
        let (mut way, forwarded) = match went_on {
            Ok((forwarded, _)) => (Way::default(), forwarded),
            Err(answer) => {
                let way = Way::ended(answer);
                return Way { held, ..way };
            }
        };
        (way.held, way.forwarded) = (held, true);
        let Some(Response { head, pieces }) = response else {
            return way;
        };
        match forwarded.answer(head, Version::Http11, Persistence::Close) {
            Ok(answering) => (way.answer, way.cut) = relay(answering, &pieces),
            Err(answer) => way.answer = Some(answer),
        }
        way
    }
}

// === impl Way ===

impl Way {
    /// Before the model.
    fn ended(answer: Answer) -> Self {
        Self {
            answer: Some(answer),
            ..Self::default()
        }
    }
}

/// Lets the pieces of an answer pass; the answer that takes its place, and whether it was cut.
fn relay(mut answering: Answering, pieces: &[Vec<u8>]) -> (Option<Answer>, bool) {
    let mut out = Vec::new();
    answering.start(&mut out);
    let mut pieces = pieces.iter();
    let passed = pieces
        .try_for_each(|piece| answering.data(piece, &mut out))
        .and_then(|()| answering.end(&mut out));
    match passed {
        Ok(()) => {
            answering.complete();
            (None, false)
        }
        Err(Abort::Answer(answer)) => (Some(*answer), false),
        Err(Abort::Ended | Abort::Cut) => (None, true),
    }
}

// === impl Ending ===

impl Ending {
    fn bodies(&self) -> impl Iterator<Item = &FrameBody> {
        self.frames.iter().map(|frame| &frame.body)
    }

    fn open(&self) -> Option<&Open> {
        self.bodies().find_map(|body| match body {
            FrameBody::Open(open) => Some(open),
            _ => None,
        })
    }

    fn close(&self) -> Option<&Close> {
        self.bodies().find_map(|body| match body {
            FrameBody::Close(close) => Some(close),
            _ => None,
        })
    }

    fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.bodies().filter_map(|body| match body {
            FrameBody::Decision(decision) => Some(decision),
            _ => None,
        })
    }

    /// The request's body as the model would get it.
    fn request_body(&self) -> Vec<u8> {
        let pieces = self.bodies().filter_map(|body| match body {
            FrameBody::RequestBody(piece) => Some(piece.bytes.as_slice()),
            _ => None,
        });
        pieces.flatten().copied().collect()
    }

    /// The answer's body as the caller would get it, the gateway's own included.
    fn response_body(&self) -> Vec<u8> {
        let pieces = self.bodies().filter_map(|body| match body {
            FrameBody::ResponseChunk(chunk) => Some(chunk.bytes.as_slice()),
            _ => None,
        });
        pieces.flatten().copied().collect()
    }

    /// Stopped, by an answer of the gateway's own or in the middle of the model's.
    fn is_stopped(&self) -> bool {
        self.refusal.is_some() || self.cut
    }

    /// The code under which it was stopped.
    fn code(&self) -> Option<&str> {
        let refused = self.refusal.as_ref().map(|refusal| refusal.code);
        let closed = self.close().and_then(|close| close.error_code.as_deref());
        refused.or(closed).filter(|_| self.is_stopped())
    }
}

// === impl Refusal ===

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Self {
        Self {
            status: answer.status,
            code: answer.code,
            message: answer.message,
            body: answer.body,
        }
    }
}
