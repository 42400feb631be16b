//! Requests that are held for what stands outside their body, in the query or in a header field:
//! people are asked, and an approval is for these very values.

use penstock_loadgen::client::{Call, Response};
use penstock_recorder::frame::Outcome;
use serde_json::{Value, json};

use crate::approvals::{WEIGHTS, approval, approve, chat, events, stack, ticket, with_approval};
use crate::stack::{MODEL, Setup, Stack};
use crate::witness::{close_of, code, decisions_of};

/// Besides what is said about weights and customers.
const NO_SECRETS: &str = r#"
[[guard]]
name = "no secrets in"
direction = "request"
packs = ["secrets"]
action = "block"
"#;

const ASKS: &str = "please export the model weights to bucket one";
const ASKS_TOO: &str = "please export the model weights to bucket two";

fn held(change: impl FnOnce(&mut Setup)) -> Stack {
    stack(|setup| {
        setup.policy = format!("{WEIGHTS}{NO_SECRETS}");
        change(setup);
    })
}

fn noted(value: &str) -> Call {
    chat("hello").field("X-Note", value)
}

fn asking(query: &str) -> Call {
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]});
    Call::post(&format!("/v1/chat/completions?{query}"), &body)
}

fn encoded(text: &str) -> String {
    format!("note={}", text.replace(' ', "%20"))
}

fn outcome(answer: &Response) -> (u16, String) {
    (answer.status(), code(answer))
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// The texts that an approver sees, by place.
fn seen(approval: &Value) -> Vec<(String, Option<String>)> {
    let excerpts = approval["matter"]["excerpts"].as_array().expect("a list");
    let text = |it: &Value| it["text"].as_str().map(str::to_owned);
    excerpts
        .iter()
        .map(|it| (it["location"].as_str().unwrap_or("?").to_owned(), text(it)))
        .collect()
}

#[test]
fn a_field_is_held_and_approved_as_it_is() {
    let stack = held(|setup| setup.record = true);
    let asked = stack.call(noted(ASKS));
    let id = ticket(&asked);
    let shown = approval(&stack, &id);
    assert_eq!(shown["holds"][0]["cause"], "rule:weight-export");
    assert_eq!(
        shown["holds"][0]["why"],
        "rule \"weight-export\" matched in header"
    );
    let text = "please [weight-export] to bucket one";
    let expected = [
        ("header x-note".to_owned(), Some(text.to_owned())),
        ("messages[0].content".to_owned(), Some("hello".to_owned())),
    ];
    assert_eq!(seen(&shown), expected);
    approve(&stack, &id);
    // For another value, another field, one more of them, or in another place: not what was approved.
    for other in [
        noted(ASKS_TOO),
        chat("hello").field("x-other", ASKS),
        noted(ASKS).field("x-note", ASKS_TOO),
        asking(&encoded(ASKS)),
    ] {
        let answer = stack.call(with_approval(other, &id));
        assert_eq!(outcome(&answer), is(403, "approval_mismatch"));
    }
    assert_eq!(stack.double.counters().requests, 0);
    // A field that nothing holds is no part of it; nor is the case of a name.
    let same = chat("hello").field("x-note", ASKS).field("x-more", "1");
    let passed = stack.call(with_approval(same, &id));
    assert_eq!(passed.status(), 200, "{}", passed.text());
    let fields = &stack.double.requests()[0].fields;
    assert!(
        fields
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("x-note") && value == ASKS),
        "{fields:?}"
    );
    assert_eq!(events(&stack, &id), ["requested", "approved", "used"]);
    let again = stack.call(with_approval(noted(ASKS), &id));
    assert_eq!(outcome(&again), is(403, "approval_used"));
    let session = stack.session_of(&asked);
    assert_eq!(close_of(&session).outcome, Outcome::Blocked);
    let decision = decisions_of(&session)[0];
    assert_eq!(
        (decision.action.as_str(), decision.location.as_str()),
        ("hold", "header")
    );
    assert_eq!(
        close_of(&stack.session_of(&passed)).outcome,
        Outcome::Completed
    );
    assert!(!stack.log().contains("bucket"));
}

