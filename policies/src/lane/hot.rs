//! A run that is text, read as a text of its own; see [`super::encoded`].
//!
//! What is found in it is put where it belongs in the text that came, through as many runs as
//! there are around it.

use std::cell::Cell;

use super::encoded::Encoded;
use super::merge::{Queue, moved};
use crate::mask::{MaskKey, Plan};
use crate::scan::cursor::Sink;
use crate::scan::effort::Work;
use crate::scan::lanes::Lanes;
use crate::scan::view::View;
use crate::scan::{Lane, Match, RuleIndex, Scanner};

/// Decoded text that is not needed any more and gathers before it is moved out.
const TRIM_BYTES_MIN: usize = 512;

/// A run that is text.
#[derive(Debug)]
pub(super) struct Hot {
    pub(super) phase: usize,
    /// Whose replacements its own are.
    id: u8,
    /// Nothing before this place is replaced.
    from: usize,
    /// What was decided when that was last asked for.
    pub(super) held: usize,
    text: String,
    base: usize,
    /// By byte of `text`, where its group begins and ends.
    places: Vec<(usize, usize)>,
    /// Starts of matches that go on, and where in T they are.
    begun: Vec<(usize, usize)>,
    lanes: Lanes,
    inner: Option<Box<Encoded>>,
}

/// What a text is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) scanner: &'a Scanner,
    pub(crate) plan: &'a Plan,
    pub(crate) key: &'a MaskKey,
    pub(crate) effort: &'a Spending,
}

/// What reading runs may take of the work of a text, and took.
#[derive(Debug)]
pub(crate) struct Spending {
    allowed: u64,
    spent: Cell<u64>,
}

/// Where a lane puts what it finds: the text that came, or a text that another was decoded to.
/// Places that are put are those of the text that came, which may be asked for.
pub(crate) trait Out {
    fn push(&mut self, id: u8, start: usize, end: Option<usize>, text: String);
    fn close(&mut self, id: u8, end: usize);
    fn tell(&mut self, found: Match);
    /// Where what begins at a place begins.
    fn start_of(&self, at: usize) -> usize;
    /// The same of what is replaced.
    fn replaced_from(&self, at: usize) -> usize;
    /// Where what ends at a place ends.
    fn end_of(&self, at: usize) -> usize;
}

/// The text that came.
pub(crate) struct Outermost<'a> {
    pub(crate) queue: &'a mut Queue,
    pub(crate) on_match: &'a mut dyn FnMut(Match),
}

/// A hot run's text, as a place in the text around it.
struct Within<'a> {
    from: usize,
    base: usize,
    places: &'a [(usize, usize)],
    begun: &'a [(usize, usize)],
    out: &'a mut dyn Out,
}

// === impl Hot ===

impl Hot {
    /// A run that became hot at `from`.
    pub(super) fn new(phase: usize, id: u8, from: usize, inner: Option<Box<Encoded>>) -> Hot {
        Hot {
            phase,
            id,
            from,
            held: from,
            text: String::new(),
            base: 0,
            places: Vec::new(),
            begun: Vec::new(),
            lanes: Lanes::default(),
            inner,
        }
    }

    pub(super) fn extend(&mut self, bytes: &[u8], place: (usize, usize)) {
        self.text.extend(bytes.iter().map(|byte| char::from(*byte)));
        self.places.extend(bytes.iter().map(|_| place));
    }

    pub(super) fn scan(&mut self, last: bool, terms: Terms<'_>, out: &mut dyn Out) {
        let view = View::new(&self.text, self.base, last);
        let mut within = Within {
            from: self.from,
            base: self.base,
            places: &self.places,
            begun: &self.begun,
            out,
        };
        let (scanner, plan) = (terms.scanner, terms.plan);
        if let Some(inner) = &mut self.inner {
            let new = view.slice(inner.read, view.end());
            inner.read(new, last, terms, &mut within);
        }
        let mut sink = Translator {
            terms,
            id: self.id,
            within,
        };
        let Lanes { effort, .. } = &mut self.lanes;
        effort.work = terms.effort.left();
        self.lanes
            .advance(scanner, &plan.mask, &plan.watch, &view, &mut sink);
        terms.effort.spend(self.lanes.effort.work.spent());
        let begun = self.begin(&sink.within);
        self.begun = begun;
        self.trim(!plan.mask.is_empty(), !plan.watch.is_empty());
    }

    /// Where the matches begin that are certain and go on: their text may be let go.
    fn begin(&self, within: &Within<'_>) -> Vec<(usize, usize)> {
        let Lanes {
            cursor, watcher, ..
        } = &self.lanes;
        let head = cursor.replaced_from();
        let starts = watcher.certain().map(|(_, start)| start).chain(head);
        starts.map(|at| (at, within.start_of(at))).collect()
    }

    pub(super) fn force(&mut self, terms: Terms<'_>, out: &mut dyn Out) {
        let view = View::new(&self.text, self.base, false);
        let mut within = Within {
            from: self.from,
            base: self.base,
            places: &self.places,
            begun: &self.begun,
            out,
        };
        if let Some(inner) = &mut self.inner {
            inner.force(terms, &mut within);
        }
        let (scanner, plan) = (terms.scanner, terms.plan);
        let mut sink = Translator {
            terms,
            id: self.id,
            within,
        };
        self.lanes
            .cursor
            .force(scanner, &plan.mask, &view, &mut sink);
        let begun = self.begin(&sink.within);
        self.begun = begun;
    }

