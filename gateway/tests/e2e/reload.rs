//! Policies change while calls go on: no connection is dropped, no call sees two versions, and what
//! is wrong changes nothing.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use penstock_loadgen::client::{Call, Connection};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::control::{control, verb, verb_ok};
use crate::stack::{MODEL, POLICY, Stack};
use crate::witness::{PATIENCE, close_of, code, decisions_of, open_of};

/// Streams that a test does not take up in time.
const STREAMS_MAX: usize = 8;

/// An engine whose streams go on when the test says so.
struct Engine {
    address: SocketAddr,
    streams: Receiver<TcpStream>,
}

// === impl Engine ===

impl Engine {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, streams) = sync_channel(STREAMS_MAX);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || Self::serve(&connection, &sender));
            }
        });
        Self { address, streams }
    }

    /// Answers requests one after another, and hands over one that asks for a stream.
    fn serve(connection: &TcpStream, streams: &SyncSender<TcpStream>) {
        let mut reader = BufReader::new(connection.try_clone().expect("a second handle"));
        loop {
            let mut length = 0;
            let mut line = String::new();
            loop {
                line.clear();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("the body comes");
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let mut connection = connection.try_clone().expect("a second handle");
            if body["stream"] == true {
                let _ = streams.send(connection);
                return;
            }
            let answer = json!({"choices": [{"message": {"content": "fine"}}]}).to_string();
            let length = answer.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            let _ = connection.write_all(format!("{head}{answer}").as_bytes());
        }
    }
}

