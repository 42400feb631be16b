//! Counts units as they arrive, and their latencies.

use std::time::Instant;

use hdrhistogram::Histogram;

use super::body::{Unit as Arrived, Units};
use crate::error::{Error, Result};
use crate::scenario::Unit;
use crate::traffic::{stamp_distance_us, stamp_now};

/// Latencies beyond this are recorded as this.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Units and latencies since the window opened.
#[derive(Debug)]
pub struct Meter {
    /// Units completed.
    pub units: u64,
    /// Events that came, whatever the unit.
    pub events: u64,
    /// Events with which not all text came that the upstream had sent by then.
    pub late_events: u64,
    /// Microseconds from request to complete answer, or from the upstream's write of an event to
    /// its arrival.
    pub latency_us: Histogram<u64>,
    counts: Unit,
    now: Instant,
    stamp_now: u64,
}

/// An empty histogram of microseconds.
pub fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
        .map_err(|error| Error::Unable(format!("making a histogram: {error}")))
}

// === impl Meter ===

impl Meter {
    /// Counts one kind of unit.
    pub fn new(counts: Unit) -> Result<Meter> {
        Ok(Meter {
            units: 0,
            events: 0,
            late_events: 0,
            latency_us: histogram()?,
            counts,
            now: Instant::now(),
            stamp_now: stamp_now(),
        })
    }

    /// Something has arrived now.
    pub fn look_at_the_clock(&mut self) {
        self.now = Instant::now();
        if self.counts == Unit::Event {
            self.stamp_now = stamp_now();
        }
    }

    /// An answer is complete, to a request that was due then.
    pub fn answered(&mut self, due_at: Instant) {
        if self.counts == Unit::Request {
            self.units += 1;
            let latency = self.now.saturating_duration_since(due_at);
            self.latency_us
                .saturating_record(latency.as_micros() as u64);
        }
    }

    /// Forgets what was counted before the window.
    pub fn clear(&mut self) {
        self.units = 0;
        self.events = 0;
        self.late_events = 0;
        self.latency_us.reset();
    }
}

impl Units for Meter {
    fn unit(&mut self, unit: Arrived) {
        self.events += 1;
        self.late_events += u64::from(unit.late);
        if self.counts == Unit::Event {
            self.units += 1;
            // `[DONE]` has no stamp, and so no latency.
            if let Some(stamp) = unit.stamp {
                let latency_us = stamp_distance_us(stamp, self.stamp_now);
                self.latency_us.saturating_record(latency_us);
            }
        }
    }
}
