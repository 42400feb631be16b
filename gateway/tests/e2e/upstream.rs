//! What the model sees of a request, and how its connections are used: what is the caller's alone
//! stays behind, what is the gateway's is put in, nothing is sent twice, and nobody who has gone is
//! worked for.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use penstock_loadgen::client::Call;
use penstock_loadgen::double::Recorded;
use penstock_recorder::frame::Outcome;
use serde_json::json;

use crate::stack::{MODEL, Stack, chat_body, post_bytes, scripted};
use crate::witness::close_of;

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(60);

/// The one request that the model has seen.
fn seen(stack: &Stack) -> Recorded {
    let mut requests = stack.double.requests();
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

fn count(request: &Recorded, name: &str) -> usize {
    let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
    request.fields.iter().filter(same).count()
}

#[test]
fn what_concerns_one_connection_or_the_gateway_stays_behind() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    let body =
        "{ \"model\":\"llama-3-8b\",\t\"x\": 1.50e+3, \"messages\":[] ,\"u\":\"\\u00e9/\"}\n";
    let head = format!(
        "POST /v1/chat/completions?api-version=1&a=%2F HTTP/1.1\r\nHost: public.example:8443\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json; charset=utf-8\r\n\
         Connection: keep-alive, X-Hop, x-hop-too\r\nX-Hop: 1\r\nX-Hop-Too: 2\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
         Proxy-Authorization: Basic xyz\r\nAccept-Encoding: gzip, br\r\nCookie: session=1\r\n\
         X-Forwarded-For: 10.9.8.7\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil\r\n\
         X-Forwarded-User: root\r\nForwarded: for=10.9.8.7\r\nX-Real-IP: 10.9.8.7\r\nVia: 1.1 e\r\n\
         x-penstock-subject: root\r\nX-Penstock-Issuer: evil\r\nX-Penstock-Anything: evil\r\n\
         X-Request-Id: mine\r\nOpenAI-Organization: org-1\r\nUser-Agent: test/1\r\n\
         Accept: application/json\r\nX-Own: kept  as it is\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = stack.connect();
    connection.send(head.as_bytes()).unwrap();
    let answer = connection.read_response().unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let id = answer.head.field("x-request-id").unwrap();
    let seen = seen(&stack);

    assert_eq!(seen.body, body.as_bytes(), "byte for byte");
    assert_eq!(seen.target, "/v1/chat/completions?api-version=1&a=%2F");
    for (name, value) in [
        ("host", stack.double.address().to_string().as_str()),
        ("content-length", &body.len().to_string()),
        ("content-type", "application/json; charset=utf-8"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "public.example:8443"),
        ("x-request-id", id),
        ("x-penstock-subject", "alice"),
        ("openai-organization", "org-1"),
        ("user-agent", "test/1"),
        ("accept", "application/json"),
        ("x-own", "kept  as it is"),
    ] {
        assert_eq!(seen.field(name), Some(value), "{name}");
        assert_eq!(count(&seen, name), 1, "{name}");
    }
    for name in [
        "accept-encoding",
        "authorization",
        "connection",
        "cookie",
        "forwarded",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "via",
        "x-hop",
        "x-hop-too",
        "x-real-ip",
        "x-penstock-anything",
        "x-forwarded-user",
    ] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    let text = String::from_utf8_lossy(&seen.head).into_owned();
    assert!(!text.contains("evil") && !text.contains("10.9.8.7") && !text.contains(&token));
}

#[test]
fn the_callers_credential_never_goes_on_and_the_gateways_never_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credential");
    let credential = ["upstream", "only", "4711"].join("-");
    std::fs::write(&file, format!("{credential}\n")).unwrap();
    let stack = Stack::with(|setup| {
        setup.upstream = format!("credential_file = \"{}\"", file.display());
        setup.double.credential = Some(credential.clone());
        setup.more = "[log]\nlevel = \"trace\"".to_owned();
    });
    let token = stack.token();
    let mut shown = String::new();
    let messages = json!({ "model": MODEL, "max_tokens": 9, "messages": [
        { "role": "user", "content": "hello" } ] });
    for call in [
        Call::chat(MODEL, "hello", false).token(&token),
        Call::post("/v1/messages", &messages).field("x-api-key", &token),
        Call::chat(MODEL, "[[double: status=500 message=\"broken\"]]", false).token(&token),
        Call::chat(MODEL, "[[double: close=before]]", false).token(&token),
    ] {
        let answer = call.to(stack.address()).unwrap();
        shown.push_str(&format!("{:?}{}", answer.head, answer.text()));
    }
    let requests = stack.double.requests();
    assert_eq!(requests.len(), 4);
    for request in &requests {
        assert_eq!(
            request.field("authorization"),
            Some(&*format!("Bearer {credential}"))
        );
        assert_eq!(request.field("x-api-key"), None);
        assert!(!String::from_utf8_lossy(&request.head).contains(&token));
    }
    assert_eq!(stack.double.counters().unauthorized, 0);
    for (place, text) in [("an answer", shown), ("the log", stack.log())] {
        assert!(!text.contains(&credential), "the credential is in {place}");
        assert!(!text.contains(&token), "a token is in {place}");
    }
    let log = stack.segments();
    let log = log.to_str().unwrap();
    assert!(stack.wait(|| {
        let sessions = stack.recorder_tool(&["sessions", log]).unwrap_or_default();
        sessions.lines().count() >= 4
    }));
    for entry in std::fs::read_dir(log).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            !text.contains(&credential) && !text.contains(&token),
            "in the record"
        );
    }
}

