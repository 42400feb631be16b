//! The clock of a run, and durations as people write them.
//!
//! All of the engine counts nanoseconds since the run's start in a `u64`: cheap to keep, to
//! subtract and to put into a histogram. Only [`Clock`] turns that from and into the system's time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since a run's start, of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start_ns: u64,
}

// === impl Clock ===

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            start_ns: monotonic_ns(),
        }
    }

    /// Nanoseconds since the start.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        monotonic_ns() - self.start_ns
    }
}

/// What the kernel's monotonic clock says. Asked some three times a request: so without the detours
/// by way of seconds and of 128 bits that `Instant` and `Duration` make.
#[inline]
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64 // both never negative, by POSIX
}

/// A duration in nanoseconds; past 584 years the last one that there is.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// `50us`, `250ms`, `10s`, `5m`, `1h`; a bare number is seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("unknown unit {unit:?}: use us, ms, s, m or h")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "write it as 50us, 250ms, 10s, 5m or 1h".to_owned())?;
    Duration::try_from_secs_f64(number * factor).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(parse("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(parse("2"), Ok(Duration::from_secs(2)));
        for bad in ["", "ms", "5 s", "-1s", "1d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
