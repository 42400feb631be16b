//! Verdicts on requests: what is refused, what is found, what is changed, what is left alone.

mod support;

use std::sync::LazyLock;

use penstock_policies::{
    Action, BodyError, DEPTH_MAX, MODEL_BYTES_MAX, PolicySet, RequestVerdict, Scratch,
};
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

/// A policy with the shipped rules on cards, in both directions.
fn cards(action: &str) -> PolicySet {
    policy_of(&format!(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer", "embed", "tokenize"]
[[guard]]
name = "cards"
direction = "both"
packs = ["personal"]
action = "{action}"
"#
    ))
}

#[test]
fn numbers_are_inspected() {
    let path = "/v1/chat/completions";
    let card = "4111111111111111";
    for literal in [card, "4111111111111111.0", "4111111111111111e0"] {
        let body = format!("{{\"model\":\"m\", \"input\" :{{\"card\": {literal} }},\"n\":1}}");
        let verdict = inspect(&cards("mask"), path, body.as_bytes()).unwrap();
        assert_eq!(verdict.action, Action::Mask, "{literal}");
        let sent = String::from_utf8(verdict.body.unwrap()).unwrap();
        let read: serde_json::Value = serde_json::from_str(&sent).unwrap();
        let text = read["input"]["card"].as_str().unwrap();
        assert!(!text.contains(card), "{sent}");
        assert_eq!(sent, body.replace(literal, &format!("\"{text}\"")));
        let finding = &verdict.findings[0];
        assert_eq!(finding.location, "input.card");
        assert_eq!((finding.start, finding.end), (0, 16));
        for (action, expected) in [("flag", Action::Flag), ("block", Action::Block)] {
            let verdict = inspect(&cards(action), path, body.as_bytes()).unwrap();
            assert_eq!((verdict.action, verdict.body), (expected, None));
        }
    }
    for benign in ["[0.4111111111111111,-4.111111111111111e15]", "[4111,1111]"] {
        let body = format!("{{\"model\":\"m\",\"x\":{benign}}}");
        let verdict = inspect(&cards("mask"), path, body.as_bytes()).unwrap();
        assert_eq!((verdict.action, verdict.body), (Action::Allow, None));
    }
}

#[test]
fn prompts_in_numbers_are_refused_where_a_guard_looks_and_counted_elsewhere() {
    let open = policy_of(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer", "tokenize"]
limits = { prompt_tokens = 5 }
"#,
    );
    let path = "/v1/completions";
    for (member, value, tokens) in [
        ("prompt", "[1,2,3]", 3),
        ("prompt", "[[1,2],[3,4]]", 4),
        ("prompt", "[\"\",7]", 1),
        ("input", "[[1]]", 1),
        ("input_ids", "[1]", 1),
        ("token_ids", "[1.0]", 1),
        ("prompt_token_ids", "[1,2]", 2),
        ("tokens", "[1,[[[2]]]]", 2),
        ("prompt_embeds", "\"\"", 0),
        ("prompt_embeds", "[[0.1]]", 0),
    ] {
        let body = format!("{{\"model\":\"\",\"{member}\":{value}}}");
        let error = inspect(&MASK, path, body.as_bytes()).unwrap_err();
        assert_eq!((error.code(), error.status()), ("prompt_not_text", 400));
        assert!(error.to_string().contains(member), "{error}");
        let verdict = inspect(&open, path, body.as_bytes()).unwrap();
        assert_eq!(verdict.prompt_tokens, tokens, "{body}");
    }
    let many = b"{\"model\":\"\",\"prompt\":[[1,2,3],[4,5,6]]}";
    let error = inspect(&open, path, many).unwrap_err();
    assert_eq!(error.code(), "prompt_over_grant");
    for benign in [
        r#""prompt":["a","b"],"prompt_embeds":null,"tokens":5"#,
        r#""input":[{"role":"user","content":[{"n":1}]}],"logit_bias":[1]"#,
        r#""metadata":{"prompt":[1]},"prompt":[]"#,
    ] {
        let body = format!("{{\"model\":\"m\",{benign}}}");
        assert!(inspect(&MASK, path, body.as_bytes()).is_ok(), "{body}");
    }
    let body = b"{\"model\":\"m\",\"tokens\":[1,2]}";
    assert!(inspect(&MASK, "/detokenize", body).is_ok());
    assert!(inspect(&MASK, "/tokenize", b"{\"model\":\"m\",\"prompt\":[1]}").is_err());
}

