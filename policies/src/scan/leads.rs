//! What must stand before a match, looked for from its own beginning.
//!
//! A rule such as "forty characters behind `api_key = `" begins like any word, and reading
//! backwards wherever a word begins is dear. But `api_key` is rare. So its `after` is a *lead*:
//! the prefilter finds where it may begin, its automaton reads on from there, and where it accepts
//! the rule is *due*: it may start there, whatever else stands before. Where the beginning is
//! common and something inside is rare (`[a-z]{2,20}://[^ ]{0,60}:`), the lead begins inside and
//! what stands before that, its head, is read backwards once.
//!
//! Nothing is held for a lead. One that has not come to an end when the text at hand has is kept
//! as a rule and a state, and what is due is kept until every place where it may matter has been
//! decided. Both lists are bounded: when one is full it is dropped, and the next walk looks for
//! leads from as far back as an `after` may reach, in the text that a channel retains anyway.

use std::sync::Arc;

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind, Repetition};

use super::Scanner;
use super::automaton::{Automaton, Before, DEAD, Reading};
use super::shelf::Shelf;
use super::told::Told;
use super::view::View;
use super::windows;
use crate::prefilter::bytes::{ALL, insert};
use crate::prefilter::{ByteSet, Window, rarity};
use crate::rule::LOOK_BEHIND_BYTES_MAX;

/// A rule that by itself begins at fewer places of ordinary text than this needs no lead.
const RATE_MIN: f32 = 1.0 / 8192.0;

/// A lead that begins at more places than this should rather begin inside.
const RATE_MAX: f32 = 1.0 / 2048.0;

/// A rule of which the first two bytes stand at more places than this would be tried at the end of
/// almost every piece of a stream, whatever follows there.
const EARLY_RATE_MAX: f32 = 1.0 / 16.0;

/// How often what a name's end repeats is taken into the name.
const BEGIN_MAX: u32 = 4;

/// The most leads, and the most places that are due, that are kept from one view to the next.
const KEPT_MAX: usize = 64;

/// How many places that are done with are dropped at once.
const DONE_MAX: usize = 256;

/// What must stand before a match, compiled.
#[derive(Debug)]
pub(crate) enum After {
    /// Read backwards from a start: the rule is told by what it begins with.
    Backwards(Automaton),
    /// Read forwards: the rule is told by this.
    Forwards(Box<Lead>),
}

/// What leads to a rule's starts.
#[derive(Debug)]
pub(crate) struct Lead {
    /// What must stand before the place where the lead is found, read backwards.
    head: Option<Automaton>,
    /// What it is found by: a name, mostly.
    pub(super) name: Automaton,
    /// What must follow the name, up to the start of a match.
    rest: Option<Arc<Automaton>>,
}

/// The leads of one text: what was found of them, and how far they were looked for.
#[derive(Debug, Default)]
pub(crate) struct Leads {
    /// Before this place every beginning of a lead was found.
    pub(super) read: usize,
    /// Leads that have not come to an end.
    live: Vec<Live>,
    /// Where rules are due, in order; complete from `complete_from` on.
    due: Vec<Due>,
    complete_from: usize,
    /// The rules of the place that a walk found last, if they come from several sources; here
    /// because walks are many and short.
    pub(super) merged: Vec<u16>,
    /// Bytes that were read and have not been counted.
    steps: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Live {
    rule: u16,
    state: u16,
    /// The name has been read, and this is about the rest.
    in_rest: bool,
    /// The next byte that it reads.
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: usize,
    rule: u16,
}

// === impl After ===

impl After {
    /// Compiles what must stand before the matches of a rule that begins with these windows.
    pub(super) fn new(
        after: &Hir,
        by_itself: &Told<'_>,
        shelf: &mut Shelf,
    ) -> Result<After, String> {
        let parts = &needed(after)[..];
        let windows = windows::of(by_itself, &ALL);
        let own_rate = windows::rate(&windows);
        let early_rate: f32 = windows.iter().map(early_rate).fold(0.0, f32::max);
        if own_rate > RATE_MIN || early_rate > EARLY_RATE_MAX {
            let lead = Lead::new(parts, shelf)?;
            let rate = lead.rate();
            if rate < own_rate || (rate < RATE_MAX && early_rate > EARLY_RATE_MAX) {
                return Ok(After::Forwards(Box::new(lead)));
            }
        }
        let whole = Hir::concat(parts.to_vec());
        Automaton::compile(&whole, Reading::Backwards).map(After::Backwards)
    }

