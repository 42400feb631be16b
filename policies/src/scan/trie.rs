//! Many automata read side by side: which rules are left after the next few bytes?
//!
//! A [`Trie`] answers for all rules at the price of one: its nodes are sets of states of the
//! rules' automata, made breadth first at load until there are [`NODES_MAX`] of them. It reads
//! classes of bytes ([`mod@super::told`]), from every start at once, and stops where one rule is
//! left after [`ALONE_DEPTH`] bytes, or the nodes end: so it may leave a rule that the rule's own
//! automaton then refuses. A rule that has matched, or is as long as it may become, stays whatever
//! follows: none is lost. Where the text ends before the nodes do, only what may end there is left:
//! texts are often shorter than what a rule wants, and then no rule is tried.
//!
//! Breadth first ends after some six bytes when rules are hundreds. There a few ways are still
//! crowded: a number that goes on may be anything. So [`CROWD_NODES_MAX`] more nodes are made, each
//! where the most rules are left.

use std::collections::{BinaryHeap, HashMap};

use foldhash::fast::FixedState;

use super::automaton::DEAD;
use super::told::{Behind, CLASSES, Reader, Told, class_of};

/// The most nodes of which a byte is read; each takes 128 bytes.
const NODES_MAX: usize = 8192;

/// The most nodes that are made after these, where at least [`CROWD_RULES`] are left.
const CROWD_NODES_MAX: usize = 2048;
const CROWD_RULES: usize = 16;

/// The most nodes that are considered, and the most states of those that may come after.
const DRAFT_NODES_MAX: usize = LEAF as usize;
const CROWD_STATES_MAX: usize = 4 << 20;

/// The most lists of rules.
const LISTS_MAX: usize = LEAF as usize;

/// The most bytes that are read.
const DEPTH_MAX: usize = 16;

/// From so many bytes on no more are read where one rule is left.
const ALONE_DEPTH: usize = 8;

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

/// The states of a node, sorted: which automaton, and its state.
type States = Vec<(u16, u16)>;

/// A trie while it is being made.
struct Draft<'a> {
    automata: Vec<(u16, Reader<'a>)>,
    /// The states of the nodes, in the order of their numbers.
    nodes: Vec<States>,
    lists_of_nodes: Vec<u16>,
    /// By depth, the nodes by their states: how long a match is decides what comes of it.
    known: [HashMap<States, u16, FixedState>; DEPTH_MAX + 1],
    /// Nodes that are made if there is room: by how many rules are left, and at which depth.
    crowds: BinaryHeap<(usize, usize, u16)>,
    /// The states of all of these, also of those that were made.
    crowd_states: usize,
    lists: Vec<Box<[u16]>>,
    known_lists: HashMap<Box<[u16]>, u16, FixedState>,
}

// === impl Trie ===

