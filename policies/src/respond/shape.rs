//! Which strings of an event are pieces of a longer text, and which events end one.
//!
//! Told by the event's own shape, not by the route: engines answer on each other's routes. A key
//! names a text for as long as it is open:
//!
//! | event | key |
//! | --- | --- |
//! | `choices[i].delta.…`, `choices[i].text` | `c<index>/…`, tool calls by their own index |
//! | Responses `*.delta` with a string `delta` | `r<output>/<item>/<type>/<part>/delta` |
//! | Anthropic `content_block_start`, `content_block_delta` | `b<index>/<field>` |
//! | `message.content`, `message.thinking`, `response` beside a boolean `done` | `o/…` |
//!
//! Everything below `choices[i].delta` is taken for text, known field or not, except the few names
//! that are identifiers: an engine's new reasoning field is masked across events from its first
//! day. All other strings of an event are texts of their own.

use std::fmt::Write;

use crate::text::{Doc, Kind, Place, Step};

/// What one event says about the texts before it.
#[derive(Debug, Default)]
pub(super) struct Ends {
    all: bool,
    prefixes: Vec<String>,
}

/// Fields below a delta that identify and do not speak.
const IDENTIFIERS: [&str; 4] = ["role", "type", "id", "name"];

/// Whether the string at `place` is a piece of a longer text; its key is then in `key`.
pub(super) fn is_piece(
    doc: &Doc<'_>,
    place: &Place<'_, '_>,
    kind: Option<&str>,
    key: &mut String,
) -> bool {
    key.clear();
    match place.path {
        [Step::Key("choices"), Step::Index(at), Step::Key("text")] => {
            choice(doc, place.containers[2], *at, key);
            key.push_str("text");
            true
        }
        [
            Step::Key("choices"),
            Step::Index(at),
            Step::Key("delta"),
            rest @ ..,
        ] => below_delta(doc, place, *at, rest, key),
        [Step::Key("delta")] if kind.is_some_and(|kind| kind.ends_with(".delta")) => {
            output(doc, kind.unwrap_or_default(), key);
            key.push_str("delta");
            true
        }
        [Step::Key("delta" | "content_block"), Step::Key(field)] => {
            let piece = match kind {
                Some("content_block_delta") => *field != "type",
                Some("content_block_start") => matches!(*field, "text" | "thinking"),
                _ => false,
            };
            if piece {
                block(doc, key);
                key.push_str(field);
            }
            piece
        }
        [
            Step::Key("message"),
            Step::Key(field @ ("content" | "thinking")),
        ] if says_done(doc) => {
            key.push_str("o/message.");
            key.push_str(field);
            true
        }
        [Step::Key("response")] if says_done(doc) => {
            key.push_str("o/response");
            true
        }
        _ => false,
    }
}