#[test]
fn the_name_of_a_model_is_bounded_guarded_or_not() {
    let open = policy_of("[[grant]]\ngroups=[\"*\"]\nmodels=[\"*\"]\noperations=[\"infer\"]\n");
    for policy in [&open, &*MASK] {
        let ask = |bytes: usize| {
            let body = format!("{{\"model\":\"{}\"}}", "m".repeat(bytes));
            inspect(policy, "/v1/completions", body.as_bytes())
        };
        assert!(ask(MODEL_BYTES_MAX).is_ok());
        let error = ask(MODEL_BYTES_MAX + 1).unwrap_err();
        assert_eq!((error.code(), error.status()), ("model_too_long", 400));
    }
}

/// As many matches as a body can hold, each of them as deep as one can be.
#[test]
fn many_deep_matches_are_counted_without_being_written_out() {
    let deep = DEPTH_MAX - 2;
    let texts = vec!["\"CUST-12345678\""; 20_000].join(",");
    let body = format!(
        "{{\"model\":\"m\",\"a\":{}{texts}{}}}",
        "[".repeat(deep),
        "]".repeat(deep)
    );
    let verdict = chat(&body).unwrap();
    assert_eq!(verdict.action, Action::Mask);
    assert_eq!(verdict.findings.len(), penstock_policies::FINDINGS_MAX);
    let sent = String::from_utf8(verdict.body.unwrap()).unwrap();
    assert!(!sent.contains("12345678"), "those that are not listed too");
}

/// A rule that asks for a role sees the words of that speaker, wherever an API puts them.
#[test]
fn a_rule_may_ask_who_speaks() {
    let dir = tempfile::tempdir().unwrap();
    support::write(
        dir.path(),
        "main.toml",
        "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\nmedia = [\"file\"]\n\
         [[guard]]\nname = \"g\"\ndirection = \"both\"\npacks = [\"orders\"]\naction = \"flag\"\n",
    );
    let rule = |role: &str| {
        format!(
            "[[rule]]\nid = \"by-{role}\"\ndescription = \"an order\"\nregex = 'obey'\n\
             roles = [\"{role}\"]\nmatches = [\"obey\"]\nmisses = [\"no\"]\n"
        )
    };
    let roles = ["system", "user", "assistant", "tool", "document"];
    support::write(dir.path(), "packs/orders.toml", &roles.map(rule).concat());
    let policy = support::load(dir.path()).unwrap();
    let heard = |path: &str, body: &str| -> Vec<String> {
        let body = format!("{{\"model\":\"m\",{body}}}");
        let verdict = inspect(&policy, path, body.as_bytes()).unwrap();
        let rule = |finding: &penstock_policies::Finding| finding.rule.to_string();
        verdict.findings.iter().map(rule).collect()
    };
    let chat = |body: &str| heard("/v1/chat/completions", body);
    for (role, speaker) in [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("tool", "tool"),
        ("function", "tool"),
        ("other", "user"),
    ] {
        let body = format!(r#""messages":[{{"content":"obey","role":"{role}"}}],"user":"obey""#);
        assert_eq!(chat(&body), [format!("by-{speaker}"), "by-user".to_owned()]);
    }
    let cases = [
        ("/v1/completions", r#""prompt":"obey""#, "user"),
        ("/v1/messages", r#""system":"obey","messages":[]"#, "system"),
        (
            "/v1/messages",
            r#""system":[{"type":"text","text":"obey"}]"#,
            "system",
        ),
        (
            "/v1/responses",
            r#""instructions":"obey","input":"x""#,
            "system",
        ),
        ("/v1/responses", r#""input":"obey""#, "user"),
        (
            "/v1/responses",
            r#""input":[{"role":"assistant","content":[{"text":"obey"}]}]"#,
            "assistant",
        ),
        (
            "/v1/responses",
            r#""input":[{"type":"function_call_output","output":"obey"}]"#,
            "tool",
        ),
        (
            "/v1/messages",
            r#""messages":[{"role":"user","content":[{"type":"tool_result","content":[{"text":"obey"}]}]}]"#,
            "tool",
        ),
        (
            "/v1/messages",
            r#""messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","data":"obey"}}]}]"#,
            "document",
        ),
        (
            "/v1/chat/completions",
            r#""messages":[],"documents":[{"text":"obey"}]"#,
            "document",
        ),
        (
            "/v1/chat/completions",
            r#""messages":[],"tools":[{"function":{"description":"obey"}}]"#,
            "tool",
        ),
        ("/rerank", r#""query":"x","documents":["obey"]"#, "document"),
    ];
    for (path, body, speaker) in cases {
        assert_eq!(heard(path, body), [format!("by-{speaker}")], "{body}");
    }
}
