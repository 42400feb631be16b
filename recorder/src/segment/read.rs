//! Walks a segment record by record, believing nothing, and says how it ends.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::format::{
    FILE_HEADER_BYTES, FileHeader, RECORD_HEADER_BYTES, RECORD_MAGIC, RECORD_TRAILER_BYTES,
    RecordHeader, TRAILER, chain_after, record_bytes,
};
use super::torn;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// One record, with its body still in the reader's buffer.
#[derive(Debug)]
pub struct Record<'a> {
    /// Where in the file it starts.
    pub offset: u64,
    /// Its header, checked.
    pub header: RecordHeader,
    /// Its body, checked against the header.
    pub body: &'a [u8],
}

/// What part of a segment is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The header of the file.
    FileHeader,
    /// The first bytes of a record.
    Magic,
    /// The header of a record.
    RecordHeader,
    /// The body of a record.
    Body,
    /// The zeros behind a body.
    Padding,
    /// The last bytes of a record.
    Trailer,
    /// The number of a record does not follow the one before.
    Sequence,
    /// The hash of a record does not follow the one before.
    Chain,
    /// Something follows the record that ends the segment.
    BehindEnd,
}

/// Bytes that no recorder of this version wrote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// What part is wrong.
    pub part: Part,
    /// The bytes that are concerned, as near as the format allows: the first altered byte is among
    /// them.
    pub range: Range<u64>,
    /// Number of the record, counted from the start of the segment; `None` for the file's header.
    pub record: Option<u64>,
}

/// How a segment ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// With a record that says so, and nothing behind it.
    Closed,
    /// Behind a whole record; up to the end of the file follow only zeros, if anything.
    Open,
    /// With a record that did not wholly reach the disk, as a crash leaves it.
    Torn(Damage),
    /// With something that no crash leaves.
    Altered(Damage),
}

/// Walks one segment.
pub struct Reader {
    window: Window,
    header: Option<FileHeader>,
    chain: [u8; 32],
    sequence: u64,
    records: u64,
    offset: u64,
    ending: Option<Ending>,
    closed: bool,
}

/// A file, seen through a buffer.
pub(super) struct Window {
    path: PathBuf,
    file: File,
    file_bytes: u64,
    start: u64,
    buffer: Vec<u8>,
}

// === impl Reader ===