/// The key of a string below `choices[at].delta`, unless it identifies instead of speaking.
fn below_delta(
    doc: &Doc<'_>,
    place: &Place<'_, '_>,
    at: usize,
    rest: &[Step<'_>],
    key: &mut String,
) -> bool {
    if matches!(rest.last(), Some(Step::Key(name)) if IDENTIFIERS.contains(name)) {
        return false;
    }
    choice(doc, place.containers[2], at, key);
    for (depth, step) in rest.iter().enumerate() {
        match step {
            Step::Key(name) => key.push_str(name),
            // The element itself says which of many it is; its place in this event does not.
            Step::Index(at) => {
                let element = place.containers.get(3 + depth + 1).copied();
                let index = element.and_then(|element| number(doc, element, "index"));
                append(key, index.unwrap_or(*at as u64));
            }
        }
        key.push('/');
    }
    true
}

/// The key under which what belongs to the same text is followed, such as its logprobs.
pub(super) fn owner(
    doc: &Doc<'_>,
    place: &Place<'_, '_>,
    kind: Option<&str>,
    side: &str,
    key: &mut String,
) {
    key.clear();
    match place.path {
        [Step::Key("choices"), Step::Index(at), ..] if place.containers.len() > 2 => {
            choice(doc, place.containers[2], *at, key);
        }
        _ => output(doc, kind.unwrap_or_default(), key),
    }
    key.push('~');
    key.push_str(side);
}

/// `c<index>/`
fn choice(doc: &Doc<'_>, choice: usize, at: usize, key: &mut String) {
    key.push('c');
    append(key, number(doc, choice, "index").unwrap_or(at as u64));
    key.push('/');
}

/// `b<index>/`
fn block(doc: &Doc<'_>, key: &mut String) {
    key.push('b');
    append(key, number(doc, 0, "index").unwrap_or(0));
    key.push('/');
}

/// `r<output>/<item>/<type>/<part>/`
fn output(doc: &Doc<'_>, kind: &str, key: &mut String) {
    key.push('r');
    append(key, number(doc, 0, "output_index").unwrap_or(0));
    key.push('/');
    key.push_str(
        doc.member(0, "item_id")
            .and_then(|node| doc.str(node))
            .unwrap_or_default(),
    );
    key.push('/');
    key.push_str(kind);
    key.push('/');
    let part = number(doc, 0, "content_index").or_else(|| number(doc, 0, "summary_index"));
    append(key, part.unwrap_or(0));
    key.push('/');
}

fn number(doc: &Doc<'_>, object: usize, key: &str) -> Option<u64> {
    doc.member(object, key).and_then(|node| doc.number(node))
}

fn append(key: &mut String, number: u64) {
    write!(key, "{number}").expect("a String takes everything that is written to it");
}

fn says_done(doc: &Doc<'_>) -> bool {
    doc.member(0, "done")
        .is_some_and(|node| matches!(doc.kind(node), Kind::Bool(_)))
}

/// The event's `type`, if it has one.
pub(super) fn kind<'d>(doc: &Doc<'d>) -> Option<&'d str> {
    doc.member(0, "type").and_then(|node| doc.str(node))
}

// === impl Ends ===

impl Ends {
    /// Which texts this event ends.
    pub(super) fn of(doc: &Doc<'_>, kind: Option<&str>) -> Ends {
        let mut ends = Ends::default();
        if let Some(kind) = kind {
            ends.by_type(doc, kind);
        }
        if let Some(choices) = doc.member(0, "choices") {
            for (at, element) in doc.elements(choices).enumerate() {
                let reason = doc.member(element, "finish_reason");
                let finished = reason.is_some_and(|node| match doc.kind(node) {
                    Kind::Null => false,
                    Kind::String => doc.str(node).is_some_and(|reason| !reason.is_empty()),
                    _ => true,
                });
                if finished {
                    let mut prefix = String::new();
                    choice(doc, element, at, &mut prefix);
                    ends.prefixes.push(prefix);
                }
            }
        }
        let done = doc.member(0, "done").map(|node| doc.kind(node));
        ends.all |= done == Some(Kind::Bool(true));
        ends
    }

    fn by_type(&mut self, doc: &Doc<'_>, kind: &str) {
        let mut prefix = String::new();
        match kind {
            "content_block_stop" => block(doc, &mut prefix),
            "message_stop"
            | "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.done" => self.all = true,
            "message_delta" => {
                let delta = doc.member(0, "delta");
                let reason = delta.and_then(|delta| doc.member(delta, "stop_reason"));
                self.all = reason.is_some_and(|node| doc.kind(node) != Kind::Null);
            }
            "response.output_item.done" => {
                prefix.push('r');
                append(&mut prefix, number(doc, 0, "output_index").unwrap_or(0));
                prefix.push('/');
            }
            _ => {
                if let Some(stem) = kind.strip_suffix(".done") {
                    output(doc, &format!("{stem}.delta"), &mut prefix);
                }
            }
        }
        if !prefix.is_empty() {
            self.prefixes.push(prefix);
        }
    }

    pub(super) fn nothing(&self) -> bool {
        !self.all && self.prefixes.is_empty()
    }

    pub(super) fn ends(&self, key: &str) -> bool {
        self.all
            || self
                .prefixes
                .iter()
                .any(|prefix| key.starts_with(prefix.as_str()))
    }
}
