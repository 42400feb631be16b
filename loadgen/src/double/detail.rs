//! What `transformers serve` refuses and how: `{"detail"}`, a text or a list, that quotes the
//! caller; plain text for what it did not foresee. And its routes for operators.
//!
//! `/load_model` and the refusal of a body that is no object are read from its source (and
//! FastAPI's); the rest is held to captures.

use serde_json::{Value, json};

use super::ask::{Api, Ask};
use super::ledger::Recorded;
use super::plan::{Body, Reply, data};
use super::transformers::{PINNED, named};

/// Media type of errors that it did not foresee. These have no `x-request-id`.
const PLAIN: &str = "text/plain; charset=utf-8";
/// What such an error says.
const UNFORESEEN: &str = "Internal Server Error";

/// What it accepts in a request, used or not; anything else is refused.
const CHAT_FIELDS: &str = "audio chat_template_kwargs frequency_penalty function_call functions \
    generation_config logit_bias logprobs max_completion_tokens max_tokens messages metadata \
    modalities model moderation n parallel_tool_calls prediction presence_penalty \
    prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort \
    response_format safety_identifier seed service_tier stop store stream stream_options \
    temperature tool_choice tools top_logprobs top_p user verbosity web_search_options";
const COMPLETION_FIELDS: &str = "best_of echo frequency_penalty generation_config logit_bias \
    logprobs max_tokens model n presence_penalty prompt seed stop stream stream_options suffix \
    temperature top_p user";
const RESPONSE_FIELDS: &str = "access_programs background context_management conversation \
    generation_config image include input instructions max_output_tokens max_tool_calls metadata \
    model moderation parallel_tool_calls previous_response_id prompt prompt_cache_key \
    prompt_cache_options prompt_cache_retention reasoning safety_identifier seed service_tier \
    store stream stream_options temperature text tool_choice tools top_logprobs top_p truncation \
    user";

/// A request that it would refuse, answered as it would.
pub(super) fn refusal(ask: &Ask) -> Option<Reply> {
    let Value::Object(body) = &ask.body else {
        return Some(detail(422, invalid_body(&ask.body)));
    };
    let (known, wanted) = match ask.api {
        Api::Chat => (CHAT_FIELDS, "messages"),
        Api::Completions => (COMPLETION_FIELDS, "prompt"),
        Api::Responses => (RESPONSE_FIELDS, "input"),
        Api::Messages | Api::Other => return None,
    };
    let unknown = body
        .keys()
        .filter(|name| !known.split_whitespace().any(|field| field == *name))
        .map(|name| format!("'{name}'"))
        .collect::<Vec<_>>();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        let why = format!("Unexpected fields in the request: {{{names}}}");
        return Some(detail(422, why.into()));
    }
    match (&ask.api, &body.get(wanted)) {
        (_, None) => Some(unforeseen(UNFORESEEN)),
        (Api::Chat, Some(given)) if !given.is_array() => Some(unforeseen(UNFORESEEN)),
        (Api::Responses, Some(given)) if !given.is_array() && !given.is_string() => {
            Some(detail(422, "'input' must be a string or list".into()))
        }
        _ => None,
    }
}

/// The answer to a body that is no JSON; the reader's place in it is quoted.
pub(super) fn not_json(body: &[u8], error: &serde_json::Error) -> Reply {
    let lines = body.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let at = (before + error.column().saturating_sub(1)).min(body.len());
    let why = match body[..at].trim_ascii_end().last() {
        Some(b'{') => "Expecting property name enclosed in double quotes",
        _ => "Expecting value",
    };
    let entry = json!({ "type": "json_invalid", "loc": ["body", at], "msg": "JSON decode error",
        "input": {}, "ctx": { "error": why } });
    detail(422, json!([entry]))
}

/// The error that a script asks for; without a message it quotes the caller as the server would.
pub(super) fn scripted_error(ask: &Ask, status: u16) -> Reply {
    let message = ask.answer.message.as_deref();
    match (status, message) {
        (500, _) => unforeseen(message.unwrap_or(UNFORESEEN)),
        (_, Some(message)) => detail(status, message.into()),
        (400, None) => {
            let pinned = ask.answer.model.as_deref().unwrap_or(PINNED);
            let why = format!("Server is pinned to '{pinned}'; requested '{}'.", ask.model);
            detail(400, why.into())
        }
        (404, None) => detail(404, "Not Found".into()),
        (422, None) => detail(422, invalid_body(&ask.body)),
        (_, None) => detail(status, "as the script says".into()),
    }
}

fn invalid_body(body: &Value) -> Value {
    let (kind, why) = match body {
        Value::Null => ("missing", "Field required"),
        _ => ("dict_type", "Input should be a valid dictionary"),
    };
    json!([{ "type": kind, "loc": ["body"], "msg": why, "input": body }])
}

fn detail(status: u16, detail: Value) -> Reply {
    Reply::json(status, &json!({ "detail": detail }))
}

fn unforeseen(why: &str) -> Reply {
    Reply::whole(500, PLAIN, why.as_bytes().to_vec())
}

// === management ===

/// Routes that are only this server's. Anyone who reaches it may unload the model.
pub(super) fn management(request: &Recorded) -> Reply {
    match (request.method.as_str(), request.path()) {
        ("GET", "/health") | ("POST", "/reset") => Reply::json(200, &json!({ "status": "ok" })),
        ("POST", "/load_model") => match request.json()["model"].as_str() {
            None => detail(422, "Missing `model` field in the request body.".into()),
            Some(model) => {
                let model = Value::from(named(model));
                let event =
                    format!("{{\"status\": \"ready\", \"model\": {model}, \"cached\": true}}");
                let media = "text/event-stream; charset=utf-8";
                let mut reply = Reply::whole(200, media, Vec::new());
                reply.body = Body::Stream(vec![data(&event, false)]);
                reply.delivery.burst = 1;
                reply
            }
        },
        (_, "/health") => not_allowed("GET"),
        (_, "/reset" | "/load_model") => not_allowed("POST"),
        _ => detail(404, "Not Found".into()),
    }
}

/// 405, with the method that is allowed.
pub(super) fn not_allowed(allowed: &str) -> Reply {
    let mut reply = detail(405, "Method Not Allowed".into());
    reply.fields.push(("allow".into(), allowed.into()));
    reply
}
