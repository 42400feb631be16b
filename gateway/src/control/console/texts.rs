//! Texts of a call as a person reads them: the messages of its request, the text of its answer with
//! what was masked, and when each piece of it came.
//!
//! The record has masked texts and says which rules masked in them, not where their replacements
//! stand: [`Masks`] finds those by what the rules in force write in the place of a value, and, for
//! texts that were masked under other policies, by what shipped rules and the engine's default
//! write. A value that was replaced by one in its own format cannot be told from one that was not.

use penstock_policies::{PolicySet, Replacement};
use penstock_recorder::frame::{Decision, FrameBody};
use penstock_recorder::log::{AnswerText, Session, escape};
use serde_json::Value;

/// Messages of a request that are shown.
const MESSAGES_MAX: usize = 200;
/// Characters of one text that are shown.
pub(super) const TEXT_CHARS_MAX: usize = 200_000;
/// The longest replacement that is looked for, in bytes.
const MASK_BYTES_MAX: usize = 160;

/// A text, in parts that are as they were and parts that stand for something.
pub(super) type Marked = Vec<(bool, String)>;

/// A part of a request: whose it is, and what it says.
pub(super) struct Message {
    pub(super) role: String,
    pub(super) text: String,
}

/// A piece of an answer: after how many milliseconds it came, and its parts.
pub(super) struct Piece {
    pub(super) at_ms: u64,
    pub(super) parts: Marked,
}

/// Rules that masked something in one direction.
pub(super) struct Masks {
    rules: Vec<String>,
    /// What they write today.
    written: Vec<Replacement>,
}

// === impl Masks ===

impl Masks {
    /// Of a call's decisions in this direction.
    pub(super) fn of(policy: &PolicySet, session: &Session, direction: &str) -> Self {
        let masking = |decision: &&Decision| {
            decision.direction == direction && decision.action.starts_with("mask")
        };
        let decisions = session.bodies().filter_map(|body| match body {
            FrameBody::Decision(decision) => Some(decision),
            _ => None,
        });
        let mut rules: Vec<String> = decisions
            .filter(masking)
            .map(|it| it.rule.clone())
            .collect();
        rules.sort();
        rules.dedup();
        Self::by(policy, rules)
    }

    fn by(policy: &PolicySet, rules: Vec<String>) -> Self {
        let written = rules.iter().filter_map(|rule| policy.replacement_of(rule));
        Self {
            written: written.collect(),
            rules,
        }
    }

    /// Cuts a text where replacements begin and end.
    pub(super) fn mark(&self, text: &str) -> Marked {
        let mut parts = Marked::new();
        if self.rules.is_empty() {
            parts.push((false, text.to_owned()));
            return parts;
        }
        let mut from = 0;
        for (at, _) in text.char_indices() {
            if at < from {
                continue;
            }
            let Some(length) = self.length_at(&text[at..]).filter(|length| *length > 0) else {
                continue;
            };
            if at > from {
                parts.push((false, text[from..at].to_owned()));
            }
            parts.push((true, text[at..at + length].to_owned()));
            from = at + length;
        }
        if from < text.len() {
            parts.push((false, text[from..].to_owned()));
        }
        parts
    }

    /// How long the replacement is that begins here.
    fn length_at(&self, text: &str) -> Option<usize> {
        let own = self.written.iter().filter_map(|it| it.length_at(text));
        own.max().or_else(|| self.usual_length_at(text))
    }

    /// `[masked:RULE]`, or a name in brackets with what is left of the value behind a colon or the
    /// word `ending`.
    fn usual_length_at(&self, text: &str) -> Option<usize> {
        if !text.starts_with(['<', '[']) {
            return None;
        }
        if let Some(rest) = text.strip_prefix("[masked:") {
            let named = |rule: &&String| {
                let rest = rest.strip_prefix(rule.as_str());
                rest.is_some_and(|it| it.starts_with(']'))
            };
            let rule = self.rules.iter().find(named)?;
            return Some("[masked:]".len() + rule.len());
        }
        let close = if text.starts_with('<') { b'>' } else { b']' };
        let inner = text.get(1..)?;
        let end = inner
            .bytes()
            .take(MASK_BYTES_MAX)
            .position(|byte| byte == close)?;
        let inner = &inner[..end];
        let (name, value) = inner
            .split_once(':')
            .or_else(|| inner.split_once(" ending "))?;
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name =
            name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(is_word);
        let is_value = !value.is_empty()
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'*');
        (is_name && is_value).then_some(end + 2)
    }
}

