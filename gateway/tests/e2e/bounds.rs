//! The bounds of a request and of a connection: each at its edge, with its answer past it.

use std::time::Duration;

use penstock_loadgen::client::{Call, Connection, Response};
use serde_json::json;

use crate::stack::{MODEL, Stack, chat_body, post_bytes, scripted};

/// Status and code.
fn refused(answer: &Response) -> (u16, String) {
    let body = answer.json();
    let code = body["error"]["code"].as_str().unwrap_or_default();
    (answer.status(), code.to_owned())
}

/// Sends these bytes on a connection of their own; the answer, and whether the connection ended.
fn send(stack: &Stack, bytes: &[u8]) -> (Response, bool) {
    let mut connection = stack.connect();
    // What is refused early may not be read to its end.
    let _ = connection.send(bytes);
    let answer = connection.read_response().expect("an answer");
    let closes = answer.head.field("connection") == Some("close");
    assert!(
        !closes || connection.closed(),
        "says that it closes, and does not"
    );
    (answer, closes)
}

#[test]
fn heads_are_bounded() {
    let stack = Stack::bounded("request_line = \"100B\"\nhead = \"1KiB\"\nfields = 8");
    let token_free = |target: &str, more: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: g\r\n{more}\r\n").into_bytes()
    };
    let line = |length: usize| {
        let target = format!("/{}", "a".repeat(length - "GET / HTTP/1.1\r\n".len()));
        token_free(&target, "")
    };
    let fields = |count: usize| token_free("/v1/models", &"X: y\r\n".repeat(count));
    let head = |length: usize| {
        let rest = token_free("/v1/models", "X: \r\n").len();
        token_free(
            "/v1/models",
            &format!("X: {}\r\n", "a".repeat(length - rest)),
        )
    };
    // The line's bound counts what stands before its end, the head's bound every byte. Within
    // the bounds the missing credential is what is wrong.
    for (what, bytes, status, code) in [
        ("line", line(102), 401, "missing_credential"),
        ("line", line(103), 414, "request_line_too_long"),
        ("fields", fields(7), 401, "missing_credential"),
        ("fields", fields(8), 431, "too_many_fields"),
        ("head", head(1024), 401, "missing_credential"),
        ("head", head(1025), 431, "head_too_large"),
    ] {
        let (answer, closes) = send(&stack, &bytes);
        assert_eq!(refused(&answer), (status, code.to_owned()), "{what}");
        assert_eq!(closes, status != 401, "{what}");
    }
    assert_eq!(stack.double.counters().connections, 0);
}

#[test]
fn bodies_are_bounded() {
    let stack = Stack::bounded("body = \"2KiB\"");
    let token = stack.token();
    let frame = chat_body("", false).len();
    let body = |length: usize| chat_body(&"a".repeat(length - frame), false);
    for (length, status) in [(2048, 200), (2049, 413)] {
        let (answer, closes) = send(
            &stack,
            &post_bytes(&token, "/v1/chat/completions", &body(length)),
        );
        assert_eq!(answer.status(), status, "{}", answer.text());
        // So little can be read and dropped: the connection goes on.
        assert!(!closes);
        let value = serde_json::from_str(&body(length)).expect("a JSON body");
        let chunked = Call::post("/v1/chat/completions", &value)
            .token(&token)
            .chunked(100);
        let (answer, closes) = send(&stack, &chunked.bytes());
        assert_eq!(
            (answer.status(), closes),
            (status, status == 413),
            "{}",
            answer.text()
        );
    }
    // Announced far beyond: refused on the announcement, without waiting for any of it.
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 9000000000\r\n\r\n"
    );
    let (answer, closes) = send(&stack, head.as_bytes());
    assert_eq!(refused(&answer), (413, "request_too_large".to_owned()));
    assert!(closes);
    // A chunk that announces as much is refused once more than the bound has come.
    let head = head.replace("Content-Length: 9000000000", "Transfer-Encoding: chunked");
    let (answer, closes) = send(
        &stack,
        format!("{head}2540be400\r\n{}", "a".repeat(4096)).as_bytes(),
    );
    assert_eq!((answer.status(), closes), (413, true));
    assert_eq!(stack.double.counters().requests, 2);
}

/// A client that writes all of its request before it reads gets its refusal all the same: closing
/// while bytes are on their way would destroy it.
#[test]
fn a_refusal_arrives_though_the_body_is_still_on_its_way() {
    let stack = Stack::unrecorded();
    let body = chat_body(&"word ".repeat(1 << 20), false);
    for (token, path, status) in [
        ("nonsense", "/v1/chat/completions", 401),
        (stack.token().as_str(), "/v1/nothing", 403),
    ] {
        for _ in 0..5 {
            let mut connection = stack.connect();
            connection.send(&post_bytes(token, path, &body)).unwrap();
            assert_eq!(connection.read_response().unwrap().status(), status);
            assert!(connection.closed());
        }
    }
    // Far beyond the bound, in chunks.
    let value = serde_json::from_str(&chat_body(&"word ".repeat(2 << 20), false)).unwrap();
    let call = Call::post("/v1/chat/completions", &value).token(&stack.token());
    let mut connection = stack.connect();
    connection.send(&call.chunked(100_000).bytes()).unwrap();
    assert_eq!(connection.read_response().unwrap().status(), 413);
    assert_eq!(stack.double.counters().connections, 0);
}

