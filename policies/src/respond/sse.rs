//! Cutting a stream into events or lines, without changing a byte of it.
//!
//! Follows the event stream interpretation of the HTML standard (9.2.6): lines end with LF, CRLF
//! or CR; a blank line ends an event; a byte order mark may open the stream. A unit is given out
//! as soon as nothing that follows can change what it means: a CR that ends a blank line ends the
//! event at once, and if an LF follows after all it is given out as a unit of its own.

use std::ops::Range;

use super::error::FilterError;

/// Largest event or line.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// A buffer that has so many times the room that is needed is given back; a small one never is.
const ROOMY: usize = 4;
const ROOM_MIN: usize = 128;

/// What ends a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// A blank line.
    Events,
    /// A line feed.
    Lines,
}

/// Gathers input and gives out whole units.
#[derive(Debug)]
pub(super) struct Splitter {
    framing: Framing,
    buffer: Vec<u8>,
    /// Start of the unit that is not complete yet; everything before it was given out.
    unit: usize,
    /// Start of its current line.
    line: usize,
    /// Everything before this was searched for line ends.
    searched: usize,
    /// The last unit ended with a CR that may be the first half of a CRLF.
    after_cr: bool,
}

/// One line of a unit: its content, and its end including the terminator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) content: Range<usize>,
    pub(super) end: usize,
}

// === impl Splitter ===

impl Splitter {
    pub(super) fn new(framing: Framing) -> Splitter {
        Splitter {
            framing,
            buffer: Vec::new(),
            unit: 0,
            line: 0,
            searched: 0,
            after_cr: false,
        }
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    pub(super) fn feed(&mut self, input: &[u8]) {
        if self.unit > 0 {
            self.buffer.drain(..self.unit);
            self.line -= self.unit;
            self.searched -= self.unit;
            self.unit = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > ROOMY * input.len().max(ROOM_MIN) {
            // What came first is often more than what follows: there are many streams, and each waits
            // with its buffer.
            self.buffer = Vec::with_capacity(input.len());
        }
        self.buffer.extend_from_slice(input);
    }

    pub(super) fn bytes(&self, unit: Range<usize>) -> &[u8] {
        &self.buffer[unit]
    }

    /// The next complete unit.
    pub(super) fn next(&mut self) -> Result<Option<Range<usize>>, FilterError> {
        if self.after_cr && self.unit < self.buffer.len() {
            self.after_cr = false;
            if self.buffer[self.unit] == b'\n' {
                return Ok(Some(self.give(self.unit + 1)));
            }
        }
        match self.framing {
            Framing::Events => {
                while let Some(end) = self.line_end() {
                    let blank = matches!(self.buffer[self.line], b'\n' | b'\r');
                    self.line = end;
                    self.searched = end;
                    if blank {
                        let cr_last = self.buffer[end - 1] == b'\r';
                        self.after_cr = cr_last && end == self.buffer.len();
                        return self.bounded(end).map(|()| Some(self.give(end)));
                    }
                }
            }
            Framing::Lines => {
                if let Some(found) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                    let end = self.searched + found + 1;
                    return self.bounded(end).map(|()| Some(self.give(end)));
                }
                self.searched = self.buffer.len();
            }
        }
        self.bounded(self.buffer.len()).map(|()| None)
    }

    /// What is left when the stream has ended.
    pub(super) fn rest(&mut self) -> Option<Range<usize>> {
        (self.unit < self.buffer.len()).then(|| self.give(self.buffer.len()))
    }

    /// What the last unit lacks to be one: the rest of its line's end, and for an event a blank
    /// line, in the event's own line ends.
    pub(super) fn missing_terminator(&self, rest: Range<usize>) -> &'static str {
        let rest = &self.buffer[rest];
        if self.framing == Framing::Lines {
            return "\n";
        }
        let mut found = Vec::new();
        lines(rest, &mut found);
        let mut ends = found.iter().map(|line| &rest[line.content.end..line.end]);
        let whole_line = ends.clone().next_back().is_some_and(|end| !end.is_empty());
        match (ends.next(), whole_line) {
            (Some(b"\r\n"), true) => "\r\n",
            (Some(b"\r\n"), false) => "\r\n\r\n",
            (Some(b"\r"), true) => "\r",
            (Some(b"\r"), false) => "\r\r",
            (_, true) => "\n",
            (_, false) => "\n\n",
        }
    }