fn event(text: &str) -> String {
    format!(
        "data: {}\n\n",
        json!({"id": "c1", "choices": [{"index": 0, "delta": {"content": text}}]})
    )
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn stack_before(engine: &Engine) -> Stack {
    let address = engine.address.to_string();
    Stack::with(|setup| {
        setup.upstream_address = Some(address);
        // Nobody looks at answers yet, nor at prompts for anything but secrets.
        let at = POLICY.rfind("[[guard]]").expect("the second guard");
        setup.policy = POLICY[..at].to_owned();
        setup.policies = "dir = \"policies\"\nwatch = false".to_owned();
    })
}

fn write_policy(stack: &Stack, text: &str) {
    let path = stack.path("policies/main.toml");
    let partial = stack.path("policies/main.partial");
    fs::write(&partial, text).expect("written");
    fs::rename(partial, path).expect("in place");
}

fn hang_up(stack: &Stack) {
    let pid = i32::try_from(stack.gateway_pid()).expect("a process id");
    let pid = Pid::from_raw(pid).expect("a process id");
    kill_process(pid, Signal::HUP).expect("the gateway is signalled");
}

pub(crate) fn standing(stack: &Stack) -> Value {
    stack.status()["policy"].clone()
}

/// Asks by signal for a reload and waits until it is over.
pub(crate) fn reload(stack: &Stack) -> Value {
    let done = |standing: &Value| {
        let count = |name: &str| standing[name].as_u64().unwrap_or(0);
        count("applied") + count("unchanged") + count("refused")
    };
    let before = done(&standing(stack));
    hang_up(stack);
    assert!(
        stack.wait(|| done(&standing(stack)) > before),
        "{}",
        stack.log()
    );
    standing(stack)
}

fn say(connection: &mut Connection, token: &str, text: &str) -> (u16, String, String) {
    let call = Call::chat(MODEL, text, false).token(token);
    call.over(connection).expect("the connection goes on");
    let answer = connection.read_response().expect("an answer");
    let id = answer.head.field("x-request-id").expect("an id").to_owned();
    (answer.status(), code(&answer), id)
}

const AFTER: &str = r#"
[[guard]]
name = "customers stay here"
direction = "both"
packs = ["customer"]
action = "block"
"#;

/// What was said before is not read again, and no verdict outlives the policy that it was made under.
#[test]
fn what_is_remembered_to_be_clean_is_read_again_under_another_policy() {
    let stack = stack_before(&Engine::start());
    let token = stack.token();
    let mut kept = stack.connect();
    kept.timeout(PATIENCE).expect("a timeout");
    let remembered = || {
        let scraped = control(&stack, &Call::get("/metrics")).text();
        let line = scraped
            .lines()
            .find_map(|line| line.strip_prefix("penstock_remembered_texts_total "));
        line.expect("it is told").parse::<u32>().expect("a number")
    };
    let long = format!("{} order CUST-12345678", "Please look at this. ".repeat(20));
    for before in 0..3 {
        assert_eq!(say(&mut kept, &token, &long).0, 200);
        assert_eq!(remembered(), before, "{}", stack.log());
    }
    let other = stack.issuer.token("bob", &["engineers"]);
    assert_eq!(say(&mut kept, &other, &long).0, 200);
    assert_eq!(remembered(), 2, "another caller's");

    let policy = fs::read_to_string(stack.path("policies/main.toml")).expect("read");
    write_policy(&stack, &format!("{policy}{AFTER}"));
    reload(&stack);
    for _ in 0..2 {
        let (status, code, _) = say(&mut kept, &token, &long);
        assert_eq!((status, code.as_str()), (403, "request_blocked"));
    }
    assert_eq!(remembered(), 2);
}

#[test]
fn a_connection_goes_on_and_a_running_stream_ends_as_it_began() {
    let engine = Engine::start();
    let stack = stack_before(&engine);
    let token = stack.token();
    let mut kept = stack.connect();
    kept.timeout(PATIENCE).expect("a timeout");
    let number = "order CUST-12345678";
    let (status, _, first) = say(&mut kept, &token, number);
    assert_eq!(status, 200);

    // A stream begins, with the beginning of a number at its end.
    let mut streaming = stack.begin(Call::chat(MODEL, "go on", true));
    let mut upstream = engine
        .streams
        .recv_timeout(PATIENCE)
        .expect("it is forwarded");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    let begun = event("Your number is CUST-1234");
    upstream
        .write_all(format!("{head}{}", chunk(&begun)).as_bytes())
        .expect("sent");
    let id = streaming
        .read_head()
        .expect("a head")
        .field("x-request-id")
        .expect("an id")
        .to_owned();
    let mut got = streaming
        .next_piece()
        .expect("a piece")
        .expect("of the stream");

    let before = standing(&stack);
    let policy = fs::read_to_string(stack.path("policies/main.toml")).expect("read");
    write_policy(&stack, &format!("{policy}{AFTER}"));
    let after = reload(&stack);
    assert_ne!(before["version"], after["version"], "{}", stack.log());
    assert_eq!(after["by"], json!(["signal"]));
    assert_eq!(after["last"]["policies"], "applied", "{after}");

    // The same connection, the other policy.
    let (status, code, blocked) = say(&mut kept, &token, number);
    assert_eq!((status, code.as_str()), (403, "request_blocked"));
    assert_eq!(say(&mut kept, &token, "hello").0, 200);

    // The stream goes on under the one it began with, answer included.
    let rest = [
        event("5678, and that is"),
        event(" all."),
        "data: [DONE]\n\n".to_owned(),
    ];
    let chunks: String = rest.iter().map(|event| chunk(event)).collect();
    upstream
        .write_all(format!("{chunks}0\r\n\r\n").as_bytes())
        .expect("sent");
    while let Some(piece) = streaming.next_piece().expect("the stream goes on") {
        got.extend(piece);
    }
    assert_eq!(
        String::from_utf8_lossy(&got),
        format!("{begun}{}", rest.concat())
    );

    let version = |id: &str| open_of(&stack.session(id)).policy_version.clone();
    assert_eq!(version(&first), before["version"]);
    assert_eq!(
        version(&id),
        before["version"],
        "the stream's, though it ended later"
    );
    assert_eq!(version(&blocked), after["version"]);
    assert!(decisions_of(&stack.session(&id)).is_empty());
    assert_eq!(close_of(&stack.session(&id)).status, 200);
    assert_eq!(stack.counter("connections"), 2, "none was dropped");

    // A new stream is masked from its first byte on.
    let mut next = stack.begin(Call::chat(MODEL, "again", true));
    let mut upstream = engine
        .streams
        .recv_timeout(PATIENCE)
        .expect("it is forwarded");
    let all = format!(
        "{head}{}{}0\r\n\r\n",
        chunk(&event("CUST-1234")),
        chunk(&event("5678"))
    );
    upstream.write_all(all.as_bytes()).expect("sent");
    let answer = next.read_response().expect("an answer").text();
    assert!(
        answer.contains("response_blocked") && !answer.contains("5678"),
        "{answer}"
    );
}

#[test]
fn what_is_wrong_is_refused_with_its_place_and_nothing_changes() {
    let stack = Stack::with(|setup| {
        setup.policies = "dir = \"policies\"\nwatch = false".to_owned();
    });
    let version = standing(&stack)["version"].clone();
    let good = fs::read_to_string(stack.path("policies/main.toml")).expect("read");
    let pack = "[[rule]]\nid = \"own\"\ndescription = \"d\"\nregex = 'OWN-[0-9]{4}'\n\
                matches = [\"OWN-12\"]\nmisses = [\"x\"]\n";
    fs::create_dir(stack.path("policies/packs")).expect("a folder");
    for (policy, pack, place, reason) in [
        (
            good.replace("action = \"block\"", "acton = \"block\""),
            "",
            (Some(11), Some(1)),
            "action",
        ),
        (
            good.replace("\"infer\"", "\"inferr\""),
            "",
            (Some(5), Some(15)),
            "infer",
        ),
        (
            good[..good.len() - 9].to_owned(),
            "",
            (Some(18), Some(27)),
            "",
        ),
        (good.clone(), pack, (None, None), "own"),
        (String::new(), "[[rule]]\nid = 1", (Some(2), Some(6)), ""),
    ] {
        write_policy(&stack, &policy);
        fs::write(stack.path("policies/packs/own.toml"), pack).expect("written");
        let refused = reload(&stack);
        assert_eq!(refused["version"], version);
        let last = &refused["last"];
        assert_eq!(last["policies"], "refused", "{policy}");
        let error = &last["errors"][0];
        assert_eq!(
            (&error["line"], &error["column"]),
            (&json!(place.0), &json!(place.1)),
            "{last}"
        );
        assert!(
            error["reason"].as_str().expect("a reason").contains(reason),
            "{error}"
        );
        assert_eq!(stack.chat("hello").status(), 200);
    }
    let log = stack.log();
    assert!(
        log.contains("main.toml:11:1: unknown key \"acton\""),
        "{log}"
    );
    assert!(log.contains("policies not taken, policy"), "{log}");

    // The configuration itself, and what of it does not count at once.
    write_policy(&stack, &good);
    fs::remove_file(stack.path("policies/packs/own.toml")).expect("removed");
    let config = fs::read_to_string(stack.path("gateway.toml")).expect("read");
    fs::write(
        stack.path("gateway.toml"),
        config.replace("[upstream]", "[upstraem]"),
    )
    .expect("written");
    let refused = reload(&stack);
    assert_eq!(refused["last"]["policies"], "refused");
    assert!(
        refused["last"]["errors"][0]["file"]
            .as_str()
            .expect("a file")
            .ends_with("gateway.toml")
    );
    let changed = config
        .replace(
            "profiles = [\"openai\", \"anthropic\", \"vllm\"]",
            "profiles = [\"anthropic\"]",
        )
        .replace("[limits]", "[limits]\nbody = \"1MiB\"");
    fs::write(stack.path("gateway.toml"), changed).expect("written");
    let applied = reload(&stack);
    assert_eq!(applied["last"]["policies"], "applied", "{applied}");
    assert_eq!(applied["last"]["needs_restart"], json!(["limits.body"]));
    assert_eq!(
        code(&stack.chat("hello")),
        "route_not_permitted",
        "another profile"
    );
    fs::write(stack.path("gateway.toml"), config).expect("written");
    assert_eq!(reload(&stack)["last"]["needs_restart"], json!([]));
    assert_eq!(stack.chat("hello").status(), 200);
}

#[test]
fn a_storm_of_signals_is_a_few_reloads_and_the_last_word_counts() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.policies = "dir = \"policies\"\nwatch = false".to_owned();
    });
    let policy = fs::read_to_string(stack.path("policies/main.toml")).expect("read");
    let started = standing(&stack);
    for round in 0..200 {
        write_policy(&stack, &format!("# {round}\n{policy}"));
        hang_up(&stack);
    }
    write_policy(&stack, &format!("{policy}{AFTER}"));
    let last = reload(&stack);
    assert!(
        stack.wait(|| stack.chat("CUST-12345678").status() == 403),
        "{last}"
    );
    // Signals that are not taken yet are one, and requests meanwhile wait for one reload together.
    let settled = standing(&stack);
    let reloads =
        ["applied", "unchanged", "refused"].map(|name| settled[name].as_u64().unwrap_or(0));
    assert!(reloads.iter().sum::<u64>() < 100, "{settled}");
    assert_ne!(settled["version"], started["version"]);
}

