//! Follows a body as it arrives, compares it with the expected one, and says when a unit is
//! complete.
//!
//! A JSON answer must be equal, byte for byte. A stream must be the same events in the same order,
//! equal outside of their text; inside, the text sent so far must at every moment be a prefix of
//! the whole text, and at the end be all of it. A subject that masks may hold a few characters back
//! and send them with the next event ([`Lateness::Allowed`]); from all others even that is refused.

use serde_json::Value;

use super::rewritten;
use crate::traffic::{Expected, ExpectedEvent, ExpectedStream, STAMP_DIGITS};

/// Bytes shown of what came and of what was expected.
const SHOWN_BYTES: usize = 80;

/// An event may be this long.
const EVENT_BYTES_MAX: usize = 4 << 10;

/// Whether text may arrive in a later event than the one that the upstream sent it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lateness {
    /// Every event must be what the upstream sent.
    Refused,
    /// Text may be late, but never lost or changed.
    Allowed,
    /// Answers may be written anew and events joined or left out: all that counts is that the text
    /// is the same at the end. For subjects that parse and serialise.
    Rewritten,
}

/// One unit of work that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// When the upstream wrote it, where it says so.
    pub stamp: Option<u64>,
    /// Text that the upstream had sent with it, or before it, has not arrived with it.
    pub late: bool,
}

/// Told about each unit of work as its last byte arrives.
pub trait Units {
    /// One unit is complete.
    fn unit(&mut self, unit: Unit);
}

/// Position in a body.
#[derive(Debug)]
pub struct BodyCursor {
    lateness: Lateness,
    /// Bytes (JSON) or events (streams) so far.
    index: usize,
    /// Bytes of the stream's text so far.
    text_bytes: usize,
    /// An event that has not arrived whole, or a body that may be written anew.
    pending: Vec<u8>,
}

/// Only counts.
#[derive(Debug, Default)]
pub struct Counted {
    /// Units so far.
    pub units: u64,
    /// Late ones among them.
    pub late: u64,
    /// The stamp of the last one.
    pub stamp: Option<u64>,
}

// === impl BodyCursor ===

impl BodyCursor {
    /// Before the first byte.
    pub fn new(lateness: Lateness) -> BodyCursor {
        BodyCursor {
            lateness,
            index: 0,
            text_bytes: 0,
            pending: Vec::new(),
        }
    }

    /// Starts over, keeping buffers.
    pub fn reset(&mut self) {
        self.index = 0;
        self.text_bytes = 0;
        self.pending.clear();
    }

    /// Takes the next bytes of the body. Says what is wrong with them.
    pub fn advance(
        &mut self,
        input: &[u8],
        expected: &Expected,
        units: &mut impl Units,
    ) -> Result<(), String> {
        if self.lateness == Lateness::Rewritten {
            return self.advance_rewritten(input, expected, units);
        }
        match expected {
            Expected::Json(bytes) => self.advance_json(input, bytes, units),
            Expected::Stream(stream) => self.advance_stream(input, stream, units),
        }
    }

    /// Says what is missing, when the body ends here.
    pub fn finish(&self, expected: &Expected) -> Result<(), String> {
        if self.lateness == Lateness::Rewritten {
            return rewritten::finish(&self.pending, expected);
        }
        let (unit, missing) = match expected {
            Expected::Json(bytes) => ("bytes", bytes.len() - self.index),
            Expected::Stream(stream) if self.index < stream.events.len() => {
                ("events", stream.events.len() - self.index)
            }
            Expected::Stream(stream) => ("bytes of text", stream.text.len() - self.text_bytes),
        };
        match missing {
            0 if !self.pending.is_empty() => Err("it ends within an event".into()),
            0 => Ok(()),
            _ => Err(format!("it ends {missing} {unit} early")),
        }
    }

    fn advance_rewritten(
        &mut self,
        input: &[u8],
        expected: &Expected,
        units: &mut impl Units,
    ) -> Result<(), String> {
        let before = self.pending.len();
        if before + input.len() > rewritten::BODY_BYTES_MAX {
            return Err("an answer that does not end".into());
        }
        self.pending.extend_from_slice(input);
        if let Expected::Stream(_) = expected {
            // A blank line may lie across two reads.
            let from = before.saturating_sub(1);
            for stamp in rewritten::events(&self.pending[from..]) {
                units.unit(Unit { stamp, late: false });
            }
        }
        Ok(())
    }

    fn advance_json(
        &mut self,
        input: &[u8],
        bytes: &[u8],
        units: &mut impl Units,
    ) -> Result<(), String> {
        let wanted = &bytes[self.index..];
        if !wanted.starts_with(input) {
            return Err(format!(
                "its body, from byte {}: {}",
                self.index,
                differ(input, wanted)
            ));
        }
        self.index += input.len();
        if self.index == bytes.len() {
            units.unit(Unit {
                stamp: None,
                late: false,
            });
        }
        Ok(())
    }

