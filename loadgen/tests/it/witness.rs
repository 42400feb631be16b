//! What the double remembers of requests, and what it counts.

use std::net::SocketAddr;

use penstock_loadgen::client::{Call, Connection};
use penstock_loadgen::double::{Double, DoubleOptions};
use serde_json::Value;

use crate::{SOON, chat, connect, double};

#[test]
fn requests_are_kept_byte_for_byte() {
    let double = double();
    let bytes = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: h\r\nX-Odd:  a \r\n\
                  transfer-encoding: chunked\r\n\r\n3;e=1\r\n{\"m\r\n4\r\n\":1}\r\n0\r\nt: 1\r\n\r\n";
    let mut connection = connect(&double);
    connection.send(bytes).unwrap();
    assert_eq!(connection.read_response().unwrap().status(), 200);
    let requests = double.requests();
    let [request] = requests.as_slice() else {
        panic!("one request")
    };
    assert_eq!(request.target, "/v1/chat/completions?x=1");
    assert_eq!(request.path(), "/v1/chat/completions");
    assert_eq!(request.field("x-odd"), Some("a"));
    assert_eq!(
        request.head,
        bytes[..memchr::memmem::find(bytes, b"\r\n\r\n").unwrap() + 4]
    );
    assert_eq!(request.body, b"{\"m\":1}");
    assert!(request.chunked);
    assert_eq!(double.counters().paths["POST /v1/chat/completions"], 1);
}

#[test]
fn echo_says_what_the_model_saw() {
    let double = double();
    let call = Call::chat("m", "tell [[double: echo]]", false).field("X-Request-Id", "r1");
    let body = call.to(double.address()).unwrap().json();
    let text = body["choices"][0]["message"]["content"].as_str().unwrap();
    let seen: Value = serde_json::from_str(text).unwrap();
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["target"], "/v1/chat/completions");
    assert!(
        seen["headers"]
            .as_array()
            .unwrap()
            .contains(&serde_json::json!(["X-Request-Id", "r1"]))
    );
    let inner: Value = serde_json::from_str(seen["body"].as_str().unwrap()).unwrap();
    assert_eq!(inner["messages"][0]["content"], "tell [[double: echo]]");
    let by_model = Call::chat("echo", "x", false).to(double.address()).unwrap();
    assert!(by_model.text().contains("body"));
}

#[test]
fn a_client_that_leaves_cancels_its_generation() {
    let double = double();
    let mut connection = connect(&double);
    Call::chat("m", "[[double: ttft_ms=60000]]", true)
        .over(&mut connection)
        .unwrap();
    connection.read_head().unwrap();
    assert!(double.wait(SOON, |counters| counters.generating == 1));
    drop(connection);
    assert!(double.wait(SOON, |counters| counters.cancelled == 1
        && counters.generating == 0));
    assert!(double.wait(SOON, |counters| counters.connections_open == 0));
    assert_eq!(double.counters().completed, 0);
}

#[test]
fn keep_alive_serves_requests_in_order_on_one_connection() {
    let double = double();
    let mut connection = connect(&double);
    let two = [
        Call::chat("a", "1", false).bytes(),
        Call::chat("b", "2", true).bytes(),
    ]
    .concat();
    connection.send(&two).unwrap();
    assert_eq!(connection.read_response().unwrap().json()["model"], "a");
    assert!(
        connection
            .read_response()
            .unwrap()
            .text()
            .contains("\"model\":\"b\"")
    );
    Call::chat("c", "3", false)
        .field("connection", "close")
        .over(&mut connection)
        .unwrap();
    let last = connection.read_response().unwrap();
    assert_eq!(last.head.field("connection"), Some("close"));
    assert!(connection.closed());
    let counters = double.counters();
    assert_eq!((counters.requests, counters.connections), (3, 1));
}

#[test]
fn management_calls_succeed_and_are_counted() {
    let double = double();
    for path in [
        "/sleep",
        "/v1/load_lora_adapter",
        "/collective_rpc",
        "/metrics",
        "/health",
    ] {
        let response = Call::new("POST", path).to(double.address()).unwrap();
        assert_eq!(response.status(), 200, "{path}");
    }
    assert_eq!(
        Call::get("/nowhere").to(double.address()).unwrap().status(),
        404
    );
    assert_eq!(
        Call::get("/v1/messages")
            .to(double.address())
            .unwrap()
            .status(),
        405
    );
    let counters = double.counters();
    assert_eq!(counters.management, 5);
    assert_eq!(counters.paths["POST /sleep"], 1);
    assert_eq!(counters.paths["GET /nowhere"], 1);
}

