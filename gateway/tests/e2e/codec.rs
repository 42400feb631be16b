//! Requests that must be refused, sent to a running gateway: each gets its status and a body that
//! a program can read, the connection ends with it, and the model never sees a byte of it.

use penstock_loadgen::client::{Connection, Response};
use serde_json::Value;

use crate::stack::{MODEL, Stack, chat_body, post_bytes};

#[path = "../corpus/mod.rs"]
mod corpus;

use corpus::{Refused, refused};

/// A valid request that may come before a malformed one.
const GOOD: &str = "GET /v1/models HTTP/1.1\r\nHost: gateway\r\n";

/// Every n-th request of the list is also sent byte by byte.
const BYTEWISE_STEP: usize = 9;

/// The caller's field lines in every request of the list: were it not malformed, it would be
/// forwarded.
fn caller(stack: &Stack) -> String {
    format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        stack.token()
    )
}

/// Is this the answer that a refused request gets?
fn check(case: &Refused, answer: &Response) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| "no JSON".to_owned())?;
    let error = &body["error"];
    let code = error["code"].as_str().unwrap_or_default();
    let request_id = answer.head.field("x-request-id");
    if answer.status() != case.status {
        return Err(format!("{} in place of {}", answer.status(), case.status));
    }
    if code.is_empty()
        || !code
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    {
        return Err(format!("code {code:?}"));
    }
    if error["message"].as_str().is_none_or(str::is_empty) {
        return Err("no message".to_owned());
    }
    if request_id.is_some() != case.in_body {
        return Err(format!("request id {request_id:?}"));
    }
    if answer.head.field("connection") != Some("close") {
        return Err("does not say that it closes".to_owned());
    }
    Ok(())
}

/// Sends `before` and the request, `step` bytes at a time, and reads the answers.
fn outcome(stack: &Stack, case: &Refused, before: &str, step: usize) -> Result<(), String> {
    let mut connection = stack.connect();
    let bytes = [before.as_bytes(), &case.bytes].concat();
    for piece in bytes.chunks(step) {
        // Once it has answered the gateway reads only to be polite.
        if connection.send(piece).is_err() {
            break;
        }
    }
    let mut answer = || {
        connection
            .read_response()
            .map_err(|error| error.to_string())
    };
    if !before.is_empty() {
        let first = answer()?;
        if first.status() != 200 {
            return Err(format!("the request before it: {}", first.text()));
        }
    }
    let answer = answer()?;
    check(case, &answer)?;
    match connection.closed() {
        true => Ok(()),
        false => Err("the connection goes on".to_owned()),
    }
}

