//! A connection's life: connect, TLS, request, answer, the next request.
//!
//! Events say that something changed (edge-triggered), so each step goes on until the socket has
//! no more to give or to take.

use std::io::{self, ErrorKind};

use super::Engine;
use super::exchange::{Exchange, Marks};
use super::poll::Ready;
use super::socket::Socket;
use crate::outcome::{End, Fault};
use crate::run::answer::Answer;
use crate::run::check::Findings;
use crate::run::pacer::Due;
use crate::run::workload::DisconnectAfter;

/// Buffers larger than this are given back when their request is over.
const BUFFER_KEPT_BYTES: usize = 256 * 1024;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    #[default]
    Closed,
    Connecting,
    Handshaking,
    /// A request is being written, an answer awaited or read.
    Busy,
    /// Kept for the next request.
    Idle,
}

/// A place for a connection, and the exchange on it.
#[derive(Default)]
pub(super) struct Connection {
    pub(super) stage: Stage,
    socket: Option<Socket>,
    /// Counts connections of this slot, so that events of an earlier one are known as such.
    generation: u32,
    exchange: Option<Exchange>,
    answer: Answer,
    request: Vec<u8>,
    written: usize,
    /// When the present stage began.
    since_ns: u64,
}

/// What a read left behind, and when its last bytes had been read.
enum Next {
    /// The socket has no more for now.
    Wait,
    /// The answer is complete.
    Complete(u64),
    HangUp(u64),
    Ended(u64),
    Malformed(u64),
    Broken(io::Error),
}

// === impl Engine: starting ===

impl Engine {
    /// Starts a request, if there is a connection for it.
    pub(super) fn begin(&mut self, due: Due) -> bool {
        if self.idle.is_empty() && self.closed.is_empty() {
            return false;
        }
        // Only what is begun is drawn, so that the order of draws is the order of starts.
        if self
            .idle
            .iter()
            .all(|slot| self.connections[*slot as usize].stage != Stage::Idle)
            && self.closed.is_empty()
        {
            self.idle.clear();
            return false;
        }
        let mut request = std::mem::take(&mut self.request);
        request.clear();
        let job = self.parts.workload.write(due.index, &mut request);
        let Some(slot) = self.take_slot(job.new_connection) else {
            self.request = request;
            return false; // not after what was asked above
        };
        let now_ns = self.clock.now_ns();
        let connection = &mut self.connections[slot as usize];
        if job.new_connection {
            connection.close();
        }
        let reused = connection.stage == Stage::Idle;
        let hangs_up_later = matches!(job.disconnect, Some(DisconnectAfter::Nanoseconds(_)));
        self.request = std::mem::replace(&mut connection.request, request);
        connection.written = 0;
        connection.answer.reset();
        connection.exchange = Some(Exchange::new(job, due.intended_ns, now_ns, reused));
        self.live += 1;
        self.started += 1;
        self.parts.recorder.started(now_ns);
        self.timeouts.join(slot, now_ns);
        if hangs_up_later {
            self.hang_ups.join(slot, now_ns);
        }
        if reused {
            connection.stage = Stage::Busy;
            self.send(slot);
        } else {
            self.connect(slot);
        }
        true
    }

    fn connect(&mut self, slot: u32) {
        let now_ns = self.clock.now_ns();
        let connection = &mut self.connections[slot as usize];
        connection.close();
        connection.generation = connection.generation.wrapping_add(1);
        let token = u64::from(connection.generation) << 32 | u64::from(slot);
        let made = Socket::connect(&self.parts.target).and_then(|socket| {
            self.poller.add(&socket, token)?;
            Ok(socket)
        });
        match made {
            Ok(socket) => {
                connection.socket = Some(socket);
                connection.stage = Stage::Connecting;
                connection.since_ns = now_ns;
            }
            Err(error) => self.fail(slot, now_ns, unconnected(&error)),
        }
    }

