//! Cuts server-sent events out of bytes that come in any pieces.
//!
//! As the HTML standard has it: lines end with LF or CR LF (a CR alone ends none here: no server of
//! models writes it), an empty line ends an event, `data:` lines are joined by LF, comments and
//! other fields are skipped. An event that was begun and not ended is none.

/// An event may be this long.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its data.
    pub data: &'a [u8],
    /// It is called `error`.
    pub named_error: bool,
}

/// Cuts; keeps what is not a whole event yet.
#[derive(Debug, Default)]
pub struct Cutter {
    /// A line that has not ended.
    line: Vec<u8>,
    /// The data of an event that has not ended.
    data: Vec<u8>,
    has_data: bool,
    named_error: bool,
}

// === impl Cutter ===

impl Cutter {
    /// Forgets what was begun, keeping buffers.
    pub fn reset(&mut self) {
        self.line.clear();
        self.data.clear();
        (self.has_data, self.named_error) = (false, false);
    }

    /// Takes bytes, and gives each event that they complete; false when one is too long.
    pub fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(Event<'_>)) -> bool {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            let (now, rest) = (&bytes[..at], &bytes[at + 1..]);
            if self.line.is_empty() {
                self.end_line(now, &mut event);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(now);
                self.end_line(&line, &mut event);
                line.clear();
                self.line = line;
            }
            bytes = rest;
        }
        self.line.extend_from_slice(bytes);
        self.line.len() + self.data.len() <= EVENT_BYTES_MAX
    }

    fn end_line(&mut self, line: &[u8], event: &mut impl FnMut(Event<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if self.has_data {
                event(Event {
                    data: &self.data,
                    named_error: self.named_error,
                });
            }
            self.data.clear();
            (self.has_data, self.named_error) = (false, false);
        } else if let Some(value) = field(line, b"data") {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        } else if let Some(value) = field(line, b"event") {
            self.named_error = value == b"error";
        }
    }
}

/// The value of a line, if it is of this field.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}
