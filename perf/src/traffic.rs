//! The request and the answers, byte by byte.
//!
//! Everything is built once, before the clock runs. Requests and JSON answers have bodies of
//! exactly [`BODY_BYTES`]; a stream has [`STREAM_EVENTS`] events. The text is plain prose: the
//! common case, in which nothing is found and nothing is replaced, so that every subject must
//! deliver the upstream's bytes unchanged and the driver can compare all of them.
//!
//! In a stream every data event carries the time at which the upstream wrote it, as the nine digits
//! after the leading `1` of `created`: microseconds of the wall clock modulo 1 000 s. That gives
//! the latency of each single event without a second channel. The driver ignores those digits when
//! it compares.

use std::time::{SystemTime, UNIX_EPOCH};

/// Size of the body of every request and of every JSON answer.
pub const BODY_BYTES: usize = 1024;

/// Events in one stream: a role, 61 words, a finish reason, and `[DONE]`.
pub const STREAM_EVENTS: usize = 64;

/// Digits of a time stamp.
pub const STAMP_DIGITS: usize = 9;

/// A time stamp wraps at this many microseconds.
const STAMP_MODULUS: u64 = 1_000_000_000;

const PROSE: &str = "The gate stands where the river meets the old mill, and every spring the \
    keeper walks the length of the channel to look for stones. Water that comes too fast breaks \
    the wheel, and water that comes too slowly leaves the millers waiting with their sacks of \
    barley. So the keeper raises the gate by the width of a hand, listens, and raises it again. \
    In the evening the children sit on the wall and count the swallows above the pond while the \
    wheel turns below them, patient and heavy, and the flour settles on the sills like late snow. \
    When the rains return the whole village helps to clear the grate of leaves and branches, and \
    afterwards there is soup, and somebody tells the story of the year in which the pond froze \
    to the bottom and the wheel stood still until the middle of April. ";

/// The body of an answer as the driver expects it, with what it needs to count and to time units.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Every byte; the digits of time stamps are zeros.
    pub bytes: Vec<u8>,
    /// Where each unit ends, ascending; the last one is `bytes.len()`.
    pub unit_ends: Vec<usize>,
    /// Where the digits of each time stamp start, ascending.
    pub stamps: Vec<usize>,
}

/// Microseconds of the wall clock, as they fit into a time stamp.
pub fn stamp_now() -> u64 {
    // A clock before 1970 would give 0 as every stamp: latencies are wrong, nothing else is.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since.as_micros() as u64 % STAMP_MODULUS
}

/// Microseconds from one stamp to a later one.
pub fn stamp_distance_us(from: u64, to: u64) -> u64 {
    (to + STAMP_MODULUS - from % STAMP_MODULUS) % STAMP_MODULUS
}

/// Writes a stamp as digits over `place`, which is [`STAMP_DIGITS`] long.
pub fn write_stamp(mut stamp: u64, place: &mut [u8]) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (stamp % 10) as u8;
        stamp /= 10;
    }
}

/// A whole request: head and body of a chat completion. `field` is a further line of its head.
pub fn request(host: &str, field: &str, model: &str, stream: bool) -> Vec<u8> {
    let body = request_body(model, stream);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nUser-Agent: penstock-perf\r\n{field}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// The body of a request.
pub fn request_body(model: &str, stream: bool) -> Vec<u8> {
    let before = format!(
        "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"system\",\"content\":\"Answer in \
         plain words.\"}},{{\"role\":\"user\",\"content\":\""
    );
    let after = format!("\"}}],\"temperature\":0.7,\"max_tokens\":256,\"stream\":{stream}}}");
    padded(&before, &after)
}

/// The JSON answer.
pub fn json_answer(model: &str) -> Expected {
    let before = format!(
        "{{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\
         \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\""
    );
    let after = "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":178,\
                 \"completion_tokens\":152,\"total_tokens\":330}}";
    let bytes = padded(&before, after);
    Expected {
        unit_ends: vec![bytes.len()],
        stamps: Vec::new(),
        bytes,
    }
}

/// The streamed answer.
pub fn stream_answer(model: &str) -> Expected {
    let mut answer = Expected {
        bytes: Vec::new(),
        unit_ends: Vec::new(),
        stamps: Vec::new(),
    };
    let mut words = PROSE.split_ascii_whitespace().cycle();
    for index in 0..STREAM_EVENTS - 1 {
        let (delta, finish) = match index {
            0 => (
                "{\"role\":\"assistant\",\"content\":\"\"}".to_owned(),
                "null",
            ),
            _ if index == STREAM_EVENTS - 2 => ("{}".to_owned(), "\"stop\""),
            _ => {
                let word = words.next().unwrap_or_default(); // endless: the prose has words
                (format!("{{\"content\":\" {word}\"}}"), "null")
            }
        };
        let before = "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
                      \"created\":1";
        answer.bytes.extend_from_slice(before.as_bytes());
        answer.stamps.push(answer.bytes.len());
        answer.bytes.extend_from_slice(&[b'0'; STAMP_DIGITS]);
        let after = format!(
            ",\"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
             \"finish_reason\":{finish}}}]}}\n\n"
        );
        answer.bytes.extend_from_slice(after.as_bytes());
        answer.unit_ends.push(answer.bytes.len());
    }
    answer.bytes.extend_from_slice(b"data: [DONE]\n\n");
    answer.unit_ends.push(answer.bytes.len());
    answer
}

/// `before`, as much prose as makes the whole [`BODY_BYTES`] long, `after`.
fn padded(before: &str, after: &str) -> Vec<u8> {
    let room = BODY_BYTES - before.len() - after.len();
    let prose = PROSE.bytes().cycle().take(room);
    before.bytes().chain(prose).chain(after.bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn bodies_are_one_kibibyte_of_valid_json() {
        for body in [
            request_body("bench-1k", false),
            json_answer("bench-1k").bytes,
        ] {
            assert_eq!(body.len(), BODY_BYTES);
            let value: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(value["model"], "bench-1k");
        }
    }

    #[test]
    fn a_stream_is_events_of_valid_json_with_stamps_inside() {
        let answer = stream_answer("bench-stream-64");
        assert_eq!(answer.unit_ends.len(), STREAM_EVENTS);
        assert_eq!(answer.stamps.len(), STREAM_EVENTS - 1);
        let text = String::from_utf8(answer.bytes.clone()).expect("UTF-8");
        let events: Vec<_> = text.split_terminator("\n\n").collect();
        assert_eq!(events.len(), STREAM_EVENTS);
        for event in &events[..STREAM_EVENTS - 1] {
            let value: Value =
                serde_json::from_str(event.strip_prefix("data: ").expect("data")).expect("JSON");
            assert_eq!(value["created"], 1_000_000_000_u64);
        }
        assert_eq!(events[STREAM_EVENTS - 1], "data: [DONE]");
    }

    #[test]
    fn stamps_survive_the_wrap() {
        let mut place = [0; STAMP_DIGITS];
        write_stamp(1_234, &mut place);
        assert_eq!(&place, b"000001234");
        assert_eq!(stamp_distance_us(999_999_990, 15), 25);
        assert_eq!(stamp_distance_us(5, 15), 10);
    }
}
