//! The lane that reads a text decoded.
//!
//! # What is found
//!
//! Let D be the text T with everything undone that [`super::decode`] undoes. This lane finds in D
//! what [`crate::scan`] finds in a text, with one exception: nothing starts in D where T has a
//! match already, that is, within the stretch of T that the plain lane replaces; and for reporting,
//! no rule starts within a match of that same rule in T. What is found in D is replaced in T: all
//! the characters from those that carry its beginning to those that carry its end.
//!
//! A mark, `\`, `%` or `&`, with which such a stretch begins is kept and made literal, because it
//! can be sent at once then: texts are full of marks, and it would have to be held whenever a piece
//! ends with one. `\u0041KIA…` becomes `\\[masked]`, `%41KIA…` becomes `%25[masked]`, and
//! `&#65;KIA…` becomes `&amp;[masked]`: still JSON within JSON, a URL, HTML. Nothing is told by it.
//!
//! # Why it may sleep
//!
//! D is T but for the places where something is undone, so the lane need not run elsewhere. It is
//! woken by the first character of a text that could be undone (a *trigger*), and begins with the
//! places that the plain lane had not decided when that character came.
//!
//! Nothing is lost by that. Suppose a match in D that starts at `s`, before the trigger `q`, where
//! nothing is undone between what its rule may look back to and `q`. At `s` the texts T and D are
//! the same for the rule, up to `q`; when the bytes before `q` had come and no more, the rule's
//! candidate at `s` was alive, in T as in D, because it reads on in D. The plain lane decides no
//! place at which a candidate is alive, and it tries every place but those within its own matches,
//! which are excepted. So `s` was not decided, nothing from `s` on was sent, and the lane begins
//! there or before. A match that starts behind the trigger, or so near behind it that its rule may
//! look back to it, is found because the lane stays awake as long as that.
//!
//! For the same reason a match that has nothing undone in or near it is not found twice: in T its
//! start is a match already.
//!
//! The lane reads D as far as the plain lane has decided T, because only then are the exceptions
//! known. So both lanes see the same whatever the pieces were, and so does who merges them.

use super::decode::{Decoded, Lead};
use super::merge::{ESCAPED, Queue, moved};
use crate::mask::{MaskKey, Plan};
use crate::prefilter::Level;
use crate::scan::cursor::Sink;
use crate::scan::effort::Work;
use crate::scan::lanes::Lanes;
use crate::scan::view::{Places, View};
use crate::scan::{Lane, Match, RuleIndex, RuleMask, Scanner};

/// How much decoded text that is not needed any more gathers before it is moved out.
const TRIM_BYTES_MIN: usize = 512;

/// What the lane is asked with, the same at every call.
pub(crate) struct Asked<'a> {
    pub(crate) scanner: &'a Scanner,
    pub(crate) plan: &'a Plan,
    pub(crate) key: &'a MaskKey,
    pub(crate) on_match: &'a mut dyn FnMut(Match),
}

// === impl Asked ===

impl Asked<'_> {
    /// The same, for somebody else.
    pub(crate) fn again(&mut self) -> Asked<'_> {
        Asked {
            on_match: &mut *self.on_match,
            ..*self
        }
    }
}

/// The state of the lane in one channel. All places are those of T.
#[derive(Debug, Default)]
pub(crate) struct Escaped {
    awake: bool,
    decoded: Decoded,
    mask: Lanes,
    watch: Lanes,
}

/// Stretches of T in which nothing starts in D.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    stretches: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// None: no rule starts there.
    rule: Option<u16>,
    start: usize,
    end: usize,
}

/// [`Taken`] as a view of D sees it.
#[derive(Debug)]
struct TakenIn<'a> {
    taken: &'a Taken,
    decoded: &'a Decoded,
}

/// How far the plain lane is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided {
    /// Places before this one are decided for masking.
    pub(crate) mask: usize,
    /// Places before this one are decided for reporting.
    pub(crate) watch: usize,
    /// The text ends here, and everything is decided.
    pub(crate) last: bool,
}

// === impl Taken ===

impl Taken {
    /// A match from `start` on, whose end is not known yet.
    pub(crate) fn open(&mut self, rule: Option<u16>, start: usize) {
        self.stretches.push(Stretch {
            rule,
            start,
            end: usize::MAX,
        });
    }

    /// The match that goes on ends here.
    pub(crate) fn close(&mut self, rule: Option<u16>, end: usize) {
        let open = |stretch: &&mut Stretch| stretch.rule == rule && stretch.end == usize::MAX;
        if let Some(stretch) = self.stretches.iter_mut().rev().find(open) {
            stretch.end = end;
        }
    }

