//! Streams of engines that follow none of the large APIs, names that come in pieces, and last
//! events without an end: cut everywhere, a client's texts are the masked ones.

mod support;

use std::sync::LazyLock;

use penstock_policies::PolicySet;
use serde_json::{Value, json};
use support::{masked, policy, read_events, run};

static MASK: LazyLock<PolicySet> = LazyLock::new(|| policy("mask"));

const EVENTS: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";
const TEXT: &str = "Ωmega-1234, CUST-12345678";

/// What a client joins, by a JSON pointer.
fn joined(events: &[Value], pointer: &str) -> String {
    events
        .iter()
        .filter_map(|event| event.pointer(pointer)?.as_str())
        .collect()
}

fn stream(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect()
}

/// The text in two pieces, cut at every place.
fn cuts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let places = text.char_indices().map(|(at, _)| at);
    places.chain([text.len()]).map(|at| text.split_at(at))
}

fn single_chars(text: &str) -> Vec<String> {
    text.chars().map(String::from).collect()
}

fn masks_everywhere(name: &str, pointer: &str, build: &dyn Fn(&str) -> Value, last: &[Value]) {
    let check = |events: Vec<Value>| {
        let sent = stream(&events);
        let out = run(&MASK, EVENTS, &[sent.as_bytes()]).expect("a stream of JSON");
        let read = read_events(&out);
        assert_eq!(joined(&read, pointer), masked(TEXT), "{name}");
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let out = run(&MASK, NDJSON, &[lines.as_bytes()]).expect("lines of JSON");
        let out = String::from_utf8(out).expect("UTF-8 goes out");
        let read: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).expect("and JSON"))
            .collect();
        assert_eq!(joined(&read, pointer), masked(TEXT), "{name} in lines");
    };
    for (left, right) in cuts(TEXT) {
        let mut events = vec![build(left), build(right)];
        events.extend_from_slice(last);
        check(events);
    }
    let mut events: Vec<Value> = single_chars(TEXT).iter().map(|c| build(c)).collect();
    events.extend_from_slice(last);
    check(events);
}

#[test]
fn texts_of_other_engines_are_masked_across_events() {
    let llama = |text: &str| json!({"index": 0, "content": text, "tokens": [], "stop": false});
    let end = json!({"index": 0, "content": "", "stop": true, "timings": {"n": 1}});
    masks_everywhere("llama.cpp", "/content", &llama, &[end]);
    let tgi = |text: &str| {
        json!({"index": text.len(), "token": {"id": 1, "text": text, "special": false},
            "generated_text": null, "details": null})
    };
    masks_everywhere("TGI", "/token/text", &tgi, &[]);
    let end = json!({"index": 9, "token": {"id": 2, "text": "", "special": true},
        "generated_text": "all", "details": null});
    masks_everywhere("TGI, ended", "/token/text", &tgi, &[end]);
    let ollama = |text: &str| json!({"model": "m", "response": text, "done": false});
    let end = json!({"model": "m", "response": "", "done": true, "context": [1, 2]});
    masks_everywhere("Ollama", "/response", &ollama, &[end]);
    let plain = |text: &str| json!({"text": text});
    masks_everywhere("a text and nothing else", "/text", &plain, &[]);
    let typed = |text: &str| json!({"type": "token", "response": text});
    masks_everywhere("a type of its own", "/response", &typed, &[]);
    let generated = |text: &str| json!({"generated_text": text});
    masks_everywhere("generated_text", "/generated_text", &generated, &[]);
    let message = |text: &str| json!({"message": {"role": "assistant", "content": text}});
    masks_everywhere("message", "/message/content", &message, &[]);
    let choice = |text: &str| json!({"choices": [{"index": 0, "message": {"content": text}}]});
    masks_everywhere("choice", "/choices/0/message/content", &choice, &[]);
}

#[test]
fn prompts_answered_at_once_are_texts_apart() {
    let event = |index: usize, text: &str| json!({"index": index, "content": text, "stop": false});
    let events = [
        event(0, "CUST-"),
        event(1, "CUSTOMS "),
        event(0, "12345678"),
        event(1, "123"),
        json!({"index": 1, "content": "", "stop": true}),
        json!({"index": 0, "content": "!", "stop": true}),
    ];
    let out = run(&MASK, EVENTS, &[stream(&events).as_bytes()]).unwrap();
    let read = read_events(&out);
    for (index, text) in [(0, "CUST-12345678!"), (1, "CUSTOMS 123")] {
        let own: Vec<Value> = read
            .iter()
            .filter(|event| event["index"] == index)
            .cloned()
            .collect();
        assert_eq!(joined(&own, "/content"), masked(text));
    }
}

#[test]
fn another_item_id_for_each_piece_splits_nothing() {
    for kind in ["response.output_text", "response.function_call_arguments"] {
        let mut count = 0;
        let mut event = |text: &str| {
            count += 1;
            json!({"type": format!("{kind}.delta"), "item_id": format!("i{count}"),
                "output_index": 0, "content_index": 0, "delta": text})
        };
        let events: Vec<Value> = single_chars(TEXT).iter().map(|c| event(c)).collect();
        let out = run(&MASK, EVENTS, &[stream(&events).as_bytes()]).unwrap();
        assert_eq!(joined(&read_events(&out), "/delta"), masked(TEXT), "{kind}");
    }
}

fn call(name: Value, arguments: Value) -> Value {
    let function = json!({"name": name, "arguments": arguments});
    json!({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0,
        "function": function}]}}]})
}

