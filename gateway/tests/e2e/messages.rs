//! Requests as well-behaved clients send them: one after another on a connection, several at once,
//! in HTTP/1.0, with `Expect`, in chunks; and what the answers look like.

use penstock_loadgen::client::{Call, Connection};
use serde_json::{Value, json};

use crate::stack::{MODEL, Stack, chat_body, post_bytes, scripted};

/// A chat whose answer is `text`.
fn say(text: &str) -> String {
    scripted(&json!({ "text": text }), false)
}

fn said(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).expect("a JSON body");
    let text = &value["choices"][0]["message"]["content"];
    text.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    let mut connection = stack.connect();
    for text in ["one", "two", "three"] {
        let request = post_bytes(&token, "/v1/chat/completions", &say(text));
        connection.send(&request).unwrap();
        let answer = connection.read_response().unwrap();
        assert_eq!(said(&answer.body), text);
        assert_eq!(answer.head.field("connection"), None);
    }
    // A refusal that was framed does not cost the connection.
    let request = post_bytes("nonsense", "/v1/chat/completions", &say("four"));
    connection.send(&request).unwrap();
    assert_eq!(connection.read_response().unwrap().status(), 401);
    let bytes = Call::get("/v1/models")
        .token(&token)
        .field("connection", "close")
        .bytes();
    connection.send(&bytes).unwrap();
    let last = connection.read_response().unwrap();
    assert_eq!(
        (last.status(), last.head.field("connection")),
        (200, Some("close"))
    );
    assert!(connection.closed());
    assert_eq!(stack.double.counters().requests, 4);
}

#[test]
fn requests_sent_at_once_are_answered_in_order() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    let post = |body: &str| post_bytes(&token, "/v1/chat/completions", body);
    let slow = chat_body("[[double: text=\"a b c\" inter_token_ms=50]]", true);
    let all = [
        post(&slow),
        post(&say("second")),
        Call::get("/v1/models").token("nonsense").bytes(),
        Call::chat(MODEL, "[[double: text=third]]", false)
            .token(&token)
            .chunked(7)
            .bytes(),
    ]
    .concat();
    let mut connection = stack.connect();
    connection.send(&all).unwrap();
    let first = connection.read_response().unwrap();
    assert!(
        first.text().ends_with("data: [DONE]\n\n"),
        "{}",
        first.text()
    );
    assert_eq!(said(&connection.read_response().unwrap().body), "second");
    assert_eq!(connection.read_response().unwrap().status(), 401);
    assert_eq!(said(&connection.read_response().unwrap().body), "third");
}

#[test]
fn http_1_0_is_answered_as_it_can_be_read() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    let get = |more: &str| {
        format!("GET /v1/models HTTP/1.0\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
    };
    let mut connection = stack.connect();
    connection.send(get("").as_bytes()).unwrap();
    let answer = connection.read_response().unwrap();
    assert_eq!(
        (answer.status(), answer.head.field("connection")),
        (200, Some("close"))
    );
    assert!(connection.closed());

    let mut connection = stack.connect();
    for _ in 0..2 {
        connection
            .send(get("Connection: keep-alive\r\n").as_bytes())
            .unwrap();
        let answer = connection.read_response().unwrap();
        assert_eq!(
            (answer.status(), answer.head.field("connection")),
            (200, Some("keep-alive"))
        );
    }
    // A stream has no length and 1.0 no chunks, so the answer ends with the connection.
    let body = chat_body("[[double: text=\"a b c\"]]", true);
    let stream = format!(
        "POST /v1/chat/completions HTTP/1.0\r\nAuthorization: Bearer {token}\r\nConnection: \
         keep-alive\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.send(stream.as_bytes()).unwrap();
    let answer = connection.read_response().unwrap();
    assert_eq!(answer.head.field("transfer-encoding"), None);
    assert_eq!(answer.head.field("connection"), Some("close"));
    assert!(
        answer.text().ends_with("data: [DONE]\n\n"),
        "{}",
        answer.text()
    );
    assert!(connection.closed());
}

#[test]
fn an_absolute_target_is_the_same_request() {
    let stack = Stack::unrecorded();
    let mut connection = stack.connect();
    let head = format!(
        "GET http://Gateway:80/v1/models?limit=1 HTTP/1.1\r\nHost: gateway:80\r\n\
         Authorization: Bearer {}\r\n\r\n",
        stack.token()
    );
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(connection.read_response().unwrap().status(), 200);
    assert_eq!(stack.double.requests()[0].target, "/v1/models?limit=1");
}

#[test]
fn an_answer_to_head_has_no_body() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    let mut connection = stack.connect();
    // The route table knows no HEAD, so it is refused, and nothing follows that refusal's head.
    for _ in 0..2 {
        connection
            .send(&Call::new("HEAD", "/v1/models").token(&token).bytes())
            .unwrap();
        let answer = connection.read_response_to(true).unwrap();
        assert_eq!(answer.status(), 403);
        assert!(answer.head.field("content-length").is_some());
    }
    connection
        .send(&Call::get("/v1/models").token(&token).bytes())
        .unwrap();
    assert_eq!(connection.read_response().unwrap().status(), 200);
}

