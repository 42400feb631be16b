//! Approvals: a person says yes or no to one held request, and nobody else's, and no other.
//!
//! A request that a policy holds becomes an [`Approval`]: who asks, for what, held by what, bound to
//! a [`Canonical`] digest of the request, its caller, the upstream and the policy version. It waits
//! for approvers until its time is over. Each hold wants so many different people of its groups
//! (quorum); one denial by any of them denies; nobody decides on what they asked for themselves;
//! who says nothing says no. An approval is used once. Where policy says so it also opens a
//! [`Window`]: the same person may pass the same hold for the same cause until a time.
//!
//! Everything here is told the time and does no I/O. The state keeps approvals (`control/state`),
//! the control thread runs them (`control/approvals`), and cores reach it through the [`Desk`].

mod approval;
mod clock;
mod desk;
mod digest;
mod excerpt;
mod preference;

pub use approval::{
    Approval, Caller, DecideError, Decision, Event, EventKind, HeldBy, Manner, Matter, Person,
    Standing, UseError, Window,
};
pub use clock::SteadyClock;
pub use desk::{
    Ask, Claim, Desk, Grant, Outcome, Refusal, Rules, Ticket, Unavailable, Waiting, Wanted,
};
pub use digest::Canonical;
pub(crate) use excerpt::text_at;
pub use excerpt::{Excerpt, Show, excerpt, excerpts};
pub use preference::Preference;
