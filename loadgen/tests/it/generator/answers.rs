//! What is found in answers: tokens and their times, faults, texts.

use penstock_loadgen::double::Script;
use penstock_loadgen::run::check::Expected;
use penstock_loadgen::run::length::Lengths;

use super::*;
use crate::double;

#[test]
fn streams_are_timed_by_the_token() {
    let double = double();
    let prompt = "[[double: text=\"a b c d\" ttft_ms=60 inter_token_ms=20 stall=2:150]]";
    let mut options = streams(&double, prompt);
    options.arrivals = Arrivals::Rate(Pace::Constant, 100.0);
    options.connections = 16;
    options.objectives = vec![
        "ttft<5s".parse().unwrap(),
        "between_tokens<100ms".parse().unwrap(),
    ];
    let outcome = done(options);
    let counts = &outcome.counts;
    assert_eq!((counts.completed, counts.tokens), (10, 40), "{counts:?}");
    // a | 20 | b | 20 + 150 | c | 20 | d, after 60: waits are never shorter than they were told.
    let ttft = times(&outcome, Metric::Ttft, Basis::Sent);
    assert!(
        ttft.count == 10 && ttft.min_ns >= 60 * MS,
        "{}",
        ttft.min_ns
    );
    let between = times(&outcome, Metric::BetweenTokens, Basis::Sent);
    assert_eq!(between.count, 30, "three gaps a stream");
    assert!(between.max_ns >= 165 * MS && between.p50_ns < 120 * MS);
    let sum_ns = between.mean_ns * 30.0;
    let per_token = times(&outcome, Metric::PerOutputToken, Basis::Sent);
    assert_eq!(per_token.count, 10);
    // (last - first) / (n - 1) is the mean of the gaps, stream by stream: 210 / 3
    let spans_ns = per_token.mean_ns * 10.0 * 3.0;
    assert!(
        (sum_ns / spans_ns - 1.0).abs() < 0.02,
        "{sum_ns} {spans_ns}"
    );
    assert!(per_token.min_ns >= 68 * MS, "{}", per_token.min_ns);
    let end = times(&outcome, Metric::EndToEnd, Basis::Sent);
    assert!(end.min_ns >= 265 * MS && end.min_ns >= ttft.min_ns + 200 * MS);
    let goodput = outcome.goodput.unwrap();
    assert_eq!(goodput.met, 0, "each stream has a gap that is too long");
}

#[test]
fn the_first_token_is_the_first_text_that_is_not_empty() {
    let double = double();
    // The head and a first event with an empty text come at once, the text 80 ms later.
    let outcome = done(streams(&double, "[[double: text=\"late\" ttft_ms=80]]"));
    let first_byte = times(&outcome, Metric::FirstByte, Basis::Sent);
    let ttft = times(&outcome, Metric::Ttft, Basis::Sent);
    assert!(ttft.min_ns >= 80 * MS && first_byte.p50_ns < ttft.p50_ns);
    assert_eq!(outcome.counts.tokens, 10);
}

#[test]
fn every_api_is_understood_streamed_and_whole() {
    let double = double();
    for api in Api::ALL {
        for stream in [false, true] {
            if stream && api == Api::Embeddings {
                continue;
            }
            let mut options = streams(&double, "[[double: text=\"a b c\" usage=true]]");
            options.workload.api = api;
            options.workload.stream = stream;
            options.workload.output = Some(Lengths::fixed(20));
            let outcome = done(options);
            let counts = &outcome.counts;
            assert_eq!(
                (counts.completed, counts.errors.len()),
                (10, 0),
                "{api:?} {counts:?}"
            );
            let tokens = if api == Api::Embeddings { 10 } else { 30 };
            assert_eq!(counts.tokens, tokens, "{api:?} {stream}");
            let path = format!("POST {}", api.path());
            assert!(double.counters().paths[&path] >= 10);
        }
    }
}

#[test]
fn habits_of_transformers_serve_are_no_faults() {
    let double = double();
    for api in [Api::Chat, Api::Completions, Api::Responses] {
        let mut options = streams(&double, "[[double: profile=transformers text=\"a b\"]]");
        options.workload.api = api;
        let counts = done(options).counts;
        assert_eq!(
            (counts.completed, counts.tokens),
            (10, 20),
            "{api:?} {counts:?}"
        );
    }
}

