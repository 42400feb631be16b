//! Responses that are read whole, side doors, blocks, refusals and bounds.

mod support;

use std::sync::LazyLock;

use penstock_policies::{Action, EVENT_BYTES_MAX, FilterError, PolicySet};
use serde_json::{Value, json};
use support::{everyone, filter, masked, policy, policy_of, read_events, route, run};

static MASK: LazyLock<PolicySet> = LazyLock::new(|| policy("mask"));
static BLOCK: LazyLock<PolicySet> = LazyLock::new(|| policy("block"));
static FLAG: LazyLock<PolicySet> = LazyLock::new(|| policy("flag"));

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

#[test]
fn a_masked_body_differs_in_the_changed_literals_only() {
    let body = "{ \"id\" : \"x\\u0041\\/\",\n\t\"choices\":[{\"message\":{\"content\":\
                \"\\u0043UST-12345678\", \"n\":1.50e0}}], \"CUST-12345678\" : [true ,null]}\n";
    let number = masked("CUST-12345678");
    let expected = body
        .replace("\"\\u0043UST-12345678\"", &format!("\"{number}\""))
        .replace("\"CUST-12345678\"", &format!("\"{number}\""));
    let out = run(&MASK, JSON, &[body.as_bytes()]).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let benign = body.replace("UST-", "ust-");
    for cut in 0..benign.len() {
        let (left, right) = benign.as_bytes().split_at(cut);
        assert_eq!(run(&MASK, JSON, &[left, right]).unwrap(), benign.as_bytes());
    }
}

#[test]
fn every_place_of_a_body_is_masked() {
    let secret = "CUST-12345678";
    let bodies = [
        json!({"choices": [{"message": {"content": secret, "reasoning_content": secret,
            "refusal": secret, "tool_calls": [{"function": {"arguments":
            format!("{{\"id\":\"{secret}\"}}")}}]}}]}),
        json!({"content": [{"type": "text", "text": secret}, {"type": "tool_use",
            "input": {"deep": [[{"x": secret}]]}}]}),
        json!({"output": [{"content": [{"text": secret, "logprobs": []}]}]}),
        json!({"error": {"message": secret}}),
        json!({"detail": secret}),
        json!([secret]),
        json!(secret),
        json!({secret: secret}),
    ];
    for body in bodies {
        let out = run(&MASK, JSON, &[body.to_string().as_bytes()]).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains("12345678"), "{out}");
        assert_eq!(
            out.matches(&masked(secret)).count(),
            body.to_string().matches(secret).count()
        );
    }
}

fn chat_with_logprobs(content: &str, tokens: &[&str]) -> Value {
    let tokens: Vec<Value> = tokens
        .iter()
        .map(|token| {
            json!({"token": token, "logprob": -0.1, "bytes": token.as_bytes(),
                "top_logprobs": [{"token": token, "logprob": -0.1, "bytes": token.as_bytes()}]})
        })
        .collect();
    json!({"choices": [{"index": 0, "message": {"content": content},
        "logprobs": {"content": tokens, "refusal": null}}]})
}

