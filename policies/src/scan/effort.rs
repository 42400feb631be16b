//! What it costs to verify candidates, and where the cost ends.
//!
//! The start filter reads every byte a fixed number of times; what an adversary can multiply is the
//! verification: many starts that read far and fail, values that a validator reads and refuses. So
//! that is counted, in *steps* (a byte read by an automaton, by a search for words or by a
//! validator is one), against an allowance that grows with the text. Past it nothing starts any
//! more, and whoever scans is told; what that means is for the policy to say.
//!
//! And what makes most such texts dear is avoided: where an expression loops, a later start of the
//! same rule soon stands where an earlier one stood, in the same state at the same place, and goes
//! the same way from there. Every [`MARK_BYTES`] bytes a long run leaves a mark; a run that comes
//! upon the mark of an earlier one that was read to its end takes over the end and reads no more.

use super::view::View;
use super::vocabulary::{Heard, Vocabulary, Wanted};

/// Where so many rules are tried, what stands before is listened to once for all of them.
const CROWD_RULES: usize = 8;
const CROWD_RULES_NEAR: usize = 2;

/// The distance of marks, in bytes of the text.
const MARK_BYTES: usize = 64;

/// The most runs that are remembered, of different rules; the oldest is forgotten.
const RUNS_MAX: usize = 4;

/// Steps that every scan may take, however short its text: 256 Ki.
pub(crate) const FREE_STEPS: u64 = 256 << 10;

/// What was spent on one text or message, and what may be.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    spent: u64,
    allowed: u64,
}

/// The work of one text, and what is remembered of it: runs, and words.
#[derive(Debug, Default)]
pub(crate) struct Effort {
    pub(crate) work: Work,
    runs: Vec<Run>,
    /// The marks of the run that is being read.
    marks: Vec<Mark>,
    heard: Heard,
}

/// A run of a rule's automaton that was read to its end.
#[derive(Debug)]
struct Run {
    rule: u16,
    marks: Vec<Mark>,
    /// Where the automaton had nothing more to find.
    died: usize,
    /// The last place where the rule could have ended.
    end: usize,
}

/// A place and the state in which it was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// Place divided by [`MARK_BYTES`]; what does not fit is never marked.
    number: u32,
    state: u16,
}

// === impl Work ===

impl Work {
    /// Counts, and stops nothing.
    pub(crate) fn unbounded() -> Work {
        Work {
            spent: 0,
            allowed: u64::MAX,
        }
    }

    /// Nothing is spent, and so much may be.
    pub(crate) fn within(allowed: u64) -> Work {
        Work { spent: 0, allowed }
    }

    #[inline]
    pub(crate) fn spend(&mut self, steps: u64) {
        self.spent = self.spent.saturating_add(steps);
    }

    /// More text came, for which more may be spent.
    pub(crate) fn allow(&mut self, steps: u64) {
        self.allowed = self.allowed.saturating_add(steps);
    }

    #[inline]
    pub(crate) fn is_exhausted(&self) -> bool {
        self.spent > self.allowed
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent
    }

    /// What may still be spent.
    pub(crate) fn left(&self) -> u64 {
        self.allowed.saturating_sub(self.spent)
    }
}

impl Default for Work {
    fn default() -> Work {
        Work::unbounded()
    }
}

// === impl Effort ===

impl Effort {
    pub(crate) fn of(work: Work) -> Effort {
        Effort {
            work,
            ..Effort::default()
        }
    }

    /// A byte read by an automaton, a validator, or a search for words is a step.
    #[inline]
    pub(super) fn read(&mut self, bytes: usize) {
        self.work.spend(bytes as u64);
    }

    /// From how many rules on that are tried at a place what stands before it is listened to:
    /// fewer where little has been said since the last such place.
    #[inline]
    pub(super) fn crowd(&self, at: usize) -> usize {
        match self.heard.is_near(at) {
            true => CROWD_RULES_NEAR,
            false => CROWD_RULES,
        }
    }

    /// May what is wanted stand before `at`?
    #[inline]
    pub(super) fn hears(
        &mut self,
        vocabulary: &Vocabulary,
        wanted: Wanted,
        view: &View<'_>,
        at: usize,
    ) -> bool {
        let read = self.heard.listen(vocabulary, view, at);
        self.read(1 + read);
        self.heard.has(wanted, at)
    }

    /// A run begins, or goes on.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.marks.clear();
    }

    /// Is this one of the places that are marked?
    #[inline]
    pub(super) fn is_mark(at: usize) -> bool {
        at.is_multiple_of(MARK_BYTES)
    }

    /// The run passes a place of marks: how an earlier run of the rule went on from there in the
    /// same state, as its last end and where it died; else it is noted.
    pub(super) fn pass(&mut self, rule: u16, at: usize, state: u16) -> Option<(usize, usize)> {
        let number = u32::try_from(at / MARK_BYTES).ok()?;
        let mark = Mark { number, state };
        let known = self.runs.iter().find(|run| run.rule == rule);
        if let Some(run) = known
            && run.marks.contains(&mark)
        {
            return Some((run.end, run.died));
        }
        self.marks.push(mark);
        None
    }

    /// The run was read to its end.
    #[inline]
    pub(super) fn end(&mut self, rule: u16, end: usize, died: usize) {
        if !self.marks.is_empty() {
            self.remember(rule, end, died);
        }
    }

    fn remember(&mut self, rule: u16, end: usize, died: usize) {
        let known = self.runs.iter().position(|run| run.rule == rule);
        let mut run = match known {
            Some(at) => self.runs.remove(at),
            None if self.runs.len() == RUNS_MAX => self.runs.remove(0),
            None => Run {
                rule,
                marks: Vec::new(),
                died,
                end,
            },
        };
        // A run that ended where the earlier one did adds its marks to those behind it.
        let first = self.marks.first().map_or(0, |mark| mark.number);
        let kept = run.rule == rule && run.died == died && run.end == end;
        match kept {
            true => run.marks.retain(|mark| mark.number >= first),
            false => run.marks.clear(),
        }
        for mark in &self.marks {
            if !run.marks.contains(mark) && run.marks.len() < MARKS_MAX {
                run.marks.push(*mark);
            }
        }
        run.rule = rule;
        run.died = died;
        run.end = end;
        self.runs.push(run);
    }
}

/// The most marks of a run: as many as the longest match has.
const MARKS_MAX: usize = crate::rule::MATCH_BYTES_MAX / MARK_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ends_past_its_allowance() {
        let mut work = Work::within(10);
        work.spend(10);
        assert!(!work.is_exhausted());
        work.spend(1);
        assert!(work.is_exhausted());
        work.allow(1);
        assert!(!work.is_exhausted());
        assert_eq!((work.spent(), work.left()), (11, 0));
    }

    #[test]
    fn a_run_is_known_by_rule_place_and_state() {
        let mut effort = Effort::default();
        effort.begin();
        assert_eq!(effort.pass(3, 64, 7), None);
        assert_eq!(effort.pass(3, 128, 7), None);
        effort.end(3, 10, 150);
        effort.begin();
        assert_eq!(effort.pass(3, 64, 8), None);
        assert_eq!(effort.pass(4, 64, 7), None);
        assert_eq!(effort.pass(3, 128, 7), Some((10, 150)));
    }
}
