//! Which rules may start where: three bytes decide, and in prose they decide that none does.
//!
//! Two bitmaps of 8 KiB each, indexed by a pair of neighbouring bytes, are asked at every byte:
//! may a match start between these two (`gap`: the byte before and the first of the match), and
//! may one begin with these two (`pair`). Both are read off the compiled automata, so a rule that
//! asks for a word boundary, or for a certain text before it, is filtered by that too. Only where
//! both agree is the list of rules fetched and an automaton started. A third bitmap (`behind`: the
//! two bytes before) is asked there for the rules with an `after`, whose first bytes alone are
//! often those of any word. The filter may let a start through that comes to nothing; it never
//! drops one.

use std::collections::HashMap;

use super::automaton::{Automaton, Before, DEAD};
use super::candidate::Compiled;
use super::view::View;

/// A set of bytes.
type ByteSet = [u64; 4];

/// A set of pairs of bytes.
#[derive(Debug)]
struct PairSet(Box<[u64]>);

/// The start filter of one scanner.
#[derive(Debug)]
pub(crate) struct Starts {
    /// (byte before, first byte) for which some rule may start.
    gap: PairSet,
    /// (first byte, second byte) with which some rule may begin.
    pair: PairSet,
    /// The last two bytes before a start that some rule with an `after` allows.
    behind: PairSet,
    /// Every rule.
    all: Numbered,
    /// The rules without an `after`.
    plain: Numbered,
    lists: Vec<Box<[u16]>>,
    /// Per rule: bytes that may stand before a start.
    before: Vec<ByteSet>,
}

/// Which list of rules belongs to a beginning.
#[derive(Debug)]
struct Numbered {
    /// For each pair.
    by_pair: Box<[u32]>,
    /// For each first byte: when the second byte is not there yet.
    by_first: Box<[u32; 256]>,
}

/// The bytes with which a rule's matches begin.
struct Beginnings {
    first: ByteSet,
    pairs: PairSet,
}

// === impl PairSet ===

impl PairSet {
    fn empty() -> PairSet {
        PairSet(vec![0; 65536 / 64].into_boxed_slice())
    }

    #[inline]
    fn contains(&self, left: u8, right: u8) -> bool {
        let index = usize::from(left) << 2 | usize::from(right >> 6);
        self.0[index] >> (right & 63) & 1 != 0
    }

    fn insert(&mut self, left: u8, right: u8) {
        self.0[usize::from(left) << 2 | usize::from(right >> 6)] |= 1 << (right & 63);
    }

    fn union(&mut self, other: &PairSet) {
        for (word, bits) in self.0.iter_mut().zip(&other.0) {
            *word |= bits;
        }
    }

    /// Adds every pair of `left` with a byte of `rights`.
    fn insert_row(&mut self, left: u8, rights: &ByteSet) {
        let row = usize::from(left) << 2;
        for (word, bits) in self.0[row..row + 4].iter_mut().zip(rights) {
            *word |= bits;
        }
    }
}

// === impl Starts ===

impl Starts {
    pub(crate) fn new(rules: &[Compiled]) -> Starts {
        let mut gap = PairSet::empty();
        let mut pair = PairSet::empty();
        let mut behind = PairSet::empty();
        let mut before = Vec::with_capacity(rules.len());
        let mut beginnings = Vec::with_capacity(rules.len());
        for rule in rules {
            let after = rule.after.as_ref().map(Beginnings::of);
            if let Some(after) = &after {
                after.add_reversed(&mut behind);
            }
            let follows = after.map(|after| after.first);
            before.push(mark_gaps(&rule.automaton, follows.as_ref(), &mut gap));
            let begins = Beginnings::of(&rule.automaton);
            pair.union(&begins.pairs);
            beginnings.push(begins);
        }
        let mut lists = Lists::new();
        let every: Vec<u16> = (0..rules.len() as u16).collect();
        let all = Numbered::new(&every, &beginnings, &pair, &mut lists);
        let without = |rule: &u16| rules[usize::from(*rule)].after.is_none();
        let plain: Vec<u16> = every.iter().copied().filter(without).collect();
        let plain = Numbered::new(&plain, &beginnings, &pair, &mut lists);
        Starts {
            gap,
            pair,
            behind,
            all,
            plain,
            lists: lists.lists,
            before,
        }
    }

