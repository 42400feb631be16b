//! Calls out of the recorder's log, the newest first, with bounded work.
//!
//! Of each segment that a page needs, one line a call is kept in memory, made by walking it once;
//! the newest segment is walked on from where it had been when it was last looked at, so a log that
//! is being written costs what came since. A page walks for at most [`WALK_MAX`] and says when that
//! was not enough; the next one goes on there. What is read is held against the log's own hashes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use penstock_recorder::frame::{Frame, FrameBody, Outcome, SessionId};
use penstock_recorder::log::{Recorded, Session};
use penstock_recorder::ring::FrameBuffer;
use penstock_recorder::segment::{Ending, Kind, Reader, list};

/// How long the log is walked for one page.
const WALK_MAX: Duration = Duration::from_millis(1500);
/// Calls on one page.
pub(super) const PAGE: usize = 50;
/// Calls that are kept of one segment; its older ones are found by their id only.
const ROWS_MAX: usize = 20_000;
/// Segments of which calls are kept.
const SEGMENTS_MAX: usize = 16;
/// Segments that one page looks into.
const LOOKED_MAX: usize = 8;
/// Kinds of verdict that a line counts.
const VERDICTS_MAX: usize = 8;
/// Segments over which one call is put together.
const CALL_SEGMENTS_MAX: usize = 4;
/// Bytes of texts that are read of one call; what is behind them is left out, and said so.
const CALL_BYTES_MAX: usize = 4 << 20;
/// Frames that are read of one call.
const CALL_FRAMES_MAX: usize = 100_000;
/// How far a segment's beginning may lie behind the calls in it: clocks step back.
const CLOCK_SLACK_NS: u64 = 60 * 1_000_000_000;

/// The log that the console shows.
pub(super) struct Records(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    index: Mutex<BTreeMap<u64, Indexed>>,
}

/// One call, in a line.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) opened_unix_ns: u64,
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) operation: String,
    pub(super) rest: Rest,
}

/// What becomes known while it goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Rest {
    pub(super) model: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) outcome: Option<Outcome>,
    pub(super) error_code: Option<String>,
    /// What guards did, and how often.
    pub(super) verdicts: Vec<(String, u32)>,
    pub(super) closed: bool,
    /// The recorder closed it: its gateway was gone.
    pub(super) abandoned: bool,
    pub(super) last_unix_ns: u64,
}

/// What a page shows of all calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) subject: Option<String>,
    pub(super) model: Option<String>,
    /// Only those in which a guard did anything.
    pub(super) verdicts: bool,
}

/// Where a page begins: behind this call of this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) segment: u64,
    pub(super) nth: u64,
}

/// A page of calls, the newest first.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) rows: Vec<Row>,
    pub(super) next: Option<Cursor>,
    /// What the reader should know about what is missing.
    pub(super) note: Option<String>,
}

/// One call with all that is written of it.
pub(super) struct Call {
    pub(super) session: Session,
    /// Something of it was left out here.
    pub(super) cut: bool,
}

/// What is known of a segment.
struct Indexed {
    reader: Reader,
    buffer: FrameBuffer,
    rows: VecDeque<Row>,
    /// Number of the first row in `rows`: how many were dropped.
    first: u64,
    places: HashMap<SessionId, u64>,
    /// Of calls that began in an earlier segment.
    others: HashMap<SessionId, Rest>,
    damage: Option<String>,
}

// === impl Records ===

impl Records {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(Arc::new(Inner {
            dir,
            index: Mutex::default(),
        }))
    }

    /// A page of calls. Reads in a thread of its own.
    pub(super) async fn page(
        &self,
        wanted: Wanted,
        before: Option<Cursor>,
    ) -> Result<Listed, String> {
        let inner = self.0.clone();
        let work = move || inner.page(&wanted, before);
        let read = tokio::task::spawn_blocking(work).await;
        read.unwrap_or_else(|_| Err("the log could not be read".to_owned()))
    }

    /// One call by its id. Reads in a thread of its own.
    pub(super) async fn call(&self, id: SessionId) -> Result<Option<Call>, String> {
        let inner = self.0.clone();
        let read = tokio::task::spawn_blocking(move || inner.call(id)).await;
        read.unwrap_or_else(|_| Err("the log could not be read".to_owned()))
    }
}

// === impl Inner ===

impl Inner {
    fn segments(&self) -> Result<Vec<(u64, PathBuf)>, String> {
        let listing = list(&self.dir);
        let listing = listing.map_err(|error| format!("{}: {error}", self.dir.display()))?;
        Ok(listing.segments)
    }