#[test]
fn changed_files_are_noticed_by_whatever_way_they_are_replaced() {
    let stack = Stack::with(|setup| setup.record = false);
    let text = fs::read_to_string(stack.path("policies/main.toml")).expect("read");
    let blocked = |text: &str| stack.chat(text).status() == 403;
    assert!(!blocked("CUST-12345678"));
    write_policy(&stack, &format!("{text}{AFTER}"));
    assert!(
        stack.wait(|| blocked("CUST-12345678")),
        "renamed: {}",
        stack.log()
    );
    assert_eq!(standing(&stack)["by"], json!(["watch"]));
    fs::write(stack.path("policies/main.toml"), &text).expect("written");
    assert!(
        stack.wait(|| !blocked("CUST-12345678")),
        "in place: {}",
        stack.log()
    );

    // A link to a folder is swapped, as configuration management does.
    for (name, policy) in [("one", text.clone()), ("two", format!("{text}{AFTER}"))] {
        fs::create_dir(stack.path(name)).expect("a folder");
        fs::write(stack.path(name).join("main.toml"), policy).expect("written");
    }
    fs::remove_dir_all(stack.path("policies")).expect("removed");
    let swap = |name: &str| {
        std::os::unix::fs::symlink(name, stack.path("next")).expect("a link");
        fs::rename(stack.path("next"), stack.path("policies")).expect("swapped");
    };
    swap("two");
    assert!(
        stack.wait(|| blocked("CUST-12345678")),
        "swapped: {}",
        stack.log()
    );
    swap("one");
    assert!(
        stack.wait(|| !blocked("CUST-12345678")),
        "swapped back: {}",
        stack.log()
    );
    // Taken away altogether: what was in force stays.
    fs::remove_file(stack.path("policies")).expect("removed");
    assert!(stack.wait(|| standing(&stack)["last"]["policies"] == "refused"));
    assert_eq!(stack.chat("hello").status(), 200);
}

