//! What the double says and how it misbehaves: answers, rules that choose them, and directives
//! inside a request.
//!
//! An answer comes together from three places, the later ones winning field by field: the
//! double's defaults, the first rule of its script that matches, and the last
//! `[[double: …]]` found in the request's texts or model name. A directive is either a JSON
//! object (`[[double: {"text": "a b", "split": "bytes:2"}]]`) or words
//! (`[[double: echo split=chars:3 stall=2:500]]`), so it passes any gateway without a header.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

const OPENING: &str = "[[double:";
const CLOSING: &str = "]]";
/// How many times a text may be repeated.
pub(super) const REPEAT_MAX: usize = 100_000;

/// How a text is cut into deltas. The deltas joined are the text, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// One delta (`"whole"`).
    Whole,
    /// Words with the space before them (`"words"`).
    #[default]
    Words,
    /// This many characters each (`"chars:3"`).
    Chars(usize),
    /// At least this many bytes each, cut at the next character (`"bytes:3"`).
    Bytes(usize),
    /// As given (`["a", "b"]`); joined they are the text.
    List(Vec<String>),
}

/// Where a stream breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncate {
    /// `"after:3"`: the connection closes after 3 deltas (or 3 bytes of a plain body).
    After(usize),
    /// `"event:3"`: after 3 deltas, half of the next event, then the connection closes.
    Event(usize),
    /// `"chunk:3"`: after 3 deltas, a chunk that is shorter than it says, then it closes.
    Chunk(usize),
    /// `"clean:3"`: after 3 deltas the body ends as if all were well.
    Clean(usize),
}

/// How the body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// With a content-length.
    Length,
    /// In chunks.
    Chunked,
    /// By closing the connection.
    Close,
}

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// At once, without a byte of an answer.
    Before,
    /// At once, with a TCP reset.
    Reset,
    /// Properly after the answer, announced by `Connection: close`.
    After,
    /// After the answer, without saying so.
    Silently,
}

/// How characters of JSON strings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escape {
    /// As UTF-8 wherever JSON allows.
    #[default]
    Plain,
    /// What is not ASCII as `\uXXXX`.
    Ascii,
    /// Everything as `\uXXXX`.
    All,
}

/// Whose habits to imitate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// What the vendors document, as vLLM does it.
    #[default]
    Openai,
    /// `transformers serve`: no `[DONE]`, usage beside the finish reason, absent fields instead
    /// of null ones, the model name changed, errors as `{"detail"}` that quote the caller,
    /// responses streamed unless declined. Held to captures of the real server.
    Transformers,
}

