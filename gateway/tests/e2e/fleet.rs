//! Two gateways, one Postgres: what one is told the other acts on at once, and neither lets anybody
//! in because the database is away. And one gateway whose SQLite file somebody else holds.

use penstock_loadgen::client::{Call, Connection, Response};
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::approvals;
use crate::control::{control, verb_ok};
use crate::postgres::Postgres;
use crate::stack::Stack;
use crate::witness::{PATIENCE, code, scripted_chat};

/// A gateway whose state is there, and which takes the tokens of `issuer` besides its own.
fn gateway(postgres: &Postgres, issuer: Option<&str>) -> Stack {
    Stack::with(|setup| {
        setup.record = false;
        setup.control = postgres.state();
        if let Some(url) = issuer {
            setup.more = format!(
                "[[issuer]]\nname = \"shared\"\nurl = \"{url}\"\naudiences = [\"penstock\"]"
            );
        }
    })
}

fn ask(stack: &Stack, token: &str) -> (u16, String) {
    let body = scripted_chat(&json!({"text": "hello"}), false);
    let answer = stack.send(Call::post("/v1/chat/completions", &body).token(token));
    (answer.status(), code(&answer))
}

fn is_cut_off() -> (u16, String) {
    (401, "revoked".to_owned())
}

fn revoke(stack: &Stack, subject: &str) -> Response {
    let body = json!({"who": {"subject": subject, "issuer": "dev"}, "reason": "a test"});
    control(stack, &Call::post("/revocations", &body))
}

/// A stream under way that goes on for far longer than the test.
fn streaming(stack: &Stack, token: &str) -> Connection {
    let endless = json!({"text": "word ".repeat(6000), "inter_token_ms": 20});
    let mut connection = stack.connect();
    connection.timeout(PATIENCE).expect("a timeout");
    Call::post("/v1/chat/completions", &scripted_chat(&endless, true))
        .token(token)
        .over(&mut connection)
        .expect("the request is sent");
    assert_eq!(connection.read_head().expect("a head").status, 200);
    connection
        .next_event()
        .expect("an event")
        .expect("not the end");
    connection
}

fn last_event(connection: &mut Connection) -> Value {
    let mut last = None;
    while let Some(event) = connection.next_event().expect("the stream ends in order") {
        last = Some(event);
    }
    last.expect("a last event").json().expect("JSON")
}

fn state(stack: &Stack) -> Value {
    stack.status()["state"].clone()
}

#[test]
fn what_one_gateway_is_told_every_gateway_acts_on() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let first = gateway(&postgres, None);
    let second = gateway(&postgres, Some(first.issuer.url()));
    assert_eq!(
        (&state(&second)["shared"], &state(&second)["connected"]),
        (&json!(true), &json!(true))
    );
    assert!(
        !state(&first)["place"]
            .to_string()
            .contains(&postgres.password)
    );
    let token = first.token();
    assert_eq!(ask(&second, &token).0, 200);
    let mut stream = streaming(&second, &token);
    let made = revoke(&first, "alice");
    assert_eq!(made.status(), 201, "{}", made.text());
    // Cut on the other one, without anybody asking it.
    assert_eq!(last_event(&mut stream)["error"]["code"], "revoked");
    assert_eq!(ask(&second, &token), is_cut_off());
    assert_eq!(ask(&first, &token), is_cut_off());
    // Lifted on the other one.
    let id = made.json()["revocation"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let lifted = control(&second, &Call::new("DELETE", &format!("/revocations/{id}")));
    assert_eq!(lifted.status(), 200, "{}", lifted.text());
    assert_eq!(ask(&second, &token).0, 200);
    assert!(first.wait(|| ask(&first, &token).0 == 200));

    // A key of one works at the other, and ends there when it is revoked here.
    let arguments = [
        "keys",
        "create",
        "--owner",
        "alice",
        "--groups",
        "engineers",
        "--name",
        "n",
    ];
    let arguments = [&arguments[..], &["--expires", "1h"]].concat();
    let key = verb_ok(&first, &arguments).trim().to_owned();
    assert!(
        second.wait(|| ask(&second, &key).0 == 200),
        "{}",
        second.log()
    );
    let listed = control(&second, &Call::get("/keys")).json();
    let id = listed["keys"][0]["id"].as_str().expect("an id").to_owned();
    verb_ok(&second, &["keys", "revoke", &id, "--reason", "lost"]);
    assert_eq!(ask(&second, &key), is_cut_off());
    assert!(first.wait(|| ask(&first, &key) == is_cut_off()));
}

