//! Takes intended starts from a schedule when they are due, and knows how late it was.
//!
//! It is handed the time and never asks for it, so it can be tried without waiting. Deadlines are
//! absolute: a start that was taken late does not move the next one.
//!
//! # What is the generator's lag
//!
//! A request has an intended start. From there until its first byte leaves, three things can take
//! time, and only one of them is the generator's fault:
//!
//! 1. **The generator did not get to it**: its thread was not woken in time, or was busy with other
//!    sockets. This ends when the pacer hands the start out ([`Due::released_ns`]), and the time
//!    from the intended start until then is the *lag* of that start.
//! 2. **No connection was free**, because the target had not answered on any of them. That is the
//!    target's time (a user would have waited, too). It is in every series that counts from the
//!    intended start, and in no lag.
//! 3. **The connection is made**: TCP and TLS, the target's time as well.
//!
//! Answers have a lag of their own, the *reading lag*: how long a socket may have been readable
//! before the loop had read it, at most. It is in every measured time; what the loop does with what
//! it read is in none.
//!
//! A run whose lags are past the bound in more than one of a hundred cases, or whose schedule was
//! not handed out to its end, measured the generator, and fails.

use super::arrivals::{Arrival, Schedule};

/// A start that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number, from zero.
    pub index: u64,
    /// When it should start, in nanoseconds since the run's start.
    pub intended_ns: u64,
    /// When the generator got to it.
    pub released_ns: u64,
}

/// Hands out what is due.
pub struct Pacer {
    schedule: Schedule,
    next: Option<Arrival>,
    released: u64,
}

// === impl Due ===

impl Due {
    /// By how much the generator was late.
    pub fn lag_ns(&self) -> u64 {
        self.released_ns.saturating_sub(self.intended_ns)
    }
}

// === impl Pacer ===

impl Pacer {
    /// Before the first start.
    pub fn new(mut schedule: Schedule) -> Self {
        Self {
            next: schedule.next(),
            schedule,
            released: 0,
        }
    }

    /// The next start, if it is due at `now_ns`. Call again until there is none.
    pub fn due(&mut self, now_ns: u64) -> Option<Due> {
        let arrival = self.next.filter(|arrival| arrival.at_ns <= now_ns)?;
        self.next = self.schedule.next();
        self.released += 1;
        Some(Due {
            index: arrival.index,
            intended_ns: arrival.at_ns,
            released_ns: now_ns,
        })
    }

    /// When the next start is due; none when there are no more.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.next.map(|arrival| arrival.at_ns)
    }

    /// Starts handed out.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// There shall be no more.
    pub fn stop(&mut self) {
        self.next = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::arrivals::{Arrivals, Pace};
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    fn pacer() -> Pacer {
        let arrivals = Arrivals::Rate(Pace::Constant, 100.0);
        Pacer::new(Schedule::new(
            &arrivals,
            Duration::from_secs(1),
            u64::MAX,
            0,
        ))
    }

    #[test]
    fn nothing_is_early_and_lateness_does_not_add_up() {
        let mut pacer = pacer();
        assert_eq!(pacer.due(0).unwrap().lag_ns(), 0);
        assert_eq!((pacer.due(0), pacer.deadline_ns()), (None, Some(10 * MS)));
        assert_eq!(pacer.due(10 * MS - 1), None);
        // The generator sleeps through three starts: each is late by its own measure ...
        let lags: Vec<u64> = std::iter::from_fn(|| pacer.due(35 * MS))
            .map(|due| due.lag_ns() / MS)
            .collect();
        assert_eq!(lags, [25, 15, 5]);
        // ... and the next one is on time again.
        assert_eq!(pacer.deadline_ns(), Some(40 * MS));
        assert_eq!(pacer.due(40 * MS).unwrap().lag_ns(), 0);
        assert_eq!(pacer.released(), 5);
    }

    #[test]
    fn a_pacer_that_was_stopped_has_nothing_more() {
        let mut pacer = pacer();
        assert!(pacer.due(0).is_some());
        pacer.stop();
        assert_eq!((pacer.deadline_ns(), pacer.due(900 * MS)), (None, None));
    }
}
