//! From a request to a plan: which route it is, what the script says, which API answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Shared;
use super::ask::{Api, Ask};
use super::ledger::Recorded;
use super::plan::{Body, Plan, Reply, error_body, generate};
use super::script::Profile;
use super::{chat, detail, messages, responses, sound, transformers};

/// Dimensions of an embedding.
const DIMENSIONS: usize = 8;
/// The most inputs of one embeddings request.
const INPUTS_MAX: usize = 2048;

/// Routes that an operator uses, never a user of a model. All of them succeed, so that only the
/// counters tell whether a gateway let a call through; `transformers serve` has three of them.
const MANAGEMENT: [&str; 34] = [
    "/health",
    "/ping",
    "/load",
    "/version",
    "/metrics",
    "/server_info",
    "/tokenize",
    "/detokenize",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/load_lora_adapter",
    "/unload_lora_adapter",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/pause",
    "/resume",
    "/is_paused",
    "/collective_rpc",
    "/update_weights",
    "/update_weights_from_disk",
    "/init_weight_transfer_engine",
    "/get_world_size",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/reset_encoder_cache",
    "/scale_elastic_ep",
    "/is_scaling_elastic_ep",
    "/start_profile",
    "/stop_profile",
    "/invocations",
    "/abort_requests",
    "/load_model",
    "/reset",
];

/// What to answer to `request`.
pub(super) fn plan(shared: &Shared, request: &Recorded) -> Plan {
    let (mut plan, profile) = planned(shared, request);
    if profile == Profile::Transformers {
        transformers::dress(&mut plan, &transformers::request_id(request));
    }
    plan
}

/// The plan, and whose habits it follows: a request may want others than the double has.
fn planned(shared: &Shared, request: &Recorded) -> (Plan, Profile) {
    let profile = shared.profile();
    let reply = |reply: Reply| (Plan::Reply(Box::new(reply)), profile);
    let path = request.path();
    let api = Api::of(path);
    let theirs = profile == Profile::Transformers;
    if let Some(credential) = &shared.credential {
        let bearer = request
            .field("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        if bearer.or(request.field("x-api-key")) != Some(credential) {
            shared.ledger.count(&shared.ledger.unauthorized);
            return (
                refuse(api, profile, 401, "the double wants another credential"),
                profile,
            );
        }
    }
    if MANAGEMENT.contains(&path) {
        shared.ledger.count(&shared.ledger.management);
        return reply(if theirs {
            detail::management(request)
        } else {
            management(path)
        });
    }
    let make: fn(&Ask) -> Body = match (request.method.as_str(), path) {
        ("GET" | "HEAD", "/v1/models") => {
            return reply(models(shared, request));
        }
        ("GET" | "HEAD", _) if path.starts_with("/v1/models/") && !theirs => {
            let model = json!({ "id": &path["/v1/models/".len()..], "object": "model",
                "created": chat::CREATED, "owned_by": "double" });
            return reply(Reply::json(200, &model));
        }
        ("POST", "/v1/chat/completions") => chat::chat,
        ("POST", "/v1/completions") => chat::completions,
        ("POST", "/v1/responses") => responses::responses,
        (_, "/v1/embeddings" | "/v1/messages" | "/v1/messages/count_tokens") if theirs => {
            return reply(not_found());
        }
        ("POST", "/v1/embeddings") => embeddings,
        ("POST", "/v1/audio/transcriptions" | "/v1/audio/translations") => {
            return match sound::answer(request) {
                Ok(answer) => reply(answer),
                Err(why) => (refuse(api, profile, 400, why), profile),
            };
        }
        ("POST", "/v1/messages") => messages::messages,
        ("POST", "/v1/messages/count_tokens") => messages::count_tokens,
        (_, "/v1/chat/completions" | "/v1/completions" | "/v1/responses" | "/v1/embeddings")
        | (_, "/v1/messages" | "/v1/messages/count_tokens" | "/v1/models") => {
            let allowed = if path == "/v1/models" { "GET" } else { "POST" };
            return reply(detail::not_allowed(allowed));
        }
        _ => return reply(not_found()),
    };
    if theirs && let Err(error) = serde_json::from_slice::<Value>(&request.body) {
        return reply(detail::not_json(&request.body, &error));
    }
    let chosen = |model: &str| shared.fields(path, model, &request.body);
    match Ask::read(api, request, chosen) {
        Ok(ask) => {
            let profile = ask.answer.profile.unwrap_or_default();
            let refusal = match profile {
                Profile::Transformers => detail::refusal(&ask),
                Profile::Openai => None,
            };
            let plan = match refusal {
                Some(reply) => Plan::Reply(Box::new(reply)),
                None => generate(&ask, make),
            };
            (plan, profile)
        }
        Err(why) => (refuse(api, profile, 400, &why), profile),
    }
}

