//! `transformers serve` as it was heard (5.23, see `tests/captures`): its bodies, key by key.
//! Its errors are in [`detail`](super::detail).
//!
//! What sets it apart from the documented APIs: absent fields instead of null ones; one choice,
//! whatever `n` says; usage in the chunk of the finish reason, and no `[DONE]`; responses streamed
//! unless declined, without `event:` lines, `type` last; the request's `x-request-id` taken over as
//! the id of everything.
//!
//! Not captured but read from its source: reasoning, tool calls, and that a tool call
//! moves the `output_index` of the message that is still open.

use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::chat::CREATED;
use super::ledger::Recorded;
use super::plan::{Body, Piece, Plan, data};

/// The model that a pinned server serves to requests that name none.
pub(super) const PINNED: &str = "double";

// === what every answer has ===

/// The request's own id, else one made from its serial number.
pub(super) fn request_id(request: &Recorded) -> String {
    let made = || format!("00000000-0000-4000-8000-{:012x}", request.serial);
    request
        .field("x-request-id")
        .map_or_else(made, str::to_owned)
}

/// Gives a plan the head that this server writes.
pub(super) fn dress(plan: &mut Plan, request_id: &str) {
    if let Plan::Reply(reply) = plan {
        reply.uvicorn = true;
        if reply.status != 500 {
            reply
                .fields
                .push(("x-request-id".into(), request_id.into()));
        }
    }
}

/// The name with the revision that it is served in.
pub(super) fn named(model: &str) -> String {
    match model {
        "" => format!("{PINNED}@main"),
        _ if model.contains('@') => model.into(),
        _ => format!("{model}@main"),
    }
}

fn envelope(ask: &Ask, object: &str, choice: Value) -> Value {
    json!({
        "id": ask.request_id,
        "choices": [choice],
        "created": CREATED,
        "model": ask.named(),
        "object": object,
    })
}

fn usage(ask: &Ask) -> Value {
    let (prompt, completion) = (ask.prompt_tokens(), ask.completion_tokens());
    json!({
        "completion_tokens": completion,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
    })
}

/// What is said; a refusal is a text like any other here.
fn text(ask: &Ask) -> Option<String> {
    if let Some(refusal) = &ask.answer.refusal {
        return Some(refusal.clone());
    }
    let called = ask.tool_call().is_some() && ask.answer.text.is_none();
    (!called).then(|| ask.text(0))
}

fn finish_reason(ask: &Ask) -> Option<&str> {
    let usual = match ask.tool_call() {
        Some(_) => "tool_calls",
        None => "stop",
    };
    let reason = ask.answer.finish_reason.as_deref().unwrap_or(usual);
    (!reason.is_empty()).then_some(reason)
}

/// Puts the reason and the usage where the last (or only) object of an answer has them.
fn finish(ask: &Ask, value: &mut Value, reason_first: bool) {
    if let (Some(reason), Some(choice)) = (finish_reason(ask), value["choices"][0].as_object_mut())
    {
        let at = if reason_first { 0 } else { choice.len() };
        choice.shift_insert(at, "finish_reason".into(), reason.into());
    }
    if ask.answer.usage != Some(false) {
        value["usage"] = usage(ask);
    }
}

fn done(ask: &Ask, pieces: &mut Vec<Piece>) {
    if ask.answer.done == Some(true) {
        pieces.push(data("[DONE]", false));
    }
}

// === chat and completions ===

/// `POST /v1/chat/completions`.
pub(super) fn chat(ask: &Ask) -> Body {
    if ask.stream() {
        return Body::Stream(chat_stream(ask));
    }
    let mut message = Map::new();
    if let Some(text) = text(ask) {
        message.insert("content".into(), text.into());
    }
    message.insert("role".into(), "assistant".into());
    if let Some(call) = tool_call(ask) {
        message.insert("tool_calls".into(), json!([call]));
    }
    if let Some(reasoning) = &ask.answer.reasoning {
        message.insert("reasoning_content".into(), reasoning.clone().into());
    }
    let choice = json!({ "index": 0, "message": message });
    let mut body = envelope(ask, "chat.completion", choice);
    finish(ask, &mut body, true);
    Body::Whole(ask.json(&body).into_bytes())
}

