//! The segment: one file of the log. `FORMAT.md` draws it byte by byte; this module is its code.
//!
//! A log is a folder of segments, numbered from one without a hole. A segment is a header and then
//! records; each record carries a hash over the one before it, and each header the last hash of the
//! segment before, so that the whole log is one chain. The pieces:
//!
//! - [`FileHeader`], [`RecordHeader`]: the fixed parts, to and from bytes
//! - [`Encoder`]: appends records to a buffer and keeps the chain; knows nothing of files
//! - [`Reader`]: walks a segment, believing nothing, and says how it ends ([`Ending`])
//! - [`verify`]: walks a whole log and says what is wrong with it
//!
//! The chain shows that something in the middle was changed, removed, added or moved. It does not
//! show that the newest records were cut off, nor a chain that someone computed anew from some
//! point on: for those it takes a checkpoint that the forger cannot sign.

mod encode;
mod format;
mod read;
mod torn;
mod verify;

#[cfg(test)]
mod tests;

pub use self::encode::{Encoder, NewRecord};
pub use self::format::{
    BODY_BYTES_MAX, FILE_HEADER_BYTES, FORMAT_VERSION, FileHeader, Kind, LogId, OpenSession,
    RECORD_HEADER_BYTES, RECORD_TRAILER_BYTES, RecordHeader, Resumed, ResumedFrom, State,
    file_name, file_number, record_bytes,
};
pub use self::read::{Damage, Ending, Part, Reader, Record};
pub use self::verify::{Problem, Report, TornTail, Trouble, verify};

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The segments of a log, by number, and the names in the folder that look like segments but are
/// none.
#[derive(Debug, Default)]
pub struct Listing {
    /// Number and path, in order.
    pub segments: Vec<(u64, PathBuf)>,
    /// Files that end like a segment but are not named like one.
    pub strangers: Vec<PathBuf>,
}

/// Lists the segments in a folder.
pub fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != format::EXTENSION)
        {
            continue;
        }
        match path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(file_number)
        {
            Some(number) => listing.segments.push((number, path)),
            None => listing.strangers.push(path),
        }
    }
    listing.segments.sort_unstable();
    listing.strangers.sort_unstable();
    Ok(listing)
}
