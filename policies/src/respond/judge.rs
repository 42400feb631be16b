//! What is done to the texts of a response: the caller's guards look at them, and behind that,
//! values that were masked on the way in are put back.

use super::error::FilterError;
use crate::mask::{Channel, Restoring, Vault};
use crate::policy::Scope;
use crate::policy::engine::{Engine, Sieve};
use crate::verdict::Findings;

/// What a reader of a response works with.
#[derive(Debug)]
pub(super) enum Work {
    Guard(Scope),
    /// What only observes: nothing that comes of it is sent.
    Observe(Scope),
    Restore(Vault),
}

/// Does it, and says where matches are reported.
pub(super) struct Judge<'a> {
    pub(super) doing: Doing<'a>,
    pub(super) findings: &'a mut Findings,
}

#[derive(Clone, Copy)]
pub(super) enum Doing<'a> {
    Guard(&'a Engine, &'a Sieve),
    Restore(&'a Vault),
}

/// One text that comes in pieces.
pub(super) enum Flow {
    Guarded(Box<Channel>),
    Restored(Restoring),
}

// === impl Work ===

impl Work {
    /// `None` where no guard looks at this caller's responses.
    pub(super) fn judge<'a>(&'a self, findings: &'a mut Findings) -> Option<Judge<'a>> {
        let doing = match self {
            Work::Guard(scope) => {
                let (engine, sieve) = scope.response()?;
                Doing::Guard(engine, sieve)
            }
            Work::Observe(scope) => {
                let (engine, sieve) = scope.observed_response()?;
                Doing::Guard(engine, sieve)
            }
            Work::Restore(vault) => Doing::Restore(vault),
        };
        Some(Judge { doing, findings })
    }
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

    /// Whether this only puts values back. Nothing depends on that: what cannot be read passes.
    pub(super) fn restores(&self) -> bool {
        matches!(self.doing, Doing::Restore(_))
    }

    /// The same, reporting elsewhere.
    pub(super) fn reporting<'f>(&'f self, findings: &'f mut Findings) -> Judge<'f> {
        Judge {
            doing: self.doing,
            findings,
        }
    }

    /// What a block found elsewhere leads to.
    pub(super) fn hear_of(&mut self, elsewhere: &Findings) {
        if let Some(block) = elsewhere.block() {
            self.findings
                .add(block.action, &block.guard, || block.clone());
        }
    }

    /// A text of which no piece has come. `is_json` says that the text is JSON itself.
    pub(super) fn begin(&self, is_json: bool) -> Flow {
        match self.doing {
            Doing::Guard(..) => Flow::Guarded(Box::default()),
            Doing::Restore(_) => Flow::Restored(Restoring::new(is_json)),
        }
    }

    /// What becomes of one whole text; `None` when it stays as it is.
    pub(super) fn whole(
        &mut self,
        text: &str,
        is_json: bool,
        location: &dyn Fn() -> String,
    ) -> Option<String> {
        match self.doing {
            Doing::Guard(engine, sieve) => engine.mask(sieve, text, self.findings, location),
            Doing::Restore(vault) => vault.restore(text, is_json),
        }
    }

    /// The next piece of a text; `out` receives what may be sent now.
    pub(super) fn push(
        &mut self,
        flow: &mut Flow,
        piece: &str,
        out: &mut String,
        location: &dyn Fn() -> String,
    ) {
        match (self.doing, flow) {
            (Doing::Guard(engine, sieve), Flow::Guarded(channel)) => {
                engine.push(sieve, channel, piece, out, self.findings, location);
            }
            (Doing::Restore(vault), Flow::Restored(text)) => text.push(vault, piece, out),
            _ => unreachable!("a text was begun by another judge"),
        }
    }

    /// The end of a text that came in pieces; `out` receives the rest.
    pub(super) fn finish(
        &mut self,
        flow: &mut Flow,
        out: &mut String,
        location: &dyn Fn() -> String,
    ) {
        match (self.doing, flow) {
            (Doing::Guard(engine, sieve), Flow::Guarded(channel)) => {
                engine.finish(sieve, channel, out, self.findings, location);
            }
            (Doing::Restore(vault), Flow::Restored(text)) => text.finish(vault, out),
            _ => unreachable!("a text was begun by another judge"),
        }
    }

    /// The bound on the time of holding is reached; `out` receives what goes out for it.
    pub(super) fn expire(
        &mut self,
        flow: &mut Flow,
        out: &mut String,
        location: &dyn Fn() -> String,
    ) {
        match (self.doing, flow) {
            (Doing::Guard(engine, sieve), Flow::Guarded(channel)) => {
                engine.expire(sieve, channel, out, self.findings, location);
            }
            (Doing::Restore(_), Flow::Restored(text)) => text.expire(out),
            _ => unreachable!("a text was begun by another judge"),
        }
    }
}

// === impl Flow ===

impl Flow {
    /// Bytes of text that came and wait for more.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Flow::Guarded(channel) => channel.held_bytes(),
            Flow::Restored(text) => text.held_bytes(),
        }
    }

    /// How many bytes of the text are done with: sent or replaced.
    pub(super) fn watermark(&self) -> usize {
        match self {
            Flow::Guarded(channel) => channel.watermark(),
            Flow::Restored(text) => text.received_bytes() - text.held_bytes(),
        }
    }

    /// How many bytes of text have come.
    pub(super) fn received_bytes(&self) -> usize {
        match self {
            Flow::Guarded(channel) => channel.received_bytes(),
            Flow::Restored(text) => text.received_bytes(),
        }
    }
}
