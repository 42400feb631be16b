//! A model's server that fails: it is not there, comes late, breaks off, or answers what is no
//! answer. The caller gets an error that says so, or a stream that cannot be taken for whole, and
//! never something that nobody has inspected.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use penstock_loadgen::client::{Call, ClientError, Connection};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::stack::{Stack, chat_body, post_bytes, scripted};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(60);

/// Status and code of the answer to a chat that the double answers as told.
fn refusal(stack: &Stack, answer: &Value, stream: bool) -> (u16, String) {
    let body = scripted(answer, stream);
    let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
    let code = answer.json()["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status(), code)
}

/// What arrives of a stream that breaks off; panics when it ends as if it were whole.
fn torn(stack: &Stack, token: &str, body: &str) -> String {
    let mut connection = stack.connect();
    connection
        .send(&post_bytes(token, "/v1/chat/completions", body))
        .expect("the request is sent");
    let head = connection.read_head().expect("a head");
    assert_eq!(head.status, 200);
    match connection.read_rest() {
        Err(ClientError::Closed(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        other => panic!("the answer does not break off: {other:?}"),
    }
}

#[test]
fn a_model_that_is_not_there() {
    // Bound, so that nobody else listens there, but not listening.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let stack = Stack::with(|setup| setup.upstream_address = Some(address.to_string()));
    let answer = stack.chat("hello");
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.json()["error"]["code"], "upstream_unreachable");
    let text = answer.text();
    assert!(
        !text.contains(&address.to_string()),
        "tells where the model is: {text}"
    );
}

#[test]
fn a_model_that_takes_no_connection_in_time() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // With its queue full the kernel drops further attempts without a word.
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 16, "the queue does not fill");
    }
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.upstream_address = Some(address.to_string());
        setup.limits = "upstream_connect = \"200ms\"".to_owned();
    });
    let answer = stack.chat("hello");
    assert_eq!(answer.status(), 504, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "upstream_timeout");
}

#[test]
fn a_model_that_answers_too_late() {
    let stack = Stack::bounded("upstream_first_byte = \"200ms\"\nupstream_idle = \"200ms\"");
    let late = refusal(&stack, &json!({ "ttft_ms": 60000 }), false);
    assert_eq!(late, (504, "upstream_timeout".to_owned()));
    assert!(
        stack.double.wait(SOON, |counters| counters.cancelled == 1),
        "it works on"
    );

    // A head that trickles is late as well.
    let trickle = refusal(&stack, &json!({ "wire_bytes": 1, "wire_ms": 60 }), false);
    assert_eq!(trickle, (504, "upstream_timeout".to_owned()));
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 2));

    // In the middle of a stream: what had come is there, the end is not.
    let stalled = scripted(&json!({ "text": "a b c d", "stall": "2:60000" }), true);
    let got = torn(&stack, &stack.token(), &stalled);
    assert!(got.contains("\"a ") && !got.contains("[DONE]"), "{got}");
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 3));

    // In the middle of a body that is inspected whole: nothing had been sent.
    let slow = json!({ "wire_bytes": 40, "wire_ms": 1000 });
    assert_eq!(refusal(&stack, &slow, false).0, 504);
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 4));
    assert_eq!(stack.chat("hello").status(), 200);
}

#[test]
fn a_model_that_breaks_off() {
    let stack = Stack::start();
    let token = stack.token();
    for close in ["before", "reset"] {
        for stream in [false, true] {
            let got = refusal(&stack, &json!({ "close": close }), stream);
            assert_eq!(got, (502, "upstream_reset".to_owned()), "{close} {stream}");
        }
    }
    for truncate in ["after:2", "event:2", "chunk:2"] {
        let body = scripted(&json!({ "text": "a b c d", "truncate": truncate }), true);
        let got = torn(&stack, &token, &body);
        assert!(got.contains("\"a "), "{truncate}: {got}");
        assert!(
            !got.contains("\" c\"") && !got.contains("[DONE]"),
            "{truncate}: {got}"
        );
    }
    for framing in ["length", "chunked"] {
        let cut = json!({ "truncate": "after:20", "framing": framing });
        let got = refusal(&stack, &cut, false);
        assert_eq!(got, (502, "upstream_reset".to_owned()), "{framing}");
    }
    // A body that ends with its connection and is cut is no JSON.
    let cut = json!({ "truncate": "after:20", "framing": "close" });
    assert_eq!(refusal(&stack, &cut, false).0, 502);

    // Where no guard looks at answers, they pass as they come, and break off as they break off.
    let office = stack.issuer.token("olga", &["engineers", "privacy-office"]);
    for framing in ["length", "chunked"] {
        let cut = json!({ "truncate": "after:20", "framing": framing });
        assert_eq!(
            torn(&stack, &office, &scripted(&cut, false)).len(),
            20,
            "{framing}"
        );
    }
}

