//! The open loop: requests come at a rate, whatever the subject does.
//!
//! Each has an intended start, an absolute deadline that nothing moves, and its latency counts from
//! there: a subject that stalls pays for everyone who waited meanwhile. A request takes a resting
//! connection, or a new one while there are fewer than allowed, or waits. Whoever is not answered in
//! time gives up and closes its connection; whoever is refused keeps it where the answer allows that.
//! How late the generator itself was is counted apart, so that its own lack of speed is seen and not charged to a subject.
//!
//! An answer is verified byte by byte; a wrong one counts as failed.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::answer::{AnswerReader, field, head_end};
use super::body::{Counted, Lateness};
use super::meter::histogram;
use super::plan::{Plan, Prepared};
use super::wire::{Dialer, Wire};
use super::{Edge, READ_BYTES};
use crate::error::{Doing, Result};
use crate::poller::{Interest, Poller};

/// Token of the timer; connections are counted from zero.
const TIMER: u64 = u64::MAX;

/// Set in the numbers of its requests: a closed loop before it may have used the others.
const OPEN_NUMBERS: u64 = 1 << 63;

/// Requests that are begun before the loop looks at its sockets again.
const BURST_MAX: usize = 128;

/// What is offered.
#[derive(Debug)]
pub struct Offer<'a> {
    /// How connections are made.
    pub dialer: Dialer,
    /// What they send.
    pub plan: &'a Plan,
    /// Intended starts a second.
    pub rate: f64,
    /// The most connections.
    pub connections_max: usize,
    /// How long a client waits for its answer, from its intended start.
    pub patience: Duration,
    /// An answer within this time of the intended start is a good one.
    pub objective: Duration,
    /// Whether the subject may send text later than it got it.
    pub lateness: Lateness,
    /// Requests of this time at the beginning are not counted.
    pub warm_up: Duration,
    /// Those of this time are.
    pub window: Duration,
}

/// What became of the requests whose intended start was in the window.
#[derive(Debug)]
pub struct Outcome {
    /// Intended starts.
    pub offered: u64,
    /// Answered well, in time or not.
    pub answered: u64,
    /// Answered well within the objective.
    pub good: u64,
    /// Answered with something that is not a 200.
    pub refused: u64,
    /// Connection closed, or a wrong answer.
    pub failed: u64,
    /// Sent, and not answered within the client's patience.
    pub given_up: u64,
    /// Not even sent within it, for want of a connection.
    pub never_sent: u64,
    /// Microseconds from intended start to complete answer.
    pub latency_us: Histogram<u64>,
    /// Microseconds from sending to refusal.
    pub refusal_us: Histogram<u64>,
    /// Microseconds by which the generator was late.
    pub lag_us: Histogram<u64>,
    /// Connections at the end.
    pub connections: usize,
    /// What the first failure was.
    pub first_failure: Option<String>,
}

/// The loop.
struct Open<'a> {
    offer: Offer<'a>,
    poller: Poller,
    connections: Vec<Option<Connection<'a>>>,
    resting: Vec<usize>,
    free: Vec<usize>,
    /// Intended starts without a connection.
    waiting: VecDeque<Start>,
    /// When whose patience ends, in order; an entry whose request is answered means nothing.
    patience: VecDeque<(Duration, usize, u64)>,
    began_at: Instant,
    begun: u64,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy)]
struct Start {
    at: Duration,
    counted: bool,
}

struct Connection<'a> {
    wire: Wire,
    reader: AnswerReader,
    /// The request under way as it is sent.
    request: Vec<u8>,
    /// The request under way.
    busy: Option<Busy<'a>>,
    awaits_room: bool,
}

struct Busy<'a> {
    asked: &'a Prepared,
    start: Start,
    sent_at: Duration,
    /// Number of the request, to tell it from later ones on the connection.
    number: u64,
    sent: usize,
}

