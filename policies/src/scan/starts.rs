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
//! 3. Where a gate is open, more bytes are read until it is known which rules are left
//!    ([`mod@super::trie`]); mostly none is. Only the automata of those are started.

use super::automaton::{Automaton, Before, DEAD};
use super::bytes::{ByteSet, contains, insert};
use super::candidate::Compiled;
use super::gate::{Missing, NOTHING, Told, TripleSet, class_of};
use super::trie::Trie;
use super::view::View;
use super::wide::{Need, Needs, Windows};

/// A rule with more beginnings than this, of the 262144 that there are, is wide.
const NARROW_TRIPLES_MAX: usize = 8192;

/// Places that step 1 decides at once: the bits of a word.
const BLOCK: usize = 64;

/// The start filter of one scanner.
#[derive(Debug)]
pub(crate) struct Starts {
    /// By byte before: the classes of first bytes for which some rule may start.
    gap: Box<[u64; 256]>,
    /// The classes of first bytes for which some rule may start where the text does.
    gap_at_start: u64,
    /// The rules that are told by what they begin with.
    ahead: Gate,
    /// The rules with an `after`, told by that; it is read backwards, the nearest byte first.
    behind: Gate,
    /// The rules that are told by a byte further on.
    wide: Box<[u16]>,
    needs: Needs,
    /// Per rule: bytes that may stand before a start.
    before: Vec<ByteSet>,
}

/// Rules that are told by a few bytes in a row: first three at once, then one by one.
#[derive(Debug)]
struct Gate {
    triples: TripleSet,
    trie: Trie,
}

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
    /// The rules of the place that was found last, if they come from several sources.
    merged: Vec<u16>,
}

/// Whence the rules of a place come.
#[derive(Clone, Copy)]
enum Found<'s> {
    One(&'s [u16]),
    Merged,
}

// === impl Starts ===

impl Starts {
    pub(crate) fn new(rules: &[Compiled]) -> Starts {
        let mut needs = Needs::default();
        let (mut ahead, mut behind, mut wide) = (Vec::new(), Vec::new(), Vec::new());
        for (rule, compiled) in (0..).zip(rules) {
            let by_itself = Told {
                rule,
                automaton: &compiled.automaton,
                len_max: compiled.max_len,
            };
            match &compiled.after {
                Some(after) => behind.push(Told {
                    rule,
                    automaton: after,
                    len_max: usize::MAX,
                }),
                None if is_wide(&by_itself, &mut needs) => wide.push(rule),
                None => ahead.push(by_itself),
            }
        }
        let mut starts = Starts {
            gap: Box::new([0; 256]),
            gap_at_start: 0,
            ahead: Gate::new(&ahead, Missing::Unknown),
            behind: Gate::new(&behind, Missing::AtEnd),
            wide: wide.into_boxed_slice(),
            needs,
            before: Vec::with_capacity(rules.len()),
        };
        for rule in rules {
            let follows = rule.after.as_ref().map(first_bytes);
            starts.mark_gaps(&rule.automaton, follows.as_ref());
        }
        starts
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
            merged: Vec::new(),
        }
    }

    /// May this rule start after `before` (none at the start of the text)?
    #[inline]
    pub(crate) fn may_follow_byte(&self, rule: u16, before: Option<u8>) -> bool {
        before.is_none_or(|byte| contains(&self.before[usize::from(rule)], byte))
    }
}

/// Is the rule better told by a byte further on? Its need is added then.
fn is_wide(told: &Told<'_>, needs: &mut Needs) -> bool {
    TripleSet::read_by(told, Missing::Unknown).count() > NARROW_TRIPLES_MAX
        && Need::of(told.automaton, told.len_max).is_some_and(|need| needs.add(need))
}

// === impl Gate ===

impl Gate {
    fn new(automata: &[Told<'_>], missing: Missing) -> Gate {
        let mut triples = TripleSet::empty();
        for told in automata {
            triples.union(&TripleSet::read_by(told, missing));
        }
        Gate {
            triples,
            trie: Trie::new(automata),
        }
    }

    /// The rules that are left after these bytes, behind which `more` may come.
    #[inline]
    fn rules<'a>(&self, bytes: impl Iterator<Item = &'a u8> + Clone, more: bool) -> &[u16] {
        let mut three = bytes.clone();
        let mut class = || three.next().map_or(NOTHING, |byte| class_of(*byte));
        match self.triples.contains(class(), class(), class()) {
            true => self.trie.rules(bytes, more),
            false => &[],
        }
    }
}

// === impl Walk ===

