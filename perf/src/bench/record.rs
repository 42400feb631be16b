//! The committed record of instruction counts, and what a change against it means.
//!
//! Each case has a *reference*: the count that was last accepted, with the reason. New counts are
//! held against it, not against the last count, so that many small steps cannot pass unseen. Two per
//! cent is far above what repeats differ by (none, or a few instructions of hashing), and far below
//! what anybody would notice by the clock.
//!
//! Counts are comparable only where the same compiler, C library and valgrind made them, for a
//! processor with the same vector instructions: elsewhere there is no verdict.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A change beyond this share of the reference needs a reason.
pub const TOLERANCE: f64 = 0.02;

/// The file, as it is committed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What the counts depend on beside the sources.
    pub made_with: MadeWith,
    /// BLAKE3 of the sources that were counted.
    pub sources: String,
    /// Which state of the repository; `+` when files differed from it.
    pub commit: Option<String>,
    /// By the case's name.
    pub cases: BTreeMap<String, Counted>,
}

/// What counts depend on beside the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeWith {
    /// `rustc 1.95.0 (…) x86_64-unknown-linux-gnu`.
    pub compiler: String,
    /// `glibc 2.36`.
    pub libc: String,
    /// `valgrind-3.19.0`.
    pub valgrind: String,
    /// The widest vector instructions that the counted program is offered: valgrind shows a program
    /// AVX2 where the processor has it, and never AVX-512.
    pub vectors: String,
}

/// One case's counts, per unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Instructions a unit when it was last accepted.
    pub reference: f64,
    /// Instructions a unit of the recorded sources.
    pub counted: f64,
    /// Why the reference is what it is.
    pub reason: String,
    /// When it was accepted, UTC.
    pub accepted: String,
}

/// One case now, against the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The case.
    pub name: String,
    /// Its reference; none when it is new.
    pub reference: Option<f64>,
    /// Instructions a unit now; none when it is gone.
    pub now: Option<f64>,
}

// === impl Record ===

impl Record {
    /// Why these counts cannot be compared with those made `here`; none when they can, and of an
    /// empty record.
    pub fn differs(&self, here: &MadeWith) -> Option<String> {
        match self.cases.is_empty() {
            true => None,
            false => self.made_with.differs(here),
        }
    }

    /// Every case of either side.
    pub fn changes(&self, now: &BTreeMap<String, f64>) -> Vec<Change> {
        let mut names: Vec<&String> = self.cases.keys().chain(now.keys()).collect();
        names.sort();
        names.dedup();
        let change = |name: &String| Change {
            name: name.clone(),
            reference: self.cases.get(name).map(|counted| counted.reference),
            now: now.get(name).copied(),
        };
        names.into_iter().map(change).collect()
    }

    /// Takes new counts over. What changed beyond the tolerance, and what is new, gets a new
    /// reference with the reason; without one, such counts are refused by their names.
    pub fn update(
        &mut self,
        now: &BTreeMap<String, f64>,
        reason: Option<&str>,
        date: &str,
    ) -> Result<(), Vec<String>> {
        let beyond: Vec<Change> = self.changes(now);
        let beyond: Vec<Change> = beyond.into_iter().filter(Change::needs_reason).collect();
        let Some(reason) = reason.or_else(|| beyond.is_empty().then_some("")) else {
            return Err(beyond.iter().map(ToString::to_string).collect());
        };
        self.cases.retain(|name, _| now.contains_key(name));
        for (name, &count) in now {
            let accepted = beyond.iter().any(|change| change.name == *name);
            match self.cases.get_mut(name) {
                Some(known) if !accepted => known.counted = count,
                _ => {
                    let counted = Counted {
                        reference: count,
                        counted: count,
                        reason: reason.to_owned(),
                        accepted: date.to_owned(),
                    };
                    self.cases.insert(name.clone(), counted);
                }
            }
        }
        Ok(())
    }
}

// === impl MadeWith ===

