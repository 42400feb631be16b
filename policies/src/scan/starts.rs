//! Which rules may start where: a vectorised look at the neighbouring bytes decides, and almost
//! everywhere in ordinary text that none does.
//!
//! Everything here is read off the compiled automata, and errs on one side: the filter may let a
//! start through that comes to nothing, it never drops one.
//!
//! 1. [`crate::prefilter`] says where one of the rules' windows may stand: the byte before a start
//!    and the first bytes of a match ([`mod@super::windows`]).
//! 2. There the byte before and the first byte are looked at together, and then bytes are read
//!    until it is known which rules are left ([`mod@super::trie`]), or of which rules what they
//!    want before them may begin, by which they are told ([`mod@super::leads`]). Mostly none is.
//!    Only the automata of those are started.
//!
//! A rule that begins like any word is told by a byte that it needs further on
//! ([`mod@super::wide`]). [`mod@super::walk`] puts it all in order.

use super::RULES_MAX;
use super::automaton::{Automaton, Before, DEAD};
use super::candidate::Compiled;
use super::leads::{After, first_bytes};
use super::need::Need;
use super::told::{Behind, Told, class_of};
use super::trie::Trie;
use super::wide::Wide;
use super::windows;
use crate::prefilter::bytes::{ALL, contains, insert};
use crate::prefilter::{ByteSet, Level, Prefilter};

/// A rule whose windows stand at more places of ordinary text than this is told by a byte that it
/// needs, if there is one.
const RATE_MAX: f32 = 1.0 / 64.0;

/// What tells a lead from a rule in the tries.
const LEAD: u16 = RULES_MAX as u16;

/// The start filter of one scanner.
#[derive(Debug)]
pub(crate) struct Starts {
    pub(super) prefilter: Prefilter,
    /// Where rules may start, and leads begin, that are told by windows.
    gaps: Gaps,
    /// The rules and leads that are told by what they begin with: behind a word, and elsewhere.
    ahead: [Trie; 2],
    pub(super) has_leads: bool,
    /// The rules that are told by a byte further on.
    pub(super) wide: Wide,
    /// Per rule: bytes that may stand before a start.
    before: Vec<ByteSet>,
    /// Per rule: the share of the places of ordinary text at which it is tried.
    pub(super) rates: Vec<f32>,
    /// Per rule: bytes with which a match may begin.
    first: Vec<ByteSet>,
}

/// Between which two bytes some rule may start.
#[derive(Debug)]
pub(super) struct Gaps {
    /// By byte before: the classes of first bytes.
    after_byte: Box<[u64; 256]>,
    /// The classes of first bytes where the text starts.
    at_start: u64,
}

/// The rules that may start at a place, and those of which the lead may begin there.
#[derive(Clone, Copy)]
pub(super) struct Here<'s> {
    pub(super) rules: &'s [u16],
    pub(super) leads: &'s [u16],
    /// More text may tell that it is fewer; nothing has been read to its end.
    pub(super) is_open: bool,
}

// === impl Starts ===

impl Starts {
    pub(crate) fn new(rules: &[Compiled]) -> Starts {
        let mut ahead = Vec::new();
        let mut wide = Wide::default();
        let mut gaps = Gaps::none();
        let mut before = Vec::with_capacity(rules.len());
        let mut first = Vec::with_capacity(rules.len());
        let mut all_windows = Vec::new();
        let mut has_leads = false;
        let mut rates = Vec::with_capacity(rules.len());
        for (rule, compiled) in (0..).zip(rules) {
            let by_itself = Told {
                rule,
                automaton: &compiled.automaton,
                len_max: compiled.max_len,
            };
            let follows = match &compiled.after {
                Some(After::Backwards(after)) => first_bytes(after),
                _ => ALL,
            };
            before.push(may_stand_before(by_itself.automaton, &follows));
            first.push(first_bytes(by_itself.automaton));
            if let Some(After::Forwards(lead)) = &compiled.after {
                has_leads = true;
                gaps.add(&lead.name, &lead.follows());
                let windows = lead.windows();
                rates.push(windows::rate(&windows));
                all_windows.extend(windows);
                ahead.push(lead.told(LEAD + rule));
                continue;
            }
            let windows = windows::of(&by_itself, &follows);
            let rate = windows::rate(&windows);
            let need = (rate > RATE_MAX)
                .then(|| Need::of(by_itself.automaton, by_itself.len_max))
                .flatten()
                .filter(|need| need.cost() < rate)
                .filter(|need| wide.add(rule, need, by_itself.automaton, &follows));
            if let Some(need) = need {
                rates.push(need.rate());
                continue;
            }
            rates.push(rate);
            gaps.add(by_itself.automaton, &follows);
            all_windows.extend(windows);
            ahead.push(by_itself);
        }
        Starts {
            prefilter: Prefilter::new(all_windows),
            gaps,
            ahead: [Behind::Word, Behind::Other].map(|behind| Trie::new(&ahead, behind)),
            has_leads,
            wide,
            before,
            first,
            rates,
        }
    }

