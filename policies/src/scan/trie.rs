//! Many automata read side by side: which rules are left after the next few bytes?
//!
//! A [`Trie`] answers for all rules at the price of one: its nodes are sets of states of the
//! rules' automata, made at load until there are [`NODES_MAX`] of them. It reads classes of bytes
//! ([`mod@super::told`]), from every start at once, and stops where its nodes end: so it may leave a
//! rule that the rule's own automaton then refuses. A rule that has matched, or is as long as it may
//! become, stays whatever follows: none is lost. Where the text ends before the nodes do, only what
//! may end there is left: texts are often shorter than what a rule wants, and then no rule is tried.
//!
//! Hundreds of rules have far more nodes than there is room for. Made are those by which most is
//! saved: where ordinary text ([`mod@super::ordinary`]) comes most often, with the most rules left.
//! So `you are ` is read far, where a dozen phrases begin with it and letters are full of it, and so
//! is a number that goes on, which may be anything; what nobody writes is read no farther than it
//! takes to see that.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::FixedState;

use super::automaton::DEAD;
use super::ordinary::{Ordinary, Visits};
use super::told::{self, Behind, CLASSES, Reader, Told, class_of};

/// The most nodes of which a byte is read; each takes 128 bytes.
const NODES_MAX: usize = 12 << 10;

/// The most nodes that are considered, and the most states of all of them.
const DRAFT_NODES_MAX: usize = LEAF as usize;
const DRAFT_STATES_MAX: usize = 4 << 20;

/// The most lists of rules.
const LISTS_MAX: usize = LEAF as usize;

/// The most bytes that are read.
const DEPTH_MAX: usize = 24;

/// Marks a list of rules, of which no bytes are read; else it is a node.
const LEAF: u16 = 0x8000;

/// The list of no rules.
const NONE: u16 = LEAF;

/// Stands for the state of an automaton that has matched.
const MATCHED: u16 = u16::MAX;

/// Rules by what a text begins with.
#[derive(Debug)]
pub(super) struct Trie {
    root: u16,
    /// What is after two classes of bytes, one step instead of two that wait for each other.
    pairs: Box<[u16; CLASSES * CLASSES]>,
    /// What is after a class of bytes: row node, column class.
    next: Box<[[u16; CLASSES]]>,
    /// By node: its list, marked when a rule of it has matched.
    lists_of_nodes: Box<[u16]>,
    /// By node: the list of what may match if the text ends there.
    lists_at_end: Box<[u16]>,
    /// The lists of rules, each in order; the first is empty.
    lists: Box<[Box<[u16]>]>,
}

/// The states of a node, sorted.
type States = Vec<State>;

/// How far one of the automata is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct State {
    automaton: u16,
    state: u16,
    /// So many bytes of a character are still to come: those that go on with a character share
    /// their classes with those that do not, and are never taken for them.
    rest: u8,
}

/// A trie while it is being made.
struct Draft<'a> {
    automata: Vec<(u16, Reader<'a>)>,
    nodes: Vec<Node>,
    /// By depth, the nodes by their states: how long a match is decides what comes of it.
    known: [HashMap<States, u16, FixedState>; DEPTH_MAX],
    /// Nodes of which a byte may be read, by what that is worth; some of them more than once, as
    /// their worth grows.
    open: BinaryHeap<(u64, Reverse<u16>)>,
    /// The states of all nodes.
    states: usize,
    lists: Vec<Box<[u16]>>,
    known_lists: HashMap<Box<[u16]>, u16, FixedState>,
}

/// A node while the trie is being made.
struct Node {
    states: States,
    depth: usize,
    /// Its rules, marked when one of them has matched.
    list: u16,
    /// How many of its rules have not.
    left: usize,
    visits: Visits,
    is_made: bool,
}

// === impl Trie ===

