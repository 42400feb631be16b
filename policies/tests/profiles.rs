//! Routes: what each profile knows, and everything near it that must stay unknown.

use std::collections::HashSet;

use penstock_policies::{Dialect, Endpoint, Operation, Profiles, RequestBody};

fn profiles(names: &[&str]) -> Profiles {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    Profiles::from_names(&names).expect("shipped profiles")
}

#[test]
fn known_routes() {
    use Operation::*;
    let all = profiles(&["openai", "anthropic", "vllm"]);
    let table = [
        (
            "POST",
            "/v1/chat/completions",
            Infer,
            Endpoint::ChatCompletions,
            true,
        ),
        (
            "POST",
            "/v1/completions",
            Infer,
            Endpoint::Completions,
            true,
        ),
        ("POST", "/v1/responses", Infer, Endpoint::Responses, true),
        ("POST", "/v1/embeddings", Embed, Endpoint::Embeddings, true),
        ("GET", "/v1/models", Models, Endpoint::Models, false),
        ("GET", "/v1/models/llama", Models, Endpoint::Models, false),
        (
            "GET",
            "/v1/models/org/llama-3.1-8b",
            Models,
            Endpoint::Models,
            false,
        ),
        ("POST", "/v1/messages", Infer, Endpoint::Messages, true),
        (
            "POST",
            "/v1/messages/count_tokens",
            Tokenize,
            Endpoint::Other,
            true,
        ),
        ("GET", "/health", Health, Endpoint::Other, false),
        ("GET", "/metrics", Metrics, Endpoint::Other, false),
        ("POST", "/tokenize", Tokenize, Endpoint::Other, true),
        ("POST", "/v1/rerank", Embed, Endpoint::Embeddings, true),
        ("POST", "/sleep", Manage, Endpoint::Other, false),
        ("POST", "/wake_up", Manage, Endpoint::Other, false),
        ("GET", "/is_sleeping", Manage, Endpoint::Other, false),
        (
            "POST",
            "/v1/load_lora_adapter",
            Manage,
            Endpoint::Other,
            false,
        ),
        (
            "POST",
            "/v1/unload_lora_adapter",
            Manage,
            Endpoint::Other,
            false,
        ),
        ("POST", "/update_weights", Manage, Endpoint::Other, false),
        ("POST", "/pause", Manage, Endpoint::Other, false),
        ("POST", "/resume", Manage, Endpoint::Other, false),
        (
            "POST",
            "/reset_prefix_cache",
            Manage,
            Endpoint::Other,
            false,
        ),
        ("POST", "/reset_mm_cache", Manage, Endpoint::Other, false),
        ("POST", "/collective_rpc", Debug, Endpoint::Other, false),
        ("POST", "/start_profile", Debug, Endpoint::Other, false),
        ("GET", "/server_info", Debug, Endpoint::Other, false),
    ];
    for (method, path, operation, endpoint, names_model) in table {
        let route = all
            .resolve(method, path)
            .unwrap_or_else(|| panic!("{method} {path}"));
        assert_eq!(route.operation, operation, "{path}");
        assert_eq!(route.endpoint, endpoint, "{path}");
        assert_eq!(route.names_model, names_model, "{path}");
        assert_eq!(route.body == RequestBody::Json, method == "POST", "{path}");
        let other = if method == "GET" { "POST" } else { "GET" };
        assert!(all.resolve(other, path).is_none(), "{other} {path}");
        assert!(all.resolve(&method.to_lowercase(), path).is_none());
        assert!(all.knows_path(path));
    }
}

#[test]
fn unusual_spellings_name_nothing() {
    let all = profiles(&["openai", "anthropic", "vllm"]);
    for path in [
        "",
        "/",
        "v1/models",
        "/v1/models/",
        "//v1/models",
        "/v1//models",
        "/v1/./models",
        "/v1/../v1/models",
        "/v1/models/..",
        "/v1/models/a/b/c",
        "/v1/model",
        "/v1/modelsx",
        "/V1/models",
        "/v1/Models",
        "/v1/%6dodels",
        "/v1/models%2fx",
        "/v1/models?x",
        "/v1/models#x",
        "/v1/models;x",
        "/v1/models/a b",
        "/v1/models/é",
        "/v1/models\0",
        "/v1\\models",
        "/models",
        "/metrics/",
        "/health/x",
    ] {
        assert!(all.resolve("GET", path).is_none(), "{path:?}");
        assert!(!all.knows_path(path), "{path:?}");
    }
    let long = format!("/v1/models/{}", "a".repeat(300));
    assert!(all.resolve("GET", &long).is_none());
}

#[test]
fn a_profile_opens_nothing_of_another() {
    let openai = profiles(&["openai"]);
    for path in [
        "/sleep",
        "/collective_rpc",
        "/v1/load_lora_adapter",
        "/v1/messages",
    ] {
        assert!(openai.resolve("POST", path).is_none(), "{path}");
    }
    assert!(profiles(&[]).resolve("GET", "/v1/models").is_none());
    let first = |names: &[&str]| {
        profiles(names)
            .resolve("GET", "/v1/models")
            .unwrap()
            .dialect
    };
    assert_eq!(first(&["openai", "anthropic"]), Dialect::OpenAi);
    assert_eq!(first(&["anthropic", "openai"]), Dialect::Anthropic);
}

#[test]
fn unknown_profiles_are_named() {
    let error = Profiles::from_names(&["vlm".to_owned()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no engine profile \"vlm\"; did you mean \"vllm\"?"
    );
    let error = Profiles::from_names(&["triton".to_owned()]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("shipped are openai, anthropic, vllm"),
        "{error}"
    );
}

#[test]
fn operations_have_names() {
    let names: HashSet<&str> = Operation::ALL
        .iter()
        .map(|operation| operation.as_str())
        .collect();
    assert_eq!(names.len(), Operation::ALL.len());
    for operation in Operation::ALL {
        assert_eq!(Operation::from_name(operation.as_str()), Some(operation));
    }
    assert_eq!(Operation::from_name("Infer"), None);
}