/// Offers the load; calls `at_edge` when the window opens and when it closes.
pub fn offer(offer: Offer<'_>, mut at_edge: impl FnMut(Edge) -> Result<()>) -> Result<Outcome> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)
        .doing(|| "making a timer".into())?;
    let open_at = offer.warm_up;
    let close_at = open_at + offer.window;
    let mut it = Open::new(offer)?;
    it.poller.add(&timer, TIMER, Interest::Read)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut ready = Vec::new();
    let mut edges = [(Edge::Open, open_at), (Edge::Close, close_at)]
        .into_iter()
        .peekable();
    let mut next: u64 = 0;
    loop {
        for _ in 0..BURST_MAX {
            let at = Duration::from_secs_f64(next as f64 / it.offer.rate);
            if at > it.began_at.elapsed() || at >= close_at {
                break;
            }
            next += 1;
            it.release(at, at >= open_at)?;
        }
        it.lose_patience();
        it.serve_waiting()?;
        let now = it.began_at.elapsed();
        let all_released = Duration::from_secs_f64(next as f64 / it.offer.rate) >= close_at;
        if let Some((edge, _)) = edges.next_if(|(_, at)| now >= *at) {
            at_edge(edge)?;
        }
        if now >= close_at && all_released && it.settled() {
            it.outcome.connections = it.connections.iter().flatten().count();
            return Ok(it.outcome);
        }
        let due = Duration::from_secs_f64(next as f64 / it.offer.rate).min(close_at);
        let wait = match all_released {
            false => due.saturating_sub(now),
            true => Duration::from_millis(1),
        };
        set_timer(&timer, wait)?;
        it.poller.wait(Duration::from_millis(50), |token| {
            ready.push(token);
            Ok(())
        })?;
        for token in ready.drain(..) {
            match token {
                TIMER => drop(rustix::io::read(&timer, &mut [0_u8; 8])),
                token => it.attend(token as usize, &mut buffer)?,
            }
        }
    }
}

fn set_timer(timer: &std::os::fd::OwnedFd, wait: Duration) -> Result<()> {
    let wait = wait.max(Duration::from_nanos(1)); // zero would disarm it
    let once = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)
        .map(drop)
        .doing(|| "setting a timer".into())
}

// === impl Open ===

