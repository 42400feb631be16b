//! What the double saw: the last requests byte for byte, and counters.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How many requests are kept.
pub(super) const REQUESTS_KEPT: usize = 256;
/// How many bytes of requests are kept, all together.
const BYTES_KEPT: usize = 64 * 1024 * 1024;
/// How many different paths are counted; others are counted together.
const PATHS_MAX: usize = 1024;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Counts up over all connections, from 1.
    pub serial: u64,
    /// Which connection it came on, from 1.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// The target, with its query.
    pub target: String,
    /// Fields in order, names as they came.
    pub fields: Vec<(String, String)>,
    /// The head with its blank line, byte for byte.
    pub head: Vec<u8>,
    /// The body, decoded from chunks.
    pub body: Vec<u8>,
    /// Whether it came in chunks.
    pub chunked: bool,
}

/// What was counted since the start or the last clearing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Requests read whole.
    pub requests: u64,
    /// Requests by `METHOD path`.
    pub paths: BTreeMap<String, u64>,
    /// Requests to management routes.
    pub management: u64,
    /// Requests that could not be delimited.
    pub malformed: u64,
    /// Requests without the right credential.
    pub unauthorized: u64,
    /// Requests that broke off in the middle.
    pub incomplete: u64,
    /// Answers sent to their end.
    pub completed: u64,
    /// Answers that the client did not wait for.
    pub cancelled: u64,
    /// Answers broken off on purpose.
    pub truncated: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub connections_open: i64,
    /// Answers being sent now.
    pub generating: i64,
}

/// All that is remembered, shared by the threads.
#[derive(Default)]
pub(super) struct Ledger {
    kept: Mutex<Kept>,
    changed: Condvar,
    serial: AtomicU64,
    pub(super) management: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) unauthorized: AtomicU64,
    pub(super) incomplete: AtomicU64,
    pub(super) completed: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) truncated: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) connections_open: AtomicI64,
    pub(super) generating: AtomicI64,
    /// Requests of the fast path, which are not looked at.
    pub(super) bench: AtomicU64,
}

#[derive(Default)]
struct Kept {
    requests: VecDeque<Recorded>,
    bytes: usize,
    count: u64,
    paths: BTreeMap<String, u64>,
}

// === impl Recorded ===

impl Recorded {
    /// The first field of this name, whatever its case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.fields.iter().find(same).map(|field| field.1.as_str())
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Path without query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// As the admin listener and `echo` show it; what is not UTF-8 comes as `body_hex`.
    pub fn to_json(&self) -> Value {
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(name, value)| json!([name, value]))
            .collect();
        let mut shown = json!({
            "serial": self.serial,
            "connection": self.connection,
            "method": self.method,
            "target": self.target,
            "head": String::from_utf8_lossy(&self.head),
            "headers": fields,
            "chunked": self.chunked,
        });
        match std::str::from_utf8(&self.body) {
            Ok(text) => shown["body"] = text.into(),
            Err(_) => {
                let hex: String = self.body.iter().map(|byte| format!("{byte:02x}")).collect();
                shown["body_hex"] = hex.into();
            }
        }
        shown
    }
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn next_connection(&self) -> u64 {
        self.connections_open.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn record(&self, request: Recorded) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let mut path = format!("{} {}", request.method, request.path());
        if kept.paths.len() >= PATHS_MAX && !kept.paths.contains_key(&path) {
            path = "other".into();
        }
        *kept.paths.entry(path).or_default() += 1;
        kept.bytes += request.head.len() + request.body.len();
        kept.requests.push_back(request);
        while kept.requests.len() > REQUESTS_KEPT || kept.bytes > BYTES_KEPT {
            let Some(old) = kept.requests.pop_front() else {
                break;
            };
            kept.bytes -= old.head.len() + old.body.len();
        }
        drop(kept);
        self.changed.notify_all();
    }

    pub(super) fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.requests.iter().cloned().collect()
    }

    pub(super) fn counters(&self) -> Counters {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut paths = kept.paths.clone();
        let bench = read(&self.bench);
        if bench > 0 {
            paths.insert("bench".into(), bench);
        }
        Counters {
            requests: kept.count + bench,
            paths,
            management: read(&self.management),
            malformed: read(&self.malformed),
            unauthorized: read(&self.unauthorized),
            incomplete: read(&self.incomplete),
            completed: read(&self.completed),
            cancelled: read(&self.cancelled),
            truncated: read(&self.truncated),
            connections: read(&self.connections),
            connections_open: self.connections_open.load(Ordering::Relaxed),
            generating: self.generating.load(Ordering::Relaxed),
        }
    }

    /// Waits until the counters satisfy `done`; false when `timeout` passed before that.
    pub(super) fn wait(&self, timeout: Duration, done: impl Fn(&Counters) -> bool) -> bool {
        let end = Instant::now() + timeout;
        // The counters change without the lock, so a signal may be missed: look again soon.
        let look_again = Duration::from_millis(10);
        loop {
            if done(&self.counters()) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.changed.wait_timeout(kept, look_again));
        }
    }

    /// Forgets requests and counts; what is open now stays counted.
    pub(super) fn clear(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept::default();
        let counters = [
            &self.management,
            &self.malformed,
            &self.unauthorized,
            &self.incomplete,
            &self.completed,
            &self.cancelled,
            &self.truncated,
            &self.connections,
            &self.bench,
        ];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
