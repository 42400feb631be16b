//! The part of a channel's text that is at hand.

use std::fmt::Debug;

/// A stretch of a text: all of it in a block, what is retained and what has just come in a stream.
/// Offsets are those of the whole text everywhere; only this type knows where the stretch begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'t> {
    text: &'t str,
    base: usize,
    last: bool,
    places: Option<&'t dyn Places>,
}

/// Where matches may start in a text that another text was decoded to.
pub(crate) trait Places: Debug {
    /// May this rule start at `at`?
    fn may_start(&self, rule: u16, at: usize) -> bool;
}

// === impl View ===

impl<'t> View<'t> {
    /// `text` begins at `base` of the whole; when it is `last`, the whole ends with it.
    pub(crate) fn new(text: &'t str, base: usize, last: bool) -> View<'t> {
        View {
            text,
            base,
            last,
            places: None,
        }
    }

    /// The same view, in which rules start only where these places let them.
    pub(crate) fn among(self, places: &'t dyn Places) -> View<'t> {
        View {
            places: Some(places),
            ..self
        }
    }

    /// May this rule start at `at`? Anywhere, in a text as it came.
    #[inline]
    pub(crate) fn may_start(&self, rule: u16, at: usize) -> bool {
        self.places.is_none_or(|places| places.may_start(rule, at))
    }

    pub(crate) fn whole(text: &'t str) -> View<'t> {
        View::new(text, 0, true)
    }

    pub(crate) fn base(&self) -> usize {
        self.base
    }

    pub(crate) fn end(&self) -> usize {
        self.base + self.text.len()
    }

    /// Does the whole text end where this view does?
    pub(crate) fn is_last(&self) -> bool {
        self.last
    }

    pub(crate) fn slice(&self, start: usize, end: usize) -> &'t str {
        &self.text[start - self.base..end - self.base]
    }

    /// The bytes at hand before `at`.
    #[inline]
    pub(crate) fn before(&self, at: usize) -> &'t [u8] {
        &self.text.as_bytes()[..at - self.base]
    }

    /// The bytes at hand from `at` on.
    #[inline]
    pub(crate) fn from(&self, at: usize) -> &'t [u8] {
        &self.text.as_bytes()[at - self.base..]
    }

    /// The byte before `at`; none at the start of the whole text.
    #[inline]
    pub(crate) fn byte_before(&self, at: usize) -> Option<u8> {
        self.before(at).last().copied()
    }

    /// The last start of a character at or before `at`.
    pub(crate) fn floor(&self, at: usize) -> usize {
        self.base + self.text.floor_char_boundary(at - self.base)
    }
}
