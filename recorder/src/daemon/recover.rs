//! What a recorder finds when it starts on a folder: a log that ends well, one whose end a crash
//! tore, or none. Blocking; it runs before anything else.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use super::books::Books;
use crate::ring::FrameBuffer;
use crate::segment::{Ending, Kind, LogId, Reader, Resumed, ResumedFrom, list};

/// A segment starts with its state, behind at most this many records about a restart.
const STATE_WITHIN_RECORDS: usize = 4;

/// Where the log goes on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) books: Books,
    pub(super) log: LogId,
    /// Number of the segment to begin.
    pub(super) number: u64,
    pub(super) first_sequence: u64,
    pub(super) previous_bytes: u64,
    pub(super) previous_chain: [u8; 32],
    /// `None` for a new log.
    pub(super) resumed: Option<Resumed>,
}

/// Reads as much of the log as is needed, and cuts a torn end off.
pub(super) fn recover(dir: &Path) -> io::Result<Recovered> {
    let mut segments = list(dir)?.segments;
    // A segment that never got its header holds nothing: it was being made when the crash came.
    while let Some((_, path)) = segments.last()
        && Reader::open(path)?.ending().is_some_and(|ending| matches!(ending, Ending::Torn(_)))
    {
        tracing::warn!(file = %path.display(), "removing a segment that was never begun");
        std::fs::remove_file(path)?;
        sync_dir(dir)?;
        segments.pop();
    }
    let Some((last_number, _)) = segments.last() else { return Recovered::nothing() };
    let last_number = *last_number;

    let mut books = Books::default();
    let mut buffer = FrameBuffer::new();
    let mut log = None;
    let mut last = None;
    for (_, path) in &segments[first_needed(&segments)?..] {
        let mut reader = Reader::open(path)?;
        log = reader.header().map(|header| header.log).or(log);
        while let Some(record) = reader.next_record()? {
            books.replay(&record, &mut buffer);
        }
        last = Some(reader);
    }
    let Some(reader) = last else { return Recovered::nothing() };
    let (kept_bytes, from) = settle(&reader)?;
    Ok(Recovered {
        books,
        log: log.map_or_else(new_log_id, Ok)?,
        number: last_number + 1,
        first_sequence: reader.sequence(),
        previous_bytes: kept_bytes,
        previous_chain: reader.chain(),
        resumed: Some(Resumed {
            segment: last_number,
            kept_bytes,
            cut_bytes: reader.file_bytes() - kept_bytes,
            from,
        }),
    })
}

/// Index of the newest segment that starts with a state: what came before it need not be read.
fn first_needed(segments: &[(u64, PathBuf)]) -> io::Result<usize> {
    for (index, (_, path)) in segments.iter().enumerate().rev() {
        let mut reader = Reader::open(path)?;
        for _ in 0..STATE_WITHIN_RECORDS {
            match reader.next_record()? {
                Some(record) if record.header.kind == Kind::State => return Ok(index),
                Some(_) => {}
                None => break,
            }
        }
    }
    Ok(0)
}

/// Makes the end of the last segment definite: cut where it is torn, kept where it was altered, and
/// on disk in any case, because rings will be told that it is.
fn settle(reader: &Reader) -> io::Result<(u64, ResumedFrom)> {
    let file = OpenOptions::new().write(true).open(reader.path())?;
    let (whole, has) = (reader.offset(), reader.file_bytes());
    let path = reader.path().display();
    let (kept, from) = match reader.ending() {
        Some(Ending::Closed) => (whole, ResumedFrom::Closed),
        Some(Ending::Open) | None => {
            tracing::warn!(file = %path, "the log was not finished in good order; going on");
            (whole, ResumedFrom::Open)
        }
        Some(Ending::Torn(damage)) => {
            let (cut, what) = (has - whole, damage.describe());
            tracing::warn!(file = %path, at = whole, cut, what, "cutting the log's torn end off");
            (whole, ResumedFrom::Torn)
        }
        Some(Ending::Altered(damage)) => {
            let (at, what) = (damage.range.start, damage.describe());
            tracing::error!(
                file = %path, at, what,
                "the log was altered; nothing is cut, the log goes on in a new segment; run verify"
            );
            (has, ResumedFrom::Altered)
        }
    };
    if kept < has {
        file.set_len(kept)?;
    }
    file.sync_all()?;
    Ok((kept, from))
}

/// Makes a change of the folder itself durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn new_log_id() -> io::Result<LogId> {
    let mut id = [0; 16];
    getrandom(&mut id, GetRandomFlags::empty())?;
    Ok(LogId(id))
}

// === impl Recovered ===

impl Recovered {
    fn nothing() -> io::Result<Self> {
        Ok(Self {
            books: Books::default(),
            log: new_log_id()?,
            number: 1,
            first_sequence: 0,
            previous_bytes: 0,
            previous_chain: [0; 32],
            resumed: None,
        })
    }
}
