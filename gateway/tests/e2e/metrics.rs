//! What a gateway tells of its calls: to a scraper, and to HdrHistogram's tools.

use std::net::{SocketAddr, TcpListener};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use penstock_loadgen::client::{Call, Connection};

use crate::control::{control, verb, verb_ok};
use crate::stack::{MODEL, Stack};

const POLICY: &str = r#"
[[grant]]
groups = ["engineers"]
models = ["*"]
operations = ["infer"]

[[guard]]
name = "customers stay here"
direction = "request"
packs = ["customer"]
action = "block"
"#;

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

/// The value of one line of a scrape; zero for one that is absent.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |rest| rest.trim().parse().expect("a number"))
}

#[test]
fn a_scraper_sees_calls_verdicts_and_times_of_all_cores() {
    let metrics = free_port();
    let stack = Stack::with(|setup| {
        setup.policy = POLICY.to_owned();
        setup.control = format!("metrics = \"{metrics}\"");
    });
    for _ in 0..3 {
        assert_eq!(stack.chat("hello").status(), 200);
    }
    assert_eq!(stack.chat("for CUST-12345678 please").status(), 403);
    let mut scraper = Connection::tcp(metrics).expect("the metrics' port");
    Call::get("/metrics").over(&mut scraper).unwrap();
    let scraped = scraper.read_response().unwrap();
    let media = scraped.head.field("content-type").unwrap_or_default();
    assert!(
        media.starts_with("application/openmetrics-text; version=1.0.0"),
        "{media}"
    );
    let text = scraped.text();
    let route = "route=\"/v1/chat/completions\"";
    for (series, expected) in [
        (
            format!(
                "penstock_calls_total{{{route},model=\"{MODEL}\",outcome=\"completed\",code=\"\"}}"
            ),
            3.0,
        ),
        (
            "penstock_phase_seconds_count{phase=\"total\"}".to_owned(),
            3.0,
        ),
        (
            "penstock_phase_seconds_bucket{le=\"+Inf\",phase=\"inspect\"}".to_owned(),
            4.0,
        ),
        ("penstock_requests_total".to_owned(), 4.0),
        ("penstock_blocked_total".to_owned(), 1.0),
        ("penstock_recorder_connected".to_owned(), 1.0),
        ("penstock_cores_late".to_owned(), 0.0),
    ] {
        assert_eq!(value(&text, &series), expected, "{series}\n{text}");
    }
    let blocked = text
        .lines()
        .find(|line| line.contains("outcome=\"blocked\""));
    let blocked = blocked.expect("a blocked call");
    assert!(
        blocked.contains("model=\"\"") && blocked.ends_with(" 1"),
        "{blocked}"
    );
    let verdict = text
        .lines()
        .find(|line| line.starts_with("penstock_verdicts_total{"));
    let verdict = verdict.expect("a verdict");
    assert!(
        verdict.contains("guard=\"customers stay here\""),
        "{verdict}"
    );
    assert!(!text.contains("12345678"), "no value of a caller's");
    // Nothing but metrics is on that port.
    Call::get("/status").over(&mut scraper).unwrap();
    assert_eq!(scraper.read_response().unwrap().status(), 404);
    // The socket tells the same.
    let again = control(&stack, &Call::get("/metrics"));
    assert_eq!(value(&again.text(), "penstock_requests_total"), 4.0);
}

#[test]
fn whole_distributions_come_as_a_table_and_as_a_log() {
    let stack = Stack::start();
    for _ in 0..5 {
        assert_eq!(stack.chat("hello").status(), 200);
    }
    let file = stack.path("times.hlog");
    let table = verb_ok(
        &stack,
        &["histograms", "--hlog", &file.display().to_string()],
    );
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0][..3], ["phase", "calls", "p50"]);
    assert_eq!(rows[1][..2], ["inspect", "5"]);
    assert_eq!(rows[6][..2], ["total", "5"]);
    let log = std::fs::read(&file).unwrap();
    let mut tags = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        if let Ok(LogEntry::Interval(interval)) = entry {
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            )
            .unwrap();
            let times: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            tags.push((interval.tag().unwrap().as_str().to_owned(), times.len()));
        }
    }
    let tags: Vec<_> = tags
        .iter()
        .map(|(tag, count)| (tag.as_str(), *count))
        .collect();
    assert_eq!(
        tags,
        [
            ("inspect", 5),
            ("forward", 5),
            ("first_byte", 5),
            ("answer", 5),
            ("hold", 0),
            ("total", 5)
        ]
    );
}

#[test]
fn one_phase_is_written_by_percentile() {
    let stack = Stack::unrecorded();
    for _ in 0..5 {
        assert_eq!(stack.chat("hello").status(), 200);
    }
    let file = stack.path("total.hgrm");
    let path = file.display().to_string();
    verb_ok(&stack, &["histograms", "--hgrm", &path]);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(
        header,
        ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    );
    let last = lines.rfind(|line| !line.starts_with('#')).unwrap();
    let last: Vec<&str> = last.split_whitespace().collect();
    assert_eq!(last[1..], ["1.000000000000", "5"], "{text}");
    let max: f64 = last[0].parse().unwrap();
    assert!(max > 0.0 && max < 60_000.0, "milliseconds: {max}");
    assert!(text.contains("Total count    =            5]"), "{text}");
    let wrong = verb(&stack, &["histograms", "--hgrm", &path, "--phase", "lunch"]);
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        said.contains("no phase is called \"lunch\"; there are inspect, "),
        "{said}"
    );
}

#[test]
fn reloads_are_counted_and_the_last_word_is_told() {
    let stack = Stack::unrecorded();
    let scraped = || control(&stack, &Call::get("/metrics")).text();
    let first = value(&scraped(), "penstock_reload_last_good");
    assert!(first > 1e9, "the start counts");
    assert_eq!(value(&scraped(), "penstock_reload_failed"), 0.0);
    let policy = stack.path("policies/main.toml");
    let good = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, "[[nothing").unwrap();
    assert!(!verb(&stack, &["reload"]).status.success());
    assert_eq!(value(&scraped(), "penstock_reload_failed"), 1.0);
    assert!(value(&scraped(), "penstock_reloads_total{outcome=\"refused\"}") >= 1.0);
    // Put back as it was, and nobody says so: it is noticed.
    std::fs::write(&policy, &good).unwrap();
    let mended = || value(&scraped(), "penstock_reload_failed") == 0.0;
    assert!(stack.wait(mended), "{}", scraped());
    assert!(value(&scraped(), "penstock_reload_last_good") >= first);
    std::fs::write(&policy, format!("{good}# more\n")).unwrap();
    verb_ok(&stack, &["reload"]);
    let applied = "penstock_reloads_total{outcome=\"applied\"}";
    assert!(value(&scraped(), applied) >= 1.0, "{}", scraped());
}