    /// Takes note of the matches of watched rules that go on now.
    pub(crate) fn reopen(&mut self, watched: impl Iterator<Item = (u16, usize)>) {
        let goes_on = |stretch: &Stretch| stretch.rule.is_some() && stretch.end == usize::MAX;
        self.stretches.retain(|stretch| !goes_on(stretch));
        watched.for_each(|(rule, start)| self.open(Some(rule), start));
    }

    /// A match of a watched rule.
    pub(crate) fn add(&mut self, rule: u16, start: usize, end: usize) {
        let rule = Some(rule);
        self.stretches.push(Stretch { rule, start, end });
    }

    /// The start of the match that goes on.
    pub(crate) fn opened_at(&self) -> Option<usize> {
        let open = |stretch: &&Stretch| stretch.rule.is_none() && stretch.end == usize::MAX;
        self.stretches
            .iter()
            .find(open)
            .map(|stretch| stretch.start)
    }

    /// Forgets what ends before `from`.
    pub(crate) fn forget(&mut self, from: usize) {
        if !self.stretches.is_empty() {
            self.stretches.retain(|stretch| stretch.end > from);
        }
    }

    fn covers(&self, rule: u16, at: usize) -> bool {
        self.stretches.iter().any(|stretch| {
            stretch.rule.is_none_or(|of| of == rule) && (stretch.start..stretch.end).contains(&at)
        })
    }
}

impl Places for TakenIn<'_> {
    fn may_start(&self, rule: u16, at: usize) -> bool {
        self.taken.stretches.is_empty() || !self.taken.covers(rule, self.decoded.raw_from(at))
    }
}

// === impl Escaped ===

impl Escaped {
    /// Is the lane to be asked at all?
    pub(crate) fn is_awake(&self) -> bool {
        self.awake
    }

    /// Wakes the lane. Bytes `base..` of the text are at hand up to where the trigger's piece
    /// begins, and nothing before `decided` is to be looked at.
    pub(crate) fn wake(&mut self, level: Level, text: &str, base: usize, decided: Decided) {
        self.awake = true;
        self.mask = Lanes::at(decided.mask);
        self.watch = Lanes::at(decided.watch);
        let from = decided.mask.min(decided.watch);
        let kept = from.saturating_sub(base + Scanner::RETAINED_BYTES);
        let kept = text.floor_char_boundary(kept);
        let (before, after) = text[kept..].split_at(from - base - kept);
        self.decoded.restart(before, from);
        // What is decoded from here on was there before the trigger, and has nothing to undo.
        self.decoded.feed(level, after);
    }

    /// Takes the next text of the channel.
    pub(crate) fn feed(&mut self, level: Level, text: &str) {
        self.decoded.feed(level, text);
    }

    /// Reads as far as the plain lane has decided.
    pub(crate) fn read(
        &mut self,
        text: &View<'_>,
        decided: Decided,
        taken: &Taken,
        asked: &mut Asked<'_>,
        queue: &mut Queue,
    ) {
        if decided.last {
            self.decoded.finish();
        }
        let decoded = &self.decoded;
        let none = RuleMask::default();
        let places = TakenIn { taken, decoded };
        let mut sink = Translator {
            text,
            decoded,
            queue,
            scanner: asked.scanner,
            plan: asked.plan,
            key: asked.key,
            on_match: &mut *asked.on_match,
        };
        let view = |to: usize| {
            let end = if decided.last {
                decoded.end()
            } else {
                decoded.end_of(to)
            };
            View::new(decoded.text_to(end), decoded.base(), decided.last).among(&places)
        };
        if !asked.plan.mask.is_empty() {
            let (scanner, rules) = (asked.scanner, &asked.plan.mask);
            let view = view(decided.mask);
            self.mask.advance(scanner, rules, &none, &view, &mut sink);
        }
        if !asked.plan.watch.is_empty() {
            let (scanner, rules) = (asked.scanner, &asked.plan.watch);
            let view = view(decided.watch);
            self.watch.advance(scanner, &none, rules, &view, &mut sink);
        }
    }

    /// Masks what is held, as the cursor of the plain lane does.
    pub(crate) fn force(
        &mut self,
        text: &View<'_>,
        decided: Decided,
        taken: &Taken,
        asked: &mut Asked<'_>,
        queue: &mut Queue,
    ) {
        let decoded = &self.decoded;
        let places = TakenIn { taken, decoded };
        let end = decoded.end_of(decided.mask);
        let view = View::new(decoded.text_to(end), decoded.base(), false).among(&places);
        let (scanner, rules) = (asked.scanner, &asked.plan.mask);
        let mut sink = Translator {
            text,
            decoded,
            queue,
            scanner,
            plan: asked.plan,
            key: asked.key,
            on_match: &mut *asked.on_match,
        };
        self.mask.cursor.force(scanner, rules, &view, &mut sink);
    }

