//! A wall clock that never goes back.
//!
//! What has expired must stay expired when somebody sets the system's clock back. This clock follows
//! the system's where that is ahead, and otherwise goes on by itself at the pace of the monotonic
//! clock; so it is never behind what it has told before, and never stands still. It begins no
//! earlier than the latest time that the state has written down, so that a restart changes nothing.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Milliseconds since 1970, never less than before.
#[derive(Debug)]
pub struct SteadyClock(Mutex<Told>);

#[derive(Debug)]
struct Told {
    unix_ms: u64,
    at: Instant,
}

// === impl SteadyClock ===

impl SteadyClock {
    /// A clock that begins no earlier than this.
    #[must_use]
    pub fn from(floor_unix_ms: u64) -> Self {
        Self(Mutex::new(Told {
            unix_ms: floor_unix_ms,
            at: Instant::now(),
        }))
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        let system = crate::exchange::unix_ns() / 1_000_000;
        self.tell(system, Instant::now())
    }

    /// From now on no earlier than this.
    pub fn raise(&self, floor_unix_ms: u64) {
        self.tell(floor_unix_ms, Instant::now());
    }

    fn tell(&self, system_ms: u64, now: Instant) -> u64 {
        // Two numbers are stored under it, which cannot be left half done.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(told.at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let alone = told.unix_ms.saturating_add(passed);
        *told = Told {
            unix_ms: alone.max(system_ms),
            // What is less than a millisecond is kept for the next time.
            at: match system_ms > alone {
                true => now,
                false => told.at + std::time::Duration::from_millis(passed),
            },
        };
        told.unix_ms
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_follows_the_system_forward_and_never_back() {
        let clock = SteadyClock::from(1_000);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(clock.tell(0, at(10)) >= 1_000);
        let before = clock.tell(500_000, at(20));
        assert_eq!(before, 500_000);
        // Set back by minutes: it goes on at its own pace.
        assert_eq!(clock.tell(3, at(520)), 500_500);
        assert_eq!(clock.tell(499_000, at(1_020)), 501_000);
        // Many looks in less than a millisecond lose nothing.
        for step in 0..2_000 {
            clock.tell(0, at(1_020) + Duration::from_micros(step));
        }
        assert_eq!(clock.tell(0, at(1_030)), 501_010);
        assert_eq!(clock.tell(900_000, at(1_040)), 900_000);
        clock.raise(2_000_000);
        assert!(clock.now_ms() >= 2_000_000);
    }
}
