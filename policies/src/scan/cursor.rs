//! The lane that masks: leftmost, then longest, then rule order.
//!
//! At any time the cursor stands at one place. Either no rule may match there, or it is the
//! *head*: the leftmost start at which some rule is alive or has matched. Later starts wait until
//! the head is decided; then they are tried over the text that was held for it, so the memory of
//! a channel is the candidates of one start, however the text is made.

use super::candidate::{Candidate, Outcome};
use super::effort::Effort;
use super::leads::Leads;
use super::view::View;
use super::{Lane, Match, RuleIndex, RuleMask, Scanner};
use crate::rule::Confidence;

/// How many candidates a forced head takes over from the starts behind it; see [`Cursor::force`].
const FORCED_MAX: usize = 64;

/// A head of which no more than this is at hand waits for more when one rule is alive in it.
const WAITING_BYTES_MAX: usize = 16;

/// Receives what the cursor decides, in order.
pub(crate) trait Sink {
    /// The replacement of the text from `start` on is due. `whole` says that its text, up to
    /// `end`, is at hand; else it is a region or overlong, and `end` is not known yet.
    fn replace(&mut self, view: &View<'_>, rule: RuleIndex, start: usize, whole: Option<usize>);
    /// A replaced match is complete. Called once for each `replace`, after it.
    fn complete(&mut self, found: Match);
    /// Everything before `end` was covered by the last replacement, and nothing more.
    fn resume_at(&mut self, end: usize);
    /// A rule that is only watched matched.
    fn watched(&mut self, found: Match);
}

/// The state of the masking lane of one channel.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    /// Where to look for the next start, when there is no head.
    at: usize,
    /// How far the text has been read.
    read: usize,
    head: Option<Head>,
    /// The head's undecided candidates.
    live: Vec<Candidate>,
    /// Where a head waited last: one waits once, so that a text that comes byte by byte is read
    /// at most twice as often.
    waited_at: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    start: usize,
    best: Option<Best>,
    /// The replacement is out: the text needs no holding any more.
    replaced: Option<RuleIndex>,
    /// The match has been told to the sink.
    told: bool,
    /// Some rule may match; which do is left until more text has come. Where a piece ends almost
    /// every beginning of a word may become something, and mostly a few bytes tell that it does
    /// not: one candidate is enough to hold it, and beginning again is less than going on with all.
    waits: bool,
}

#[derive(Clone, Copy, Debug)]
struct Best {
    rule: u16,
    end: usize,
    whole: bool,
    confidence: Confidence,
}

// === impl Cursor ===

impl Cursor {
    /// A cursor that looks at nothing before `at`.
    pub(crate) fn at(at: usize) -> Cursor {
        Cursor {
            at,
            read: at,
            ..Cursor::default()
        }
    }

    /// Goes on with the head, if there is one, over the view's new text.
    pub(super) fn resume(
        &mut self,
        scanner: &Scanner,
        mask: &RuleMask,
        view: &View<'_>,
        effort: &mut Effort,
        sink: &mut dyn Sink,
    ) {
        if let Some(mut head) = self.head.take() {
            if head.waits {
                self.live.clear();
                self.at = head.start;
                self.waited_at = Some(head.start);
                return;
            }
            self.read_on(&mut head, scanner, mask, view, effort);
            self.decide(head, view, sink);
        }
    }

    /// Where to look for the next start; nowhere while a head is undecided.
    #[inline]
    pub(crate) fn from(&self) -> Option<usize> {
        self.head.is_none().then_some(self.at)
    }

    /// Rules may start at `at`, which is [`Cursor::from`] or later: tries those of `mask`.
    #[inline]
    #[expect(clippy::too_many_arguments)] // one caller, on the hot path
    pub(super) fn start(
        &mut self,
        scanner: &Scanner,
        mask: &RuleMask,
        rules: &[u16],
        view: &View<'_>,
        at: usize,
        effort: &mut Effort,
        sink: &mut dyn Sink,
    ) {
        let is_short = !view.is_last() && view.end() - at <= WAITING_BYTES_MAX;
        let mut head = Head {
            start: at,
            best: None,
            replaced: None,
            told: false,
            waits: is_short && self.waited_at != Some(at),
        };
        self.open(&mut head, scanner, mask, rules, view, effort);
        if head.best.is_none() && self.live.is_empty() {
            self.at = at + 1;
        } else {
            self.decide(head, view, sink);
        }
    }

    /// The view has been read to its end.
    pub(super) fn close(&mut self, view: &View<'_>) {
        if self.head.is_none() {
            self.at = self.at.max(view.end());
        }
        self.read = view.end();
    }

    /// Everything before this place is decided, and may be sent or has been replaced.
    pub(crate) fn held_from(&self) -> usize {
        match self.head {
            None => self.at,
            Some(head) if head.replaced.is_some() => self.read,
            Some(head) => head.start,
        }
    }

    /// Is the replacement of the head out, and what comes swallowed until the head ends?
    pub(crate) fn is_replaced(&self) -> bool {
        self.head.is_some_and(|head| head.replaced.is_some())
    }

    /// Where the match began whose replacement is out, and which goes on.
    pub(crate) fn replaced_from(&self) -> Option<usize> {
        let head = self.head.filter(|head| head.replaced.is_some());
        head.map(|head| head.start)
    }

    /// From where on the text must stay at hand.
    pub(crate) fn needs_from(&self) -> usize {
        match self.head {
            Some(head) if self.live.iter().any(Candidate::needs_text) => head.start,
            Some(_) => self.read,
            None => self.at,
        }
    }

