//! The lane that reports: every rule on its own, no rule in another's way.
//!
//! A rule's matches do not overlap each other, so a rule has at most one candidate alive. When a
//! candidate fails in a later piece than it began, the rule alone is tried again over the starts
//! that it kept waiting. Nothing is held back for this lane; the text that it may need again is
//! kept at hand after it was sent.

use super::candidate::{Candidate, Outcome};
use super::effort::Effort;
use super::leads::{After, Leads};
use super::view::View;
use super::{Lane, Match, RuleIndex, RuleMask, Scanner};

/// The state of the reporting lane of one channel.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    /// How far the text has been read.
    read: usize,
    live: Vec<Candidate>,
    /// Rules whose last match reaches past where they could start next, and how far.
    busy: Vec<(u16, usize)>,
}

// === impl Watcher ===

impl Watcher {
    /// A watcher that looks at nothing before `at`.
    pub(crate) fn at(at: usize) -> Watcher {
        Watcher {
            read: at,
            ..Watcher::default()
        }
    }

    /// Has it read everything up to `end`, and is nothing undecided?
    pub(crate) fn is_idle_at(&self, end: usize) -> bool {
        self.read == end && self.live.is_empty()
    }

    /// Rules whose match is certain but goes on, and where it started.
    pub(crate) fn certain(&self) -> impl Iterator<Item = (u16, usize)> + '_ {
        let live = self.live.iter().filter(|c| !c.needs_text());
        live.map(|candidate| (candidate.rule, candidate.start))
    }

    /// Where to look for the first start.
    pub(super) fn from(&self) -> usize {
        self.read
    }

    /// Rules may start at `at`: tries those of `watch`.
    #[inline]
    #[expect(clippy::too_many_arguments)] // one caller, on the hot path
    pub(super) fn start(
        &mut self,
        scanner: &Scanner,
        watch: &RuleMask,
        rules: &[u16],
        view: &View<'_>,
        at: usize,
        effort: &mut Effort,
        on_match: &mut dyn FnMut(Match),
    ) {
        let many = rules.len() >= effort.crowd(at);
        for rule in rules {
            if watch.contains(RuleIndex(*rule))
                && self.is_free(*rule, at)
                && (!many || scanner.may_hear(*rule, view, at, effort))
            {
                self.begin(scanner, watch, *rule, view, at, effort, on_match);
            }
        }
    }

    /// The view has been read to its end.
    pub(super) fn close(&mut self, view: &View<'_>) {
        self.read = view.end();
        self.busy.retain(|(_, until)| *until > view.end());
    }

    /// From where on the text must stay at hand.
    pub(crate) fn needs_from(&self) -> usize {
        let starts = self.live.iter().filter(|c| c.needs_text()).map(|c| c.start);
        starts.fold(self.read, usize::min)
    }

    fn is_free(&self, rule: u16, at: usize) -> bool {
        !self.live.iter().any(|candidate| candidate.rule == rule)
            && !self
                .busy
                .iter()
                .any(|(busy, until)| *busy == rule && *until > at)
    }

    /// Tries a rule at one start; where it may start next, or nothing while it is alive.
    #[expect(clippy::too_many_arguments)] // two callers, on the hot path
    fn begin(
        &mut self,
        scanner: &Scanner,
        watch: &RuleMask,
        rule: u16,
        view: &View<'_>,
        at: usize,
        effort: &mut Effort,
        on_match: &mut dyn FnMut(Match),
    ) -> Option<usize> {
        match scanner.begin(watch, rule, view, at, effort) {
            Some((candidate, Outcome::Alive)) => {
                self.live.push(candidate);
                None
            }
            Some((
                _,
                Outcome::Matched {
                    end, confidence, ..
                },
            )) => {
                on_match(Match {
                    rule: RuleIndex(rule),
                    start: at,
                    end,
                    confidence,
                    lane: Lane::Plain,
                });
                self.occupy(rule, end);
                Some(end)
            }
            Some((_, Outcome::Failed)) | None => Some(at + 1),
        }
    }

    fn occupy(&mut self, rule: u16, until: usize) {
        match self.busy.iter_mut().find(|(busy, _)| *busy == rule) {
            Some((_, busy_until)) => *busy_until = until,
            None => self.busy.push((rule, until)),
        }
    }

    /// Goes on with the candidates that were alive when the last view ended.
    pub(super) fn resume(
        &mut self,
        scanner: &Scanner,
        watch: &RuleMask,
        view: &View<'_>,
        effort: &mut Effort,
        on_match: &mut dyn FnMut(Match),
    ) {
        let mut index = 0;
        let mut count = self.live.len();
        while index < count {
            let mut candidate = self.live[index];
            let outcome = scanner.resume(watch, &mut candidate, view, self.read, effort);
            if outcome == Outcome::Alive {
                self.live[index] = candidate;
                index += 1;
                continue;
            }
            // Candidates that `retry` adds have read this view already: they go behind `count`.
            self.live.remove(index);
            count -= 1;
            let mut next = candidate.start + 1;
            if let Outcome::Matched {
                end, confidence, ..
            } = outcome
            {
                let rule = RuleIndex(candidate.rule);
                on_match(Match {
                    rule,
                    start: candidate.start,
                    end,
                    confidence,
                    lane: Lane::Plain,
                });
                self.occupy(candidate.rule, end);
                next = end;
            }
            self.retry(scanner, watch, candidate.rule, view, next, effort, on_match);
        }
    }

    /// Tries one rule over the starts that a candidate of an earlier view kept waiting.
    #[expect(clippy::too_many_arguments)] // one caller
    fn retry(
        &mut self,
        scanner: &Scanner,
        watch: &RuleMask,
        rule: u16,
        view: &View<'_>,
        from: usize,
        effort: &mut Effort,
        on_match: &mut dyn FnMut(Match),
    ) {
        let mut leads = match &scanner.compiled[usize::from(rule)].after {
            Some(After::Forwards(_)) => Leads::default(),
            _ => Leads::none(),
        };
        let mut walk = scanner.walk(view, from.min(self.read), &mut leads);
        while let Some((at, rules)) = walk.next() {
            if at >= self.read {
                return;
            }
            if rules.contains(&rule) {
                match self.begin(scanner, watch, rule, view, at, effort, on_match) {
                    Some(next) => walk.seek(next.min(self.read)),
                    None => return,
                }
            }
        }
    }
}
