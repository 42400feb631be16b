//! Many callers at once, well and badly behaved, in an order that a seed decides: everybody gets
//! his own answer, nothing is left over, and every call's record has an end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use penstock_loadgen::client::{Call, ClientError, Connection};
use serde_json::json;

use crate::stack::{MODEL, Stack, chat_body, post_bytes, scripted};

/// Callers at once.
const CALLERS: u64 = 16;
/// Calls of each.
const CALLS: u64 = 30;

/// The generator of Steele, Lea and Flood (SplitMix64): enough to shuffle with.
struct Dice(u64);

/// One of the callers.
struct Caller<'a> {
    stack: &'a Stack,
    token: String,
    dice: Dice,
    /// Stands in this caller's answers and in nobody else's.
    mark: String,
    kept: Option<Connection>,
    served: &'a AtomicU64,
}

// === impl Dice ===

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

// === impl Caller ===

impl Caller<'_> {
    fn post(&self, body: &str) -> Vec<u8> {
        post_bytes(&self.token, "/v1/chat/completions", body)
    }

    /// A connection of earlier calls, or a new one.
    fn connection(&mut self) -> Connection {
        self.kept.take().unwrap_or_else(|| self.stack.connect())
    }

    fn text(&mut self) -> String {
        let words = self.dice.roll(30);
        format!(
            "{} {} end",
            self.mark,
            "a few words ".repeat(words as usize)
        )
    }

    /// A call that is answered: whole or as a stream, alone or two at once.
    fn behave(&mut self) {
        let mut connection = self.connection();
        let (text, stream) = (self.text(), self.dice.roll(2) == 0);
        let answer = json!({ "text": text, "split": format!("chars:{}", 1 + self.dice.roll(9)),
            "wire_bytes": 1 + self.dice.roll(2000), "inter_token_ms": self.dice.roll(2) });
        let mut bytes = self.post(&scripted(&answer, stream));
        let pipelined = self.dice.roll(3) == 0;
        if pipelined {
            bytes.extend(self.post(&scripted(&json!({ "text": self.mark }), false)));
        }
        connection.send(&bytes).expect("the request is sent");
        let first = connection.read_response().expect("an answer");
        assert_eq!(first.status(), 200, "{}", first.text());
        let said = if stream {
            streamed(&first.body)
        } else {
            whole(&first.body)
        };
        assert_eq!(said, text, "an answer of somebody else");
        if pipelined {
            let second = connection.read_response().expect("an answer");
            assert_eq!(whole(&second.body), self.mark);
        }
        self.served
            .fetch_add(1 + u64::from(pipelined), Ordering::Relaxed);
        self.kept = Some(connection);
    }

    /// Goes away: in the middle of a stream, before it, or in the middle of the request.
    fn go_away(&mut self) {
        let mut connection = self.connection();
        let answer = json!({ "text": self.text(), "inter_token_ms": 5 });
        let bytes = self.post(&scripted(&answer, true));
        if self.dice.roll(3) == 0 {
            let part = self.dice.roll(bytes.len() as u64) as usize;
            connection.send(&bytes[..part]).expect("a part is sent");
            return;
        }
        connection.send(&bytes).expect("the request is sent");
        if self.dice.roll(2) == 0 {
            assert_eq!(connection.read_head().expect("a head").status, 200);
            for _ in 0..self.dice.roll(4) {
                let _ = connection.next_event().expect("an event");
            }
        }
    }

    /// A call that is refused, for one of several reasons.
    fn misbehave(&mut self) {
        let mut connection = self.stack.connect();
        let (bytes, status) = match self.dice.roll(4) {
            0 => (
                post_bytes("nonsense", "/v1/chat/completions", &chat_body("x", false)),
                401,
            ),
            1 => (
                b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
                400,
            ),
            2 => (self.post("{\"model\": "), 400),
            _ => (Call::get("/nowhere").token(&self.token).bytes(), 403),
        };
        connection.send(&bytes).expect("the request is sent");
        assert_eq!(
            connection.read_response().expect("a refusal").status(),
            status
        );
    }

    /// A call whose model fails.
    fn suffer(&mut self) {
        let mut connection = self.connection();
        if self.dice.roll(2) == 0 {
            let close = if self.dice.roll(2) == 0 {
                "before"
            } else {
                "reset"
            };
            let bytes = self.post(&scripted(&json!({ "close": close }), true));
            connection.send(&bytes).expect("the request is sent");
            assert_eq!(connection.read_response().expect("an answer").status(), 502);
            self.kept = Some(connection);
            return;
        }
        let torn = json!({ "text": "a b c d e", "truncate": "event:2" });
        let bytes = self.post(&scripted(&torn, true));
        connection.send(&bytes).expect("the request is sent");
        assert_eq!(connection.read_head().expect("a head").status, 200);
        let rest = connection.read_rest();
        assert!(matches!(rest, Err(ClientError::Closed(_))), "{rest:?}");
    }
}

