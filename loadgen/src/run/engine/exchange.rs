//! One request and its answer: when what happened.

use crate::outcome::{End, Ended, Recorder};
use crate::run::answer::response::Head;
use crate::run::answer::{Summary, Watch};
use crate::run::check::Findings;
use crate::run::workload::{DisconnectAfter, Job};

/// An exchange that is under way. Moments are nanoseconds since the run's start.
pub(super) struct Exchange {
    pub(super) job: Job,
    intended_ns: u64,
    started_ns: u64,
    first_byte_ns: Option<u64>,
    first_token_ns: Option<u64>,
    last_token_ns: Option<u64>,
    gap_max_ns: Option<u64>,
    texts: u32,
    /// The connection had served before, so it may prove dead by no fault of the server.
    pub(super) reused: bool,
    pub(super) retried: bool,
    /// The moment to go away has come.
    pub(super) hangs_up: bool,
}

/// Notes when parts of an answer come.
pub(super) struct Marks<'a> {
    pub(super) exchange: &'a mut Exchange,
    pub(super) recorder: &'a mut Recorder,
    pub(super) now_ns: u64,
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn new(job: Job, intended_ns: u64, started_ns: u64, reused: bool) -> Self {
        Self {
            job,
            intended_ns,
            started_ns,
            first_byte_ns: None,
            first_token_ns: None,
            last_token_ns: None,
            gap_max_ns: None,
            texts: 0,
            reused,
            retried: false,
            hangs_up: false,
        }
    }

    /// Bytes of the answer came.
    pub(super) fn bytes_came(&mut self, now_ns: u64) {
        self.first_byte_ns.get_or_insert(now_ns);
    }

    /// It is over.
    pub(super) fn ended(
        &self,
        now_ns: u64,
        end: End,
        summary: &Summary,
        findings: Findings,
    ) -> Ended {
        Ended {
            intended_ns: self.intended_ns,
            started_ns: self.started_ns,
            first_byte_ns: self.first_byte_ns,
            first_token_ns: self.first_token_ns,
            last_token_ns: self.last_token_ns,
            ended_ns: now_ns,
            gap_max_ns: self.gap_max_ns,
            tokens: summary.tokens,
            bytes: summary.bytes,
            masked_spans: findings.masked_spans,
            altered: findings.altered,
            planted: self.job.planted.is_some(),
            leaked: findings.leaked,
            end,
        }
    }
}

// === impl Marks ===

impl Watch for Marks<'_> {
    fn head(&mut self, _: &Head) {
        self.exchange.hangs_up |= self.exchange.job.disconnect == Some(DisconnectAfter::Texts(0));
    }

    fn text(&mut self) {
        let exchange = &mut *self.exchange;
        exchange.first_token_ns.get_or_insert(self.now_ns);
        if let Some(last_ns) = exchange.last_token_ns.replace(self.now_ns) {
            let gap_ns = self.now_ns.saturating_sub(last_ns);
            exchange.gap_max_ns = exchange.gap_max_ns.max(Some(gap_ns));
            self.recorder.between_tokens(self.now_ns, gap_ns);
        }
        exchange.texts += 1;
        if let Some(DisconnectAfter::Texts(texts)) = exchange.job.disconnect {
            exchange.hangs_up |= exchange.texts >= texts;
        }
    }
}
