//! The closed loop: each connection has one request under way, and sends the next one when the
//! answer is complete and verified.
//!
//! A wrong byte, a closed connection or ten seconds without an answer end the measurement with an
//! error: a figure is never reported over answers that were not right.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::answer::AnswerReader;
use super::body::Lateness;
use super::meter::Meter;
use super::plan::{Plan, Prepared};
use super::wire::{Dialer, Wire};
use super::{Edge, READ_BYTES, STALL_MAX};
use crate::error::{Error, Result};
use crate::poller::{Interest, Poller};
use crate::scenario::Pace;

/// The loop looks at its clock at least this often.
const TICK: Duration = Duration::from_millis(20);

/// What to send, to whom, and for how long.
#[derive(Debug)]
pub struct Load<'a> {
    /// How connections are made.
    pub dialer: Dialer,
    /// What they send.
    pub plan: &'a Plan,
    /// How many.
    pub connections: usize,
    /// Each request has a connection of its own.
    pub new_each: bool,
    /// How slow the clients are, where they are.
    pub pace: Option<Pace>,
    /// Whether the subject may send text later than it got it.
    pub lateness: Lateness,
    /// The first requests are spread over this time.
    pub stagger: Duration,
    /// Time before the measured window, after the first requests.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
}

/// What the window showed.
#[derive(Debug)]
pub struct Window {
    /// What was counted.
    pub meter: Meter,
    /// How long it really was.
    pub elapsed: Duration,
    /// TLS handshakes in it: full ones, and those that continued an earlier session.
    pub handshakes: [u64; 2],
}

/// The loop.
struct Closed<'a> {
    load: &'a mut Load<'a>,
    poller: Poller,
    connections: Vec<Connection<'a>>,
    meter: Meter,
    handshakes: [u64; 2],
    /// When which slow client goes on; in order, because all pause equally long.
    pauses: VecDeque<(Instant, usize)>,
}

struct Connection<'a> {
    wire: Option<Wire>,
    reader: AnswerReader,
    current: Option<&'a Prepared>,
    /// The current request as it is sent.
    request: Vec<u8>,
    /// Requests begun.
    begun: usize,
    /// Bytes of the current request that are sent.
    sent: usize,
    sent_at: Instant,
    awaits_room: bool,
}

/// Drives a subject; calls `at_edge` when the window opens and when it closes.
pub fn drive<'a>(
    load: &'a mut Load<'a>,
    mut at_edge: impl FnMut(Edge) -> Result<()>,
) -> Result<Window> {
    let (stagger, window) = (load.stagger, load.window);
    let open_after = stagger + load.warm_up;
    let mut it = Closed::new(load)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut ready = Vec::new();
    let started = Instant::now();
    let mut opened: Option<Instant> = None;
    let mut begun = 0;
    let mut progress = (0, started);
    loop {
        while begun < it.connections.len()
            && started.elapsed() >= stagger.mul_f64(begun as f64 / it.connections.len() as f64)
        {
            it.begin(begun)?;
            begun += 1;
        }
        it.poller.wait(it.wait(), |token| {
            ready.push(token as usize);
            Ok(())
        })?;
        for index in ready.drain(..) {
            it.meter.look_at_the_clock();
            it.attend(index, &mut buffer)?;
        }
        it.go_on_after_pauses(&mut buffer)?;
        let now = Instant::now();
        if it.meter.events != progress.0 {
            progress = (it.meter.events, now);
        } else if now - progress.1 > STALL_MAX {
            return Err(Error::Stalled {
                seconds: STALL_MAX.as_secs(),
                units: it.meter.units,
            });
        }
        match opened {
            None if started.elapsed() >= open_after => {
                at_edge(Edge::Open)?;
                it.meter.clear();
                it.handshakes = [0; 2];
                progress = (0, now);
                opened = Some(Instant::now());
            }
            Some(since) if since.elapsed() >= window => {
                let elapsed = since.elapsed();
                at_edge(Edge::Close)?;
                return Ok(Window {
                    meter: it.meter,
                    elapsed,
                    handshakes: it.handshakes,
                });
            }
            _ => {}
        }
    }
}

// === impl Closed ===

