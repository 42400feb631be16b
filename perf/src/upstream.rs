//! The server behind every subject: fixed answers, as cheap as a server can be.
//!
//! It is a process of its own (`penstock-perf upstream`, started by `compare`), so that its CPU
//! time is nobody else's. It verifies that each request's body arrived unchanged and answers 500
//! when it did not: a subject that altered a request would otherwise look fine.
//!
//! Streams advance in steps, as in a batching inference engine: see [`Scenario::step`].

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::driver::answer::{field, head_end};
use crate::error::{Doing, Error, Result};
use crate::poller::{Interest, Poller};
use crate::scenario::{Answer, Exchange, Scenario};
use crate::traffic::{
    self, Body, ExpectedEvent, NUMBER_LETTERS, STAMP_DIGITS, is_number, stamp_now, write_stamp,
};

/// Token of the listening socket; connections are counted from zero.
const LISTENER: u64 = u64::MAX;

/// A request, head and body, may be this long.
const REQUEST_BYTES_MAX: usize = 512 << 10;

/// One read takes at most this much.
const READ_BYTES: usize = 64 << 10;

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
    free: Vec<usize>,
    script: Script,
}

/// All that may be asked, with the answers ready to send.
#[derive(Debug)]
struct Script {
    replies: Vec<Reply>,
    step: Duration,
    /// Requests may be written anew, as long as they ask the same.
    rewritten: bool,
}

/// One answer, and the request that it belongs to.
#[derive(Debug)]
struct Reply {
    /// It may say another number of tokens, and be another of its number; else it may not differ.
    request: Body,
    /// The head of a stream, or a whole JSON answer.
    opening: Vec<u8>,
    /// A whole stream's events, each in its chunk; empty for JSON.
    events: Vec<Event>,
}

/// A stream under way.
#[derive(Debug, Clone, Copy)]
struct Position {
    reply: usize,
    next: usize,
    /// After this many events come the last ones.
    tokens: usize,
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
    stream: Option<Position>,
}

// === impl Upstream ===

impl Upstream {
    /// Listens on a loopback port that the system chooses.
    ///
    /// Subjects that write requests anew are only asked to keep their meaning (`rewritten`).
    pub fn bind(scenario: &Scenario, rewritten: bool) -> Result<Upstream> {
        let listener =
            TcpListener::bind("127.0.0.1:0").doing(|| "binding the upstream's port".into())?;
        listener
            .set_nonblocking(true)
            .doing(|| "making a socket non-blocking".into())?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::Read)?;
        let script = Script::of(scenario, rewritten);
        Ok(Upstream {
            listener,
            poller,
            connections: Vec::new(),
            streaming: Vec::new(),
            free: Vec::new(),
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
            let index = self.free.pop().unwrap_or(self.connections.len());
            self.poller.add(&socket, index as u64, Interest::Read)?;
            let connection = Connection {
                socket,
                received: Vec::new(),
                unsent: Vec::new(),
                stream: None,
            };
            match self.connections.get_mut(index) {
                Some(place) => *place = Some(connection),
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
            if self.connections[index]
                .take()
                .is_some_and(|it| it.stream.is_some())
            {
                self.streaming.retain(|&other| other != index);
            }
            self.free.push(index);
        }
        Ok(())
    }

    /// Sends each stream its next event.
    fn step(&mut self) -> Result<()> {
        let Upstream {
            connections,
            streaming,
            free,
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
                    free.push(index);
                    false
                }
            }
        });
        Ok(())
    }
}

// === impl Script ===

impl Script {
    fn of(scenario: &Scenario, rewritten: bool) -> Script {
        let mut replies: Vec<Reply> = Vec::new();
        for exchange in scenario.exchanges {
            let reply = Reply::of(exchange);
            if replies
                .iter()
                .all(|known| known.request.bytes != reply.request.bytes)
            {
                replies.push(reply);
            }
        }
        Script {
            replies,
            step: scenario.step,
            rewritten,
        }
    }

    /// What a request's body is answered with; none when it is not one that is sent here.
    fn answer(&self, body: &[u8]) -> Option<Position> {
        if self.rewritten {
            return self.answer_to_meaning(body);
        }
        let reply = self.replies.iter().position(|reply| reply.is_for(body))?;
        let digits = body.get(self.replies[reply].request.tokens_at.clone())?;
        let tokens = std::str::from_utf8(digits).ok()?.trim().parse().ok()?;
        Some(Position {
            reply,
            next: 0,
            tokens,
        })
    }

    /// The same for a request that was written anew: messages, model and length must be those.
    fn answer_to_meaning(&self, body: &[u8]) -> Option<Position> {
        let asked: Value = serde_json::from_slice(body).ok()?;
        let said = words(&asked);
        let same = |reply: &Reply| {
            let known: Option<Value> = serde_json::from_slice(&reply.request.bytes).ok();
            known.is_some_and(|known| asked["model"] == known["model"] && said == words(&known))
        };
        Some(Position {
            reply: self.replies.iter().position(same)?,
            next: 0,
            tokens: asked["max_tokens"].as_u64()? as usize,
        })
    }
}

// === impl Reply ===

