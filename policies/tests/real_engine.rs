//! Streams that a real engine sent (`loadgen/tests/captures`), cut everywhere: benign ones come
//! out byte for byte; what is to be masked is masked as in the whole text, in deltas and in the
//! final copies, wherever the engine and the network cut it.

mod support;

use std::sync::LazyLock;

use penstock_policies::mask::{MaskKey, Plan, mask_text};
use penstock_policies::rule::Pack;
use penstock_policies::scan::Scanner;
use penstock_policies::{PolicySet, Scope};
use serde_json::{Value, json};
use support::{KEY, everyone, load, read_events, route, write};

const MEDIA: &str = "text/event-stream; charset=utf-8";

/// The shapes of what is hidden here: one with a prefix of its own, one without.
const PACK: &str = r#"
[[rule]]
id = "customer"
description = "customer number"
regex = '\bCUST-[0-9]{8}\b'
replace = "<customer:{pseudonym}>"
matches = ["CUST-12345678"]
misses = ["CUST-1"]

[[rule]]
id = "email"
description = "e-mail address"
regex = '\b[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24}\b'
replace = "[email:{pseudonym}]"
matches = ["a@example.com"]
misses = ["@example.com"]
"#;

/// What the engine is made to say between its own first and last words.
const SAID: &str = " of CUST-12345678 write to jane.doe@mail.example.com, é\u{1b}";

static POLICY: LazyLock<PolicySet> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    let guard = "[[guard]]\nname = \"g\"\ndirection = \"response\"\npacks = [\"real\"]\n\
                 action = \"mask\"\n";
    let grant = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n";
    write(dir.path(), "main.toml", &format!("{grant}{guard}"));
    write(dir.path(), "packs/real.toml", PACK);
    load(dir.path()).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
});

static SCOPE: LazyLock<Scope> = LazyLock::new(|| POLICY.scope(&everyone()));
static SCANNER: LazyLock<Scanner> = LazyLock::new(|| {
    let pack = Pack::parse("real", PACK).expect("the pack parses");
    Scanner::compile(pack.rules).expect("and compiles")
});

/// The oracle: M(T).
fn masked(text: &str) -> String {
    let plan = Plan {
        mask: SCANNER.all(),
        watch: SCANNER.none(),
    };
    mask_text(&SCANNER, &plan, &MaskKey::new(KEY), text, &mut |_| {}).unwrap_or(text.into())
}

/// A captured stream: its route and its events, each as the text of its JSON.
struct Capture {
    path: &'static str,
    body: String,
}

fn captures() -> [Capture; 3] {
    macro_rules! capture {
        ($path:literal, $name:literal) => {
            Capture {
                path: $path,
                body: body(include_str!(concat!(
                    "../../loadgen/tests/captures/",
                    $name,
                    ".http"
                ))),
            }
        };
    }
    [
        capture!("/v1/chat/completions", "chat-stream"),
        capture!("/v1/completions", "completions-stream"),
        capture!("/v1/responses", "responses-stream"),
    ]
}

/// The body of a captured response, without chunk sizes.
fn body(wire: &str) -> String {
    let (_, mut rest) = wire.split_once("\r\n\r\n").expect("a head");
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).expect("its size");
        if size == 0 {
            return body;
        }
        body += &after[..size];
        rest = &after[size + 2..];
    }
}

// === impl Capture ===

impl Capture {
    fn events(&self) -> Vec<Value> {
        read_events(self.body.as_bytes())
    }

    /// The stream with `deltas` said before the engine's last delta, and all copies extended by
    /// them; numbers in sequence. The engine's own spelling stays: compact, keys in order.
    fn saying(&self, deltas: &[&str]) -> String {
        let events = self.events();
        let last = events
            .iter()
            .rposition(|event| delta(event).is_some_and(|d| !d.is_empty()));
        let last = last.expect("a delta");
        let before: String = events[..last].iter().filter_map(delta).collect();
        let after: String = events[last..].iter().filter_map(delta).collect();
        let (whole, said) = (before.clone() + &after, before + &deltas.concat() + &after);
        let mut out = String::new();
        let mut number = 0;
        let mut put = |mut event: Value| {
            if event.get("sequence_number").is_some() {
                event["sequence_number"] = number.into();
                number += 1;
            }
            out += &format!("data: {event}\n\n");
        };
        for (index, event) in events.iter().enumerate() {
            if index == last {
                for text in deltas {
                    let mut event = event.clone();
                    *delta_mut(&mut event).expect("the last delta") = json!(text);
                    put(event);
                }
            }
            let mut event = event.clone();
            if delta(&event).is_none() {
                replace(&mut event, &whole, &said);
            }
            put(event);
        }
        out
    }
}

const DELTAS: [&str; 3] = ["/choices/0/delta/content", "/choices/0/text", "/delta"];

fn delta(event: &Value) -> Option<&str> {
    DELTAS
        .iter()
        .find_map(|place| event.pointer(place)?.as_str())
}

fn delta_mut(event: &mut Value) -> Option<&mut Value> {
    let place = DELTAS
        .iter()
        .find(|place| event.pointer(place).is_some_and(Value::is_string))?;
    event.pointer_mut(place)
}

/// Strings that are `old` become `new`.
fn replace(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::String(text) if text == old => *text = new.into(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, old, new)),
        Value::Object(fields) => fields.values_mut().for_each(|item| replace(item, old, new)),
        _ => {}
    }
}