fn assert_refused<'a>(
    stack: &Stack,
    cases: impl Iterator<Item = &'a Refused>,
    before: &str,
    step: usize,
) {
    let wrong: Vec<String> = cases
        .filter_map(|case| {
            let why = outcome(stack, case, before, step).err()?;
            Some(format!("{}: {why}", case.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn malformed_requests_are_refused_and_never_forwarded() {
    let stack = Stack::unrecorded();
    let list = refused(&caller(&stack));
    assert!(list.len() >= 60, "{} requests", list.len());
    assert_refused(&stack, list.iter(), "", usize::MAX);
    // However the bytes are cut, the answer is the same.
    assert_refused(&stack, list.iter().step_by(BYTEWISE_STEP), "", 1);
    let counters = stack.double.counters();
    assert_eq!(counters.connections, 0, "{counters:?}");
}

#[test]
fn what_follows_a_valid_request_is_judged_on_its_own() {
    let stack = Stack::unrecorded();
    let caller = caller(&stack);
    let list = refused(&caller);
    let authorization = caller.lines().next().unwrap_or_default();
    let before = format!("{GOOD}{authorization}\r\n\r\n");
    assert_refused(&stack, list.iter(), &before, usize::MAX);
    let counters = stack.double.counters();
    assert_eq!(counters.requests, list.len() as u64);
    assert_eq!(counters.paths["GET /v1/models"], counters.requests);
    assert_eq!((counters.malformed, counters.incomplete), (0, 0));
}

#[test]
fn what_follows_a_refused_request_is_never_read() {
    let stack = Stack::unrecorded();
    let smuggled = String::from_utf8(post_bytes(
        &stack.token(),
        "/v1/chat/completions",
        &chat_body("smuggled", false),
    ))
    .unwrap();
    let caller = caller(&stack);
    let list = refused(&caller);
    let wrong: Vec<&str> = list
        .iter()
        .filter(|case| !answered_once(&stack, case, &smuggled))
        .map(|case| case.name)
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(stack.double.counters().connections, 0);
}

fn answered_once(stack: &Stack, case: &Refused, behind: &str) -> bool {
    let mut connection = stack.connect();
    // A gateway that has refused already may close before all is sent.
    let _ = connection.send(&[&case.bytes, behind.as_bytes()].concat());
    let refused = connection
        .read_response()
        .is_ok_and(|answer| answer.status() >= 400);
    refused && connection.closed()
}

#[test]
fn tunnels_upgrades_and_unknown_routes_are_refused() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    let status = |method: &str, target: &str, more: &str| {
        let mut connection = stack.connect();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n\
             {more}\r\n"
        );
        connection.send(head.as_bytes()).unwrap();
        let answer = connection.read_response_to(method == "HEAD").unwrap();
        (answer.status(), answer)
    };
    for (method, target, more, expected) in [
        ("CONNECT", "gateway:443", "", 405),
        ("TRACE", "/v1/models", "", 405),
        (
            "GET",
            "/v1/models",
            "Connection: Upgrade\r\nUpgrade: websocket\r\n",
            400,
        ),
        (
            "OPTIONS",
            "/v1/chat/completions",
            "Origin: http://evil\r\n",
            403,
        ),
        ("GET", "/v1/chat/completions", "", 403),
        ("DELETE", "/v1/models/llama-3-8b", "", 403),
        ("GET", "/", "", 403),
        ("GET", "/admin", "", 403),
        ("GET", "/v1/models/../../sleep", "", 403),
        ("GET", "/v1//models", "", 403),
        ("GET", "/v1/%6dodels", "", 403),
        ("GET", "/v1/models/", "", 403),
        ("POST", "/sleep", "Content-Length: 0\r\n", 403),
        (
            "POST",
            "/v1/load_lora_adapter",
            "Content-Length: 0\r\n",
            403,
        ),
        ("POST", "/collective_rpc", "Content-Length: 0\r\n", 403),
        ("GET", "/metrics", "", 403),
    ] {
        let (got, answer) = status(method, target, more);
        assert_eq!(got, expected, "{method} {target}: {}", answer.text());
        if got == 405 {
            assert!(answer.head.field("allow").is_some(), "{method}");
        }
    }
    assert_eq!(stack.double.counters().connections, 0);
}

#[test]
fn errors_speak_the_language_of_the_api_that_was_addressed() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    let broken = "{\"model\": ";
    let openai = stack.post(&token, "/v1/chat/completions", broken).json();
    assert_eq!(openai["error"]["code"], "body_not_json");
    let anthropic = stack.post(&token, "/v1/messages", broken);
    let body = anthropic.json();
    assert_eq!(body["type"], "error");
    assert!(body["error"]["type"].is_string(), "{body}");
    let id = anthropic.head.field("x-request-id").unwrap();
    assert_eq!(body["request_id"], id, "{body}");
    let unknown = {
        let mut connection = stack.connect();
        let head = "GET /v1/nothing HTTP/1.1\r\nHost: g\r\nanthropic-version: 2023-06-01\r\n\r\n";
        connection.send(head.as_bytes()).unwrap();
        connection.read_response().unwrap().json()
    };
    assert_eq!(unknown["type"], "error");
    let denied = stack.post(&token, "/v1/chat/completions", &body_for("gpt-5"));
    assert_eq!(denied.status(), 403);
    assert!(!denied.text().contains(MODEL), "tells what exists");
    assert_eq!(stack.double.counters().connections, 0);
}

fn body_for(model: &str) -> String {
    chat_body("hello", false).replace(MODEL, model)
}

/// A connection on which nothing at all is sent is not answered, and one that only sends spaces
/// before it goes is refused without harm to others.
#[test]
fn connections_that_say_nothing_cost_nothing() {
    let stack = Stack::unrecorded();
    let silent: Vec<Connection> = (0..20).map(|_| stack.connect()).collect();
    let mut half = stack.connect();
    half.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: g")
        .unwrap();
    half.shutdown_write().unwrap();
    assert!(half.closed());
    assert_eq!(stack.chat("hello").status(), 200);
    drop(silent);
    assert_eq!(stack.chat("hello").status(), 200);
}
