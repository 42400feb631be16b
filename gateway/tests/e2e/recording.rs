//! What is written down of a call, however it ends: who, what the model saw, what was decided, what
//! the client got and when; and that no credential and no masked value is anywhere on disk.

use std::time::{Duration, Instant};

use penstock_loadgen::client::{Call, ClientError};
use penstock_loadgen::issuer::TokenSpec;
use penstock_recorder::frame::{ControlState, FrameBody, Outcome};
use penstock_recorder::log::{Ended, Summary};
use serde_json::{Value, json};

use crate::stack::{MODEL, Stack};
use crate::witness::{
    PATIENCE, assert_in_order, close_of, contains, decisions_of, directive, open_of, request_id,
    scripted_chat,
};

const TEXT: &str = "order CUST-12345678 for jane.doe@example.com is ready";

/// The request's id of an answer whose head was read only.
fn id_of(head: &penstock_loadgen::client::Head) -> String {
    head.field("x-request-id").expect("a request id").to_owned()
}

#[test]
fn a_stream_is_recorded_as_the_client_saw_it_with_who_why_and_when() {
    let stack = Stack::start();
    let spec = TokenSpec::new("alice", &["engineers", "staff"]).claim("jti", "token-7");
    let token = stack.issuer.mint(&spec).expect("a token");
    let body = scripted_chat(&json!({"text": TEXT, "split": "chars:3"}), true);
    let call = Call::post("/v1/chat/completions?trace=1", &body).field("user-agent", "sdk/1.0");
    let mut connection = stack.connect();
    call.token(&token).over(&mut connection).expect("sent");
    let answer = connection.read_response().expect("an answer");
    let session = stack.session_of(&answer);
    assert_in_order(&session);

    let open = open_of(&session);
    assert_eq!(open.issuer, stack.issuer.url());
    assert_eq!(
        (open.subject.as_str(), open.token_id.as_deref()),
        ("alice", Some("token-7"))
    );
    assert_eq!(open.groups, ["engineers", "staff"]);
    assert!(open.client.starts_with("127.0.0.1:"), "{}", open.client);
    assert_eq!(open.user_agent.as_deref(), Some("sdk/1.0"));
    assert_eq!(
        (open.method.as_str(), open.path.as_str()),
        ("POST", "/v1/chat/completions")
    );
    assert_eq!(
        (open.route.as_str(), open.operation.as_str()),
        ("/v1/chat/completions", "infer")
    );
    assert_eq!(open.dialect, "openai");
    assert_eq!(open.policy_version, stack.status()["policy_version"]);
    assert!(!open.gateway.is_empty());

    let seen = stack.double.requests();
    assert_eq!(
        session.request_body(),
        ("application/json".to_owned(), seen[0].body.clone())
    );
    assert_eq!(session.response_body(), answer.body, "as the client saw it");
    assert!(session.response_chunks().count() > 3, "piece by piece");
    assert_eq!(
        session.response_media(),
        answer.head.field("content-type").unwrap()
    );
    let decisions = decisions_of(&session);
    let rules: Vec<&str> = decisions
        .iter()
        .map(|decision| decision.rule.as_str())
        .collect();
    assert_eq!(rules, ["customer-id", "email-address"]);
    assert!(
        decisions
            .iter()
            .all(|decision| decision.direction == "response"
                && decision.action == "mask"
                && decision.guard == "personal data out"
                && decision.location.contains("content")),
        "{decisions:?}"
    );
    assert_eq!((decisions[0].start, decisions[0].end), (6, 19));
    assert_eq!((decisions[1].start, decisions[1].end), (24, 44));

    let close = close_of(&session);
    assert_eq!(
        (close.status, close.outcome, &close.error_code),
        (200, Outcome::Completed, &None)
    );
    assert_eq!(close.model.as_deref(), Some(MODEL));
    assert_eq!(close.request_bytes, seen[0].body.len() as u64);
    assert_eq!(close.response_bytes, answer.body.len() as u64);
    let times = &close.timings;
    assert!(
        0 < times.inspected && times.inspected <= times.forwarded,
        "{times:?}"
    );
    assert!(times.forwarded <= times.first_byte && times.first_byte <= times.last_byte);
    for control in [
        "authenticate",
        "authorize",
        "inspect request",
        "inspect response",
    ] {
        let run = close.controls.iter().find(|run| run.name == control);
        assert_eq!(
            run.map(|run| run.state),
            Some(ControlState::Ran),
            "{control}"
        );
    }
    // The value stands in the prompt of this call, which the model saw; so it is told from the
    // answers by another call, whose prompt does not have it.
    assert!(!contains(&answer.body, "12345678") && !contains(&answer.body, "jane.doe"));
    stack.assert_never_written(&[&token]);
    stack.assert_verified();
}

