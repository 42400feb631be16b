//! A real OpenID Connect provider against the real gateway: npm oidc-provider, started by each
//! test. Where node or the provider's packages are missing a test says that it skips, and why.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use penstock_loadgen::client::{Call, Connection, Response};
use serde_json::{Value, json};

use crate::stack::Stack;
use crate::witness::{PATIENCE, code, scripted_chat};

/// Where the provider lives; scripts/test installs its packages there.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/provider");

/// A provider of the test's own.
struct Provider {
    child: Child,
    issuer: String,
    secret: String,
}

impl Provider {
    /// Starts one; `None`, said aloud, where it cannot be.
    fn start() -> Option<Self> {
        if !Path::new(FOLDER)
            .join("node_modules/oidc-provider")
            .exists()
        {
            eprintln!("SKIPPED: npm packages are missing: npm ci --prefix {FOLDER}");
            return None;
        }
        let started = Command::new("node")
            .arg("server.mjs")
            .current_dir(FOLDER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                eprintln!("SKIPPED: node does not start: {error}");
                return None;
            }
        };
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        let read = BufReader::new(stdout).read_line(&mut line);
        let Ok(ready) = serde_json::from_str::<Value>(&line) else {
            eprintln!("SKIPPED: this node cannot run the provider: {read:?}");
            let _ = child.wait();
            return None;
        };
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Some(Self {
            child,
            issuer: text(&ready["issuer"]),
            secret: text(&ready["secrets"]["gateway"]),
        })
    }

    /// A gateway that takes this provider's tokens besides its usual ones.
    fn stack(&self) -> Stack {
        Stack::with(|setup| {
            setup.record = false;
            setup.control = "listen = \"127.0.0.1:0\"".to_owned();
            setup
                .files
                .push(("asker.secret".to_owned(), self.secret.clone()));
            setup.more = format!(
                "[[issuer]]\nname = \"real\"\nurl = \"{}\"\naudiences = [\"penstock\"]\n\
                 logout_audiences = [\"app\"]\n\
                 introspection = {{ client_id = \"gateway\", \
                 client_secret_file = \"asker.secret\" }}",
                self.issuer
            );
        })
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let address = self.issuer.strip_prefix("http://").expect("in the clear");
        let address = address.parse().expect("an address");
        let mut connection = Connection::tcp(address).expect("the provider listens");
        connection.timeout(PATIENCE).expect("a timeout");
        let call = Call::post(path, body).over(&mut connection);
        call.expect("the request is sent");
        let answer = connection.read_response().expect("an answer");
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// An access token, by the code flow.
    fn token(&self, login: &str, kind: &str) -> String {
        let resource = format!("urn:penstock:{kind}");
        let body = json!({"login": login, "resource": resource});
        let tokens = self.post("/test/sign-in", &body);
        tokens["access_token"].as_str().expect("a token").to_owned()
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.end();
    }
}

fn ask(stack: &Stack, token: &str) -> (u16, String) {
    let body = scripted_chat(&json!({"text": "hello"}), false);
    let answer: Response = stack.send(Call::post("/v1/chat/completions", &body).token(token));
    (answer.status(), code(&answer))
}

fn of(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn discovered_verified_introspected_rotated() {
    let Some(mut provider) = Provider::start() else {
        return;
    };
    let stack = provider.stack();
    for kind in ["jwt", "opaque"] {
        let token = provider.token("alice", kind);
        assert_eq!(token.starts_with("eyJ"), kind == "jwt", "{kind}");
        assert_eq!(ask(&stack, &token).0, 200, "{kind}");
        let visitor = provider.token("bob", kind);
        assert_eq!(
            ask(&stack, &visitor).0,
            403,
            "groups come with a token, {kind}"
        );
    }
    // Revoked at the provider before anybody asked about it.
    let revoked = provider.token("alice", "opaque");
    provider.post("/test/revoke", &json!({"token": revoked}));
    assert_eq!(ask(&stack, &revoked), of(401, "token_not_active"));
    // The keys change: new tokens work as soon as they may be fetched again, old ones no longer.
    let (old, opaque) = (
        provider.token("alice", "jwt"),
        provider.token("alice", "opaque"),
    );
    assert_eq!(ask(&stack, &old).0, 200);
    assert_eq!(ask(&stack, &opaque).0, 200);
    provider.post("/test/rotate", &json!({}));
    let new = provider.token("alice", "jwt");
    assert!(stack.wait(|| ask(&stack, &new).0 == 200), "{}", stack.log());
    assert_eq!(ask(&stack, &old), of(401, "unknown_key"));
    assert_eq!(ask(&stack, &opaque).0, 200, "an opaque token has no key");
    // The provider is gone: keys that are at hand still verify, and nobody new is asked about.
    let unseen = provider.token("alice", "opaque");
    provider.end();
    assert_eq!(ask(&stack, &new).0, 200);
    assert_eq!(
        ask(&stack, &unseen),
        of(503, "identity_provider_unavailable")
    );
}

#[test]
fn signing_out_at_the_provider_ends_the_session_here() {
    let Some(provider) = Provider::start() else {
        return;
    };
    let stack = provider.stack();
    let listen = stack.status()["control"]["listen"].clone();
    let listen = listen
        .as_str()
        .expect("the control API's address")
        .to_owned();
    let logout = format!("http://{listen}/logout");
    provider.post(
        "/test/configure",
        &json!({"backchannel_logout_uri": logout}),
    );
    for kind in ["opaque", "jwt"] {
        let other = provider.token("alice", kind);
        let token = provider.token("alice", kind);
        assert_eq!(
            (ask(&stack, &token).0, ask(&stack, &other).0),
            (200, 200),
            "{kind}"
        );
        let endless = json!({"text": "word ".repeat(6000), "inter_token_ms": 20});
        let mut connection = stack.connect();
        connection.timeout(PATIENCE).expect("a timeout");
        Call::post("/v1/chat/completions", &scripted_chat(&endless, true))
            .token(&token)
            .over(&mut connection)
            .expect("the request is sent");
        assert_eq!(connection.read_head().expect("a head").status, 200);
        connection
            .next_event()
            .expect("an event")
            .expect("not the end");
        provider.post("/test/sign-out", &json!({"login": "alice"}));
        let mut last = None;
        while let Some(event) = connection.next_event().expect("the stream ends in order") {
            last = Some(event);
        }
        let last = last.expect("a last event").json().expect("JSON");
        assert_eq!(last["error"]["code"], "revoked", "{last}");
        assert_eq!(ask(&stack, &token), of(401, "revoked"), "{kind}");
        assert_eq!(
            ask(&stack, &other).0,
            200,
            "another session goes on, {kind}"
        );
    }
}
