//! Requests that people decide on while their connection waits: what the client hears meanwhile, and
//! every way in which a wait ends.

use penstock_loadgen::client::{Call, Connection};
use penstock_recorder::frame::Outcome;
use serde_json::{Value, json};

use crate::approvals::{
    POLICY, approval, approve, chat, decide, events, happened, recorded, stack, ticket,
    with_approval,
};
use crate::control::control;
use crate::stack::Stack;
use crate::witness::{PATIENCE, at, close_of, code, joined, request_id, scripted_chat};

/// Streams say that they wait ten times a second.
const OFTEN: &str = "[approvals]\nkeep_alive = \"100ms\"\n";

/// A policy under which everybody waits.
fn waiting(expires: &str) -> String {
    POLICY.replace("10m\"", &format!("{expires}\", manner = \"wait\""))
}

/// A call on a connection of its own that waits now, and its approval.
pub(crate) fn begin(stack: &Stack, call: Call) -> (Connection, String) {
    let known = ids(stack, "");
    let mut connection = stack.connect();
    connection.timeout(PATIENCE).expect("a timeout");
    call.token(&stack.token())
        .over(&mut connection)
        .expect("the request is sent");
    let mut found = None;
    let asked = stack.wait(|| {
        found = ids(stack, "").into_iter().find(|id| !known.contains(id));
        found.is_some()
    });
    assert!(asked, "nobody is asked: {}", stack.log());
    (connection, found.expect("an id"))
}

