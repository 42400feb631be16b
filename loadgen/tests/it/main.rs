//! The double, the issuer and the generator from outside, over real sockets and processes.

#![allow(clippy::unwrap_used)] // tests

mod apis;
mod captures;
mod commands;
mod generator;
mod misbehaviour;
mod tokens;
mod witness;

use std::time::Duration;

use penstock_loadgen::client::{Call, Connection, Event, Response};
use penstock_loadgen::double::{Double, DoubleOptions};
use serde_json::{Value, json};

/// How long a test waits for what should happen at once.
const SOON: Duration = Duration::from_secs(60);

fn double() -> Double {
    Double::start(DoubleOptions::default()).unwrap()
}

fn chat(double: &Double, prompt: &str) -> Response {
    Call::chat("m", prompt, false).to(double.address()).unwrap()
}

fn stream(double: &Double, path: &str, body: Value) -> Vec<Event> {
    let mut body = body;
    body["stream"] = true.into();
    let response = Call::post(path, &body).to(double.address()).unwrap();
    assert_eq!(
        response.head.field("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    response.events()
}

fn user(prompt: &str) -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": prompt }] })
}

fn connect(double: &Double) -> Connection {
    Connection::tcp(double.address()).unwrap()
}
