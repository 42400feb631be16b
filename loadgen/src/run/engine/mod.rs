//! The loop that sends and reads: one thread, one epoll, no task and no channel.
//!
//! A turn: hand out what is due, start what waits for a connection if there is one, let run out
//! what took too long, wait for the next deadline or socket, handle the sockets. Starts are handed
//! out in small lots, so that however many are due, answers are read in between.
//!
//! The state of a connection and what moves it are in [`connection`]; the loop knows only slots.

mod connection;
mod exchange;
mod line;
mod poll;
mod socket;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::check::Checks;
use super::pacer::{Due, Pacer};
use super::target::Target;
use super::time::Clock;
use super::workload::{DisconnectAfter, Workload};
use crate::outcome::{Fault, Recorder};
use connection::{Connection, Stage};
use line::Line;
use poll::Poller;

/// Starts that are handed out before sockets are looked at again.
const STARTS_PER_TURN: usize = 32;
/// The longest wait: signals are looked for so often.
const TICK_NS: u64 = 100_000_000;
/// Requests that came due are still started for this long after the end; later ones are not.
const GRACE_NS: u64 = 250_000_000;
/// Starts that may wait for a connection. What comes due past it is not sent.
const BACKLOG_MAX: usize = 4_000_000;
/// A wait that took longer found nothing ready when it began.
const SLEEP_MIN_NS: u64 = 10_000;
/// Bytes taken in one read.
const READ_BYTES: usize = 64 * 1024;

/// What the loop needs.
pub(super) struct Parts {
    pub(super) target: Target,
    pub(super) connections: usize,
    pub(super) timeout_ns: u64,
    /// Requests are started until then.
    pub(super) end_ns: u64,
    /// And at most so many.
    pub(super) requests_max: u64,
    pub(super) closed_loop: bool,
    pub(super) disconnect_after: DisconnectAfter,
    pub(super) workload: Workload,
    pub(super) checks: Checks,
    pub(super) pacer: Pacer,
    pub(super) recorder: Recorder,
    /// Set by each signal that asks for an end.
    pub(super) interrupted: Arc<AtomicBool>,
}

/// The loop.
pub(super) struct Engine {
    parts: Parts,
    clock: Clock,
    poller: Poller,
    connections: Vec<Connection>,
    /// Connections that were ready when they were put here, the last used on top.
    idle: Vec<u32>,
    closed: Vec<u32>,
    backlog: VecDeque<Due>,
    timeouts: Line,
    hang_ups: Line,
    /// Exchanges under way.
    live: usize,
    started: u64,
    interrupts: u32,
    request: Vec<u8>,
    buffer: Vec<u8>,
    turn: Turn,
    after: After,
}

/// What one turn knows of time.
#[derive(Default)]
struct Turn {
    /// When sockets were last looked at.
    looked_ns: u64,
    /// What was ready at the last look cannot have been before this.
    ready_since_ns: u64,
    /// Time spent waiting, all together.
    idle_ns: u64,
}

/// What is told after the run, beside what the recorder counted.
#[derive(Default)]
pub(super) struct After {
    /// Starts that came due and were handed out only when it was too late.
    pub(super) never_released: u64,
    /// The share of the time that the loop was not waiting.
    pub(super) busy_share: f64,
    /// When the last thing happened.
    pub(super) over_ns: u64,
}

// === impl Engine ===

