//! OpenAI responses: the object, and the sequence of events that builds it up.
//!
//! A stream is `response.created`, `response.in_progress`, then for each output item its opening,
//! parts, deltas, the final copies of the text (`…done`, three times over), and
//! `response.completed` with everything once more. There is no `[DONE]`.

use serde_json::{Value, json};

use super::ask::Ask;
use super::chat::CREATED;
use super::plan::{Body, Piece, named};
use super::transformers;

/// `POST /v1/responses`.
pub(super) fn responses(ask: &Ask) -> Body {
    if ask.transformers() {
        return transformers::responses(ask);
    }
    if ask.stream() {
        return Body::Stream(stream(ask));
    }
    let output: Vec<_> = items(ask).iter().map(|item| item.whole(ask)).collect();
    Body::Whole(ask.json(&object(ask, "completed", output)).into_bytes())
}

/// An output item, before it is written in one of its forms.
enum Item {
    Reasoning(String),
    Text(String),
    Refusal(String),
    Call { name: String, arguments: String },
}

fn items(ask: &Ask) -> Vec<Item> {
    let mut items = Vec::new();
    if let Some(reasoning) = &ask.answer.reasoning {
        items.push(Item::Reasoning(reasoning.clone()));
    }
    let call = ask.tool_call();
    if let Some(refusal) = &ask.answer.refusal {
        items.push(Item::Refusal(refusal.clone()));
    } else if call.is_none() || ask.answer.text.is_some() {
        items.push(Item::Text(ask.text(0)));
    }
    if let Some((name, arguments)) = call {
        items.push(Item::Call { name, arguments });
    }
    items
}

fn object(ask: &Ask, status: &str, output: Vec<Value>) -> Value {
    let mut object = json!({
        "id": format!("resp_double{:08}", ask.serial),
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": ask.body["instructions"],
        "max_output_tokens": ask.body["max_output_tokens"],
        "model": ask.named(),
        "output": output,
        "parallel_tool_calls": true,
        "previous_response_id": null,
        "reasoning": { "effort": null, "summary": null },
        "store": true,
        "temperature": 1.0,
        "text": { "format": { "type": "text" } },
        "tool_choice": "auto",
        "tools": if ask.body["tools"].is_array() { ask.body["tools"].clone() } else { json!([]) },
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": null,
        "user": null,
        "metadata": {},
    });
    if status == "completed" && ask.answer.usage != Some(false) {
        let (input, output) = (ask.prompt_tokens(), ask.completion_tokens());
        object["usage"] = json!({
            "input_tokens": input,
            "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": output,
            "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": input + output,
        });
    }
    object
}

// === impl Item ===

impl Item {
    fn id(&self, ask: &Ask) -> String {
        let prefix = match self {
            Item::Reasoning(_) => "rs",
            Item::Text(_) | Item::Refusal(_) => "msg",
            Item::Call { .. } => "fc",
        };
        format!("{prefix}_double{:08}", ask.serial)
    }

    fn content(&self) -> &str {
        match self {
            Item::Reasoning(text) | Item::Text(text) | Item::Refusal(text) => text,
            Item::Call { arguments, .. } => arguments,
        }
    }

    /// The part of the item that holds its text, with `text` in it.
    fn part(&self, text: &str) -> Value {
        match self {
            Item::Reasoning(_) => json!({ "type": "summary_text", "text": text }),
            Item::Refusal(_) => json!({ "type": "refusal", "refusal": text }),
            _ => json!({ "type": "output_text", "annotations": [], "logprobs": [], "text": text }),
        }
    }

    /// The item with these parts (or, of a call, these arguments).
    fn shape(&self, ask: &Ask, status: &str, text: Option<&str>) -> Value {
        let parts: Vec<_> = text.iter().map(|text| self.part(text)).collect();
        match self {
            Item::Reasoning(_) => {
                json!({ "id": self.id(ask), "type": "reasoning", "summary": parts })
            }
            Item::Text(_) | Item::Refusal(_) => json!({
                "id": self.id(ask), "type": "message", "status": status, "role": "assistant",
                "content": parts,
            }),
            Item::Call { name, .. } => json!({
                "id": self.id(ask), "type": "function_call", "status": status, "name": name,
                "arguments": text.unwrap_or_default(), "call_id": format!("call_{:08}", ask.serial),
            }),
        }
    }

