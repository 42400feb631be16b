//! One rule tried at one start: a few bytes that move forward with the text.

use std::sync::Arc;

use super::automaton::{Automaton, Before, DEAD, Reading};
use super::effort::{Effort, Work};
use super::leads::{After, Lead};
use super::shelf::Shelf;
use super::told::Told;
use super::view::View;
use super::worth::{NoMatch, Worth};
use crate::rule::{Checks, Confidence, Rule};

/// What of a rule the scan asks for.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) automaton: Arc<Automaton>,
    pub(crate) max_len: usize,
    checks: Checks,
    worth: Worth,
    /// What must stand behind an end.
    before: Option<Automaton>,
    /// What must stand before a start.
    pub(crate) after: Option<After>,
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
    /// Bytes at the end of what was at hand that are not read yet, because what stands behind them
    /// decides: never more than a `before` may ask for.
    lag: u8,
    /// What it is worth, as far as that is known.
    confidence: Confidence,
    /// End of the longest match so far; the start when there is none.
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Looking for the longest match; the text from the start is needed.
    Matching,
    /// The longest match is known and valid; what stands behind it decides.
    Settling,
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
    Matched {
        end: usize,
        whole: bool,
        confidence: Confidence,
    },
}

/// How a candidate's automaton came to rest.
enum Run {
    /// More text decides.
    Undecided,
    /// At the rule's bound, and could go on.
    Overlong(usize),
    /// It can match no more.
    Died(usize),
    /// An earlier run of the rule went this way: its end is taken over.
    Known,
}

// === impl Compiled ===

impl Compiled {
    pub(crate) fn new(rule: &Rule) -> Result<Compiled, String> {
        Compiled::from_shelf(rule, &mut Shelf::default())
    }

    /// The same for one rule of many: what another one has compiled is taken.
    pub(crate) fn from_shelf(rule: &Rule, shelf: &mut Shelf) -> Result<Compiled, String> {
        let automaton = shelf.automaton(&rule.pattern.hir, Reading::Anchored)?;
        let by_itself = Told {
            rule: 0,
            automaton: &automaton,
            len_max: rule.max_len,
        };
        let after = rule.after.as_ref();
        let after = after.map(|after| After::new(&after.hir, &by_itself, shelf));
        let before = rule.before.as_ref();
        let before = before.map(|p| Automaton::compile(&p.hir, Reading::Anchored));
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
            worth: Worth::new(rule)?,
            before: before.transpose()?,
            after: after.transpose()?,
            automaton,
            region: region.transpose()?,
        })
    }

    /// Would a match be taken for granted, as longer than the rule's bound, although nearly any
    /// text goes on there and nothing has ended yet that the rule asks for?
    pub(crate) fn swallows_text(&self) -> bool {
        self.automaton.waits_in_any_text(self.before.is_none())
    }

    /// What leads to the rule's starts; only of a rule that is told by it.
    #[inline]
    pub(super) fn lead(&self) -> &Lead {
        match &self.after {
            Some(After::Forwards(lead)) => lead,
            _ => unreachable!("only a rule with a lead is told by one"),
        }
    }

    /// What its automata weigh.
    pub(crate) fn table_bytes(&self) -> usize {
        let region = self.region.as_ref().map(|region| &region.end);
        let around = [self.before.as_ref(), region];
        let around = around.into_iter().flatten().map(Automaton::table_bytes);
        self.automaton.table_bytes()
            + self.after.as_ref().map_or(0, After::table_bytes)
            + around.sum::<usize>()
    }

    /// Does the rule's `after`, if it has one, stand immediately before `at`?
    #[inline]
    pub(crate) fn may_follow(&self, view: &View<'_>, at: usize) -> bool {
        self.after
            .as_ref()
            .is_none_or(|after| after.stands_before(view, at))
    }

    /// May a word of the rule's context, if it has one, stand near a match at `at`?
    #[inline]
    pub(crate) fn has_context(&self, view: &View<'_>, at: usize, effort: &mut Effort) -> bool {
        self.worth.may_start(view, at, &mut effort.work)
    }
}

