//! Follows a body through its expected bytes, and says when a unit is complete.

use crate::traffic::{Expected, STAMP_DIGITS};

/// Bytes shown of what came and of what was expected.
const SHOWN_BYTES: usize = 80;

/// Told about each unit of work as its last byte arrives.
pub trait Units {
    /// One unit is complete. `stamp`: when the upstream wrote it, if it says so.
    fn unit(&mut self, stamp: Option<u64>);
}

/// Position in a body.
#[derive(Debug, Default)]
pub struct BodyCursor {
    offset: usize,
    units: usize,
    stamps: usize,
    stamp: Option<u64>,
}

/// Only counts.
#[derive(Debug, Default)]
pub struct Counted {
    /// Units so far.
    pub units: u64,
    /// The stamp of the last one.
    pub stamp: Option<u64>,
}

// === impl BodyCursor ===

impl BodyCursor {
    /// Bytes of the body so far.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Compares the next bytes of the body. Says what differs.
    pub fn advance(
        &mut self,
        mut input: &[u8],
        expected: &Expected,
        units: &mut impl Units,
    ) -> Result<(), String> {
        while !input.is_empty() {
            let next_stamp = expected.stamps.get(self.stamps).copied();
            let length = match next_stamp {
                Some(start) if self.offset >= start => {
                    self.read_stamp(input, start)?;
                    1
                }
                _ => {
                    let until = next_stamp.unwrap_or(expected.bytes.len());
                    let length = input.len().min(until - self.offset);
                    let wanted = &expected.bytes[self.offset..self.offset + length];
                    if length == 0 || &input[..length] != wanted {
                        return Err(self.difference(input, expected));
                    }
                    self.offset += length;
                    length
                }
            };
            while expected
                .unit_ends
                .get(self.units)
                .is_some_and(|&end| self.offset >= end)
            {
                self.units += 1;
                units.unit(self.stamp.take());
            }
            input = &input[length..];
        }
        Ok(())
    }

    fn read_stamp(&mut self, input: &[u8], start: usize) -> Result<(), String> {
        if !input[0].is_ascii_digit() {
            return Err(format!("no digit of a time stamp at byte {}", self.offset));
        }
        let before = if self.offset == start {
            0
        } else {
            self.stamp.unwrap_or(0)
        };
        self.stamp = Some(before * 10 + u64::from(input[0] - b'0'));
        self.offset += 1;
        if self.offset == start + STAMP_DIGITS {
            self.stamps += 1;
        }
        Ok(())
    }

    fn difference(&self, input: &[u8], expected: &Expected) -> String {
        let wanted = &expected.bytes[self.offset..];
        let same = input.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        let shown = |bytes: &[u8]| {
            let from = same.min(bytes.len());
            let to = (from + SHOWN_BYTES).min(bytes.len());
            String::from_utf8_lossy(&bytes[from..to]).into_owned()
        };
        format!(
            "its body differs at byte {}: {:?} in the place of {:?}",
            self.offset + same,
            shown(input),
            shown(wanted)
        )
    }
}

// === impl Counted ===

impl Units for Counted {
    fn unit(&mut self, stamp: Option<u64>) {
        self.units += 1;
        self.stamp = stamp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{stream_answer, write_stamp};

    #[test]
    fn stamps_are_read_whatever_the_split_and_belong_to_their_event() {
        let expected = stream_answer("m");
        let mut body = expected.bytes.clone();
        for (index, &start) in expected.stamps.iter().enumerate() {
            write_stamp(index as u64 + 500, &mut body[start..start + STAMP_DIGITS]);
        }
        for piece in 1..300 {
            let mut cursor = BodyCursor::default();
            let mut counted = Counted::default();
            for bytes in body[..expected.unit_ends[41]].chunks(piece) {
                cursor
                    .advance(bytes, &expected, &mut counted)
                    .expect("as expected");
            }
            assert_eq!((counted.units, counted.stamp), (42, Some(541)));
        }
    }

    #[test]
    fn a_changed_event_is_shown() {
        let expected = stream_answer("m");
        let mut body = expected.bytes.clone();
        let at = expected.unit_ends[3] - 60;
        body[at] = b'#';
        let error = BodyCursor::default()
            .advance(&body, &expected, &mut Counted::default())
            .expect_err("changed");
        assert!(
            error.contains(&format!("byte {at}")) && error.contains("\"#"),
            "{error}"
        );
    }
}
