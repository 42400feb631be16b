//! A held request is told to Slack, and somebody approves it there: what Slack gets, whose button
//! counts, and which messages of Slack are believed.

use std::time::{SystemTime, UNIX_EPOCH};

use penstock_loadgen::client::{Call, Response};
use serde_json::{Value, json};

use crate::approvals::{approval, chat, stack as holding, ticket, with_approval};
use crate::control::control;
use crate::notifications::{Receiver, hmac};
use crate::stack::Stack;

/// The app's signing secret, put together here so that none stands anywhere.
fn secret() -> String {
    "0f".repeat(16)
}

/// A gateway that holds every inference, tells Slack, and knows three of its users.
fn stack(receiver: &Receiver) -> Stack {
    let url = format!("http://{}/services/T0", receiver.address);
    holding(|setup| {
        setup.files.push(("slack.url".to_owned(), url));
        setup.files.push(("slack.secret".to_owned(), secret()));
        setup.more = "[[notify]]\nname = \"chat\"\nkind = \"slack\"\nurl_file = \"slack.url\"\n\
                      secret_file = \"slack.secret\"\nevents = [\"requested\"]\n\
                      people = [\n\
                      { slack = \"U0SAM\", subject = \"sam\", groups = [\"security\"] },\n\
                      { slack = \"U0ALICE\", subject = \"alice\", groups = [\"security\"] },\n\
                      { slack = \"U0EVE\", issuer = \"dev\", subject = \"eve\", groups = [] },\n]\n"
            .to_owned();
    })
}

/// Percent-encodes everything, as a form may.
fn form(payload: &str) -> String {
    let encoded: String = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("payload={encoded}")
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a time").as_secs()
}

/// What Slack posts when this user presses the button of this approval.
fn pressed(user: &str, id: &str, answer_to: &str) -> String {
    let payload = json!({
        "type": "block_actions",
        "user": {"id": user, "username": "whoever", "team_id": "T0"},
        "api_app_id": "A0", "token": "not looked at", "trigger_id": "1.2.abc",
        "container": {"type": "message"}, "message": {"text": "x".repeat(20_000)},
        "response_url": answer_to,
        "actions": [{"action_id": "penstock_approve", "block_id": "penstock", "value": id,
            "type": "button", "action_ts": "1.2"}],
    });
    form(&payload.to_string())
}

fn signature(secret: &str, at: u64, body: &str) -> String {
    let mac = hmac(secret.as_bytes(), format!("v0:{at}:{body}").as_bytes());
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v0={hex}")
}

fn post(stack: &Stack, at: u64, signature: &str, body: &str) -> Response {
    let call = Call::new("POST", "/hooks/slack")
        .field("content-type", "application/x-www-form-urlencoded")
        .field("x-slack-request-timestamp", &at.to_string())
        .field("x-slack-signature", signature)
        .body(body);
    control(stack, &call)
}

fn send(stack: &Stack, body: &str) -> Response {
    let at = now();
    post(stack, at, &signature(&secret(), at, body), body)
}

fn refusal(answer: &Response) -> (u16, Value) {
    (answer.status(), answer.json()["code"].clone())
}

