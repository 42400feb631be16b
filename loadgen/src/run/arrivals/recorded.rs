//! A recorder's log, replayed: the calls that were made, when they were made, with the bodies that
//! the model saw.
//!
//! Read from the log's folder itself, or from what `penstock-recorder sessions DIR --json` and
//! `penstock-recorder show DIR SESSION --json` print: any number of such objects, one behind the
//! other, in a file. A session that has no body there gets its prompt from the workload.
//!
//! Only calls that the engine could answer count: a session with the path of one of our APIs that
//! was refused on the way has no body to send, and is left out and counted.

use std::collections::HashMap;
use std::path::Path;

use penstock_recorder::frame::{FrameBody, SessionId};
use penstock_recorder::log;
use serde_json::Value;

use super::STARTS_MAX;
use crate::run::workload::Api;

/// The largest body that is replayed.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// All bodies together.
const BODIES_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;

/// One call of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Nanoseconds since the first call of the log, and then divided by the speed.
    pub at_ns: u64,
    /// The API that was called, and the body.
    pub request: Option<(Api, Vec<u8>)>,
}

/// The calls of a log, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calls {
    /// Those that can be made again.
    pub calls: Vec<Call>,
    /// How many could not: refused, not on one of our routes, or of an incomplete record.
    pub left_out: usize,
}

/// A session while its frames are read.
#[derive(Debug)]
struct Reading {
    opened_unix_ns: u64,
    api: Option<Api>,
    body: Vec<u8>,
    whole: bool,
    json: bool,
}

/// Reads a log's folder, or a file with the recorder's JSON. `speed` 2 plays it twice as fast.
pub fn read(path: &Path, speed: f64) -> Result<Calls, String> {
    let readings = if path.is_dir() {
        folder(path)?
    } else {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        exported(&text).map_err(|why| format!("{}: {why}", path.display()))?
    };
    calls(readings, speed).map_err(|why| format!("{}: {why}", path.display()))
}

fn calls(mut readings: Vec<Reading>, speed: f64) -> Result<Calls, String> {
    let all = readings.len();
    readings.retain(|reading| reading.api.is_some() && (reading.body.is_empty() || reading.json));
    readings.sort_by_key(|reading| reading.opened_unix_ns);
    let Some(first) = readings.first().map(|reading| reading.opened_unix_ns) else {
        return Err(format!(
            "none of its {all} sessions is a call that can be made again"
        ));
    };
    let bytes: usize = readings.iter().map(|reading| reading.body.len()).sum();
    if readings.len() > STARTS_MAX || bytes > BODIES_BYTES_MAX {
        return Err(format!(
            "more than {STARTS_MAX} calls or {BODIES_BYTES_MAX} bytes"
        ));
    }
    let left_out = all - readings.len();
    let call = |reading: Reading| Call {
        at_ns: ((reading.opened_unix_ns - first) as f64 / speed) as u64,
        request: reading
            .api
            .filter(|_| reading.whole && !reading.body.is_empty())
            .map(|api| (api, reading.body)),
    };
    Ok(Calls {
        calls: readings.into_iter().map(call).collect(),
        left_out,
    })
}

fn folder(path: &Path) -> Result<Vec<Reading>, String> {
    let log = log::open(path).map_err(|error| error.to_string())?;
    let mut sessions: HashMap<SessionId, Reading> = HashMap::new();
    for recorded in log.frames() {
        let frame = recorded.map_err(|error| error.to_string())?.frame;
        match frame.body {
            FrameBody::Open(open) => {
                let reading = Reading {
                    opened_unix_ns: frame.at_unix_ns,
                    api: (open.method == "POST")
                        .then(|| Api::of_path(&open.path))
                        .flatten(),
                    body: Vec::new(),
                    whole: false,
                    json: true,
                };
                sessions.insert(frame.session, reading);
            }
            FrameBody::RequestBody(piece) => {
                let Some(reading) = sessions.get_mut(&frame.session) else {
                    continue;
                };
                reading.json &= piece.media.contains("json");
                if reading.body.len() as u64 == piece.offset
                    && reading.body.len() + piece.bytes.len() <= BODY_BYTES_MAX
                {
                    reading.body.extend_from_slice(&piece.bytes);
                    reading.whole = piece.last;
                }
            }
            _ => {}
        }
    }
    // A call without a whole body was refused before the engine saw it.
    for reading in sessions.values_mut().filter(|reading| !reading.whole) {
        reading.api = None;
    }
    Ok(sessions.into_values().collect())
}

fn exported(text: &str) -> Result<Vec<Reading>, String> {
    let mut readings = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| error.to_string())?;
        let opened_unix_ns = value["opened_unix_ns"].as_u64().ok_or(
            "an object without opened_unix_ns: export it with `penstock-recorder … --json`",
        )?;
        let path = value["open"]["path"].as_str().or(value["route"].as_str());
        let refused = matches!(value["outcome"].as_str(), Some("refused" | "blocked"));
        let body = value["request"]["body"]["text"]
            .as_str()
            .unwrap_or_default();
        let media = value["request"]["media"]
            .as_str()
            .unwrap_or("application/json");
        readings.push(Reading {
            opened_unix_ns,
            api: path.and_then(Api::of_path).filter(|_| !refused),
            body: body.as_bytes().to_vec(),
            whole: !body.is_empty(),
            json: media.contains("json") && body.len() <= BODY_BYTES_MAX,
        });
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_sessions_keep_their_distances_and_bodies() {
        let text = r#"
            {"session":"b","opened_unix_ns":1700000002000000000,"route":"/v1/messages","outcome":"completed"}
            {"session":"a","opened_unix_ns":1700000000000000000,"open":{"path":"/v1/chat/completions"},
             "request":{"media":"application/json","body":{"text":"{\"model\":\"m\"}"}}}
            {"session":"c","opened_unix_ns":1700000003000000000,"route":"/v1/chat/completions","outcome":"blocked"}
            {"session":"d","opened_unix_ns":1700000004000000000,"route":"/metrics"}"#;
        let calls = calls(exported(text).unwrap(), 2.0).unwrap();
        assert_eq!(calls.left_out, 2);
        assert_eq!(calls.calls.len(), 2);
        let first = &calls.calls[0];
        assert_eq!(
            first.request,
            Some((Api::Chat, b"{\"model\":\"m\"}".to_vec()))
        );
        assert_eq!(calls.calls[1].at_ns, 1_000_000_000);
        assert_eq!(calls.calls[1].request, None);
    }

    #[test]
    fn a_log_without_calls_is_an_error() {
        assert!(calls(exported("").unwrap(), 1.0).is_err());
        assert!(exported("{}").unwrap_err().contains("opened_unix_ns"));
        assert!(read(Path::new("/nowhere/at/all"), 1.0).is_err());
    }
}
