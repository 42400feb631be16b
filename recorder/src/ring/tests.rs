//! The ring against a queue, and against a producer that lies.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::layout::{
    DATA_BYTES_AT, DATA_BYTES_MIN, DataSize, ENTRY_HEADER_BYTES, HEAD_AT, HEADER_BYTES, ID_AT,
    MAGIC_AT, PADDING, TAIL_AT, VERSION_AT, entry_bytes, stamp,
};
use super::{AttachError, Consumer, Corrupt, FrameBuffer, Producer, PushError, RingFds};
use crate::frame::{Frame, FrameBody, ResponseChunk, SessionId};

/// One step of a test; the fuzz target and the property test share it.
#[derive(Debug, Clone)]
enum Operation {
    /// Push a payload of so many bytes, filled with the count of pushes so far.
    Push(usize),
    /// Take up to so many frames.
    Receive(usize),
    /// Let go of everything that was taken.
    Release,
    /// Say that we sleep; the next push must ring.
    Sleep,
    /// The recorder dies and another one takes over; what was not released comes again.
    Restart,
}

struct Model {
    producer: Producer,
    consumer: Consumer,
    fds: RingFds,
    buffer: FrameBuffer,
    /// Pushed and not yet released, oldest first.
    oracle: VecDeque<Vec<u8>>,
    /// How many of the oracle's frames were received since the last restart.
    received: usize,
    ends: Vec<u64>,
    pushed: u8,
}

fn take_over(fds: &RingFds) -> Result<Consumer, AttachError> {
    let (memfd, bell) = fds.try_clone().expect("descriptors").into_parts();
    super::attach(memfd, bell)
}

// === impl Model ===

impl Model {
    fn new(data_bytes: usize) -> Self {
        let (producer, fds) = super::create(data_bytes).expect("a ring");
        let consumer = take_over(&fds).expect("attaches");
        let buffer = FrameBuffer::new();
        let oracle = VecDeque::new();
        Self {
            producer,
            consumer,
            fds,
            buffer,
            oracle,
            received: 0,
            ends: vec![],
            pushed: 0,
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Push(bytes) => self.push(*bytes),
            Operation::Receive(count) => (0..*count).for_each(|_| self.receive()),
            Operation::Release => self.release(),
            Operation::Sleep => {
                let asleep = self.consumer.sleep();
                assert_eq!(asleep, self.received == self.oracle.len());
            }
            Operation::Restart => {
                self.consumer = take_over(&self.fds).expect("attaches again");
                self.received = 0;
                self.ends.clear();
            }
        }
        let held: u64 = self
            .oracle
            .iter()
            .map(|frame| entry_bytes(frame.len()))
            .sum();
        assert!(self.producer.used() >= held && self.producer.used() <= self.producer.capacity());
    }

    fn push(&mut self, bytes: usize) {
        let payload = vec![self.pushed; bytes];
        match self.producer.push_bytes(&payload) {
            Ok(()) => {
                self.pushed = self.pushed.wrapping_add(1);
                self.oracle.push_back(payload);
            }
            Err(PushError::TooLarge) => {
                assert!(entry_bytes(bytes) > self.producer.capacity() / 4);
            }
            // Full is allowed only when the frame with the padding before it does not fit.
            Err(PushError::Full) => {
                assert!(self.producer.used() + 2 * entry_bytes(bytes) > self.producer.capacity())
            }
        }
    }

    fn receive(&mut self) {
        match self
            .consumer
            .receive(&mut self.buffer)
            .expect("an honest ring")
        {
            Some(received) => {
                assert_eq!(&self.buffer[..], &self.oracle[self.received][..]);
                self.received += 1;
                self.ends.push(received.end);
            }
            None => assert_eq!(self.received, self.oracle.len()),
        }
    }

