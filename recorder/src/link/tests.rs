//! The hand-over, between an honest gateway and a recorder, and between dishonest ones.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::ring;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn hello(rings: u32) -> Hello {
    Hello {
        gateway: "node-1".to_owned(),
        pid: std::process::id(),
        rings,
    }
}

/// A recorder that takes one guest in, and tells what it saw.
struct Host {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    seen: thread::JoinHandle<Result<Guest, Refusal>>,
}

fn host(allowed: Vec<u32>) -> Host {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("recorder.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    let seen = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a guest");
        let peer = match identify(&stream, &allowed) {
            Ok(peer) => peer,
            Err(refusal) => {
                turn_away(stream, &refusal);
                return Err(refusal);
            }
        };
        match receive(stream, peer) {
            Ok(mut guest) => {
                welcome(&mut guest.stream, guest.rings.len()).expect("answered");
                Ok(guest)
            }
            Err((stream, refusal)) => {
                refuse(stream, &refusal);
                Err(refusal)
            }
        }
    });
    Host {
        _dir: dir,
        socket,
        seen,
    }
}

#[test]
fn rings_are_handed_over_and_carry_frames() {
    let host = host(vec![own_uid()]);
    let (mut producer, first) = ring::create(1 << 12).expect("a ring");
    let (_other, second) = ring::create(1 << 12).expect("a ring");
    producer.push_bytes(b"before").expect("room");
    let stream = offer(&host.socket, &hello(2), &[&first, &second]).expect("taken over");
    let mut guest = host.seen.join().expect("no panic").expect("welcome");
    assert_eq!(
        (guest.uid, guest.pid),
        (own_uid(), std::process::id() as i32)
    );
    assert_eq!(guest.hello, hello(2));
    let ids: Vec<_> = guest.rings.iter().map(ring::Consumer::id).collect();
    assert_eq!(ids, [first.id(), second.id()]);
    producer.push_bytes(b"after").expect("room");
    let mut buffer = ring::FrameBuffer::new();
    for expected in [&b"before"[..], b"after"] {
        guest.rings[0]
            .receive(&mut buffer)
            .expect("sound")
            .expect("a frame");
        assert_eq!(&buffer[..], expected);
    }
    // The stream's end says that the recorder is gone.
    drop(guest);
    assert_eq!((&stream).read(&mut [0; 1]).expect("ends"), 0);
}

#[test]
fn users_that_are_not_listed_are_refused_with_a_reason() {
    let host = host(vec![own_uid() + 1]);
    let (_producer, fds) = ring::create(1 << 12).expect("a ring");
    let error = offer(&host.socket, &hello(1), &[&fds]).expect_err("refused");
    assert!(
        matches!(&error, LinkError::Refused(why) if why.contains("allowed_uids")),
        "{error}"
    );
    assert!(!error.is_final());
    let refusal = host.seen.join().expect("no panic").err().expect("refused");
    assert!(matches!(refusal, Refusal::User { uid } if uid == own_uid()));
}