fn chat_stream(ask: &Ask) -> Vec<Piece> {
    let chunk = |delta: Value| {
        let choice = json!({ "delta": delta, "index": 0 });
        let mut value = envelope(ask, "chat.completion.chunk", choice);
        value["system_fingerprint"] = "".into();
        value
    };
    let piece = |delta: Value| data(&ask.json(&chunk(delta)), true);
    let mut pieces = vec![data(
        &ask.json(&chunk(json!({ "role": "assistant" }))),
        false,
    )];
    for part in ask.cut(ask.answer.reasoning.as_deref().unwrap_or_default()) {
        pieces.push(piece(json!({ "reasoning_content": part })));
    }
    for part in ask.cut(&text(ask).unwrap_or_default()) {
        pieces.push(piece(json!({ "content": part })));
    }
    if let Some(mut call) = tool_call(ask) {
        call.shift_insert(0, "index".into(), 0.into());
        pieces.push(piece(json!({ "tool_calls": [call] })));
    }
    let mut last = chunk(json!({}));
    finish(ask, &mut last, false);
    pieces.push(data(&ask.json(&last), false));
    done(ask, &mut pieces);
    pieces
}

/// A call comes whole, also in a stream.
fn tool_call(ask: &Ask) -> Option<Map<String, Value>> {
    let (name, arguments) = ask.tool_call()?;
    let mut call = Map::new();
    call.insert("id".into(), tool_call_id(ask).into());
    call.insert(
        "function".into(),
        json!({ "arguments": arguments, "name": name }),
    );
    call.insert("type".into(), "function".into());
    Some(call)
}

fn tool_call_id(ask: &Ask) -> String {
    format!("{}_tool_call_0", ask.request_id)
}

/// `POST /v1/completions`.
pub(super) fn completions(ask: &Ask) -> Body {
    let said = |text: &str| {
        let choice = json!({ "index": 0, "text": text });
        envelope(ask, "text_completion", choice)
    };
    let text = text(ask).unwrap_or_default();
    if !ask.stream() {
        let mut body = said(&text);
        finish(ask, &mut body, true);
        return Body::Whole(ask.json(&body).into_bytes());
    }
    let deltas = ask.cut(&text).into_iter();
    let mut pieces: Vec<_> = deltas
        .map(|part| data(&ask.json(&said(&part)), true))
        .collect();
    let mut last = said("");
    finish(ask, &mut last, true);
    pieces.push(data(&ask.json(&last), false));
    done(ask, &mut pieces);
    Body::Stream(pieces)
}

// === responses ===

/// `POST /v1/responses`.
pub(super) fn responses(ask: &Ask) -> Body {
    if ask.stream() {
        return Body::Stream(response_stream(ask));
    }
    let output = items(ask).into_iter().map(|item| item.whole).collect();
    Body::Whole(ask.json(&response(ask, "completed", output)).into_bytes())
}

/// One output item as it is at its end.
struct Item {
    id: String,
    whole: Value,
}

fn items(ask: &Ask) -> Vec<Item> {
    let mut items = Vec::new();
    if let Some(reasoning) = &ask.answer.reasoning {
        let id = format!("rs_{}", ask.request_id);
        let content = json!([{ "text": reasoning, "type": "reasoning_text" }]);
        let whole = json!({ "id": id, "summary": [], "type": "reasoning", "content": content,
            "status": "completed" });
        items.push(Item { id, whole });
    }
    let id = format!("msg_{}", ask.request_id);
    let content = json!([part(&text(ask).unwrap_or_default())]);
    let whole = json!({ "id": id, "content": content, "role": "assistant",
        "status": "completed", "type": "message", "annotations": [] });
    items.push(Item { id, whole });
    if let Some((name, arguments)) = ask.tool_call() {
        let id = tool_call_id(ask);
        let whole = json!({ "arguments": arguments, "call_id": id, "name": name,
            "type": "function_call", "id": id, "status": "completed" });
        items.push(Item { id, whole });
    }
    items
}

fn part(text: &str) -> Value {
    json!({ "annotations": [], "text": text, "type": "output_text" })
}

fn response(ask: &Ask, status: &str, output: Vec<Value>) -> Value {
    let tools = match &ask.body["tools"] {
        Value::Array(tools) => tools.clone(),
        _ => Vec::new(),
    };
    let mut object = json!({
        "id": format!("resp_{}", ask.request_id),
        "created_at": CREATED as f64 + 0.25,
        "model": ask.named(),
        "object": "response",
        "output": output,
        "parallel_tool_calls": ask.body["parallel_tool_calls"].as_bool().unwrap_or(false),
        "tool_choice": "auto",
        "tools": tools,
        "status": status,
    });
    if status == "completed" && ask.answer.usage != Some(false) {
        let (input, output) = (ask.prompt_tokens(), ask.completion_tokens());
        object["usage"] = json!({
            "input_tokens": input,
            "input_tokens_details": { "cache_write_tokens": 0, "cached_tokens": 0 },
            "output_tokens": output,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": input + output,
        });
    }
    object
}