#[test]
fn text_that_is_held_when_a_stream_breaks_is_never_released() {
    let stack = Stack::unrecorded();
    let answer = json!({ "split": ["order ", "CUST-", "1234", "5678", " is ready"],
        "truncate": "after:3" });
    let got = torn(&stack, &stack.token(), &scripted(&answer, true));
    assert!(got.contains("order "), "{got}");
    assert!(!got.contains("CUST-") && !got.contains("1234"), "{got}");
}

#[test]
fn answers_that_are_not_http_are_not_passed_on() {
    let stack = Stack::unrecorded();
    let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let mut wrong = vec![
        "hello\r\n\r\n".to_owned(),
        "HTTP/2 200\r\n\r\n".to_owned(),
        "HTTP/1.1 20 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\n".repeat(20),
        "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}".to_owned(),
    ];
    for fields in [
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Length: +2\r\n\r\n{}",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "Content-Length : 2\r\n\r\n{}",
        "X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
        "X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
        "Content-Encoding: gzip\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    ] {
        wrong.push(format!("{ok}{fields}"));
    }
    wrong.push(format!("{ok}X: {}\r\n\r\n{{}}", "a".repeat(70_000)));
    for raw in wrong {
        let (status, code) = refusal(&stack, &json!({ "raw": raw }), false);
        let shown: String = raw.chars().take(120).collect();
        assert_eq!(status, 502, "{shown:?}");
        assert_eq!(code, "upstream_malformed", "{shown:?}");
    }
    // The same chunks in a stream, after it has begun: cut, not ended.
    let event = "data: {\"choices\":[]}\n\n";
    let raw = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{event}\r\nxyz\r\n",
        event.len()
    );
    assert_eq!(
        torn(
            &stack,
            &stack.token(),
            &scripted(&json!({ "raw": raw }), true)
        ),
        event
    );
    assert_eq!(stack.chat("hello").status(), 200);
}

#[test]
fn answers_that_cannot_be_inspected_are_not_passed_on() {
    let stack = Stack::unrecorded();
    for (answer, stream, code) in [
        (
            json!({ "content_type": "application/octet-stream" }),
            false,
            "response_media_type",
        ),
        (
            json!({ "content_type": "image/png", "body": "png" }),
            false,
            "response_media_type",
        ),
        (
            json!({ "content_type": "text/html", "body": "<p>" }),
            false,
            "response_media_type",
        ),
        (
            json!({ "content_type": "application/json; charset=utf-16" }),
            false,
            "response_charset",
        ),
        (json!({ "encoding": "gzip" }), true, "upstream_encoding"),
        (
            json!({ "encoding": "compress" }),
            false,
            "upstream_encoding",
        ),
        (json!({ "encoding": "br" }), false, "upstream_encoding"),
        (json!({ "invalid_json": true }), false, ""),
        (json!({ "body": "not json" }), false, ""),
    ] {
        let (status, got) = refusal(&stack, &answer, stream);
        assert_eq!(status, 502, "{answer}: {got}");
        assert!(
            !got.is_empty() && (code.is_empty() || got == code),
            "{answer}: {got}"
        );
    }
}

