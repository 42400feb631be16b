//! From the guards that apply to a caller to what the scanner is asked, and what its answers mean.
//!
//! Several guards may use one rule, each from its own confidence on. So what a match leads to
//! depends on its confidence: the more of it, the more guards count it, and the strictest of them
//! decides. What counts for no guard is no match, and is neither reported nor held back.

use super::Guard;
use super::engine::{Engine, Sieve, Verdict, Verdicts};
use super::runs::RunGuard;
use crate::mask::{MaskKey, Plan};
use crate::rule::{Confidence, Speaker};
use crate::scan::{RuleIndex, RuleMask};
use crate::verdict::{Action, Direction};

/// Which part of the guards: that which acts, or that which only observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Acting,
    Observing,
}

/// The rules of the guards that look in `direction`; `None` when there are none.
///
/// What only observes has a sieve of its own, with which a message is looked at once more: so what
/// is found is what would be found if it acted, and what acts does so as if the other were not there.
pub(super) fn build(
    engine: &Engine,
    guards: &[&Guard],
    direction: Direction,
    part: Part,
    key: &MaskKey,
) -> Option<Sieve> {
    let mut verdicts = vec![Verdicts::default(); engine.ids.len()];
    for guard in guards.iter().filter(|guard| guard.looks(direction)) {
        for rule in guard.rules_of(part) {
            let most = engine.scanner.rule(*rule).confidence_max();
            let counted = Confidence::ALL
                .into_iter()
                .filter(|confidence| (guard.least..=most).contains(confidence));
            for confidence in counted {
                let slot = &mut verdicts[usize::from(rule.0)][confidence as usize];
                let stricter = slot
                    .as_ref()
                    .is_none_or(|verdict| verdict.action < guard.action);
                if stricter {
                    *slot = Some(Verdict {
                        guard: guard.name.clone(),
                        action: guard.action,
                        restores: guard.restores && direction == Direction::Request,
                    });
                }
            }
        }
    }
    let runs = guards.iter().filter(|guard| guard.looks(direction));
    let runs: Vec<RunGuard> = runs
        .filter_map(|guard| {
            let rule = guard.runs.clone()?;
            (guard.observes_runs == (part == Part::Observing)).then(|| RunGuard {
                guard: guard.name.clone(),
                action: guard.action,
                rule,
            })
        })
        .collect();
    if runs.is_empty() && verdicts.iter().flatten().all(Option::is_none) {
        return None;
    }
    let mut plan = Plan {
        mask: engine.scanner.none(),
        watch: engine.scanner.none(),
    };
    for (rule, verdicts) in (0..).map(RuleIndex).zip(&verdicts) {
        // A block on a live stream must hold the text back until the verdict is certain, so its
        // rules are masked as well: whoever overlooked the report would still not see the match.
        let masks = |verdict: &Verdict| {
            let held = direction == Direction::Response && verdict.action == Action::Block;
            verdict.action == Action::Mask || held
        };
        if let Some(least) = least(verdicts, masks) {
            plan.mask.insert_from(rule, least);
        }
        // A rule that is watched is reported by that alone, so all that counts is watched.
        if least(verdicts, |verdict| verdict.action != Action::Mask).is_some()
            && let Some(least) = least(verdicts, |_| true)
        {
            plan.watch.insert_from(rule, least);
        }
    }
    // An answer is the model's; a request has several speakers.
    let (plan, by_speaker) = match direction {
        Direction::Response => (plan_of(engine, &plan, Speaker::Assistant), None),
        Direction::Request => {
            let asks = |rule: RuleIndex| !engine.scanner.rule(rule).roles.is_empty();
            let asked = plan.mask.iter().chain(plan.watch.iter()).any(asks);
            let plans = || Box::new(Speaker::ALL.map(|speaker| plan_of(engine, &plan, speaker)));
            let by_speaker = asked.then(plans);
            (plan, by_speaker)
        }
    };
    Some(Sieve {
        plan,
        by_speaker,
        verdicts,
        runs,
        key: key.clone(),
    })
}

impl Guard {
    fn rules_of(&self, part: Part) -> &[RuleIndex] {
        match part {
            Part::Acting => &self.rules,
            Part::Observing => &self.observed,
        }
    }
}

/// The least confidence of which the verdict is such.
fn least(verdicts: &Verdicts, such: impl Fn(&Verdict) -> bool) -> Option<Confidence> {
    let of = |confidence: &Confidence| verdicts[*confidence as usize].as_ref().is_some_and(&such);
    Confidence::ALL.into_iter().find(of)
}

/// The part of a plan that applies to the words of one speaker.
fn plan_of(engine: &Engine, plan: &Plan, speaker: Speaker) -> Plan {
    let part = |whole: &RuleMask| {
        let mut part = engine.scanner.none();
        whole
            .iter()
            .filter(|rule| engine.scanner.rule(*rule).is_about(speaker))
            .for_each(|rule| part.insert_from(rule, whole.least(rule)));
        part
    };
    Plan {
        mask: part(&plan.mask),
        watch: part(&plan.watch),
    }
}
