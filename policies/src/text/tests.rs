//! The walker against serde_json: the same documents are accepted, the same strings and long
//! numbers are found, and each is found where it stands.

use proptest::prelude::*;
use serde_json::Value;

use super::{DEPTH_MAX, Edits, JsonError, Kind, Parser, render};

/// Every string of a document with its location, as the walker finds them.
fn walked(raw: &[u8]) -> Result<Vec<(String, String, std::ops::Range<usize>)>, JsonError> {
    Parser::default().with(raw, |doc| {
        let mut found = Vec::new();
        doc.walk(&mut |place, text| {
            found.push((
                render(place.path, text.is_key()),
                text.value.to_owned(),
                doc.span(text.node),
            ));
        });
        found
    })
}

/// The same by serde_json, which keeps the order of keys here.
fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Number(number) => {
            let literal = number.to_string();
            let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
            let unsigned = literal.trim_start_matches('-');
            if digits(unsigned) >= 8 {
                let end = literal.len() - unsigned.len() + digits(unsigned);
                out.push(literal[..end].to_owned());
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| strings(element, out)),
        Value::Object(members) => {
            for (key, value) in members {
                out.push(key.clone());
                strings(value, out);
            }
        }
        _ => {}
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        any::<String>().prop_map(Value::from),
        "[\\\\\"{}:,a]{0,80}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A document, written tersely or with spaces, plainly or in `\u` escapes.
fn written(value: &Value, pretty: bool, escaped: bool) -> String {
    let text = if pretty {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    let text = text.unwrap();
    if !escaped {
        return text;
    }
    let mut out = String::new();
    for char in text.chars() {
        if char.is_ascii() {
            out.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                out += &format!("\\u{unit:04X}");
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn finds_the_strings_of_serde_json(value in value(), pretty: bool, escaped: bool) {
        let raw = written(&value, pretty, escaped);
        let found = walked(raw.as_bytes()).unwrap();
        let mut expected = Vec::new();
        strings(&value, &mut expected);
        let texts: Vec<String> = found.iter().map(|(_, text, _)| text.clone()).collect();
        prop_assert_eq!(texts, expected);
        for (_, text, span) in found {
            match serde_json::from_str(&raw[span.clone()]).unwrap() {
                Value::String(literal) => prop_assert_eq!(literal, text),
                _ => prop_assert!(raw[span].starts_with(&text)),
            }
        }
    }

    #[test]
    fn spans_of_all_values_are_the_values(value in value(), pretty: bool) {
        let raw = written(&value, pretty, false);
        Parser::default().with(raw.as_bytes(), |doc| {
            let mut pending = vec![(0, value.clone())];
            while let Some((node, value)) = pending.pop() {
                let read: Value = serde_json::from_str(&raw[doc.span(node)]).unwrap();
                assert_eq!(read, value);
                match value {
                    Value::Array(elements) => pending.extend(doc.elements(node).zip(elements)),
                    Value::Object(members) => {
                        for (member, (key, value)) in doc.members(node).zip(members) {
                            assert_eq!(member.key, key);
                            pending.push((member.value, value));
                        }
                    }
                    _ => {}
                }
            }
        }).unwrap();
    }

    /// What this reader accepts, the oracle accepts: nothing is understood here that a server
    /// behind would not understand. (The reverse is not true: depth and numbers are bounded here.)
    #[test]
    fn accepts_nothing_that_serde_json_refuses(
        value in value(),
        at in any::<prop::sample::Index>(),
        with in prop_oneof![
            any::<u8>(),
            prop::sample::select(b"{}[]:,\"\\0-+.eEtnu/ \n\r\t\0".to_vec()),
        ],
        drop: bool,
    ) {
        let mut raw = written(&value, false, false).into_bytes();
        let at = at.index(raw.len());
        if drop { raw.remove(at); } else { raw[at] = with; }
        let theirs: Result<Value, _> = serde_json::from_slice(&raw);
        if walked(&raw).is_ok() {
            prop_assert!(theirs.is_ok(), "{}", String::from_utf8_lossy(&raw));
        } else if let Ok(value) = theirs {
            // Only numbers that do not fit may be refused beyond the oracle.
            prop_assert!(value.to_string().contains(|c: char| c.is_ascii_digit()), "{value}");
        }
    }

    #[test]
    fn replacing_strings_leaves_the_rest(value in value(), pick: u64, pretty: bool) {
        let raw = written(&value, pretty, false);
        let mut expected = raw.clone();
        let mut edits = Edits::default();
        let mut parser = Parser::default();
        let out = parser.with(raw.as_bytes(), |doc| {
            let mut spans = Vec::new();
            doc.walk(&mut |_, text| {
                if pick >> (spans.len() % 64) & 1 == 1 {
                    edits.text(text.node, doc.span(text.node), "re\"placed".to_owned());
                }
                spans.push(doc.span(text.node));
            });
            for (at, span) in spans.into_iter().enumerate().rev() {
                if pick >> (at % 64) & 1 == 1 {
                    expected.replace_range(span, "\"re\\\"placed\"");
                }
            }
            let mut out = Vec::new();
            edits.apply(doc.raw(), &mut out);
            out
        }).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn duplicates_are_found_and_the_last_one_counts() {
    let raw = br#"{"a":"1","b":{"a":"2"},"a":"3","\u0061":"4"}"#;
    let found = walked(raw).unwrap();
    let texts: Vec<&str> = found.iter().map(|(_, text, _)| text.as_str()).collect();
    assert_eq!(texts, ["a", "1", "b", "a", "2", "a", "3", "a", "4"]);
    Parser::default()
        .with(raw, |doc| {
            let last = doc.member(0, "a").unwrap();
            assert_eq!(doc.str(last), Some("4"));
            assert_eq!(doc.kind(0), Kind::Object { empty: false });
            assert_eq!(doc.number(last), None);
        })
        .unwrap();
}

#[test]
fn one_parser_reads_many_documents() {
    let mut parser = Parser::default();
    let long = format!("[\"{}\"]", "x".repeat(3 << 20));
    for raw in [
        &b"[1]"[..],
        b"{",
        b"\"x\"",
        long.as_bytes(),
        b"{\"a\":[\"b\"]}",
        b"",
        b"7",
    ] {
        let ours = parser.with(raw, |doc| doc.span(0)).ok();
        let theirs = serde_json::from_slice::<Value>(raw).ok();
        assert_eq!(ours, theirs.map(|_| 0..raw.len()));
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(walked(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(
        walked(nested(DEPTH_MAX + 1).as_bytes()),
        Err(JsonError::TooDeep)
    );
    assert_eq!(walked(nested(100_000).as_bytes()), Err(JsonError::TooDeep));
}

#[test]
fn numbers_are_texts_from_eight_digits_on() {
    let raw = br#"[1234567,12345678,-12345678, 41111111.5,12345678e0,0.12345678,
        [18446744073709551615,0.001234567890123],{"a":12345678}]"#;
    let found = walked(raw).unwrap();
    let texts: Vec<&str> = found.iter().map(|(_, text, _)| text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "12345678",
            "-12345678",
            "41111111",
            "12345678",
            "18446744073709551615",
            "a",
            "12345678"
        ]
    );
    assert_eq!(&raw[found[2].2.clone()], b"41111111.5");
    assert_eq!(found[4].0, "[6][0]");
}