/// Does a match of the automaton begin at `at`? Nothing while the text that decides has not come.
fn stands_behind(before: &Automaton, view: &View<'_>, at: usize, work: &mut Work) -> Option<bool> {
    let mut state = before.start(Before::from_byte(view.byte_before(at)));
    for byte in view.from(at) {
        work.spend(1);
        let (next, matched) = before.step(state, *byte);
        if matched || before.accepts(next) {
            return Some(true);
        }
        if next == DEAD {
            return Some(false);
        }
        state = next;
    }
    view.is_last().then(|| before.accepts_at_end(state))
}

// === impl Candidate ===

impl Candidate {
    /// Starts a rule at `at` and reads what is at hand.
    #[inline]
    pub(crate) fn start(
        compiled: &Compiled,
        rule: u16,
        view: &View<'_>,
        at: usize,
        effort: &mut Effort,
    ) -> (Candidate, Outcome) {
        let state = compiled
            .automaton
            .start(Before::from_byte(view.byte_before(at)));
        let mut candidate = Candidate {
            rule,
            start: at,
            stage: Stage::Matching,
            state,
            lag: 0,
            confidence: Confidence::High,
            end: at,
        };
        let outcome = match state {
            DEAD => Outcome::Failed,
            _ => candidate.read_match(compiled, view, at, effort),
        };
        (candidate, outcome)
    }

    /// The same with nothing counted.
    #[cfg(test)]
    pub(crate) fn begin(
        compiled: &Compiled,
        rule: u16,
        view: &View<'_>,
        at: usize,
    ) -> (Candidate, Outcome) {
        Candidate::start(compiled, rule, view, at, &mut Effort::default())
    }

    /// Reads on from `from`, where the view before ended.
    pub(crate) fn resume(
        &mut self,
        compiled: &Compiled,
        view: &View<'_>,
        from: usize,
        effort: &mut Effort,
    ) -> Outcome {
        let from = from - usize::from(self.lag);
        self.lag = 0;
        match self.stage {
            Stage::Matching => self.read_match(compiled, view, from, effort),
            Stage::Settling => self.weigh(compiled, view, effort),
            Stage::Overlong => self.read_overlong(compiled, view, from),
            Stage::InRegion => self.read_region(compiled, view, from),
        }
    }

    /// Does it need the text from its start to be kept at hand?
    pub(crate) fn needs_text(&self) -> bool {
        matches!(self.stage, Stage::Matching | Stage::Settling)
    }

    /// The outcome for someone to whom matches of less confidence are none.
    #[inline]
    pub(crate) fn for_whom(&self, outcome: Outcome, least: Confidence) -> Outcome {
        match outcome {
            Outcome::Matched { confidence, .. } if confidence < least => Outcome::Failed,
            Outcome::Alive if !self.needs_text() && self.confidence < least => Outcome::Failed,
            outcome => outcome,
        }
    }

    /// From here on a match, as far as the automaton goes on, whatever the validator would say.
    pub(crate) fn force(&mut self) {
        if self.needs_text() {
            self.stage = Stage::Overlong;
        }
    }

    fn read_match(
        &mut self,
        compiled: &Compiled,
        view: &View<'_>,
        from: usize,
        effort: &mut Effort,
    ) -> Outcome {
        effort.begin();
        match self.run(compiled, view, from, effort) {
            Run::Undecided => Outcome::Alive,
            Run::Overlong(at) => {
                self.stage = Stage::Overlong;
                self.confidence = compiled.worth.unasked();
                self.read_overlong(compiled, view, at)
            }
            Run::Died(at) => {
                effort.end(self.rule, self.end, at);
                self.settle(compiled, view, effort)
            }
            Run::Known => self.settle(compiled, view, effort),
        }
    }

