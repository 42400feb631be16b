//! Who may do what on the control API: by the socket, and over TCP by a token's groups.

use std::net::SocketAddr;
use std::process::{Command, Output};

use penstock_loadgen::client::{Call, Connection, Response};
use penstock_loadgen::issuer::TokenSpec;
use serde_json::Value;

use crate::control::{control, verb_ok};
use crate::stack::{Setup, Stack};
use crate::tls::Pair;

/// Under `[control]`: reached over TCP, with a group for each role.
pub(crate) const OVER_TCP: &str = "listen = \"127.0.0.1:0\"\n\
    roles = { viewer = [\"staff\"], approver = [\"security\"], admin = [\"sre\"] }\n";

/// What anybody may ask for, without a token.
const OPEN: &[&str] = &[
    "GET /healthz",
    "GET /openapi.json",
    "POST /hooks/slack",
    "POST /logout",
];

/// A stack whose control API is reached over TCP, and where.
pub(crate) fn over_tcp(change: impl FnOnce(&mut Setup)) -> (Stack, SocketAddr) {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.control = OVER_TCP.to_owned();
        change(setup);
    });
    let address = stack.status()["control"]["listen"].clone();
    let address = address.as_str().expect("it listens").parse();
    (stack, address.expect("an address"))
}

/// Sends a call to the control API's port.
pub(crate) fn ask(address: SocketAddr, call: &Call) -> Response {
    let mut connection = Connection::tcp(address).expect("the control port");
    call.over(&mut connection).expect("the request is sent");
    connection.read_response().expect("an answer")
}

fn outcome(answer: &Response) -> (u16, String) {
    let code = answer.json()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    (answer.status(), code)
}

/// Which role an operation states; `None` for anybody who is known.
fn needed(operation: &Value) -> Option<usize> {
    let roles = operation["security"][0]["bearer"].as_array();
    let role = roles.expect("it states who may").first()?.as_str()?;
    let place = ["viewer", "approver", "admin"]
        .iter()
        .position(|it| *it == role);
    Some(place.expect("a role that there is"))
}

#[test]
fn every_route_takes_whom_its_document_says_and_nobody_else() {
    let (stack, address) = over_tcp(|_| {});
    let token = |group: &str| stack.issuer.token("eve", &[group]);
    let tokens = ["staff", "security", "sre"].map(token);
    let document = control(&stack, &Call::get("/openapi.json")).json();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = format!("{} {path}", method.to_uppercase());
            if !operation["responses"]["200"]["content"]["text/event-stream"].is_null() {
                // A stream without an end: its tests read it.
                assert_eq!(needed(operation), Some(0), "{name}");
                continue;
            }
            let call = || {
                let path = path.replace(['{', '}'], "");
                let call = Call::new(&method.to_uppercase(), &path).body("{}");
                call.field("content-type", "application/json")
            };
            let anybody = ask(address, &call());
            if operation["security"].is_null() {
                assert!(OPEN.contains(&name.as_str()), "{name} says not who may");
                // Some bring a proof of their own, and miss it here.
                assert_ne!(outcome(&anybody).1, "missing_credential", "{name}");
                continue;
            }
            if operation["security"][0]["scim"].is_array() {
                // A provisioning service's alone; there is none here (tests/e2e/scim.rs has one).
                let admin = ask(address, &call().token(&tokens[2]));
                assert_eq!((anybody.status(), admin.status()), (404, 404), "{name}");
                continue;
            }
            seen += 1;
            let unknown = (401, "missing_credential".to_owned());
            assert_eq!(outcome(&anybody), unknown, "{name}");
            assert!(anybody.head.field("www-authenticate").is_some(), "{name}");
            let refused = (403, "role_needed".to_owned());
            let without = ask(address, &call().token(&token("others")));
            let Some(needed) = needed(operation) else {
                assert_ne!(outcome(&without), refused, "{name}");
                continue;
            };
            // A link lets its maker do no more than they may.
            let is_looking = method == "get" || name == "POST /console-links";
            assert!(needed > 0 || is_looking, "{name} changes something");
            assert_eq!(outcome(&without), refused, "{name}");
            for (role, token) in tokens.iter().enumerate() {
                let answer = ask(address, &call().token(token));
                let is_refused = answer.status() == 403 && outcome(&answer) == refused;
                assert_eq!(is_refused, role < needed, "{name}: {}", answer.text());
                assert_ne!(answer.status(), 401, "{name}");
            }
        }
    }
    assert!(
        seen >= 9,
        "the document tells of {seen} routes that are not open"
    );
}

