//! What a guard masks on the way in and puts back in the answer: the model and the log have the
//! pseudonym, the caller has the value.

use penstock_loadgen::client::Call;
use penstock_loadgen::issuer::TokenSpec;
use serde_json::{Value, json};

use crate::stack::{MODEL, Stack};
use crate::witness::{at, contains, directive, joined, scripted_chat};

const POLICY: &str = r#"
[[grant]]
groups = ["engineers"]
models = ["*"]
operations = ["infer"]

[[guard]]
name = "addresses stay here"
direction = "both"
rules = ["email-address"]
action = "mask"
restore = true
"#;

const ADDRESS: &str = "jane.doe@mail-of-acme.com";

fn stack() -> Stack {
    Stack::with(|setup| setup.policy = POLICY.to_owned())
}

/// The text of the last request's first message, as the model has it.
fn seen_by_model(stack: &Stack) -> String {
    let requests = stack.double.requests();
    let body: Value =
        serde_json::from_slice(&requests.last().expect("a request").body).expect("JSON");
    let content = &body["messages"][0]["content"];
    content.as_str().expect("a text").to_owned()
}

/// A text to be answered, in which the double finds what it is to say.
fn answered(stream: bool, split: &str) -> Call {
    let answer = json!({"text": format!("I wrote to {ADDRESS}."), "split": split});
    Call::post("/v1/chat/completions", &scripted_chat(&answer, stream))
}

#[test]
fn the_model_and_the_log_have_a_pseudonym_and_the_caller_has_the_value() {
    let stack = stack();
    let whole = stack.call(answered(false, "whole"));
    assert_eq!(whole.status(), 200);
    assert_eq!(
        whole.json()["choices"][0]["message"]["content"],
        format!("I wrote to {ADDRESS}.")
    );
    let seen = seen_by_model(&stack);
    assert!(
        seen.contains("I wrote to [email:") && !seen.contains("jane"),
        "{seen}"
    );
    for split in ["chars:1", "chars:3", "whole"] {
        let mut connection = stack.begin(answered(true, split));
        let head = connection.read_head().expect("a head");
        assert_eq!(head.status, 200);
        let mut events = Vec::new();
        while let Some(event) = connection.next_event().expect("the stream goes on") {
            events.push(event);
        }
        let text = joined(&events, at("/choices/0/delta/content"));
        assert_eq!(text, format!("I wrote to {ADDRESS}."), "{split}");
    }
    let session = stack.session_of(&whole);
    let shown = format!("{session:?}");
    assert!(shown.contains("restore"), "the control is in the record");
    let written = stack.written_bytes();
    assert!(contains(&written, "I wrote to [email:"));
    stack.assert_never_written(&["jane.doe", "mail-of-acme"]);
    stack.assert_verified();
}

#[test]
fn arguments_of_a_call_stay_json() {
    let stack = stack();
    let arguments = json!({"to": ADDRESS}).to_string();
    let answer = json!({"tool": "send", "arguments": arguments});
    let body = json!({"model": MODEL, "messages":
        [{"role": "user", "content": format!("{} {ADDRESS}", directive(&answer))}]});
    let reply = stack.call(Call::post("/v1/chat/completions", &body));
    let call = &reply.json()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
    let arguments: Value = serde_json::from_str(call.as_str().expect("arguments")).expect("JSON");
    assert_eq!(arguments["to"], ADDRESS);
}

#[test]
fn one_caller_never_gets_the_value_of_another() {
    let stack = stack();
    stack.call(answered(false, "whole"));
    let seen = seen_by_model(&stack);
    let pseudonym = &seen[seen.find("[email:").expect("masked")..];
    let pseudonym = &pseudonym[..=pseudonym.find(']').expect("its end")];
    // The pseudonym itself is in the question; this exchange has nothing to put in its place.
    let answer = json!({"text": format!("It was {pseudonym}.")});
    let reply = stack.call(Call::post(
        "/v1/chat/completions",
        &scripted_chat(&answer, false),
    ));
    assert_eq!(
        reply.json()["choices"][0]["message"]["content"],
        format!("It was {pseudonym}.")
    );
}

#[test]
fn each_tenant_has_pseudonyms_of_its_own_and_keeps_them() {
    let stack = Stack::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.issuer = "tenant_claim = \"org.id\"".to_owned();
        setup.record = false;
    });
    let seen = |tenant: Option<&str>, subject: &str| {
        let mut spec = TokenSpec::new(subject, &["engineers"]);
        if let Some(tenant) = tenant {
            spec = spec.claim("org", json!({ "id": tenant }));
        }
        let token = stack.issuer.mint(&spec).expect("a token");
        let answer = stack.send(Call::chat(MODEL, ADDRESS, false).token(&token));
        assert_eq!(answer.status(), 200);
        seen_by_model(&stack)
    };
    let acme = seen(Some("acme"), "ann");
    assert!(acme.starts_with("[email:"));
    assert_eq!(seen(Some("acme"), "bob"), acme);
    assert_ne!(seen(Some("apex"), "ann"), acme);
    assert_ne!(seen(None, "ann"), acme);
    assert_eq!(seen(None, "ann"), seen(None, "bob"));
    assert_eq!(seen(Some("acme"), "ann"), acme);
    let token = TokenSpec::new("ann", &["engineers"]).claim("org", json!({ "id": 7 }));
    let token = stack.issuer.mint(&token).expect("a token");
    let answer = stack.send(Call::chat(MODEL, ADDRESS, false).token(&token));
    assert_eq!(answer.status(), 401);
}
