//! `compare` as a user runs it, over real sockets and processes; nothing here depends on speed.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use penstock_perf::cpu::process_tree;

fn compare(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-perf"))
        .arg("compare")
        .args(arguments)
        .output()
        .expect("the program starts")
}

fn lines(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_direct_comparison_yields_every_figure_of_every_scenario() {
    let output = compare(&[
        "--scenario=small,stream1",
        "--subjects=direct",
        "--rounds=2",
        "--duration=100ms",
        "--json",
    ]);
    assert!(output.status.success(), "{}", errors(&output));
    let lines = lines(&output);
    for scenario in ["small", "stream1"] {
        for figure in [
            "cpu_us_per_unit",
            "units_per_core_second",
            "latency_p50_us",
            "latency_p99_us",
            "latency_p999_us",
            "rss_bytes",
        ] {
            let line = lines
                .iter()
                .find(|line| line["scenario"] == scenario && line["figure"] == figure)
                .unwrap_or_else(|| panic!("no {figure} of {scenario}"));
            assert_eq!(
                (&line["subject"], &line["rounds"]),
                (&"direct".into(), &2.into())
            );
            let value = |key: &str| line[key].as_f64().expect("a number");
            assert!(
                value("min") > 0.0 && value("min") <= value("median"),
                "{line}"
            );
            assert!(value("median") <= value("max"), "{line}");
        }
    }
}

#[test]
fn the_floor_carries_answers_and_streams() {
    let arguments = ["--scenario=small,stream1", "--subjects=floor", "--rounds=1"];
    let output = compare(&[&arguments[..], &["--duration=100ms", "--json"]].concat());
    if errors(&output).contains("making an io_uring") {
        eprintln!("skipped: no io_uring here");
        return;
    }
    assert!(output.status.success(), "{}", errors(&output));
    let costs = lines(&output)
        .iter()
        .filter(|line| line["subject"] == "floor" && line["figure"] == "cpu_us_per_unit")
        .count();
    assert_eq!(costs, 2);
}

/// Whether every subject of these scenarios was measured, by its CPU time or by `figure`.
fn measures(subject: &str, scenarios: &[&str], figure: &str) {
    let arguments = [
        format!("--scenario={}", scenarios.join(",")),
        format!("--subjects={subject}"),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let rest = ["--rounds=1", "--duration=150ms", "--json"];
    let output = compare(&[&arguments[..], &rest].concat());
    if errors(&output).contains("is left out: ") || errors(&output).contains("making an io_uring") {
        eprintln!("skipped: {}", errors(&output));
        return;
    }
    assert!(output.status.success(), "{}", errors(&output));
    let lines = lines(&output);
    for scenario in scenarios {
        let same = |line: &&serde_json::Value| line["scenario"] == *scenario;
        let line = lines
            .iter()
            .filter(same)
            .find(|line| line["figure"] == figure);
        assert!(
            line.is_some(),
            "{scenario}: no {figure}: {}",
            errors(&output)
        );
    }
}

#[test]
fn large_prompts_slow_clients_and_a_mix_are_carried_byte_by_byte() {
    let scenarios = ["prompt16k", "prompt256k", "slow", "mixed", "connect"];
    measures("floor", &scenarios, "cpu_us_per_unit");
    measures("direct", &scenarios, "cpu_us_per_unit");
}

#[test]
fn thousands_of_streams_are_carried() {
    measures("floor", &["stream100", "stream5000"], "cpu_us_per_unit");
}

#[test]
fn encrypted_connections_are_kept_resumed_and_made_anew() {
    measures("nginx", &["tls", "tls-full", "tls-kept"], "cpu_us_per_unit");
    measures("nginx", &["tls", "tls-full"], "resumed_percent");
}

#[test]
fn latency_at_half_load_is_over_that_of_nothing_in_between() {
    let arguments = [
        "--scenario=half-load",
        "--subjects=direct,floor",
        "--rounds=1",
    ];
    let output = compare(
        &[
            &arguments[..],
            &["--duration=300ms", "--rate=200", "--json"],
        ]
        .concat(),
    );
    if errors(&output).contains("making an io_uring") {
        eprintln!("skipped: no io_uring here");
        return;
    }
    assert!(output.status.success(), "{}", errors(&output));
    let lines = lines(&output);
    let figure = |subject: &str, name: &str| {
        let line = lines
            .iter()
            .find(|line| line["subject"] == subject && line["figure"] == name);
        line.and_then(|line| line["median"].as_f64())
    };
    assert_eq!(figure("floor", "offered_per_second"), Some(200.0));
    let (with, without) = (
        figure("floor", "latency_p50_us"),
        figure("direct", "latency_p50_us"),
    );
    let added = figure("floor", "added_latency_p50_us");
    assert_eq!(
        added,
        with.zip(without).map(|(with, without)| with - without)
    );
    assert_eq!(figure("direct", "added_latency_p50_us"), None);
}

#[test]
fn memory_is_told_by_connection_and_by_stream() {
    measures("floor", &["memory"], "bytes_per_idle_connection");
    measures("direct", &["memory"], "bytes_per_stream");
}

#[test]
fn what_a_subject_does_not_do_is_said_and_is_no_failure() {
    let output = compare(&["--scenario=tls", "--subjects=direct", "--rounds=1"]);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("knows no TLS"));
}

#[test]
fn results_are_written_with_the_machine_they_came_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = compare(&[
        "--scenario=small",
        "--subjects=direct",
        "--rounds=1",
        "--duration=100ms",
        "--write",
        folder.path().to_str().expect("UTF-8"),
    ]);
    assert!(output.status.success(), "{}", errors(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("| direct |"));
    let files: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .collect();
    let text = |kind: &str| {
        let file = files
            .iter()
            .find(|file| file.extension().is_some_and(|it| it == kind));
        std::fs::read_to_string(file.expect("a file")).expect("a text")
    };
    assert!(text("svg").contains("CPU time a request"));
    assert!(text("csv").starts_with("scenario,subject,figure,unit,median,min,max,rounds\nsmall,"));
    let record: serde_json::Value = serde_json::from_str(&text("json")).expect("JSON");
    assert!(record["machine"]["cores"].as_u64() > Some(0), "{record}");
    assert_eq!(record["figures"][0]["scenario"], "small");
}

#[test]
fn what_does_not_exist_is_a_usage_error_that_says_what_does() {
    for arguments in [["--scenario=tiny"], ["--subjects=apache"], ["--duration=3"]] {
        let output = compare(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    assert!(errors(&compare(&["--scenario=tiny"])).contains("stream100"));
}

#[test]
fn nothing_is_left_running_when_the_program_is_killed() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_penstock-perf"))
        .args([
            "compare",
            "--scenario=small",
            "--subjects=direct",
            "--duration=60s",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let deadline = Instant::now() + Duration::from_secs(10);
    let wait_for = |what: &str, done: &mut dyn FnMut() -> bool| {
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };

    // A child that has become the upstream has also asked for its signal.
    let mut children = Vec::new();
    let command_line =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    wait_for("no upstream was started", &mut || {
        children = process_tree(program.id()).split_off(1);
        children
            .iter()
            .any(|&child| command_line(child).contains("\0upstream\0--scenario"))
            && !children
                .iter()
                .any(|&child| command_line(child).contains("\0launch\0"))
    });
    program.kill().expect("it runs");
    program.wait().expect("it was started here");
    wait_for("a child outlived the program", &mut || {
        children.iter().all(|&child| command_line(child).is_empty())
    });
}
