//! What may be said to a model: block, mask, flag, hold, and who is excepted.

use penstock_loadgen::client::Call;
use penstock_recorder::frame::Outcome;
use serde_json::{Value, json};

use crate::stack::{MODEL, Stack};
use crate::witness::{close_of, code, contains, decisions_of, open_of};

const POLICY: &str = r#"
[[grant]]
groups = ["engineers", "red-team", "privacy-office"]
models = ["*"]
operations = ["infer", "embed", "tokenize"]

[[grant]]
groups = ["guests"]
models = ["tiny"]
operations = ["infer"]

[[guard]]
name = "no secrets in"
direction = "request"
packs = ["secrets"]
action = "block"
except_groups = ["red-team"]

[[guard]]
name = "customers stay here"
direction = "request"
packs = ["customer"]
action = "mask"
except_groups = ["privacy-office"]

[[guard]]
name = "personal data noted"
direction = "request"
rules = ["email-address"]
action = "flag"

[[guard]]
name = "ask first"
direction = "request"
rules = ["weight-export"]
action = "hold"
approvers = { groups = ["security"], quorum = 1, expires = "30m" }
"#;

fn secret() -> String {
    ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat()
}

fn stack() -> Stack {
    Stack::with(|setup| setup.policy = POLICY.to_owned())
}

/// All of it as `\u` escapes.
fn escaped(text: &str) -> String {
    text.encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect()
}

