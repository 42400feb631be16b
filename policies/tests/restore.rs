//! What was masked on the way in comes back in the answer to the same caller, whatever the API and
//! wherever the answer is cut; and in what may be written down it does not.

mod support;

use std::sync::LazyLock;

use penstock_policies::mask::Vault;
use penstock_policies::{PolicySet, RequestVerdict, ResponseFilter, Scratch};
use serde_json::{Value, json};
use support::{STYLES, everyone, load, read_events, route, write};

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";

const PACK: &str = r#"
[[rule]]
id = "mail"
description = "an address"
regex = '\b[a-z]{1,16}@[a-z]{1,16}\.example\b'
replace = "<mail:{pseudonym:4}>"
matches = ["jane@mail.example"]
misses = ["@"]

[[rule]]
id = "card"
description = "a card"
regex = '\b[0-9]{4}(?: [0-9]{4}){3}\b'
replace = "{fp:4}"
matches = ["4111 1111 1111 1111"]
misses = ["4111"]

[[rule]]
id = "odd"
description = "a value that has to be escaped in JSON"
regex = '"[a-z\\\n]{8}"'
replace = "[odd {pseudonym}]"
matches = ["\"abc\\\nefg\""]
misses = ["a"]

[[rule]]
id = "plain"
description = "a value without a name of its own"
regex = '\bPLAIN[0-9]{3}\b'
matches = ["PLAIN123"]
misses = ["PLAIN"]

[[rule]]
id = "short"
description = "a value whose name is too short"
regex = '\bSHORT[0-9]{3}\b'
replace = "{pseudonym:4}"
matches = ["SHORT123"]
misses = ["SHORT"]
"#;

const GRANT: &str = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n";

fn guard(name: &str, direction: &str, rules: &str, more: &str) -> String {
    format!(
        "[[guard]]\nname = \"{name}\"\ndirection = \"{direction}\"\nrules = [{rules}]\n{more}\n"
    )
}

fn policy(guards: &[String]) -> Result<PolicySet, Vec<String>> {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    write(
        dir.path(),
        "main.toml",
        &format!("{GRANT}{}", guards.concat()),
    );
    write(dir.path(), "packs/test.toml", PACK);
    load(dir.path())
}

const RESTORED: &str = r#""mail", "card", "odd""#;
const RESTORES: &str = "action = \"mask\"\nrestore = true";

/// Looks both ways with the same rules, and puts back.
static BOTH: LazyLock<PolicySet> = LazyLock::new(|| {
    policy(&[guard("all", "both", RESTORED, RESTORES)]).expect("the test's policy")
});

/// Looks at requests only.
static INWARDS: LazyLock<PolicySet> = LazyLock::new(|| {
    policy(&[guard("in", "request", RESTORED, RESTORES)]).expect("the test's policy")
});

const MAIL: &str = "jane@mail.example";
const CARD: &str = "4111 1111 1111 1111";
const ODD: &str = "\"abc\\\nefg\"";

fn ask(policy: &PolicySet, texts: &[&str]) -> RequestVerdict {
    let messages: Vec<Value> = texts
        .iter()
        .map(|text| json!({"role": "user", "content": text}))
        .collect();
    let body = json!({"model": "m", "messages": messages}).to_string();
    let scope = policy.scope(&everyone());
    let route = route("/v1/chat/completions");
    let mut scratch = Scratch::default();
    let verdict = policy.inspect_request(&scope, &route, body.as_bytes(), &mut scratch);
    verdict.expect("a request")
}

/// What the model read, by message.
fn read_by_model(verdict: &RequestVerdict) -> Vec<String> {
    let body = verdict.body.as_deref().expect("it was masked");
    let body: Value = serde_json::from_slice(body).expect("it is JSON");
    let messages = body["messages"].as_array().expect("a list");
    let text = |message: &Value| message["content"].as_str().map(str::to_owned);
    messages.iter().filter_map(text).collect()
}

fn filter(policy: &PolicySet, vault: &Vault, media: &str) -> ResponseFilter {
    let scope = policy.scope(&everyone());
    policy
        .response_filter(&scope, &route("/v1/chat/completions"), 200, Some(media))
        .expect("a reader")
        .restoring(vault.clone(), 200, Some(media))
}