    /// Does it stand immediately before `at`? Of a lead, that is known before the rule is tried.
    #[inline]
    pub(crate) fn stands_before(&self, view: &View<'_>, at: usize) -> bool {
        match self {
            After::Backwards(after) => stands_before(after, view, at),
            After::Forwards(_) => true,
        }
    }

    pub(crate) fn table_bytes(&self) -> usize {
        match self {
            After::Backwards(after) => after.table_bytes(),
            After::Forwards(lead) => {
                let rest = lead.rest.as_ref().map_or(0, |rest| rest.table_bytes());
                let head = lead.head.as_ref().map_or(0, Automaton::table_bytes);
                head + lead.name.table_bytes() + rest
            }
        }
    }
}

/// The parts of an `after`, one after the other. Since it may begin anywhere, what may be left out
/// before it is left out.
pub(super) fn needed(after: &Hir) -> Vec<Hir> {
    let mut parts = Vec::new();
    flatten(after, &mut parts);
    let optional = |part: &Hir| {
        part.properties().minimum_len() == Some(0) && part.properties().look_set().is_empty()
    };
    let first = parts.iter().position(|part| !optional(part)).unwrap_or(0);
    parts.split_off(first)
}

/// What a repetition cannot do without, a few times at most, and the rest of it: a name that is
/// found at many places is found at fewer with it.
fn begin_of(part: &Hir) -> Option<(Hir, Hir)> {
    let HirKind::Repetition(whole) = part.kind() else {
        return None;
    };
    let needed = whole.min.min(BEGIN_MAX);
    let times = |min: u32, max: Option<u32>| {
        Hir::repetition(Repetition {
            min,
            max,
            ..whole.clone()
        })
    };
    let others = times(whole.min - needed, whole.max.map(|max| max - needed));
    (needed > 0).then(|| (times(needed, Some(needed)), others))
}

/// The parts of an expression, one after the other.
fn flatten(hir: &Hir, parts: &mut Vec<Hir>) {
    match hir.kind() {
        HirKind::Capture(capture) => flatten(&capture.sub, parts),
        HirKind::Concat(inner) => inner.iter().for_each(|part| flatten(part, parts)),
        _ => parts.push(hir.clone()),
    }
}

/// Does a match of the backwards automaton end at `at`?
pub(super) fn stands_before(after: &Automaton, view: &View<'_>, at: usize) -> bool {
    let mut state = after.start(Before::from_byte(view.from(at).first().copied()));
    for byte in view.before(at).iter().rev() {
        let (next, matched) = after.step(state, *byte);
        if matched || after.accepts(next) {
            return true;
        }
        if next == DEAD {
            return false;
        }
        state = next;
    }
    // Its bound is shorter than what a view retains, so only the start of the text gets here.
    view.base() == 0 && after.accepts_at_end(state)
}

// === impl Lead ===

impl Lead {
    fn new(parts: &[Hir], shelf: &mut Shelf) -> Result<Lead, String> {
        let whole = Lead::split(parts, 0, shelf)?;
        let rate = whole.rate();
        if rate < RATE_MAX {
            return Ok(whole);
        }
        // A head of boundaries alone has no bytes that could be told to stand there.
        let has_bytes = |split: &usize| {
            let bytes = |part: &Hir| part.properties().maximum_len() != Some(0);
            parts[..*split].iter().any(bytes)
        };
        let inner = (1..parts.len())
            .filter(has_bytes)
            .map(|split| (literal_rate(&parts[split..]), split))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        match inner {
            Some((inner_rate, split)) if inner_rate < rate => Lead::split(parts, split, shelf),
            _ => Ok(whole),
        }
    }

