//! Walks a whole log and says what is wrong with it: `penstock-recorder verify`.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::read::{Damage, Ending, Part, Reader};
use super::{FILE_HEADER_BYTES, FileHeader, Kind, list};
use crate::lock;

/// How often the end of a log that is being written is looked at again before damage is believed.
const LIVE_RETRIES: u32 = 5;
/// How long between two looks.
const LIVE_RETRY_AFTER: Duration = Duration::from_millis(40);

/// What was found.
#[derive(Debug, Serialize, Default)]
pub struct Report {
    /// Segments that were read.
    pub segments: u64,
    /// Whole records in them.
    pub records: u64,
    /// Records that are frames.
    pub frames: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Id of the log.
    pub log: Option<String>,
    /// The last hash: whoever notes it down elsewhere can tell later that nothing was cut off.
    pub chain: Option<String>,
    /// `closed`, `open` (the recorder did not finish in good order) or `live` (it is running).
    pub state: &'static str,
    /// What a crash left at the very end. No alteration.
    pub torn_tail: Option<TornTail>,
    /// What no crash leaves, in the order of the log.
    pub problems: Vec<Problem>,
}

/// A record that did not wholly reach the disk.
#[derive(Debug, Serialize)]
pub struct TornTail {
    /// The file.
    pub file: String,
    /// Where the torn record starts.
    pub offset: u64,
    /// Bytes from there to the end of the file.
    pub bytes: u64,
    /// What is wrong with it.
    pub detail: String,
}

/// What kind of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// A segment is not there.
    Missing,
    /// A segment is there twice.
    Duplicate,
    /// A segment stands under another one's name.
    Reordered,
    /// A segment is shorter than it was.
    Truncated,
    /// A segment is longer than it was.
    Extended,
    /// Bytes were changed.
    Altered,
    /// A segment of another log.
    Foreign,
    /// A file that is named almost like a segment.
    Stranger,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// What kind.
    pub trouble: Trouble,
    /// The file.
    pub file: String,
    /// First byte that is concerned, as near as the format tells.
    pub offset: Option<u64>,
    /// One past the last byte that is concerned.
    pub end: Option<u64>,
    /// What was found, for a person.
    pub detail: String,
}

/// What the segment before says that the next one must say.
struct Expected {
    number: u64,
    log: Option<super::LogId>,
    /// Unknown once something was wrong: then the next header is taken at its word.
    link: Option<Link>,
}

struct Link {
    sequence: u64,
    bytes: u64,
    chain: [u8; 32],
}

/// Checks every byte of a log.
pub fn verify(dir: &Path) -> io::Result<Report> {
    let live = lock::is_held(dir)?;
    let listing = list(dir)?;
    let mut report = Report {
        state: "open",
        ..Report::default()
    };
    for stranger in &listing.strangers {
        let detail = "it ends like a segment but is not named like one; a copy?".to_owned();
        report.problem(Trouble::Stranger, stranger, None, detail);
    }
    if listing.segments.is_empty() {
        report.problem(Trouble::Missing, dir, None, "no segment is here".to_owned());
        return Ok(report);
    }
    let headers = listing
        .segments
        .iter()
        .map(|(_, path)| Ok(Reader::open(path)?.header().cloned()))
        .collect::<io::Result<Vec<_>>>()?;
    let last = listing.segments.len() - 1;
    let mut expected = Expected {
        number: 1,
        log: None,
        link: None,
    };
    for (index, (number, path)) in listing.segments.iter().enumerate() {
        if *number != expected.number {
            let (from, to) = (expected.number, number - 1);
            let detail = if from == to {
                format!("segment {from} is missing")
            } else {
                format!("segments {from} to {to} are missing")
            };
            report.problem(Trouble::Missing, dir, None, detail);
            expected.link = None;
        }
        let next = headers.get(index + 1).and_then(Option::as_ref);
        let next = next.filter(|next| next.number == number + 1 && index < last);
        let followed = index < last;
        expected.link = report.segment(
            path,
            *number,
            &mut expected,
            Following {
                next,
                followed,
                headers: &headers,
            },
            live && !followed,
        )?;
        expected.number = number + 1;
    }
    if live {
        report.state = "live";
    }
    Ok(report)
}

/// What comes behind the segment that is being checked.
struct Following<'a> {
    next: Option<&'a FileHeader>,
    followed: bool,
    headers: &'a [Option<FileHeader>],
}

// === impl Report ===

