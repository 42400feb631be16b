//! Notices on their way out of a real gateway: a receiver checks what it gets by itself, a gateway
//! that is killed in the middle loses none, and the command line shows and mends what did not
//! arrive.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use penstock_loadgen::client::Call;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::control::{control, verb, verb_ok};
use crate::stack::Stack;

/// The key of all webhooks here, made here so that it stands nowhere.
const KEY: [u8; 32] = [7; 32];
/// What a receiver does that never answers.
pub(crate) const HANG: u16 = 0;

/// A request as a receiver got it: fields in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

/// A receiver, in this process, that answers as it is told and notes what it gets.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    status: Arc<AtomicU16>,
    got: Arc<Mutex<Vec<Got>>>,
}

// === impl Receiver ===

impl Receiver {
    /// Answers with this status.
    pub(crate) fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let status = Arc::new(AtomicU16::new(status));
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let (answers, noted) = (status.clone(), got.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answers, noted) = (answers.clone(), noted.clone());
                std::thread::spawn(move || serve(stream, &answers, &noted));
            }
        });
        Self {
            address,
            status,
            got,
        }
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().expect("what it got").clone()
    }

    /// What it got, once there are so many.
    #[track_caller]
    pub(crate) fn wait_for(&self, stack: &Stack, count: usize) -> Vec<Got> {
        let came = stack.wait(|| self.got().len() >= count);
        assert!(
            came,
            "{} of {count} came\n{}",
            self.got().len(),
            stack.log()
        );
        self.got()
    }
}

