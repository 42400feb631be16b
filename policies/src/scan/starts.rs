//! Which rules may start where: the neighbouring bytes decide, and in prose that none does.
//!
//! Everything here is read off the compiled automata, and errs on one side: the filter may let a
//! start through that comes to nothing, it never drops one.
//!
//! 1. The byte before and the first byte: may any match start between these two? A table answers
//!    for 64 places in a row without a branch, and few bits remain: the beginnings of words.
//! 2. There one of three must hold. The next three bytes are the beginning of some rule
//!    ([`mod@super::gate`]). Or the last three bytes are the end of what some rule with an `after`
//!    wants before it. Or a rule that begins like any word may start, because the byte that it
//!    needs is near ([`mod@super::wide`]).
//! 3. Only then the list of rules is fetched that begin with these two bytes, of the kinds for
//!    which 2 holds, and their automata are started.

use std::collections::HashMap;

use super::automaton::{Automaton, Before, DEAD};
use super::bytes::{ByteSet, PairSet, contains, insert};
use super::candidate::Compiled;
use super::gate::{Missing, NOTHING, TripleSet, class_of};
use super::view::View;
use super::wide::{Need, Needs, Windows};

/// A rule with more beginnings than this, of the 262144 that there are, is wide.
const NARROW_TRIPLES_MAX: usize = 8192;

/// Places that step 1 decides at once: the bits of a word.
const BLOCK: usize = 64;

/// Kinds of rules, as bits: a list is kept for each union.
const NARROW: usize = 1;
const AFTER: usize = 2;
const WIDE: usize = 4;
const KINDS: usize = 8;

/// The start filter of one scanner.
#[derive(Debug)]
pub(crate) struct Starts {
    /// By byte before: the classes of first bytes for which some rule may start.
    gap: Box<[u64; 256]>,
    /// The classes of first bytes for which some rule may start where the text does.
    gap_at_start: u64,
    /// What follows where a narrow rule may start.
    ahead: TripleSet,
    /// What stands before a start that some rule with an `after` allows, the nearest first.
    behind: TripleSet,
    needs: Needs,
    /// For each pair of first bytes its place in `lists`.
    by_pair: Box<[u32]>,
    /// For each first byte: when the second byte is not there yet.
    by_first: Box<[u32; 256]>,
    lists: Vec<ByKind>,
    /// Per rule: bytes that may stand before a start.
    before: Vec<ByteSet>,
}

/// Rules with the same beginning, in order; one list for each union of kinds.
type ByKind = [Box<[u16]>; KINDS];

/// Goes over the places of a view at which rules may start.
#[derive(Debug)]
pub(crate) struct Walk<'s, 't> {
    starts: &'s Starts,
    view: View<'t>,
    bytes: &'t [u8],
    /// Offset of the block that `bits` are about.
    block: usize,
    /// The places of the block that passed step 1 and have not been looked at.
    bits: u64,
    /// Offset of the next block.
    ahead: usize,
    windows: Windows,
}

/// The bytes with which a rule's matches begin.
struct Beginnings {
    first: ByteSet,
    pairs: PairSet,
    kind: usize,
}

// === impl Starts ===

impl Starts {
    pub(crate) fn new(rules: &[Compiled]) -> Starts {
        let mut starts = Starts {
            gap: Box::new([0; 256]),
            gap_at_start: 0,
            ahead: TripleSet::empty(),
            behind: TripleSet::empty(),
            needs: Needs::default(),
            by_pair: Box::default(),
            by_first: Box::new([0; 256]),
            lists: Vec::new(),
            before: Vec::with_capacity(rules.len()),
        };
        let mut beginnings = Vec::with_capacity(rules.len());
        for rule in rules {
            let kind = starts.add(rule);
            beginnings.push(Beginnings::of(&rule.automaton, kind));
        }
        starts.list(&beginnings);
        starts
    }

