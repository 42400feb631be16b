//! Reads a log back: every frame in order, or session by session.
//!
//! ```no_run
//! let log = penstock_recorder::log::open("/var/lib/penstock/log".as_ref())?;
//! for recorded in log.frames() {
//!     let recorded = recorded?;
//!     println!("{} {}", recorded.frame.session, recorded.frame.body.kind());
//! }
//! # Ok::<(), penstock_recorder::log::LogError>(())
//! ```
//!
//! Reading while the recorder writes is fine: the end of the log is wherever the last whole record
//! is at that moment. Everything read is checked against its hashes on the way, so damage shows
//! here, too; but it is `verify` that explains it.

pub mod escape;
mod session;
mod text;

use std::io;
use std::path::{Path, PathBuf};

use crate::frame::{Frame, InvalidFrame};
use crate::lock;
use crate::ring::{FrameBuffer, RingId};
use crate::segment::{Ending, Kind, Reader, list};

pub use self::session::{Ended, FindError, Session, Summary};
pub use self::text::AnswerText;

/// A log in a folder.
#[derive(Debug, Clone)]
pub struct Log {
    dir: PathBuf,
    segments: Vec<(u64, PathBuf)>,
}

/// A frame, and where it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// Number of the segment.
    pub segment: u64,
    /// Where in the segment the record starts.
    pub offset: u64,
    /// Number of the record in the whole log.
    pub sequence: u64,
    /// When the recorder wrote it, nanoseconds since 1970.
    pub written_unix_ns: u64,
    /// The ring it came from, nil for none.
    pub ring: RingId,
    /// Position in that ring just past the frame.
    pub ring_position: u64,
    /// Written by the recorder on its own account, not by a gateway.
    pub by_recorder: bool,
    /// The frame.
    pub frame: Frame,
}

/// Why a log could not be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds no segment.
    #[error("{} holds no log: no segment is there", dir.display())]
    Empty {
        /// The folder.
        dir: PathBuf,
    },
    /// A segment is damaged; reading goes on with the next one.
    #[error("{} is damaged at byte {offset}: {detail}; run `verify`", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// First byte that is concerned.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// A record holds no frame of this version; reading goes on with the next one.
    #[error("{}: the record at byte {offset} is {source}", path.display())]
    Frame {
        /// The segment.
        path: PathBuf,
        /// Where the record starts.
        offset: u64,
        /// What the validator said.
        source: InvalidFrame,
    },
}

/// Every frame of a log, in order.
pub struct Frames<'a> {
    log: &'a Log,
    index: usize,
    reader: Option<Reader>,
    buffer: FrameBuffer,
}

/// Opens the log in a folder: lists its segments, reads nothing yet.
pub fn open(dir: &Path) -> Result<Log, LogError> {
    let listing = list(dir).map_err(|source| LogError::Io {
        path: dir.to_owned(),
        source,
    })?;
    if listing.segments.is_empty() {
        return Err(LogError::Empty {
            dir: dir.to_owned(),
        });
    }
    Ok(Log {
        dir: dir.to_owned(),
        segments: listing.segments,
    })
}

// === impl Log ===

impl Log {
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every frame, in the order in which the recorder wrote it.
    pub fn frames(&self) -> Frames<'_> {
        Frames {
            log: self,
            index: 0,
            reader: None,
            buffer: FrameBuffer::new(),
        }
    }

    /// Every session, in the order in which it was opened.
    pub fn sessions(&self) -> Result<Vec<Summary>, LogError> {
        session::summaries(self.frames())
    }

    /// The session whose id starts like this, if there is exactly one.
    pub fn session(&self, prefix: &str) -> Result<Session, FindError> {
        session::find(self, prefix)
    }
}

// === impl Frames ===

impl Iterator for Frames<'_> {
    type Item = Result<Recorded, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (number, path) = self.log.segments.get(self.index)?;
            let reader = match self.reader.take() {
                Some(reader) => reader,
                None => match Reader::open(path) {
                    Ok(reader) => reader,
                    Err(source) => {
                        self.index += 1;
                        return Some(Err(LogError::Io {
                            path: path.clone(),
                            source,
                        }));
                    }
                },
            };
            match self.step(*number, reader) {
                Step::Found(recorded) => return Some(*recorded),
                Step::EndOfSegment(ending) => {
                    let last = self.index + 1 == self.log.segments.len();
                    self.index += 1;
                    if let Some(error) = self.judge(path, ending, last) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

enum Step {
    Found(Box<Result<Recorded, LogError>>),
    EndOfSegment(Option<Ending>),
}

impl Frames<'_> {
    /// Reads on to the next frame of the segment.
    fn step(&mut self, segment: u64, mut reader: Reader) -> Step {
        let path = reader.path().to_owned();
        loop {
            let record = match reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => return Step::EndOfSegment(reader.ending().cloned()),
                Err(source) => {
                    self.index += 1;
                    return Step::Found(Box::new(Err(LogError::Io { path, source })));
                }
            };
            if record.header.kind != Kind::Frame {
                continue;
            }
            self.buffer.clear();
            self.buffer.extend_from_slice(record.body);
            let (offset, header) = (record.offset, record.header);
            let recorded = match Frame::decode(&self.buffer) {
                Ok(frame) => Ok(Recorded {
                    segment,
                    offset,
                    sequence: header.sequence,
                    written_unix_ns: header.written_unix_ns,
                    ring: header.ring,
                    ring_position: header.ring_position,
                    by_recorder: header.by_recorder,
                    frame,
                }),
                Err(source) => Err(LogError::Frame {
                    path,
                    offset,
                    source,
                }),
            };
            self.reader = Some(reader);
            return Step::Found(Box::new(recorded));
        }
    }

    /// Whether how a segment ended is worth an error: a torn end of the last one is not, and while
    /// the recorder runs neither is a record that is half-written.
    fn judge(&self, path: &Path, ending: Option<Ending>, last: bool) -> Option<LogError> {
        let damage = match ending? {
            Ending::Closed | Ending::Open => return None,
            Ending::Torn(_) if last => return None,
            Ending::Altered(_) if last && lock::is_held(&self.log.dir).unwrap_or(false) => {
                return None;
            }
            Ending::Torn(damage) | Ending::Altered(damage) => damage,
        };
        let (offset, detail) = (damage.range.start, damage.describe());
        Some(LogError::Damaged {
            path: path.to_owned(),
            offset,
            detail,
        })
    }
}
