//! The closed loop: each connection has one request under way, and sends the next one when the
//! answer is complete and verified.
//!
//! One thread, one system call to send and one to receive per request. A wrong byte, a closed
//! connection or five seconds without an answer end the measurement with an error: a figure is
//! never reported over answers that were not right.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::error::{Doing, Error, Result};
use crate::poller::{Interest, Poller};
use crate::traffic::{Expected, stamp_distance_us, stamp_now};
use answer::AnswerReader;
use body::{Lateness, Unit, Units};

pub mod answer;
pub mod body;

/// One read takes at most this much.
const READ_BYTES: usize = 64 << 10;

/// Without an answer for this long the subject counts as stuck.
const STALL_MAX: Duration = Duration::from_secs(5);

/// What is looked at, and shown, of an answer to a probe.
const PROBE_BYTES: usize = 1024;

/// The loop looks at its clock at least this often.
const TICK: Duration = Duration::from_millis(20);

/// Latencies beyond this are recorded as this.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What to send, to whom, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// Where the subject listens.
    pub target: SocketAddr,
    /// Keep-alive connections.
    pub connections: usize,
    /// The request, whole.
    pub request: &'a [u8],
    /// Every answer's body.
    pub expected: &'a Expected,
    /// Whether the subject may send text later than it got it.
    pub lateness: Lateness,
    /// The first requests are spread over this time, so that streams do not all end together.
    pub stagger: Duration,
    /// Time before the measured window, after the first requests.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
}

/// The two moments at which counters are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The window opens.
    Open,
    /// The window closes.
    Close,
}

/// What the window showed.
#[derive(Debug)]
pub struct Window {
    /// Units completed in it.
    pub units: u64,
    /// Those of them with which not all text came that the upstream had sent by then.
    pub late_units: u64,
    /// How long it really was.
    pub elapsed: Duration,
    /// Microseconds from request to complete answer (JSON) or from the upstream's write of an event
    /// to its arrival (streams).
    pub latency_us: Histogram<u64>,
}

struct Connection {
    socket: TcpStream,
    reader: AnswerReader,
    sent_at: Instant,
    idle: bool,
}

struct Meter {
    units: u64,
    late_units: u64,
    /// Units carry stamps; those that do not (`[DONE]`) have no latency.
    stamped: bool,
    latency_us: Histogram<u64>,
    now: Instant,
    stamp_now: u64,
    sent_at: Instant,
}

/// Drives a subject; calls `at_edge` when the window opens and when it closes.
pub fn drive(load: &Load<'_>, mut at_edge: impl FnMut(Edge) -> Result<()>) -> Result<Window> {
    let mut poller = Poller::new()?;
    let mut connections = connect(load, &poller)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut meter = Meter::new(matches!(load.expected, Expected::Stream(_)))?;
    let started = Instant::now();
    let open_at = started + load.stagger + load.warm_up;
    let mut opened: Option<Instant> = None;
    let mut begun = 0;
    let mut progress = (0, started);
    loop {
        while begun < connections.len() && started.elapsed() >= load.start_of(begun) {
            connections[begun].send(begun, load.request)?;
            begun += 1;
        }
        poller.wait(TICK, |token| {
            let index = token as usize;
            let connection = &mut connections[index];
            meter.look_at_the_clock(connection.sent_at);
            connection.receive(index, &mut buffer, load, &mut meter)
        })?;
        let now = Instant::now();
        if meter.units != progress.0 {
            progress = (meter.units, now);
        } else if now - progress.1 > STALL_MAX {
            return Err(Error::Stalled {
                seconds: STALL_MAX.as_secs(),
                units: meter.units,
            });
        }
        match opened {
            None if now >= open_at => {
                at_edge(Edge::Open)?;
                meter.clear();
                progress = (0, now);
                opened = Some(Instant::now());
            }
            Some(since) if since.elapsed() >= load.window => {
                let elapsed = since.elapsed();
                at_edge(Edge::Close)?;
                return Ok(Window {
                    units: meter.units,
                    late_units: meter.late_units,
                    elapsed,
                    latency_us: meter.latency_us,
                });
            }
            _ => {}
        }
    }
}

