//! What the tests of this crate share: policies built from text, streams as engines send them, and
//! a client that reads streams independently of the code under test.
#![allow(dead_code)] // each test file uses its own part

use std::collections::BTreeMap;
use std::path::Path;

use penstock_policies::mask::{MaskKey, Plan, mask_text};
use penstock_policies::rule::Pack;
use penstock_policies::scan::Scanner;
use penstock_policies::{
    FilterError, PolicySet, PolicySources, Profiles, ResponseFilter, Route, Scope,
};
use serde_json::Value;

pub(crate) const KEY: [u8; 32] = [7; 32];

/// Rules that cover what splits can hurt: a fixed prefix, digits, text outside ASCII, and a rule
/// that begins like another.
pub(crate) const PACK: &str = r#"
[[rule]]
id = "customer"
description = "customer number"
regex = '\bCUST-[0-9]{8}\b'
replace = "<customer:{pseudonym}>"
matches = ["CUST-12345678"]
misses = ["CUST-1"]

[[rule]]
id = "customs"
description = "customs form"
regex = '\bCUSTOMS [0-9]{3}'
replace = "<customs>"
matches = ["CUSTOMS 123"]
misses = ["CUSTOMS"]

[[rule]]
id = "ward"
description = "text outside ASCII"
regex = 'Ωmega-[0-9]{4}'
replace = "<wärd>"
matches = ["Ωmega-1234"]
misses = ["Ωmega"]

[[rule]]
id = "face"
description = "text outside the basic plane"
regex = '😀[a-z]{3}😀'
replace = "<face>"
matches = ["😀abc😀"]
misses = ["😀"]
"#;

/// A policy whose pack `test` is used in both directions with one action.
pub(crate) fn policy(action: &str) -> PolicySet {
    policy_of(&format!(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer", "embed", "models", "tokenize"]

[[guard]]
name = "test guard"
direction = "both"
packs = ["test"]
action = "{action}"
"#
    ))
}

/// A policy from the text of one file, beside the pack `test`.
pub(crate) fn policy_of(main: &str) -> PolicySet {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    write(dir.path(), "main.toml", main);
    write(dir.path(), "packs/test.toml", PACK);
    load(dir.path()).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folder");
    std::fs::write(path, text).expect("file");
}

/// Loads a folder; errors as people see them, without the folder's own path.
pub(crate) fn load(dir: &Path) -> Result<PolicySet, Vec<String>> {
    PolicySet::load(&PolicySources {
        withheld: &[],
        dir,
        pseudonym_key: KEY,
    })
    .map_err(|errors| {
        let prefix = format!("{}/", dir.display());
        errors
            .iter()
            .map(|error| error.to_string().replace(&prefix, ""))
            .collect()
    })
}

pub(crate) fn everyone() -> Vec<String> {
    vec!["staff".to_owned()]
}

pub(crate) fn route(path: &str) -> Route {
    let names = ["openai", "anthropic", "vllm"].map(str::to_owned);
    let profiles = Profiles::from_names(&names).expect("shipped");
    profiles.resolve("POST", path).expect("a known route")
}

/// The oracle: M(T).
pub(crate) fn masked(text: &str) -> String {
    let pack = Pack::parse("test", PACK).expect("the test pack parses");
    let scanner = Scanner::compile(pack.rules).expect("and compiles");
    let plan = Plan {
        mask: scanner.all(),
        watch: scanner.none(),
    };
    mask_text(&scanner, &plan, &MaskKey::new(KEY), text, &mut |_| {}).unwrap_or(text.to_owned())
}

pub(crate) fn filter(policy: &PolicySet, scope: &Scope, media: &str) -> ResponseFilter {
    let route = route("/v1/chat/completions");
    policy
        .response_filter(scope, &route, 200, Some(media))
        .expect("a reader")
}

/// Filters a response that comes in these pieces and ends properly.
pub(crate) fn run(
    policy: &PolicySet,
    media: &str,
    pieces: &[&[u8]],
) -> Result<Vec<u8>, FilterError> {
    let scope = policy.scope(&everyone());
    let mut filter = filter(policy, &scope, media);
    let mut out = Vec::new();
    for piece in pieces {
        filter.push(piece, &mut out)?;
    }
    filter.finish(&mut out)?;
    Ok(out)
}