/// Numbers events and gathers those that go out in one chunk.
struct Sequence<'a> {
    ask: &'a Ask,
    number: usize,
    gathered: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Sequence<'_> {
    /// Adds an event. All keys come in the order of the alphabet, `type` last.
    fn event(&mut self, kind: &str, fields: Value) {
        let Value::Object(mut fields) = fields else {
            unreachable!("events are objects")
        };
        fields.insert("sequence_number".into(), self.number.into());
        fields.sort_keys();
        fields.insert("type".into(), format!("response.{kind}").into());
        self.number += 1;
        let event = data(&self.ask.json(&Value::Object(fields)), false);
        self.gathered.extend_from_slice(&event.bytes);
    }

    /// What was gathered is a chunk of its own.
    fn flush(&mut self, delta: bool) {
        if !self.gathered.is_empty() {
            let bytes = std::mem::take(&mut self.gathered);
            self.pieces.push(Piece { bytes, delta });
        }
    }
}

fn response_stream(ask: &Ask) -> Vec<Piece> {
    let mut out = Sequence {
        ask,
        number: 0,
        gathered: Vec::new(),
        pieces: Vec::new(),
    };
    for (kind, status) in [("created", "queued"), ("in_progress", "in_progress")] {
        out.event(kind, json!({ "response": response(ask, status, vec![]) }));
    }
    out.flush(false);
    let mut items = items(ask);
    let output = items.iter().map(|item| item.whole.clone()).collect();
    let call = ask.tool_call().and_then(|_| items.pop());
    let message = items.pop().expect("there is always a message");
    let mut index = 0;
    if let Some(reasoning) = items.pop() {
        stream_reasoning(&mut out, &reasoning);
        index += 1;
    }
    let opening = json!({ "id": message.id, "content": [], "role": "assistant",
        "status": "in_progress", "type": "message" });
    out.event(
        "output_item.added",
        json!({ "item": opening, "output_index": index }),
    );
    let at = |index: usize, key: &str, value: Value| {
        let id = &message.id;
        json!({ "item_id": id, "output_index": index, "content_index": 0, key: value })
    };
    let text = message.whole["content"][0]["text"]
        .as_str()
        .unwrap_or_default();
    out.event("content_part.added", at(index, "part", part("")));
    for delta in ask.cut(text) {
        let mut fields = at(index, "delta", delta.into());
        fields["logprobs"] = json!([]);
        out.event("output_text.delta", fields);
        out.flush(true);
    }
    if let Some(call) = &call {
        index += 1; // and stays so for the message
        stream_call(&mut out, call, index);
    }
    let mut fields = at(index, "text", text.into());
    fields["logprobs"] = json!([]);
    out.event("output_text.done", fields);
    out.event("content_part.done", at(index, "part", part(text)));
    out.event(
        "output_item.done",
        json!({ "item": message.whole, "output_index": index }),
    );
    out.flush(false);
    out.event(
        "completed",
        json!({ "response": response(ask, "completed", output) }),
    );
    out.flush(false);
    done(ask, &mut out.pieces);
    out.pieces
}

fn stream_reasoning(out: &mut Sequence<'_>, item: &Item) {
    let opening = json!({ "id": item.id, "summary": [], "type": "reasoning", "content": [],
        "status": "in_progress" });
    out.event(
        "output_item.added",
        json!({ "item": opening, "output_index": 0 }),
    );
    let at = |key: &str, value: &str| {
        let id = &item.id;
        json!({ "item_id": id, "output_index": 0, "content_index": 0, key: value })
    };
    let text = item.whole["content"][0]["text"]
        .as_str()
        .unwrap_or_default();
    for delta in out.ask.cut(text) {
        out.event("reasoning_text.delta", at("delta", &delta));
        out.flush(true);
    }
    out.event("reasoning_text.done", at("text", text));
    out.event(
        "output_item.done",
        json!({ "item": item.whole, "output_index": 0 }),
    );
}

fn stream_call(out: &mut Sequence<'_>, call: &Item, index: usize) {
    let whole = json!({ "item": call.whole, "output_index": index });
    out.event("output_item.added", whole.clone());
    let fields = json!({ "arguments": call.whole["arguments"], "item_id": call.id,
        "name": call.whole["name"], "output_index": index });
    out.event("function_call_arguments.done", fields);
    out.event("output_item.done", whole);
    out.flush(true);
}