fn not_found() -> Reply {
    Reply::json(404, &json!({ "detail": "Not Found" }))
}

fn refuse(api: Api, profile: Profile, status: u16, message: &str) -> Plan {
    let body = error_body(api, profile, status, message).into_bytes();
    Plan::Reply(Box::new(Reply::whole(status, "application/json", body)))
}

fn models(shared: &Shared, request: &Recorded) -> Reply {
    let names = shared.models.iter();
    let value = if request.field("anthropic-version").is_some() {
        let models: Vec<_> = names
            .map(|name| {
                json!({ "type": "model", "id": name, "display_name": name,
                    "created_at": "2025-01-01T00:00:00Z" })
            })
            .collect();
        json!({ "data": models, "has_more": false,
            "first_id": shared.models.first(), "last_id": shared.models.last() })
    } else {
        let models: Vec<_> = names
            .map(|name| {
                json!({ "id": name, "object": "model", "created": chat::CREATED,
                    "owned_by": "double" })
            })
            .collect();
        json!({ "object": "list", "data": models })
    };
    Reply::json(200, &value)
}

fn management(path: &str) -> Reply {
    match path {
        "/health" | "/ping" => Reply::whole(200, "text/plain", Vec::new()),
        "/metrics" => {
            let text = "# HELP vllm:num_requests_running Requests running.\n\
                        # TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 0.0\n";
            Reply::whole(200, "text/plain; version=0.0.4; charset=utf-8", text.into())
        }
        "/version" => Reply::json(200, &json!({ "version": "double" })),
        "/is_sleeping" => Reply::json(200, &json!({ "is_sleeping": false })),
        "/tokenize" => {
            let value = json!({ "count": 3, "max_model_len": 4096, "tokens": [1, 2, 3],
                "token_strs": null });
            Reply::json(200, &value)
        }
        "/detokenize" => Reply::json(200, &json!({ "prompt": "as it was" })),
        _ => Reply::json(200, &json!({ "status": "ok" })),
    }
}

fn embeddings(ask: &Ask) -> Body {
    let count = match &ask.body["input"] {
        Value::Array(inputs) if inputs.iter().all(Value::is_number) => 1, // token ids
        Value::Array(inputs) => inputs.len().min(INPUTS_MAX),
        _ => 1,
    };
    let vector: Vec<f32> = (0..DIMENSIONS)
        .map(|index| 0.125 * index as f32 - 0.5)
        .collect();
    let embedding = if ask.body["encoding_format"] == "base64" {
        let bytes: Vec<u8> = vector
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        Value::from(STANDARD.encode(bytes))
    } else {
        json!(vector)
    };
    let data: Vec<_> = (0..count)
        .map(|index| json!({ "object": "embedding", "index": index, "embedding": embedding }))
        .collect();
    let tokens = ask.prompt_tokens();
    let value = json!({
        "object": "list",
        "data": data,
        "model": ask.named(),
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    });
    Body::Whole(ask.json(&value).into_bytes())
}

// === impl Shared ===

impl Shared {
    /// The fields of the answer: defaults, then the script's rule.
    fn fields(&self, path: &str, model: &str, body: &[u8]) -> Map<String, Value> {
        let mut fields = self.defaults.clone();
        if model == "echo" {
            fields.insert("echo".into(), true.into());
        }
        let mut script = self
            .script
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(rule) = script.select(path, model, body) {
            fields.extend(rule.answer.clone());
        }
        fields
    }

    fn profile(&self) -> Profile {
        match self.defaults.get("profile").and_then(Value::as_str) {
            Some("transformers") => Profile::Transformers,
            _ => Profile::Openai,
        }
    }
}
