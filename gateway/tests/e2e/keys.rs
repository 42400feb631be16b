//! Keys that the gateway issues: what they open, for whom, until when, and that no secret of theirs
//! is kept anywhere.

use penstock_loadgen::client::{Call, Response};
use serde_json::{Value, json};

use crate::control::{control, verb, verb_ok};
use crate::stack::{MODEL, Stack};
use crate::witness::{code, contains, request_id, scripted_chat};

/// Issues a key by the command line, for a person of the default group; id and secret.
fn create(stack: &Stack, more: &[&str]) -> (String, String) {
    let mut arguments = vec!["keys", "create", "--json", "--name", "nightly"];
    if !more.contains(&"--expires") {
        arguments.extend(["--expires", "30days"]);
    }
    if !more.contains(&"--token-file") && !more.contains(&"--owner") {
        arguments.extend(["--owner", "alice", "--groups", "engineers"]);
    }
    arguments.extend(more);
    issued(&verb_ok(stack, &arguments))
}

fn issued(text: &str) -> (String, String) {
    let value: Value = serde_json::from_str(text).expect("JSON");
    let text = |at: &str| {
        let text = value.pointer(at).and_then(Value::as_str);
        text.expect("a text").to_owned()
    };
    (text("/key/id"), text("/secret"))
}

fn ask(stack: &Stack, key: &str) -> Response {
    let body = scripted_chat(&json!({"text": "hello"}), false);
    stack.send(Call::post("/v1/chat/completions", &body).token(key))
}

fn outcome(stack: &Stack, key: &str) -> (u16, String) {
    let answer = ask(stack, key);
    (answer.status(), code(&answer))
}

fn refused(code: &str) -> (u16, String) {
    (401, code.to_owned())
}

fn key_of(stack: &Stack, id: &str) -> Value {
    let keys = control(stack, &Call::get("/keys")).json();
    let mut keys = keys["keys"].as_array().expect("a list").iter();
    keys.find(|key| key["id"] == id)
        .expect("it is listed")
        .clone()
}

#[test]
fn a_key_opens_what_its_groups_may_and_is_kept_nowhere() {
    let mut stack = Stack::start();
    let (id, secret) = create(&stack, &[]);
    assert!(
        secret.starts_with("pk_") && secret.len() == 52,
        "{}",
        secret.len()
    );
    assert_eq!(key_of(&stack, &id)["last_used"], Value::Null);
    let answer = ask(&stack, &secret);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    // In the record it is its owner, and the key's id in place of a token's.
    let record = stack.session(&request_id(&answer));
    let open = record.open().unwrap();
    assert_eq!(
        (open.subject.as_str(), open.issuer.as_str()),
        ("alice", stack.issuer.url())
    );
    assert_eq!(open.token_id.as_deref(), Some(id.as_str()));
    let listed = key_of(&stack, &id);
    assert!(listed["last_used"].is_string(), "{listed}");
    assert_eq!(listed["state"], "active");
    assert!(listed["created_by"].as_str().unwrap().starts_with("uid:"));
    // Where Anthropic's clients put it, and twice the same is one.
    let models = || Call::get("/v1/models").field("x-api-key", &secret);
    assert_eq!(stack.send(models()).status(), 200);
    assert_eq!(stack.send(models().token(&secret)).status(), 200);
    // Other groups, other permissions.
    let (_, other) = create(&stack, &["--owner", "eve", "--groups", "marketing"]);
    assert_eq!(
        outcome(&stack, &other),
        (403, "operation_not_permitted".to_owned())
    );

    // The shipped rules know a key when they see one.
    let leak = scripted_chat(&json!({"text": format!("use {secret} for it")}), false);
    let answer = stack.send(Call::post("/v1/chat/completions", &leak).token(&secret));
    assert_eq!(
        (answer.status(), code(&answer)),
        (403, "request_blocked".to_owned())
    );
    assert!(answer.text().contains("penstock-key"), "{}", answer.text());

    let mut mistyped = secret.clone();
    let last = if mistyped.ends_with('0') { "1" } else { "0" };
    mistyped.replace_range(51.., last);
    assert_eq!(outcome(&stack, &mistyped), refused("malformed_key"));
    assert_eq!(outcome(&stack, &secret[..40]), refused("malformed_key"));
    let unknown = penstock_gateway::identity::KeyText::draw();
    assert_eq!(outcome(&stack, unknown.expose()), refused("key_not_known"));

    // A restart keeps it; nothing that is written down has it.
    stack.terminate_gateway();
    stack.gateway_exit();
    stack.start_gateway();
    assert_eq!(ask(&stack, &secret).status(), 200);
    assert!(key_of(&stack, &id)["last_used"].is_string());
    let mut written = stack.written_bytes();
    for name in ["state.db", "state.db-wal"] {
        written.extend(std::fs::read(stack.path(name)).unwrap_or_default());
    }
    assert!(contains(&written, &id), "the right files were read");
    assert!(!contains(&written, &secret[3..]));
    assert!(!contains(&written, &secret[7..46]));
}