/// What a request says, as messages where it has any.
pub(super) fn messages(body: &[u8]) -> Option<Vec<Message>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let mut found = Vec::new();
    let mut add = |role: &str, value: &Value| {
        let text = text_of(value);
        if !text.is_empty() && found.len() < MESSAGES_MAX {
            found.push(Message {
                role: escape::line(role),
                text: clipped(&text),
            });
        }
    };
    for (name, role) in [("system", "system"), ("instructions", "instructions")] {
        add(role, &value[name]);
    }
    for message in value["messages"].as_array().into_iter().flatten() {
        add(
            message["role"].as_str().unwrap_or("message"),
            &message["content"],
        );
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            add("tool call", &call["function"]["arguments"]);
        }
    }
    for name in ["prompt", "input", "query"] {
        match &value[name] {
            Value::Array(items)
                if items
                    .iter()
                    .any(|it| it["content"].is_string() || it["content"].is_array()) =>
            {
                for item in items {
                    add(item["role"].as_str().unwrap_or(name), &item["content"]);
                }
            }
            value => add(name, value),
        }
    }
    (!found.is_empty()).then_some(found)
}

/// A string, or the strings and `text` members of a list.
fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let texts = items.iter().map(|item| match item {
                Value::String(text) => text.clone(),
                Value::Object(_) => text_of(&item["text"]),
                _ => String::new(),
            });
            texts
                .filter(|text| !text.is_empty())
                .collect::<Vec<_>>()
                .join("\n")
        }
        _ => String::new(),
    }
}

/// What an answer says, with the time of each piece.
pub(super) fn pieces(session: &Session) -> Vec<(u64, String)> {
    let started = session
        .frames
        .first()
        .map_or(0, |first| first.frame.at_unix_ns);
    let media = session.response_media();
    let is_json = media.to_ascii_lowercase().starts_with("application/json");
    if is_json {
        let at = session
            .response_chunks()
            .map(|(at, _)| at)
            .last()
            .unwrap_or(started);
        let text = whole_answer(&session.response_body());
        return vec![(at.saturating_sub(started), text)];
    }
    let mut reader = AnswerText::of_media(media);
    let mut pieces: Vec<(u64, String)> = Vec::new();
    let mut last = 0;
    for (at, bytes) in session.response_chunks() {
        last = at.saturating_sub(started);
        let text = reader.push(bytes);
        if !text.is_empty() {
            pieces.push((last, text));
        }
    }
    let rest = reader.finish();
    if !rest.is_empty() {
        pieces.push((last, rest));
    }
    pieces
}

/// The text of an answer that is one JSON object; the object itself where it has none.
fn whole_answer(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).into_owned();
    };
    let mut texts = Vec::new();
    for choice in value["choices"].as_array().into_iter().flatten() {
        texts.push(text_of(&choice["message"]["content"]));
        texts.push(text_of(&choice["text"]));
    }
    texts.push(text_of(&value["content"]));
    for item in value["output"].as_array().into_iter().flatten() {
        texts.push(text_of(&item["content"]));
    }
    texts.push(text_of(&value["error"]["message"]));
    texts.retain(|text| !text.is_empty());
    match texts.is_empty() {
        true => serde_json::to_string_pretty(&value).unwrap_or_default(),
        false => texts.join("\n\n"),
    }
}

/// Pieces with their masks marked; one that came in several pieces is marked in each of them.
pub(super) fn marked(pieces: &[(u64, String)], masks: &Masks) -> Vec<Piece> {
    let whole: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
    let parts = masks.mark(&whole);
    let (mut nth, mut from) = (0, 0);
    let mut out = Vec::with_capacity(pieces.len());
    for (at, text) in pieces {
        let mut left = text.len();
        let mut of_piece = Marked::new();
        while left > 0 && nth < parts.len() {
            let (is_mask, part) = &parts[nth];
            // Both sides are cut of the same text, so a cut never parts a character.
            let taken = left.min(part.len() - from);
            of_piece.push((*is_mask, escape::lines(&part[from..from + taken])));
            left -= taken;
            from += taken;
            if from == part.len() {
                (nth, from) = (nth + 1, 0);
            }
        }
        out.push(Piece {
            at_ms: at / 1_000_000,
            parts: of_piece,
        });
    }
    out
}

