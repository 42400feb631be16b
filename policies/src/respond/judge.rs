//! What is done to a text on its way: the caller's guards look at it.

use super::error::FilterError;
use crate::mask::Channel;
use crate::policy::engine::{Engine, Sieve};
use crate::verdict::Findings;

/// The rules of the caller, and where matches are reported.
pub(super) struct Judge<'a> {
    pub(super) engine: &'a Engine,
    pub(super) sieve: &'a Sieve,
    pub(super) findings: &'a mut Findings,
}

// === impl Judge ===

impl Judge<'_> {
    /// An error once anything was found that blocks.
    pub(super) fn verdict(&self) -> Result<(), FilterError> {
        match self.findings.block() {
            Some(block) => Err(FilterError::Blocked(block.clone())),
            None => Ok(()),
        }
    }

    /// The same rules, reporting elsewhere.
    pub(super) fn reporting<'f>(&'f self, findings: &'f mut Findings) -> Judge<'f> {
        Judge {
            engine: self.engine,
            sieve: self.sieve,
            findings,
        }
    }

    /// What a block found elsewhere leads to.
    pub(super) fn hear_of(&mut self, elsewhere: &Findings) {
        if let Some(block) = elsewhere.block() {
            self.findings.add(block.action, || block.clone());
        }
    }

    /// Masks one whole text; `None` when it stays as it is.
    pub(super) fn mask(&mut self, text: &str, location: &dyn Fn() -> String) -> Option<String> {
        self.engine.mask(self.sieve, text, self.findings, location)
    }

    /// The next piece of a text; `out` receives what may be sent now.
    pub(super) fn push(
        &mut self,
        channel: &mut Channel,
        piece: &str,
        out: &mut String,
        location: &dyn Fn() -> String,
    ) {
        let Judge {
            engine,
            sieve,
            findings,
        } = self;
        engine.push(sieve, channel, piece, out, findings, location);
    }

    /// The end of a text that came in pieces; `out` receives the rest.
    pub(super) fn finish(
        &mut self,
        channel: &mut Channel,
        out: &mut String,
        location: &dyn Fn() -> String,
    ) {
        self.engine
            .finish(self.sieve, channel, out, self.findings, location);
    }

    /// The bound on the time of holding is reached; `out` receives what goes out for it.
    pub(super) fn expire(
        &mut self,
        channel: &mut Channel,
        out: &mut String,
        location: &dyn Fn() -> String,
    ) {
        self.engine
            .expire(self.sieve, channel, out, self.findings, location);
    }
}