    fn advance_stream(
        &mut self,
        mut input: &[u8],
        stream: &ExpectedStream,
        units: &mut impl Units,
    ) -> Result<(), String> {
        while !input.is_empty() {
            let straddles = self.pending.ends_with(b"\n") && input[0] == b'\n';
            let end = if straddles { Some(1) } else { event_end(input) };
            let (now, rest) = input.split_at(end.unwrap_or(input.len()));
            input = rest;
            let unit = if end.is_some() && self.pending.is_empty() {
                self.event(now, stream)?
            } else {
                self.pending.extend_from_slice(now);
                if self.pending.len() > EVENT_BYTES_MAX {
                    return Err(format!("an event of more than {EVENT_BYTES_MAX} bytes"));
                }
                if end.is_none() {
                    return Ok(());
                }
                let whole = std::mem::take(&mut self.pending);
                let unit = self.event(&whole, stream)?;
                self.pending = whole;
                self.pending.clear();
                unit
            };
            if let Some(unit) = unit {
                units.unit(unit);
            }
        }
        Ok(())
    }

    /// None for an event that was put in to bring what was held.
    fn event(&mut self, got: &[u8], stream: &ExpectedStream) -> Result<Option<Unit>, String> {
        let Some(wanted) = stream.events.get(self.index) else {
            return Err(format!("one more event than was sent: {}", shown(got)));
        };
        let differs = || format!("event {}: {}", self.index, differ(got, &wanted.bytes));
        let Some((text, stamp)) = wanted.read(got) else {
            let text = self.put_in(got).ok_or_else(differs)?;
            let text_bytes = self.text_bytes + text.len();
            if stream.text.get(self.text_bytes..text_bytes) != Some(text.as_bytes()) {
                return Err(differs());
            }
            self.text_bytes = text_bytes;
            return Ok(None);
        };
        let text_bytes = self.text_bytes + text.len();
        if stream.text.get(self.text_bytes..text_bytes) != Some(text) {
            return Err(differs());
        }
        let late = text_bytes != wanted.text_end;
        if late && self.lateness == Lateness::Refused {
            return Err(differs());
        }
        self.text_bytes = text_bytes;
        self.index += 1;
        Ok(Some(Unit { stamp, late }))
    }

    /// The text of an event that was not sent: at the end of a text, what was held comes with an
    /// event of its own, since the one that says why it ends has no place for it.
    fn put_in(&self, got: &[u8]) -> Option<String> {
        if self.lateness != Lateness::Allowed {
            return None;
        }
        let event: Value = serde_json::from_slice(got.strip_prefix(b"data: ")?).ok()?;
        let choice = &event["choices"][0];
        let text = choice["delta"]["content"].as_str()?;
        (choice["finish_reason"].is_null() && !text.is_empty()).then(|| text.to_owned())
    }
}

// === impl ExpectedEvent ===

impl ExpectedEvent {
    /// Text and stamp of an event that is this one but for them; none when it is another.
    fn read<'a>(&self, got: &'a [u8]) -> Option<(&'a [u8], Option<u64>)> {
        let text = self
            .text
            .clone()
            .unwrap_or(self.bytes.len()..self.bytes.len());
        let (before, after) = (&self.bytes[..text.start], &self.bytes[text.end..]);
        let middle = got.get(before.len()..got.len().checked_sub(after.len())?)?;
        if !got.ends_with(after) || (self.text.is_none() && !middle.is_empty()) {
            return None;
        }
        let Some(stamp_at) = self.stamp else {
            return got.starts_with(before).then_some((middle, None));
        };
        let stamp_end = stamp_at + STAMP_DIGITS;
        let same = got[..stamp_at] == before[..stamp_at]
            && got[stamp_end..before.len()] == before[stamp_end..];
        let digits = std::str::from_utf8(&got[stamp_at..stamp_end]).ok()?;
        let stamp = digits.parse().ok()?;
        same.then_some((middle, Some(stamp)))
    }
}

/// Length of the first whole event.
fn event_end(input: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + input[from..].iter().position(|&byte| byte == b'\n')?;
        match input.get(at + 1)? {
            b'\n' => return Some(at + 2),
            _ => from = at + 1,
        }
    }
}

fn differ(got: &[u8], wanted: &[u8]) -> String {
    let same = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let excerpt = |bytes: &[u8]| shown(&bytes[same.min(bytes.len())..]);
    format!("{} in the place of {}", excerpt(got), excerpt(wanted))
}

fn shown(bytes: &[u8]) -> String {
    format!(
        "{:?}",
        String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)])
    )
}

// === impl Counted ===

