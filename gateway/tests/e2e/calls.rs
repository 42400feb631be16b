//! The five things that a newcomer is shown, and what the model sees of each.

use serde_json::Value;

use crate::stack::{MODEL, Stack, chat_body, post_bytes};

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("a JSON body")
}

#[test]
fn a_permitted_call_is_answered_and_recorded() {
    let stack = Stack::start();
    let answer = stack.chat("hello");
    assert_eq!(answer.head.status, 200);
    let id = answer
        .head
        .field("x-request-id")
        .expect("a request id")
        .to_owned();
    assert_eq!(json(&answer.body)["model"], MODEL);
    let dir = stack.segments();
    let dir = dir.to_str().expect("a UTF-8 path");
    assert!(stack.wait(|| stack.recorder_tool(&["show", dir, &id, "--json"]).is_ok()));
    let shown = stack.recorder_tool(&["show", dir, &id, "--json"]).unwrap();
    assert!(
        shown.contains("alice") && shown.contains("hello"),
        "{shown}"
    );
    stack
        .recorder_tool(&["verify", dir])
        .expect("the log verifies");
}

#[test]
fn without_a_token_nothing_reaches_the_model() {
    let stack = Stack::start();
    let mut connection = stack.connect();
    let body = chat_body("hello", false);
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(request.as_bytes()).unwrap();
    let answer = connection.read_response().unwrap();
    assert_eq!(answer.head.status, 401);
    assert_eq!(json(&answer.body)["error"]["code"], "missing_credential");
    assert_eq!(stack.double.counters().requests, 0);
}

#[test]
fn another_group_is_refused() {
    let stack = Stack::start();
    let token = stack.issuer.token("mallory", &["sales"]);
    let answer = stack.post(&token, "/v1/chat/completions", &chat_body("hello", false));
    assert_eq!(answer.head.status, 403);
    assert_eq!(
        json(&answer.body)["error"]["code"],
        "operation_not_permitted"
    );
    assert_eq!(stack.double.counters().requests, 0);
}

#[test]
fn a_secret_in_a_prompt_is_blocked_and_never_shown() {
    let stack = Stack::start();
    let secret = ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat();
    let answer = stack.chat(&format!("my key is {secret}, please use it"));
    assert_eq!(answer.head.status, 403);
    let body = String::from_utf8(answer.body).unwrap();
    assert!(
        body.contains("request_blocked") && !body.contains(&secret),
        "{body}"
    );
    assert_eq!(stack.double.counters().requests, 0);
    assert!(!stack.log().contains(&secret));
}

#[test]
fn a_stream_is_masked_while_it_streams() {
    let stack = Stack::start();
    let text = "[[double: {\"text\": \"order CUST-12345678 is ready\", \"split\": \"chars:3\"}]]";
    let mut connection = stack.connect();
    let body = chat_body(text, true);
    connection
        .send(&post_bytes(&stack.token(), "/v1/chat/completions", &body))
        .unwrap();
    let head = connection.read_head().unwrap();
    assert_eq!(head.status, 200);
    let mut joined = String::new();
    while let Some(event) = connection.next_event().unwrap() {
        if event.data == "[DONE]" {
            break;
        }
        let delta = &json(event.data.as_bytes())["choices"][0]["delta"]["content"];
        joined.push_str(delta.as_str().unwrap_or_default());
    }
    assert!(!joined.contains("12345678"), "{joined}");
    assert!(
        joined.starts_with("order ") && joined.ends_with(" is ready"),
        "{joined}"
    );
}
