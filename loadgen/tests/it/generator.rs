//! The load generator against the double.

use std::time::{Duration, Instant};

use penstock_loadgen::double::{Double, DoubleOptions};
use penstock_loadgen::run::{Api, Assertion, Options, Report, Target, run};

use crate::double;

fn options(double: &Double, model: &str, prompt: &str, stream: bool) -> Options {
    let url = format!("http://{}", double.address());
    Options {
        target: Target::new(&url, Api::Chat, model, prompt, stream, None, false).unwrap(),
        rate: Some(200.0),
        duration: Duration::from_millis(500),
        connections: 8,
        timeout: Duration::from_secs(5),
    }
}

fn holds(report: &Report, assertion: &str) -> bool {
    assertion.parse::<Assertion>().unwrap().check(report).holds
}

#[test]
fn an_open_loop_sends_what_was_asked_at_the_pace_asked() {
    let double = double();
    let start = Instant::now();
    let report = run(options(&double, "bench-1k", "hi", false)).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(490));
    assert_eq!((report.asked, report.ok), (100, 100), "{report}");
    assert_eq!(report.bytes, 100 * 1024);
    assert_eq!(double.counters().requests, 100);
    assert!(holds(&report, "errors==0") && holds(&report, "p99<1s") && holds(&report, "rate>50"));
    assert!(!holds(&report, "p50<1us"));
    assert!(
        !holds(&report, "ttft_p50<1s"),
        "nothing was streamed, so nothing holds"
    );
}

#[test]
fn a_target_that_stalls_pays_for_every_request_that_waited() {
    let double = double();
    let mut options = options(&double, "m", "[[double: ttft_ms=100]]", false);
    options.connections = 1;
    let report = run(options).unwrap();
    // One connection manages less than ten of a hundred requests before the end and its grace:
    // the fifth was due after 20 ms and answered after 500.
    assert!((1..=9).contains(&report.ok), "{report}");
    assert_eq!(report.asked, 100);
    assert!(report.not_sent >= 91, "{report}");
    assert!(report.latency_us.max > 300_000, "{report}");
    assert!(report.start_delay_us.max > 200_000, "{report}");
    assert!(!holds(&report, "error_rate<50%"));
}

#[test]
fn streams_are_timed_by_the_token() {
    let double = double();
    let prompt = "[[double: text=\"a b c d\" ttft_ms=30 inter_token_ms=10]]";
    let mut options = options(&double, "m", prompt, true);
    options.rate = Some(20.0);
    let report = run(options).unwrap();
    assert_eq!((report.ok, report.tokens), (10, 40), "{report}");
    assert!(report.ttft_us.p50 >= 30_000, "{report}");
    assert!(
        (9_000..100_000).contains(&report.inter_token_us.p50),
        "{report}"
    );
}

#[test]
fn errors_are_counted_by_kind() {
    let double = double();
    let cases = [
        ("[[double: status=503]]", false, "503"),
        ("[[double: close=before]]", false, "closed"),
        ("[[double: truncate=after:1]]", true, "closed"),
        (
            "[[double: {\"events\":[\"data: {\\\"error\\\":{}}\\n\\n\"]}]]",
            true,
            "error event",
        ),
        (
            "[[double: {\"raw\":\"nonsense\\r\\n\\r\\n\"}]]",
            false,
            "malformed",
        ),
    ];
    for (prompt, stream, name) in cases {
        let mut options = options(&double, "m", prompt, stream);
        options.duration = Duration::from_millis(50);
        let report = run(options).unwrap();
        assert_eq!(
            (report.ok, report.errors.get(name)),
            (0, Some(&10)),
            "{prompt} {report}"
        );
        assert!(holds(&report, "error_rate==100%"));
    }
}

#[test]
fn a_closed_loop_sends_as_fast_as_it_is_answered() {
    let double = Double::start(DoubleOptions {
        threads: 1,
        ..DoubleOptions::default()
    })
    .unwrap();
    let mut options = options(&double, "bench-stream-8", "hi", true);
    options.rate = None;
    options.duration = Duration::from_millis(200);
    let report = run(options).unwrap();
    assert_eq!(report.mode, "closed");
    assert!(report.ok > 20, "{report}");
    assert_eq!(report.tokens, report.ok * 8);
    assert_eq!(report.not_sent, 0);
}

#[test]
fn a_kept_connection_that_died_is_no_error() {
    let double = double();
    let mut options = options(&double, "m", "[[double: close=silently]]", false);
    options.duration = Duration::from_millis(100);
    options.connections = 1;
    let report = run(options).unwrap();
    assert_eq!((report.ok, report.asked), (20, 20), "{report}");
    assert_eq!(double.counters().connections, 20);
}