    /// The first place from `from` on at which rules may start, and which; `None` when there is
    /// none in what is at hand.
    #[inline]
    pub(crate) fn next<'s>(&'s self, view: &View<'_>, from: usize) -> Option<(usize, &'s [u16])> {
        let bytes = view.from(from);
        let mut before = view.byte_before(from);
        for (offset, byte) in bytes.iter().enumerate() {
            if before.is_none_or(|before| self.gap.contains(before, *byte)) {
                let list = self.list(view, from + offset, *byte, bytes.get(offset + 1));
                if list != 0 {
                    return Some((from + offset, &self.lists[list as usize]));
                }
            }
            before = Some(*byte);
        }
        None
    }

    /// The list of rules that may start at `at` with `first`, which has passed `gap`.
    #[inline]
    fn list(&self, view: &View<'_>, at: usize, first: u8, second: Option<&u8>) -> u32 {
        if second.is_some_and(|second| !self.pair.contains(first, *second)) {
            return 0;
        }
        let numbered = match view.before(at) {
            [.., left, right] if !self.behind.contains(*left, *right) => &self.plain,
            _ => &self.all,
        };
        match second {
            Some(second) => numbered.by_pair[usize::from(first) << 8 | usize::from(*second)],
            None => numbered.by_first[usize::from(first)],
        }
    }

    /// May this rule start after `before` (none at the start of the text)?
    #[inline]
    pub(crate) fn may_follow_byte(&self, rule: u16, before: Option<u8>) -> bool {
        before.is_none_or(|byte| contains(&self.before[usize::from(rule)], byte))
    }
}

// === impl Numbered ===

impl Numbered {
    fn new(
        rules: &[u16],
        beginnings: &[Beginnings],
        pairs: &PairSet,
        lists: &mut Lists,
    ) -> Numbered {
        let of = |rule: &u16| &beginnings[usize::from(*rule)];
        let mut by_pair = vec![0_u32; 65536].into_boxed_slice();
        let mut by_first = Box::new([0_u32; 256]);
        for first in 0..=255_u8 {
            let starting: Vec<u16> = rules
                .iter()
                .copied()
                .filter(|rule| contains(&of(rule).first, first))
                .collect();
            by_first[usize::from(first)] = lists.intern(&starting);
            for second in (0..=255_u8).filter(|second| pairs.contains(first, *second)) {
                let begin = |rule: &u16| of(rule).pairs.contains(first, second);
                let with_pair: Vec<u16> = starting.iter().copied().filter(begin).collect();
                let index = usize::from(first) << 8 | usize::from(second);
                by_pair[index] = lists.intern(&with_pair);
            }
        }
        Numbered { by_pair, by_first }
    }
}

/// Lists of rules, each kept once; list 0 is empty.
struct Lists {
    lists: Vec<Box<[u16]>>,
    numbers: HashMap<Box<[u16]>, u32>,
}

// === impl Lists ===

impl Lists {
    fn new() -> Lists {
        let empty: Box<[u16]> = Box::default();
        Lists {
            lists: vec![empty.clone()],
            numbers: HashMap::from([(empty, 0)]),
        }
    }

    fn intern(&mut self, list: &[u16]) -> u32 {
        if let Some(number) = self.numbers.get(list) {
            return *number;
        }
        let number = self.lists.len() as u32;
        self.lists.push(list.into());
        self.numbers.insert(list.into(), number);
        number
    }
}

// === impl Beginnings ===

impl Beginnings {
    fn of(automaton: &Automaton) -> Beginnings {
        let mut begins = Beginnings {
            first: [0; 4],
            pairs: PairSet::empty(),
        };
        let mut seconds: HashMap<u16, ByteSet> = HashMap::new();
        for start in distinct_starts(automaton) {
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

    /// Adds the pairs of an automaton that reads backwards, as they stand in the text.
    fn add_reversed(&self, pairs: &mut PairSet) {
        for last in 0..=255_u8 {
            for left in (0..=255_u8).filter(|left| self.pairs.contains(last, *left)) {
                pairs.insert(left, last);
            }
        }
    }
}

fn distinct_starts(automaton: &Automaton) -> Vec<u16> {
    let mut starts: Vec<u16> = Before::ALL
        .iter()
        .map(|before| automaton.start(*before))
        .collect();
    starts.sort_unstable();
    starts.dedup();
    starts.retain(|start| *start != DEAD);
    starts
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

/// Adds a rule's (byte before, first byte) pairs to `gap`; returns its bytes before.
fn mark_gaps(automaton: &Automaton, follows: Option<&ByteSet>, gap: &mut PairSet) -> ByteSet {
    let mut allowed = [0; 4];
    let mut firsts: HashMap<u16, ByteSet> = HashMap::new();
    for before in 0..=255_u8 {
        if follows.is_some_and(|set| !contains(set, before)) {
            continue;
        }
        let start = automaton.start(Before::from_byte(Some(before)));
        let first = firsts.entry(start).or_insert_with(|| {
            let mut set = [0; 4];
            for byte in 0..=255_u8 {
                if start != DEAD && automaton.step(start, byte).0 != DEAD {
                    insert(&mut set, byte);
                }
            }
            set
        });
        if *first != [0; 4] {
            insert(&mut allowed, before);
            gap.insert_row(before, first);
        }
    }
    allowed
}

#[inline]
fn contains(set: &ByteSet, byte: u8) -> bool {
    set[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
}

fn insert(set: &mut ByteSet, byte: u8) {
    set[usize::from(byte >> 6)] |= 1 << (byte & 63);
}
