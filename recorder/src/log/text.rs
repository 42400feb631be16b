//! What a person would have read of an answer: the text out of its events.
//!
//! Knows the shapes of OpenAI chat, completions and responses, of Anthropic messages, and of
//! NDJSON; an event of another shape has no text and is passed over. A body that is no stream is
//! shown as it is.

use serde_json::Value;

/// Longest line of a stream that is looked into.
const LINE_BYTES_MAX: usize = 8 << 20;

/// Takes an answer piece by piece, gives its text piece by piece.
pub struct AnswerText {
    shape: Shape,
    line: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Sse,
    Ndjson,
    Whole,
}

// === impl AnswerText ===

impl AnswerText {
    /// For an answer of this media type.
    pub fn of_media(media: &str) -> Self {
        let media = media
            .split(';')
            .next()
            .unwrap_or("")
            .trim()
            .to_ascii_lowercase();
        let shape = match media.as_str() {
            "text/event-stream" => Shape::Sse,
            "application/x-ndjson" | "application/jsonl" | "application/ndjson" => Shape::Ndjson,
            _ => Shape::Whole,
        };
        Self {
            shape,
            line: Vec::new(),
        }
    }

    /// The text that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        let mut out = String::new();
        for byte in bytes {
            // A body that is no stream is handed on in whole characters, a stream in whole lines.
            let ends = match self.shape {
                Shape::Whole => false,
                Shape::Sse | Shape::Ndjson => matches!(byte, b'\n' | b'\r'),
            };
            if ends {
                self.end_line(&mut out);
            } else if self.line.len() < LINE_BYTES_MAX {
                self.line.push(*byte);
            }
        }
        if self.shape == Shape::Whole {
            let whole = whole_characters(&self.line);
            let rest = self.line.split_off(whole);
            out.push_str(&String::from_utf8_lossy(&self.line));
            self.line = rest;
        }
        out
    }

    /// What the end of the answer completes.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        match self.shape {
            Shape::Whole => out.push_str(&String::from_utf8_lossy(&self.line)),
            Shape::Sse | Shape::Ndjson => self.end_line(&mut out),
        }
        self.line.clear();
        out
    }

    fn end_line(&mut self, out: &mut String) {
        let line = std::mem::take(&mut self.line);
        let data = match self.shape {
            Shape::Sse => line.strip_prefix(b"data:").map(<[u8]>::trim_ascii),
            Shape::Ndjson | Shape::Whole => Some(line.as_slice()),
        };
        if let Some(event) = data.and_then(|data| serde_json::from_slice::<Value>(data).ok()) {
            add_text(&event, out);
        }
    }
}

/// Bytes up to the last whole character; an incomplete one at the end waits for its rest.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => bytes.len(),
    }
}

fn add_text(event: &Value, out: &mut String) {
    let mut add = |value: &Value| {
        if let Some(text) = value.as_str() {
            out.push_str(text);
        }
    };
    for choice in event["choices"].as_array().into_iter().flatten() {
        let delta = &choice["delta"];
        for name in ["reasoning_content", "reasoning", "content", "refusal"] {
            add(&delta[name]);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            add(&call["function"]["name"]);
            add(&call["function"]["arguments"]);
        }
        add(&choice["text"]);
    }
    match event["type"].as_str().unwrap_or("") {
        "content_block_delta" => {
            for name in ["text", "thinking", "partial_json"] {
                add(&event["delta"][name]);
            }
        }
        kind if kind.starts_with("response.") && kind.ends_with(".delta") => add(&event["delta"]),
        _ => {}
    }
    add(&event["message"]["content"]); // NDJSON chat; Anthropic has an array there
    add(&event["response"]); // NDJSON generate; OpenAI has an object there
    add(&event["error"]["message"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(media: &str, body: &str, step: usize) -> String {
        let mut text = AnswerText::of_media(media);
        let mut out: String = body
            .as_bytes()
            .chunks(step)
            .map(|part| text.push(part))
            .collect();
        out.push_str(&text.finish());
        out
    }

    #[test]
    fn text_is_found_in_every_dialect_at_every_split() {
        let chat = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\r\n\r\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"lö\"}}]}\n\ndata: [DONE]\n\n";
        let messages = "event: content_block_delta\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Hellö\"}}\n\n";
        let responses = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"Hellö\"}\n\n\
            data: {\"type\":\"response.completed\",\"response\":{\"output\":[]}}\n\n";
        for body in [chat, messages, responses] {
            for step in 1..body.len() {
                assert_eq!(
                    read("text/event-stream; charset=utf-8", body, step),
                    "Hellö"
                );
            }
        }
        let lines = "{\"message\":{\"content\":\"Hel\"}}\n{\"message\":{\"content\":\"lö\"}}";
        assert_eq!(read("application/x-ndjson", lines, 3), "Hellö");
        assert_eq!(
            read("application/json", "{\"a\":\"ö\"}", 1),
            "{\"a\":\"ö\"}"
        );
    }
}
