//! Cutting somebody off, as they see it and as the model sees it: in the middle of a stream, of a
//! body, of the wait for the first token; afterwards; after a restart; and nobody else.

use std::time::Duration;

use penstock_loadgen::client::{Call, Connection, Response};
use penstock_recorder::frame::Outcome;
use serde_json::{Value, json};

use crate::control::{control, verb, verb_ok};
use crate::stack::{Stack, scripted};
use crate::witness::{PATIENCE, close_of, code, request_id, scripted_chat};

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(60);

/// A stream that goes on for far longer than the test, whoever asks.
fn endless() -> Value {
    scripted_chat(
        &json!({"text": "word ".repeat(6000), "inter_token_ms": 20}),
        true,
    )
}

/// A caller of the default group, on a connection of their own.
fn begin(stack: &Stack, token: &str, body: &Value) -> Connection {
    let mut connection = stack.connect();
    connection.timeout(PATIENCE).expect("a timeout");
    Call::post("/v1/chat/completions", body)
        .token(token)
        .over(&mut connection)
        .expect("the request is sent");
    connection
}

/// A stream under way: its head and its first event have arrived.
fn streaming(stack: &Stack, token: &str) -> (Connection, String) {
    let mut connection = begin(stack, token, &endless());
    let head = connection.read_head().expect("a head");
    assert_eq!(head.status, 200);
    let id = head.field("x-request-id").expect("an id").to_owned();
    connection
        .next_event()
        .expect("an event")
        .expect("not the end");
    (connection, id)
}

fn ask(stack: &Stack, token: &str) -> Response {
    let body = scripted_chat(&json!({"text": "hello"}), false);
    stack.send(Call::post("/v1/chat/completions", &body).token(token))
}

/// Revokes through the API; what it answers.
fn revoke(stack: &Stack, who: &Value, until: Option<&str>) -> Value {
    let body = json!({"who": who, "until": until, "reason": "a test"});
    let answer = control(stack, &Call::post("/revocations", &body));
    assert_eq!(answer.status(), 201, "{}", answer.text());
    answer.json()
}

/// The rest of a stream: whether it ends with the error event, and then with its framing whole.
#[track_caller]
fn assert_cut(connection: &mut Connection) {
    let mut last = None;
    while let Some(event) = connection.next_event().expect("the stream ends in order") {
        last = Some(event);
    }
    let last = last.expect("a last event").json().expect("JSON");
    assert_eq!(last["error"]["code"], "revoked", "{last}");
    assert_eq!(last["error"]["type"], "authentication_error");
    assert!(connection.closed());
}

#[test]
fn a_stream_is_cut_the_engine_is_freed_and_nobody_else_notices() {
    let stack = Stack::start();
    let (ada, bob) = (stack.token(), stack.issuer.token("bob", &["engineers"]));
    let (mut of_ada, session) = streaming(&stack, &ada);
    let (mut of_bob, _) = streaming(&stack, &bob);
    let made = revoke(&stack, &json!({"subject": "alice"}), None);
    assert_eq!(made["effect"]["ended"], 1, "{made}");
    assert_eq!(made["effect"]["everywhere"], true);
    assert_eq!(made["revocation"]["target"]["issuer"], stack.issuer.url());
    assert!(
        made["revocation"]["by"]
            .as_str()
            .unwrap()
            .starts_with("uid:")
    );
    assert_cut(&mut of_ada);
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 1));

    // A token that the core remembers is of no use, in either field; another person's is.
    for call in [
        Call::get("/v1/models").token(&ada),
        Call::get("/v1/models").field("x-api-key", &ada),
    ] {
        let refused = stack.send(call);
        assert_eq!(
            (refused.status(), code(&refused)),
            (401, "revoked".to_owned())
        );
        let challenge = refused.head.field("www-authenticate").unwrap();
        assert!(challenge.contains("invalid_token"), "{challenge}");
        let record = stack.session(&request_id(&refused));
        assert_eq!(close_of(&record).outcome, Outcome::Refused);
        assert_eq!(record.open().unwrap().subject, "alice");
    }
    assert_eq!(ask(&stack, &bob).status(), 200);
    for _ in 0..5 {
        let event = of_bob.next_event().unwrap().unwrap().json().unwrap();
        assert!(event["error"].is_null(), "{event}");
    }
    let record = stack.session(&session);
    let close = close_of(&record);
    assert_eq!(close.outcome, Outcome::Blocked);
    assert_eq!(close.error_code.as_deref(), Some("revoked"));
    assert_eq!(stack.counter("cut_off"), 1);
    assert_eq!(stack.counter("revoked"), 2);
    // The last event is in the record, as the client saw it.
    let written = stack.written_bytes();
    assert!(crate::witness::contains(&written, "\"code\":\"revoked\""));
}

