//! The command line: ready files, output, exit codes.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use penstock_loadgen::client::Call;
use serde_json::Value;

use crate::SOON;

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-loadgen"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn start(arguments: &[&str], ready: &Path) -> (Running, String) {
    let child = command(arguments)
        .arg("--ready-file")
        .arg(ready)
        .stderr(Stdio::null())
        .spawn();
    let running = Running(child.unwrap());
    let end = Instant::now() + SOON;
    loop {
        match fs::read_to_string(ready) {
            Ok(text) => return (running, text.trim().to_owned()),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
        assert!(Instant::now() < end, "not ready in time");
        thread::sleep(Duration::from_millis(5));
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_double_is_driven_by_the_generator() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.toml");
    fs::write(
        &script,
        "[[rule]]\nmodel = 'bad'\nanswer = { status = 500 }\n",
    )
    .unwrap();
    let arguments = [
        "upstream",
        "--admin",
        "127.0.0.1:0",
        "--script",
        script.to_str().unwrap(),
        "--ttft",
        "1",
    ];
    let (_double, ready) = start(&arguments, &folder.path().join("ready"));
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let url = ready["url"].as_str().unwrap();
    let run = |more: &[&str]| {
        let base = [
            "run",
            "--url",
            url,
            "--rate",
            "100",
            "--duration",
            "200ms",
            "--json",
        ];
        output(&[base.as_slice(), more].concat())
    };
    let good = run(&[
        "--assert",
        "errors==0,p99<5s,ttft.p50<5s",
        "--stream",
        "--seed",
        "7",
        "--lag-max",
        "5s",
    ]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    let outcome: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(outcome["counts"]["completed"], 20);
    assert_eq!(outcome["asked"]["seed"], 7);
    assert!(text(&good.stderr).contains("seed 7"));
    let bad = run(&["--model", "bad", "--lag-max", "5s", "--assert", "errors==0"]);
    assert_eq!(bad.status.code(), Some(99), "{}", text(&bad.stderr));
    assert_eq!(
        run(&["--model", "bad", "--lag-max", "5s"]).status.code(),
        Some(1)
    );
    let late = run(&["--lag-max", "0s"]);
    assert_eq!(late.status.code(), Some(2));
    assert!(text(&late.stderr).contains("the generator was late"));
    for wrong in [
        &["--assert", "p99<5"][..],
        &["--arrivals", "sometimes"],
        &["--http", "2"],
        &["--rate", "0"],
        &["--secrets", "200%"],
        &["--body", "{\"stream\":true}"],
        &["--arrivals", "ramp:1-2"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(64), "{wrong:?}");
    }
    let remote = output(&["run", "--url", "http://192.0.2.1:1"]);
    assert_eq!(remote.status.code(), Some(64));
    let admin = ready["admin"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap();
    let counters = Call::get("/__double/counters")
        .to(admin.parse().unwrap())
        .unwrap()
        .json();
    assert_eq!(counters["requests"], 80);
}

#[test]
fn tokens_are_minted_by_asking_and_by_signing() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let keys = keys.to_str().unwrap();
    let arguments = [
        "token",
        "serve",
        "--keys",
        keys,
        "--algorithms",
        "ES256,EdDSA",
    ];
    let (_issuer, url) = start(&arguments, &folder.path().join("ready"));
    let base = [
        "token", "mint", "--issuer", &url, "--sub", "alice", "--groups", "a,b",
    ];
    let asked = output(&[&base[..], &["--claim", "n={\"x\":1}", "--ttl=-5m"]].concat());
    let signed = output(&[&base[..], &["--keys", keys, "--alg", "EdDSA"]].concat());
    for answer in [&asked, &signed] {
        assert_eq!(answer.status.code(), Some(0), "{}", text(&answer.stderr));
        let token = text(&answer.stdout).strip_suffix('\n').unwrap();
        assert_eq!(token.split('.').count(), 3);
        assert!(!token.contains(char::is_whitespace));
    }
    let unknown = output(&[&base[..], &["--kid", "nobody"]].concat());
    assert_eq!(unknown.status.code(), Some(1));
    assert_eq!(output(&["token", "mint"]).status.code(), Some(2));
    assert_eq!(
        output(&["token", "serve", "--listen", "0.0.0.0:0"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn a_wrong_script_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.toml");
    fs::write(&script, "[[rule]]\nmodell = 'x'\n").unwrap();
    let output = output(&["upstream", "--script", script.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("modell"),
        "{}",
        text(&output.stderr)
    );
}
