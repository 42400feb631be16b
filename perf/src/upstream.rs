//! The server behind every subject: fixed answers, as cheap as a server can be.
//!
//! It is a process of its own (`penstock-perf upstream`, started by `compare`), so that its CPU
//! time is nobody else's. It verifies that each request's body arrived unchanged and answers 500
//! when it did not: a subject that altered a request would otherwise look fine.
//!
//! Streams advance in steps, as in a batching inference engine: see [`Answer::Stream`].

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::driver::answer::{field, head_end};
use crate::error::{Doing, Error, Result};
use crate::poller::{Interest, Poller};
use crate::scenario::{Answer, Scenario};
use crate::traffic::{self, ExpectedEvent, STAMP_DIGITS, stamp_now, write_stamp};

/// Token of the listening socket; connections are counted from zero.
const LISTENER: u64 = u64::MAX;

/// A request, head and body, may be this long.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// One read takes at most this much.
const READ_BYTES: usize = 16 << 10;

/// How long a wait may be when no step is due.
const IDLE_WAIT: Duration = Duration::from_millis(500);

/// Serves one scenario's answers until its parent kills it.
#[derive(Debug)]
pub struct Upstream {
    listener: TcpListener,
    poller: Poller,
    connections: Vec<Option<Connection>>,
    /// Indexes of connections with a stream under way.
    streaming: Vec<usize>,
    script: Script,
}

/// Everything that is sent, ready to send.
#[derive(Debug)]
struct Script {
    request_body: Vec<u8>,
    /// The head of a stream, or a whole JSON answer.
    opening: Vec<u8>,
    /// A stream's events, each in its chunk; empty for JSON.
    events: Vec<Event>,
    step: Duration,
}

#[derive(Debug)]
struct Event {
    chunk: Vec<u8>,
    stamp: Option<usize>,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// Index of the stream's next event, while there is one under way.
    next_event: Option<usize>,
}

// === impl Upstream ===

impl Upstream {
    /// Listens on a loopback port that the system chooses.
    pub fn bind(scenario: &Scenario) -> Result<Upstream> {
        let listener =
            TcpListener::bind("127.0.0.1:0").doing(|| "binding the upstream's port".into())?;
        listener
            .set_nonblocking(true)
            .doing(|| "making a socket non-blocking".into())?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::Read)?;
        let script = Script::of(scenario);
        Ok(Upstream {
            listener,
            poller,
            connections: Vec::new(),
            streaming: Vec::new(),
            script,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Result<std::net::SocketAddr> {
        self.listener
            .local_addr()
            .doing(|| "asking for the upstream's port".into())
    }

    /// Serves for ever, or until the system refuses something.
    pub fn serve(mut self) -> Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let mut ready = Vec::new();
        let mut step_at = Instant::now();
        loop {
            let wait = match self.streaming.is_empty() {
                true => IDLE_WAIT,
                false => step_at.saturating_duration_since(Instant::now()),
            };
            self.poller.wait(wait, |token| {
                ready.push(token);
                Ok(())
            })?;
            for token in ready.drain(..) {
                match token {
                    LISTENER => self.accept()?,
                    token => self.attend(token as usize, &mut buffer)?,
                }
            }
            let now = Instant::now();
            if !self.streaming.is_empty() && now >= step_at {
                self.step()?;
                // A late step is not made up for: a burst would be cheaper to relay than a stream.
                step_at = (step_at + self.script.step).max(now + self.script.step / 2);
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).doing(|| "accepting a connection".into()),
            };
            socket
                .set_nonblocking(true)
                .doing(|| "making a socket non-blocking".into())?;
            socket
                .set_nodelay(true)
                .doing(|| "setting TCP_NODELAY".into())?;
            let free = self.connections.iter().position(Option::is_none);
            let index = free.unwrap_or(self.connections.len());
            self.poller.add(&socket, index as u64, Interest::Read)?;
            let connection = Connection {
                socket,
                received: Vec::new(),
                unsent: Vec::new(),
                next_event: None,
            };
            match free {
                Some(_) => self.connections[index] = Some(connection),
                None => self.connections.push(Some(connection)),
            }
        }
    }

    fn attend(&mut self, index: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(connection) = self.connections[index].as_mut() else {
            return Ok(());
        };
        let alive = match connection.attend(buffer, &self.script, &self.poller, index as u64) {
            Ok(Attended::Waiting) => true,
            Ok(Attended::StreamBegun) => {
                self.streaming.push(index);
                true
            }
            Ok(Attended::Closed) => false,
            // A connection that breaks is the subject's affair; the driver will see it.
            Err(_) => false,
        };
        if !alive {
            self.connections[index] = None;
            self.streaming.retain(|&other| other != index);
        }
        Ok(())
    }

    /// Sends each stream its next event.
    fn step(&mut self) -> Result<()> {
        let Upstream {
            connections,
            streaming,
            script,
            poller,
            ..
        } = self;
        streaming.retain(|&index| {
            let Some(connection) = connections[index].as_mut() else {
                return false;
            };
            match connection.send_event(script, poller, index as u64) {
                Ok(more) => more,
                Err(_) => {
                    connections[index] = None;
                    false
                }
            }
        });
        Ok(())
    }
}

// === impl Script ===

impl Script {
    fn of(scenario: &Scenario) -> Script {
        let model = scenario.model();
        let request_body = traffic::request_body(model, scenario.streams());
        match scenario.answer {
            Answer::Json => {
                let body = traffic::json_answer(model);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n",
                    body.len()
                );
                let opening = [head.as_bytes(), &body].concat();
                Script {
                    request_body,
                    opening,
                    events: Vec::new(),
                    step: IDLE_WAIT,
                }
            }
            Answer::Stream { step } => {
                let opening = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; \
                    charset=utf-8\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
                    .to_vec();
                Script {
                    request_body,
                    opening,
                    events: events(model),
                    step,
                }
            }
        }
    }
}