    fn release(&mut self) {
        if let Some(end) = self.ends.last() {
            self.consumer.release(*end);
            self.oracle.drain(..self.received);
            self.received = 0;
            self.ends.clear();
        }
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (1usize..70).prop_map(Operation::Push),
        3 => (1usize..6).prop_map(Operation::Receive),
        2 => Just(Operation::Release),
        1 => Just(Operation::Sleep),
        1 => Just(Operation::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_queue(
        size in 0u32..4,
        operations in prop::collection::vec(operation(), 0..200),
    ) {
        let mut model = Model::new(DATA_BYTES_MIN << size);
        operations.iter().for_each(|operation| model.apply(operation));
        // In the end everything comes out.
        for _ in 0..=model.oracle.len() {
            model.receive();
        }
    }

    /// Whatever a producer writes into the memory, the consumer gives an error or some bytes, in a
    /// bounded number of steps.
    #[test]
    fn survives_any_memory(
        head in (0u64..600).prop_map(|head| if head % 3 == 0 { head } else { head / 8 * 8 }),
        tail in prop_oneof![0u64..600, any::<u64>()],
        words in prop::collection::vec(prop_oneof![0u32..80, any::<u32>(), Just(PADDING)], 64),
    ) {
        let (producer, fds) = super::create(256).expect("a ring");
        poke(&fds, HEAD_AT, &head.to_ne_bytes());
        poke(&fds, TAIL_AT, &tail.to_ne_bytes());
        for (index, word) in words.iter().enumerate() {
            poke(&fds, HEADER_BYTES + 4 * index, &word.to_ne_bytes());
        }
        match take_over(&fds) {
            Ok(mut consumer) => drop(drain_bounded(&mut consumer)),
            Err(error) => {
                let held = tail.checked_sub(head);
                prop_assert!(head % 8 != 0 || held.is_none_or(|held| held > 256), "{error}");
            }
        }
        drop(producer);
    }
}

/// Takes frames until there are none or the ring is found out; more than fit cannot come.
fn drain_bounded(consumer: &mut Consumer) -> Option<Corrupt> {
    let mut buffer = FrameBuffer::new();
    for _ in 0..consumer.capacity() {
        match consumer.receive(&mut buffer) {
            Ok(Some(_)) => assert!(buffer.len() as u64 <= consumer.capacity() / 4),
            Ok(None) => return None,
            Err(corrupt) => return Some(corrupt),
        }
    }
    panic!("more frames than bytes");
}

/// Writes into the shared memory behind everybody's back.
fn poke(fds: &RingFds, at: usize, bytes: &[u8]) {
    rustix::io::pwrite(fds.memfd(), bytes, at as u64).expect("memory is writable");
}

fn frame(bytes: usize) -> Frame {
    let body = FrameBody::ResponseChunk(ResponseChunk {
        bytes: vec![7; bytes],
    });
    Frame {
        session: SessionId([3; 16]),
        index: 9,
        at_unix_ns: 1,
        body,
    }
}

#[test]
fn frames_are_serialised_in_place() {
    let (mut producer, fds) = super::create(1 << 16).expect("a ring");
    let mut consumer = take_over(&fds).expect("attaches");
    let mut buffer = FrameBuffer::new();
    for round in 0..500 {
        let sent = frame(round % 300);
        producer.push(&sent).expect("room");
        let received = consumer
            .receive(&mut buffer)
            .expect("sound")
            .expect("a frame");
        assert_eq!(Frame::decode(&buffer).expect("valid"), sent);
        consumer.release(received.end);
    }
    assert_eq!(producer.push(&frame(1 << 14)), Err(PushError::TooLarge));
    assert_eq!(
        (producer.used(), producer.durable()),
        (0, producer.position())
    );
}

#[test]
fn a_sleeping_consumer_is_rung_once() {
    let (mut producer, fds) = super::create(1 << 12).expect("a ring");
    let mut consumer = take_over(&fds).expect("attaches");
    let bells = || {
        let mut count = [0; 8];
        match rustix::io::read(fds.eventfd(), &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0, // it does not block: nobody has rung
        }
    };
    producer.push(&frame(1)).expect("room");
    assert_eq!(bells(), 0, "nobody sleeps");
    assert!(!consumer.sleep(), "a frame waits");
    consumer
        .receive(&mut FrameBuffer::new())
        .expect("sound")
        .expect("a frame");
    assert!(consumer.sleep());
    producer.push(&frame(1)).expect("room");
    producer.push(&frame(1)).expect("room");
    assert_eq!(bells(), 1, "one bell wakes");
    assert!(!consumer.sleep());
}

#[test]
fn lies_are_found_out() {
    let honest = || {
        let (mut producer, fds) = super::create(256).expect("a ring");
        producer.push_bytes(&[1; 20]).expect("room");
        (producer, fds)
    };
    let entry = HEADER_BYTES;
    type Lie = (usize, Vec<u8>, fn(&Corrupt) -> bool);
    let lies: [Lie; 9] = [
        (TAIL_AT, 1024u64.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Tail { .. })
        }),
        (TAIL_AT, 33u64.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Tail { .. })
        }),
        (TAIL_AT, u64::MAX.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Tail { .. })
        }),
        (TAIL_AT, 8u64.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Length { .. })
        }),
        (entry, 0u32.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Length { .. })
        }),
        (entry, 57u32.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Length { .. })
        }),
        (entry, 0xFFFF_FFF0u32.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Length { .. })
        }),
        (entry, PADDING.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Length { .. })
        }),
        (entry + 4, 8u32.to_ne_bytes().into(), |c| {
            matches!(c, Corrupt::Stamp { .. })
        }),
    ];
    for (index, (at, bytes, found)) in lies.iter().enumerate() {
        let (_producer, fds) = honest();
        let mut consumer = take_over(&fds).expect("attaches");
        poke(&fds, *at, bytes);
        let corrupt = drain_bounded(&mut consumer).expect("a lie");
        assert!(found(&corrupt), "lie {index}: {corrupt}");
    }
    // A tail that goes back after it was seen.
    let (_producer, fds) = honest();
    let mut consumer = take_over(&fds).expect("attaches");
    assert_eq!(drain_bounded(&mut consumer), None);
    poke(&fds, TAIL_AT, &0u64.to_ne_bytes());
    assert!(matches!(
        drain_bounded(&mut consumer),
        Some(Corrupt::Tail { .. })
    ));
}