#[test]
fn what_waits_on_one_gateway_is_decided_on_another_and_used_once() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let held = || {
        Stack::with(|setup| {
            setup.record = false;
            setup.policy = approvals::POLICY.replace("10m\"", "10m\", manner = \"wait\"");
            setup.control = format!("{}{}", approvals::ROLES, postgres.state());
        })
    };
    let (first, second) = (held(), held());
    let mut connection = first.begin(approvals::chat("please"));
    let pending = || {
        let list = control(&second, &Call::get("/approvals?standing=pending")).json();
        list["approvals"][0]["id"].as_str().map(str::to_owned)
    };
    assert!(second.wait(|| pending().is_some()), "{}", first.log());
    let id = pending().expect("it waits");
    approvals::approve(&second, &id);
    let answer = connection.read_response().expect("an answer");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    for stack in [&first, &second] {
        assert_eq!(
            approvals::events(stack, &id),
            ["requested", "approved", "used"]
        );
        let again = approvals::with_approval(approvals::chat("please"), &id);
        assert_eq!(
            stack.call(again).status(),
            403,
            "an approval is for one request"
        );
    }
    // Nobody can say yes while there is nowhere to write it down: refused, and not sent on.
    drop(postgres);
    let refused = first.call(approvals::chat("please"));
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert_eq!(first.double.counters().requests, 1);
}

/// Two gateways under the same policies before the same engine, which know the same people; and what
/// the second one's configuration says otherwise.
fn pair(postgres: &Postgres, upstream: impl Fn(&Stack) -> Option<String>) -> (Stack, Stack) {
    let control = format!("{}{}", approvals::ROLES, postgres.state());
    let first = approvals::stack(|setup| setup.control.clone_from(&control));
    let second = approvals::stack(|setup| {
        setup.control = control;
        setup.upstream_address = upstream(&first);
        setup.more = format!(
            "[[issuer]]\nname = \"shared\"\nurl = \"{}\"\naudiences = [\"penstock\"]",
            first.issuer.url()
        );
    });
    (first, second)
}

#[test]
fn a_ticket_that_one_gateway_gave_passes_at_another_once() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let same = |first: &Stack| Some(first.double.address().to_string());
    let (first, second) = pair(&postgres, same);
    let token = first.token();
    let call = |number: usize| approvals::chat(&format!("number {number}"));
    for number in 0..6 {
        let asked_at = [&first, &second][number % 2];
        let id = approvals::ticket(&asked_at.send(call(number).token(&token)));
        // Asking at the other one asks for the same.
        let again = [&second, &first][number % 2].send(call(number).token(&token));
        assert_eq!(approvals::ticket(&again), id);
        approvals::approve(&first, &id);
        // Both at once: one of them lets it pass.
        let used = approvals::with_approval(call(number), &id).token(&token);
        let racing = [first.address(), second.address()].map(|address| {
            let used = used.clone();
            std::thread::spawn(move || used.to(address).expect("an answer"))
        });
        let mut told = racing.map(|it| {
            let answer = it.join().expect("it ends");
            (answer.status(), code(&answer))
        });
        told.sort();
        assert_eq!(told[0].0, 200, "{told:?}");
        assert_eq!(told[1], (403, "approval_used".to_owned()));
    }
    assert_eq!(first.double.counters().requests, 6);
    assert_eq!(second.double.counters().requests, 0);
}

#[test]
fn a_ticket_for_one_engine_is_none_for_another() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let (first, second) = pair(&postgres, |_| None);
    let token = first.token();
    let call = || approvals::chat("to this one");
    let id = approvals::ticket(&first.send(call().token(&token)));
    approvals::approve(&first, &id);
    let used = || approvals::with_approval(call(), &id).token(&token);
    let elsewhere = second.send(used());
    assert_eq!(
        (elsewhere.status(), code(&elsewhere).as_str()),
        (403, "approval_mismatch")
    );
    assert_eq!(first.send(used()).status(), 200);
}