impl Reply {
    fn of(exchange: &Exchange) -> Reply {
        let tokens = traffic::tokens(exchange);
        let request = traffic::request_body(exchange, tokens);
        let (opening, events) = match exchange.answer {
            Answer::Json { bytes } => {
                let body = traffic::json_answer(exchange.model, bytes);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n",
                    body.len()
                );
                ([head.as_bytes(), &body].concat(), Vec::new())
            }
            Answer::Stream { tokens } => {
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; \
                    charset=utf-8\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
                (head.to_vec(), events(exchange.model, tokens))
            }
        };
        Reply {
            request,
            opening,
            events,
        }
    }

    fn is_for(&self, body: &[u8]) -> bool {
        let known = &self.request;
        if body.len() != known.bytes.len() {
            return false;
        }
        let same = |from: usize, to: usize| body[from..to] == known.bytes[from..to];
        let mut from = 0;
        for &at in &known.numbers_at {
            let end = at + NUMBER_LETTERS;
            if !same(from, at) || !is_number(&body[at..end]) {
                return false;
            }
            from = end;
        }
        let Range { start, end } = known.tokens_at;
        same(from, start) && same(end, body.len())
    }
}

/// Who says what, without the request's number.
fn words(asked: &Value) -> Vec<(&Value, &str)> {
    let messages = asked["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let role = messages.iter().map(|message| &message["role"]);
    let text = messages.iter().map(|message| {
        let text = message["content"].as_str().unwrap_or_default();
        match text.as_bytes().get(..NUMBER_LETTERS) {
            Some(number) if is_number(number) => &text[NUMBER_LETTERS..],
            _ => text,
        }
    });
    role.zip(text).collect()
}

/// The events of a stream, each as one chunk; the last one ends the body.
fn events(model: &str, tokens: usize) -> Vec<Event> {
    let stream = traffic::stream_answer(model, tokens);
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
        let Some(position) = script.answer(&self.received[body_at..end]) else {
            let answer = b"HTTP/1.1 500 Request body was altered on its way\r\n\
                           Content-Length: 0\r\nConnection: close\r\n\r\n";
            self.send(answer, poller, token)?;
            return Ok(Attended::Closed);
        };
        self.received.drain(..end);
        let reply = &script.replies[position.reply];
        self.send(&reply.opening, poller, token)?;
        match reply.events.is_empty() {
            true => Ok(Attended::Waiting),
            false => {
                self.stream = Some(position);
                Ok(Attended::StreamBegun)
            }
        }
    }

    /// Sends the next event of the stream; false after the last one.
    fn send_event(&mut self, script: &Script, poller: &Poller, token: u64) -> Result<bool> {
        let Some(position) = self.stream.as_mut() else {
            return Ok(false);
        };
        let events = &script.replies[position.reply].events;
        let event = &events[position.next];
        position.next += 1;
        if position.next == position.tokens + 1 {
            position.next = events.len() - 2; // a finish reason and `[DONE]`
        }
        if position.next >= events.len() {
            self.stream = None;
        }
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
        Ok(self.stream.is_some())
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
    use crate::scenario::SCENARIOS;
    use crate::traffic::{Expected, write_number};

    fn stream() -> Exchange {
        let streams = |exchange: &&Exchange| exchange.streams();
        let mut all = SCENARIOS.iter().flat_map(|scenario| scenario.exchanges);
        *all.find(streams).expect("a stream")
    }

    #[test]
    fn events_in_chunks_are_the_stream() {
        let expected = Expected::Stream(traffic::stream_answer("m", 61));
        let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for event in events("m", 61) {
            if let Some(at) = event.stamp {
                assert_eq!(&event.chunk[at - 1..at + STAMP_DIGITS], b"1000000000");
            }
            wire.extend_from_slice(&event.chunk);
        }
        let mut counted = crate::driver::body::Counted::default();
        let mut reader = crate::driver::answer::AnswerReader::new(Lateness::Refused);
        assert_eq!(reader.feed(&wire, &expected, &mut counted), Ok(true));
        assert_eq!(counted.units, 64);
    }

    #[test]
    fn a_request_is_whole_when_its_length_says_so() {
        let exchange = stream();
        let (request, _) = traffic::request("h", "A: b", &exchange, 9);
        for end in 0..request.len() {
            assert!(request_extent(&request[..end]).expect("valid").is_none());
        }
        let (from, to) = request_extent(&request).expect("valid").expect("whole");
        assert_eq!(request[from..to], traffic::request_body(&exchange, 9).bytes);
    }

    #[test]
    fn a_request_is_known_by_its_body_and_says_how_many_tokens_it_wants() {
        for scenario in SCENARIOS {
            let script = Script::of(scenario, false);
            let loose = Script::of(scenario, true);
            for exchange in scenario.exchanges {
                let Body {
                    bytes: mut body,
                    numbers_at,
                    ..
                } = traffic::request_body(exchange, 17);
                for at in numbers_at {
                    write_number(1 << 40, &mut body[at..at + NUMBER_LETTERS]);
                }
                let position = script.answer(&body).expect("known");
                assert_eq!(position.tokens, 17);
                let opening = &script.replies[position.reply].opening;
                assert_eq!(opening, &Reply::of(exchange).opening);
                let value: Value = serde_json::from_slice(&body).expect("JSON");
                let anew = serde_json::to_vec_pretty(&value).expect("JSON");
                assert!(script.answer(&anew).is_none(), "written anew");
                assert_eq!(loose.answer(&anew).expect("the same").tokens, 17);
                let at = body.len() / 2;
                body[at] ^= 1;
                assert!(script.answer(&body).is_none(), "altered");
                assert!(loose.answer(&body).is_none(), "altered");
            }
        }
    }
}
