//! The compiled rules of one policy set, and the view of them that one caller has in one direction.
//!
//! This is the only place where matches become findings: the scanner speaks of rule numbers, people
//! of guards and rules.

use std::fmt;
use std::sync::Arc;

use super::bound::Bound;
use super::runs::RunGuard;
use super::tokens::Tokenizers;
use crate::mask::{Channel, MaskKey, Plan, mask_within};
use crate::rule::{Confidence, Speaker};
use crate::scan::effort::{Effort, Work};
use crate::scan::{Lane, Match, Scanner};
use crate::verdict::{Action, Finding, Findings};

/// Every rule that any guard uses, compiled once.
pub(crate) struct Engine {
    pub(super) scanner: Scanner,
    pub(super) key: MaskKey,
    /// Rule ids by rule index.
    pub(super) ids: Vec<Arc<str>>,
    /// How much work a message may take.
    pub(super) bound: Bound,
    /// How tokens are counted.
    pub(super) tokenizers: Tokenizers,
}

/// Which rules apply to one caller in one direction, and what each of them leads to.
#[derive(Clone)]
pub(crate) struct Sieve {
    pub(super) plan: Plan,
    /// By speaker, where a rule asks for one: the part of the plan that applies to those words.
    pub(super) by_speaker: Option<Box<[Plan; Speaker::ALL.len()]>>,
    /// By rule index.
    pub(super) verdicts: Vec<Verdicts>,
    /// What applies to runs that are no text.
    pub(super) runs: Vec<RunGuard>,
    /// The caller's tenant's.
    pub(super) key: MaskKey,
}

/// What matches of one rule lead to, by their confidence; `None` where they count for no guard.
pub(super) type Verdicts = [Option<Verdict>; Confidence::ALL.len()];

/// What a match leads to: the strictest of the guards that use it.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) guard: Arc<str>,
    pub(super) action: Action,
    /// What it masks is put back in the answer.
    pub(super) restores: bool,
}

// === impl Engine ===

impl Engine {
    /// Masks one whole text; `None` when it stays as it is. `location` is asked only for a
    /// finding that is kept.
    pub(crate) fn mask(
        &self,
        sieve: &Sieve,
        text: &str,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) -> Option<String> {
        self.mask_with(sieve, &sieve.plan, text, findings, location)
    }

    /// The same, of a text whose speaker is known: rules may ask for one.
    pub(crate) fn mask_as(
        &self,
        sieve: &Sieve,
        speaker: Speaker,
        text: &str,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) -> Option<String> {
        self.mask_with(sieve, sieve.plan_of(speaker), text, findings, location)
    }

    /// Charges a message for a text that is known to have nothing in it, as reading it would. False
    /// where that would be more than is left: such a text is read, so that its excess is reported.
    pub(crate) fn charge(&self, bytes: usize, steps: u64, findings: &mut Findings) -> bool {
        let mut work = findings.work.clone();
        work.allow(self.bound.steps(bytes));
        let may = steps <= work.left();
        if may {
            work.spend(steps);
            findings.work = work;
        }
        may
    }

    fn mask_with(
        &self,
        sieve: &Sieve,
        plan: &Plan,
        text: &str,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        sieve.measure_whole(text, findings, location);
        let mut effort = Effort::of(self.grant(text.len(), findings));
        let mut report = |found: Match| {
            self.report(sieve, &found, findings, location);
            self.keep(sieve, &found, text, findings);
        };
        let masked = mask_within(
            &self.scanner,
            plan,
            &sieve.key,
            text,
            &mut effort,
            &mut report,
        );
        self.account(&effort.work, text.len(), findings, location);
        masked
    }

    /// More text of a message came: what may be spent on it.
    fn grant(&self, bytes: usize, findings: &mut Findings) -> Work {
        findings.work.allow(self.bound.steps(bytes));
        Work::within(findings.work.left())
    }

    /// Counts what was spent on a text, and reports when it was too much. Whether what was read of
    /// the text may go out.
    fn account(
        &self,
        work: &Work,
        bytes: usize,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) -> bool {
        findings.work.spend(work.spent());
        if !work.is_exhausted() {
            return true;
        }
        self.bound.report(bytes, findings, location);
        self.bound.lets_pass()
    }

