//! Answers of all shapes, cut at every place.

use super::*;

/// Counts what it is told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    heads: u32,
    texts: u32,
}

impl Watch for Counted {
    fn head(&mut self, _: &Head) {
        self.heads += 1;
    }

    fn text(&mut self) {
        self.texts += 1;
    }
}

fn read(pieces: &[&[u8]], ends: bool) -> Result<(bool, Summary, String, Counted), Malformed> {
    let mut answer = Answer::default();
    let mut counted = Counted::default();
    let mut done = false;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        done = answer.feed(piece, &mut counted)?;
    }
    if ends {
        done |= answer.end(&mut counted);
    }
    let (said, beside) = answer.said();
    let texts = format!("{said}|{beside}");
    Ok((done, answer.summary(), texts, counted))
}

fn chunked(events: &[&str]) -> Vec<u8> {
    let mut wire = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                     Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for event in events {
        wire.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

fn whole(body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Reads `wire` whole and cut in two everywhere; gives what all of that agreed on.
fn at_every_split(wire: &[u8]) -> (Summary, String, u32) {
    let (done, summary, texts, counted) = read(&[wire], false).unwrap();
    assert!(done && counted.heads == 1);
    for at in 0..wire.len() {
        let cut = read(&[&wire[..at], &wire[at..]], false).unwrap();
        assert_eq!(
            cut,
            (true, summary, texts.clone(), Counted { ..counted }),
            "cut at {at}"
        );
        assert!(
            !read(&[&wire[..at]], false).unwrap().0,
            "complete before its end, at {at}"
        );
    }
    let bytes: Vec<&[u8]> = wire.chunks(1).collect();
    assert_eq!(read(&bytes, false).unwrap().2, texts);
    (summary, texts, counted.texts)
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

#[test]
fn streams_of_chat_have_text_usage_and_an_end() {
    let wire = chunked(&[
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\r\n\r\n",
        ": a comment\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"W\\u00e4lder\\n\"}}]}\n\n",
        "event: message\nid: 7\ndata: {\"choices\":[{\"delta\":{\"content\":\" und\"}}],\ndata: \"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n",
    ]);
    let (summary, texts, events) = at_every_split(&wire);
    assert_eq!(
        (summary.fault, summary.tokens, summary.keep),
        (None, 9, true)
    );
    assert_eq!((texts.as_str(), events), ("Wälder\n und|hm{}", 4));
}

#[test]
fn streams_of_the_other_apis_are_understood_too() {
    let responses = chunked(&[
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"error\":null,\"output\":[],\"usage\":null}}\n\n",
        "data: {\"type\":\"response.reasoning_text.delta\",\"delta\":\"why\"}\n\n",
        "data: {\"delta\":\"Hel\",\"type\":\"response.output_text.delta\"}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"lo\"}\n\n",
        "data: {\"type\":\"response.output_text.done\",\"text\":\"Hello\"}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"content\":[{\"text\":\"Hello\"}]}],\"usage\":{\"output_tokens\":2}}}\n\n",
    ]);
    let (summary, texts, events) = at_every_split(&responses);
    assert_eq!((summary.fault, summary.tokens, events), (None, 2, 3));
    assert_eq!(texts, "Hello|why");
    let messages = chunked(&[
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"t\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":4}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ]);
    let (summary, texts, events) = at_every_split(&messages);
    assert_eq!((summary.fault, summary.tokens, events), (None, 4, 2));
    assert_eq!(texts, "Hi|t");
    let completions = chunked(&[
        "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"text\":\" b\",\"finish_reason\":\"length\"}]}\n\n",
    ]);
    let (summary, texts, _) = at_every_split(&completions);
    assert_eq!(
        (summary.fault, summary.tokens, texts.as_str()),
        (None, 2, "a b|")
    );
}

#[test]
fn whole_bodies_have_their_text_too() {
    for (body, text, tokens) in [
        (
            r#"{"choices":[{"message":{"content":"Hi","refusal":null}}],"usage":{"completion_tokens":3}}"#,
            "Hi|",
            3,
        ),
        (r#"{"choices":[{"text":"Hi"}]}"#, "Hi|", 1),
        (
            r#"{"output":[{"type":"reasoning","summary":[{"text":"x"}]},{"content":[{"type":"output_text","text":"Hi"}]}],"usage":{"output_tokens":1},"error":null}"#,
            "Hi|",
            1,
        ),
        (
            r#"{"type":"message","content":[{"type":"text","text":"Hi"}],"usage":{"output_tokens":8}}"#,
            "Hi|",
            8,
        ),
        (
            r#"{"data":[{"embedding":[0.5,1]}],"usage":{"prompt_tokens":3}}"#,
            "|",
            1,
        ),
    ] {
        let (summary, texts, _) = at_every_split(&whole(body));
        assert_eq!(
            (summary.fault, texts.as_str(), summary.tokens),
            (None, text, tokens),
            "{body}"
        );
        assert_eq!(summary.bytes, body.len() as u64);
    }
}

#[test]
fn what_did_not_end_well_is_told_apart() {
    let fault = |wire: &[u8]| at_every_split(wire).0.fault;
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    assert_eq!(fault(&chunked(&[text])), Some(Fault::Truncated));
    let half = "data: {\"choices\":[{\"delta\":{\"content\":\"a";
    assert_eq!(fault(&chunked(&[text, half])), Some(Fault::Truncated));
    let broken = "data: {\"choices\":[\n\n";
    assert_eq!(
        fault(&chunked(&[broken, "data: [DONE]\n\n"])),
        Some(Fault::Malformed)
    );
    let error = "data: {\"error\":{\"message\":\"m\"}}\n\n";
    assert_eq!(fault(&chunked(&[text, error])), Some(Fault::ErrorEvent));
    let error = "event: error\ndata: {\"type\":\"error\"}\n\n";
    assert_eq!(fault(&chunked(&[text, error])), Some(Fault::ErrorEvent));
    assert_eq!(fault(&whole("{\"choices\":[")), Some(Fault::Malformed));
    let refused = b"HTTP/1.1 503 No\r\nRetry-After: 1\r\ncontent-length: 4\r\n\r\nbusy";
    assert_eq!(fault(refused), Some(Fault::Status(503)));
    let (done, summary, ..) = read(&[&whole("{}")[..40]], true).unwrap();
    assert_eq!((done, summary.fault), (false, Some(Fault::Closed)));
}

#[test]
fn framing_is_strict_and_knows_all_three_ways() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let until_close = format!("{head}\r\n{{}}");
    let (done, summary, ..) = read(&[until_close.as_bytes()], false).unwrap();
    assert!(!done && !summary.keep);
    assert!(read(&[until_close.as_bytes()], true).unwrap().0);
    let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\nconnection: close\r\n\r\n";
    let (summary, ..) = at_every_split(early);
    assert_eq!((summary.status, summary.keep), (204, false));
    let trailers =
        format!("{head}transfer-encoding: chunked\r\n\r\n2;x=y\r\n{{}}\r\n00\r\na: b\r\n\r\n");
    assert_eq!(at_every_split(trailers.as_bytes()).0.fault, None);
    for bad in [
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Other\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "HTTP/1.1 204 OK\r\n\r\nmore",
    ] {
        assert!(read(&[bad.as_bytes()], false).is_err(), "{bad:?}");
        let bytes: Vec<&[u8]> = bad.as_bytes().chunks(1).collect();
        assert!(read(&bytes, false).is_err(), "{bad:?} by the byte");
    }
}

#[test]
fn a_server_may_say_what_its_text_is() {
    let digest = blake3::hash(b"Hi");
    let wire = format!(
        "HTTP/1.1 200 OK\r\nX-Text-BLAKE3: {digest}\r\ncontent-type: application/json\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    let summary = read(&[wire.as_bytes()], false).unwrap().1;
    assert_eq!(summary.digest, Some(*digest.as_bytes()));
}

/// What the real server sent (see `tests/captures`), read at every split.
#[test]
fn captures_of_transformers_serve_are_read_well() {
    for (name, capture) in [
        (
            "chat",
            include_str!("../../../tests/captures/chat-stream.http"),
        ),
        (
            "completions",
            include_str!("../../../tests/captures/completions-stream.http"),
        ),
        (
            "responses",
            include_str!("../../../tests/captures/responses-stream.http"),
        ),
    ] {
        let (summary, texts, events) = at_every_split(capture.as_bytes());
        assert_eq!(summary.fault, None, "{name}: {summary:?}");
        assert!(
            summary.tokens > 1 && events > 1 && texts.len() > 2,
            "{name}: {texts}"
        );
    }
}
