//! Every byte of a small log altered, cut, moved or removed, and what `verify` says to it.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::ring::RingId;

/// A log made by hand: two segments and a third that is still open.
struct Fixture {
    dir: tempfile::TempDir,
    /// Where each record of the last segment starts, and where the last one ends.
    offsets: Vec<u64>,
}

fn record(kind: Kind, position: u64, body: &[u8]) -> NewRecord<'_> {
    let ring = RingId([9; 16]);
    NewRecord {
        kind,
        by_recorder: false,
        ring,
        ring_position: position,
        written_unix_ns: 5,
        body,
    }
}

fn fixture(closed: bool) -> Fixture {
    let dir = tempfile::tempdir().expect("a folder");
    let mut header = FileHeader {
        number: 1,
        created_unix_ns: 77,
        log: LogId([4; 16]),
        first_sequence: 0,
        previous_bytes: 0,
        previous_chain: [0; 32],
    };
    let mut offsets = Vec::new();
    for number in 1..=3 {
        header.number = number;
        let mut bytes = Vec::new();
        let mut encoder = Encoder::begin(&header, &mut bytes);
        encoder.append(
            &record(Kind::State, 0, &State::default().encode()),
            &mut bytes,
        );
        offsets.clear();
        for (index, length) in [5usize, 700, 24].into_iter().enumerate() {
            encoder.synced(encoder.bytes());
            offsets.push(encoder.bytes());
            let body: Vec<u8> = (0..length).map(|at| (at * 7 + index) as u8 | 1).collect();
            encoder.append(&record(Kind::Frame, 8 * index as u64, &body), &mut bytes);
        }
        if number < 3 || closed {
            encoder.synced(encoder.bytes());
            encoder.append(&record(Kind::End, 0, &[]), &mut bytes);
        }
        offsets.push(encoder.bytes());
        fs::write(dir.path().join(file_name(number)), &bytes).expect("written");
        header.first_sequence = encoder.sequence();
        header.previous_bytes = encoder.bytes();
        header.previous_chain = encoder.chain();
    }
    Fixture { dir, offsets }
}

// === impl Fixture ===

impl Fixture {
    fn path(&self, number: u64) -> PathBuf {
        self.dir.path().join(file_name(number))
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        fs::read(self.path(number)).expect("readable")
    }