impl MadeWith {
    /// Why counts made with these and with those cannot be compared; none when they can.
    pub fn differs(&self, here: &MadeWith) -> Option<String> {
        let pairs = [
            (&self.compiler, &here.compiler),
            (&self.libc, &here.libc),
            (&self.valgrind, &here.valgrind),
            (&self.vectors, &here.vectors),
        ];
        let differing: Vec<String> = pairs
            .iter()
            .filter(|(recorded, here)| recorded != here)
            .map(|(recorded, here)| format!("recorded with {recorded}, here {here}"))
            .collect();
        (!differing.is_empty()).then(|| differing.join("; "))
    }
}

// === impl Change ===

impl Change {
    /// The change as a share of the reference; none of a new or gone case.
    pub fn share(&self) -> Option<f64> {
        Some(self.now? / self.reference? - 1.0)
    }

    /// Beyond the tolerance, new, or gone.
    pub fn needs_reason(&self) -> bool {
        // The last digits of a division are no change.
        self.share()
            .is_none_or(|share| share.abs() > TOLERANCE + 1e-9)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (self.reference, self.now) {
            (Some(reference), Some(now)) => {
                let percent = 100.0 * (now / reference - 1.0);
                write!(
                    f,
                    "{name}: {reference:.0} → {now:.0} instructions ({percent:+.1} %)"
                )
            }
            (None, Some(now)) => write!(f, "{name}: {now:.0} instructions, not recorded yet"),
            _ => write!(f, "{name}: recorded, and counted no more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, f64)]) -> BTreeMap<String, f64> {
        all.iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    }

    fn recorded(all: &[(&str, f64)]) -> Record {
        let mut record = Record::default();
        let first = record.update(&counts(all), Some("first"), "2026-11-21");
        first.expect("has a reason");
        record
    }

    #[test]
    fn two_per_cent_need_no_reason_and_more_does_either_way() {
        let record = recorded(&[("event", 1000.0)]);
        let needs = |now: f64| record.changes(&counts(&[("event", now)]))[0].needs_reason();
        assert!(!needs(1000.0) && !needs(1020.0) && !needs(980.0));
        // Faster, too: a record that is too slow would let the next change slip.
        assert!(needs(1021.0) && needs(979.0));
    }

    #[test]
    fn small_steps_are_held_against_what_was_accepted() {
        let mut record = recorded(&[("event", 1000.0)]);
        record
            .update(&counts(&[("event", 1015.0)]), None, "d")
            .expect("small");
        assert_eq!(record.cases["event"].reference, 1000.0);
        assert_eq!(record.cases["event"].counted, 1015.0);
        let refused = record.update(&counts(&[("event", 1030.0)]), None, "d");
        assert_eq!(
            refused.expect_err("three per cent"),
            ["event: 1000 → 1030 instructions (+3.0 %)"]
        );
        assert_eq!(record.cases["event"].counted, 1015.0, "nothing was written");
        let why = Some("two more checks");
        record
            .update(&counts(&[("event", 1030.0)]), why, "d")
            .expect("has a reason");
        assert_eq!(record.cases["event"].reference, 1030.0);
        assert_eq!(record.cases["event"].reason, "two more checks");
    }

    #[test]
    fn new_and_gone_cases_need_a_reason_and_others_keep_theirs() {
        let mut record = recorded(&[("event", 1000.0), ("frame", 500.0)]);
        let now = counts(&[("event", 1001.0), ("head", 70.0)]);
        assert_eq!(record.update(&now, None, "d").expect_err("two").len(), 2);
        record
            .update(&now, Some("heads for frames"), "d")
            .expect("has a reason");
        assert_eq!(record.cases["event"].reason, "first");
        assert_eq!(record.cases["head"].reason, "heads for frames");
        assert!(!record.cases.contains_key("frame"));
    }

    #[test]
    fn counts_of_another_compiler_or_processor_are_not_compared() {
        let with = |compiler: &str, vectors: &str| MadeWith {
            compiler: compiler.into(),
            vectors: vectors.into(),
            ..MadeWith::default()
        };
        let record = with("rustc 1.95.0", "AVX2");
        assert_eq!(record.differs(&record.clone()), None);
        let why = record.differs(&with("rustc 1.96.0", "none")).expect("two");
        assert!(why.contains("rustc 1.95.0, here rustc 1.96.0"), "{why}");
        assert!(why.contains("AVX2, here none"), "{why}");
    }
}
