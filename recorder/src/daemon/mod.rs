//! The recorder process: takes rings over, drains them, writes the log.
//!
//! Three kinds of thread, each with one duty:
//! - the *writer* (this one, on glommio) drains the rings, encodes, writes and syncs, and alone
//!   moves the rings' heads: `writer`, over `store` (segments) and `books` (what is written)
//! - the *doorman* waits for everything that can happen outside (a gateway connects or goes away, a
//!   bell rings, a signal comes) and wakes the writer: `doorman`
//! - a *greeter* for each hand-over that is in progress, because it waits for a peer
//!
//! A frame is let go of in the ring only after it is in the segment and the segment is synced.
//! Whatever happens to this process, a frame is therefore in the log, or in the ring, or in both;
//! which of them, the ring position beside each record tells, so that nothing is written twice.
//!
//! While the disk takes nothing (full, say) no frame is let go of either: the writer tries again and
//! again, a gateway sees its rings fill up and acts as it was told to for that case, and once there
//! is room the log goes on without a hole.

mod books;
mod config;
mod doorman;
mod files;
mod guests;
mod notify;
mod probe;
mod recover;
mod socket;
mod store;
mod writer;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::config::{Config, ConfigError};

use self::notify::Notify;
use crate::lock::Lock;

/// Permissions of a folder that had to be made: what was said is not for everybody.
const DIRECTORY_MODE: u32 = 0o750;
/// Memory for glommio's registered buffers: small, because every lockable byte is counted against
/// the user, and buffers beyond it are simply not registered.
const IO_MEMORY_BYTES: usize = 2 << 20;

/// Why the recorder does not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// io_uring is not to be had.
    #[error("{0}")]
    NoUring(String),
    /// Another recorder has the folder.
    #[error("another recorder writes to {}; one folder has one recorder", .0.display())]
    Locked(PathBuf),
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Whether the machine lets the recorder run; the text says why not, and what to do.
pub fn probe() -> Result<(), String> {
    probe::uring()
}

/// Runs until a signal (SIGTERM or SIGINT) comes, then drains, syncs and returns.
pub fn run(config: &Config, ready_file: Option<&Path>) -> Result<(), RunError> {
    // glommio would end the process without a word that an operator understands.
    probe::uring().map_err(RunError::NoUring)?;
    let directory = &config.directory;
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(|source| io(format!("cannot make {}", directory.display()), source))?;
    let lock = Lock::take(directory).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => RunError::Locked(directory.clone()),
        _ => io(format!("cannot lock {}", directory.display()), source),
    })?;
    let notify = Arc::new(Notify::default());
    let door = doorman::open(config, Arc::clone(&notify))?;
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .name("recorder")
        .io_memory(IO_MEMORY_BYTES)
        .make()
        .map_err(|error| io("cannot start the executor".to_owned(), error.into()))?;
    let result = executor.run(writer::write(config, door, notify, ready_file));
    drop(lock);
    result
}

fn io(what: String, source: std::io::Error) -> RunError {
    RunError::Io { what, source }
}