    fn split(parts: &[Hir], at: usize, shelf: &mut Shelf) -> Result<Lead, String> {
        let (head, tail) = parts.split_at(at);
        let head = (!head.is_empty())
            .then(|| Automaton::compile(&Hir::concat(head.to_vec()), Reading::Backwards));
        let varies = |part: &Hir| match part.kind() {
            HirKind::Repetition(repetition) => repetition.max != Some(repetition.min),
            _ => false,
        };
        let named = |end: &usize| {
            tail[..*end]
                .iter()
                .any(|part| part.properties().minimum_len() > Some(0))
        };
        let name_end = (1..tail.len())
            .filter(|end| varies(&tail[*end]))
            .find(named);
        let (name, rest) = tail.split_at(name_end.unwrap_or(tail.len()));
        let (mut name, mut rest) = (name.to_vec(), rest.to_vec());
        if let Some((needed, others)) = rest.first().and_then(begin_of) {
            name.push(needed);
            rest[0] = others;
        }
        let rest =
            (!rest.is_empty()).then(|| shelf.automaton(&Hir::concat(rest), Reading::Anchored));
        Ok(Lead {
            head: head.transpose()?,
            name: Automaton::compile(&Hir::concat(name), Reading::Anchored)?,
            rest: rest.transpose()?,
        })
    }

    pub(super) fn told(&self, rule: u16) -> Told<'_> {
        Told {
            rule,
            automaton: &self.name,
            len_max: usize::MAX,
        }
    }

    /// The bytes that may stand before the place where it is found.
    pub(super) fn follows(&self) -> ByteSet {
        self.head.as_ref().map_or(ALL, first_bytes)
    }

    pub(super) fn windows(&self) -> Vec<Window> {
        windows::of(&self.told(0), &self.follows())
    }

    fn rate(&self) -> f32 {
        windows::rate(&self.windows())
    }
}

/// The bytes with which a text may begin that the automaton reads.
pub(super) fn first_bytes(automaton: &Automaton) -> ByteSet {
    let mut set = [0; 4];
    for start in automaton.distinct_starts() {
        for byte in (0..=255_u8).filter(|byte| automaton.step(start, *byte).0 != DEAD) {
            insert(&mut set, byte);
        }
    }
    set
}

/// At how many places of ordinary text the first two bytes of a match stand.
fn early_rate(window: &Window) -> f32 {
    let mut early = window.clone();
    early.0[windows::BEFORE_BYTES + 2..].fill(ALL);
    rarity::rate(&early)
}

/// At how many places of ordinary text these parts may begin, if they begin with literals.
fn literal_rate(parts: &[Hir]) -> f32 {
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix);
    let rate = |literal: &regex_syntax::hir::literal::Literal| -> f32 {
        let bytes = literal.as_bytes().iter().take(4);
        bytes.map(|byte| rarity::share_of_byte(*byte)).product()
    };
    let literals = extractor.extract(&Hir::concat(parts.to_vec()));
    let literals = literals.literals();
    literals.map_or(1.0, |literals| literals.iter().map(rate).sum())
}

// === impl Leads ===

impl Leads {
    /// No leads, for a walk to which none matter.
    pub(super) fn none() -> Leads {
        Leads {
            read: usize::MAX,
            ..Leads::default()
        }
    }

    /// Gets ready for a walk from `from` on and reads on with what is alive.
    pub(super) fn open(&mut self, scanner: &Scanner, view: &View<'_>, from: usize) {
        if self.read == usize::MAX {
            return;
        }
        let earliest = from.saturating_sub(LOOK_BEHIND_BYTES_MAX);
        if from < self.complete_from || self.read < earliest {
            self.live.clear();
            self.due.clear();
            self.complete_from = from;
            self.read = earliest.max(view.base());
        }
        for index in (0..self.live.len()).rev() {
            let live = self.live.swap_remove(index);
            self.run(scanner, view, live);
        }
    }

