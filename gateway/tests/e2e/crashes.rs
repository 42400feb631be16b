//! Either side dies: calls fare as `on_recorder_loss` says, nothing that a client saw is missing
//! from the record, and nothing is in it twice.

use std::collections::HashMap;
use std::time::Duration;

use penstock_loadgen::client::{Call, Connection, Head};
use penstock_recorder::frame::{FrameBody, Outcome};
use penstock_recorder::log::{self, Ended, Session};
use serde_json::json;

use crate::stack::{MODEL, Stack};
use crate::witness::{assert_in_order, code, contains, directive, request_id, scripted_chat};

/// Streams at the same time while the gateway is killed.
const STREAMS: usize = 20;
/// How often it is killed.
const KILLS: usize = 5;

/// Small, repeatable numbers; the seed is printed, so that a failure can be run again.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        let given = std::env::var("PENSTOCK_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) | 1);
        println!("run again with PENSTOCK_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Numbered words, so that what is missing or doubled shows.
fn words(count: usize) -> String {
    (0..count).map(|number| format!("w{number} ")).collect()
}

fn paced(count: usize, ms: u64) -> Call {
    let answer = json!({"text": words(count), "split": "words", "inter_token_ms": ms});
    Call::post("/v1/chat/completions", &scripted_chat(&answer, true))
}

#[test]
fn without_a_recorder_calls_are_refused_until_it_is_back() {
    let mut stack = Stack::start();
    assert_eq!(stack.chat("before").status(), 200);
    stack.kill_recorder();
    assert!(stack.wait(|| !stack.recorder_connected()));
    let asked = stack.double.counters().requests;
    let refused = stack.chat("meanwhile");
    assert_eq!(
        (refused.status(), code(&refused).as_str()),
        (503, "recorder_unavailable")
    );
    assert!(refused.head.field("retry-after").is_some());
    let message = json!({"model": MODEL, "max_tokens": 1, "messages": []});
    let refused = stack.call(Call::post("/v1/messages", &message));
    assert_eq!(refused.json()["error"]["type"], "overloaded_error");
    assert_eq!(stack.double.counters().requests, asked);
    stack.start_recorder();
    assert!(stack.wait(|| stack.recorder_connected()));
    let answer = stack.chat("after");
    assert_eq!(answer.status(), 200);
    stack.session_of(&answer);
    stack.assert_verified();
    assert_eq!(stack.sessions().len(), 2);
}

#[test]
fn a_gateway_that_starts_before_its_recorder_waits_for_it() {
    let mut stack = Stack::with(|setup| {
        setup.record = false;
        setup.recorder = "on_recorder_loss = \"refuse\"\n".to_owned();
    });
    let refused = stack.chat("too early");
    assert_eq!(
        (refused.status(), code(&refused).as_str()),
        (503, "recorder_unavailable")
    );
    stack.start_recorder();
    assert!(stack.wait(|| stack.recorder_connected()));
    let answer = stack.chat("now");
    assert_eq!(answer.status(), 200);
    stack.session_of(&answer);
    assert_eq!(stack.double.counters().requests, 1);
    stack.assert_verified();
}

#[test]
fn a_stream_survives_its_recorder_and_every_frame_is_in_the_log_once() {
    let mut stack = Stack::start();
    let answer = json!({"text": words(60), "split": "words", "inter_token_ms": 20});
    let body = scripted_chat(&answer, true);
    let mut connection = stack.begin(Call::post("/v1/chat/completions", &body));
    let head = connection.read_head().expect("a head");
    let id = head.field("x-request-id").expect("an id").to_owned();
    let mut got = connection.next_piece().expect("a piece").expect("a piece");
    for _ in 0..2 {
        stack.kill_recorder();
        got.extend(
            connection
                .next_piece()
                .expect("it goes on")
                .unwrap_or_default(),
        );
        stack.start_recorder();
        assert!(stack.wait(|| stack.recorder_connected()));
        got.extend(
            connection
                .next_piece()
                .expect("it goes on")
                .unwrap_or_default(),
        );
    }
    got.extend(connection.read_rest().expect("a proper end"));
    let session = stack.session(&id);
    assert_in_order(&session);
    assert_eq!(session.response_body(), got);
    assert_eq!(
        session.close().map(|close| close.outcome),
        Some(Outcome::Completed)
    );
    assert!(session.frames.iter().all(|recorded| !recorded.by_recorder));
    stack.assert_verified();
}

#[test]
fn a_recorder_may_die_at_any_moment_under_load() {
    let mut stack = Stack::start();
    let mut dice = Dice::new();
    let connections: Vec<Connection> = (0..STREAMS / 2)
        .map(|_| stack.begin(paced(150 + dice.below(100) as usize, 6)))
        .collect();
    // All of them are under way; a call that begins without a recorder is refused.
    let begun = connections.into_iter().map(|mut connection| {
        let head = connection.read_head().expect("a head");
        (connection, head)
    });
    let begun: Vec<_> = begun.collect();
    let readers = begun
        .into_iter()
        .map(|(c, head)| std::thread::spawn(move || read_on(c, &head)));
    let readers: Vec<_> = readers.collect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(dice.below(200)));
        stack.kill_recorder();
        std::thread::sleep(Duration::from_millis(dice.below(100)));
        stack.start_recorder();
    }
    for reader in readers {
        let got = reader.join().expect("a reader");
        assert!(got.whole);
        let session = stack.session(&got.id);
        assert_in_order(&session);
        assert_eq!(session.response_body(), got.bytes);
    }
    stack.assert_verified();
}

