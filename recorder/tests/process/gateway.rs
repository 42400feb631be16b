//! A gateway for a test: the rings' producer, in this process or in one of its own that can be
//! killed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use penstock_recorder::frame::{
    Close, Frame, FrameBody, Open, Outcome, ResponseChunk, SessionId, Timings,
};
use penstock_recorder::link::{self, Hello, LinkError};
use penstock_recorder::ring::{self, Producer, PushError, RingFds};

use super::host::{PATIENCE, eventually};

pub(crate) const RING_BYTES: usize = 512 << 10;
/// Frames that the gateway of its own pushes without a pause.
const BURST: u32 = 32;

pub(crate) struct Gateway {
    pub(crate) producer: Producer,
    pub(crate) fds: RingFds,
    pub(crate) stream: Option<UnixStream>,
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos() as u64
}

pub(crate) fn session(number: u8) -> SessionId {
    SessionId::v7(1_700_000_000_000, [number; 10])
}

pub(crate) fn open(session: SessionId, subject: &str, model: &str) -> Frame {
    let body = FrameBody::Open(Open {
        issuer: "https://idp.example".to_owned(),
        subject: subject.to_owned(),
        groups: vec!["ml".to_owned()],
        client: "127.0.0.1:5000".to_owned(),
        method: "POST".to_owned(),
        path: "/v1/chat/completions".to_owned(),
        route: "/v1/chat/completions".to_owned(),
        operation: "infer".to_owned(),
        dialect: "openai".to_owned(),
        model: Some(model.to_owned()),
        policy_version: "0123456789abcdef".to_owned(),
        gateway: "node-1".to_owned(),
        ..Open::default()
    });
    Frame {
        session,
        index: 0,
        at_unix_ns: now(),
        body,
    }
}

pub(crate) fn chunk(session: SessionId, index: u32, bytes: Vec<u8>) -> Frame {
    let body = FrameBody::ResponseChunk(ResponseChunk { bytes });
    Frame {
        session,
        index,
        at_unix_ns: now(),
        body,
    }
}

pub(crate) fn close(session: SessionId, index: u32) -> Frame {
    let body = FrameBody::Close(Close {
        status: 200,
        outcome: Outcome::Completed,
        error_code: None,
        request_bytes: 10,
        response_bytes: 20,
        model: None,
        timings: Timings::default(),
        controls: vec![],
    });
    Frame {
        session,
        index,
        at_unix_ns: now(),
        body,
    }
}

/// The content of chunk `index`: a text that says which one it is, of a length that varies.
pub(crate) fn numbered(index: u32) -> Vec<u8> {
    let mut bytes = format!("{index}:").into_bytes();
    bytes.resize(
        bytes.len() + (index as usize * 37) % 900,
        b'a' + (index % 26) as u8,
    );
    bytes
}

// === impl Gateway ===

impl Gateway {
    pub(crate) fn new() -> Self {
        let (producer, fds) = ring::create(RING_BYTES).expect("a ring");
        Self {
            producer,
            fds,
            stream: None,
        }
    }

    pub(crate) fn connect(&mut self, socket: &Path) -> Result<(), LinkError> {
        let hello = Hello {
            gateway: "node-1".to_owned(),
            pid: std::process::id(),
            rings: 1,
        };
        self.stream = Some(link::offer(socket, &hello, &[&self.fds])?);
        Ok(())
    }

    /// Pushes, waiting for room.
    pub(crate) fn push(&mut self, frame: &Frame) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.producer.push(frame) {
            assert_eq!(error, PushError::Full);
            assert!(Instant::now() < until, "the ring stays full");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Waits until everything pushed is on disk.
    pub(crate) fn settle(&self) {
        eventually("the ring is written", || self.producer.used() == 0);
    }
}

/// A gateway process of its own: this test program, asked for [`child`] alone.
pub(crate) struct Process {
    child: Child,
    told: Arc<AtomicU32>,
    listener: JoinHandle<()>,
}

// === impl Process ===

impl Process {
    /// Starts it; it pushes as fast as it can.
    pub(crate) fn start(socket: &Path, session: SessionId) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("ourselves"))
            .args(["--exact", "gateway::child", "--ignored", "--nocapture"])
            .env("PENSTOCK_TEST_SOCKET", socket)
            .env("PENSTOCK_TEST_SESSION", session.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let told = Arc::new(AtomicU32::new(0));
        let tell = Arc::clone(&told);
        // Somebody must listen all the time, or a full pipe would hold it up.
        let listener = std::thread::spawn(move || listen(lines, &tell));
        Self {
            child,
            told,
            listener,
        }
    }

    /// Waits until it has pushed something.
    pub(crate) fn await_start(&self) {
        eventually("the gateway pushes", || {
            self.told.load(Ordering::Relaxed) > 0
        });
    }

    /// Kills it, and gives the number of the last frame that it told of having pushed.
    pub(crate) fn kill(mut self) -> u32 {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
        self.listener.join().expect("no panic");
        self.told.load(Ordering::Relaxed)
    }
}

fn listen(mut lines: BufReader<ChildStdout>, told: &AtomicU32) {
    let mut line = String::new();
    while lines.read_line(&mut line).expect("readable") > 0 {
        // Half a line at the very end is a number cut short: it does not count.
        if let Some(number) = line
            .strip_prefix("pushed ")
            .and_then(|l| l.strip_suffix('\n'))
        {
            told.store(number.parse().expect("a number"), Ordering::Relaxed);
        }
        line.clear();
    }
}

/// Pushes numbered chunks of one session until it is killed, telling after each that it is pushed.
#[test]
#[ignore = "the other process of a test, not one by itself"]
fn child() {
    let socket = PathBuf::from(std::env::var_os("PENSTOCK_TEST_SOCKET").expect("set"));
    let session: SessionId = std::env::var("PENSTOCK_TEST_SESSION")
        .expect("set")
        .parse()
        .expect("an id");
    let mut gateway = Gateway::new();
    gateway.connect(&socket).expect("taken over");
    gateway.push(&open(session, "alice", "llama"));
    // One system call a line, so that what was told was pushed, whenever the kill comes.
    let mut out = std::io::stdout();
    for index in 1.. {
        gateway.push(&chunk(session, index, numbered(index)));
        let _ = out.write_all(format!("pushed {index}\n").as_bytes());
        let _ = out.flush();
        // In bursts: the log must stay small enough to be read again and again.
        if index % BURST == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
