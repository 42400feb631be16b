//! The one error type of this crate: a measurement that cannot be believed is not reported.

use std::io;

/// Why a measurement was given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A subject or the upstream did not start, or ended before it should.
    #[error("{name} {what}{log}")]
    Process {
        /// Which process.
        name: String,
        /// What happened to it.
        what: String,
        /// The end of what it printed, with a line break before it; empty when it said nothing.
        log: String,
    },
    /// An answer was not the one that the upstream gave.
    #[error("wrong answer on connection {connection}: {what}")]
    Answer {
        /// Index of the connection in the driver.
        connection: usize,
        /// What was wrong with it.
        what: String,
    },
    /// The subject stopped answering.
    #[error("no answer for {seconds} s ({units} units so far)")]
    Stalled {
        /// How long nothing came.
        seconds: u64,
        /// What had come before.
        units: u64,
    },
    /// Something about the machine or the installation makes the measurement impossible.
    #[error("{0}")]
    Unable(String),
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Names what was being done when the system refused it.
pub trait Doing<T> {
    /// Wraps the error with `what`.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

// === impl Doing ===

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Io {
            what: what(),
            source: error.into(),
        })
    }
}