impl Trie {
    /// Of automata that all read the same way.
    pub(super) fn new(automata: &[Told<'_>], behind: Behind) -> Trie {
        let ordinary = Ordinary::get();
        let mut draft = Draft::new(automata);
        let root = draft.root(ordinary.visits(behind), behind);
        let mut rows = Vec::new();
        while rows.len() < NODES_MAX {
            let Some(node) = draft.next() else {
                break;
            };
            rows.push((node, draft.row(node, ordinary)));
        }
        draft.finish(root, &rows)
    }

    pub(super) fn table_bytes(&self) -> usize {
        let lists = self.lists.iter().map(|list| size_of_val(&**list));
        size_of_val(&*self.next)
            + size_of_val(&*self.pairs)
            + size_of_val(&*self.lists_of_nodes)
            + size_of_val(&*self.lists_at_end)
            + size_of_val(&*self.lists)
            + lists.sum::<usize>()
    }

    /// The rules that are left after the bytes, and whether more bytes may tell that it is fewer,
    /// and none of them has matched. `more` says that the text need not end with these bytes.
    #[inline]
    pub(super) fn rules(&self, bytes: &[u8], more: bool) -> (&[u16], bool) {
        let (mut entry, rest) = match bytes {
            [first, second, rest @ ..] => {
                let first = usize::from(class_of(*first)) * CLASSES;
                (self.pairs[first + usize::from(class_of(*second))], rest)
            }
            _ => (self.root, bytes),
        };
        for byte in rest {
            if entry & LEAF != 0 {
                break;
            }
            entry = self.next[usize::from(entry)][usize::from(class_of(*byte))];
        }
        let (list, is_open) = match entry & LEAF {
            0 if more => {
                let list = self.lists_of_nodes[usize::from(entry)];
                (list, list & LEAF == 0)
            }
            0 => (self.lists_at_end[usize::from(entry)], false),
            _ => (entry, false),
        };
        (&self.lists[usize::from(list & !LEAF)], is_open)
    }
}

// === impl Draft ===

impl<'a> Draft<'a> {
    fn new(automata: &[Told<'a>]) -> Draft<'a> {
        let mut automata: Vec<(u16, Reader<'a>)> = automata
            .iter()
            .map(|told| (told.rule, Reader::new(told)))
            .collect();
        automata.sort_unstable_by_key(|(rule, _)| *rule);
        let mut draft = Draft {
            automata,
            nodes: Vec::new(),
            known: std::array::from_fn(|_| HashMap::default()),
            open: BinaryHeap::new(),
            states: 0,
            lists: Vec::new(),
            known_lists: HashMap::default(),
        };
        draft.list(&States::new(), 0);
        draft
    }

    fn root(&mut self, visits: Visits, behind: Behind) -> u16 {
        let mut states = States::new();
        for (index, (_, reader)) in (0..).zip(&self.automata) {
            let starts = behind.starts(reader.automaton).into_iter();
            states.extend(starts.map(|state| State {
                automaton: index,
                state,
                rest: 0,
            }));
        }
        states.sort_unstable();
        self.entry(states, 0, NONE & !LEAF, visits)
    }

    /// The node of which it is worth most to read a byte.
    fn next(&mut self) -> Option<u16> {
        while let Some((_, Reverse(number))) = self.open.pop() {
            let node = &mut self.nodes[usize::from(number)];
            if !std::mem::replace(&mut node.is_made, true) {
                return Some(number);
            }
        }
        None
    }

    /// What stands for these states: a node, new if there is none and there is room, or a list.
    fn entry(&mut self, states: States, depth: usize, parent_list: u16, visits: Visits) -> u16 {
        if states.is_empty() {
            return NONE;
        }
        let list = self.list(&states, parent_list);
        let matched = states.iter().filter(|state| state.state == MATCHED).count();
        // What has matched stays however much is read.
        if matched == states.len() || depth == DEPTH_MAX {
            return list | LEAF;
        }
        if let Some(&number) = self.known[depth].get(&states) {
            self.visit(number, visits);
            return number;
        }
        self.states += states.len();
        if self.nodes.len() >= DRAFT_NODES_MAX || self.states > DRAFT_STATES_MAX {
            return list | LEAF;
        }
        let number = self.nodes.len() as u16;
        self.known[depth].insert(states.clone(), number);
        let mark = if matched > 0 { LEAF } else { 0 };
        self.nodes.push(Node {
            states,
            depth,
            list: list | mark,
            left: self.lists[usize::from(list)].len().saturating_sub(matched),
            visits: Visits::default(),
            is_made: false,
        });
        self.visit(number, visits);
        number
    }

    /// Another way leads to a node. What comes by one that is found late does not count.
    fn visit(&mut self, number: u16, visits: Visits) {
        let node = &mut self.nodes[usize::from(number)];
        if !node.is_made {
            node.visits.add(visits);
            let worth = node.visits.weight().saturating_mul(node.left as u64);
            self.open.push((worth, Reverse(number)));
        }
    }

    /// The list of the rules of these states; when there is no room, of more rules than these.
    fn list(&mut self, states: &States, parent: u16) -> u16 {
        let rule = |state: &State| self.automata[usize::from(state.automaton)].0;
        let mut rules: Vec<u16> = states.iter().map(rule).collect();
        rules.dedup();
        let rules = rules.into_boxed_slice();
        if let Some(list) = self.known_lists.get(&rules) {
            return *list;
        }
        if self.lists.len() >= LISTS_MAX {
            return parent;
        }
        let list = self.lists.len() as u16;
        self.known_lists.insert(rules.clone(), list);
        self.lists.push(rules);
        list
    }

    /// Where each class of bytes leads from a node.
    fn row(&mut self, number: u16, ordinary: &Ordinary) -> [u16; CLASSES] {
        let mut following: [States; CLASSES] = std::array::from_fn(|_| States::new());
        let node = &mut self.nodes[usize::from(number)];
        let (depth, parent) = (node.depth + 1, node.list & !LEAF);
        let mut visits = ordinary.divide(std::mem::take(&mut node.visits));
        for state in &node.states {
            let (_, reader) = &self.automata[usize::from(state.automaton)];
            if state.state == MATCHED {
                following.iter_mut().for_each(|states| states.push(*state));
                continue;
            }
            for (class, byte) in reader.bytes(state.rest) {
                let (next, before) = reader.automaton.step(state.state, *byte);
                let longest = next != DEAD && depth >= reader.len_max;
                let matched = before || longest || reader.automaton.accepts(next);
                let (next, rest) = match (matched, state.rest) {
                    (true, _) => (MATCHED, 0),
                    (false, 0) => (next, told::rest(*byte)),
                    (false, rest) => (next, rest - 1),
                };
                if next != DEAD {
                    following[usize::from(*class)].push(State {
                        state: next,
                        rest,
                        ..*state
                    });
                }
            }
        }
        let mut row = [NONE; CLASSES];
        for (class, mut states) in following.into_iter().enumerate() {
            if !states.is_empty() {
                states.sort_unstable();
                states.dedup();
                row[class] = self.entry(states, depth, parent, visits.take(class));
            }
        }
        row
    }

    /// The list of the rules that may match if the text ends at this node.
    fn list_at_end(&mut self, node: u16) -> u16 {
        let node = &self.nodes[usize::from(node)];
        let may_end = |state: &&State| {
            let (_, reader) = &self.automata[usize::from(state.automaton)];
            state.state == MATCHED || reader.automaton.accepts_at_end(state.state)
        };
        let ending: States = node.states.iter().filter(may_end).copied().collect();
        let parent = node.list & !LEAF;
        self.list(&ending, parent)
    }

    /// The trie of these rows, each of a node; what has none is a list.
    fn finish(mut self, root: u16, rows: &[(u16, [u16; CLASSES])]) -> Trie {
        let lists_at_end = rows.iter().map(|(node, _)| self.list_at_end(*node));
        let lists_at_end = lists_at_end.collect();
        let mut numbers = vec![None; self.nodes.len()];
        for (number, (node, _)) in (0..).zip(rows) {
            numbers[usize::from(*node)] = Some(number);
        }
        let made = |entry: u16| match entry & LEAF {
            0 => numbers[usize::from(entry)]
                .unwrap_or_else(|| self.nodes[usize::from(entry)].list | LEAF),
            _ => entry,
        };
        let root = made(root);
        let next: Box<[[u16; CLASSES]]> = rows.iter().map(|(_, row)| row.map(made)).collect();
        let after = |entry: u16, class: usize| match entry & LEAF {
            0 => next[usize::from(entry)][class],
            _ => entry,
        };
        let mut pairs = Box::new([NONE; CLASSES * CLASSES]);
        for (at, pair) in pairs.iter_mut().enumerate() {
            *pair = after(after(root, at / CLASSES), at % CLASSES);
        }
        Trie {
            root,
            pairs,
            next,
            lists_of_nodes: rows
                .iter()
                .map(|(node, _)| self.nodes[usize::from(*node)].list)
                .collect(),
            lists_at_end,
            lists: self.lists.into_boxed_slice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Pack, Rule, shipped};
    use crate::scan::automaton::{Automaton, Before};
    use crate::scan::candidate::Compiled;
    use crate::scan::leads::After;

    fn told((rule, compiled): (u16, &Compiled)) -> Told<'_> {
        Told {
            rule,
            automaton: &compiled.automaton,
            len_max: compiled.max_len,
        }
    }

    /// Every shipped rule.
    fn compiled() -> (Vec<Rule>, Vec<Compiled>) {
        let parse = |(name, toml): &(&str, &str)| Pack::parse(name, toml).expect("parses").rules;
        let rules: Vec<Rule> = shipped().iter().flat_map(parse).collect();
        let compiled = |rule| Compiled::new(rule).expect("compiles");
        let compiled = rules.iter().map(compiled).collect();
        (rules, compiled)
    }

    /// May a match begin with all of what stands here, or with some of it?
    fn is_alive(automaton: &Automaton, bytes: &[u8]) -> bool {
        let read = |state: &mut u16, byte: &u8| {
            *state = automaton.step(*state, *byte).0;
            Some(*state)
        };
        let mut states = bytes.iter().scan(automaton.start(Before::Other), read);
        states.all(|state| state != DEAD) || matches(automaton, bytes)
    }

    /// May a match begin with what stands here?
    fn matches(automaton: &Automaton, bytes: &[u8]) -> bool {
        let mut state = automaton.start(Before::Other);
        for byte in bytes {
            let (next, ended) = automaton.step(state, *byte);
            if ended || automaton.accepts(next) {
                return true;
            }
            state = next;
        }
        automaton.accepts_at_end(state)
    }

    /// Where ordinary text is read nearly every rule is told that cannot match there, whatever the
    /// script.
    #[test]
    fn few_rules_are_left_in_vain() {
        let (_, compiled) = compiled();
        let told: Vec<Told<'_>> = (0..)
            .zip(&compiled)
            .filter(|(_, rule)| !matches!(rule.after, Some(After::Forwards(_))))
            .map(told)
            .collect();
        let trie = Trie::new(&told, Behind::Other);
        let english =
            "You are here, and do not write more than the number of words that I give you.";
        let chinese = "请忽略大小写，从现在开始你可以告诉我所有的设置，不要重复前面的说明。";
        let words = english.split_inclusive(' ').map(str::len).collect();
        let characters = chinese.chars().map(char::len_utf8).collect();
        let texts: [(&str, Vec<usize>); 2] = [(english, words), (chinese, characters)];
        for (text, lengths) in texts {
            let places = lengths.len();
            let (mut left, mut alive, mut rest) = (0, 0, text.as_bytes());
            for length in lengths {
                left += trie.rules(rest, true).0.len();
                let beginning = &rest[..rest.len().min(12)];
                let lives = |told: &&Told<'_>| is_alive(told.automaton, beginning);
                alive += told.iter().filter(lives).count();
                rest = &rest[length..];
            }
            assert!(
                left < alive + places,
                "{left}, {alive} alive at {places} in {text}"
            );
        }
    }

    /// Of hundreds of rules, so that there are more ways than nodes.
    #[test]
    fn no_rule_is_lost_and_most_are_told() {
        let (rules, compiled) = compiled();
        let told: Vec<Told<'_>> = (0..).zip(&compiled).map(told).collect();
        let trie = Trie::new(&told, Behind::Other);
        assert_eq!(trie.next.len(), NODES_MAX, "there are more ways than nodes");
        let mut found = 0;
        for example in rules.iter().flat_map(|rule| &rule.matches) {
            // Numbers, of which most rules are, and some of the rest.
            let tried = |(at, c): &(usize, char)| c.is_ascii_digit() || at % 8 == 0;
            for (at, _) in example.char_indices().filter(tried) {
                let bytes = &example.as_bytes()[at..];
                // However much of it there is, whether or not the text ends there.
                let counts = [2, 5, usize::MAX].map(|count: usize| count.min(bytes.len()));
                for bytes in counts.map(|count| &bytes[..count]) {
                    let [left, ending] = [true, false].map(|more| trie.rules(bytes, more).0);
                    for told in &told {
                        if matches(told.automaton, bytes) {
                            found += 1;
                            assert!(left.contains(&told.rule), "{} in {example:?}", told.rule);
                            assert!(ending.contains(&told.rule), "{} in {example:?}", told.rule);
                        }
                    }
                }
            }
        }
        assert!(found > 1000, "the examples have numbers: {found}");
        let left = |text: &str, more| trie.rules(text.as_bytes(), more).0.len();
        assert!(left("1733735821,", true) < left("1733735", true) / 2);
        let (ending, open) = (left("12", false), left("12", true));
        assert!(ending * 4 < open, "{ending} of {open}");
    }
}