/// Status, outcome and code of the end of this call's record, whose frames are in order.
fn ending(stack: &Stack, id: &str) -> (u16, Outcome, String) {
    let session = stack.session(id);
    assert_in_order(&session);
    let close = close_of(&session);
    let code = close.error_code.clone().unwrap_or_default();
    (close.status, close.outcome, code)
}

#[test]
fn what_is_refused_is_recorded_with_who_asked_and_what_they_were_told() {
    let stack = Stack::start();
    let stranger = stack.issuer.token("mallory", &["sales"]);
    let secret = ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat();
    let hello = || Call::chat(MODEL, "hello", false);
    let broken = Call::post("/v1/chat/completions", &json!({})).body("{");
    let alice = stack.token();
    for (call, who, status, outcome, code) in [
        (hello(), "", 401, Outcome::Refused, "missing_credential"),
        (
            hello().token("x.y.z"),
            "",
            401,
            Outcome::Refused,
            "malformed_token",
        ),
        (
            hello().token(&stranger),
            "mallory",
            403,
            Outcome::Refused,
            "operation_not_permitted",
        ),
        (
            Call::chat("other", "hello", false).token(&alice),
            "alice",
            403,
            Outcome::Refused,
            "model_not_permitted",
        ),
        (
            broken.token(&alice),
            "alice",
            400,
            Outcome::Refused,
            "body_not_json",
        ),
        (
            Call::post("/nothing", &json!({})).token(&alice),
            "alice",
            403,
            Outcome::Refused,
            "route_not_permitted",
        ),
        (
            Call::chat(MODEL, &secret, true).token(&alice),
            "alice",
            403,
            Outcome::Blocked,
            "request_blocked",
        ),
    ] {
        let answer = stack.send(call);
        let ended = ending(&stack, &request_id(&answer));
        assert_eq!(ended, (status, outcome, code.to_owned()));
        assert_eq!(answer.status(), status);
        let session = stack.session_of(&answer);
        assert_eq!(open_of(&session).subject, who, "{code}");
        assert_eq!(session.response_body(), answer.body, "{code}");
        assert!(
            session.request_body().1.is_empty(),
            "{code}: the model saw nothing"
        );
    }
    assert_eq!(stack.double.counters().requests, 0);
    stack.assert_never_written(&[&secret, &alice, &stranger]);
    stack.assert_verified();
    assert_whole(&stack, 7);
}

#[track_caller]
fn assert_whole(stack: &Stack, count: usize) {
    let sessions = stack.sessions();
    assert_eq!(sessions.len(), count);
    let whole = |summary: &Summary| summary.ended == Ended::Closed && summary.whole;
    assert!(sessions.iter().all(whole), "{sessions:?}");
}

