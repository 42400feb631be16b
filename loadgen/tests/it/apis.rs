//! Bodies and event sequences against the shapes that the vendors document.

use penstock_loadgen::client::{Call, Event};
use penstock_loadgen::double::{Double, DoubleOptions};
use serde_json::{Value, json};

use crate::{chat, double, stream, user};

fn values(events: &[Event]) -> Vec<Value> {
    events
        .iter()
        .map(|event| event.json().unwrap_or_else(|| event.data.clone().into()))
        .collect()
}

fn contents(values: &[Value], index: u64) -> String {
    let choices = values.iter().filter_map(|value| value["choices"].get(0));
    let ours = choices.filter(|choice| choice["index"] == index);
    ours.filter_map(|choice| choice["delta"]["content"].as_str())
        .collect()
}

#[test]
fn a_chat_completion_has_every_documented_field() {
    let double = double();
    let response = chat(&double, "hello you");
    let body = response.json();
    assert_eq!(response.status(), 200);
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "m");
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["usage"]["prompt_tokens"], 2);
    let mut request = user("[[double: text=\"a b\"]]");
    request["n"] = 3.into();
    request["logprobs"] = true.into();
    request["top_logprobs"] = 2.into();
    let body = Call::post("/v1/chat/completions", &request)
        .to(double.address())
        .unwrap()
        .json();
    assert_eq!(body["choices"].as_array().unwrap().len(), 3);
    let logprobs = &body["choices"][2]["logprobs"]["content"];
    assert_eq!(logprobs[1]["token"], " b");
    assert_eq!(logprobs[1]["bytes"], json!([32, 98]));
    assert_eq!(logprobs[1]["top_logprobs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_chat_stream_opens_with_the_role_and_ends_with_done() {
    let mut request = user("[[double: text=\"one two three\"]]");
    request["n"] = 2.into();
    request["stream_options"] = json!({ "include_usage": true });
    let values = values(&stream(&double(), "/v1/chat/completions", request));
    assert_eq!(values[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(values[0]["choices"][0]["finish_reason"], Value::Null);
    assert_eq!(values[0]["usage"], Value::Null);
    assert_eq!(contents(&values, 0), "one two three");
    assert_eq!(contents(&values, 1), "one two three");
    let [.., finish, usage, done] = values.as_slice() else {
        panic!("too short")
    };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 6);
    assert_eq!(done, "[DONE]");
    let ids: Vec<_> = values[..values.len() - 1]
        .iter()
        .map(|value| &value["id"])
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn without_being_asked_a_stream_has_no_usage() {
    let values = values(&stream(&double(), "/v1/chat/completions", user("hi")));
    assert!(values.iter().all(|value| value.get("usage").is_none()));
}

#[test]
fn reasoning_refusals_and_tool_calls_have_their_own_deltas() {
    let double = double();
    let mut request =
        user("[[double: reasoning=\"hm hm\" arguments=\"{\\\"a\\\":1}\" split=chars:3]]");
    request["tools"] = json!([{ "type": "function", "function": { "name": "look" } }]);
    let values_of =
        |request: &Value| values(&stream(&double, "/v1/chat/completions", request.clone()));
    let chunks = values_of(&request);
    let deltas: Vec<_> = chunks
        .iter()
        .filter_map(|value| value["choices"].get(0))
        .collect();
    let reasoning: String = deltas
        .iter()
        .filter_map(|choice| choice["delta"]["reasoning_content"].as_str())
        .collect();
    assert_eq!(reasoning, "hm hm");
    let calls: Vec<_> = deltas
        .iter()
        .filter_map(|choice| choice["delta"]["tool_calls"].get(0))
        .collect();
    assert_eq!(calls[0]["function"]["name"], "look");
    assert!(calls[0]["id"].as_str().unwrap().starts_with("call_"));
    let arguments: String = calls
        .iter()
        .filter_map(|call| call["function"]["arguments"].as_str())
        .collect();
    assert_eq!(arguments, "{\"a\":1}");
    let reasons: Vec<_> = deltas
        .iter()
        .filter_map(|choice| choice["finish_reason"].as_str())
        .collect();
    assert_eq!(reasons, ["tool_calls"]);
    let refusal: String = values_of(&user("[[double: refusal=\"not that\"]]"))
        .iter()
        .filter_map(|value| {
            value["choices"][0]["delta"]["refusal"]
                .as_str()
                .map(String::from)
        })
        .collect();
    assert_eq!(refusal, "not that");
}

#[test]
fn completions_plain_and_streamed() {
    let double = double();
    let body = json!({ "model": "m", "prompt": "[[double: text=\"x y\"]]", "logprobs": 1 });
    let whole = Call::post("/v1/completions", &body)
        .to(double.address())
        .unwrap()
        .json();
    assert_eq!(whole["object"], "text_completion");
    assert_eq!(whole["choices"][0]["text"], "x y");
    assert_eq!(
        whole["choices"][0]["logprobs"]["text_offset"],
        json!([0, 1])
    );
    let values = values(&stream(&double, "/v1/completions", body));
    let text: String = values
        .iter()
        .filter_map(|value| value["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(text, "x y");
    assert_eq!(values.last().unwrap(), "[DONE]");
}

#[test]
fn a_responses_stream_has_the_documented_sequence() {
    let double = double();
    let body = json!({ "model": "m", "input": "[[double: text=\"a b\" reasoning=\"so\"]]" });
    let events = stream(&double, "/v1/responses", body.clone());
    let names: Vec<_> = events
        .iter()
        .map(|event| event.name.clone().unwrap())
        .collect();
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names, expected.map(|name| format!("response.{name}")));
    for (index, (event, name)) in events.iter().zip(&names).enumerate() {
        let value = event.json().unwrap();
        assert_eq!(value["sequence_number"], index);
        assert_eq!(&value["type"], name);
    }
    let last = events.last().unwrap().json().unwrap();
    let whole = Call::post("/v1/responses", &body)
        .to(double.address())
        .unwrap()
        .json();
    assert_eq!(last["response"]["status"], "completed");
    assert_eq!(last["response"]["output"][1]["content"][0]["text"], "a b");
    assert_eq!(
        whole["output"][1]["content"],
        last["response"]["output"][1]["content"]
    );
    let call = json!({ "model": "m", "input": "[[double: tool=f arguments=\"{}\"]]" });
    let names: Vec<_> = stream(&double, "/v1/responses", call)
        .into_iter()
        .filter_map(|event| event.name)
        .collect();
    assert!(
        names.contains(&"response.function_call_arguments.done".to_owned()),
        "{names:?}"
    );
}

#[test]
fn a_messages_stream_has_the_documented_sequence() {
    let double = double();
    let events = stream(
        &double,
        "/v1/messages",
        user("[[double: text=\"a b\" tool=f]]"),
    );
    let names: Vec<_> = events
        .iter()
        .map(|event| event.name.clone().unwrap())
        .collect();
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names, expected);
    let values = values(&events);
    assert_eq!(values[0]["message"]["content"], json!([]));
    assert_eq!(
        values[3]["delta"],
        json!({ "type": "text_delta", "text": "a" })
    );
    assert_eq!(values[7]["delta"]["type"], "input_json_delta");
    assert_eq!(values[9]["delta"]["stop_reason"], "tool_use");
    let whole = Call::post("/v1/messages", &user("[[double: text=\"a b\"]]"));
    let whole = whole.to(double.address()).unwrap().json();
    assert_eq!(whole["content"], json!([{ "type": "text", "text": "a b" }]));
    let count = Call::post("/v1/messages/count_tokens", &user("a b c"));
    assert_eq!(
        count.to(double.address()).unwrap().json()["input_tokens"],
        3
    );
}

#[test]
fn embeddings_in_both_encodings_and_models_in_both_formats() {
    let double = double();
    let mut body = json!({ "model": "m", "input": ["a", "b"] });
    let post = |body: &Value| {
        Call::post("/v1/embeddings", body)
            .to(double.address())
            .unwrap()
    };
    let floats = post(&body).json();
    assert_eq!(floats["data"].as_array().unwrap().len(), 2);
    assert!(floats["data"][1]["embedding"][0].is_f64());
    body["encoding_format"] = "base64".into();
    assert!(post(&body).json()["data"][0]["embedding"].is_string());
    let openai = Call::get("/v1/models").to(double.address()).unwrap().json();
    assert_eq!(openai["data"][0]["object"], "model");
    let anthropic = Call::get("/v1/models").field("anthropic-version", "2023-06-01");
    assert_eq!(
        anthropic.to(double.address()).unwrap().json()["data"][0]["type"],
        "model"
    );
}

#[test]
fn the_transformers_profile_keeps_its_habits() {
    let mut options = DoubleOptions::default();
    options
        .defaults
        .insert("profile".into(), "transformers".into());
    let double = Double::start(options).unwrap();
    let values = values(&stream(&double, "/v1/chat/completions", user("hi")));
    let (last, before) = values.split_last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert!(last["usage"]["total_tokens"].is_u64());
    assert_eq!(last["model"], "m@main");
    for value in before {
        assert!(
            value["choices"][0].get("finish_reason").is_none(),
            "{value}"
        );
        assert!(value.get("usage").is_none(), "{value}");
    }
    let unasked = Call::post("/v1/responses", &json!({ "model": "m", "input": "hi" }));
    let unasked = unasked.to(double.address()).unwrap();
    assert!(
        unasked
            .head
            .field("content-type")
            .unwrap()
            .starts_with("text/event-stream")
    );
    let error = chat(&double, "[[double: status=422 message=no]]");
    assert_eq!(
        (error.status(), error.json()),
        (422, json!({ "detail": "no" }))
    );
}

#[test]
fn errors_have_the_format_of_the_api() {
    let double = double();
    let openai = chat(&double, "[[double: status=429 message=\"slow down\"]]");
    assert_eq!(openai.status(), 429);
    assert_eq!(openai.json()["error"]["type"], "rate_limit_error");
    let anthropic = Call::post("/v1/messages", &user("[[double: status=529]]"));
    let anthropic = anthropic.to(double.address()).unwrap();
    assert_eq!(anthropic.json()["error"]["type"], "overloaded_error");
    let wrong = chat(&double, "[[double: nonsense=1]]");
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().contains("nonsense"), "{}", wrong.text());
    let invalid = Call::new("POST", "/v1/chat/completions").body("{\"model\":");
    assert_eq!(invalid.to(double.address()).unwrap().status(), 400);
}

#[test]
fn bench_models_answer_the_bytes_that_their_names_say() {
    let double = double();
    let ask = |path: &str, model: &str| {
        Call::post(path, &json!({ "model": model, "messages": [] }))
            .to(double.address())
            .unwrap()
    };
    for path in ["/v1/chat/completions", "/v1/messages"] {
        for (model, bytes) in [("bench-1k", 1024), ("bench-700", 700)] {
            let response = ask(path, model);
            assert_eq!(response.body.len(), bytes, "{path} {model}");
            assert_eq!(response.json()["model"], model);
        }
    }
    let events = ask("/v1/chat/completions", "bench-stream-64").events();
    let with_text = |event: &&Event| {
        event.json().is_some_and(|value| {
            value["choices"][0]["delta"]["content"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        })
    };
    assert_eq!(events.iter().filter(with_text).count(), 64);
    assert_eq!(events.last().unwrap().data, "[DONE]");
    let events = ask("/v1/messages", "bench-stream-10x1@1").events();
    assert_eq!(events.len(), 10 + 5);
    assert_eq!(double.counters().paths["bench"], 6);
}