    /// Handles what the poller found.
    pub(super) fn handle(&mut self, ready: Ready) {
        let (slot, generation) = (ready.token as u32, (ready.token >> 32) as u32);
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        if connection.generation != generation {
            return;
        }
        match connection.stage {
            Stage::Closed => {}
            Stage::Connecting if ready.writable => self.connected(slot),
            Stage::Connecting => {}
            Stage::Handshaking => self.shake_hands(slot),
            Stage::Busy => {
                if ready.writable && connection.has_unsent() {
                    self.send(slot);
                }
                if ready.readable {
                    self.receive(slot, ready.ends);
                }
            }
            // The server has closed it, or says what nobody asked for.
            Stage::Idle if ready.readable => {
                connection.close();
                self.closed.push(slot);
            }
            Stage::Idle => {}
        }
    }

    fn connected(&mut self, slot: u32) {
        let now_ns = self.clock.now_ns();
        let connection = &mut self.connections[slot as usize];
        let Some(socket) = &mut connection.socket else {
            return;
        };
        if let Err(error) = socket.failure() {
            return self.fail(slot, now_ns, unconnected(&error));
        }
        let took_ns = now_ns - connection.since_ns;
        self.parts.recorder.connected(now_ns, took_ns);
        connection.since_ns = now_ns;
        if self.parts.target.is_tls() {
            if socket.begin_tls(&self.parts.target).is_err() {
                return self.fail(slot, now_ns, Fault::Tls);
            }
            connection.stage = Stage::Handshaking;
            self.shake_hands(slot);
        } else {
            connection.stage = Stage::Busy;
            self.send(slot);
        }
    }

    fn shake_hands(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        let Some(socket) = &mut connection.socket else {
            return;
        };
        match socket.shake_hands() {
            Ok(false) => {}
            Ok(true) => {
                let now_ns = self.clock.now_ns();
                let took_ns = now_ns - connection.since_ns;
                self.parts.recorder.tls_agreed(now_ns, took_ns);
                connection.stage = Stage::Busy;
                self.send(slot);
            }
            Err(_) => {
                let now_ns = self.clock.now_ns();
                self.fail(slot, now_ns, Fault::Tls);
            }
        }
    }

    fn send(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if let Err(error) = connection.send() {
            self.broken(slot, &error);
        }
    }
}

// === impl Engine: the answer ===

impl Engine {
    fn receive(&mut self, slot: u32, ends: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let next = self.read(slot, ends, &mut buffer);
        self.buffer = buffer;
        match next {
            Next::Wait => {}
            Next::Complete(at_ns) => self.complete(slot, at_ns, ends),
            Next::HangUp(at_ns) => self.hang_up(slot, at_ns),
            Next::Malformed(at_ns) => self.fail(slot, at_ns, Fault::Malformed),
            Next::Ended(at_ns) => self.ended_by_peer(slot, at_ns),
            Next::Broken(error) => self.broken(slot, &error),
        }
    }

    fn read(&mut self, slot: u32, ends: bool, buffer: &mut [u8]) -> Next {
        let connection = &mut self.connections[slot as usize];
        let Connection {
            socket: Some(socket),
            exchange: Some(exchange),
            answer,
            ..
        } = connection
        else {
            return Next::Wait;
        };
        let recorder = &mut self.parts.recorder;
        let mut first = true;
        loop {
            let count = match socket.read(buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Wait,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Next::Broken(error),
            };
            // One look at the clock for all that these bytes are: how long they had waited, what
            // of the answer came, its end. What we do with them afterwards is no time of theirs.
            let now_ns = self.clock.now_ns();
            if std::mem::take(&mut first) {
                recorder.reading_lag(now_ns.saturating_sub(self.turn.ready_since_ns));
            }
            if count == 0 {
                return Next::Ended(now_ns);
            }
            exchange.bytes_came(now_ns);
            let mut marks = Marks {
                exchange,
                recorder,
                now_ns,
            };
            match answer.feed(&buffer[..count], &mut marks) {
                Err(_) => return Next::Malformed(now_ns),
                Ok(true) => return Next::Complete(now_ns),
                Ok(false) if exchange.hangs_up => return Next::HangUp(now_ns),
                Ok(false) => {}
            }
            if count < buffer.len() && !ends && !socket.reads_on() {
                return Next::Wait;
            }
        }
    }