#[test]
fn whatever_a_call_waits_for_it_waits_no_longer() {
    let stack = Stack::unrecorded();
    let token = |who: &str| stack.issuer.token(who, &["engineers"]);
    // For the rest of its body.
    let mut sending = stack.connect();
    sending.timeout(PATIENCE).unwrap();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"model\"",
        token("one")
    );
    sending.send(head.as_bytes()).unwrap();
    // For the model's first byte.
    let late = scripted_chat(&json!({"ttft_ms": 60_000}), false);
    let mut asking = begin(&stack, &token("two"), &late);
    // For the rest of an answer that is inspected whole.
    let slow = scripted_chat(&json!({"wire_bytes": 40, "wire_ms": 1000}), false);
    let mut whole = begin(&stack, &token("three"), &slow);
    assert!(stack.double.wait(SOON, |counters| counters.requests == 2));
    assert!(stack.wait(|| stack.counter("requests") == 3));
    for (who, connection) in [
        ("one", &mut sending),
        ("two", &mut asking),
        ("three", &mut whole),
    ] {
        let made = revoke(&stack, &json!({"subject": who}), None);
        assert_eq!(made["effect"]["ended"], 1, "{who}: {made}");
        let answer = connection.read_response().expect("an answer");
        assert_eq!(
            (answer.status(), code(&answer)),
            (401, "revoked".to_owned()),
            "{who}"
        );
        assert!(connection.closed());
    }
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 2));
}

#[test]
fn a_client_that_does_not_read_keeps_no_slot() {
    let stack = Stack::unrecorded();
    let body = scripted_chat(
        &json!({"text": "word ".repeat(40_000), "split": "words"}),
        true,
    );
    let connection = begin(&stack, &stack.token(), &body);
    assert!(stack.wait(|| stack.counter("forwarded") == 1));
    // Both kernels' buffers fill up, and the gateway waits for its client.
    std::thread::sleep(Duration::from_millis(500));
    let made = revoke(&stack, &json!({"subject": "alice"}), None);
    assert_eq!(made["effect"]["ended"], 1, "{made}");
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 1));
    drop(connection);
}

#[test]
fn messages_of_anthropics_form_end_in_their_own_form() {
    let stack = Stack::unrecorded();
    let mut body = endless();
    body["max_tokens"] = json!(100_000);
    let mut connection =
        stack.begin(Call::post("/v1/messages", &body).field("anthropic-version", "2023-06-01"));
    assert_eq!(connection.read_head().unwrap().status, 200);
    connection.next_event().unwrap();
    revoke(&stack, &json!({"subject": "alice"}), None);
    let mut last = None;
    while let Some(event) = connection.next_event().expect("it ends in order") {
        last = Some(event);
    }
    let last = last.unwrap();
    assert_eq!(last.name.as_deref(), Some("error"));
    let value = last.json().unwrap();
    assert_eq!(value["error"]["type"], "authentication_error");
    assert_eq!(value["error"]["code"], "revoked");
}

#[test]
fn tokens_sessions_and_applications_are_told_apart() {
    use penstock_loadgen::issuer::TokenSpec;
    let stack = Stack::unrecorded();
    let mint = |jti: &str, sid: &str, azp: &str| {
        let spec = TokenSpec::new("alice", &["engineers"])
            .claim("jti", jti)
            .claim("sid", sid)
            .claim("azp", azp);
        stack.issuer.mint(&spec).unwrap()
    };
    for (who, revoked, free) in [
        (
            json!({"token": "t1"}),
            ["t1", "s1", "a1"],
            ["t2", "s1", "a1"],
        ),
        (
            json!({"session": "s2"}),
            ["t3", "s2", "a1"],
            ["t3", "s3", "a1"],
        ),
        (
            json!({"client": "a2"}),
            ["t4", "s4", "a2"],
            ["t4", "s4", "a3"],
        ),
    ] {
        let of = |ids: [&str; 3]| ask(&stack, &mint(ids[0], ids[1], ids[2])).status();
        assert_eq!((of(revoked), of(free)), (200, 200));
        revoke(&stack, &who, None);
        assert_eq!((of(revoked), of(free)), (401, 200), "{who}");
    }
}