#[test]
fn what_breaks_off_is_recorded_as_far_as_it_came() {
    let stack = Stack::start();
    let call = |answer: Value, streams: bool| {
        Call::post("/v1/chat/completions", &scripted_chat(&answer, streams))
    };
    // The client goes away in the middle.
    let slow = json!({"text": TEXT, "split": "words", "stall": [[3, 600_000]]});
    let mut connection = stack.begin(call(slow, true));
    let id = id_of(&connection.read_head().expect("a head"));
    let piece = connection.next_piece().expect("a piece").expect("a piece");
    drop(connection);
    assert_eq!(
        ending(&stack, &id),
        (200, Outcome::ClientGone, String::new())
    );
    assert!(stack.session(&id).response_body().starts_with(&piece));
    // And before the answer began.
    let before = stack.double.counters().requests;
    let connection = stack.begin(call(json!({"text": TEXT, "ttft_ms": 600_000}), false));
    assert!(
        stack
            .double
            .wait(PATIENCE, |counters| counters.requests > before)
    );
    drop(connection);
    let gone = |summary: &Summary| {
        summary.outcome == Some(Outcome::ClientGone) && summary.status == Some(0)
    };
    assert!(stack.wait(|| stack.sessions().iter().any(gone)));

    // And before its own request was whole.
    let before = stack.double.counters().requests;
    let bytes = Call::chat(MODEL, &"never sent ".repeat(100), false)
        .token(&stack.token())
        .bytes();
    let mut connection = stack.connect();
    connection
        .send(&bytes[..bytes.len() - 500])
        .expect("a part is sent");
    assert!(
        stack.wait(|| stack.sessions().len() == 3),
        "its head is enough for a record"
    );
    drop(connection);
    let count = || {
        stack
            .sessions()
            .iter()
            .filter(|summary| gone(summary))
            .count()
    };
    assert!(stack.wait(|| count() == 2), "{:?}", stack.sessions());
    assert_eq!(stack.double.counters().requests, before);

    // The engine fails before its answer, and in the middle of it.
    let failed = Outcome::UpstreamFailed;
    for streams in [true, false] {
        let answer = stack.call(call(json!({"close": "before"}), streams));
        let ended = ending(&stack, &request_id(&answer));
        assert_eq!(ended, (502, failed, "upstream_reset".to_owned()));
        assert_eq!(stack.session_of(&answer).response_body(), answer.body);
    }
    let cut = json!({"text": TEXT, "split": "words", "truncate": "after:2"});
    let mut connection = stack.begin(call(cut, true));
    let id = id_of(&connection.read_head().expect("a head"));
    let Err(ClientError::Closed(got)) = connection.read_rest() else {
        panic!("an answer that looks whole");
    };
    assert_eq!(
        ending(&stack, &id),
        (200, failed, "upstream_reset".to_owned())
    );
    // A reset may take bytes with it that the client had not read yet.
    assert!(stack.session(&id).response_body().starts_with(&got));
    stack.assert_verified();
    assert_whole(&stack, 6);
}

#[test]
fn a_large_body_is_recorded_whole_and_values_that_a_script_said_are_nowhere() {
    let stack = Stack::with(|setup| {
        // What the model says is not in the prompt here.
        let text = format!("[[rule]]\nanswer = {{ text = \"{TEXT}\", split = \"bytes:1\" }}\n");
        setup.double.script = penstock_loadgen::double::Script::parse(&text).expect("a script");
        setup.more = "[log]\nlevel = \"trace\"\n".to_owned();
    });
    let prompt = "lorem ipsum ".repeat(40_000);
    let mut answers = Vec::new();
    for streams in [true, false] {
        let answer = stack.call(Call::chat(MODEL, &prompt, streams));
        assert_eq!(answer.status(), 200);
        let session = stack.session_of(&answer);
        assert_in_order(&session);
        let seen = stack.double.requests().pop().expect("a request");
        assert!(seen.body.len() > 400_000);
        assert_eq!(session.request_body().1, seen.body);
        assert_eq!(session.response_body(), answer.body);
        let pieces = session
            .bodies()
            .filter(|body| matches!(body, FrameBody::RequestBody(_)));
        assert_eq!(pieces.count(), seen.body.len().div_ceil(64 * 1024));
        answers.push(answer);
    }
    let token = stack.token();
    stack.assert_never_written(&["CUST-12345678", "12345678", "jane.doe", &token]);
    stack.assert_verified();
}