    pub(super) fn run_at(&mut self, level: Level) -> bool {
        let at = self.prefilter.at(level);
        let available = at.is_some();
        self.prefilter = at.unwrap_or_else(|| self.prefilter.clone());
        available
    }

    pub(super) fn table_bytes(&self) -> usize {
        let per_rule = size_of::<ByteSet>() * (self.before.len() + self.first.len());
        let tries = self.ahead.iter().map(Trie::table_bytes).sum::<usize>();
        self.prefilter.table_bytes() + tries + per_rule
    }

    /// What is told by windows and may be at this offset.
    #[inline]
    pub(super) fn told(&self, bytes: &[u8], offset: usize, more: bool) -> Here<'_> {
        let (told, is_open) = match self.gaps.allow(bytes, offset) {
            true => {
                let before = offset.checked_sub(1).map(|before| bytes[before]);
                let trie = &self.ahead[Behind::from_byte(before) as usize];
                trie.rules(&bytes[offset..], more)
            }
            false => (&[][..], false),
        };
        // Mostly there is nothing, and few in any case.
        let rules = told.iter().take_while(|rule| **rule < LEAD).count();
        let (rules, leads) = told.split_at(rules);
        Here {
            rules,
            leads,
            is_open,
        }
    }

    /// May this rule start after `before` (none at the start of the text)?
    #[inline]
    pub(crate) fn may_follow_byte(&self, rule: u16, before: Option<u8>) -> bool {
        before.is_none_or(|byte| contains(&self.before[usize::from(rule)], byte))
    }

    /// May a match of this rule begin with this byte?
    #[inline]
    pub(super) fn may_begin_with(&self, rule: u16, byte: u8) -> bool {
        contains(&self.first[usize::from(rule)], byte)
    }
}

// === impl Here ===

impl Here<'_> {
    /// The rules of which the lead may begin here.
    #[inline]
    pub(super) fn leads(&self) -> impl Iterator<Item = u16> + use<'_> {
        self.leads.iter().map(|id| id - LEAD)
    }
}

// === impl Gaps ===

impl Gaps {
    pub(super) fn none() -> Gaps {
        Gaps {
            after_byte: Box::new([0; 256]),
            at_start: 0,
        }
    }