/// The events of a stream, each as one chunk; the last one ends the body.
fn events(model: &str) -> Vec<Event> {
    let stream = traffic::stream_answer(model);
    let last = stream.events.len() - 1;
    let chunk = |(index, event): (usize, &ExpectedEvent)| {
        let mut chunk = format!("{:x}\r\n", event.bytes.len()).into_bytes();
        let stamp = event.stamp.map(|at| chunk.len() + at);
        chunk.extend_from_slice(&event.bytes);
        chunk.extend_from_slice(if index == last {
            b"\r\n0\r\n\r\n"
        } else {
            b"\r\n"
        });
        Event { chunk, stamp }
    };
    stream.events.iter().enumerate().map(chunk).collect()
}

// === impl Connection ===

enum Attended {
    Waiting,
    StreamBegun,
    Closed,
}

impl Connection {
    fn attend(
        &mut self,
        buffer: &mut [u8],
        script: &Script,
        poller: &Poller,
        token: u64,
    ) -> Result<Attended> {
        if !self.unsent.is_empty() {
            self.send(&[], poller, token)?;
        }
        match self.socket.read(buffer) {
            Ok(0) => return Ok(Attended::Closed),
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Attended::Waiting),
            Err(error) => return Err(error).doing(|| "receiving a request".into()),
        }
        let Some((body_at, end)) = request_extent(&self.received)? else {
            return Ok(Attended::Waiting);
        };
        if self.received[body_at..end] != script.request_body {
            let answer = b"HTTP/1.1 500 Request body was altered on its way\r\n\
                           Content-Length: 0\r\nConnection: close\r\n\r\n";
            self.send(answer, poller, token)?;
            return Ok(Attended::Closed);
        }
        self.received.drain(..end);
        self.send(&script.opening, poller, token)?;
        match script.events.is_empty() {
            true => Ok(Attended::Waiting),
            false => {
                self.next_event = Some(0);
                Ok(Attended::StreamBegun)
            }
        }
    }

    /// Sends the next event of the stream; false after the last one.
    fn send_event(&mut self, script: &Script, poller: &Poller, token: u64) -> Result<bool> {
        let Some(index) = self.next_event else {
            return Ok(false);
        };
        let event = &script.events[index];
        let mut stamped = [0; 512];
        let chunk = match (event.stamp, stamped.get_mut(..event.chunk.len())) {
            (Some(at), Some(copy)) => {
                copy.copy_from_slice(&event.chunk);
                write_stamp(stamp_now(), &mut copy[at..at + STAMP_DIGITS]);
                &*copy
            }
            _ => &event.chunk,
        };
        self.send(chunk, poller, token)?;
        self.next_event = Some(index + 1).filter(|&next| next < script.events.len());
        Ok(self.next_event.is_some())
    }

    /// Sends bytes after all that is still unsent; what does not fit waits for room.
    fn send(&mut self, bytes: &[u8], poller: &Poller, token: u64) -> Result<()> {
        let waited = !self.unsent.is_empty();
        let mut whole = std::mem::take(&mut self.unsent);
        let mut rest = match waited {
            true => {
                whole.extend_from_slice(bytes);
                &whole[..]
            }
            false => bytes,
        };
        while !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).doing(|| "sending an answer".into()),
            }
        }
        self.unsent = rest.to_vec();
        match (waited, self.unsent.is_empty()) {
            (false, false) => poller.change(&self.socket, token, Interest::ReadWrite),
            (true, true) => poller.change(&self.socket, token, Interest::Read),
            _ => Ok(()),
        }
    }
}

/// Where the body of a complete request begins and ends.
fn request_extent(received: &[u8]) -> Result<Option<(usize, usize)>> {
    if received.len() > REQUEST_BYTES_MAX {
        return Err(Error::Unable(
            "a request is longer than any that is sent here".into(),
        ));
    }
    let Some(body_at) = head_end(received) else {
        return Ok(None);
    };
    let length: Option<usize> = field(&received[..body_at], "content-length")
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match length {
        Some(length) => {
            Ok((received.len() >= body_at + length).then_some((body_at, body_at + length)))
        }
        None => Err(Error::Unable("a request comes without a length".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::body::Lateness;
    use crate::traffic::Expected;

    #[test]
    fn events_in_chunks_are_the_stream() {
        let expected = Expected::Stream(traffic::stream_answer("m"));
        let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for event in events("m") {
            if let Some(at) = event.stamp {
                assert_eq!(&event.chunk[at - 1..at + STAMP_DIGITS], b"1000000000");
            }
            wire.extend_from_slice(&event.chunk);
        }
        let mut counted = crate::driver::body::Counted::default();
        let mut reader = crate::driver::answer::AnswerReader::new(Lateness::Refused);
        assert_eq!(reader.feed(&wire, &expected, &mut counted), Ok(true));
        assert_eq!(counted.units, traffic::STREAM_EVENTS as u64);
    }

    #[test]
    fn a_request_is_whole_when_its_length_says_so() {
        let request = traffic::request("h", "A: b", "m", false);
        for end in 0..request.len() {
            assert!(request_extent(&request[..end]).expect("valid").is_none());
        }
        let (from, to) = request_extent(&request).expect("valid").expect("whole");
        assert_eq!(request[from..to], traffic::request_body("m", false));
    }
}
