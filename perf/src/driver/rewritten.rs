//! Answers of subjects that parse and serialise: the same words, in other bytes.
//!
//! Fields may come in another order, be added or left out, events may be joined; the text of the
//! answer must be the same to the letter.

use serde_json::Value;

use crate::traffic::{Expected, STAMP_DIGITS};

/// An answer may be this long; those that are sent here are far shorter.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

/// The field that holds the time at which the upstream wrote an event.
const CREATED: &[u8] = b"\"created\":";

/// The stamps of the events that end in these bytes; none of an event whose stamp is not whole.
pub(super) fn events(bytes: &[u8]) -> impl Iterator<Item = Option<u64>> + '_ {
    let ends = bytes
        .windows(2)
        .enumerate()
        .filter(|(_, two)| two == b"\n\n");
    let mut from = 0;
    ends.map(move |(at, _)| {
        let event = &bytes[std::mem::replace(&mut from, at + 2).min(at)..at];
        stamp(event)
    })
}

fn stamp(event: &[u8]) -> Option<u64> {
    let at = event.windows(CREATED.len()).position(|it| it == CREATED)?;
    let digits = event[at + CREATED.len()..].trim_ascii_start();
    let digits = digits.get(1..1 + STAMP_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Says how the whole body differs in its text.
pub(super) fn finish(body: &[u8], expected: &Expected) -> Result<(), String> {
    let (got, wanted) = match expected {
        Expected::Json(bytes) => (json_text(body)?, json_text(bytes)?),
        Expected::Stream(stream) => {
            let wanted = String::from_utf8_lossy(&stream.text).into_owned();
            (stream_text(body)?, wanted)
        }
    };
    match got == wanted {
        true => Ok(()),
        false => Err(format!("its text is {got:?} in the place of {wanted:?}")),
    }
}

fn json_text(body: &[u8]) -> Result<String, String> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("its body is not JSON: {error}"))?;
    let text = value["choices"][0]["message"]["content"].as_str();
    text.map(str::to_owned)
        .ok_or_else(|| "its body has no text".into())
}

fn stream_text(body: &[u8]) -> Result<String, String> {
    let body = std::str::from_utf8(body).map_err(|_| "its body is not UTF-8")?;
    let data = body.lines().filter_map(|line| line.strip_prefix("data:"));
    let mut text = String::new();
    for data in data.map(str::trim).filter(|data| *data != "[DONE]") {
        let value: Value = serde_json::from_str(data)
            .map_err(|error| format!("an event is not JSON: {error}: {data}"))?;
        text += value["choices"][0]["delta"]["content"]
            .as_str()
            .unwrap_or_default();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{json_answer, stream_answer};

    #[test]
    fn the_same_words_in_other_bytes_are_the_same() {
        let expected = Expected::Json(json_answer("m", 1024));
        let Expected::Json(bytes) = &expected else {
            unreachable!()
        };
        let value: Value = serde_json::from_slice(bytes).expect("JSON");
        let pretty = serde_json::to_vec_pretty(&value).expect("JSON");
        assert_eq!(finish(&pretty, &expected), Ok(()));
        let other = String::from_utf8_lossy(&pretty).replace("river", "rivet");
        assert!(finish(other.as_bytes(), &expected).is_err());

        let stream = stream_answer("m", 5);
        let wire: Vec<u8> = stream
            .events
            .iter()
            .flat_map(|it| it.bytes.clone())
            .collect();
        let anew = String::from_utf8_lossy(&wire)
            .replace("data: ", "data:  ")
            .replace("\"m\"", "\"n\"");
        assert_eq!(events(anew.as_bytes()).count(), 8);
        assert_eq!(events(anew.as_bytes()).flatten().count(), 7);
        let expected = Expected::Stream(stream);
        assert_eq!(finish(anew.as_bytes(), &expected), Ok(()));
        assert!(finish(anew.replace("gate", "date").as_bytes(), &expected).is_err());
    }
}
