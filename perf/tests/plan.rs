//! `plan` as a user runs it, on outcomes of a queue that is simulated here; seeded, so it says the
//! same every time.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use penstock_loadgen::outcome::{
    Asked, End, Ended, Fault, Lateness, Loop, Outcome, Recorder, Times,
};
use penstock_perf::dice::Dice;

/// Mean service of one server: 500 requests a second each.
const SERVICE_S: f64 = 0.002;

const REQUESTS: usize = 10_000;

fn exponential(dice: &mut Dice, mean: f64) -> f64 {
    let uniform = ((dice.roll() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -mean * uniform.ln()
}

/// What a load generator would have found before so many servers at such a rate.
fn outcome(servers: usize, rate: f64, kind: Loop) -> Outcome {
    let mut dice = Dice::new(rate as u64);
    let mut free_at = vec![0.0_f64; servers];
    let mut now = 0.0;
    let mut exchanges: Vec<(u64, u64)> = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        now += exponential(&mut dice, 1.0 / rate);
        let first = (0..servers).min_by(|&a, &b| free_at[a].total_cmp(&free_at[b]));
        let server = first.expect("there is one");
        free_at[server] = now.max(free_at[server]) + exponential(&mut dice, SERVICE_S);
        exchanges.push(((now * 1e9) as u64, (free_at[server] * 1e9) as u64));
    }
    let planned = Duration::from_secs_f64(now);
    let mut recorder = Recorder::new(kind, planned, Vec::new()).expect("a recorder");
    for &(at, _) in &exchanges {
        if kind == Loop::Open {
            recorder.intended(at);
        }
        recorder.started(at);
    }
    exchanges.sort_by_key(|(_, ended)| *ended);
    for &(at, ended_ns) in &exchanges {
        recorder.ended(&Ended {
            intended_ns: at,
            started_ns: at,
            first_byte_ns: Some(ended_ns),
            first_token_ns: Some(ended_ns),
            last_token_ns: Some(ended_ns),
            ended_ns,
            gap_max_ns: None,
            tokens: 20,
            bytes: 100,
            masked_spans: 0,
            planted: false,
            leaked: false,
            altered: false,
            end: End::Good,
        });
    }
    let over = exchanges.last().expect("some").1;
    let verdict = Lateness::judge(&Times::new(), 1_000_000, 0.01);
    recorder.finish(
        asked(rate, now, kind),
        "2026-11-21T00:00:00Z".into(),
        over,
        verdict,
    )
}

fn asked(rate: f64, duration_s: f64, kind: Loop) -> Asked {
    Asked {
        command: Vec::new(),
        target: "simulated".into(),
        api: "chat".into(),
        model: "none".into(),
        stream: true,
        kind,
        arrivals: "poisson".into(),
        rate_per_s: (kind == Loop::Open).then_some(rate),
        duration_s,
        seed: 1,
        connections: 1000,
        http: "HTTP/1.1".into(),
        tls: false,
        keep_alive: true,
        timeout_s: 60.0,
        workload: "none".into(),
        notes: Vec::new(),
    }
}

/// Outcomes before two servers, at these rates, as files.
fn files(folder: &Path, rates: &[f64]) -> Vec<PathBuf> {
    rates
        .iter()
        .map(|&rate| {
            let path = folder.join(format!("rate-{rate}.json"));
            let text = outcome(2, rate, Loop::Open).to_json().expect("JSON");
            std::fs::write(&path, text).expect("the folder is new");
            path
        })
        .collect()
}

fn plan(folder: &Path, files: &[PathBuf], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-perf"))
        .args(["plan", "--cores=2", "--objective=end_to_end.p99<20ms"])
        .args(arguments)
        .arg("--output")
        .arg(folder.join("pictures"))
        .args(files)
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn cores_are_named_with_pictures_and_the_error_on_runs_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = files(folder.path(), &[100.0, 300.0, 500.0, 650.0, 800.0]);
    let output = plan(folder.path(), &files, &["--rate=700", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let value = |figure: &str| {
        let lines = text(&output.stdout);
        let all = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let found = all.into_iter().find(|line| line["figure"] == figure);
        found.unwrap_or_else(|| panic!("no {figure}: {lines}"))["median"]
            .as_f64()
            .expect("a number")
    };
    assert_eq!(value("cores_needed"), 2.0);
    // M/M/2 at 0.7: the 99th percentile is 16.5 ms, and 1000 a second are all that there is.
    assert!(
        (value("latency_ms") / 16.5 - 1.0).abs() < 0.2,
        "{}",
        value("latency_ms")
    );
    assert!(
        (value("rate_full") / 1000.0 - 1.0).abs() < 0.1,
        "{}",
        value("rate_full")
    );
    assert!(value("held_out_error_median_percent") < 20.0);
    for picture in ["latency.svg", "throughput.svg"] {
        let svg = std::fs::read_to_string(folder.path().join("pictures").join(picture));
        assert!(svg.expect(picture).contains("<svg"), "{picture}");
    }

    // As tokens: twenty a request.
    let output = plan(folder.path(), &files, &["--tokens=14000"]);
    let told = text(&output.stdout);
    assert!(told.contains("700 requests a second"), "{told}");
    assert!(
        told.contains("error") && told.contains("in the middle"),
        "{told}"
    );
}

#[test]
fn what_the_runs_do_not_support_is_refused_with_a_code_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = files(folder.path(), &[100.0, 300.0, 500.0, 650.0, 800.0]);
    let refused = |files: &[PathBuf], arguments: &[&str], why: &str| {
        let output = plan(folder.path(), files, arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{errors}");
        assert!(
            errors.contains("no answer: ") && errors.contains(why),
            "{errors}"
        );
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    };
    refused(&all[..3], &["--rate=700"], "3 different loads");
    refused(&all, &["--rate=2000"], "--assume-linear");
    let wrong = plan(folder.path(), &all, &[]);
    assert_eq!(
        wrong.status.code(),
        Some(2),
        "no rate: {}",
        text(&wrong.stderr)
    );

    // A closed loop, and a run whose requests failed, are left out and named.
    let closed = folder.path().join("closed.json");
    std::fs::write(
        &closed,
        outcome(2, 400.0, Loop::Closed).to_json().expect("JSON"),
    )
    .expect("writable");
    let mut failed = outcome(2, 400.0, Loop::Open);
    failed.counts.error_rate = 0.2;
    failed
        .counts
        .errors
        .insert(Fault::Timeout.to_string(), 6000);
    let faulty = folder.path().join("faulty.json");
    std::fs::write(&faulty, failed.to_json().expect("JSON")).expect("writable");
    let mut more = all.clone();
    more.extend([closed, faulty]);
    let output = plan(folder.path(), &more, &["--rate=700"]);
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(
        errors.contains("closed is left out: a closed loop"),
        "{errors}"
    );
    assert!(
        errors.contains("faulty is left out: 20.0 % of its requests failed"),
        "{errors}"
    );
}
