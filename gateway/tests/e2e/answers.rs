//! Answers that are no stream, what is benign, what is blocked, and what engines do that no
//! document tells.

use penstock_loadgen::client::{Call, Event};
use serde_json::{Value, json};

use crate::stack::{MODEL, POLICY, Stack};
use crate::streams::{SPLITS, TEXT, assert_clean, channels, oracle, stack, stream};
use crate::witness::{code, directive, joined, scripted_chat};

#[test]
fn answers_that_are_no_stream_are_masked_whole_errors_included() {
    let stack = stack();
    let masked = oracle(&stack);
    let prompt = |answer: Value| directive(&answer);
    let all = json!({"text": TEXT, "reasoning": TEXT, "tool": "note",
        "arguments": json!({"note": TEXT}).to_string(), "escape": "all"});
    for (path, body, texts) in [
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": prompt(all.clone())}]}),
            vec![
                "/choices/0/message/content",
                "/choices/0/message/reasoning_content",
            ],
        ),
        (
            "/v1/completions",
            json!({"prompt": prompt(all.clone())}),
            vec!["/choices/0/text"],
        ),
        (
            "/v1/responses",
            json!({"input": prompt(all.clone())}),
            vec!["/output/1/content/0/text"],
        ),
        (
            "/v1/messages",
            json!({"max_tokens": 9, "messages": [{"role": "user", "content": prompt(all)}]}),
            vec![
                "/content/0/thinking",
                "/content/1/text",
                "/content/2/input/note",
            ],
        ),
    ] {
        let mut body = body;
        body["model"] = MODEL.into();
        let answer = stack.call(Call::post(path, &body));
        assert_clean(&answer.body);
        let json = answer.json();
        for pointer in texts {
            let found = json.pointer(pointer).and_then(Value::as_str);
            assert_eq!(found, Some(masked.as_str()), "{path} {pointer}");
        }
        let length: usize = answer
            .head
            .field("content-length")
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(length, answer.body.len());
    }
    let what = format!("no such thing: {TEXT}");
    for answer in [
        json!({"status": 400, "message": what}),
        json!({"status": 500, "message": what}),
        json!({"status": 400, "message": what, "profile": "transformers"}),
        json!({"status": 500, "body": what, "content_type": "text/plain"}),
        json!({"status": 502, "body": format!("<p>{what}</p>"), "content_type": "text/html"}),
        json!({"status": 500, "message": what, "encoding": "gzip"}),
    ] {
        for streams in [false, true] {
            let body = scripted_chat(&answer, streams);
            let got = stack.call(Call::post("/v1/chat/completions", &body));
            assert_eq!(u64::from(got.status()), answer["status"].as_u64().unwrap());
            assert_clean(&got.body);
            assert!(got.text().contains(&masked), "{answer}: {}", got.text());
        }
    }
    // What has no reader does not pass.
    let binary = json!({"body": TEXT, "content_type": "application/octet-stream"});
    let got = stack.call(Call::post(
        "/v1/chat/completions",
        &scripted_chat(&binary, false),
    ));
    assert_eq!(got.status(), 502);
    assert_clean(&got.body);
}

#[test]
fn what_is_benign_comes_through_byte_for_byte() {
    // Without the rule for e-mail addresses: any word at the end of a delta may begin one.
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.policy = POLICY.replace("\"personal\", ", "");
    });
    let direct = |body: &Value| {
        let call = Call::post("/v1/chat/completions", body);
        call.to(stack.double.address()).expect("the double answers")
    };
    // Whatever an engine writes: comments, ids, line ends, unknown fields, odd white space.
    let events = json!([
        ": ping\n\n",
        "id: 7\nretry: 10\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a \"}}],\"x\":1.50}\n\n",
        "data: {\"choices\": [ {\"index\":0,\"delta\":{\"content\":\"\\u00e9 \\/ é\"} } ] }\r\n\r\n",
        "event: odd\ndata: {\"type\":\"unheard.of\",\"n\":[null,true,-0.0,1e99]}\n\n",
        "data:{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"CUST-12, so\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: [DONE]\n\n",
    ]);
    let usual =
        json!({"text": "Nothing to see here, just words and 42 numbers.", "split": "words"});
    let odd = json!({ "events": events });
    let small = json!({"events": events, "wire_bytes": 3});
    for answer in [&odd, &small, &usual] {
        for call_of in [&odd, answer] {
            let body = scripted_chat(call_of, true);
            let (want, got) = (
                direct(&body),
                stack.call(Call::post("/v1/chat/completions", &body)),
            );
            assert_eq!(got.status(), 200);
            assert_eq!(
                got.head.field("content-type"),
                want.head.field("content-type")
            );
            let ids = |bytes: &[u8]| {
                // The double numbers its answers.
                let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
                let mut parts = text.split("chatcmpl-double");
                let first = parts.next().unwrap_or_default().to_owned();
                parts.fold(first, |so_far, part| so_far + &part[8..])
            };
            assert_eq!(ids(&got.body), ids(&want.body));
        }
    }
    let whole = json!({"body": "{ \"a\":\t[1.0 ,\"\\u0041\\/\"],\"a\":null }\n"});
    let body = scripted_chat(&whole, false);
    let (want, got) = (
        direct(&body),
        stack.call(Call::post("/v1/chat/completions", &body)),
    );
    assert_eq!(got.body, want.body);
}