#[test]
fn an_owner_gives_a_key_no_more_than_they_have() {
    let stack = Stack::unrecorded();
    let file = |name: &str, token: &str| {
        let path = stack.path(name);
        std::fs::write(&path, format!("{token}\n")).unwrap();
        path.display().to_string()
    };
    let of_alice = file(
        "alice",
        &stack.issuer.token("alice", &["engineers", "staff"]),
    );
    let of_bob = file("bob", &stack.issuer.token("bob", &["engineers"]));
    let (id, secret) = create(
        &stack,
        &["--token-file", &of_alice, "--groups", "engineers"],
    );
    assert_eq!(ask(&stack, &secret).status(), 200);
    let key = key_of(&stack, &id);
    assert_eq!(
        (&key["subject"], &key["created_by"]),
        (&json!("alice"), &json!("owner"))
    );
    assert_eq!(key["groups"], json!(["engineers"]));
    let all = create(&stack, &["--token-file", &of_alice]).0;
    assert_eq!(
        key_of(&stack, &all)["groups"],
        json!(["engineers", "staff"])
    );

    let more = [
        "keys",
        "create",
        "--name",
        "n",
        "--expires",
        "1h",
        "--token-file",
    ];
    let told = |arguments: &[&str]| {
        let output = verb(&stack, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let not_held = told(&[&more[..], &[&of_bob, "--groups", "engineers,staff"]].concat());
    assert!(not_held.contains("group_not_held"), "{not_held}");
    // Nobody sees, rotates or revokes another's.
    let theirs = verb_ok(&stack, &["keys", "list", "--token-file", &of_bob]);
    assert!(theirs.contains("there are no keys"), "{theirs}");
    let rotated = told(&["keys", "rotate", &id, "--token-file", &of_bob]);
    assert!(rotated.contains("unknown_id"), "{rotated}");
    let revoked = told(&[
        "keys",
        "revoke",
        &id,
        "--reason",
        "r",
        "--token-file",
        &of_bob,
    ]);
    assert!(revoked.contains("unknown_id"), "{revoked}");
    // A key cannot look after keys, and a token that is not accepted is not taken for none.
    let by_key = told(&[&more[..], &[&file("key", &secret)]].concat());
    assert!(by_key.contains("not_a_person"), "{by_key}");
    let by_junk = told(&[&more[..], &[&file("junk", "a.b.c")]].concat());
    assert!(by_junk.contains("malformed_token"), "{by_junk}");
    assert_eq!(ask(&stack, &secret).status(), 200);
}

#[test]
fn a_key_ends_at_its_time_and_none_lives_for_ever() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.control = "key_lifetime_max = \"48h\"".to_owned();
    });
    let (id, secret) = create(&stack, &["--expires", "5s"]);
    assert_eq!(ask(&stack, &secret).status(), 200);
    assert!(stack.wait(|| outcome(&stack, &secret) == refused("key_expired")));
    assert_eq!(key_of(&stack, &id)["state"], "expired");
    let rotated = verb(&stack, &["keys", "rotate", &id]);
    assert!(String::from_utf8_lossy(&rotated.stderr).contains("key_ended"));
    create(&stack, &["--expires", "48h"]);
    for (body, code) in [
        (json!({"expires": "49h"}), "lifetime_too_long"),
        (json!({"expires": "2020-01-01T00:00:00Z"}), "invalid"),
        (json!({"expires": null}), "invalid"),
        (json!({"owner": null}), "invalid"),
        (
            json!({"owner": {"subject": "a", "issuer": "other"}}),
            "invalid",
        ),
        (json!({"groups": null}), "invalid"),
        (json!({"groups": vec!["g"; 65]}), "invalid"),
        (json!({"name": ""}), "invalid"),
        (json!({"secret": "pk_mine"}), "invalid"),
    ] {
        let mut wanted = json!({"owner": {"subject": "alice"}, "name": "n",
            "groups": ["engineers"], "expires": "1h"});
        for (name, value) in body.as_object().unwrap() {
            wanted[name] = value.clone();
        }
        let answer = control(&stack, &Call::post("/keys", &wanted));
        assert_eq!(
            (answer.status(), answer.json()["code"].as_str()),
            (422, Some(code)),
            "{body}"
        );
    }
}

