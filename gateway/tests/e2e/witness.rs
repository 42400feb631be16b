//! What there is to see of a call besides its answer: the record, the control API, the bytes on
//! disk, and the text that a person would have read out of a stream.

use std::fs;
use std::time::Duration;

use penstock_loadgen::client::{Call, Connection, Event, Response};
use penstock_recorder::frame::{Close, Decision, FrameBody, Open};
use penstock_recorder::log::{self, Session, Summary};
use serde_json::{Value, json};

use crate::stack::{MODEL, Stack};

/// How long a client in these tests waits for a byte.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

// === calls ===

/// A chat that tells the double what to answer.
pub(crate) fn scripted_chat(answer: &Value, stream: bool) -> Value {
    json!({
        "model": MODEL,
        "stream": stream,
        "messages": [{"role": "user", "content": directive(answer)}],
    })
}

/// A text that tells the double what to answer.
pub(crate) fn directive(answer: &Value) -> String {
    format!("[[double: {answer}]]")
}

/// The stable code of an error body.
pub(crate) fn code(answer: &Response) -> String {
    let body = answer.json();
    body["error"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The id of the call, which is the id of its record.
pub(crate) fn request_id(answer: &Response) -> String {
    let id = answer.head.field("x-request-id");
    id.expect("every answer has an x-request-id").to_owned()
}

/// Everything that `read` finds in the events, joined.
pub(crate) fn joined(events: &[Event], read: impl Fn(&Value) -> Option<String>) -> String {
    let values = events.iter().filter_map(Event::json);
    values.filter_map(|value| read(&value)).collect()
}

/// The string at this place of an event, for [`joined`].
pub(crate) fn at(pointer: &str) -> impl Fn(&Value) -> Option<String> {
    move |value| value.pointer(pointer)?.as_str().map(str::to_owned)
}

impl Stack {
    /// Sends a call with the default token and reads the whole answer.
    pub(crate) fn call(&self, call: Call) -> Response {
        self.send(call.token(&self.token()))
    }

    /// Sends a call as it is and reads the whole answer.
    pub(crate) fn send(&self, call: Call) -> Response {
        call.to(self.address()).expect("an answer")
    }

    /// A connection on which this call was sent; the answer is to be read.
    pub(crate) fn begin(&self, call: Call) -> Connection {
        let mut connection = self.connect();
        connection.timeout(PATIENCE).expect("a timeout");
        call.token(&self.token())
            .over(&mut connection)
            .expect("the request is sent");
        connection
    }

    /// What the control API tells.
    pub(crate) fn status(&self) -> Value {
        let socket = self.path("control.sock");
        let mut connection = Connection::unix(&socket).expect("the control socket");
        Call::get("/status")
            .over(&mut connection)
            .expect("the request is sent");
        connection.read_response().expect("the status").json()
    }

    /// One counter of the gateway.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.status()["counters"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("no counter {name}"))
    }

    /// Whether the gateway knows a recorder.
    pub(crate) fn recorder_connected(&self) -> bool {
        self.status()["recorder"]["connected"] == true
    }

    // === the record ===

    /// A session whose end is in the log.
    pub(crate) fn session(&self, id: &str) -> Session {
        let mut found = None;
        let closed = self.wait(|| {
            found = log::open(&self.segments())
                .ok()
                .and_then(|log| log.session(id).ok());
            found
                .as_ref()
                .is_some_and(|session| session.close().is_some())
        });
        assert!(closed, "session {id} has no end: {found:?}");
        found.expect("it was found")
    }

    /// The record of this answer's call.
    pub(crate) fn session_of(&self, answer: &Response) -> Session {
        self.session(&request_id(answer))
    }

    /// All sessions of the log.
    pub(crate) fn sessions(&self) -> Vec<Summary> {
        let log = log::open(&self.segments()).expect("the log opens");
        log.sessions().expect("the log is read")
    }

    /// Every byte that was written down anywhere: segments, both logs.
    pub(crate) fn written_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in fs::read_dir(self.segments()).expect("the log's folder") {
            bytes.extend(fs::read(entry.expect("an entry").path()).expect("a segment"));
        }
        for name in ["gateway.log", "recorder.log"] {
            bytes.extend(fs::read(self.path(name)).expect("a log"));
        }
        bytes
    }

    /// Panics when a text stands in a segment or in a log, as it is or escaped.
    pub(crate) fn assert_never_written(&self, texts: &[&str]) {
        let written = self.written_bytes();
        for text in texts {
            assert!(!contains(&written, text), "{text:?} was written down");
        }
    }

    /// The log's own verdict; panics unless it is good.
    pub(crate) fn assert_verified(&self) {
        let dir = self.segments();
        let dir = dir.to_str().expect("a UTF-8 path");
        if let Err(report) = self.recorder_tool(&["verify", dir]) {
            panic!("the log does not verify: {report}");
        }
    }
}

/// Whether bytes contain a text.
pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

// === sessions ===

pub(crate) fn open_of(session: &Session) -> &Open {
    session.open().expect("the session's opening")
}

pub(crate) fn close_of(session: &Session) -> &Close {
    session.close().expect("the session's end")
}

pub(crate) fn decisions_of(session: &Session) -> Vec<&Decision> {
    let decisions = session.bodies().filter_map(|body| match body {
        FrameBody::Decision(decision) => Some(decision),
        _ => None,
    });
    decisions.collect()
}

/// Frames are numbered without a hole, and time does not run backwards.
pub(crate) fn assert_in_order(session: &Session) {
    let mut at = 0;
    for (index, recorded) in session.frames.iter().enumerate() {
        assert_eq!(recorded.frame.index as usize, index, "{session:?}");
        assert!(recorded.frame.at_unix_ns >= at, "{session:?}");
        at = recorded.frame.at_unix_ns;
    }
}