    /// Adds where an automaton may start whose matches stand behind one of these bytes.
    pub(super) fn add(&mut self, automaton: &Automaton, behind: &ByteSet) {
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
    use crate::scan::automaton::Reading;
    use crate::scan::candidate::{Candidate, Outcome};
    use crate::scan::leads::{After, Leads, stands_before};
    use crate::scan::view::View;
    use crate::scan::{RuleIndex, Scanner};

    /// Rules of every kind: told ahead, behind and by a byte; short ones, and such as end early.
    const RULES: [&str; 19] = [
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
        "regex = '[^b.]{1,4}(?i:b)[@.]'",
        "regex = '[^.]{6}\\.[ab]a'",
        "regex = '\\b[^. ]{1,6}\\.\\b'",
        "regex = '[a-z@ ]{1,8}\\.[^a]{4}' \n max_len = 10",
        "regex = '[^b]{3,4}(?i:b)a'",
        "regex = '[^.]{1,6}\\.b[a@]'",
        "regex = '[^@ ]{1,6}@(?:b|$)'",
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
        let others = texts.iter().rev().skip(7).step_by(3);
        let pairs: Vec<String> = texts
            .iter()
            .step_by(5)
            .zip(others)
            .map(|(a, b)| format!("{a}{b}"))
            .collect();
        let doubled: Vec<String> = texts.iter().map(|text| text.repeat(13)).collect();
        texts.extend(pairs);
        texts.extend(doubled.into_iter().step_by(11));
        texts
    }

    /// Does the rule's `after` stand before a place? Read backwards, whatever tells the rule.
    fn stands(after: Option<&Automaton>, view: &View<'_>, at: usize) -> bool {
        after.is_none_or(|after| stands_before(after, view, at))
    }

    /// The contract: wherever a rule is not refused, the walk names it, and in order; and a rule
    /// with a lead only where that stands.
    #[test]
    fn no_start_is_lost() {
        let scanner = scanner();
        let wide = &scanner.starts.wide;
        assert_eq!(
            (wide.rule_count(), wide.need_count()),
            (7, 4),
            "they are tested too"
        );
        let afters: Vec<Option<Automaton>> = scanner
            .rules()
            .iter()
            .map(|rule| {
                let after = rule.after.as_ref()?;
                Some(Automaton::compile(&after.hir, Reading::Backwards).expect("compiles"))
            })
            .collect();
        for text in texts() {
            for last in [true, false] {
                let view = View::new(&text, 0, last);
                let mut named = vec![Vec::new(); text.len()];
                let mut leads = Leads::default();
                let mut walk = scanner.walk(&view, 0, &mut leads);
                while let Some((at, rules)) = walk.next() {
                    assert!(rules.is_sorted(), "{rules:?}");
                    named[at] = rules.to_vec();
                }
                for (at, _) in text.char_indices() {
                    for (rule, compiled) in (0..).zip(&scanner.compiled) {
                        let (_, outcome) = Candidate::begin(compiled, rule, &view, at);
                        let stands = stands(afters[usize::from(rule)].as_ref(), &view, at);
                        let id = scanner.rule(RuleIndex(rule)).id();
                        let named = named[at].contains(&rule);
                        if outcome != Outcome::Failed && stands {
                            assert!(named, "{id} at {at} of {text:?}");
                        }
                        if let Some(After::Forwards(_)) = compiled.after {
                            assert!(stands || !named, "{id} at {at} of {text:?}");
                        }
                    }
                }
            }
        }
    }

    /// All that a walk names from a place on.
    fn named(scanner: &Scanner, view: &View<'_>, from: usize) -> Vec<(usize, Vec<u16>)> {
        let mut leads = Leads::default();
        let mut walk = scanner.walk(view, from, &mut leads);
        let mut all = Vec::new();
        while let Some((at, rules)) = walk.next() {
            all.push((at, rules.to_vec()));
        }
        all
    }

    /// A walk that leaves places out finds the same in what is left.
    #[test]
    fn seeking_loses_nothing_behind() {
        let scanner = scanner();
        let text = "ab@ a.é aaa@b ".repeat(40);
        let view = View::whole(&text);
        let all = named(&scanner, &view, 0);
        for stride in [1, 2, 63, 64, 65, 200] {
            let mut leads = Leads::default();
            let mut walk = scanner.walk(&view, 0, &mut leads);
            let mut from = 0;
            while let Some((at, rules)) = walk.next() {
                let expected = all.iter().find(|(start, _)| *start >= from);
                assert_eq!(Some(&(at, rules.to_vec())), expected);
                from = (at + stride).min(view.end());
                walk.seek(from);
            }
        }
    }

    /// What is due is known at any place that a walk begins at, whatever was walked before.
    #[test]
    fn leads_survive_cuts_and_steps_back() {
        let scanner = scanner();
        let text = "ab@ a.é aaa@b .aab@ ".repeat(20);
        let whole = View::whole(&text);
        let all = named(&scanner, &whole, 0);
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for step in [1, 2, 3, 7, 24, 100] {
            for back in [0, 1, 5, 130] {
                let mut leads = Leads::default();
                for cut in cuts.iter().step_by(step) {
                    let from = cut.saturating_sub(back);
                    let view = View::new(&text[..*cut], 0, false);
                    let mut walk = scanner.walk(&view, from, &mut leads);
                    let mut last = None;
                    while let Some((at, rules)) = walk.next() {
                        let expected = all.iter().find(|(start, _)| *start == at);
                        // More than in the whole may be possible, never less.
                        let expected = expected.map_or(&[][..], |(_, rules)| rules);
                        assert!(expected.iter().all(|rule| rules.contains(rule)), "{at}");
                        let lost = all.iter().any(|(start, _)| {
                            (last.map_or(from, |last| last + 1)..at).contains(start)
                        });
                        assert!(!lost, "before {at}, from {from} to {cut}");
                        last = Some(at);
                        if at % 5 == 4 {
                            break;
                        }
                    }
                    leads.close(from.saturating_sub(3));
                }
            }
        }
    }
}
