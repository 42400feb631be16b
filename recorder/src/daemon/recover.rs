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
        && Reader::open(path)?
            .ending()
            .is_some_and(|ending| matches!(ending, Ending::Torn(_)))
    {
        tracing::warn!(file = %path.display(), "removing a segment that was never begun");
        std::fs::remove_file(path)?;
        sync_dir(dir)?;
        segments.pop();
    }
    let Some((last_number, _)) = segments.last() else {
        return Recovered::nothing();
    };
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
    let Some(reader) = last else {
        return Recovered::nothing();
    };
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::frame::{Frame, FrameBody, Open, SessionId};
    use crate::ring::RingId;
    use crate::segment::{Encoder, FileHeader, NewRecord, OpenSession, State, file_name, verify};

    const RING: RingId = RingId([7; 16]);
    const SESSION: SessionId = SessionId([8; 16]);

    fn opening(index: u32) -> Frame {
        let body = FrameBody::Open(Open {
            subject: "alice".to_owned(),
            ..Open::default()
        });
        Frame {
            session: SESSION,
            index,
            at_unix_ns: 1,
            body,
        }
    }

    /// A segment with three frames, and where each of its records starts and the last one ends.
    fn segment() -> (Vec<u8>, Vec<u64>) {
        let header = FileHeader {
            number: 1,
            created_unix_ns: 1,
            log: LogId([1; 16]),
            first_sequence: 0,
            previous_bytes: 0,
            previous_chain: [0; 32],
        };
        let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
        let mut encoder = Encoder::begin(&header, &mut bytes);
        let state = State {
            rings: vec![(RING, 8)],
            sessions: vec![],
        }
        .encode();
        let frames: Vec<_> = (0..3).map(|index| opening(index).encode()).collect();
        let bodies = [(Kind::State, &state[..])];
        let bodies = bodies
            .into_iter()
            .chain(frames.iter().map(|f| (Kind::Frame, &f[..])));
        for (index, (kind, body)) in bodies.enumerate() {
            offsets.push(encoder.bytes());
            let ring = if kind == Kind::Frame {
                RING
            } else {
                RingId::NIL
            };
            let record = NewRecord {
                kind,
                by_recorder: kind == Kind::State,
                ring,
                ring_position: 100 * index as u64,
                written_unix_ns: 1,
                body,
            };
            encoder.append(&record, &mut bytes);
        }
        offsets.push(encoder.bytes());
        (bytes, offsets)
    }

    #[test]
    fn a_torn_end_is_cut_at_every_length_of_the_last_record() {
        let (bytes, offsets) = segment();
        let [.., start, end] = offsets[..] else {
            panic!("records")
        };
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(file_name(1));
        for cut in start..=end {
            fs::write(&path, &bytes[..cut as usize]).expect("written");
            let found = recover(dir.path()).expect("readable");
            let resumed = found.resumed.expect("there is a log");
            let kept = if cut == end { end } else { start };
            assert_eq!(
                (resumed.kept_bytes, resumed.cut_bytes),
                (kept, cut - kept),
                "at {cut}"
            );
            let torn = cut != start && cut != end;
            let expected = if torn {
                ResumedFrom::Torn
            } else {
                ResumedFrom::Open
            };
            assert_eq!(resumed.from, expected, "at {cut}");
            assert_eq!(fs::metadata(&path).expect("there").len(), kept);
            assert!(verify(dir.path()).expect("readable").torn_tail.is_none());
            // The books say what the log holds, no more.
            let whole = if cut == end { 3 } else { 2 };
            assert_eq!(found.books.position(RING), Some(100 * whole));
            assert_eq!((found.number, found.first_sequence), (2, whole + 1));
        }
    }

    #[test]
    fn sessions_without_an_end_are_remembered() {
        let (bytes, _) = segment();
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(file_name(1)), &bytes).expect("written");
        let mut books = recover(dir.path()).expect("readable").books;
        assert_eq!(books.rings_with_sessions(), [RING]);
        let open = OpenSession {
            session: SESSION,
            ring: RING,
            next_index: 3,
        };
        assert_eq!(books.state().sessions, [open]);
        assert_eq!(books.abandon(RING), [open]);
        assert!(books.rings_with_sessions().is_empty());
    }

    #[test]
    fn a_segment_that_was_never_begun_is_made_again() {
        let (bytes, offsets) = segment();
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(file_name(1)), &bytes).expect("written");
        for unbegun in [vec![], vec![0; 4096], vec![0; 60]] {
            fs::write(dir.path().join(file_name(2)), unbegun).expect("written");
            let found = recover(dir.path()).expect("readable");
            assert_eq!((found.number, found.previous_bytes), (2, offsets[4]));
            assert!(!dir.path().join(file_name(2)).exists());
        }
        let empty = tempfile::tempdir().expect("a folder");
        let found = recover(empty.path()).expect("readable");
        assert_eq!((found.number, found.resumed), (1, None));
    }
}
