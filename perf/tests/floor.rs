//! The floor carries bytes, whatever their pieces: nothing lost, doubled, changed or reordered, an
//! end of one direction does not end the other, and who does not read makes the sender wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use penstock_perf::floor::Floor;

/// Nothing here takes long; a relay that hangs must not hang the test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A floor before `upstream`, in a thread of its own; none where the kernel forbids io_uring.
fn floor(upstream: SocketAddr) -> Option<SocketAddr> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || match Floor::bind(upstream) {
        Ok(floor) => {
            sender
                .send(Some(floor.address().expect("a port")))
                .expect("waited for");
            floor.serve().expect("it serves as long as the test lives");
        }
        Err(error) => {
            eprintln!("skipped: {error}");
            sender.send(None).expect("waited for");
        }
    });
    receiver.recv_timeout(PATIENCE).expect("it starts")
}

/// An upstream that serves each of its connections with `serve`.
fn upstream(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port");
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (serve, socket) = (serve.clone(), socket.expect("a connection"));
            thread::spawn(move || serve(socket));
        }
    });
    address
}

fn client(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_nodelay(true).expect("no delay");
    socket
}

fn echo(mut socket: TcpStream) {
    let mut buffer = [0; 8 << 10];
    while let Ok(count @ 1..) = socket.read(&mut buffer) {
        socket.write_all(&buffer[..count]).expect("echoed");
    }
}

/// Bytes in which every place tells where it is.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Sends all of it in pieces of `piece` bytes while another thread reads it back.
fn round_trip(address: SocketAddr, bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut socket = client(address);
    let mut writer = socket.try_clone().expect("a second handle");
    thread::scope(|scope| {
        scope.spawn(move || {
            for part in bytes.chunks(piece) {
                writer.write_all(part).expect("sent");
            }
            writer.shutdown(Shutdown::Write).expect("ended");
        });
        let mut back = Vec::new();
        socket.read_to_end(&mut back).expect("an end");
        back
    })
}

#[test]
fn bytes_come_through_unchanged_at_every_piece_size() {
    let Some(address) = floor(upstream(echo)) else {
        return;
    };
    for (piece, length) in [
        (1, 4_000),
        (7, 30_000),
        (1_499, 1 << 20),
        (16 << 10, 4 << 20),
    ] {
        let bytes = pattern(piece as u64, length);
        assert!(
            round_trip(address, &bytes, piece) == bytes,
            "pieces of {piece}"
        );
    }
    let bytes = pattern(99, 9 << 20);
    assert!(
        round_trip(address, &bytes, bytes.len()) == bytes,
        "in one piece"
    );
}

#[test]
fn connections_do_not_mix() {
    let Some(address) = floor(upstream(echo)) else {
        return;
    };
    let trips: Vec<JoinHandle<()>> = (0..40)
        .map(|seed| {
            thread::spawn(move || {
                let bytes = pattern(seed, 200_000);
                assert!(
                    round_trip(address, &bytes, 3_000) == bytes,
                    "connection {seed}"
                );
            })
        })
        .collect();
    for trip in trips {
        trip.join().expect("unchanged");
    }
}

#[test]
fn one_direction_ends_and_the_other_goes_on() {
    // The upstream answers only when it has seen the end of what it was sent.
    let address = floor(upstream(|mut socket| {
        let mut all = Vec::new();
        socket.read_to_end(&mut all).expect("an end");
        socket.write_all(&all).expect("answered");
        socket.write_all(b" and more").expect("answered");
    }));
    let Some(address) = address else { return };
    let mut socket = client(address);
    socket.write_all(b"all").expect("sent");
    socket.shutdown(Shutdown::Write).expect("ended");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "all and more");

    // The upstream ends first, and still reads.
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let address = floor(upstream(move |mut socket| {
        socket.write_all(b"early").expect("sent");
        socket.shutdown(Shutdown::Write).expect("ended");
        let mut late = String::new();
        socket.read_to_string(&mut late).expect("an end");
        sender.send(late).expect("waited for");
    }));
    let Some(address) = address else { return };
    let mut socket = client(address);
    let mut early = String::new();
    socket.read_to_string(&mut early).expect("an end");
    assert_eq!(early, "early");
    socket.write_all(b"late").expect("sent");
    drop(socket);
    assert_eq!(receiver.recv_timeout(PATIENCE).as_deref(), Ok("late"));
}

#[test]
fn who_does_not_read_makes_the_sender_wait_and_loses_nothing() {
    const BYTES: usize = 48 << 20;
    static SENT: AtomicUsize = AtomicUsize::new(0);
    let address = floor(upstream(|mut socket| {
        for part in pattern(5, BYTES).chunks(64 << 10) {
            socket.write_all(part).expect("sent");
            SENT.fetch_add(part.len(), Ordering::Relaxed);
        }
    }));
    let Some(address) = address else { return };
    let mut slow = client(address);
    // The sender stops once all buffers on the way are full; then it does not move any more.
    let stopped_at = loop {
        let before = SENT.load(Ordering::Relaxed);
        thread::sleep(Duration::from_millis(200));
        if before > 0 && before == SENT.load(Ordering::Relaxed) {
            break before;
        }
    };
    assert!(stopped_at < BYTES, "the relay took all {BYTES} bytes in");
    // Meanwhile others are served: one that waits does not hold all buffers.
    let mut other = client(address);
    other.read_exact(&mut [0; 1 << 20]).expect("served");
    drop(other);
    let mut all = Vec::new();
    slow.read_to_end(&mut all).expect("an end");
    assert!(all == pattern(5, BYTES), "{} of {BYTES} bytes", all.len());
}

#[test]
fn an_upstream_that_is_not_there_closes_the_client() {
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = gone.local_addr().expect("a port");
    drop(gone);
    let Some(address) = floor(nobody) else { return };
    let mut socket = client(address);
    match socket.read(&mut [0; 8]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("not closed: {other:?}"),
    }
}