/// What the client gets, and what may be written down.
fn run(policy: &PolicySet, vault: &Vault, media: &str, pieces: &[&[u8]]) -> (String, String) {
    let mut filter = filter(policy, vault, media);
    assert!(filter.restores() && !filter.passes_through());
    let (mut out, mut masked) = (Vec::new(), Vec::new());
    for piece in pieces {
        filter.push(piece, &mut out).expect("well-formed");
        if filter.streams() {
            masked.extend_from_slice(filter.masked().expect("it restores"));
        }
    }
    filter.finish(&mut out).expect("well-formed");
    masked.extend_from_slice(filter.masked().expect("it restores"));
    assert_eq!(filter.held_bytes(), 0);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(out), text(masked))
}

#[test]
fn a_body_has_the_values_back_and_its_record_has_not() {
    let verdict = ask(&BOTH, &[MAIL, CARD, ODD]);
    let seen = read_by_model(&verdict);
    assert!(seen[0].starts_with("<mail:") && seen[0].len() == "<mail:7f3a>".len());
    assert!(seen[1].ends_with(" 1111") && seen[1] != CARD);
    assert!(!format!("{verdict:?}").contains("jane"));
    let text = format!(
        "{}, {} and {}; not eve@mail.example",
        seen[0], seen[1], seen[2]
    );
    let arguments = json!({"to": seen[0], "odd": seen[2]}).to_string();
    let answer = json!({"choices": [{"message": {"content": text, "tool_calls":
        [{"function": {"name": "f", "arguments": arguments}}]}}], "id": seen[0]})
    .to_string();
    for policy in [&BOTH, &INWARDS] {
        for cut in [0, 10, answer.len()] {
            let (left, right) = answer.as_bytes().split_at(cut);
            let (got, masked) = run(policy, &verdict.vault, JSON, &[left, right]);
            let got: Value = serde_json::from_str(&got).expect("it is JSON");
            let message = &got["choices"][0]["message"];
            let content = message["content"].as_str().expect("a text");
            let (back, stranger) = content.split_once("; not ").expect("both parts");
            assert_eq!(back, format!("{MAIL}, {CARD} and {ODD}"));
            assert_eq!(
                stranger == "eve@mail.example",
                std::ptr::eq(policy, &INWARDS)
            );
            let arguments = message["tool_calls"][0]["function"]["arguments"].as_str();
            let arguments: Value =
                serde_json::from_str(arguments.expect("a text")).expect("JSON in JSON");
            assert_eq!(arguments, json!({"to": MAIL, "odd": ODD}));
            assert_eq!(got["id"], MAIL);
            assert!(
                !masked.contains("jane") && !masked.contains(CARD),
                "{masked}"
            );
            assert!(masked.contains(&seen[0]));
        }
    }
}

type Shape = fn(&str) -> Value;

/// Events of every API, where their text is, and whether it is JSON itself.
const SHAPES: [(Shape, &str, bool); 9] = [
    (
        |text| json!({"choices": [{"index": 0, "delta": {"content": text}}]}),
        "/choices/0/delta/content",
        false,
    ),
    (
        |text| json!({"choices": [{"index": 0, "text": text}]}),
        "/choices/0/text",
        false,
    ),
    (
        |text| {
            json!({"choices": [{"index": 0, "delta": {"tool_calls":
        [{"index": 0, "function": {"arguments": text}}]}}]})
        },
        "/choices/0/delta/tool_calls/0/function/arguments",
        true,
    ),
    (
        |text| json!({"type": "response.output_text.delta", "output_index": 0, "delta": text}),
        "/delta",
        false,
    ),
    (
        |text| {
            json!({"type": "response.function_call_arguments.delta", "output_index": 0,
        "delta": text})
        },
        "/delta",
        true,
    ),
    (
        |text| {
            json!({"type": "content_block_delta", "index": 0, "delta":
        {"type": "text_delta", "text": text}})
        },
        "/delta/text",
        false,
    ),
    (
        |text| {
            json!({"type": "content_block_delta", "index": 0, "delta":
        {"type": "input_json_delta", "partial_json": text}})
        },
        "/delta/partial_json",
        true,
    ),
    (
        |text| json!({"message": {"role": "assistant", "content": text}, "done": false}),
        "/message/content",
        false,
    ),
    (
        |text| json!({"content": text, "stop": false}),
        "/content",
        false,
    ),
];

