//! The record of what was said: frames, the ring they travel in, and the log they end up in.
//!
//! The gateway is the producer: it builds [`frame::Frame`]s, pushes them into one [`ring`] per
//! core, and hands the rings to the recorder process over a Unix socket ([`link`]). The recorder
//! drains the rings into segments ([`segment`], drawn in `FORMAT.md`), a hash-chained log that
//! [`log`] reads back and `penstock-recorder verify` checks.
//!
//! This crate knows nothing of HTTP and nothing of policies: it carries what it is given and can
//! prove afterwards that nobody changed it.
#![deny(unsafe_code)]

#[cfg(not(loom))]
pub mod daemon;
pub mod frame;
#[cfg(not(loom))]
pub mod hgrm;
#[cfg(not(loom))]
pub mod link;
#[cfg(not(loom))]
pub mod lock;
#[cfg(not(loom))]
pub mod log;
pub mod ring;
#[cfg(not(loom))]
pub mod segment;
pub mod unread;