    /// Everything before this place is decided.
    pub(crate) fn decided_to(&self, plan: &Plan, decided: Decided) -> usize {
        if decided.last || plan.mask.is_empty() {
            return usize::MAX;
        }
        let cursor = &self.mask.cursor;
        let at = cursor.held_from();
        match cursor.is_replaced() {
            true => self.decoded.raw_to(at),
            false if at == self.decoded.end() => self.decoded.undecided_from().min(decided.mask),
            false => self.decoded.raw_from(at).min(decided.mask),
        }
    }

    /// From this place on the text may be needed to tell whether something matches; what is
    /// before it is decided or certain to be replaced.
    pub(crate) fn needs_from(&self) -> usize {
        self.decoded.raw_from(self.mask.cursor.needs_from())
    }

    /// Before this place the lane looks at nothing any more.
    pub(crate) fn looks_from(&self) -> usize {
        let watcher = self.watch.watcher.needs_from();
        self.needs_from().min(self.decoded.raw_from(watcher))
    }

    /// What may be spent on the next reading, by each of masking and reporting.
    pub(crate) fn set_work(&mut self, left: u64) {
        self.mask.effort.work = Work::within(left);
        self.watch.effort.work = Work::within(left);
    }

    /// What the last reading took.
    pub(crate) fn spent(&self) -> u64 {
        let watch = self.watch.effort.work.spent();
        self.mask.effort.work.spent().saturating_add(watch)
    }

    /// Lets go of decoded text that is not needed, and goes to sleep when it may and nothing is
    /// left to do; true if it does.
    pub(crate) fn settle(&mut self, plan: &Plan, may_sleep: bool) -> bool {
        let end = self.decoded.end();
        let mut needed = end;
        let mut busy = !may_sleep || !self.decoded.is_settled();
        if !plan.mask.is_empty() {
            needed = needed.min(self.mask.cursor.needs_from());
            busy |= self.mask.cursor.from() != Some(end);
        }
        if !plan.watch.is_empty() {
            needed = needed.min(self.watch.watcher.needs_from());
            busy |= !self.watch.watcher.is_idle_at(end);
        }
        let near = |at: usize| at + Scanner::RETAINED_BYTES >= end;
        busy |= self.decoded.changed_to().is_some_and(near);
        if !busy {
            self.awake = false;
            return true;
        }
        let done = needed.saturating_sub(Scanner::RETAINED_BYTES);
        if done >= self.decoded.base() + TRIM_BYTES_MIN {
            self.decoded.trim(done);
        }
        false
    }
}

/// Puts what is decided in D where it belongs in T.
struct Translator<'a> {
    /// T.
    text: &'a View<'a>,
    decoded: &'a Decoded,
    queue: &'a mut Queue,
    scanner: &'a Scanner,
    plan: &'a Plan,
    key: &'a MaskKey,
    on_match: &'a mut dyn FnMut(Match),
}

impl Translator<'_> {
    fn tell(&mut self, found: Match) {
        let start = self.decoded.raw_from(found.start);
        (self.on_match)(moved(
            found,
            Lane::Escaped,
            start,
            self.decoded.raw_to(found.end),
        ));
    }
}

impl Sink for Translator<'_> {
    fn replace(&mut self, view: &View<'_>, rule: RuleIndex, start: usize, whole: Option<usize>) {
        let rule = self.scanner.rule(rule);
        let lead = self.decoded.lead_at(start, self.text);
        let mut text = lead.map_or("", Lead::literal).to_owned();
        match whole {
            Some(end) => {
                let value = view.slice(start, end);
                rule.template.render(rule.id(), value, self.key, &mut text);
            }
            None => rule.template.render_unseen(rule.id(), &mut text),
        }
        let end = whole.map(|end| self.decoded.raw_to(end));
        let start = self.decoded.raw_from(start);
        let kept = lead.map_or(0, |lead| lead.len);
        self.queue.push_behind(kept, ESCAPED, start, end, text);
    }

    fn complete(&mut self, found: Match) {
        if !self.plan.watch.contains(found.rule) {
            self.tell(found);
        }
    }

    fn resume_at(&mut self, end: usize) {
        self.queue.close(ESCAPED, self.decoded.raw_to(end));
    }

    fn watched(&mut self, found: Match) {
        self.tell(found);
    }
}