/// All approvals that stand so.
fn ids(stack: &Stack, standing: &str) -> Vec<String> {
    let query = match standing {
        "" => String::new(),
        standing => format!("?standing={standing}"),
    };
    let list = control(stack, &Call::get(&format!("/approvals{query}"))).json();
    let ids = list["approvals"].as_array().into_iter().flatten();
    ids.map(|it| it["id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// One that waits for people and is none of these.
pub(crate) fn pending_but(stack: &Stack, known: &[&str]) -> Option<String> {
    let mut pending = ids(stack, "pending").into_iter();
    pending.find(|id| !known.contains(&id.as_str()))
}

fn stream(answer: &Value) -> Call {
    Call::post("/v1/chat/completions", &scripted_chat(answer, true))
}

/// Reads the head of a stream that waits.
fn head(connection: &mut Connection, id: &str) -> String {
    let head = connection.read_head().expect("a head");
    assert_eq!(head.status, 200);
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    assert_eq!(head.field("x-penstock-approval"), Some(id));
    head.field("x-request-id").expect("an id").to_owned()
}

/// The last event of a stream, as JSON; the stream ends in order.
fn last_event(connection: &mut Connection) -> Value {
    let mut last = None;
    while let Some(event) = connection.next_event().expect("it ends in order") {
        last = Some(event);
    }
    assert!(connection.closed());
    last.expect("an event").json().expect("JSON")
}

#[test]
fn a_connection_waits_until_somebody_says_yes() {
    let stack = stack(|setup| {
        setup.record = true;
        setup.policy = waiting("10m");
    });
    let (mut connection, id) = begin(&stack, chat("please"));
    assert_eq!(approval(&stack, &id)["manner"], "wait");
    assert_eq!(stack.double.counters().requests, 0);
    approve(&stack, &id);
    let answer = connection.read_response().unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(events(&stack, &id), ["requested", "approved", "used"]);
    assert_eq!(stack.double.counters().requests, 1);
    let session = stack.session_of(&answer);
    assert_eq!(close_of(&session).outcome, Outcome::Completed);
    let history = [("requested", ""), ("approved", "sam"), ("used", "")];
    assert_eq!(recorded(&session), happened(&history));
    // The connection goes on.
    let again = stack.call(with_approval(chat("please"), &id));
    assert_eq!(code(&again), "approval_used");
}

#[test]
fn no_is_told_with_its_reason_and_silence_is_no() {
    let stack = stack(|setup| setup.policy = waiting("2s"));
    let (mut connection, id) = begin(&stack, chat("please"));
    let answer = decide(&stack, &id, "deny", "sam", &["security"]);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answer = connection.read_response().unwrap();
    assert_eq!(
        (answer.status(), code(&answer).as_str()),
        (403, "approval_denied")
    );
    assert!(answer.text().contains("sam says deny"), "{}", answer.text());

    let (mut connection, id) = begin(&stack, chat("anybody?"));
    let answer = connection.read_response().unwrap();
    assert_eq!(
        (answer.status(), code(&answer).as_str()),
        (403, "approval_expired")
    );
    let over = ["expired", "withdrawn"].map(Value::from);
    assert!(stack.wait(|| over.contains(&approval(&stack, &id)["standing"])));
    let late = decide(&stack, &id, "approve", "sam", &["security"]);
    assert_eq!(late.status(), 409);
    assert_eq!(stack.double.counters().requests, 0);
}

#[test]
fn a_caller_may_wait_a_while_and_come_back_with_a_ticket() {
    let stack = stack(|_| {});
    let waits = || chat("soon").field("prefer", "wait=1");
    let (mut connection, id) = begin(&stack, waits());
    let answer = connection.read_response().unwrap();
    assert_eq!(ticket(&answer), id);
    assert_eq!(approval(&stack, &id)["manner"], "ticket");
    approve(&stack, &id);
    assert_eq!(stack.call(with_approval(chat("soon"), &id)).status(), 200);
    let other = chat("later").field("prefer", "respond-async");
    ticket(&stack.call(other));
}

#[test]
fn a_stream_hears_that_it_waits_and_is_then_answered_as_any_other() {
    let masking = format!(
        "{}\n[[guard]]\nname = \"out\"\ndirection = \"response\"\npacks = [\"customer\"]\n\
         action = \"mask\"\n",
        waiting("10m")
    );
    let stack = stack(|setup| {
        setup.record = true;
        setup.policy = masking;
        setup.more = OFTEN.to_owned();
    });
    let text = "It is CUST-12345678, as you asked.";
    let answer = json!({"text": text, "split": "words"});
    let (mut connection, id) = begin(&stack, stream(&answer));
    let session = head(&mut connection, &id);
    let mut heard = String::new();
    while heard.matches("\n\n").count() < 4 {
        let piece = connection.next_piece().unwrap().expect("it goes on");
        heard += std::str::from_utf8(&piece).unwrap();
    }
    assert!(
        heard.starts_with(&format!(": waiting for approval {id}\n\n: still")),
        "{heard}"
    );
    assert!(
        heard
            .split("\n\n")
            .all(|it| it.is_empty() || it.starts_with(": ")),
        "{heard}"
    );
    approve(&stack, &id);
    let mut all = Vec::new();
    while let Some(event) = connection.next_event().unwrap() {
        all.push(event);
    }
    assert_eq!(all.last().map(|event| event.data.as_str()), Some("[DONE]"));
    let told = joined(&all, at("/choices/0/delta/content"));
    assert!(
        told.starts_with("It is ") && told.ends_with(", as you asked."),
        "{told}"
    );
    assert!(!told.contains("12345678"), "{told}");
    let record = stack.session(&session);
    assert_eq!(close_of(&record).outcome, Outcome::Completed);
    stack.assert_verified();
    // The connection serves the next request.
    Call::get("/v1/nothing")
        .token(&stack.token())
        .over(&mut connection)
        .unwrap();
    assert_eq!(connection.read_response().unwrap().status(), 403);
}

#[test]
fn whatever_refuses_a_stream_that_waits_is_its_last_event() {
    let stack = stack(|setup| {
        setup.policy = waiting("10m");
        setup.more = OFTEN.to_owned();
    });
    let (mut denied, id) = begin(&stack, stream(&json!({"text": "a"})));
    head(&mut denied, &id);
    decide(&stack, &id, "deny", "sam", &["security"]);
    let last = last_event(&mut denied);
    assert_eq!(last["error"]["code"], "approval_denied", "{last}");
    assert_eq!(last["error"]["type"], "permission_error");

    for (answer, expected) in [
        (
            json!({"status": 500, "message": "no slot"}),
            "upstream_not_a_stream",
        ),
        (
            json!({"text": "whole", "stream": false}),
            "upstream_not_a_stream",
        ),
        (json!({"close": "before"}), "upstream_reset"),
    ] {
        let (mut broken, id) = begin(&stack, stream(&answer));
        head(&mut broken, &id);
        approve(&stack, &id);
        let last = last_event(&mut broken);
        assert_eq!(last["error"]["code"], expected, "{answer}: {last}");
    }

    let mut body = scripted_chat(&json!({"text": "a"}), true);
    body["max_tokens"] = json!(10);
    let call = Call::post("/v1/messages", &body).field("anthropic-version", "2023-06-01");
    let (mut cut, id) = begin(&stack, call);
    head(&mut cut, &id);
    let revoke = json!({"who": {"subject": "alice"}, "reason": "a test"});
    let made = control(&stack, &Call::post("/revocations", &revoke));
    assert_eq!(made.json()["effect"]["ended"], 1, "{}", made.text());
    let last = last_event(&mut cut);
    assert_eq!(last["error"]["code"], "revoked", "{last}");
    assert_eq!(last["type"], "error");
    assert!(stack.wait(|| approval(&stack, &id)["standing"] == "withdrawn"));
}

#[test]
fn whoever_goes_away_asks_no_more() {
    let stack = stack(|setup| {
        setup.record = true;
        setup.policy = waiting("10m");
    });
    let (connection, id) = begin(&stack, chat("never mind"));
    drop(connection);
    assert!(stack.wait(|| approval(&stack, &id)["standing"] == "withdrawn"));
    let late = decide(&stack, &id, "approve", "sam", &["security"]);
    assert_eq!(late.status(), 409);
    let session = approval(&stack, &id)["matter"]["session"].clone();
    let record = stack.session(session.as_str().unwrap());
    assert_eq!(close_of(&record).outcome, Outcome::ClientGone);
    let history = [("requested", ""), ("withdrawn", "")];
    assert_eq!(recorded(&record), happened(&history));
    assert_eq!(stack.double.counters().requests, 0);
}

#[test]
fn a_revocation_ends_a_wait_at_once() {
    let stack = stack(|setup| setup.policy = waiting("10m"));
    let (mut connection, id) = begin(&stack, chat("please"));
    let revoke = json!({"who": {"subject": "alice"}, "reason": "a test"});
    let made = control(&stack, &Call::post("/revocations", &revoke));
    assert_eq!(made.json()["effect"]["ended"], 1, "{}", made.text());
    let answer = connection.read_response().unwrap();
    assert_eq!((answer.status(), code(&answer).as_str()), (401, "revoked"));
    assert!(stack.wait(|| approval(&stack, &id)["standing"] == "withdrawn"));
}

#[test]
fn a_gateway_that_stops_lets_nobody_wait() {
    let mut stack = stack(|setup| {
        setup.policy = waiting("10m");
        setup.more = OFTEN.to_owned();
    });
    let (mut plain, first) = begin(&stack, chat("please"));
    let (mut streamed, second) = begin(&stack, stream(&json!({"text": "a"})));
    head(&mut streamed, &second);
    stack.terminate_gateway();
    let answer = plain.read_response().unwrap();
    assert_eq!(
        (answer.status(), code(&answer).as_str()),
        (503, "gateway_stopping")
    );
    assert!(!request_id(&answer).is_empty());
    let last = last_event(&mut streamed);
    assert_eq!(last["error"]["code"], "gateway_stopping", "{last}");
    assert_eq!(stack.gateway_exit(), Some(0), "{}", stack.log());
    stack.start_gateway();
    for id in [first, second] {
        let it = approval(&stack, &id);
        assert_eq!(it["standing"], "withdrawn");
        assert_eq!(it["history"][1]["reason"], "the gateway stopped");
    }
}

#[test]
fn many_wait_at_once_and_each_gets_its_own_answer() {
    let stack = stack(|setup| {
        setup.policy = waiting("10m");
        setup.more = "[approvals]\npending_per_caller = 100\n".to_owned();
    });
    let mut waiting: Vec<(Connection, String)> = (0..20)
        .map(|number| begin(&stack, chat(&format!("number {number}"))))
        .collect();
    for (place, (_, id)) in waiting.iter().enumerate() {
        let word = if place % 2 == 0 { "approve" } else { "deny" };
        let answer = decide(&stack, id, word, "sam", &["security"]);
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    for (place, (connection, _)) in waiting.iter_mut().enumerate() {
        let status = connection.read_response().unwrap().status();
        assert_eq!(status, if place % 2 == 0 { 200 } else { 403 }, "{place}");
    }
    assert_eq!(stack.double.counters().requests, 10);
}