fn joined(media: &str, stream: &str, pointer: &str) -> String {
    let events = match media {
        EVENTS => read_events(stream.as_bytes()),
        _ => stream
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect(),
    };
    let texts = events
        .iter()
        .filter_map(|event| event.pointer(pointer)?.as_str());
    texts.collect()
}

#[test]
fn streams_of_every_api_have_the_values_back_wherever_they_are_cut() {
    let verdict = ask(&BOTH, &[MAIL, ODD, CARD]);
    let seen = read_by_model(&verdict);
    let text = format!("To {} and {}: {}.", seen[0], seen[1], seen[2]);
    for (shape, pointer, is_json) in SHAPES {
        let (said, expected) = match is_json {
            false => (text.clone(), format!("To {MAIL} and {ODD}: {CARD}.")),
            true => (
                json!([text]).to_string(),
                json!([format!("To {MAIL} and {ODD}: {CARD}.")]).to_string(),
            ),
        };
        let chars: Vec<char> = said.chars().collect();
        for size in [1, 2, 3, 7, 1000] {
            let deltas = chars
                .chunks(size)
                .map(|chunk| shape(&chunk.iter().collect::<String>()));
            let deltas: Vec<Value> = deltas.collect();
            for media in [EVENTS, LINES] {
                let stream: String = deltas
                    .iter()
                    .map(|event| match media {
                        EVENTS => format!("data: {event}\n\n"),
                        _ => format!("{event}\n"),
                    })
                    .collect();
                for policy in [&BOTH, &INWARDS] {
                    let (got, masked) = run(policy, &verdict.vault, media, &[stream.as_bytes()]);
                    assert_eq!(
                        joined(media, &got, pointer),
                        expected,
                        "{pointer} by {size}"
                    );
                    assert!(!masked.contains("jane") && !masked.contains("4111 1111"));
                    // A card in its format is a card to a rule without a check.
                    if std::ptr::eq(policy, &INWARDS) {
                        assert_eq!(joined(media, &masked, pointer), said);
                    }
                    let bytes: Vec<&[u8]> = stream.as_bytes().chunks(11).collect();
                    let cut = run(policy, &verdict.vault, media, &bytes);
                    assert_eq!(cut, (got, masked), "{pointer} by {size}");
                }
            }
        }
    }
}

#[test]
fn what_stands_for_nothing_changes_nothing() {
    let vault = ask(&BOTH, &[MAIL]).vault;
    for style in STYLES {
        let events = [
            json!({"choices": [{"index": 0, "delta": {"content": "<mail:"}}]}),
            json!({"choices": [{"index": 0, "delta": {"content": "zzzz> <mai"}}]}),
            json!({"choices": [{"index": 0, "delta": {"content": "l"}, "finish_reason": "stop"}]}),
        ];
        let stream = style.stream(&events);
        let (got, masked) = run(&INWARDS, &vault, EVENTS, &[stream.as_bytes()]);
        assert_eq!(masked, stream);
        let pointer = "/choices/0/delta/content";
        assert_eq!(joined(EVENTS, &got, pointer), "<mail:zzzz> <mail");
    }
    // Nothing depends on what cannot be read.
    for (media, body) in [
        (JSON, "{\"a\":"),
        (EVENTS, "data: {oops\n\n"),
        (LINES, "{oops\n"),
    ] {
        let (got, masked) = run(&INWARDS, &vault, media, &[body.as_bytes()]);
        assert_eq!((got.as_str(), masked.as_str()), (body, body));
    }
    let mut unread = filter(&INWARDS, &vault, "image/png");
    let mut out = Vec::new();
    assert!(unread.passes_through() && !unread.restores());
    unread.push(b"\xff", &mut out).expect("passes");
    assert_eq!(out, b"\xff");
    assert!(!filter(&INWARDS, &Vault::default(), JSON).restores());
}