impl Got {
    pub(crate) fn field(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Checks the signature as the Standard Webhooks specification says, with nothing of the
    /// program's own.
    pub(crate) fn assert_signed(&self) {
        let (id, at) = (self.field("webhook-id"), self.field("webhook-timestamp"));
        let signed = format!("{id}.{at}.{}", self.body);
        let expected = format!("v1,{}", STANDARD.encode(hmac(&KEY, signed.as_bytes())));
        assert_eq!(self.field("webhook-signature"), expected);
        let at: u64 = at.parse().expect("seconds");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        assert!(at.abs_diff(now.expect("a time").as_secs()) < 300);
    }
}

fn serve(stream: TcpStream, answers: &AtomicU16, noted: &Mutex<Vec<Got>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    loop {
        let mut fields = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.trim_end().split_once(": ") {
                fields.push((name.to_ascii_lowercase(), value.to_owned()));
            }
        }
        let length = fields.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().expect("a length"));
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let body = String::from_utf8(body).expect("text");
        noted
            .lock()
            .expect("what it got")
            .push(Got { fields, body });
        let status = answers.load(Ordering::SeqCst);
        if status == HANG {
            // Until the other side has had enough.
            let _ = reader.read(&mut [0]);
            return;
        }
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        if (&stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// HMAC-SHA256 as RFC 2104 defines it.
pub(crate) fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    let outer = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize();
    outer.to_vec()
}

/// The section of a webhook, with delays that a test can wait for.
pub(crate) fn webhook(name: &str, receiver: &Receiver) -> String {
    format!(
        "[[notify]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"http://{}/hook\"\n\
         secret_file = \"hook.secret\"\nretry_first = \"20ms\"\nretry_max = \"50ms\"\n",
        receiver.address
    )
}

/// The file that [`webhook`] names.
pub(crate) fn secret_file() -> (String, String) {
    let text = format!("whsec_{}\n", STANDARD.encode(KEY));
    ("hook.secret".to_owned(), text)
}

fn stack(sections: String) -> Stack {
    Stack::with(|setup| {
        setup.record = false;
        setup.files.push(secret_file());
        setup.more = sections;
    })
}

fn test_id(stack: &Stack, receiver: &str) -> String {
    let told = verb_ok(
        stack,
        &["notifications", "test", "--receiver", receiver, "--json"],
    );
    let told: Value = serde_json::from_str(&told).expect("JSON");
    told["id"].as_str().expect("an id").to_owned()
}

/// The list as the API tells it.
pub(crate) fn list(stack: &Stack, standing: &str) -> Vec<Value> {
    let call = Call::get(&format!("/notifications?standing={standing}"));
    let answer = control(stack, &call);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let list = answer.json()["notifications"].clone();
    list.as_array().expect("a list").clone()
}

#[test]
fn a_killed_gateway_sends_after_its_restart_what_had_not_arrived() {
    let receiver = Receiver::start(HANG);
    let section = webhook("hook", &receiver) + "timeout = \"1s\"\n";
    let mut stack = stack(section);
    let ids: Vec<String> = (0..5).map(|_| test_id(&stack, "hook")).collect();
    receiver.wait_for(&stack, 1);
    stack.kill_gateway();
    receiver.answer(204);
    stack.start_gateway();
    let came = stack.wait(|| list(&stack, "delivered").len() == 5);
    assert!(came, "{}", stack.log());
    let got = receiver.got();
    for id in &ids {
        assert!(got.iter().any(|got| got.field("webhook-id") == id), "{id}");
    }
    for got in &got {
        got.assert_signed();
        assert_eq!(got.json()["type"], "approval.test");
    }
    assert!(list(&stack, "waiting").is_empty());
}

#[test]
fn what_did_not_arrive_is_shown_sent_again_and_given_up_on_the_command_line() {
    let receiver = Receiver::start(500);
    let stack = stack(webhook("hook", &receiver) + "attempts_max = 2\n");
    let ids: Vec<String> = (0..3).map(|_| test_id(&stack, "hook")).collect();
    assert!(
        stack.wait(|| list(&stack, "dead").len() == 3),
        "{}",
        stack.log()
    );
    assert_eq!(receiver.got().len(), 6, "two attempts each");
    let told = verb_ok(&stack, &["notifications", "list"]);
    for id in &ids {
        let line = told.lines().find(|line| line.starts_with(id.as_str()));
        let line = line.unwrap_or_else(|| panic!("{id} is not in\n{told}"));
        assert!(line.ends_with("it answered 500"), "{line}");
    }
    let scraped = || control(&stack, &Call::get("/metrics")).text();
    let has = |line: &str| stack.wait(|| scraped().lines().any(|it| it == line));
    assert!(
        has("penstock_notifications_dead{receiver=\"hook\"} 3"),
        "{}",
        scraped()
    );
    assert!(has(
        "penstock_notifications_total{receiver=\"hook\",outcome=\"given_up\"} 3"
    ));

    receiver.answer(200);
    verb_ok(&stack, &["notifications", "drop", &ids[0]]);
    verb_ok(&stack, &["notifications", "retry", &ids[1]]);
    verb_ok(&stack, &["notifications", "retry", "--dead"]);
    assert!(
        stack.wait(|| list(&stack, "delivered").len() == 2),
        "{}",
        stack.log()
    );
    assert!(has("penstock_notifications_dead{receiver=\"hook\"} 0"));
    assert_eq!(list(&stack, "dropped")[0]["id"], ids[0].as_str());
    assert!(
        receiver.got()[6..]
            .iter()
            .all(|got| got.field("webhook-id") != ids[0])
    );

    // What is not there is said, with exit code 1.
    for arguments in [
        ["notifications", "retry", ids[0].as_str()],
        ["notifications", "drop", "nothing"],
    ] {
        let refused = verb(&stack, &arguments);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains("unknown_id"), "{said}");
    }
    let refused = verb(&stack, &["notifications", "test", "--receiver", "nobody"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("no receiver is called \"nobody\""), "{said}");
    assert_eq!(
        verb_ok(&stack, &["notifications", "list"]),
        "there is none\n"
    );
}

#[test]
fn secrets_are_not_said_and_a_receiver_that_is_set_up_wrong_is_found_at_start() {
    let receiver = Receiver::start(503);
    let address = format!("http://{}/services/T0/s3cr3t-path", receiver.address);
    let mut stack = Stack::with(|setup| {
        setup.record = false;
        setup.files.push(("chat.url".to_owned(), address.clone()));
        setup.more = "[[notify]]\nname = \"chat\"\nkind = \"slack\"\nurl_file = \"chat.url\"\n\
                      retry_first = \"20ms\"\nattempts_max = 1\n"
            .to_owned();
    });
    test_id(&stack, "chat");
    assert!(stack.wait(|| list(&stack, "dead").len() == 1));
    let said = format!("{}{:?}", stack.log(), list(&stack, "dead"));
    assert!(!said.contains("s3cr3t-path"), "{said}");
    stack.kill_gateway();
    std::fs::write(stack.path("chat.url"), "ftp://example.com/s3cr3t-path").expect("written");
    assert_eq!(stack.gateway_refuses(), Some(1));
    let log = stack.log();
    assert!(log.contains("[[notify]] \"chat\": "), "{log}");
    assert!(
        log.contains("must hold one https URL") && !log.contains("s3cr3t-path"),
        "{log}"
    );
}