    /// The bound on holding is reached: what is held becomes a match of the first rule that is
    /// alive, and goes on as long as any rule that is alive anywhere in it does.
    pub(crate) fn force(
        &mut self,
        scanner: &Scanner,
        mask: &RuleMask,
        view: &View<'_>,
        sink: &mut dyn Sink,
    ) {
        let Some(mut head) = self.head.take() else {
            return;
        };
        if std::mem::take(&mut head.waits) {
            self.open_all(&mut head, scanner, mask, view);
        }
        if head.replaced.is_none() {
            let rule = self.live.iter().map(|candidate| candidate.rule).min();
            // A head that is not decided has a live candidate.
            let rule = rule.or(head.best.map(|best| best.rule)).unwrap_or(0);
            self.adopt_later_starts(head.start, scanner, mask, view);
            for candidate in &mut self.live {
                candidate.force();
            }
            sink.replace(view, RuleIndex(rule), head.start, None);
            sink.complete(Match {
                rule: RuleIndex(rule),
                start: head.start,
                end: view.end(),
                confidence: scanner.rule(RuleIndex(rule)).confidence_max(),
                lane: Lane::Plain,
            });
            head.replaced = Some(RuleIndex(rule));
            head.told = true;
            head.best = Some(Best {
                rule,
                end: view.end(),
                whole: false,
                confidence: scanner.rule(RuleIndex(rule)).confidence_max(),
            });
        }
        self.head = Some(head);
    }

    /// What starts within a forced head and is alive must not come out behind it.
    fn adopt_later_starts(
        &mut self,
        start: usize,
        scanner: &Scanner,
        mask: &RuleMask,
        view: &View<'_>,
    ) {
        let mut effort = Effort::default();
        let mut leads = Leads::default();
        let mut walk = scanner.walk(view, start + 1, &mut leads);
        while let Some((at, rules)) = walk.next() {
            for rule in rules {
                if self.live.len() < FORCED_MAX
                    && mask.contains(RuleIndex(*rule))
                    && let Some((candidate, Outcome::Alive)) =
                        scanner.begin(mask, *rule, view, at, &mut effort)
                {
                    self.live.push(candidate);
                }
            }
        }
    }

    /// Tries the rules at a head that need not wait any more.
    fn open_all(&mut self, head: &mut Head, scanner: &Scanner, mask: &RuleMask, view: &View<'_>) {
        self.live.clear();
        let mut leads = Leads::default();
        let mut walk = scanner.walk(view, head.start, &mut leads);
        if let Some((_, rules)) = walk.next().filter(|(at, _)| *at == head.start) {
            self.open(head, scanner, mask, rules, view, &mut Effort::default());
        }
    }

    /// Tries rules at the head; if it waits, until one is alive.
    fn open(
        &mut self,
        head: &mut Head,
        scanner: &Scanner,
        mask: &RuleMask,
        rules: &[u16],
        view: &View<'_>,
        effort: &mut Effort,
    ) {
        let many = rules.len() >= effort.crowd(head.start);
        for rule in rules {
            if !mask.contains(RuleIndex(*rule))
                || (many && !scanner.may_hear(*rule, view, head.start, effort))
            {
                continue;
            }
            match scanner.begin(mask, *rule, view, head.start, effort) {
                Some((candidate, Outcome::Alive)) => {
                    self.live.push(candidate);
                    if head.waits && candidate.needs_text() {
                        return;
                    }
                }
                Some((_, outcome)) => head.take(*rule, outcome),
                None => {}
            }
        }
        head.waits = false;
    }

    fn read_on(
        &mut self,
        head: &mut Head,
        scanner: &Scanner,
        mask: &RuleMask,
        view: &View<'_>,
        effort: &mut Effort,
    ) {
        let read = self.read;
        self.live.retain_mut(|candidate| {
            let outcome = scanner.resume(mask, candidate, view, read, effort);
            head.take(candidate.rule, outcome);
            outcome == Outcome::Alive
        });
    }

    /// Acts on a head: it stays, or it is done with and the cursor moves on.
    fn decide(&mut self, mut head: Head, view: &View<'_>, sink: &mut dyn Sink) {
        if !self.live.is_empty() {
            self.replace_early(&mut head, view, sink);
            self.head = Some(head);
            return;
        }
        let Some(best) = head.best else {
            self.at = head.start + 1;
            return;
        };
        let rule = head.replaced.unwrap_or(RuleIndex(best.rule));
        if head.replaced.is_none() {
            sink.replace(view, rule, head.start, best.whole.then_some(best.end));
        }
        if !head.told {
            sink.complete(Match {
                rule,
                start: head.start,
                end: best.end,
                confidence: best.confidence,
                lane: Lane::Plain,
            });
        }
        sink.resume_at(best.end);
        self.at = best.end;
    }

    /// A single candidate that can only win needs no waiting: its replacement may go out now.
    fn replace_early(&mut self, head: &mut Head, view: &View<'_>, sink: &mut dyn Sink) {
        let [candidate] = self.live.as_slice() else {
            return;
        };
        let longer = head.best.is_none_or(|best| best.end < view.end());
        if head.replaced.is_none() && !candidate.needs_text() && longer {
            let rule = RuleIndex(candidate.rule);
            sink.replace(view, rule, head.start, None);
            head.replaced = Some(rule);
        }
    }
}

// === impl Head ===

impl Head {
    /// The longest match so far; of equal ones the first rule's.
    fn take(&mut self, rule: u16, outcome: Outcome) {
        let Outcome::Matched {
            end,
            whole,
            confidence,
        } = outcome
        else {
            return;
        };
        let wins = self
            .best
            .is_none_or(|best| (end, best.rule) > (best.end, rule));
        if wins {
            self.best = Some(Best {
                rule,
                end,
                whole,
                confidence,
            });
        }
    }
}