/// All final copies of the text in a stream of responses, in order.
fn finals(events: &[Value]) -> Vec<String> {
    const PLACES: [&str; 4] = [
        "/text",
        "/part/text",
        "/item/content/0/text",
        "/response/output/0/content/0/text",
    ];
    let texts = events
        .iter()
        .flat_map(|event| PLACES.map(|place| event.pointer(place)));
    let texts = texts.flatten().filter_map(Value::as_str);
    texts
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .collect()
}

fn filtered(path: &str, pieces: &[&[u8]]) -> Vec<u8> {
    let mut filter = POLICY
        .response_filter(&SCOPE, &route(path), 200, Some(MEDIA))
        .expect("a reader");
    let mut out = Vec::new();
    for piece in pieces {
        filter.push(piece, &mut out).expect("it is well formed");
    }
    filter.finish(&mut out).expect("it is whole");
    assert_eq!(filter.held_bytes(), 0);
    out
}

/// What the client reads is the masked text, once in deltas and in every copy.
fn assert_masked(what: &str, sent: &str, got: &[u8]) {
    let (sent, got) = (read_events(sent.as_bytes()), read_events(got));
    let said: String = sent.iter().filter_map(delta).collect();
    let read: String = got.iter().filter_map(delta).collect();
    assert!(said.contains(SAID), "{what}: {said}");
    assert_eq!(read, masked(&said), "{what}");
    let expected: Vec<_> = finals(&sent).iter().map(|text| masked(text)).collect();
    assert_eq!(finals(&got), expected, "{what}");
    let shown = json!(got).to_string();
    assert!(
        !shown.contains("12345678") && !shown.contains("mail.example"),
        "{what}"
    );
    // Made events may come in addition; the engine's own keep kind and order.
    let kinds = |events: &[Value]| {
        let mut kinds: Vec<_> = events
            .iter()
            .map(|event| event["type"].to_string())
            .collect();
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds(&got), kinds(&sent), "{what}");
    assert_eq!(
        got.last(),
        sent.last().map(|last| masked_copy(last)).as_ref(),
        "{what}"
    );
}

/// The event with the masked text where it has the text.
fn masked_copy(event: &Value) -> Value {
    let mut event = event.clone();
    for text in finals(std::slice::from_ref(&event)) {
        replace(&mut event, &text, &masked(&text));
    }
    event
}

fn pieces(text: &str, size: usize) -> Vec<&str> {
    let ends = text.char_indices().map(|(at, _)| at).step_by(size).skip(1);
    let mut start = 0;
    let mut pieces = Vec::new();
    for end in ends.chain([text.len()]) {
        pieces.push(&text[start..end]);
        start = end;
    }
    pieces
}

#[test]
fn what_the_engine_said_comes_out_byte_for_byte() {
    for Capture { path, body } in captures() {
        let bytes = body.as_bytes();
        assert_eq!(filtered(path, &[bytes]), bytes, "{path}");
        let single: Vec<_> = bytes.chunks(1).collect();
        assert_eq!(filtered(path, &single), bytes, "{path} byte by byte");
        for cut in 1..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert!(
                filtered(path, &[left, right]) == bytes,
                "{path} cut at {cut}"
            );
        }
    }
}

#[test]
fn wherever_the_engine_cuts_its_text() {
    for capture in captures() {
        let cuts = SAID.char_indices().map(|(at, _)| at).skip(1);
        for cut in cuts {
            let (left, right) = SAID.split_at(cut);
            let stream = capture.saying(&[left, right]);
            let out = filtered(capture.path, &[stream.as_bytes()]);
            assert_masked(
                &format!("{} {left:?}|{right:?}", capture.path),
                &stream,
                &out,
            );
        }
        for size in [1, 2, 3, 5, 8, 100] {
            let stream = capture.saying(&pieces(SAID, size));
            let out = filtered(capture.path, &[stream.as_bytes()]);
            assert_masked(&format!("{} by {size}", capture.path), &stream, &out);
        }
    }
}

#[test]
fn wherever_the_network_cuts_its_bytes() {
    for capture in captures() {
        let stream = capture.saying(&pieces(SAID, 7));
        let bytes = stream.as_bytes();
        let whole = filtered(capture.path, &[bytes]);
        assert_masked(capture.path, &stream, &whole);
        let single: Vec<_> = bytes.chunks(1).collect();
        assert!(
            filtered(capture.path, &single) == whole,
            "{} byte by byte",
            capture.path
        );
        for cut in 1..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            let out = filtered(capture.path, &[left, right]);
            assert!(out == whole, "{} cut at {cut}", capture.path);
        }
    }
}

#[test]
fn an_error_that_quotes_the_caller_is_masked() {
    for (status, media, body) in [
        (
            400,
            "application/json",
            format!("{{\"detail\":\"requested '{SAID}'.\"}}"),
        ),
        (
            422,
            "application/json",
            json!({ "detail": [{ "input": [SAID] }] }).to_string(),
        ),
        (500, "text/plain; charset=utf-8", SAID.into()),
    ] {
        let body = body.replace('\u{1b}', "");
        let route = route("/v1/chat/completions");
        for cut in 0..body.len() {
            let mut filter = POLICY
                .response_filter(&SCOPE, &route, status, Some(media))
                .expect("a reader");
            let mut out = Vec::new();
            let (left, right) = body.as_bytes().split_at(cut);
            filter.push(left, &mut out).expect("well formed");
            filter.push(right, &mut out).expect("well formed");
            filter.finish(&mut out).expect("whole");
            let out = String::from_utf8(out).expect("UTF-8");
            let secrets = ["CUST-12345678", "jane.doe@mail.example.com"];
            let expected = secrets.iter().fold(body.clone(), |text, secret| {
                text.replace(secret, &masked(secret))
            });
            assert_eq!(out, expected, "{status} cut at {cut}");
        }
    }
}