#[test]
fn faults_are_counted_by_class() {
    let double = double();
    let cases = [
        ("[[double: status=503]]", false, "status_503"),
        ("[[double: status=429]]", true, "status_429"),
        ("[[double: close=before]]", false, "closed"),
        ("[[double: close=reset]]", false, "reset"),
        ("[[double: truncate=after:1]]", true, "truncated"),
        ("[[double: truncate=clean:1]]", true, "truncated"),
        ("[[double: truncate=event:1]]", true, "truncated"),
        ("[[double: truncate=chunk:1]]", true, "truncated"),
        ("[[double: truncate=after:9]]", false, "truncated"),
        ("[[double: invalid_json]]", false, "malformed"),
        ("[[double: invalid_json]]", true, "malformed"),
        (
            "[[double: {\"events\":[\"data: {\\\"error\\\":{}}\\n\\n\"]}]]",
            true,
            "error_event",
        ),
        (
            "[[double: {\"raw\":\"nonsense\\r\\n\\r\\n\"}]]",
            false,
            "malformed",
        ),
    ];
    for (prompt, stream, class) in cases {
        let mut options = streams(&double, prompt);
        options.workload.stream = stream;
        let counts = done(options).counts;
        assert_eq!(counts.errors.get(class), Some(&10), "{prompt}: {counts:?}");
        assert_eq!((counts.completed, counts.error_rate), (0, 1.0));
        assert_eq!(counts.truncated, if class == "truncated" { 10 } else { 0 });
    }
    let mut slow = options(&double, "[[double: ttft_ms=20000]]");
    slow.requests_max = 5;
    slow.timeout = Duration::from_millis(100);
    assert_eq!(done(slow).counts.errors["timeout"], 5);
}

#[test]
fn an_altered_text_is_told_by_its_hash() {
    let double = double();
    let altered = |prompt: &str, expected: Expected| {
        let mut options = streams(&double, prompt);
        options.checks.expected = expected;
        let counts = done(options).counts;
        assert_eq!(counts.completed, 10, "{prompt}: {counts:?}");
        counts.altered
    };
    let text = "text=\"Wälder \\\"und\\\" Berge\" split=bytes:2";
    assert_eq!(
        altered(&format!("[[double: {text} digest]]"), Expected::Stated),
        0
    );
    assert_eq!(
        altered(&format!("[[double: {text}]]"), Expected::Stated),
        10
    );
    let hash = *blake3::hash("Wälder \"und\" Berge".as_bytes()).as_bytes();
    assert_eq!(
        altered(&format!("[[double: {text}]]"), Expected::Hash(hash)),
        0
    );
    assert_eq!(
        altered("[[double: text=\"something else\"]]", Expected::Hash(hash)),
        10
    );
    // The script says one text in its head and another one in its events.
    let digest = blake3::hash(b"a b");
    let other =
        format!("[[double: {{\"text\":\"a c\",\"headers\":{{\"x-text-blake3\":\"{digest}\"}}}}]]");
    assert_eq!(altered(&other, Expected::Stated), 10);
}

#[test]
fn planted_secrets_are_followed_into_the_answer() {
    let double = double();
    let planted = |model: &str, prompt: &str| {
        let mut options = streams(&double, prompt);
        options.workload.model = model.into();
        options.workload.secrets_share = 1.0;
        done(options).counts
    };
    let echoed = planted("echo", "please repeat what I say");
    assert_eq!(
        (echoed.planted, echoed.leaked, echoed.masked_spans),
        (10, 10, 0),
        "{echoed:?}"
    );
    let script = "[[rule]]\nmodel = 'masked'\n\
                  answer.text = 'it is [masked:aws-access-key-id], <customer:6e1b7515>'";
    double.script(Script::parse(script).unwrap());
    let masked = planted("masked", "please repeat what I say");
    assert_eq!(
        (masked.planted, masked.leaked, masked.masked_spans),
        (10, 0, 20),
        "{masked:?}"
    );
    let secrets = Secrets::documented(1);
    assert!(double.requests().iter().all(|request| {
        let body = String::from_utf8_lossy(&request.body);
        secrets
            .values()
            .iter()
            .any(|value| body.contains(value.as_str()))
    }));
}
