//! The program itself: how it starts, what it says of its configuration, what it tells while it
//! runs, and how it ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use penstock_loadgen::client::{Call, Connection};
use penstock_recorder::frame::Outcome;
use serde_json::{Value, json};

use crate::stack::{Stack, chat_body, post_bytes, scripted, wait};
use crate::witness::close_of;

/// Runs the gateway's program to its end.
fn gateway(arguments: &[&str], config: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .output()
        .expect("the gateway's program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A GET to the control socket.
fn control(stack: &Stack, path: &str) -> (u16, Value) {
    let mut connection = Connection::unix(&stack.path("control.sock")).expect("the control socket");
    Call::get(path)
        .over(&mut connection)
        .expect("the request is sent");
    let answer = connection.read_response().expect("an answer");
    (answer.status(), answer.json())
}

#[test]
fn sigterm_lets_running_calls_end() {
    let mut stack = Stack::start();
    let token = stack.token();
    let mut idle = stack.connect();
    idle.send(&Call::get("/v1/models").token(&token).bytes())
        .unwrap();
    assert_eq!(idle.read_response().unwrap().status(), 200);
    let words = "word ".repeat(20);
    let body = scripted(&json!({ "text": words, "inter_token_ms": 50 }), true);
    let mut running = stack.connect();
    running
        .send(&post_bytes(&token, "/v1/chat/completions", &body))
        .unwrap();
    let id = running
        .read_head()
        .unwrap()
        .field("x-request-id")
        .unwrap()
        .to_owned();
    running.next_event().unwrap();

    stack.terminate_gateway();
    assert!(idle.closed(), "a connection that rests is closed at once");
    assert!(wait(|| !accepts(&stack)), "new connections are served");
    let mut joined = String::new();
    let mut done = false;
    while let Some(event) = running.next_event().unwrap() {
        done |= event.data == "[DONE]";
        let value = event.json().unwrap_or_default();
        joined += value["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_default();
    }
    assert!(done);
    assert_eq!(joined, words);
    assert!(running.closed());
    assert_eq!(stack.gateway_exit(), Some(0), "{}", stack.log());
    // What was committed when it ended is drained, and the record is whole.
    assert_eq!(stack.session(&id).close().unwrap().status, 200);
}

/// Whether a new connection gets an answer.
fn accepts(stack: &Stack) -> bool {
    let connected = Connection::tcp(stack.address());
    let Ok(mut connection) = connected else {
        return false;
    };
    let asked = connection.send(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n");
    asked.is_ok() && connection.read_response().is_ok()
}

#[test]
fn the_wait_for_running_calls_is_bounded() {
    let mut stack = Stack::with(|setup| setup.limits = "drain = \"300ms\"".to_owned());
    let body = scripted(&json!({ "text": "a b c", "stall": "1:60000" }), true);
    let mut running = stack.connect();
    running
        .send(&post_bytes(&stack.token(), "/v1/chat/completions", &body))
        .unwrap();
    let head = running.read_head().unwrap();
    let id = head.field("x-request-id").unwrap().to_owned();
    running.next_event().unwrap();
    let start = Instant::now();
    stack.terminate_gateway();
    assert_eq!(stack.gateway_exit(), Some(0));
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(
        running.read_rest().is_err(),
        "what is cut short does not look whole"
    );
    assert!(
        stack
            .double
            .wait(Duration::from_secs(10), |counters| counters.cancelled == 1)
    );
    // The record does not blame the client.
    let record = stack.session(&id);
    let close = close_of(&record);
    assert_eq!(close.outcome, Outcome::GatewayFailed);
    assert_eq!(close.error_code.as_deref(), Some("gateway_stopped"));
}

#[test]
fn a_configuration_that_is_wrong_is_told_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let good = "[listen]\ntcp = \"127.0.0.1:0\"\n[policy]\nenabled = false\n\
                [identity]\nanonymous_groups = [\"x\"]\n[upstream]\naddress = \"127.0.0.1:1\"\n\
                profiles = [\"openai\"]\n[recorder]\nenabled = false\n";
    std::fs::write(&path, good).unwrap();
    let output = gateway(&["check"], &path);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (from, to, said) in [
        (
            "tcp = ",
            "tpc = ",
            vec!["gateway.toml:2:1: unknown field `tpc`", "`tcp`?"],
        ),
        (
            "[identity]",
            "[idenity]",
            vec!["gateway.toml:5:", "did you mean `identity`?"],
        ),
        ("\"127.0.0.1:0\"", "127.0.0.1", vec!["gateway.toml:2:"]),
        (
            "127.0.0.1:1\"",
            "model.internal:8000\"",
            vec!["gateway.toml:8:", "not an address"],
        ),
        ("\"openai\"", "\"opnai\"", vec!["opnai", "openai"]),
        (
            "[recorder]\nenabled = false",
            "[recorder]",
            vec!["[recorder] needs `socket`"],
        ),
        ("anonymous_groups = [\"x\"]", "", vec!["nobody could call"]),
        ("[listen]", "cores = [4095]\n[listen]", vec!["core 4095"]),
        (
            "[listen]",
            "[limits]\nbody = 8\n[listen]",
            vec!["gateway.toml:2:"],
        ),
        (
            "[listen]",
            "[limits]\nbody = \"8MB\"\n[listen]",
            vec!["gateway.toml:2:", "\"8KiB\""],
        ),
        (
            "[listen]",
            "[limits]\nbody = \"0B\"\n[listen]",
            vec!["`body` must be more than 0"],
        ),
        (
            "enabled = false\n[identity]",
            "[identity]",
            vec!["[policy] needs `dir`"],
        ),
        (
            "enabled = false\n[identity]",
            "dir = \"none\"\n[identity]",
            vec!["none"],
        ),
        (
            "[recorder]",
            "credential_file = \"no-such-file\"\n[recorder]",
            vec!["no-such-file", "cannot be read"],
        ),
        (
            "[policy]",
            "tls = { certificate = \"c.pem\", key = \"k.pem\" }\n[policy]",
            vec!["c.pem", "cannot be read"],
        ),
        (
            "[recorder]",
            "[control]\nscim = { token_file = \"scim.token\" }\n[recorder]",
            vec!["scim.token", "cannot be read"],
        ),
        (
            "[recorder]",
            "[control]\nstate = \"postgres://u:hunter2@h/d\"\n[recorder]",
            vec!["gateway.toml:", "`state_password_file`"],
        ),
        (
            "[recorder]",
            "[[issuer]]\nname = \"a\"\nurl = \"https://a.example\"\naudiences = [\"p\"]\n\
             introspection = { client_id = \"us\", client_secret_file = \"us.secret\" }\n[recorder]",
            vec!["us.secret", "cannot be read"],
        ),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
        for command in ["run", "check"] {
            let output = gateway(&[command], &path);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command} {to}: {error}");
            for part in &said {
                assert!(error.contains(part), "{command} {to}: {error}");
            }
            assert!(!error.contains("panicked"), "{error}");
        }
    }
    let missing = gateway(&["run"], &folder.path().join("none.toml"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("none.toml: cannot be read"));
    let usage = Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .arg("fly")
        .output()
        .unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn a_policy_that_is_wrong_is_told_by_its_place() {
    let stack = Stack::unrecorded();
    let config = stack.path("gateway.toml");
    let policy = stack.path("policies/main.toml");
    let good = std::fs::read_to_string(&policy).unwrap();
    for (from, to, said) in [
        ("action = \"block\"", "acton = \"block\"", "main.toml:11:"),
        ("packs = [\"secrets\"]", "packs = [\"secret\"]", "secrets"),
        ("\"infer\"", "\"inferr\"", "infer"),
    ] {
        std::fs::write(&policy, good.replacen(from, to, 1)).unwrap();
        let output = gateway(&["check"], &config);
        assert_eq!(output.status.code(), Some(1), "{to}");
        let error = text(&output.stderr);
        assert!(
            error.contains(said) && error.contains("main.toml"),
            "{to}: {error}"
        );
        let as_json = gateway(&["check", "--json"], &config);
        assert_eq!(as_json.status.code(), Some(1));
        let value: Value = serde_json::from_slice(&as_json.stdout).unwrap();
        assert_eq!(value["ok"], false);
        assert!(
            value["errors"][0].as_str().unwrap().contains("main.toml"),
            "{value}"
        );
    }
}

#[test]
fn check_says_what_would_run() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.top = "cores = [0]".to_owned();
        setup.more = "[identity]\nanonymous_groups = [\"trial\"]".to_owned();
    });
    let config = stack.path("gateway.toml");
    let output = gateway(&["check"], &config);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for part in [
        "policy ",
        "main.toml",
        "guard \"no secrets in\": request, block,",
        "guard \"personal data out\": response, mask,",
        "I/O driver: ",
        "cores\n  ",
        "warning: ANONYMOUS CALLERS ARE LET IN",
        "good\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let output = gateway(&["check", "--json"], &config);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&value["ok"], &value["cores"]), (&json!(true), &json!([0])));
    assert!(["io_uring", "poll"].contains(&value["driver"].as_str().unwrap()));
    assert!(
        value["core_reasons"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
    );
    let version = value["policy_version"].as_str().unwrap();
    assert_eq!(version.len(), 16);
    assert_eq!(
        control(&stack, "/status").1["policy_version"],
        version,
        "the one that runs"
    );
}

#[test]
fn the_control_socket_tells_how_it_goes() {
    let mut stack = Stack::start();
    assert_eq!(
        control(&stack, "/healthz"),
        (200, json!({ "status": "ok" }))
    );
    assert_eq!(stack.chat("hello").status(), 200);
    stack.post(
        "nonsense",
        "/v1/chat/completions",
        &chat_body("hello", false),
    );
    let status = control(&stack, "/status").1;
    assert_eq!(status["listen"], stack.address().to_string());
    assert_eq!(status["upstream"], stack.double.address().to_string());
    assert_eq!(
        status["recorder"],
        json!({ "enabled": true, "connected": true })
    );
    assert_eq!(status["issuers"][0]["name"], "dev");
    assert!(status["issuers"][0]["keys"].as_u64() >= Some(1), "{status}");
    let counters = &status["counters"];
    for (name, count) in [
        ("requests", 2),
        ("forwarded", 1),
        ("refused", 1),
        ("unauthenticated", 1),
        ("panics", 0),
        ("upstream_failures", 0),
        ("abandoned", 0),
    ] {
        assert_eq!(counters[name], count, "{name}: {counters}");
    }
    assert_eq!(control_raw(&stack, "/nothing"), 404);
    let mode = std::fs::metadata(stack.path("control.sock")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o660);
    stack.kill_recorder();
    assert!(wait(|| control(&stack, "/healthz").0 == 503));
    let reason = control(&stack, "/healthz").1;
    assert_eq!(reason["reason"], "no recorder is connected");
    stack.start_recorder();
    assert!(
        wait(|| control(&stack, "/healthz").0 == 200),
        "{}",
        stack.log()
    );
}

fn control_raw(stack: &Stack, path: &str) -> u16 {
    let mut connection = Connection::unix(&stack.path("control.sock")).expect("the control socket");
    Call::get(path)
        .over(&mut connection)
        .expect("the request is sent");
    connection.read_response().expect("an answer").status()
}

/// At its most talkative the log still holds nothing that was said, and no credential.
#[test]
fn the_log_holds_no_text_and_no_token_at_any_level() {
    for format in ["text", "json"] {
        let stack = Stack::with(|setup| {
            setup.more = format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"");
        });
        let token = stack.token();
        let [prompt, said] = ["pterodactyl", "archaeopteryx"];
        let secret = ["AKIA", "Z7TQ4YXW", "2KLMNB3C"].concat();
        let chat = |answer: Value, stream: bool| {
            let mut body: Value = serde_json::from_str(&scripted(&answer, stream)).unwrap();
            let message = json!({ "role": "user", "content": prompt });
            body["messages"].as_array_mut().unwrap().insert(0, message);
            body.to_string()
        };
        let post = |body: &str| stack.post(&token, "/v1/chat/completions", body);
        assert_eq!(post(&chat(json!({ "text": said }), false)).status(), 200);
        assert_eq!(post(&chat(json!({ "text": said }), true)).status(), 200);
        assert_eq!(
            post(&chat(json!({ "raw": format!("{said}\r\n\r\n") }), false)).status(),
            502
        );
        assert_eq!(
            post(&chat_body(&format!("{prompt} {secret}"), false)).status(),
            403
        );
        assert_eq!(post(&format!("{{\"model\": \"{prompt}")).status(), 400);
        let expired = format!("{token}x");
        assert_eq!(
            stack.post(&expired, "/v1/chat/completions", "{}").status(),
            401
        );
        let torn = chat(
            json!({ "text": format!("{said} {said} x"), "truncate": "event:2" }),
            true,
        );
        let mut connection = stack.connect();
        connection
            .send(&post_bytes(&token, "/v1/chat/completions", &torn))
            .unwrap();
        connection.read_head().unwrap();
        assert!(connection.read_rest().is_err());

        let log = stack.log();
        assert!(log.contains("TRACE"), "{log}");
        let signature = token.rsplit('.').next().unwrap();
        let (_, claims) = token.split_once('.').unwrap();
        for text in [prompt, said, secret.as_str(), signature, &claims[..40]] {
            let at = log.find(text);
            let around = at.map(|at| &log[at.saturating_sub(300)..(at + 100).min(log.len())]);
            assert_eq!(around, None, "{format}: {text:?}");
        }
    }
}
