//! The HTTP/1.1 codec: heads and chunked bodies.

use std::hint::black_box;

use crate::{Case, bytes};
use penstock_gateway::http1::{
    ChunkDecoder, HeadLimits, HeadScanner, Progress, RequestHead, ResponseHead, chunk, last_chunk,
    parse_request_into, parse_response_into,
};

/// Units of a run.
const UNITS: u32 = 16;

/// Pieces that a body of 1 KiB comes in.
const CHUNK_BYTES: usize = 128;

/// The head of a chat completion with a token of 600 bytes.
pub(crate) struct RequestHeads {
    bytes: Vec<u8>,
    head: RequestHead,
}

/// The head of its answer.
pub(crate) struct ResponseHeads {
    bytes: Vec<u8>,
    head: ResponseHead,
}

/// An answer of 1 KiB in chunks of 128 bytes.
pub(crate) struct ChunkedBody {
    bytes: Vec<u8>,
}

// === impl RequestHeads ===

impl RequestHeads {
    pub(crate) fn new() -> RequestHeads {
        let field = format!("Authorization: Bearer {}", "t".repeat(600));
        RequestHeads {
            bytes: bytes::request(&field, false),
            head: RequestHead::default(),
        }
    }
}

impl Case for RequestHeads {
    fn run(&mut self) {
        for _ in 0..UNITS {
            let limits = HeadLimits::default();
            let mut scanner = HeadScanner::default();
            let bytes = black_box(&self.bytes);
            let read = parse_request_into(&mut scanner, bytes, &limits, &mut self.head);
            assert!(matches!(read, Ok(Progress::Complete { .. })));
        }
    }

    fn units(&self) -> u32 {
        UNITS
    }
}

// === impl ResponseHeads ===

impl ResponseHeads {
    pub(crate) fn new() -> ResponseHeads {
        ResponseHeads {
            bytes: RESPONSE_HEAD.to_vec(),
            head: ResponseHead::default(),
        }
    }
}

/// As uvicorn writes it.
pub(crate) const RESPONSE_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ndate: Fri, 20 Nov 2026 10:00:00 GMT\r\n\
    server: uvicorn\r\ncontent-length: 1024\r\ncontent-type: application/json\r\n\r\n";

impl Case for ResponseHeads {
    fn run(&mut self) {
        for _ in 0..UNITS {
            let limits = HeadLimits::default();
            let mut scanner = HeadScanner::default();
            let bytes = black_box(&self.bytes);
            let read = parse_response_into(&mut scanner, bytes, false, &limits, &mut self.head);
            assert!(matches!(read, Ok(Progress::Complete { .. })));
        }
    }

    fn units(&self) -> u32 {
        UNITS
    }
}

// === impl ChunkedBody ===

impl ChunkedBody {
    pub(crate) fn new() -> ChunkedBody {
        let mut bytes = Vec::new();
        for piece in bytes::answer().chunks(CHUNK_BYTES) {
            chunk(&mut bytes, piece);
        }
        last_chunk(&mut bytes);
        ChunkedBody { bytes }
    }
}

impl Case for ChunkedBody {
    fn run(&mut self) {
        for _ in 0..UNITS {
            let mut decoder = ChunkDecoder::new();
            let (mut at, mut data) = (0, 0);
            while !decoder.is_done() {
                let step = decoder
                    .decode(black_box(&self.bytes[at..]))
                    .expect("is valid");
                at += step.consumed;
                data += step.data.len();
            }
            assert_eq!(data, bytes::BODY_BYTES);
        }
    }

    fn units(&self) -> u32 {
        UNITS
    }
}
