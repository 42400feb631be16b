//! The requests and the answers, byte by byte.
//!
//! Everything is built once, before the clock runs, and has exactly the sizes that its [`Exchange`]
//! says. The text is plain prose: the common case, in which nothing is found and nothing is
//! replaced, so that every subject must deliver the upstream's bytes unchanged and the driver can
//! compare all of them.
//!
//! No text is sent twice, but for what a conversation repeats: each begins with a number, written as
//! letters, that is another one in every request, or in every conversation. Whoever remembers what
//! was sent before gains by it only where users would let it.
//!
//! A request for a stream says in `max_tokens` how long it shall be. The first one of a connection
//! asks for a shorter one, each for another: so streams end evenly from the beginning on, as they
//! do after a long time.
//!
//! In a stream every data event carries the time at which the upstream wrote it, as the nine digits
//! after the leading `1` of `created`: microseconds of the wall clock modulo 1 000 s. That gives
//! the latency of each single event without a second channel. The driver ignores those digits when
//! it compares.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::scenario::{Answer, Exchange};

/// Events of a stream beside its tokens: a role, a finish reason, and `[DONE]`.
pub const FRAME_EVENTS: usize = 3;

/// Characters in which a request says how many tokens it wants.
pub const TOKENS_DIGITS: usize = 4;

/// Digits of a time stamp.
pub const STAMP_DIGITS: usize = 9;

/// Letters of a request's number.
pub const NUMBER_LETTERS: usize = 16;

/// Size of a message that a conversation repeats.
const MESSAGE_BYTES: usize = 1000;

/// Size of the instructions that a conversation begins with.
const INSTRUCTIONS_BYTES: usize = 4000;

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

/// The body of an answer as the driver expects it.
#[derive(Debug, Clone)]
pub enum Expected {
    /// One document.
    Json(Vec<u8>),
    /// Events.
    Stream(ExpectedStream),
}

/// The events of a stream.
#[derive(Debug, Clone)]
pub struct ExpectedStream {
    /// In order.
    pub events: Vec<ExpectedEvent>,
    /// The text of all of them.
    pub text: Vec<u8>,
}

/// One event.
#[derive(Debug, Clone)]
pub struct ExpectedEvent {
    /// Every byte; the digits of its time stamp are zeros.
    pub bytes: Vec<u8>,
    /// Where the digits of its time stamp start.
    pub stamp: Option<usize>,
    /// Where its text is.
    pub text: Option<Range<usize>>,
    /// How much of the stream's text has been sent with it and those before it.
    pub text_end: usize,
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

/// The body of a request, and the places at which it may differ from others.
#[derive(Debug, Clone)]
pub struct Body {
    /// All of it, with a number of zero.
    pub bytes: Vec<u8>,
    /// Where it says how many tokens it wants.
    pub tokens_at: Range<usize>,
    /// Where its number stands, each of [`NUMBER_LETTERS`].
    pub numbers_at: Vec<usize>,
}

/// Writes a request's number as letters over `place`, which is [`NUMBER_LETTERS`] long. Letters,
/// because digits would be looked at as numbers of cards and the like.
pub fn write_number(mut number: u64, place: &mut [u8]) {
    for letter in place.iter_mut().rev() {
        *letter = b'a' + (number % 16) as u8;
        number /= 16;
    }
}

/// Whether such a number stands there.
pub fn is_number(place: &[u8]) -> bool {
    place.len() == NUMBER_LETTERS && place.iter().all(|letter| (b'a'..=b'p').contains(letter))
}

/// A whole request, head and body of a chat completion, and where its number stands in it. `field`
/// is a further line of its head.
pub fn request(
    host: &str,
    field: &str,
    exchange: &Exchange,
    tokens: usize,
) -> (Vec<u8>, Vec<usize>) {
    let body = request_body(exchange, tokens);
    let mut request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nUser-Agent: penstock-perf\r\n{field}\r\n\
         Content-Length: {}\r\n\r\n",
        body.bytes.len()
    )
    .into_bytes();
    let numbers_at = body.numbers_at.iter().map(|at| request.len() + at);
    let numbers_at = numbers_at.collect();
    request.extend_from_slice(&body.bytes);
    (request, numbers_at)
}

