//! The places of a view at which rules may start, from left to right.
//!
//! Three sources are put in order: what the prefilter found, a batch of blocks at a time, and the
//! place where the text starts, which has no byte before it and so no window; where wide rules may
//! start; and where a lead ended. The walk finds the leads, too, on its way.

use super::Scanner;
use super::leads::Leads;
use super::starts::{Here, Starts};
use super::view::View;
use super::wide::Windows;
use super::windows::BEFORE_BYTES;
use crate::prefilter::{BATCH_BLOCKS, BLOCK, Masks};
use crate::rule::LOOK_BEHIND_BYTES_MAX;

/// Behind every view.
const NOWHERE: usize = usize::MAX;

/// Goes over the places of a view at which rules may start.
#[derive(Debug)]
pub(crate) struct Walk<'s, 't, 'l> {
    scanner: &'s Scanner,
    starts: &'s Starts,
    view: View<'t>,
    bytes: &'t [u8],
    /// What the prefilter said of the last batch.
    masks: Masks,
    /// The next mask to be looked at, and behind the last.
    next_mask: usize,
    masks_end: usize,
    /// Offset of the block that `bits` are about.
    block: usize,
    /// The places of the block that have not been looked at.
    bits: u64,
    /// Offset of the next block.
    ahead: usize,
    windows: Windows,
    /// The next place where a wide rule may start.
    wide: usize,
    leads: &'l mut Leads,
    /// The next of what is due, as an index of `leads`.
    next_due: usize,
    /// The next walk looks for the leads from a place that this one came to.
    leads_wait: bool,
    /// Offset before which no rule is asked for, only leads.
    from: usize,
}

/// Whence the rules of a place come.
#[derive(Clone, Copy)]
enum Found<'s> {
    One(&'s [u16]),
    Merged,
}

// === impl Walk ===