    fn whole(&self, ask: &Ask) -> Value {
        self.shape(ask, "completed", Some(self.content()))
    }

    /// Names of the events of its text: part opened, delta, text done, part done; and the key
    /// under which `…done` repeats the text.
    fn events(
        &self,
    ) -> (
        Option<&'static str>,
        &'static str,
        &'static str,
        Option<&'static str>,
    ) {
        match self {
            Item::Reasoning(_) => (
                Some("response.reasoning_summary_part.added"),
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                Some("response.reasoning_summary_part.done"),
            ),
            Item::Text(_) => (
                Some("response.content_part.added"),
                "response.output_text.delta",
                "response.output_text.done",
                Some("response.content_part.done"),
            ),
            Item::Refusal(_) => (
                Some("response.content_part.added"),
                "response.refusal.delta",
                "response.refusal.done",
                Some("response.content_part.done"),
            ),
            Item::Call { .. } => (
                None,
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                None,
            ),
        }
    }

    fn done_key(&self) -> &'static str {
        match self {
            Item::Reasoning(_) | Item::Text(_) => "text",
            Item::Refusal(_) => "refusal",
            Item::Call { .. } => "arguments",
        }
    }
}

/// Collects events and numbers them.
struct Sequence<'a> {
    ask: &'a Ask,
    pieces: Vec<Piece>,
}

impl Sequence<'_> {
    fn push(&mut self, name: &str, mut value: Value, delta: bool) {
        let fields = value.as_object_mut().expect("events are objects");
        fields.shift_insert(0, "type".into(), name.into());
        fields.shift_insert(1, "sequence_number".into(), self.pieces.len().into());
        self.pieces.push(named(name, &self.ask.json(&value), delta));
    }
}

fn stream(ask: &Ask) -> Vec<Piece> {
    let mut sequence = Sequence {
        ask,
        pieces: Vec::new(),
    };
    for name in ["response.created", "response.in_progress"] {
        let response = object(ask, "in_progress", Vec::new());
        sequence.push(name, json!({ "response": response }), false);
    }
    let items = items(ask);
    for (output_index, item) in items.iter().enumerate() {
        stream_item(&mut sequence, output_index, item);
    }
    let output = items.iter().map(|item| item.whole(ask)).collect();
    let response = object(ask, "completed", output);
    sequence.push("response.completed", json!({ "response": response }), false);
    if ask.answer.done == Some(true) {
        sequence.pieces.push(super::plan::data("[DONE]", false));
    }
    sequence.pieces
}

fn stream_item(sequence: &mut Sequence<'_>, output_index: usize, item: &Item) {
    let ask = sequence.ask;
    let at = |fields: Value| {
        let mut event = json!({ "item_id": item.id(ask), "output_index": output_index });
        match item {
            Item::Reasoning(_) => event["summary_index"] = 0.into(),
            Item::Call { .. } => {}
            _ => event["content_index"] = 0.into(),
        }
        let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) else {
            unreachable!("both are objects")
        };
        event.extend(fields);
        Value::Object(event.clone())
    };
    let (opened, delta, done, closed) = item.events();
    let opening = item.shape(ask, "in_progress", None);
    let added = json!({ "output_index": output_index, "item": opening });
    sequence.push("response.output_item.added", added, false);
    if let Some(name) = opened {
        sequence.push(name, at(json!({ "part": item.part("") })), false);
    }
    let has_logprobs = matches!(item, Item::Text(_));
    for part in ask.cut(item.content()) {
        let mut fields = json!({ "delta": part });
        if has_logprobs {
            fields["logprobs"] = json!([]);
        }
        sequence.push(delta, at(fields), true);
    }
    let mut fields = json!({});
    fields[item.done_key()] = item.content().into();
    if has_logprobs {
        fields["logprobs"] = json!([]);
    }
    sequence.push(done, at(fields), false);
    if let Some(name) = closed {
        sequence.push(
            name,
            at(json!({ "part": item.part(item.content()) })),
            false,
        );
    }
    let item = json!({ "output_index": output_index, "item": item.whole(ask) });
    sequence.push("response.output_item.done", item, false);
}
