//! One rule tried at one start: a few bytes that move forward with the text.

use super::automaton::{Automaton, Before, DEAD, Reading};
use super::context::Nearby;
use super::gate::Told;
use super::leads::After;
use super::view::View;
use crate::rule::{Checks, Rule};

/// What of a rule the scan asks for.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) automaton: Automaton,
    pub(crate) max_len: usize,
    checks: Checks,
    /// What must stand before a start.
    pub(crate) after: Option<After>,
    context: Option<Nearby>,
    region: Option<CompiledRegion>,
}

#[derive(Debug)]
struct CompiledRegion {
    end: Automaton,
    bytes_max: usize,
}

/// A rule that may still match at a start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) rule: u16,
    pub(crate) start: usize,
    stage: Stage,
    state: u16,
    /// End of the longest match so far; the start when there is none.
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Looking for the longest match; the text from the start is needed.
    Matching,
    /// Longer than the rule's bound: a match already, as far as the automaton goes on.
    Overlong,
    /// The opening matched: everything up to the end marker or the cap.
    InRegion,
}

/// What came of a candidate when it had read what is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// More text decides.
    Alive,
    /// No valid match at this start.
    Failed,
    /// A valid match up to `end`. `whole` says that the value was at hand as one text; it depends
    /// on the match alone, never on how the text was cut.
    Matched { end: usize, whole: bool },
}

// === impl Compiled ===

impl Compiled {
    pub(crate) fn new(rule: &Rule) -> Result<Compiled, String> {
        let automaton = Automaton::compile(&rule.pattern.hir, Reading::Anchored)?;
        let by_itself = Told {
            rule: 0,
            automaton: &automaton,
            len_max: rule.max_len,
        };
        let after = rule.after.as_ref();
        let after = after.map(|after| After::new(&after.hir, &by_itself));
        let region = rule.region.as_ref().map(|region| {
            let end = Automaton::compile(&region.end.hir, Reading::Anywhere)?;
            Ok::<_, String>(CompiledRegion {
                end,
                bytes_max: region.max,
            })
        });
        Ok(Compiled {
            max_len: rule.max_len,
            checks: rule.checks.clone(),
            after: after.transpose()?,
            automaton,
            context: rule.context.as_ref().map(Nearby::new),
            region: region.transpose()?,
        })
    }

    /// What its automata weigh.
    pub(crate) fn table_bytes(&self) -> usize {
        let region = self.region.as_ref().map(|region| &region.end);
        self.automaton.table_bytes()
            + self.after.as_ref().map_or(0, After::table_bytes)
            + region.map_or(0, Automaton::table_bytes)
    }

    /// Does the rule's `after`, if it has one, stand immediately before `at`?
    #[inline]
    pub(crate) fn may_follow(&self, view: &View<'_>, at: usize) -> bool {
        self.after
            .as_ref()
            .is_none_or(|after| after.stands_before(view, at))
    }

    /// Does a word of the rule's context, if it has one, stand near before `at`?
    #[inline]
    pub(crate) fn has_context(&self, view: &View<'_>, at: usize) -> bool {
        self.context
            .as_ref()
            .is_none_or(|context| context.stands_in(view.before(at)))
    }
}

// === impl Candidate ===

impl Candidate {
    /// Starts a rule at `at` and reads what is at hand.
    #[inline]
    pub(crate) fn begin(
        compiled: &Compiled,
        rule: u16,
        view: &View<'_>,
        at: usize,
    ) -> (Candidate, Outcome) {
        let state = compiled
            .automaton
            .start(Before::from_byte(view.byte_before(at)));
        let mut candidate = Candidate {
            rule,
            start: at,
            stage: Stage::Matching,
            state,
            end: at,
        };
        let outcome = match state {
            DEAD => Outcome::Failed,
            _ => candidate.read_match(compiled, view, at),
        };
        (candidate, outcome)
    }

    /// Reads on from `from`, where the view before ended.
    pub(crate) fn resume(&mut self, compiled: &Compiled, view: &View<'_>, from: usize) -> Outcome {
        match self.stage {
            Stage::Matching => self.read_match(compiled, view, from),
            Stage::Overlong => self.read_overlong(compiled, view, from),
            Stage::InRegion => self.read_region(compiled, view, from),
        }
    }

    /// Does it need the text from its start to be kept at hand?
    pub(crate) fn needs_text(&self) -> bool {
        self.stage == Stage::Matching
    }

    /// From here on a match, as far as the automaton goes on, whatever the validator would say.
    pub(crate) fn force(&mut self) {
        if self.stage == Stage::Matching {
            self.stage = Stage::Overlong;
        }
    }

    fn read_match(&mut self, compiled: &Compiled, view: &View<'_>, from: usize) -> Outcome {
        let dfa = &compiled.automaton;
        let bound = self.start + compiled.max_len;
        let mut at = from;
        for byte in view.from(from) {
            let (next, ended) = dfa.step(self.state, *byte);
            if ended {
                self.end = at;
            }
            if next == DEAD {
                return self.settle(compiled, view);
            }
            at += 1;
            self.state = next;
            if dfa.accepts(next) {
                self.end = at;
                if !dfa.grows(next) {
                    return self.settle(compiled, view);
                }
            }
            if at >= bound && dfa.grows(next) {
                self.stage = Stage::Overlong;
                return self.read_overlong(compiled, view, at);
            }
        }
        if !view.is_last() {
            return Outcome::Alive;
        }
        if dfa.accepts_at_end(self.state) {
            self.end = at;
        }
        self.settle(compiled, view)
    }

    /// The automaton is done: is the longest match valid, and is it all?
    fn settle(&mut self, compiled: &Compiled, view: &View<'_>) -> Outcome {
        if self.end == self.start || !compiled.checks.accept(view.slice(self.start, self.end)) {
            return Outcome::Failed;
        }
        match &compiled.region {
            None => Outcome::Matched {
                end: self.end,
                whole: true,
            },
            Some(region) => {
                self.stage = Stage::InRegion;
                self.state = region.end.start(Before::Other);
                self.read_region(compiled, view, self.end)
            }
        }
    }

    fn read_overlong(&mut self, compiled: &Compiled, view: &View<'_>, from: usize) -> Outcome {
        let dfa = &compiled.automaton;
        let mut at = from;
        for byte in view.from(from) {
            if !dfa.grows(self.state) {
                return Outcome::Matched {
                    end: at,
                    whole: false,
                };
            }
            self.state = dfa.step(self.state, *byte).0;
            if self.state == DEAD {
                // The byte at which it died may lie within a character.
                return Outcome::Matched {
                    end: view.floor(at),
                    whole: false,
                };
            }
            at += 1;
        }
        if view.is_last() || !dfa.grows(self.state) {
            return Outcome::Matched {
                end: at,
                whole: false,
            };
        }
        Outcome::Alive
    }

    fn read_region(&mut self, compiled: &Compiled, view: &View<'_>, from: usize) -> Outcome {
        let Some(region) = &compiled.region else {
            unreachable!("only a rule with a region enters this stage");
        };
        let cap = self.start + region.bytes_max;
        let mut at = from;
        for byte in view.from(from) {
            if at >= cap {
                return Outcome::Matched {
                    end: view.floor(cap),
                    whole: false,
                };
            }
            self.state = region.end.step(self.state, *byte).0;
            at += 1;
            if region.end.accepts(self.state) {
                return Outcome::Matched {
                    end: at,
                    whole: false,
                };
            }
        }
        if view.is_last() || at >= cap {
            return Outcome::Matched {
                end: at,
                whole: false,
            };
        }
        Outcome::Alive
    }
}
