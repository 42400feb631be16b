//! Guards on what is no text: weights, and long runs that hide what they are.
//!
//! A model's weights can leave through an answer as base64. What a run is shows in its first few
//! dozen characters, which are out by then; so such a guard cannot mask. It flags, or it ends the
//! exchange there, some hundred bytes into gigabytes.

use std::sync::Arc;

use super::engine::Sieve;
use crate::lane::blob::{BlobKind, Run, RunMeter, classify};
use crate::mask::Channel;
use crate::rule::Confidence;
use crate::scan::Lane;
use crate::verdict::{Action, Finding, Findings};

/// A text without a run of so many characters is looked at no further: what a run is cannot be told
/// from fewer.
const RUN_CHARS_MIN: usize = 64;

/// How long a run may be where a guard stops weights and says nothing of other runs.
const NO_BOUND: usize = usize::MAX - 1;

/// What a guard says of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunRule {
    /// Stops the file formats of weights.
    pub(super) weights: bool,
    /// Stops any longer run that is neither text nor a known medium.
    pub(super) opaque_bytes: Option<usize>,
}

/// The same for one caller in one direction.
#[derive(Clone, Debug)]
pub(super) struct RunGuard {
    pub(super) guard: Arc<str>,
    pub(super) action: Action,
    pub(super) rule: RunRule,
}

// === impl RunGuard ===

impl RunGuard {
    fn meter(&self) -> RunMeter {
        RunMeter::new(self.rule.opaque_bytes.unwrap_or(NO_BOUND))
    }

    /// Is a run of this kind, told of at this length, what the guard stops?
    fn stops(&self, kind: BlobKind) -> bool {
        match kind {
            // Grants govern media; see `Media`.
            BlobKind::Media => false,
            BlobKind::Opaque => self.rule.opaque_bytes.is_some(),
            _ => self.rule.weights,
        }
    }

    fn report(&self, run: &Run, findings: &mut Findings, location: &dyn Fn() -> String) {
        if !self.stops(run.kind) {
            return;
        }
        findings.add(self.action, &self.guard, || Finding {
            guard: self.guard.clone(),
            rule: rule_id(run.kind).into(),
            action: self.action,
            confidence: Confidence::High,
            lane: Lane::Blob,
            location: location(),
            start: run.start,
            end: run.start + run.bytes,
            observed: None,
        });
    }
}

/// The name of what was found, where rules have their ids.
fn rule_id(kind: BlobKind) -> String {
    match kind {
        BlobKind::Opaque => "opaque-run".to_owned(),
        kind => format!("weights-{}", kind.as_str()),
    }
}

// === impl Sieve ===

impl Sieve {
    /// The same without what it says of runs, if it says anything of them.
    pub(super) fn without_runs(&self) -> Option<Sieve> {
        (!self.runs.is_empty()).then(|| Sieve {
            runs: Vec::new(),
            ..self.clone()
        })
    }

    /// What a run of this name leads to, and by whose guard.
    pub(super) fn verdict_on_run(&self, rule: &str) -> Option<(String, Action)> {
        let stops = |guard: &&RunGuard| match rule {
            "opaque-run" => guard.rule.opaque_bytes.is_some(),
            _ => rule.starts_with("weights-") && guard.rule.weights,
        };
        let guard = self
            .runs
            .iter()
            .filter(stops)
            .max_by_key(|guard| guard.action)?;
        Some((guard.guard.to_string(), guard.action))
    }

    /// Looks for runs in a whole text.
    pub(super) fn measure_whole(
        &self,
        text: &str,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) {
        if self.runs.is_empty() || !has_run(text.as_bytes()) {
            return;
        }
        for guard in &self.runs {
            let mut tell = |run: Run| guard.report(&run, findings, location);
            guard.meter().push(text, &mut tell);
        }
    }

    /// Looks for runs in the next piece of a text.
    pub(super) fn measure(
        &self,
        channel: &mut Channel,
        delta: &str,
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) {
        if channel.meters.len() != self.runs.len() {
            channel.meters = self.runs.iter().map(RunGuard::meter).collect();
        }
        for (guard, meter) in self.runs.iter().zip(&mut channel.meters) {
            meter.push(delta, &mut |run| guard.report(&run, findings, location));
        }
    }

    /// Looks at the beginning of a file.
    pub(crate) fn measure_file(
        &self,
        content: &[u8],
        findings: &mut Findings,
        location: &dyn Fn() -> String,
    ) {
        let Some(kind) = classify(content) else {
            return;
        };
        for guard in &self.runs {
            let run = Run {
                kind,
                start: 0,
                bytes: content.len(),
            };
            guard.report(&run, findings, location);
        }
    }
}

/// Is there a stretch of so many bytes that may be a run? Looks at few bytes of ordinary text.
fn has_run(text: &[u8]) -> bool {
    let runs = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n\\".contains(&byte);
    let mut from = 0;
    while let Some(window) = text.get(from..from + RUN_CHARS_MIN) {
        match window.iter().rposition(|byte| !runs(*byte)) {
            None => return true,
            Some(breaks) => from += breaks + 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::has_run;

    #[test]
    fn a_run_is_seen_wherever_it_stands() {
        let run = "a".repeat(64);
        for before in 0..200 {
            let text = format!("{}{run}", "b c".repeat(before));
            assert!(has_run(text.as_bytes()), "{before}");
            assert!(!has_run(&text.as_bytes()[..text.len() - 2]), "{before}");
        }
        assert!(!has_run("a".repeat(63).as_bytes()));
        assert!(!has_run(
            format!("{} {}", "a".repeat(63), "a".repeat(63)).as_bytes()
        ));
    }
}