/// The stream of what happens to approvals.
fn listening(stack: &Stack) -> Connection {
    let mut connection = Connection::unix(&stack.path("control.sock")).expect("its socket");
    connection.timeout(PATIENCE).expect("a timeout");
    Call::get("/approvals/events")
        .over(&mut connection)
        .expect("the request is sent");
    assert_eq!(connection.read_head().expect("a head").status, 200);
    connection
}

#[test]
fn what_happens_at_one_gateway_is_heard_of_at_all_once() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let same = |first: &Stack| Some(first.double.address().to_string());
    let (first, second) = pair(&postgres, same);
    let token = first.token();
    let mut streams = [listening(&first), listening(&second)];
    let mut heard = |id: &str, event: &str| {
        for stream in &mut streams {
            let told = stream.next_event().expect("an event").expect("not the end");
            let of = told.json().expect("JSON")["id"].clone();
            assert_eq!((of, told.name.as_deref()), (json!(id), Some(event)));
        }
    };
    let decide = |stack: &Stack, id: &str, word: &str| {
        let sam = first.issuer.token("sam", &["security"]);
        let body = json!({"reason": "a test"});
        let call = Call::post(&format!("/approvals/{id}/{word}"), &body).token(&sam);
        assert_eq!(control(stack, &call).status(), 200);
    };
    // Everything once, or the next one would not be the next.
    let before = approvals::ticket(&first.send(approvals::chat("before").token(&token)));
    heard(&before, "requested");
    let call = || approvals::chat("hear, hear").token(&token);
    let id = approvals::ticket(&first.send(call()));
    heard(&id, "requested");
    decide(&second, &id, "approve");
    heard(&id, "approved");
    let passed = first.send(approvals::with_approval(call(), &id));
    assert_eq!(passed.status(), 200, "{}", passed.text());
    heard(&id, "used");
    decide(&second, &before, "deny");
    heard(&before, "denied");
    let other = || approvals::chat("another").token(&token);
    let id = approvals::ticket(&second.send(other()));
    heard(&id, "requested");
    // Over a loss of the connection as well.
    postgres.stop();
    for stack in [&first, &second] {
        assert!(stack.wait(|| state(stack)["connected"] == false));
    }
    postgres.serve().expect("it comes back");
    for stack in [&first, &second] {
        assert!(
            stack.wait(|| state(stack)["connected"] == true),
            "{}",
            stack.log()
        );
    }
    decide(&first, &id, "deny");
    heard(&id, "denied");
    let last = approvals::ticket(&first.send(approvals::chat("the last").token(&token)));
    heard(&last, "requested");
}

#[test]
fn a_postgres_that_goes_and_comes_back_loses_no_revocation() {
    let Some(mut postgres) = Postgres::start() else {
        return;
    };
    let mut first = gateway(&postgres, None);
    let second = gateway(&postgres, Some(first.issuer.url()));
    let alice = first.token();
    let [bob, carol] = ["bob", "carol"].map(|who| first.issuer.token(who, &["engineers"]));
    assert_eq!(revoke(&first, "bob").status(), 201);
    assert!(second.wait(|| ask(&second, &bob) == is_cut_off()));
    postgres.stop();
    for stack in [&first, &second] {
        assert!(
            stack.wait(|| state(stack)["connected"] == false),
            "{}",
            stack.log()
        );
        assert_ne!(state(stack)["trouble"], Value::Null);
        // The data plane goes on with what it knows.
        assert_eq!(ask(stack, &alice).0, 200);
        assert_eq!(ask(stack, &bob), is_cut_off());
    }
    // In force here, and said not to be written down.
    let refused = revoke(&first, "carol");
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert_eq!(refused.json()["code"], "not_kept");
    assert_eq!(ask(&first, &carol), is_cut_off());
    assert_eq!(ask(&second, &carol).0, 200, "nobody could tell it");
    assert_eq!(state(&first)["not_written"], 1);
    // What can only be written down is refused.
    let owner = json!({"subject": "alice", "issuer": "dev"});
    let body = json!({"owner": owner, "groups": ["engineers"], "name": "n", "expires": "1h"});
    assert_eq!(control(&first, &Call::post("/keys", &body)).status(), 503);
    postgres.serve().expect("it comes back");
    for stack in [&first, &second] {
        assert!(
            stack.wait(|| state(stack)["connected"] == true),
            "{}",
            stack.log()
        );
        assert_eq!(state(stack)["lost"], 1);
        assert_eq!(ask(stack, &bob), is_cut_off());
    }
    // What could not be written down is, and the other hears of it.
    assert!(
        second.wait(|| ask(&second, &carol) == is_cut_off()),
        "{}",
        first.log()
    );
    assert!(first.wait(|| state(&first)["not_written"] == 0));
    first.kill_gateway();
    first.start_gateway();
    assert_eq!(ask(&first, &carol), is_cut_off(), "after a restart, too");
    // And what is told now is heard.
    assert_eq!(revoke(&first, "alice").status(), 201);
    assert!(second.wait(|| ask(&second, &alice) == is_cut_off()));
    postgres.stop();
    first.kill_gateway();
    assert_eq!(
        first.gateway_refuses(),
        Some(1),
        "without its state a gateway does not start"
    );
}

