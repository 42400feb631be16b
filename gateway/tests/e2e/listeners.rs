//! Unix sockets, on either side: the same gateway, for clients and for models that are no network
//! away.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use penstock_loadgen::client::{Call, Connection};
use serde_json::json;

use crate::stack::{MODEL, Stack, post_bytes, scripted};
use crate::witness::open_of;

/// Far more than anything here takes.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_unix_socket_is_served_like_tcp() {
    let stack = Stack::with(|setup| setup.listen = "unix = \"gateway.sock\"".to_owned());
    let path = stack.path("gateway.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    let token = stack.token();
    let mut unix = Connection::unix(&path).unwrap();
    for stream in [false, true] {
        let body = scripted(&json!({ "text": "a b c" }), stream);
        unix.send(&post_bytes(&token, "/v1/chat/completions", &body))
            .unwrap();
        let answer = unix.read_response().unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let id = answer.head.field("x-request-id").unwrap();
        assert_eq!(open_of(&stack.session(id)).client, "unix");
    }
    // There is no address to speak of, and what the client says of one is not believed.
    let call = Call::get("/v1/models")
        .token(&token)
        .field("x-forwarded-for", "10.9.8.7");
    call.over(&mut unix).unwrap();
    assert_eq!(unix.read_response().unwrap().status(), 200);
    let seen = stack.double.requests();
    assert_eq!(seen.len(), 3);
    assert!(
        seen.iter()
            .all(|request| request.field("x-forwarded-for").is_none())
    );
    // Neither more trusted nor less: no token, no answer.
    Call::chat(MODEL, "hello", false).over(&mut unix).unwrap();
    assert_eq!(unix.read_response().unwrap().status(), 401);
    assert_eq!(stack.chat("and by TCP").status(), 200);
}

#[test]
fn a_unix_client_that_goes_is_noticed_too() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.listen = "unix = \"gateway.sock\"".to_owned();
    });
    let body = scripted(&json!({ "ttft_ms": 60000 }), true);
    let mut unix = Connection::unix(&stack.path("gateway.sock")).unwrap();
    unix.send(&post_bytes(&stack.token(), "/v1/chat/completions", &body))
        .unwrap();
    assert!(stack.double.wait(SOON, |counters| counters.generating == 1));
    drop(unix);
    assert!(stack.double.wait(SOON, |counters| counters.cancelled == 1));
}

#[test]
fn a_model_behind_a_unix_socket_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.sock");
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.double.unix = Some(model.clone());
        setup.upstream_address = Some(format!("unix:{}", model.display()));
    });
    for stream in [false, true, false] {
        let body = scripted(&json!({ "text": "order CUST-12345678 is ready" }), stream);
        let answer = stack.post(&stack.token(), "/v1/chat/completions", &body);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(!answer.text().contains("12345678"));
    }
    let seen = stack.double.requests();
    assert!(
        seen.iter()
            .all(|request| request.field("host") == Some("localhost"))
    );
    assert_eq!(
        stack.double.counters().connections,
        1,
        "kept like a TCP connection"
    );

    // A stream over the Unix socket that breaks off is cut there too.
    let body = scripted(&json!({ "text": "a b c d", "truncate": "after:2" }), true);
    let mut connection = stack.connect();
    connection
        .send(&post_bytes(&stack.token(), "/v1/chat/completions", &body))
        .unwrap();
    assert_eq!(connection.read_head().unwrap().status, 200);
    assert!(connection.read_rest().is_err());
}

#[test]
fn what_breaks_off_for_a_unix_client_does_not_look_whole() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.listen = "unix = \"gateway.sock\"".to_owned();
    });
    let body = scripted(&json!({ "text": "a b c d", "truncate": "event:2" }), true);
    let mut unix = Connection::unix(&stack.path("gateway.sock")).unwrap();
    unix.send(&post_bytes(&stack.token(), "/v1/chat/completions", &body))
        .unwrap();
    assert_eq!(unix.read_head().unwrap().status, 200);
    let rest = unix.read_rest();
    assert!(rest.is_err(), "{rest:?}");
}

#[test]
fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("unix = \"{}\"", path.display());
    let first = Stack::with(|setup| {
        setup.record = false;
        setup.listen = listen.clone();
    });
    let served = |stack: &Stack| {
        let mut unix = Connection::unix(&path).unwrap();
        unix.send(&Call::get("/v1/models").token(&stack.token()).bytes())
            .unwrap();
        unix.read_response().unwrap().status()
    };
    assert_eq!(served(&first), 200);
    let config = std::fs::read_to_string(first.path("gateway.toml")).unwrap();
    let second = folder.path().join("second.toml");
    let config = config.replace("\"policies\"", &format!("{:?}", first.path("policies")));
    std::fs::write(&second, config).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(["run", "--config"])
        .arg(&second)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("gateway.sock: cannot listen on this socket"),
        "{said}"
    );
    assert_eq!(served(&first), 200);
}

/// A program of the test's own, ended with it.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_gateway_without_tcp_serves() {
    let stack = Stack::unrecorded();
    let config = std::fs::read_to_string(stack.path("gateway.toml")).unwrap();
    let config = config
        .replace("tcp = \"127.0.0.1:0\"", "unix = \"only.sock\"")
        .replace("gateway.ready", "only.ready")
        .replace("control.sock", "only-control.sock");
    std::fs::write(stack.path("only.toml"), config).unwrap();
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(["run", "--config"])
        .arg(stack.path("only.toml"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _running = Running(child);
    let ready = stack.path("only.ready");
    assert!(stack.wait(|| ready.exists()));
    let socket = stack.path("only.sock");
    let line = std::fs::read_to_string(ready).unwrap();
    assert_eq!(line, format!("unix:{}\n", socket.display()));
    let mut unix = Connection::unix(&socket).unwrap();
    unix.send(&Call::get("/v1/models").token(&stack.token()).bytes())
        .unwrap();
    assert_eq!(unix.read_response().unwrap().status(), 200);
}