#[test]
fn what_cannot_be_delimited_is_counted_not_guessed() {
    let double = double();
    for bytes in [
        "POST / HTTP/1.1\r\ncontent-length: +1\r\ncontent-length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "nonsense\r\n\r\n",
    ] {
        let mut connection = connect(&double);
        connection.send(bytes.as_bytes()).unwrap();
        assert_eq!(
            connection.read_response().unwrap().status(),
            400,
            "{bytes:?}"
        );
    }
    let mut connection = connect(&double);
    connection
        .send(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nabc")
        .unwrap();
    connection.shutdown_write().unwrap();
    assert!(connection.closed());
    assert!(double.wait(SOON, |counters| counters.incomplete == 1));
    let counters = double.counters();
    assert_eq!((counters.malformed, counters.requests), (4, 0));
}

#[test]
fn expect_continue_is_answered() {
    let double = double();
    let mut connection = connect(&double);
    let body = Call::chat("m", "hi", false).bytes();
    let at = memchr::memmem::find(&body, b"\r\n\r\n").unwrap();
    connection.send(&body[..at]).unwrap();
    connection
        .send(b"\r\nexpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(connection.read_any_head().unwrap().status, 100);
    connection.send(&body[at + 4..]).unwrap();
    assert_eq!(connection.read_response().unwrap().status(), 200);
}

#[test]
fn a_credential_is_required_when_told() {
    let credential = ["up", "stream", "-credential"].concat();
    let options = DoubleOptions {
        credential: Some(credential.clone()),
        ..DoubleOptions::default()
    };
    let double = Double::start(options).unwrap();
    assert_eq!(chat(&double, "hi").status(), 401);
    let with = Call::chat("m", "hi", false).token(&credential);
    assert_eq!(with.to(double.address()).unwrap().status(), 200);
    let key = Call::chat("m", "hi", false).field("x-api-key", &credential);
    assert_eq!(key.to(double.address()).unwrap().status(), 200);
    assert_eq!(double.counters().unauthorized, 1);
    let bench = Call::chat("bench-1k", "hi", false);
    assert_eq!(bench.to(double.address()).unwrap().status(), 401);
    let bench = bench.token(&credential).to(double.address()).unwrap();
    assert_eq!((bench.status(), bench.body.len()), (200, 1024));
}

#[test]
fn the_admin_listener_shows_and_takes() {
    let options = DoubleOptions {
        admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        threads: 2,
        ..DoubleOptions::default()
    };
    let double = Double::start(options).unwrap();
    let admin = double.admin_address().unwrap();
    for prompt in ["one", "two"] {
        chat(&double, prompt);
    }
    let seen = Call::get("/__double/requests?last=1")
        .to(admin)
        .unwrap()
        .json();
    assert_eq!(seen.as_array().unwrap().len(), 1);
    assert!(seen[0]["body"].as_str().unwrap().contains("two"));
    assert_eq!(
        Call::get("/__double/counters").to(admin).unwrap().json()["requests"],
        2
    );
    let script = Call::new("PUT", "/__double/script").body("[[rule]]\nanswer = { text = 'new' }");
    assert_eq!(script.to(admin).unwrap().status(), 204);
    assert!(chat(&double, "three").text().contains("new"));
    let wrong = Call::new("PUT", "/__double/script").body("[[rule]]\nanswer = { txt = 'new' }");
    assert_eq!(wrong.to(admin).unwrap().status(), 400);
    assert_eq!(
        Call::new("POST", "/__double/clear")
            .to(admin)
            .unwrap()
            .status(),
        204
    );
    assert!(double.requests().is_empty());
    let through = Call::get("/__double/requests")
        .to(double.address())
        .unwrap();
    assert_eq!(through.status(), 404);
}

#[test]
fn many_threads_share_one_port() {
    let options = DoubleOptions {
        threads: 3,
        ..DoubleOptions::default()
    };
    let double = Double::start(options).unwrap();
    let mut connections: Vec<Connection> = (0..30).map(|_| connect(&double)).collect();
    for connection in &mut connections {
        Call::chat("bench-1k", "hi", false)
            .over(connection)
            .unwrap();
    }
    for connection in &mut connections {
        assert_eq!(connection.read_response().unwrap().body.len(), 1024);
    }
    assert!(double.wait(SOON, |counters| counters.completed == 30));
}
