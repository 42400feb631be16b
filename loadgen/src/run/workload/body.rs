//! The bytes of a request: body and head, put together from parts that were made once.

use std::io::Write as _;

use serde_json::Value;

use super::files::{Prompt, Said};
use super::{Api, WorkloadOptions};

/// What an Anthropic request must say about the length of its answer when nobody else does.
const MESSAGES_MAX_TOKENS: u32 = 1024;
/// The version of the Messages API that we speak.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// The parts of requests that stay the same.
pub(super) struct Bodies {
    api: Api,
    /// `{"model":"…",`
    opening: String,
    /// `,"stream":true,…`, up to where the length of the answer would be.
    settings: String,
    /// The head of a request to each API, up to who asks and how long the body is.
    heads: [String; Api::ALL.len()],
}

// === impl Bodies ===

impl Bodies {
    pub(super) fn new(options: &WorkloadOptions, host: &str, base: &str, fields: &str) -> Self {
        let model = Value::from(options.model.as_str());
        let mut settings = String::new();
        if options.api != Api::Embeddings {
            settings.push_str(if options.stream {
                ",\"stream\":true"
            } else {
                ",\"stream\":false"
            });
        }
        let may_ask = matches!(options.api, Api::Chat | Api::Completions);
        if options.usage && options.stream && may_ask {
            settings.push_str(",\"stream_options\":{\"include_usage\":true}");
        }
        if !options.extra_fields.is_empty() {
            settings.push(',');
            settings.push_str(&options.extra_fields);
        }
        let head = |api: Api| {
            let mut head = format!(
                "POST {base}{} HTTP/1.1\r\nhost: {host}\r\nuser-agent: penstock-loadgen\r\n\
                 content-type: application/json\r\n{fields}",
                api.path()
            );
            if api == Api::Messages {
                head.push_str(&format!("anthropic-version: {ANTHROPIC_VERSION}\r\n"));
            }
            head
        };
        Self {
            api: options.api,
            opening: format!("{{\"model\":{model},"),
            settings,
            heads: Api::ALL.map(head),
        }
    }

    /// A body: of messages or a whole one if they are given, else of the text, which is escaped.
    pub(super) fn write(
        &self,
        prompt: Option<&Prompt>,
        text: &[u8],
        output_tokens: Option<u32>,
        out: &mut Vec<u8>,
    ) {
        let quoted = |before: &str, after: &str, out: &mut Vec<u8>| {
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(after.as_bytes());
        };
        let said = prompt.map(|prompt| &prompt.said);
        if let Some(Said::Body(body)) = said {
            out.extend_from_slice(body.as_bytes());
            return;
        }
        out.extend_from_slice(self.opening.as_bytes());
        let (name, length) = match self.api {
            Api::Chat => ("messages", "max_tokens"),
            Api::Messages => ("messages", "max_tokens"),
            Api::Completions => ("prompt", "max_tokens"),
            Api::Responses => ("input", "max_output_tokens"),
            Api::Embeddings => ("input", ""),
        };
        if let Some(Said::Messages(messages)) = said {
            let _ = write!(out, "\"{name}\":{messages}"); // a Vec takes everything
        } else if name == "messages" {
            quoted(
                "\"messages\":[{\"role\":\"user\",\"content\":\"",
                "\"}]",
                out,
            );
        } else {
            let _ = write!(out, "\"{name}\":"); // a Vec takes everything
            quoted("\"", "\"", out);
        }
        out.extend_from_slice(self.settings.as_bytes());
        let required = (self.api == Api::Messages).then_some(MESSAGES_MAX_TOKENS);
        if let Some(tokens) = output_tokens.or(required)
            && !length.is_empty()
        {
            let _ = write!(out, ",\"{length}\":{tokens}"); // a Vec takes everything
        }
        out.push(b'}');
    }

    /// The head before a body of this length; `identity` is a line of its own or nothing.
    pub(super) fn write_head(&self, api: Api, identity: &str, length: usize, out: &mut Vec<u8>) {
        let at = Api::ALL.iter().position(|known| *known == api);
        out.extend_from_slice(self.heads[at.unwrap_or(0)].as_bytes()); // all of them are known
        out.extend_from_slice(identity.as_bytes());
        out.extend_from_slice(b"content-length: ");
        decimal(length, out);
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Appends a number: each request has one, and `write!` takes longer than all the rest of a head.
fn decimal(mut number: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20]; // those of the largest
    let mut first = digits.len() - 1;
    loop {
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
        first -= 1;
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 999, 1_000, usize::MAX] {
            let mut out = Vec::new();
            super::decimal(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