/// How the events of a stream are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) newline: &'static str,
    /// Everything outside ASCII as `\u` escapes, as Python's `json.dumps` does.
    pub(crate) ascii: bool,
    /// A `[DONE]` at the end.
    pub(crate) done: bool,
}

pub(crate) const STYLES: [Style; 4] = [
    Style {
        newline: "\n",
        ascii: false,
        done: true,
    },
    Style {
        newline: "\r\n",
        ascii: true,
        done: true,
    },
    Style {
        newline: "\n",
        ascii: true,
        done: false,
    },
    Style {
        newline: "\r",
        ascii: false,
        done: false,
    },
];

impl Style {
    pub(crate) fn json(self, value: &Value) -> String {
        let text = value.to_string();
        if !self.ascii {
            return text;
        }
        let mut out = String::new();
        for char in text.chars() {
            if char.is_ascii() {
                out.push(char);
            } else {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    out += &format!("\\u{unit:04x}");
                }
            }
        }
        out
    }

    /// Events with the name of their `type` where they have one, as the newer APIs do.
    pub(crate) fn stream(self, events: &[Value]) -> String {
        let mut out = String::new();
        for event in events {
            if let Some(kind) = event.get("type").and_then(Value::as_str) {
                out += &format!("event: {kind}{}", self.newline);
            }
            out += &format!("data: {}{}{}", self.json(event), self.newline, self.newline);
        }
        if self.done {
            out += &format!("data: [DONE]{}{}", self.newline, self.newline);
        }
        out
    }
}

/// What a client makes of an event stream: events with their data.
pub(crate) fn read_events(stream: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stream).expect("UTF-8 goes out");
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    for event in text.split("\n\n") {
        let data: Vec<&str> = event
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        let data = data.join("\n");
        if !data.is_empty() && data != "[DONE]" {
            events.push(serde_json::from_str(&data).unwrap_or_else(|e| panic!("{e}: {data}")));
        }
    }
    events
}

/// The texts that a client has after these events, by channel; final copies under `final …`.
pub(crate) fn texts(events: &[Value]) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |key: String, text: &Value| {
        if let Some(text) = text.as_str() {
            texts.entry(key).or_default().push_str(text);
        }
    };
    for event in events {
        for choice in event["choices"].as_array().into_iter().flatten() {
            let index = &choice["index"];
            for field in ["content", "reasoning_content", "reasoning", "refusal"] {
                add(format!("{index} {field}"), &choice["delta"][field]);
            }
            add(format!("{index} text"), &choice["text"]);
            add(
                format!("{index} call"),
                &choice["delta"]["function_call"]["arguments"],
            );
            for call in choice["delta"]["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let arguments = &call["function"]["arguments"];
                add(format!("{index} tool {}", call["index"]), arguments);
            }
        }
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "content_block_delta" {
            for field in ["text", "thinking", "partial_json"] {
                add(
                    format!("{} {field}", event["index"]),
                    &event["delta"][field],
                );
            }
        }
        if let Some(stem) = kind.strip_suffix(".delta") {
            add(format!("{} {stem}", event["item_id"]), &event["delta"]);
        }
        if let Some(stem) = kind.strip_suffix(".done") {
            for field in ["text", "arguments", "refusal", "transcript"] {
                add(format!("final {} {stem}", event["item_id"]), &event[field]);
            }
        }
        if kind == "response.completed" {
            for item in event["response"]["output"].as_array().into_iter().flatten() {
                add(format!("final {}", item["id"]), &item["content"][0]["text"]);
            }
        }
    }
    texts
}

/// Words are tokens, and what is no word of it is one token too.
pub(crate) const WORDS: &str = r#"{
  "version": "1.0",
  "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
  "padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
              "pad_id": 0, "pad_type_id": 0, "pad_token": "?"},
  "added_tokens": [],
  "normalizer": null,
  "pre_tokenizer": {"type": "WhitespaceSplit"},
  "post_processor": null,
  "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"?": 0, "one": 1}, "unk_token": "?"}
}"#;
