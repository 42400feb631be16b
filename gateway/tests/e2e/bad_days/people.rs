//! Who acts on a bad day: callers and operators whose tokens hold whatever a clock says, and who do
//! not mind when nobody answers.

use penstock_loadgen::client::{Call, Connection, Response};
use penstock_loadgen::issuer::TokenSpec;
use serde_json::{Value, json};

use crate::approvals::{chat, with_approval};
use crate::control::control;
use crate::stack::Stack;
use crate::witness::code;

/// Longer than any clock here is wrong, in seconds.
const TOKEN_LIFE_S: i64 = 30 * 86_400;

/// A token that says nothing of when it was issued.
pub(super) fn token(stack: &Stack, subject: &str, groups: &[&str]) -> String {
    let mut spec = TokenSpec::new(subject, groups)
        .claim("iat", Value::Null)
        .claim("nbf", Value::Null);
    spec.ttl_s = TOKEN_LIFE_S;
    stack.issuer.mint(&spec).expect("a token")
}

/// One of those who ask.
pub(super) fn alice(stack: &Stack) -> String {
    token(stack, "alice", &["engineers"])
}

/// One of those who decide.
pub(super) fn sam(stack: &Stack) -> String {
    token(stack, "sam", &["security"])
}

/// A chat by this token.
pub(super) fn ask(stack: &Stack, token: &str, text: &str) -> Response {
    stack.send(chat(text).token(token))
}

/// The same with an approval; its status, and the code of an error.
pub(super) fn spend(stack: &Stack, token: &str, text: &str, id: &str) -> (u16, String) {
    let answer = stack.send(with_approval(chat(text), id).token(token));
    (answer.status(), code(&answer))
}

/// The call by which somebody of `security` decides.
pub(super) fn decision(token: &str, id: &str, word: &str) -> Call {
    let body = json!({"reason": "a bad day"});
    Call::post(&format!("/approvals/{id}/{word}"), &body).token(token)
}

#[track_caller]
pub(super) fn approve(stack: &Stack, token: &str, id: &str) {
    let answer = control(stack, &decision(token, id, "approve"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// Cuts a person off, for good or until a time.
pub(super) fn revocation(subject: &str, until: Option<&str>) -> Call {
    let body = json!({"who": {"subject": subject}, "until": until, "reason": "a bad day"});
    Call::post("/revocations", &body)
}

/// A key of this owner's.
pub(super) fn wanted_key(owner: &str, expires: &str) -> Call {
    let body = json!({"owner": {"subject": owner}, "name": "nightly", "groups": ["engineers"],
        "expires": expires});
    Call::post("/keys", &body)
}

/// A call to the control socket that may find nobody, or lose them.
pub(super) fn attempt(stack: &Stack, call: &Call) -> Option<Response> {
    let mut connection = Connection::unix(&stack.path("control.sock")).ok()?;
    call.over(&mut connection).ok()?;
    connection.read_response().ok()
}

/// How often the model was asked what.
pub(super) fn forwarded(stack: &Stack, text: &str) -> usize {
    let said = |body: &[u8]| -> Option<String> {
        let body: Value = serde_json::from_slice(body).ok()?;
        Some(body["messages"][0]["content"].as_str()?.to_owned())
    };
    let requests = stack.double.requests();
    let same = requests
        .iter()
        .filter(|it| said(&it.body).as_deref() == Some(text));
    same.count()
}
