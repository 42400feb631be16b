//! Opaque tokens, as a caller has them: an issuer that is asked what they stand for, asked once,
//! believed only while it answers, and never shown a JWT.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use penstock_loadgen::client::{Call, Response};
use penstock_loadgen::issuer::now_unix;
use serde_json::{Value, json};

use crate::stack::Stack;
use crate::witness::{code, open_of, scripted_chat};

/// What the endpoint does with questions.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Answers,
    /// Takes questions and says nothing.
    Hangs,
    HangsUp,
    Says(u16),
}

/// An introspection endpoint: knows tokens by `known`, and keeps the questions that it got.
struct Endpoint {
    address: SocketAddr,
    known: Arc<Mutex<Vec<(String, Value)>>>,
    asked: Arc<Mutex<Vec<String>>>,
    mood: Arc<Mutex<Mood>>,
    stop: Arc<AtomicBool>,
}

impl Endpoint {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = Self {
            address: listener.local_addr().expect("bound"),
            known: Arc::default(),
            asked: Arc::default(),
            mood: Arc::new(Mutex::new(Mood::Answers)),
            stop: Arc::default(),
        };
        let (known, asked) = (endpoint.known.clone(), endpoint.asked.clone());
        let (mood, stop) = (endpoint.mood.clone(), endpoint.stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (known, asked, mood) = (known.clone(), asked.clone(), mood.clone());
                std::thread::spawn(move || {
                    // A gateway that goes away in the middle is part of what is tested.
                    let _ = serve(stream, &known, &asked, &mood);
                });
            }
        });
        endpoint
    }

    /// A stack whose issuer is asked here.
    fn stack(&self, record: bool) -> Stack {
        Stack::with(|setup| {
            setup.record = record;
            setup.issuer = format!(
                "introspection = {{ endpoint = \"http://{}/introspect\", \
                 client_id = \"the gateway\", client_secret_file = \"introspection.secret\" }}",
                self.address
            );
            let secret = "of & the gateway\n".to_owned();
            setup
                .files
                .push(("introspection.secret".to_owned(), secret));
        })
    }

    /// Issues a token with these claims.
    fn issue(&self, token: &str, claims: Value) {
        let mut known = self.known.lock().expect("not poisoned");
        known.retain(|(other, _)| other != token);
        known.push((token.to_owned(), claims));
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().expect("not poisoned") = mood;
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    known: &Mutex<Vec<(String, Value)>>,
    asked: &Mutex<Vec<String>>,
    mood: &Mutex<Mood>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    loop {
        let (head, form) = read_request(&mut stream)?;
        asked.lock().expect("not poisoned").push(form.clone());
        let mood = *mood.lock().expect("not poisoned");
        let (status, body) = match mood {
            Mood::HangsUp => return Ok(()),
            // Until the gateway has enough of it.
            Mood::Hangs => return stream.read(&mut [0]).map(|_| ()),
            Mood::Says(status) => (status, json!({"error": "later"})),
            Mood::Answers => (200, answer(&head, &form, known)),
        };
        let body = body.to_string();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )?;
    }
}

fn answer(head: &str, form: &str, known: &Mutex<Vec<(String, Value)>>) -> Value {
    // "the+gateway:of+%26+the+gateway" in base64: form-encoded first, as RFC 6749 has it.
    let credentials = "Basic dGhlK2dhdGV3YXk6b2YrJTI2K3RoZStnYXRld2F5";
    assert!(head.contains(credentials), "{head}");
    assert!(head.starts_with("POST /introspect "), "{head}");
    let known = known.lock().expect("not poisoned");
    let found = known
        .iter()
        .find(|(token, _)| *form == format!("token={token}&token_type_hint=access_token"));
    match found {
        Some((_, claims)) => claims.clone(),
        None => json!({"active": false}),
    }
}

fn read_request(stream: &mut TcpStream) -> std::io::Result<(String, String)> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head
        .to_ascii_lowercase()
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next()?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head, String::from_utf8_lossy(&body).into_owned()))
}

/// What a good answer says.
fn claims(subject: &str) -> Value {
    json!({
        "active": true, "sub": subject, "aud": ["penstock"], "exp": now_unix() + 600,
        "client_id": "nightly", "scope": "infer", "groups": ["engineers"],
    })
}

fn ask(stack: &Stack, token: &str) -> Response {
    let body = scripted_chat(&json!({"text": "hello"}), false);
    stack.send(Call::post("/v1/chat/completions", &body).token(token))
}