fn whole(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).expect("a JSON body");
    let text = &value["choices"][0]["message"]["content"];
    text.as_str().unwrap_or_default().to_owned()
}

fn streamed(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let mut text = String::new();
    for data in body.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let value: serde_json::Value =
            serde_json::from_str(&format!("{{{data}")).expect("a JSON event");
        let delta = &value["choices"][0]["delta"]["content"];
        text.push_str(delta.as_str().unwrap_or_default());
    }
    text
}

/// How many files and sockets the gateway has open.
fn descriptors(stack: &Stack) -> usize {
    let folder = format!("/proc/{}/fd", stack.gateway_pid());
    std::fs::read_dir(folder)
        .expect("the gateway's descriptors")
        .count()
}

#[test]
fn everybody_gets_his_own_answer_and_nothing_is_left_over() {
    let stack = Stack::start();
    let given = std::env::var("PENSTOCK_SEED").ok();
    let seed = given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()));
    println!("again with PENSTOCK_SEED={seed}");
    let served = AtomicU64::new(0);
    let descriptors_before = descriptors(&stack);
    std::thread::scope(|scope| {
        for number in 0..CALLERS {
            let mut caller = Caller {
                stack: &stack,
                token: stack
                    .issuer
                    .token(&format!("caller-{number}"), &["engineers"]),
                dice: Dice(seed << 8 | number),
                mark: format!("mark{}x", char::from(b'a' + number as u8)),
                kept: None,
                served: &served,
            };
            scope.spawn(move || {
                for _ in 0..CALLS {
                    match caller.dice.roll(10) {
                        0..5 => caller.behave(),
                        5..7 => caller.go_away(),
                        7..9 => caller.misbehave(),
                        _ => caller.suffer(),
                    }
                }
            });
        }
    });
    let soon = Duration::from_secs(20);
    assert!(
        stack.double.wait(soon, |counters| counters.generating == 0),
        "worked for nobody"
    );
    assert!(served.load(Ordering::Relaxed) > CALLERS);
    let counters = &stack.status()["counters"];
    assert_eq!(counters["panics"], 0, "{counters}");
    assert_eq!(counters["unrecorded"], 0, "{counters}");
    assert!(counters["abandoned"].as_u64() > Some(0), "{counters}");
    // Every call's record has its end, and the last one too.
    let last = stack.post(
        &stack.token(),
        "/v1/chat/completions",
        &chat_body("last", false),
    );
    stack.session_of(&last);
    assert!(stack.wait(|| {
        let sessions = stack.sessions();
        sessions.iter().all(|session| session.outcome.is_some())
    }));
    let completed = stack.sessions();
    let completed = completed
        .iter()
        .filter(|session| session.status == Some(200))
        .count();
    assert!(completed as u64 > served.load(Ordering::Relaxed));
    stack.assert_verified();
    // Once what was kept has rested, every descriptor has been given back.
    assert!(
        stack.wait(|| descriptors(&stack) <= descriptors_before),
        "descriptors are lost"
    );
    assert_eq!(stack.call(Call::chat(MODEL, "hello", false)).status(), 200);
}