impl<'a> Closed<'a> {
    fn new(load: &'a mut Load<'a>) -> Result<Closed<'a>> {
        let connection = |_| Connection {
            wire: None,
            reader: AnswerReader::new(load.lateness),
            current: None,
            request: Vec::new(),
            begun: 0,
            sent: 0,
            sent_at: Instant::now(),
            awaits_room: false,
        };
        let mut it = Closed {
            poller: Poller::new()?,
            connections: (0..load.connections).map(connection).collect(),
            meter: Meter::new(load.plan.unit)?,
            handshakes: [0; 2],
            pauses: VecDeque::new(),
            load,
        };
        if !it.load.new_each {
            (0..it.connections.len()).try_for_each(|index| it.dial(index))?;
        }
        Ok(it)
    }

    fn dial(&mut self, index: usize) -> Result<()> {
        let wire = self.load.dialer.dial(index)?;
        if self.load.pace.is_none() {
            self.poller.add(&wire, index as u64, Interest::Read)?;
        }
        let connection = &mut self.connections[index];
        connection.wire = Some(wire);
        connection.awaits_room = false;
        Ok(())
    }

    /// Sends the connection's next request, or its beginning.
    fn begin(&mut self, index: usize) -> Result<()> {
        if self.load.new_each {
            self.dial(index)?;
        }
        let count = self.connections.len();
        let connection = &mut self.connections[index];
        let plan = self.load.plan;
        let prepared = plan.of(index, count, connection.begun);
        let number = plan.number_of(index, connection.begun);
        prepared.write(number, &mut connection.request);
        connection.current = Some(prepared);
        connection.begun += 1;
        connection.sent = 0;
        connection.sent_at = Instant::now();
        connection.reader.reset();
        match self.load.pace {
            None => connection.send(index, usize::MAX)?,
            Some(pace) => {
                connection.send(index, pace.send_bytes)?;
                self.pauses.push_back((Instant::now() + pace.every, index));
            }
        }
        self.await_room(index)
    }

    /// Something can be read or written.
    fn attend(&mut self, index: usize, buffer: &mut [u8]) -> Result<()> {
        let connection = &mut self.connections[index];
        if connection.awaits_room {
            connection.send(index, usize::MAX)?;
        }
        match connection.receive(index, buffer, &mut self.meter)? {
            true => self.complete(index),
            false => self.await_room(index),
        }
    }

    fn complete(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        self.meter.answered(connection.sent_at);
        connection.current = None;
        if self.load.new_each
            && let Some(mut wire) = connection.wire.take()
        {
            if let Some(resumed) = wire.was_resumed() {
                self.handshakes[usize::from(resumed)] += 1;
            }
            wire.say_goodbye();
        }
        self.begin(index)
    }

    fn await_room(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let (Some(wire), None) = (&connection.wire, self.load.pace) else {
            return Ok(());
        };
        let unsent = connection.current.is_some() && connection.sent < connection.request.len();
        let awaits = unsent || wire.wants_write();
        if awaits != connection.awaits_room {
            connection.awaits_room = awaits;
            let interest = match awaits {
                true => Interest::ReadWrite,
                false => Interest::Read,
            };
            self.poller.change(wire, index as u64, interest)?;
        }
        Ok(())
    }

    fn go_on_after_pauses(&mut self, buffer: &mut [u8]) -> Result<()> {
        let Some(pace) = self.load.pace else {
            return Ok(());
        };
        let now = Instant::now();
        while let Some(&(at, index)) = self.pauses.front().filter(|(at, _)| *at <= now) {
            self.pauses.pop_front();
            self.meter.look_at_the_clock();
            let connection = &mut self.connections[index];
            connection.send(index, pace.send_bytes)?;
            let room = pace.take_bytes.min(buffer.len());
            match connection.receive(index, &mut buffer[..room], &mut self.meter)? {
                true => self.complete(index)?,
                false => self.pauses.push_back(((at + pace.every).max(now), index)),
            }
        }
        Ok(())
    }

    fn wait(&self) -> Duration {
        match self.pauses.front() {
            Some((at, _)) => at.saturating_duration_since(Instant::now()).min(TICK),
            None => TICK,
        }
    }
}

// === impl Connection ===

impl Connection<'_> {
    fn send(&mut self, index: usize, bytes_max: usize) -> Result<()> {
        let wrong = |error: std::io::Error| Error::Answer {
            connection: index,
            what: format!("sending: {error}"),
        };
        let (Some(wire), Some(_)) = (&mut self.wire, self.current) else {
            return Ok(());
        };
        let end = self.request.len().min(self.sent.saturating_add(bytes_max));
        while self.sent < end {
            match wire.write(&self.request[self.sent..end]).map_err(wrong)? {
                0 => break,
                count => self.sent += count,
            }
        }
        wire.flush().map_err(wrong)
    }

    /// True when the answer is complete.
    fn receive(&mut self, index: usize, buffer: &mut [u8], meter: &mut Meter) -> Result<bool> {
        let wrong = |what: String| Error::Answer {
            connection: index,
            what,
        };
        let Some(wire) = &mut self.wire else {
            return Ok(false);
        };
        loop {
            let count = match wire.read(buffer) {
                Ok(0) if self.current.is_none() => {
                    return Err(wrong("closed before a request".into()));
                }
                Ok(0) if self.reader.untouched() => return Err(wrong("closed without one".into())),
                Ok(0) => return Err(wrong("closed in the middle of it".into())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(wrong(format!("receiving: {error}"))),
            };
            let Some(current) = self.current else {
                return Err(wrong("bytes before a request".into()));
            };
            let expected = &current.expected;
            if self
                .reader
                .feed(&buffer[..count], expected, meter)
                .map_err(wrong)?
            {
                return Ok(true);
            }
            if wire.reads_all_at_once() {
                return Ok(false);
            }
        }
    }
}
