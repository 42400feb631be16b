//! Requests that people decide on, by ticket: who may, for which request, how often, and what the
//! caller, the approvers and the record see of it.

use penstock_loadgen::client::{Call, Connection, Response};
use penstock_recorder::frame::{FrameBody, Outcome};
use penstock_recorder::log::Session;
use serde_json::{Value, json};

use crate::control::{control, verb, verb_ok};
use crate::stack::{MODEL, Setup, Stack};
use crate::witness::{PATIENCE, close_of, code, scripted_chat};

/// Every inference is asked about.
pub(crate) const POLICY: &str = r#"
[[grant]]
groups = ["engineers"]
models = ["*"]
operations = ["infer"]

[[hold]]
name = "ask first"
operations = ["infer"]
approvers = { groups = ["security"], expires = "10m" }
"#;

/// Under `[control]`.
pub(crate) const ROLES: &str =
    "roles = { viewer = [\"staff\"], approver = [\"security\", \"legal\"], admin = [\"sre\"] }\n";

/// A stack with the policy above, and what `change` makes particular; without a recorder.
pub(crate) fn stack(change: impl FnOnce(&mut Setup)) -> Stack {
    Stack::with(|setup| {
        setup.record = false;
        setup.policy = POLICY.to_owned();
        setup.control = ROLES.to_owned();
        change(setup);
    })
}

/// A chat request that says this.
pub(crate) fn chat(text: &str) -> Call {
    Call::chat(MODEL, text, false)
}

/// The same request with an approval.
pub(crate) fn with_approval(call: Call, id: &str) -> Call {
    call.field("x-penstock-approval", id)
}

/// The id of the approval that an answer wants.
#[track_caller]
pub(crate) fn ticket(answer: &Response) -> String {
    assert_eq!(answer.status(), 403, "{}", answer.text());
    assert_eq!(code(answer), "approval_required", "{}", answer.text());
    let id = answer.json()["error"]["approval_id"].clone();
    let id = id.as_str().expect("an id").to_owned();
    assert_eq!(answer.head.field("x-penstock-approval"), Some(id.as_str()));
    id
}

/// Somebody decides, through the API.
pub(crate) fn decide(stack: &Stack, id: &str, word: &str, who: &str, groups: &[&str]) -> Response {
    let token = stack.issuer.token(who, groups);
    let body = json!({"reason": format!("{who} says {word}")});
    let call = Call::post(&format!("/approvals/{id}/{word}"), &body);
    control(stack, &call.token(&token))
}

