//! The gateway's data plane and its control thread. The binary is a command line over this library.
//!
//! One pinned thread per core runs [`shell`]; protocol code ([`http1`]) and the life of a call
//! ([`exchange`]) are sans-I/O: bytes and time in, events and bytes out.

pub mod approvals;
pub mod check;
pub mod client;
mod clock;
pub mod config;
pub mod control;
pub mod cutoff;
pub mod exchange;
pub mod http1;
pub mod identity;
pub mod notify;
pub mod rehearse;
pub mod reload;
pub mod run;
pub mod scan;
pub mod shell;
pub mod tap;
pub mod telemetry;
pub mod tokens;
pub mod upstream;
