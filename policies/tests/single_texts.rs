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
