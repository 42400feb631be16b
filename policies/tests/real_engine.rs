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

/// What is hidden here has a beginning of its own, so that nothing else waits for the next delta.
const CUSTOMER: &str = r#"
[[rule]]
id = "customer"
description = "customer number"
regex = '\bCUST-[0-9]{8}\b'
replace = "<customer:{pseudonym}>"
matches = ["CUST-12345678"]
misses = ["CUST-1"]
"#;

/// This has none: the last word of every delta waits for what follows.
const EMAIL: &str = r#"
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

/// A policy that masks responses, with the scope of a caller.
struct Guarded {
    policy: PolicySet,
    scope: Scope,
}

/// Masks customer numbers.
static CUSTOMERS: LazyLock<Guarded> = LazyLock::new(|| Guarded::with(CUSTOMER));
/// Masks both.
static BOTH: LazyLock<Guarded> = LazyLock::new(|| Guarded::with(&both()));

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| {
    let pack = Pack::parse("real", &both()).expect("the pack parses");
    Scanner::compile(pack.rules).expect("and compiles")
});

fn both() -> String {
    [CUSTOMER, EMAIL].concat()
}

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

// === impl Guarded ===

impl Guarded {
    fn with(pack: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the policy");
        let guard = "[[guard]]\nname = \"g\"\ndirection = \"response\"\npacks = [\"real\"]\n\
                     action = \"mask\"\n";
        let grant = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n";
        write(dir.path(), "main.toml", &format!("{grant}{guard}"));
        write(dir.path(), "packs/real.toml", pack);
        let policy = load(dir.path()).unwrap_or_else(|errors| panic!("{}", errors.join("\n")));
        let scope = policy.scope(&everyone());
        Self { policy, scope }
    }

    /// A response that comes in these pieces, as the client reads it.
    fn filtered(&self, path: &str, status: u16, media: &str, pieces: &[&[u8]]) -> Vec<u8> {
        let filter = self
            .policy
            .response_filter(&self.scope, &route(path), status, Some(media));
        let mut filter = filter.expect("a reader");
        let mut out = Vec::new();
        for piece in pieces {
            filter.push(piece, &mut out).expect("it is well formed");
        }
        filter.finish(&mut out).expect("it is whole");
        assert_eq!(filter.held_bytes(), 0);
        out
    }

