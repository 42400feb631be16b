//! What a record says became of an exchange, as far as policies made it so.

use penstock_recorder::frame::{Approval, Close, Decision, FrameBody, Outcome};
use penstock_recorder::log::Session;
use serde::Serialize;

/// What became of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Past {
    /// It went to the model, and nobody was asked.
    Passed,
    /// It was held, and went to the model once people had said yes.
    Approved,
    /// It was held, and did not go to the model; nothing of what it said is on record.
    Held,
    /// A guard stopped it, or its answer.
    Blocked,
    /// It was refused for something else, before anything of it was written down.
    Refused,
}

// === impl Past ===

impl Past {
    /// By the frames of the session. One that was refused a second use has the first one in its
    /// frames as well; so what counts is that it was sent on.
    pub(super) fn of(session: &Session, close: &Close) -> Self {
        let sent_on = close.timings.forwarded > 0;
        let asked = approvals(session).next().is_some()
            || close
                .controls
                .iter()
                .any(|control| control.name == "approve");
        let used = approvals(session).any(|it| it.event == "used");
        match close.outcome {
            Outcome::Blocked if sent_on => Self::Blocked,
            Outcome::Refused => Self::Refused,
            _ if asked && used && sent_on => Self::Approved,
            _ if asked => Self::Held,
            // Gateways without approvals refused what they should have held.
            Outcome::Blocked if stopping(session).all(|it| it.action == "hold") => {
                match stopping(session).next() {
                    Some(_) => Self::Held,
                    None => Self::Blocked,
                }
            }
            Outcome::Blocked => Self::Blocked,
            _ => Self::Passed,
        }
    }
}

/// What guards decided.
pub(super) fn decisions(session: &Session) -> impl Iterator<Item = &Decision> {
    session.bodies().filter_map(|body| match body {
        FrameBody::Decision(decision) => Some(decision),
        _ => None,
    })
}

/// Decisions that keep a message from passing by itself.
pub(super) fn stopping(session: &Session) -> impl Iterator<Item = &Decision> {
    decisions(session).filter(|it| matches!(it.action.as_str(), "block" | "hold"))
}

/// What is on record of approvals.
pub(super) fn approvals(session: &Session) -> impl Iterator<Item = &Approval> {
    session.bodies().filter_map(|body| match body {
        FrameBody::Approval(approval) => Some(approval),
        _ => None,
    })
}