#[test]
fn answers_too_large_to_be_inspected_are_not_passed_on() {
    let stack = Stack::bounded("response_body = \"64KiB\"");
    let large = |more: Value| {
        let mut answer = json!({ "text": "words ", "repeat": 20_000 });
        answer
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        answer
    };
    for more in [
        json!({}),
        json!({ "framing": "chunked" }),
        json!({ "framing": "close" }),
        json!({ "encoding": "gzip" }),
        json!({ "encoding": "deflate" }),
    ] {
        let (status, code) = refusal(&stack, &large(more.clone()), false);
        assert_eq!(status, 502, "{more}: {code}");
        assert!(!code.is_empty());
    }
    // A stream is inspected as it comes: its whole may be larger.
    let body = scripted(&large(json!({ "burst": 500 })), true);
    let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_compressed_answer_is_read_and_sent_plain() {
    let stack = Stack::unrecorded();
    for encoding in ["gzip", "deflate"] {
        let answer = json!({ "text": "order CUST-12345678 is ready", "encoding": encoding });
        let body = scripted(&answer, false);
        let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
        assert_eq!(answer.status(), 200, "{encoding}: {}", answer.text());
        assert_eq!(answer.head.field("content-encoding"), None);
        let text = answer.text();
        assert!(
            text.contains("order ") && !text.contains("12345678"),
            "{text}"
        );
    }
}

#[test]
fn answers_of_every_kind_of_length_arrive_whole() {
    let stack = Stack::unrecorded();
    let office = stack.issuer.token("olga", &["engineers", "privacy-office"]);
    for token in [stack.token(), office] {
        let mut connection = stack.connect();
        for framing in ["length", "chunked", "close"] {
            for stream in [false, true] {
                let answer = json!({ "text": "a b c", "framing": framing, "wire_bytes": 11 });
                let body = scripted(&answer, stream);
                connection
                    .send(&post_bytes(&token, "/v1/chat/completions", &body))
                    .unwrap();
                let answer = connection.read_response().unwrap();
                let text = answer.text();
                let end = if stream { "data: [DONE]\n\n" } else { "}" };
                assert!(text.ends_with(end), "{framing} {stream}: {text}");
                assert_eq!(answer.head.field("server"), None);
            }
        }
    }
    // Interim answers and answers without a body are understood; their ends are found.
    let mut connection = stack.connect();
    let token = stack.token();
    for (raw, status) in [
        (
            "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            204,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            304,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n",
            200,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nto the end",
            200,
        ),
    ] {
        let body = scripted(&json!({ "raw": raw }), false);
        // The double closes its connection behind such an answer. A call that is on its way over
        // it just then is answered with 502, since nobody knows whether it was received: ask again.
        let answer = (0..5)
            .map(|_| {
                let call = post_bytes(&token, "/v1/chat/completions", &body);
                connection.send(&call).unwrap();
                connection.read_response().unwrap()
            })
            .find(|answer| answer.status() != 502);
        let answer = answer.unwrap_or_else(|| panic!("never answered: {raw:?}"));
        assert_eq!(answer.status(), status, "{raw:?}");
        assert_eq!(answer.head.field("x"), None);
    }
}

/// A policy without guards, so that large bodies take no time.
const GRANT: &str = "[[grant]]\ngroups = [\"engineers\"]\nmodels = [\"*\"]\n\
                     operations = [\"infer\"]\n";

/// A server that is none: it accepts, reads, and never says anything.
#[test]
fn a_server_that_never_reads_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.upstream_address = Some(address.to_string());
        setup.limits = "write_stall = \"300ms\"\nbody = \"32MiB\"".to_owned();
        setup.policy = GRANT.to_owned();
    });
    // More than two kernels' buffers hold.
    let body = chat_body(&"word ".repeat(4 << 20), false);
    let mut connection: Connection = stack.connect();
    let call = Call::post(
        "/v1/chat/completions",
        &serde_json::from_str(&body).unwrap(),
    );
    connection
        .send(&call.token(&stack.token()).bytes())
        .unwrap();
    let answer = connection.read_response().unwrap();
    assert_eq!(answer.status(), 504, "{}", answer.text());
    drop(listener);
}

/// An engine that refuses a large body before it has all of it, and then reads no further.
#[test]
fn an_answer_that_comes_before_the_body_is_sent_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.upstream_address = Some(address.to_string());
        setup.limits = "body = \"32MiB\"".to_owned();
        setup.policy = GRANT.to_owned();
    });
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut socket, _) = listener.accept().unwrap();
        let mut some = [0; 1024];
        socket.read_exact(&mut some).unwrap();
        let body = r#"{"error":{"message":"too long"}}"#;
        let answer = format!(
            "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(answer.as_bytes()).unwrap();
        socket
    });
    let body = chat_body(&"word ".repeat(4 << 20), false);
    let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
    assert_eq!(answer.status(), 413, "{}", answer.text());
    assert!(answer.text().contains("too long"), "{}", answer.text());
    drop(server.join().unwrap());
}
