//! The verdict on a text that stands outside any body: a header's value, a query string.
//!
//! Such a text is never rewritten, because what a field means is between its sender and the server;
//! so there is a verdict and no masked copy. Who asks decides what [`Action::Mask`] comes to: the
//! match must not pass, and to refuse the message is the plain answer. What must be approved,
//! [`Scope::held_by`] says.

use crate::policy::{Asked, PolicySet, Scope};
use crate::verdict::{Action, Direction, Finding, Findings};

/// What is decided about one text outside a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextVerdict {
    /// The worst of the findings' actions; [`Action::Allow`] where no guard looks.
    pub action: Action,
    /// What was found, without the values; at most [`crate::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// Something in it must not pass as it is, and would be replaced in a body.
    pub masks: bool,
    /// The first finding of each guard that holds, listed or not.
    pub held: Vec<Finding>,
}

// === impl PolicySet ===

impl PolicySet {
    /// Inspects one whole text that travels in `direction`, as the caller's guards there say.
    ///
    /// `location` names it in findings, for example `header.x-note`; it must be a word of the
    /// protocol or of the gateway, for it is logged. The text is read as it stands: who has it
    /// percent-encoded decodes it first. Without a guard in that direction this costs nothing.
    pub fn inspect_text(
        &self,
        scope: &Scope,
        direction: Direction,
        location: &str,
        text: &str,
    ) -> TextVerdict {
        let (guarded, observed) = match direction {
            Direction::Request => (scope.request(), scope.observed_request()),
            Direction::Response => (scope.response(), scope.observed_response()),
        };
        let look = |asked: Option<Asked<'_>>| {
            let mut findings = Findings::default();
            let masked = asked.and_then(|(engine, sieve)| {
                engine.mask(sieve, text, &mut findings, &|| location.to_owned())
            });
            (findings, masked.is_some())
        };
        let (mut acting, masks) = look(guarded);
        let mut findings = acting.take();
        findings.extend(look(observed).0.take_observed());
        TextVerdict {
            action: acting.worst(),
            findings,
            masks,
            held: acting.take_held(),
        }
    }
}
