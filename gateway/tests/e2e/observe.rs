//! Guards on trial: they decide and record, and nobody outside the record can tell that they are
//! there.

use std::process::Command;

use penstock_loadgen::client::{Call, Response};
use penstock_recorder::frame::{ControlState, Decision, Outcome};
use serde_json::{Value, json};

use crate::stack::{MODEL, POLICY, Stack};
use crate::witness::{close_of, decisions_of, scripted_chat};

const TEXT: &str = "order CUST-12345678 for jane.doe@example.com is ready";

fn secret() -> String {
    ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat()
}

/// What was decided in a session: action, rule.
fn decided(stack: &Stack, answer: &Response) -> Vec<(String, String)> {
    let session = stack.session_of(answer);
    let decisions = decisions_of(&session);
    let pair = |d: &&Decision| (d.action.clone(), d.rule.clone());
    decisions.iter().map(pair).collect()
}

#[test]
fn with_all_guards_observing_nothing_changes_but_the_record() {
    let stack = Stack::with(|setup| {
        setup.policy = format!("{POLICY}\n[inspection]\nobserve = true\n");
    });
    assert!(
        stack.log().contains("ALL GUARDS ONLY OBSERVE"),
        "{}",
        stack.log()
    );
    let secret = secret();
    let answer = stack.chat(&format!("my key is {secret}"));
    assert_eq!(answer.status(), 200);
    let seen = stack.double.requests().pop().expect("it was forwarded");
    assert_eq!(
        seen.json()["messages"][0]["content"],
        format!("my key is {secret}")
    );
    assert_eq!(
        decided(&stack, &answer)[0],
        ("observed block".to_owned(), "aws-access-key-id".to_owned())
    );

    // The same stream with and without anybody who looks.
    let bare = Stack::with(|setup| setup.policies = "enabled = false".to_owned());
    let script = json!({"text": TEXT, "split": "chars:3"});
    let call = || Call::post("/v1/chat/completions", &scripted_chat(&script, true));
    let (looked, plain) = (stack.call(call()), bare.call(call()));
    let text = |answer: &Response| {
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let events = answer.text();
        let mut said = String::new();
        for data in events
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
        {
            let event: Value = serde_json::from_str(data).unwrap_or_default();
            said += event["choices"][0]["delta"]["content"]
                .as_str()
                .unwrap_or_default();
        }
        (events.matches("data: ").count(), said)
    };
    assert_eq!(text(&looked), text(&plain));
    assert_eq!(text(&looked).1, TEXT);
    let upstream = stack.session_of(&looked).response_body();
    assert_eq!(upstream, looked.body, "as the client saw it");
    let told: Vec<_> = decided(&stack, &looked);
    assert!(
        told.contains(&("observed mask".to_owned(), "customer-id".to_owned())),
        "{told:?}"
    );
    assert!(
        told.contains(&("observed mask".to_owned(), "email-address".to_owned())),
        "{told:?}"
    );
    let session = stack.session_of(&looked);
    let close = close_of(&session);
    assert_eq!(
        (close.outcome, &close.error_code),
        (Outcome::Completed, &None)
    );
    for (control, state) in [
        ("inspect response", ControlState::Skipped),
        ("observe response", ControlState::Ran),
        ("observe request", ControlState::Ran),
    ] {
        let run = close.controls.iter().find(|run| run.name == control);
        assert_eq!(run.map(|run| run.state), Some(state), "{control}");
    }
    // An answer of a known length is looked at to its end, too.
    let whole = stack.call(Call::post(
        "/v1/chat/completions",
        &scripted_chat(&json!({"text": TEXT}), false),
    ));
    assert!(whole.text().contains("CUST-12345678"), "{}", whole.text());
    assert!(whole.head.field("content-length").is_some());
    let told = decided(&stack, &whole);
    assert!(
        told.contains(&("observed mask".to_owned(), "customer-id".to_owned())),
        "{told:?}"
    );
    assert_eq!(stack.counter("blocked"), 0);
}

#[test]
fn one_guard_observes_while_the_others_act() {
    let observed = POLICY.replace("action = \"block\"", "action = \"block\"\nobserve = true");
    let stack = Stack::with(|setup| setup.policy = observed);
    let warning = "guard \"no secrets in\" only observes: what it finds is recorded";
    assert!(stack.log().contains(warning), "{}", stack.log());
    let secret = secret();
    let script = json!({"text": format!("{TEXT} {secret}")});
    let body = json!({
        "model": MODEL,
        "messages": [{"role": "user", "content": format!("[[double: {script}]]")}],
    });
    let answer = stack.call(Call::post("/v1/chat/completions", &body));
    assert_eq!(answer.status(), 200);
    assert!(!answer.text().contains("12345678") && !answer.text().contains(&secret));
    let told = decided(&stack, &answer);
    assert_eq!(told[0].0, "observed block");
    assert!(
        told.iter()
            .any(|(action, rule)| action == "mask" && rule == "customer-id")
    );

    let check = Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(["check", "--config"])
        .arg(stack.path("gateway.toml"))
        .output()
        .expect("check runs");
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(
        said.contains("rules, only observed\n") && said.contains(warning),
        "{said}"
    );
}