#[test]
fn a_token_is_taken_as_on_the_data_plane() {
    let (stack, address) = over_tcp(|_| {});
    let status = |token: &str| outcome(&ask(address, &Call::get("/status").token(token)));
    let refused = |code: &str| (401, code.to_owned());
    let good = stack.issuer.token("ada", &["staff"]);
    assert_eq!(status(&good).0, 200);
    assert_eq!(status("nothing").0, 401);
    let spec = TokenSpec::new("ada", &["sre"]).claim("exp", 1_000_000_000);
    let old = stack.issuer.mint(&spec).expect("a token");
    assert_eq!(status(&old), refused("token_expired"));
    // The socket takes a token, too, and then its user is its bearer.
    let by_socket = control(&stack, &Call::get("/status").token("nothing"));
    assert_eq!(by_socket.status(), 401);
    let revoke = Call::post(
        "/revocations",
        &serde_json::json!({"who": {"subject": "x"}, "reason": "r"}),
    );
    let by_socket = control(&stack, &revoke.token(&good));
    assert_eq!(outcome(&by_socket), (403, "role_needed".to_owned()));
    // Two are one too many, and a key is not for this.
    let both = Call::get("/status")
        .token(&good)
        .field("authorization", "Bearer x");
    assert_eq!(
        outcome(&ask(address, &both)),
        refused("ambiguous_credential")
    );
    let text = verb_ok(
        &stack,
        &[
            "keys",
            "create",
            "--json",
            "--name",
            "n",
            "--expires",
            "1h",
            "--owner",
            "ada",
            "--groups",
            "sre",
        ],
    );
    let issued: Value = serde_json::from_str(&text).expect("JSON");
    let key = issued["secret"].as_str().expect("a key");
    assert_eq!(status(key), refused("not_a_person"));

    // Cut off is cut off here, too.
    verb_ok(&stack, &["revoke", "--subject", "ada", "--reason", "left"]);
    assert_eq!(status(&good), refused("revoked"));
    assert_eq!(status(&stack.issuer.token("bob", &["staff"])).0, 200);
    // Who did what is kept by name.
    let admin = stack.issuer.token("grace", &["sre"]);
    let revoke = Call::post(
        "/revocations",
        &serde_json::json!({"who": {"subject": "bob"}, "reason": "r"}),
    );
    let made = ask(address, &revoke.token(&admin));
    assert_eq!(made.status(), 201, "{}", made.text());
    let by = format!("grace of {}", stack.issuer.url());
    assert_eq!(made.json()["revocation"]["by"], by);
}

