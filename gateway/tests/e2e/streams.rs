//! Streams are masked while they stream, in every API and channel, wherever they are cut, break off
//! or stop.
//!
//! The oracle of a masked stream is the same text in an answer that is no stream: it is masked
//! whole.

use std::collections::BTreeMap;

use penstock_loadgen::client::{Call, ClientError, Event};
use serde_json::{Value, json};

use crate::stack::{MODEL, Stack};
use crate::witness::{directive, joined, scripted_chat};

/// What must not come through.
pub(crate) const VALUES: [&str; 3] = ["12345678", "jane.doe", "4111"];
pub(crate) const TEXT: &str = "Grüße: order CUST-12345678 for jane.doe@example.com, card 4111 1111 1111 1111 \u{1f642}. CUST-1 stays.";
/// How a text is cut into deltas.
pub(crate) const SPLITS: [&str; 5] = ["whole", "words", "chars:1", "bytes:1", "chars:7"];

/// `TEXT` as it is masked whole, by the gateway itself.
pub(crate) fn oracle(stack: &Stack) -> String {
    let body = scripted_chat(&json!({"text": TEXT}), false);
    let answer = stack.call(Call::post("/v1/chat/completions", &body)).json();
    let masked = answer["choices"][0]["message"]["content"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(masked.starts_with("Grüße: order <customer:"), "{masked}");
    assert!(masked.ends_with("\u{1f642}. CUST-1 stays."), "{masked}");
    assert_clean(masked.as_bytes());
    masked
}

#[track_caller]
pub(crate) fn assert_clean(bytes: &[u8]) {
    for value in VALUES {
        assert!(
            !crate::witness::contains(bytes, value),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

pub(crate) fn stack() -> Stack {
    Stack::with(|setup| setup.record = false)
}

/// Texts of a chat stream by choice and channel.
pub(crate) fn channels(events: &[Event]) -> BTreeMap<String, String> {
    let mut channels: BTreeMap<String, String> = BTreeMap::new();
    for value in events.iter().filter_map(Event::json) {
        for choice in value["choices"].as_array().into_iter().flatten() {
            let delta = &choice["delta"];
            let mut add = |name: &str, text: &Value| {
                if let Some(text) = text.as_str() {
                    let key = format!("{}/{name}", choice["index"]);
                    channels.entry(key).or_default().push_str(text);
                }
            };
            for name in ["content", "reasoning_content", "refusal"] {
                add(name, &delta[name]);
            }
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                add(
                    &format!("tool {}", call["index"]),
                    &call["function"]["arguments"],
                );
            }
        }
    }
    channels
}

pub(crate) fn stream(stack: &Stack, path: &str, body: &Value) -> Vec<Event> {
    let answer = stack.call(Call::post(path, body));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let media = answer.head.field("content-type").unwrap_or_default();
    assert!(media.starts_with("text/event-stream"), "{media}");
    answer.events()
}

#[test]
fn chat_streams_are_masked_in_every_channel_at_every_cut() {
    let stack = stack();
    let masked = oracle(&stack);
    let arguments = json!({"note": TEXT}).to_string();
    for split in SPLITS {
        for escape in ["plain", "ascii", "all"] {
            let answer = json!({"text": TEXT, "reasoning": TEXT, "tool": "note",
                "arguments": arguments, "split": split, "escape": escape, "choices": 2});
            let mut body = scripted_chat(&answer, true);
            body["stream_options"] = json!({"include_usage": true});
            let events = stream(&stack, "/v1/chat/completions", &body);
            let found = channels(&events);
            for choice in 0..2 {
                let of = |name: &str| found[&format!("{choice}/{name}")].clone();
                assert_eq!(of("content"), masked, "{split} {escape}");
                assert_eq!(of("reasoning_content"), masked, "{split} {escape}");
                let call: Value = serde_json::from_str(&of("tool 0")).expect("still JSON");
                assert_eq!(call["note"], masked, "{split} {escape}");
            }
            assert_eq!(events.last().unwrap().data, "[DONE]");
            let ids = joined(
                &events,
                crate::witness::at("/choices/0/delta/tool_calls/0/id"),
            );
            assert!(ids.starts_with("call_"), "{ids}");
            let usage = events.iter().rev().find_map(Event::json).unwrap()["usage"].clone();
            assert!(usage["total_tokens"].as_u64() > Some(0), "{usage}");
            let finished = events.iter().filter_map(Event::json).filter(|event| {
                event
                    .pointer("/choices/0/finish_reason")
                    .is_some_and(Value::is_string)
            });
            assert_eq!(finished.count(), 2);
        }
        let body = scripted_chat(&json!({"refusal": TEXT, "split": split}), true);
        let events = stream(&stack, "/v1/chat/completions", &body);
        assert_eq!(channels(&events)["0/refusal"], masked, "{split}");
        // Two choices that say different things at the same time.
        let texts = json!({"choice_texts": [TEXT, "CUST-7654321 is short"], "choices": 2,
            "split": split});
        let events = stream(&stack, "/v1/chat/completions", &scripted_chat(&texts, true));
        let found = channels(&events);
        assert_eq!(found["0/content"], masked, "{split}");
        assert_eq!(found["1/content"], "CUST-7654321 is short", "{split}");
    }
    assert!(stack.counter("masked_responses") > 0);
}

#[test]
fn the_other_apis_are_masked_too_final_copies_included() {
    let stack = stack();
    let masked = oracle(&stack);
    let arguments = json!({"note": TEXT}).to_string();
    for split in SPLITS {
        let answer = json!({"text": TEXT, "reasoning": TEXT, "tool": "note",
            "arguments": arguments, "split": split});
        let prompt = directive(&answer);
        let body = json!({"model": MODEL, "prompt": prompt, "stream": true, "n": 2});
        let events = stream(&stack, "/v1/completions", &body);
        for choice in 0..2 {
            let text = joined(&events, |event| {
                let choice_of = event["choices"][0]["index"] == choice;
                choice_of.then(|| {
                    event["choices"][0]["text"]
                        .as_str()
                        .unwrap_or("")
                        .to_owned()
                })
            });
            assert_eq!(text, masked, "{split}");
        }

        let body = json!({"model": MODEL, "input": prompt, "stream": true});
        let answer = stack.call(Call::post("/v1/responses", &body));
        assert_clean(&answer.body);
        let events = answer.events();
        let of = |kind: &str, field: &str| {
            joined(&events, |event| {
                (event["type"] == kind).then(|| event[field].as_str().unwrap_or("").to_owned())
            })
        };
        assert_eq!(of("response.output_text.delta", "delta"), masked, "{split}");
        assert_eq!(of("response.output_text.done", "text"), masked, "{split}");
        assert_eq!(
            of("response.reasoning_summary_text.delta", "delta"),
            masked,
            "{split}"
        );
        for field in [
            of("response.function_call_arguments.delta", "delta"),
            of("response.function_call_arguments.done", "arguments"),
        ] {
            let call: Value = serde_json::from_str(&field).expect("still JSON");
            assert_eq!(call["note"], masked, "{split}");
        }
        let last = events.last().and_then(Event::json).expect("an event");
        assert_eq!(last["type"], "response.completed");
        assert_eq!(last["response"]["output"][1]["content"][0]["text"], masked);

        let body = json!({"model": MODEL, "max_tokens": 99, "stream": true,
            "messages": [{"role": "user", "content": prompt}]});
        let answer = stack.call(Call::post("/v1/messages", &body));
        assert_clean(&answer.body);
        let events = answer.events();
        let of = |name: &str| joined(&events, crate::witness::at(&format!("/delta/{name}")));
        assert_eq!(of("text"), masked, "{split}");
        assert_eq!(of("thinking"), masked, "{split}");
        let call: Value = serde_json::from_str(&of("partial_json")).expect("still JSON");
        assert_eq!(call["note"], masked, "{split}");
        assert_eq!(events.last().unwrap().name.as_deref(), Some("message_stop"));
    }
}

#[test]
fn probabilities_do_not_tell_what_was_masked() {
    let stack = stack();
    for split in SPLITS {
        for streams in [true, false] {
            let mut body = scripted_chat(&json!({"text": TEXT, "split": split}), streams);
            body["logprobs"] = true.into();
            body["top_logprobs"] = 2.into();
            let answer = stack.call(Call::post("/v1/chat/completions", &body));
            assert_clean(&answer.body);
            let values = if streams {
                answer.events().iter().filter_map(Event::json).collect()
            } else {
                vec![answer.json()]
            };
            let (mut tokens, mut bytes, mut tops) = (String::new(), Vec::new(), String::new());
            for value in &values {
                let entries = value
                    .pointer("/choices/0/logprobs/content")
                    .and_then(Value::as_array);
                for entry in entries.into_iter().flatten() {
                    tokens.push_str(entry["token"].as_str().unwrap_or_default());
                    let given = entry["bytes"].as_array().into_iter().flatten();
                    bytes.extend(given.filter_map(Value::as_u64).map(|byte| byte as u8));
                    tops.push_str(
                        entry["top_logprobs"][0]["token"]
                            .as_str()
                            .unwrap_or_default(),
                    );
                }
            }
            assert_clean(tokens.as_bytes());
            assert_clean(&bytes);
            assert_clean(tops.as_bytes());

            let prompt = directive(&json!({"text": TEXT, "split": split}));
            let body = json!({"model": MODEL, "prompt": prompt, "stream": streams, "logprobs": 1});
            let answer = stack.call(Call::post("/v1/completions", &body));
            assert_clean(&answer.body);
            let values: Vec<Value> = if streams {
                answer.events().iter().filter_map(Event::json).collect()
            } else {
                vec![answer.json()]
            };
            let (mut tokens, mut tops) = (String::new(), String::new());
            for value in &values {
                let logprobs = &value["choices"][0]["logprobs"];
                for token in logprobs["tokens"].as_array().into_iter().flatten() {
                    tokens.push_str(token.as_str().unwrap_or_default());
                }
                for top in logprobs["top_logprobs"].as_array().into_iter().flatten() {
                    let names = top
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(name, _)| name.as_str());
                    tops.extend(names);
                }
            }
            assert_clean(tokens.as_bytes());
            assert_clean(tops.as_bytes());
        }
    }
}

#[test]
fn what_was_held_when_the_engine_broke_off_is_never_released() {
    let stack = stack();
    let masked = oracle(&stack);
    // Characters after which a match may be under way, or is complete but may still grow.
    for count in [5, 14, 19, 22, 27, 30, 38, 46, 52, 56, 70, 90] {
        for how in ["after", "event", "chunk"] {
            let answer =
                json!({"text": TEXT, "split": "chars:1", "truncate": format!("{how}:{count}")});
            let mut connection = stack.begin(Call::post(
                "/v1/chat/completions",
                &scripted_chat(&answer, true),
            ));
            let mut text = String::new();
            let end = match connection.read_head() {
                Ok(_) => loop {
                    match connection.next_event() {
                        Ok(Some(event)) => {
                            let delta = channels(&[event]);
                            text.extend(delta.into_values());
                        }
                        end => break end.map(|_| ()),
                    }
                },
                Err(error) => Err(error),
            };
            assert!(
                matches!(end, Err(ClientError::Closed(_) | ClientError::Io(_))),
                "{how}:{count} must not look whole: {end:?}"
            );
            assert!(masked.starts_with(&text), "{how}:{count}: {text}");
        }
        // Where the engine says that the text ended there, the rest of it is released.
        let answer =
            json!({"text": TEXT, "split": "chars:1", "truncate": format!("clean:{count}")});
        let cut: String = TEXT.chars().take(count).collect();
        let whole = scripted_chat(&json!({ "text": cut }), false);
        let whole = stack
            .call(Call::post("/v1/chat/completions", &whole))
            .json();
        let events = stream(
            &stack,
            "/v1/chat/completions",
            &scripted_chat(&answer, true),
        );
        assert_eq!(
            channels(&events)["0/content"],
            whole["choices"][0]["message"]["content"]
        );
    }
    assert_eq!(stack.counter("upstream_failures"), 36);
    // What cannot be read cannot be inspected, so it does not pass either.
    let answer = json!({"events": ["data: {\"a\":1}\n\n", "data: CUST-12345678\n\n"]});
    let mut connection = stack.begin(Call::post(
        "/v1/chat/completions",
        &scripted_chat(&answer, true),
    ));
    let Err(ClientError::Closed(got)) = connection.read_response() else {
        panic!("an event that is no JSON must not look like one");
    };
    assert_eq!(String::from_utf8(got).unwrap(), "data: {\"a\":1}\n\n");
}

#[test]
fn text_held_too_long_is_masked_not_released() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.limits = "hold = \"200ms\"".to_owned();
    });
    // The engine stops in the middle of a number, for longer than this test runs.
    let answer = json!({"split": ["order CUST-1234", "5678 is ready"], "stall": [[1, 600_000]]});
    let mut connection = stack.begin(Call::post(
        "/v1/chat/completions",
        &scripted_chat(&answer, true),
    ));
    assert_eq!(connection.read_head().expect("a head").status, 200);
    let mut text = String::new();
    while !text.contains('[') && !text.contains('<') {
        let event = connection
            .next_event()
            .expect("an event")
            .expect("the stream goes on");
        text.extend(channels(&[event]).into_values());
    }
    assert!(
        text.starts_with("order ") && !text.contains("1234"),
        "{text}"
    );
    assert_eq!(
        stack.double.counters().generating,
        1,
        "the engine is still at it"
    );
    drop(connection);
    let freed = |counters: &penstock_loadgen::double::Counters| counters.cancelled == 1;
    assert!(
        stack.double.wait(crate::witness::PATIENCE, freed),
        "the engine's slot is freed"
    );
    // Shorter than the test's patience: what follows the masked tail passes.
    let answer = json!({"split": ["order CUST-1234", "5678 is ready"], "stall": [[1, 1000]]});
    let events = stream(
        &stack,
        "/v1/chat/completions",
        &scripted_chat(&answer, true),
    );
    let text = &channels(&events)["0/content"];
    assert!(
        // Whether the blank still belongs to the number is the rules' affair.
        text.ends_with("is ready") && !text.contains("1234") && !text.contains("5678"),
        "{text}"
    );
}