    fn page(&self, wanted: &Wanted, before: Option<Cursor>) -> Result<Listed, String> {
        let deadline = Instant::now() + WALK_MAX;
        let segments = self.segments()?;
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.retain(|number, _| segments.iter().any(|(it, _)| it == number));
        let mut listed = Listed::default();
        let newest_first = segments
            .iter()
            .rev()
            .filter(|(number, _)| before.is_none_or(|before| *number <= before.segment));
        for (looked, (number, path)) in newest_first.enumerate() {
            if looked == LOOKED_MAX || Instant::now() >= deadline {
                listed.next = Some(Cursor {
                    segment: *number,
                    nth: u64::MAX,
                });
                return Ok(listed);
            }
            if !index.contains_key(number) {
                index.insert(*number, Indexed::open(path)?);
            }
            let Some(segment) = index.get_mut(number) else {
                continue;
            };
            if !segment.walk(deadline) {
                listed.note = Some(
                    "The log is still being read; reload the page to see all of it.".to_owned(),
                );
            }
            if let Some(damage) = &segment.damage {
                listed.note = Some(format!(
                    "{}: {damage}; run penstock-recorder verify",
                    path.display()
                ));
            }
            let nth = before
                .filter(|it| it.segment == *number)
                .map_or(u64::MAX, |it| it.nth);
            if let Some(nth) = fill(&mut listed.rows, &index, *number, nth, wanted) {
                listed.next = Some(Cursor {
                    segment: *number,
                    nth,
                });
                break;
            }
        }
        while index.len() > SEGMENTS_MAX {
            index.pop_first();
        }
        Ok(listed)
    }

    fn call(&self, id: SessionId) -> Result<Option<Call>, String> {
        let deadline = Instant::now() + WALK_MAX * 2;
        let segments = self.segments()?;
        // An id begins with the time at which it was made (RFC 9562, section 5.7).
        let made_ms = id.0[..6]
            .iter()
            .fold(0, |ms, byte| ms << 8 | u64::from(*byte));
        let made_ns = made_ms * 1_000_000;
        let begun_before = |path: &PathBuf| {
            let created = Reader::open(path).ok()?.header()?.created_unix_ns;
            Some(created <= made_ns.saturating_add(CLOCK_SLACK_NS))
        };
        let at = segments
            .iter()
            .rposition(|(_, path)| begun_before(path) == Some(true));
        let mut call = Call {
            session: Session {
                id,
                frames: Vec::new(),
            },
            cut: false,
        };
        // One before it, too: the clock may have stepped back between.
        let from = at.unwrap_or(0).saturating_sub(1);
        for (number, path) in segments.iter().skip(from).take(CALL_SEGMENTS_MAX) {
            let failed = |error| format!("{}: {error}", path.display());
            let reader = Reader::open(path).map_err(failed)?;
            match collect(reader, *number, &mut call, deadline).map_err(failed)? {
                Collected::Ended => break,
                Collected::GoesOn => {}
                Collected::Late => {
                    call.cut = true;
                    break;
                }
            }
        }
        Ok((!call.session.frames.is_empty()).then_some(call))
    }
}

enum Collected {
    Ended,
    GoesOn,
    Late,
}

/// Adds the frames of one segment that belong to a call.
fn collect(
    mut reader: Reader,
    segment: u64,
    call: &mut Call,
    deadline: Instant,
) -> std::io::Result<Collected> {
    let mut buffer = FrameBuffer::new();
    let mut bytes = 0;
    while let Some(record) = reader.next_record()? {
        if record.header.kind != Kind::Frame {
            continue;
        }
        buffer.clear();
        buffer.extend_from_slice(record.body);
        let (offset, header) = (record.offset, record.header);
        let Ok(frame) = Frame::decode(&buffer) else {
            continue;
        };
        if frame.session != call.session.id {
            if header.sequence.is_multiple_of(1024) && Instant::now() >= deadline {
                return Ok(Collected::Late);
            }
            continue;
        }
        let ends = matches!(frame.body, FrameBody::Close(_)) || header.by_recorder;
        bytes += header.body_bytes as usize;
        let has_room = bytes <= CALL_BYTES_MAX && call.session.frames.len() < CALL_FRAMES_MAX;
        let is_text = matches!(
            frame.body,
            FrameBody::RequestBody(_) | FrameBody::ResponseChunk(_)
        );
        if has_room || !is_text && call.session.frames.len() < 2 * CALL_FRAMES_MAX {
            call.session.frames.push(Recorded {
                segment,
                offset,
                sequence: header.sequence,
                written_unix_ns: header.written_unix_ns,
                ring: header.ring,
                ring_position: header.ring_position,
                by_recorder: header.by_recorder,
                frame,
            });
        } else {
            call.cut = true;
        }
        if ends {
            return Ok(Collected::Ended);
        }
    }
    Ok(Collected::GoesOn)
}

/// Adds rows of a segment, the newest first, below `nth`; where the next page begins when this one
/// is full.
fn fill(
    rows: &mut Vec<Row>,
    index: &BTreeMap<u64, Indexed>,
    number: u64,
    nth: u64,
    wanted: &Wanted,
) -> Option<u64> {
    let segment = index.get(&number)?;
    let mut at = segment.first + segment.rows.len() as u64;
    for row in segment.rows.iter().rev() {
        at -= 1;
        if at >= nth {
            continue;
        }
        let mut row = row.clone();
        if !row.rest.closed
            && let Ok(id) = row.id.parse()
        {
            let later = index
                .range(number + 1..)
                .filter_map(|(_, it)| it.others.get(&id));
            later.for_each(|later| row.rest.join(later));
        }
        if !wanted.takes(&row) {
            continue;
        }
        if rows.len() == PAGE {
            return Some(at + 1);
        }
        rows.push(row);
    }
    None
}

