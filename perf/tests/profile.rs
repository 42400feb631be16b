//! `profile` as a user runs it, on the real gateway; nothing here depends on speed.

use std::path::PathBuf;
use std::process::Command;

/// Why this machine cannot sample a gateway, where it cannot.
fn obstacle() -> Option<String> {
    let this = PathBuf::from(env!("CARGO_BIN_EXE_penstock-perf"));
    if !this.with_file_name("penstock-gateway").is_file() {
        return Some("penstock-gateway is not built beside penstock-perf".into());
    }
    let sampled = Command::new("perf")
        .args([
            "record",
            "--quiet",
            "--event",
            "cpu-clock",
            "--output",
            "/dev/null",
            "true",
        ])
        .output();
    match sampled {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(format!("perf: {error}")),
    }
}

#[test]
fn a_profile_is_a_picture_and_shares_that_add_up() {
    if let Some(reason) = obstacle() {
        eprintln!("skipped: {reason}");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_penstock-perf"))
        .args([
            "profile",
            "--subject=off",
            "--scenario=small",
            "--seconds=1",
            "--json",
        ])
        .arg("--output")
        .arg(folder.path())
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let value = |line: &serde_json::Value| line["median"].as_f64().expect("a number");
    let of = |prefix: &str| -> Vec<&serde_json::Value> {
        let figure = |line: &&serde_json::Value| {
            let figure = line["figure"].as_str().expect("a name");
            figure.starts_with(prefix)
        };
        lines.iter().filter(figure).collect()
    };
    assert!(value(of("samples")[0]) > 0.0, "{errors}");
    let parts: f64 = of("share/part/").into_iter().map(value).sum();
    // Figures are rounded to three digits behind the point.
    assert!((parts - 100.0).abs() < 0.1, "{parts}");
    // Two receives and two sends a call: whatever else it does, it does these in the kernel.
    assert!(value(of("share/kernel")[0]) > 0.0, "{errors}");
    let network = of("share/part/kernel: network");
    assert!(network.iter().all(|line| line["subject"] == "penstock-off"));
    assert_eq!(network.len(), 1, "{lines:?}");

    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let [folded, picture] = &files[..] else {
        panic!("{files:?}");
    };
    let folded = std::fs::read_to_string(folded).expect("text");
    assert!(
        folded.contains("penstock_gateway::"),
        "no function of the gateway"
    );
    let picture = std::fs::read_to_string(picture).expect("text");
    assert!(picture.contains("<svg") && picture.contains("penstock-off under small"));
}
