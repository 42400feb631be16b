//! A disk that is full, and a gateway that is killed in the middle of writing down what it promised.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use penstock_loadgen::client::{Call, Connection, Response};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::control::control;
use crate::crashes::Dice;
use crate::notifications::{Receiver, secret_file, webhook};
use crate::stack::{POLICY, Stack};
use crate::witness::scripted_chat;

/// How often the gateway is killed.
const KILLS: usize = 5;
/// The longest that it lives in between, in milliseconds.
const LIFE_MS: u64 = 300;

fn ask(stack: &Stack, token: &str) -> u16 {
    let body = scripted_chat(&json!({"text": "hello"}), false);
    stack
        .send(Call::post("/v1/chat/completions", &body).token(token))
        .status()
}

fn revoke(stack: &Stack, who: &Value) -> Response {
    let body = json!({"who": who, "reason": "a bad day"});
    control(stack, &Call::post("/revocations", &body))
}

fn wanted_key(owner: &str) -> Value {
    json!({"owner": {"subject": owner}, "name": "nightly", "groups": ["engineers"], "expires": "1h"})
}

fn outcome(answer: &Response) -> (u16, String) {
    let code = answer.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status(), code)
}

/// No file of the gateway can be written beyond this, as on a disk that is full; `None`: any can.
fn limit_files(stack: &Stack, bytes: Option<u64>) {
    let pid = i32::try_from(stack.gateway_pid()).expect("a process id");
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Pid::from_raw(pid), Resource::Fsize, limit).expect("a limit");
}

#[test]
fn on_a_full_disk_people_are_cut_off_and_nothing_is_promised_that_cannot_be_kept() {
    let receiver = Receiver::start(200);
    let mut stack = Stack::with(|setup| {
        setup.record = false;
        setup.files.push(secret_file());
        setup.more = webhook("hook", &receiver);
    });
    let issued = control(&stack, &Call::post("/keys", &wanted_key("carol")));
    assert_eq!(issued.status(), 201, "{}", issued.text());
    let (id, key) = (
        issued.json()["key"]["id"].clone(),
        issued.json()["secret"].clone(),
    );
    let (id, key) = (id.as_str().expect("an id"), key.as_str().expect("a key"));
    let (alice, bob) = (stack.token(), stack.issuer.token("bob", &["engineers"]));
    let body = scripted_chat(
        &json!({"text": "word ".repeat(6000), "inter_token_ms": 20}),
        true,
    );
    let mut stream = stack.connect();
    let call = Call::post("/v1/chat/completions", &body).token(&alice);
    call.over(&mut stream).expect("sent");
    assert_eq!(stream.read_head().expect("a head").status, 200);
    stream.next_event().expect("an event");

    limit_files(&stack, Some(0));
    let full = |code: &str| (503, code.to_owned());
    let revoked = revoke(&stack, &json!({"subject": "alice"}));
    assert_eq!(outcome(&revoked), full("not_kept"));
    let told = revoked.json()["detail"].clone();
    assert!(
        told.as_str()
            .expect("text")
            .contains("was NOT written down"),
        "{told}"
    );
    let mut last = None;
    while let Some(event) = stream.next_event().expect("it ends in order") {
        last = Some(event);
    }
    let last = last.and_then(|event| event.json()).expect("an error event");
    assert_eq!(last["error"]["code"], "revoked");
    assert_eq!((ask(&stack, &alice), ask(&stack, &bob)), (401, 200));
    // No key is given out that a restart would not know, and none is changed.
    let refused = control(&stack, &Call::post("/keys", &wanted_key("dave")));
    assert_eq!(outcome(&refused), full("state_unavailable"));
    assert!(refused.json()["secret"].is_null());
    let rotate = Call::post(&format!("/keys/{id}/rotate"), &json!({"overlap": "0s"}));
    assert_eq!(
        outcome(&control(&stack, &rotate)),
        full("state_unavailable")
    );
    assert_eq!(ask(&stack, key), 200);
    let listed = control(&stack, &Call::get("/keys")).json();
    assert_eq!(
        listed["keys"].as_array().expect("a list").len(),
        1,
        "{listed}"
    );
    // A key that must go goes, all the same.
    let gone = Call::post(&format!("/keys/{id}/revoke"), &json!({"reason": "lost"}));
    assert_eq!(outcome(&control(&stack, &gone)), full("not_kept"));
    assert_eq!(ask(&stack, key), 401);
    let test = Call::post("/notifications/test", &json!({"receiver": "hook"}));
    assert_eq!(outcome(&control(&stack, &test)), full("state_unavailable"));
    // Policies are in no state: they can be changed.
    let path = stack.path("policies/main.toml");
    std::fs::write(&path, format!("{POLICY}# another\n")).expect("written");
    assert_eq!(
        control(&stack, &Call::post("/reload", &Value::Null)).status(),
        200
    );

    // There is room again: what is repeated is kept, and nothing holds the file locked.
    limit_files(&stack, None);
    assert_eq!(revoke(&stack, &json!({"subject": "alice"})).status(), 201);
    assert_eq!(control(&stack, &test).status(), 202);
    receiver.wait_for(&stack, 1);
    stack.kill_gateway();
    stack.start_gateway();
    assert_eq!((ask(&stack, &alice), ask(&stack, &bob)), (401, 200));
}

/// What was promised before the gateway was killed.
#[derive(Default)]
struct Promised {
    revoked: Vec<String>,
    /// Keys by id, with their secrets.
    keys: BTreeMap<String, String>,
    /// New keys by the ids of those that they replace.
    rotated: BTreeMap<String, String>,
}