    /// The next piece of a text that arrives in pieces; `out` receives what may be sent now.
    pub(crate) fn push(
        &self,
        sieve: &Sieve,
        channel: &mut Channel,
        delta: &str,
        out: &mut String,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) {
        sieve.measure(channel, delta, findings, location);
        let sent = out.len();
        channel.effort().work = self.grant(delta.len(), findings);
        let mut report = |found: Match| self.report(sieve, &found, findings, location);
        channel.push(
            &self.scanner,
            &sieve.plan,
            &sieve.key,
            delta,
            &mut report,
            out,
        );
        if !self.account(&channel.effort().work, delta.len(), findings, location) {
            out.truncate(sent);
        }
    }

    /// The end of a text that arrived in pieces; `out` receives the rest.
    pub(crate) fn finish(
        &self,
        sieve: &Sieve,
        channel: &mut Channel,
        out: &mut String,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) {
        let sent = out.len();
        channel.effort().work = self.grant(0, findings);
        let mut report = |found: Match| self.report(sieve, &found, findings, location);
        channel.finish(&self.scanner, &sieve.plan, &sieve.key, &mut report, out);
        if !self.account(&channel.effort().work, 0, findings, location) {
            out.truncate(sent);
        }
    }

    /// The time bound of a held tail: it is masked now, never released.
    pub(crate) fn expire(
        &self,
        sieve: &Sieve,
        channel: &mut Channel,
        out: &mut String,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) {
        let mut report = |found: Match| self.report(sieve, &found, findings, location);
        channel.expire(&self.scanner, &sieve.plan, &sieve.key, &mut report, out);
    }

    /// Keeps what is to be put back in the answer.
    fn keep(&self, sieve: &Sieve, found: &Match, text: &str, findings: &mut Findings) {
        let verdicts = sieve.verdicts.get(usize::from(found.rule.0));
        let verdict = verdicts.and_then(|by| by[found.confidence as usize].as_ref());
        let restores = verdict.is_some_and(|verdict| verdict.restores);
        // What was decoded is not what stands here, and would have to be encoded again.
        if !restores || found.lane != Lane::Plain {
            return;
        }
        let rule = self.scanner.rule(found.rule);
        let Some(value) = text.get(found.start..found.end) else {
            return;
        };
        if value.len() > rule.max_len || !rule.template.is_restorable(value) {
            return;
        }
        let replacement = rule.replacement(Some(value), &sieve.key);
        if rule.template.preserves_format() {
            // A guard on responses may take it for a value and mask it in its turn.
            let again = rule.replacement(Some(&replacement), &sieve.key);
            findings.vault.keep(again, value);
        }
        findings.vault.keep(replacement, value);
    }

    fn report(
        &self,
        sieve: &Sieve,
        found: &Match,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) {
        let index = usize::from(found.rule.0);
        let verdicts = sieve.verdicts.get(index);
        let verdict = verdicts.and_then(|by| by[found.confidence as usize].as_ref());
        let Some(verdict) = verdict else {
            debug_assert!(false, "a rule outside the plan was reported");
            return;
        };
        findings.add(verdict.action, &verdict.guard, || Finding {
            guard: verdict.guard.clone(),
            rule: self.ids[index].clone(),
            action: verdict.action,
            location: location(),
            start: found.start,
            end: found.end,
            confidence: found.confidence,
            lane: found.lane,
            observed: None,
        });
    }
}

// === impl Sieve ===

impl Sieve {
    /// Does any of its rules ask who speaks?
    pub(crate) fn asks_for_roles(&self) -> bool {
        self.by_speaker.is_some()
    }

    /// What a match of this rule leads to at its highest confidence, and by whose guard.
    pub(super) fn verdict_on(&self, engine: &Engine, rule: &str) -> Option<(String, Action)> {
        let index = engine.ids.iter().position(|id| &**id == rule);
        let by = index.and_then(|index| self.verdicts[index].iter().rev().flatten().next());
        let by_rule = by.map(|verdict| (verdict.guard.to_string(), verdict.action));
        by_rule.or_else(|| self.verdict_on_run(rule))
    }

    /// What applies to the words of this speaker.
    pub(crate) fn plan_of(&self, speaker: Speaker) -> &Plan {
        match &self.by_speaker {
            Some(plans) => &plans[speaker as usize],
            None => &self.plan,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of every log.
        f.debug_struct("Engine")
            .field("rules", &self.ids.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sieve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |verdicts: &&Verdicts| verdicts.iter().any(Option::is_some);
        let used = self.verdicts.iter().filter(counts).count();
        f.debug_struct("Sieve")
            .field("rules", &used)
            .finish_non_exhaustive()
    }
}
