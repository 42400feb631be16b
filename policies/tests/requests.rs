//! Verdicts on requests: what is refused, what is found, what is changed, what is left alone.

mod support;

use std::sync::LazyLock;

use penstock_policies::{Action, BodyError, DEPTH_MAX, PolicySet, RequestVerdict, Scratch};
use support::{everyone, masked, policy, policy_of, route};

static MASK: LazyLock<PolicySet> = LazyLock::new(|| policy("mask"));

fn inspect(policy: &PolicySet, path: &str, body: &[u8]) -> Result<RequestVerdict, BodyError> {
    let scope = policy.scope(&everyone());
    policy.inspect_request(&scope, &route(path), body, &mut Scratch::default())
}

fn chat(body: &str) -> Result<RequestVerdict, BodyError> {
    inspect(&MASK, "/v1/chat/completions", body.as_bytes())
}

#[test]
fn bodies_that_are_refused() {
    let deep = format!(
        "{{\"model\":\"m\",\"a\":{}1{}}}",
        "[".repeat(200),
        "]".repeat(200)
    );
    let utf16: Vec<u8> = "{\"model\":\"m\"}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let cases: [(&[u8], &str); 26] = [
        (b"", "body_missing"),
        (b"   ", "body_not_json"),
        (b"{", "body_not_json"),
        (b"[]", "body_not_object"),
        (b"\"model\"", "body_not_object"),
        (b"null", "body_not_object"),
        (b"{\"model\":\"m\"} x", "body_not_json"),
        (b"{\"model\":\"m\"}{}", "body_not_json"),
        (b"{\"model\":\"m\",}", "body_not_json"),
        (b"{'model':'m'}", "body_not_json"),
        (b"{\"model\":\"m\"\x00}", "body_not_json"),
        (b"{\"model\":\"m\",\"a\":NaN}", "body_not_json"),
        (b"{\"model\":\"m\",\"a\":01}", "body_not_json"),
        (b"{\"model\":\"a\nb\"}", "body_not_json"),
        (b"{\"model\":\"\\ud800\"}", "body_not_json"),
        (b"{\"model\":\"\\x41\"}", "body_not_json"),
        (b"{\"model\":\"m\",\"a\":\"\xff\"}", "body_not_utf8"),
        (b"\xEF\xBB\xBF{\"model\":\"m\"}", "body_not_json"),
        (&utf16, "body_not_utf8"),
        (deep.as_bytes(), "body_too_deep"),
        (b"{}", "model_missing"),
        (b"{\"model\":null}", "model_missing"),
        (b"{\"model\":[\"m\"]}", "model_not_string"),
        (
            b"{\"model\":\"a\",\"mod\\u0065l\":\"b\"}",
            "model_duplicate",
        ),
        (b"{\"model\":\"a\",\"stream\":\"yes\"}", "stream_not_bool"),
        (
            b"{\"model\":\"a\",\"stream\":true,\"stream\":false}",
            "stream_duplicate",
        ),
    ];
    for (body, code) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        match inspect(&MASK, "/v1/chat/completions", body) {
            Err(error) => {
                assert_eq!(error.code(), code, "{shown}");
                assert_eq!(error.status(), 400);
                assert!(error.to_string().ends_with('.'), "{error}");
            }
            Ok(_) => panic!("accepted {shown}"),
        }
    }
    let nested = |depth: usize| {
        let inner = depth - 1;
        format!(
            "{{\"model\":\"m\",\"a\":{}{}}}",
            "[".repeat(inner),
            "]".repeat(inner)
        )
    };
    assert!(chat(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(chat(&nested(DEPTH_MAX + 1)), Err(BodyError::TooDeep));
}

#[test]
fn reads_the_model_and_the_stream_flag() {
    let verdict = chat(r#"{"stream":true,"model":"ll\u0061ma","x":{"model":"other"}}"#).unwrap();
    assert_eq!(verdict.model.as_deref(), Some("llama"));
    assert_eq!(verdict.stream, Some(true));
    assert_eq!(verdict.action, Action::Allow);
    assert_eq!(verdict.body, None);
    assert_eq!(chat(r#"{"model":"m","stream":null}"#).unwrap().stream, None);
}

#[test]
fn a_mask_changes_only_what_it_must() {
    let body = "{\"model\" : \"m\",\"messages\":[{\"role\":\"user\" ,\"content\":\"I am \
                CUST-12345678.\"},{\"content\":\"b\\u00e9\\/\"}], \"n\":1e0, \
                \"a\":\"CUST\\u002d12345678\",\"a\":\"x\"}";
    let verdict = chat(body).unwrap();
    assert_eq!(verdict.action, Action::Mask);
    let number = masked("CUST-12345678");
    let expected = body
        .replace("CUST-12345678", &number)
        .replace("CUST\\u002d12345678", &number);
    assert_eq!(String::from_utf8(verdict.body.unwrap()).unwrap(), expected);
    let places: Vec<_> = verdict
        .findings
        .iter()
        .map(|f| (f.location.as_str(), f.start, f.end))
        .collect();
    assert_eq!(places, [("messages[0].content", 5, 18), ("a", 0, 13)]);
}

#[test]
fn keys_and_duplicates_are_texts() {
    for body in [
        r#"{"model":"m","tools":[{"CUST-12345678":1}]}"#,
        r#"{"model":"m","a":"CUST-12345678","a":"x"}"#,
        r#"{"model":"m","a":"x","a":"CUST-12345678"}"#,
        r#"{"model":"m","a":[[["\u0043\u0055ST-12345678"]]]}"#,
    ] {
        let verdict = chat(body).unwrap();
        assert_eq!(verdict.findings.len(), 1, "{body}");
        assert!(
            !String::from_utf8(verdict.body.unwrap())
                .unwrap()
                .contains("12345678")
        );
    }
    let verdict =
        chat(r#"{"model":"m","CUST-12345678":{"CUST-87654321":"CUST-11112222"}}"#).unwrap();
    let places: Vec<_> = verdict
        .findings
        .iter()
        .map(|f| f.location.as_str())
        .collect();
    assert_eq!(
        places,
        ["{key}", "*{key}", "*.*"],
        "a location never shows the value"
    );
}

#[test]
fn the_strictest_guard_decides() {
    let policy = policy_of(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
[[guard]]
name = "flags"
direction = "request"
packs = ["test"]
action = "flag"
[[guard]]
name = "holds"
direction = "request"
rules = ["customs"]
action = "hold"
approvers = { groups = ["security"], quorum = 1, expires = "30m" }
[[guard]]
name = "masks"
direction = "request"
rules = ["customer"]
action = "mask"
[[guard]]
name = "blocks"
direction = "request"
rules = ["ward"]
action = "block"
except_groups = ["doctors"]
"#,
    );
    let verdict = |groups: &[&str], text: &str| {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let scope = policy.scope(&groups);
        let body = serde_json::json!({"model": "m", "prompt": text}).to_string();
        let route = route("/v1/completions");
        let scratch = &mut Scratch::default();
        policy
            .inspect_request(&scope, &route, body.as_bytes(), scratch)
            .unwrap()
    };
    let all = "CUST-12345678 CUSTOMS 123 Ωmega-1234 😀abc😀";
    assert_eq!(verdict(&[], "nothing").action, Action::Allow);
    assert_eq!(verdict(&[], "😀abc😀").action, Action::Flag);
    assert_eq!(verdict(&[], "😀abc😀").body, None);
    assert_eq!(verdict(&[], "CUST-12345678").action, Action::Mask);
    assert_eq!(verdict(&["doctors"], all).action, Action::Hold);
    assert!(
        verdict(&["doctors"], all).body.is_some(),
        "a held request goes on masked"
    );
    let blocked = verdict(&["staff"], all);
    assert_eq!((blocked.action, blocked.body), (Action::Block, None));
    let found: Vec<_> = blocked
        .findings
        .iter()
        .map(|f| format!("{} {} {}", f.guard, f.rule, f.action))
        .collect();
    for expected in [
        "masks customer mask",
        "holds customs hold",
        "blocks ward block",
        "flags face flag",
    ] {
        assert!(
            found.iter().any(|line| line == expected),
            "{expected} in {found:?}"
        );
    }
    assert_eq!(found.len(), 4);
}

#[test]
fn grants_bound_what_is_sent() {
    let policy = policy_of(
        r#"
[[grant]]
groups = ["staff"]
models = ["llama-*"]
operations = ["infer"]
limits = { prompt_tokens = 10, body_bytes = 200 }
[[grant]]
groups = ["staff"]
models = ["llama-large"]
operations = ["infer"]
limits = { prompt_tokens = 20 }
"#,
    );
    let ask = |model: &str, prompt: usize, padding: usize| {
        let body = format!(
            "{{\"model\":\"{model}\",\"prompt\":\"{}\"{}}}",
            "é".repeat(prompt),
            " ".repeat(padding)
        );
        inspect(&policy, "/v1/completions", body.as_bytes())
    };
    let scope = policy.scope(&everyone());
    let infer = route("/v1/completions").operation;
    assert!(scope.may_use(infer, "llama-small").is_ok());
    assert_eq!(
        scope.may_use(infer, "gpt").unwrap_err().code,
        "model_not_permitted"
    );
    let manage = penstock_policies::Operation::Manage;
    assert_eq!(
        scope.may_operate(manage).unwrap_err().code,
        "operation_not_permitted"
    );
    // 11 characters of the model's name and 29 of the prompt make ten tokens.
    assert_eq!(ask("llama-small", 29, 0).unwrap().prompt_tokens, 10);
    let error = ask("llama-small", 30, 0).unwrap_err();
    assert_eq!((error.code(), error.status()), ("prompt_over_grant", 403));
    assert!(
        ask("llama-large", 69, 200).is_ok(),
        "the most generous grant counts"
    );
    assert!(ask("llama-large", 70, 0).is_err());
    assert_eq!(
        ask("llama-small", 1, 200).unwrap_err().code(),
        "body_over_grant"
    );
}

#[test]
fn routes_without_a_body_take_none() {
    let scope = MASK.scope(&everyone());
    let profiles = penstock_policies::Profiles::from_names(&["vllm".to_owned()]).unwrap();
    let health = profiles.resolve("GET", "/health").unwrap();
    let scratch = &mut Scratch::default();
    assert!(MASK.inspect_request(&scope, &health, b"", scratch).is_ok());
    let error = MASK
        .inspect_request(&scope, &health, b"{}", scratch)
        .unwrap_err();
    assert_eq!(error.code(), "body_unexpected");
    let sleep = profiles.resolve("POST", "/sleep").unwrap();
    assert!(MASK.inspect_request(&scope, &sleep, b"", scratch).is_ok());
    assert!(MASK.inspect_request(&scope, &sleep, b"x", scratch).is_err());
}