#[test]
fn a_query_is_held_and_approved_as_it_is() {
    let stack = held(|_| {});
    let id = ticket(&stack.call(asking(&encoded(ASKS))));
    let text = "note=please [weight-export] to bucket one";
    assert_eq!(
        seen(&approval(&stack, &id))[0],
        ("query".to_owned(), Some(text.to_owned()))
    );
    approve(&stack, &id);
    for other in [asking(&encoded(ASKS_TOO)), noted(ASKS)] {
        let answer = stack.call(with_approval(other, &id));
        assert_eq!(outcome(&answer), is(403, "approval_mismatch"));
    }
    let passed = stack.call(with_approval(asking(&encoded(ASKS)), &id));
    assert_eq!(passed.status(), 200, "{}", passed.text());
    // Both, and the body as well: one hold, asked about once.
    let all = || {
        let body = json!({"model": MODEL, "messages": [{"role": "user", "content": "dump all your weights"}]});
        let path = format!("/v1/chat/completions?{}", encoded(ASKS));
        Call::post(&path, &body).field("x-note", ASKS)
    };
    let id = ticket(&stack.call(all()));
    let shown = approval(&stack, &id);
    assert_eq!(shown["holds"].as_array().map(Vec::len), Some(1), "{shown}");
    let places: Vec<String> = seen(&shown).into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["header x-note", "query", "messages[0].content"]);
    approve(&stack, &id);
    let passed = stack.call(with_approval(all(), &id));
    assert_eq!(passed.status(), 200, "{}", passed.text());
}

#[test]
fn what_is_masked_or_blocked_there_is_not_asked_about() {
    let stack = held(|_| {});
    let secret = ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat();
    for call in [
        asking(&format!("{}%20for%20CUST-12345678", encoded(ASKS))),
        asking(&format!("{}&key={secret}", encoded(ASKS))),
        noted(&format!("{ASKS}, key {secret}")),
        noted(ASKS).field("x-key", &secret),
    ] {
        let answer = stack.call(call);
        assert_eq!(outcome(&answer), is(403, "request_blocked"));
        assert!(!answer.text().contains("12345678"), "{}", answer.text());
    }
    // A field with a masked value goes on to nobody; people are asked about what holds it all the same.
    let both = || noted(&format!("{ASKS} for CUST-12345678"));
    let id = ticket(&stack.call(both()));
    let shown = approval(&stack, &id);
    let text = "please [weight-export] to bucket one for [customer-id]";
    assert_eq!(seen(&shown)[0].1.as_deref(), Some(text));
    approve(&stack, &id);
    let passed = stack.call(with_approval(both(), &id));
    assert_eq!(passed.status(), 200, "{}", passed.text());
    let fields = &stack.double.requests()[0].fields;
    let note = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("x-note");
    assert!(fields.iter().find(note).is_none(), "{fields:?}");
    assert!(!stack.log().contains("12345678"));
}

#[test]
fn approvers_see_of_it_what_the_policy_shows() {
    for (show, text) in [("nothing", None), ("everything", Some(ASKS.to_owned()))] {
        let stack = held(|setup| setup.more = format!("[approvals]\nshow = \"{show}\"\n"));
        let id = ticket(&stack.call(noted(ASKS)));
        let shown = approval(&stack, &id);
        assert_eq!(
            seen(&shown)[0],
            ("header x-note".to_owned(), text),
            "{show}"
        );
        // Names are the caller's, too.
        for name in ["CUST-12345678".to_owned(), "n".repeat(100)] {
            let id = ticket(&stack.call(chat("hello").field(&name, ASKS)));
            let shown = approval(&stack, &id);
            assert_eq!(seen(&shown)[0].0, "header", "{show}");
            assert!(!shown.to_string().contains("12345678"), "{shown}");
        }
    }
}
