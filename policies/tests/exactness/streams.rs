//! The same texts as the streams of every API, through the filter of a policy that masks with all
//! shipped packs: what a client reads is what masking the whole answer gives.

use std::sync::LazyLock;

use penstock_policies::{PolicySet, ResponseFilter, Scope};
use serde_json::{Value, json};

use crate::sample::{self, Dice, assert_hidden, cuts};
use crate::support::{everyone, policy_of, read_events, route, texts};

/// Of how many texts a short run makes one stream in each format.
const ONE_IN: usize = 4;

static POLICY: LazyLock<PolicySet> = LazyLock::new(|| {
    let mut packs: Vec<String> = Vec::new();
    for (name, _) in penstock_policies::rule::shipped() {
        let name = format!("{name:?}");
        if !packs.contains(&name) {
            packs.push(name);
        }
    }
    policy_of(&format!(
        "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n\n\
         [[guard]]\nname = \"all\"\ndirection = \"response\"\npacks = [{}]\naction = \"mask\"\n",
        packs.join(", ")
    ))
});

/// One API's stream format.
#[derive(Debug, Clone, Copy)]
enum Format {
    Chat,
    Completions,
    Responses,
    Anthropic,
    Lines,
}

const FORMATS: [Format; 5] = [
    Format::Chat,
    Format::Completions,
    Format::Responses,
    Format::Anthropic,
    Format::Lines,
];

