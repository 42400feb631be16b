//! What the double breaks when told to, seen by a strict client.

use std::io::Read as _;
use std::time::{Duration, Instant};

use flate2::read::{GzDecoder, ZlibDecoder};
use penstock_loadgen::client::{Call, ClientError, Connection, EventReader};
use penstock_loadgen::double::{Double, DoubleOptions, Script};

use crate::{SOON, chat, connect, double, stream, user};

fn prompt(directive: &str) -> String {
    format!("[[double: text=\"a b c d\" {directive}]]")
}

fn broken(double: &Double, directive: &str, streams: bool) -> Result<Vec<u8>, ClientError> {
    let mut connection = connect(double);
    Call::chat("m", &prompt(directive), streams)
        .over(&mut connection)
        .unwrap();
    let head = connection.read_head()?;
    assert_eq!(head.status, 200);
    connection.read_rest()
}

fn pieces(double: &Double, directive: &str) -> Vec<String> {
    let mut connection = connect(double);
    Call::chat("m", &prompt(directive), true)
        .over(&mut connection)
        .unwrap();
    connection.read_head().unwrap();
    let mut pieces = Vec::new();
    while let Some(piece) = connection.next_piece().unwrap() {
        pieces.push(String::from_utf8_lossy(&piece).into_owned());
    }
    pieces
}

