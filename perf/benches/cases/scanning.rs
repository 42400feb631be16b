//! The scanner alone, with every shipped pack and every lane; and the JSON walk almost alone.

use std::hint::black_box;

use penstock_policies::mask::{MaskKey, Plan, mask_text};
use penstock_policies::rule::{Pack, shipped};
use penstock_policies::scan::Scanner;
use penstock_policies::{PolicySet, PolicySources, Profiles, Route, Scope, Scratch};

use crate::{Case, bytes};

/// Length of a text.
const TEXT_BYTES: usize = 1024;

/// Bodies of a run.
const BODIES: u32 = 16;

pub(crate) const PROSE: &str = "The gate stands where the river meets the old mill, and every spring the \
    keeper walks the length of the channel to look for stones. When I was 12, in 1987, Dr. Brown's \
    well-known \"Almanac\" gave us the dates: the 3rd of May and the 21st of June. ";

pub(crate) const CODE: &str = r#"
fn settle(&mut self, compiled: &Compiled, view: &View<'_>) -> Outcome {
    if self.end == self.start || !compiled.checks.accept(view.slice(self.start, self.end)) {
        return Outcome::Failed; // no valid match at this start
    }
    let max_tokens = config.get("max_tokens").unwrap_or(&4096) * 2;
}
"#;

pub(crate) const JSON: &str = r#"{"role": "user", "content": "Please summarise the notes.", "name": "dana",
 "metadata": {"trace_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "temperature": 0.7, "stop": null},
 "arguments": "{\"city\": \"Berlin\", \"unit\": \"celsius\", \"days\": 3}", "created": 1730000000}, "#;

/// A policy of one rule that prose never begins: what is left is reading the body.
const ONE_RULE: &str = r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]

[[guard]]
name = "one rule"
direction = "request"
rules = ["one"]
action = "flag"
"#;

const ONE_PACK: &str = r#"
[[rule]]
id = "one"
description = "a mark that prose never has"
regex = '@@#[0-9]{9}'
max_len = 12
replace = "<one>"
matches = ["@@#123456789"]
misses = ["@@#12345"]
"#;

/// A text, masked whole.
pub(crate) struct Text {
    text: String,
    scanner: Scanner,
    plan: Plan,
    key: MaskKey,
}

/// Request bodies of 1 KiB: validated, walked, and handed to a scanner that has nothing to do.
pub(crate) struct JsonWalk {
    policy: PolicySet,
    scope: Scope,
    route: Route,
    body: Vec<u8>,
    scratch: Scratch,
}

// === impl Text ===

impl Text {
    pub(crate) fn new(sample: &str) -> Text {
        let mut rules = Vec::new();
        for (name, toml) in shipped() {
            let pack = Pack::parse(name, toml).expect("the shipped packs are valid");
            rules.extend(pack.rules);
        }
        let scanner = Scanner::compile(rules).expect("the shipped packs compile");
        let plan = Plan {
            mask: scanner.all(),
            watch: scanner.none(),
        };
        let mut text = sample.repeat(TEXT_BYTES / sample.len() + 1);
        text.truncate(TEXT_BYTES);
        let key = MaskKey::new([7; 32]);
        Text {
            text,
            scanner,
            plan,
            key,
        }
    }
}

impl Case for Text {
    fn run(&mut self) {
        let text = black_box(self.text.as_str());
        black_box(mask_text(
            &self.scanner,
            &self.plan,
            &self.key,
            text,
            &mut |found| {
                black_box(&found);
            },
        ));
    }

    fn units(&self) -> u32 {
        1
    }
}

// === impl JsonWalk ===

impl JsonWalk {
    pub(crate) fn new() -> JsonWalk {
        let folder = tempfile::tempdir().expect("a folder");
        let packs = folder.path().join("packs");
        std::fs::create_dir(&packs).expect("the folder is new");
        std::fs::write(folder.path().join("main.toml"), ONE_RULE).expect("the folder is new");
        std::fs::write(packs.join("one.toml"), ONE_PACK).expect("the folder is new");
        let policy = PolicySet::load(&PolicySources {
            dir: folder.path(),
            pseudonym_key: [7; 32],
            withheld: &[],
        });
        let policy = policy.expect("the policy is valid");
        let route = Profiles::from_names(&["openai".to_owned()])
            .expect("is shipped")
            .resolve("POST", "/v1/chat/completions")
            .expect("is a route");
        JsonWalk {
            scope: policy.scope(&["bench".to_owned()]),
            policy,
            route,
            body: bytes::request_body(false),
            scratch: Scratch::default(),
        }
    }
}

impl Case for JsonWalk {
    fn run(&mut self) {
        for _ in 0..BODIES {
            let body = black_box(self.body.as_slice());
            let scratch = &mut self.scratch;
            let verdict = self
                .policy
                .inspect_request(&self.scope, &self.route, body, scratch);
            assert!(black_box(verdict).is_ok());
        }
    }

    fn units(&self) -> u32 {
        BODIES
    }
}