    /// A lead may begin at `at`: reads it as far as it goes.
    pub(super) fn begin(&mut self, scanner: &Scanner, view: &View<'_>, rule: u16, at: usize) {
        let lead = scanner.compiled[usize::from(rule)].lead();
        let state = lead.name.start(Before::from_byte(view.byte_before(at)));
        let head = lead.head.as_ref();
        if state != DEAD && head.is_none_or(|head| stands_before(head, view, at)) {
            let name = Live {
                rule,
                state,
                in_rest: false,
                at,
            };
            self.run(scanner, view, name);
        }
    }

    fn run(&mut self, scanner: &Scanner, view: &View<'_>, mut live: Live) {
        let lead = scanner.compiled[usize::from(live.rule)].lead();
        let automaton: &Automaton = match &lead.rest {
            Some(rest) if live.in_rest => rest,
            _ => &lead.name,
        };
        for byte in view.from(live.at) {
            self.steps += 1;
            let (next, ended) = automaton.step(live.state, *byte);
            if ended {
                self.read_to(scanner, view, lead, live);
            }
            if next == DEAD {
                return;
            }
            live.state = next;
            live.at += 1;
            if automaton.accepts(next) {
                self.read_to(scanner, view, lead, live);
                if !automaton.grows(next) {
                    return;
                }
            }
        }
        if !view.is_last() && !self.live.contains(&live) {
            self.live.push(live);
        }
    }

    /// What was being read may end where it is.
    fn read_to(&mut self, scanner: &Scanner, view: &View<'_>, lead: &Lead, read: Live) {
        match &lead.rest {
            Some(rest) if !read.in_rest => {
                let state = rest.start(Before::from_byte(view.byte_before(read.at)));
                let rest = Live {
                    state,
                    in_rest: true,
                    ..read
                };
                if state != DEAD {
                    self.run(scanner, view, rest);
                }
            }
            _ => self.note(scanner, view, read.rule, read.at),
        }
    }

    /// The rule may start at `at`, if what stands there is one of its beginnings.
    fn note(&mut self, scanner: &Scanner, view: &View<'_>, rule: u16, at: usize) {
        let first = view.from(at).first();
        if first.is_some_and(|byte| !scanner.starts.may_begin_with(rule, *byte)) {
            return;
        }
        let due = Due { at, rule };
        let index = self.due.partition_point(|other| *other < due);
        if self.due.get(index) != Some(&due) {
            self.due.insert(index, due);
        }
    }

    /// The first of what is due from `from` on, as an index.
    #[inline]
    pub(super) fn index_from(&self, from: usize) -> usize {
        self.due.partition_point(|due| due.at < from)
    }

    /// Where the due rule at this index is due.
    #[inline]
    pub(super) fn due_at(&self, index: usize) -> Option<usize> {
        self.due.get(index).map(|due| due.at)
    }

    /// The rules that are due where the one at this index is.
    pub(super) fn due_together(&self, index: usize) -> impl Iterator<Item = u16> {
        let at = self.due[index].at;
        let together = self.due[index..].iter().take_while(move |due| due.at == at);
        together.map(|due| due.rule)
    }

    /// Drops what is due before this index when it is much; says whether it did.
    pub(super) fn drop_done(&mut self, index: usize) -> bool {
        let much = index >= DONE_MAX;
        if much {
            self.complete_from = self.due[index - 1].at + 1;
            self.due.drain(..index);
        }
        much
    }

    /// The bytes that were read since this was asked last.
    pub(super) fn take_steps(&mut self) -> u64 {
        std::mem::take(&mut self.steps)
    }

    /// The view has been read; nothing will start before `needed` any more.
    pub(crate) fn close(&mut self, needed: usize) {
        if self.due.is_empty() && self.live.is_empty() {
            self.complete_from = self.complete_from.max(needed);
            return;
        }
        self.due.drain(..self.index_from(needed));
        self.complete_from = self.complete_from.max(needed);
        if self.due.len() > KEPT_MAX || self.live.len() > KEPT_MAX {
            // The next walk looks for them again.
            (self.due, self.live) = (Vec::new(), Vec::new());
            self.complete_from = usize::MAX;
        }
    }
}