// === impl Wanted ===

impl Wanted {
    fn takes(&self, row: &Row) -> bool {
        let is =
            |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|it| it == value);
        is(&self.subject, &row.subject)
            && is(&self.model, row.rest.model.as_deref().unwrap_or_default())
            && (!self.verdicts || !row.rest.verdicts.is_empty())
    }
}

// === impl Cursor ===

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.segment, self.nth)
    }
}

impl std::str::FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (segment, nth) = text.split_once('-').ok_or(())?;
        Ok(Self {
            segment: segment.parse().map_err(|_| ())?,
            nth: nth.parse().map_err(|_| ())?,
        })
    }
}

// === impl Indexed ===

impl Indexed {
    fn open(path: &std::path::Path) -> Result<Self, String> {
        let reader = Reader::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            reader,
            buffer: FrameBuffer::new(),
            rows: VecDeque::new(),
            first: 0,
            places: HashMap::new(),
            others: HashMap::new(),
            damage: None,
        })
    }

    /// Walks on to the end as it is now; false when the time was over first.
    fn walk(&mut self, deadline: Instant) -> bool {
        if let Err(error) = self.reader.go_on() {
            self.damage = Some(error.to_string());
            return true;
        }
        self.damage = None;
        loop {
            let record = match self.reader.next_record() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => {
                    self.damage = Some(error.to_string());
                    return true;
                }
            };
            let in_time = record.header.sequence % 256 != 0 || Instant::now() < deadline;
            if record.header.kind == Kind::Frame {
                let by_recorder = record.header.by_recorder;
                self.buffer.clear();
                self.buffer.extend_from_slice(record.body);
                // What is no frame is for `verify` to tell.
                if let Ok(frame) = Frame::decode(&self.buffer) {
                    self.add(frame, by_recorder);
                }
            }
            if !in_time {
                return false;
            }
        }
        // While it is written, what ends torn or half-written is whole a moment later.
        if let Some(Ending::Altered(damage)) = self.reader.ending()
            && damage.range.end < self.reader.file_bytes()
        {
            self.damage = Some(damage.describe());
        }
        true
    }

    fn add(&mut self, frame: Frame, by_recorder: bool) {
        let id = frame.session;
        if id.is_nil() {
            return;
        }
        if let FrameBody::Open(open) = &frame.body {
            let row = Row {
                id: id.to_string(),
                opened_unix_ns: frame.at_unix_ns,
                subject: open.subject.clone(),
                issuer: open.issuer.clone(),
                operation: open.operation.clone(),
                rest: Rest {
                    model: open.model.clone(),
                    last_unix_ns: frame.at_unix_ns,
                    ..Rest::default()
                },
            };
            self.places.insert(id, self.first + self.rows.len() as u64);
            self.rows.push_back(row);
            if self.rows.len() > ROWS_MAX
                && let Some(dropped) = self.rows.pop_front()
            {
                self.first += 1;
                dropped
                    .id
                    .parse()
                    .ok()
                    .and_then(|id: SessionId| self.places.remove(&id));
            }
            return;
        }
        let place = self
            .places
            .get(&id)
            .map(|place| place.saturating_sub(self.first) as usize);
        let rest = match place.and_then(|place| self.rows.get_mut(place)) {
            Some(row) => &mut row.rest,
            None if self.others.len() < ROWS_MAX || self.others.contains_key(&id) => {
                self.others.entry(id).or_default()
            }
            None => return,
        };
        rest.add(frame, by_recorder);
    }
}

// === impl Rest ===

impl Rest {
    fn add(&mut self, frame: Frame, by_recorder: bool) {
        self.last_unix_ns = frame.at_unix_ns;
        if by_recorder {
            self.abandoned = !self.closed;
            return;
        }
        match frame.body {
            FrameBody::Decision(decision) => self.verdict(decision.action, 1),
            FrameBody::ResponseHead(head) => self.status = Some(head.status),
            FrameBody::Close(close) => {
                self.closed = true;
                self.status = Some(close.status);
                self.outcome = Some(close.outcome);
                self.error_code = close.error_code;
                self.model = close.model.or(self.model.take());
            }
            _ => {}
        }
    }

    fn verdict(&mut self, action: String, count: u32) {
        let place = self.verdicts.iter().position(|(it, _)| *it == action);
        match place {
            Some(place) => self.verdicts[place].1 += count,
            None if self.verdicts.len() < VERDICTS_MAX => self.verdicts.push((action, count)),
            None => {}
        }
    }

    /// Adds what a later segment says.
    fn join(&mut self, later: &Self) {
        for (action, count) in &later.verdicts {
            self.verdict(action.clone(), *count);
        }
        self.last_unix_ns = self.last_unix_ns.max(later.last_unix_ns);
        self.closed |= later.closed;
        self.abandoned |= later.abandoned;
        self.status = later.status.or(self.status);
        self.outcome = later.outcome.or(self.outcome);
        self.error_code = later.error_code.clone().or(self.error_code.take());
        self.model = later.model.clone().or(self.model.take());
    }
}