impl<'a> Open<'a> {
    fn new(offer: Offer<'a>) -> Result<Open<'a>> {
        Ok(Open {
            offer,
            poller: Poller::new()?,
            connections: Vec::new(),
            resting: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            patience: VecDeque::new(),
            began_at: Instant::now(),
            begun: 0,
            outcome: Outcome {
                offered: 0,
                answered: 0,
                good: 0,
                refused: 0,
                failed: 0,
                given_up: 0,
                never_sent: 0,
                latency_us: histogram()?,
                refusal_us: histogram()?,
                lag_us: histogram()?,
                connections: 0,
                first_failure: None,
            },
        })
    }

    /// A request has come due.
    fn release(&mut self, at: Duration, counted: bool) -> Result<()> {
        if counted {
            self.outcome.offered += 1;
            let lag = self.began_at.elapsed().saturating_sub(at);
            self.outcome
                .lag_us
                .saturating_record(lag.as_micros() as u64);
        }
        self.waiting.push_back(Start { at, counted }); // bounded by rate and patience
        self.serve_waiting()
    }

    /// Gives connections to those who wait, as long as there are some.
    fn serve_waiting(&mut self) -> Result<()> {
        self.drop_expired();
        while !self.waiting.is_empty()
            && let Some(index) = self.connection()?
            && let Some(start) = self.waiting.pop_front()
        {
            self.begin(index, start)?;
        }
        Ok(())
    }

    /// A connection that rests, or a new one while there may be more.
    fn connection(&mut self) -> Result<Option<usize>> {
        while let Some(index) = self.resting.pop() {
            if self.connections[index]
                .as_ref()
                .is_some_and(|it| it.busy.is_none())
            {
                return Ok(Some(index));
            }
        }
        if self.connections.len() - self.free.len() >= self.offer.connections_max {
            return Ok(None);
        }
        let Ok(wire) = self.offer.dialer.dial_without_waiting() else {
            return Ok(None); // a full backlog, or no more ports: whoever waits will see
        };
        let index = self.free.pop().unwrap_or(self.connections.len());
        self.poller.add(&wire, index as u64, Interest::Read)?;
        let connection = Connection {
            wire,
            reader: AnswerReader::new(self.offer.lateness),
            request: Vec::new(),
            busy: None,
            awaits_room: false,
        };
        match self.connections.get_mut(index) {
            Some(place) => *place = Some(connection),
            None => self.connections.push(Some(connection)),
        }
        Ok(Some(index))
    }

    fn begin(&mut self, index: usize, start: Start) -> Result<()> {
        let Some(connection) = self.connections[index].as_mut() else {
            return Ok(()); // the caller has just taken it from those that rest
        };
        let number = self.begun;
        self.begun += 1;
        connection.reader.reset();
        let asked = self.offer.plan.of(0, 1, number as usize);
        let written = self.offer.plan.number_of(0, number as usize) | OPEN_NUMBERS;
        asked.write(written, &mut connection.request);
        connection.busy = Some(Busy {
            asked,
            start,
            sent_at: self.began_at.elapsed(),
            number,
            sent: 0,
        });
        let until = start.at + self.offer.patience;
        // Starts wait in order, so their patience ends in order.
        self.patience.push_back((until, index, number));
        self.send(index)
    }

    fn send(&mut self, index: usize) -> Result<()> {
        let Some(connection) = self.connections[index].as_mut() else {
            return Ok(());
        };
        let Some(busy) = connection.busy.as_mut() else {
            return Ok(());
        };
        let bytes = &connection.request;
        while busy.sent < bytes.len() {
            match connection.wire.write(&bytes[busy.sent..]) {
                Ok(0) => break,
                Ok(count) => busy.sent += count,
                Err(error) => {
                    self.fail(index, format!("sending: {error}"));
                    return Ok(());
                }
            }
        }
        let awaits_room = busy.sent < bytes.len();
        if awaits_room == connection.awaits_room {
            return Ok(());
        }
        connection.awaits_room = awaits_room;
        let interest = match awaits_room {
            true => Interest::ReadWrite,
            false => Interest::Read,
        };
        self.poller.change(&connection.wire, index as u64, interest)
    }

    fn attend(&mut self, index: usize, buffer: &mut [u8]) -> Result<()> {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
            return Ok(());
        };
        let unsent = connection
            .busy
            .as_ref()
            .is_some_and(|busy| busy.sent < busy.asked.size());
        if unsent {
            self.send(index)?;
        }
        let Some(connection) = self.connections[index].as_mut() else {
            return Ok(());
        };
        let count = match connection.wire.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                self.fail(index, format!("receiving: {error}"));
                return Ok(());
            }
        };
        let Some(busy) = &connection.busy else {
            self.close(index); // one that rests may be closed by the subject
            return Ok(());
        };
        if count == 0 {
            self.fail(index, "closed without an answer".into());
            return Ok(());
        }
        let sent_all = busy.sent == busy.asked.size();
        let expected = &busy.asked.expected;
        match connection
            .reader
            .feed(&buffer[..count], expected, &mut Counted::default())
        {
            Ok(false) => Ok(()),
            Ok(true) => self.answered(index),
            Err(what) => match connection.reader.refusal() {
                Some(_) => self.refused(index, sent_all && keeps_connection(&buffer[..count])),
                None => {
                    self.fail(index, what);
                    Ok(())
                }
            },
        }
    }

    fn answered(&mut self, index: usize) -> Result<()> {
        let busy = self.connections[index]
            .as_mut()
            .and_then(|it| it.busy.take());
        if let Some(Start { at, counted: true }) = busy.map(|busy| busy.start) {
            let latency = self.began_at.elapsed().saturating_sub(at);
            self.outcome.answered += 1;
            self.outcome.good += u64::from(latency <= self.offer.objective);
            let latency_us = latency.as_micros() as u64;
            self.outcome.latency_us.saturating_record(latency_us);
        }
        self.rest(index)
    }

    /// Gives a connection to the first who waits for one.
    fn rest(&mut self, index: usize) -> Result<()> {
        match self.waiting.pop_front() {
            Some(start) => self.begin(index, start),
            None => {
                self.resting.push(index);
                Ok(())
            }
        }
    }

    fn refused(&mut self, index: usize, kept: bool) -> Result<()> {
        let busy = match kept {
            true => self.connections[index]
                .as_mut()
                .and_then(|it| it.busy.take()),
            false => self.close(index),
        };
        if let Some(busy) = busy.filter(|busy| busy.start.counted) {
            self.outcome.refused += 1;
            let took = self.began_at.elapsed().saturating_sub(busy.sent_at);
            self.outcome
                .refusal_us
                .saturating_record(took.as_micros() as u64);
        }
        if kept { self.rest(index) } else { Ok(()) }
    }

    fn fail(&mut self, index: usize, what: String) {
        if self.close(index).is_some_and(|busy| busy.start.counted) {
            self.outcome.failed += 1;
            self.outcome.first_failure.get_or_insert(what);
        }
    }

    fn close(&mut self, index: usize) -> Option<Busy<'a>> {
        let connection = self.connections[index].take()?;
        self.free.push(index);
        connection.busy
    }

    /// Those who waited too long, with or without a connection, go away.
    fn lose_patience(&mut self) {
        let now = self.began_at.elapsed();
        while let Some(&(until, index, number)) = self.patience.front() {
            let answered = self.connections[index]
                .as_ref()
                .and_then(|it| it.busy.as_ref())
                .is_none_or(|busy| busy.number != number);
            if !answered && until > now {
                break;
            }
            self.patience.pop_front();
            if !answered && self.close(index).is_some_and(|busy| busy.start.counted) {
                self.outcome.given_up += 1;
            }
        }
        self.drop_expired();
    }

    /// Those whose patience ended before there was a connection for them: beginning them would only
    /// make the generator later.
    fn drop_expired(&mut self) {
        let now = self.began_at.elapsed();
        while let Some(start) = self.waiting.front() {
            if start.at + self.offer.patience > now {
                break;
            }
            self.outcome.never_sent += u64::from(start.counted);
            self.waiting.pop_front();
        }
    }

    /// Nothing that is counted is under way any more.
    fn settled(&self) -> bool {
        let counted = |start: &Start| start.counted;
        !self.waiting.iter().any(counted)
            && !self
                .connections
                .iter()
                .flatten()
                .filter_map(|it| it.busy.as_ref())
                .any(|busy| busy.start.counted)
    }
}

/// Whether a refusal leaves its connection for the next request: it came whole in one read, as
/// such short answers do, and does not end it.
fn keeps_connection(answer: &[u8]) -> bool {
    let Some(end) = head_end(answer) else {
        return false;
    };
    let (head, body) = answer.split_at(end);
    let closes = field(head, "connection").is_some_and(|it| it.eq_ignore_ascii_case(b"close"));
    let length = field(head, "content-length").and_then(|it| std::str::from_utf8(it).ok());
    !closes && length.and_then(|it| it.parse().ok()) == Some(body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_connection_when_it_is_whole_and_does_not_close() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        assert!(keeps_connection(whole));
        for end in 0..whole.len() {
            assert!(!keeps_connection(&whole[..end]), "cut at {end}");
        }
        assert!(!keeps_connection(
            b"HTTP/1.1 503 x\r\nconnection: Close\r\ncontent-length: 2\r\n\r\n{}"
        ));
        assert!(!keeps_connection(b"HTTP/1.1 503 x\r\n\r\n"));
    }
}
