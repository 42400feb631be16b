//! A text that comes in pieces, masked as it comes.

use super::{MaskKey, Plan, Writer};
use crate::lane::blob::RunMeter;
use crate::lane::encoded::{Encoded, REACH_BYTES};
use crate::lane::escaped::{Asked, Decided, Escaped, Taken};
use crate::lane::hot::{Outermost, Spending, Terms};
use crate::lane::look::{self, Escapes, Look, Wanted};
use crate::lane::merge::{PLAIN, Queue, Writing};
use crate::prefilter::Level;
use crate::scan::effort::Effort;
use crate::scan::lanes::Lanes;
use crate::scan::view::View;
use crate::scan::{Match, Scanner};

/// A longer delta is read in pieces of this size, so that its length never sizes the buffer.
const PIECE_BYTES_MAX: usize = 2048;

/// So much behind what is undone the lane of escapes must be awake at least.
const QUIET_BYTES: usize = Scanner::RETAINED_BYTES + 16;

/// How much text that is not needed any more gathers before it is moved out: moving at every
/// event would cost more than the event.
const TRIM_BYTES_MIN: usize = 512;

/// The streaming state of one text channel: a choice's content, a tool call's arguments.
///
/// Invariants, with `received` the length of the text so far, all in bytes of that text: `text` is
/// `T[base..received]`, `base` and `sent` are at most `received`, and what was written so far is
/// M(T) of `T[..sent]` in any continuation. Of the text that waits for more, at most
/// [`MATCH_BYTES_MAX`](crate::rule::MATCH_BYTES_MAX) bytes are held, and as much of it decoded;
/// what is certain to be replaced is not held but dropped as it comes.
///
/// Every call must be given the scanner and the plan of the first one.
#[derive(Debug, Default)]
pub struct Channel {
    text: String,
    base: usize,
    sent: usize,
    replaced: bool,
    lanes: Lanes,
    /// What guards on runs have measured of this text; theirs alone.
    pub(crate) meters: Vec<RunMeter>,
    /// What the plain lane matched and other lanes may come upon.
    taken: Taken,
    /// Where other lanes are called.
    look: Look,
    /// The other lanes, once there was something for them.
    others: Option<Box<Others>>,
}

