//! What one event or one whole body says: text, usage, an error, the end.
//!
//! The JSON is walked once, without building it. A [`Place`] says where in which API's shape the
//! walk is; names that mean nothing there are skipped with all that is under them. All five APIs
//! are one table ([`Place::under`]), since none uses a name in another one's sense at the same
//! place, and a gateway or a server may answer in a shape that it was not asked for.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::TEXT_BYTES_MAX;

/// What was found in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Text that is not empty: an answer's, reasoning, a refusal, arguments of a tool.
    pub text: bool,
    /// The answer ends well here, by what its API says.
    pub ended: bool,
    /// An error.
    pub error: bool,
    /// It is no JSON.
    pub malformed: bool,
    /// Tokens of the answer so far.
    pub usage_out: Option<u64>,
}

/// The texts of one answer, and the document that is being read.
#[derive(Debug, Default)]
pub struct Document {
    said: String,
    beside: String,
    found: Found,
}

/// What the walk finds.
#[derive(Debug, Default)]
struct Found {
    seen: Seen,
    /// A type that names a piece of the answer itself, or of something beside it, or nothing.
    kind: Kind,
    /// Bytes that the document added to the texts: they must begin where they did.
    said_before: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// No type, or one that says nothing of texts.
    #[default]
    Unknown,
    /// `response.output_text.delta`, `content_block_delta`: the answer.
    Said,
    /// Another `….delta`: reasoning, a refusal, arguments.
    Beside,
    /// `response.output_text.done` and the like: said before.
    Again,
}

/// Where in a document the walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Root,
    Type,
    Choices,
    Delta,
    Said,
    Beside,
    Calls,
    Finish,
    Usage,
    UsageOut,
    Error,
    Message,
    Response,
    Output,
    Content,
    Vectors,
    Vector,
    Skip,
}

// === impl Seen ===

impl Seen {
    /// What both found.
    pub fn add(&mut self, other: Seen) {
        self.text |= other.text;
        self.ended |= other.ended;
        self.error |= other.error;
        self.malformed |= other.malformed;
        self.usage_out = other.usage_out.or(self.usage_out);
    }
}

// === impl Document ===

impl Document {
    /// Forgets the texts, keeping their buffers.
    pub fn reset(&mut self) {
        self.said.clear();
        self.beside.clear();
    }

    /// The answer's text, and what was beside it.
    pub fn said(&self) -> (&str, &str) {
        (&self.said, &self.beside)
    }

    /// Reads one event's data.
    pub fn event(&mut self, json: &[u8]) -> Seen {
        self.read(json)
    }

    /// Reads a whole body.
    pub fn whole(&mut self, json: &[u8]) -> Seen {
        Seen {
            ended: true,
            ..self.read(json)
        }
    }

    fn read(&mut self, json: &[u8]) -> Seen {
        self.found = Found {
            said_before: self.said.len(),
            ..Found::default()
        };
        let read = match std::str::from_utf8(json) {
            // Looked at once as a whole, its strings need not be looked at one by one.
            Ok(text) => self.walk(serde_json::Deserializer::from_str(text)),
            Err(_) => self.walk(serde_json::Deserializer::from_slice(json)),
        };
        let found = &mut self.found;
        found.seen.malformed = read.is_err();
        let before = found.said_before;
        match found.kind {
            Kind::Beside => {
                self.beside.push_str(&self.said[before..]);
                self.said.truncate(before);
            }
            Kind::Again => {
                self.said.truncate(before);
                found.seen.text = false;
            }
            Kind::Unknown | Kind::Said => {}
        }
        self.found.seen
    }

