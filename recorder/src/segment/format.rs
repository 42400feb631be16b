//! The fixed parts of a segment, to and from bytes. Pure: no files, no clock.
//!
//! Integers are little-endian. Everything starts at a multiple of eight bytes. A check that fails
//! here says only "these bytes are not one of ours"; what that means is for `read` to say.

use std::fmt;

use crate::frame::{SCHEMA_VERSION, SCHEMA_VERSION_MIN, SessionId};
use crate::ring::RingId;

/// Version of what is described in `FORMAT.md`.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the header of a segment.
pub const FILE_HEADER_BYTES: usize = 128;
/// Bytes of the header of a record.
pub const RECORD_HEADER_BYTES: usize = 136;
/// Bytes behind each record's body and padding.
pub const RECORD_TRAILER_BYTES: usize = 8;
/// Longest body of a record.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Ending of a segment's file name.
pub(super) const EXTENSION: &str = "segment";
/// First bytes of a segment.
pub(super) const FILE_MAGIC: [u8; 8] = *b"PNSTKLOG";
/// First bytes of a record: a byte that is in no UTF-8 text, then a name, so that a reader that
/// lost its place finds the next record and no text can pose as one by accident.
pub(super) const RECORD_MAGIC: [u8; 8] = *b"\xF5PSTREC\n";
/// Last bytes of a record. They are never zero, so that a record whose last sector did not reach
/// the disk cannot pass for one that ends in zeros.
pub(super) const TRAILER: [u8; 8] = *b"\nPSTEND\xF5";

/// Set on records that the recorder wrote on its own account, not a gateway.
pub(super) const BY_RECORDER: u16 = 1;

/// Names a log for good: segments of two logs cannot be mixed unnoticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogId(pub [u8; 16]);

/// The first bytes of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// Number of this segment, from one.
    pub number: u64,
    /// When it was begun, nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// The log that it belongs to.
    pub log: LogId,
    /// Number of its first record in the whole log.
    pub first_sequence: u64,
    /// Bytes of the segment before, zero for the first.
    pub previous_bytes: u64,
    /// Last hash of the segment before, zeros for the first.
    pub previous_chain: [u8; 32],
}

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The body is a frame.
    Frame,
    /// The body is a [`State`]: how far each ring is written, which sessions are open.
    State,
    /// The body is a [`Resumed`]: the recorder started again.
    Resumed,
    /// The segment was finished in good order; nothing follows. No body.
    End,
}

/// The first bytes of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// What it is.
    pub kind: Kind,
    /// Written by the recorder on its own account, not by a gateway.
    pub by_recorder: bool,
    /// Bytes of the body, without padding.
    pub body_bytes: u32,
    /// Number of the record in the whole log, from zero.
    pub sequence: u64,
    /// When the recorder wrote it, nanoseconds since 1970.
    pub written_unix_ns: u64,
    /// The ring it came from, nil for none.
    pub ring: RingId,
    /// Position in that ring just past what this record stands for.
    pub ring_position: u64,
    /// Bytes of this segment that were on disk, synced, when this record was made: damage before
    /// that cannot come from a crash.
    pub durable: u64,
    /// BLAKE3 of the body.
    pub body_hash: [u8; 32],
    /// BLAKE3 of the chain before this record, and of everything above.
    pub chain: [u8; 32],
}

/// How far the log is, repeated at the start of each segment, so that a restart reads one segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// For each ring that may still be offered: position up to which it is written.
    pub rings: Vec<(RingId, u64)>,
    /// Sessions that have no end yet.
    pub sessions: Vec<OpenSession>,
}

/// A session that has no end yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenSession {
    /// The session.
    pub session: SessionId,
    /// The ring that it comes from.
    pub ring: RingId,
    /// Index that its next frame would have.
    pub next_index: u32,
}

/// What a recorder found when it started on an existing log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResumedFrom {
    /// The segment before was finished in good order.
    Closed,
    /// It was not finished, but whole up to its last record.
    Open,
    /// Its end was torn, and was cut off.
    Torn,
    /// It was altered. Nothing was cut: it is evidence.
    Altered,
}

