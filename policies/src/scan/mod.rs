//! The scanner: many rules, one text, in whatever pieces the text comes.
//!
//! # What is found
//!
//! A rule matches at a start `s` of a character when what must stand before `s` does, and its
//! expression has a match there; only the **longest** counts, and only if its validator accepts
//! it. From that:
//!
//! - [`Scanner::find`] walks `s` upward. Of the rules that match at `s` the longest match wins,
//!   then the rule that was compiled first. It goes on at the match's end. This is what masking
//!   replaces, and the meaning of "M(T)" wherever it is written.
//! - [`Scanner::find_each`] is the same for every rule alone: no rule shadows another.
//!
//! A match ends at the last place where the expression may end and the rule's `before` stands; a
//! word of its context stands near, and its value is not one that the rule allows. What it is then
//! worth ([`Confidence`](crate::rule::Confidence)) depends on what confirms it, and who scans says
//! from which confidence on a rule's match counts ([`RuleMask`]): below it there is no match.
//!
//! Two kinds of match are longer than the expression says. A candidate that could still grow at
//! its rule's `max_len` counts as a match, unvalidated, up to where no match can follow any more:
//! a bound must not let a secret through because it is long, and what cannot be asked of it counts
//! as answered. And the match of a rule with a
//! `region` goes on to the first end marker after it, or to the cap, or to the end of the text.
//!
//! # How
//!
//! Every expression is an [`Automaton`](automaton::Automaton): a table, started at a fixed place
//! and fed bytes; its state is two bytes, so a candidate ([`mod@candidate`]) that waits for more
//! text is a few words and reading on is the same as having read at once. That is the whole idea:
//! there is one engine, which reads what is at hand ([`mod@view`]) and keeps the candidates that
//! are still alive; a block is a stream of one piece that is known to be the last. A split cannot
//! change the result because nothing in the engine knows where a piece began.
//!
//! Starting every rule at every byte would be slow; [`mod@starts`] says where some rule may start
//! and which, from the bytes ahead, those behind, and a byte that a rule cannot do without. Where
//! that leaves many, as at every number, [`mod@vocabulary`] leaves out those that want words before
//! them which do not stand there.
//! [`mod@cursor`] decides for masking and [`mod@watch`] for reporting, both in one pass
//! ([`mod@lanes`]).
//!
//! # What it costs to hold
//!
//! A candidate is dropped the moment that its automaton can match no more, and its match is taken
//! the moment that it can grow no more, without the next byte if the expression does not ask for
//! it. So text is held only from the leftmost place where a match is really possible. A rule whose
//! value has no distinct beginning, such as an e-mail address, holds the last word of every piece
//! until the next piece: that is inherent, it could become one.

pub(crate) mod automaton;
pub(crate) mod candidate;
mod context;
pub(crate) mod cursor;
pub(crate) mod effort;
pub(crate) mod lanes;
pub(crate) mod leads;
mod need;
mod ordinary;
mod set;
mod shelf;
pub(crate) mod starts;
mod told;
mod trie;
pub(crate) mod view;
mod vocabulary;
mod walk;
pub(crate) mod watch;
mod wide;
mod windows;
mod worth;

use std::collections::HashSet;
use std::fmt;

use crate::prefilter::{Level, Prefilter};
use crate::rule::{Confidence, LOOK_BEHIND_BYTES_MAX, Rule};
use candidate::{Candidate, Compiled, Outcome};
use cursor::Sink;
use effort::Effort;
use lanes::Lanes;
use leads::Leads;
pub use set::RuleMask;
use shelf::Shelf;
use starts::Starts;
use view::View;
use vocabulary::Vocabulary;
use walk::Walk;

/// The most rules that one scanner takes.
pub const RULES_MAX: usize = 8192;

/// A rule that is tried at more of 100 places of ordinary text is named as slow.
const SLOW_PERCENT: f32 = 8.0;

/// A rule whose automata take more memory is named as heavy.
const HEAVY_KIB: usize = 256;

/// What it counts for to look whether an `after` stands before a place.
const AFTER_STEPS: usize = 16;

/// A rule's place in its scanner, which is also its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(pub u16);

/// A rule found something: bytes `start..end` of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    /// Which rule.
    pub rule: RuleIndex,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// What it is worth.
    pub confidence: Confidence,
    /// How the text was read in which it was found.
    pub lane: Lane,
}

/// How a text was read: as it stands, or with an encoding in it undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// As it stands.
    #[default]
    Plain,
    /// Escapes undone: of JSON, of HTML, percent signs, characters that look alike.
    Escaped,
    /// A base64 or hexadecimal blob, decoded.
    Blob,
}

