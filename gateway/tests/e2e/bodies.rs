//! Request bodies: which encodings and media types are read, and what of a body that cannot be read
//! ever reaches the model (nothing).

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use penstock_loadgen::client::{Call, Response};

use crate::stack::{MODEL, Stack, chat_body};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn raw_deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    brotli::CompressorReader::new(body, 4096, 9, 20)
        .read_to_end(&mut out)
        .expect("memory gives all");
    out
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 9).expect("memory gives all")
}

/// Posts these bytes as a chat, with these fields.
fn post(stack: &Stack, body: Vec<u8>, fields: &[(&str, &str)]) -> Response {
    let call = Call::new("POST", "/v1/chat/completions")
        .token(&stack.token())
        .body(body);
    let call = fields
        .iter()
        .fold(call, |call, (name, value)| call.field(name, value));
    call.to(stack.address()).expect("an answer")
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn encodings_are_undone_before_the_model_sees_the_body() {
    let stack = Stack::unrecorded();
    let body = chat_body("hello there, hello again", false).into_bytes();
    let cases = [
        ("gzip", gzip(&body)),
        ("x-gzip", gzip(&body)),
        ("GZip", gzip(&body)),
        ("deflate", zlib(&body)),
        ("deflate", raw_deflate(&body)),
        ("br", brotli(&body)),
        ("zstd", zstd(&body)),
        ("identity", body.clone()),
        ("deflate, gzip", gzip(&zlib(&body))),
    ];
    let count = cases.len();
    for (encoding, encoded) in cases {
        let answer = post(&stack, encoded, &[JSON, ("content-encoding", encoding)]);
        assert_eq!(answer.status(), 200, "{encoding}: {}", answer.text());
    }
    let seen = stack.double.requests();
    assert_eq!(seen.len(), count);
    for request in seen {
        assert_eq!(request.body, body);
        assert_eq!(request.field("content-encoding"), None);
    }
}

#[test]
fn a_secret_cannot_hide_in_an_encoding() {
    let stack = Stack::unrecorded();
    let secret = ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat();
    let body = chat_body(&format!("use {secret} here"), false).into_bytes();
    for (encoding, encoded) in [("br", brotli(&body)), ("gzip", gzip(&body))] {
        let answer = post(&stack, encoded, &[JSON, ("content-encoding", encoding)]);
        assert_eq!(answer.status(), 403, "{encoding}");
        assert_eq!(answer.json()["error"]["code"], "request_blocked");
    }
    assert_eq!(stack.double.counters().connections, 0);
}

#[test]
fn bodies_that_have_no_reader_are_refused() {
    let stack = Stack::unrecorded();
    let body = chat_body("hello", false).into_bytes();
    let spaces = |count: usize| [b"{".as_slice(), &vec![b' '; count], b"}"].concat();
    let bomb = spaces(4 << 20);
    let cut = gzip(&body)[..20].to_vec();
    let double_end = [gzip(&body), b"more".to_vec()].concat();
    for (why, body, fields, status, code) in [
        (
            "unknown coding",
            body.clone(),
            [JSON, ("content-encoding", "compress")],
            415,
            "",
        ),
        (
            "coding that is no name",
            body.clone(),
            [JSON, ("content-encoding", "g zip")],
            415,
            "",
        ),
        (
            "three codings",
            gzip(&body),
            [JSON, ("content-encoding", "gzip, gzip, gzip")],
            415,
            "",
        ),
        (
            "not gzip",
            body.clone(),
            [JSON, ("content-encoding", "gzip")],
            400,
            "",
        ),
        (
            "half of gzip",
            cut,
            [JSON, ("content-encoding", "gzip")],
            400,
            "",
        ),
        (
            "gzip and more",
            double_end,
            [JSON, ("content-encoding", "gzip")],
            400,
            "",
        ),
        (
            "gzip bomb",
            gzip(&bomb),
            [JSON, ("content-encoding", "gzip")],
            413,
            "",
        ),
        (
            "zlib bomb",
            zlib(&bomb),
            [JSON, ("content-encoding", "deflate")],
            413,
            "",
        ),
        (
            "brotli bomb",
            brotli(&bomb),
            [JSON, ("content-encoding", "br")],
            413,
            "",
        ),
        (
            "zstd bomb",
            zstd(&bomb),
            [JSON, ("content-encoding", "zstd")],
            413,
            "",
        ),
        (
            "bomb in a bomb",
            gzip(&gzip(&bomb)),
            [JSON, ("content-encoding", "gzip, gzip")],
            413,
            "",
        ),
        (
            "a form",
            body.clone(),
            [
                ("content-type", "application/x-www-form-urlencoded"),
                ("x-a", "b"),
            ],
            415,
            "unsupported_media_type",
        ),
        (
            "multipart",
            body.clone(),
            [
                ("content-type", "multipart/form-data; boundary=x"),
                ("x-a", "b"),
            ],
            415,
            "unsupported_media_type",
        ),
        (
            "text",
            body.clone(),
            [("content-type", "text/plain"), ("x-a", "b")],
            415,
            "unsupported_media_type",
        ),
        (
            "no type",
            body.clone(),
            [("x-b", "c"), ("x-a", "b")],
            415,
            "unsupported_media_type",
        ),
        (
            "another charset",
            body.clone(),
            [
                ("content-type", "application/json; charset=utf-16"),
                ("x-a", "b"),
            ],
            415,
            "unsupported_media_type",
        ),
        (
            "two types",
            body.clone(),
            [JSON, ("content-type", "text/plain")],
            415,
            "",
        ),
    ] {
        let answer = post(&stack, body, &fields);
        assert_eq!(answer.status(), status, "{why}: {}", answer.text());
        let got = answer.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            !got.is_empty() && (code.is_empty() || got == code),
            "{why}: {got}"
        );
        assert!(answer.head.field("x-request-id").is_some(), "{why}");
    }
    assert_eq!(stack.double.counters().connections, 0);
}

