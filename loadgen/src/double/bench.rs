//! Prepared answers: what the double sends when it is the target of a measurement.
//!
//! The model's name says what: `bench-1k` or `bench-300` a JSON answer of that many bytes;
//! `bench-stream-64` that many events, eight to a write; `bench-stream-64x1` one to a write;
//! `bench-stream-64x1@20` with 20 ms between writes. The request is not parsed beyond finding the
//! name, and not kept; only a counter shows it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use memchr::memmem::Finder;
use serde_json::{Value, json};

use super::ask::Api;
use super::chat::CREATED;
use crate::http::Socket;

/// How the name of such a model starts.
const PREFIX: &str = "bench-";
/// Events in a write unless the name says otherwise.
const BURST: usize = 8;
/// The largest answer that is prepared.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most events that are prepared.
const EVENTS_MAX: usize = 100_000;
/// How many different answers are kept.
const PREPARED_MAX: usize = 64;

/// The prepared answers of one thread.
pub(super) struct Bench {
    finder: Finder<'static>,
    /// A handful: looking through them is cheaper than hashing a name.
    prepared: Vec<(Kind, String, Prepared)>,
}

/// Bytes ready to send, in writes.
#[derive(Clone)]
pub(super) struct Prepared {
    writes: Rc<Vec<Vec<u8>>>,
    pause: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Messages,
}

// === impl Bench ===

impl Default for Bench {
    fn default() -> Self {
        Self {
            finder: Finder::new("\"bench-"),
            prepared: Vec::new(),
        }
    }
}

impl Bench {
    /// The answer for a request whose body names a bench model.
    pub(super) fn find(&mut self, target: &[u8], body: &[u8]) -> Option<Prepared> {
        let at = self.finder.find(body)?;
        let before = body[..at].trim_ascii_end();
        if !before.ends_with(b":")
            || !before[..before.len() - 1]
                .trim_ascii_end()
                .ends_with(b"\"model\"")
        {
            return None;
        }
        let name = &body[at + 1..];
        let name = std::str::from_utf8(&name[..memchr::memchr(b'"', name)?]).ok()?;
        let kind = match Api::of(std::str::from_utf8(target).ok()?) {
            Api::Chat => Kind::Chat,
            Api::Messages => Kind::Messages,
            _ => return None,
        };
        let mut known = self.prepared.iter();
        if let Some((_, _, prepared)) = known.find(|(of, known, _)| *of == kind && known == name) {
            return Some(prepared.clone());
        }
        let prepared = prepare(kind, name)?;
        if self.prepared.len() >= PREPARED_MAX {
            self.prepared.clear();
        }
        let entry = (kind, name.to_owned(), prepared.clone());
        self.prepared.push(entry);
        Some(prepared)
    }
}

// === impl Prepared ===

impl Prepared {
    /// Sends all writes.
    pub(super) async fn send(&self, socket: &Socket) -> io::Result<()> {
        for (index, write) in self.writes.iter().enumerate() {
            if index > 0 && !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
            socket.write(write).await?;
        }
        Ok(())
    }
}

fn prepare(kind: Kind, name: &str) -> Option<Prepared> {
    let shape = name.strip_prefix(PREFIX)?;
    let Some(stream) = shape.strip_prefix("stream-") else {
        let bytes = match shape.strip_suffix('k') {
            Some(number) => number.parse::<usize>().ok()?.checked_mul(1024)?,
            None => shape.parse().ok()?,
        };
        let writes = vec![plain(kind, name, bytes.min(BYTES_MAX))];
        return Some(Prepared {
            writes: Rc::new(writes),
            pause: Duration::ZERO,
        });
    };
    let (events, pause_ms) = match stream.split_once('@') {
        Some((events, ms)) => (events, ms.parse().ok()?),
        None => (stream, 0),
    };
    let (count, burst) = match events.split_once('x') {
        Some((count, burst)) => (count.parse().ok()?, burst.parse().ok()?),
        None => (events.parse().ok()?, BURST),
    };
    let count = usize::min(count, EVENTS_MAX);
    let writes = Rc::new(streamed(kind, name, count, usize::max(burst, 1)));
    Some(Prepared {
        writes,
        pause: Duration::from_millis(pause_ms),
    })
}

