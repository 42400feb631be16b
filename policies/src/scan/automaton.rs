//! One rule's expression as a table: the state of a candidate is two bytes.
//!
//! The table is made from `regex_automata`'s dense DFA, of which we keep only what a streaming
//! scanner asks for, computed once at load:
//!
//! - the match that ends *before* a byte (that automaton reports a match one byte late, because an
//!   assertion such as `\b` needs the byte after) is a bit of the transition;
//! - a match that is certain whatever comes next is a flag of the state, so that a value whose end
//!   needs no look-ahead is decided at once and nothing is held for it;
//! - a state that can never match again is the dead state, so that being alive means that a match
//!   is really possible: the promise to hold back nothing else rests on this.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use regex_automata::dfa::Automaton as _;
use regex_automata::dfa::dense;
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

/// The most memory that the finished table of one expression may take.
pub(crate) const TABLE_BYTES_MAX: usize = 512 << 10;

/// The most memory that making it may take, before the states are trimmed and halved.
const DETERMINIZE_BYTES_MAX: usize = 8 << 20;

/// The most memory that the sets of states may take of which its states are made: a step goes through a
/// set for each class of bytes, so this bounds the time that making it takes.
const SETS_BYTES_MAX: usize = 1 << 20;

/// The most memory of the table while it is made, before bytes that turn out to do the same share
/// a column.
const DRAFT_BYTES_MAX: usize = 4 << 20;

/// The state from which no match is possible.
pub(crate) const DEAD: u16 = 0;

/// Marks a transition before whose byte a match ended.
const BEFORE: u16 = 0x8000;

/// A match ends here, whatever follows.
const ACCEPTS: u8 = 1;
/// A match ends here if the text does.
const ACCEPTS_AT_END: u8 = 2;
/// A match longer than any that ends here is possible.
const GROWS: u8 = 4;

/// How many bytes of ordinary text may lead elsewhere where nearly any goes on.
const OTHER_TEXT_BYTES_MAX: usize = 16;

/// What stood before the first byte, as far as an assertion can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    TextStart,
    LineFeed,
    CarriageReturn,
    Word,
    Other,
}

/// Which way an automaton reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reading {
    /// Forwards from a fixed start.
    Anchored,
    /// Forwards, the match may start anywhere: the first accepting state ends a region.
    Anywhere,
    /// Backwards from a fixed end: for what must stand before a match.
    Backwards,
}

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Automaton {
    classes: Box<[u8; 256]>,
    /// The row of state `s` begins at `s << stride_bits`.
    stride_bits: u32,
    table: Box<[u16]>,
    flags: Box<[u8]>,
    starts: [u16; 5],
}

// === impl Before ===

impl Before {
    pub(crate) const ALL: [Before; 5] = [
        Before::TextStart,
        Before::LineFeed,
        Before::CarriageReturn,
        Before::Word,
        Before::Other,
    ];

    #[inline]
    pub(crate) fn from_byte(byte: Option<u8>) -> Before {
        match byte {
            None => Before::TextStart,
            Some(b'\n') => Before::LineFeed,
            Some(b'\r') => Before::CarriageReturn,
            Some(b) if b.is_ascii_alphanumeric() || b == b'_' => Before::Word,
            Some(_) => Before::Other,
        }
    }

    fn sample(self) -> Option<u8> {
        match self {
            Before::TextStart => None,
            Before::LineFeed => Some(b'\n'),
            Before::CarriageReturn => Some(b'\r'),
            Before::Word => Some(b'a'),
            Before::Other => Some(b' '),
        }
    }
}

// === impl Automaton ===