#[test]
fn a_restart_keeps_it_a_time_ends_it_and_it_can_be_lifted() {
    let mut stack = Stack::unrecorded();
    let (ada, bob) = (stack.token(), stack.issuer.token("bob", &["engineers"]));
    let made = revoke(&stack, &json!({"subject": "alice", "issuer": "dev"}), None);
    let id = made["revocation"]["id"].as_str().unwrap().to_owned();
    revoke(&stack, &json!({"subject": "bob"}), Some("5s"));
    assert_eq!(
        (ask(&stack, &ada).status(), ask(&stack, &bob).status()),
        (401, 401)
    );
    stack.kill_gateway();
    stack.start_gateway();
    // The very first call finds it.
    assert_eq!(ask(&stack, &ada).status(), 401);
    assert!(
        stack.wait(|| ask(&stack, &bob).status() == 200),
        "it does not end"
    );
    assert_eq!(ask(&stack, &ada).status(), 401);

    let told = verb_ok(&stack, &["revoke", "--list"]);
    assert!(told.contains(&id) && told.contains("a test"), "{told}");
    let told = verb_ok(&stack, &["revoke", "--lift", &id]);
    assert!(told.starts_with("lifted: subject alice of http"), "{told}");
    assert_eq!(ask(&stack, &ada).status(), 200);
    let again = verb(&stack, &["revoke", "--lift", &id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("unknown_id"));
    stack.kill_gateway();
    stack.start_gateway();
    assert_eq!(
        ask(&stack, &ada).status(),
        200,
        "it is back after a restart"
    );
}

#[test]
fn the_command_line_revokes_and_says_what_came_of_it() {
    let stack = Stack::unrecorded();
    let (mut stream, _) = streaming(&stack, &stack.token());
    let told = verb_ok(
        &stack,
        &[
            "revoke",
            "--subject",
            "alice",
            "--until",
            "2h",
            "--reason",
            "left",
        ],
    );
    assert!(told.starts_with("revoked: subject alice of http"), "{told}");
    assert!(told.contains("calls ended: 1"), "{told}");
    assert_cut(&mut stream);
    let listed: Value =
        serde_json::from_str(&verb_ok(&stack, &["revoke", "--list", "--json"])).unwrap();
    assert_eq!(listed["revocations"].as_array().unwrap().len(), 1);
    assert_eq!(listed["revocations"][0]["source"], "api");
    // Wrong: said before anything happens.
    for (arguments, exit) in [
        (vec!["revoke", "--subject", "bob"], 2),
        (
            vec![
                "revoke",
                "--subject",
                "bob",
                "--token",
                "t",
                "--reason",
                "r",
            ],
            2,
        ),
        (
            vec![
                "revoke",
                "--subject",
                "bob",
                "--issuer",
                "no",
                "--reason",
                "r",
            ],
            1,
        ),
        (
            vec![
                "revoke",
                "--subject",
                "bob",
                "--until",
                "soon",
                "--reason",
                "r",
            ],
            1,
        ),
    ] {
        let output = verb(&stack, &arguments);
        assert_eq!(output.status.code(), Some(exit), "{arguments:?}");
    }
    for bad in [
        json!({"who": {}, "reason": "r"}),
        json!({"who": {"subject": "bob"}}),
        json!({"who": {"subject": "bob"}, "reason": " "}),
        json!({"who": {"subject": "bob"}, "reason": "r", "extra": 1}),
        json!({"who": {"subject": "bob", "key": "k"}, "reason": "r"}),
        json!({"who": {"subject": "b".repeat(513)}, "reason": "r"}),
    ] {
        let answer = control(&stack, &Call::post("/revocations", &bad));
        assert_eq!(answer.status(), 422, "{bad}: {}", answer.text());
    }
    let huge = json!({"who": {"subject": "bob"}, "reason": "r".repeat(20_000)});
    assert_eq!(
        control(&stack, &Call::post("/revocations", &huge)).status(),
        413
    );
    assert_eq!(stack.status()["revocations"]["by_api"], 1);
}

#[test]
fn a_watched_file_cuts_off_and_an_invalid_one_changes_nothing() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.control = "revocations_file = \"revoked.toml\"".to_owned();
        setup.files.push(("revoked.toml".to_owned(), String::new()));
    });
    let file = stack.path("revoked.toml");
    let replace = |text: &str| {
        let partial = stack.path("revoked.partial");
        std::fs::write(&partial, text).unwrap();
        std::fs::rename(&partial, &file).unwrap();
    };
    let (mut stream, _) = streaming(&stack, &stack.token());
    replace("[[revoke]]\nsubject = \"alice\"\nreason = \"left\"\n");
    assert_cut(&mut stream);
    assert_eq!(ask(&stack, &stack.token()).status(), 401);
    let listed = verb_ok(&stack, &["revoke", "--list"]);
    assert!(
        listed.contains("file-000000") && listed.contains("left"),
        "{listed}"
    );
    let lifted = verb(&stack, &["revoke", "--lift", "file-000000"]);
    assert!(String::from_utf8_lossy(&lifted.stderr).contains("in_file"));

    replace("[[revoke]]\nsubjekt = \"bob\"\nreason = \"left\"\n");
    let trouble = || stack.status()["revocations"]["file_trouble"].clone();
    assert!(stack.wait(|| trouble().is_string()));
    assert!(
        trouble()
            .as_str()
            .unwrap()
            .contains("revoked.toml:2:1: unknown field")
    );
    assert_eq!(ask(&stack, &stack.token()).status(), 401);
    replace("");
    assert!(stack.wait(|| ask(&stack, &stack.token()).status() == 200));
    assert!(trouble().is_null());
}

