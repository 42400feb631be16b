//! The double in the `transformers` profile against what the real server sent
//! (`tests/captures`): told to say the same, it sends the same bytes.

use std::io::{Read as _, Write as _};

use penstock_loadgen::client::{Call, Event, EventReader};
use penstock_loadgen::double::{Double, DoubleOptions, Script};
use serde_json::{Value, json};

use crate::{stream, user};

/// The id that the captures were normalised to.
const ID: &str = "00000000-0000-4000-8000-000000000001";

/// A captured response.
struct Capture {
    head: &'static str,
    /// Without chunk sizes.
    body: String,
    /// Number and sizes of its chunks; empty when it has a length.
    chunks: Vec<usize>,
}

macro_rules! capture {
    ($name:literal) => {
        Capture::read(include_str!(concat!("../captures/", $name, ".http")))
    };
}

impl Capture {
    fn read(wire: &'static str) -> Self {
        let (head, body) = wire.split_once("\r\n\r\n").unwrap();
        let (body, chunks) = decode(head, body);
        Self { head, body, chunks }
    }

    fn events(&self) -> Vec<Value> {
        let mut reader = EventReader::default();
        reader.push(self.body.as_bytes());
        let events = std::iter::from_fn(|| reader.next_ready());
        events.map(|event| event.json().unwrap()).collect()
    }

    /// What the double must be told to say in order to say this.
    fn answer(&self) -> Value {
        let mut deltas = Vec::new();
        let mut answer = json!({});
        let bodies = if self.chunks.is_empty() {
            vec![serde_json::from_str(&self.body).unwrap()]
        } else {
            self.events()
        };
        for value in &bodies {
            let choice = &value["choices"][0];
            let whole = [
                &choice["message"]["content"],
                &value["output"][0]["content"][0]["text"],
            ];
            let parts = [
                &choice["delta"]["content"],
                &choice["text"],
                &value["delta"],
            ];
            if let Some(text) = whole.into_iter().chain(parts).find_map(Value::as_str) {
                deltas.push(text.to_owned());
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                answer["finish_reason"] = reason.into();
            }
            let usage = &value["usage"];
            if let Some(count) = usage["completion_tokens"]
                .as_u64()
                .or(usage["output_tokens"].as_u64())
                && self.chunks.is_empty()
            {
                deltas = cut(&deltas.concat(), count as usize);
            }
        }
        deltas.retain(|delta| !delta.is_empty());
        answer["split"] = json!(deltas);
        answer["text"] = deltas.concat().into();
        answer
    }
}

/// Takes chunk sizes out, if there are any.
fn decode(head: &str, body: &str) -> (String, Vec<usize>) {
    if !head.contains("Transfer-Encoding: chunked") {
        return (body.to_owned(), Vec::new());
    }
    let (mut rest, mut decoded, mut chunks) = (body, String::new(), Vec::new());
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap();
        assert_eq!(size, size.to_lowercase());
        let bytes = usize::from_str_radix(size, 16).unwrap();
        if bytes == 0 {
            assert_eq!(after, "\r\n");
            return (decoded, chunks);
        }
        decoded += &after[..bytes];
        chunks.push(bytes);
        rest = after[bytes..].strip_prefix("\r\n").unwrap();
    }
}

/// Cuts a text into this many deltas.
fn cut(text: &str, count: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let singles = chars.iter().take(count - 1).map(char::to_string);
    let rest = chars.iter().skip(count - 1).collect();
    singles.chain([rest]).collect()
}

fn double(model: &str, answer: &Value) -> Double {
    let mut options = DoubleOptions::default();
    options
        .defaults
        .insert("profile".into(), "transformers".into());
    let rule = json!({ "rule": [{ "model": model, "answer": answer }] });
    options.script = Script::parse(&rule.to_string()).unwrap();
    Double::start(options).unwrap()
}

