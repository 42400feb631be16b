//! `[approvals]`: how long held requests wait, how many may, and what their approvers see.

use std::time::Duration;

use serde::Deserialize;

use super::units::Span;
use crate::approvals::{Rules, Show};

/// `[approvals]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalsSection {
    /// The longest that a connection is kept waiting for a decision; zero: nobody waits, everybody
    /// gets a ticket.
    pub wait_max: Span,
    /// How often a stream that waits is sent a comment, so that nothing on its way gives it up.
    pub keep_alive: Span,
    /// Approvals that may be pending in all → 429.
    pub pending: usize,
    /// Approvals that may be pending of one caller → 429.
    pub pending_per_caller: usize,
    /// What approvers see of a request's text: `masked`, `nothing`, `everything`.
    pub show: Show,
    /// How long approvals that are over are kept.
    pub keep: Span,
}

/// The longest that a connection may be kept: beyond it a ticket serves everybody better.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// Nothing on the way of a stream gives it up as soon as this.
const KEEP_ALIVE_MIN: Duration = Duration::from_millis(100);

// === impl ApprovalsSection ===

impl ApprovalsSection {
    /// What cores must know of it.
    #[must_use]
    pub fn rules(&self, upstream: String) -> Rules {
        Rules {
            upstream,
            wait_max: self.wait_max.0,
            keep_alive: self.keep_alive.0,
            show: self.show,
        }
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if self.wait_max.0 > WAIT_MAX {
            return Err(
                "[approvals] `wait_max` may be at most 1h; longer waits are what \
                        tickets are for"
                    .to_owned(),
            );
        }
        if self.keep_alive.0 < KEEP_ALIVE_MIN {
            return Err("[approvals] `keep_alive` must be at least 100ms".to_owned());
        }
        if self.pending == 0 || self.pending_per_caller == 0 {
            let reason = "[approvals] `pending` and `pending_per_caller` must be more than 0";
            return Err(reason.to_owned());
        }
        Ok(())
    }
}

impl Default for ApprovalsSection {
    fn default() -> Self {
        Self {
            wait_max: Span::secs(300),
            keep_alive: Span::secs(5),
            pending: 10_000,
            pending_per_caller: 20,
            show: Show::default(),
            keep: Span::secs(90 * 24 * 3600),
        }
    }
}
