//! One recorder for one folder: an advisory lock on a file in it, which also tells a reader that
//! the log is being written right now.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

/// Name of the file.
const FILE_NAME: &str = "recorder.lock";
/// A reader that asks holds the lock for a moment; a recorder that starts then waits this long.
const WAIT: Duration = Duration::from_secs(2);

/// Held for as long as this lives, also after a crash of the process no longer.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File); // closing the file releases the lock

// === impl Lock ===

impl Lock {
    /// Takes the folder, or fails with `WouldBlock` when another recorder has it.
    pub fn take(dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .mode(0o640)
            .open(dir.join(FILE_NAME))?;
        let until = Instant::now() + WAIT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whether a recorder has the folder.
pub fn is_held(dir: &Path) -> io::Result<bool> {
    let file = match File::open(dir.join(FILE_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