    fn walk<'de>(
        &mut self,
        mut json: serde_json::Deserializer<impl serde_json::de::Read<'de>>,
    ) -> serde_json::Result<()> {
        let walk = Walk {
            place: Place::Root,
            document: self,
        };
        walk.deserialize(&mut json).and_then(|()| json.end())
    }

    fn text(&mut self, place: Place, text: &str) {
        if text.is_empty() {
            return;
        }
        self.found.seen.text = true;
        let into = if place == Place::Said {
            &mut self.said
        } else {
            &mut self.beside
        };
        if into.len() + text.len() <= TEXT_BYTES_MAX {
            into.push_str(text);
        }
    }

    fn string(&mut self, place: Place, text: &str) {
        match place {
            Place::Said | Place::Delta | Place::Content => self.text(Place::Said, text),
            Place::Beside => self.text(Place::Beside, text),
            Place::Finish => self.found.seen.ended = true,
            Place::Error => self.found.seen.error = true,
            Place::Type => self.kind(text),
            _ => {}
        }
    }

    /// The type of an event, of the Responses and the Messages API.
    fn kind(&mut self, name: &str) {
        let seen = &mut self.found.seen;
        match name {
            "error" | "response.failed" => seen.error = true,
            "message_stop" | "response.completed" | "response.incomplete" => {
                seen.ended = true;
                self.found.kind = Kind::Again;
            }
            "response.output_text.delta" | "content_block_delta" => self.found.kind = Kind::Said,
            _ if name.ends_with(".delta") => self.found.kind = Kind::Beside,
            _ if name.starts_with("response.") => self.found.kind = Kind::Again,
            _ => {}
        }
    }
}

// === impl Place ===

impl Place {
    /// What a name means here.
    fn under(self, name: &str) -> Place {
        match (self, name) {
            (Place::Root, "choices") => Place::Choices,
            (Place::Root, "type") => Place::Type,
            (Place::Root, "delta") => Place::Delta,
            (Place::Root, "error" | "detail") => Place::Error,
            (Place::Root, "message") => Place::Message,
            (Place::Root, "response") => Place::Response,
            (Place::Root, "output") => Place::Output,
            (Place::Root, "content") => Place::Content,
            (Place::Root, "data") => Place::Vectors,
            (Place::Root | Place::Message | Place::Response, "usage") => Place::Usage,
            (Place::Response, "error") => Place::Error,
            (Place::Choices, "delta" | "message") => Place::Delta,
            (Place::Choices, "text") => Place::Said,
            (Place::Choices, "finish_reason") => Place::Finish,
            (Place::Delta, "content") => Place::Content,
            (Place::Delta | Place::Content, "text") => Place::Said,
            (Place::Delta, "tool_calls" | "function_call" | "function") => Place::Calls,
            (
                Place::Delta | Place::Content,
                "reasoning_content" | "reasoning" | "refusal" | "thinking" | "partial_json",
            ) => Place::Beside,
            (Place::Calls, "function") => Place::Calls,
            (Place::Calls | Place::Output, "arguments") => Place::Beside,
            (Place::Output, "content") => Place::Content,
            (Place::Usage, "completion_tokens" | "output_tokens") => Place::UsageOut,
            (Place::Vectors, "embedding") => Place::Vector,
            _ => Place::Skip,
        }
    }
}

// === the walk ===

struct Walk<'a> {
    place: Place,
    document: &'a mut Document,
}

/// A name, as the place that it leads to: no string is made of it.
struct Name(Place);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Place;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Place, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Place;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Place, E> {
        Ok(self.0.under(name))
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.place {
            Place::Skip => deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.place {
            Place::Error => self.document.found.seen.error = true,
            Place::Calls => self.document.found.seen.text = true, // a call begins
            _ => {}
        }
        while let Some(place) = map.next_key_seed(Name(self.place))? {
            let document = &mut *self.document;
            map.next_value_seed(Walk { place, document })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        match self.place {
            Place::Error => self.document.found.seen.error = true,
            Place::Vector => self.document.found.seen.text = true,
            _ => {}
        }
        let place = match self.place {
            Place::Error | Place::Vector => Place::Skip,
            place => place,
        };
        loop {
            let document = &mut *self.document;
            if items.next_element_seed(Walk { place, document })?.is_none() {
                return Ok(());
            }
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if self.place == Place::Vector {
            self.document.found.seen.text = true; // base64
        }
        self.document.string(self.place, text);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        if self.place == Place::UsageOut {
            self.document.found.seen.usage_out = Some(number);
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