/// One answer of the double. Every field has a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answer {
    /// The text of the answer.
    pub text: Option<String>,
    /// Texts for choices 0, 1, … where they shall differ.
    pub choice_texts: Vec<String>,
    /// The text is said this many times.
    pub repeat: Option<usize>,
    /// The text is the raw request, as JSON.
    pub echo: bool,
    /// Reasoning before the text (`reasoning_content`, a reasoning item, `thinking`).
    pub reasoning: Option<String>,
    /// A refusal instead of the text.
    pub refusal: Option<String>,
    /// Calls this tool; without it, the first of the request's tools when `arguments` is given.
    pub tool: Option<String>,
    /// The call's arguments, as the JSON text that the model would write.
    pub arguments: Option<String>,
    /// Number of choices; by default the request's `n`.
    pub choices: Option<usize>,
    /// How texts are cut into deltas.
    #[serde(deserialize_with = "split")]
    pub split: Split,
    /// The finish reason, in the terms of the API; `""` leaves it out.
    pub finish_reason: Option<String>,
    /// Whether usage is sent in a stream; by default as the request asks.
    pub usage: Option<bool>,
    /// Whether `[DONE]` is sent; by default as the profile has it.
    pub done: Option<bool>,
    /// Whose habits.
    pub profile: Option<Profile>,
    /// The model name in the answer; by default the request's.
    pub model: Option<String>,
    /// How characters are written.
    pub escape: Escape,
    /// The head states the BLAKE3 of the first choice's text (`x-text-blake3`), so that a client
    /// can tell whether it arrived as it was said.
    pub digest: bool,

    /// Milliseconds before the first delta.
    pub ttft_ms: Option<u64>,
    /// Milliseconds between deltas.
    pub inter_token_ms: Option<u64>,
    /// Further milliseconds before given deltas: `[[2, 500]]` or `"2:500,7:100"`.
    #[serde(deserialize_with = "stalls")]
    pub stall: Vec<(usize, u64)>,
    /// Events per write and chunk.
    pub burst: Option<usize>,
    /// Bytes per write, cutting anywhere.
    pub wire_bytes: Option<usize>,
    /// Milliseconds between such writes.
    pub wire_ms: u64,

    /// Breaks off.
    #[serde(deserialize_with = "truncate")]
    pub truncate: Option<Truncate>,
    /// How the connection ends.
    pub close: Option<Close>,
    /// The status; from 400 on an error body in the format of the API.
    pub status: Option<u16>,
    /// The message of such an error.
    pub message: Option<String>,
    /// The body, byte for byte, instead of one made up.
    pub body: Option<String>,
    /// The stream's bytes, event by event, instead of ones made up.
    pub events: Option<Vec<String>>,
    /// The whole answer from the status line on, byte for byte.
    pub raw: Option<String>,
    /// The content type.
    pub content_type: Option<String>,
    /// Further fields of the head.
    pub headers: Map<String, Value>,
    /// `gzip` and `deflate` are applied; anything else is only claimed.
    pub encoding: Option<String>,
    /// How the body is delimited.
    pub framing: Option<Framing>,
    /// Cuts the JSON short so that it is none (in a stream: of the last delta).
    pub invalid_json: bool,
    /// Streams, or does not, whatever the request asks.
    pub stream: Option<bool>,
}

/// Chooses an answer for requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The model's name; `*` at its end stands for anything.
    pub model: Option<String>,
    /// A text that the request's body contains.
    pub contains: Option<String>,
    /// The path.
    pub path: Option<String>,
    /// How often the rule applies; always when absent.
    pub times: Option<u64>,
    /// The fields of an [`Answer`].
    pub answer: Map<String, Value>,
}

/// A list of rules; the first that matches counts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The rules, `[[rule]]` in TOML.
    pub rule: Vec<Rule>,
}

// === impl Script ===

impl Script {
    /// Reads TOML, or JSON when the text starts with a brace.
    pub fn parse(text: &str) -> Result<Self, String> {
        let script: Script = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            toml::from_str(text).map_err(|error| error.to_string())?
        };
        for (index, rule) in script.rule.iter().enumerate() {
            answer(&rule.answer).map_err(|error| format!("rule {}: {error}", index + 1))?;
        }
        Ok(script)
    }

    /// The rule for a request, with one of its uses taken.
    pub(super) fn select(&mut self, path: &str, model: &str, body: &[u8]) -> Option<&Rule> {
        let rule = self
            .rule
            .iter_mut()
            .find(|rule| rule.matches(path, model, body))?;
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        Some(rule)
    }
}

impl Rule {
    fn matches(&self, path: &str, model: &str, body: &[u8]) -> bool {
        let model_fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => model.starts_with(prefix),
            None => model == pattern,
        };
        let contained = |text: &String| memchr::memmem::find(body, text.as_bytes()).is_some();
        self.times != Some(0)
            && self.model.as_ref().is_none_or(model_fits)
            && self.path.as_ref().is_none_or(|wanted| wanted == path)
            && self.contains.as_ref().is_none_or(contained)
    }
}

/// Reads the fields of an answer.
pub(super) fn answer(fields: &Map<String, Value>) -> Result<Answer, String> {
    serde_json::from_value(Value::Object(fields.clone())).map_err(|error| error.to_string())
}

/// The last directive in `text`.
pub(super) fn directive(text: &str) -> Option<Result<Map<String, Value>, String>> {
    let at = text.rfind(OPENING)?;
    let inside = text[at + OPENING.len()..].trim_start();
    Some(fields(inside).map_err(|why| format!("{OPENING} …{CLOSING}: {why}")))
}

