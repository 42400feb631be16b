//! A text that comes in pieces, masked as it comes.

use super::{MaskKey, Plan, Writer};
use crate::lane::blob::RunMeter;
use crate::scan::effort::Effort;
use crate::scan::lanes::Lanes;
use crate::scan::view::View;
use crate::scan::{Match, Scanner};

/// A longer delta is read in pieces of this size, so that its length never sizes the buffer.
const PIECE_BYTES_MAX: usize = 4096;

/// How much text that is not needed any more gathers before it is moved out: moving at every
/// event would cost more than the event.
const TRIM_BYTES_MIN: usize = 512;

/// The streaming state of one text channel: a choice's content, a tool call's arguments.
///
/// Invariants, with `received` the length of the text so far, all in bytes of that text: `text` is
/// `T[base..received]`, `base` and `sent` are at most `received`, and what was written so far is
/// M(T) of `T[..sent]` in any continuation. Of the text that waits for more, at most
/// [`MATCH_BYTES_MAX`](crate::rule::MATCH_BYTES_MAX) bytes are held; what is certain to be replaced
/// is not held but dropped as it comes.
///
/// Every call must be given the scanner and the plan of the first one.
#[derive(Debug, Default)]
pub struct Channel {
    text: String,
    base: usize,
    sent: usize,
    lanes: Lanes,
    /// What guards on runs have measured of this text; theirs alone.
    pub(crate) meters: Vec<RunMeter>,
}

// === impl Channel ===

impl Channel {
    /// A channel of which no text has come.
    pub fn new() -> Channel {
        Channel::default()
    }

    /// Takes the next piece and appends to `out` what may be sent now.
    pub fn push(
        &mut self,
        scanner: &Scanner,
        plan: &Plan,
        key: &MaskKey,
        delta: &str,
        on_match: &mut dyn FnMut(Match),
        out: &mut String,
    ) {
        let mut rest = delta;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES_MAX));
            self.text.push_str(piece);
            self.read(scanner, plan, key, false, on_match, out);
            rest = after;
        }
    }

    /// The text has ended: appends the rest. All that was appended is then `mask_text` of the
    /// whole, unless [`Channel::expire`] had to step in.
    pub fn finish(
        &mut self,
        scanner: &Scanner,
        plan: &Plan,
        key: &MaskKey,
        on_match: &mut dyn FnMut(Match),
        out: &mut String,
    ) {
        self.read(scanner, plan, key, true, on_match, out);
    }

    /// The bound on the time of holding is reached: what is held is masked, not released, under
    /// the first rule that could still match; and what follows is swallowed for as long as any
    /// rule that was alive in it goes on. Does nothing when nothing is held.
    pub fn expire(
        &mut self,
        scanner: &Scanner,
        plan: &Plan,
        key: &MaskKey,
        on_match: &mut dyn FnMut(Match),
        out: &mut String,
    ) {
        let view = View::new(&self.text, self.base, false);
        let sent = &mut self.sent;
        let mut writer = Writer {
            scanner,
            plan,
            key,
            on_match,
            out,
            sent,
        };
        self.lanes
            .cursor
            .force(scanner, &plan.mask, &view, &mut writer);
        self.sent = self.lanes.cursor.held_from().max(self.sent);
        self.trim(plan);
    }

    /// What was spent on this text, and may be.
    pub(crate) fn effort(&mut self) -> &mut Effort {
        &mut self.lanes.effort
    }

    /// Bytes of text that came and are neither sent nor certain to be replaced: what waits for
    /// more.
    pub fn held_bytes(&self) -> usize {
        self.received_bytes() - self.sent.max(self.lanes.cursor.needs_from())
    }

    /// How many bytes of the text are done with: every byte below has been sent or replaced.
    pub fn watermark(&self) -> usize {
        self.sent
    }

    /// How many bytes of text have come.
    pub fn received_bytes(&self) -> usize {
        self.base + self.text.len()
    }

    fn read(
        &mut self,
        scanner: &Scanner,
        plan: &Plan,
        key: &MaskKey,
        last: bool,
        on_match: &mut dyn FnMut(Match),
        out: &mut String,
    ) {
        let view = View::new(&self.text, self.base, last);
        let sent = &mut self.sent;
        let mut writer = Writer {
            scanner,
            plan,
            key,
            on_match,
            out: &mut *out,
            sent: &mut *sent,
        };
        self.lanes
            .advance(scanner, &plan.mask, &plan.watch, &view, &mut writer);
        let cursor = &self.lanes.cursor;
        let held_from = match plan.mask.is_empty() {
            true => view.end(),
            false => cursor.held_from(),
        };
        if *sent < held_from {
            if !cursor.is_replaced() {
                out.push_str(view.slice(*sent, held_from));
            }
            *sent = held_from;
        }
        self.trim(plan);
    }

    /// Lets go of text that nothing needs any more.
    fn trim(&mut self, plan: &Plan) {
        let mut needed = self.received_bytes();
        if !plan.mask.is_empty() {
            needed = needed.min(self.lanes.cursor.needs_from());
        }
        if !plan.watch.is_empty() {
            needed = needed.min(self.lanes.watcher.needs_from());
        }
        let removable = needed.saturating_sub(self.base + Scanner::RETAINED_BYTES);
        if removable >= TRIM_BYTES_MIN {
            let removable = self.text.floor_char_boundary(removable);
            self.text.drain(..removable);
            self.base += removable;
        }
    }
}
