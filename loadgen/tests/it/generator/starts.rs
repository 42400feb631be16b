//! When requests start, and whose time it is when they do not.

use std::thread;
use std::time::Instant;

use penstock_loadgen::double::DoubleOptions;
use penstock_loadgen::outcome::Loop;
use penstock_loadgen::run::arrivals::recorded;
use penstock_recorder::frame::{Frame, FrameBody, Open, RequestBody, SessionId};
use penstock_recorder::ring::RingId;
use penstock_recorder::segment::{Encoder, FileHeader, Kind, LogId, NewRecord, file_name};
use serde_json::json;

use super::*;
use crate::{SOON, double};

#[test]
fn an_open_loop_sends_what_was_asked_at_the_pace_asked() {
    let double = double();
    let start = Instant::now();
    let mut options = options(&double, "hi");
    options.workload.model = "bench-1k".into();
    let outcome = done(options);
    assert!(start.elapsed() >= Duration::from_millis(490));
    let counts = &outcome.counts;
    assert_eq!(
        (counts.intended, counts.started, counts.completed),
        (100, 100, 100),
        "{counts:?}"
    );
    assert_eq!(
        (counts.bytes, counts.tokens),
        (100 * 1024, 100 * 16),
        "usage says 16"
    );
    assert_eq!(double.counters().requests, 100);
    assert!(outcome.counts.errors.is_empty() && outcome.asked.kind == Loop::Open);
    assert!(
        !outcome.metrics.contains_key(&Metric::Ttft),
        "nothing was streamed"
    );
    let lag = outcome.lag.times.as_ref().unwrap();
    assert_eq!((lag.count, outcome.lag.verdict.late), (100, false));
    assert!(outcome.lag.busy_share > 0.0 && outcome.lag.busy_share < 1.0);
}

/// The proof that nothing is omitted: the server stands still for a second. Who only looks at what
/// was really sent sees as many slow answers as there are connections; users would have waited, each
/// from the moment at which they wanted to ask.
#[test]
fn a_pause_of_the_server_is_in_the_series_from_the_intended_start_only() {
    let double = double();
    let mut options = options(&double, "hi");
    options.workload.model = "bench-300".into();
    options.arrivals = Arrivals::Rate(Pace::Constant, 400.0);
    options.duration = Duration::from_secs(3);
    options.connections = 4;
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            assert!(double.wait(SOON, |counters| counters.requests >= 300));
            double.pause(Duration::from_secs(1));
        });
        done(options)
    });
    let intended = times(&outcome, Metric::EndToEnd, Basis::Intended);
    let sent = times(&outcome, Metric::EndToEnd, Basis::Sent);
    assert_eq!((outcome.counts.completed, intended.count), (1200, 1200));
    // A third of all requests came due in the pause: the last hundredth waited for nearly all of it.
    assert!(
        intended.p99_ns > 900 * MS,
        "intended p99 {}",
        intended.p99_ns
    );
    assert!(
        intended.p90_ns > 500 * MS,
        "intended p90 {}",
        intended.p90_ns
    );
    // Four of 1200 were under way when it began, and no more.
    assert!(
        sent.p99_ns < intended.p99_ns / 3,
        "sent p99 {}",
        sent.p99_ns
    );
    assert!(sent.max_ns > 800 * MS, "sent max {}", sent.max_ns);
    let late = outcome.lag.times.as_ref().unwrap();
    assert!(
        late.p99_ns < 500 * MS,
        "that was no lag of the generator: {}",
        late.p99_ns
    );
    assert!(!outcome.lag.verdict.late, "{}", outcome.lag.verdict.reason);
}

#[test]
fn a_target_that_is_slow_pays_for_every_request_that_waited() {
    let double = double();
    let mut options = options(&double, "[[double: ttft_ms=100]]");
    options.connections = 1;
    let outcome = done(options);
    // One connection manages less than ten of a hundred requests before the end and its grace:
    // the fifth was due after 20 ms and answered after 500.
    let counts = &outcome.counts;
    assert!((1..=9).contains(&counts.completed), "{counts:?}");
    assert_eq!(
        (counts.intended, counts.errors["not_sent"]),
        (100, 100 - counts.started)
    );
    let (intended, sent) = (
        times(&outcome, Metric::EndToEnd, Basis::Intended),
        times(&outcome, Metric::EndToEnd, Basis::Sent),
    );
    assert!(intended.max_ns > 300 * MS && sent.min_ns >= 100 * MS);
    assert!(counts.error_rate > 0.9 && !outcome.lag.verdict.late);
}

#[test]
fn a_generator_that_is_late_says_so() {
    let double = double();
    let mut options = options(&double, "hi");
    options.workload.model = "bench-300".into();
    options.lag_max = Duration::ZERO;
    let outcome = done(options);
    let verdict = &outcome.lag.verdict;
    assert!(
        verdict.late && verdict.late_share > verdict.late_share_max,
        "{}",
        verdict.reason
    );
    assert_eq!(outcome.counts.completed, 100, "it ran all the same");
}

