//! A run that was made up, through the recorder.

use std::time::Duration;

use penstock_loadgen::outcome::{Asked, End, Ended, Fault, Lateness, Loop, Outcome, Recorder};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const MS: u64 = 1_000_000;
/// Requests of a made-up run: 50 a second for 20 seconds.
const REQUESTS: u64 = 1000;

/// A run that was made up: answers of a few milliseconds times `slow`, some of which fail; in open
/// loop the server stands still from 8 s to 9 s.
pub(crate) fn made_up(kind: Loop, slow: f64, seed: u64) -> Outcome {
    let mut dice = StdRng::seed_from_u64(seed);
    let objectives = vec![
        "ttft<50ms".parse().unwrap(),
        "end_to_end<500ms".parse().unwrap(),
    ];
    let mut recorder = Recorder::new(kind, Duration::from_secs(20), objectives).unwrap();
    for n in 0..REQUESTS {
        let intended = n * 20 * MS;
        let stands = kind == Loop::Open && (8_000 * MS..9_000 * MS).contains(&intended);
        let started = if stands {
            9_000 * MS + n * 10_000
        } else {
            intended + 20_000
        };
        if kind == Loop::Open {
            recorder.intended(intended);
            recorder.lag(dice.random_range(5_000..60_000));
        }
        recorder.started(started);
        if n % 50 == 0 {
            recorder.connected(started, dice.random_range(40_000..90_000));
        }
        let took = slow * 4e6 * dice.random_range(0.0..1.6f64).exp();
        let first = started + (took * 0.4) as u64;
        let over = started + took as u64;
        for _ in 0..3 {
            recorder.between_tokens(over, (took * 0.2 * dice.random_range(0.5..1.5)) as u64);
        }
        let failed = End::Failed(if n % 2 == 0 {
            Fault::Status(503)
        } else {
            Fault::Truncated
        });
        recorder.ended(&Ended {
            intended_ns: intended,
            started_ns: started,
            first_byte_ns: Some(first - 10_000),
            first_token_ns: Some(first),
            last_token_ns: Some(over),
            ended_ns: over,
            gap_max_ns: Some((took * 0.3) as u64),
            tokens: 4,
            bytes: 800,
            masked_spans: u64::from(n % 10 == 0),
            altered: false,
            planted: false,
            leaked: false,
            end: if n % 97 == 96 { failed } else { End::Good },
        });
    }
    let verdict = Lateness::judge(&recorder.lag_times(), MS, 0.001);
    recorder.finish(
        asked(kind, seed),
        "2026-03-01T12:00:00Z".into(),
        20_100 * MS,
        verdict,
    )
}

fn asked(kind: Loop, seed: u64) -> Asked {
    Asked {
        command: vec!["penstock-loadgen".into(), "run".into(), "--rate=50".into()],
        target: "http://127.0.0.1:8443/v1".into(),
        api: "chat".into(),
        model: "llama-3-8b".into(),
        stream: true,
        kind,
        arrivals: match kind {
            Loop::Open => "constant, 50/s".into(),
            Loop::Closed => "as fast as answers come".into(),
        },
        rate_per_s: (kind == Loop::Open).then_some(50.0),
        duration_s: 20.0,
        seed,
        connections: 64,
        http: "HTTP/1.1".into(),
        tls: false,
        keep_alive: true,
        timeout_s: 30.0,
        workload: "synthetic prompts, 128 tokens, answers of 4".into(),
        notes: Vec::new(),
    }
}