/// Compiled rules: immutable, shared by every core.
#[derive(Debug)]
pub struct Scanner {
    rules: Vec<Rule>,
    pub(crate) compiled: Vec<Compiled>,
    pub(crate) starts: Starts,
    vocabulary: Vocabulary,
}

/// Drops what is found.
struct Nothing;

/// Why a rule does not compile. Rules parse one by one; this is what only the set, or the cost,
/// shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The rule's id.
    pub rule: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

// === impl Scanner ===

impl Scanner {
    /// How much text before the place that is being decided a stream must keep at hand.
    pub(crate) const RETAINED_BYTES: usize = LOOK_BEHIND_BYTES_MAX + 1;

    /// Compiles rules; their order is the order that decides between equal matches.
    pub fn compile(rules: Vec<Rule>) -> Result<Scanner, Vec<RuleError>> {
        let mut errors = Vec::new();
        let mut ids = HashSet::new();
        let mut compiled = Vec::with_capacity(rules.len());
        let mut shelf = Shelf::default();
        for (index, rule) in rules.iter().enumerate() {
            let mut refuse = |reason: String| {
                errors.push(RuleError {
                    rule: rule.id().to_owned(),
                    reason,
                });
            };
            if index == RULES_MAX {
                refuse(format!("a scanner takes at most {RULES_MAX} rules"));
                break;
            }
            if !ids.insert(rule.id()) {
                refuse("another rule has the same id".to_owned());
            }
            match Compiled::from_shelf(rule, &mut shelf) {
                Ok(rule) => compiled.push(rule),
                Err(reason) => refuse(reason),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let starts = Starts::new(&compiled);
        let vocabulary = Vocabulary::new(&rules, &compiled);
        Ok(Scanner {
            rules,
            compiled,
            starts,
            vocabulary,
        })
    }

    /// The rules, in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule at a place.
    pub fn rule(&self, index: RuleIndex) -> &Rule {
        &self.rules[usize::from(index.0)]
    }

    /// The place of the rule with this id.
    pub fn index_of(&self, id: &str) -> Option<RuleIndex> {
        self.rules
            .iter()
            .position(|rule| rule.id() == id)
            .map(|index| RuleIndex(index as u16))
    }

    /// The empty set of rules.
    pub fn none(&self) -> RuleMask {
        RuleMask::none(self.rules.len())
    }

    /// The set of all rules.
    pub fn all(&self) -> RuleMask {
        let mut all = self.none();
        for index in 0..self.rules.len() {
            all.insert(RuleIndex(index as u16));
        }
        all
    }

    /// Rules that slow every text down or weigh much, with what that costs and what to do.
    pub fn slow_rules(&self) -> Vec<String> {
        let mut told = Vec::new();
        for (index, rule) in (0..).map(RuleIndex).zip(&self.rules) {
            let id = rule.id();
            let percent = self.starts.rates[usize::from(index.0)] * 100.0;
            if percent > SLOW_PERCENT {
                told.push(format!(
                    "rule \"{id}\" is slow: it is tried at {percent:.0} of 100 places of ordinary \
                     text, because little tells its beginning; let it begin with a fixed text, or \
                     say in `after` what stands before it"
                ));
            }
            let kib = self.cost_bytes(index) >> 10;
            if kib > HEAVY_KIB {
                told.push(format!(
                    "rule \"{id}\" is heavy: its automata take {kib} KiB of memory; shorten the \
                     repetitions, or make what they repeat and what follows them differ"
                ));
            }
        }
        told
    }

    /// What the rule's automata weigh, in bytes.
    pub fn cost_bytes(&self, index: RuleIndex) -> usize {
        self.compiled[usize::from(index.0)].table_bytes()
    }

    /// What says where rules may start, to be measured alone.
    pub fn prefilter(&self) -> &Prefilter {
        &self.starts.prefilter
    }

    /// Puts the prefilter at another level, if the processor has it; says whether. What is found
    /// is the same at every level: this is for tests of that.
    pub fn run_at(&mut self, level: Level) -> bool {
        self.starts.run_at(level)
    }

    /// What all its tables weigh, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let rules = self.compiled.iter().map(Compiled::table_bytes);
        rules.sum::<usize>() + self.starts.table_bytes() + self.vocabulary.table_bytes()
    }

    /// Reports every match of every rule of `mask` on its own, in order of start, then of rule.
    pub fn find_each(&self, mask: &RuleMask, text: &str, on_match: &mut dyn FnMut(Match)) {
        struct Tell<'a>(&'a mut dyn FnMut(Match));
        impl Sink for Tell<'_> {
            fn replace(&mut self, _: &View<'_>, _: RuleIndex, _: usize, _: Option<usize>) {}
            fn complete(&mut self, _: Match) {}
            fn resume_at(&mut self, _: usize) {}
            fn watched(&mut self, found: Match) {
                (self.0)(found);
            }
        }
        let view = View::whole(text);
        Lanes::default().advance(self, &self.none(), mask, &view, &mut Tell(on_match));
    }

