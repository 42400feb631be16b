//! Sending held text that has no event of its own any more.
//!
//! When a text ends and its last bytes are still held, they go out in an event made from the last
//! one that carried this text: the same envelope with the same identifiers, the path to the text,
//! and the text. Nothing else of that event is repeated: SDKs add up what they receive, so a second
//! copy of a role, a name, a usage count or another choice's text would be counted twice.

use super::error::FilterError;
use super::sse::{Framing, field_value};
use crate::text::{Doc, Edits, Kind, write_string};

/// Largest envelope that is kept, for each text that is held.
const TEMPLATE_BYTES_MAX: usize = 16 << 10;

/// An event with a hole for the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// How the event around the JSON was written.
#[derive(Debug)]
pub(super) struct Envelope<'e> {
    pub(super) framing: Framing,
    /// The `event:` line, if there was one.
    pub(super) event_line: Option<&'e [u8]>,
    pub(super) newline: &'static str,
}

// === impl Template ===

impl Template {
    /// From the event in `doc`: `spine` are the containers from the root to the text at `leaf`;
    /// `pieces` are the nodes of all texts in this event.
    pub(super) fn new(
        doc: &Doc<'_>,
        envelope: &Envelope<'_>,
        spine: &[usize],
        leaf: usize,
        pieces: &[usize],
        edits: &Edits,
    ) -> Result<Template, FilterError> {
        let mut head = Vec::new();
        let mut closers = Vec::new();
        if envelope.framing == Framing::Events {
            if let Some(line) = envelope.event_line {
                head.extend_from_slice(line);
                head.extend_from_slice(envelope.newline.as_bytes());
            }
            head.extend_from_slice(b"data: ");
        }
        for (depth, &container) in spine.iter().enumerate() {
            let child = spine.get(depth + 1).copied().unwrap_or(leaf);
            if matches!(doc.kind(container), Kind::Array { .. }) {
                head.push(b'[');
                closers.push(b']');
                continue;
            }
            head.push(b'{');
            closers.push(b'}');
            let mut child_key = None;
            for member in doc.members(container) {
                if member.value == child {
                    child_key = Some(member.key_node);
                    continue;
                }
                let span = doc.span(member.key_node).start..doc.span(member.value).end;
                let kept = identifies(depth, member.key, doc.kind(member.value))
                    && !pieces.contains(&member.value)
                    && !edits.any_within(&span);
                if kept {
                    head.extend_from_slice(&doc.raw()[span]);
                    head.push(b',');
                }
            }
            if let Some(key) = child_key {
                head.extend_from_slice(&doc.raw()[doc.span(key)]);
                head.push(b':');
            }
        }
        closers.reverse();
        let mut tail = closers;
        tail.extend_from_slice(envelope.newline.as_bytes());
        if envelope.framing == Framing::Events {
            tail.extend_from_slice(envelope.newline.as_bytes());
        }
        if head.len() > TEMPLATE_BYTES_MAX {
            return Err(FilterError::TooLarge {
                what: "an envelope",
                limit: TEMPLATE_BYTES_MAX,
            });
        }
        Ok(Template { head, tail })
    }

    /// Writes the event with `text` in it.
    pub(super) fn write(&self, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        write_string(out, text);
        out.extend_from_slice(&self.tail);
    }
}

/// What of an object on the way to the text is repeated: at the top everything that is one value
/// and no text, below only what says which element or kind it is, and what is null.
fn identifies(depth: usize, key: &str, kind: Kind) -> bool {
    match kind {
        Kind::Null => true,
        Kind::Array { empty } | Kind::Object { empty } => depth == 0 && empty,
        Kind::Bool(_) | Kind::Number | Kind::String => {
            depth == 0 || matches!(key, "index" | "type")
        }
    }
}

// === impl Envelope ===

impl<'e> Envelope<'e> {
    /// Of an event's raw bytes and lines.
    pub(super) fn of_event(unit: &'e [u8], lines: &[super::sse::Line]) -> Envelope<'e> {
        let newline = match lines.first().map(|line| &unit[line.content.end..line.end]) {
            Some(b"\r\n") => "\r\n",
            Some(b"\r") => "\r",
            _ => "\n",
        };
        let event_line = lines
            .iter()
            .map(|line| &unit[line.content.clone()])
            .find(|line| field_value(line, "event").is_some());
        Envelope {
            framing: Framing::Events,
            event_line,
            newline,
        }
    }

    /// Of a line of JSON.
    pub(super) fn of_line() -> Envelope<'static> {
        Envelope {
            framing: Framing::Lines,
            event_line: None,
            newline: "\n",
        }
    }
}