impl Automaton {
    pub(crate) fn compile(hir: &Hir, reading: Reading) -> Result<Automaton, String> {
        let nfa = thompson::Compiler::new()
            .configure(
                thompson::Config::new()
                    .which_captures(thompson::WhichCaptures::None)
                    .reverse(reading == Reading::Backwards)
                    .nfa_size_limit(Some(DETERMINIZE_BYTES_MAX)),
            )
            .build_from_hir(hir)
            .map_err(|error| format!("it is too big: {error}"))?;
        let dfa = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .match_kind(MatchKind::All)
                    .start_kind(match reading {
                        Reading::Anywhere => regex_automata::dfa::StartKind::Unanchored,
                        _ => regex_automata::dfa::StartKind::Anchored,
                    })
                    .accelerate(false)
                    .dfa_size_limit(Some(DETERMINIZE_BYTES_MAX))
                    .determinize_size_limit(Some(SETS_BYTES_MAX)),
            )
            .build_from_nfa(&nfa)
            .map_err(|_| too_costly(None))?;
        Draft::new(&dfa, reading)?.finish()
    }

    /// Memory of the table in bytes: what the rule costs.
    pub(crate) fn table_bytes(&self) -> usize {
        self.table.len() * size_of::<u16>()
    }

    #[inline]
    pub(crate) fn start(&self, before: Before) -> u16 {
        self.starts[before as usize]
    }

    /// The states in which it may start, each once; without the dead one.
    pub(crate) fn distinct_starts(&self) -> Vec<u16> {
        let mut starts: Vec<u16> = self.starts.to_vec();
        starts.sort_unstable();
        starts.dedup();
        starts.retain(|start| *start != DEAD);
        starts
    }

    /// The class of a byte: bytes of one class lead to the same state everywhere.
    pub(crate) fn class_of(&self, byte: u8) -> u8 {
        self.classes[usize::from(byte)]
    }

    /// The next state, and whether a match ended before `byte`.
    #[inline]
    pub(crate) fn step(&self, state: u16, byte: u8) -> (u16, bool) {
        let class = usize::from(self.classes[usize::from(byte)]);
        let entry = self.table[(usize::from(state) << self.stride_bits) + class];
        (entry & !BEFORE, entry & BEFORE != 0)
    }

    /// Does a match end at this state, whatever follows?
    #[inline]
    pub(crate) fn accepts(&self, state: u16) -> bool {
        self.flags[usize::from(state)] & ACCEPTS != 0
    }

    /// Does a match end at this state if the text does?
    #[inline]
    pub(crate) fn accepts_at_end(&self, state: u16) -> bool {
        self.flags[usize::from(state)] & (ACCEPTS | ACCEPTS_AT_END) != 0
    }

    /// Can a match still end after at least one more byte?
    #[inline]
    pub(crate) fn grows(&self, state: u16) -> bool {
        self.flags[usize::from(state)] & GROWS != 0
    }

    /// Can ordinary text go on for ever, nearly whatever it says, while no match ends in it?
    /// `decided` says that an end counts by itself, whatever stands behind it.
    pub(crate) fn waits_in_any_text(&self, decided: bool) -> bool {
        let text: Vec<u8> = (b' '..=b'~').chain([b'\n']).collect();
        let mut weights = [0_usize; 256];
        for byte in &text {
            weights[usize::from(self.class_of(*byte))] += 1;
        }
        let sample = |class: u8| text.iter().find(|byte| self.class_of(**byte) == class);
        // One byte for each class that has any, with how many bytes of text it stands for.
        let classes: Vec<(u8, usize)> = (0..=u8::MAX)
            .filter_map(|class| Some((*sample(class)?, weights[usize::from(class)])))
            .collect();
        let ends = |state: u16| {
            let ended = |(byte, _): &(u8, usize)| self.step(state, *byte).1;
            decided && (self.accepts_at_end(state) || classes.iter().any(ended))
        };
        let count = self.flags.len() as u16;
        let mut waits: Vec<bool> = (0..count).map(|at| at != DEAD && !ends(at)).collect();
        // What leads out of the waiting states is taken away until nothing does.
        let mut changed = true;
        while changed {
            changed = false;
            for state in (0..count).rev().filter(|at| *at != DEAD) {
                if !waits[usize::from(state)] {
                    continue;
                }
                let stays = |byte: u8| waits[usize::from(self.step(state, byte).0)];
                let kept = classes.iter().filter(|(byte, _)| stays(*byte));
                let kept: usize = kept.map(|(_, weight)| weight).sum();
                if !stays(b' ') || kept + OTHER_TEXT_BYTES_MAX < text.len() {
                    waits[usize::from(state)] = false;
                    changed = true;
                }
            }
        }
        waits.contains(&true)
    }
}

/// The table while it is being made: states in order of discovery, the dead state first.
struct Draft {
    classes: Box<[u8; 256]>,
    class_count: usize,
    stride_bits: u32,
    table: Vec<u16>,
    flags: Vec<u8>,
    starts: [u16; 5],
}

// === impl Draft ===

impl Draft {
    fn new(dfa: &dense::DFA<Vec<u32>>, reading: Reading) -> Result<Draft, String> {
        let mut classes = Box::new([0_u8; 256]);
        for byte in 0..=255_u8 {
            classes[usize::from(byte)] = dfa.byte_classes().get(byte);
        }
        // One of the alphabet's symbols is the end of the text, which is a flag here.
        let class_count = dfa.byte_classes().alphabet_len() - 1;
        let stride_bits = class_count.next_power_of_two().trailing_zeros();
        let mut representatives = vec![0_u8; class_count];
        for byte in (0..=255_u8).rev() {
            representatives[usize::from(classes[usize::from(byte)])] = byte;
        }
        let mut draft = Draft {
            classes,
            class_count,
            stride_bits,
            table: Vec::new(),
            flags: Vec::new(),
            starts: [DEAD; 5],
        };
        draft.discover(dfa, reading, &representatives)?;
        Ok(draft)
    }

