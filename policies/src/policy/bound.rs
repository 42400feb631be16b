//! How much work the inspection of a message may take, and what happens past it.
//!
//! Work is counted in steps of verification ([`mod@crate::scan::effort`]). Prose takes less than one
//! a byte; tables of numbers, at which many rules look with their words around, some two hundred. A
//! message may take so many for every KiB of its text, and a free amount on top, so that a short
//! one is never too dear. Past the bound nothing more is looked for in it,
//! so unless the operator says otherwise it goes no further.

use std::sync::Arc;

use toml::Spanned;

use super::file::InspectionTable;
use super::resolve::Place;
use crate::rule::Confidence;
use crate::scan::Lane;
use crate::verdict::{Action, EXCESS_RULE, Finding, Findings};

/// Steps a KiB unless the operator gives another number: 512 a byte.
const WORK_PER_KIB: u64 = 512 << 10;

/// The least and the most that an operator may give.
const WORK_PER_KIB_MIN: u64 = 4 << 10;
const WORK_PER_KIB_MAX: u64 = 16 << 20;

/// Whose finding an excess is.
const EXCESS_GUARD: &str = crate::verdict::INSPECTION_GUARD;

/// The bound on the work for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    work_per_kib: u64,
    on_excess: Action,
}

// === impl Bound ===

impl Default for Bound {
    fn default() -> Bound {
        Bound {
            work_per_kib: WORK_PER_KIB,
            on_excess: Action::Block,
        }
    }
}

impl Bound {
    /// The steps that a text of this length adds to what its message may take.
    pub(super) fn steps(self, bytes: usize) -> u64 {
        (bytes as u64).saturating_mul(self.work_per_kib) / 1024
    }

    /// May what was read past the bound go out?
    pub(super) fn lets_pass(self) -> bool {
        self.on_excess < Action::Block
    }

    /// Reports that the bound was reached in a text of this length.
    pub(super) fn report(
        self,
        bytes: usize,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) {
        findings.add(self.on_excess, EXCESS_GUARD, || Finding {
            guard: Arc::from(EXCESS_GUARD),
            rule: Arc::from(EXCESS_RULE),
            action: self.on_excess,
            location: location(),
            start: 0,
            end: bytes,
            confidence: Confidence::High,
            lane: Lane::Plain,
            observed: None,
        });
    }
}

impl Place<'_> {
    /// What `[inspection]` means. What is wrong in it leaves an error and the default.
    pub(super) fn bound(&mut self, table: &Spanned<InspectionTable>) -> Bound {
        let InspectionTable {
            on_excess,
            work_per_kib,
            observe: _,
        } = table.get_ref();
        let mut bound = Bound::default();
        if let Some(word) = on_excess {
            match word.get_ref().as_str() {
                "block" => bound.on_excess = Action::Block,
                "flag" => bound.on_excess = Action::Flag,
                _ => self.unknown(word, "action", ["block", "flag"].into_iter()),
            }
        }
        if let Some(steps) = work_per_kib {
            if (WORK_PER_KIB_MIN..=WORK_PER_KIB_MAX).contains(steps.get_ref()) {
                bound.work_per_kib = *steps.get_ref();
            } else {
                let reason = format!("work_per_kib is {WORK_PER_KIB_MIN} to {WORK_PER_KIB_MAX}");
                self.error(steps, reason);
            }
        }
        bound
    }
}
