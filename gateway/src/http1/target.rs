//! Request targets and hosts (RFC 9112 §3.2, RFC 9110 §7.2, RFC 3986 §3.2).
//!
//! Two forms of target are spoken: `/path?query` and `http://host/path?query`. Bytes that some
//! servers cut at or turn into others (`#`, `\`, a `%` without two hex digits, anything that is no
//! visible ASCII) are refused, so that the path we authorised is the path that the engine sees.
//! Hosts are narrower than the RFC's `reg-name`: no name in use needs `%` or `!$&'()*+,;=`.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::refusal::{self, Refusal};

/// The parts of a target, as ranges of its bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The host of an absolute form.
    pub(super) authority: Option<Range<usize>>,
    /// Path, and the query if there is one: what a request line in origin form would hold. Empty
    /// for `http://host`, which stands for `/`.
    pub(super) origin: Range<usize>,
    /// How long the path within `origin` is; a query starts one byte later.
    pub(super) path_len: usize,
    /// Whether a `?` follows the path.
    pub(super) has_query: bool,
}

/// Reads a request target of a method that is neither CONNECT nor TRACE.
pub(super) fn parse(target: &str) -> Result<Target, Refusal> {
    let bytes = target.as_bytes();
    let (authority, origin_at) = match bytes.first() {
        Some(b'/') => (None, 0),
        Some(b'*') if bytes.len() == 1 => return Err(refusal::ASTERISK_TARGET),
        _ => {
            let authority = absolute_authority(bytes)?;
            let end = authority.end;
            (Some(authority), end)
        }
    };
    let origin = &bytes[origin_at..];
    // A query after an empty path has no origin form without repair.
    if origin.first() == Some(&b'?') {
        return Err(refusal::TARGET_INVALID);
    }
    let query_at = check(origin)?;
    Ok(Target {
        authority,
        origin: origin_at..bytes.len(),
        path_len: query_at.unwrap_or(origin.len()),
        has_query: query_at.is_some(),
    })
}

/// Where the host of `http://host...` or `https://host...` lies; checked.
fn absolute_authority(target: &[u8]) -> Result<Range<usize>, Refusal> {
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    let at = schemes
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
        .ok_or(refusal::TARGET_INVALID)?
        .len();
    let rest = &target[at..];
    let len = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    if !is_host(&rest[..len]) {
        return Err(refusal::TARGET_INVALID);
    }
    Ok(at..at + len)
}

/// Checks the bytes of path and query; gives the place of the first `?`.
fn check(origin: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut query_at = None;
    for (at, &byte) in origin.iter().enumerate() {
        match byte {
            b'?' if query_at.is_none() => query_at = Some(at),
            b'%' => {
                let escaped = origin.get(at + 1..at + 3).unwrap_or_default();
                if escaped.len() < 2 || !escaped.iter().all(u8::is_ascii_hexdigit) {
                    return Err(refusal::TARGET_INVALID);
                }
            }
            b'#' | b'\\' => return Err(refusal::TARGET_INVALID),
            b'!'..=b'~' => {}
            _ => return Err(refusal::TARGET_INVALID),
        }
    }
    Ok(query_at)
}

/// `uri-host [ ":" port ]`, with a host that is not empty and a port, if any, of 1 to 5 digits.
pub(super) fn is_host(value: &[u8]) -> bool {
    if value.first() == Some(&b'[') {
        let Some(close) = value.iter().position(|&byte| byte == b']') else {
            return false;
        };
        return is_ipv6(&value[1..close]) && is_port_suffix(&value[close + 1..]);
    }
    let colon = value
        .iter()
        .position(|&byte| byte == b':')
        .unwrap_or(value.len());
    let (name, port) = value.split_at(colon);
    !name.is_empty() && name.iter().all(|&byte| is_name_byte(byte)) && is_port_suffix(port)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Nothing, or a colon and a port between 0 and 65535 without needless digits.
fn is_port_suffix(suffix: &[u8]) -> bool {
    let Some((colon, digits)) = suffix.split_first() else {
        return true;
    };
    let port = digits.iter().try_fold(0_u32, |port, digit| {
        digit
            .is_ascii_digit()
            .then(|| (port * 10 + u32::from(digit - b'0')).min(100_000))
    });
    *colon == b':' && (1..=5).contains(&digits.len()) && port.is_some_and(|port| port <= 65_535)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let good = [
            "a",
            "example.com",
            "my_host:8080",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:443",
        ];
        for host in good {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let bad = [
            "",
            ":80",
            "a:",
            "a:123456",
            "a:65536",
            "a:8a",
            "a:+1",
            "a b",
            "a/b",
            "a@b",
            "u:p@h",
            "a,b",
            "[::1",
            "::1",
            "[::1]x",
            "[zz]",
            "[v1.x]",
            "[fe80::1%25eth0]",
            "a\tb",
            "a#b",
            "a?b",
            "a:80:80",
            "%61",
            "é",
            "[]",
            "[::1]:",
            "a\\b",
        ];
        for host in bad {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn targets_fall_into_their_parts() {
        let parts = |target: &'static str| {
            let parsed = parse(target).expect(target);
            let origin = &target[parsed.origin.clone()];
            let query = parsed.has_query.then(|| &origin[parsed.path_len + 1..]);
            (
                parsed.authority.map(|range| &target[range]),
                &origin[..parsed.path_len],
                query,
            )
        };
        assert_eq!(parts("/"), (None, "/", None));
        assert_eq!(
            parts("/v1/models?a=b?c"),
            (None, "/v1/models", Some("a=b?c"))
        );
        assert_eq!(parts("/a?"), (None, "/a", Some("")));
        assert_eq!(parts("/a%2Fb//c"), (None, "/a%2Fb//c", None));
        assert_eq!(parts("http://h:1/a?b"), (Some("h:1"), "/a", Some("b")));
        assert_eq!(parts("HTTPS://[::1]"), (Some("[::1]"), "", None));
    }

    #[test]
    fn doubtful_targets_are_refused() {
        let bad = [
            "",
            "a",
            "a/b",
            "h:443",
            "//h\\a",
            "/a#b",
            "/a\\b",
            "/%",
            "/%4",
            "/%4g",
            "/%%41",
            "/é",
            "/a\u{7f}",
            "ftp://h/",
            "http:/h/",
            "http:///a",
            "http://u@h/",
            "http://h?q",
            "http://h#f",
            "http://h:99999/",
            "*a",
            "?a",
            "http://",
        ];
        for target in bad {
            assert_eq!(parse(target), Err(refusal::TARGET_INVALID), "{target}");
        }
        assert_eq!(parse("*"), Err(refusal::ASTERISK_TARGET));
    }
}