#[test]
fn a_button_in_slack_counts_for_whoever_may_approve_and_for_nobody_else() {
    let receiver = Receiver::start(200);
    let stack = stack(&receiver);
    let token = stack.token();
    let id = ticket(&stack.send(chat("may I?").token(&token)));
    let message = receiver.wait_for(&stack, 1)[0].json();
    let blocks = message["blocks"].as_array().expect("blocks");
    let actions = blocks
        .iter()
        .find(|block| block["type"] == "actions")
        .expect("buttons");
    assert_eq!(actions["elements"][0]["value"], id.as_str());
    let answer_to = format!("http://{}/actions/T0", receiver.address);
    let mut answers = 1;
    let mut said = |stack: &Stack| -> String {
        answers += 1;
        let got = receiver.wait_for(stack, answers);
        let answer = got[answers - 1].json();
        assert_eq!(answer["response_type"], "ephemeral");
        answer["text"].as_str().expect("text").to_owned()
    };
    // Never one's own, nobody without the group, nobody unknown.
    for (user, why) in [
        (
            "U0ALICE",
            "nobody decides on what they asked for themselves",
        ),
        ("U0EVE", "only members of security"),
        ("U0MALLORY", "does not know who you are"),
    ] {
        let heard = send(&stack, &pressed(user, &id, &answer_to));
        assert_eq!(heard.status(), 200, "{}", heard.text());
        let said = said(&stack);
        assert!(
            said.contains("Nothing was approved") && said.contains(why),
            "{user}: {said}"
        );
        assert_eq!(approval(&stack, &id)["standing"], "pending");
    }
    let heard = send(&stack, &pressed("U0SAM", &id, &answer_to));
    assert_eq!(heard.status(), 200, "{}", heard.text());
    assert_eq!(said(&stack), "You have approved this.");
    let decided = approval(&stack, &id);
    assert_eq!(decided["standing"], "approved", "{decided}");
    let passed = stack.send(with_approval(chat("may I?").token(&token), &id));
    assert_eq!(passed.status(), 200, "{}", passed.text());
    // Who is cut off approves nothing any more.
    let id = ticket(&stack.send(chat("and this?").token(&token)));
    answers += 1;
    receiver.wait_for(&stack, answers);
    let revoke = json!({"who": {"subject": "sam"}, "reason": "left"});
    assert_eq!(
        control(&stack, &Call::post("/revocations", &revoke)).status(),
        201
    );
    assert_eq!(
        send(&stack, &pressed("U0SAM", &id, &answer_to)).status(),
        200
    );
    let got = receiver.wait_for(&stack, answers + 1);
    assert!(
        got[answers].body.contains("your access was revoked"),
        "{}",
        got[answers].body
    );
    assert_eq!(approval(&stack, &id)["standing"], "pending");
}

#[test]
fn only_what_slack_signed_just_now_is_believed_and_only_once() {
    let receiver = Receiver::start(200);
    let stack = stack(&receiver);
    let id = ticket(&stack.send(chat("may I?").token(&stack.token())));
    let elsewhere = Receiver::start(200);
    let answer_to = format!("http://{}/steal", elsewhere.address);
    let body = pressed("U0SAM", &id, &answer_to);
    let at = now();
    let good = signature(&secret(), at, &body);
    let not_signed = (401, json!("not_signed"));
    let other = pressed("U0SAM", "another", &answer_to);
    let old = at - 301;
    for (at, signature, body, what) in [
        (
            at,
            signature("somebody-else-s-secret", at, &body),
            &body,
            "another secret",
        ),
        (at, good.clone(), &other, "another body"),
        (at - 1, good.clone(), &body, "another time"),
        (
            old,
            signature(&secret(), old, &body),
            &body,
            "an old message",
        ),
        (
            at + 600,
            signature(&secret(), at + 600, &body),
            &body,
            "one of the future",
        ),
        (at, String::new(), &body, "none"),
        (at, good.replace("v0=", "v1="), &body, "another version"),
    ] {
        let answer = post(&stack, at, &signature, body);
        assert_eq!(refusal(&answer), not_signed, "{what}");
        assert_eq!(approval(&stack, &id)["standing"], "pending", "{what}");
    }
    let heard = post(&stack, at, &good, &body);
    assert_eq!(heard.status(), 200, "{}", heard.text());
    assert_eq!(approval(&stack, &id)["standing"], "approved");
    assert_eq!(
        refusal(&post(&stack, at, &good, &body)),
        (401, json!("replayed"))
    );
    // Signed, and not what a button of ours says.
    for body in [form("{}"), form("no JSON"), "nothing=1".to_owned()] {
        let answer = send(&stack, &body);
        assert_eq!(refusal(&answer), (400, json!("not_understood")), "{body}");
    }
    // What is signed can still name any address: answers go to the receiver's own alone.
    let refused = || {
        stack
            .log()
            .contains("it would go elsewhere than the receiver's address")
    };
    assert!(stack.wait(refused), "{}", stack.log());
    assert!(elsewhere.got().is_empty());
}