/// Sends a request that closes, and gives what came: head and body.
fn exchange(double: &Double, method: &str, path: &str, body: &str) -> (String, String) {
    let mut socket = std::net::TcpStream::connect(double.address()).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nx-request-id: {ID}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut wire = String::new();
    socket.read_to_string(&mut wire).unwrap();
    let (head, body) = wire.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn answers_are_the_bytes_that_the_real_server_sent() {
    let six = "one two three four five six";
    let messages = json!([{ "role": "user", "content": six }]);
    let chat = json!({ "model": "tiny-llama", "messages": messages });
    let completion = json!({ "model": "tiny-llama", "prompt": "one two three" });
    let response = json!({ "model": "tiny-llama", "input": six });
    let cases = [
        (
            "/v1/chat/completions",
            &chat,
            Some(true),
            capture!("chat-stream"),
        ),
        ("/v1/chat/completions", &chat, None, capture!("chat")),
        (
            "/v1/completions",
            &completion,
            Some(true),
            capture!("completions-stream"),
        ),
        (
            "/v1/completions",
            &completion,
            None,
            capture!("completions"),
        ),
        (
            "/v1/responses",
            &response,
            None,
            capture!("responses-stream"),
        ),
        (
            "/v1/responses",
            &response,
            Some(false),
            capture!("responses"),
        ),
    ];
    for (path, request, stream, capture) in cases {
        let double = double("tiny-llama", &capture.answer());
        let mut request = request.clone();
        if let Some(stream) = stream {
            request["stream"] = stream.into();
        }
        let (head, body) = exchange(&double, "POST", path, &request.to_string());
        let (body, chunks) = decode(&head, &body);
        assert_eq!(head, capture.head, "{path}");
        assert_eq!(body, capture.body, "{path}");
        if path == "/v1/responses" {
            assert_eq!(chunks, capture.chunks, "{path}");
        }
    }
}

#[test]
fn errors_are_the_bytes_that_the_real_server_sent() {
    let chat = |model: &str, more: &str| format!("{{\"model\":\"{model}\"{more}}}");
    let messages = ",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]";
    let unknown = format!("{messages},\"zzz\":1");
    let path = "/v1/chat/completions";
    let cases = [
        ("POST", path, "{nope".into(), capture!("err-not-json")),
        (
            "POST",
            path,
            chat("m", &unknown),
            capture!("err-unknown-field"),
        ),
        (
            "POST",
            path,
            chat("no/such", messages),
            capture!("err-unknown-model"),
        ),
        ("POST", path, chat("m", ""), capture!("err-unforeseen")),
        ("POST", "/v1/embeddings", chat("m", ""), capture!("err-404")),
        ("GET", path, String::new(), capture!("err-405")),
        ("GET", "/health", String::new(), capture!("health")),
    ];
    let double = double("no/such", &json!({ "status": 400, "model": "tiny-llama" }));
    for (method, path, body, capture) in cases {
        let (head, got) = exchange(&double, method, path, &body);
        assert_eq!(
            (head.as_str(), got),
            (capture.head, capture.body),
            "{path} {body}"
        );
    }
    let quoted = exchange(&double, "POST", "/v1/responses", "[\"my own words\"]").1;
    let quoted: Value = serde_json::from_str(&quoted).unwrap();
    assert_eq!(quoted["detail"][0]["input"], json!(["my own words"]));
}

#[test]
fn a_request_can_ask_for_the_profile() {
    let double = crate::double();
    let prompt =
        "[[double: profile=transformers reasoning=\"so so\" tool=f arguments=\"{}\" text=\"a b\"]]";
    let mut request = user(prompt);
    request["n"] = 2.into();
    let chunks = values(&stream(&double, "/v1/chat/completions", request));
    assert!(chunks.iter().all(|chunk| chunk["choices"][0]["index"] == 0));
    let call = &chunks[chunks.len() - 2]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!(call["function"], json!({ "arguments": "{}", "name": "f" }));
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "tool_calls"
    );
    let events = stream(
        &double,
        "/v1/responses",
        json!({ "model": "m", "input": prompt }),
    );
    assert!(events.iter().all(|event| event.name.is_none()));
    let kinds: Vec<_> = values(&events)
        .iter()
        .map(|event| event["type"].as_str().unwrap()["response.".len()..].to_owned())
        .collect();
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_text.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_item.added",
        "function_call_arguments.done",
        "output_item.done",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(kinds, expected);
    let error = crate::chat(&double, "[[double: profile=transformers status=500]]");
    assert_eq!(error.text(), "Internal Server Error");
    assert_eq!(
        error.head.field("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(error.head.field("x-request-id"), None);
}

#[test]
fn loading_and_resetting_are_management() {
    let double = double("m", &json!({}));
    let load = Call::post("/load_model", &json!({ "model": "m" }));
    let load = load.to(double.address()).unwrap();
    assert_eq!(
        load.text(),
        "data: {\"status\": \"ready\", \"model\": \"m@main\", \"cached\": true}\n\n"
    );
    let nameless = Call::post("/load_model", &json!({})).to(double.address());
    assert_eq!(nameless.unwrap().status(), 422);
    let reset = Call::post("/reset", &json!({})).to(double.address());
    assert_eq!(reset.unwrap().json(), json!({ "status": "ok" }));
    assert_eq!(double.counters().management, 3);
}

fn values(events: &[Event]) -> Vec<Value> {
    events.iter().map(|event| event.json().unwrap()).collect()
}
