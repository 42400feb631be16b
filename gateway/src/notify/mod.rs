//! Telling people that something waits for them: what is told, how it looks in each medium, how it is
//! signed, and when it is tried again. Without I/O; [`crate::control`] keeps and sends it.

mod notice;

pub use notice::{Caller, Event, HeldBy, Notice};