impl<'s> Walk<'s, '_> {
    /// The next place at which rules may start, and which, in order; `None` when there is none in
    /// what is at hand.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(usize, &[u16])> {
        let (offset, found) = self.find()?;
        let rules = match found {
            Found::One(rules) => rules,
            Found::Merged => &self.merged,
        };
        Some((self.view.base() + offset, rules))
    }

    #[inline]
    fn find(&mut self) -> Option<(usize, Found<'s>)> {
        loop {
            while self.bits != 0 {
                let offset = self.block + self.bits.trailing_zeros() as usize;
                self.bits &= self.bits - 1;
                if let Some(found) = self.rules(offset) {
                    return Some((offset, found));
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
            bits = bits >> 1 | (row >> class_of(*byte)) << (BLOCK - 1);
            row = gap[usize::from(*byte)];
        }
        self.bits = bits >> (BLOCK - bytes.len());
        self.block = from;
        self.ahead = from + bytes.len();
    }

    /// Steps 2 and 3: the rules that may start here, if there are any.
    #[inline]
    fn rules(&mut self, offset: usize) -> Option<Found<'s>> {
        let starts = self.starts;
        let (before, from) = self.bytes.split_at(offset);
        let ahead = starts.ahead.rules(from.iter(), !self.view.is_last());
        // More is at hand behind a place than the trie is deep, except at the start of the text.
        let behind = starts.behind.rules(before.iter().rev(), false);
        let wide = self.windows.contain(&starts.needs, &self.view, offset);
        let wide: &[u16] = if wide { &starts.wide } else { &[] };
        match [ahead, behind, wide] {
            [[], [], []] => None,
            [rules, [], []] | [[], rules, []] | [[], [], rules] => Some(Found::One(rules)),
            sources => {
                self.merged.clear();
                self.merged.extend(sources.into_iter().flatten());
                self.merged.sort_unstable();
                Some(Found::Merged)
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Pack;
    use crate::scan::candidate::{Candidate, Outcome};
    use crate::scan::{RuleIndex, Scanner};

    /// Rules of every kind: told ahead, behind and by a byte; short ones, and such as end early.
    const RULES: [&str; 12] = [
        "regex = 'a'",
        "regex = 'ab?'",
        "regex = '\\bab@'",
        "regex = '[ab]+X' \n max_len = 2",
        "regex = 'a[ab@ ]*X' \n max_len = 4",
        "regex = '[^b@]{2,4}@[ab]'",
        "regex = '\\b[^ @]{1,3}@'",
        "regex = '[^b]{2}b$'",
        "regex = '[ab]' \n after = '@ ?'",
        "regex = 'b+' \n max_len = 3 \n after = '(?:^|\\.)a{2,5}'",
        "regex = '@' \n after = '\\b(?:aaaa|b)'",
        "regex = 'aaaaaaaa.'",
    ];

    fn scanner() -> Scanner {
        let mut toml = String::new();
        for (index, body) in RULES.iter().enumerate() {
            toml.push_str(&format!(
                "[[rule]]\nid = \"r{index}\"\ndescription = \"test\"\n{body}\nmatches = [\"\"]\n\
                 misses = [\"\"]\n"
            ));
        }
        Scanner::compile(Pack::parse("test", &toml).expect("parses").rules).expect("compiles")
    }

    /// Every text of so many characters, and longer ones made of them.
    fn texts() -> Vec<String> {
        let mut texts = vec![String::new()];
        let mut last = texts.clone();
        for _ in 0..5 {
            let longer =
                |text: &String| ["a", "b", "@", " ", ".", "é"].map(|c| format!("{text}{c}"));
            last = last.iter().flat_map(longer).collect();
            texts.extend(last.iter().cloned());
        }
        let doubled: Vec<String> = texts.iter().map(|text| text.repeat(13)).collect();
        texts.extend(doubled.into_iter().step_by(11));
        texts
    }

    /// The contract: wherever a rule is not refused, the walk names it, and in order.
    #[test]
    fn no_start_is_lost() {
        let scanner = scanner();
        assert_eq!(scanner.starts.wide.len(), 2, "the needs are tested too");
        for text in texts() {
            for last in [true, false] {
                let view = View::new(&text, 0, last);
                let mut named = vec![Vec::new(); text.len()];
                let mut walk = scanner.starts.walk(&view, 0);
                while let Some((at, rules)) = walk.next() {
                    assert!(rules.is_sorted(), "{rules:?}");
                    named[at] = rules.to_vec();
                }
                for (at, _) in text.char_indices() {
                    for (rule, compiled) in (0..).zip(&scanner.compiled) {
                        let (_, outcome) = Candidate::begin(compiled, rule, &view, at);
                        if outcome != Outcome::Failed && compiled.may_follow(&view, at) {
                            let id = scanner.rule(RuleIndex(rule)).id();
                            assert!(named[at].contains(&rule), "{id} at {at} of {text:?}");
                        }
                    }
                }
            }
        }
    }

    /// A walk that leaves places out finds the same in what is left.
    #[test]
    fn seeking_loses_nothing_behind() {
        let scanner = scanner();
        let text = "ab@ a.é ".repeat(40);
        let view = View::whole(&text);
        let mut walk = scanner.starts.walk(&view, 0);
        let mut all = Vec::new();
        while let Some((at, rules)) = walk.next() {
            all.push((at, rules.to_vec()));
        }
        for stride in [1, 2, 63, 64, 65, 200] {
            let mut walk = scanner.starts.walk(&view, 0);
            let mut from = 0;
            while let Some((at, rules)) = walk.next() {
                let expected = all.iter().find(|(start, _)| *start >= from);
                assert_eq!(Some(&(at, rules.to_vec())), expected);
                from = (at + stride).min(view.end());
                walk.seek(from);
            }
        }
    }
}
