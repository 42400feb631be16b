//! Telling people that something waits for them: what is told, how it looks in each medium, how it is
//! signed, and when it is tried again. Without I/O; [`crate::control`] keeps and sends it.
//!
//! | file | is |
//! | --- | --- |
//! | [`notice`] | what is told, in plain texts |
//! | [`section`] | `[[notify]]` as an operator writes it |
//! | [`receiver`] | who is told, where, and how |
//! | [`words`] | a notice in words and as data |
//! | [`webhook`], [`slack`], [`teams`], [`ticket`] | a notice in each medium, escaped for it |
//! | [`signature`] | signatures of messages, ours and Slack's |
//! | [`schedule`] | when a notice is tried again, and when it is given up |

mod message;
mod notice;
mod receiver;
mod schedule;
mod section;
mod signature;
mod slack;
mod teams;
mod ticket;
mod webhook;
mod words;

pub use message::{Message, Outgoing};
pub use notice::{Caller, Event, HeldBy, Notice};
pub use receiver::{Place, Receiver, Sealed};
pub use schedule::{Answer, Line, Next, Patience};
pub use section::{Form, NotifyConfig, SlackPerson, settle_all};
pub use signature::{SLACK_AGE_MAX_S, Secrets, Seen, Unsigned, verify_slack};
pub use slack::{Pressed, answer as slack_answer, pressed as slack_pressed};
