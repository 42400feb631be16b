//! No side door beside the body: field values and the query are looked at too, both ways.

use crate::stack::{Stack, chat_body};
use penstock_loadgen::client::Call;
use serde_json::json;

/// Assembled, so that no scanner takes it for a live one.
fn secret() -> String {
    ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat()
}

#[test]
fn a_secret_in_a_field_or_the_query_is_blocked() {
    let stack = Stack::start();
    let body: serde_json::Value = serde_json::from_str(&chat_body("hello", false)).unwrap();
    let escaped = secret().replace('A', "%41");
    let plain = format!("/v1/chat/completions?note={}", secret());
    let hidden = format!("/v1/chat/completions?note={escaped}");
    for call in [
        Call::post("/v1/chat/completions", &body).field("x-note", &secret()),
        Call::post(&plain, &body),
        Call::post(&hidden, &body),
    ] {
        let answer = call.token(&stack.token()).to(stack.address()).unwrap();
        assert_eq!(answer.status(), 403, "{}", answer.text());
        assert!(
            answer.text().contains("request_blocked"),
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains(&secret()));
    }
    assert_eq!(stack.double.counters().requests, 0);
    let call = Call::post("/v1/chat/completions?beta=true", &body).field("x-note", "harmless");
    let answer = call.token(&stack.token()).to(stack.address()).unwrap();
    assert_eq!(answer.status(), 200);
    let seen = &stack.double.requests()[0];
    assert_eq!(seen.field("x-note"), Some("harmless"));
    assert_eq!(seen.target, "/v1/chat/completions?beta=true");
}

#[test]
fn a_value_in_a_field_of_the_answer_does_not_arrive() {
    let raw = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Debug: key {}\r\nX-Kept: yes\r\n\
         Content-Length: 2\r\n\r\n{{}}",
        secret()
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stack = Stack::with(|setup| {
        setup.upstream_address = Some(address.to_string());
    });
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept().unwrap();
        let mut some = [0; 4096];
        let _ = socket.read(&mut some).unwrap();
        socket.write_all(raw.as_bytes()).unwrap();
        socket
    });
    let answer = stack.post(
        &stack.token(),
        "/v1/chat/completions",
        &json!({
            "model": crate::stack::MODEL, "messages": []
        })
        .to_string(),
    );
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.head.field("x-debug"), None);
    assert_eq!(answer.head.field("x-kept"), Some("yes"));
    drop(server.join().unwrap());
}

#[test]
fn what_a_caller_chose_does_not_fill_the_record() {
    let stack = Stack::start();
    let agent = "a".repeat(20_000);
    let call = Call::get("/nothing").field("user-agent", &agent);
    assert_eq!(call.to(stack.address()).unwrap().status(), 401);
    let dir = stack.segments();
    let dir = dir.to_str().unwrap();
    assert!(stack.wait(|| {
        let listed = stack.recorder_tool(&["sessions", dir, "--json"]);
        listed.is_ok_and(|listed| listed.contains("401"))
    }));
    let bytes: u64 = std::fs::read_dir(stack.segments())
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .map(|bytes| {
            bytes
                .windows(300)
                .filter(|w| w.iter().all(|b| *b == b'a'))
                .count() as u64
        })
        .sum();
    assert_eq!(bytes, 0, "the record keeps 256 bytes of a user agent");
}