/// A peer that sends a byte now and then, for as long as it is listened to; gives how long that was.
fn dribble(mut stream: UnixStream) -> Duration {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && stream.write_all(b"P").is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

#[test]
fn a_refused_guest_that_goes_on_talking_is_left_at_a_fixed_moment() {
    let (stream, talker) = UnixStream::pair().expect("a pair");
    let talker = thread::spawn(move || dribble(talker));
    refuse(stream, &Refusal::Foreign);
    assert!(talker.join().expect("no panic") < PATIENCE, "it was left");
}

#[test]
fn a_hello_that_comes_in_drops_has_one_deadline() {
    let (stream, talker) = UnixStream::pair().expect("a pair");
    let peer = identify(&stream, &[own_uid()]).expect("ourselves");
    // The longest hello there is, of which one byte comes every 20 ms: it would take 5.5 s.
    let mut bytes = hello(1).encode().expect("encodes");
    bytes.truncate(HELLO_BYTES);
    bytes[20..22].copy_from_slice(&(NAME_BYTES_MAX as u16).to_le_bytes());
    bytes.resize(HELLO_BYTES + NAME_BYTES_MAX, b'n');
    let talker = thread::spawn(move || {
        let mut talker = talker;
        bytes.chunks(1).all(|byte| {
            thread::sleep(Duration::from_millis(25));
            talker.write_all(byte).is_ok()
        })
    });
    let (stream, refusal) = receive(stream, peer).err().expect("too slow");
    assert!(matches!(refusal, Refusal::Broken(_)), "{refusal}");
    drop(stream);
    assert!(!talker.join().expect("no panic"), "cut off before its end");
}

#[test]
fn a_stranger_is_turned_away_without_a_wait() {
    let (stream, mut talker) = UnixStream::pair().expect("a pair");
    talker.write_all(b"unread").expect("sent");
    turn_away(stream, &Refusal::User { uid: 7 });
    let mut answer = [0; ANSWER_BYTES];
    talker.read_exact(&mut answer).expect("an answer");
    assert_eq!((&answer[..8], u32_at(&answer, 12)), (&MAGIC[..], 1));
    assert!(talker.write_all(b"more").is_err(), "it is closed");
}

/// Sends bytes as a gateway would, and gives what the recorder made of them.
fn say(bytes: &[u8]) -> Refusal {
    let host = host(vec![own_uid()]);
    let mut stream = UnixStream::connect(&host.socket).expect("connects");
    stream.write_all(bytes).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert_eq!(answer[..8], MAGIC, "even a stranger gets an answer");
    assert_eq!(u32_at(&answer, 12), 1, "which is no");
    host.seen.join().expect("no panic").err().expect("refused")
}

#[test]
fn malformed_hellos_are_refused() {
    let good = hello(1).encode().expect("encodes");
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    assert!(matches!(say(&changed(0, b'X')), Refusal::Foreign));
    assert!(matches!(
        say(&changed(8, 2)),
        Refusal::Version { version: 2 }
    ));
    assert!(
        matches!(say(&changed(12, 0)), Refusal::Malformed(_)),
        "no ring"
    );
    assert!(
        matches!(say(&changed(14, 1)), Refusal::Malformed(_)),
        "65537 rings"
    );
    assert!(
        matches!(say(&changed(21, 2)), Refusal::Malformed(_)),
        "a long name"
    );
    assert!(
        matches!(say(&changed(22, 0xFF)), Refusal::Malformed(_)),
        "a name not in UTF-8"
    );
    assert!(
        matches!(say(&good[..10]), Refusal::Broken(_)),
        "half a hello"
    );
    assert!(
        matches!(say(&good), Refusal::Malformed(_)),
        "no ring follows"
    );
    let mut no_descriptors = good.clone();
    no_descriptors.extend_from_slice(&[7; 16]);
    assert!(
        matches!(say(&no_descriptors), Refusal::Malformed(_)),
        "a ring without descriptors"
    );
}

#[test]
fn rings_that_cannot_be_trusted_are_refused() {
    let host = host(vec![own_uid()]);
    let (_producer, fds) = ring::create(1 << 12).expect("a ring");
    // The same ring twice.
    let error = offer(&host.socket, &hello(2), &[&fds, &fds]).expect_err("refused");
    assert!(matches!(error, LinkError::Refused(_)), "{error}");
    host.seen.join().expect("no panic").err().expect("refused");
}

#[test]
fn what_cannot_be_offered_is_not_sent() {
    let nowhere = PathBuf::from("/nonexistent/recorder.sock");
    let (_producer, fds) = ring::create(1 << 12).expect("a ring");
    assert!(matches!(
        offer(&nowhere, &hello(1), &[&fds]),
        Err(LinkError::Connect { .. })
    ));
    assert!(matches!(
        offer(&nowhere, &hello(2), &[&fds]),
        Err(LinkError::Invalid(_))
    ));
    let long = Hello {
        gateway: "x".repeat(NAME_BYTES_MAX + 1),
        ..hello(1)
    };
    assert!(matches!(
        offer(&nowhere, &long, &[&fds]),
        Err(LinkError::Invalid(_))
    ));
}

#[test]
fn a_recorder_of_another_version_is_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).expect("binds");
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a guest");
        let mut answer = encode_answer(Status::Refused, "version 1? we speak 9");
        answer[8] = 9;
        stream.write_all(&answer).expect("sent");
    });
    let (_producer, fds) = ring::create(1 << 12).expect("a ring");
    let error = offer(&socket, &hello(1), &[&fds]).expect_err("refused");
    assert!(
        matches!(&error, LinkError::Foreign(why) if why.contains("version 9")),
        "{error}"
    );
    other.join().expect("no panic");
}
