//! What can be read of a run while it goes on, from another thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts so far. One thread writes, any may read; nothing here is exact to the moment.
#[derive(Debug, Default)]
pub struct Progress {
    intended: AtomicU64,
    started: AtomicU64,
    completed: AtomicU64,
    errors: AtomicU64,
    ended: AtomicU64,
    tokens: AtomicU64,
    end_to_end_p50_ns: AtomicU64,
    end_to_end_p99_ns: AtomicU64,
    ttft_p50_ns: AtomicU64,
    ttft_p99_ns: AtomicU64,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident, $set:ident;)*) => {
        impl Progress {
            $($(#[$doc])* pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed)
            }

            #[inline]
            pub(super) fn $set(&self, value: u64) {
                self.$name.store(value, Ordering::Relaxed);
            })*
        }
    };
}

figures! {
    /// Requests that have come due.
    intended, set_intended;
    /// Requests that were started.
    started, set_started;
    /// Good ends.
    completed, set_completed;
    /// Errors of all classes.
    errors, set_errors;
    /// Exchanges that are over, however they ended.
    ended, set_ended;
    /// Tokens of answers.
    tokens, set_tokens;
    /// Half of the good answers were at most this long, up to the last slot that is over.
    end_to_end_p50_ns, set_end_to_end_p50_ns;
    /// 99 % of them.
    end_to_end_p99_ns, set_end_to_end_p99_ns;
    /// Half of the first tokens came within this.
    ttft_p50_ns, set_ttft_p50_ns;
    /// 99 % of them.
    ttft_p99_ns, set_ttft_p99_ns;
}

impl Progress {
    /// Started and not over.
    pub fn in_flight(&self) -> u64 {
        self.started().saturating_sub(self.ended())
    }
}
