//! Rules that may begin with almost anything: where they may start at all.
//!
//! Such a rule is told by what it needs further on ([`mod@super::need`]). Rules that need much the
//! same share a search. [`Windows`] goes over a text and names the few places where some of them
//! may start: so far before a needed byte as it may be, or before the end of what is at hand, if
//! more may come.

use super::automaton::Automaton;
use super::need::{Need, Window};
use super::starts::Gaps;
use super::view::View;
use crate::prefilter::ByteSet;

/// The most different needs that a scanner keeps apart, each of which is a search of its own over
/// the text; rules beyond are started wherever they may begin.
const NEEDS_MAX: usize = 4;

/// Behind every view.
const NOWHERE: usize = usize::MAX;

/// The wide rules of a scanner.
#[derive(Debug, Default)]
pub(super) struct Wide {
    needs: Vec<Needy>,
    /// By set of needs, a bit each: their rules, in order.
    rules: Vec<Vec<u16>>,
}

/// What some rules need.
#[derive(Debug)]
struct Needy {
    need: Need,
    gaps: Gaps,
    rules: Vec<u16>,
}

/// Where in one view the wide rules may start; asked from left to right.
#[derive(Debug)]
pub(super) struct Windows {
    each: [Place; NEEDS_MAX],
}

/// The next place of one need, and the window in which it lies.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    at: usize,
    window: Window,
}

// === impl Wide ===

impl Wide {
    /// Takes a rule that may start behind these bytes; false when there are too many needs.
    pub(super) fn add(
        &mut self,
        rule: u16,
        need: &Need,
        automaton: &Automaton,
        behind: &ByteSet,
    ) -> bool {
        let has_room = self.needs.len() < NEEDS_MAX;
        // To search once instead of twice is worth it where that makes no more starts.
        let known = self.needs.iter_mut().find_map(|known| {
            let merged = known.need.merge(need)?;
            let is_as_rare = merged.rate() <= known.need.rate() + need.rate();
            (is_as_rare || !has_room).then_some((known, merged))
        });
        let needy = match known {
            Some((known, merged)) => {
                known.need = merged;
                known
            }
            None if has_room => {
                self.needs.push(Needy {
                    need: need.clone(),
                    gaps: Gaps::none(),
                    rules: Vec::new(),
                });
                let last = self.needs.len() - 1;
                &mut self.needs[last]
            }
            None => return false,
        };
        needy.gaps.add(automaton, behind);
        needy.rules.push(rule);
        self.list();
        true
    }

    /// Lists the rules of every set of needs.
    fn list(&mut self) {
        let sets = 1..1_usize << self.needs.len();
        let rules = |set: usize| {
            let needs = self.needs.iter().enumerate();
            let needs = needs.filter(|(index, _)| set >> index & 1 != 0);
            let mut rules: Vec<u16> = needs.flat_map(|(_, needy)| &needy.rules).copied().collect();
            rules.sort_unstable();
            rules
        };
        self.rules = std::iter::once(Vec::new()).chain(sets.map(rules)).collect();
    }

    #[cfg(test)]
    pub(super) fn rule_count(&self) -> usize {
        self.needs.iter().map(|needy| needy.rules.len()).sum()
    }

    #[cfg(test)]
    pub(super) fn need_count(&self) -> usize {
        self.needs.len()
    }

    /// The windows of a view, none of which has been looked for.
    #[inline]
    pub(super) fn windows(&self) -> Windows {
        Windows {
            each: [Place::default(); NEEDS_MAX],
        }
    }
}

// === impl Windows ===

impl Windows {
    /// Looks for the first place at or behind this offset; offsets must not go down.
    #[inline]
    pub(super) fn seek(&mut self, wide: &Wide, view: &View<'_>, offset: usize) -> usize {
        let mut next = NOWHERE;
        for (place, needy) in self.each.iter_mut().zip(&wide.needs) {
            if place.at <= offset {
                place.seek(needy, view, offset);
            }
            next = next.min(place.at);
        }
        next
    }

    /// The rules that may start at the place that was found.
    #[inline]
    pub(super) fn rules<'s>(&self, wide: &'s Wide, at: usize) -> &'s [u16] {
        let places = self.each.iter().zip(&wide.needs).enumerate();
        let set = places.fold(0, |set, (index, (place, _))| {
            set | usize::from(place.at == at) << index
        });
        &wide.rules[set]
    }
}

// === impl Place ===

impl Place {
    fn seek(&mut self, needy: &Needy, view: &View<'_>, offset: usize) {
        let bytes = view.from(view.base());
        let mut offset = offset;
        loop {
            let window = &mut self.window;
            if offset >= window.end {
                match needy.need.window(view, offset.max(window.behind)) {
                    Some(next) => *window = next,
                    None => {
                        self.at = NOWHERE;
                        return;
                    }
                }
            }
            let mut places = offset.max(window.first)..window.end;
            if let Some(at) = places.find(|at| needy.gaps.allow(bytes, *at)) {
                self.at = at;
                return;
            }
            offset = window.end;
        }
    }
}