#[test]
fn what_is_held_too_long_goes_out_as_it_is() {
    let verdict = ask(&BOTH, &[MAIL]);
    let seen = &read_by_model(&verdict)[0];
    let mut filter = filter(&INWARDS, &verdict.vault, EVENTS);
    let mut out = Vec::new();
    let (head, tail) = seen.split_at(4);
    for text in [head, tail] {
        let event = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        filter
            .push(format!("data: {event}\n\n").as_bytes(), &mut out)
            .expect("well-formed");
        assert_eq!(filter.held_bytes() > 0, text == head);
        filter.expire(&mut out).expect("nothing blocks");
        assert_eq!(filter.held_bytes(), 0);
    }
    filter.finish(&mut out).expect("well-formed");
    let out = String::from_utf8(out).expect("UTF-8");
    assert_eq!(joined(EVENTS, &out, "/choices/0/delta/content"), *seen);
}

#[test]
fn tenants_have_pseudonyms_of_their_own() {
    let body = json!({"model": "m", "messages": [{"content": MAIL}]}).to_string();
    let seen = |tenant: &str| {
        let scope = BOTH.scope_of(tenant, &everyone());
        let route = route("/v1/chat/completions");
        let mut scratch = Scratch::default();
        let verdict = BOTH.inspect_request(&scope, &route, body.as_bytes(), &mut scratch);
        verdict.expect("a request").body.expect("it was masked")
    };
    assert_eq!(seen("a"), seen("a"));
    assert_ne!(seen("a"), seen("b"));
    assert_ne!(seen("a"), ask(&BOTH, &[MAIL]).body.expect("it was masked"));
}

#[test]
fn a_guard_that_cannot_put_back_is_refused() {
    let errors = |guards: &[String]| match policy(guards) {
        Ok(_) => panic!("it was accepted"),
        Err(errors) => errors.join("\n"),
    };
    for (direction, action) in [("response", "mask"), ("request", "block"), ("both", "flag")] {
        let more = format!("action = \"{action}\"\nrestore = true");
        let found = errors(&[guard("g", direction, RESTORED, &more)]);
        assert!(
            found.contains("only what a guard masks in requests"),
            "{found}"
        );
        assert!(found.contains("main.toml:10:"), "{found}");
    }
    let found = errors(&[guard(
        "g",
        "request",
        r#""mail", "plain", "short""#,
        RESTORES,
    )]);
    assert!(
        found.contains("rule \"plain\" has neither {pseudonym} nor {fp}"),
        "{found}"
    );
    assert!(found.contains("rule \"short\" is too short"), "{found}");
    let found = errors(&[guard(
        "g",
        "request",
        RESTORED,
        "action = \"mask\"\nrestore = 1",
    )]);
    assert!(found.contains("main.toml:10:"), "{found}");
    let off = guard(
        "g",
        "response",
        r#""plain""#,
        "action = \"mask\"\nrestore = false",
    );
    assert!(policy(&[off]).is_ok());
}

/// A guard that masks without putting back leaves nothing to put back.
#[test]
fn what_is_not_to_be_put_back_stays_masked() {
    let policy = policy(&[guard("in", "request", RESTORED, "action = \"mask\"")]);
    let verdict = ask(&policy.expect("the test's policy"), &[MAIL]);
    assert!(verdict.vault.is_empty());
    assert!(verdict.body.is_some());
}

/// What repeats, and what is next to another, is replaced each by itself and put back.
#[test]
fn a_body_of_many_values_differs_in_them_only() {
    let body = format!(
        "{{ \"model\" : \"m\",\n\"messages\":[{{\"content\":\"{MAIL},{MAIL} {CARD}\"}},\n\
         {{\"content\":[{{\"text\":\"\\u006aane@mail.example\"}},{{\"text\":\"x\\u0041\"}}],\
         \"{MAIL}\":\"{CARD}\"}}], \"n\" : 1.50 }}"
    );
    let scope = BOTH.scope(&everyone());
    let route = route("/v1/chat/completions");
    let verdict = BOTH
        .inspect_request(&scope, &route, body.as_bytes(), &mut Scratch::default())
        .expect("a request");
    let masked = String::from_utf8(verdict.body.expect("it was masked")).expect("UTF-8");
    let seen = read_by_model(&ask(&BOTH, &[MAIL, CARD]));
    let expected = body
        .replace("\\u006aane@mail.example", &seen[0])
        .replace(MAIL, &seen[0])
        .replace(CARD, &seen[1]);
    assert_eq!(masked, expected);
    let (got, _) = run(&BOTH, &verdict.vault, JSON, &[masked.as_bytes()]);
    assert_eq!(got, body.replace("\\u006a", "j"));
}
