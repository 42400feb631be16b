//! The gateway's own errors, in the format of the API that was addressed, so that each SDK raises
//! the exception that its user already handles.

use crate::profile::Dialect;
use crate::text::write_string;

/// An error as a response body.
pub fn error_body(
    dialect: Dialect,
    status: u16,
    code: &str,
    message: &str,
    request_id: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(160 + message.len());
    let mut put = |json: &str, text: Option<&str>| {
        out.extend_from_slice(json.as_bytes());
        if let Some(text) = text {
            write_string(&mut out, text);
        }
    };
    match dialect {
        Dialect::OpenAi => {
            put("{\"error\":{\"message\":", Some(message));
            put(",\"type\":", Some(openai_type(status)));
            put(",\"param\":null,\"code\":", Some(code));
            put("},\"request_id\":", Some(request_id));
            put("}", None);
        }
        Dialect::Anthropic => {
            put(
                "{\"type\":\"error\",\"error\":{\"type\":",
                Some(anthropic_type(status)),
            );
            put(",\"message\":", Some(message));
            put(",\"code\":", Some(code));
            put("},\"request_id\":", Some(request_id));
            put("}", None);
        }
    }
    out
}

/// An error as the last event of a stream that has already begun.
pub fn error_event(
    dialect: Dialect,
    status: u16,
    code: &str,
    message: &str,
    request_id: &str,
) -> Vec<u8> {
    let mut out = match dialect {
        // The OpenAI SDKs look for `error` in the data of any event that has no name.
        Dialect::OpenAi => b"data: ".to_vec(),
        Dialect::Anthropic => b"event: error\ndata: ".to_vec(),
    };
    out.extend_from_slice(&error_body(dialect, status, code, message, request_id));
    out.extend_from_slice(b"\n\n");
    out
}

fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::{error_body, error_event};
    use crate::profile::Dialect;

    #[test]
    fn speaks_each_format() {
        let message = "Blocked by \"no secrets in\"\n";
        let body = error_body(Dialect::OpenAi, 403, "blocked", message, "id-1");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["message"], message);
        assert_eq!(body["error"]["type"], "permission_error");
        assert_eq!(body["error"]["code"], "blocked");
        assert!(body["error"]["param"].is_null());
        assert_eq!(body["request_id"], "id-1");
        let body = error_body(Dialect::Anthropic, 413, "body_too_large", message, "id-2");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["type"], "request_too_large");
        assert_eq!(body["error"]["message"], message);
        assert_eq!(body["request_id"], "id-2");
    }

    #[test]
    fn events_are_one_line_each() {
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            let event = error_event(dialect, 500, "internal", "two\nlines\r", "id");
            let text = String::from_utf8(event).unwrap();
            assert!(text.ends_with("\n\n"));
            let data = text
                .lines()
                .filter(|line| line.starts_with("data: "))
                .count();
            assert_eq!(data, 1, "{text}");
        }
    }
}