/// A call to the control socket that may find nobody, or lose them.
fn attempt(stack: &Stack, call: &Call) -> Option<Response> {
    let mut connection = Connection::unix(&stack.path("control.sock")).ok()?;
    call.over(&mut connection).ok()?;
    connection.read_response().ok()
}

fn revoke_people(stack: &Stack, round: usize, is_over: &AtomicBool) -> Vec<String> {
    let mut done = Vec::new();
    for number in 0.. {
        let subject = format!("gone-{round}-{number}");
        let body = json!({"who": {"subject": subject}, "reason": "left"});
        match attempt(stack, &Call::post("/revocations", &body)) {
            Some(answer) if answer.status() == 201 => done.push(subject),
            _ if is_over.load(Ordering::SeqCst) => break,
            other => assert!(
                other.is_none(),
                "{}",
                other.map(|it| it.text()).unwrap_or_default()
            ),
        }
    }
    done
}

fn issue_keys(stack: &Stack, round: usize, is_over: &AtomicBool) -> Promised {
    let mut done = Promised::default();
    let take = |answer: Option<Response>| {
        let answer = answer.filter(|it| it.status() == 201)?.json();
        let id = answer["key"]["id"].as_str()?.to_owned();
        let secret = answer["secret"].as_str()?.to_owned();
        Some((id, secret))
    };
    for number in 0.. {
        let wanted = wanted_key(&format!("owner-{round}-{number}"));
        let Some((id, secret)) = take(attempt(stack, &Call::post("/keys", &wanted))) else {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            continue;
        };
        let rotate = Call::post(&format!("/keys/{id}/rotate"), &json!({"overlap": "30m"}));
        if let Some((next, new)) = take(attempt(stack, &rotate)) {
            done.keys.insert(next.clone(), new);
            done.rotated.insert(id.clone(), next);
        }
        done.keys.insert(id, secret);
    }
    done
}

fn all(stack: &Stack, path: &str, member: &str) -> Vec<Value> {
    let answer = control(stack, &Call::get(&format!("{path}?limit=1000")));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()[member].as_array().expect("a list").clone()
}

/// All that was promised is there, and what is there is whole.
fn assert_kept(stack: &Stack, promised: &Promised) {
    let revoked: Vec<String> = all(stack, "/revocations", "revocations")
        .iter()
        .filter_map(|it| it["target"]["subject"].as_str().map(str::to_owned))
        .collect();
    for subject in &promised.revoked {
        assert!(revoked.contains(subject), "{subject} is no longer cut off");
    }
    // Those whose answer was lost are cut off, too, or are not: but not listed without effect.
    for subject in revoked.iter().rev().take(3) {
        let token = stack.issuer.token(subject, &["engineers"]);
        assert_eq!(ask(stack, &token), 401, "{subject}");
    }
    let keys = all(stack, "/keys", "keys");
    let found = |id: &str| keys.iter().find(|key| key["id"] == id);
    for id in promised.keys.keys() {
        assert!(found(id).is_some(), "key {id} is forgotten");
    }
    for (_, secret) in promised.keys.iter().rev().take(4) {
        assert_eq!(ask(stack, secret), 200);
    }
    for (old, new) in &promised.rotated {
        assert_eq!(found(new).expect("the new key")["replaces"], old.as_str());
    }
    // A new key and the earlier end of the old one come together or not at all.
    for key in keys.iter().filter(|key| key["replaces"].is_string()) {
        let old = found(key["replaces"].as_str().expect("an id")).expect("the old key");
        let (ends, later) = (old["expires"].as_str(), key["expires"].as_str());
        assert!(
            ends < later,
            "{old} was replaced and does not end before {key}"
        );
    }
}

#[test]
fn whatever_a_killed_gateway_had_promised_holds_and_nothing_is_half_done() {
    let mut stack = Stack::with(|setup| setup.record = false);
    let mut dice = Dice::new();
    let mut promised = Promised::default();
    for round in 0..KILLS {
        let is_over = AtomicBool::new(false);
        let life = Duration::from_millis(LIFE_MS / 10 + dice.below(LIFE_MS));
        let pid = i32::try_from(stack.gateway_pid()).expect("a process id");
        let pid = Pid::from_raw(pid).expect("a process id");
        std::thread::scope(|scope| {
            let (stack, is_over) = (&stack, &is_over);
            let revoking = scope.spawn(move || revoke_people(stack, round, is_over));
            let issuing = scope.spawn(move || issue_keys(stack, round, is_over));
            let reloading = scope.spawn(move || {
                for number in 0.. {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    let path = stack.path("policies/main.toml");
                    let partial = stack.path("policies/main.partial");
                    let text = format!("# {round} {number}\n{POLICY}");
                    std::fs::write(&partial, text).expect("written");
                    std::fs::rename(&partial, &path).expect("in place");
                    let _ = attempt(stack, &Call::post("/reload", &Value::Null));
                }
            });
            std::thread::sleep(life);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
            is_over.store(true, Ordering::SeqCst);
            promised
                .revoked
                .extend(revoking.join().expect("who revokes"));
            let issued = issuing.join().expect("who issues");
            promised.keys.extend(issued.keys);
            promised.rotated.extend(issued.rotated);
            reloading.join().expect("who reloads");
        });
        stack.kill_gateway();
        stack.start_gateway();
        assert_kept(&stack, &promised);
        assert_eq!(stack.chat("hello").status(), 200, "{}", stack.log());
    }
    println!(
        "{} revocations, {} keys, {} rotations over {KILLS} kills",
        promised.revoked.len(),
        promised.keys.len(),
        promised.rotated.len()
    );
    assert!(!promised.revoked.is_empty() && !promised.keys.is_empty());
}