impl Reader {
    /// Opens a segment and reads its header. Only I/O fails here: a bad header is an ending.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut window = Window::open(path)?;
        let bytes = window.bytes(0, FILE_HEADER_BYTES)?;
        let mut reader = match <&[u8; FILE_HEADER_BYTES]>::try_from(bytes) {
            Ok(bytes) => match FileHeader::decode(bytes) {
                Ok(header) => {
                    let chain = FileHeader::chain(bytes);
                    let sequence = header.first_sequence;
                    return Ok(Self::at(window, Some(header), chain, sequence));
                }
                Err(_) => Self::at(window, None, [0; 32], 0),
            },
            Err(_) => Self::at(window, None, [0; 32], 0),
        };
        let damage = Damage {
            part: Part::FileHeader,
            range: 0..FILE_HEADER_BYTES as u64,
            record: None,
        };
        let torn = torn::explains(&mut reader.window, 0..FILE_HEADER_BYTES as u64)?;
        reader.ending = Some(if torn {
            Ending::Torn(damage)
        } else {
            Ending::Altered(damage)
        });
        reader.offset = 0;
        Ok(reader)
    }

    fn at(window: Window, header: Option<FileHeader>, chain: [u8; 32], sequence: u64) -> Self {
        Self {
            window,
            header,
            chain,
            sequence,
            records: 0,
            offset: FILE_HEADER_BYTES as u64,
            ending: None,
            closed: false,
        }
    }

    /// The header of the segment, unless it is damaged.
    pub fn header(&self) -> Option<&FileHeader> {
        self.header.as_ref()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.window.path
    }

    /// Bytes up to the end of the last whole record.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the file when it was opened.
    pub fn file_bytes(&self) -> u64 {
        self.window.file_bytes
    }

    /// The hash after the last whole record.
    pub fn chain(&self) -> [u8; 32] {
        self.chain
    }

    /// Number that the next record would have.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whole records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// How the segment ends; known once [`next_record`](Self::next_record) has given `None`.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Looks at the file again, in case it has grown since: reading goes on where this reader
    /// stands, and what it said of the ending no longer counts. A segment that was closed stays so.
    pub fn go_on(&mut self) -> io::Result<()> {
        if self.header.is_some() && self.ending != Some(Ending::Closed) {
            self.window.look_again()?;
            self.ending = None;
        }
        Ok(())
    }

    /// The next record, or `None` at the [`ending`](Self::ending).
    pub fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        if self.ending.is_some() {
            return Ok(None);
        }
        let offset = self.offset;
        if self.window.zero_until_end(offset)? {
            let exact = offset == self.window.file_bytes;
            self.ending = Some(if self.closed && exact {
                Ending::Closed
            } else {
                Ending::Open
            });
            return Ok(None);
        }
        if self.closed {
            let range = offset..self.window.file_bytes;
            let damage = Damage {
                part: Part::BehindEnd,
                range,
                record: None,
            };
            self.ending = Some(Ending::Altered(damage));
            return Ok(None);
        }
        match self.check(offset)? {
            Ok(header) => {
                self.chain = header.chain;
                self.sequence += 1;
                self.records += 1;
                self.closed = header.kind == super::Kind::End;
                let length = record_bytes(header.body_bytes as usize);
                self.offset += length as u64;
                let bytes = self.window.bytes(offset, length)?;
                let body = &bytes[RECORD_HEADER_BYTES..][..header.body_bytes as usize];
                Ok(Some(Record {
                    offset,
                    header,
                    body,
                }))
            }
            Err((damage, extent)) => {
                let crash = torn::explains(&mut self.window, extent)?
                    && !torn::disclaimed(&mut self.window, offset)?;
                self.ending = Some(if crash {
                    Ending::Torn(damage)
                } else {
                    Ending::Altered(damage)
                });
                Ok(None)
            }
        }
    }

    /// Checks the record at `offset`. The error comes with the extent that a crash would have had
    /// to spoil.
    #[allow(clippy::type_complexity)] // a pair of results, used once
    fn check(&mut self, offset: u64) -> io::Result<Result<RecordHeader, (Damage, Range<u64>)>> {
        let record = self.records;
        let (before, sequence) = (self.chain, self.sequence);
        let header_end = offset + RECORD_HEADER_BYTES as u64;
        let damage = |part, range: Range<u64>| Damage {
            part,
            range,
            record: Some(record),
        };

        let bytes = self.window.bytes(offset, RECORD_HEADER_BYTES)?;
        let Some(bytes) = bytes.first_chunk::<RECORD_HEADER_BYTES>().copied() else {
            let found = damage(Part::RecordHeader, offset..header_end);
            return Ok(Err((found, offset..header_end)));
        };
        let Some(header) = RecordHeader::decode(&bytes) else {
            // The first eight bytes lie in one sector: a crash leaves all of them or none.
            return Ok(Err(match first_difference(&bytes, &RECORD_MAGIC) {
                Some(at) if bytes[..8] != [0; 8] => (
                    damage(Part::Magic, offset + at..offset + at + 1),
                    offset..offset,
                ),
                Some(_) => (damage(Part::Magic, offset..offset + 8), offset..header_end),
                None => (
                    damage(Part::RecordHeader, offset + 8..header_end),
                    offset..header_end,
                ),
            }));
        };
        let body_bytes = header.body_bytes as usize;
        let length = record_bytes(body_bytes);
        let extent = offset..offset + length as u64;
        let whole = self.window.bytes(offset, length)?;
        let body_end = header_end + body_bytes as u64;
        if whole.len() < length {
            let end = offset + whole.len() as u64;
            return Ok(Err((
                damage(Part::Body, end.min(body_end)..extent.end),
                extent,
            )));
        }
        let (body, rest) = whole[RECORD_HEADER_BYTES..].split_at(body_bytes);
        let (padding, trailer) = rest.split_at(rest.len() - RECORD_TRAILER_BYTES);
        let found = if blake3::hash(body).as_bytes() != &header.body_hash {
            damage(Part::Body, header_end..body_end)
        } else if let Some(at) = padding.iter().position(|byte| *byte != 0) {
            damage(
                Part::Padding,
                body_end + at as u64..body_end + at as u64 + 1,
            )
        } else if let Some(at) = first_difference(trailer, &TRAILER) {
            let at = extent.end - RECORD_TRAILER_BYTES as u64 + at;
            damage(Part::Trailer, at..at + 1)
        } else if header.sequence != sequence {
            damage(Part::Sequence, offset + 24..offset + 32)
        } else if chain_after(&before, &bytes) != header.chain {
            damage(Part::Chain, extent.clone())
        } else {
            return Ok(Ok(header));
        };
        Ok(Err((found, extent)))
    }
}

fn first_difference(bytes: &[u8], expected: &[u8; 8]) -> Option<u64> {
    bytes
        .iter()
        .zip(expected)
        .position(|(a, b)| a != b)
        .map(|at| at as u64)
}

// === impl Window ===

impl Window {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            file_bytes,
            start: 0,
            buffer: Vec::new(),
        })
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Takes note of the file's length as it is now, and forgets what was read of its end.
    fn look_again(&mut self) -> io::Result<()> {
        self.file_bytes = self.file.metadata()?.len();
        self.buffer.clear();
        Ok(())
    }

    /// The bytes at `at`: `length` of them, or fewer where the file ends.
    pub(super) fn bytes(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let end = (at + length as u64).min(self.file_bytes).max(at);
        let held = self.start..self.start + self.buffer.len() as u64;
        if at < held.start || end > held.end {
            let wanted = (end - at)
                .max(WINDOW_BYTES as u64)
                .min(self.file_bytes.saturating_sub(at));
            self.buffer.resize(wanted as usize, 0);
            self.start = at;
            let read = read_fully(&self.file, &mut self.buffer, at)?;
            self.buffer.truncate(read);
        }
        let from = ((at - self.start) as usize).min(self.buffer.len());
        let to = ((end - self.start) as usize).min(self.buffer.len());
        Ok(&self.buffer[from..to])
    }

    /// Whether nothing but zeros lies from `at` to the end of the file.
    fn zero_until_end(&mut self, mut at: u64) -> io::Result<bool> {
        // Eight bytes decide nearly always: a record starts with its magic.
        let mut step = 8;
        while at < self.file_bytes {
            let bytes = self.bytes(at, step)?;
            step = WINDOW_BYTES / 2;
            if bytes.is_empty() {
                return Ok(true); // the file shrank under us: nothing is there
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }
}

fn read_fully(file: &File, mut into: &mut [u8], mut at: u64) -> io::Result<usize> {
    let wanted = into.len();
    while !into.is_empty() {
        match file.read_at(into, at) {
            Ok(0) => break,
            Ok(count) => {
                into = &mut into[count..];
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - into.len())
}