#[test]
fn habits_of_engines_that_no_document_tells() {
    let stack = stack();
    let masked = oracle(&stack);
    for split in SPLITS {
        let quirks = json!({"text": TEXT, "split": split, "profile": "transformers"});
        let events = stream(
            &stack,
            "/v1/chat/completions",
            &scripted_chat(&quirks, true),
        );
        assert_eq!(channels(&events)["0/content"], masked, "{split}");
        let last = events.last().and_then(Event::json).expect("no [DONE]");
        assert_eq!(last["choices"][0]["finish_reason"], "stop");
        assert!(last["usage"]["total_tokens"].is_u64());
        assert_eq!(last["model"], format!("{MODEL}@main"));
        // Streams although nobody asked.
        let body = json!({"model": MODEL, "input": directive(&quirks)});
        let events = stream(&stack, "/v1/responses", &body);
        let text = joined(&events, |event| {
            let delta = event["type"] == "response.output_text.delta";
            delta.then(|| event["delta"].as_str().unwrap_or("").to_owned())
        });
        assert_eq!(text, masked, "{split}");
        // No finish reason ever, and no end but the connection's.
        let bare = json!({"text": TEXT, "split": split, "finish_reason": "", "done": false,
            "framing": "close"});
        let events = stream(&stack, "/v1/chat/completions", &scripted_chat(&bare, true));
        assert_eq!(channels(&events)["0/content"], masked, "{split}");
        // Lines of JSON.
        let lines: Vec<String> = TEXT.split_inclusive(' ').map(|word| {
            json!({"model": "m", "message": {"role": "assistant", "content": word}, "done": false})
                .to_string() + "\n"
        }).collect();
        let ndjson = json!({"events": lines, "content_type": "application/x-ndjson"});
        let answer = stack.call(Call::post(
            "/v1/chat/completions",
            &scripted_chat(&ndjson, true),
        ));
        let text: String = answer
            .text()
            .lines()
            .map(|line| {
                let line: Value = serde_json::from_str(line).expect("a line of JSON");
                line["message"]["content"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        assert_eq!(text, masked, "{split}");
    }
}

#[test]
fn a_blocked_answer_ends_with_an_error_and_without_the_value() {
    let stack = Stack::with(|setup| {
        setup.policy = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n\
            [[guard]]\nname = \"nothing out\"\ndirection = \"response\"\npacks = [\"customer\"]\n\
            action = \"block\"\n"
            .to_owned();
    });
    for split in SPLITS {
        let answer = json!({"text": TEXT, "split": split});
        let mut connection = stack.begin(Call::post(
            "/v1/chat/completions",
            &scripted_chat(&answer, true),
        ));
        let response = connection.read_response().expect("a proper end");
        assert_eq!(response.status(), 200);
        let text = response.text();
        assert!(!text.contains("12345678"), "{text}");
        let events = response.events();
        let error = events.last().and_then(Event::json).expect("an error event");
        assert_eq!(error["error"]["code"], "response_blocked");
        assert!(connection.closed(), "the connection ends with it");
        let before = channels(&events).remove("0/content").unwrap_or_default();
        assert!("Grüße: order ".starts_with(&before), "{before}");

        let got = stack.call(Call::post(
            "/v1/chat/completions",
            &scripted_chat(&answer, false),
        ));
        assert_eq!(
            (got.status(), code(&got).as_str()),
            (403, "response_blocked"),
            "{split}"
        );
        assert!(!got.text().contains("12345678"));

        let body = json!({"model": MODEL, "max_tokens": 9, "stream": true,
            "messages": [{"role": "user", "content": directive(&answer)}]});
        let events = stack.call(Call::post("/v1/messages", &body)).events();
        let last = events.last().expect("an event");
        assert_eq!(last.name.as_deref(), Some("error"));
        assert_eq!(last.json().unwrap()["error"]["type"], "permission_error");
    }
    let session = stack.session_of(&stack.chat(&directive(&json!({ "text": TEXT }))));
    let decision = crate::witness::decisions_of(&session)[0];
    assert_eq!(
        (decision.action.as_str(), decision.direction.as_str()),
        ("block", "response")
    );
}
