//! Many automata read side by side: which rules are left after the next few bytes?
//!
//! A [`Trie`] answers for all rules at the price of one: its nodes are sets of states of the
//! rules' automata, made breadth first at load until there are [`NODES_MAX`] of them. It reads
//! classes of bytes ([`mod@super::gate`]), from every start at once, and stops where a rule has
//! matched, is as long as it may become, or the nodes end: so it may leave a rule that the rule's
//! own automaton then refuses, and never loses one.

use std::collections::HashMap;

use super::automaton::DEAD;
use super::gate::{CLASSES, Reader, Told, class_of};

/// No more are made once there are so many nodes; each takes 128 bytes.
const NODES_MAX: usize = 4096;

/// The most bytes that are read.
const DEPTH_MAX: usize = 16;

/// Marks a node of which no bytes are read.
const LEAF: u16 = 0x8000;

/// The node of no rules.
const NONE: u16 = 0;

/// Rules by what a text begins with.
#[derive(Debug)]
pub(super) struct Trie {
    root: u16,
    /// The node after a class of bytes: row `node`, column class.
    next: Box<[u16]>,
    /// By node: the rules that are left, in order.
    rules: Box<[Box<[u16]>]>,
}

/// The states of a node: rule and state, sorted.
type States = Vec<(u16, u16)>;

/// A trie while it is being made.
struct Draft<'a> {
    automata: HashMap<u16, Reader<'a>>,
    numbers: HashMap<States, u16>,
    nodes: Vec<States>,
}

// === impl Trie ===

impl Trie {
    /// Of automata that all read the same way.
    pub(super) fn new(automata: &[Told<'_>]) -> Trie {
        let mut draft = Draft {
            automata: HashMap::new(),
            numbers: HashMap::new(),
            nodes: vec![States::new()],
        };
        let mut first = States::new();
        for told in automata {
            draft.automata.insert(told.rule, Reader::new(told));
            let starts = told.automaton.distinct_starts();
            first.extend(starts.into_iter().map(|state| (told.rule, state)));
        }
        first.sort_unstable();
        let accepts =
            |(rule, state): &(u16, u16)| draft.automata[rule].automaton.accepts_at_end(*state);
        let decided = first.iter().any(accepts);
        let root = draft.number(first, decided);
        let mut next = vec![NONE; CLASSES];
        let mut read = 1;
        for depth in 1..=DEPTH_MAX {
            // A node has one depth: how long a match is decides what comes of it.
            draft.numbers.clear();
            let level_end = draft.nodes.len();
            while read < level_end && draft.nodes.len() < NODES_MAX {
                next.extend(draft.row(read, depth));
                read += 1;
            }
        }
        // The last nodes that were made have no rows.
        for node in &mut next {
            if usize::from(*node & !LEAF) >= read {
                *node |= LEAF;
            }
        }
        let rules = draft.nodes.iter().map(|states| {
            let mut rules: Vec<u16> = states.iter().map(|(rule, _)| *rule).collect();
            rules.dedup();
            rules.into_boxed_slice()
        });
        Trie {
            root,
            rules: rules.collect(),
            next: next.into_boxed_slice(),
        }
    }

    /// The rules that are left after the bytes. Where the bytes end too early to tell, `more`
    /// decides: all that may be if more may come, else none, because none has matched.
    #[inline]
    pub(super) fn rules<'a>(&self, bytes: impl Iterator<Item = &'a u8>, more: bool) -> &[u16] {
        let mut node = self.root;
        for byte in bytes {
            if node & LEAF != 0 || node == NONE {
                break;
            }
            node = self.next[usize::from(node) << 6 | usize::from(class_of(*byte))];
        }
        match node & LEAF != 0 || more {
            true => &self.rules[usize::from(node & !LEAF)],
            false => &[],
        }
    }
}

// === impl Draft ===

impl Draft<'_> {
    /// The node of these states, made if it is new and there is room.
    fn number(&mut self, states: States, leaf: bool) -> u16 {
        if states.is_empty() {
            return NONE;
        }
        let mark = if leaf { LEAF } else { 0 };
        if let Some(number) = self.numbers.get(&states) {
            return number | mark;
        }
        let number = self.nodes.len() as u16;
        self.numbers.insert(states.clone(), number);
        self.nodes.push(states);
        number | mark
    }

    /// Where each class of bytes leads from a node; `depth` is how many were read with it.
    fn row(&mut self, node: usize, depth: usize) -> [u16; CLASSES] {
        let mut following: [States; CLASSES] = std::array::from_fn(|_| States::new());
        let mut decided = 0_u64;
        for (rule, state) in &self.nodes[node] {
            let Reader {
                automaton,
                len_max,
                bytes,
            } = &self.automata[rule];
            for (class, byte) in bytes {
                let (next, before) = automaton.step(*state, *byte);
                let longest = next != DEAD && depth >= *len_max;
                let ended = before || longest || automaton.accepts_at_end(next);
                if next != DEAD || ended {
                    following[usize::from(*class)].push((*rule, next));
                    decided |= u64::from(ended) << class;
                }
            }
        }
        let mut row = [NONE; CLASSES];
        for (class, mut states) in following.into_iter().enumerate() {
            states.sort_unstable();
            states.dedup();
            row[class] = self.number(states, decided >> class & 1 != 0);
        }
        row
    }
}