#[test]
fn a_wrong_head_stops_the_producer_but_never_lets_it_overwrite() {
    let (mut producer, fds) = super::create(256).expect("a ring");
    while producer.push_bytes(&[1; 24]).is_ok() {}
    for wrong in [u64::MAX, 1 << 40, producer.position() + 8] {
        poke(&fds, HEAD_AT, &wrong.to_ne_bytes());
        assert_eq!(producer.push_bytes(&[2; 24]), Err(PushError::Full));
        assert_eq!(producer.used(), producer.position());
    }
}

#[test]
fn a_new_consumer_goes_on_where_the_log_ends() {
    let (mut producer, fds) = super::create(1 << 10).expect("a ring");
    for byte in 0..4 {
        producer.push_bytes(&[byte; 8]).expect("room");
    }
    let mut first = take_over(&fds).expect("attaches");
    let mut buffer = FrameBuffer::new();
    let one = first.receive(&mut buffer).expect("sound").expect("a frame");
    first.release(one.end);
    let two = first.receive(&mut buffer).expect("sound").expect("a frame");
    drop(first); // written up to two, released up to one

    let mut second = take_over(&fds).expect("attaches");
    second.resume_at(two.end).expect("within the ring");
    assert_eq!(second.released(), two.end);
    second
        .receive(&mut buffer)
        .expect("sound")
        .expect("a frame");
    assert_eq!(&buffer[..], &[2; 8]);
    for wrong in [one.end, producer.position() + 8, u64::MAX, two.end + 3] {
        let mut third = take_over(&fds).expect("attaches");
        assert!(
            matches!(third.resume_at(wrong), Err(Corrupt::Resume { .. })),
            "{wrong}"
        );
    }
}

#[test]
fn memory_that_could_change_its_size_is_refused() {
    let eventfd = || {
        let flags = rustix::event::EventfdFlags::NONBLOCK;
        rustix::event::eventfd(0, flags).expect("an eventfd")
    };
    let memfd = |bytes: u64, seals: SealFlags| -> OwnedFd {
        let fd = memfd_create("test", MemfdFlags::ALLOW_SEALING).expect("a memfd");
        ftruncate(&fd, bytes).expect("sized");
        fcntl_add_seals(&fd, seals).expect("sealed");
        fd
    };
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let good = (HEADER_BYTES + 256) as u64;
    for seals in [
        SealFlags::empty(),
        SealFlags::GROW | SealFlags::SEAL,
        all - SealFlags::SEAL,
    ] {
        let refused = super::attach(memfd(good, seals), eventfd());
        assert!(matches!(refused, Err(AttachError::NotSealed { .. })));
    }
    for bytes in [
        0,
        100,
        HEADER_BYTES as u64,
        good + 1,
        (HEADER_BYTES + 96) as u64,
    ] {
        let refused = super::attach(memfd(bytes, all), eventfd());
        assert!(matches!(refused, Err(AttachError::Size { .. })), "{bytes}");
    }
    let file = tempfile::tempfile().expect("a file");
    assert!(matches!(
        super::attach(file.into(), eventfd()),
        Err(AttachError::NotMemory(_))
    ));
    // Good memory, bad header.
    assert!(matches!(
        super::attach(memfd(good, all), eventfd()),
        Err(AttachError::Header { .. })
    ));
    for at in [MAGIC_AT, VERSION_AT, DATA_BYTES_AT] {
        let (_producer, fds) = super::create(256).expect("a ring");
        poke(&fds, at, &[0xEE]);
        assert!(
            matches!(take_over(&fds), Err(AttachError::Header { .. })),
            "{at}"
        );
    }
    let (_producer, fds) = super::create(256).expect("a ring");
    poke(&fds, ID_AT, &[0; 16]);
    assert!(matches!(take_over(&fds), Err(AttachError::Header { .. })));
}

#[test]
fn sizes_that_no_ring_has_are_refused() {
    for bytes in [0, 1, 63, 96, 1 << 31] {
        assert!(super::create(bytes).is_err(), "{bytes}");
    }
    let size = DataSize::new(256).expect("a size");
    assert_eq!(size.frame_bytes_max(), 256 / 4 - ENTRY_HEADER_BYTES);
    assert_eq!(stamp(1 << 40 | 24), 24);
}