#[test]
fn the_log_is_listed_shown_replayed_and_verified() {
    let stack = Stack::start();
    let paced = json!({"text": "one two three four", "split": "words", "stall": [[2, 300]]});
    let answer = stack.call(Call::post(
        "/v1/chat/completions",
        &scripted_chat(&paced, true),
    ));
    let id = request_id(&answer);
    stack.session(&id);
    let dir = stack.segments();
    let dir = dir.to_str().expect("a UTF-8 path");
    let tool = |arguments: &[&str]| stack.recorder_tool(arguments).expect("it succeeds");

    let listed = tool(&["sessions", dir]);
    let line = listed
        .lines()
        .find(|line| line.contains(&id))
        .expect("its line");
    for word in ["alice", MODEL, "200", "completed"] {
        assert!(line.contains(word), "{word} is missing: {line}");
    }
    let json: Value =
        serde_json::from_str(tool(&["sessions", dir, "--json"]).trim()).expect("JSON");
    assert_eq!(
        (json["session"].as_str(), json["model"].as_str()),
        (Some(id.as_str()), Some(MODEL))
    );
    assert_eq!(json["whole"], true);
    assert!(tool(&["sessions", dir, "--model", MODEL]).contains(&id));
    assert!(!tool(&["sessions", dir, "--model", "other"]).contains(&id));

    let shown = tool(&["show", dir, &id]);
    for word in [
        "alice",
        "engineers",
        MODEL,
        "one two three four",
        "200 completed",
        "authenticate",
    ] {
        assert!(shown.contains(word), "{word} is missing:\n{shown}");
    }
    let model_line = shown
        .lines()
        .find(|line| line.starts_with("model "))
        .expect("its line");
    assert!(model_line.ends_with(MODEL), "{model_line}");
    let json: Value = serde_json::from_str(&tool(&["show", dir, &id, "--json"])).expect("JSON");
    assert_eq!(
        json["response"]["body"]["text"].as_str(),
        Some(answer.text().as_str())
    );
    assert_eq!(json["close"]["model"], MODEL);

    let said = tool(&["replay", dir, &id, "--instant"]);
    assert_eq!(said.trim_end(), "one two three four");
    assert_eq!(
        tool(&["replay", dir, &id, "--instant", "--raw"]).as_bytes(),
        answer.body
    );
    // With its timing it takes no less than the stall took.
    let begun = Instant::now();
    assert_eq!(tool(&["replay", dir, &id]), said);
    assert!(
        begun.elapsed() >= Duration::from_millis(250),
        "{:?}",
        begun.elapsed()
    );

    let report: Value = serde_json::from_str(&tool(&["verify", dir, "--json"])).expect("JSON");
    assert_eq!(
        (report["good"].as_bool(), report["state"].as_str()),
        (Some(true), Some("live"))
    );
    assert!(stack.recorder_tool(&["show", dir, "ffffffff"]).is_err());
}

#[test]
fn a_log_that_was_changed_does_not_verify() {
    let mut stack = Stack::start();
    let answer = stack.chat(&directive(&json!({"text": "the truth"})));
    stack.session_of(&answer);
    stack.kill_gateway();
    stack.kill_recorder();
    stack.assert_verified();
    let segment = std::fs::read_dir(stack.segments())
        .expect("the log")
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| contains(&std::fs::read(path).expect("a segment"), "the truth"))
        .expect("the segment with the session");
    let mut bytes = std::fs::read(&segment).expect("the segment");
    let at = memchr::memmem::find(&bytes, b"alice").expect("the caller's name");
    bytes[at..at + 5].copy_from_slice(b"carol");
    std::fs::write(&segment, bytes).expect("it is changed");
    let dir = stack.segments();
    let report = stack
        .recorder_tool(&["verify", dir.to_str().unwrap()])
        .expect_err("changed");
    assert!(report.contains("ALTERED"), "{report}");
}

#[test]
fn how_long_text_was_held_and_what_anthropic_was_told_are_in_the_record() {
    let stack = Stack::with(|setup| setup.limits = "hold = \"200ms\"".to_owned());
    // The number never comes to its end, so its beginning is masked after the time of a hold.
    let answer = json!({"split": ["order CUST-1234", "5678 is ready"], "stall": [[1, 600_000]]});
    let body = json!({"model": MODEL, "max_tokens": 9, "stream": true,
        "messages": [{"role": "user", "content": directive(&answer)}]});
    let mut connection = stack.begin(Call::post("/v1/messages", &body));
    let id = id_of(&connection.read_head().expect("a head"));
    let mut got = Vec::new();
    while !contains(&got, "[masked") {
        let piece = connection.next_piece().expect("it goes on");
        got.extend(piece.expect("it goes on"));
    }
    drop(connection);
    let session = stack.session(&id);
    assert_eq!(open_of(&session).dialect, "anthropic");
    let close = close_of(&session);
    assert_eq!(close.outcome, Outcome::ClientGone);
    assert!(close.timings.held_max >= 100_000_000, "{:?}", close.timings);
    assert_eq!(session.response_body(), got);
    // The id says when: version 7, and one after the other.
    assert_eq!(&id[14..15], "7", "{id}");
    let next = request_id(&stack.chat("hello"));
    assert!(next > id, "{next} came after {id}");
}