    /// Adds a rule to the filters; its kind.
    fn add(&mut self, rule: &Compiled) -> usize {
        let follows = rule.after.as_ref().map(first_bytes);
        self.mark_gaps(&rule.automaton, follows.as_ref());
        if let Some(after) = &rule.after {
            self.behind
                .union(&TripleSet::read_by(after, Missing::AtEnd));
            return AFTER;
        }
        let ahead = TripleSet::read_by(&rule.automaton, Missing::Unknown);
        if ahead.count() > NARROW_TRIPLES_MAX
            && let Some(need) = Need::of(&rule.automaton, rule.max_len)
            && self.needs.add(need)
        {
            return WIDE;
        }
        self.ahead.union(&ahead);
        NARROW
    }

    /// Adds where a rule may start to `gap`, and which bytes may stand before it to `before`.
    fn mark_gaps(&mut self, automaton: &Automaton, follows: Option<&ByteSet>) {
        let mut allowed = [0; 4];
        let classes = Before::ALL.map(|before| first_classes(automaton, automaton.start(before)));
        self.gap_at_start |= classes[Before::TextStart as usize];
        for before in 0..=255_u8 {
            if follows.is_some_and(|set| !contains(set, before)) {
                continue;
            }
            let first = classes[Before::from_byte(Some(before)) as usize];
            if first != 0 {
                insert(&mut allowed, before);
                self.gap[usize::from(before)] |= first;
            }
        }
        self.before.push(allowed);
    }

    /// Numbers the lists of rules by their beginnings; list 0 is empty.
    fn list(&mut self, beginnings: &[Beginnings]) {
        let mut numbers: HashMap<Vec<u16>, u32> = HashMap::new();
        let mut lists: Vec<ByKind> = Vec::new();
        let mut intern = |rules: Vec<u16>| -> u32 {
            if let Some(number) = numbers.get(&rules) {
                return *number;
            }
            let of_kinds = |kinds: usize| {
                let wanted = |rule: &&u16| beginnings[usize::from(**rule)].kind & kinds != 0;
                rules.iter().filter(wanted).copied().collect()
            };
            lists.push(std::array::from_fn(of_kinds));
            let number = (lists.len() - 1) as u32;
            numbers.insert(rules, number);
            number
        };
        intern(Vec::new());
        let mut by_pair = vec![0_u32; 65536];
        let every: Vec<u16> = (0..beginnings.len() as u16).collect();
        for first in 0..=255_u8 {
            let of = |rule: &u16| &beginnings[usize::from(*rule)];
            let begin = |rule: &u16| contains(&of(rule).first, first);
            let starting: Vec<u16> = every.iter().copied().filter(begin).collect();
            if starting.is_empty() {
                continue;
            }
            self.by_first[usize::from(first)] = intern(starting.clone());
            for second in 0..=255_u8 {
                let begin = |rule: &u16| of(rule).pairs.contains(first, second);
                let with_pair = starting.iter().copied().filter(begin).collect();
                by_pair[usize::from(first) << 8 | usize::from(second)] = intern(with_pair);
            }
        }
        self.by_pair = by_pair.into_boxed_slice();
        self.lists = lists;
    }

    /// The places from `from` on at which rules may start.
    #[inline]
    pub(crate) fn walk<'s, 't>(&'s self, view: &View<'t>, from: usize) -> Walk<'s, 't> {
        let offset = from - view.base();
        Walk {
            starts: self,
            view: *view,
            bytes: view.from(view.base()),
            block: offset,
            bits: 0,
            ahead: offset,
            windows: self.needs.windows(offset),
        }
    }

    /// May this rule start after `before` (none at the start of the text)?
    #[inline]
    pub(crate) fn may_follow_byte(&self, rule: u16, before: Option<u8>) -> bool {
        before.is_none_or(|byte| contains(&self.before[usize::from(rule)], byte))
    }
}

// === impl Walk ===