    /// Runs the automaton to its end, or to the end of what is at hand.
    fn run(
        &mut self,
        compiled: &Compiled,
        view: &View<'_>,
        from: usize,
        effort: &mut Effort,
    ) -> Run {
        let dfa: &Automaton = &compiled.automaton;
        let bound = self.start + compiled.max_len;
        let before = compiled.before.as_ref();
        let mut at = from;
        for byte in view.from(from) {
            let (next, ended) = dfa.step(self.state, *byte);
            if ended {
                match before.map(|before| stands_behind(before, view, at, &mut effort.work)) {
                    None | Some(Some(true)) => self.end = at,
                    Some(Some(false)) => {}
                    Some(None) => {
                        effort.read(at - from);
                        // It is bounded to far less than a byte counts.
                        self.lag = (view.end() - at) as u8;
                        return Run::Undecided;
                    }
                }
            }
            if next == DEAD {
                effort.read(at - from);
                return Run::Died(at);
            }
            at += 1;
            self.state = next;
            // With a `before` the end counts when that stands, which the next byte tells.
            if dfa.accepts(next) && before.is_none() {
                self.end = at;
                if !dfa.grows(next) {
                    effort.read(at - from);
                    return Run::Died(at);
                }
            }
            if at >= bound && dfa.grows(next) {
                effort.read(at - from);
                return Run::Overlong(at);
            }
            if Effort::is_mark(at)
                && let Some((end, died)) = effort.pass(self.rule, at, next)
                && died < bound
            {
                effort.read(at - from);
                self.end = if end >= at { end } else { self.end };
                return Run::Known;
            }
        }
        effort.read(at - from);
        if !view.is_last() {
            return Run::Undecided;
        }
        let stands = before
            .is_none_or(|before| stands_behind(before, view, at, &mut effort.work) == Some(true));
        if dfa.accepts_at_end(self.state) && stands {
            self.end = at;
        }
        Run::Died(at)
    }

    /// The automaton is done: is the longest match valid?
    fn settle(&mut self, compiled: &Compiled, view: &View<'_>, effort: &mut Effort) -> Outcome {
        if self.end == self.start {
            return Outcome::Failed;
        }
        let value = view.slice(self.start, self.end);
        let (checks, worth) = (&compiled.checks, &compiled.worth);
        effort.read(checks.steps(value));
        if !checks.accept(value) || worth.allows(value, &mut effort.work) {
            return Outcome::Failed;
        }
        self.confidence = worth.of_value(value, &mut effort.work);
        self.stage = Stage::Settling;
        self.weigh(compiled, view, effort)
    }

    /// The value is valid: do the words around it agree, what is it worth, and is it all?
    fn weigh(&mut self, compiled: &Compiled, view: &View<'_>, effort: &mut Effort) -> Outcome {
        let span = [self.start, self.end];
        match compiled
            .worth
            .of_words(view, span, self.confidence, &mut effort.work)
        {
            None => return Outcome::Alive,
            Some(Err(NoMatch)) => return Outcome::Failed,
            Some(Ok(confidence)) => self.confidence = confidence,
        }
        match &compiled.region {
            None => self.matched(self.end, true),
            Some(region) => {
                self.stage = Stage::InRegion;
                self.state = region.end.start(Before::Other);
                self.read_region(compiled, view, self.end)
            }
        }
    }

    fn matched(&self, end: usize, whole: bool) -> Outcome {
        Outcome::Matched {
            end,
            whole,
            confidence: self.confidence,
        }
    }

    fn read_overlong(&mut self, compiled: &Compiled, view: &View<'_>, from: usize) -> Outcome {
        let dfa: &Automaton = &compiled.automaton;
        let mut at = from;
        for byte in view.from(from) {
            if !dfa.grows(self.state) {
                return self.matched(at, false);
            }
            self.state = dfa.step(self.state, *byte).0;
            if self.state == DEAD {
                // The byte at which it died may lie within a character.
                return self.matched(view.floor(at), false);
            }
            at += 1;
        }
        match view.is_last() || !dfa.grows(self.state) {
            true => self.matched(at, false),
            false => Outcome::Alive,
        }
    }

    fn read_region(&mut self, compiled: &Compiled, view: &View<'_>, from: usize) -> Outcome {
        let Some(region) = &compiled.region else {
            unreachable!("only a rule with a region enters this stage");
        };
        let cap = self.start + region.bytes_max;
        let mut at = from;
        for byte in view.from(from) {
            if at >= cap {
                return self.matched(view.floor(cap), false);
            }
            self.state = region.end.step(self.state, *byte).0;
            at += 1;
            if region.end.accepts(self.state) {
                return self.matched(at, false);
            }
        }
        match view.is_last() || at >= cap {
            true => self.matched(at, false),
            false => Outcome::Alive,
        }
    }
}