#[test]
fn where_calls_are_served_without_a_recorder_the_gap_is_told_on_its_return() {
    let mut stack = Stack::with(|setup| {
        setup.recorder = "ring_bytes = \"512KiB\"\non_recorder_loss = \"serve\"\n".to_owned();
        setup.limits = "ring_wait = \"20ms\"".to_owned();
    });
    stack.kill_recorder();
    assert!(stack.wait(|| !stack.recorder_connected()));
    // Some calls fit into the ring; they are not lost.
    let kept = stack.chat("small");
    assert_eq!(kept.status(), 200);
    let prompt = "lorem ipsum ".repeat(5_000);
    let mut lost = None;
    for _ in 0..24 {
        let answer = stack.chat(&prompt);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        lost = Some(request_id(&answer));
    }
    assert_eq!(stack.counter("unrecorded"), 25);
    stack.start_recorder();
    // Nobody calls: the gap is told all the same.
    let gaps = || -> Vec<u64> {
        let log = log::open(&stack.segments()).expect("the log");
        let frames = log.frames().filter_map(Result::ok);
        let gaps = frames.filter_map(|recorded| match recorded.frame.body {
            FrameBody::Gap(gap) => Some(gap.sessions),
            _ => None,
        });
        gaps.collect()
    };
    assert!(stack.wait(|| !gaps().is_empty()), "no gap is told");
    let told: u64 = gaps().iter().sum();
    assert!((1..=24).contains(&told), "{told} sessions are missing");
    stack.session(&request_id(&kept));
    let lost = lost.expect("a call");
    let listed = stack.sessions();
    let found = listed.iter().find(|summary| summary.session == lost);
    assert!(
        found.is_none_or(|summary| !summary.whole),
        "its prompt found no room: {found:?}"
    );
    let after = stack.chat("after");
    assert_in_order(&stack.session_of(&after));
    stack.assert_verified();
}

/// What one client had got when its connection ended.
struct Got {
    id: String,
    bytes: Vec<u8>,
    whole: bool,
}

/// Reads until the connection ends, well or not; `None` when it ended before the answer began, or
/// when there was none: then nothing must be in the log.
fn read_all(mut connection: Connection) -> Option<Got> {
    let head = connection.read_head().ok()?;
    (head.status == 200).then(|| read_on(connection, &head))
}

fn read_on(mut connection: Connection, head: &Head) -> Got {
    let id = head.field("x-request-id").expect("an id").to_owned();
    let mut bytes = Vec::new();
    let whole = loop {
        match connection.next_piece() {
            Ok(Some(piece)) => bytes.extend(piece),
            end => break end.is_ok(),
        }
    };
    Got { id, bytes, whole }
}