/// Sends a head that expects `100 Continue`, without its body.
fn expecting(connection: &mut Connection, token: &str, framing: &str) -> u16 {
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
    );
    connection.send(head.as_bytes()).expect("the head is sent");
    connection.read_any_head().expect("an answer").status
}

#[test]
fn a_body_is_asked_for_only_once_it_may_come() {
    let stack = Stack::bounded("body = \"4KiB\"");
    let token = stack.token();
    let body = say("hello");
    let length = format!("Content-Length: {}", body.len());

    let mut connection = stack.connect();
    for _ in 0..2 {
        assert_eq!(expecting(&mut connection, &token, &length), 100);
        connection.send(body.as_bytes()).unwrap();
        assert_eq!(said(&connection.read_response().unwrap().body), "hello");
    }
    assert_eq!(
        expecting(&mut connection, &token, "Transfer-Encoding: chunked"),
        100
    );
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    connection.send(chunked.as_bytes()).unwrap();
    assert_eq!(said(&connection.read_response().unwrap().body), "hello");
    let seen = stack.double.counters().requests;

    let sales = stack.issuer.token("mallory", &["sales"]);
    for (token, framing, expected) in [
        ("nonsense", length.as_str(), 401),
        (sales.as_str(), length.as_str(), 403),
        (token.as_str(), "Content-Length: 4097", 413),
        (
            token.as_str(),
            "Content-Length: 9\r\nContent-Encoding: gzip\r\nHost: g",
            400,
        ),
    ] {
        let mut connection = stack.connect();
        assert_eq!(
            expecting(&mut connection, token, framing),
            expected,
            "{framing}"
        );
    }
    // A client that does not wait for the 100 is served as well.
    let mut connection = stack.connect();
    let eager = Call::post(
        "/v1/chat/completions",
        &serde_json::from_str(&body).unwrap(),
    );
    let eager = eager.token(&token).field("expect", "100-continue");
    connection.send(&eager.bytes()).unwrap();
    assert_eq!(said(&connection.read_response().unwrap().body), "hello");
    assert_eq!(stack.double.counters().requests, seen + 1);
}

#[test]
fn chunks_become_one_body_of_known_length() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    for size in [1, 13, 4096] {
        let call = Call::chat(MODEL, "[[double: text=whole]]", false).token(&token);
        let answer = call.chunked(size).to(stack.address()).unwrap();
        assert_eq!(said(&answer.body), "whole");
    }
    let requests = stack.double.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert!(!request.chunked && request.field("transfer-encoding").is_none());
        assert_eq!(
            request.field("content-length"),
            Some(&*request.body.len().to_string())
        );
    }
}

#[test]
fn chunks_with_trailers_and_extensions_leave_none_of_them() {
    let stack = Stack::unrecorded();
    let body = chat_body("hello", false);
    let (a, b) = body.split_at(20);
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X-Late\r\n\r\n\
         {:x};note=\"kept?\"\r\n{a}\r\n{:X}\r\n{b}\r\n0;last\r\nX-Late: evil\r\n\
         Authorization: Bearer evil\r\n\r\n",
        stack.token(),
        a.len(),
        b.len(),
    );
    let mut connection = stack.connect();
    connection.send(request.as_bytes()).unwrap();
    assert_eq!(connection.read_response().unwrap().status(), 200);
    let seen = &stack.double.requests()[0];
    assert_eq!(seen.body, body.as_bytes());
    let head = String::from_utf8_lossy(&seen.head).to_lowercase();
    assert!(
        !head.contains("evil") && !head.contains("trailer"),
        "{head}"
    );
}