/// The body of a request.
pub fn request_body(exchange: &Exchange, tokens: usize) -> Body {
    let Exchange { model, .. } = exchange;
    let stream = exchange.streams();
    let instructions = match exchange.repeated {
        0 => "Answer in plain words.".to_owned(),
        _ => prose(INSTRUCTIONS_BYTES, 0),
    };
    let mut bytes = format!(
        "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"system\",\"content\":\"\
         {instructions}\"}}"
    )
    .into_bytes();
    let mut numbers_at = Vec::new();
    for message in 0..=exchange.repeated {
        let role = ["user", "assistant"][message % 2];
        bytes.extend_from_slice(format!(",{{\"role\":\"{role}\",\"content\":\"").as_bytes());
        numbers_at.push(bytes.len());
        bytes.extend_from_slice(&[b'a'; NUMBER_LETTERS]);
        bytes.extend_from_slice(format!(" at {message}: ").as_bytes());
        if message < exchange.repeated {
            let text = prose(MESSAGE_BYTES, 40 * message);
            bytes.extend_from_slice(text.as_bytes());
            bytes.extend_from_slice(b"\"}");
        }
    }
    let after = format!(
        "\"}}],\"temperature\":0.7,\"stream\":{stream},\"max_tokens\":{tokens:>TOKENS_DIGITS$}}}"
    );
    let room = exchange.request_bytes - bytes.len() - after.len();
    bytes.extend_from_slice(prose(room, 0).as_bytes());
    bytes.extend_from_slice(after.as_bytes());
    let end = bytes.len() - 1;
    Body {
        bytes,
        tokens_at: end - TOKENS_DIGITS..end,
        numbers_at,
    }
}

/// What a request for so many tokens is answered with; a JSON answer has its own size.
pub fn answer(exchange: &Exchange, tokens: usize) -> Expected {
    match exchange.answer {
        Answer::Json { bytes } => Expected::Json(json_answer(exchange.model, bytes)),
        Answer::Stream { .. } => Expected::Stream(stream_answer(exchange.model, tokens)),
    }
}

/// Tokens of a whole answer, as its request asks for them.
pub fn tokens(exchange: &Exchange) -> usize {
    match exchange.answer {
        Answer::Json { .. } => 256,
        Answer::Stream { tokens } => tokens,
    }
}

/// A JSON answer of so many bytes.
pub fn json_answer(model: &str, bytes: usize) -> Vec<u8> {
    let before = format!(
        "{{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\
         \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\""
    );
    let after = "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":178,\
                 \"completion_tokens\":152,\"total_tokens\":330}}";
    padded(&before, after, bytes)
}

/// A streamed answer of so many tokens. A shorter one has the same events, but for those in the
/// middle that it lacks.
pub fn stream_answer(model: &str, tokens: usize) -> ExpectedStream {
    let mut stream = ExpectedStream {
        events: Vec::new(),
        text: Vec::new(),
    };
    let words = PROSE.split_ascii_whitespace().cycle();
    stream.push(model, "\"role\":\"assistant\",", Some(""), "null");
    for word in words.take(tokens) {
        stream.push(model, "", Some(&format!(" {word}")), "null");
    }
    stream.push(model, "", None, "\"stop\"");
    let text_end = stream.text.len();
    let bytes = b"data: [DONE]\n\n".to_vec();
    stream.events.push(ExpectedEvent {
        bytes,
        stamp: None,
        text: None,
        text_end,
    });
    stream
}

// === impl ExpectedStream ===

