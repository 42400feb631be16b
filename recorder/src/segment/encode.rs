//! Appends records to a buffer and keeps the chain. Pure: the caller writes the buffer to a file.

use super::format::{
    BODY_BYTES_MAX, FILE_HEADER_BYTES, FileHeader, Kind, RecordHeader, TRAILER, record_bytes,
};
use crate::ring::RingId;

/// What a record is to say; the encoder adds what follows from its place.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// What it is.
    pub kind: Kind,
    /// Written by the recorder on its own account.
    pub by_recorder: bool,
    /// The ring it came from, nil for none.
    pub ring: RingId,
    /// Position in that ring just past what this record stands for.
    pub ring_position: u64,
    /// Now, nanoseconds since 1970.
    pub written_unix_ns: u64,
    /// At most [`BODY_BYTES_MAX`] bytes.
    pub body: &'a [u8],
}

/// The state of one segment's chain while it is written.
#[derive(Debug)]
pub struct Encoder {
    chain: [u8; 32],
    sequence: u64,
    bytes: u64,
    durable: u64,
}

// === impl Encoder ===

impl Encoder {
    /// Begins a segment: appends its header.
    pub fn begin(header: &FileHeader, out: &mut Vec<u8>) -> Self {
        let encoded = header.encode();
        out.extend_from_slice(&encoded);
        Self {
            chain: FileHeader::chain(&encoded),
            sequence: header.first_sequence,
            bytes: FILE_HEADER_BYTES as u64,
            durable: 0,
        }
    }

    /// Appends a record.
    ///
    /// # Panics
    /// When the body is longer than [`BODY_BYTES_MAX`]: callers bound what they record.
    pub fn append(&mut self, record: &NewRecord<'_>, out: &mut Vec<u8>) {
        assert!(
            record.body.len() <= BODY_BYTES_MAX,
            "a record's body is bounded by its caller"
        );
        let header = RecordHeader {
            kind: record.kind,
            by_recorder: record.by_recorder,
            body_bytes: record.body.len() as u32,
            sequence: self.sequence,
            written_unix_ns: record.written_unix_ns,
            ring: record.ring,
            ring_position: record.ring_position,
            durable: self.durable,
            body_hash: *blake3::hash(record.body).as_bytes(),
            chain: [0; 32],
        };
        let (bytes, chain) = header.seal(&self.chain);
        let length = record_bytes(record.body.len());
        out.reserve(length);
        out.extend_from_slice(&bytes);
        out.extend_from_slice(record.body);
        out.resize(
            out.len() + record.body.len().next_multiple_of(8) - record.body.len(),
            0,
        );
        out.extend_from_slice(&TRAILER);
        self.chain = chain;
        self.sequence += 1;
        self.bytes += length as u64;
    }

    /// Notes that so many bytes of the segment are on disk and synced.
    pub fn synced(&mut self, bytes: u64) {
        debug_assert!((self.durable..=self.bytes).contains(&bytes));
        self.durable = bytes;
    }

    /// Bytes of the segment so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of the next record in the whole log.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The last hash.
    pub fn chain(&self) -> [u8; 32] {
        self.chain
    }
}
