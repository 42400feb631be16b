//! Events that are understood by their likeness, against the same events parsed: the same bytes at
//! the same time, the same findings, the same errors, whatever the stream and wherever it is cut.

use std::fmt::Write as _;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{FilterError, Mode, ResponseFilter};
use crate::policy::{PolicySet, PolicySources};
use crate::profile::Profiles;
use crate::verdict::Finding;

const RULES: &str = r#"
[[rule]]
id = "customer"
description = "customer number"
regex = '\bCUST-[0-9]{8}\b'
replace = "<customer:{pseudonym}>"
matches = ["CUST-12345678"]
misses = ["CUST-1"]

[[rule]]
id = "number"
description = "an account's number"
regex = '\b[1-9][0-9]{7,11}\b'
matches = ["12345678"]
misses = ["1"]

[[rule]]
id = "quoted"
description = "text that is escaped in JSON"
regex = 'a"\\\n😀b'
matches = ["a\"\\\n😀b"]
misses = ["a"]

[[rule]]
id = "stop"
description = "what blocks"
regex = 'FORBIDDEN[0-9]'
matches = ["FORBIDDEN1"]
misses = ["FORBIDDEN"]
"#;

const POLICY: &str = r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]

[[guard]]
name = "masks"
direction = "response"
rules = ["customer", "number", "quoted"]
action = "mask"

[[guard]]
name = "stops"
direction = "response"
rules = ["stop"]
action = "block"
"#;

static SET: LazyLock<PolicySet> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("packs")).expect("it is new");
    std::fs::write(dir.path().join("main.toml"), POLICY).expect("it is new");
    std::fs::write(dir.path().join("packs/test.toml"), RULES).expect("it is new");
    let sources = PolicySources {
        dir: dir.path(),
        pseudonym_key: [7; 32],
        withheld: &[],
    };
    PolicySet::load(&sources).expect("the test's policy")
});

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";

/// What came of one step: the output so far, what is held, what was found, how it went.
#[derive(Debug, PartialEq)]
struct Step {
    out: String,
    held: usize,
    released: usize,
    findings: Vec<Finding>,
    result: Result<(), FilterError>,
}

fn filter(media: &str, parsing: bool) -> ResponseFilter {
    let route = Profiles::from_names(&["openai".to_owned()])
        .expect("is shipped")
        .resolve("POST", "/v1/chat/completions")
        .expect("is a route");
    let scope = SET.scope(&["staff".to_owned()]);
    let mut filter = SET
        .response_filter(&scope, &route, 200, Some(media))
        .expect("has a reader");
    stencils(&mut filter).is_off = parsing;
    filter
}

fn stencils(filter: &mut ResponseFilter) -> &mut super::stencil::Stencils {
    match &mut filter.mode {
        Mode::Stream(stream) => stream.stencils(),
        _ => panic!("no stream"),
    }
}

/// Feeds the pieces; `expire` says after how many of them the hold's bound is reached each time.
fn steps(filter: &mut ResponseFilter, pieces: &[&[u8]], expire: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut out = Vec::new();
    for turn in 0..=pieces.len() {
        let mut result = match pieces.get(turn) {
            Some(piece) => filter.push(piece, &mut out),
            None => filter.finish(&mut out),
        };
        if result.is_ok() && turn % expire == expire - 1 {
            result = filter.expire(&mut out);
        }
        steps.push(Step {
            out: String::from_utf8_lossy(&out).into_owned(),
            held: filter.held_bytes(),
            released: filter.released_bytes(),
            findings: filter.take_findings(),
            result,
        });
    }
    steps
}

/// Both ways give the same; how many events were not parsed.
fn assert_alike(media: &str, pieces: &[&[u8]], expire: usize) -> usize {
    let mut fast = filter(media, false);
    let mut slow = filter(media, true);
    let taken = steps(&mut fast, pieces, expire);
    for (turn, (got, want)) in taken
        .iter()
        .zip(steps(&mut slow, pieces, expire))
        .enumerate()
    {
        assert_eq!(*got, want, "after piece {turn} of {pieces:?}");
    }
    stencils(&mut fast).used
}

/// Texts as models speak them, with everything that escapes, waits, masks or blocks.
const WORDS: [&str; 24] = [
    "The",
    " gate",
    " stands.",
    "",
    " ",
    "\n\n",
    "\t\"quoted\"",
    "\\",
    "é",
    "漢字",
    "😀",
    "CUST-",
    "CUST-12345678",
    "12345",
    "678",
    " 87654321 ",
    "a\"",
    "\\\n😀b",
    "a\"\\\n😀b",
    "/",
    "\u{7f}",
    "\u{1}",
    "CUST-1234",
    "5678,",
];

type Shape = fn(usize, &str) -> Value;

