//! Identity providers come, go and change while calls go on; a cached token never outlives the
//! configuration under which it was verified.

use std::fs;

use penstock_loadgen::client::Call;
use penstock_loadgen::issuer::{Issuer, IssuerOptions, TokenSpec};
use serde_json::json;

use crate::reload::{reload, standing};
use crate::stack::{MODEL, Stack};
use crate::witness::{PATIENCE, code};

fn configured(stack: &Stack) -> String {
    fs::read_to_string(stack.path("gateway.toml")).expect("read")
}

/// Writes a configuration and reloads; what became of it.
fn configure(stack: &Stack, text: &str) -> serde_json::Value {
    fs::write(stack.path("gateway.toml"), text).expect("written");
    reload(stack)["last"].clone()
}

/// Reloads when the test says so, and then alone.
fn unwatched() -> Stack {
    Stack::with(|setup| {
        setup.policies = "dir = \"policies\"\nwatch = false".to_owned();
    })
}

fn second(issuer: &Issuer) -> String {
    format!(
        "[[issuer]]\nname = \"second\"\nurl = \"{}\"\naudiences = [\"penstock\"]\n[upstream]",
        issuer.url()
    )
}

#[test]
fn an_issuer_comes_and_goes() {
    let stack = unwatched();
    let other = Issuer::start(IssuerOptions::default()).expect("a second provider");
    let theirs = other.token("bob", &["engineers"]);
    let say = |token: &str| {
        let answer = stack.send(Call::chat(MODEL, "hello", false).token(token));
        (answer.status(), code(&answer))
    };
    let ours = stack.token();
    let mut kept = stack.connect();
    kept.timeout(PATIENCE).expect("a timeout");
    assert_eq!(say(&ours).0, 200);
    assert_eq!(say(&theirs), (401, "unknown_issuer".to_owned()));

    let before = configured(&stack);
    let both = before.replacen("[upstream]", &second(&other), 1);
    let applied = configure(&stack, &both);
    assert_eq!(applied["policies"], "applied", "{applied}");
    assert_eq!(applied["needs_restart"], json!([]));
    assert_eq!(say(&theirs).0, 200, "its keys were there before it was");
    assert_eq!(say(&ours).0, 200);
    let names = |stack: &Stack| -> Vec<String> {
        let status = stack.status();
        let issuers = status["issuers"].as_array().expect("a list").iter();
        issuers
            .map(|it| it["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    assert_eq!(names(&stack), ["dev", "second"]);
    // Who stays keeps the keys that were fetched before.
    let fetched = |stack: &Stack| stack.status()["issuers"][0]["fetched_unix"].clone();
    let first = fetched(&stack);
    // Names of the new one are known where people are named.
    let revoked = crate::control::verb_ok(
        &stack,
        &[
            "revoke",
            "--subject",
            "bob",
            "--issuer",
            "second",
            "--reason",
            "left",
        ],
    );
    assert!(revoked.contains("bob"), "{revoked}");
    assert_eq!(say(&theirs), (401, "revoked".to_owned()));

    assert_eq!(configure(&stack, &before)["policies"], "applied");
    assert_eq!(say(&theirs), (401, "unknown_issuer".to_owned()));
    assert_eq!(say(&ours).0, 200);
    assert_eq!(fetched(&stack), first);
    assert_eq!(names(&stack), ["dev"]);
}

#[test]
fn what_an_issuer_accepts_changes_for_tokens_that_are_remembered_too() {
    let stack = unwatched();
    let token = stack.token();
    let spec = TokenSpec {
        audience: vec!["other".to_owned()],
        ..TokenSpec::new("alice", &["engineers"])
    };
    let other = stack.issuer.mint(&spec).expect("a token");
    let say = |token: &str| {
        let answer = stack.send(Call::chat(MODEL, "hello", false).token(token));
        (answer.status(), code(&answer))
    };
    for _ in 0..3 {
        assert_eq!(say(&token).0, 200, "remembered by every core");
    }
    let before = configured(&stack);
    let changed = before.replace("audiences = [\"penstock\"]", "audiences = [\"other\"]");
    assert_eq!(configure(&stack, &changed)["policies"], "applied");
    for _ in 0..8 {
        assert_eq!(say(&token), (401, "wrong_audience".to_owned()));
        assert_eq!(say(&other).0, 200);
    }
    // What is wrong changes nothing.
    let twice = before.replacen("[upstream]", &second(&stack.issuer), 1);
    let refused = configure(&stack, &twice);
    assert_eq!(refused["policies"], "refused");
    let reason = refused["errors"][0]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("another [[issuer]] has it already"),
        "{reason}"
    );
    assert_eq!(say(&other).0, 200);
    assert_eq!(standing(&stack)["refused"], 1);
    // Callers without a credential come and go with a reload as well.
    let open = changed.replacen(
        "[upstream]",
        "[identity]\nanonymous_groups = [\"engineers\"]\n[upstream]",
        1,
    );
    let anonymous = || stack.send(Call::chat(MODEL, "hello", false)).status();
    assert_eq!(anonymous(), 401);
    let opened = configure(&stack, &open);
    assert_eq!(opened["policies"], "applied", "{opened}");
    assert_eq!(anonymous(), 200);
    assert_eq!(configure(&stack, &changed)["policies"], "applied");
    assert_eq!(anonymous(), 401);
}