#[test]
fn connections_to_the_model_are_kept() {
    let stack = Stack::unrecorded();
    for turn in 0..8 {
        let stream = turn % 2 == 1;
        let answer = stack.post(
            &stack.token(),
            "/v1/chat/completions",
            &chat_body("hi", stream),
        );
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(stack.double.counters().connections, 1);
}

#[test]
fn a_kept_connection_that_died_is_replaced() {
    let stack = Stack::unrecorded();
    let dying = scripted(&json!({ "text": "bye", "close": "silently" }), false);
    for _ in 0..5 {
        assert_eq!(
            stack
                .post(&stack.token(), "/v1/chat/completions", &dying)
                .status(),
            200
        );
        assert!(
            stack
                .double
                .wait(SOON, |counters| counters.connections_open == 0)
        );
        // The double has closed; let the kernel tell the gateway.
        std::thread::sleep(Duration::from_millis(30));
        let answer = stack.chat("hello");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        // And the connection that is alive is dropped, so that the next one starts afresh.
        assert_eq!(
            stack
                .post(&stack.token(), "/v1/chat/completions", &dying)
                .status(),
            200
        );
        assert!(
            stack
                .double
                .wait(SOON, |counters| counters.connections_open == 0)
        );
    }
    assert_eq!(stack.double.counters().requests, 15);
}

#[test]
fn nothing_is_sent_twice_once_the_model_may_have_begun() {
    let stack = Stack::unrecorded();
    for close in ["before", "reset"] {
        for pooled in [false, true] {
            stack.double.clear();
            if pooled {
                assert_eq!(stack.chat("hello").status(), 200);
            }
            let before = stack.double.counters().requests;
            let body = scripted(&json!({ "close": close }), false);
            let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
            assert_eq!(answer.status(), 502, "{close} {pooled}");
            assert_eq!(answer.json()["error"]["code"], "upstream_reset");
            assert!(answer.head.field("x-request-id").is_some());
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(
                stack.double.counters().requests,
                before + 1,
                "{close} {pooled}"
            );
        }
    }
}

#[test]
fn when_the_client_goes_the_model_is_told_at_once() {
    let stack = Stack::start();
    let token = stack.token();
    // In the middle of a stream that would go on for a minute.
    let body = scripted(&json!({ "text": "a b c d", "stall": "2:60000" }), true);
    let mut connection = stack.connect();
    connection
        .send(&post_bytes(&token, "/v1/chat/completions", &body))
        .unwrap();
    let head = connection.read_head().unwrap();
    let id = head.field("x-request-id").unwrap().to_owned();
    connection.next_event().unwrap();
    connection.next_event().unwrap();
    drop(connection);
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 1));
    let record = stack.session(&id);
    assert_eq!(close_of(&record).outcome, Outcome::ClientGone);

    // Before the first byte of an answer, streamed or not.
    for stream in [true, false] {
        stack.double.clear();
        let body = scripted(&json!({ "ttft_ms": 60000 }), stream);
        let mut connection = stack.connect();
        connection
            .send(&post_bytes(&token, "/v1/chat/completions", &body))
            .unwrap();
        assert!(stack.double.wait(SOON, |counters| counters.generating == 1));
        drop(connection);
        assert!(
            stack.double.wait(SOON, |counters| counters.cancelled == 1),
            "{stream}"
        );
    }
    assert!(
        stack
            .double
            .wait(SOON, |counters| counters.connections_open == 0)
    );
    assert_eq!(stack.chat("hello").status(), 200);
}