impl Engine {
    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        let connections = parts.connections;
        let slots = u32::try_from(connections).unwrap_or(u32::MAX);
        Ok(Self {
            poller: Poller::new()?,
            connections: (0..connections).map(|_| Connection::default()).collect(),
            idle: Vec::with_capacity(connections),
            closed: (0..slots).rev().collect(),
            backlog: VecDeque::new(),
            timeouts: Line::new(connections),
            hang_ups: Line::new(connections),
            live: 0,
            started: 0,
            interrupts: 0,
            request: Vec::new(),
            buffer: vec![0; READ_BYTES],
            turn: Turn::default(),
            after: After::default(),
            clock: Clock::start(),
            parts,
        })
    }

    /// Runs to the end, or until it is interrupted, and waits for what is under way; interrupted
    /// twice, it does not wait.
    pub(super) fn run(mut self) -> io::Result<(Recorder, After)> {
        self.turn.looked_ns = self.clock.now_ns();
        loop {
            self.look_for_signals();
            let (mut more, mut now_ns) = self.start_due();
            self.run_out(now_ns);
            if self.may_start() {
                more |= self.start_waiting(STARTS_PER_TURN); // what ran out has left its connection
                now_ns = self.clock.now_ns();
            }
            if self.is_over(now_ns) {
                break;
            }
            let most_ns = if more { 0 } else { self.patience_ns(now_ns) };
            self.wait(most_ns, now_ns)?;
            for index in 0..self.poller.count() {
                if let Some(ready) = self.poller.ready(index) {
                    self.handle(ready);
                    self.start_waiting(STARTS_PER_TURN);
                }
            }
        }
        self.after.over_ns = self.clock.now_ns().max(1);
        let busy_ns = self.after.over_ns.saturating_sub(self.turn.idle_ns);
        self.after.busy_share = busy_ns as f64 / self.after.over_ns as f64;
        Ok((self.parts.recorder, self.after))
    }

    fn look_for_signals(&mut self) {
        if !self.parts.interrupted.swap(false, Ordering::Relaxed) {
            return;
        }
        let now_ns = self.clock.now_ns();
        self.interrupts += 1;
        self.parts.end_ns = self.parts.end_ns.min(now_ns);
        self.parts.pacer.stop();
        self.give_up_backlog(now_ns);
        if self.interrupts > 1 {
            for slot in 0..self.connections.len() {
                self.fail(slot as u32, now_ns, Fault::Unfinished); // there are that many slots
            }
        }
    }

    /// Hands out what is due; true when there may be more. And what time it is then.
    fn start_due(&mut self) -> (bool, u64) {
        if self.parts.closed_loop {
            return (self.start_waiting(STARTS_PER_TURN), self.clock.now_ns());
        }
        for _ in 0..STARTS_PER_TURN {
            // Each start has a look at the clock of its own: the one before it took its time.
            let now_ns = self.clock.now_ns();
            let Some(due) = self.parts.pacer.due(now_ns) else {
                return (false, now_ns);
            };
            let recorder = &mut self.parts.recorder;
            recorder.intended(due.intended_ns);
            recorder.lag(due.lag_ns());
            if now_ns >= self.parts.end_ns.saturating_add(GRACE_NS) {
                self.after.never_released += 1;
                recorder.not_sent(now_ns);
            } else if self.backlog.len() >= BACKLOG_MAX {
                recorder.not_sent(now_ns);
            } else {
                self.backlog.push_back(due);
                self.start_waiting(1);
            }
        }
        (true, self.clock.now_ns())
    }

    /// Something may wait for a connection.
    fn may_start(&self) -> bool {
        self.parts.closed_loop || !self.backlog.is_empty()
    }

    /// Starts what waits for a connection, or in closed loop the next request, while there is a
    /// connection; true when there is more to start.
    fn start_waiting(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if self.parts.closed_loop {
                let now_ns = self.clock.now_ns();
                if now_ns >= self.parts.end_ns || self.started >= self.parts.requests_max {
                    return false;
                }
                let due = Due {
                    index: self.started,
                    intended_ns: now_ns,
                    released_ns: now_ns,
                };
                if !self.begin(due) {
                    return false;
                }
                continue;
            }
            let Some(due) = self.backlog.front().copied() else {
                return false;
            };
            if !self.begin(due) {
                return false;
            }
            self.backlog.pop_front();
        }
        true
    }

    /// Ends what took too long, hangs up where the time for that has come, and gives up what can no
    /// longer be started.
    fn run_out(&mut self, now_ns: u64) {
        while let Some((slot, since_ns)) = self.timeouts.first() {
            if since_ns.saturating_add(self.parts.timeout_ns) > now_ns {
                break;
            }
            self.fail(slot, now_ns, Fault::Timeout);
        }
        if let DisconnectAfter::Nanoseconds(after_ns) = self.parts.disconnect_after {
            while let Some((slot, since_ns)) = self.hang_ups.first() {
                if since_ns.saturating_add(after_ns) > now_ns {
                    break;
                }
                self.hang_up(slot, now_ns);
            }
        }
        if now_ns >= self.parts.end_ns.saturating_add(GRACE_NS) {
            self.give_up_backlog(now_ns);
        }
    }

    fn give_up_backlog(&mut self, now_ns: u64) {
        for _ in self.backlog.drain(..) {
            self.parts.recorder.not_sent(now_ns);
        }
    }

    fn is_over(&self, now_ns: u64) -> bool {
        let no_more = if self.parts.closed_loop {
            now_ns >= self.parts.end_ns || self.started >= self.parts.requests_max
        } else {
            self.parts.pacer.deadline_ns().is_none() && self.backlog.is_empty()
        };
        no_more && self.live == 0
    }

    /// How long nothing has to be done, unless a socket has something.
    fn patience_ns(&self, now_ns: u64) -> u64 {
        let left = |at_ns: u64| at_ns.saturating_sub(now_ns);
        let mut most_ns = TICK_NS;
        if let Some(at_ns) = self.parts.pacer.deadline_ns() {
            most_ns = most_ns.min(left(at_ns));
        }
        if let Some((_, since_ns)) = self.timeouts.first() {
            most_ns = most_ns.min(left(since_ns.saturating_add(self.parts.timeout_ns)));
        }
        if let DisconnectAfter::Nanoseconds(after_ns) = self.parts.disconnect_after
            && let Some((_, since_ns)) = self.hang_ups.first()
        {
            most_ns = most_ns.min(left(since_ns.saturating_add(after_ns)));
        }
        if !self.backlog.is_empty() {
            most_ns = most_ns.min(left(self.parts.end_ns.saturating_add(GRACE_NS)).max(1));
        }
        most_ns
    }

    fn wait(&mut self, most_ns: u64, before_ns: u64) -> io::Result<()> {
        let may_sleep = self.poller.wait(most_ns)?;
        let after_ns = self.clock.now_ns();
        let slept = may_sleep && after_ns - before_ns > SLEEP_MIN_NS;
        if slept || self.poller.count() == 0 {
            self.turn.idle_ns += after_ns - before_ns;
        }
        // A sleep ends with the first thing that is ready. Without one, what is ready now may have
        // been since the last look.
        self.turn.ready_since_ns = if slept { after_ns } else { self.turn.looked_ns };
        self.turn.looked_ns = after_ns;
        Ok(())
    }

    /// A slot for a request; one that has a connection, unless it shall be new.
    fn take_slot(&mut self, new_connection: bool) -> Option<u32> {
        if new_connection && let Some(slot) = self.closed.pop() {
            return Some(slot);
        }
        while let Some(slot) = self.idle.pop() {
            // One that has died since is among the closed ones.
            if self.connections[slot as usize].stage == Stage::Idle {
                return Some(slot);
            }
        }
        self.closed.pop()
    }
}