impl Report {
    /// Nothing was altered.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(
        &mut self,
        trouble: Trouble,
        file: &Path,
        range: Option<std::ops::Range<u64>>,
        detail: String,
    ) {
        let (offset, end) = (
            range.as_ref().map(|r| r.start),
            range.as_ref().map(|r| r.end),
        );
        let file = file.display().to_string();
        self.problems.push(Problem {
            trouble,
            file,
            offset,
            end,
            detail,
        });
    }

    /// Checks one segment. Gives what the next one must link to, if that can be said.
    fn segment(
        &mut self,
        path: &Path,
        number: u64,
        expected: &mut Expected,
        following: Following<'_>,
        live: bool,
    ) -> io::Result<Option<Link>> {
        let walked = Walked::walk(path, live)?;
        let reader = &walked.reader;
        self.segments += 1;
        self.records += reader.records();
        self.frames += walked.frames;
        self.bytes += reader.file_bytes();
        if let Some(header) = reader.header() {
            let in_place = self.check_header(path, number, header, expected, &following);
            if !in_place {
                return Ok(None);
            }
        }
        let link = Link {
            sequence: reader.sequence(),
            bytes: reader.offset(),
            chain: reader.chain(),
        };
        self.chain = Some(
            link.chain
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        );
        let sound = self.check_ending(path, reader, &following);
        Ok(sound.then_some(link))
    }

    /// Whether the header is the one that belongs here.
    fn check_header(
        &mut self,
        path: &Path,
        number: u64,
        header: &FileHeader,
        expected: &mut Expected,
        following: &Following<'_>,
    ) -> bool {
        let range = Some(0..FILE_HEADER_BYTES as u64);
        if header.number != number {
            let numbers = following
                .headers
                .iter()
                .flatten()
                .map(|header| header.number);
            let seen: BTreeSet<u64> = numbers.clone().collect();
            let twice = numbers.filter(|other| *other == header.number).count() > 1;
            let (trouble, what) = if twice {
                (Trouble::Duplicate, "which is here under its own name, too")
            } else if seen.contains(&number) {
                (Trouble::Reordered, "and its own stands under another name")
            } else {
                (Trouble::Reordered, "and its own is not here")
            };
            let detail = format!("it holds segment {}, {what}", header.number);
            self.problem(trouble, path, range, detail);
            return false;
        }
        let log = *expected.log.get_or_insert(header.log);
        self.log.get_or_insert_with(|| header.log.to_string());
        if header.log != log {
            let detail = format!("it belongs to log {}, not to {log}", header.log);
            self.problem(Trouble::Foreign, path, range, detail);
            return true;
        }
        if let Some(link) = &expected.link {
            let sound = header.first_sequence == link.sequence
                && header.previous_bytes == link.bytes
                && header.previous_chain == link.chain;
            if !sound {
                let detail = format!(
                    "it does not follow segment {}: its header or that whole segment was replaced",
                    number - 1
                );
                self.problem(Trouble::Altered, path, range, detail);
            }
        } else if number == 1 && (header.first_sequence, header.previous_bytes) != (0, 0) {
            let detail = "the first segment says that there was one before".to_owned();
            self.problem(Trouble::Altered, path, range, detail);
        }
        true
    }

    /// Whether the segment ends as it must; the ending of the last one is told apart from others.
    fn check_ending(&mut self, path: &Path, reader: &Reader, following: &Following<'_>) -> bool {
        let ending = reader.ending().unwrap_or(&Ending::Open);
        let whole = reader.offset();
        if !following.followed {
            match ending {
                Ending::Closed => self.state = "closed",
                Ending::Open => {}
                Ending::Torn(damage) => {
                    self.torn_tail = Some(TornTail {
                        file: path.display().to_string(),
                        offset: whole,
                        bytes: reader.file_bytes() - whole,
                        detail: damage.describe(),
                    });
                }
                Ending::Altered(damage) => self.altered(path, damage),
            }
            return false;
        }
        let told = following.next.map(|next| next.previous_bytes);
        if let Some(told) = told
            && reader.file_bytes() < told
        {
            let at = reader.file_bytes();
            let detail = format!("it had {told} bytes and has {at}");
            self.problem(Trouble::Truncated, path, Some(at..told), detail);
            return false;
        }
        match ending {
            Ending::Altered(damage) | Ending::Torn(damage) => {
                let beyond = told.is_some_and(|told| damage.range.start >= told);
                if beyond {
                    self.extended(path, reader, told);
                } else {
                    self.altered(path, damage);
                }
                false
            }
            Ending::Open | Ending::Closed => {
                if told.is_some_and(|told| reader.file_bytes() > told) {
                    self.extended(path, reader, told);
                    return false;
                }
                true
            }
        }
    }

    fn extended(&mut self, path: &Path, reader: &Reader, told: Option<u64>) {
        let (told, has) = (told.unwrap_or(reader.offset()), reader.file_bytes());
        let detail = format!("it had {told} bytes and has {has}");
        self.problem(Trouble::Extended, path, Some(told..has), detail);
    }

    fn altered(&mut self, path: &Path, damage: &Damage) {
        self.problem(
            Trouble::Altered,
            path,
            Some(damage.range.clone()),
            damage.describe(),
        );
    }
}

/// A segment, read to its ending.
struct Walked {
    reader: Reader,
    frames: u64,
}

// === impl Walked ===

impl Walked {
    /// Reads to the ending. While a recorder writes, a record at the end may be seen half-written:
    /// then look again before believing that it is damaged.
    fn walk(path: &Path, live: bool) -> io::Result<Self> {
        let mut retries = if live { LIVE_RETRIES } else { 0 };
        loop {
            let walked = Self::walk_once(path)?;
            if retries == 0 || !matches!(walked.reader.ending(), Some(Ending::Altered(_))) {
                return Ok(walked);
            }
            retries -= 1;
            std::thread::sleep(LIVE_RETRY_AFTER);
        }
    }

    fn walk_once(path: &Path) -> io::Result<Self> {
        let mut reader = Reader::open(path)?;
        let mut frames = 0;
        while let Some(record) = reader.next_record()? {
            frames += u64::from(record.header.kind == Kind::Frame);
        }
        Ok(Self { reader, frames })
    }
}

// === impl Damage ===

impl Damage {
    /// For a person: which record, which part.
    pub fn describe(&self) -> String {
        let what = match self.part {
            Part::FileHeader => return "the header of the file does not match its hash".to_owned(),
            Part::BehindEnd => return "bytes follow where the segment was finished".to_owned(),
            Part::Magic => "does not start like one",
            Part::RecordHeader => "has a header that does not match its checksum",
            Part::Body => "has a body that does not match its hash",
            Part::Padding => "has bytes where zeros belong, behind its body",
            Part::Trailer => "does not end like one",
            Part::Sequence => "has a number that does not follow the one before",
            Part::Chain => {
                "does not follow the one before: it, or one before it, was replaced, removed or \
                 inserted"
            }
        };
        match self.record {
            Some(record) => format!("record {record} of the segment {what}"),
            None => what.to_owned(),
        }
    }
}