/// Somebody of `security` approves.
#[track_caller]
pub(crate) fn approve(stack: &Stack, id: &str) -> Value {
    let answer = decide(stack, id, "approve", "sam", &["security"]);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// An approval as the API shows it.
pub(crate) fn approval(stack: &Stack, id: &str) -> Value {
    control(stack, &Call::get(&format!("/approvals/{id}"))).json()
}

/// What has happened to an approval.
pub(crate) fn events(stack: &Stack, id: &str) -> Vec<String> {
    let history = approval(stack, id)["history"].clone();
    let events = history.as_array().into_iter().flatten();
    events
        .map(|event| event["event"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// What a session tells of its approval: what happened, and who did it.
pub(crate) fn recorded(session: &Session) -> Vec<(String, String)> {
    let approvals = session.bodies().filter_map(|body| match body {
        FrameBody::Approval(it) => Some((it.event.clone(), it.subject.clone())),
        _ => None,
    });
    approvals.collect()
}

/// The same as [`recorded`] gives it.
pub(crate) fn happened(events: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(event, by): &(&str, &str)| ((*event).to_owned(), (*by).to_owned());
    events.iter().map(owned).collect()
}

fn refused(answer: &Response) -> (u16, String) {
    let told = answer.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status(), told)
}

fn outcome(answer: &Response) -> (u16, String) {
    (answer.status(), code(answer))
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn a_ticket_lets_its_own_request_pass_once() {
    let stack = stack(|setup| setup.record = true);
    let asked = stack.call(chat("may I?"));
    let id = ticket(&asked);
    assert!(asked.text().contains("ask first"), "{}", asked.text());
    assert!(asked.text().contains("security"), "{}", asked.text());
    let url = asked.json()["error"]["approval_url"].clone();
    assert_eq!(url, format!("/approvals/{id}"));
    // Asking again does not trouble the approvers again.
    assert_eq!(ticket(&stack.call(chat("may I?"))), id);
    let early = stack.call(with_approval(chat("may I?"), &id));
    assert_eq!(outcome(&early), is(403, "approval_pending"));
    assert_eq!(approve(&stack, &id)["standing"], "approved");
    let told = stack.call(chat("may I?"));
    assert_eq!(ticket(&told), id);
    assert!(told.text().contains("has been approved"), "{}", told.text());

    for (what, call, expected) in [
        ("another body", chat("may I now?"), "approval_mismatch"),
        (
            "another query",
            Call::post("/v1/chat/completions?a=1", &body()),
            "approval_mismatch",
        ),
        (
            "none",
            chat("may I?").field("x-nothing", "1"),
            "approval_unknown",
        ),
    ] {
        let id = if what == "none" { "0199aaaa" } else { &id };
        let answer = stack.call(with_approval(call, id));
        assert_eq!(outcome(&answer), is(403, expected), "{what}");
    }
    let bob = stack.issuer.token("bob", &["engineers"]);
    let stolen = stack.send(with_approval(chat("may I?"), &id).token(&bob));
    assert_eq!(outcome(&stolen), is(403, "approval_unknown"));
    assert_eq!(stack.double.counters().requests, 0);

    let passed = stack.call(with_approval(chat("may I?"), &id));
    assert_eq!(passed.status(), 200, "{}", passed.text());
    let again = stack.call(with_approval(chat("may I?"), &id));
    assert_eq!(outcome(&again), is(403, "approval_used"));
    let seen = stack.double.requests();
    assert_eq!(seen.len(), 1);
    let ours = |(name, _): &(String, String)| name.to_lowercase().contains("approval");
    assert!(!seen[0].fields.iter().any(ours), "{:?}", seen[0].fields);
    assert_eq!(events(&stack, &id), ["requested", "approved", "used"]);
    assert_eq!(stack.counter("held"), 10);

    let close = stack.session_of(&asked);
    assert_eq!(close_of(&close).outcome, Outcome::Blocked);
    assert_eq!(recorded(&close), happened(&[("requested", "")]));
    assert!(
        close.request_body().1.is_empty(),
        "what is refused is not written down"
    );
    let session = stack.session_of(&passed);
    assert_eq!(close_of(&session).outcome, Outcome::Completed);
    assert!(!session.request_body().1.is_empty());
    let history = [("requested", ""), ("approved", "sam"), ("used", "")];
    assert_eq!(recorded(&session), happened(&history));
    let refused = stack.session_of(&again);
    assert_eq!(
        recorded(&refused),
        happened(&history),
        "why it did not pass"
    );
    stack.assert_verified();
}

fn body() -> Value {
    json!({"model": MODEL, "stream": false, "messages": [{"role": "user", "content": "may I?"}]})
}

#[test]
fn only_persons_of_its_groups_decide_and_never_on_their_own() {
    let stack = stack(|_| {});
    let own = stack
        .issuer
        .token("alice", &["engineers", "security", "sre"]);
    let id = ticket(&stack.send(chat("mine").token(&own)));
    let path = format!("/approvals/{id}/approve");
    let call = || Call::post(&path, &json!({}));
    assert_eq!(refused(&control(&stack, &call())), is(403, "not_a_person"));
    let by = |who: &str, groups: &[&str]| refused(&decide(&stack, &id, "approve", who, groups));
    assert_eq!(by("alice", &["security", "sre"]), is(403, "own_request"));
    assert_eq!(by("vic", &["staff"]), is(403, "role_needed"));
    assert_eq!(by("lea", &["legal"]), is(403, "not_an_approver"));
    assert_eq!(by("ada", &["sre"]), is(403, "not_an_approver"));
    let token = stack.issuer.token("sam", &["security"]);
    let silent = Call::post(&format!("/approvals/{id}/deny"), &json!({})).token(&token);
    assert_eq!(refused(&control(&stack, &silent)).0, 422);
    let odd = json!({"reason": "two\nlines"});
    let odd = Call::post(&format!("/approvals/{id}/deny"), &odd).token(&token);
    assert_eq!(refused(&control(&stack, &odd)).0, 422);
    assert_eq!(
        events(&stack, &id),
        ["requested"],
        "none of these left a trace"
    );
    let denied = decide(&stack, &id, "deny", "sam", &["security"]);
    assert_eq!(denied.json()["standing"], "denied");
    let late = decide(&stack, &id, "approve", "sue", &["security"]);
    assert_eq!(refused(&late), is(409, "already_decided"));
    let answer = stack.send(with_approval(chat("mine"), &id).token(&own));
    assert_eq!(outcome(&answer), is(403, "approval_denied"));
    assert!(answer.text().contains("sam says deny"), "{}", answer.text());
    let unknown = decide(&stack, "0199", "approve", "sam", &["security"]);
    assert_eq!(refused(&unknown), is(404, "unknown_id"));
}

#[test]
fn a_key_is_its_owners_and_an_approval_for_it_is_for_it_alone() {
    let stack = stack(|_| {});
    let made = verb_ok(
        &stack,
        &[
            "keys",
            "create",
            "--owner",
            "alice",
            "--groups",
            "engineers",
            "--name",
            "job",
            "--expires",
            "1h",
            "--json",
        ],
    );
    let made: Value = serde_json::from_str(&made).unwrap();
    let key = made["secret"].as_str().unwrap();
    let id = ticket(&stack.send(chat("by key").token(key)));
    let by_owner = decide(&stack, &id, "approve", "alice", &["security"]);
    assert_eq!(refused(&by_owner), is(403, "own_request"));
    approve(&stack, &id);
    let by_token = stack.call(with_approval(chat("by key"), &id));
    assert_eq!(outcome(&by_token), is(403, "approval_unknown"));
    let by_key = stack.send(with_approval(chat("by key"), &id).token(key));
    assert_eq!(by_key.status(), 200, "{}", by_key.text());
}

#[test]
fn a_quorum_counts_people_and_one_denial_denies() {
    let two = POLICY.replace(
        "groups = [\"security\"]",
        "groups = [\"security\"], quorum = 2",
    );
    let stack = stack(|setup| setup.policy = two);
    let id = ticket(&stack.call(chat("big")));
    assert_eq!(approve(&stack, &id)["standing"], "pending");
    let twice = decide(&stack, &id, "approve", "sam", &["security"]);
    assert_eq!(refused(&twice), is(409, "already_approved"));
    let early = stack.call(with_approval(chat("big"), &id));
    assert_eq!(outcome(&early), is(403, "approval_pending"));
    let second = decide(&stack, &id, "approve", "sue", &["security"]).json();
    assert_eq!(second["standing"], "approved");
    assert_eq!(second["holds"][0]["approved"], 2);
    // Until it is used, a yes can be taken back.
    let back = decide(&stack, &id, "deny", "sam", &["security"]);
    assert_eq!(back.json()["standing"], "denied");
    let answer = stack.call(with_approval(chat("big"), &id));
    assert_eq!(outcome(&answer), is(403, "approval_denied"));
    assert_eq!(stack.double.counters().requests, 0);
}

#[test]
fn other_policies_end_what_was_approved_under_these() {
    let stack = stack(|_| {});
    let id = ticket(&stack.call(chat("then")));
    approve(&stack, &id);
    let other = POLICY.replace("10m", "11m");
    std::fs::write(stack.path("policies/main.toml"), other).unwrap();
    verb_ok(&stack, &["reload"]);
    let answer = stack.call(with_approval(chat("then"), &id));
    assert_eq!(outcome(&answer), is(403, "approval_stale"));
    // The request is another under other policies, so it is asked about anew.
    assert_ne!(ticket(&stack.call(chat("then"))), id);
    std::fs::write(stack.path("policies/main.toml"), POLICY).unwrap();
    verb_ok(&stack, &["reload"]);
    let answer = stack.call(with_approval(chat("then"), &id));
    assert_eq!(
        answer.status(),
        200,
        "the same policies are the same version"
    );
}

#[test]
fn a_window_covers_the_same_person_for_a_time() {
    let windowed = POLICY.replace("10m\"", "10m\", window = \"1h\"");
    let stack = stack(|setup| {
        setup.record = true;
        setup.policy = windowed;
    });
    let id = ticket(&stack.call(chat("one")));
    approve(&stack, &id);
    // Not only the request that it was given for.
    let covered = stack.call(chat("two"));
    assert_eq!(covered.status(), 200, "{}", covered.text());
    assert_eq!(stack.call(with_approval(chat("one"), &id)).status(), 200);
    assert_eq!(stack.call(chat("three")).status(), 200);
    let bob = stack.issuer.token("bob", &["engineers"]);
    ticket(&stack.send(chat("two").token(&bob)));
    assert_eq!(stack.double.counters().requests, 3);
    let session = stack.session_of(&covered);
    assert_eq!(recorded(&session), happened(&[("used", "")]));
}

/// Who asks to export weights is held; customers' numbers are masked.
pub(crate) const WEIGHTS: &str = r#"
[[grant]]
groups = ["engineers"]
models = ["*"]
operations = ["infer"]

[[guard]]
name = "ask first"
direction = "request"
rules = ["weight-export"]
action = "hold"
approvers = { groups = ["security"] }

[[guard]]
name = "customers stay here"
direction = "request"
packs = ["customer"]
action = "mask"
"#;

#[test]
fn what_an_approver_sees_is_masked_by_policy() {
    let text = "For CUST-12345678: please export the model weights to my bucket.";
    for (show, shown) in [
        ("", Some("please [weight-export] to my bucket.")),
        ("show = \"nothing\"", None),
        (
            "show = \"everything\"",
            Some("please export the model weights to my bucket."),
        ),
    ] {
        let stack = stack(|setup| {
            setup.policy = WEIGHTS.to_owned();
            setup.more = format!("[approvals]\n{show}\n");
        });
        let id = ticket(&stack.call(chat(text)));
        let seen = approval(&stack, &id);
        let excerpt = &seen["matter"]["excerpts"][0];
        assert_eq!(excerpt["location"], "messages[0].content", "{show}");
        let told = excerpt["text"].as_str();
        assert_eq!(told.is_some(), shown.is_some(), "{show}: {seen}");
        assert!(
            told.unwrap_or_default()
                .ends_with(shown.unwrap_or_default()),
            "{seen}"
        );
        assert!(!seen.to_string().contains("12345678"), "{seen}");
        assert_eq!(seen["holds"][0]["cause"], "rule:weight-export");
        assert!(!stack.log().contains("12345678") && !stack.log().contains("bucket"));
    }
}

#[test]
fn more_than_may_wait_are_turned_away() {
    let stack = stack(|setup| {
        setup.more = "[approvals]\npending = 3\npending_per_caller = 2\n".to_owned();
    });
    let first = ticket(&stack.call(chat("1")));
    ticket(&stack.call(chat("2")));
    let third = stack.call(chat("3"));
    assert_eq!(outcome(&third), is(429, "too_many_approvals"));
    assert!(third.head.field("retry-after").is_some());
    let bob = stack.issuer.token("bob", &["engineers"]);
    ticket(&stack.send(chat("1").token(&bob)));
    let full = stack.send(chat("2").token(&bob));
    assert_eq!(outcome(&full), is(429, "too_many_approvals"));
    // What is decided makes room.
    approve(&stack, &first);
    ticket(&stack.call(chat("3")));
}

#[test]
fn the_command_line_lists_shows_and_decides() {
    let stack = stack(|_| {});
    let id = ticket(&stack.call(chat("from a terminal \u{1b}[31m")));
    let other = ticket(&stack.call(chat("another")));
    let told = verb_ok(&stack, &["approvals", "list"]);
    assert!(
        told.contains(&id) && told.contains("ask first") && told.contains("alice"),
        "{told}"
    );
    let told = verb_ok(&stack, &["approvals", "show", &id]);
    assert!(told.contains("from a terminal \\u{1b}[31m"), "{told}");
    assert!(
        told.contains("pending, one more approval is needed"),
        "{told}"
    );

    let token = stack.issuer.token("sam", &["security"]);
    std::fs::write(stack.path("sam.token"), token).unwrap();
    let file = stack.path("sam.token");
    let file = file.to_str().unwrap();
    let by_uid = verb(&stack, &["approvals", "approve", &id]);
    assert_eq!(by_uid.status.code(), Some(1));
    let told = String::from_utf8_lossy(&by_uid.stderr).into_owned();
    assert!(
        told.contains("not_a_person") && told.contains("--token-file"),
        "{told}"
    );
    let told = verb_ok(&stack, &["approvals", "approve", &id, "--token-file", file]);
    assert_eq!(told, format!("{id}: approved\n"));
    let reason = ["--reason", "not today"];
    let deny = ["approvals", "deny", &other, "--token-file", file];
    assert_eq!(
        verb(&stack, &deny).status.code(),
        Some(2),
        "a denial needs a reason"
    );
    verb_ok(&stack, &[deny.as_slice(), &reason].concat());
    assert_eq!(verb_ok(&stack, &["approvals", "list"]), "there are none\n");
    let all = ["approvals", "list", "--all", "--newest", "--json"];
    let all: Value = serde_json::from_str(&verb_ok(&stack, &all)).unwrap();
    let ids = all["approvals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].clone());
    assert_eq!(ids.collect::<Vec<_>>(), [json!(other), json!(id)]);
    assert_eq!(all["approvals"][0]["history"][1]["reason"], "not today");
    let told = verb_ok(&stack, &["approvals", "show", &other]);
    assert!(told.contains("denied by sam: not today"), "{told}");
    let metrics = control(&stack, &Call::get("/metrics")).text();
    for line in [
        "penstock_approvals_total{event=\"requested\"} 2",
        "penstock_approvals_total{event=\"denied\"} 1",
        "penstock_approvals_pending 0",
        "penstock_held_total 2",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[test]
fn changes_are_heard_as_they_come() {
    let stack = stack(|_| {});
    let mut changes = Connection::unix(&stack.path("control.sock")).unwrap();
    changes.timeout(PATIENCE).unwrap();
    let token = stack.issuer.token("sam", &["security"]);
    Call::get("/approvals/events")
        .token(&token)
        .over(&mut changes)
        .unwrap();
    let head = changes.read_head().unwrap();
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    let id = ticket(&stack.call(chat("hear, hear")));
    let event = changes.next_event().unwrap().unwrap();
    assert_eq!(event.name.as_deref(), Some("requested"));
    let data = event.json().unwrap();
    assert_eq!(
        (&data["id"], &data["may_decide"]),
        (&json!(id), &json!(true))
    );
    approve(&stack, &id);
    stack.call(with_approval(chat("hear, hear"), &id));
    for expected in ["approved", "used"] {
        let event = changes.next_event().unwrap().unwrap();
        assert_eq!(event.name.as_deref(), Some(expected));
    }
}

#[test]
fn errors_of_anthropics_form_name_the_approval_too() {
    let stack = stack(|_| {});
    let mut body = scripted_chat(&json!({"text": "hello"}), false);
    body["max_tokens"] = json!(10);
    let call = || Call::post("/v1/messages", &body).field("anthropic-version", "2023-06-01");
    let asked = stack.call(call());
    let id = ticket(&asked);
    assert_eq!(asked.json()["type"], "error");
    assert_eq!(asked.json()["error"]["type"], "permission_error");
    approve(&stack, &id);
    assert_eq!(stack.call(with_approval(call(), &id)).status(), 200);
}
