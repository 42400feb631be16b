//! The places of a view at which rules may start, from left to right.
//!
//! Three sources are put in order: what the prefilter found, a batch of blocks at a time; where
//! wide rules may start; and the place where the text starts, which has no byte before it and so
//! no window.

use super::starts::Starts;
use super::view::View;
use super::wide::Windows;
use super::windows::BEFORE_BYTES;
use crate::prefilter::{BATCH_BLOCKS, BLOCK, Masks};

/// Behind every view.
const NOWHERE: usize = usize::MAX;

/// Goes over the places of a view at which rules may start.
#[derive(Debug)]
pub(crate) struct Walk<'s, 't> {
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
    /// The rules of the place that was found last, if they come from several sources.
    merged: Vec<u16>,
}

/// Whence the rules of a place come.
#[derive(Clone, Copy)]
enum Found<'s> {
    One(&'s [u16]),
    Merged,
}

// === impl Walk ===

impl<'s, 't> Walk<'s, 't> {
    #[inline]
    pub(super) fn new(starts: &'s Starts, view: &View<'t>, from: usize) -> Walk<'s, 't> {
        let offset = from - view.base();
        let bytes = view.from(view.base());
        let mut walk = Walk {
            starts,
            view: *view,
            bytes,
            masks: [0; BATCH_BLOCKS],
            next_mask: 0,
            masks_end: 0,
            block: offset,
            bits: 0,
            ahead: offset,
            windows: starts.needs.windows(),
            wide: NOWHERE,
            merged: Vec::new(),
        };
        walk.stand_at(offset);
        walk.find_wide(offset);
        walk
    }

    /// The next place at which rules may start, and which, in order; `None` when there is none in
    /// what is at hand.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(usize, &[u16])> {
        let (offset, found) = self.find()?;
        let rules = match found {
            Found::One(rules) => rules,
            Found::Merged => &self.merged,
        };
        Some((self.view.base() + offset, rules))
    }

    #[inline]
    fn find(&mut self) -> Option<(usize, Found<'s>)> {
        loop {
            let told = self.peek();
            let offset = told.min(self.wide);
            if offset == NOWHERE {
                return None;
            }
            let [ahead, behind] = match told == offset {
                true => {
                    self.bits &= self.bits - 1;
                    let more = !self.view.is_last();
                    self.starts.rules(self.bytes, offset, more)
                }
                false => [&[][..], &[]],
            };
            let mut wide: &[u16] = &[];
            if self.wide == offset {
                wide = &self.starts.wide;
                self.find_wide(offset + 1);
            }
            match [ahead, behind, wide] {
                [[], [], []] => {}
                [rules, [], []] | [[], rules, []] | [[], [], rules] => {
                    return Some((offset, Found::One(rules)));
                }
                sources => {
                    self.merged.clear();
                    self.merged.extend(sources.into_iter().flatten());
                    self.merged.sort_unstable();
                    return Some((offset, Found::Merged));
                }
            }
        }
    }

    /// Leaves out what is before `at`.
    #[inline]
    pub(crate) fn seek(&mut self, at: usize) {
        let offset = at - self.view.base();
        if self.wide < offset {
            self.find_wide(offset);
        }
        while offset >= self.ahead && self.next_mask < self.masks_end {
            self.next_block();
        }
        if offset >= self.ahead {
            self.stand_at(offset);
        } else if offset > self.block {
            self.bits &= match offset - self.block {
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

    /// The first place at or behind this offset where a wide rule may start.
    #[inline]
    fn find_wide(&mut self, from: usize) {
        let Starts {
            needs, wide_gaps, ..
        } = self.starts;
        let mut offset = from;
        loop {
            offset = self.windows.next(needs, &self.view, offset);
            if offset >= self.bytes.len() {
                self.wide = NOWHERE;
                return;
            }
            if wide_gaps.allow(self.bytes, offset) {
                self.wide = offset;
                return;
            }
            offset += 1;
        }
    }
}