/// Sends the request once and says what came back instead of a 200. For subjects that accept
/// connections before they can answer; the answer's body is not waited for.
pub fn probe(target: SocketAddr, request: &[u8]) -> std::result::Result<(), String> {
    let answer = || -> std::io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect(target)?;
        socket.set_read_timeout(Some(STALL_MAX))?;
        socket.write_all(request)?;
        let mut buffer = vec![0; PROBE_BYTES];
        let count = socket.read(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    };
    match answer() {
        Ok(bytes) if bytes.starts_with(b"HTTP/1.1 200 ") => Ok(()),
        Ok(bytes) => Err(format!(
            "answers with:\n{}",
            String::from_utf8_lossy(&bytes).trim_end()
        )),
        Err(error) => Err(format!("does not answer: {error}")),
    }
}

fn connect(load: &Load<'_>, poller: &Poller) -> Result<Vec<Connection>> {
    (0..load.connections)
        .map(|index| {
            let socket = TcpStream::connect(load.target)
                .doing(|| format!("connecting to {}", load.target))?;
            socket
                .set_nodelay(true)
                .doing(|| "setting TCP_NODELAY".into())?;
            socket
                .set_nonblocking(true)
                .doing(|| "making a socket non-blocking".into())?;
            poller.add(&socket, index as u64, Interest::Read)?;
            let sent_at = Instant::now();
            Ok(Connection {
                socket,
                reader: AnswerReader::new(load.lateness),
                sent_at,
                idle: true,
            })
        })
        .collect()
}

// === impl Load ===

impl Load<'_> {
    fn start_of(&self, index: usize) -> Duration {
        self.stagger.mul_f64(index as f64 / self.connections as f64)
    }
}

// === impl Connection ===

impl Connection {
    fn send(&mut self, index: usize, request: &[u8]) -> Result<()> {
        self.idle = false;
        self.sent_at = Instant::now();
        self.socket
            .write_all(request) // far smaller than an empty socket's buffer, so never partial
            .map_err(|error| Error::Answer {
                connection: index,
                what: format!("sending: {error}"),
            })
    }

    fn receive(
        &mut self,
        index: usize,
        buffer: &mut [u8],
        load: &Load<'_>,
        meter: &mut Meter,
    ) -> Result<()> {
        let wrong = |what: String| Error::Answer {
            connection: index,
            what,
        };
        let count = match self.socket.read(buffer) {
            Ok(0) if self.idle => return Err(wrong("closed before a request".into())),
            Ok(0) if self.reader.untouched() => return Err(wrong("closed without one".into())),
            Ok(0) => return Err(wrong("closed in the middle of it".into())),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(wrong(format!("receiving: {error}"))),
        };
        if self.idle {
            return Err(wrong("bytes before a request".into()));
        }
        if self
            .reader
            .feed(&buffer[..count], load.expected, meter)
            .map_err(wrong)?
        {
            self.reader.reset();
            self.send(index, load.request)?;
        }
        Ok(())
    }
}

// === impl Meter ===

impl Meter {
    fn new(stamped: bool) -> Result<Meter> {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
            .map_err(|error| Error::Unable(format!("making a histogram: {error}")))?;
        let now = Instant::now();
        Ok(Meter {
            units: 0,
            late_units: 0,
            stamped,
            latency_us,
            now,
            stamp_now: stamp_now(),
            sent_at: now,
        })
    }

    fn look_at_the_clock(&mut self, sent_at: Instant) {
        self.now = Instant::now();
        self.stamp_now = stamp_now();
        self.sent_at = sent_at;
    }

    fn clear(&mut self) {
        self.units = 0;
        self.late_units = 0;
        self.latency_us.reset();
    }
}

impl Units for Meter {
    fn unit(&mut self, unit: Unit) {
        self.units += 1;
        self.late_units += u64::from(unit.late);
        let latency_us = match unit.stamp {
            Some(stamp) => stamp_distance_us(stamp, self.stamp_now),
            None if self.stamped => return,
            None => (self.now - self.sent_at).as_micros() as u64,
        };
        self.latency_us.saturating_record(latency_us);
    }
}
