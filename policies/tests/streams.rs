//! Streams of every API, cut everywhere: what a client reads is what masking the whole text gives.

mod support;

use std::sync::LazyLock;

use penstock_policies::PolicySet;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{STYLES, Style, masked, policy, read_events, run, texts};

/// Masks what the test pack finds.
static POLICY: LazyLock<PolicySet> = LazyLock::new(|| policy("mask"));

const MEDIA: &str = "text/event-stream; charset=utf-8";

/// A text in which every rule of the test pack matches, ends early, or nearly matches.
const TEXT: &str = "Dear CUST-12345678, CUST-1 and Ωmega-1234 or Ωmega-12, 😀abc😀😀ab \"q\"\\ \
                    CUSTOMS 12 CUSTOMS 123\nCUST-87654321";

fn chat(index: usize, delta: Value, finish: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000,
        "model": "llama-3-8b", "choices": [{"index": index, "delta": delta, "logprobs": null,
        "finish_reason": finish}], "usage": null})
}

/// Cuts a text into pieces of `size` characters.
fn pieces(text: &str, size: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(size.max(1))
        .map(|chunk| chunk.iter().collect())
        .collect()
}

/// Two choices with reasoning, content, a refusal and two tool calls, interleaved.
fn chat_stream(text: &str, size: usize) -> Vec<Value> {
    let mut events = vec![chat(
        0,
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    for piece in pieces(text, size) {
        events.push(chat(
            2,
            json!({"function_call": {"arguments": piece}}),
            Value::Null,
        ));
        events.push(chat(0, json!({"reasoning_content": piece}), Value::Null));
        events.push(chat(
            1,
            json!({"content": piece, "refusal": null}),
            Value::Null,
        ));
    }
    for piece in pieces(text, size) {
        events.push(chat(0, json!({"content": piece}), Value::Null));
        for call in [0, 1] {
            let call = json!({"index": call, "function": {"arguments": piece}});
            events.push(chat(0, json!({"tool_calls": [call]}), Value::Null));
        }
        events.push(chat(1, json!({"refusal": piece}), Value::Null));
    }
    events.push(chat(1, json!({}), json!("stop")));
    let mut last = chat(0, json!({"content": "CUST-"}), json!("tool_calls"));
    last["usage"] = json!({"prompt_tokens": 3, "completion_tokens": 4});
    events.push(last);
    events
}

fn completions_stream(text: &str, size: usize) -> Vec<Value> {
    let event = |piece: &str, finish: Value| {
        json!({"id": "cmpl-1", "object": "text_completion", "model": "m", "choices":
            [{"index": 0, "text": piece, "logprobs": null, "finish_reason": finish}]})
    };
    let mut events: Vec<Value> = pieces(text, size)
        .iter()
        .map(|piece| event(piece, Value::Null))
        .collect();
    events.push(event("", json!("length")));
    events
}

fn responses_stream(text: &str, size: usize) -> Vec<Value> {
    let mut events = vec![
        json!({"type": "response.created", "response": {"id": "resp_1", "output": []}}),
        json!({"type": "response.output_item.added", "output_index": 0,
            "item": {"id": "msg_1", "type": "message", "content": []}}),
    ];
    for (kind, item, output) in [
        ("response.reasoning_text", "rs_1", 0),
        ("response.output_text", "msg_1", 1),
        ("response.function_call_arguments", "fc_1", 2),
    ] {
        for piece in pieces(text, size) {
            events.push(json!({"type": format!("{kind}.delta"), "item_id": item,
                "output_index": output, "content_index": 0, "delta": piece}));
        }
        let field = if output == 2 { "arguments" } else { "text" };
        events.push(json!({"type": format!("{kind}.done"), "item_id": item,
            "output_index": output, "content_index": 0, field: text}));
        events.push(
            json!({"type": "response.output_item.done", "output_index": output,
            "item": {"id": item, "content": [{"type": "output_text", "text": text}]}}),
        );
    }
    events.push(
        json!({"type": "response.completed", "response": {"id": "resp_1", "output": [
        {"id": "msg_1", "content": [{"type": "output_text", "text": text}]}],
        "usage": {"total_tokens": 9}}}),
    );
    events
}

fn anthropic_stream(text: &str, size: usize) -> Vec<Value> {
    let mut events = vec![json!({"type": "message_start", "message": {"id": "msg_1",
        "role": "assistant", "content": [], "model": "m", "usage": {"input_tokens": 1}}})];
    for (index, kind, field) in [
        (0, "thinking_delta", "thinking"),
        (1, "text_delta", "text"),
        (2, "input_json_delta", "partial_json"),
    ] {
        events.push(json!({"type": "content_block_start", "index": index,
            "content_block": {"type": "text", "text": ""}}));
        events.push(json!({"type": "ping"}));
        for piece in pieces(text, size) {
            events.push(json!({"type": "content_block_delta", "index": index,
                "delta": {"type": kind, field: piece}}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 5}}),
    );
    events.push(json!({"type": "message_stop"}));
    events
}

type Build = fn(&str, usize) -> Vec<Value>;
const APIS: [(&str, Build); 4] = [
    ("chat", chat_stream),
    ("completions", completions_stream),
    ("responses", responses_stream),
    ("anthropic", anthropic_stream),
];

/// What a client reads after the filter is, text by text, the masked text.
fn assert_masked(name: &str, sent: &[Value], out: &[u8]) {
    let got = texts(&read_events(out));
    let upstream = texts(sent);
    assert_eq!(got.len(), upstream.len(), "{name}: texts appear or vanish");
    for (key, text) in &upstream {
        assert_eq!(got.get(key), Some(&masked(text)), "{name}: {key}");
    }
}

#[test]
fn every_api_and_delta_size_is_masked_as_the_whole() {
    for (name, build) in APIS {
        for style in STYLES {
            for size in [1, 2, 3, 5, 8, 13, 1000] {
                let events = build(TEXT, size);
                let stream = style.stream(&events);
                let out = run(&POLICY, MEDIA, &[stream.as_bytes()]).unwrap();
                assert_masked(&format!("{name} {style:?} {size}"), &events, &out);
                assert_eq!(
                    stream.contains("[DONE]"),
                    out.windows(6).any(|w| w == b"[DONE]")
                );
            }
        }
    }
}

#[test]
fn where_the_bytes_are_cut_changes_nothing() {
    for (name, build) in APIS {
        for style in [STYLES[1], STYLES[3]] {
            let events = build("An CUST-12345678 Ωmega-1234 CUST-", 7);
            let stream = style.stream(&events);
            let bytes = stream.as_bytes();
            let whole = run(&POLICY, MEDIA, &[bytes]).unwrap();
            assert_masked(name, &events, &whole);
            // Every cut of a shorter stream is below; here the events differ more.
            for cut in (0..=bytes.len()).step_by(11) {
                let (left, right) = bytes.split_at(cut);
                assert!(
                    run(&POLICY, MEDIA, &[left, right]).unwrap() == whole,
                    "{name} at {cut}"
                );
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert!(
                run(&POLICY, MEDIA, &single).unwrap() == whole,
                "{name} byte by byte"
            );
        }
    }
}

#[test]
fn every_two_way_cut_of_a_short_stream() {
    for (at, (name, build)) in APIS.into_iter().enumerate() {
        for style in [STYLES[at], STYLES[(at + 1) % STYLES.len()]] {
            let stream = style.stream(&build("CUST-12345678 Ω😀", 8)[..]);
            let bytes = stream.as_bytes();
            let whole = run(&POLICY, MEDIA, &[bytes]).unwrap();
            for cut in 0..=bytes.len() {
                let (left, right) = bytes.split_at(cut);
                assert!(
                    run(&POLICY, MEDIA, &[left, right]).unwrap() == whole,
                    "{name} at {cut}"
                );
            }
        }
    }
}

/// Benign streams with the ornaments that engines add.
#[test]
fn benign_streams_are_byte_identical() {
    let ornaments = "\u{feff}: ping\n\nretry: 10\nid: 7\nevent: x\ndata:{\"a\" : [1.0,\n\
                     data:\"b\\u00e9\\/\"]}\n\ndata\ndata: \n\n\n\n";
    for (_, build) in APIS {
        for newline in ["\n", "\r\n", "\r"] {
            for ascii in [false, true] {
                let style = Style {
                    newline,
                    ascii,
                    done: true,
                };
                let events = build("All is well, naïve 😁 \"said\" \\ he.", 4);
                // A tail such as `CUST-` is held until its end: no benign text.
                let events: Vec<Value> = events
                    .into_iter()
                    .filter(|e| !e.to_string().contains("CUST-"))
                    .collect();
                let stream = ornaments.replace('\n', newline) + &style.stream(&events);
                let bytes = stream.as_bytes();
                assert_eq!(run(&POLICY, MEDIA, &[bytes]).unwrap(), bytes);
                let single: Vec<&[u8]> = bytes.chunks(1).collect();
                assert_eq!(run(&POLICY, MEDIA, &single).unwrap(), bytes);
            }
        }
    }
}

/// At every moment the text that a client has is a beginning of the masked text.
#[test]
fn what_was_sent_is_always_a_beginning_of_the_masked_text() {
    let scope = POLICY.scope(&support::everyone());
    let expected = masked(TEXT);
    let mut filter = support::filter(&POLICY, &scope, MEDIA);
    let mut out = Vec::new();
    for piece in pieces(TEXT, 1) {
        let event = STYLES[1].json(&chat(0, json!({"content": piece}), Value::Null));
        filter
            .push(format!("data: {event}\r\n\r\n").as_bytes(), &mut out)
            .unwrap();
        let sent = texts(&read_events(&out))
            .remove("0 content")
            .unwrap_or_default();
        assert!(expected.starts_with(&sent), "{sent:?} of {expected:?}");
        assert!(sent.len() + filter.held_bytes() >= expected.len().min(sent.len()));
    }
    filter.finish(&mut out).unwrap();
    assert_eq!(texts(&read_events(&out))["0 content"], expected);
    assert_eq!(filter.held_bytes(), 0);
}

/// `transformers serve`: no `[DONE]`, no finish reason but for one choice, and that together with
/// the usage; a field that no document names; content in parts.
#[test]
fn an_engine_that_keeps_no_promises() {
    let events = [
        json!({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}),
        json!({"choices": [{"index": 0, "delta": {"content": "a CUST-1234"}}]}),
        json!({"choices": [{"delta": {"thoughts": {"now": "CUST-12"}}, "index": 0},
            {"delta": {"content": [{"type": "text", "text": "CUST-12"}]}, "index": 1}]}),
        json!({"choices": [{"delta": {"thoughts": {"now": "345678"}}, "index": 0},
            {"delta": {"content": [{"type": "text", "text": "345678"}]}, "index": 1}]}),
        json!({"choices": [{"index": 0, "delta": {"content": "5678"}, "finish_reason": "length"}],
            "usage": {"total_tokens": 3}}),
    ];
    let stream: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    let out = run(&POLICY, MEDIA, &[stream.as_bytes()]).unwrap();
    let read = read_events(&out);
    let text = |pick: &dyn Fn(&Value) -> &Value| -> String {
        read.iter()
            .flat_map(|event| event["choices"].as_array().unwrap())
            .filter_map(|choice| pick(choice).as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(texts(&read)["0 content"], masked("a CUST-12345678"));
    assert_eq!(
        text(&|choice| &choice["delta"]["thoughts"]["now"]),
        masked("CUST-12345678")
    );
    assert_eq!(
        text(&|choice| &choice["delta"]["content"][0]["text"]),
        masked("CUST-12345678")
    );
    let usage = read
        .iter()
        .filter(|event| event["usage"].is_object())
        .count();
    assert_eq!(
        (
            usage,
            read.iter()
                .filter(|e| e["choices"][0]["finish_reason"] == "length")
                .count()
        ),
        (1, 1)
    );
}

/// An event made for held text has nothing that an SDK would count twice.
#[test]
fn a_made_event_repeats_no_role_name_usage_or_other_text() {
    let event = json!({"id": "c", "object": "o", "created": 1, "model": "m",
        "usage": {"total_tokens": 5}, "service_tier": null, "choices": [
        {"index": 0, "finish_reason": null, "delta": {"role": "assistant", "content": "benign",
            "tool_calls": [{"index": 3, "id": "call_1", "type": "function",
                "function": {"name": "f", "arguments": "CUST-1"}}]}},
        {"index": 1, "delta": {"content": "other"}}]});
    let stream = format!("event: chunk\nid: 9\ndata: {event}\n\ndata: [DONE]\n\n");
    let out = String::from_utf8(run(&POLICY, MEDIA, &[stream.as_bytes()]).unwrap()).unwrap();
    let events: Vec<&str> = out.split_inclusive("\n\n").collect();
    assert_eq!(events.len(), 3, "{out}");
    assert_eq!(
        events[1],
        "event: chunk\ndata: {\"id\":\"c\",\"object\":\"o\",\"created\":1,\"model\":\"m\",\
         \"service_tier\":null,\"choices\":[{\"index\":0,\"finish_reason\":null,\"delta\":\
         {\"tool_calls\":[{\"index\":3,\"type\":\"function\",\"function\":\
         {\"arguments\":\"CUST-1\"}}]}}]}\n\n"
    );
    assert_eq!(events[2], "data: [DONE]\n\n");
}

#[test]
fn nothing_held_is_released_when_the_stream_breaks_off() {
    let scope = POLICY.scope(&support::everyone());
    let mut filter = support::filter(&POLICY, &scope, MEDIA);
    let mut out = Vec::new();
    let event = chat(0, json!({"content": "number CUST-1234567"}), Value::Null);
    filter
        .push(
            format!("data: {event}\n\ndata: {{\"cho").as_bytes(),
            &mut out,
        )
        .unwrap();
    drop(filter);
    assert_eq!(texts(&read_events(&out))["0 content"], "number ");
}

#[test]
fn held_text_is_masked_when_its_time_is_over() {
    let scope = POLICY.scope(&support::everyone());
    let mut filter = support::filter(&POLICY, &scope, MEDIA);
    let mut out = Vec::new();
    let event = chat(0, json!({"content": "number CUST-1234"}), Value::Null);
    filter
        .push(format!("data: {event}\n\n").as_bytes(), &mut out)
        .unwrap();
    assert_eq!(filter.held_bytes(), 9);
    filter.expire(&mut out).unwrap();
    assert_eq!(filter.held_bytes(), 0);
    let event = chat(0, json!({"content": "5678 and on"}), json!("stop"));
    filter
        .push(format!("data: {event}\n\n").as_bytes(), &mut out)
        .unwrap();
    filter.finish(&mut out).unwrap();
    let text = texts(&read_events(&out)).remove("0 content").unwrap();
    assert!(text.starts_with("number [masked:customer]"), "{text}");
    assert!(
        text.ends_with(" and on") && !text.contains("1234"),
        "{text}"
    );
}

#[test]
fn lines_of_json_are_masked_as_they_stream() {
    let lines = "{\"message\":{\"role\":\"assistant\",\"content\":\"I am CUST-\"},\"done\":false}\n\
                 \r\n{\"message\":{\"content\":\"12345678 \"},\"done\":false}\r\n\
                 {\"message\":{\"content\":\"CUST\"},\"done\":false}\n\
                 {\"done\":true,\"note\":\"CUST-12345678\"}";
    let whole = run(&POLICY, "application/x-ndjson", &[lines.as_bytes()]).unwrap();
    let mut text = String::new();
    for line in std::str::from_utf8(&whole)
        .unwrap()
        .lines()
        .filter(|line| !line.trim().is_empty())
    {
        let value: Value = serde_json::from_str(line).unwrap();
        text += value["message"]["content"].as_str().unwrap_or_default();
    }
    assert_eq!(text, masked("I am CUST-12345678 CUST"));
    assert!(!String::from_utf8_lossy(&whole).contains("12345678"));
    for cut in 0..=lines.len() {
        let (left, right) = lines.as_bytes().split_at(cut);
        assert_eq!(
            run(&POLICY, "application/x-ndjson", &[left, right]).unwrap(),
            whole
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Random texts from the alphabet of the rules, random deltas, random cuts of the bytes.
    #[test]
    fn random_texts_deltas_and_cuts(
        words in prop::collection::vec(prop::sample::select(vec![
            "CUST-", "CUST", "12345678", "1", "Ωmega-", "Ω", "1234", "😀", "abc", " ", "CUSTOMS ",
            "123", "\"", "\\", "\n", "\u{1}", "e\u{301}", "plain words",
        ]), 0..24),
        size in 1_usize..9,
        cuts in prop::collection::vec(1_usize..80, 1..40),
        api in 0_usize..APIS.len(),
        style in 0_usize..STYLES.len(),
    ) {
            let text = words.concat();
        let events = APIS[api].1(&text, size);
        let stream = STYLES[style].stream(&events);
        let mut rest = stream.as_bytes();
        let mut parts = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at((*cut).min(rest.len()));
            parts.push(part);
            rest = after;
        }
        let out = run(&POLICY, MEDIA, &parts).unwrap();
        assert_masked(APIS[api].0, &events, &out);
    }
}
