//! Prompts from files: ShareGPT's JSON, and lines of JSON.
//!
//! | file | is read as |
//! | --- | --- |
//! | ShareGPT | an array of `{"conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}`; the first thing that the human says is the prompt, the length of what it was answered the length of the answer |
//! | lines | each a string, or `{"prompt": …}`, `{"text": …}`, `{"messages": […]}`, `{"input": …}`; `max_tokens` or `output_tokens` beside it is the length of the answer |
//! | batch lines | `{"url": "/v1/…", "body": {…}}`, as in OpenAI's batch files: bodies are sent as they are |

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::Api;

/// The largest file that is read.
pub const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// Conversations shorter than this (in characters) say nothing and are left out, as usual.
const SHAREGPT_CHARS_MIN: usize = 4;

/// One prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What is said.
    pub said: Said,
    /// How long the answer may be, where the file knows.
    pub output_tokens: Option<u32>,
    /// The API that it is for, where it says.
    pub api: Option<Api>,
}

/// The ways of saying it.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Text, escaped for a JSON string, without its quotes.
    Text(Box<str>),
    /// JSON that stands where the text would: an array of messages or of inputs.
    Messages(Box<str>),
    /// A whole body.
    Body(Box<str>),
}

/// The formats of prompt files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ShareGPT's JSON.
    ShareGpt,
    /// JSON lines.
    Lines,
}

/// Why there are no prompts.
#[derive(Debug, thiserror::Error)]
pub struct FileError {
    /// The file.
    pub path: String,
    /// Where in it, and why.
    pub why: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

// === impl Prompt ===

impl Prompt {
    /// A plain text.
    pub fn text(text: &str) -> Self {
        Self {
            said: Said::Text(escaped(text)),
            output_tokens: None,
            api: None,
        }
    }
}

/// Reads a file of prompts; there is at least one.
pub fn read(path: &Path, format: Format) -> Result<Vec<Prompt>, FileError> {
    let failed = |why: String| FileError {
        path: path.display().to_string(),
        why,
    };
    let length = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if length.len() > FILE_BYTES_MAX {
        return Err(failed(format!("more than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let prompts = match format {
        Format::ShareGpt => sharegpt(&text),
        Format::Lines => lines(&text),
    };
    prompts.map_err(failed)
}

/// Reads ShareGPT's JSON.
pub fn sharegpt(text: &str) -> Result<Vec<Prompt>, String> {
    let all: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let conversation = |value: &Value| {
        let turns = value["conversations"]
            .as_array()
            .or(value["conversation"].as_array())?;
        let said = |from: [&str; 2]| {
            let turn = turns.iter().find(|turn| {
                turn["from"]
                    .as_str()
                    .or(turn["role"].as_str())
                    .is_some_and(|name| from.contains(&name))
            })?;
            turn["value"].as_str().or(turn["content"].as_str())
        };
        let prompt = said(["human", "user"])?;
        let answer = said(["gpt", "assistant"])?;
        let worth = prompt.chars().count() >= SHAREGPT_CHARS_MIN && !answer.is_empty();
        worth.then(|| Prompt {
            output_tokens: Some(tokens(answer)),
            ..Prompt::text(prompt)
        })
    };
    let prompts: Vec<Prompt> = all.iter().filter_map(conversation).collect();
    if prompts.is_empty() {
        return Err("no conversation in it has a question and an answer".into());
    }
    Ok(prompts)
}

/// Reads JSON lines.
pub fn lines(text: &str) -> Result<Vec<Prompt>, String> {
    let mut prompts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))?;
        let prompt = one(&value).ok_or_else(|| {
            format!(
                "line {}: a string is expected, or an object with prompt, text, messages, input or body",
                index + 1
            )
        })?;
        prompts.push(prompt);
    }
    if prompts.is_empty() {
        return Err("no prompt is in it".into());
    }
    Ok(prompts)
}

fn one(value: &Value) -> Option<Prompt> {
    let output = [
        "output_tokens",
        "max_tokens",
        "max_completion_tokens",
        "output_length",
    ];
    let output = output.iter().find_map(|name| value[*name].as_u64());
    let said = if let Some(text) = value.as_str() {
        Said::Text(escaped(text))
    } else if value["body"].is_object() {
        Said::Body(value["body"].to_string().into())
    } else {
        let names = ["prompt", "text", "messages", "input", "question"];
        match names
            .iter()
            .map(|name| &value[*name])
            .find(|said| !said.is_null())?
        {
            Value::String(text) => Said::Text(escaped(text)),
            array @ Value::Array(_) => Said::Messages(array.to_string().into()),
            _ => return None,
        }
    };
    Some(Prompt {
        said,
        output_tokens: output.and_then(|tokens| u32::try_from(tokens).ok()),
        api: value["url"].as_str().and_then(Api::of_path),
    })
}

/// About how many tokens a text is: usual tokenizers need four characters of English for one, and
/// never fewer tokens than words.
pub fn tokens(text: &str) -> u32 {
    let tokens = (text.chars().count() / 4).max(text.split_whitespace().count());
    u32::try_from(tokens).unwrap_or(u32::MAX).max(1)
}

/// The text as it stands between the quotes of a JSON string.
fn escaped(text: &str) -> Box<str> {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharegpt_gives_first_questions_and_lengths_of_answers() {
        let text = r#"[
            {"id": "a", "conversations": [
                {"from": "human", "value": "What is a \"penstock\"?\nTell me."},
                {"from": "gpt", "value": "It is the gate that feeds a turbine."},
                {"from": "human", "value": "Thanks"}]},
            {"id": "b", "conversations": [{"from": "gpt", "value": "Hello"}]},
            {"id": "c", "conversations": []}]"#;
        let prompts = sharegpt(text).unwrap();
        assert_eq!(prompts.len(), 1);
        let Said::Text(text) = &prompts[0].said else {
            panic!("{prompts:?}")
        };
        assert_eq!(&**text, r#"What is a \"penstock\"?\nTell me."#);
        assert_eq!(prompts[0].output_tokens, Some(9));
        assert!(sharegpt("[]").is_err() && sharegpt("{").is_err());
    }

    #[test]
    fn lines_may_be_texts_messages_and_bodies() {
        let text = r#""plain"
            {"prompt": "p", "max_tokens": 7}

            {"messages": [{"role": "user", "content": "m"}]}
            {"custom_id": "1", "url": "/v1/embeddings", "body": {"input": "b"}}"#;
        let prompts = lines(text).unwrap();
        assert_eq!(prompts.len(), 4);
        assert_eq!(prompts[1].output_tokens, Some(7));
        assert!(matches!(&prompts[2].said, Said::Messages(json) if json.starts_with("[{")));
        assert_eq!(prompts[3].api, Some(Api::Embeddings));
        assert_eq!(prompts[3].said, Said::Body("{\"input\":\"b\"}".into()));
        assert!(lines("\n").is_err());
        assert!(lines("1").unwrap_err().starts_with("line 1:"));
        assert!(lines("\"a\"\n{").unwrap_err().starts_with("line 2:"));
    }
}