/// The lanes that read what a text says when it is decoded.
#[derive(Debug, Default)]
struct Others {
    escaped: Escaped,
    encoded: Encoded,
    queue: Queue,
    /// The lane of encoded runs was woken for the next piece.
    fresh: bool,
    /// Some lane is awake, or has replacements waiting: all is written by the queue.
    merging: bool,
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
            let (piece, after) = rest.split_at(self.next_piece(scanner, plan, rest));
            self.text.push_str(piece);
            if let Some(others) = self.others.as_deref_mut().filter(|o| o.escaped.is_awake()) {
                others.escaped.feed(scanner.prefilter().level(), piece);
            }
            let asked = Asked {
                scanner,
                plan,
                key,
                on_match: &mut *on_match,
            };
            self.read(asked, piece.len(), false, out);
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
        let asked = Asked {
            scanner,
            plan,
            key,
            on_match,
        };
        self.read(asked, 0, true, out);
    }

    /// The bound on the time of holding is reached: what is held is masked, not released, under
    /// the first rule that could still match; and what follows is swallowed for as long as any
    /// rule that was alive in it goes on. The beginning of an escape alone is released. Does
    /// nothing when nothing is held.
    pub fn expire(
        &mut self,
        scanner: &Scanner,
        plan: &Plan,
        key: &MaskKey,
        on_match: &mut dyn FnMut(Match),
        out: &mut String,
    ) {
        let mut asked = Asked {
            scanner,
            plan,
            key,
            on_match,
        };
        let view = View::new(&self.text, self.base, false);
        let cursor = &mut self.lanes.cursor;
        let mut others = self.others.as_deref_mut().filter(|others| others.merging);
        let mut writer = Writer {
            asked: asked.again(),
            out,
            sent: &mut self.sent,
            replaced: &mut self.replaced,
            taken: Some(&mut self.taken),
            queue: others.as_mut().map(|others| &mut others.queue),
        };
        cursor.force(scanner, &plan.mask, &view, &mut writer);
        let Some(others) = others else {
            self.sent = cursor.held_from().max(self.sent);
            self.trim(plan);
            return;
        };
        let decided = decided(&self.lanes, plan, &view);
        let Others {
            escaped,
            encoded,
            queue,
            ..
        } = others;
        if escaped.is_awake() {
            escaped.read(&view, decided, &self.taken, &mut asked, queue);
            escaped.force(&view, decided, &self.taken, &mut asked, queue);
        }
        let effort = &Spending::of(&self.lanes.effort.work);
        let terms = Terms {
            scanner,
            plan,
            key,
            effort,
        };
        let mut outermost = Outermost {
            queue: &mut *queue,
            on_match: &mut *asked.on_match,
        };
        encoded.force(terms, &mut outermost);
        let mut writing = Writing {
            text: &self.text,
            base: self.base,
            out,
            sent: &mut self.sent,
        };
        queue.write(view.end(), &mut writing);
        self.trim(plan);
    }

    /// What was spent on this text, and may be.
    pub(crate) fn effort(&mut self) -> &mut Effort {
        &mut self.lanes.effort
    }

    /// Bytes of text that came and are neither sent nor certain to be replaced: what waits for
    /// more.
    pub fn held_bytes(&self) -> usize {
        let mut certain = self.lanes.cursor.needs_from();
        if let Some(others) = self.others.as_ref().filter(|others| others.merging) {
            certain = certain.min(others.needs_from());
        }
        self.received_bytes() - self.sent.max(certain)
    }

    /// How many bytes of the text are done with: every byte below has been sent or replaced.
    pub fn watermark(&self) -> usize {
        self.sent
    }

    /// How many bytes of text have come.
    pub fn received_bytes(&self) -> usize {
        self.base + self.text.len()
    }

    /// Was anything replaced?
    pub(super) fn has_replaced(&self) -> bool {
        let queued = |others: &Others| others.queue.is_used();
        self.replaced || self.others.as_deref().is_some_and(queued)
    }

    /// How much of the text that has come is read next: up to where another lane must wake, or
    /// for as long as those that are awake have to be. Wakes them.
    fn next_piece(&mut self, scanner: &Scanner, plan: &Plan, rest: &str) -> usize {
        let level = scanner.prefilter().level();
        loop {
            let others = self.others.as_deref();
            let escapes = others.is_some_and(|others| others.escaped.is_awake());
            let runs = others.is_some_and(|others| others.encoded.is_awake() || others.fresh);
            let (piece, wanted) = match escapes {
                true => (PIECE_BYTES_MAX, Escapes::Quiet(QUIET_BYTES)),
                false if runs => (look::run_within(rest, PIECE_BYTES_MAX), Escapes::Called),
                false => (PIECE_BYTES_MAX, Escapes::Called),
            };
            let piece = &rest[..rest.floor_char_boundary(piece)];
            let wanted = Wanted {
                escapes: wanted,
                runs: !runs,
            };
            let stop = self.look.read(level, piece, wanted);
            if stop.at > 0 {
                return stop.at;
            }
            self.wake(level, plan, stop.escapes, stop.runs);
        }
    }

    /// Wakes the other lanes, before the text that they were woken by is read.
    fn wake(&mut self, level: Level, plan: &Plan, escapes: bool, hides: bool) {
        let received = self.received_bytes();
        let cursor = &self.lanes.cursor;
        let others = self.others.get_or_insert_default();
        let from = Decided {
            mask: match plan.mask.is_empty() {
                true => received,
                false => cursor.needs_from(),
            },
            watch: match plan.watch.is_empty() {
                true => received,
                false => self.lanes.watcher.needs_from(),
            },
            last: false,
        };
        if escapes && !others.escaped.is_awake() {
            others.escaped.wake(level, &self.text, self.base, from);
        }
        if hides && !others.encoded.is_awake() {
            let kept = self.text.len().saturating_sub(REACH_BYTES);
            others.encoded.wake(&self.text.as_bytes()[kept..], received);
            others.fresh = true;
        }
        if others.merging {
            return;
        }
        others.merging = true;
        if let Some(start) = self.taken.opened_at().filter(|_| cursor.is_replaced()) {
            others.queue.resume(PLAIN, start);
        }
    }

    /// Reads the last `new` bytes of the text.
    fn read(&mut self, mut asked: Asked<'_>, new: usize, last: bool, out: &mut String) {
        let (scanner, plan, key) = (asked.scanner, asked.plan, asked.key);
        let view = View::new(&self.text, self.base, last);
        let mut others = self.others.as_deref_mut().filter(|others| others.merging);
        let mut writer = Writer {
            asked: asked.again(),
            out: &mut *out,
            sent: &mut self.sent,
            replaced: &mut self.replaced,
            taken: Some(&mut self.taken),
            queue: others.as_mut().map(|others| &mut others.queue),
        };
        self.lanes
            .advance(scanner, &plan.mask, &plan.watch, &view, &mut writer);
        let decided = decided(&self.lanes, plan, &view);
        if let Some(others) = others {
            self.taken.reopen(self.lanes.watcher.certain());
            let Others {
                escaped,
                encoded,
                queue,
                fresh,
                merging,
            } = others;
            let mut horizon = decided.mask;
            if escaped.is_awake() {
                // What this lane spends is spent on the same text.
                let work = &mut self.lanes.effort.work;
                escaped.set_work(work.left());
                escaped.read(&view, decided, &self.taken, &mut asked, queue);
                work.spend(escaped.spent());
                horizon = horizon.min(escaped.decided_to(plan, decided));
            }
            if encoded.is_awake() || std::mem::take(fresh) {
                let effort = &Spending::of(&self.lanes.effort.work);
                let terms = Terms {
                    scanner,
                    plan,
                    key,
                    effort,
                };
                let text = view.slice(view.end() - new, view.end());
                let mut out = Outermost {
                    queue: &mut *queue,
                    on_match: &mut *asked.on_match,
                };
                encoded.read(text, last, terms, &mut out);
                self.lanes.effort.work.spend(effort.spent());
                horizon = horizon.min(encoded.decided_to(!plan.mask.is_empty()));
            }
            let mut writing = Writing {
                text: &self.text,
                base: self.base,
                out,
                sent: &mut self.sent,
            };
            queue.write(horizon, &mut writing);
            if escaped.is_awake() {
                escaped.settle(plan, queue.is_settled());
            }
            *merging = escaped.is_awake() || encoded.is_awake() || !queue.is_settled();
            if !*merging {
                queue.clear();
            }
        } else if self.sent < decided.mask {
            if !self.lanes.cursor.is_replaced() {
                out.push_str(view.slice(self.sent, decided.mask));
            }
            self.sent = decided.mask;
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
        let others = self.others.as_ref().filter(|others| others.merging);
        let awake = others.filter(|others| others.escaped.is_awake());
        let looks_from = awake.map_or(usize::MAX, |others| others.escaped.looks_from());
        self.taken.forget(needed.min(looks_from));
        if let Some(others) = others {
            needed = needed.min(others.needs_from().max(self.sent));
        }
        let removable = needed.saturating_sub(self.base + Scanner::RETAINED_BYTES);
        if removable >= TRIM_BYTES_MIN {
            let removable = self.text.floor_char_boundary(removable);
            self.text.drain(..removable);
            self.base += removable;
        }
    }
}

// === impl Others ===

impl Others {
    /// Before this place all is decided or certain to be replaced.
    fn needs_from(&self) -> usize {
        let escaped = self.escaped.is_awake().then(|| self.escaped.needs_from());
        let encoded = self
            .encoded
            .is_awake()
            .then(|| self.encoded.decided_to(true));
        [escaped, encoded]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(usize::MAX)
    }
}

/// How far the plain lane is, when it has read the view.
fn decided(lanes: &Lanes, plan: &Plan, view: &View<'_>) -> Decided {
    Decided {
        mask: match plan.mask.is_empty() {
            true => view.end(),
            false => lanes.cursor.held_from(),
        },
        watch: match plan.watch.is_empty() {
            true => view.end(),
            false => lanes.watcher.needs_from(),
        },
        last: view.is_last(),
    }
}
