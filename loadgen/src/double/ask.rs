//! What a request asks for, whichever API it speaks.

use serde_json::{Map, Value};

use super::ledger::Recorded;
use super::script::{self, Answer, Escape, Profile, Split};
use super::transformers;

/// What is said when nothing else was scripted.
const DEFAULT_TEXT: &str = "Hello from the double: it says the same to everyone.";
/// The most choices that are answered.
const CHOICES_MAX: usize = 128;
/// Keys whose strings are not part of a prompt.
const NO_TEXTS: [&str; 3] = ["role", "type", "id"];
/// How deep texts are looked for in a body.
const DEPTH_MAX: usize = 64;

/// An API whose errors and bodies have a shape of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Chat,
    Completions,
    Responses,
    Messages,
    Other,
}

/// A request, read, with the answer chosen for it.
pub(super) struct Ask {
    pub(super) api: Api,
    pub(super) serial: u64,
    /// Who asked calls the request so, or else the double.
    pub(super) request_id: String,
    pub(super) body: Value,
    pub(super) model: String,
    pub(super) prompt: String,
    pub(super) answer: Answer,
    pub(super) echo: Option<String>,
}

// === impl Api ===

impl Api {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" => Api::Chat,
            "/v1/completions" => Api::Completions,
            "/v1/responses" => Api::Responses,
            "/v1/messages" | "/v1/messages/count_tokens" => Api::Messages,
            _ => Api::Other,
        }
    }
}

// === impl Ask ===

impl Ask {
    /// Reads `request`; `chosen` gives the fields of the answer for a model's name.
    pub(super) fn read(
        api: Api,
        request: &Recorded,
        chosen: impl FnOnce(&str) -> Map<String, Value>,
    ) -> Result<Self, String> {
        let body: Value = if request.body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&request.body).map_err(|error| format!("body: {error}"))?
        };
        let model = body["model"].as_str().unwrap_or_default().to_owned();
        let mut prompt = String::new();
        for part in ["system", "instructions", "messages", "prompt", "input"] {
            collect(&body[part], &mut prompt, 0);
        }
        let mut fields = chosen(&model);
        let directive = script::directive(&prompt).or_else(|| script::directive(&model));
        if let Some(directive) = directive {
            fields.extend(directive?);
        }
        let answer = script::answer(&fields)?;
        let echo = answer.echo.then(|| request.to_json().to_string());
        Ok(Self {
            api,
            serial: request.serial,
            request_id: transformers::request_id(request),
            body,
            model,
            prompt,
            answer,
            echo,
        })
    }

    pub(super) fn transformers(&self) -> bool {
        self.answer.profile == Some(Profile::Transformers)
    }

    /// Whether to stream: as told, else as asked, else as the profile does.
    pub(super) fn stream(&self) -> bool {
        let unasked = self.transformers() && self.api == Api::Responses;
        let asked = self.body["stream"].as_bool().unwrap_or(unasked);
        self.answer.stream.unwrap_or(asked)
    }

    /// The name that the answer gives the model.
    pub(super) fn named(&self) -> String {
        match &self.answer.model {
            Some(name) => name.clone(),
            None if self.transformers() => transformers::named(&self.model),
            None if self.model.is_empty() => "double".into(),
            None => self.model.clone(),
        }
    }

    pub(super) fn choices(&self) -> usize {
        if self.transformers() {
            return 1; // whatever `n` says
        }
        let asked = self.body["n"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        self.answer
            .choices
            .or(asked)
            .unwrap_or(1)
            .clamp(1, CHOICES_MAX)
    }

    /// The text of choice `index`.
    pub(super) fn text(&self, index: usize) -> String {
        let text = match (
            &self.answer.choice_texts.get(index),
            &self.answer.text,
            &self.echo,
        ) {
            (_, _, Some(echo)) => echo,
            (Some(text), _, _) => *text,
            (None, Some(text), _) => text,
            (None, None, _) => match &self.answer.split {
                Split::List(list) => return list.concat(),
                _ => DEFAULT_TEXT,
            },
        };
        text.repeat(self.answer.repeat.unwrap_or(1).clamp(1, script::REPEAT_MAX))
    }

    /// The name and arguments of a tool call, when one shall be made.
    pub(super) fn tool_call(&self) -> Option<(String, String)> {
        if self.answer.tool.is_none() && self.answer.arguments.is_none() {
            return None;
        }
        let first = &self.body["tools"][0];
        let offered = first["function"]["name"]
            .as_str()
            .or_else(|| first["name"].as_str());
        let name = self.answer.tool.as_deref().or(offered).unwrap_or("tool");
        Some((
            name.into(),
            self.answer.arguments.clone().unwrap_or_else(|| "{}".into()),
        ))
    }

    pub(super) fn cut(&self, text: &str) -> Vec<String> {
        self.answer.split.cut(text)
    }

    /// Serialises as the answer wants its characters written.
    pub(super) fn json(&self, value: &Value) -> String {
        let mut out = String::new();
        write_json(value, self.answer.escape, &mut out);
        out
    }

    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompt.split_whitespace().count().max(1)
    }

    pub(super) fn completion_tokens(&self) -> usize {
        (0..self.choices())
            .map(|index| self.cut(&self.text(index)).len())
            .sum()
    }
}

/// All texts in `value`, a line each.
fn collect(value: &Value, out: &mut String, depth: usize) {
    match value {
        Value::String(text) => {
            out.push_str(text);
            out.push('\n');
        }
        Value::Array(items) if depth < DEPTH_MAX => {
            items.iter().for_each(|item| collect(item, out, depth + 1));
        }
        Value::Object(fields) if depth < DEPTH_MAX => {
            let texts = fields
                .iter()
                .filter(|(name, _)| !NO_TEXTS.contains(&name.as_str()));
            texts.for_each(|(_, item)| collect(item, out, depth + 1));
        }
        _ => {}
    }
}

/// Compact JSON with the strings (keys excepted) escaped as asked.
fn write_json(value: &Value, escape: Escape, out: &mut String) {
    match value {
        Value::String(text) if escape == Escape::All => {
            out.push('"');
            text.encode_utf16()
                .for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            out.push('"');
        }
        Value::String(text) => write_string(text, escape, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_json(item, escape, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (index, (name, item)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(name, Escape::Plain, out);
                out.push(':');
                write_json(item, escape, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn write_string(text: &str, escape: Escape, out: &mut String) {
    let plain = Value::from(text).to_string();
    if escape == Escape::Plain || plain.is_ascii() {
        out.push_str(&plain);
        return;
    }
    for character in plain.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let mut units = [0u16; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_way_of_escaping_reads_back_the_same() {
        let value = json!({ "schlüssel": ["é\n\"世🙂", 1.5, null, true, {}], "b": "" });
        for escape in [Escape::Plain, Escape::Ascii, Escape::All] {
            let mut out = String::new();
            write_json(&value, escape, &mut out);
            assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), value, "{out}");
        }
    }
}