fn fields(inside: &str) -> Result<Map<String, Value>, String> {
    if inside.starts_with('{') {
        let (value, rest) = json_prefix(inside)?;
        if !rest.trim_start().starts_with(CLOSING) {
            return Err(format!("{CLOSING} is missing after the object"));
        }
        return match value {
            Value::Object(map) => Ok(map),
            _ => Err("an object is expected".into()),
        };
    }
    let mut map = Map::new();
    let mut rest = inside;
    loop {
        rest = rest.trim_start();
        if rest.starts_with(CLOSING) {
            return Ok(map);
        }
        let name_end = rest.find(|c: char| c == '=' || c == ']' || c.is_whitespace());
        let name_end = name_end.ok_or_else(|| format!("{CLOSING} is missing"))?;
        if name_end == 0 {
            return Err("write it as words: name or name=value".into());
        }
        let name = rest[..name_end].replace('-', "_");
        rest = &rest[name_end..];
        let mut value = Value::Bool(true);
        if let Some(given) = rest.strip_prefix('=') {
            (value, rest) = word_value(given)?;
        }
        map.insert(name, value);
    }
}

fn word_value(text: &str) -> Result<(Value, &str), String> {
    if text.starts_with(['"', '[', '{']) {
        return json_prefix(text);
    }
    let space = text.find(char::is_whitespace).unwrap_or(text.len());
    let end = text.find(CLOSING).unwrap_or(text.len()).min(space);
    let word = &text[..end];
    let value = serde_json::from_str(word).unwrap_or_else(|_| Value::from(word));
    Ok((value, &text[end..]))
}

fn json_prefix(text: &str) -> Result<(Value, &str), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok((value, &text[values.byte_offset()..])),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("a value is missing".into()),
    }
}

// === fields with a short form ===

fn split<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Split, D::Error> {
    let value = Value::deserialize(deserializer)?;
    if let Value::Array(_) = value {
        return serde_json::from_value(value)
            .map(Split::List)
            .map_err(D::Error::custom);
    }
    let text = value.as_str().unwrap_or_default();
    let wrong =
        || D::Error::custom("split is \"whole\", \"words\", \"chars:N\", \"bytes:N\" or a list");
    match text.split_once(':') {
        None if text == "whole" => Ok(Split::Whole),
        None if text == "words" => Ok(Split::Words),
        Some((unit, count)) => {
            let count = count
                .parse()
                .ok()
                .filter(|count| *count > 0)
                .ok_or_else(wrong)?;
            match unit {
                "chars" => Ok(Split::Chars(count)),
                "bytes" => Ok(Split::Bytes(count)),
                _ => Err(wrong()),
            }
        }
        None => Err(wrong()),
    }
}

fn stalls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(usize, u64)>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let wrong = || D::Error::custom("stall is [[delta, ms], …] or \"delta:ms,…\"");
    match value.as_str() {
        None => serde_json::from_value(value).map_err(|_| wrong()),
        Some(text) => text
            .split(',')
            .map(|pair| {
                let (delta, ms) = pair.split_once(':')?;
                Some((delta.parse().ok()?, ms.parse().ok()?))
            })
            .collect::<Option<_>>()
            .ok_or_else(wrong),
    }
}

fn truncate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Truncate>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let parsed = text.split_once(':').and_then(|(kind, count)| {
        let count = count.parse().ok()?;
        Some(match kind {
            "after" => Truncate::After(count),
            "event" => Truncate::Event(count),
            "chunk" => Truncate::Chunk(count),
            "clean" => Truncate::Clean(count),
            _ => return None,
        })
    });
    let wrong =
        || D::Error::custom("truncate is \"after:N\", \"event:N\", \"chunk:N\" or \"clean:N\"");
    parsed.map(Some).ok_or_else(wrong)
}

// === impl Split ===