#[test]
fn logprobs_of_a_body_go_with_the_text() {
    let filtered = |body: &Value| -> Value {
        let out = run(&MASK, JSON, &[body.to_string().as_bytes()]).unwrap();
        serde_json::from_slice(&out).unwrap()
    };
    let benign = chat_with_logprobs("all well", &["all", " well"]);
    assert_eq!(filtered(&benign), benign);
    let tokens = ["CU", "ST-1234", "5678"];
    assert!(
        filtered(&chat_with_logprobs("CUST-12345678", &tokens))["choices"][0]["logprobs"].is_null()
    );
    // The tokens alone are a text too, whatever stands beside them.
    assert!(filtered(&chat_with_logprobs("", &tokens))["choices"][0]["logprobs"].is_null());
    let ids = json!({"choices": [{"text": "CUST-12345678", "token_ids": [1, 2],
        "logprobs": {"tokens": ["token_id:1"], "token_logprobs": [0], "text_offset": [0]}}]});
    assert!(filtered(&ids)["choices"][0]["token_ids"].is_null());
    assert!(filtered(&ids)["choices"][0]["logprobs"].is_null());
    let legacy = json!({"choices": [{"text": "", "logprobs": {"tokens": tokens,
        "top_logprobs": [{"CU": -0.1}]}}]});
    assert!(filtered(&legacy)["choices"][0]["logprobs"].is_null());
    let prompt = json!({"prompt_logprobs": [null,
        {"7": {"logprob": 0, "decoded_token": "CUST-"}, "9": {"decoded_token": "x"}},
        {"8": {"logprob": 0, "decoded_token": "12345678"}}], "choices": []});
    assert!(filtered(&prompt)["prompt_logprobs"].is_null());
    let responses = json!({"output": [{"content": [{"type": "output_text",
        "text": "CUST-12345678", "logprobs": [{"token": "CUST-"}]}]}]});
    assert_eq!(
        filtered(&responses)["output"][0]["content"][0]["logprobs"],
        json!([])
    );
}

#[test]
fn logprobs_of_a_stream_go_with_the_text() {
    let event = |text: &str, tokens: &[&str]| {
        let tokens: Vec<Value> = tokens
            .iter()
            .map(|token| json!({"token": token, "bytes": token.as_bytes(), "top_logprobs": []}))
            .collect();
        json!({"choices": [{"index": 0, "delta": {"content": text},
            "logprobs": {"content": tokens}, "finish_reason": null}]})
    };
    let events = [
        event("all well ", &["all", " well", " "]),
        event("CU", &["CU"]),
        event("ST-1234", &["ST-", "1234"]),
        event("5678 ", &["5678", " "]),
        event("done ", &["done", " "]),
        // An engine that sends tokens before the text that they make.
        event("", &["CUST-1234"]),
        event("", &["5678"]),
    ];
    let stream: String = events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    let out = read_events(&run(&MASK, EVENTS, &[stream.as_bytes()]).unwrap());
    let kept: Vec<bool> = out
        .iter()
        .map(|event| !event["choices"][0]["logprobs"].is_null())
        .collect();
    assert_eq!(kept, [true, false, false, false, true, false, false]);
    assert_eq!(out[0], events[0]);
    assert_eq!(out[4], events[4]);
}

