//! Rules that may begin with almost anything, and the byte that they cannot do without.
//!
//! An e-mail address begins like every word. What tells it is the `@`, at most 64 bytes later, and
//! that only certain bytes stand between. [`Need`] is that knowledge, read off the automaton, and
//! [`Windows`] turns it into the few places of a text where such a rule may start at all: within
//! the run of such bytes that ends at an `@`, or at the end of what is at hand, if more may come.

use super::automaton::{Automaton, DEAD};
use super::view::View;
use super::windows::classes;
use crate::prefilter::ByteSet;
use crate::prefilter::bytes::contains;

/// The most different needs that a scanner keeps apart; rules beyond are started wherever they
/// may begin.
const NEEDS_MAX: usize = 4;

/// The farthest that a needed byte may be from the start.
const WITHIN_MAX: usize = 256;

/// How many bytes are looked at one by one before the rest is searched.
const NEAR: usize = 4;

/// What every match of a rule has near its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    byte: u8,
    /// A match may begin with it.
    leads: bool,
    /// It stands at most so many bytes after the start.
    within: usize,
    /// What may stand before it.
    filler: ByteSet,
}

/// The needs of a scanner's wide rules.
#[derive(Debug, Default)]
pub(super) struct Needs(Vec<Need>);

/// Where in one view the wide rules may start; asked from left to right.
#[derive(Debug)]
pub(super) struct Windows {
    each: [Window; NEEDS_MAX],
}

/// Offsets in the view: from `first` on, before `end`.
#[derive(Clone, Copy, Debug)]
struct Window {
    first: usize,
    end: usize,
}

impl Window {
    /// Behind the end of every view.
    const NEVER: Window = Window {
        first: usize::MAX,
        end: usize::MAX,
    };
}

// === impl Need ===

impl Need {
    /// The byte that every match must have, the one that comes soonest.
    pub(super) fn of(automaton: &Automaton, max_len: usize) -> Option<Need> {
        let classes = classes(automaton);
        (b'!'..=b'~')
            .filter(|byte| !byte.is_ascii_alphanumeric())
            .filter_map(|byte| Need::on(automaton, &classes, byte))
            .filter(|need| need.within < max_len)
            .min_by_key(|need| need.within)
    }

    /// Walks the automaton without the byte: if no match is possible and every path comes to an
    /// end, all matches have the byte, and not later than the longest path is long.
    fn on(automaton: &Automaton, classes: &[(ByteSet, u8)], byte: u8) -> Option<Need> {
        let mut filler = [0; 4];
        let mut states = automaton.distinct_starts();
        let leads = |state: &u16| automaton.step(*state, byte).0 != DEAD;
        let leads = states.iter().any(leads);
        // Breadth first over sets of states: the path of any length that a loop allows shows as a
        // set that is never empty.
        for within in 0..=WITHIN_MAX {
            if states.is_empty() {
                return Some(Need {
                    byte,
                    leads,
                    within: within.saturating_sub(1),
                    filler,
                });
            }
            let mut following = Vec::new();
            for state in &states {
                for (class, read) in classes {
                    let only = contains(class, byte)
                        && class.iter().map(|w| w.count_ones()).sum::<u32>() == 1;
                    let (next, before) = automaton.step(*state, *read);
                    if before || (!only && automaton.accepts_at_end(next)) {
                        return None;
                    }
                    if !only && next != DEAD {
                        filler
                            .iter_mut()
                            .zip(class)
                            .for_each(|(set, bits)| *set |= bits);
                        following.push(next);
                    }
                }
            }
            following.sort_unstable();
            following.dedup();
            states = following;
        }
        None
    }
}

// === impl Needs ===

impl Needs {
    /// Takes a rule's need; false when there are too many.
    pub(super) fn add(&mut self, need: Need) -> bool {
        let known = self.0.iter_mut().find(|known| {
            (known.byte, known.leads) == (need.byte, need.leads) && known.filler == need.filler
        });
        if let Some(known) = known {
            known.within = known.within.max(need.within);
            return true;
        }
        let room = self.0.len() < NEEDS_MAX;
        if room {
            self.0.push(need);
        }
        room
    }

    /// The windows of a view, none of which has been looked for.
    #[inline]
    pub(super) fn windows(&self) -> Windows {
        let behind = Window { first: 0, end: 0 };
        Windows {
            each: [behind; NEEDS_MAX],
        }
    }
}

// === impl Windows ===

impl Windows {
    /// The first offset from this one on that lies in a window, or one far behind the end.
    /// Offsets must not go down.
    #[inline]
    pub(super) fn next(&mut self, needs: &Needs, view: &View<'_>, offset: usize) -> usize {
        let mut next = usize::MAX;
        for (window, need) in self.each.iter_mut().zip(&needs.0) {
            if offset >= window.end {
                *window = need.window(view, offset);
            }
            next = next.min(window.first.max(offset));
        }
        next
    }
}

impl Need {
    /// The first window that ends after the offset, or far behind the end.
    fn window(&self, view: &View<'_>, offset: usize) -> Window {
        let bytes = view.from(view.base());
        let skipped = offset + usize::from(!self.leads);
        let rest = bytes.get(skipped..).unwrap_or_default();
        // Where needed bytes are dense, calling the vectorised search costs more than it saves.
        let near = rest.iter().take(NEAR).position(|byte| *byte == self.byte);
        let found = near.or_else(|| memchr::memchr(self.byte, rest));
        let last = match found {
            Some(found) => skipped + found,
            None if view.is_last() => return Window::NEVER,
            None => bytes.len(),
        };
        let from = offset.max(last.saturating_sub(self.within));
        let run = bytes[from..last]
            .iter()
            .rev()
            .take_while(|byte| contains(&self.filler, **byte));
        Window {
            first: last - run.count(),
            end: last + usize::from(self.leads),
        }
    }
}