    /// How many steps of verification [`Scanner::find`] takes: bytes read by rules' automata, by
    /// validators and by searches for words. A policy bounds them.
    pub fn verification_steps(&self, mask: &RuleMask, text: &str) -> u64 {
        let mut lanes = Lanes::default();
        let view = View::whole(text);
        lanes.advance(self, mask, &self.none(), &view, &mut Nothing);
        lanes.effort.work.spent()
    }

    /// The matches that masking would replace: leftmost, then longest, then rule order.
    pub fn find(&self, mask: &RuleMask, text: &str) -> Vec<Match> {
        struct Collect(Vec<Match>);
        impl Sink for Collect {
            fn replace(&mut self, _: &View<'_>, _: RuleIndex, _: usize, _: Option<usize>) {}
            fn complete(&mut self, found: Match) {
                self.0.push(found);
            }
            fn resume_at(&mut self, _: usize) {}
            fn watched(&mut self, _: Match) {}
        }
        let mut found = Collect(Vec::new());
        let view = View::whole(text);
        Lanes::default().advance(self, mask, &self.none(), &view, &mut found);
        found.0
    }

    /// The places from `from` on at which rules may start.
    #[inline]
    pub(crate) fn walk<'s, 't, 'l>(
        &'s self,
        view: &View<'t>,
        from: usize,
        leads: &'l mut Leads,
    ) -> Walk<'s, 't, 'l> {
        Walk::new(self, view, from, leads)
    }

    /// May this rule of many that are tried at a place match there, by the words before it?
    pub(crate) fn may_hear(
        &self,
        rule: u16,
        view: &View<'_>,
        at: usize,
        effort: &mut Effort,
    ) -> bool {
        let wanted = self.vocabulary.wanted(rule);
        wanted.is_none_or(|wanted| effort.hears(&self.vocabulary, wanted, view, at))
    }

    /// Starts a rule of `set` at a place, if what stands before allows it.
    #[inline]
    pub(crate) fn begin(
        &self,
        set: &RuleMask,
        rule: u16,
        view: &View<'_>,
        at: usize,
        effort: &mut Effort,
    ) -> Option<(Candidate, Outcome)> {
        let compiled = &self.compiled[usize::from(rule)];
        let first = view.from(at).first();
        effort.read(1);
        if effort.work.is_exhausted()
            || !self.starts.may_follow_byte(rule, view.byte_before(at))
            || !first.is_some_and(|byte| self.starts.may_begin_with(rule, *byte))
            || !view.may_start(rule, at)
        {
            return None;
        }
        if compiled.after.is_some() {
            effort.read(AFTER_STEPS);
            if !compiled.may_follow(view, at) {
                return None;
            }
        }
        let (candidate, outcome) = Candidate::start(compiled, rule, view, at, effort);
        // Most starts fail at once: looking for words before them is dearer.
        if outcome == Outcome::Failed || !compiled.has_context(view, at, effort) {
            return None;
        }
        let outcome = candidate.for_whom(outcome, set.least(RuleIndex(rule)));
        (outcome != Outcome::Failed).then_some((candidate, outcome))
    }

    /// Goes on with a candidate over the view's new text, from `from` on.
    pub(crate) fn resume(
        &self,
        set: &RuleMask,
        candidate: &mut Candidate,
        view: &View<'_>,
        from: usize,
        effort: &mut Effort,
    ) -> Outcome {
        let compiled = &self.compiled[usize::from(candidate.rule)];
        let outcome = candidate.resume(compiled, view, from, effort);
        candidate.for_whom(outcome, set.least(RuleIndex(candidate.rule)))
    }
}

impl Sink for Nothing {
    fn replace(&mut self, _: &View<'_>, _: RuleIndex, _: usize, _: Option<usize>) {}
    fn complete(&mut self, _: Match) {}
    fn resume_at(&mut self, _: usize) {}
    fn watched(&mut self, _: Match) {}
}

// === impl Lane ===

impl Lane {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Lane::Plain => "plain",
            Lane::Escaped => "escaped",
            Lane::Blob => "blob",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl RuleError ===

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule `{}`: {}", self.rule, self.reason)
    }
}

impl std::error::Error for RuleError {}