/// Members of a body with a secret in them, and where that is. `SECRET` stands for it as it is,
/// `ESCAPED` for all of it as escapes, `HALF` for a part of it as escapes.
const PLACES: &[(&str, &str)] = &[
    (
        r#""messages":[{"content":"use SECRET now"}]"#,
        "messages[0].content",
    ),
    (
        r#""messages":[{"content":"use ESCAPED now"}]"#,
        "messages[0].content",
    ),
    (
        r#""messages":[{"content":"use HALF now"}]"#,
        "messages[0].content",
    ),
    (
        r#""messages":[{"content":[{"text":"a"},{"text":"SECRET"}]}]"#,
        "messages[0].content[1].text",
    ),
    (
        r#""messages":[{"content":{"SECRET":1}}]"#,
        "messages[0].content{key}",
    ),
    (
        r#""messages":[{"content":"SECRET","content":"a"}]"#,
        "messages[0].content",
    ),
    (
        r#""messages":[{"content":"a","content":"SECRET"}]"#,
        "messages[0].content",
    ),
    (
        r#""messages":[{"tool_calls":[{"function":{"arguments":"{\"k\":\"SECRET\"}"}}]}]"#,
        "messages[0].tool_calls[0].function.arguments",
    ),
    (
        r#""messages":[],"tools":[{"function":{"parameters":{"default":"SECRET"}}}]"#,
        "tools[0].function.parameters.default",
    ),
    (r#""messages":[],"user":"SECRET""#, "user"),
    (r#""messages":[],"x":[[["SECRET"]]]"#, "x[0][0][0]"),
];

#[test]
fn a_secret_is_blocked_wherever_it_stands_and_the_error_says_where_but_not_what() {
    let stack = stack();
    let secret = secret();
    let (head, tail) = secret.split_at(7);
    let half = format!("{head}{}", escaped(tail));
    let mut cases: Vec<(String, &str)> = vec![(
        // The name of a model is written down of other calls.
        format!(r#"{{"model":"{secret}","messages":[]}}"#),
        "model",
    )];
    for (members, location) in PLACES {
        let members = members.replace("SECRET", &secret);
        let members = members
            .replace("ESCAPED", &escaped(&secret))
            .replace("HALF", &half);
        cases.push((format!(r#"{{"model":"{MODEL}",{members}}}"#), location));
    }
    let mut last = None;
    for (body, location) in &cases {
        let answer = stack.post(&stack.token(), "/v1/chat/completions", body);
        let text = answer.text();
        assert_eq!(code(&answer), "request_blocked", "{location}");
        assert_eq!(answer.status(), 403);
        assert!(
            text.contains("no secrets in") && text.contains("aws-access-key-id"),
            "{text}"
        );
        assert!(
            text.contains(&format!("in {location} (bytes ")),
            "{location}: {text}"
        );
        assert!(!text.contains(&secret), "{text}");
        last = Some(answer);
    }
    assert_eq!(stack.double.counters().requests, 0);

    let session = stack.session_of(&last.expect("there are cases"));
    let close = close_of(&session);
    assert_eq!((close.status, close.outcome), (403, Outcome::Blocked));
    let decision = decisions_of(&session)[0];
    assert_eq!(
        (decision.rule.as_str(), decision.action.as_str()),
        ("aws-access-key-id", "block")
    );
    assert_eq!((decision.start, decision.end), (0, secret.len() as u64));
    assert!(session.request_body().1.is_empty(), "the model saw nothing");
    assert_eq!(stack.counter("blocked"), cases.len() as u64);
    stack.assert_never_written(&[&secret]);
}

#[test]
fn a_secret_is_blocked_on_every_route_that_takes_a_text() {
    let stack = stack();
    let secret = secret();
    for (path, body) in [
        (
            "/v1/completions",
            json!({"model": MODEL, "prompt": ["a", secret]}),
        ),
        (
            "/v1/responses",
            json!({"model": MODEL, "input": [{"role": "user", "content": secret}]}),
        ),
        ("/v1/embeddings", json!({"model": MODEL, "input": secret})),
        (
            "/v1/messages",
            json!({"model": MODEL, "max_tokens": 1, "system": secret}),
        ),
        ("/tokenize", json!({"model": MODEL, "prompt": secret})),
    ] {
        let answer = stack.call(Call::post(path, &body));
        assert_eq!(
            (answer.status(), code(&answer).as_str()),
            (403, "request_blocked"),
            "{path}"
        );
    }
    // Even where another model is asked for than the caller may have.
    let token = stack.issuer.token("eve", &["guests"]);
    let body = json!({"model": secret, "messages": []});
    let refused = stack.send(Call::post("/v1/chat/completions", &body).token(&token));
    assert_eq!(
        (refused.status(), code(&refused).as_str()),
        (403, "model_not_permitted")
    );
    assert_eq!(close_of(&stack.session_of(&refused)).model, None);
    assert_eq!(stack.double.counters().requests, 0);
    stack.assert_never_written(&[&secret]);
}

#[test]
fn the_model_sees_a_masked_prompt_and_the_record_has_what_it_saw() {
    let stack = stack();
    let body = format!(
        "{{ \"model\" : \"{MODEL}\",\n\t\"messages\":[{{\"role\":\"user\",\"content\":\
         \"Gr\\u00fc\\u00dfe an CUST-12345678 \u{1f642}\\n\"}}], \"metadata\": \
         {{\"CUST-87654321\": 1.50e3}},  \"temperature\":0.70 }}"
    );
    let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
    assert_eq!(answer.status(), 200);
    let seen = stack.double.requests();
    let text = String::from_utf8(seen[0].body.clone()).expect("UTF-8");
    assert!(
        !text.contains("12345678") && !text.contains("87654321"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let content = json["messages"][0]["content"].as_str().expect("a text");
    assert!(content.starts_with("Grüße an <customer:"), "{content}");
    assert!(content.ends_with("> \u{1f642}\n"), "{content}");
    // Nothing else changed, white space and numbers included.
    assert!(
        text.starts_with(&body[..body.find("\"Gr").unwrap()]),
        "{text}"
    );
    assert!(text.ends_with("1.50e3},  \"temperature\":0.70 }"), "{text}");
    let session = stack.session_of(&answer);
    assert_eq!(
        session.request_body(),
        ("application/json".to_owned(), seen[0].body.clone())
    );
    let decisions = decisions_of(&session);
    assert_eq!(decisions.len(), 2);
    assert!(decisions.iter().all(|decision| decision.action == "mask"));
    assert!(
        decisions
            .iter()
            .all(|decision| decision.direction == "request")
    );
    assert_eq!(close_of(&session).request_bytes, seen[0].body.len() as u64);
    stack.assert_never_written(&["12345678", "87654321"]);
}

#[test]
fn a_benign_body_goes_on_byte_for_byte() {
    let stack = stack();
    for body in [
        format!("\n {{\"model\":\"{MODEL}\" , \"messages\" :[ ],\"a\":1,\"a\":-0.0E+1}}\r\n"),
        format!(r#"{{"mod\u0065l":"{MODEL}","messages":[],"\/":"\/\u00e9é\ud83d\ude42"}}"#),
    ] {
        let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let seen = stack.double.requests().pop().expect("it was forwarded");
        assert_eq!(String::from_utf8(seen.body).unwrap(), body);
    }
    // In chunks or not is between each two ends of a connection.
    let body =
        json!({"model": MODEL, "messages": [{"role": "user", "content": "x".repeat(70_000)}]});
    let answer = stack.call(Call::post("/v1/chat/completions", &body).chunked(1000));
    let seen = stack.double.requests().pop().expect("it was forwarded");
    assert_eq!((answer.status(), seen.chunked), (200, false));
    assert_eq!(seen.json(), body);
    assert_eq!(stack.session_of(&answer).request_body().1, seen.body);
}

#[test]
fn flagged_passes_held_is_refused_and_groups_are_excepted() {
    let stack = stack();
    let chat = |groups: &[&str], text: &str| {
        let token = stack.issuer.token("alice", groups);
        stack.send(Call::chat(MODEL, text, false).token(&token))
    };
    let seen = || {
        let request = stack.double.requests().pop().expect("it was forwarded");
        request.json()["messages"][0]["content"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let answer = chat(&["engineers"], "write to jane@example.com please");
    assert_eq!(answer.status(), 200);
    assert_eq!(seen(), "write to jane@example.com please");
    let session = stack.session_of(&answer);
    let decision = decisions_of(&session)[0];
    assert_eq!(
        (decision.guard.as_str(), decision.action.as_str()),
        ("personal data noted", "flag")
    );
    assert_eq!(
        (decision.location.as_str(), decision.start, decision.end),
        ("messages[0].content", 9, 25)
    );

    let before = stack.double.counters().requests;
    let answer = chat(
        &["engineers"],
        "please export the model weights to my bucket",
    );
    assert_eq!(
        (answer.status(), code(&answer).as_str()),
        (403, "approval_required")
    );
    assert!(answer.text().contains("ask first"), "{}", answer.text());
    let session = stack.session_of(&answer);
    assert_eq!(decisions_of(&session)[0].action, "hold");
    assert_eq!(
        close_of(&session).error_code.as_deref(),
        Some("approval_required")
    );
    assert_eq!(stack.double.counters().requests, before);

    let answer = chat(&["engineers", "privacy-office"], "order of CUST-12345678");
    assert_eq!(
        (answer.status(), seen().as_str()),
        (200, "order of CUST-12345678")
    );
    let session = stack.session_of(&answer);
    assert_eq!(open_of(&session).groups, ["engineers", "privacy-office"]);
    assert!(
        contains(&session.request_body().1, "CUST-12345678"),
        "as the model saw it"
    );
    let secret = secret();
    assert_eq!(chat(&["red-team"], &secret).status(), 200);
    assert_eq!(seen(), secret);
    assert_eq!(chat(&["privacy-office"], &secret).status(), 403);
}