/// A text no longer than is shown.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks() -> Masks {
        let rules = vec!["card".to_owned(), "email".to_owned()];
        Masks::by(&PolicySet::allow_all(), rules)
    }

    #[test]
    fn what_stands_for_a_value_is_marked_and_nothing_else() {
        let text = "to <customer:1a2b>, [email:8384ec05], [card ending 1111] and [masked:card], \
                    not [a link](x), <b>, 1 < 2 > 1, [note: this]";
        let marked: Vec<String> = masks()
            .mark(text)
            .into_iter()
            .filter_map(|(is_mask, text)| is_mask.then_some(text))
            .collect();
        let masks_of = [
            "<customer:1a2b>",
            "[email:8384ec05]",
            "[card ending 1111]",
            "[masked:card]",
        ];
        assert_eq!(marked, masks_of);
        let whole: String = masks()
            .mark(text)
            .into_iter()
            .map(|(_, text)| text)
            .collect();
        assert_eq!(whole, text);
        let none = Masks::by(&PolicySet::allow_all(), Vec::new());
        assert_eq!(none.mark(text), [(false, text.to_owned())]);
    }

    #[test]
    fn what_an_operator_has_a_rule_write_is_marked_too() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("packs")).expect("a folder");
        let pack = "[[rule]]\nid = \"acme\"\ndescription = \"a number\"\nregex = '\\bACME-[0-9]{4}\\b'\n\
                    replace = \"one of our customers, {last:2}\"\n\
                    matches = [\"ACME-1234\"]\nmisses = [\"ACME\"]\n";
        std::fs::write(dir.path().join("packs/acme.toml"), pack).expect("written");
        let guard = "[[guard]]\nname = \"g\"\ndirection = \"both\"\npacks = [\"acme\"]\naction = \"mask\"\n";
        std::fs::write(dir.path().join("main.toml"), guard).expect("written");
        let policy = PolicySet::load(&penstock_policies::PolicySources {
            withheld: &[],
            dir: dir.path(),
            pseudonym_key: [7; 32],
        });
        let masks = Masks::by(&policy.expect("a policy"), vec!["acme".to_owned()]);
        let parts = masks.mark("ä one of our customers, 34 wrote [masked:acme] to one of us");
        let marked: Vec<&str> = parts
            .iter()
            .filter(|it| it.0)
            .map(|it| it.1.as_str())
            .collect();
        assert_eq!(marked, ["one of our customers, 34", "[masked:acme]"]);
    }

    #[test]
    fn a_mask_is_marked_in_each_piece_that_it_came_in() {
        let text = "ä <account ending 123> ö [masked:email]!";
        for step in 1..text.chars().count() {
            let chars: Vec<char> = text.chars().collect();
            let pieces: Vec<(u64, String)> = chars
                .chunks(step)
                .enumerate()
                .map(|(nth, chunk)| (nth as u64 * 1_000_000, chunk.iter().collect()))
                .collect();
            let marked = marked(&pieces, &masks());
            let joined = |wanted: bool| -> String {
                let parts = marked.iter().flat_map(|piece| &piece.parts);
                parts
                    .filter(|(is_mask, _)| *is_mask == wanted)
                    .map(|(_, text)| text.as_str())
                    .collect()
            };
            assert_eq!(joined(true), "<account ending 123>[masked:email]", "{step}");
            assert_eq!(joined(false), "ä  ö !", "{step}");
            assert_eq!(
                marked.last().map(|piece| piece.at_ms),
                Some(pieces.len() as u64 - 1)
            );
        }
    }

    #[test]
    fn messages_are_found_in_what_clients_send() {
        let body = br#"{"system":"be kind","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},
            {"role":"assistant","content":"yes"}]}"#;
        let found: Vec<(String, String)> = messages(body)
            .unwrap()
            .into_iter()
            .map(|it| (it.role, it.text))
            .collect();
        let pair = |role: &str, text: &str| (role.to_owned(), text.to_owned());
        assert_eq!(
            found,
            [
                pair("system", "be kind"),
                pair("user", "hi"),
                pair("assistant", "yes")
            ]
        );
        assert!(messages(b"{}").is_none() && messages(b"\xff").is_none());
    }

    #[test]
    fn whole_answers_give_their_text() {
        let chat = br#"{"choices":[{"message":{"content":"hello"}}]}"#;
        assert_eq!(whole_answer(chat), "hello");
        assert_eq!(whole_answer(br#"{"error":{"message":"no"}}"#), "no");
        assert_eq!(whole_answer(b"plain"), "plain");
    }
}