#[test]
fn the_verb_says_what_was_taken_and_what_was_refused() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.policies = "dir = \"policies\"\nwatch = false".to_owned();
    });
    let good = fs::read_to_string(stack.path("policies/main.toml")).expect("read");
    let told = verb_ok(&stack, &["reload"]);
    assert!(
        told.starts_with("policies are unchanged; policy "),
        "{told}"
    );
    write_policy(&stack, &format!("{good}{AFTER}"));
    let told = verb_ok(&stack, &["reload", "--json"]);
    let attempt: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (&attempt["policies"], &attempt["triggers"]),
        (&json!("applied"), &json!(["call"]))
    );
    assert_eq!(attempt["policy_version"], standing(&stack)["version"]);
    assert_eq!(stack.chat("CUST-12345678").status(), 403);

    write_policy(
        &stack,
        &good.replace("action = \"block\"", "acton = \"block\""),
    );
    let refused = verb(&stack, &["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("main.toml:11:1: unknown key \"acton\""),
        "{said}"
    );
    assert!(said.contains("stays in force"), "{said}");
    let refused = control(&stack, &Call::post("/reload", &Value::Null));
    assert_eq!(
        (refused.status(), &refused.json()["policies"]),
        (422, &json!("refused"))
    );

    // Asked for by many at once, each is answered, by few reloads.
    write_policy(&stack, &good);
    let before = standing(&stack);
    let stack = &stack;
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| control(stack, &Call::post("/reload", &Value::Null)).status()))
            .collect();
        for asking in asked {
            assert_eq!(asking.join().expect("an answer"), 200);
        }
    });
    let after = standing(stack);
    let ran = |name: &str| after[name].as_u64().unwrap_or(0) - before[name].as_u64().unwrap_or(0);
    assert_eq!((ran("applied"), ran("refused")), (1, 0));
    assert!(ran("unchanged") < 39, "{after}");
    assert_eq!(stack.chat("CUST-12345678").status(), 200);
}
