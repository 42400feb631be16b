//! The tables. One line a route, as the servers' own source registers them, so that a new release
//! of an engine is compared with this file line by line.
//!
//! Left out on purpose, and therefore refused: routes whose bodies or answers have no reader yet
//! (generated sound and pictures, batches, uploads of files), WebSocket routes, `/invocations` (one path, many shapes), and
//! the engines' HTML documentation pages.

use super::{Dialect, Endpoint, Operation, RequestBody, Route};

/// A named table.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    pub(super) routes: &'static [Entry],
}

/// One line of a table.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) method: &'static str,
    /// Literal segments; `{id}` stands for one segment, a last `{model}` for one or two, because
    /// model names have the form `organisation/name`.
    pattern: &'static str,
    operation: Operation,
    dialect: Dialect,
    endpoint: Endpoint,
    body: RequestBody,
    names_model: bool,
}

pub(super) const PROFILES: &[Profile] = &[
    Profile {
        name: "openai",
        routes: OPENAI,
    },
    Profile {
        name: "anthropic",
        routes: ANTHROPIC,
    },
    Profile {
        name: "vllm",
        routes: VLLM,
    },
];

/// A route that takes a JSON body naming its model.
const fn model(pattern: &'static str, operation: Operation, endpoint: Endpoint) -> Entry {
    Entry {
        method: "POST",
        pattern,
        operation,
        dialect: Dialect::OpenAi,
        endpoint,
        body: RequestBody::Json,
        names_model: true,
    }
}

/// A route that takes a form with sound, and answers with its words.
const fn sound(pattern: &'static str) -> Entry {
    Entry {
        body: RequestBody::Form,
        ..model(pattern, Operation::Infer, Endpoint::Transcriptions)
    }
}

/// A route without a body.
const fn get(pattern: &'static str, operation: Operation) -> Entry {
    Entry {
        method: "GET",
        pattern,
        operation,
        dialect: Dialect::OpenAi,
        endpoint: Endpoint::Other,
        body: RequestBody::None,
        names_model: false,
    }
}

/// A route that takes a JSON body, or none, and speaks of no model.
const fn post(pattern: &'static str, operation: Operation) -> Entry {
    Entry {
        method: "POST",
        body: RequestBody::Json,
        ..get(pattern, operation)
    }
}

const fn list(pattern: &'static str) -> Entry {
    Entry {
        endpoint: Endpoint::Models,
        ..get(pattern, Operation::Models)
    }
}

const fn anthropic(entry: Entry) -> Entry {
    Entry {
        dialect: Dialect::Anthropic,
        ..entry
    }
}

const OPENAI: &[Entry] = &[
    model(
        "/v1/chat/completions",
        Operation::Infer,
        Endpoint::ChatCompletions,
    ),
    model("/v1/completions", Operation::Infer, Endpoint::Completions),
    model("/v1/responses", Operation::Infer, Endpoint::Responses),
    model("/v1/embeddings", Operation::Embed, Endpoint::Embeddings),
    sound("/v1/audio/transcriptions"),
    sound("/v1/audio/translations"),
    list("/v1/models"),
    list("/v1/models/{model}"),
];

const ANTHROPIC: &[Entry] = &[
    anthropic(model("/v1/messages", Operation::Infer, Endpoint::Messages)),
    anthropic(model(
        "/v1/messages/count_tokens",
        Operation::Tokenize,
        Endpoint::Other,
    )),
    anthropic(list("/v1/models")),
    anthropic(list("/v1/models/{model}")),
];

/// vLLM's own routes: instrumentation, tokenizer, pooling, adapters, and the development server.
const VLLM: &[Entry] = &[
    get("/health", Operation::Health),
    get("/ping", Operation::Health),
    get("/load", Operation::Health),
    get("/version", Operation::Health),
    get("/metrics", Operation::Metrics),
    model("/tokenize", Operation::Tokenize, Endpoint::Other),
    model("/detokenize", Operation::Tokenize, Endpoint::Other),
    get("/tokenizer_info", Operation::Debug),
    model("/inference/v1/generate", Operation::Infer, Endpoint::Other),
    model(
        "/v1/chat/completions/render",
        Operation::Tokenize,
        Endpoint::Other,
    ),
    model(
        "/v1/completions/render",
        Operation::Tokenize,
        Endpoint::Other,
    ),
    model("/pooling", Operation::Embed, Endpoint::Embeddings),
    model("/classify", Operation::Embed, Endpoint::Embeddings),
    model("/score", Operation::Embed, Endpoint::Embeddings),
    model("/v1/score", Operation::Embed, Endpoint::Embeddings),
    model("/rerank", Operation::Embed, Endpoint::Embeddings),
    model("/v1/rerank", Operation::Embed, Endpoint::Embeddings),
    model("/v2/rerank", Operation::Embed, Endpoint::Embeddings),
    model("/v2/embed", Operation::Embed, Endpoint::Embeddings),
    post("/v1/load_lora_adapter", Operation::Manage),
    post("/v1/unload_lora_adapter", Operation::Manage),
    post("/sleep", Operation::Manage),
    post("/wake_up", Operation::Manage),
    get("/is_sleeping", Operation::Manage),
    post("/pause", Operation::Manage),
    post("/resume", Operation::Manage),
    get("/is_paused", Operation::Manage),
    post("/abort_requests", Operation::Manage),
    post("/scale_elastic_ep", Operation::Manage),
    post("/is_scaling_elastic_ep", Operation::Manage),
    post("/reset_prefix_cache", Operation::Manage),
    post("/reset_mm_cache", Operation::Manage),
    post("/reset_encoder_cache", Operation::Manage),
    post("/init_weight_transfer_engine", Operation::Manage),
    post("/init_weights_update_group", Operation::Manage),
    post("/start_weight_update", Operation::Manage),
    post("/start_draft_weight_update", Operation::Manage),
    post("/update_weights", Operation::Manage),
    post("/update_weights_from_disk", Operation::Manage),
    post("/update_weights_from_tensor", Operation::Manage),
    post("/update_weights_from_distributed", Operation::Manage),
    post("/update_weight_version", Operation::Manage),
    post("/finish_weight_update", Operation::Manage),
    get("/weight_info", Operation::Manage),
    post("/weight_checker", Operation::Debug),
    get("/get_world_size", Operation::Debug),
    post("/start_profile", Operation::Debug),
    post("/stop_profile", Operation::Debug),
    get("/server_info", Operation::Debug),
    post("/collective_rpc", Operation::Debug),
];

// === impl Entry ===

impl Entry {
    /// Whether a plain path is this route's.
    pub(super) fn fits(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        for wanted in self.pattern.split('/') {
            let Some(segment) = segments.next() else {
                return false;
            };
            match wanted {
                "{model}" => return segments.nth(1).is_none(),
                "{id}" => {}
                literal if literal == segment => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }

    pub(super) fn route(&self) -> Route {
        Route {
            operation: self.operation,
            dialect: self.dialect,
            endpoint: self.endpoint,
            body: self.body,
            names_model: self.names_model,
            name: self.pattern,
        }
    }
}
