//! Whatever the bytes, a reader ends with an answer, and where the bytes were cut changes neither
//! the answer nor what was sent before it.

mod support;

use std::sync::LazyLock;

use penstock_policies::{FilterError, PolicySet, Scratch};
use proptest::prelude::*;
use support::{everyone, filter, policy, policy_of, read_events, route, texts};

static MASK: LazyLock<PolicySet> = LazyLock::new(|| policy("mask"));

/// Every shipped pack, as an operator would use them.
static SHIPPED: LazyLock<PolicySet> = LazyLock::new(|| {
    policy_of(
        r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
[[guard]]
name = "out"
direction = "both"
packs = ["secrets", "personal", "customer"]
action = "mask"
"#,
    )
});

const MEDIA: [&str; 4] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/json",
    "text/plain",
];

/// What came out, and the error that ended it.
fn outcome(
    policy: &PolicySet,
    media: &str,
    pieces: &[&[u8]],
) -> (Vec<u8>, Result<(), FilterError>) {
    let scope = policy.scope(&everyone());
    let mut filter = filter(policy, &scope, media);
    let mut out = Vec::new();
    for piece in pieces {
        if let Err(error) = filter.push(piece, &mut out) {
            return (out, Err(error));
        }
    }
    let result = filter.finish(&mut out);
    (out, result)
}

/// Bytes that look like what they are read as, until they do not.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"data: ",
        b"data:",
        b"event: x",
        b"id: 1",
        b": ping",
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\r",
        b"[DONE]",
        b"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
        b"CUST-",
        b"12345678",
        b"\"}}]}",
        b"\"},\"finish_reason\":\"stop\"}]}",
        b"{}",
        b"[]",
        b"{\"a\":\"b\"}",
        b"\\u00e9",
        b"\\ud83d\\ude00",
        b"\xC3\xA9",
        b"\xC3",
        b"\xFF",
        b"\xEF\xBB\xBF",
        b"\0",
        b"{",
        b"}",
        b"\"",
        b"null",
        b"{\"type\":\"response.output_text.delta\",\"delta\":\"CUST-\"}",
        b"{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"CUST-1\"}}",
        b"{\"type\":\"content_block_stop\",\"index\":0}",
        b"{\"logprobs\":[{\"token\":\"CUST-\"}]}",
    ];
    prop::collection::vec(prop::sample::select(words), 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn cuts_change_nothing(
        body in prop_oneof![4 => fragments(), 1 => prop::collection::vec(any::<u8>(), 0..200)],
        media in 0_usize..MEDIA.len(),
        size in 1_usize..9,
    ) {
        let whole = outcome(&MASK, MEDIA[media], &[&body]);
        let pieces: Vec<&[u8]> = body.chunks(size).collect();
        prop_assert_eq!(&outcome(&MASK, MEDIA[media], &pieces), &whole);
        if whole.1.is_ok() && !whole.0.is_empty() {
            prop_assert!(std::str::from_utf8(&whole.0).is_ok());
        }
    }

    #[test]
    fn requests_get_an_answer(body in prop_oneof![
        fragments(),
        prop::collection::vec(any::<u8>(), 0..200),
        "\\{\"model\":\"m\",\"[a-z\\\\\"{}:]{0,40}\"\\}".prop_map(String::into_bytes),
    ]) {
        let scope = MASK.scope(&everyone());
        let route = route("/v1/chat/completions");
        let verdict = MASK.inspect_request(&scope, &route, &body, &mut Scratch::default());
        if let Ok(verdict) = verdict {
            let sent = verdict.body.unwrap_or(body);
            let read: serde_json::Value = serde_json::from_slice(&sent).unwrap();
            prop_assert_eq!(read["model"].as_str(), verdict.model.as_deref());
        }
    }

    /// With the shipped rules nearly every piece holds something back, because a word may become
    /// an address: the texts are whole all the same.
    #[test]
    fn shipped_rules_on_a_stream_give_the_masked_text(
        words in prop::collection::vec(prop::sample::select(vec![
            "Write to ", "ada@", "example", ".org", "call +49 ", "30 1234567", "card 4111 1111 ",
            "1111 1111", "CUST-12345678", "DE89 3704 0044 ", "0532 0130 00", ". ", "naïve ", "\n",
            "the end ", "{\"k\":\"v\"} ",
        ]), 1..16),
        size in 1_usize..7,
        finished: bool,
    ) {
        let text = words.concat();
        let whole = serde_json::json!({"choices": [{"message": {"content": text}}]}).to_string();
        let (body, result) = outcome(&SHIPPED, "application/json", &[whole.as_bytes()]);
        prop_assert!(result.is_ok());
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let expected = body["choices"][0]["message"]["content"].as_str().unwrap();
        let chars: Vec<char> = text.chars().collect();
        let mut stream = String::new();
        for piece in chars.chunks(size) {
            let piece: String = piece.iter().collect();
            let event = serde_json::json!({"id": "c", "choices": [{"index": 0, "delta":
                {"content": piece}, "finish_reason": null}]});
            stream += &format!("data: {event}\n\n");
        }
        if finished {
            stream += "data: {\"choices\":[{\"index\":0,\"delta\":{},";
            stream += "\"finish_reason\":\"stop\"}]}\n\n";
        }
        let (out, result) = outcome(&SHIPPED, "text/event-stream", &[stream.as_bytes()]);
        prop_assert!(result.is_ok());
        let read = texts(&read_events(&out)).remove("0 content").unwrap_or_default();
        prop_assert_eq!(read, expected);
    }
}