    /// One past the terminator of the current line, if it is certain.
    fn line_end(&mut self) -> Option<usize> {
        let found = memchr::memchr2(b'\n', b'\r', &self.buffer[self.searched..]);
        let Some(found) = found.map(|found| self.searched + found) else {
            self.searched = self.buffer.len();
            return None;
        };
        if self.buffer[found] == b'\n' {
            return Some(found + 1);
        }
        match self.buffer.get(found + 1) {
            Some(b'\n') => Some(found + 2),
            Some(_) => Some(found + 1),
            // On a blank line the event is over either way; elsewhere the next byte decides
            // whether a blank line has begun.
            None if found == self.line => Some(found + 1),
            None => {
                self.searched = found;
                None
            }
        }
    }

    fn give(&mut self, end: usize) -> Range<usize> {
        let unit = self.unit..end;
        (self.unit, self.line, self.searched) = (end, end, end);
        unit
    }

    fn bounded(&self, end: usize) -> Result<(), FilterError> {
        if end - self.unit > EVENT_BYTES_MAX {
            return Err(FilterError::TooLarge {
                what: "an event",
                limit: EVENT_BYTES_MAX,
            });
        }
        Ok(())
    }
}

/// The lines of a unit; the last one may lack its terminator.
pub(super) fn lines(unit: &[u8], out: &mut Vec<Line>) {
    out.clear();
    let mut start = 0;
    while start < unit.len() {
        let found = memchr::memchr2(b'\n', b'\r', &unit[start..]);
        let content_end = found.map_or(unit.len(), |found| start + found);
        let end = match (unit.get(content_end), unit.get(content_end + 1)) {
            (None, _) => content_end,
            (Some(b'\r'), Some(b'\n')) => content_end + 2,
            _ => content_end + 1,
        };
        out.push(Line {
            content: start..content_end,
            end,
        });
        start = end;
    }
}

/// The value of a line's field, as an offset from the line's start, if the field is `name`.
pub(super) fn field_value(line: &[u8], name: &str) -> Option<usize> {
    let rest = line.strip_prefix(name.as_bytes())?;
    match rest {
        [] => Some(line.len()),
        [b':', b' ', ..] => Some(name.len() + 2),
        [b':', ..] => Some(name.len() + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES_MAX, Framing, Splitter};

    fn units(framing: Framing, pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::new(framing);
        let mut out = Vec::new();
        for piece in pieces {
            splitter.feed(piece);
            while let Some(unit) = splitter.next().unwrap() {
                out.push(String::from_utf8(splitter.bytes(unit).to_vec()).unwrap());
            }
        }
        if let Some(unit) = splitter.rest() {
            out.push(String::from_utf8(splitter.bytes(unit).to_vec()).unwrap());
        }
        out
    }

    #[test]
    fn cuts_events_at_every_kind_of_line_end() {
        let whole = |text: &str| units(Framing::Events, &[text.as_bytes()]);
        assert_eq!(
            whole("data: a\n\ndata: b\n\n"),
            ["data: a\n\n", "data: b\n\n"]
        );
        assert_eq!(
            whole("data: a\r\n\r\ndata: b\r\n\r\n"),
            ["data: a\r\n\r\n", "data: b\r\n\r\n"]
        );
        assert_eq!(
            whole("data: a\r\rdata: b\r\r"),
            ["data: a\r\r", "data: b\r\r"]
        );
        assert_eq!(
            whole("a: 1\nb: 2\n\n\n: c\n\nrest"),
            ["a: 1\nb: 2\n\n", "\n", ": c\n\n", "rest"]
        );
    }

    #[test]
    fn joined_units_are_the_input_at_every_split_and_events_never_merge() {
        for text in [
            "data: a\n\ndata: b\n\n",
            "data: a\r\n\r\nx: y\r\n\r\nz",
            "a\r\rb\r\rc\r",
        ] {
            let count = units(Framing::Events, &[text.as_bytes()])
                .iter()
                .filter(|u| u.len() > 1)
                .count();
            for cut in 0..=text.len() {
                let (left, right) = text.as_bytes().split_at(cut);
                let pieces = units(Framing::Events, &[left, right]);
                assert_eq!(pieces.concat(), text);
                assert_eq!(
                    pieces.iter().filter(|unit| unit.len() > 1).count(),
                    count,
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn cuts_lines_at_line_feeds() {
        assert_eq!(
            units(Framing::Lines, &[b"{}\n{", b"}\r\n", b"x"]),
            ["{}\n", "{}\r\n", "x"]
        );
    }

    #[test]
    fn refuses_events_without_end() {
        let mut splitter = Splitter::new(Framing::Events);
        splitter.feed(&vec![b'x'; EVENT_BYTES_MAX]);
        assert_eq!(splitter.next(), Ok(None));
        splitter.feed(b"x");
        assert!(splitter.next().is_err());
    }
}