#[test]
fn a_closed_loop_sends_as_fast_as_it_is_answered_and_is_called_one() {
    let double = Double::start(DoubleOptions::default()).unwrap();
    let mut options = streams(&double, "hi");
    options.workload.model = "bench-stream-8".into();
    options.arrivals = Arrivals::Closed;
    options.requests_max = 200;
    let outcome = done(options);
    assert_eq!(
        (outcome.asked.kind, outcome.asked.arrivals.as_str()),
        (Loop::Closed, "closed loop")
    );
    let counts = &outcome.counts;
    assert_eq!(
        (counts.intended, counts.completed, counts.tokens),
        (200, 200, 1600),
        "{counts:?}"
    );
    assert!(outcome.lag.times.is_none() && outcome.metrics[&Metric::EndToEnd].intended.is_none());
    assert!(counts.connections <= 8);
}

#[test]
fn a_closed_loop_ends_with_its_time() {
    let double = double();
    let mut options = options(&double, "[[double: ttft_ms=20]]");
    options.arrivals = Arrivals::Closed;
    options.duration = Duration::from_millis(200);
    let outcome = done(options);
    assert!(
        (8..=80).contains(&outcome.counts.completed),
        "{:?}",
        outcome.counts
    );
}

#[test]
fn a_trace_says_when() {
    let double = double();
    let mut options = options(&double, "hi");
    options.arrivals = given(&[0, 5, 5, 300, 900]);
    let outcome = done(options);
    assert_eq!(
        outcome.counts.completed, 4,
        "the last one is behind the end"
    );
    assert!(outcome.elapsed_s >= 0.3);
    let slots = &outcome.timeline.slots;
    assert_eq!((slots[0].intended, slots[3].intended), (3, 1));
}

#[test]
fn a_run_that_nobody_answers_ends() {
    let double = double();
    let address = double.address();
    drop(double);
    let outcome = done(options_for(&format!("http://{address}"), "hi"));
    assert_eq!(
        outcome.counts.errors["refused"], 100,
        "{:?}",
        outcome.counts
    );
    let mut unix = options_for("unix:/nowhere/at/all", "hi");
    unix.arrivals = Arrivals::Closed;
    unix.requests_max = 500;
    assert_eq!(done(unix).counts.errors["refused"], 500);
}

/// A log of one segment, as the recorder writes them.
fn log(frames: &[Frame]) -> tempfile::TempDir {
    let header = FileHeader {
        number: 1,
        created_unix_ns: 1,
        log: LogId([4; 16]),
        first_sequence: 0,
        previous_bytes: 0,
        previous_chain: [0; 32],
    };
    let mut bytes = Vec::new();
    let mut encoder = Encoder::begin(&header, &mut bytes);
    for frame in frames {
        let record = NewRecord {
            kind: Kind::Frame,
            by_recorder: false,
            ring: RingId([9; 16]),
            ring_position: 0,
            written_unix_ns: 5,
            body: &frame.encode(),
        };
        encoder.append(&record, &mut bytes);
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(file_name(1)), bytes).unwrap();
    folder
}

fn session(number: u8, at_ms: u64, path: &str, body: Option<&str>) -> Vec<Frame> {
    let frame = |index, body| Frame {
        session: SessionId([number; 16]),
        index,
        at_unix_ns: 1_700_000_000_000_000_000 + at_ms * MS,
        body,
    };
    let open = FrameBody::Open(Open {
        method: "POST".into(),
        path: path.into(),
        ..Open::default()
    });
    let pieces = body.into_iter().flat_map(|body| {
        let (first, second) = body.split_at(body.len() / 2);
        [(0, first, false), (first.len(), second, true)]
    });
    let pieces = pieces.map(|(offset, bytes, last)| {
        FrameBody::RequestBody(RequestBody {
            offset: offset as u64,
            last,
            media: "application/json".into(),
            bytes: bytes.into(),
        })
    });
    let bodies = std::iter::once(open).chain(pieces);
    bodies
        .enumerate()
        .map(|(index, body)| frame(index as u32, body))
        .collect()
}

#[test]
fn a_recorded_log_is_asked_again_at_its_times() {
    let chat = json!({ "model": "then", "messages": [{ "role": "user", "content": "hello" }] });
    let (chat, input) = (
        chat.to_string(),
        json!({ "model": "e", "input": "x" }).to_string(),
    );
    let folder = log(&[
        session(1, 0, "/v1/chat/completions", Some(&chat)),
        session(2, 100, "/v1/embeddings", Some(&input)),
        session(3, 150, "/v1/chat/completions", None), // refused: the model never saw it
        session(4, 400, "/v1/chat/completions", Some(&chat)),
    ]
    .concat());
    let calls = recorded::read(folder.path(), 2.0).unwrap();
    let starts: Vec<u64> = calls.calls.iter().map(|call| call.at_ns / MS).collect();
    assert_eq!((starts, calls.left_out), (vec![0, 50, 200], 1));
    let double = double();
    let mut options = options(&double, "not asked");
    options.arrivals = given(&[0, 50, 200]);
    options.workload.source =
        Source::Recorded(calls.calls.into(), Box::new(options.workload.source));
    assert_eq!(done(options).counts.completed, 3);
    let seen: Vec<_> = double
        .requests()
        .iter()
        .map(|request| {
            (
                request.target.clone(),
                String::from_utf8(request.body.clone()).unwrap(),
            )
        })
        .collect();
    assert_eq!(seen[0], ("/v1/chat/completions".into(), chat));
    assert_eq!(seen[1], ("/v1/embeddings".into(), input));
}