/// A JSON body of exactly `bytes` bytes, or the shortest there is.
fn plain(kind: Kind, name: &str, bytes: usize) -> Vec<u8> {
    let make = |text: &str| -> String {
        let value = match kind {
            Kind::Chat => json!({
                "id": "chatcmpl-bench", "object": "chat.completion", "created": CREATED,
                "model": name,
                "choices": [{ "index": 0, "finish_reason": "stop", "logprobs": null,
                    "message": { "role": "assistant", "content": text, "refusal": null } }],
                "usage": { "prompt_tokens": 16, "completion_tokens": 16, "total_tokens": 32 },
            }),
            Kind::Messages => json!({
                "id": "msg_bench", "type": "message", "role": "assistant", "model": name,
                "content": [{ "type": "text", "text": text }],
                "stop_reason": "end_turn", "stop_sequence": null,
                "usage": { "input_tokens": 16, "output_tokens": 16 },
            }),
        };
        value.to_string()
    };
    let frame = make("").len();
    let body = make(&prose(bytes.saturating_sub(frame)));
    let head = format!(
        "HTTP/1.1 200 OK\r\nserver: penstock-double\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// Text of a length: words, so that a scanner has its usual work.
fn prose(bytes: usize) -> String {
    const WORDS: &str = "The valve opens slowly and water turns the wheel until evening comes. ";
    WORDS.bytes().cycle().take(bytes).map(char::from).collect()
}

fn streamed(kind: Kind, name: &str, count: usize, burst: usize) -> Vec<Vec<u8>> {
    let event = |value: &Value| match kind {
        Kind::Chat => format!("data: {value}\n\n"),
        Kind::Messages => {
            format!(
                "event: {}\ndata: {value}\n\n",
                value["type"].as_str().unwrap_or_default()
            )
        }
    };
    let words: Vec<&str> = "The valve opens slowly and water turns the wheel"
        .split(' ')
        .collect();
    let delta = |index: usize| {
        let word = format!(" {}", words[index % words.len()]);
        event(&match kind {
            Kind::Chat => chat_chunk(name, &json!({ "content": word }), Value::Null),
            Kind::Messages => json!({ "type": "content_block_delta", "index": 0,
                "delta": { "type": "text_delta", "text": word } }),
        })
    };
    let opening = match kind {
        Kind::Chat => {
            let delta = json!({ "role": "assistant", "content": "" });
            event(&chat_chunk(name, &delta, Value::Null))
        }
        Kind::Messages => [
            json!({ "type": "message_start", "message": { "id": "msg_bench", "type": "message",
                "role": "assistant", "model": name, "content": [], "stop_reason": null,
                "stop_sequence": null, "usage": { "input_tokens": 16, "output_tokens": 1 } } }),
            json!({ "type": "content_block_start", "index": 0,
                "content_block": { "type": "text", "text": "" } }),
        ]
        .iter()
        .map(event)
        .collect(),
    };
    let closing = match kind {
        Kind::Chat => event(&chat_chunk(name, &json!({}), "stop".into())) + "data: [DONE]\n\n",
        Kind::Messages => [
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "usage": { "output_tokens": count },
                "delta": { "stop_reason": "end_turn", "stop_sequence": null } }),
            json!({ "type": "message_stop" }),
        ]
        .iter()
        .map(event)
        .collect(),
    };
    let head = "HTTP/1.1 200 OK\r\nserver: penstock-double\r\n\
                content-type: text/event-stream; charset=utf-8\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let mut writes = vec![head.to_owned() + &chunk(&opening)];
    for start in (0..count).step_by(burst) {
        let events = start..usize::min(start + burst, count);
        writes.push(events.map(|index| chunk(&delta(index))).collect());
    }
    if let Some(last) = writes.last_mut() {
        last.push_str(&chunk(&closing));
        last.push_str("0\r\n\r\n");
    }
    writes.into_iter().map(String::into_bytes).collect()
}

fn chat_chunk(name: &str, delta: &Value, finish_reason: Value) -> Value {
    json!({
        "id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": CREATED,
        "model": name, "system_fingerprint": "fp_double",
        "choices": [{ "index": 0, "delta": delta, "logprobs": null,
            "finish_reason": finish_reason }],
    })
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_only_where_the_model_is_named() {
        let mut bench = Bench::default();
        let mut finds = |target: &str, body: &str| bench.find(target.as_bytes(), body.as_bytes());
        let chat = "/v1/chat/completions";
        let answer = finds(chat, r#"{"messages":[],"model" : "bench-1k"}"#).unwrap();
        assert_eq!(answer.writes.len(), 1);
        assert!(finds(chat, r#"{"messages":["bench-1k"]}"#).is_none());
        assert!(finds("/v1/embeddings", r#"{"model":"bench-1k"}"#).is_none());
        assert!(finds(chat, r#"{"model":"bench-x"}"#).is_none());
        let stream = finds("/v1/messages", r#"{"model":"bench-stream-64x1@20"}"#).unwrap();
        assert_eq!(stream.writes.len(), 65);
        assert_eq!(stream.pause, Duration::from_millis(20));
        assert_eq!(
            finds(chat, r#"{"model":"bench-stream-64"}"#)
                .unwrap()
                .writes
                .len(),
            9
        );
    }
}
