//! Anthropic messages, plain and streamed.

use serde_json::{Value, json};

use super::ask::Ask;
use super::plan::{Body, Piece, named};

/// What a `thinking` block is signed with.
const SIGNATURE: &str = "ZG91Ymxl";

enum Block {
    Thinking(String),
    Text(String),
    ToolUse { name: String, arguments: String },
}

/// `POST /v1/messages`.
pub(super) fn messages(ask: &Ask) -> Body {
    if ask.stream() {
        return Body::Stream(stream(ask));
    }
    let content: Vec<_> = blocks(ask).iter().map(|block| block.whole(ask)).collect();
    let mut message = message(ask, content);
    message["stop_reason"] = stop_reason(ask);
    message["usage"]["output_tokens"] = ask.completion_tokens().into();
    Body::Whole(ask.json(&message).into_bytes())
}

/// `POST /v1/messages/count_tokens`.
pub(super) fn count_tokens(ask: &Ask) -> Body {
    Body::Whole(
        json!({ "input_tokens": ask.prompt_tokens() })
            .to_string()
            .into_bytes(),
    )
}

fn blocks(ask: &Ask) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(reasoning) = &ask.answer.reasoning {
        blocks.push(Block::Thinking(reasoning.clone()));
    }
    let call = ask.tool_call();
    if let Some(refusal) = &ask.answer.refusal {
        blocks.push(Block::Text(refusal.clone()));
    } else if call.is_none() || ask.answer.text.is_some() {
        blocks.push(Block::Text(ask.text(0)));
    }
    if let Some((name, arguments)) = call {
        blocks.push(Block::ToolUse { name, arguments });
    }
    blocks
}

fn message(ask: &Ask, content: Vec<Value>) -> Value {
    json!({
        "id": format!("msg_double{:08}", ask.serial),
        "type": "message",
        "role": "assistant",
        "model": ask.named(),
        "content": content,
        "stop_reason": null,
        "stop_sequence": null,
        "usage": { "input_tokens": ask.prompt_tokens(), "output_tokens": 1 },
    })
}

fn stop_reason(ask: &Ask) -> Value {
    let usual = match (&ask.answer.refusal, ask.tool_call()) {
        (Some(_), _) => "refusal",
        (None, Some(_)) => "tool_use",
        (None, None) => "end_turn",
    };
    match ask.answer.finish_reason.as_deref() {
        Some("") => Value::Null,
        given => given.unwrap_or(usual).into(),
    }
}

// === impl Block ===

impl Block {
    fn id(ask: &Ask) -> String {
        format!("toolu_double{:08}", ask.serial)
    }

    fn whole(&self, ask: &Ask) -> Value {
        match self {
            Block::Thinking(text) => {
                json!({ "type": "thinking", "thinking": text, "signature": SIGNATURE })
            }
            Block::Text(text) => json!({ "type": "text", "text": text }),
            Block::ToolUse { name, arguments } => {
                let input = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
                json!({ "type": "tool_use", "id": Self::id(ask), "name": name, "input": input })
            }
        }
    }

    fn opening(&self, ask: &Ask) -> Value {
        match self {
            Block::Thinking(_) => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Block::Text(_) => json!({ "type": "text", "text": "" }),
            Block::ToolUse { name, .. } => {
                json!({ "type": "tool_use", "id": Self::id(ask), "name": name, "input": {} })
            }
        }
    }

    fn deltas(&self, ask: &Ask) -> Vec<Value> {
        let (text, shape): (_, fn(String) -> Value) = match self {
            Block::Thinking(text) => (
                text,
                |part| json!({ "type": "thinking_delta", "thinking": part }),
            ),
            Block::Text(text) => (text, |part| json!({ "type": "text_delta", "text": part })),
            Block::ToolUse { arguments, .. } => (
                arguments,
                |part| json!({ "type": "input_json_delta", "partial_json": part }),
            ),
        };
        let mut deltas: Vec<_> = ask.cut(text).into_iter().map(shape).collect();
        if matches!(self, Block::Thinking(_)) {
            deltas.push(json!({ "type": "signature_delta", "signature": SIGNATURE }));
        }
        deltas
    }
}

fn stream(ask: &Ask) -> Vec<Piece> {
    let event = |value: Value, delta: bool| {
        let name = value["type"]
            .as_str()
            .expect("every event has a type")
            .to_owned();
        named(&name, &ask.json(&value), delta)
    };
    let start = json!({ "type": "message_start", "message": message(ask, Vec::new()) });
    let mut pieces = vec![event(start, false)];
    for (index, block) in blocks(ask).iter().enumerate() {
        let start = json!({
            "type": "content_block_start", "index": index, "content_block": block.opening(ask),
        });
        pieces.push(event(start, false));
        if index == 0 {
            pieces.push(event(json!({ "type": "ping" }), false));
        }
        for delta in block.deltas(ask) {
            let value = json!({ "type": "content_block_delta", "index": index, "delta": delta });
            pieces.push(event(value, true));
        }
        pieces.push(event(
            json!({ "type": "content_block_stop", "index": index }),
            false,
        ));
    }
    let end = json!({
        "type": "message_delta",
        "delta": { "stop_reason": stop_reason(ask), "stop_sequence": null },
        "usage": { "output_tokens": ask.completion_tokens() },
    });
    pieces.push(event(end, false));
    pieces.push(event(json!({ "type": "message_stop" }), false));
    if ask.answer.done == Some(true) {
        pieces.push(super::plan::data("[DONE]", false));
    }
    pieces
}
