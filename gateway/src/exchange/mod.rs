//! The life of one call, without I/O: authenticate → authorize → inspect → forward → mask → close.
//!
//! The shell reads bytes and hands them in; it gets back bytes to send, or an [`Answer`] that ends
//! the call. Each phase is its own type, so that the compiler keeps their order: [`admit`] turns a
//! head into an [`Admitted`] exchange, [`Admitted::inspect`] turns that and its body into a
//! [`Forwarded`] one with the bytes for the upstream, and [`Forwarded::answer`] turns the
//! upstream's head into an [`Answering`] one through which the body passes. A request that policy
//! holds for people waits between the second and the third, as a [`Held`] one.
//!
//! Whatever path a call takes, its record is closed: an exchange that is dropped before its end
//! records that its client went away, or that we failed or stopped.

mod admit;
mod answer;
mod context;
mod heads;
mod hold;
mod inspect;
mod respond;
mod waiting;

pub(crate) use admit::admit_as;
pub use admit::{Admitted, Refused, admit, shed};
pub use answer::Answer;
pub use context::{Core, InForce, Node, Peer};
pub(crate) use context::{unix_ns, unix_seconds};
pub use hold::{APPROVAL_FIELD, Held};
pub use inspect::{Begun, Forwarded, Inspected, UpstreamRequest};
pub use respond::{Abort, Answering, BodyPlan};

use std::rc::Rc;

use penstock_policies::{Dialect, Direction, Finding};
use penstock_recorder::frame::Outcome;

use crate::http1::Version;
use crate::tap::{End, Record};
use crate::telemetry::Ended;

/// What every phase carries.
struct Call {
    core: Rc<Core>,
    /// The session in text: `x-request-id`, and how a person refers to this call.
    id: String,
    dialect: Dialect,
    /// The pattern of its path; empty for none that is known.
    route: &'static str,
    record: Record,
    model: Option<String>,
    /// Status that the client got, once it got one.
    status: u16,
    /// The client has the head of a stream already, in this version: whatever is said to it now is
    /// said in that stream.
    begun: Option<Version>,
    ended: bool,
}

// === impl Call ===

impl Call {
    fn end(&mut self, outcome: Outcome, code: Option<&str>) {
        self.ended = true;
        let at = context::unix_ns();
        let end = End {
            status: self.status,
            outcome,
            code,
            model: self.model.as_deref(),
        };
        self.record.close(&self.core.tap, at, end);
        self.core.tally.borrow_mut().call(&Ended {
            route: self.route,
            model: self.model.as_deref(),
            outcome,
            code,
            timings: self.record.timings(),
        });
    }

    /// What guards found goes into the record and is counted.
    fn found(&mut self, at: u64, way: Direction, findings: &[Finding]) {
        self.record.findings(&self.core.tap, at, way, findings);
        self.core.tally.borrow_mut().findings(way, findings);
    }

    /// False when a frame of this call was lost and calls may not go on without their record.
    fn is_recorded(&self) -> bool {
        self.core.tap.tolerates_loss() || !self.record.has_lost()
    }

    /// Ends the call with an answer of our own and gives the answer's bytes to the shell.
    fn refuse(&mut self, mut answer: Answer, outcome: Outcome) -> Answer {
        match self.begun {
            None => {
                answer.seal(self.dialect, &self.id);
                self.status = answer.status;
            }
            Some(version) => answer.seal_in_stream(self.dialect, &self.id, version),
        }
        let tap = &self.core.tap;
        if tap.enabled() && !self.record.is_fresh() {
            let at = context::unix_ns();
            if self.begun.is_none() {
                self.record
                    .response_head(tap, at, answer.status, "application/json", 0);
            }
            self.record.response_chunk(tap, at, &answer.body);
        }
        self.end(outcome, Some(answer.code));
        answer
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.core.counters.abandoned.bump();
            if std::thread::panicking() {
                self.end(Outcome::GatewayFailed, Some("internal_error"));
            } else if self.core.stopped.get() {
                self.end(Outcome::GatewayFailed, Some("gateway_stopped"));
            } else {
                self.end(Outcome::ClientGone, None);
            }
        }
    }
}
