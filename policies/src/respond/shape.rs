//! Which strings of an event are pieces of a longer text, and which events end one.
//!
//! Told by the event's own shape, not by the route: engines answer on each other's routes. A key
//! names a text for as long as it is open:
//!
//! | event | key |
//! | --- | --- |
//! | `choices[i].delta.…`, `choices[i].text` | `c<index>/…`, tool calls by their own index |
//! | `choices[i].message.…` | `c<index>/message:…`, likewise |
//! | Responses `*.delta` with a string `delta` | `r<output>//<type>/<part>/delta` |
//! | Anthropic `content_block_start`, `content_block_delta` | `b<index>/<field>` |
//! | llama.cpp, TGI, Ollama: `content`, `token.text`, `message.content` and kin | `o<index>/…` |
//!
//! A key is made of what says where in the answer a text belongs, never of a name that an event
//! gives it: with a new name for each piece a text would be many texts, and no match in any.
//!
//! Everything below a choice's delta is taken for text, known field or not, except short strings
//! that identify: an engine's new reasoning field is masked across events from its first day. The
//! name of a tool is apart ([`Part::Name`]). All other strings of an event are texts of their own.

use std::fmt::Write;

use crate::text::{Doc, Kind, Place, Step};

/// What one event says about the texts before it.
#[derive(Debug, Default)]
pub(super) struct Ends {
    all: bool,
    prefixes: Vec<String>,
}

/// What a string of an event is in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A text of its own.
    Whole,
    /// A piece of a longer text.
    Piece,
    /// Too short to be more than an identifier, unless it follows a piece of a longer text.
    Identifier,
    /// A name, of a tool or a function. Engines send it in one piece, and clients act on the first
    /// that they see, so it is never held; should another piece come, it is a text like others.
    Name,
}

/// Fields below a delta that identify and do not speak.
const IDENTIFIERS: [&str; 3] = ["role", "type", "id"];

const NAME: &str = "name";

/// Longest identifier; what is longer speaks. No API takes a longer name of a function.
const IDENTIFIER_BYTES_MAX: usize = 64;

/// What the string `value` at `place` is; unless it is a whole text, its key is then in `key`.
pub(super) fn part(
    doc: &Doc<'_>,
    place: &Place<'_, '_>,
    value: &str,
    kind: Option<&str>,
    key: &mut String,
) -> Part {
    key.clear();
    if let [
        Step::Key("choices"),
        Step::Index(at),
        Step::Key(message),
        rest @ ..,
    ] = place.path
        && matches!(*message, "delta" | "message")
    {
        choice(doc, place.containers[2], *at, key);
        if *message == "message" {
            key.push_str("message:");
        }
        below_delta(doc, place, rest, key);
        return said_below_delta(rest, value);
    }
    if is_piece(doc, place, kind, key) {
        Part::Piece
    } else {
        Part::Whole
    }
}

/// What a string below a delta is: a piece, unless it is short and its field says otherwise.
fn said_below_delta(path: &[Step<'_>], value: &str) -> Part {
    match path.last() {
        _ if value.len() > IDENTIFIER_BYTES_MAX => Part::Piece,
        Some(Step::Key(field)) if *field == NAME => Part::Name,
        Some(Step::Key(field)) if IDENTIFIERS.contains(field) => Part::Identifier,
        _ => Part::Piece,
    }
}

/// Whether a string is JSON itself, as the arguments of a tool call are.
pub(super) fn is_json(path: &[Step<'_>], kind: Option<&str>) -> bool {
    match path {
        [Step::Key("delta")] => kind.is_some_and(|kind| kind.contains("arguments")),
        _ => matches!(path.last(), Some(Step::Key("arguments" | "partial_json"))),
    }
}

/// Whether a piece at `path` is one whatever it says: not so where a short text identifies.
pub(super) fn is_always_piece(path: &[Step<'_>]) -> bool {
    match path.last() {
        Some(Step::Key(field)) => *field != NAME && !IDENTIFIERS.contains(field),
        _ => true,
    }
}

/// Whether a string that is not below a choice's delta is a piece; its key is then in `key`.
fn is_piece(doc: &Doc<'_>, place: &Place<'_, '_>, kind: Option<&str>, key: &mut String) -> bool {
    match place.path {
        [Step::Key("choices"), Step::Index(at), Step::Key("text")] => {
            choice(doc, place.containers[2], *at, key);
            key.push_str("text");
            true
        }
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
            Step::Key(field @ ("completion" | "content" | "generated_text" | "response" | "text")),
        ] if !is_typed(kind) => {
            plain(doc, key);
            key.push_str(field);
            true
        }
        [
            Step::Key("message"),
            Step::Key(field @ ("content" | "thinking")),
        ]
        | [Step::Key("token"), Step::Key(field @ "text")]
            if !is_typed(kind) =>
        {
            plain(doc, key);
            key.push_str("in ");
            key.push_str(field);
            true
        }
        _ => false,
    }
}

/// Whether an event is one of the APIs that say by its type where its pieces are. Others of its
/// texts are copies of the whole.
fn is_typed(kind: Option<&str>) -> bool {
    kind.is_some_and(|kind| {
        kind.ends_with(".done")
            || ["response.", "content_block_", "message_"]
                .iter()
                .any(|family| kind.starts_with(family))
    })
}

/// The steps from a choice's delta to the string, as a key.
fn below_delta(doc: &Doc<'_>, place: &Place<'_, '_>, rest: &[Step<'_>], key: &mut String) {
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

/// `o<index>/`: llama.cpp numbers the prompts that it answers at once, and says `stop` in every
/// event. Elsewhere an `index` may be that of the token.
fn plain(doc: &Doc<'_>, key: &mut String) {
    let numbered = flag(doc, "stop").is_some();
    let index = number(doc, 0, "index").filter(|_| numbered);
    key.push('o');
    append(key, index.unwrap_or(0));
    key.push('/');
}

/// `r<output>/<call>/<type>/<part>/`; the call only where nothing else tells two calls apart, whose
/// arguments no client joins.
fn output(doc: &Doc<'_>, kind: &str, key: &mut String) {
    let output_index = number(doc, 0, "output_index");
    key.push('r');
    append(key, output_index.unwrap_or(0));
    key.push('/');
    if output_index.is_none() && kind.contains("_call_") {
        let call = doc.member(0, "item_id").and_then(|node| doc.str(node));
        key.push_str(call.unwrap_or_default());
    }
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

/// A member of the event that is true or false.
fn flag(doc: &Doc<'_>, key: &str) -> Option<bool> {
    match doc.member(0, key).map(|node| doc.kind(node)) {
        Some(Kind::Bool(value)) => Some(value),
        _ => None,
    }
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
        ends.all |= flag(doc, "done") == Some(true);
        // TGI repeats the whole text beside the last token.
        let whole = doc.member(0, "generated_text").map(|node| doc.kind(node));
        let last_token = whole == Some(Kind::String) && doc.member(0, "token").is_some();
        if flag(doc, "stop") == Some(true) || last_token {
            let mut prefix = String::new();
            plain(doc, &mut prefix);
            ends.prefixes.push(prefix);
        }
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
