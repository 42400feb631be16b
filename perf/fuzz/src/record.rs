//! Readers of frames and of the log.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::frame::{
    Close, ControlRun, ControlState, Decision, Frame, FrameBody, Open, Outcome, ResponseChunk,
    SessionId, Timings,
};
use crate::ring::RingId;
use crate::segment::{
    BODY_BYTES_MAX, Encoder, Ending, FileHeader, Kind, LogId, NewRecord, Reader, file_name, verify,
};
use rkyv::util::AlignedVec;

use crate::choice;

/// A frame that is believed can be written and read again, and is the same. The input is the bytes
/// themselves, or what a frame is made of, which is then altered in one byte.
pub fn frame_decoder(data: &[u8]) {
    let (how, rest) = choice(data);
    let mut bytes = AlignedVec::new();
    if how == 0 {
        bytes.extend_from_slice(rest);
    } else {
        let (at, rest) = rest.split_first_chunk::<2>().unwrap_or((&[0, 0], rest));
        let frame = made_of(rest);
        bytes = frame.encode();
        assert_eq!(Frame::decode(&bytes).as_ref(), Ok(&frame));
        let at = usize::from(u16::from_be_bytes(*at)) % bytes.len();
        bytes[at] ^= how as u8;
    }
    if let Ok(frame) = Frame::decode(&bytes) {
        let encoded = frame.encode();
        assert!(encoded.len() <= frame.encoded_bytes_max());
        assert_eq!(Frame::decode(&encoded).as_ref(), Ok(&frame));
    }
}

/// A frame of the pieces of `data` between bars; the first byte chooses its kind.
fn made_of(data: &[u8]) -> Frame {
    let (kind, rest) = choice(data);
    let mut pieces = rest.split(|byte| *byte == b'|');
    let mut bytes = || pieces.next().unwrap_or_default().to_vec();
    let mut text = || String::from_utf8_lossy(&bytes()).into_owned();
    let body = match kind % 4 {
        0 => FrameBody::Open(Open {
            issuer: text(),
            subject: text(),
            groups: vec![text(), text()],
            token_id: Some(text()),
            path: text(),
            model: Some(text()).filter(|model| !model.is_empty()),
            ..Open::default()
        }),
        1 => FrameBody::Decision(Decision {
            guard: text(),
            rule: text(),
            location: text(),
            start: kind as u64,
            ..Decision::default()
        }),
        2 => FrameBody::Close(Close {
            status: 200,
            outcome: Outcome::Completed,
            error_code: Some(text()),
            request_bytes: 1,
            response_bytes: 2,
            model: None,
            timings: Timings::default(),
            controls: vec![ControlRun {
                name: text(),
                state: ControlState::Skipped,
            }],
        }),
        _ => FrameBody::ResponseChunk(ResponseChunk { bytes: bytes() }),
    };
    Frame {
        session: SessionId([kind as u8; 16]),
        index: 1,
        at_unix_ns: 2,
        body,
    }
}

/// A segment of hostile bytes is read without trust; one that was written and then altered in one
/// byte gives the records before that byte and never passes for whole.
pub fn segment_reader(data: &[u8]) {
    let (how, rest) = choice(data);
    if how == 0 {
        let _ = walk(rest);
    } else {
        altered(how, rest);
    }
}

fn altered(flip: usize, data: &[u8]) {
    let Some((&[high, low], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let at = usize::from(u16::from_be_bytes([high, low]));
    let bodies: Vec<&[u8]> = rest.split(|byte| *byte == b'|').collect();
    let mut file = Vec::new();
    let ends = write(&bodies, &mut file);

    let (whole, ending) = walk(&file);
    assert_eq!(
        (whole.len(), ending),
        (bodies.len() + 1, Some(Ending::Closed))
    );
    let at = at % file.len();
    file[at] ^= flip as u8;
    let (read, ending) = walk(&file);
    assert_ne!(
        ending,
        Some(Ending::Closed),
        "byte {at} was altered unnoticed"
    );
    let intact = ends.iter().filter(|end| **end <= at).count();
    assert!(
        read.len() <= intact,
        "a record with byte {at} altered was believed"
    );
    assert_eq!(read, whole[..read.len()]);
}

/// Writes a segment of these bodies and an end; gives where each record ends.
fn write(bodies: &[&[u8]], file: &mut Vec<u8>) -> Vec<usize> {
    let header = FileHeader {
        number: 1,
        created_unix_ns: 1,
        log: LogId([1; 16]),
        first_sequence: 0,
        previous_bytes: 0,
        previous_chain: [0; 32],
    };
    let mut encoder = Encoder::begin(&header, file);
    let mut append = |kind, body: &[u8]| {
        let record = NewRecord {
            kind,
            by_recorder: false,
            ring: RingId::default(),
            ring_position: 0,
            written_unix_ns: 2,
            body: &body[..body.len().min(BODY_BYTES_MAX)],
        };
        encoder.append(&record, file);
        file.len()
    };
    let mut ends: Vec<usize> = bodies
        .iter()
        .map(|body| append(Kind::Frame, body))
        .collect();
    ends.push(append(Kind::End, b""));
    ends
}

/// Reads these bytes as a log of one segment: by the reader, the verifier and the log.
fn walk(file: &[u8]) -> (Vec<Vec<u8>>, Option<Ending>) {
    let dir = folder();
    let path = dir.join(file_name(1));
    std::fs::write(&path, file).expect("a file in memory");
    let mut reader = Reader::open(&path).expect("the file is there");
    let mut bodies = Vec::new();
    while let Some(record) = reader.next_record().expect("the file can be read") {
        bodies.push(record.body.to_vec());
    }
    let _ = verify(dir);
    if let Ok(log) = crate::log::open(dir) {
        log.frames().take(bodies.len() + 2).for_each(drop);
    }
    (bodies, reader.ending().cloned())
}

/// A folder of this process alone, within the one that `run-brief` names and removes.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let base =
            std::env::var_os("PENSTOCK_FUZZ_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = base.join(format!("segment-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder of our own");
        dir
    })
}
