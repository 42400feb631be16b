//! Counters, one set per core, written by that core only and read by the control thread. A plain
//! load and store: no locked instruction on the request path.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;
use serde::Serialize;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// One core's counters.
        #[derive(Debug, Default)]
        pub struct CounterSet { $($(#[doc = $doc])* pub $name: Counter,)* }

        /// Sums over all cores.
        #[derive(Debug, Default, Serialize)]
        pub struct Totals { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Totals {
            fn add(&mut self, core: &CounterSet) {
                $(self.$name += core.$name.read();)*
            }

            /// Every counter's name, what it counts, and its value.
            pub fn described(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),*).trim(), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Connections accepted.
    connections,
    /// Connections refused because the core serves as many as it may.
    connections_refused,
    /// Requests whose head was read.
    requests,
    /// Of these, refused unread because the core was late. They leave no record.
    shed,
    /// Requests refused before they reached the model, for whatever reason.
    refused,
    /// Requests refused for want of a valid credential.
    unauthenticated,
    /// Requests refused because their caller is cut off.
    revoked,
    /// Exchanges ended because their caller was cut off meanwhile.
    cut_off,
    /// Requests refused for want of permission.
    forbidden,
    /// Requests blocked by a guard.
    blocked,
    /// Requests held until people have said yes.
    held,
    /// Requests of which something was masked.
    masked_requests,
    /// Texts of requests that were not read again: their caller had sent them before, and nothing had
    /// been found.
    remembered_texts,
    /// Responses of which something was masked.
    masked_responses,
    /// Requests sent upstream.
    forwarded,
    /// Upstream failures: refused, reset, late, malformed.
    upstream_failures,
    /// Exchanges whose client went away before the end.
    abandoned,
    /// Exchanges begun while no recorder was connected, where that is allowed. What finds room in
    /// the ring is recorded all the same; what does not is told as a gap.
    unrecorded,
    /// Frames written to the ring.
    frames,
    /// Frames that found no room and were lost; the log tells them as gaps.
    frames_lost,
    /// Connections ended by a panic.
    panics,
}

/// One core's counters, on cache lines of their own: no core waits for another's.
#[derive(Debug, Default)]
pub struct CoreCounters(CachePadded<CounterSet>);

/// A number that one thread writes and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// The counters of all cores.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<[Arc<CoreCounters>]>);

impl Deref for CoreCounters {
    type Target = CounterSet;

    fn deref(&self) -> &CounterSet {
        &self.0
    }
}

// === impl Counter ===

impl Counter {
    /// One more.
    pub fn bump(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed) + count, Relaxed);
    }

    /// The present value.
    pub fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

// === impl Counters ===

impl Counters {
    /// One set for each of `cores` cores.
    pub fn new(cores: usize) -> Self {
        Self((0..cores).map(|_| Arc::default()).collect())
    }

    /// The set of the core with this index.
    pub fn core(&self, index: usize) -> Arc<CoreCounters> {
        self.0[index].clone()
    }

    /// How many cores there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Sums, each read at its own instant.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.0.iter().for_each(|core| totals.add(core));
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_sum_over_cores() {
        let counters = Counters::new(2);
        counters.core(0).requests.bump();
        counters.core(1).requests.bump();
        counters.core(1).panics.bump();
        let totals = counters.totals();
        assert_eq!((totals.requests, totals.panics, totals.blocked), (2, 1, 0));
    }
}