#[test]
fn a_server_must_show_the_certificate_that_was_asked_for() {
    let names = ["localhost", "elsewhere.example"];
    for (name, mode, serves) in [
        (names[0], "verify-full", true),
        (names[1], "verify-full", false),
        (names[1], "verify-ca", true),
        // Without TLS the server takes nobody.
        (names[0], "disable", false),
    ] {
        let Some((postgres, port, certificate)) = Postgres::start_tls(name) else {
            return;
        };
        let mut stack = Stack::unrecorded();
        let state = format!(
            "[control]\nstate = \"postgres://penstock@localhost:{port}/postgres?sslmode={mode}&\
             sslrootcert={}\"\nstate_password_file = \"{}\"",
            certificate.display(),
            postgres.password_file().display()
        );
        let config = std::fs::read_to_string(stack.path("gateway.toml")).expect("its file");
        std::fs::write(
            stack.path("gateway.toml"),
            config.replace("[control]", &state),
        )
        .expect("it is written");
        stack.kill_gateway();
        match serves {
            true => {
                stack.start_gateway();
                assert_eq!(self::state(&stack)["connected"], true, "{name} {mode}");
            }
            false => assert_eq!(stack.gateway_refuses(), Some(1), "{name} {mode}"),
        }
        assert!(!stack.log().contains(&postgres.password));
    }
}

#[test]
fn a_locked_database_keeps_nobody_in_and_nobody_out() {
    let mut stack = Stack::unrecorded();
    let bob = stack.issuer.token("bob", &["engineers"]);
    let file = stack.path("state.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    // Another program has it, and keeps it.
    let mut holder = runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
        let mut holder = sqlx::SqliteConnection::connect_with(&options)
            .await
            .expect("opened");
        sqlx::query("BEGIN EXCLUSIVE")
            .execute(&mut holder)
            .await
            .expect("held");
        holder
    });
    assert_eq!(ask(&stack, &bob).0, 200);
    let refused = revoke(&stack, "bob");
    assert_eq!(
        (refused.status(), &refused.json()["code"]),
        (503, &json!("not_kept"))
    );
    assert_eq!(ask(&stack, &bob), is_cut_off());
    assert_eq!(ask(&stack, &stack.token()).0, 200);
    let owner = json!({"subject": "alice"});
    let body = json!({"owner": owner, "groups": ["engineers"], "name": "n", "expires": "1h"});
    assert_eq!(control(&stack, &Call::post("/keys", &body)).status(), 503);
    assert_eq!(state(&stack)["not_written"], 1);
    runtime.block_on(async {
        sqlx::query("ROLLBACK")
            .execute(&mut holder)
            .await
            .expect("let go");
        holder.close().await.expect("closed");
    });
    assert!(
        stack.wait(|| state(&stack)["not_written"] == 0),
        "{}",
        stack.log()
    );
    assert_eq!(control(&stack, &Call::post("/keys", &body)).status(), 201);
    stack.kill_gateway();
    stack.start_gateway();
    assert_eq!(ask(&stack, &bob), is_cut_off());
}