#[test]
fn a_client_that_sends_ahead_and_goes_is_noticed_too() {
    let stack = Stack::unrecorded();
    let token = stack.token();
    let body = scripted(&json!({ "ttft_ms": 60000 }), true);
    let mut connection = stack.connect();
    let ahead = post_bytes(&token, "/v1/chat/completions", &chat_body("next", false));
    let all = [post_bytes(&token, "/v1/chat/completions", &body), ahead].concat();
    connection.send(&all).unwrap();
    assert!(stack.double.wait(SOON, |counters| counters.generating == 1));
    drop(connection);
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 1));
    assert_eq!(
        stack.double.counters().requests,
        1,
        "the second was never begun"
    );
}

#[test]
fn of_an_answers_fields_the_client_sees_what_is_meant_for_it() {
    let stack = Stack::unrecorded();
    let raw = "HTTP/1.1 200 Fine\r\nContent-Type: application/json\r\nConnection: close, X-Hop\r\n\
               X-Hop: 1\r\nKeep-Alive: timeout=1\r\nProxy-Authenticate: Basic\r\nTrailer: X-T\r\n\
               Server: engine/1\r\nSet-Cookie: a=b\r\nX-Request-Id: theirs\r\nAlt-Svc: h3\r\n\
               X-Many: 1\r\nx-many: 2\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}";
    let body = scripted(&json!({ "raw": raw }), false);
    let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
    assert_eq!(answer.text(), "{}");
    let head = &answer.head;
    for name in [
        "connection",
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "trailer",
        "server",
        "set-cookie",
        "alt-svc",
    ] {
        assert_eq!(head.field(name), None, "{name}");
    }
    assert_eq!(head.all("x-many").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(head.field("retry-after"), Some("7"));
    let ids: Vec<_> = head.all("x-request-id").collect();
    assert!(ids.len() == 1 && ids[0] != "theirs", "{ids:?}");
    assert_eq!(head.all("content-length").collect::<Vec<_>>(), ["2"]);
}

/// Answers each request on `listener` with `{"n":1}`, `{"n":2}` …, and after the first sends what
/// nobody asked for, at once or a little later. Ends with the listener's last client.
fn poisoner(listener: TcpListener, pause: Duration) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let answer = |text: &str| {
            let length = text.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\
                 \r\n\r\n{text}"
            )
        };
        let mut held: Vec<TcpStream> = Vec::new();
        for number in 1..=3 {
            let (mut socket, _) = listener.accept().expect("a connection");
            let mut request = [0; 4096];
            assert!(socket.read(&mut request).expect("a request") > 0);
            let mut bytes = answer(&format!("{{\"n\":{number}}}")).into_bytes();
            if pause.is_zero() {
                bytes.extend(answer("{\"n\":\"poison\"}").into_bytes());
            }
            socket.write_all(&bytes).expect("an answer");
            if !pause.is_zero() {
                std::thread::sleep(pause);
                // The gateway may have closed already, which is as well.
                let _ = socket.write_all(answer("{\"n\":\"poison\"}").as_bytes());
            }
            held.push(socket);
        }
    })
}

#[test]
fn an_answer_that_nobody_asked_for_is_nobodys() {
    for pause in [Duration::ZERO, Duration::from_millis(50)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = poisoner(listener, pause);
        let stack = Stack::with(|setup| {
            setup.record = false;
            setup.upstream_address = Some(address.to_string());
        });
        for number in 1..=3 {
            let answer = stack.chat("hello");
            assert_eq!(answer.json()["n"], number, "{pause:?}");
            // Long enough for what comes late to have come.
            std::thread::sleep(pause * 3);
        }
        server.join().unwrap();
    }
}
