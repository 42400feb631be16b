//! `overload` as a user runs it; nothing here depends on speed.

use std::process::{Command, Output};

fn overload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-perf"))
        .arg("overload")
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn every_request_of_every_load_is_accounted_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = overload(&[
        "--subjects=direct",
        "--loads=0.1,1.5",
        "--duration=200ms",
        "--patience=300ms",
        "--clients=200",
        "--json",
        "--write",
        folder.path().to_str().expect("UTF-8"),
    ]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for load in ["overload-0.10", "overload-1.50"] {
        let figure = |name: &str| {
            let line = lines
                .iter()
                .find(|line| line["scenario"] == load && line["figure"] == name);
            line.and_then(|line| line["median"].as_f64()).expect(name)
        };
        let shares = ["answered", "refused", "failed", "given_up"];
        let sum: f64 = shares.iter().map(|it| figure(&format!("{it}_share"))).sum();
        assert!((sum - 1.0).abs() < 0.005, "{load}: {sum}");
        assert!(figure("failed_share") < 0.01, "{text}");
    }
    let kinds: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .filter_map(|file| Some(file.ok()?.path().extension()?.to_str()?.to_owned()))
        .collect();
    assert!(
        kinds.contains(&"json".into()) && kinds.contains(&"csv".into()),
        "{kinds:?}"
    );
}

#[test]
fn what_cannot_be_offered_is_refused_with_the_reason() {
    for wrong in ["--loads=0", "--loads=11", "--clients=0", "--scenario=tiny"] {
        assert_eq!(overload(&[wrong]).status.code(), Some(2), "{wrong}");
    }
    let output = overload(&["--scenario=connect", "--subjects=direct"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be offered at a rate"));
}
