//! The log tool, run as a user runs it.

use std::fs;
use std::time::{Duration, Instant};

use penstock_recorder::frame::{Decision, Frame, FrameBody, RequestBody, ResponseHead};
use penstock_recorder::segment;

use super::gateway::{Gateway, chunk, close, now, open, session};
use super::host::{Host, possible};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A log with two sessions: one streamed, one that says things to the terminal.
fn recorded() -> Host {
    let mut host = Host::new("");
    host.start();
    let mut gateway = Gateway::new();
    gateway.connect(&host.socket()).expect("taken over");
    let id = session(1);
    let started = now();
    let frame = |index: u32, after_ms: u64, body: FrameBody| Frame {
        session: id,
        index,
        at_unix_ns: started + after_ms * 1_000_000,
        body,
    };
    gateway.push(&Frame {
        at_unix_ns: started,
        ..open(id, "alice", "llama")
    });
    let body = RequestBody {
        last: true,
        media: "application/json".to_owned(),
        bytes: b"{\"prompt\":\"my key is <secret>\"}".to_vec(),
        ..RequestBody::default()
    };
    gateway.push(&frame(1, 1, FrameBody::RequestBody(body)));
    let decision = Decision {
        guard: "no secrets in".to_owned(),
        rule: "aws-key".to_owned(),
        action: "mask".to_owned(),
        direction: "request".to_owned(),
        location: "prompt".to_owned(),
        start: 10,
        end: 30,
    };
    gateway.push(&frame(2, 2, FrameBody::Decision(decision)));
    let head = ResponseHead {
        status: 200,
        media: "text/event-stream".to_owned(),
        upstream_status: 200,
    };
    gateway.push(&frame(3, 3, FrameBody::ResponseHead(head)));
    for (index, word) in ["Hello", ", ", "world"].into_iter().enumerate() {
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n");
        let Frame { body, .. } = chunk(id, 0, event.into_bytes());
        gateway.push(&frame(4 + index as u32, 100 * (1 + index as u64), body));
    }
    gateway.push(&close(id, 7));
    gateway.push(&open(session(2), "\x1b[2Jmallory", "other"));
    gateway.settle();
    host.stop();
    host
}

#[test]
fn the_tool_answers_as_it_says() {
    if !possible() {
        return;
    }
    let host = recorded();
    let dir = host.log_dir();
    let dir = dir.to_str().expect("UTF-8");
    let id = session(1).to_string();

    let verified = text(&host.tool(&["verify", dir]).stdout);
    assert!(verified.starts_with("1 segment, "), "{verified}");
    let listed = text(&host.tool(&["sessions", dir]).stdout);
    assert!(
        listed.contains(&id) && listed.contains("completed"),
        "{listed}"
    );
    assert!(
        listed.contains("\\u{1b}[2Jmallory") && !listed.contains('\x1b'),
        "{listed}"
    );
    let listed = text(
        &host
            .tool(&["sessions", dir, "--json", "--subject", "alice"])
            .stdout,
    );
    let line: serde_json::Value = serde_json::from_str(&listed).expect("one object");
    assert_eq!(
        (&line["session"], &line["decisions"]),
        (&id.as_str().into(), &1.into())
    );
    let none = host.tool(&["sessions", dir, "--model", "gpt"]);
    assert_eq!(text(&none.stdout), "no session\n");
    let none = host.tool(&["sessions", dir, "--since", "2999-01-01", "--json"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(0), 0));

    let shown = text(&host.tool(&["show", dir, &id]).stdout);
    for part in [
        "alice",
        "aws-key",
        "my key is <secret>",
        "  Hello, world\n",
        "200 completed",
    ] {
        assert!(shown.contains(part), "{part:?} in {shown}");
    }
    let shown = text(&host.tool(&["show", dir, &id, "--json"]).stdout);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("one object");
    assert_eq!(shown["open"]["subject"], "alice");
    assert_eq!(
        shown["response"]["chunks"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(shown["close"]["outcome"], "completed");

    let raw = host
        .tool(&["replay", dir, &id, "--instant", "--raw"])
        .stdout;
    assert!(text(&raw).starts_with("data: {"));
    let before = Instant::now();
    let replayed = host.tool(&["replay", dir, &id]);
    assert!(
        before.elapsed() >= Duration::from_millis(290),
        "the real timing"
    );
    assert_eq!(text(&replayed.stdout), "Hello, world\n");
    let before = Instant::now();
    host.tool(&["replay", dir, &id, "--speed", "100"]);
    assert!(
        before.elapsed() < Duration::from_millis(250),
        "a hundred times as fast"
    );
}

#[test]
fn exit_codes_and_messages_are_as_promised() {
    if !possible() {
        return;
    }
    let host = recorded();
    let dir = host.log_dir();
    let dir = dir.to_str().expect("UTF-8");
    let code = |arguments: &[&str]| host.tool(arguments).status.code();

    assert_eq!(code(&["verify", dir]), Some(0));
    assert_eq!(code(&["verify"]), Some(2));
    assert_eq!(code(&["no-such-command"]), Some(2));
    assert_eq!(code(&["replay", dir, "1", "--speed", "0"]), Some(2));
    assert_eq!(code(&["show", dir, "ffff"]), Some(1));
    let ambiguous = host.tool(&["show", dir, "01"]);
    assert!(
        text(&ambiguous.stderr).contains("2 sessions start with"),
        "{ambiguous:?}"
    );
    assert_eq!(code(&["sessions", "/nonexistent"]), Some(1));
    let config = host.path("bad.toml");
    fs::write(&config, "sockett = 1\n").expect("written");
    let bad = host.tool(&["run", "--config", config.to_str().expect("UTF-8")]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        text(&bad.stderr).contains("did you mean `socket`"),
        "{bad:?}"
    );

    // One flipped bit.
    let path = host.log_dir().join(segment::file_name(1));
    let mut bytes = fs::read(&path).expect("readable");
    let at = bytes
        .windows(5)
        .position(|window| window == b"world")
        .expect("the text");
    bytes[at] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let found = host.tool(&["verify", dir]);
    assert_eq!(found.status.code(), Some(1));
    let told = text(&found.stdout);
    assert!(
        told.contains("ALTERED") && told.contains("000000000001.segment"),
        "{told}"
    );
    let found = host.tool(&["verify", dir, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&found.stdout).expect("one object");
    assert_eq!(report["good"], false);
    let (from, to) = (
        &report["problems"][0]["offset"],
        &report["problems"][0]["end"],
    );
    assert!(
        from.as_u64() <= Some(at as u64) && to.as_u64() > Some(at as u64),
        "{report}"
    );
}