#[test]
fn who_is_cut_off_must_be_known_before_anybody_is_let_in() {
    let mut stack = Stack::unrecorded();
    stack.terminate_gateway();
    stack.gateway_exit();
    std::fs::write(
        stack.path("state.db"),
        "no database, but a text.".repeat(400),
    )
    .unwrap();
    for extra in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(stack.path(extra));
    }
    assert_eq!(stack.gateway_refuses(), Some(1));
    assert!(
        stack.log().contains("state.db: the state cannot"),
        "{}",
        stack.log()
    );
}

#[test]
fn a_scripted_answer_is_whole_when_nobody_is_revoked() {
    // The guard of the others: what they call cut is not simply how streams end.
    let stack = Stack::unrecorded();
    revoke(&stack, &json!({"subject": "somebody-else"}), None);
    let body = scripted(&json!({"text": "a b c"}), true);
    let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
    assert_eq!(answer.events().last().unwrap().data, "[DONE]");
}

#[test]
fn a_state_that_cannot_be_written_delays_no_cut_and_issues_no_key() {
    use sqlx::Connection as _;
    let mut stack = Stack::unrecorded();
    let alice = stack.token();
    let (mut stream, _) = streaming(&stack, &alice);
    let file = format!("sqlite://{}", stack.path("state.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Another program has the file for itself.
    let other = runtime.block_on(async {
        let mut other = sqlx::SqliteConnection::connect(&file).await.unwrap();
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut other)
            .await
            .unwrap();
        other
    });
    let body = json!({"who": {"subject": "alice"}, "reason": "a test"});
    let answer = control(&stack, &Call::post("/revocations", &body));
    assert_eq!(
        (answer.status(), answer.json()["code"].as_str()),
        (503, Some("not_kept"))
    );
    assert_cut(&mut stream);
    assert_eq!(ask(&stack, &alice).status(), 401);
    let wanted = json!({"owner": {"subject": "bob"}, "name": "n", "groups": [], "expires": "1h"});
    let answer = control(&stack, &Call::post("/keys", &wanted));
    let told = answer.json();
    assert_eq!(
        (answer.status(), told["code"].as_str()),
        (503, Some("state_unavailable"))
    );
    assert!(told["secret"].is_null());
    assert_eq!(stack.status()["issued_keys"], 0);
    // What is in force and not written down cannot be half lifted either.
    let id = control(&stack, &Call::get("/revocations")).json()["revocations"][0]["id"].clone();
    let path = format!("/revocations/{}", id.as_str().unwrap());
    let answer = control(&stack, &Call::new("DELETE", &path));
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert_eq!(ask(&stack, &alice).status(), 401);

    drop(other);
    drop(runtime);
    revoke(&stack, &json!({"subject": "alice"}), None);
    stack.kill_gateway();
    stack.start_gateway();
    assert_eq!(ask(&stack, &alice).status(), 401, "repeated, it is kept");
}
