//! OpenAI chat completions and completions, plain and streamed.

use serde_json::{Map, Value, json};

use super::ask::Ask;
use super::plan::{Body, Piece, data};
use super::transformers;

/// When everything was created: answers are the same in every run.
pub(super) const CREATED: u64 = 1_735_689_600;

/// `POST /v1/chat/completions`.
pub(super) fn chat(ask: &Ask) -> Body {
    if ask.transformers() {
        return transformers::chat(ask);
    }
    if ask.stream() {
        return Body::Stream(chat_stream(ask));
    }
    let mut choices = Vec::new();
    for index in 0..ask.choices() {
        let mut message = json!({ "role": "assistant", "content": ask.text(index) });
        if let Some(refusal) = &ask.answer.refusal {
            message["content"] = Value::Null;
            message["refusal"] = refusal.clone().into();
        } else {
            message["refusal"] = Value::Null;
        }
        if let Some(reasoning) = &ask.answer.reasoning {
            message["reasoning_content"] = reasoning.clone().into();
        }
        if let Some((name, arguments)) = ask.tool_call() {
            message["content"] = ask.answer.text.clone().into();
            message["tool_calls"] = json!([call(ask, index, &name, &arguments)]);
        }
        let logprobs = match ask.body["logprobs"].as_bool() {
            Some(true) => logprobs(ask, &ask.cut(&ask.text(index))),
            _ => Value::Null,
        };
        let mut choice = json!({ "index": index, "message": message, "logprobs": logprobs });
        finish(ask, &mut choice, finish_reason(ask));
        choices.push(choice);
    }
    let mut body = envelope(ask, "chatcmpl", "chat.completion", Value::Array(choices));
    if ask.answer.usage != Some(false) {
        body["usage"] = usage(ask);
    }
    Body::Whole(ask.json(&body).into_bytes())
}

fn chat_stream(ask: &Ask) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let chunk = |index: usize, delta: Value, logprobs: Value, finished: Option<&str>| {
        let mut choice = json!({ "index": index, "delta": delta, "logprobs": logprobs });
        finish(ask, &mut choice, finished);
        json!([choice])
    };
    let emit = |choices: Value, delta: bool| event(ask, "chatcmpl", CHUNK, choices, delta);
    let per_choice: Vec<_> = (0..ask.choices()).map(|index| deltas(ask, index)).collect();
    for (index, _) in per_choice.iter().enumerate() {
        let mut first = json!({ "role": "assistant", "content": "" });
        if ask.tool_call().is_some() {
            first["content"] = Value::Null;
        }
        pieces.push(emit(chunk(index, first, Value::Null, None), false));
    }
    let longest = per_choice.iter().map(Vec::len).max().unwrap_or(0);
    for step in 0..longest {
        for (index, deltas) in per_choice.iter().enumerate() {
            if let Some((delta, logprobs)) = deltas.get(step) {
                let choices = chunk(index, delta.clone(), logprobs.clone(), None);
                pieces.push(emit(choices, true));
            }
        }
    }
    for index in 0..per_choice.len() {
        let choices = chunk(index, json!({}), Value::Null, finish_reason(ask));
        pieces.push(emit(choices, false));
    }
    close_stream(ask, "chatcmpl", CHUNK, &mut pieces);
    pieces
}

const CHUNK: &str = "chat.completion.chunk";

/// The deltas of one choice with their logprobs: reasoning, refusal or text, then a tool call.
fn deltas(ask: &Ask, index: usize) -> Vec<(Value, Value)> {
    let mut deltas = Vec::new();
    for part in ask.cut(ask.answer.reasoning.as_deref().unwrap_or_default()) {
        deltas.push((json!({ "reasoning_content": part }), Value::Null));
    }
    let call = ask.tool_call();
    if let Some(refusal) = &ask.answer.refusal {
        for part in ask.cut(refusal) {
            deltas.push((json!({ "refusal": part }), Value::Null));
        }
    } else if call.is_none() || ask.answer.text.is_some() {
        let wanted = ask.body["logprobs"].as_bool() == Some(true);
        for part in ask.cut(&ask.text(index)) {
            let logprobs = match wanted {
                true => logprobs(ask, std::slice::from_ref(&part)),
                false => Value::Null,
            };
            deltas.push((json!({ "content": part }), logprobs));
        }
    }
    if let Some((name, arguments)) = call {
        let mut opening = self::call(ask, index, &name, "");
        opening["index"] = 0.into();
        deltas.push((json!({ "tool_calls": [opening] }), Value::Null));
        for part in ask.cut(&arguments) {
            let delta = json!({ "index": 0, "function": { "arguments": part } });
            deltas.push((json!({ "tool_calls": [delta] }), Value::Null));
        }
    }
    deltas
}

fn call(ask: &Ask, index: usize, name: &str, arguments: &str) -> Value {
    json!({
        "id": format!("call_{:08}{index:02}", ask.serial),
        "type": "function",
        "function": { "name": name, "arguments": arguments },
    })
}

