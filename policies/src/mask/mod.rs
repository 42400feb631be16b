//! Masking: matches become replacements, in a block of text or while it streams.
//!
//! [`mask_text`] defines the masked text M(T) of a text T; [`Channel`] gives the same bytes when T
//! comes in pieces, and at every moment what it has given is a prefix of M(T). What is found is
//! defined in [`crate::scan`] for the text as it is written, and in [`crate::lane`] for what it says
//! when it is decoded. Where matches of several lanes meet, all that any of them covers is replaced.

mod channel;
mod key;
mod vault;

pub use channel::Channel;
pub use key::MaskKey;
pub use vault::Vault;

pub(crate) use vault::Restoring;

use crate::lane::escaped::{Asked, Taken};
use crate::lane::look::{Look, Wanted};
use crate::lane::merge::{PLAIN, Queue};
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
    let mut out = String::new();
    let level = scanner.prefilter().level();
    if Look::default().read(level, text, Wanted::BOTH).is_call() {
        // Several lanes: the text is a stream of one piece.
        let mut channel = Channel::new();
        std::mem::swap(channel.effort(), effort);
        channel.push(scanner, plan, key, text, on_match, &mut out);
        channel.finish(scanner, plan, key, on_match, &mut out);
        std::mem::swap(channel.effort(), effort);
        return channel.has_replaced().then_some(out);
    }
    let view = View::whole(text);
    let (mut sent, mut replaced) = (0, false);
    let mut writer = Writer {
        asked: Asked {
            scanner,
            plan,
            key,
            on_match,
        },
        out: &mut out,
        sent: &mut sent,
        replaced: &mut replaced,
        taken: None,
        queue: None,
    };
    let mut lanes = Lanes::default();
    std::mem::swap(&mut lanes.effort, effort);
    lanes.advance(scanner, &plan.mask, &plan.watch, &view, &mut writer);
    std::mem::swap(&mut lanes.effort, effort);
    if !replaced {
        return None;
    }
    out.push_str(&text[sent..]);
    Some(out)
}

/// Takes what the plain lane decides: writes the text between matches, and their replacements; or
/// puts them in the queue where those of other lanes are.
pub(crate) struct Writer<'a> {
    pub(crate) asked: Asked<'a>,
    pub(crate) out: &'a mut String,
    /// Everything before this place of the text has been written or replaced.
    pub(crate) sent: &'a mut usize,
    /// Something was replaced.
    pub(crate) replaced: &'a mut bool,
    /// Where other lanes are not to find anything; none when there can be no others.
    pub(crate) taken: Option<&'a mut Taken>,
    /// There while another lane is awake.
    pub(crate) queue: Option<&'a mut Queue>,
}

// === impl Writer ===

impl Writer<'_> {
    fn render(&mut self, view: &View<'_>, rule: RuleIndex, start: usize, whole: Option<usize>) {
        let rule = self.asked.scanner.rule(rule);
        let mut queued = String::new();
        let out = match self.queue {
            Some(_) => &mut queued,
            None => &mut *self.out,
        };
        match whole {
            Some(end) => {
                let value = view.slice(start, end);
                rule.template.render(rule.id(), value, self.asked.key, out);
            }
            None => rule.template.render_unseen(rule.id(), out),
        }
        if let Some(queue) = &mut self.queue {
            queue.push(PLAIN, start, whole, queued);
        }
    }
}

impl Sink for Writer<'_> {
    fn replace(&mut self, view: &View<'_>, rule: RuleIndex, start: usize, whole: Option<usize>) {
        if self.queue.is_none() && *self.sent < start {
            self.out.push_str(view.slice(*self.sent, start));
            *self.sent = start;
        }
        if let Some(taken) = &mut self.taken {
            taken.open(None, start);
        }
        *self.replaced = true;
        self.render(view, rule, start, whole);
    }

    fn complete(&mut self, found: Match) {
        if !self.asked.plan.watch.contains(found.rule) {
            (self.asked.on_match)(found);
        }
    }

    fn resume_at(&mut self, end: usize) {
        if let Some(taken) = &mut self.taken {
            taken.close(None, end);
        }
        match &mut self.queue {
            Some(queue) => queue.close(PLAIN, end),
            None => *self.sent = end,
        }
    }

    fn watched(&mut self, found: Match) {
        if let Some(taken) = &mut self.taken {
            taken.add(found.rule.0, found.start, found.end);
        }
        (self.asked.on_match)(found);
    }
}