#[test]
fn whose_key_it_is_and_who_administers_are_two_things() {
    let (stack, address) = over_tcp(|_| {});
    let [ada, viewer, admin] = [("ada", "others"), ("vera", "staff"), ("grace", "sre")]
        .map(|(name, group)| stack.issuer.token(name, &[group]));
    let key = |owner: Option<&str>| {
        let owner = owner.map(|subject| serde_json::json!({"subject": subject}));
        let groups: &[&str] = if owner.is_some() { &["engineers"] } else { &[] };
        let wanted =
            serde_json::json!({"owner": owner, "name": "n", "groups": groups, "expires": "1h"});
        Call::post("/keys", &wanted)
    };
    let own = ask(address, &key(None).token(&ada));
    assert_eq!(own.status(), 201, "{}", own.text());
    assert_eq!(own.json()["key"]["created_by"], "owner");
    let id = own.json()["key"]["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(address, &key(Some("ada")).token(&ada)).status(), 422);
    assert_eq!(ask(address, &key(Some("ada")).token(&viewer)).status(), 403);
    let others = ask(address, &key(Some("ada")).token(&admin));
    assert_eq!(others.status(), 201, "{}", others.text());
    let by = others.json()["key"]["created_by"].clone();
    assert_eq!(by, format!("grace of {}", stack.issuer.url()));

    let seen = |token: &str| {
        let list = ask(address, &Call::get("/keys").token(token)).json();
        list["keys"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((seen(&ada), seen(&viewer), seen(&admin)), (2, 2, 2));
    assert_eq!(seen(&stack.issuer.token("eve", &["others"])), 0);
    let revoke = || {
        Call::post(
            &format!("/keys/{id}/revoke"),
            &serde_json::json!({"reason": "r"}),
        )
    };
    let eve = stack.issuer.token("eve", &["others"]);
    assert_eq!(ask(address, &revoke().token(&eve)).status(), 404);
    assert_eq!(ask(address, &revoke().token(&viewer)).status(), 403);
    assert_eq!(ask(address, &revoke().token(&admin)).status(), 201);
}

#[test]
fn the_command_line_goes_by_tls_with_a_token() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pair = Pair::new();
    pair.write(folder.path());
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let (stack, address) = over_tcp(|setup| {
        let tls = format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\n");
        setup.control = format!("{tls}{OVER_TCP}");
    });
    let token = stack.path("token");
    std::fs::write(&token, stack.issuer.token("ada", &["sre"])).expect("written");
    let run = |ca: bool, with_token: bool| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-gateway"));
        let url = format!("https://localhost:{}", address.port());
        command.args(["reload", "--json", "--control", &url]);
        if ca {
            command.arg("--ca-file").arg(&certificate);
        }
        if with_token {
            command.arg("--token-file").arg(&token);
        }
        command.output().expect("the program runs")
    };
    let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told(&run(false, true)).contains("certificate"),
        "{}",
        told(&run(false, true))
    );
    assert!(told(&run(true, false)).contains("missing_credential"));
    let good = run(true, true);
    assert!(good.status.success(), "{}", told(&good));
    let attempt: Value = serde_json::from_slice(&good.stdout).expect("JSON");
    assert_eq!(
        (&attempt["control_tls"], &attempt["tls"]),
        (&"unchanged".into(), &Value::Null)
    );

    // A new certificate counts with the reload, in a handshake after it.
    let other = Pair::new();
    other.write(folder.path());
    assert!(
        !run(true, true).status.success(),
        "the old one is still served"
    );
    let reloaded = verb_ok(&stack, &["reload"]);
    assert!(
        reloaded.contains("control listener's certificate"),
        "{reloaded}"
    );
    assert!(run(true, true).status.success());
    // In the clear a token goes nowhere else than here.
    let output = Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(["status", "--control", "http://192.0.2.1:9", "--token-file"])
        .arg(&token)
        .output()
        .expect("the program runs");
    assert!(told(&output).contains("in the clear"), "{}", told(&output));
}

#[test]
fn a_crowd_on_the_port_does_not_keep_anybody_from_the_socket() {
    const CONNECTIONS_MAX: usize = 128;
    let (stack, address) = over_tcp(|setup| {
        let all = format!("connections_per_address = {CONNECTIONS_MAX}\n");
        setup.control = format!("{all}{OVER_TCP}");
    });
    let mut crowd: Vec<Connection> = (0..CONNECTIONS_MAX)
        .map(|_| Connection::tcp(address).expect("the backlog takes it"))
        .collect();
    // The last of them is served, so all of them have their places.
    for connection in &mut crowd {
        Call::get("/healthz").over(connection).expect("sent");
        assert_eq!(connection.read_response().expect("an answer").status(), 200);
    }
    let mut late = Connection::tcp(address).expect("the backlog takes it");
    Call::get("/healthz").over(&mut late).expect("sent");
    assert_eq!(control(&stack, &Call::get("/status")).status(), 200);
    let (told, tells) = std::sync::mpsc::sync_channel(1);
    let waiting = std::thread::spawn(move || {
        let status = late.read_response().expect("an answer").status();
        told.send(status).expect("somebody listens");
    });
    let soon = std::time::Duration::from_millis(300);
    assert!(tells.recv_timeout(soon).is_err(), "served without a place");
    crowd.pop();
    assert_eq!(tells.recv().expect("an answer"), 200);
    waiting.join().expect("no panic");
}