/// Events of every API; the number counts.
const SHAPES: [(&str, Shape); 16] = [
    ("chat", |_, text| {
        json!({"id":"c","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":
            [{"index":0,"delta":{"content":text},"logprobs":null,"finish_reason":null}]})
    }),
    (
        "chat, more choices",
        |at, text| json!({"id":"c","model":"m","choices":[{"index":at % 3,"delta":{"content":text}}]}),
    ),
    ("reasoning", |at, text| {
        let field = ["reasoning_content", "content"][at / 4 % 2];
        json!({"id":"c","choices":[{"index":0,"delta":{field:text,"role":"assistant"}}]})
    }),
    (
        "two texts",
        |_, text| json!({"choices":[{"index":0,"delta":{"content":text,"reasoning":text,"refusal":null}}]}),
    ),
    ("tool calls", |at, text| {
        json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":at % 2,"function":
            {"arguments":text}}]}}]})
    }),
    ("tool names", |_, text| {
        json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","function":
            {"name":text,"arguments":text}}]}}]})
    }),
    ("usage in every chunk", |at, text| {
        json!({"id":"c","created":1700000000 + at * 7,"choices":[{"index":0,"delta":{"content":text},
            "finish_reason":null}],"usage":{"prompt_tokens":3,"completion_tokens":at * 900_000,
            "total_tokens":-3.5e-7}})
    }),
    (
        "completions",
        |_, text| json!({"id":"c","choices":[{"index":0,"text":text,"logprobs":null,"finish_reason":""}]}),
    ),
    ("responses", |at, text| {
        json!({"type":"response.output_text.delta","item_id":"msg_1","output_index":0,
            "content_index":0,"delta":text,"sequence_number":at,"obfuscation":&"xyzxyzxyz"[at % 9..]})
    }),
    ("calls of responses", |at, text| {
        json!({"type":"response.function_call_arguments.delta","item_id":format!("fc_{}", at % 2),
            "delta":text,"sequence_number":at})
    }),
    (
        "anthropic",
        |at, text| json!({"type":"content_block_delta","index":at / 7,"delta":{"type":"text_delta","text":text}}),
    ),
    ("ollama", |at, text| {
        json!({"model":"m","created_at":format!("2026-01-01T00:00:{at:02}.{}Z", at * 1_111_111),
            "message":{"role":"assistant","content":text},"done":false})
    }),
    (
        "llama.cpp",
        |at, text| json!({"index":at % 2,"content":text,"tokens":[at],"stop":false,"id_slot":-1}),
    ),
    ("tgi", |at, text| {
        json!({"index":at,"token":{"id":at * 31,"text":text,"logprob":-0.25,"special":false},
            "generated_text":null})
    }),
    ("what ends now and then", |at, text| {
        let reason = if at % 9 == 8 {
            json!("stop")
        } else {
            Value::Null
        };
        json!({"choices":[{"index":at / 9,"delta":{"content":text},"finish_reason":reason}]})
    }),
    ("logprobs now and then", |at, text| {
        let tokens = if at % 5 == 4 {
            json!({"content":[{"token":text}]})
        } else {
            Value::Null
        };
        json!({"choices":[{"index":0,"delta":{"content":text},"logprobs":tokens}]})
    }),
];

fn written(media: &str, newline: &str, event: &Value, escaped: bool) -> String {
    let mut text = event.to_string();
    if escaped {
        let mut ascii = String::new();
        for c in text.chars() {
            match c.is_ascii() {
                true => ascii.push(c),
                false => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                    write!(ascii, "\\u{unit:04X}").expect("a String takes all");
                }),
            }
        }
        text = ascii;
    }
    match media == EVENTS {
        true => format!("data: {text}{newline}{newline}"),
        false => format!("{text}{newline}"),
    }
}

fn stream(media: &str, newline: &str, shape: Shape, words: &[&str], escaped: bool) -> String {
    let events = words.iter().enumerate();
    events
        .map(|(at, word)| written(media, newline, &shape(at, word), escaped))
        .collect()
}

#[test]
fn streams_of_every_api_are_alike_and_are_not_parsed() {
    let words = [
        "The",
        " gate",
        " is",
        " 12",
        " steps\n",
        " \"wide\".",
        " Then",
        " we",
        " go",
    ];
    for (name, shape) in SHAPES {
        for media in [EVENTS, LINES] {
            let text = stream(media, "\n", shape, &words, false);
            let used = assert_alike(media, &[text.as_bytes()], 100);
            // A name is followed by hand. Whenever a text begins, all are read once.
            let least = match name {
                "tool names" => 0,
                "chat" | "two texts" | "usage in every chunk" | "completions" | "responses" => 8,
                "ollama" => 8,
                _ => 4,
            };
            assert!(
                used >= least,
                "{name} in {media}: {used} of {}",
                words.len()
            );
        }
    }
}