    /// Where in the text around everything is decided; none when all is that came.
    pub(super) fn decided_to(&self) -> Option<usize> {
        let place = |at: usize| self.places.get(at.checked_sub(self.base)?);
        let cursor = &self.lanes.cursor;
        let at = cursor.held_from();
        let before = |at: usize| at.checked_sub(1).and_then(place).map(|place| place.1);
        let own = match cursor.is_replaced() {
            true => before(at),
            false => place(at).map(|place| place.0),
        };
        let inner = self.inner.as_ref().filter(|inner| inner.is_awake());
        let inner = inner.and_then(|inner| {
            let at = inner.decided_to(true);
            // Groups overlap: what begins here may share its group with what ends here.
            let begins = place(at).map(|place| place.0);
            [begins, before(at)].into_iter().flatten().min()
        });
        let least = [own, inner].into_iter().flatten().min()?;
        Some(least.max(self.from))
    }

    /// Where the text begins that is needed to report what is not told yet.
    pub(super) fn watched_from(&self) -> Option<usize> {
        let from = self.lanes.watcher.needs_from().saturating_sub(self.base);
        self.places.get(from).map(|place| place.0)
    }

    fn trim(&mut self, masks: bool, watches: bool) {
        let mut needed = self.base + self.text.len();
        if masks {
            needed = needed.min(self.lanes.cursor.needs_from());
            needed = needed.min(self.lanes.cursor.held_from());
        }
        if watches {
            needed = needed.min(self.lanes.watcher.needs_from());
        }
        if let Some(inner) = &self.inner {
            needed = needed.min(inner.decided_to(masks).saturating_sub(inner.reach()));
        }
        let done = needed.saturating_sub(self.base + Scanner::RETAINED_BYTES);
        if done >= TRIM_BYTES_MIN {
            self.text.drain(..done);
            self.places.drain(..done);
            self.base += done;
        }
    }
}

/// Puts what is found in a hot run where its groups are.
struct Translator<'a> {
    terms: Terms<'a>,
    id: u8,
    within: Within<'a>,
}

impl Sink for Translator<'_> {
    fn replace(&mut self, view: &View<'_>, rule: RuleIndex, start: usize, whole: Option<usize>) {
        let rule = self.terms.scanner.rule(rule);
        let mut text = String::new();
        match whole {
            Some(end) => {
                let value = view.slice(start, end);
                rule.template
                    .render(rule.id(), value, self.terms.key, &mut text);
            }
            None => rule.template.render_unseen(rule.id(), &mut text),
        }
        let start = self.within.replaced_from(start);
        let end = whole.map(|end| self.within.end_of(end).max(start));
        // What lies before the run became hot is not replaced.
        if end != Some(start) {
            self.within.push(self.id, start, end, text);
        }
    }

    fn complete(&mut self, found: Match) {
        if !self.terms.plan.watch.contains(found.rule) {
            self.tell(found);
        }
    }

    fn resume_at(&mut self, end: usize) {
        let end = self.within.end_of(end);
        self.within.close(self.id, end);
    }

    fn watched(&mut self, found: Match) {
        self.tell(found);
    }
}

impl Translator<'_> {
    fn tell(&mut self, found: Match) {
        let (start, end) = (
            self.within.start_of(found.start),
            self.within.end_of(found.end),
        );
        self.within.tell(moved(found, Lane::Blob, start, end));
    }
}

// === impl Spending ===

impl Spending {
    /// What is left of the work of a text.
    pub(crate) fn of(work: &Work) -> Spending {
        Spending {
            allowed: work.left(),
            spent: Cell::new(0),
        }
    }

    pub(crate) fn spent(&self) -> u64 {
        self.spent.get()
    }

    fn left(&self) -> Work {
        Work::within(self.allowed.saturating_sub(self.spent.get()))
    }

    fn spend(&self, steps: u64) {
        self.spent.set(self.spent.get().saturating_add(steps));
    }
}

// === impl Within ===

impl Within<'_> {
    fn place(&self, at: usize) -> Option<(usize, usize)> {
        self.places.get(at.checked_sub(self.base)?).copied()
    }
}

impl Out for Within<'_> {
    fn push(&mut self, id: u8, start: usize, end: Option<usize>, text: String) {
        self.out.push(id, start, end, text);
    }

    fn close(&mut self, id: u8, end: usize) {
        self.out.close(id, end);
    }

    fn tell(&mut self, found: Match) {
        self.out.tell(found);
    }

    fn start_of(&self, at: usize) -> usize {
        let begun = self.begun.iter().find(|begun| begun.0 == at);
        match (begun, self.place(at)) {
            (Some(begun), _) => begun.1,
            (None, Some(place)) => self.out.start_of(place.0),
            // What is not at hand was before the run became hot.
            (None, None) => self.out.end_of(self.from),
        }
    }

    fn replaced_from(&self, at: usize) -> usize {
        match self.place(at) {
            Some(place) if place.0 >= self.from => self.out.replaced_from(place.0),
            // The character at `from` need not have come yet.
            _ => self.out.end_of(self.from),
        }
    }

    fn end_of(&self, at: usize) -> usize {
        let place = at.checked_sub(1).and_then(|at| self.place(at));
        let end = place.map_or(self.from, |place| place.1);
        self.out.end_of(end)
    }
}

// === impl Outermost ===

impl Out for Outermost<'_> {
    fn push(&mut self, id: u8, start: usize, end: Option<usize>, text: String) {
        self.queue.push((Lane::Blob, id), start, end, text);
    }

    fn close(&mut self, id: u8, end: usize) {
        self.queue.close((Lane::Blob, id), end);
    }

    fn tell(&mut self, found: Match) {
        (self.on_match)(found);
    }

    fn start_of(&self, at: usize) -> usize {
        at
    }

    fn replaced_from(&self, at: usize) -> usize {
        at
    }

    fn end_of(&self, at: usize) -> usize {
        at
    }
}