    /// Breadth first over every state that a start reaches.
    fn discover(
        &mut self,
        dfa: &dense::DFA<Vec<u32>>,
        reading: Reading,
        representatives: &[u8],
    ) -> Result<(), String> {
        let anchored = match reading {
            Reading::Anywhere => Anchored::No,
            Reading::Anchored | Reading::Backwards => Anchored::Yes,
        };
        let mut numbers = HashMap::with_hasher(FixedState::default());
        let mut queue: Vec<StateID> = Vec::new();
        // The dead state has a row of zeros and number 0.
        self.table.resize(1 << self.stride_bits, DEAD);
        self.flags.push(0);
        queue.push(StateID::ZERO);
        let mut number = |queue: &mut Vec<StateID>, id: StateID| -> u16 {
            if dfa.is_dead_state(id) || dfa.is_quit_state(id) {
                return DEAD;
            }
            *numbers.entry(id).or_insert_with(|| {
                queue.push(id);
                // The bound on the table keeps this far below the transition's mark bit.
                (queue.len() - 1) as u16
            })
        };
        for before in Before::ALL {
            let config = start::Config::new()
                .look_behind(before.sample())
                .anchored(anchored);
            let id = dfa
                .start_state(&config)
                .map_err(|error| error.to_string())?;
            self.starts[before as usize] = number(&mut queue, id);
        }
        let mut done = 1;
        while done < queue.len() {
            let id = queue[done];
            let row = done << self.stride_bits;
            self.table.resize(row + (1 << self.stride_bits), DEAD);
            let bytes = self.table.len() * size_of::<u16>();
            if bytes > DRAFT_BYTES_MAX || queue.len() >= usize::from(BEFORE) {
                return Err(too_costly(Some(bytes)));
            }
            let mut always = true;
            for (class, byte) in representatives.iter().enumerate() {
                let next = dfa.next_state(id, *byte);
                let ended = dfa.is_match_state(next);
                always &= ended;
                let mark = if ended { BEFORE } else { 0 };
                self.table[row + class] = number(&mut queue, next) | mark;
            }
            let at_end = dfa.is_match_state(dfa.next_eoi_state(id));
            self.flags.push(match (always, at_end) {
                (true, true) => ACCEPTS,
                (_, true) => ACCEPTS_AT_END,
                (_, false) => 0,
            });
            done += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Automaton, String> {
        self.mark_growing();
        let dead: Vec<bool> = (0..self.flags.len())
            .map(|state| !self.is_alive(state))
            .collect();
        for entry in &mut self.table {
            if dead[usize::from(*entry & !BEFORE)] {
                *entry = (*entry & BEFORE) | DEAD;
            }
        }
        for start in &mut self.starts {
            if dead[usize::from(*start)] {
                *start = DEAD;
            }
        }
        self.merge_classes();
        let bytes = self.table.len() * size_of::<u16>();
        if bytes > TABLE_BYTES_MAX {
            return Err(too_costly(Some(bytes)));
        }
        Ok(Automaton {
            classes: self.classes,
            stride_bits: self.stride_bits,
            table: self.table.into_boxed_slice(),
            flags: self.flags.into_boxed_slice(),
            starts: self.starts,
        })
    }

    /// Gives bytes that lead to the same state everywhere one column. The classes that the table
    /// was made with tell more bytes apart than that: those between which any part of the
    /// expression does, whether or not it matters.
    fn merge_classes(&mut self) {
        let states = self.flags.len();
        let column = |class: usize| -> Vec<u16> {
            let entry = |state| self.table[(state << self.stride_bits) + class];
            (0..states).map(entry).collect()
        };
        let mut numbers = HashMap::with_hasher(FixedState::default());
        let mut kept = Vec::new();
        let mut merged = vec![0_u8; self.class_count];
        for (class, number) in merged.iter_mut().enumerate() {
            *number = *numbers.entry(column(class)).or_insert_with(|| {
                kept.push(class);
                // There are at most 256 classes to begin with.
                (kept.len() - 1) as u8
            });
        }
        if kept.len() == self.class_count {
            return;
        }
        let stride_bits = kept.len().next_power_of_two().trailing_zeros();
        let mut table = vec![DEAD; states << stride_bits];
        for (number, class) in kept.iter().enumerate() {
            for state in 0..states {
                table[(state << stride_bits) + number] =
                    self.table[(state << self.stride_bits) + class];
            }
        }
        for class in self.classes.iter_mut() {
            *class = merged[usize::from(*class)];
        }
        self.table = table;
        self.class_count = kept.len();
        self.stride_bits = stride_bits;
    }

    /// Flags every state from which a match can end after one more byte: a fixed point, reached
    /// in few rounds because states are numbered in order of discovery.
    fn mark_growing(&mut self) {
        let matching: Vec<bool> = (0..self.flags.len())
            .map(|state| self.can_match(state))
            .collect();
        loop {
            let mut changed = false;
            for state in (1..self.flags.len()).rev() {
                if self.flags[state] & GROWS != 0 {
                    continue;
                }
                let grows = self.row(state).iter().any(|entry| {
                    let next = usize::from(entry & !BEFORE);
                    matching[next] || self.flags[next] & GROWS != 0
                });
                if grows {
                    self.flags[state] |= GROWS;
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn row(&self, state: usize) -> &[u16] {
        let start = state << self.stride_bits;
        &self.table[start..start + self.class_count]
    }

    /// Can a match end exactly here, for some continuation or for none?
    fn can_match(&self, state: usize) -> bool {
        self.flags[state] & (ACCEPTS | ACCEPTS_AT_END) != 0
            || self.row(state).iter().any(|entry| entry & BEFORE != 0)
    }

    fn is_alive(&self, state: usize) -> bool {
        self.flags[state] & GROWS != 0 || self.can_match(state)
    }
}

fn too_costly(bytes: Option<usize>) -> String {
    let cost = match bytes {
        Some(bytes) => format!("more than {} KiB", bytes >> 10),
        None => format!("more than {} MiB to build", DETERMINIZE_BYTES_MAX >> 20),
    };
    format!(
        "its automaton takes {cost} where {} KiB are allowed: shorten the repetitions, or make \
         what they repeat and what follows them differ",
        TABLE_BYTES_MAX >> 10
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn automaton(pattern: &str) -> Automaton {
        let hir = regex_syntax::Parser::new().parse(pattern).expect("parses");
        Automaton::compile(&hir, Reading::Anchored).expect("compiles")
    }

    fn run(automaton: &Automaton, text: &str) -> u16 {
        text.bytes()
            .fold(automaton.start(Before::Other), |state, byte| {
                automaton.step(state, byte).0
            })
    }

    #[test]
    fn a_fixed_end_is_decided_at_once() {
        let dfa = automaton("ab{2}");
        let end = run(&dfa, "abb");
        assert!(dfa.accepts(end) && !dfa.grows(end));
        assert!(dfa.grows(run(&dfa, "ab")) && !dfa.accepts_at_end(run(&dfa, "ab")));
        assert_eq!(run(&dfa, "ac"), DEAD);
    }

    #[test]
    fn a_boundary_waits_for_the_next_byte() {
        let dfa = automaton(r"ab(?-u:\b)");
        let end = run(&dfa, "ab");
        assert!(!dfa.accepts(end) && dfa.accepts_at_end(end) && !dfa.grows(end));
        assert_eq!(dfa.step(end, b' '), (DEAD, true));
        assert_eq!(dfa.step(end, b'c'), (DEAD, false));
    }

    #[test]
    fn a_start_knows_what_stood_before() {
        let dfa = automaton(r"(?-u:\b)ab");
        assert_eq!(dfa.step(dfa.start(Before::Word), b'a').0, DEAD);
        assert_ne!(dfa.step(dfa.start(Before::Other), b'a').0, DEAD);
        assert_ne!(dfa.step(dfa.start(Before::TextStart), b'a').0, DEAD);
    }

    #[test]
    fn a_state_that_cannot_match_is_dead() {
        // After `a`, the boundary before `b` can never hold.
        assert_eq!(run(&automaton(r"a(?-u:\b)b|ac"), "ab"), DEAD);
    }

    #[test]
    fn bytes_that_do_the_same_share_a_column() {
        // Written as three parts, and no state tells one from another.
        let dfa = automaton("(?:[a-c]|[b-d]){3}");
        assert_eq!(1 << dfa.stride_bits, 2, "the letters, and all others");
        assert_eq!(dfa.class_of(b'a'), dfa.class_of(b'd'));
        assert_ne!(dfa.class_of(b'a'), dfa.class_of(b'e'));
    }

    #[test]
    fn a_costly_expression_is_refused_with_its_cost() {
        let hir = regex_syntax::Parser::new()
            .parse("[ab]*a[ab]{14}c")
            .expect("parses");
        let error = Automaton::compile(&hir, Reading::Anchored).expect_err("is exponential");
        assert!(error.contains("KiB"), "{error}");
    }
}