impl Units for Counted {
    fn unit(&mut self, unit: Unit) {
        self.units += 1;
        self.late += u64::from(unit.late);
        self.stamp = unit.stamp;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{stream_answer, write_stamp};

    fn wire(stream: &ExpectedStream) -> Vec<u8> {
        let mut wire = Vec::new();
        for (index, event) in stream.events.iter().enumerate() {
            let mut bytes = event.bytes.clone();
            if let Some(at) = event.stamp {
                write_stamp(index as u64 + 500, &mut bytes[at..at + STAMP_DIGITS]);
            }
            wire.extend_from_slice(&bytes);
        }
        wire
    }

    fn read(wire: &[u8], piece: usize, lateness: Lateness) -> Result<Counted, String> {
        let expected = Expected::Stream(stream_answer("m", 61));
        let mut cursor = BodyCursor::new(lateness);
        let mut counted = Counted::default();
        for bytes in wire.chunks(piece) {
            cursor.advance(bytes, &expected, &mut counted)?;
        }
        cursor.finish(&expected)?;
        Ok(counted)
    }

    /// The stream with each word's last letter sent one event later.
    fn late_wire() -> Vec<u8> {
        let mut stream = stream_answer("m", 61);
        let mut held = Vec::new();
        let last = stream
            .events
            .iter()
            .rposition(|event| event.text.is_some())
            .expect("a text");
        for (index, event) in stream.events.iter_mut().enumerate() {
            let Some(text) = event.text.clone().filter(|text| !text.is_empty()) else {
                continue;
            };
            let mut now = std::mem::take(&mut held);
            now.extend_from_slice(&event.bytes[text.clone()]);
            if index != last {
                held.extend(now.pop());
            }
            event.bytes.splice(text, now);
        }
        wire(&stream)
    }

    #[test]
    fn stamps_are_read_whatever_the_split_and_belong_to_their_event() {
        let stream = stream_answer("m", 61);
        let wire = wire(&stream);
        let of_42: usize = stream.events[..42]
            .iter()
            .map(|event| event.bytes.len())
            .sum();
        let expected = Expected::Stream(stream);
        for piece in 1..300 {
            let mut cursor = BodyCursor::new(Lateness::Refused);
            let mut counted = Counted::default();
            for bytes in wire[..of_42].chunks(piece) {
                cursor
                    .advance(bytes, &expected, &mut counted)
                    .expect("as expected");
            }
            assert_eq!(
                (counted.units, counted.late, counted.stamp),
                (42, 0, Some(541))
            );
        }
    }

    #[test]
    fn late_text_is_counted_where_it_is_allowed() {
        let wire = late_wire();
        assert!(
            read(&wire, 4096, Lateness::Refused)
                .expect_err("late")
                .starts_with("event 1:")
        );
        for piece in [1, 2, 50, 333, usize::MAX] {
            let counted = read(&wire, piece, Lateness::Allowed).expect("late");
            assert_eq!((counted.units, counted.late), (64, 60));
        }
    }

    #[test]
    fn held_text_may_come_with_an_event_of_its_own_at_the_end() {
        let stream = stream_answer("m", 61);
        let wire = String::from_utf8(wire(&stream)).expect("UTF-8");
        let at = wire
            .rfind("\"},\"finish_reason\":null")
            .expect("a last text");
        let start = wire[..at].rfind("data: ").expect("its event");
        let end = at + wire[at..].find("\n\n").expect("its end") + 2;
        let content = wire[..at].rfind('"').expect("its text") + 1;
        let cut = at - 1;
        let held = [&wire[start..content], &wire[cut..end]].concat();
        let late = [&wire[..cut], &wire[at..end], &held, &wire[end..]].concat();
        let read = |lateness| read(late.as_bytes(), 4096, lateness).map(|it| it.units);
        assert_eq!(read(Lateness::Allowed), Ok(64));
        assert!(read(Lateness::Refused).is_err());
    }

    #[test]
    fn lost_changed_and_additional_text_is_refused_even_where_lateness_is_allowed() {
        let read = |text: &str| read(text.as_bytes(), 4096, Lateness::Allowed);
        let good = String::from_utf8(wire(&stream_answer("m", 61))).expect("UTF-8");
        assert_eq!(read(&good).map(|counted| counted.units), Ok(64));
        let lost = good.replace(" listens,", "");
        assert!(
            read(&lost)
                .expect_err("lost")
                .contains("9 bytes of text early")
        );
        let changed = good.replace(" mill,", " hill,");
        assert!(read(&changed).expect_err("changed").contains("hill,"));
        let moved = good.replacen("\"content\":\" the\"", "\"content\":\"\"", 1);
        assert!(read(&moved).is_err(), "lost in the middle");
        let structure = good.replacen("\"index\":0", "\"index\":1", 1);
        assert!(read(&structure).expect_err("structure").contains("event 0"));
        let more = format!("{good}data: more\n\n");
        assert!(read(&more).expect_err("more").contains("one more event"));
        let short = &good[..good.len() - "data: [DONE]\n\n".len()];
        assert!(read(short).expect_err("short").contains("1 events early"));
        assert!(read(&good[..good.len() - 1]).is_err());
    }
}
