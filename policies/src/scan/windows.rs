//! A rule's beginnings as windows of the prefilter, read off its automaton.
//!
//! A window here is the byte before a start and the first bytes of a match. Bytes that lead an
//! automaton to the same state stand in one class; where they lead apart, each way gets a window
//! of its own, so that `sk-|pk_` does not admit `sk_`. A rule with many ways is told less
//! exactly: from some byte on all ways share one window.

use super::automaton::{Automaton, Before, DEAD};
use super::told::Told;
use crate::prefilter::bytes::{ALL, contains, insert};
use crate::prefilter::rarity::share;
use crate::prefilter::{ByteSet, WINDOW_BYTES, Window};

/// The most windows of one rule.
const WINDOWS_MAX: usize = 64;

/// How many bytes stand before a start in a window.
pub(super) const BEFORE_BYTES: usize = 1;

/// How many bytes of a window count where it is asked how common a beginning is: what stands side by
/// side is not independent, and more of them would make any word look rare.
const RATED_BYTES: usize = 6;

/// A walk over all ways in which a match may begin.
struct Explorer<'a> {
    told: &'a Told<'a>,
    /// By class of the automaton: its bytes, and one of them.
    classes: Vec<(ByteSet, u8)>,
    /// From this byte on ways are no longer told apart.
    apart: usize,
    windows: Vec<Window>,
}

/// The windows of a rule whose matches only begin behind a byte of `behind`.
///
/// They are wherever a match may start behind some byte; not where the text starts.
pub(super) fn of(told: &Told<'_>, behind: &ByteSet) -> Vec<Window> {
    let mut explorer = Explorer::new(told);
    for apart in (0..WINDOW_BYTES).rev() {
        explorer.apart = apart;
        explorer.windows.clear();
        for (start, before) in starts(told.automaton, behind) {
            let mut window = Window([ALL; WINDOW_BYTES]);
            window.0[0] = before;
            explorer.explore(&[start], 0, &window);
        }
        if explorer.windows.len() <= WINDOWS_MAX {
            break;
        }
    }
    explorer.windows
}

/// At how many places of ordinary text these windows may begin.
pub(super) fn rate(windows: &[Window]) -> f32 {
    let mut rated: Vec<&[ByteSet]> = windows
        .iter()
        .map(|window| &window.0[..RATED_BYTES])
        .collect();
    rated.sort_unstable();
    rated.dedup();
    let rates = rated
        .into_iter()
        .map(|classes| classes.iter().map(share).product::<f32>());
    rates.sum()
}

/// The states in which the automaton may start, with the bytes before that make it so.
fn starts(automaton: &Automaton, behind: &ByteSet) -> Vec<(u16, ByteSet)> {
    let mut starts: Vec<(u16, ByteSet)> = automaton
        .distinct_starts()
        .into_iter()
        .map(|state| (state, [0; 4]))
        .collect();
    for byte in (0..=255_u8).filter(|byte| contains(behind, *byte)) {
        let state = automaton.start(Before::from_byte(Some(byte)));
        for (_, set) in starts.iter_mut().filter(|(start, _)| *start == state) {
            insert(set, byte);
        }
    }
    starts.retain(|(_, set)| *set != [0; 4]);
    starts
}

/// By class of the automaton: its bytes, and one of them.
pub(super) fn classes(automaton: &Automaton) -> Vec<(ByteSet, u8)> {
    let mut classes: Vec<(ByteSet, u8)> = Vec::new();
    for byte in 0..=255_u8 {
        let class = usize::from(automaton.class_of(byte));
        if class >= classes.len() {
            classes.resize(class + 1, ([0; 4], byte));
        }
        classes[class].1 = byte;
        insert(&mut classes[class].0, byte);
    }
    classes
}

// === impl Explorer ===

impl<'a> Explorer<'a> {
    fn new(told: &'a Told<'a>) -> Explorer<'a> {
        Explorer {
            told,
            classes: classes(told.automaton),
            apart: WINDOW_BYTES,
            windows: Vec::new(),
        }
    }

    /// Completes the window of what was read on the way to these states.
    fn explore(&mut self, states: &[u16], read: usize, window: &Window) {
        let place = BEFORE_BYTES + read;
        if place == WINDOW_BYTES || self.windows.len() > WINDOWS_MAX {
            self.windows.push(window.clone());
            return;
        }
        let mut ways: Vec<(Vec<u16>, bool, ByteSet)> = Vec::new();
        for (class, byte) in &self.classes {
            let (next, ended) = self.steps(states, *byte, read + 1);
            if next.is_empty() && !ended {
                continue;
            }
            let apart = read < self.apart;
            let same = |way: &&mut (Vec<u16>, bool, ByteSet)| {
                !apart || way.1 == ended && (ended || way.0 == next)
            };
            match ways.iter_mut().find(same) {
                Some((states, some_ended, bytes)) => {
                    states.extend(next);
                    states.sort_unstable();
                    states.dedup();
                    *some_ended |= ended;
                    bytes
                        .iter_mut()
                        .zip(class)
                        .for_each(|(set, bits)| *set |= bits);
                }
                None => ways.push((next, ended, *class)),
            }
        }
        if ways.is_empty() {
            // A match that only the end of the text completes: no byte may stand here.
            let mut last = window.clone();
            last.0[place] = [0; 4];
            self.windows.push(last);
        }
        for (states, ended, bytes) in ways {
            let mut longer = window.clone();
            longer.0[place] = bytes;
            // Behind a match anything may follow.
            match ended {
                true => self.windows.push(longer),
                false => self.explore(&states, read + 1, &longer),
            }
        }
    }

    /// Where a byte leads, and whether a match ended with it or before it.
    fn steps(&self, states: &[u16], byte: u8, read: usize) -> (Vec<u16>, bool) {
        let mut following = Vec::new();
        let mut ended = false;
        for state in states {
            let (next, before) = self.told.automaton.step(*state, byte);
            let longest = next != DEAD && read >= self.told.len_max;
            ended |= before || longest || self.told.automaton.accepts(next);
            if next != DEAD {
                following.push(next);
            }
        }
        following.sort_unstable();
        following.dedup();
        (following, ended)
    }
}
