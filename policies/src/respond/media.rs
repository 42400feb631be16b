//! Media types: which of the readers a response gets, if any.

use super::error::ResponseRefusal;

/// How a response is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Json,
    Text,
    Events,
    Lines,
}

/// Longest media type that is looked at or repeated in a message.
const MEDIA_BYTES_MAX: usize = 128;

/// The reading that a response's status and `Content-Type` ask for. A response without a type is
/// read as JSON: if it is anything else, that fails, and nothing has been sent.
pub(super) fn reading(status: u16, media: Option<&str>) -> Result<Reading, ResponseRefusal> {
    let Some(media) = media.map(str::trim).filter(|media| !media.is_empty()) else {
        return Ok(Reading::Json);
    };
    let mut parts = media.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    if !parts.all(readable_parameter) {
        return Err(refusal("response_charset", media, "is not in UTF-8"));
    }
    match essence.as_str() {
        "application/json" => Ok(Reading::Json),
        "text/event-stream" => Ok(Reading::Events),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/jsonlines" => Ok(Reading::Lines),
        "text/plain" => Ok(Reading::Text),
        "text/html" if status >= 400 => Ok(Reading::Text),
        _ if essence.ends_with("+json") => Ok(Reading::Json),
        _ => Err(refusal("response_media_type", media, "has no reader here")),
    }
}

/// Any parameter but a charset that is not a kind of UTF-8.
fn readable_parameter(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return true;
    };
    if !name.trim().eq_ignore_ascii_case("charset") {
        return true;
    }
    let value = value.trim().trim_matches('"');
    ["utf-8", "utf8", "us-ascii", "ascii"]
        .iter()
        .any(|known| value.eq_ignore_ascii_case(known))
}

fn refusal(code: &'static str, media: &str, what: &str) -> ResponseRefusal {
    let shown: String = media
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(MEDIA_BYTES_MAX)
        .collect();
    ResponseRefusal {
        code,
        message: format!(
            "The model server answered with \"{shown}\", which {what}; a guard looks at this \
             caller's responses, so it is not passed on."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Reading, reading};

    #[test]
    fn decides_by_media_type_and_status() {
        let cases = [
            (200, None, Some(Reading::Json)),
            (200, Some(""), Some(Reading::Json)),
            (200, Some("application/json"), Some(Reading::Json)),
            (
                200,
                Some("Application/JSON; charset=UTF-8"),
                Some(Reading::Json),
            ),
            (400, Some("application/problem+json"), Some(Reading::Json)),
            (
                200,
                Some("text/event-stream; charset=utf-8"),
                Some(Reading::Events),
            ),
            (200, Some("application/x-ndjson"), Some(Reading::Lines)),
            (200, Some("application/jsonl"), Some(Reading::Lines)),
            (
                200,
                Some("text/plain; version=0.0.4; charset=utf-8"),
                Some(Reading::Text),
            ),
            (502, Some("text/html"), Some(Reading::Text)),
            (200, Some("text/html"), None),
            (200, Some("text/plain; charset=utf-16"), None),
            (200, Some("application/json; charset=iso-8859-1"), None),
            (200, Some("application/octet-stream"), None),
            (200, Some("image/png"), None),
            (200, Some("application/jsonx"), None),
            (500, Some("application/x-protobuf"), None),
        ];
        for (status, media, expected) in cases {
            assert_eq!(reading(status, media).ok(), expected, "{status} {media:?}");
        }
    }
}
