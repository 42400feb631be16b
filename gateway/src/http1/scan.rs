//! Finding the end of a head while it arrives, once over each byte.
//!
//! The scanner runs before the tokenizer and decides everything that depends on position: the
//! bounds, bare line feeds, empty lines before the start line, and a first byte that no HTTP
//! message begins with. It reports the first flaw by position, so the outcome is the same however
//! the bytes were cut; and it remembers how far it got, so a head that arrives one byte at a time
//! costs no more than a head that arrives whole.
//!
//! Invariants between two calls: `head_at <= line_at <= scanned <= buf.len()`; no line feed lies
//! between `line_at` and `scanned`; `head_at` is 0 or 2.

use std::ops::Range;

use memchr::memchr;

use super::head::HeadLimits;

/// How far the search for the end of a head got. One a connection and direction; it starts anew by
/// itself after each complete head. The buffer given must start at the same byte until then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadScanner {
    /// Where the start line begins: 2 after an empty line, which is skipped.
    head_at: usize,
    /// Where the current line begins.
    line_at: usize,
    /// Everything before was searched.
    scanned: usize,
    /// The start line has ended; what follows are fields.
    in_fields: bool,
    /// Field lines so far.
    fields: usize,
}

/// Which kind of message the scanner looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// A request: may follow one empty line (RFC 9112 §2.2), begins with a token.
    Request,
    /// A response: begins with `HTTP/`.
    Response,
}

/// The first thing that is wrong with a head, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// No message of this kind begins with this byte.
    FirstByte(u8),
    /// A second empty line before the start line.
    EmptyLines,
    /// The start line is longer than allowed.
    LineTooLong,
    /// The head is longer than allowed.
    HeadTooLong,
    /// More field lines than allowed.
    TooManyFields,
    /// A line feed without a carriage return.
    BareLf,
}

// === impl HeadScanner ===

impl HeadScanner {
    /// Searches what is new in `buf`. Gives the head's range, from the first byte of the start line
    /// to the end of the empty line, once it is whole.
    pub(super) fn advance(
        &mut self,
        buf: &[u8],
        start: Start,
        limits: &HeadLimits,
    ) -> Result<Option<Range<usize>>, Flaw> {
        let limits = limits.effective();
        let window = &buf[..buf.len().min(limits.head)];
        loop {
            if !self.in_fields
                && let Some(&first) = window.get(self.line_at)
                && !start.may_begin_with(first)
            {
                return Err(Flaw::FirstByte(first));
            }
            let unsearched = window.get(self.scanned..).unwrap_or_default();
            let Some(ahead) = memchr(b'\n', unsearched) else {
                break;
            };
            let line_feed = self.scanned + ahead;
            self.scanned = line_feed + 1;
            if self.line_ended(&window[self.line_at..line_feed], &limits)? {
                let head = self.head_at..self.scanned;
                *self = Self::default();
                return Ok(Some(head));
            }
            self.line_at = self.scanned;
        }
        self.scanned = self.scanned.max(window.len());
        if !self.in_fields && self.scanned - self.line_at >= limits.request_line + 2 {
            return Err(Flaw::LineTooLong);
        }
        if buf.len() >= limits.head {
            return Err(Flaw::HeadTooLong);
        }
        Ok(None)
    }

    /// Takes note of a line (given with its CR, without its LF). True: it was the head's last.
    fn line_ended(&mut self, line: &[u8], limits: &HeadLimits) -> Result<bool, Flaw> {
        if !self.in_fields && line.len() >= limits.request_line + 2 {
            return Err(Flaw::LineTooLong);
        }
        if line.last() != Some(&b'\r') {
            return Err(Flaw::BareLf);
        }
        let empty = line.len() == 1;
        match (empty, self.in_fields) {
            (true, true) => return Ok(true),
            (true, false) if self.head_at != 0 => return Err(Flaw::EmptyLines),
            (true, false) => self.head_at = self.scanned,
            (false, false) => self.in_fields = true,
            (false, true) => {
                self.fields += 1;
                if self.fields > limits.fields {
                    return Err(Flaw::TooManyFields);
                }
            }
        }
        Ok(false)
    }
}

