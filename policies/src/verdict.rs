//! What a guard decided about one text: the action, and the findings that explain it.
//!
//! A finding says where a rule matched, and never what it matched: verdicts go into logs, records
//! and answers to people, and none of these may become the leak that the rule was written against.

use std::fmt;
use std::sync::Arc;

use crate::mask::Vault;
use crate::rule::Confidence;
use crate::scan::Lane;
use crate::scan::effort::{FREE_STEPS, Work};

/// What happens to a message, in order of severity: the worst finding decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Nothing was found.
    Allow,
    /// The message passes; the finding is recorded.
    Flag,
    /// The matched text is replaced; the rest of the message passes.
    Mask,
    /// The message waits for a person.
    Hold,
    /// The message goes no further.
    Block,
}

/// Which way a message travels: to the model or from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the caller to the model.
    Request,
    /// From the model to the caller.
    Response,
}

/// One match of one rule, named by its guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The guard that asked for the rule.
    pub guard: Arc<str>,
    /// The rule's id.
    pub rule: Arc<str>,
    /// What the guard says must happen.
    pub action: Action,
    /// The text channel, for example `messages[0].content`. A key is shown as its object's path
    /// followed by `{key}`.
    pub location: String,
    /// First byte of the match within the unescaped text of that channel.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// What the match is worth.
    pub confidence: Confidence,
    /// How the text was read in which it was found.
    pub lane: Lane,
    /// What would have happened, where the guard only observes: [`Finding::action`] is then
    /// [`Action::Flag`].
    pub observed: Option<Action>,
}

/// Whose findings are those about a message as a whole.
pub(crate) const INSPECTION_GUARD: &str = "inspection";

/// The rule of a finding that says that a message took more work than it may.
pub(crate) const EXCESS_RULE: &str = "inspection-exhausted";

/// How many findings one message may report. The action still counts every match; only the list
/// that explains it stops growing, so that a body full of matches cannot fill memory or the log.
pub const FINDINGS_MAX: usize = 256;

/// The findings of one message and the worst action among them.
#[derive(Debug)]
pub(crate) struct Findings {
    /// What was spent on the message.
    pub(crate) work: Work,
    list: Vec<Finding>,
    worst: Action,
    /// Kept apart, because a block may come after the list is full or has been taken.
    first_block: Option<Finding>,
    /// The first of each guard that holds, listed or not: each of them must be approved.
    held: Vec<Finding>,
    count: usize,
    /// What was masked and is to be put back in the answer.
    pub(crate) vault: Vault,
}

// === impl Action ===

impl Action {
    /// The word used in policy files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Allow => "allow",
            Action::Flag => "flag",
            Action::Mask => "mask",
            Action::Hold => "hold",
            Action::Block => "block",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Direction ===

impl Direction {
    /// The word used in policy files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Request => "request",
            Direction::Response => "response",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Finding ===

impl Finding {
    /// What a record calls it: what was done, or what would have been.
    pub fn verdict(&self) -> &'static str {
        match self.observed {
            None => self.action.as_str(),
            Some(Action::Block) => "observed block",
            Some(Action::Hold) => "observed hold",
            Some(Action::Mask) => "observed mask",
            Some(Action::Flag | Action::Allow) => "observed flag",
        }
    }

    /// Does it say that the message took more work to inspect than it may, instead of a match?
    pub fn is_excess(&self) -> bool {
        &*self.rule == EXCESS_RULE
    }
}

// === impl Findings ===

impl Default for Findings {
    fn default() -> Self {
        Findings {
            work: Work::within(FREE_STEPS),
            list: Vec::new(),
            worst: Action::Allow,
            first_block: None,
            held: Vec::new(),
            count: 0,
            vault: Vault::default(),
        }
    }
}

impl Findings {
    /// Counts a finding, and has it written out only if it is kept: a location under deep nesting
    /// is dear, and a body may have a million matches.
    pub(crate) fn add(&mut self, action: Action, guard: &str, finding: impl FnOnce() -> Finding) {
        self.worst = self.worst.max(action);
        let listed = self.count < FINDINGS_MAX;
        let blocks = action == Action::Block && self.first_block.is_none();
        let holds = action == Action::Hold && self.held.iter().all(|held| &*held.guard != guard);
        self.count = self.count.saturating_add(1);
        if !listed && !blocks && !holds {
            return;
        }
        let finding = finding();
        if holds {
            self.held.push(finding.clone());
        }
        debug_assert_eq!(finding.action, action);
        if blocks {
            self.first_block = Some(finding.clone());
        }
        if listed {
            self.list.push(finding);
        }
    }

    /// How many there were, listed or not.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn worst(&self) -> Action {
        self.worst
    }

    /// The first finding that blocks, if one does.
    pub(crate) fn block(&self) -> Option<&Finding> {
        self.first_block.as_ref()
    }

    /// Notes that a message would not have passed for a reason of its own, by its stable code.
    pub(crate) fn note(&mut self, code: &str) {
        self.add(Action::Block, INSPECTION_GUARD, || Finding {
            guard: Arc::from(INSPECTION_GUARD),
            rule: Arc::from(code),
            action: Action::Block,
            location: "$".to_owned(),
            start: 0,
            end: 0,
            confidence: Confidence::High,
            lane: Lane::Plain,
            observed: None,
        });
    }

    /// The same for what only observes: none of it leads to anything.
    pub(crate) fn take_observed(&mut self) -> Vec<Finding> {
        let mut list = self.take();
        for finding in &mut list {
            finding.observed = Some(finding.action);
            finding.action = Action::Flag;
        }
        list
    }

    /// Hands over the first finding of each guard that holds.
    pub(crate) fn take_held(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.held)
    }

    /// Hands the list over; the worst action and the count stay.
    pub(crate) fn take(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.list)
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, FINDINGS_MAX, Finding, Findings};

    #[test]
    fn only_findings_that_are_kept_are_written_out() {
        let mut findings = Findings::default();
        let mut written = 0;
        let mut add = |action: Action| {
            findings.add(action, "g", || {
                written += 1;
                Finding {
                    guard: "g".into(),
                    rule: "r".into(),
                    action,
                    location: "$".to_owned(),
                    start: 0,
                    end: 1,
                    confidence: crate::rule::Confidence::High,
                    lane: crate::scan::Lane::Plain,
                    observed: None,
                }
            });
        };
        for _ in 0..FINDINGS_MAX * 2 {
            add(Action::Mask);
        }
        add(Action::Block);
        add(Action::Block);
        assert_eq!(written, FINDINGS_MAX + 1, "and the first that blocks");
        assert_eq!(findings.count(), FINDINGS_MAX * 2 + 2);
        assert_eq!(findings.worst(), Action::Block);
        assert!(findings.block().is_some());
        assert_eq!(findings.take().len(), FINDINGS_MAX);
    }
}
