//! The control API as an operator's tools see it: its document, its errors, its command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use penstock_loadgen::client::{Call, Connection, Response};
use serde_json::Value;

use crate::stack::Stack;
use crate::witness::PATIENCE;

/// Sends a call to the control socket.
pub(crate) fn control(stack: &Stack, call: &Call) -> Response {
    let mut connection = Connection::unix(&stack.path("control.sock")).expect("the control socket");
    connection.timeout(PATIENCE).expect("a timeout");
    call.over(&mut connection).expect("the request is sent");
    connection.read_response().expect("an answer")
}

/// Runs a verb of the gateway's program against the stack's control socket.
pub(crate) fn verb(stack: &Stack, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(arguments)
        .arg("--control")
        .arg(stack.path("control.sock"))
        .output()
        .expect("the gateway's program runs")
}

/// The same, where it must succeed; what it printed.
#[track_caller]
pub(crate) fn verb_ok(stack: &Stack, arguments: &[&str]) -> String {
    let output = verb(stack, arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).expect("text")
}

/// As under `… | head`, which is content before all is printed.
#[test]
fn a_verb_whose_output_nobody_reads_ends_without_a_word() {
    let stack = Stack::start();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let verb = Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(["status", "--control"])
        .arg(stack.path("control.sock"))
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the gateway's program runs");
    assert_eq!(verb.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&verb.stderr), "");
}

/// Every `$ref` of a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn the_document_is_openapi_and_tells_of_every_route() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        crate::scim::configure(setup);
    });
    let answer = control(&stack, &Call::get("/openapi.json"));
    assert_eq!(answer.status(), 200);
    let document = answer.json();
    let version = document["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1."), "{version}");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());

    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(!responses.is_empty(), "{method} {path}");
            let described = responses.values().all(|it| it["description"].is_string());
            assert!(described, "{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(!id.is_empty());
            routes.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    routes.sort();
    assert_eq!(routes, ROUTES);
    for reference in {
        let mut found = Vec::new();
        references(&document, &mut found);
        found
    } {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let checked = jsonschema::draft202012::meta::validate(schema);
        assert!(checked.is_ok(), "{name}: {checked:?}");
    }
    // What it tells of is there.
    for route in ROUTES {
        if *route == "GET /approvals/events" {
            // A stream without an end; `approvals` reads it.
            continue;
        }
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace(['{', '}'], "");
        let call = Call::new(method, &path).body("{}");
        let code = control(&stack, &call.field("content-type", "application/json"));
        let missing = matches!(code.status(), 404 | 405) && code.json()["code"] != "unknown_id";
        assert!(!missing, "{route}: {}", code.text());
    }
}

/// All that there is; a route that is added or lost is a change for somebody's tools.
const ROUTES: &[&str] = &[
    "DELETE /notifications/{id}",
    "DELETE /revocations/{id}",
    "DELETE /scim/v2/Users/{id}",
    "GET /approvals",
    "GET /approvals/events",
    "GET /approvals/{id}",
    "GET /healthz",
    "GET /histograms",
    "GET /keys",
    "GET /metrics",
    "GET /notifications",
    "GET /openapi.json",
    "GET /revocations",
    "GET /scim/v2/ResourceTypes",
    "GET /scim/v2/Schemas",
    "GET /scim/v2/ServiceProviderConfig",
    "GET /scim/v2/Users",
    "GET /scim/v2/Users/{id}",
    "GET /status",
    "PATCH /scim/v2/Users/{id}",
    "POST /approvals/{id}/approve",
    "POST /approvals/{id}/deny",
    "POST /console-links",
    "POST /hooks/slack",
    "POST /keys",
    "POST /keys/{id}/revoke",
    "POST /keys/{id}/rotate",
    "POST /logout",
    "POST /notifications/test",
    "POST /notifications/{id}/retry",
    "POST /reload",
    "POST /revocations",
    "POST /scim/v2/Users",
    "PUT /scim/v2/Users/{id}",
];

#[test]
fn errors_are_problem_documents() {
    let stack = Stack::unrecorded();
    for (call, status, code) in [
        (Call::get("/nothing"), 404, "not_found"),
        (Call::new("POST", "/status"), 405, "method_not_allowed"),
    ] {
        let answer = control(&stack, &call);
        assert_eq!(answer.status(), status, "{}", answer.text());
        let media = answer.head.field("content-type");
        assert_eq!(media, Some("application/problem+json"));
        let problem = answer.json();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().len() > 10);
    }
}

#[test]
fn the_command_line_is_a_client_of_the_api() {
    let stack = Stack::unrecorded();
    let told = verb_ok(&stack, &["status"]);
    assert!(told.contains("recorder.enabled: false"), "{told}");
    let told: Value = serde_json::from_str(&verb_ok(&stack, &["status", "--json"])).unwrap();
    assert_eq!(told["recorder"]["enabled"], false);
    // The configuration knows where the socket is.
    let output = status_at("--config", &stack.path("gateway.toml"));
    assert!(output.status.success());
    // Nobody there: said with the place, and the exit code is 1; used wrongly it is 2.
    let output = status_at("--control", &stack.path("absent.sock"));
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("is the gateway running?"), "{told}");
    let output = status_at("--nothing", &stack.path("absent.sock"));
    assert_eq!(output.status.code(), Some(2));
}

fn status_at(option: &str, path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_penstock-gateway"))
        .args(["status", option])
        .arg(path)
        .output()
        .expect("the gateway's program runs")
}