#[test]
fn what_a_client_got_before_the_gateway_was_killed_is_in_the_log() {
    let mut stack = Stack::with(|setup| {
        // A ring for each core, where there are two.
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            setup.top = "cores = [0, 1]".to_owned();
        }
    });
    let mut dice = Dice::new();
    let mut got: Vec<Got> = Vec::new();
    for _ in 0..KILLS {
        // Some end before the kill, most do not.
        let lengths = (0..STREAMS).map(|_| 1 + dice.below(120) as usize);
        let connections: Vec<Connection> =
            lengths.map(|count| stack.begin(paced(count, 2))).collect();
        let readers: Vec<_> = connections
            .into_iter()
            .map(|c| std::thread::spawn(move || read_all(c)))
            .collect();
        std::thread::sleep(Duration::from_millis(dice.below(250)));
        stack.kill_gateway();
        let ended = readers
            .into_iter()
            .map(|reader| reader.join().expect("a reader"));
        got.extend(ended.flatten());
        stack.start_gateway();
        let answer = stack.chat("again");
        assert_eq!(answer.status(), 200);
        stack.session_of(&answer);
    }
    assert!(
        stack.wait(|| {
            let sessions = stack.sessions();
            !sessions.is_empty() && sessions.iter().all(|summary| summary.ended != Ended::Open)
        }),
        "sessions of a dead gateway stay open: {:?}",
        stack.sessions()
    );
    let sessions = by_id(&stack);
    let mut abandoned = 0;
    for one in &got {
        let session = sessions
            .get(&one.id)
            .unwrap_or_else(|| panic!("{} is missing", one.id));
        let recorded = session.response_body();
        assert!(
            recorded.starts_with(&one.bytes),
            "{}: {} bytes were got, {} are recorded",
            one.id,
            one.bytes.len(),
            recorded.len()
        );
        if one.whole {
            assert_eq!(recorded, one.bytes);
        }
        abandoned += usize::from(session.close().is_none());
    }
    println!("{} answers begun, {abandoned} abandoned", got.len());
    for session in sessions.values() {
        let own: Vec<_> = session
            .frames
            .iter()
            .filter(|frame| !frame.by_recorder)
            .collect();
        assert!(
            own.iter()
                .enumerate()
                .all(|(at, frame)| frame.frame.index as usize == at)
        );
        let marked = session.frames.iter().any(|frame| frame.by_recorder);
        assert_eq!(marked, session.close().is_none(), "{}", session.id);
    }
    stack.assert_verified();
    let dir = stack.segments();
    let listed = stack
        .recorder_tool(&["sessions", dir.to_str().unwrap()])
        .expect("a list");
    assert!(listed.matches("abandoned").count() >= abandoned, "{listed}");
}

#[test]
fn while_the_recorder_stands_still_nothing_is_shown_that_it_will_not_write_down() {
    let stack = Stack::with(|setup| {
        setup.recorder = "ring_bytes = \"512KiB\"\n".to_owned();
        setup.limits = "ring_wait = \"100ms\"".to_owned();
    });
    assert_eq!(stack.chat("before").status(), 200);
    stack.pause_recorder(true);
    // Together these are several times what the ring holds.
    let answer = json!({"text": words(300), "repeat": 600, "split": "chars:2000"});
    let call = || Call::post("/v1/chat/completions", &scripted_chat(&answer, true));
    let connections: Vec<_> = (0..4).map(|_| stack.begin(call())).collect();
    let readers = connections
        .into_iter()
        .map(|c| std::thread::spawn(move || read_all(c)));
    let readers: Vec<_> = readers.collect();
    let ended = readers
        .into_iter()
        .map(|reader| reader.join().expect("a reader"));
    let got: Vec<Got> = ended.flatten().collect();
    assert!(
        got.iter().all(|one| !one.whole),
        "an answer larger than the ring came through"
    );
    let asked = stack.double.counters().requests;
    let refused = stack.chat("meanwhile");
    assert_eq!(
        (refused.status(), code(&refused).as_str()),
        (503, "recorder_unavailable")
    );
    assert_eq!(
        stack.double.counters().requests,
        asked,
        "the model was not asked"
    );
    stack.pause_recorder(false);
    for one in &got {
        let session = stack.session(&one.id);
        assert!(
            session.response_body().starts_with(&one.bytes),
            "{}",
            one.id
        );
        let close = session.close().expect("an end");
        assert_eq!(close.outcome, Outcome::GatewayFailed);
        assert_eq!(close.error_code.as_deref(), Some("recorder_unavailable"));
    }
    let after = stack.chat("after");
    assert_eq!(after.status(), 200);
    assert_in_order(&stack.session_of(&after));
    stack.assert_verified();
}