impl Trie {
    /// Of automata that all read the same way.
    pub(super) fn new(automata: &[Told<'_>], behind: Behind) -> Trie {
        let mut draft = Draft::new(automata);
        let root = draft.root(behind);
        let mut rows = Vec::new();
        for depth in 1..=DEPTH_MAX {
            for node in rows.len()..draft.nodes.len().min(NODES_MAX) {
                rows.push((node as u16, draft.row(node, depth)));
            }
        }
        for _ in 0..CROWD_NODES_MAX {
            let Some((_, depth, node)) = draft.crowds.pop() else {
                break;
            };
            rows.push((node, draft.row(usize::from(node), depth + 1)));
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
            lists_of_nodes: Vec::new(),
            known: std::array::from_fn(|_| HashMap::default()),
            crowds: BinaryHeap::new(),
            crowd_states: 0,
            lists: Vec::new(),
            known_lists: HashMap::default(),
        };
        draft.list(&States::new(), 0);
        draft
    }

    fn root(&mut self, behind: Behind) -> u16 {
        let mut states = States::new();
        for (index, (_, reader)) in (0..).zip(&self.automata) {
            let starts = behind.starts(reader.automaton).into_iter();
            states.extend(starts.map(|state| (index, state)));
        }
        states.sort_unstable();
        self.entry(states, 0, NONE & !LEAF)
    }

    /// What stands for these states: a node, made if it is new and there is room, or a list.
    fn entry(&mut self, states: States, depth: usize, parent_list: u16) -> u16 {
        let Some(((first, _), others)) = states.split_first() else {
            return NONE;
        };
        // A single rule is told best by its own automaton, but not by starting it for a few bytes.
        let single = depth >= ALONE_DEPTH && others.iter().all(|(automaton, _)| automaton == first);
        let matched = states.iter().filter(|(_, state)| *state == MATCHED).count();
        let done = single || matched == states.len() || depth == DEPTH_MAX;
        if done || self.nodes.len() >= DRAFT_NODES_MAX {
            return self.list(&states, parent_list) | LEAF;
        }
        if let Some(entry) = self.known[depth].get(&states) {
            return *entry;
        }
        let list = self.list(&states, parent_list);
        if self.nodes.len() >= NODES_MAX {
            // What has matched stays however much is read.
            let rules = self.lists[usize::from(list)].len() - matched;
            self.crowd_states += states.len();
            if rules < CROWD_RULES || self.crowd_states > CROWD_STATES_MAX {
                return list | LEAF;
            }
            self.crowds.push((rules, depth, self.nodes.len() as u16));
        }
        let node = self.nodes.len() as u16;
        let mark = if matched > 0 { LEAF } else { 0 };
        self.lists_of_nodes.push(list | mark);
        self.known[depth].insert(states.clone(), node);
        self.nodes.push(states);
        node
    }

    /// The list of the rules of these states; when there is no room, of more rules than these.
    fn list(&mut self, states: &States, parent: u16) -> u16 {
        let rule = |(automaton, _): &(u16, u16)| self.automata[usize::from(*automaton)].0;
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

    /// Where each class of bytes leads from a node; `depth` is how many were read with it.
    fn row(&mut self, node: usize, depth: usize) -> [u16; CLASSES] {
        let mut following: [States; CLASSES] = std::array::from_fn(|_| States::new());
        for (index, state) in &self.nodes[node] {
            let (_, reader) = &self.automata[usize::from(*index)];
            if *state == MATCHED {
                let stays = |states: &mut States| states.push((*index, MATCHED));
                following.iter_mut().for_each(stays);
                continue;
            }
            for (class, byte) in &reader.bytes {
                let (next, before) = reader.automaton.step(*state, *byte);
                let longest = next != DEAD && depth >= reader.len_max;
                let matched = before || longest || reader.automaton.accepts(next);
                if next != DEAD || matched {
                    let next = if matched { MATCHED } else { next };
                    following[usize::from(*class)].push((*index, next));
                }
            }
        }
        let parent = self.lists_of_nodes[node] & !LEAF;
        let mut row = [NONE; CLASSES];
        for (entry, mut states) in row.iter_mut().zip(following) {
            states.sort_unstable();
            states.dedup();
            *entry = self.entry(states, depth, parent);
        }
        row
    }

    /// The list of the rules that may match if the text ends at this node.
    fn list_at_end(&mut self, node: u16) -> u16 {
        let node = usize::from(node);
        let may_end = |(index, state): &&(u16, u16)| {
            let (_, reader) = &self.automata[usize::from(*index)];
            *state == MATCHED || reader.automaton.accepts_at_end(*state)
        };
        let ending: States = self.nodes[node].iter().filter(may_end).copied().collect();
        self.list(&ending, self.lists_of_nodes[node] & !LEAF)
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
                .unwrap_or_else(|| self.lists_of_nodes[usize::from(entry)] | LEAF),
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
                .map(|(node, _)| self.lists_of_nodes[usize::from(*node)])
                .collect(),
            lists_at_end,
            lists: self.lists.into_boxed_slice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Pack, shipped};
    use crate::scan::automaton::{Automaton, Before};
    use crate::scan::candidate::Compiled;

    fn told((rule, compiled): (u16, &Compiled)) -> Told<'_> {
        Told {
            rule,
            automaton: &compiled.automaton,
            len_max: compiled.max_len,
        }
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

    /// Of hundreds of rules, so that there are more ways than nodes.
    #[test]
    fn numbers_lose_no_rule_but_most() {
        let parse = |(name, toml): &(&str, &str)| Pack::parse(name, toml).expect("parses").rules;
        let rules: Vec<_> = shipped().iter().flat_map(parse).collect();
        let compiled = |rule| Compiled::new(rule).expect("compiles");
        let compiled: Vec<Compiled> = rules.iter().map(compiled).collect();
        let told: Vec<Told<'_>> = (0..).zip(&compiled).map(told).collect();
        let trie = Trie::new(&told, Behind::Other);
        assert!(trie.next.len() > NODES_MAX, "crowds are made");
        let mut found = 0;
        for example in rules.iter().flat_map(|rule| &rule.matches) {
            for (at, _) in example.match_indices(|c: char| c.is_ascii_digit()) {
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