/// The recorder started on an existing log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resumed {
    /// The segment before.
    pub segment: u64,
    /// Bytes of it that were kept.
    pub kept_bytes: u64,
    /// Bytes of it that were cut off.
    pub cut_bytes: u64,
    /// What was found.
    pub from: ResumedFrom,
}

/// Name of the file of a segment.
pub fn file_name(number: u64) -> String {
    format!("{number:012}.{EXTENSION}")
}

/// Number of the segment with that file name; `None` for any other name.
pub fn file_number(name: &str) -> Option<u64> {
    let number = name
        .strip_suffix(EXTENSION)?
        .strip_suffix('.')?
        .parse()
        .ok()?;
    (file_name(number) == name).then_some(number)
}

/// Bytes that a record with such a body takes.
pub fn record_bytes(body: usize) -> usize {
    RECORD_HEADER_BYTES + body.next_multiple_of(8) + RECORD_TRAILER_BYTES
}

// === impl FileHeader ===

impl FileHeader {
    /// To bytes. The last 32 are the hash over the others, with which the segment's chain begins.
    pub fn encode(&self) -> [u8; FILE_HEADER_BYTES] {
        let mut bytes = [0; FILE_HEADER_BYTES];
        bytes[..8].copy_from_slice(&FILE_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&SCHEMA_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created_unix_ns.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.log.0);
        bytes[48..56].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.previous_bytes.to_le_bytes());
        bytes[64..96].copy_from_slice(&self.previous_chain);
        let hash = blake3::hash(&bytes[..96]);
        bytes[96..].copy_from_slice(hash.as_bytes());
        bytes
    }

    /// From bytes; the error names what is wrong.
    pub fn decode(bytes: &[u8; FILE_HEADER_BYTES]) -> Result<Self, String> {
        if bytes[..8] != FILE_MAGIC {
            return Err("it does not start like a segment".to_owned());
        }
        if blake3::hash(&bytes[..96]).as_bytes() != &bytes[96..] {
            return Err("the header does not match its hash".to_owned());
        }
        let (format, schema) = (u32_at(bytes, 8), u32_at(bytes, 12));
        if format != FORMAT_VERSION || !(SCHEMA_VERSION_MIN..=SCHEMA_VERSION).contains(&schema) {
            return Err(format!(
                "format {format}, frames {schema}; this program reads {FORMAT_VERSION}, \
                 {SCHEMA_VERSION_MIN} to {SCHEMA_VERSION}"
            ));
        }
        Ok(Self {
            number: u64_at(bytes, 16),
            created_unix_ns: u64_at(bytes, 24),
            log: LogId(array_at(bytes, 32)),
            first_sequence: u64_at(bytes, 48),
            previous_bytes: u64_at(bytes, 56),
            previous_chain: array_at(bytes, 64),
        })
    }

    /// The hash with which the chain of this segment begins.
    pub fn chain(encoded: &[u8; FILE_HEADER_BYTES]) -> [u8; 32] {
        array_at(encoded, 96)
    }
}

// === impl RecordHeader ===

impl RecordHeader {
    /// To bytes, computing the chain and the checksum: `chain` in `self` is ignored. Returns the
    /// bytes and the new chain.
    pub(super) fn seal(&self, before: &[u8; 32]) -> ([u8; RECORD_HEADER_BYTES], [u8; 32]) {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        bytes[..8].copy_from_slice(&RECORD_MAGIC);
        bytes[16..18].copy_from_slice(&self.kind.code().to_le_bytes());
        let flags = if self.by_recorder { BY_RECORDER } else { 0 };
        bytes[18..20].copy_from_slice(&flags.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.written_unix_ns.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.ring.0);
        bytes[56..64].copy_from_slice(&self.ring_position.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.durable.to_le_bytes());
        bytes[72..104].copy_from_slice(&self.body_hash);
        let chain = chain_after(before, &bytes);
        bytes[104..136].copy_from_slice(&chain);
        let check = checksum(&bytes);
        bytes[8..16].copy_from_slice(&check);
        (bytes, chain)
    }