    fn verify(&self) -> Report {
        verify(self.dir.path()).expect("readable")
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.verify()
            .problems
            .iter()
            .map(|problem| problem.trouble)
            .collect()
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_good_log_is_good() {
    let report = fixture(true).verify();
    assert!(report.is_good(), "{:?}", report.problems);
    assert_eq!((report.segments, report.records, report.frames), (3, 15, 9));
    assert_eq!(report.state, "closed");
    let report = fixture(false).verify();
    assert!(report.is_good() && report.torn_tail.is_none());
    assert_eq!(report.state, "open");
}

#[test]
fn every_flipped_bit_is_found_where_it_is() {
    for (closed, number) in [(true, 1), (true, 3), (false, 3)] {
        let fixture = fixture(closed);
        let good = fixture.bytes(number);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(fixture.path(number), &bytes).expect("written");
            let report = fixture.verify();
            let first = report.problems.first();
            let first = first.unwrap_or_else(|| panic!("byte {at} of segment {number} not found"));
            assert_eq!(first.file, name(&fixture.path(number)), "byte {at}");
            assert_eq!(first.trouble, Trouble::Altered, "byte {at}");
            let range = first.offset.expect("a place")..first.end.expect("a place");
            // Within the part that is named, or before it in the record when the part was made to
            // look wrong by another one: the checksum of a header stands for the whole header.
            assert!(
                range.contains(&(at as u64)),
                "byte {at} reported at {range:?}"
            );
        }
        fs::write(fixture.path(number), &good).expect("written");
        assert!(fixture.verify().is_good());
    }
}

#[test]
fn a_torn_end_is_told_from_an_alteration_at_every_length() {
    let fixture = fixture(false);
    let good = fixture.bytes(3);
    let [.., start, end] = fixture.offsets[..] else {
        panic!("records")
    };
    for cut in start..=end {
        fs::write(fixture.path(3), &good[..cut as usize]).expect("written");
        let report = fixture.verify();
        assert!(report.is_good(), "cut at {cut}: {:?}", report.problems);
        let torn = report.torn_tail.map(|torn| torn.offset);
        let expected = (cut != start && cut != end).then_some(start);
        assert_eq!(torn, expected, "cut at {cut}");
    }
    // Sectors that never reached the disk read as zeros, with the file at its full length.
    let long = fixture.offsets[1]; // the record of 700 bytes crosses sectors
    for cut in (long + 1..end).filter(|at| at.is_multiple_of(512)) {
        let mut bytes = good.clone();
        bytes[cut as usize..].fill(0);
        fs::write(fixture.path(3), &bytes).expect("written");
        let report = fixture.verify();
        assert!(report.is_good(), "zeroed from {cut}: {:?}", report.problems);
        assert!(report.torn_tail.is_some());
    }
    // Zeros behind the last record are what a direct write leaves.
    let mut padded = good.clone();
    padded.resize(good.len().next_multiple_of(4096), 0);
    fs::write(fixture.path(3), &padded).expect("written");
    let report = fixture.verify();
    assert!(report.is_good() && report.torn_tail.is_none());
    // A byte among them does not go unnoticed: right behind the last record it can only have been
    // put there; further on it might be the rest of a record whose start never arrived.
    for at in good.len()..padded.len() {
        let mut bytes = padded.clone();
        bytes[at] = 1;
        fs::write(fixture.path(3), &bytes).expect("written");
        let report = fixture.verify();
        assert!(
            report.is_good() == report.torn_tail.is_some(),
            "byte {at} is told of, once"
        );
        assert!(at >= good.len() + 8 || !report.is_good(), "byte {at}");
    }
}

#[test]
fn zeroing_what_was_synced_is_no_torn_end() {
    let fixture = fixture(false);
    let mut bytes = fixture.bytes(3);
    // The middle record holds whole sectors; the one behind it says that it was durable.
    let sector = (fixture.offsets[1] as usize).next_multiple_of(512);
    assert!(sector as u64 + 512 <= fixture.offsets[2]);
    bytes[sector..sector + 512].fill(0);
    fs::write(fixture.path(3), &bytes).expect("written");
    assert_eq!(fixture.troubles(), [Trouble::Altered]);
}

#[test]
fn missing_moved_doubled_cut_and_grown_segments_are_named() {
    let missing = fixture(true);
    fs::remove_file(missing.path(2)).expect("removed");
    assert_eq!(missing.troubles(), [Trouble::Missing]);
    assert!(missing.verify().problems[0].detail.contains("segment 2"));

    let first_missing = fixture(true);
    fs::remove_file(first_missing.path(1)).expect("removed");
    assert_eq!(first_missing.troubles(), [Trouble::Missing]);

    let swapped = fixture(true);
    let (two, three) = (swapped.bytes(2), swapped.bytes(3));
    fs::write(swapped.path(2), three).expect("written");
    fs::write(swapped.path(3), two).expect("written");
    assert_eq!(swapped.troubles(), [Trouble::Reordered, Trouble::Reordered]);

    let doubled = fixture(true);
    fs::copy(doubled.path(1), doubled.path(2)).expect("copied");
    assert_eq!(doubled.troubles(), [Trouble::Duplicate]);
    let copied = fixture(true);
    fs::copy(copied.path(1), copied.dir.path().join("copy of 1.segment")).expect("copied");
    assert_eq!(copied.troubles(), [Trouble::Stranger]);

    let grown = fixture(true);
    let mut bytes = grown.bytes(1);
    bytes.extend_from_slice(&[0; 64]);
    fs::write(grown.path(1), &bytes).expect("written");
    assert_eq!(grown.troubles(), [Trouble::Extended]);

    let cut = fixture(true);
    let good = cut.bytes(1);
    for length in (0..good.len()).step_by(13) {
        fs::write(cut.path(1), &good[..length]).expect("written");
        assert_eq!(cut.troubles(), [Trouble::Truncated], "cut at {length}");
        assert_eq!(cut.verify().problems[0].offset, Some(length as u64));
    }
    let none = tempfile::tempdir().expect("a folder");
    assert!(!verify(none.path()).expect("readable").is_good());
}

#[test]
fn a_segment_of_another_log_does_not_fit_in() {
    let fixture = fixture(true);
    let mut header = FileHeader {
        number: 3,
        created_unix_ns: 1,
        log: LogId([5; 16]),
        first_sequence: 10,
        previous_bytes: fs::metadata(fixture.path(2)).expect("there").len(),
        previous_chain: [1; 32],
    };
    let mut bytes = Vec::new();
    Encoder::begin(&header, &mut bytes);
    fs::write(fixture.path(3), &bytes).expect("written");
    assert_eq!(fixture.troubles(), [Trouble::Foreign]);
    // The right log, but a chain of its own.
    header.log = LogId([4; 16]);
    let mut bytes = Vec::new();
    Encoder::begin(&header, &mut bytes);
    fs::write(fixture.path(3), &bytes).expect("written");
    assert_eq!(fixture.troubles(), [Trouble::Altered]);
}

#[test]
fn control_records_read_back_what_was_written() {
    let state = State {
        rings: vec![(RingId([1; 16]), 88), (RingId([2; 16]), 0)],
        sessions: vec![OpenSession {
            session: crate::frame::SessionId([3; 16]),
            ring: RingId([1; 16]),
            next_index: 7,
        }],
    };
    let body = state.encode();
    assert_eq!(State::decode(&body), Some(state));
    for cut in 0..body.len() {
        assert_eq!(State::decode(&body[..cut]), None, "{cut}");
    }
    for from in [
        ResumedFrom::Closed,
        ResumedFrom::Open,
        ResumedFrom::Torn,
        ResumedFrom::Altered,
    ] {
        let resumed = Resumed {
            segment: 3,
            kept_bytes: 4,
            cut_bytes: 5,
            from,
        };
        assert_eq!(Resumed::decode(&resumed.encode()), Some(resumed));
    }
    assert_eq!(file_number("000000000012.segment"), Some(12));
    for wrong in [
        "12.segment",
        "000000000012.segment.1",
        "x.segment",
        "+00000000012.segment",
    ] {
        assert_eq!(file_number(wrong), None, "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever is in the folder, the verifier and the reader come to an end, and say so.
    #[test]
    fn no_bytes_make_the_reader_stumble(
        pokes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let fixture = fixture(true);
        let mut bytes = fixture.bytes(2);
        for (at, byte) in &pokes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        bytes.extend_from_slice(&noise);
        let unchanged = bytes == fixture.bytes(2);
        fs::write(fixture.path(2), &bytes).expect("written");
        prop_assert_eq!(fixture.verify().is_good(), unchanged);
        let read = crate::log::open(fixture.dir.path()).expect("segments").frames().count();
        prop_assert!(read <= 9 + 2);
    }

    /// Bytes that are no frame are an error, never anything worse.
    #[test]
    fn no_bytes_make_the_frame_stumble(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut buffer = crate::ring::FrameBuffer::new();
        buffer.extend_from_slice(&bytes);
        let _ = crate::frame::Frame::decode(&buffer);
    }
}
