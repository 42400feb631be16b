//! Masking: matches become replacements, in a block of text or while it streams.
//!
//! [`mask_text`] defines the masked text M(T) of a text T; [`Channel`] gives the same bytes when T
//! comes in pieces, and at every moment what it has given is a prefix of M(T). What is found is
//! defined in [`crate::scan`].

mod channel;
mod key;
mod vault;

pub use channel::Channel;
pub use key::MaskKey;
pub use vault::Vault;

pub(crate) use vault::Restoring;

use crate::scan::cursor::Sink;
use crate::scan::effort::Effort;
use crate::scan::lanes::Lanes;
use crate::scan::view::View;
use crate::scan::{Match, RuleIndex, RuleMask, Scanner};

/// Which rules replace and which only report.
///
/// A rule in `watch` is reported whenever it matches on its own, and neither shadows masking nor
/// is shadowed by it. A rule that is in both is reported by `watch` alone, once. Whoever blocks on
/// a rule puts it in both: its text is then held or replaced, whatever becomes of the report.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Rules whose matches are replaced.
    pub mask: RuleMask,
    /// Rules whose matches are only reported.
    pub watch: RuleMask,
}

/// M(T): `text` with the matches of `plan.mask` replaced, or `None` when there are none.
///
/// Reports every replaced match, and every match of a watched rule; the order is that of decision.
pub fn mask_text(
    scanner: &Scanner,
    plan: &Plan,
    key: &MaskKey,
    text: &str,
    on_match: &mut dyn FnMut(Match),
) -> Option<String> {
    mask_within(scanner, plan, key, text, &mut Effort::default(), on_match)
}

/// The same, as far as the effort allows: what was not looked at stays as it is.
pub(crate) fn mask_within(
    scanner: &Scanner,
    plan: &Plan,
    key: &MaskKey,
    text: &str,
    effort: &mut Effort,
    on_match: &mut dyn FnMut(Match),
) -> Option<String> {
    let view = View::whole(text);
    let mut out = String::new();
    let mut sent = 0;
    let mut writer = Writer {
        scanner,
        plan,
        key,
        on_match,
        out: &mut out,
        sent: &mut sent,
    };
    let mut lanes = Lanes::default();
    std::mem::swap(&mut lanes.effort, effort);
    lanes.advance(scanner, &plan.mask, &plan.watch, &view, &mut writer);
    std::mem::swap(&mut lanes.effort, effort);
    if sent == 0 {
        return None;
    }
    out.push_str(&text[sent..]);
    Some(out)
}

/// Writes what the cursor decides: the text between matches, and their replacements.
pub(crate) struct Writer<'a> {
    pub(crate) scanner: &'a Scanner,
    pub(crate) plan: &'a Plan,
    pub(crate) key: &'a MaskKey,
    pub(crate) on_match: &'a mut dyn FnMut(Match),
    pub(crate) out: &'a mut String,
    /// Everything before this place of the text has been written or replaced.
    pub(crate) sent: &'a mut usize,
}

// === impl Writer ===

impl Sink for Writer<'_> {
    fn replace(&mut self, view: &View<'_>, rule: RuleIndex, start: usize, whole: Option<usize>) {
        if *self.sent < start {
            self.out.push_str(view.slice(*self.sent, start));
            *self.sent = start;
        }
        let rule = self.scanner.rule(rule);
        match whole {
            Some(end) => {
                rule.template
                    .render(rule.id(), view.slice(start, end), self.key, self.out);
            }
            None => rule.template.render_unseen(rule.id(), self.out),
        }
    }

    fn complete(&mut self, found: Match) {
        if !self.plan.watch.contains(found.rule) {
            (self.on_match)(found);
        }
    }

    fn resume_at(&mut self, end: usize) {
        *self.sent = end;
    }

    fn watched(&mut self, found: Match) {
        (self.on_match)(found);
    }
}