#[test]
fn fields_said_twice_are_refused() {
    let stack = Stack::unrecorded();
    let body = chat_body("hello", false).into_bytes();
    for fields in [
        [JSON, JSON, ("x-a", "b")],
        [
            JSON,
            ("content-encoding", "identity"),
            ("content-encoding", "gzip"),
        ],
        [
            JSON,
            ("content-encoding", "gzip"),
            ("content-encoding", "identity"),
        ],
    ] {
        let answer = post(&stack, body.clone(), &fields);
        assert_eq!(answer.status(), 415, "{fields:?}: {}", answer.text());
    }
    assert_eq!(stack.double.counters().connections, 0);
}

#[test]
fn bodies_that_are_not_what_they_say_are_refused() {
    let stack = Stack::unrecorded();
    let valid = chat_body("hello", false);
    let deep = format!(
        "{{\"model\":\"{MODEL}\",\"a\":{}1{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    let bom = [b"\xef\xbb\xbf".as_slice(), valid.as_bytes()].concat();
    for (body, code) in [
        (b"".to_vec(), "body_missing"),
        (b"{".to_vec(), "body_not_json"),
        (b"{\"model\": 'x'}".to_vec(), "body_not_json"),
        (format!("{valid}{valid}").into_bytes(), "body_not_json"),
        (format!("{valid}\0").into_bytes(), "body_not_json"),
        (bom, "body_not_json"),
        (
            valid.replace("hello", "hel\nlo").into_bytes(),
            "body_not_json",
        ),
        (
            valid.replace("hello", "\\ud800").into_bytes(),
            "body_not_json",
        ),
        (
            [b"\xff".as_slice(), valid.as_bytes()].concat(),
            "body_not_utf8",
        ),
        (
            [b"{\"model\": \"a\xc3\x28\"}".as_slice()].concat(),
            "body_not_utf8",
        ),
        (b"\xfe\xff\0{\0}".to_vec(), "body_not_utf8"),
        (b"[]".to_vec(), "body_not_object"),
        (b"null".to_vec(), "body_not_object"),
        (deep.into_bytes(), "body_too_deep"),
        (b"{\"messages\": []}".to_vec(), "model_missing"),
        (b"{\"model\": 7}".to_vec(), "model_not_string"),
        (
            format!("{{\"model\":\"gpt\",\"model\":\"{MODEL}\"}}").into_bytes(),
            "model_duplicate",
        ),
        (
            format!("{{\"model\":\"gpt\",\"mod\\u0065l\":\"{MODEL}\"}}").into_bytes(),
            "model_duplicate",
        ),
        (
            format!("{{\"model\":\"{MODEL}\",\"stream\":\"yes\"}}").into_bytes(),
            "stream_not_bool",
        ),
    ] {
        let answer = post(&stack, body.clone(), &[JSON]);
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(answer.status(), 400, "{shown}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], code, "{shown}");
    }
    // A body where none belongs, and an empty one where it may be.
    let get = Call::get("/v1/models").token(&stack.token()).body("{}");
    let answer = get.to(stack.address()).unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(stack.double.counters().connections, 0);
}
