//! The ring, from the gateway's side: one frame, serialised in place.

use std::hint::black_box;

use penstock_recorder::frame::{Frame, FrameBody, ResponseChunk, SessionId};
use penstock_recorder::ring::{self, Consumer, FrameBuffer, Producer};

use crate::Case;

/// Frames of a run.
const FRAMES: u32 = 64;

/// Bytes of a frame's piece: an event of a chat stream.
const PIECE_BYTES: usize = 200;

/// Bytes of a ring's data.
const RING_BYTES: usize = 4 << 20;

/// Pieces of a stream, pushed one by one; nobody sleeps at the other end.
pub(crate) struct Frames {
    producer: Producer,
    drain: Drain,
    frame: Frame,
}

/// The other end of a ring: forgets everything that is in it.
pub(crate) struct Drain {
    consumer: Consumer,
    buffer: FrameBuffer,
}

/// A ring and the end that empties it.
pub(crate) fn ring() -> (Producer, Drain) {
    let (producer, fds) = ring::create(RING_BYTES).expect("a ring can be made");
    let (memfd, bell) = fds.into_parts();
    let drain = Drain {
        consumer: ring::attach(memfd, bell).expect("it was just made"),
        buffer: FrameBuffer::default(),
    };
    (producer, drain)
}

// === impl Drain ===

impl Drain {
    pub(crate) fn drain(&mut self) {
        while let Some(received) = self.consumer.receive(&mut self.buffer).expect("is valid") {
            self.consumer.release(received.end);
        }
    }
}

// === impl Frames ===

impl Frames {
    pub(crate) fn new() -> Frames {
        let (producer, drain) = ring();
        let frame = Frame {
            session: SessionId([7; 16]),
            index: 3,
            at_unix_ns: 1_800_000_000_000_000_000,
            body: FrameBody::ResponseChunk(ResponseChunk {
                bytes: vec![b'x'; PIECE_BYTES],
            }),
        };
        Frames {
            producer,
            drain,
            frame,
        }
    }
}

impl Case for Frames {
    fn prepare(&mut self) {
        self.drain.drain();
    }

    fn run(&mut self) {
        for _ in 0..FRAMES {
            self.producer
                .push(black_box(&self.frame))
                .expect("there is room");
        }
    }

    fn units(&self) -> u32 {
        FRAMES
    }
}
