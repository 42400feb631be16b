//! The messages: a chat request, its answer whole, and its answer as a stream. Plain prose, in which
//! no rule finds anything: the price of looking.

use std::fmt::Write as _;

/// Length of a request's and of an answer's body.
pub(crate) const BODY_BYTES: usize = 1024;

/// The model that the policy of `penstock-on` grants.
pub(crate) const MODEL: &str = "bench-1k";

/// Words of a stream.
pub(crate) const WORDS: usize = 60;

const PROSE: &str = "The gate stands where the river meets the old mill, and every spring the \
    keeper walks the length of the channel to look for stones. Water that comes too fast breaks \
    the wheel, and water that comes too slowly leaves the millers waiting with their sacks of \
    barley. So the keeper raises the gate by the width of a hand, listens, and raises it again. ";

/// A whole request; `field` is a further line of its head.
pub(crate) fn request(field: &str, streams: bool) -> Vec<u8> {
    let body = request_body(streams);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8443\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nUser-Agent: penstock-benches\r\n{field}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// The body of a request.
pub(crate) fn request_body(streams: bool) -> Vec<u8> {
    let before = format!(
        "{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"system\",\"content\":\"Answer in \
         plain words.\"}},{{\"role\":\"user\",\"content\":\""
    );
    let after = format!("\"}}],\"temperature\":0.7,\"max_tokens\":256,\"stream\":{streams}}}");
    padded(&before, &after)
}

/// An answer in one piece.
pub(crate) fn answer() -> Vec<u8> {
    let before = format!(
        "{{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\
         \"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\""
    );
    let after = "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":178,\
                 \"completion_tokens\":152,\"total_tokens\":330}}";
    padded(&before, after)
}

/// The events of a stream: a role, words, a finish reason, and the end.
pub(crate) fn events() -> Vec<Vec<u8>> {
    let words = PROSE.split_ascii_whitespace().cycle().take(WORDS);
    let mut events = vec![event("{\"role\":\"assistant\",\"content\":\"\"}", "null")];
    events.extend(words.map(|word| event(&format!("{{\"content\":\" {word}\"}}"), "null")));
    events.push(event("{}", "\"stop\""));
    events.push(b"data: [DONE]\n\n".to_vec());
    events
}

fn event(delta: &str, finish: &str) -> Vec<u8> {
    let mut text =
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",".to_owned();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\"created\":1700000000,\"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
         \"finish_reason\":{finish}}}]}}\n\n"
    );
    text.into_bytes()
}

/// `before`, as much prose as makes the whole [`BODY_BYTES`] long, `after`.
fn padded(before: &str, after: &str) -> Vec<u8> {
    let room = BODY_BYTES - before.len() - after.len();
    let prose = PROSE.bytes().cycle().take(room);
    before.bytes().chain(prose).chain(after.bytes()).collect()
}