    fn ended_by_peer(&mut self, slot: u32, now_ns: u64) {
        let connection = &mut self.connections[slot as usize];
        let Some(exchange) = &mut connection.exchange else {
            return;
        };
        let recorder = &mut self.parts.recorder;
        let mut marks = Marks {
            exchange,
            recorder,
            now_ns,
        };
        if connection.answer.end(&mut marks) {
            self.complete(slot, now_ns, true);
        } else if connection.answer.has_head() {
            self.fail(slot, now_ns, Fault::Truncated);
        } else if !self.retry(slot) {
            self.fail(slot, now_ns, Fault::Closed);
        }
    }

    /// The socket failed while a request was on it.
    fn broken(&mut self, slot: u32, error: &io::Error) {
        if self.retry(slot) {
            return;
        }
        let fault = match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Fault::Reset,
            ErrorKind::InvalidData => Fault::Tls,
            _ => Fault::Io,
        };
        let now_ns = self.clock.now_ns();
        self.fail(slot, now_ns, fault);
    }

    /// A kept connection that dies before a byte of an answer may have been closed in all order
    /// before the request reached it: once more, on a new one.
    fn retry(&mut self, slot: u32) -> bool {
        let connection = &mut self.connections[slot as usize];
        let Some(exchange) = &mut connection.exchange else {
            return false;
        };
        if !exchange.reused || exchange.retried || !connection.answer.is_untouched() {
            return false;
        }
        exchange.retried = true;
        connection.written = 0;
        self.parts.recorder.retried();
        self.connect(slot);
        true
    }

    /// The answer is whole; `ends` says that the connection is not.
    fn complete(&mut self, slot: u32, now_ns: u64, ends: bool) {
        let connection = &self.connections[slot as usize];
        let summary = connection.answer.summary();
        let end = summary.fault.map_or(End::Good, End::Failed);
        let keep = summary.keep
            && !ends
            && connection
                .exchange
                .as_ref()
                .is_some_and(|e| !e.job.new_connection);
        self.over(slot, now_ns, end, keep);
    }

    pub(super) fn hang_up(&mut self, slot: u32, now_ns: u64) {
        self.over(slot, now_ns, End::Left, false);
    }

    /// Ends an exchange that cannot go on; of a slot without one nothing is told.
    pub(super) fn fail(&mut self, slot: u32, now_ns: u64, fault: Fault) {
        self.over(slot, now_ns, End::Failed(fault), false);
    }

    fn over(&mut self, slot: u32, now_ns: u64, end: End, keep: bool) {
        let connection = &mut self.connections[slot as usize];
        let Some(exchange) = connection.exchange.take() else {
            return;
        };
        let summary = connection.answer.summary();
        let findings = if summary.status / 100 == 2 {
            let planted = exchange.job.planted;
            let planted = planted.and_then(|at| self.parts.workload.secrets().values().get(at));
            let said = connection.answer.said();
            let mut findings =
                self.parts
                    .checks
                    .look(said, summary.digest, planted.map(String::as_str));
            // What was broken off is another text by nobody's doing.
            findings.altered &= end == End::Good;
            findings
        } else {
            Findings::default()
        };
        let ended = exchange.ended(now_ns, end, &summary, findings);
        self.parts.recorder.ended(&ended);
        self.live -= 1;
        self.timeouts.leave(slot);
        self.hang_ups.leave(slot);
        if connection.request.capacity() > BUFFER_KEPT_BYTES {
            connection.request = Vec::new();
        }
        if keep && !connection.has_unsent() {
            connection.stage = Stage::Idle;
            self.idle.push(slot);
        } else {
            connection.close();
            self.closed.push(slot);
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Closes it, if it is there.
    pub(super) fn close(&mut self) {
        self.socket = None;
        self.stage = Stage::Closed;
    }

    fn has_unsent(&self) -> bool {
        self.written < self.request.len() || self.socket.as_ref().is_some_and(Socket::has_unsent)
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        while self.written < self.request.len() {
            match socket.write(&self.request[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        socket.flush().map(|_| ())
    }
}

fn unconnected(error: &io::Error) -> Fault {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => Fault::Refused,
        ErrorKind::ConnectionReset => Fault::Reset,
        _ => Fault::Connect,
    }
}