#[test]
fn captured_streams_are_alike_at_every_split() {
    for wire in [
        include_str!("../../../loadgen/tests/captures/chat-stream.http"),
        include_str!("../../../loadgen/tests/captures/completions-stream.http"),
        include_str!("../../../loadgen/tests/captures/responses-stream.http"),
    ] {
        let (_, body) = wire.split_once("\r\n\r\n").expect("a head");
        // The sizes of the chunks are lines of no known field to an event's reader.
        let events: String = body
            .lines()
            .filter(|line| line.starts_with("data"))
            .fold(String::new(), |text, line| text + line + "\n\n");
        for cut in 0..events.len() {
            let (left, right) = events.as_bytes().split_at(cut);
            assert_alike(EVENTS, &[left, right], 100);
        }
        let single: Vec<&[u8]> = events.as_bytes().chunks(1).collect();
        assert!(assert_alike(EVENTS, &single, 1_000_000) > 0);
    }
}

/// What is wrong with one event of a stream that was right so far, or only looks like it.
#[test]
fn what_the_parser_refuses_or_reads_otherwise_does_not_fit() {
    let event = |inside: &str, number: &str, id: &str| {
        format!(
            "data: {{\"id\":\"{id}\",\"created\":{number},\"choices\":[{{\"index\":0,\"delta\":\
             {{\"content\":\"{inside}\"}},\"finish_reason\":null}}],\"n\":{number}}}\n\n"
        )
    };
    let good = event("a", "1", "x").repeat(3);
    let insides = [
        "\\u0041",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\\ude00\\ud83d",
        "\\ud83d\\u0041",
        "\\u00g0",
        "\\x",
        "\\",
        "\u{1}",
        "\t",
        "\\u0000",
        "\\/\\b\\f\\n\\r\\t",
        "a\",\"role\":\"b",
        "a\"}},{\"index\":1,\"delta\":{\"content\":\"b",
        "\\u",
        "\\uD83D\\uDE0",
        "\u{7f}",
        "FORBIDDEN1",
        "CUST-12345678",
        "\\u0043UST-12345678",
    ];
    for inside in insides {
        for tail in ["", "b"] {
            let text = good.clone() + &event(&format!("{inside}{tail}"), "1", "x") + &good;
            assert_alike(EVENTS, &[text.as_bytes()], 100);
        }
    }
    let numbers = [
        "0",
        "-0",
        "-1",
        "01",
        "1.",
        "1.5",
        ".5",
        "1e5",
        "1E+05",
        "1e",
        "1e400",
        "1e-99",
        "0x1",
        "12345678",
        "-12345678",
        "1234567890123",
        "123456789012",
        "-123456789012",
        "1.12345678",
        "9999999e99",
        "\"1\"",
        "null",
        "1,\"index\":7",
        "+1",
        "1 ",
        " 1",
        "NaN",
        "-",
        "1.12345678901234567",
        "1.0000000000000000000000001",
    ];
    for number in numbers {
        let text = good.clone() + &event("a", number, "x") + &good;
        assert_alike(EVENTS, &[text.as_bytes()], 100);
    }
    for id in [
        "",
        "y",
        "CUST-12345678",
        "é",
        "\\u0043UST-12345678",
        "\\ud83d",
        "FORBIDDEN1",
    ] {
        let text = good.clone() + &event("a", "1", id) + &event("a", "1", "x");
        assert_alike(EVENTS, &[text.as_bytes()], 100);
    }
    for bytes in [
        &b"\xff"[..],
        b"\xc3",
        b"\xed\xa0\xbd",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
    ] {
        let mut text = good.clone().into_bytes();
        let at = event("", "1", "x").find("\"}}").unwrap_or_default();
        text.extend(event("", "1", "x").bytes());
        let at = good.len() + at.min(event("", "1", "x").len());
        text.splice(at..at, bytes.iter().copied());
        assert_alike(EVENTS, &[&text], 100);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn generated_streams_are_alike(
        shape in 0..SHAPES.len(),
        other in 0..SHAPES.len(),
        words in prop::collection::vec(prop::sample::select(&WORDS[..]), 1..24),
        newline in prop::sample::select(&["\n", "\r\n", "\r"][..]),
        events: bool,
        escaped: bool,
        expire in 1..20_usize,
        size in 1..400_usize,
        hurt in prop::option::of((any::<prop::sample::Index>(), prop_oneof![
            any::<u8>(),
            prop::sample::select(b"{}[]:,\"\\0189-+.eEu \n\r".to_vec()),
        ], any::<bool>())),
    ) {
        let media = if events { EVENTS } else { LINES };
        let newline = if events || newline != "\r" { newline } else { "\n" };
        let one = stream(media, newline, SHAPES[shape].1, &words, escaped);
        let two = stream(media, newline, SHAPES[other].1, &words, escaped);
        let end = if newline == "\r" { "\r\r" } else { "\n" };
        // Two shapes at once, event by event.
        let mut text = Vec::new();
        for (left, right) in one.split_inclusive(end).zip(two.split_inclusive(end)) {
            text.extend(left.bytes());
            text.extend(right.bytes());
        }
        if let Some((at, byte, remove)) = hurt {
            let at = at.index(text.len());
            if remove { text.remove(at); } else { text[at] = byte; }
        }
        let pieces: Vec<&[u8]> = text.chunks(size).collect();
        assert_alike(media, &pieces, expire);
    }
}
