//! The ring under loom, which runs it in every order of stores that the memory model allows.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom \
//!     cargo test --release -p penstock-recorder --lib ring::model
//! ```
//!
//! Bounds are small, because the number of orders grows with every step: a ring of 64 bytes wraps
//! after a few frames, and two or three frames are enough for every pair of stores to race.

use rkyv::util::AlignedVec;

use super::bell::Bell;
use super::layout::DataSize;
use super::{Consumer, Producer, PushError, Region, RingId};

/// How often loom may switch threads where it need not; three finds what two threads can do.
const PREEMPTIONS: usize = 3;

fn pair() -> (Producer, Consumer) {
    let region = Region::new(DataSize::new(64).expect("a size"));
    let bell = Bell::new();
    let id = RingId([1; 16]);
    let consumer = Consumer::new(region.clone(), bell.clone(), id).expect("a sound ring");
    (Producer::new(region, bell, id), consumer)
}

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(test);
}

/// Frames come whole, once, in order, while the ring fills, wraps and empties.
#[test]
fn frames_come_whole_and_in_order() {
    const FRAMES: u8 = 5;
    model(|| {
        let (mut producer, mut consumer) = pair();
        let pushing = loom::thread::spawn(move || {
            for number in 1..=FRAMES {
                // Sixteen bytes each: the fifth one wraps.
                while producer.push_bytes(&[number; 8]) == Err(PushError::Full) {
                    loom::thread::yield_now();
                }
            }
        });
        let mut buffer = AlignedVec::new();
        let mut next = 1;
        while next <= FRAMES {
            match consumer.receive(&mut buffer).expect("an honest producer") {
                Some(received) => {
                    assert_eq!(&buffer[..], &[next; 8]);
                    consumer.release(received.end);
                    next += 1;
                }
                None => loom::thread::yield_now(),
            }
        }
        pushing.join().expect("no panic");
    });
}

/// A consumer that sleeps is woken: no order of stores loses the wake. (If one did, loom would
/// report a deadlock.)
#[test]
fn no_wake_is_lost() {
    const FRAMES: u8 = 2;
    model(|| {
        let (mut producer, mut consumer) = pair();
        let pushing = loom::thread::spawn(move || {
            for number in 1..=FRAMES {
                producer.push_bytes(&[number; 4]).expect("room");
            }
        });
        let mut buffer = AlignedVec::new();
        let mut next = 1;
        while next <= FRAMES {
            match consumer.receive(&mut buffer).expect("an honest producer") {
                Some(received) => {
                    assert_eq!(&buffer[..], &[next; 4]);
                    consumer.release(received.end);
                    next += 1;
                }
                None => {
                    if consumer.sleep() {
                        consumer.wait();
                        consumer.wake();
                    }
                }
            }
        }
        pushing.join().expect("no panic");
    });
}

/// Padding at the wrap is published only with the frame behind it.
#[test]
fn padding_is_never_seen_alone() {
    model(|| {
        let (mut producer, mut consumer) = pair();
        let mut buffer = AlignedVec::new();
        // Two frames of 24 bytes leave 16, so that the third one pads.
        for number in 1..=2 {
            producer.push_bytes(&[number; 16][..8]).expect("room");
        }
        let pushing = loom::thread::spawn(move || {
            for number in 3..=6 {
                while producer.push_bytes(&[number; 5]) == Err(PushError::Full) {
                    loom::thread::yield_now();
                }
            }
        });
        let mut next = 1;
        while next <= 6 {
            match consumer.receive(&mut buffer).expect("an honest producer") {
                Some(received) => {
                    let length = if next <= 2 { 8 } else { 5 };
                    assert_eq!(&buffer[..], &vec![next; length][..]);
                    consumer.release(received.end);
                    next += 1;
                }
                None => loom::thread::yield_now(),
            }
        }
        pushing.join().expect("no panic");
    });
}