#[test]
fn the_rest_of_a_text_comes_before_whatever_ends_it() {
    let stack = stack();
    // A number that lacks a digit: held until the text ends, and then sent as it is.
    let unfinished = "your number is CUST-1234567";
    let chat = |answer: Value| {
        stream(
            &stack,
            "/v1/chat/completions",
            &scripted_chat(&answer, true),
        )
    };
    for split in SPLITS {
        let finish = |event: &Event| {
            let value = event.json().unwrap_or_default();
            value
                .pointer("/choices/0/finish_reason")
                .is_some_and(Value::is_string)
        };
        let events = chat(json!({"text": unfinished, "split": split, "choices": 2}));
        let end = events.iter().position(finish).expect("a finish reason");
        assert_eq!(channels(&events)["1/content"], unfinished, "{split}");
        assert_eq!(
            channels(&events[..=end])["0/content"],
            unfinished,
            "{split}"
        );
        // All events of an answer carry its id, those that we add too.
        let of = |name: &str| {
            let values = events.iter().filter_map(Event::json);
            values
                .map(|value| value[name].to_string())
                .collect::<std::collections::BTreeSet<_>>()
        };
        for name in ["id", "object", "created", "model"] {
            assert_eq!(of(name).len(), 1, "{name}: {:?}", of(name));
        }
        let events = chat(json!({"text": unfinished, "split": split, "finish_reason": ""}));
        let end = events
            .iter()
            .position(|event| event.data == "[DONE]")
            .expect("[DONE]");
        assert_eq!(end, events.len() - 1);
        assert_eq!(channels(&events)["0/content"], unfinished, "{split}");

        let prompt = directive(&json!({"text": unfinished, "split": split}));
        let body = json!({"model": MODEL, "input": prompt, "stream": true});
        let events = stream(&stack, "/v1/responses", &body);
        let named = |name: &str| {
            events
                .iter()
                .position(|event| event.name.as_deref() == Some(name))
        };
        let end = named("response.output_text.done").expect("its end");
        let text = joined(&events[..end], crate::witness::at("/delta"));
        assert_eq!(text, unfinished, "{split}");
        let numbers = events
            .iter()
            .filter_map(Event::json)
            .map(|event| event["sequence_number"].as_u64().expect("a number"));
        assert!(numbers.is_sorted(), "{split}");

        let body = json!({"model": MODEL, "max_tokens": 9, "stream": true,
            "messages": [{"role": "user", "content": prompt}]});
        let events = stream(&stack, "/v1/messages", &body);
        let named = |name: &str| {
            events
                .iter()
                .position(|event| event.name.as_deref() == Some(name))
        };
        let end = named("content_block_stop").expect("its end");
        assert_eq!(
            joined(&events[..end], crate::witness::at("/delta/text")),
            unfinished,
            "{split}"
        );
        for event in &events {
            assert_eq!(
                event.json().expect("JSON")["type"].as_str(),
                event.name.as_deref()
            );
        }
    }
}
