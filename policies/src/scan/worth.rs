//! What a value that matched is worth: nothing, if the rule allows it or the words around it are
//! missing; else the rule's confidence, or a high one if something confirms it.

use regex_automata::meta;

use super::context::Nearby;
use super::effort::Work;
use super::view::View;
use crate::rule::{Allow, Confidence, Confirm, Rule};

/// A byte that an expression of `allow` reads counts for so many steps: it is an NFA that reads.
const ALLOW_STEPS: usize = 8;

/// The part of a rule that judges values.
#[derive(Debug)]
pub(super) struct Worth {
    allow: Option<Allowed>,
    /// Words of which one must stand near.
    context: Option<Nearby>,
    base: Confidence,
    confirm: Option<Confirming>,
}

#[derive(Debug)]
struct Allowed {
    named: Allow,
    patterns: Option<meta::Regex>,
}

#[derive(Debug)]
struct Confirming {
    by_value: Confirm,
    by_words: Option<Nearby>,
}

// === impl Worth ===

impl Worth {
    pub(super) fn new(rule: &Rule) -> Result<Worth, String> {
        Ok(Worth {
            allow: rule.allow.as_ref().map(Allowed::new).transpose()?,
            context: rule.context.as_ref().map(Nearby::new),
            base: rule.confidence,
            confirm: rule.confirm.as_ref().map(|confirm| Confirming {
                by_value: confirm.clone(),
                by_words: confirm.context.as_ref().map(Nearby::new),
            }),
        })
    }

    /// Words that can only stand before a match can be looked for before it is read.
    #[inline]
    pub(super) fn may_start(&self, view: &View<'_>, at: usize, work: &mut Work) -> bool {
        self.context.as_ref().is_none_or(|context| {
            context.looks_behind() || context.stands_before(view.before(at), work)
        })
    }

    /// Is the value one that the rule allows?
    pub(super) fn allows(&self, value: &str, work: &mut Work) -> bool {
        self.allow
            .as_ref()
            .is_some_and(|allow| allow.contains(value, work))
    }

    /// What the value alone makes of the match.
    pub(super) fn of_value(&self, value: &str, work: &mut Work) -> Confidence {
        let Some(confirm) = self.confirm.as_ref().filter(|_| !self.is_sure()) else {
            return self.base;
        };
        work.spend((value.len()) as u64);
        match confirm.by_value.accepts(value) {
            true => Confidence::High,
            false => self.base,
        }
    }

    /// What a match is worth of which nothing more can be asked.
    pub(super) fn unasked(&self) -> Confidence {
        match self.confirm {
            Some(_) => Confidence::High,
            None => self.base,
        }
    }

    /// What the words around `start..end` make of a match that its value makes worth `so_far`:
    /// no match, or its confidence; nothing while the text that decides is not at hand.
    pub(super) fn of_words(
        &self,
        view: &View<'_>,
        [start, end]: [usize; 2],
        so_far: Confidence,
        work: &mut Work,
    ) -> Option<Result<Confidence, NoMatch>> {
        if let Some(context) = self.context.as_ref().filter(|words| words.looks_behind())
            && !context.stands_near(view, start, end, work)?
        {
            return Some(Err(NoMatch));
        }
        let words = self.confirm.as_ref().and_then(|it| it.by_words.as_ref());
        let Some(words) = words.filter(|_| so_far < Confidence::High) else {
            return Some(Ok(so_far));
        };
        Some(Ok(match words.stands_near(view, start, end, work)? {
            true => Confidence::High,
            false => so_far,
        }))
    }

    fn is_sure(&self) -> bool {
        self.base == Confidence::High
    }
}

/// The words that must stand near do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMatch;

// === impl Allowed ===

impl Allowed {
    fn new(allow: &Allow) -> Result<Allowed, String> {
        let hirs: Vec<_> = allow.patterns.iter().map(|pattern| &pattern.hir).collect();
        // A lazy automaton would keep a cache of its own for every rule and core.
        let config = meta::Config::new().hybrid(false);
        let patterns = (!hirs.is_empty())
            .then(|| {
                meta::Builder::new()
                    .configure(config)
                    .build_many_from_hir(&hirs)
            })
            .transpose()
            .map_err(|error| format!("an expression of `allow` is too big: {error}"))?;
        Ok(Allowed {
            named: allow.clone(),
            patterns,
        })
    }

    fn contains(&self, value: &str, work: &mut Work) -> bool {
        work.spend((value.len()) as u64);
        if self.named.names(value) {
            return true;
        }
        self.patterns.as_ref().is_some_and(|patterns| {
            work.spend((value.len() * ALLOW_STEPS) as u64);
            patterns.is_match(value)
        })
    }
}