impl<'s> Walk<'s, '_> {
    /// The next place at which rules may start, and which; `None` when there is none in what is
    /// at hand.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(usize, &'s [u16])> {
        loop {
            while self.bits != 0 {
                let offset = self.block + self.bits.trailing_zeros() as usize;
                self.bits &= self.bits - 1;
                let kinds = self.kinds(offset);
                if kinds != 0 {
                    let rules = self.rules(offset, kinds);
                    if !rules.is_empty() {
                        return Some((self.view.base() + offset, rules));
                    }
                }
            }
            if self.ahead >= self.bytes.len() {
                return None;
            }
            self.next_block();
        }
    }

    /// Leaves out what is before `at`.
    #[inline]
    pub(crate) fn seek(&mut self, at: usize) {
        let offset = at - self.view.base();
        if offset >= self.ahead {
            self.bits = 0;
            self.ahead = offset;
        } else if offset > self.block {
            self.bits &= u64::MAX << (offset - self.block);
        }
    }

    /// Step 1 for the places from `ahead` on.
    #[inline]
    fn next_block(&mut self) {
        let gap = &*self.starts.gap;
        let from = self.ahead;
        let bytes = &self.bytes[from..self.bytes.len().min(from + BLOCK)];
        let mut row = match from.checked_sub(1).map(|before| self.bytes[before]) {
            Some(before) => gap[usize::from(before)],
            None => self.starts.gap_at_start,
        };
        let mut bits = 0;
        for byte in bytes {
            bits = bits >> 1 | (row >> class_of(*byte)) << 63;
            row = gap[usize::from(*byte)];
        }
        self.bits = bits >> (BLOCK - bytes.len());
        self.block = from;
        self.ahead = from + bytes.len();
    }

    /// Step 2: the kinds of rules that may start here.
    #[inline]
    fn kinds(&mut self, offset: usize) -> usize {
        let class = |at: Option<&u8>| at.map_or(NOTHING, |byte| class_of(*byte));
        let next = |distance: usize| class(self.bytes.get(offset + distance));
        let back = |distance: usize| {
            let at = offset.checked_sub(distance);
            class(at.and_then(|at| self.bytes.get(at)))
        };
        let ahead = self.starts.ahead.contains(next(0), next(1), next(2));
        let behind = self.starts.behind.contains(back(1), back(2), back(3));
        let wide = self.windows.contain(&self.starts.needs, &self.view, offset);
        usize::from(ahead) * NARROW | usize::from(behind) * AFTER | usize::from(wide) * WIDE
    }

    /// Step 3: the rules of these kinds that begin with the bytes here.
    fn rules(&self, offset: usize, kinds: usize) -> &'s [u16] {
        let first = usize::from(self.bytes[offset]);
        let list = match self.bytes.get(offset + 1) {
            Some(second) => self.starts.by_pair[first << 8 | usize::from(*second)],
            None => self.starts.by_first[first],
        };
        &self.starts.lists[list as usize][kinds]
    }
}

// === impl Beginnings ===

impl Beginnings {
    fn of(automaton: &Automaton, kind: usize) -> Beginnings {
        let mut begins = Beginnings {
            first: [0; 4],
            pairs: PairSet::empty(),
            kind,
        };
        let mut seconds: HashMap<u16, ByteSet> = HashMap::new();
        for start in automaton.distinct_starts() {
            for first in 0..=255_u8 {
                let (state, _) = automaton.step(start, first);
                if state == DEAD {
                    continue;
                }
                insert(&mut begins.first, first);
                let rights = seconds
                    .entry(state)
                    .or_insert_with(|| second_bytes(automaton, state));
                begins.pairs.insert_row(first, rights);
            }
        }
        begins
    }
}

/// The bytes that may follow in the text when the automaton is in `state`.
fn second_bytes(automaton: &Automaton, state: u16) -> ByteSet {
    let mut set = [0; 4];
    for byte in 0..=255_u8 {
        let (next, ended) = automaton.step(state, byte);
        if next != DEAD || ended {
            insert(&mut set, byte);
        }
    }
    set
}

/// The bytes with which a text may begin that the automaton reads.
fn first_bytes(automaton: &Automaton) -> ByteSet {
    let mut set = [0; 4];
    for start in automaton.distinct_starts() {
        for byte in (0..=255_u8).filter(|byte| automaton.step(start, *byte).0 != DEAD) {
            insert(&mut set, byte);
        }
    }
    set
}

/// The classes of the bytes with which the automaton may go on from a start.
fn first_classes(automaton: &Automaton, start: u16) -> u64 {
    if start == DEAD {
        return 0;
    }
    (0..=255_u8)
        .filter(|byte| automaton.step(start, *byte).0 != DEAD)
        .fold(0, |set, byte| set | 1 << class_of(byte))
}