const NAME: &str = "/choices/0/delta/tool_calls/0/function/name";

#[test]
fn a_name_goes_out_at_once_and_only_once() {
    for name in ["get_weather", "CUST", "CUST-1234567", "Ω"] {
        let events = [
            call(json!(name), json!("{}")),
            call(json!(null), json!(" ")),
        ];
        for done in ["", "data: [DONE]\n\n"] {
            let sent = stream(&events) + done;
            let out = run(&MASK, EVENTS, &[sent.as_bytes()]).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), sent, "byte for byte");
        }
        let scope = MASK.scope(&support::everyone());
        let mut filter = support::filter(&MASK, &scope, EVENTS);
        let mut out = Vec::new();
        filter
            .push(stream(&events[..1]).as_bytes(), &mut out)
            .unwrap();
        assert_eq!(filter.held_bytes(), 0, "nobody waits for a name");
        filter.expire(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), stream(&events[..1]));
    }
    let again = [
        call(json!("CUST-1"), json!("{")),
        call(json!("CUST-1"), json!("}")),
    ];
    let out = run(&MASK, EVENTS, &[stream(&again).as_bytes()]).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), stream(&again), "repeated");
    let whole = [call(json!("CUST-12345678"), json!(""))];
    let out = run(&MASK, EVENTS, &[stream(&whole).as_bytes()]).unwrap();
    assert_eq!(joined(&read_events(&out), NAME), masked("CUST-12345678"));
}

/// The first piece of a name is sent before there is a second; of the rest nothing passes that
/// would complete a match.
#[test]
fn a_name_in_pieces_does_not_leak() {
    let secret = "CUST-12345678";
    let finish = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    for (left, right) in cuts(secret).skip(1) {
        for last in [vec![], vec![finish.clone()]] {
            let mut events = vec![call(json!(left), json!(""))];
            let rest = single_chars(right);
            events.extend(rest.iter().map(|char| call(json!(char), json!(null))));
            events.extend(last);
            let out = run(&MASK, EVENTS, &[stream(&events).as_bytes()]).unwrap();
            let name = joined(&read_events(&out), NAME);
            let expected = if right.is_empty() {
                masked(secret)
            } else {
                format!("{left}{}", masked(secret))
            };
            assert_eq!(name, expected);
            let blocked = run(&policy("block"), EVENTS, &[stream(&events).as_bytes()]);
            assert_eq!(blocked.unwrap_err().code(), "response_blocked");
        }
    }
    // Pieces that are no match come whole, once, whatever was held between.
    for (left, right) in cuts("CUST-1234 and more").skip(1) {
        let events = [
            call(json!(left), json!("")),
            call(json!(right), json!(null)),
        ];
        let out = run(&MASK, EVENTS, &[stream(&events).as_bytes()]).unwrap();
        assert_eq!(joined(&read_events(&out), NAME), "CUST-1234 and more");
    }
}

#[test]
fn identifiers_too_long_to_identify_are_texts() {
    let padding = "x".repeat(60);
    let text = format!("{padding} CUST-12345678 {padding}");
    for field in ["name", "id", "role", "type"] {
        for at in 66..=padding.len() + 14 {
            let (left, right) = text.split_at(at);
            let event = |piece: &str| json!({"choices": [{"index": 0, "delta": {field: piece}}]});
            let events = [event(left), event(right)];
            let out = run(&MASK, EVENTS, &[stream(&events).as_bytes()]).unwrap();
            let pointer = format!("/choices/0/delta/{field}");
            let read = joined(&read_events(&out), &pointer);
            assert_eq!(read, masked(&text), "{field} at {at}");
        }
    }
}

/// The upstream closes after an event that lacks its end, and text is held.
#[test]
fn what_is_held_follows_an_unterminated_event_as_an_event_of_its_own() {
    let event = |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    for newline in ["\n", "\r\n", "\r"] {
        let first = format!("event: chunk{newline}data: {}", event("to CUST-"));
        let second = format!("event: chunk{newline}data: {}", event("1234567"));
        let terminated = format!("{first}{newline}{newline}{second}");
        for ending in ["", newline] {
            let sent = format!("{terminated}{ending}");
            let whole = run(&MASK, EVENTS, &[sent.as_bytes()]).unwrap();
            let read = read_events(&whole);
            let text = joined(&read, "/choices/0/delta/content");
            assert_eq!(text, "to CUST-1234567", "{sent:?}");
            assert_eq!(read.len(), 3);
            for cut in 0..=sent.len() {
                let (left, right) = sent.as_bytes().split_at(cut);
                assert_eq!(run(&MASK, EVENTS, &[left, right]).unwrap(), whole);
            }
        }
        // Nothing held, nothing added.
        let benign = format!("event: chunk{newline}data: {}", event("all is well."));
        let out = run(&MASK, EVENTS, &[benign.as_bytes()]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), benign);
    }
    let lines = "{\"response\":\"to CUST-\"}\n{\"response\":\"1234567\"}";
    for ending in ["", "\r"] {
        let sent = format!("{lines}{ending}");
        let whole = run(&MASK, NDJSON, &[sent.as_bytes()]).unwrap();
        for cut in 0..=sent.len() {
            let (left, right) = sent.as_bytes().split_at(cut);
            let out = run(&MASK, NDJSON, &[left, right]).unwrap();
            assert_eq!(out, whole);
        }
        let text = String::from_utf8(whole).unwrap();
        let read: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(joined(&read, "/response"), "to CUST-1234567");
    }
}