fn said(events: &[u8]) -> String {
    let mut reader = EventReader::default();
    reader.push(events);
    let mut text = String::new();
    while let Some(event) = reader.next_ready() {
        let value = event.json().unwrap_or_default();
        text += value["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_default();
    }
    text
}

#[test]
fn every_split_of_a_text_arrives_as_that_text() {
    let double = double();
    let text = "Grüße aus 世界, 🙂 done";
    for split in [
        "\"whole\"",
        "\"words\"",
        "\"chars:2\"",
        "\"bytes:1\"",
        "\"bytes:5\"",
    ] {
        for escape in ["plain", "ascii", "all"] {
            let directive =
                format!("[[double: text=\"{text}\" split={split} escape={escape} wire_bytes=7]]");
            let events = stream(&double, "/v1/chat/completions", user(&directive));
            let said: String = events
                .iter()
                .filter_map(|event| event.json())
                .filter_map(|value| {
                    value["choices"][0]["delta"]["content"]
                        .as_str()
                        .map(String::from)
                })
                .collect();
            assert_eq!(said, text, "{split} {escape}");
        }
    }
    let listed = user("[[double: split=[\"se\",\"cret\"]]]");
    let events = stream(&double, "/v1/chat/completions", listed);
    let deltas: Vec<_> = events
        .iter()
        .filter_map(|event| {
            event.json()?["choices"][0]["delta"]["content"]
                .as_str()
                .map(String::from)
        })
        .filter(|text| !text.is_empty())
        .collect();
    assert_eq!(deltas, ["se", "cret"]);
}

#[test]
fn escapes_are_escapes_on_the_wire() {
    let body = chat(&double(), "[[double: text=\"é\" escape=all]]").text();
    assert!(body.contains("\"content\":\"\\u00e9\""), "{body}");
}

#[test]
fn a_stream_breaks_off_where_told() {
    let double = double();
    let Err(ClientError::Closed(body)) = broken(&double, "truncate=after:2", true) else {
        panic!("not broken off")
    };
    assert_eq!(said(&body), "a b");
    assert!(body.ends_with(b"\n\n"));
    let Err(ClientError::Closed(body)) = broken(&double, "truncate=event:2", true) else {
        panic!("not broken off")
    };
    assert_eq!(said(&body), "a b");
    assert!(!body.ends_with(b"\n\n"));
    let Err(ClientError::Closed(body)) = broken(&double, "truncate=chunk:1", true) else {
        panic!("not broken off")
    };
    assert_eq!(said(&body), "a");
    let clean = broken(&double, "truncate=clean:3", true).unwrap();
    assert_eq!(said(&clean), "a b c");
    assert!(!clean.ends_with(b"[DONE]\n\n"));
    assert!(double.wait(SOON, |counters| counters.truncated == 3));
}

#[test]
fn a_body_breaks_off_where_told() {
    let double = double();
    for framing in ["length", "chunked"] {
        let directive = format!("truncate=after:20 framing={framing}");
        let Err(ClientError::Closed(body)) = broken(&double, &directive, false) else {
            panic!("not broken off")
        };
        assert_eq!(body.len(), 20, "{framing}");
    }
}

#[test]
fn every_framing_carries_the_same_body() {
    let double = double();
    let mut bodies = Vec::new();
    for framing in ["length", "chunked", "close"] {
        let mut connection = connect(&double);
        let directive = prompt(&format!("framing={framing} model=same"));
        Call::chat("m", &directive, false)
            .over(&mut connection)
            .unwrap();
        let response = connection.read_response().unwrap();
        assert_eq!(
            response.head.field("content-length").is_some(),
            framing == "length"
        );
        assert_eq!(
            response.head.field("transfer-encoding").is_some(),
            framing == "chunked"
        );
        assert_eq!(
            response.head.field("connection").is_some(),
            framing == "close"
        );
        bodies.push(response.json()["choices"].clone());
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn bursts_share_a_chunk() {
    let double = double();
    assert_eq!(pieces(&double, "").len(), 7); // role, four deltas, finish, [DONE]
    let one = pieces(&double, "burst=100");
    assert_eq!(one.len(), 1);
    assert!(said(one[0].as_bytes()) == "a b c d");
}

#[test]
fn answers_are_slow_when_told() {
    let double = double();
    let start = Instant::now();
    let mut connection = connect(&double);
    let slow = prompt("ttft_ms=400 inter_token_ms=20 stall=2:80");
    Call::chat("m", &slow, true).over(&mut connection).unwrap();
    let mut times = Vec::new();
    connection.read_head().unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(60),
        "the head does not wait"
    );
    while connection.next_event().unwrap().is_some() {
        times.push(start.elapsed());
    }
    assert!(times[1] >= Duration::from_millis(400));
    assert!(
        times[3] - times[2] >= Duration::from_millis(95),
        "{times:?}"
    );
    let start = Instant::now();
    chat(&double, &prompt("wire_bytes=40 wire_ms=2"));
    assert!(start.elapsed() >= Duration::from_millis(16));
}

#[test]
fn a_connection_closes_without_an_answer() {
    let double = double();
    for directive in ["close=before", "close=reset"] {
        let mut connection = connect(&double);
        Call::chat("m", &prompt(directive), true)
            .over(&mut connection)
            .unwrap();
        match connection.read_head() {
            Err(ClientError::Closed(bytes)) => assert!(bytes.is_empty()),
            Err(ClientError::Io(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                assert_eq!(directive, "close=reset");
            }
            other => panic!("{directive}: {other:?}"),
        }
    }
    let mut connection = connect(&double);
    Call::chat("m", &prompt("close=silently"), false)
        .over(&mut connection)
        .unwrap();
    assert!(
        connection
            .read_response()
            .unwrap()
            .head
            .field("connection")
            .is_none()
    );
    assert!(connection.closed());
}

#[test]
fn encodings_are_applied_or_only_claimed() {
    let double = double();
    let plain = |directive: &str| {
        let body = broken(&double, directive, false).unwrap();
        String::from_utf8(body).unwrap()
    };
    let zipped = broken(&double, "encoding=gzip", false).unwrap();
    let mut text = String::new();
    GzDecoder::new(zipped.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.contains("a b c d"));
    let deflated = broken(&double, "encoding=deflate", true).unwrap();
    let mut text = String::new();
    ZlibDecoder::new(deflated.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(said(text.as_bytes()), "a b c d");
    assert!(plain("encoding=br").contains("a b c d"));
}

#[test]
fn bodies_events_and_whole_answers_are_taken_literally() {
    let double = double();
    let wrong = chat(
        &double,
        "[[double: {\"body\":\"<html>\",\"content_type\":\"text/html\"}]]",
    );
    assert_eq!(wrong.text(), "<html>");
    assert_eq!(wrong.head.field("content-type"), Some("text/html"));
    let events = chat(
        &double,
        r#"[[double: {"events":["data:{}\r\n\r\n",": x\n\n"]}]]"#,
    );
    assert_eq!(events.body, b"data:{}\r\n\r\n: x\n\n");
    let mut connection = connect(&double);
    let raw = r#"[[double: {"raw":"HTTP/1.1 299 Odd\r\nX: y\r\n\r\nrest"}]]"#;
    Call::chat("m", raw, false).over(&mut connection).unwrap();
    let response = connection.read_response().unwrap();
    assert_eq!((response.status(), response.text()), (299, "rest".into()));
    let cut = chat(&double, &prompt("invalid_json"));
    assert!(serde_json::from_slice::<serde_json::Value>(&cut.body).is_err());
}

#[test]
fn a_script_chooses_by_model_marker_and_path() {
    let text = r#"
        [[rule]]
        model = "slow-*"
        answer = { text = "by model", split = "whole" }
        [[rule]]
        contains = "MARK"
        times = 1
        answer = { text = "by marker" }
        [[rule]]
        path = "/v1/messages"
        answer = { text = "by path" }
    "#;
    let options = DoubleOptions {
        script: Script::parse(text).unwrap(),
        ..Default::default()
    };
    let double = Double::start(options).unwrap();
    let said = |call: Call| call.to(double.address()).unwrap().text();
    assert!(said(Call::chat("slow-1", "MARK", false)).contains("by model"));
    assert!(said(Call::chat("m", "MARK", false)).contains("by marker"));
    assert!(said(Call::chat("m", "MARK", false)).contains("the double"));
    assert!(said(Call::post("/v1/messages", &user("hi"))).contains("by path"));
    double.script(Script::parse(r#"{"rule":[{"answer":{"text":"anew"}}]}"#).unwrap());
    assert!(said(Call::chat("m", "hi", false)).contains("anew"));
}

#[test]
fn a_unix_socket_serves_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("double.sock");
    let options = DoubleOptions {
        unix: Some(path.clone()),
        ..DoubleOptions::default()
    };
    let double = Double::start(options).unwrap();
    let mut connection = Connection::unix(&path).unwrap();
    for _ in 0..2 {
        Call::chat("m", "hi", false).over(&mut connection).unwrap();
        assert_eq!(connection.read_response().unwrap().status(), 200);
    }
    assert_eq!(double.counters().connections, 1);
    drop(double);
    assert!(!path.exists());
}
