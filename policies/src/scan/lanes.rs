//! The two lanes side by side: one pass over the text serves masking and reporting.

use super::cursor::{Cursor, Sink};
use super::effort::Effort;
use super::leads::Leads;
use super::view::View;
use super::watch::Watcher;
use super::{RuleMask, Scanner};

/// The state of both lanes of one text, each with nothing to do when its set of rules is empty.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) cursor: Cursor,
    pub(crate) watcher: Watcher,
    leads: Leads,
    pub(crate) effort: Effort,
}

// === impl Lanes ===

impl Lanes {
    /// Lanes that look at nothing before `at`.
    pub(crate) fn at(at: usize) -> Lanes {
        Lanes {
            cursor: Cursor::at(at),
            watcher: Watcher::at(at),
            // The first walk looks back for leads from where it begins.
            leads: Leads::default(),
            effort: Effort::default(),
        }
    }

    /// Reads the view's new text, and decides all that can be decided. What is watched is told in
    /// order of start, then of rule, when the view is the whole text.
    pub(crate) fn advance(
        &mut self,
        scanner: &Scanner,
        mask: &RuleMask,
        watch: &RuleMask,
        view: &View<'_>,
        sink: &mut dyn Sink,
    ) {
        let Lanes {
            cursor,
            watcher,
            leads,
            effort,
        } = self;
        let (masks, watches) = (!mask.is_empty(), !watch.is_empty());
        if watches {
            watcher.resume(scanner, watch, view, effort, &mut |found| {
                sink.watched(found);
            });
        }
        if masks {
            cursor.resume(scanner, mask, view, effort, sink);
        }
        let watch_from = if watches { watcher.from() } else { usize::MAX };
        let mask_from = cursor.from().filter(|_| masks).unwrap_or(usize::MAX);
        let from = watch_from.min(mask_from).min(view.end());
        let mut walk = scanner.walk(view, from, leads);
        while let Some((at, rules)) = walk.next() {
            if effort.work.is_exhausted() {
                break;
            }
            if at >= watch_from {
                let tell = &mut |found| sink.watched(found);
                watcher.start(scanner, watch, rules, view, at, effort, tell);
            }
            if !masks {
                continue;
            }
            match cursor.from() {
                Some(from) if from <= at => {
                    cursor.start(scanner, mask, rules, view, at, effort, sink);
                }
                _ => {}
            }
            if !watches {
                match cursor.from() {
                    Some(from) => walk.seek(from),
                    None => break,
                }
            }
        }
        effort.work.spend(leads.take_steps());
        if masks {
            cursor.close(view);
        }
        if watches {
            watcher.close(view);
        }
        if scanner.starts.has_leads {
            let undecided = |lane, from: usize| if lane { from } else { usize::MAX };
            let mask_from = undecided(masks, cursor.held_from());
            leads.close(undecided(watches, watcher.needs_from()).min(mask_from));
        }
    }
}