// === impl Start ===

impl Start {
    fn may_begin_with(self, byte: u8) -> bool {
        match self {
            // CR and LF are judged at the end of their line.
            Self::Request => is_token_byte(byte) || byte == b'\r' || byte == b'\n',
            Self::Response => byte == b'H',
        }
    }
}

/// `tchar` of RFC 9110 §5.6.2.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// Whether `text` is a token: one `tchar` or more.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
            | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        request_line: 20,
        head: 100,
        fields: 2,
    };

    fn whole(bytes: &[u8]) -> Result<Option<Range<usize>>, Flaw> {
        HeadScanner::default().advance(bytes, Start::Request, &LIMITS)
    }

    #[test]
    fn the_end_is_found_and_the_scanner_starts_anew() {
        let mut scanner = HeadScanner::default();
        let bytes = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
        assert_eq!(
            scanner.advance(bytes, Start::Request, &LIMITS),
            Ok(Some(0..24))
        );
        assert_eq!(scanner, HeadScanner::default());
    }

    #[test]
    fn one_empty_line_is_skipped_and_two_are_not() {
        assert_eq!(whole(b"\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Some(2..20)));
        assert_eq!(
            whole(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            Err(Flaw::EmptyLines)
        );
        let response = b"\r\nHTTP/1.1 200 OK\r\n\r\n";
        let got = HeadScanner::default().advance(response, Start::Response, &LIMITS);
        assert_eq!(got, Err(Flaw::FirstByte(b'\r')));
    }

    #[test]
    fn bounds_hold_to_the_byte() {
        let line = |length: usize| [vec![b'A'; length], b"\r\n\r\n".to_vec()].concat();
        assert_eq!(whole(&line(20)), Ok(Some(0..24)));
        assert_eq!(whole(&line(21)), Err(Flaw::LineTooLong));
        assert_eq!(
            whole(&line(21)[..22]),
            Err(Flaw::LineTooLong),
            "before the line ends"
        );
        assert_eq!(
            whole(&line(21)[..21]),
            Ok(None),
            "the last byte may still be the CR"
        );

        let head = |length: usize| {
            [
                b"GET / HTTP/1.1\r\nA: ".to_vec(),
                vec![b'x'; length - 23],
                b"\r\n\r\n".to_vec(),
            ]
            .concat()
        };
        assert_eq!(whole(&head(100)), Ok(Some(0..100)));
        assert_eq!(whole(&head(101)), Err(Flaw::HeadTooLong));
        assert_eq!(
            whole(&head(101)[..100]),
            Err(Flaw::HeadTooLong),
            "before the head ends"
        );

        assert_eq!(
            whole(b"GET / HTTP/1.1\r\nA: b\r\nA: b\r\n\r\n"),
            Ok(Some(0..30))
        );
        assert_eq!(
            whole(b"GET / HTTP/1.1\r\nA: b\r\nA: b\r\nA: b\r\n"),
            Err(Flaw::TooManyFields)
        );
    }

    #[test]
    fn every_cut_gives_the_same_outcome() {
        let long = format!("GET / HTTP/1.1\r\nA: {}\n", "x".repeat(LIMITS.head));
        let cases: [&[u8]; 8] = [
            b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest",
            b"\r\nGET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\nA: b\r\n\r\n",
            b"GET /far/too/long/for/this/limit HTTP/1.1\n\n",
            b"GET / HTTP/1.1\r\nA: b\r\nA: b\r\nA: b\r\n\r\n",
            b"\x16\x03\x01",
            long.as_bytes(),
        ];
        for case in cases {
            let expected = whole(case);
            let mut scanner = HeadScanner::default();
            let mut got = Ok(None);
            for end in 0..=case.len() {
                got = scanner.advance(&case[..end], Start::Request, &LIMITS);
                if got != Ok(None) {
                    break;
                }
            }
            assert_eq!(got, expected, "{}", case.escape_ascii());
        }
    }
}