#[test]
fn a_rotated_key_overlaps_with_the_new_one() {
    let stack = Stack::unrecorded();
    let (id, old) = create(&stack, &[]);
    let (next, new) = issued(&verb_ok(
        &stack,
        &["keys", "rotate", &id, "--overlap", "5s", "--json"],
    ));
    assert_eq!(
        (ask(&stack, &old).status(), ask(&stack, &new).status()),
        (200, 200)
    );
    assert_eq!(key_of(&stack, &next)["replaces"], id.as_str());
    assert!(stack.wait(|| outcome(&stack, &old) == refused("key_expired")));
    assert_eq!(ask(&stack, &new).status(), 200);
    let told = verb(&stack, &["keys", "rotate", &next, "--overlap", "8days"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("`overlap`"));
}

#[test]
fn a_key_ends_with_its_revocation_and_with_its_owners() {
    let stack = Stack::unrecorded();
    let (lost, lost_key) = create(&stack, &[]);
    let (_, kept_key) = create(&stack, &[]);
    let token = stack.token();
    let endless = json!({"model": MODEL, "stream": true, "messages": [{"role": "user",
        "content": format!("[[double: {}]]", json!({"text": "word ".repeat(6000),
            "inter_token_ms": 20}))}]});
    let mut stream = stack.connect();
    Call::post("/v1/chat/completions", &endless)
        .token(&lost_key)
        .over(&mut stream)
        .unwrap();
    assert_eq!(stream.read_head().unwrap().status, 200);
    stream.next_event().unwrap();
    let told = verb_ok(
        &stack,
        &[
            "keys",
            "revoke",
            &lost,
            "--reason",
            "in a public repository",
        ],
    );
    assert!(told.contains("calls ended: 1"), "{told}");
    let mut last = None;
    while let Some(event) = stream.next_event().expect("it ends in order") {
        last = Some(event);
    }
    assert_eq!(last.unwrap().json().unwrap()["error"]["code"], "revoked");
    assert_eq!(outcome(&stack, &lost_key), refused("revoked"));
    assert_eq!(key_of(&stack, &lost)["state"], "revoked");
    assert_eq!(ask(&stack, &kept_key).status(), 200);

    // All keys of a person, and not the person.
    verb_ok(
        &stack,
        &[
            "revoke", "--owner", "alice", "--until", "1h", "--reason", "audit",
        ],
    );
    assert_eq!(outcome(&stack, &kept_key), refused("revoked"));
    assert_eq!(ask(&stack, &token).status(), 200);
    // The person, and all keys of theirs, also those that are made afterwards.
    verb_ok(&stack, &["revoke", "--subject", "bob", "--reason", "left"]);
    let (_, of_bob) = create(&stack, &["--owner", "bob", "--groups", "engineers"]);
    assert_eq!(outcome(&stack, &of_bob), refused("revoked"));
}
