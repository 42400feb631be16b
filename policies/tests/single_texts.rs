//! Verdicts on texts outside bodies.

mod support;

use penstock_policies::{Action, Direction, FINDINGS_MAX, PolicySet};
use support::{everyone, policy, policy_of};

#[test]
fn a_text_gets_the_verdict_of_its_direction() {
    let policy = policy_of(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
[[guard]]
name = "in"
direction = "request"
rules = ["customer"]
action = "mask"
[[guard]]
name = "out"
direction = "response"
rules = ["customs"]
action = "block"
"#,
    );
    let scope = policy.scope(&everyone());
    let text = "x CUST-12345678 CUSTOMS 123";
    let inbound = policy.inspect_text(&scope, Direction::Request, "header.x-note", text);
    assert_eq!(inbound.action, Action::Mask);
    let finding = &inbound.findings[0];
    assert_eq!(finding.location, "header.x-note");
    assert_eq!((finding.start, finding.end), (2, 15));
    assert_eq!(inbound.findings.len(), 1);
    let outbound = policy.inspect_text(&scope, Direction::Response, "header.server", text);
    assert_eq!(outbound.action, Action::Block);
    assert_eq!(&*outbound.findings[0].rule, "customs");
    for text in ["", "nothing of note"] {
        let verdict = policy.inspect_text(&scope, Direction::Request, "query", text);
        assert_eq!((verdict.action, verdict.findings.len()), (Action::Allow, 0));
    }
}

#[test]
fn a_text_says_who_must_approve_it_and_whether_it_could_pass_then() {
    let policy = policy_of(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
[[guard]]
name = "ask"
direction = "request"
rules = ["customer"]
action = "hold"
approvers = { groups = ["security"] }
[[guard]]
name = "hide"
direction = "request"
rules = ["customs"]
action = "mask"
"#,
    );
    let scope = policy.scope(&everyone());
    let way = Direction::Request;
    let look = |text: &str| policy.inspect_text(&scope, way, "query", text);
    let held = look(&"CUST-12345678 ".repeat(FINDINGS_MAX * 2));
    assert_eq!((held.action, held.masks), (Action::Hold, false));
    let holds = scope.held_by(held.held);
    assert_eq!(holds.len(), 1, "each guard once");
    assert_eq!(
        (&*holds[0].name, holds[0].cause.rule()),
        ("ask", "customer")
    );
    assert_eq!(
        holds[0].cause.to_string(),
        "rule \"customer\" matched in query"
    );
    // The list of findings is full before the mask comes.
    let both = format!("{}CUSTOMS 123", "CUST-12345678 ".repeat(FINDINGS_MAX));
    let both = look(&both);
    assert_eq!((both.action, both.masks), (Action::Hold, true));
    let masked = look("CUSTOMS 123");
    assert_eq!((masked.action, masked.masks), (Action::Mask, true));
    assert!(masked.held.is_empty());
}

#[test]
fn without_a_guard_everything_is_allowed() {
    let off = PolicySet::allow_all();
    let scope = off.scope(&everyone());
    let verdict = off.inspect_text(&scope, Direction::Request, "query", "CUST-12345678");
    assert_eq!(verdict.action, Action::Allow);
}

#[test]
fn the_list_is_bounded_and_the_action_is_not() {
    let policy = policy("mask");
    let scope = policy.scope(&everyone());
    let text = "CUST-12345678 ".repeat(FINDINGS_MAX * 2);
    let verdict = policy.inspect_text(&scope, Direction::Request, "query", &text);
    assert_eq!(verdict.action, Action::Mask);
    assert_eq!(verdict.findings.len(), FINDINGS_MAX);
}
