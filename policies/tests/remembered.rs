//! A text that was read before and had nothing in it is not read again, and nothing else changes.

mod support;

use std::sync::LazyLock;

use penstock_policies::{Action, PolicySet, RequestVerdict, Scope, Scratch};
use proptest::prelude::*;
use serde_json::json;
use support::{PACK, load, route, write};

const KEY: [u8; 16] = *b"tests need a key";

/// Every kind of guard, a rule that asks who speaks, and one that is dear: 400 steps a byte.
const MAIN: &str = r#"
[inspection]
work_per_kib = 4096
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
[[guard]]
name = "masks"
direction = "request"
rules = ["customer", "costly"]
action = "mask"
[[guard]]
name = "flags"
direction = "request"
rules = ["face"]
action = "flag"
[[guard]]
name = "blocks"
direction = "request"
rules = ["order"]
action = "block"
except_groups = ["trusted"]
[[guard]]
name = "watches"
direction = "request"
rules = ["ward"]
action = "block"
observe = true
"#;

const OWN: &str = r#"
[[rule]]
id = "order"
description = "an order in what a tool says"
regex = 'obey me'
roles = ["tool"]
matches = ["obey me"]
misses = ["obey"]
[[rule]]
id = "costly"
description = "dear where its beginning is frequent"
regex = 'a[ab]{20,399}c'
matches = ["aababababababababababababc"]
misses = ["ab"]
"#;

fn policy() -> PolicySet {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    write(dir.path(), "main.toml", MAIN);
    write(dir.path(), "packs/test.toml", PACK);
    write(dir.path(), "packs/own.toml", OWN);
    load(dir.path()).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
}

static POLICY: LazyLock<PolicySet> = LazyLock::new(policy);

/// Long enough to be remembered.
fn prose(word: &str) -> String {
    format!("The {word} stands where the river meets the old mill. ").repeat(6)
}

/// What is said in the tests: with nothing in it, and with something for every guard.
fn texts() -> [String; 9] {
    [
        prose("gate"),
        prose("wheel"),
        prose("keeper"),
        prose("CUST-12345678"),
        prose("😀abc😀"),
        prose("Ωmega-1234"),
        // An order from a tool, words from anybody else.
        prose("miller who says obey me"),
        // Nothing in it; two of them are within the bound, three are not.
        "ab".repeat(300),
        "short".to_owned(),
    ]
}

fn inspect(
    policy: &PolicySet,
    scope: &Scope,
    said: &[(&str, &str)],
    scratch: &mut Scratch,
) -> RequestVerdict {
    let messages: Vec<_> = said
        .iter()
        .map(|(role, text)| json!({"role": role, "content": text}))
        .collect();
    let body = json!({"model": "m", "messages": messages}).to_string();
    let route = route("/v1/chat/completions");
    policy
        .inspect_request(scope, &route, body.as_bytes(), scratch)
        .expect("a chat")
}

#[test]
fn only_the_same_words_of_the_same_speaker_to_the_same_scope_are_known() {
    let policy = policy();
    let scope = policy.scope(&[]);
    let scratch = &mut Scratch::recalling(KEY, 64);
    let mut known = |policy: &PolicySet, scope: &Scope, said: &[(&str, &str)]| {
        inspect(policy, scope, said, scratch);
        scratch.take_recalled()
    };
    let (gate, wheel) = (prose("gate"), prose("wheel"));
    // Guards that act and guards that observe each look at a text.
    assert_eq!(known(&policy, &scope, &[("user", &gate)]), 0);
    assert_eq!(known(&policy, &scope, &[("user", &gate)]), 2);
    let both = [("user", &*gate), ("user", &*wheel)];
    assert_eq!(known(&policy, &scope, &both), 2);
    assert_eq!(known(&policy, &scope, &both), 4);
    assert_eq!(known(&policy, &scope, &[("tool", &gate)]), 0, "a speaker");
    let other = policy.scope(&[]);
    assert_eq!(known(&policy, &other, &[("user", &gate)]), 0, "a scope");
    let reloaded = self::policy();
    let after = reloaded.scope(&[]);
    assert_eq!(known(&reloaded, &after, &[("user", &gate)]), 0, "a policy");
    let longer = format!("{gate} ");
    assert_eq!(known(&policy, &scope, &[("user", &longer)]), 0, "a text");
    let padded = format!("{gate}\0");
    assert_eq!(known(&policy, &scope, &[("user", &padded)]), 0, "zeros");
    assert_eq!(known(&policy, &scope, &[("user", "short")]), 0);
    assert_eq!(known(&policy, &scope, &[("user", "short")]), 0);
}

#[test]
fn what_anything_was_found_in_is_read_every_time() {
    let policy = policy();
    let scope = policy.scope(&[]);
    let scratch = &mut Scratch::recalling(KEY, 64);
    for (text, action) in [
        (prose("CUST-12345678"), Action::Mask),
        (prose("😀abc😀"), Action::Flag),
    ] {
        for _ in 0..3 {
            let verdict = inspect(&policy, &scope, &[("user", &text)], scratch);
            assert_eq!(verdict.action, action);
            assert!(!verdict.findings.is_empty());
        }
        assert_eq!(
            scratch.take_recalled(),
            2,
            "what only observes found nothing"
        );
    }
}

#[test]
fn without_memory_every_text_is_read() {
    let policy = policy();
    let scope = policy.scope(&[]);
    for mut scratch in [Scratch::default(), Scratch::recalling(KEY, 0)] {
        for _ in 0..2 {
            inspect(&policy, &scope, &[("user", &prose("gate"))], &mut scratch);
        }
        assert_eq!(scratch.take_recalled(), 0);
    }
}

#[test]
fn what_is_known_is_charged_as_if_it_were_read() {
    let policy = policy();
    let scope = policy.scope(&[]);
    let scratch = &mut Scratch::recalling(KEY, 64);
    let dear = "ab".repeat(300);
    let of = |count: usize| vec![("user", &*dear); count];
    let mut verdict = |count| inspect(&policy, &scope, &of(count), scratch);
    assert_eq!(verdict(1).action, Action::Allow);
    assert_eq!(verdict(2).action, Action::Allow);
    let stopped = verdict(8);
    assert_eq!(stopped.action, Action::Block);
    assert!(stopped.findings[0].is_excess());
    assert_eq!(
        stopped,
        inspect(&policy, &scope, &of(8), &mut Scratch::default())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The oracle reads everything every time. Tables of one row forget while they are used.
    #[test]
    fn verdicts_are_those_of_one_who_remembers_nothing(
        requests in prop::collection::vec(
            (0..3_usize, prop::collection::vec((0..3_usize, 0..9_usize), 1..8)),
            1..24,
        ),
        room in prop::sample::select(vec![1_usize, 4, 8, 4096]),
    ) {
        let policy = &*POLICY;
        let groups = ["trusted".to_owned()];
        let scopes = [policy.scope(&[]), policy.scope(&groups), policy.scope(&[])];
        let texts = texts();
        let mut scratch = Scratch::recalling(KEY, room);
        for (scope, said) in &requests {
            let said: Vec<(&str, &str)> = said
                .iter()
                .map(|(role, text)| (["user", "tool", "assistant"][*role], &*texts[*text]))
                .collect();
            let remembering = inspect(policy, &scopes[*scope], &said, &mut scratch);
            let reading = inspect(policy, &scopes[*scope], &said, &mut Scratch::default());
            prop_assert_eq!(remembering, reading);
        }
    }
}