#[test]
fn a_block_stops_before_the_match() {
    let body = json!({"choices": [{"message": {"content": "CUST-12345678"}}]}).to_string();
    let scope = BLOCK.scope(&everyone());
    let mut whole = filter(&BLOCK, &scope, JSON);
    let mut out = Vec::new();
    whole.push(body.as_bytes(), &mut out).unwrap();
    let Err(FilterError::Blocked(finding)) = whole.finish(&mut out) else {
        panic!("passed")
    };
    assert!(out.is_empty());
    assert_eq!(
        (&*finding.guard, &*finding.rule),
        ("test guard", "customer")
    );
    assert_eq!(finding.location, "choices[0].message.content");
    assert_eq!((finding.start, finding.end), (0, 13));

    let mut events = filter(&BLOCK, &scope, EVENTS);
    let mut refused = None;
    for char in "safe text CUST-12345678 and more".chars() {
        let event = json!({"choices": [{"index": 0, "delta": {"content": char.to_string()}}]});
        if let Err(error) = events.push(format!("data: {event}\n\n").as_bytes(), &mut out) {
            refused = Some(error);
            break;
        }
    }
    let Some(FilterError::Blocked(finding)) = refused else {
        panic!("passed")
    };
    assert_eq!((finding.start, finding.end), (10, 23));
    let sent: String = read_events(&out)
        .iter()
        .map(|event| {
            event["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(sent, "safe text ");
    let length = out.len();
    assert!(
        events.push(b"data: {}\n\n", &mut out).is_err(),
        "nothing passes after a block"
    );
    assert!(events.finish(&mut out).is_err() && out.len() == length);
}

#[test]
fn a_flag_is_reported_and_changes_nothing() {
    let scope = FLAG.scope(&everyone());
    let mut filter = filter(&FLAG, &scope, EVENTS);
    let mut out = Vec::new();
    let mut stream = String::new();
    for piece in ["a CUST-", "1234", "5678 b"] {
        let event = json!({"choices": [{"index": 2, "delta": {"content": piece}}]});
        stream += &format!("data: {event}\n\n");
    }
    filter.push(stream.as_bytes(), &mut out).unwrap();
    filter.finish(&mut out).unwrap();
    assert_eq!(out, stream.as_bytes());
    let findings = filter.take_findings();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].action, Action::Flag);
    assert_eq!(findings[0].location, "choices[0].delta.content");
    assert_eq!((findings[0].start, findings[0].end), (2, 15));
    assert!(filter.take_findings().is_empty());
}

#[test]
fn plain_text_is_one_text() {
    for (media, status) in [("text/plain", 200), ("text/html; charset=utf-8", 500)] {
        let scope = MASK.scope(&everyone());
        let route = route("/v1/completions");
        let mut filter = MASK
            .response_filter(&scope, &route, status, Some(media))
            .unwrap();
        let mut out = Vec::new();
        filter.push(b"Error: CUST-1234", &mut out).unwrap();
        filter.push(b"5678 failed", &mut out).unwrap();
        assert!(out.is_empty() && !filter.streams());
        filter.finish(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            masked("Error: CUST-12345678 failed")
        );
    }
    assert_eq!(
        run(&MASK, "text/plain", &[b"a\xff"]),
        Err(FilterError::NotUtf8 { at: 1 })
    );
}

#[test]
fn what_cannot_be_read_is_refused() {
    let scope = MASK.scope(&everyone());
    let route = route("/v1/chat/completions");
    for media in [
        "application/octet-stream",
        "image/png",
        "text/html",
        "multipart/mixed",
    ] {
        let refusal = MASK
            .response_filter(&scope, &route, 200, Some(media))
            .unwrap_err();
        assert_eq!(refusal.code, "response_media_type", "{media}");
    }
    let bad: [(&str, &[u8]); 8] = [
        (JSON, b"not json"),
        (JSON, b"{\"a\":1} {\"b\":2}"),
        (JSON, b"{\"a\":\"\xff\"}"),
        (EVENTS, b"data: {\"a\":\n\n"),
        (EVENTS, b"data: plain text\n\n"),
        (EVENTS, b": \xff\n\n"),
        (
            EVENTS,
            b"data: {\"choices\":[{\"delta\":{\"content\":\"\\ud800\"}}]}\n\n",
        ),
        ("application/x-ndjson", b"{}\nnope\n"),
    ];
    for (media, body) in bad {
        let error = run(&MASK, media, &[body]).unwrap_err();
        let code = error.code();
        assert!(
            matches!(code, "response_not_json" | "response_not_utf8"),
            "{body:?}: {error}"
        );
    }
    // Without a type only JSON is read.
    for (body, readable) in [("{}", true), ("", true), ("data: {}\n\n", false)] {
        let mut filter = MASK.response_filter(&scope, &route, 200, None).unwrap();
        let mut out = Vec::new();
        filter.push(body.as_bytes(), &mut out).unwrap();
        assert_eq!(filter.finish(&mut out).is_ok(), readable, "{body}");
    }
}

#[test]
fn bounds_hold() {
    let scope = MASK.scope(&everyone());
    let mut out = Vec::new();
    let mut whole = filter(&MASK, &scope, JSON).with_max_body(10);
    whole.push(b"12345", &mut out).unwrap();
    let error = whole.push(b"678901", &mut out).unwrap_err();
    assert_eq!(error.code(), "response_too_large");

    let mut events = filter(&MASK, &scope, EVENTS);
    events.push(b"data: ", &mut out).unwrap();
    let error = events
        .push(&vec![b' '; EVENT_BYTES_MAX], &mut out)
        .unwrap_err();
    assert_eq!(error.code(), "response_too_large");

    let mut texts = filter(&MASK, &scope, EVENTS);
    let error = (0..1000).find_map(|index| {
        let event = json!({"choices": [{"index": index, "delta": {"content": "x"}}]});
        texts
            .push(format!("data: {event}\n\n").as_bytes(), &mut out)
            .err()
    });
    assert_eq!(error.unwrap().code(), "response_too_large");
}

#[test]
fn comments_and_other_fields_are_no_side_door() {
    let stream = ": CUST-12345678\r\nid: CUST-12345678\r\nevent: x\r\n\
                  data: {\"a\":\r\ndata:\"CUST-12345678\"}\r\n\r\n";
    let out = String::from_utf8(run(&MASK, EVENTS, &[stream.as_bytes()]).unwrap()).unwrap();
    assert_eq!(
        out,
        stream
            .replace("CUST-12345678", &masked("CUST-12345678"))
            .replace("data:\"", "data: \"")
    );
}

#[test]
fn without_a_guard_every_byte_passes() {
    let open =
        policy_of("[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n");
    for policy in [&open, &PolicySet::allow_all()] {
        let scope = policy.scope(&everyone());
        let route = route("/v1/chat/completions");
        let mut filter = policy
            .response_filter(&scope, &route, 200, Some("application/octet-stream"))
            .unwrap();
        assert!(filter.passes_through() && filter.streams());
        let mut out = Vec::new();
        filter.push(b"\xff\x00CUST-12345678", &mut out).unwrap();
        filter.finish(&mut out).unwrap();
        assert_eq!(out, b"\xff\x00CUST-12345678");
    }
}

/// The tail of a text is sent when the text ends. If more of it came, the two could make a match.
#[test]
fn a_text_does_not_go_on_after_its_end() {
    let event = |text: &str, finish: Value| {
        let choice = json!({"index": 0, "delta": {"content": text}, "finish_reason": finish});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let first = event("CUST-1234", json!("stop"));
    let repeated = first.clone() + &event("", json!("stop")) + "data: {\"choices\":[]}\n\n";
    assert_eq!(
        run(&MASK, EVENTS, &[repeated.as_bytes()]).unwrap(),
        repeated.as_bytes()
    );
    let scope = MASK.scope(&everyone());
    let mut filter = filter(&MASK, &scope, EVENTS);
    let mut out = Vec::new();
    filter.push(first.as_bytes(), &mut out).unwrap();
    let more = event("5678", Value::Null);
    assert_eq!(
        filter.push(more.as_bytes(), &mut out).unwrap_err().code(),
        "response_malformed"
    );
    assert!(!String::from_utf8(out).unwrap().contains("5678"));
}

#[test]
fn numbers_of_an_answer_are_inspected() {
    let policy = support::policy_of(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
[[guard]]
name = "cards"
direction = "response"
packs = ["personal"]
action = "mask"
"#,
    );
    let card = "4111111111111111";
    let start = format!(
        "data: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":\
         {{\"type\":\"tool_use\",\"input\":{{\"card\":{card}}}}}}}\n\n"
    );
    for (media, body) in [
        ("application/json", format!("{{\"a\":[{card}]}}")),
        ("application/json", card.to_owned()),
        ("application/x-ndjson", format!("{{\"a\":{card}}}\n")),
        ("text/event-stream", start),
        ("text/event-stream", format!("data: {card}\n\n")),
    ] {
        for cut in 0..=body.len() {
            let (left, right) = body.as_bytes().split_at(cut);
            let out = support::run(&policy, media, &[left, right]).unwrap();
            let out = String::from_utf8(out).unwrap();
            let (before, after) = body.split_once(card).unwrap();
            let mask = out
                .strip_prefix(before)
                .and_then(|out| out.strip_suffix(after));
            let mask = mask.unwrap_or_else(|| panic!("{out}"));
            let text: String = serde_json::from_str(mask).unwrap();
            assert!(!text.contains(card), "{out}");
        }
    }
    let benign = "{\"created\":1700000000,\"data\":[{\"embedding\":[0.4111111111111111,-1e-9]}]}";
    let out = support::run(&policy, "application/json", &[benign.as_bytes()]).unwrap();
    assert_eq!(out, benign.as_bytes());
}
