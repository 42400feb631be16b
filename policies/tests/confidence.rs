//! From which confidence on a guard counts a match.

mod support;

use penstock_policies::{Action, Direction, PolicySet};
use support::{everyone, load, write};

const PACK: &str = r#"
[[rule]]
id = "ticket"
description = "a number that many things have"
regex = '\bT[0-9]{4}\b'
confidence = "low"
confirm = { words = ["ticket"], within = 12, after = 12 }
matches = ["T1234"]
misses = ["T1"]

[[rule]]
id = "badge"
description = "never more than likely"
regex = '\bB[0-9]{4}\b'
confidence = "medium"
matches = ["B1234"]
misses = ["B1"]
"#;

fn policy(guards: &str) -> PolicySet {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    let grant = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n";
    write(dir.path(), "main.toml", &format!("{grant}{guards}"));
    write(dir.path(), "packs/own.toml", PACK);
    load(dir.path()).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
}

fn guard(name: &str, action: &str, more: &str) -> String {
    format!(
        "[[guard]]\nname = \"{name}\"\ndirection = \"both\"\npacks = [\"own\"]\n\
         action = \"{action}\"\n{more}\n"
    )
}

/// What was decided, and for each finding its guard, rule and confidence.
fn verdict(policy: &PolicySet, way: Direction, text: &str) -> (Action, Vec<String>) {
    let scope = policy.scope(&everyone());
    let verdict = policy.inspect_text(&scope, way, "query", text);
    let told = |finding: &penstock_policies::Finding| {
        format!("{} {} {}", finding.guard, finding.rule, finding.confidence)
    };
    (verdict.action, verdict.findings.iter().map(told).collect())
}

#[test]
fn a_guard_counts_medium_and_high_unless_it_says_otherwise() {
    let policy = policy(&guard("g", "mask", ""));
    let found = |text| verdict(&policy, Direction::Request, text).1;
    assert_eq!(found("see T1234 or B1234"), ["g badge medium"]);
    assert_eq!(found("ticket T1234"), ["g ticket high"]);
    assert_eq!(found("T1234, a ticket"), ["g ticket high"]);
    assert!(found("T1234 is what your ticket says").is_empty());
}

#[test]
fn the_strictest_guard_that_counts_the_match_decides() {
    let guards = [
        guard("all", "flag", "min_confidence = \"low\""),
        guard("likely", "mask", ""),
        guard("sure", "block", "min_confidence = \"high\""),
    ];
    let policy = policy(&guards.concat());
    for way in [Direction::Request, Direction::Response] {
        let of = |text| verdict(&policy, way, text);
        assert_eq!(of("T1234"), (Action::Flag, vec!["all ticket low".into()]));
        assert_eq!(
            of("B1234"),
            (Action::Mask, vec!["likely badge medium".into()])
        );
        let sure = (Action::Block, vec!["sure ticket high".into()]);
        assert_eq!(of("ticket: T1234"), sure);
    }
}

#[test]
fn what_can_never_count_is_not_looked_for() {
    let policy = policy(&guard("sure", "block", "min_confidence = \"high\"\n"));
    let found = verdict(&policy, Direction::Response, "B1234 T1234 ticket");
    assert_eq!(found, (Action::Block, vec!["sure ticket high".into()]));
    let scope = policy.scope(&everyone());
    assert!(scope.guards_response());
}

#[test]
fn an_unknown_confidence_is_located() {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    write(dir.path(), "packs/own.toml", PACK);
    write(
        dir.path(),
        "main.toml",
        &guard("g", "mask", "min_confidence = \"hihg\""),
    );
    let errors = load(dir.path()).expect_err("no such word");
    assert_eq!(
        errors,
        ["main.toml:6:18: unknown confidence \"hihg\"; did you mean \"high\"?"]
    );
}