    fn stream(&self, path: &str, pieces: &[&[u8]]) -> Vec<u8> {
        self.filtered(path, 200, MEDIA, pieces)
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

/// What the client reads is the masked text, once in deltas and in every copy.
fn assert_masked(what: &str, sent: &str, got: &[u8]) {
    let (sent, got) = (read_events(sent.as_bytes()), read_events(got));
    let said: String = sent.iter().filter_map(delta).collect();
    let read: String = got.iter().filter_map(delta).collect();
    assert!(said.contains(SAID), "{what}: {said}");
    assert_eq!(read, masked(&said), "{what}");
    let expected: Vec<_> = finals(&sent).iter().map(|text| masked(text)).collect();
    assert_eq!(finals(&got), expected, "{what}");
    assert!(matches!(expected.len(), 0 | 4), "{what}: copies");
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
    assert_eq!(got.last(), sent.last().map(masked_copy).as_ref(), "{what}");
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

/// Cuts the bytes once, everywhere, and between all.
fn assert_any_cut(guarded: &Guarded, path: &str, bytes: &[u8], expected: &[u8]) {
    let single: Vec<_> = bytes.chunks(1).collect();
    assert!(
        guarded.stream(path, &single) == expected,
        "{path} byte by byte"
    );
    for cut in 0..=bytes.len() {
        let (left, right) = bytes.split_at(cut);
        let out = guarded.stream(path, &[left, right]);
        assert!(out == expected, "{path} cut at {cut}");
    }
}

#[test]
fn what_the_engine_said_comes_out_byte_for_byte() {
    for Capture { path, body } in captures() {
        assert_any_cut(&CUSTOMERS, path, body.as_bytes(), body.as_bytes());
    }
    let whole = [
        include_str!("../../loadgen/tests/captures/chat.http"),
        include_str!("../../loadgen/tests/captures/completions.http"),
        include_str!("../../loadgen/tests/captures/responses.http"),
    ];
    for wire in whole {
        let (_, body) = wire.split_once("\r\n\r\n").expect("a head");
        let body = body.as_bytes();
        for cut in 0..=body.len() {
            let (left, right) = body.split_at(cut);
            let out = BOTH.filtered("/v1/responses", 200, "application/json", &[left, right]);
            assert!(
                out == body,
                "cut at {cut}: {}",
                String::from_utf8_lossy(&out)
            );
        }
    }
}

/// Words may move to a later delta, into an event made for them even. All else stays.
#[test]
fn words_that_wait_change_no_text_and_no_other_event() {
    let others = |stream: &str| -> Vec<String> {
        let events = stream.split_inclusive("\n\n");
        let other = |event: &&str| {
            read_events(event.as_bytes())
                .iter()
                .all(|e| delta(e).is_none())
        };
        events.filter(other).map(str::to_owned).collect()
    };
    for capture in captures() {
        let Capture { path, body } = &capture;
        let out = BOTH.stream(path, &[body.as_bytes()]);
        let said = |events: &[Value]| events.iter().filter_map(delta).collect::<String>();
        assert_eq!(said(&read_events(&out)), said(&capture.events()), "{path}");
        let shown = std::str::from_utf8(&out).expect("UTF-8");
        // A finish in the last delta's own event is no other event: it must come last.
        assert_eq!(others(shown), others(body), "{path}");
        assert_eq!(
            finish(&read_events(&out)),
            finish(&capture.events()),
            "{path}"
        );
        assert_any_cut(&BOTH, path, body.as_bytes(), &out);
    }
}

/// Where the finish reason and the usage are, counted from the end.
fn finish(events: &[Value]) -> Vec<(usize, Value, Value)> {
    let ended = events.iter().rev().enumerate().filter_map(|(at, event)| {
        let reason = &event["choices"][0]["finish_reason"];
        reason
            .is_string()
            .then(|| (at, reason.clone(), event["usage"].clone()))
    });
    ended.collect()
}

#[test]
fn wherever_the_engine_cuts_its_text() {
    for capture in captures() {
        let cuts = SAID.char_indices().map(|(at, _)| at).skip(1);
        for cut in cuts {
            let (left, right) = SAID.split_at(cut);
            let stream = capture.saying(&[left, right]);
            let out = BOTH.stream(capture.path, &[stream.as_bytes()]);
            assert_masked(
                &format!("{} {left:?}|{right:?}", capture.path),
                &stream,
                &out,
            );
        }
        for size in [1, 2, 3, 5, 8, 100] {
            let stream = capture.saying(&pieces(SAID, size));
            let out = BOTH.stream(capture.path, &[stream.as_bytes()]);
            assert_masked(&format!("{} by {size}", capture.path), &stream, &out);
        }
    }
}

#[test]
fn wherever_the_network_cuts_its_bytes() {
    for capture in captures() {
        let stream = capture.saying(&pieces(SAID, 7));
        let whole = BOTH.stream(capture.path, &[stream.as_bytes()]);
        assert_masked(capture.path, &stream, &whole);
        assert_any_cut(&BOTH, capture.path, stream.as_bytes(), &whole);
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
        for cut in 0..=body.len() {
            let (left, right) = body.as_bytes().split_at(cut);
            let out = BOTH.filtered("/v1/chat/completions", status, media, &[left, right]);
            let out = String::from_utf8(out).expect("UTF-8");
            let secrets = ["CUST-12345678", "jane.doe@mail.example.com"];
            let expected = secrets.iter().fold(body.clone(), |text, secret| {
                text.replace(secret, &masked(secret))
            });
            assert_eq!(out, expected, "{status} cut at {cut}");
        }
    }
}

/// Its source shows more: an error in the middle of a stream, and a tool call, which moves the
/// `output_index` of the message that is still open.
#[test]
fn what_its_source_shows_is_masked_too() {
    let [chat, _, responses] = captures();
    let error = json!({ "error": SAID });
    let stream = format!("{}data: {error}\n\n", chat.body);
    let out = BOTH.stream(chat.path, &[stream.as_bytes()]);
    let expected = json!({ "error": masked(SAID) });
    assert_eq!(read_events(&out).last(), Some(&expected));
    let stream = responses.saying(&pieces(SAID, 5));
    let mut moved = String::new();
    for event in stream.split_inclusive("\n\n") {
        if event.contains(".done\"") {
            moved += &event.replace("\"output_index\":0", "\"output_index\":1");
        } else {
            moved += event;
        }
        if event.contains("content_part.added") {
            let arguments = json!({ "id": SAID }).to_string();
            let item = json!({ "arguments": arguments, "call_id": "c", "name": "f",
                "type": "function_call", "id": "c", "status": "completed" });
            let added = json!({ "item": item, "output_index": 1, "sequence_number": 3,
                "type": "response.output_item.added" });
            moved += &format!("data: {added}\n\n");
        }
    }
    let out = BOTH.stream(responses.path, &[moved.as_bytes()]);
    let (sent, got) = (read_events(moved.as_bytes()), read_events(&out));
    let read: String = got.iter().filter_map(delta).collect();
    let said: String = sent.iter().filter_map(delta).collect();
    assert_eq!(read, masked(&said));
    let expected: Vec<_> = finals(&sent).iter().map(|text| masked(text)).collect();
    assert_eq!(finals(&got), expected);
    assert!(!String::from_utf8_lossy(&out).contains("12345678"));
}