impl Split {
    /// Cuts `text`. An empty text has no deltas.
    pub fn cut(&self, text: &str) -> Vec<String> {
        match self {
            Split::Whole if text.is_empty() => Vec::new(),
            Split::Whole => vec![text.to_owned()],
            Split::List(list) if list.concat() == text => list.clone(),
            Split::Words | Split::List(_) => words(text),
            Split::Chars(count) => {
                let chars: Vec<char> = text.chars().collect();
                chars
                    .chunks(*count)
                    .map(|chunk| chunk.iter().collect())
                    .collect()
            }
            Split::Bytes(count) => {
                let mut deltas = Vec::new();
                let mut start = 0;
                while start < text.len() {
                    let end = text.ceil_char_boundary((start + count).min(text.len()));
                    deltas.push(text[start..end].to_owned());
                    start = end;
                }
                deltas
            }
        }
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut start = 0;
    let mut spaces = true;
    for (at, character) in text.char_indices() {
        if character.is_whitespace() && !spaces {
            words.push(text[start..at].to_owned());
            start = at;
        }
        spaces = character.is_whitespace();
    }
    if start < text.len() {
        words.push(text[start..].to_owned());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_split_joins_to_the_text() {
        let text = "Grüße, 世界! a  b\n c🙂";
        for split in [
            Split::Whole,
            Split::Words,
            Split::Chars(3),
            Split::Bytes(1),
            Split::Bytes(4),
        ] {
            assert_eq!(split.cut(text).concat(), text, "{split:?}");
            assert!(split.cut("").is_empty());
        }
        assert_eq!(words("a bc  d"), ["a", " bc", "  d"]);
        assert_eq!(Split::Bytes(2).cut("aé世"), ["aé", "世"]);
    }

    #[test]
    fn directives_have_two_forms_and_the_last_one_counts() {
        let read = |text: &str| Value::Object(directive(text).unwrap().unwrap());
        assert_eq!(read("x [[double: echo]] y"), json!({ "echo": true }));
        assert_eq!(
            read(r#"[[double: text="a ]] b" split=["a ","]] b"] stall=1:20 burst=2]]"#),
            json!({ "text": "a ]] b", "split": ["a ", "]] b"], "stall": "1:20", "burst": 2 })
        );
        assert_eq!(
            read(r#"[[double: {"text":"[[x]]"} ]]"#),
            json!({ "text": "[[x]]" })
        );
        assert_eq!(
            read("[[double: echo]] [[double: status=503]]"),
            json!({ "status": 503 })
        );
        assert!(directive("[[double: echo").unwrap().is_err());
        assert!(directive("[[doubles]]").is_none());
    }

    #[test]
    fn answers_are_checked() {
        let read = |value: Value| answer(value.as_object().unwrap());
        let good = read(json!({ "split": "bytes:3", "stall": "2:5,3:1", "truncate": "event:2" }));
        let good = good.unwrap();
        assert_eq!(good.split, Split::Bytes(3));
        assert_eq!(good.stall, [(2, 5), (3, 1)]);
        assert_eq!(good.truncate, Some(Truncate::Event(2)));
        for bad in [
            json!({ "split": "chars:0" }),
            json!({ "truncate": "later" }),
            json!({ "txt": "a" }),
            json!({ "stall": "x" }),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_match_in_order_and_wear_out() {
        let text = "[[rule]]\nmodel = 'a*'\ntimes = 1\nanswer = { text = '1' }\n\
                    [[rule]]\ncontains = 'mark'\nanswer = { text = '2' }\n";
        let mut script = Script::parse(text).unwrap();
        let mut said = |model: &str, body: &str| {
            script
                .select("/", model, body.as_bytes())
                .map(|rule| rule.answer["text"].clone())
        };
        assert_eq!(said("abc", "mark"), Some("1".into()));
        assert_eq!(said("abc", "mark"), Some("2".into()));
        assert_eq!(said("abc", ""), None);
        assert!(
            Script::parse("[[rule]]\nanswer = { txt = '1' }")
                .unwrap_err()
                .contains("rule 1")
        );
        assert!(Script::parse("[[rule]]\nmodell = 'a'").is_err());
    }
}