    /// From bytes: magic and checksum must fit, kind and flags must be known.
    pub(super) fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> Option<Self> {
        let flags = u16_at(bytes, 18);
        let body_bytes = u32_at(bytes, 20);
        let sound = bytes[..8] == RECORD_MAGIC
            && bytes[8..16] == checksum(bytes)
            && flags & !BY_RECORDER == 0
            && body_bytes as usize <= BODY_BYTES_MAX;
        sound
            .then(|| Kind::from_code(u16_at(bytes, 16)))
            .flatten()
            .map(|kind| Self {
                kind,
                by_recorder: flags & BY_RECORDER != 0,
                body_bytes,
                sequence: u64_at(bytes, 24),
                written_unix_ns: u64_at(bytes, 32),
                ring: RingId(array_at(bytes, 40)),
                ring_position: u64_at(bytes, 56),
                durable: u64_at(bytes, 64),
                body_hash: array_at(bytes, 72),
                chain: array_at(bytes, 104),
            })
    }
}

/// `BLAKE3(chain before ‖ header from kind to body hash)`.
pub(super) fn chain_after(before: &[u8; 32], header: &[u8; RECORD_HEADER_BYTES]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before);
    hasher.update(&header[16..104]);
    *hasher.finalize().as_bytes()
}

/// The first eight bytes of BLAKE3 over the header behind the checksum.
fn checksum(header: &[u8; RECORD_HEADER_BYTES]) -> [u8; 8] {
    array_at(blake3::hash(&header[16..]).as_bytes(), 0)
}

// === impl Kind ===

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::Frame => 1,
            Self::State => 2,
            Self::Resumed => 3,
            Self::End => 4,
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Frame),
            2 => Some(Self::State),
            3 => Some(Self::Resumed),
            4 => Some(Self::End),
            _ => None,
        }
    }
}

// === impl State ===

const RING_BYTES: usize = 24;
const SESSION_BYTES: usize = 40;

impl State {
    /// To the body of a record.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(self.rings.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.sessions.len() as u32).to_le_bytes());
        for (ring, position) in &self.rings {
            bytes.extend_from_slice(&ring.0);
            bytes.extend_from_slice(&position.to_le_bytes());
        }
        for open in &self.sessions {
            bytes.extend_from_slice(&open.session.0);
            bytes.extend_from_slice(&open.ring.0);
            bytes.extend_from_slice(&u64::from(open.next_index).to_le_bytes());
        }
        bytes
    }

    /// From the body of a record.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (head, rest) = body.split_at_checked(8)?;
        let rings = u32_at(head, 0) as usize;
        let (rings, sessions) = rest.split_at_checked(rings.checked_mul(RING_BYTES)?)?;
        if sessions.len() != (u32_at(head, 4) as usize).checked_mul(SESSION_BYTES)? {
            return None;
        }
        let rings = rings
            .chunks_exact(RING_BYTES)
            .map(|ring| (RingId(array_at(ring, 0)), u64_at(ring, 16)))
            .collect();
        let sessions = sessions
            .chunks_exact(SESSION_BYTES)
            .map(|open| OpenSession {
                session: SessionId(array_at(open, 0)),
                ring: RingId(array_at(open, 16)),
                next_index: u32_at(open, 32),
            })
            .collect();
        Some(Self { rings, sessions })
    }
}

// === impl Resumed ===

impl Resumed {
    /// To the body of a record.
    pub fn encode(&self) -> Vec<u8> {
        let from: u64 = match self.from {
            ResumedFrom::Closed => 0,
            ResumedFrom::Open => 1,
            ResumedFrom::Torn => 2,
            ResumedFrom::Altered => 3,
        };
        [self.segment, self.kept_bytes, self.cut_bytes, from]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    /// From the body of a record.
    pub fn decode(body: &[u8]) -> Option<Self> {
        if body.len() != 32 {
            return None;
        }
        let from = match u64_at(body, 24) {
            0 => ResumedFrom::Closed,
            1 => ResumedFrom::Open,
            2 => ResumedFrom::Torn,
            3 => ResumedFrom::Altered,
            _ => return None,
        };
        let (segment, kept_bytes, cut_bytes) = (u64_at(body, 0), u64_at(body, 8), u64_at(body, 16));
        Some(Self {
            segment,
            kept_bytes,
            cut_bytes,
            from,
        })
    }
}

// === impl LogId ===

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Fixed fields of slices whose length was checked before; out of range is a bug here.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}