/// Every session of the log, read once.
fn by_id(stack: &Stack) -> HashMap<String, Session> {
    let log = log::open(&stack.segments()).expect("the log");
    let mut sessions: HashMap<String, Session> = HashMap::new();
    for recorded in log.frames() {
        let recorded = recorded.expect("a frame");
        let id = recorded.frame.session;
        if !id.is_nil() {
            let new = || Session {
                id,
                frames: Vec::new(),
            };
            sessions
                .entry(id.to_string())
                .or_insert_with(new)
                .frames
                .push(recorded);
        }
    }
    sessions
}

#[test]
fn what_a_dead_gateway_left_in_its_ring_is_written_down() {
    let mut stack = Stack::start();
    assert_eq!(stack.chat("before").status(), 200);
    stack.pause_recorder(true);
    let whole = stack.chat("while nobody drains the ring");
    assert_eq!(whole.status(), 200);
    let mut connection = stack.begin(paced(400, 10));
    let head = connection.read_head().expect("a head");
    let id = head.field("x-request-id").expect("an id").to_owned();
    let mut got = Vec::new();
    while got.len() < 4000 {
        got.extend(
            connection
                .next_piece()
                .expect("it goes on")
                .expect("it goes on"),
        );
    }
    stack.kill_gateway();
    stack.pause_recorder(false);
    assert_eq!(stack.session_of(&whole).response_body(), whole.body);
    let marked = |session: &Session| session.frames.iter().any(|frame| frame.by_recorder);
    assert!(
        stack.wait(|| by_id(&stack).get(&id).is_some_and(marked)),
        "it was abandoned"
    );
    let session = by_id(&stack).remove(&id).expect("the session");
    assert!(session.response_body().starts_with(&got));
    assert!(session.close().is_none());
    let dir = stack.segments();
    let shown = stack.recorder_tool(&["show", dir.to_str().expect("a path"), &id]);
    assert!(shown.expect("it is shown").contains("abandoned"));
    stack.assert_verified();
}

#[test]
fn both_die_and_the_log_still_holds() {
    let mut stack = Stack::start();
    let mut connection = stack.begin(paced(400, 10));
    let head = connection.read_head().expect("a head");
    let id = head.field("x-request-id").expect("an id").to_owned();
    let mut got = Vec::new();
    while got.len() < 4000 {
        got.extend(
            connection
                .next_piece()
                .expect("it goes on")
                .expect("it goes on"),
        );
    }
    // What had been got before this is durable after one sync; what the ring holds when its last
    // owner dies with the recorder away is gone, and the log must say so rather than not verify.
    assert!(stack.wait(|| {
        by_id(&stack)
            .get(&id)
            .is_some_and(|session| session.response_body().starts_with(&got))
    }));
    stack.kill_recorder();
    stack.kill_gateway();
    stack.assert_verified();
    stack.start_recorder();
    stack.start_gateway();
    let answer = stack.chat(&directive(&json!({"text": "again"})));
    assert_eq!(answer.status(), 200);
    stack.session_of(&answer);
    let session = by_id(&stack).remove(&id).expect("the session");
    assert!(session.response_body().starts_with(&got));
    assert!(contains(&answer.body, "again"));
    stack.assert_verified();
}
