//! Logins that end at the identity provider end here: back-channel logout, with real signed tokens.

use penstock_loadgen::client::{Call, Response};
use penstock_loadgen::issuer::{TokenSpec, now_unix};
use serde_json::{Value, json};

use crate::control::{control, verb_ok};
use crate::stack::Stack;
use crate::witness::{code, scripted_chat};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A good logout token of this person, and of this session where one is named.
fn logout_spec(subject: Option<&str>, session: Option<&str>) -> TokenSpec {
    TokenSpec::new("alice", &[])
        .header("typ", "logout+jwt")
        .claim("sub", json!(subject))
        .claim("sid", json!(session))
        .claim("events", json!({ EVENT: {} }))
}

fn post(stack: &Stack, token: &str) -> Response {
    let call = Call::new("POST", "/logout")
        .field("content-type", "application/x-www-form-urlencoded")
        .body(format!("logout_token={token}"));
    control(stack, &call)
}

fn mint(stack: &Stack, spec: &TokenSpec) -> String {
    stack.issuer.mint(spec).expect("a token")
}

fn ask(stack: &Stack, token: &str) -> (u16, String) {
    let body = scripted_chat(&json!({"text": "hello"}), false);
    let answer = stack.send(Call::post("/v1/chat/completions", &body).token(token));
    (answer.status(), code(&answer))
}

fn login(stack: &Stack, session: &str, issued: u64) -> String {
    let spec = TokenSpec::new("alice", &["engineers"])
        .claim("sid", session)
        .claim("iat", issued)
        .claim("nbf", issued);
    mint(stack, &spec)
}

#[test]
fn a_session_ends_and_another_goes_on() {
    let mut stack = Stack::unrecorded();
    let now = now_unix();
    let (first, second) = (login(&stack, "s1", now), login(&stack, "s2", now));
    let token = mint(&stack, &logout_spec(Some("alice"), Some("s1")));
    let answer = post(&stack, &token);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.head.field("cache-control"), Some("no-store"));
    assert_eq!(ask(&stack, &first), (401, "revoked".to_owned()));
    assert_eq!(ask(&stack, &second).0, 200);
    for _ in 0..2 {
        let again = post(&stack, &token);
        assert_eq!(
            (again.status(), again.json()["code"].as_str()),
            (400, Some("replayed"))
        );
        // And after a restart.
        stack.kill_gateway();
        stack.start_gateway();
    }
    let listed = verb_ok(&stack, &["revoke", "--list"]);
    assert!(
        listed.contains("session s1") && listed.contains("logged out"),
        "{listed}"
    );
}

#[test]
fn all_logins_of_a_person_end_and_the_next_one_and_their_keys_go_on() {
    let mut stack = Stack::unrecorded();
    let now = now_unix();
    let (old, next) = (login(&stack, "s1", now - 60), login(&stack, "s2", now + 5));
    let created = verb_ok(
        &stack,
        &[
            "keys",
            "create",
            "--owner",
            "alice",
            "--groups",
            "engineers",
            "--name",
            "n",
            "--expires",
            "1h",
        ],
    );
    assert_eq!(ask(&stack, &old).0, 200);
    assert_eq!(
        post(&stack, &mint(&stack, &logout_spec(Some("alice"), None))).status(),
        200
    );
    for _ in 0..2 {
        assert_eq!(ask(&stack, &old), (401, "revoked".to_owned()));
        assert_eq!(ask(&stack, &next).0, 200, "the next login");
        assert_eq!(ask(&stack, created.trim()).0, 200, "a key is no login");
        // And after a restart.
        stack.kill_gateway();
        stack.start_gateway();
    }
    // The same, by an operator.
    verb_ok(
        &stack,
        &["revoke", "--logins", "bob", "--reason", "laptop stolen"],
    );
    let bob = mint(
        &stack,
        &TokenSpec::new("bob", &["engineers"]).claim("iat", now - 60),
    );
    assert_eq!(ask(&stack, &bob), (401, "revoked".to_owned()));
}

#[test]
fn what_is_no_logout_token_ends_nothing() {
    let stack = Stack::unrecorded();
    let now = now_unix();
    let token = login(&stack, "s1", now);
    let good = || logout_spec(Some("alice"), Some("s1"));
    let spec = |change: fn(TokenSpec) -> TokenSpec| mint(&stack, &change(good()));
    for (what, bad) in [
        ("no events", spec(|it| it.claim("events", Value::Null))),
        (
            "another event",
            spec(|it| it.claim("events", json!({"x": {}}))),
        ),
        (
            "an event that is no object",
            spec(|it| it.claim("events", json!({ EVENT: true }))),
        ),
        ("a nonce", spec(|it| it.claim("nonce", "n"))),
        ("nobody", mint(&stack, &logout_spec(None, None))),
        ("no id", spec(|it| it.claim("jti", Value::Null))),
        ("another type", spec(|it| it.header("typ", "at+jwt"))),
        ("for somebody else", spec(|it| it.claim("aud", "other"))),
        ("no time", spec(|it| it.claim("iat", Value::Null))),
        ("old", spec(|it| it.claim("iat", now_unix() - 400))),
        ("expired", spec(|it| it.claim("exp", now_unix() - 400))),
        (
            "of the future",
            spec(|it| it.claim("iat", now_unix() + 4000)),
        ),
        ("an access token", login(&stack, "s1", now)),
        ("nothing", String::new()),
        ("unsigned", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
    ] {
        let answer = post(&stack, &bad);
        assert_eq!(answer.status(), 400, "{what}: {}", answer.text());
        assert_eq!(answer.json()["status"], 400, "{what}");
    }
    let mut forged = mint(&stack, &good());
    let sign = if forged.ends_with('A') { 'Q' } else { 'A' };
    forged.pop();
    forged.push(sign);
    assert_eq!(post(&stack, &forged).status(), 400);
    assert_eq!(stack.status()["revocations"]["by_api"], 0);
    assert_eq!(ask(&stack, &token).0, 200);
    // And a logout token opens nothing.
    assert_eq!(ask(&stack, &mint(&stack, &good())).0, 401);
}