#[test]
fn an_opaque_token_is_asked_about_once_and_recorded_as_its_person() {
    let endpoint = Endpoint::start();
    let stack = endpoint.stack(true);
    let token = "2YotnFZFEjr1zCsicMWpAA-opaque";
    endpoint.issue(token, claims("ada"));
    for _ in 0..5 {
        let answer = ask(&stack, token);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let record = stack.session_of(&answer);
        let open = open_of(&record);
        assert_eq!(
            (open.subject.as_str(), &open.groups),
            ("ada", &vec!["engineers".to_owned()])
        );
        assert_eq!(open.issuer, stack.issuer.url());
    }
    assert_eq!(endpoint.asked().len(), 1);
    assert_eq!(
        stack.counter("requests"),
        5,
        "a wait is not counted as a call"
    );
    assert_eq!(stack.counter("unauthenticated"), 0);
    let status = &stack.status()["issuers"][0]["introspection"];
    assert_eq!(status["answered"], 1, "{status}");
    assert_eq!(status["trouble"], Value::Null);

    // One that is not active, one for another service, one that has expired, one that is no JWT
    // but wants to be one.
    endpoint.issue("elsewhere", {
        let mut it = claims("ada");
        it["aud"] = json!("another");
        it
    });
    endpoint.issue("old", {
        let mut it = claims("ada");
        it["exp"] = json!(now_unix() - 100);
        it
    });
    for (token, expected) in [
        ("made-up", "token_not_active"),
        ("elsewhere", "wrong_audience"),
        ("old", "token_expired"),
        ("eyJhbGciOiJFUzI1NiJ9.e30", "malformed_token"),
    ] {
        let refused = ask(&stack, token);
        assert_eq!(
            (refused.status(), code(&refused).as_str()),
            (401, expected),
            "{token}"
        );
    }
    assert_eq!(endpoint.asked().len(), 4, "a JWT is not shown to anybody");
    // JWTs go on as before, and no opaque token is written anywhere.
    assert_eq!(ask(&stack, &stack.token()).status(), 200);
    assert_eq!(endpoint.asked().len(), 4);
    stack.assert_never_written(&[token, "made-up", "of & the gateway"]);
}

#[test]
fn calls_at_the_same_time_ask_once_and_a_revocation_holds() {
    let endpoint = Endpoint::start();
    let stack = endpoint.stack(false);
    endpoint.issue("shared-token", claims("ada"));
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..24)
            .map(|_| scope.spawn(|| ask(&stack, "shared-token").status()))
            .collect();
        calls.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(answers, [200; 24]);
    assert_eq!(endpoint.asked().len(), 1);
    let body = json!({"who": {"subject": "ada"}, "reason": "left"});
    let made = crate::control::control(&stack, &Call::post("/revocations", &body));
    assert_eq!(made.status(), 201, "{}", made.text());
    let refused = ask(&stack, "shared-token");
    assert_eq!(
        (refused.status(), code(&refused).as_str()),
        (401, "revoked")
    );
}

#[test]
fn without_its_issuer_an_opaque_token_opens_nothing() {
    let endpoint = Endpoint::start();
    let stack = endpoint.stack(false);
    for (mood, token) in [
        (Mood::HangsUp, "first"),
        (Mood::Says(500), "second"),
        (Mood::Says(401), "third"),
        (Mood::Hangs, "fourth"),
    ] {
        endpoint.issue(token, claims("ada"));
        endpoint.set(mood);
        let refused = ask(&stack, token);
        assert_eq!(refused.status(), 503, "{}", refused.text());
        assert_eq!(code(&refused), "identity_provider_unavailable");
        assert_eq!(refused.head.field("retry-after"), Some("1"));
        // Meanwhile those who have a JWT are served.
        assert_eq!(ask(&stack, &stack.token()).status(), 200);
        assert_ne!(
            stack.status()["issuers"][0]["introspection"]["trouble"],
            Value::Null
        );
        endpoint.set(Mood::Answers);
        assert!(
            stack.wait(|| ask(&stack, token).status() == 200),
            "it is asked again"
        );
        assert_eq!(
            stack.status()["issuers"][0]["introspection"]["trouble"],
            Value::Null
        );
    }
    let log = stack.log();
    assert!(
        log.contains("opaque tokens can be asked about again"),
        "{log}"
    );
    for secret in ["first", "second", "third", "fourth"] {
        assert!(!log.contains(&format!("token={secret}")), "{log}");
    }
}