impl ExpectedStream {
    /// Adds a data event. `role` is a member of its delta, with a comma, or nothing.
    fn push(&mut self, model: &str, role: &str, text: Option<&str>, finish: &str) {
        let mut bytes = b"data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
                          \"created\":1"
            .to_vec();
        let stamp = Some(bytes.len());
        bytes.extend_from_slice(&[b'0'; STAMP_DIGITS]);
        let choices = "\"choices\":[{\"index\":0,\"delta\":{";
        bytes.extend_from_slice(format!(",\"model\":\"{model}\",{choices}{role}").as_bytes());
        let text = text.map(|text| {
            bytes.extend_from_slice(b"\"content\":\"");
            let start = bytes.len();
            bytes.extend_from_slice(text.as_bytes());
            self.text.extend_from_slice(text.as_bytes());
            bytes.push(b'"');
            start..start + text.len()
        });
        bytes.extend_from_slice(format!("}},\"finish_reason\":{finish}}}]}}\n\n").as_bytes());
        let text_end = self.text.len();
        self.events.push(ExpectedEvent {
            bytes,
            stamp,
            text,
            text_end,
        });
    }
}

/// `before`, as much prose as makes the whole so many bytes long, `after`.
fn padded(before: &str, after: &str, bytes: usize) -> Vec<u8> {
    let room = bytes - before.len() - after.len();
    [before, &prose(room, 0), after].concat().into_bytes()
}

/// So many bytes of prose, from a place on.
fn prose(bytes: usize, from: usize) -> String {
    PROSE.chars().cycle().skip(from).take(bytes).collect() // all of it is ASCII
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;
    use serde_json::Value;

    #[test]
    fn bodies_are_valid_json_of_the_size_that_is_said() {
        for exchange in SCENARIOS.iter().flat_map(|scenario| scenario.exchanges) {
            let body = request_body(exchange, 7);
            assert_eq!(body.bytes.len(), exchange.request_bytes);
            assert_eq!(&body.bytes[body.tokens_at], b"   7");
            let value: Value = serde_json::from_slice(&body.bytes).expect("JSON");
            let messages = value["messages"].as_array().expect("a list");
            assert_eq!(messages.len(), exchange.repeated + 2);
            assert_eq!(value["model"], exchange.model);
            assert_eq!(value["max_tokens"], 7);
            assert_eq!(value["stream"], exchange.streams());
            if let (Answer::Json { bytes }, Expected::Json(answer)) =
                (exchange.answer, answer(exchange, 7))
            {
                assert_eq!(answer.len(), bytes);
                let value: Value = serde_json::from_slice(&answer).expect("JSON");
                assert_eq!(value["model"], exchange.model);
            }
        }
    }

    #[test]
    fn a_stream_is_events_of_valid_json_with_stamps_and_text_inside() {
        let stream = stream_answer("bench-stream", 61);
        assert_eq!(stream.events.len(), 61 + FRAME_EVENTS);
        let (done, data) = stream.events.split_last().expect("not empty");
        assert_eq!(done.bytes, b"data: [DONE]\n\n");
        let mut text = String::new();
        for event in data {
            let json = event.bytes.strip_prefix(b"data: ").expect("data");
            let value: Value = serde_json::from_slice(json).expect("JSON");
            assert_eq!(value["created"], 1_000_000_000_u64);
            let content = value["choices"][0]["delta"]["content"].as_str();
            assert_eq!(content.map(str::len), event.text.as_ref().map(Range::len));
            text.push_str(content.unwrap_or_default());
            assert_eq!(event.text_end, text.len());
        }
        assert_eq!(stream.text, text.as_bytes());
        assert!(text.starts_with(" The gate stands"));
    }

    #[test]
    fn numbers_are_letters_at_the_beginning_of_what_is_said() {
        let exchange = Exchange {
            repeated: 2,
            request_bytes: 8192,
            ..SCENARIOS[0].exchanges[0]
        };
        let (mut request, numbers_at) = request("h", "A: b", &exchange, 7);
        assert_eq!(numbers_at.len(), 3);
        for at in numbers_at {
            assert!(request[..at].ends_with(b"\"content\":\""));
            let place = &mut request[at..at + NUMBER_LETTERS];
            assert!(is_number(place));
            write_number(0x0123_4567_89ab_cdef, place);
            assert_eq!(place, b"abcdefghijklmnop");
            assert!(is_number(place));
        }
        assert!(!is_number(b"abcdefghijklmnoq") && !is_number(b"abc"));
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