fn logprobs(ask: &Ask, parts: &[String]) -> Value {
    let top = ask.body["top_logprobs"].as_u64().unwrap_or(0).min(20);
    let entry = |token: &str, logprob: f64| json!({ "token": token, "logprob": logprob, "bytes": token.as_bytes() });
    let content: Vec<_> = parts
        .iter()
        .map(|part| {
            let mut shown = entry(part, -0.125);
            let others = (0..top).map(|rank| entry(part, -0.125 - rank as f64));
            shown["top_logprobs"] = others.collect();
            shown
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

/// `POST /v1/completions`.
pub(super) fn completions(ask: &Ask) -> Body {
    if ask.transformers() {
        return transformers::completions(ask);
    }
    let texts: Vec<String> = (0..ask.choices()).map(|index| ask.text(index)).collect();
    if !ask.stream() {
        let choices = texts.iter().enumerate().map(|(index, text)| {
            let logprobs = plain_logprobs(ask, &ask.cut(text));
            let mut choice = json!({ "index": index, "text": text, "logprobs": logprobs });
            finish(ask, &mut choice, finish_reason(ask));
            choice
        });
        let mut body = envelope(ask, "cmpl", "text_completion", choices.collect());
        if ask.answer.usage != Some(false) {
            body["usage"] = usage(ask);
        }
        return Body::Whole(ask.json(&body).into_bytes());
    }
    let mut pieces = Vec::new();
    let emit = |index: usize, text: &str, finished: Option<&str>, delta: bool| {
        let parts = [text.to_owned()];
        let logprobs = if delta {
            plain_logprobs(ask, &parts)
        } else {
            Value::Null
        };
        let mut choice = json!({ "index": index, "text": text, "logprobs": logprobs });
        finish(ask, &mut choice, finished);
        event(ask, "cmpl", "text_completion", json!([choice]), delta)
    };
    let cut: Vec<_> = texts.iter().map(|text| ask.cut(text)).collect();
    for step in 0..cut.iter().map(Vec::len).max().unwrap_or(0) {
        for (index, parts) in cut.iter().enumerate() {
            if let Some(part) = parts.get(step) {
                pieces.push(emit(index, part, None, true));
            }
        }
    }
    for index in 0..cut.len() {
        pieces.push(emit(index, "", finish_reason(ask), false));
    }
    close_stream(ask, "cmpl", "text_completion", &mut pieces);
    Body::Stream(pieces)
}

fn plain_logprobs(ask: &Ask, parts: &[String]) -> Value {
    if ask.body["logprobs"].as_u64().is_none() {
        return Value::Null;
    }
    let mut offset = 0;
    let mut offsets = Vec::new();
    for part in parts {
        offsets.push(offset);
        offset += part.chars().count();
    }
    let top = parts.iter().map(|part| {
        let mut entry = Map::new();
        entry.insert(part.clone(), json!(-0.125));
        Value::Object(entry)
    });
    json!({
        "tokens": parts,
        "token_logprobs": vec![-0.125; parts.len()],
        "top_logprobs": top.collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

// === shared by both ===

fn envelope(ask: &Ask, prefix: &str, object: &str, choices: Value) -> Value {
    json!({
        "id": format!("{prefix}-double{:08}", ask.serial),
        "object": object,
        "created": CREATED,
        "model": ask.named(),
        "system_fingerprint": "fp_double",
        "choices": choices,
    })
}

fn event(ask: &Ask, prefix: &str, object: &str, choices: Value, delta: bool) -> Piece {
    let mut value = envelope(ask, prefix, object, choices);
    if wants_usage(ask) {
        value["usage"] = Value::Null;
    }
    data(&ask.json(&value), delta)
}

/// Usage, then `[DONE]`.
fn close_stream(ask: &Ask, prefix: &str, object: &str, pieces: &mut Vec<Piece>) {
    if wants_usage(ask) {
        let mut value = envelope(ask, prefix, object, json!([]));
        value["usage"] = usage(ask);
        pieces.push(data(&ask.json(&value), false));
    }
    if ask.answer.done.unwrap_or(true) {
        pieces.push(data("[DONE]", false));
    }
}

fn wants_usage(ask: &Ask) -> bool {
    let asked = ask.body["stream_options"]["include_usage"]
        .as_bool()
        .unwrap_or(false);
    ask.answer.usage.unwrap_or(asked)
}

fn usage(ask: &Ask) -> Value {
    let (prompt, completion) = (ask.prompt_tokens(), ask.completion_tokens());
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    })
}

fn finish_reason(ask: &Ask) -> Option<&str> {
    let usual = if ask.tool_call().is_some() {
        "tool_calls"
    } else {
        "stop"
    };
    Some(ask.answer.finish_reason.as_deref().unwrap_or(usual))
}

/// Sets the finish reason: null until the end, absent when the script empties it.
fn finish(ask: &Ask, choice: &mut Value, reason: Option<&str>) {
    if ask.answer.finish_reason.as_deref() != Some("") {
        choice["finish_reason"] = reason.into();
    }
}