impl Format {
    fn path(self) -> &'static str {
        match self {
            Format::Chat | Format::Lines => "/v1/chat/completions",
            Format::Completions => "/v1/completions",
            Format::Responses => "/v1/responses",
            Format::Anthropic => "/v1/messages",
        }
    }

    fn media(self) -> &'static str {
        match self {
            Format::Lines => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }

    /// What comes before the deltas, one delta, and what comes after them.
    fn events(self, pieces: &[&str], whole: &str) -> Vec<Value> {
        let delta = |piece: &&str| match self {
            Format::Chat => json!({"id": "c", "object": "chat.completion.chunk", "choices":
                [{"index": 0, "delta": {"content": piece}, "finish_reason": null}]}),
            Format::Completions => json!({"id": "c", "choices":
                [{"index": 0, "text": piece, "finish_reason": null}]}),
            Format::Responses => json!({"type": "response.output_text.delta", "item_id": "m",
                "output_index": 0, "content_index": 0, "delta": piece}),
            Format::Anthropic => json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": piece}}),
            Format::Lines => json!({"message": {"role": "assistant", "content": piece},
                "done": false}),
        };
        let (first, last) = match self {
            Format::Chat => (
                vec![json!({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant"}}]})],
                vec![json!({"id": "c", "choices": [{"index": 0, "delta": {},
                    "finish_reason": "stop"}]})],
            ),
            Format::Completions => (
                Vec::new(),
                vec![json!({"id": "c", "choices": [{"index": 0,
                "text": "", "finish_reason": "stop"}]})],
            ),
            Format::Responses => (
                vec![
                    json!({"type": "response.output_item.added", "output_index": 0,
                    "item": {"id": "m", "type": "message", "content": []}}),
                ],
                vec![
                    json!({"type": "response.output_text.done", "item_id": "m",
                    "output_index": 0, "content_index": 0, "text": whole}),
                    json!({"type": "response.completed", "response": {"id": "r", "output":
                    [{"id": "m", "content": [{"type": "output_text", "text": whole}]}]}}),
                ],
            ),
            Format::Anthropic => (
                vec![json!({"type": "content_block_start", "index": 0,
                    "content_block": {"type": "text", "text": ""}})],
                vec![
                    json!({"type": "content_block_stop", "index": 0}),
                    json!({"type": "message_stop"}),
                ],
            ),
            Format::Lines => (
                Vec::new(),
                vec![json!({"done": true, "done_reason": "stop"})],
            ),
        };
        first
            .into_iter()
            .chain(pieces.iter().map(delta))
            .chain(last)
            .collect()
    }

    /// An event in the bytes of the stream.
    fn write(self, event: &Value) -> String {
        match (self, event["type"].as_str()) {
            (Format::Lines, _) => format!("{event}\n"),
            (_, Some(kind)) => format!("event: {kind}\ndata: {event}\n\n"),
            (_, None) => format!("data: {event}\n\n"),
        }
    }

    /// The texts that a client has: each is to be the masked whole in the end.
    fn read(self, out: &[u8]) -> Vec<String> {
        if let Format::Lines = self {
            let lines = std::str::from_utf8(out).expect("UTF-8 goes out").lines();
            let event = |line: &str| serde_json::from_str::<Value>(line).expect("JSON goes out");
            let text = |event: Value| event["message"]["content"].as_str().map(str::to_owned);
            return vec![lines.map(event).filter_map(text).collect()];
        }
        let texts = texts(&read_events(out)).into_values();
        texts.filter(|text| !text.is_empty()).collect()
    }
}

fn filter(scope: &Scope, path: &str, media: &str) -> ResponseFilter {
    let filter = POLICY.response_filter(scope, &route(path), 200, Some(media));
    filter.expect("a reader")
}

/// What becomes of a text that is the whole of an answer, and where in it something was masked.
fn block(scope: &Scope, text: &str) -> (String, Vec<(usize, usize)>) {
    let body = json!({"choices": [{"index": 0, "message": {"content": text}}]}).to_string();
    let mut filter = filter(scope, "/v1/chat/completions", "application/json");
    let mut out = Vec::new();
    filter.push(body.as_bytes(), &mut out).expect("is JSON");
    filter.finish(&mut out).expect("is JSON");
    let body: Value = serde_json::from_slice(&out).expect("JSON goes out");
    let masked = body["choices"][0]["message"]["content"]
        .as_str()
        .expect("is a text")
        .to_owned();
    let places = filter
        .take_findings()
        .iter()
        .map(|found| (found.start, found.end))
        .collect();
    (masked, places)
}

/// Sends a text in these pieces and checks every promise on the way; whether anything was held.
fn stream(
    scope: &Scope,
    format: Format,
    pieces: &[&str],
    (text, masked, places): (&str, &str, &[(usize, usize)]),
) -> bool {
    let mut filter = filter(scope, format.path(), format.media());
    let (mut sent, mut came) = (Vec::new(), Vec::new());
    let mut held = false;
    for event in format.events(pieces, text) {
        let bytes = format.write(&event);
        came.extend_from_slice(bytes.as_bytes());
        let from = sent.len();
        filter
            .push(bytes.as_bytes(), &mut sent)
            .expect("is well-formed");
        held |= filter.held_bytes() > 0;
        for part in format.read(&sent[from..]) {
            assert_hidden(&part, text, places, "one increment");
        }
        let first = format.read(&sent).into_iter().next().unwrap_or_default();
        assert!(
            masked.starts_with(&first),
            "{format:?}: {first:?}\nof {masked:?}\nin {pieces:?}"
        );
    }
    filter.finish(&mut sent).expect("is well-formed");
    for read in format.read(&sent) {
        assert_eq!(read, masked, "{format:?} in {pieces:?}");
    }
    if masked == text && !held {
        assert!(
            sent == came,
            "{format:?}: a benign stream is not what it was: {pieces:?}"
        );
    }
    held
}

#[test]
fn every_format_gives_what_masking_the_whole_gives() {
    let scope = POLICY.scope(&everyone());
    let mut dice = Dice::new();
    let (mut all, mut found) = (0, 0);
    for (_, text) in sample::texts() {
        let formats: Vec<Format> = match sample::full() {
            true => FORMATS.to_vec(),
            // Each text in one format or none: over a run every format sees every kind of rule.
            false => FORMATS
                .get(dice.below(FORMATS.len() * ONE_IN))
                .copied()
                .into_iter()
                .collect(),
        };
        if formats.is_empty() {
            continue;
        }
        let (masked, places) = block(&scope, &text);
        // A rule whose matches are worth a guess is not masked by a guard that asks for more.
        (all, found) = (all + 1, found + usize::from(!places.is_empty()));
        for format in formats {
            for pieces in cuts(&text, 1, &mut dice) {
                stream(&scope, format, &pieces, (&text, &masked, &places));
            }
        }
    }
    assert!(found * 10 > all * 9, "only {found} of {all} are masked");
}

#[test]
fn benign_streams_pass_byte_by_byte() {
    let scope = POLICY.scope(&everyone());
    let mut dice = Dice::new();
    let text = "In the morning the river was quiet, and the old mill turned slowly: twelve sacks. \
                早上好。Größe ist relativ – 3.14, said he; fn main() { let x = [1, 2]; }\n";
    let (masked, places) = block(&scope, text);
    assert_eq!((masked.as_str(), places.len()), (text, 0));
    let mut free = 0;
    for format in FORMATS {
        for pieces in cuts(text, 4, &mut dice) {
            free += usize::from(!stream(&scope, format, &pieces, (text, text, &[])));
        }
        // A delta that ends a word holds nothing, whatever rules there are.
        let words: Vec<&str> = text.split_inclusive([' ', '\n']).collect();
        stream(&scope, format, &words, (text, text, &[]));
    }
    println!("{free} streams of which nothing was ever held");
}