#[test]
fn slow_heads_and_idle_connections_end() {
    let stack = Stack::bounded("head_read = \"200ms\"\nidle = \"200ms\"");
    // Nothing at all: closed without a word.
    let mut idle = stack.connect();
    assert!(idle.closed());
    // A head that begins and does not end.
    let mut slow = stack.connect();
    slow.send(b"GET /v1/models HTTP/1.1\r\nHo").unwrap();
    let answer = slow.read_response().unwrap();
    assert_eq!(refused(&answer), (408, "request_timeout".to_owned()));
    assert!(slow.closed());
    // A byte now and then does not buy time.
    let mut trickle = stack.connect();
    for byte in b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\nX: yyyyyyyyyyyyyyyyyyyyy" {
        if trickle.send(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(trickle.read_response().unwrap().status(), 408);
    // Between two requests.
    let mut kept = stack.connect();
    let token = stack.token();
    kept.send(&Call::get("/v1/models").token(&token).bytes())
        .unwrap();
    assert_eq!(kept.read_response().unwrap().status(), 200);
    assert!(kept.closed());
    // A long answer is not idleness.
    let long = scripted(&json!({ "text": "a b c d", "inter_token_ms": 150 }), true);
    let answer = stack.post(&token, "/v1/chat/completions", &long);
    assert!(answer.text().ends_with("[DONE]\n\n"));
}

#[test]
fn slow_bodies_end() {
    let stack = Stack::bounded("body_grace = \"200ms\"\nbody_rate = \"1KiB\"");
    let token = stack.token();
    let body = chat_body("hello", false);
    let whole = post_bytes(&token, "/v1/chat/completions", &body);
    let half = &whole[..whole.len() - 10];
    let (answer, closes) = send(&stack, half);
    assert_eq!(refused(&answer), (408, "request_timeout".to_owned()));
    assert!(closes && answer.head.field("x-request-id").is_some());
    let chunked = Call::chat(MODEL, "hello", false)
        .token(&token)
        .chunked(5)
        .bytes();
    let (answer, _) = send(&stack, &chunked[..chunked.len() - 9]);
    assert_eq!(answer.status(), 408);
    // Slowly, but fast enough.
    let mut connection = stack.connect();
    let body = chat_body(&"a".repeat(4000), false);
    let request = post_bytes(&token, "/v1/chat/completions", &body);
    for piece in request.chunks(1000) {
        connection.send(piece).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(connection.read_response().unwrap().status(), 200);
    assert_eq!(stack.double.counters().requests, 1);
}

#[test]
fn connections_are_bounded() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.top = "cores = [0]".to_owned();
        setup.limits = "connections_per_core = 3".to_owned();
    });
    let token = stack.token();
    let get = Call::get("/v1/models").token(&token).bytes();
    let serve = |connection: &mut Connection| {
        connection.send(&get).expect("the request is sent");
        connection.read_response().expect("an answer").status()
    };
    let mut held: Vec<Connection> = (0..3).map(|_| stack.connect()).collect();
    assert!(held.iter_mut().all(|connection| serve(connection) == 200));
    // One more is told so, without having to ask.
    let mut more = stack.connect();
    let answer = more.read_response().unwrap();
    assert_eq!(refused(&answer), (503, "too_many_connections".to_owned()));
    assert_eq!(answer.head.field("retry-after"), Some("1"));
    assert!(more.closed());
    assert!(
        held.iter_mut().all(|connection| serve(connection) == 200),
        "the others go on"
    );
    // Room comes back.
    held.pop();
    assert!(stack.wait(|| serve_once(&stack, &get) == Some(200)));
}

fn serve_once(stack: &Stack, request: &[u8]) -> Option<u16> {
    let mut connection = stack.connect();
    connection.send(request).ok()?;
    Some(connection.read_response().ok()?.status())
}

/// Those who found no room, and stay, take no place from those who come when there is some.
#[test]
fn a_crowd_at_the_door_keeps_nobody_out() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.top = "cores = [0]".to_owned();
        setup.limits = "connections_per_core = 1".to_owned();
    });
    let get = Call::get("/v1/models").token(&stack.token()).bytes();
    let mut held = stack.connect();
    held.send(&get).unwrap();
    assert_eq!(held.read_response().unwrap().status(), 200);
    let mut crowd: Vec<Connection> = (0..600).map(|_| stack.connect()).collect();
    let told = crowd
        .iter_mut()
        .filter_map(|connection| connection.read_response().ok());
    assert!(told.filter(|answer| answer.status() == 503).count() > 0);
    drop(held);
    // Each that is refused now stays too.
    assert!(stack.wait(|| {
        let mut connection = stack.connect();
        let sent = connection.send(&get);
        let answer = connection.read_response();
        crowd.push(connection);
        sent.is_ok() && answer.is_ok_and(|answer| answer.status() == 200)
    }));
}

/// A client that does not read does not hold its core: others are served, and it is given up.
#[test]
fn a_client_that_does_not_read_is_given_up() {
    let stack = Stack::bounded("write_stall = \"300ms\"");
    let body = scripted(
        &json!({ "text": "word ".repeat(20), "repeat": 20_000 }),
        true,
    );
    let mut deaf = stack.connect();
    deaf.send(&post_bytes(&stack.token(), "/v1/chat/completions", &body))
        .unwrap();
    assert!(
        stack
            .double
            .wait(Duration::from_secs(20), |counters| counters.cancelled == 1)
    );
    assert_eq!(stack.chat("hello").status(), 200);
}
