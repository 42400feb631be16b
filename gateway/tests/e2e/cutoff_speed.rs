//! How soon a revocation takes effect: two hundred persons with a running stream each, revoked one
//! after the other while other streams keep the cores busy.
//!
//! What is asserted is that each is cut, in order, everywhere, and that nobody else is; the times
//! are printed (`--no-capture`), since a shared machine cannot promise any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use penstock_loadgen::client::{Call, Connection};
use serde_json::{Value, json};

use crate::stack::Stack;
use crate::witness::{PATIENCE, scripted_chat};

/// Persons who are revoked.
const REVOKED: usize = 200;
/// Streams of others, each of some fifty events a second.
const OTHERS: usize = 40;
/// A bound on what hangs, not on what is slow.
const HANG: Duration = Duration::from_secs(20);

fn start(stack: &Stack, who: &str, inter_token_ms: u64) -> Connection {
    let answer = json!({"text": "word ".repeat(6000), "inter_token_ms": inter_token_ms});
    let mut connection = stack.connect();
    connection.timeout(PATIENCE).expect("a timeout");
    Call::post("/v1/chat/completions", &scripted_chat(&answer, true))
        .token(&stack.issuer.token(who, &["engineers"]))
        .over(&mut connection)
        .expect("the request is sent");
    assert_eq!(connection.read_head().expect("a head").status, 200);
    connection
        .next_event()
        .expect("an event")
        .expect("not the end");
    connection
}

/// `p50 0.61 ms, p99 1.90 ms, max 2.31 ms`
fn distribution(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).ceil() as usize];
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (p50, p99, max) = (ms(at(0.5)), ms(at(0.99)), ms(at(1.0)));
    format!("p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms")
}

#[test]
fn two_hundred_revocations_under_load() {
    let stack = Arc::new(Stack::unrecorded());
    let (stop, events) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let others: Vec<_> = (0..OTHERS)
        .map(|index| {
            let mut connection = start(&stack, &format!("other-{index}"), 20);
            let (stop, events) = (stop.clone(), events.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let event = connection.next_event().expect("goes on").expect("no end");
                    let value = event.json().unwrap_or_default();
                    assert!(value["error"].is_null(), "{value}");
                    events.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut victims: Vec<Connection> = (0..REVOKED)
        .map(|index| start(&stack, &format!("victim-{index}"), 250))
        .collect();

    let mut control = Connection::unix(&stack.path("control.sock")).expect("the control socket");
    let (mut in_force, mut seen) = (Vec::new(), Vec::new());
    let before = (events.load(Ordering::Relaxed), Instant::now());
    for (index, victim) in victims.iter_mut().enumerate() {
        let body = json!({"who": {"subject": format!("victim-{index}")}, "reason": "measured"});
        let since = Instant::now();
        Call::post("/revocations", &body)
            .over(&mut control)
            .expect("the request is sent");
        let last = last_event(victim);
        seen.push(since.elapsed());
        assert_eq!(last["error"]["code"], "revoked", "{last}");
        let made = control.read_response().expect("an answer");
        assert_eq!(made.status(), 201, "{}", made.text());
        let effect = &made.json()["effect"];
        assert_eq!(
            (&effect["ended"], &effect["everywhere"]),
            (&json!(1), &json!(true))
        );
        in_force.push(Duration::from_micros(effect["took_us"].as_u64().unwrap()));
    }
    let rate =
        (events.load(Ordering::Relaxed) - before.0) as f64 / before.1.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for other in others {
        other.join().expect("nobody else is cut");
    }
    let cancelled = |count: u64| count == REVOKED as u64;
    let freed = stack
        .double
        .wait(HANG, |counters| cancelled(counters.cancelled.min(200)));
    assert!(freed, "the engine works on");
    assert!(in_force.iter().chain(&seen).all(|time| *time < HANG));
    println!("{REVOKED} revocations under {OTHERS} other streams, {rate:.0} events/s to them");
    println!("in force on every core: {}", distribution(&mut in_force));
    println!("the client has the end: {}", distribution(&mut seen));
}

/// The last event of a stream that ends in order.
fn last_event(connection: &mut Connection) -> Value {
    let mut last = None;
    while let Some(event) = connection.next_event().expect("the stream ends in order") {
        last = Some(event);
    }
    last.and_then(|event| event.json()).unwrap_or_default()
}
