//! The replacements of several lanes, put into one text in order.
//!
//! Each lane gives its replacements in order of their starts, and says up to where it has decided.
//! What is written goes up to the least of these places, so it does not depend on which lane was
//! asked first or how the text was cut:
//!
//! - Text that no replacement covers is written as it is.
//! - A replacement is written at its start, or behind what it keeps of its beginning. One that
//!   begins within another's text and ends there, too, is not written; one that ends later is
//!   written behind it, and the text between their ends is covered.

use crate::scan::{Lane, Match};

/// Whose replacement it is: the lane, and how deep in the encoded it read. Of equal starts the
/// first source's is written first.
pub(crate) type Source = (Lane, u8);

/// The plain lane.
pub(crate) const PLAIN: Source = (Lane::Plain, 0);

/// The lane that undoes escapes.
pub(crate) const ESCAPED: Source = (Lane::Escaped, 0);

/// Replacements that are not written out yet, or whose end is not known.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: Vec<Item>,
    /// The first item is written and waits for its end.
    open: bool,
    /// There was a replacement.
    used: bool,
}

#[derive(Debug)]
struct Item {
    source: Source,
    start: usize,
    /// Bytes from the start on that are written as they are.
    kept: usize,
    /// None while it goes on.
    end: Option<usize>,
    text: String,
}

/// The text that is written from, and to.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    /// Bytes from `base` of the text.
    pub(crate) text: &'a str,
    pub(crate) base: usize,
    pub(crate) out: &'a mut String,
    /// Everything before this place of the text has been written or replaced.
    pub(crate) sent: &'a mut usize,
}

// === impl Queue ===

impl Queue {
    /// A replacement whose text is out already and whose end is not known.
    pub(crate) fn resume(&mut self, source: Source, start: usize) {
        debug_assert!(self.items.is_empty());
        self.push(source, start, None, String::new());
        self.open = true;
    }

    /// Was there any replacement?
    pub(crate) fn is_used(&self) -> bool {
        self.used
    }

    /// Is nothing left that the plain lane does not manage alone?
    pub(crate) fn is_settled(&self) -> bool {
        match self.items.as_slice() {
            [] => true,
            [item] => self.open && item.source == PLAIN,
            _ => false,
        }
    }

    /// Leaves what is left to the plain lane.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.open = false;
    }

    /// A replacement from `start` on.
    pub(crate) fn push(&mut self, source: Source, start: usize, end: Option<usize>, text: String) {
        self.push_behind(0, source, start, end, text);
    }

    /// The same, behind the first `kept` bytes.
    pub(crate) fn push_behind(
        &mut self,
        kept: usize,
        source: Source,
        start: usize,
        end: Option<usize>,
        text: String,
    ) {
        self.used = true;
        let item = Item {
            source,
            start,
            kept,
            end,
            text,
        };
        let first = usize::from(self.open);
        let place = self.items[first..].partition_point(|o| (o.start, o.source) <= (start, source));
        self.items.insert(first + place, item);
    }

    /// The lane's replacement that goes on ends here; nothing to do for one that has its end.
    pub(crate) fn close(&mut self, source: Source, end: usize) {
        let mut items = self.items.iter_mut();
        if let Some(item) = items.find(|item| item.source == source && item.end.is_none()) {
            item.end = Some(end);
        }
    }

    /// Writes what is decided: everything before `horizon`.
    pub(crate) fn write(&mut self, horizon: usize, to: &mut Writing<'_>) {
        loop {
            if self.open {
                let Some(end) = self.items[0].end else {
                    *to.sent = horizon.max(*to.sent);
                    return;
                };
                *to.sent = end.max(*to.sent);
                self.items.remove(0);
                self.open = false;
            }
            let due = |item: &Item| item.start < horizon;
            let Some(item) = self.items.first().filter(|item| due(item)) else {
                to.pass(horizon);
                return;
            };
            let begin = item.start + item.kept;
            match item.end {
                // Nothing of it is left, or never was: encoded text may be sent before it is known.
                Some(end) if end <= begin.max(*to.sent) => {
                    self.items.remove(0);
                    continue;
                }
                // It goes on up to the horizon at least, and perhaps no further.
                None if begin < *to.sent && horizon <= *to.sent => return,
                _ => {}
            }
            to.pass(begin);
            to.out.push_str(&item.text);
            self.open = true;
        }
    }
}

// === impl Writing ===

impl Writing<'_> {
    /// Writes text as it is, up to `end`.
    fn pass(&mut self, end: usize) {
        if *self.sent < end {
            self.out
                .push_str(&self.text[*self.sent - self.base..end - self.base]);
            *self.sent = end;
        }
    }
}

/// A match as its lane tells it: where it is in the text that came.
pub(crate) fn moved(found: Match, lane: Lane, start: usize, end: usize) -> Match {
    Match {
        start,
        end,
        lane,
        ..found
    }
}

#[cfg(test)]
mod tests {
    use super::{ESCAPED, PLAIN, Queue, Source, Writing};
    use crate::scan::Lane;

    fn write(items: &[(Source, usize, usize)], horizons: &[usize]) -> String {
        let mut queue = Queue::default();
        for (lane, start, end) in items {
            queue.push(*lane, *start, Some(*end), format!("<{start}>"));
        }
        let (mut out, mut sent) = (String::new(), 0);
        for horizon in horizons {
            queue.write(
                *horizon,
                &mut Writing {
                    text: "0123456789",
                    base: 0,
                    out: &mut out,
                    sent: &mut sent,
                },
            );
        }
        out
    }

    #[test]
    fn covered_text_is_covered_once() {
        let items = [
            (PLAIN, 4, 5),
            (ESCAPED, 1, 6),
            ((Lane::Blob, 1), 5, 8),
            (PLAIN, 8, 9),
        ];
        assert_eq!(write(&items, &[10]), "0<1><5><8>9");
        assert_eq!(write(&items, &[0, 1, 2, 3, 7, 8, 9, 10]), "0<1><5><8>9");
    }
}
