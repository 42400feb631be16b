//! What a caller may do: models, operations, the engine's own routes, and how a refusal reads.

use penstock_loadgen::client::{Call, Response};
use serde_json::{Value, json};

use crate::stack::{MODEL, Stack};
use crate::witness::code;

const POLICY: &str = r#"
[[grant]]
groups = ["engineers", "ci-*"]
models = ["llama-3-*"]
operations = ["infer"]

[[grant]]
groups = ["indexers"]
models = ["*"]
operations = ["embed", "models"]

[[grant]]
groups = ["operators"]
operations = ["manage"]
"#;

/// Every route of vLLM that does more than answer a user of a model, and what an attacker tries
/// besides. Method, path, body.
const CLOSED: &[(&str, &str, &str)] = &[
    ("GET", "/health", ""),
    ("GET", "/ping", ""),
    ("GET", "/load", ""),
    ("GET", "/version", ""),
    ("GET", "/metrics", ""),
    ("GET", "/server_info", ""),
    ("GET", "/tokenizer_info", ""),
    (
        "POST",
        "/tokenize",
        r#"{"model":"llama-3-8b","prompt":"a"}"#,
    ),
    (
        "POST",
        "/detokenize",
        r#"{"model":"llama-3-8b","tokens":[1]}"#,
    ),
    (
        "POST",
        "/v1/load_lora_adapter",
        r#"{"lora_name":"x","lora_path":"/etc"}"#,
    ),
    ("POST", "/v1/unload_lora_adapter", r#"{"lora_name":"x"}"#),
    (
        "POST",
        "/load_lora_adapter",
        r#"{"lora_name":"x","lora_path":"/etc"}"#,
    ),
    ("POST", "/sleep", ""),
    ("POST", "/sleep?level=2", ""),
    ("POST", "/wake_up", ""),
    ("GET", "/is_sleeping", ""),
    ("POST", "/pause", ""),
    ("POST", "/resume", ""),
    ("GET", "/is_paused", ""),
    ("POST", "/collective_rpc", r#"{"method":"reload_weights"}"#),
    ("POST", "/update_weights", "{}"),
    ("POST", "/update_weights_from_disk", r#"{"path":"/tmp"}"#),
    ("POST", "/init_weight_transfer_engine", "{}"),
    ("GET", "/get_world_size", ""),
    ("POST", "/reset_prefix_cache", ""),
    ("POST", "/reset_mm_cache", ""),
    ("POST", "/reset_encoder_cache", ""),
    ("POST", "/scale_elastic_ep", "{}"),
    ("POST", "/is_scaling_elastic_ep", ""),
    ("POST", "/start_profile", ""),
    ("POST", "/stop_profile", ""),
    ("POST", "/abort_requests", "{}"),
    ("POST", "/invocations", r#"{"model":"llama-3-8b"}"#),
    // Other ways to write the same.
    ("POST", "//sleep", ""),
    ("POST", "/./sleep", ""),
    ("POST", "/v1/../sleep", ""),
    ("POST", "/v1/chat/completions/../../../sleep", ""),
    ("POST", "/%73leep", ""),
    ("POST", "/sleep/", ""),
    ("POST", "/sleep;x", ""),
    ("POST", "/sleep%3flevel=1", ""),
    ("POST", "/SLEEP", ""),
    ("POST", "\\sleep", ""),
    ("POST", "http://gateway/sleep", ""),
    ("GET", "/sleep", ""),
    ("HEAD", "/metrics", ""),
    ("PUT", "/update_weights", "{}"),
    ("DELETE", "/v1/models/llama-3-8b", ""),
    ("PATCH", "/v1/chat/completions", "{}"),
    ("OPTIONS", "*", ""),
    ("GET", "/docs", ""),
    ("GET", "/openapi.json", ""),
    ("GET", "/v1/files", ""),
];

fn stack() -> Stack {
    Stack::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.record = false;
    })
}

fn call(method: &str, target: &str, body: &str) -> Call {
    let call = Call::new(method, target);
    match body {
        "" => call,
        body => call.field("content-type", "application/json").body(body),
    }
}

/// A refusal without what is different in every answer.
fn refusal(answer: &Response) -> (u16, Value, Vec<(String, String)>) {
    let mut body = answer.json();
    body["request_id"] = Value::Null;
    let mut fields = answer.head.fields.clone();
    fields.retain(|(name, _)| name != "x-request-id" && name != "date");
    (answer.status(), body, fields)
}

#[test]
fn models_are_granted_by_name_and_refused_alike_whether_they_exist_or_not() {
    let stack = stack();
    let chat = |groups: &[&str], model: &str| {
        let token = stack.issuer.token("alice", groups);
        stack.send(Call::chat(model, "hello", false).token(&token))
    };
    for model in ["llama-3-8b", "llama-3-70b-instruct", "llama-3-"] {
        assert_eq!(chat(&["engineers"], model).status(), 200, "{model}");
        assert_eq!(chat(&["x", "ci-nightly"], model).status(), 200, "{model}");
    }
    let granted = stack.double.counters().requests;
    let refused = chat(&["engineers"], "double");
    assert_eq!(code(&refused), "model_not_permitted");
    let models = [
        "no-such",
        "llama-2-7b",
        "LLAMA-3-8B",
        "org/llama-3-8b",
        " llama-3-8b",
        "",
        "*",
    ];
    for model in models {
        let answer = chat(&["engineers"], model);
        assert_eq!(refusal(&answer), refusal(&refused), "{model}");
    }
    assert!(!refused.text().contains("llama-3"), "{}", refused.text());
    for group in ["ci", "xci-nightly", "Engineers", "engineers "] {
        assert_eq!(
            code(&chat(&[group], MODEL)),
            "operation_not_permitted",
            "{group}"
        );
    }
    // What cannot be read in one way is no model.
    let token = stack.issuer.token("alice", &["engineers"]);
    for (body, expected) in [
        (
            r#"{"model":"llama-3-8b","model":"double","messages":[]}"#,
            "model_duplicate",
        ),
        (
            r#"{"model":"llama-3-8b","mod\u0065l":"double","messages":[]}"#,
            "model_duplicate",
        ),
        (
            r#"{"model":["llama-3-8b"],"messages":[]}"#,
            "model_not_string",
        ),
        (r#"{"messages":[]}"#, "model_missing"),
        (r#"{"model":null,"messages":[]}"#, "model_missing"),
        (r#"[{"model":"llama-3-8b"}]"#, "body_not_object"),
    ] {
        let answer = stack.post(&token, "/v1/chat/completions", body);
        assert_eq!(
            (answer.status(), code(&answer).as_str()),
            (400, expected),
            "{body}"
        );
    }
    assert_eq!(stack.double.counters().requests, granted);
}

#[test]
fn every_other_route_of_the_engine_is_closed_to_a_user_of_models() {
    let stack = stack();
    let token = stack.issuer.token("alice", &["engineers"]);
    for (method, target, body) in CLOSED {
        let call = call(method, target, body).token(&token);
        let answer = stack.send(call);
        assert!(
            matches!(answer.status(), 400 | 403),
            "{method} {target}: {}",
            answer.status()
        );
    }
    let counters = stack.double.counters();
    assert_eq!(
        (counters.management, counters.requests),
        (0, 0),
        "{counters:?}"
    );
    assert_eq!(stack.counter("forwarded"), 0);
}

#[test]
fn a_route_that_nobody_named_is_refused_alike_whether_the_engine_has_it_or_not() {
    let stack = stack();
    let token = stack
        .issuer
        .token("alice", &["engineers", "indexers", "operators"]);
    // The double has the first of them.
    let known = stack.send(call("POST", "/invocations", "{}").token(&token));
    assert_eq!(
        (known.status(), code(&known).as_str()),
        (403, "route_not_permitted")
    );
    for target in ["/invocationz", "/v1/nothing", "/", "/v1/chat/completions/"] {
        let answer = stack.send(call("POST", target, "{}").token(&token));
        assert_eq!(refusal(&answer), refusal(&known), "{target}");
    }
    assert_eq!(stack.double.counters().requests, 0);
}

#[test]
fn a_grant_opens_what_it_names_and_nothing_else() {
    let stack = stack();
    let token = |group: &str| stack.issuer.token("alice", &[group]);
    let status = |group: &str, method: &str, target: &str, body: &str| {
        stack
            .send(call(method, target, body).token(&token(group)))
            .status()
    };
    let chat = r#"{"model":"llama-3-8b","messages":[{"role":"user","content":"a"}]}"#;
    let embed = r#"{"model":"any","input":"a"}"#;
    for (group, method, target, body, expected) in [
        ("operators", "POST", "/sleep", "", 200),
        ("operators", "POST", "/sleep?level=1", "", 200),
        ("operators", "GET", "/is_sleeping", "", 200),
        ("operators", "POST", "/v1/load_lora_adapter", "{}", 200),
        ("operators", "POST", "/collective_rpc", "{}", 403),
        ("operators", "GET", "/metrics", "", 403),
        ("operators", "GET", "/health", "", 403),
        ("operators", "GET", "/v1/models", "", 403),
        ("operators", "POST", "/v1/chat/completions", chat, 403),
        ("indexers", "POST", "/v1/embeddings", embed, 200),
        ("indexers", "GET", "/v1/models", "", 200),
        ("indexers", "GET", "/v1/models/llama-3-8b", "", 200),
        ("indexers", "POST", "/v1/chat/completions", chat, 403),
        ("indexers", "POST", "/sleep", "", 403),
        ("engineers", "POST", "/v1/chat/completions", chat, 200),
        ("engineers", "POST", "/v1/embeddings", embed, 403),
        ("engineers", "GET", "/v1/models", "", 403),
    ] {
        assert_eq!(
            status(group, method, target, body),
            expected,
            "{group}: {method} {target}"
        );
    }
    assert_eq!(stack.double.counters().management, 4);
}

#[test]
fn refusals_are_written_as_the_api_writes_its_errors() {
    let stack = stack();
    let body = json!({"model": "claude", "max_tokens": 9, "messages": [
        {"role": "user", "content": "hello"}]});
    let messages = || Call::post("/v1/messages", &body).field("anthropic-version", "2023-06-01");
    let engineer = stack.issuer.token("alice", &["engineers"]);
    let stranger = stack.issuer.token("mallory", &["sales"]);
    for (call, status, kind, expected) in [
        (
            messages(),
            401,
            "authentication_error",
            "missing_credential",
        ),
        (
            messages().field("x-api-key", &stranger),
            403,
            "permission_error",
            "operation_not_permitted",
        ),
        (
            messages().field("x-api-key", &engineer),
            403,
            "permission_error",
            "model_not_permitted",
        ),
        (
            messages().field("x-api-key", &engineer).body("{"),
            400,
            "invalid_request_error",
            "body_not_json",
        ),
    ] {
        let answer = stack.send(call);
        let error = answer.json();
        assert_eq!(answer.status(), status, "{error}");
        assert_eq!(error["type"], "error");
        assert_eq!(error["error"]["type"], kind);
        assert_eq!(error["error"]["code"], expected);
        assert_eq!(
            error["request_id"].as_str(),
            answer.head.field("x-request-id")
        );
        assert_eq!(answer.head.field("content-type"), Some("application/json"));
    }
    let answer = stack.send(Call::chat(MODEL, "hello", false).token(&stranger));
    let error = answer.json();
    assert_eq!(error["error"]["type"], "permission_error");
    assert_eq!(error["error"]["param"], Value::Null);
    assert_eq!(
        error["request_id"].as_str(),
        answer.head.field("x-request-id")
    );
    assert_eq!(stack.double.counters().requests, 0);
}

#[test]
fn with_policies_off_identity_and_known_routes_still_count() {
    let stack = Stack::with(|setup| setup.policies = "enabled = false".to_owned());
    let chat = || Call::chat("any-model", "card 4111 1111 1111 1111", false);
    assert_eq!(stack.send(chat()).status(), 401);
    let token = stack.issuer.token("mallory", &[]);
    let answer = stack.send(chat().token(&token));
    assert_eq!(answer.status(), 200);
    assert_eq!(
        stack
            .send(call("POST", "/sleep", "").token(&token))
            .status(),
        200
    );
    let unknown = stack.send(call("GET", "/nothing", "").token(&token));
    assert_eq!(code(&unknown), "route_not_permitted");
    let session = stack.session_of(&answer);
    let close = crate::witness::close_of(&session);
    let skipped = |name: &str| {
        let run = close.controls.iter().find(|run| run.name == name);
        run.map(|run| run.state) == Some(penstock_recorder::frame::ControlState::Skipped)
    };
    assert!(
        skipped("authorize") && skipped("inspect request"),
        "{close:?}"
    );
}

#[test]
fn a_grants_bounds_hold_and_the_most_generous_one_counts() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.policy = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n\
            limits = { prompt_tokens = 100, body_bytes = 2000 }\n\
            [[grant]]\ngroups = [\"long\"]\nmodels = [\"llama-*\"]\noperations = [\"infer\"]\n\
            limits = { prompt_tokens = 1000, body_bytes = 8000 }\n"
            .to_owned();
    });
    let refusal = |group: &str, model: &str, prompt: &str| {
        let token = stack.issuer.token("alice", &[group]);
        let answer = stack.send(Call::chat(model, prompt, false).token(&token));
        (answer.status(), code(&answer))
    };
    let over = |code: &str| (403, code.to_owned());
    let within = (200, String::new());
    assert_eq!(refusal("x", MODEL, &"a".repeat(300)), within);
    assert_eq!(
        refusal("x", MODEL, &"a".repeat(500)),
        over("prompt_over_grant")
    );
    assert_eq!(
        refusal("x", MODEL, &"a".repeat(3000)),
        over("body_over_grant")
    );
    assert_eq!(refusal("long", MODEL, &"a".repeat(3000)), within);
    assert_eq!(
        refusal("long", "other", &"a".repeat(3000)),
        over("body_over_grant")
    );
    assert_eq!(
        refusal("long", MODEL, &"a".repeat(5000)),
        over("prompt_over_grant")
    );
    assert_eq!(stack.double.counters().requests, 2);
}
