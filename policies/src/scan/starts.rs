//! Which rules may start where: a vectorised look at the neighbouring bytes decides, and almost
//! everywhere in ordinary text that none does.
//!
//! Everything here is read off the compiled automata, and errs on one side: the filter may let a
//! start through that comes to nothing, it never drops one.
//!
//! 1. [`crate::prefilter`] says where one of the rules' windows may stand: the byte before a start
//!    and the first bytes of a match ([`mod@super::windows`]).
//! 2. There the byte before and the first byte are looked at together, and then the next three
//!    bytes must be the beginning of some rule ([`mod@super::gate`]), or the last three bytes the
//!    end of what some rule with an `after` wants before it.
//! 3. Where a gate is open, more bytes are read until it is known which rules are left
//!    ([`mod@super::trie`]); mostly none is. Only the automata of those are started.
//!
//! A rule that begins like any word is told by a byte that it needs further on
//! ([`mod@super::wide`]). [`mod@super::walk`] puts it all in order.

use super::automaton::{Automaton, Before, DEAD};
use super::candidate::Compiled;
use super::gate::{Missing, NOTHING, Told, TripleSet, class_of};
use super::trie::Trie;
use super::view::View;
use super::walk::Walk;
use super::wide::{Need, Needs};
use super::windows;
use crate::prefilter::bytes::{ALL, contains, insert};
use crate::prefilter::{ByteSet, Prefilter, rarity};

/// A rule whose windows stand at more places of ordinary text than this is told by a byte that it
/// needs, if there is one.
const RATE_MAX: f32 = 1.0 / 64.0;

/// The start filter of one scanner.
#[derive(Debug)]
pub(crate) struct Starts {
    pub(super) prefilter: Prefilter,
    /// Where rules may start that are told by windows.
    gaps: Gaps,
    /// The rules that are told by what they begin with.
    ahead: Gate,
    /// The rules with an `after`, told by that; it is read backwards, the nearest byte first.
    behind: Gate,
    /// The rules that are told by a byte further on, where they may start, and the bytes.
    pub(super) wide: Box<[u16]>,
    pub(super) wide_gaps: Gaps,
    pub(super) needs: Needs,
    /// Per rule: bytes that may stand before a start.
    before: Vec<ByteSet>,
}

/// Between which two bytes some rule may start.
#[derive(Debug)]
pub(super) struct Gaps {
    /// By byte before: the classes of first bytes.
    after_byte: Box<[u64; 256]>,
    /// The classes of first bytes where the text starts.
    at_start: u64,
}

/// Rules that are told by a few bytes in a row: first three at once, then one by one.
#[derive(Debug)]
struct Gate {
    triples: TripleSet,
    trie: Trie,
}

// === impl Starts ===

impl Starts {
    pub(crate) fn new(rules: &[Compiled]) -> Starts {
        let mut needs = Needs::default();
        let (mut ahead, mut behind, mut wide) = (Vec::new(), Vec::new(), Vec::new());
        let (mut gaps, mut wide_gaps) = (Gaps::none(), Gaps::none());
        let mut before = Vec::with_capacity(rules.len());
        let mut all_windows = Vec::new();
        for (rule, compiled) in (0..).zip(rules) {
            let by_itself = Told {
                rule,
                automaton: &compiled.automaton,
                len_max: compiled.max_len,
            };
            let follows = compiled.after.as_ref().map_or(ALL, first_bytes);
            before.push(may_stand_before(by_itself.automaton, &follows));
            let windows = windows::of(&by_itself, &follows);
            let rate: f32 = windows.iter().map(rarity::rate).sum();
            let is_wide = compiled.after.is_none()
                && rate > RATE_MAX
                && Need::of(by_itself.automaton, by_itself.len_max)
                    .is_some_and(|need| needs.add(need));
            if is_wide {
                wide_gaps.add(by_itself.automaton, &follows);
                wide.push(rule);
                continue;
            }
            gaps.add(by_itself.automaton, &follows);
            all_windows.extend(windows);
            match &compiled.after {
                Some(after) => behind.push(Told {
                    rule,
                    automaton: after,
                    len_max: usize::MAX,
                }),
                None => ahead.push(by_itself),
            }
        }
        Starts {
            prefilter: Prefilter::new(all_windows),
            gaps,
            ahead: Gate::new(&ahead, Missing::Unknown),
            behind: Gate::new(&behind, Missing::AtEnd),
            wide: wide.into_boxed_slice(),
            wide_gaps,
            needs,
            before,
        }
    }

    /// The places from `from` on at which rules may start.
    #[inline]
    pub(crate) fn walk<'s, 't>(&'s self, view: &View<'t>, from: usize) -> Walk<'s, 't> {
        Walk::new(self, view, from)
    }

    /// The rules that are told by windows and may start at this offset, in two parts.
    #[inline]
    pub(super) fn rules(&self, bytes: &[u8], offset: usize, more: bool) -> [&[u16]; 2] {
        if !self.gaps.allow(bytes, offset) {
            return [&[], &[]];
        }
        let (before, from) = bytes.split_at(offset);
        // More is at hand behind a place than the trie is deep, except at the start of the text.
        [
            self.ahead.rules(from.iter(), more),
            self.behind.rules(before.iter().rev(), false),
        ]
    }

    /// May this rule start after `before` (none at the start of the text)?
    #[inline]
    pub(crate) fn may_follow_byte(&self, rule: u16, before: Option<u8>) -> bool {
        before.is_none_or(|byte| contains(&self.before[usize::from(rule)], byte))
    }
}

// === impl Gaps ===

impl Gaps {
    fn none() -> Gaps {
        Gaps {
            after_byte: Box::new([0; 256]),
            at_start: 0,
        }
    }

    /// Adds where an automaton may start whose matches stand behind one of these bytes.
    fn add(&mut self, automaton: &Automaton, behind: &ByteSet) {
        let classes = Before::ALL.map(|before| first_classes(automaton, automaton.start(before)));
        self.at_start |= classes[Before::TextStart as usize];
        for byte in (0..=255_u8).filter(|byte| contains(behind, *byte)) {
            self.after_byte[usize::from(byte)] |= classes[Before::from_byte(Some(byte)) as usize];
        }
    }

    /// May some rule start at this offset?
    #[inline]
    pub(super) fn allow(&self, bytes: &[u8], offset: usize) -> bool {
        let classes = match offset.checked_sub(1) {
            Some(before) => self.after_byte[usize::from(bytes[before])],
            None => self.at_start,
        };
        classes >> class_of(bytes[offset]) & 1 != 0
    }
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

/// The bytes behind which an automaton may start, of these.
fn may_stand_before(automaton: &Automaton, behind: &ByteSet) -> ByteSet {
    let alive = Before::ALL.map(|before| first_classes(automaton, automaton.start(before)) != 0);
    let mut allowed = [0; 4];
    for byte in (0..=255_u8).filter(|byte| contains(behind, *byte)) {
        if alive[Before::from_byte(Some(byte)) as usize] {
            insert(&mut allowed, byte);
        }
    }
    allowed
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