impl<'s, 't, 'l> Walk<'s, 't, 'l> {
    #[inline]
    pub(super) fn new(
        scanner: &'s Scanner,
        view: &View<'t>,
        from: usize,
        leads: &'l mut Leads,
    ) -> Walk<'s, 't, 'l> {
        let starts = &scanner.starts;
        let mut first = from;
        if starts.has_leads {
            leads.open(scanner, view, from);
            first = first.min(leads.read);
        }
        let mut walk = Walk {
            scanner,
            starts,
            view: *view,
            bytes: view.from(view.base()),
            masks: [0; BATCH_BLOCKS],
            next_mask: 0,
            masks_end: 0,
            block: 0,
            bits: 0,
            ahead: 0,
            windows: starts.wide.windows(),
            wide: NOWHERE,
            next_due: leads.index_from(from),
            leads,
            leads_wait: false,
            from: from - view.base(),
        };
        walk.stand_at(first - view.base());
        walk.find_wide(walk.from);
        walk
    }

    /// The next place at which rules may start, and which, in order; `None` when there is none in
    /// what is at hand.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(usize, &[u16])> {
        let (offset, found) = self.find()?;
        let rules = match found {
            Found::One(rules) => rules,
            Found::Merged => &self.leads.merged,
        };
        Some((self.view.base() + offset, rules))
    }

    #[inline]
    fn find(&mut self) -> Option<(usize, Found<'s>)> {
        loop {
            let told = self.peek();
            let due = self.due();
            let offset = told.min(self.wide).min(due);
            if offset == NOWHERE {
                if !self.leads_wait {
                    self.leads.read = self.leads.read.max(self.view.end());
                }
                return None;
            }
            let mut rules: &[u16] = &[];
            if told == offset {
                self.bits &= self.bits - 1;
                let here = self.starts.told(self.bytes, offset, !self.view.is_last());
                if self.starts.has_leads {
                    self.begin_leads(&here, offset);
                }
                if offset >= self.from {
                    rules = here.rules;
                }
            }
            let mut wide: &[u16] = &[];
            if self.wide == offset {
                wide = self.take_wide();
            }
            match (rules, wide) {
                _ if due == offset => {}
                ([], []) => continue,
                (rules, []) | ([], rules) => return Some((offset, Found::One(rules))),
                _ => {}
            }
            self.merge(rules, wide, due == offset);
            return Some((offset, Found::Merged));
        }
    }

    /// Reads the leads that may begin here, unless it has been done. Where the text at hand ends
    /// too early to tell them apart, they are left to the next walk: none is at its end yet.
    #[inline]
    fn begin_leads(&mut self, here: &Here<'_>, offset: usize) {
        let at = self.view.base() + offset;
        if at < self.leads.read || self.leads_wait {
            return;
        }
        self.leads_wait = here.is_open && !here.leads.is_empty();
        self.leads.read = at + usize::from(!self.leads_wait);
        if self.leads_wait || here.leads.is_empty() {
            return;
        }
        for rule in here.leads() {
            self.leads.begin(self.scanner, &self.view, rule, at);
        }
        let from = self.view.base() + self.from.max(offset);
        self.next_due = self.leads.index_from(from);
    }

    /// Offset of the next place where a rule is due.
    #[inline]
    fn due(&self) -> usize {
        let at = self.leads.due_at(self.next_due);
        // A place at the end of what is at hand waits for what comes.
        let at = at.filter(|at| *at < self.view.end());
        at.map_or(NOWHERE, |at| at - self.view.base())
    }

    fn merge(&mut self, rules: &[u16], wide: &[u16], due: bool) {
        let mut merged = std::mem::take(&mut self.leads.merged);
        merged.clear();
        merged.extend_from_slice(rules);
        merged.extend_from_slice(wide);
        if due {
            let told = merged.len();
            merged.extend(self.leads.due_together(self.next_due));
            self.next_due += merged.len() - told;
            if self.leads.drop_done(self.next_due) {
                self.next_due = 0;
            }
        }
        merged.sort_unstable();
        self.leads.merged = merged;
    }

    /// Leaves out what is before `at`.
    #[inline]
    pub(crate) fn seek(&mut self, at: usize) {
        let offset = at - self.view.base();
        self.from = self.from.max(offset);
        if self.wide < offset {
            self.find_wide(offset);
        }
        let mut needed = offset;
        if self.starts.has_leads {
            self.next_due = self.leads.index_from(at);
            needed = offset.saturating_sub(LOOK_BEHIND_BYTES_MAX);
        }
        while needed >= self.ahead && self.next_mask < self.masks_end {
            self.next_block();
        }
        if needed >= self.ahead {
            self.stand_at(needed);
        } else if needed > self.block {
            self.bits &= match needed - self.block {
                skipped @ ..BLOCK => u64::MAX << skipped,
                _ => 0,
            };
        }
    }

    /// The next offset that the prefilter names.
    #[inline]
    fn peek(&mut self) -> usize {
        while self.bits == 0 {
            if self.ahead >= self.bytes.len() {
                return NOWHERE;
            } else if self.next_mask == self.masks_end {
                self.next_batch();
            }
            self.next_block();
        }
        self.block + self.bits.trailing_zeros() as usize
    }

    #[inline]
    fn next_block(&mut self) {
        self.block = self.ahead;
        self.bits = self.masks[self.next_mask];
        let places = self.bytes.len() - self.ahead;
        if places < BLOCK {
            // A window that begins at the last byte is about a place behind it.
            self.bits &= (1 << places) - 1;
        }
        self.next_mask += 1;
        self.ahead += BLOCK;
    }

    #[inline]
    fn next_batch(&mut self) {
        let prefilter = &self.starts.prefilter;
        self.next_mask = 0;
        // The window of a place begins at the byte before it.
        self.masks_end = prefilter.masks(self.bytes, self.ahead - BEFORE_BYTES, &mut self.masks);
    }

    /// Nothing before this offset is of interest, and nothing behind it has been looked at.
    #[inline]
    fn stand_at(&mut self, offset: usize) {
        (self.next_mask, self.masks_end) = (0, 0);
        (self.block, self.bits, self.ahead) = (offset, 0, offset);
        if offset == 0 && !self.bytes.is_empty() {
            (self.bits, self.ahead) = (1, 1);
        }
    }

    /// The wide rules that may start at the next place of such, which is passed.
    ///
    /// Never inlined: it is rare, and what it does would take registers from the loop around it.
    #[inline(never)]
    fn take_wide(&mut self) -> &'s [u16] {
        let rules = self.windows.rules(&self.starts.wide, self.wide);
        self.find_wide(self.wide + 1);
        rules
    }

    /// The first place at or behind this offset where a wide rule may start.
    #[inline(never)]
    fn find_wide(&mut self, from: usize) {
        self.wide = self.windows.seek(&self.starts.wide, &self.view, from);
    }
}
