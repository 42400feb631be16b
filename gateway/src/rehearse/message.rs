//! Requests and answers out of files, as people write them.
//!
//! A file is an HTTP message, with whatever line ends an editor gives, or a body alone. Its framing
//! is computed anew, since nobody counts bytes by hand; everything else of it is read as strictly
//! as the data plane reads.

use std::io::Read as _;
use std::path::Path;

use super::{Request, Response};
use crate::http1::{HeadLimits, Progress, parse_request, parse_response};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Fields that say how long a body is, and who calls; both are said otherwise here.
const DROPPED: [&str; 5] = [
    "content-length",
    "transfer-encoding",
    "authorization",
    "x-api-key",
    "expect",
];

/// Reads a file, or standard input for `-`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("{}: cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX + 1;
    if path == Path::new("-") {
        let stdin = std::io::stdin().lock();
        stdin.take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    } else {
        let file = std::fs::File::open(path).map_err(cannot)?;
        file.take(limit).read_to_end(&mut bytes).map_err(cannot)?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "{}: more than {FILE_BYTES_MAX} bytes",
            path.display()
        ));
    }
    Ok(bytes)
}

/// A request from a file: an HTTP request, or a body that is posted to `path` as JSON.
pub(super) fn request(bytes: &[u8], path: &str) -> Result<Request, String> {
    let (head, body) = match http(bytes, |line| line.split(' ').nth(2).is_some_and(is_http)) {
        Some((head, body)) => (head, body.to_vec()),
        None => {
            let head = vec![
                format!("POST {path} HTTP/1.1"),
                "Content-Type: application/json".to_owned(),
            ];
            // An editor ends the last line; a body that is empty but for that is empty.
            let body = if bytes.trim_ascii().is_empty() {
                &[]
            } else {
                bytes
            };
            (head, body.to_vec())
        }
    };
    request_of(head, body)
}

/// A request of these parts, as a record has them.
pub(super) fn request_from(
    method: &str,
    path: &str,
    media: &str,
    body: Vec<u8>,
) -> Result<Request, String> {
    let mut head = vec![format!("{method} {path} HTTP/1.1")];
    if !body.is_empty() {
        head.push(format!("Content-Type: {media}"));
    }
    request_of(head, body)
}

fn request_of(mut head: Vec<String>, body: Vec<u8>) -> Result<Request, String> {
    let has_host = head.iter().any(|line| name(line) == "host");
    if !has_host {
        head.push("Host: explained".to_owned());
    }
    if !body.is_empty() {
        head.push(format!("Content-Length: {}", body.len()));
    }
    let text = joined(&head);
    match parse_request(text.as_bytes(), &HeadLimits::default()) {
        Ok(Progress::Complete { value, .. }) => Ok(Request { head: value, body }),
        Ok(Progress::Incomplete) => Err("the request's head is not whole".to_owned()),
        Err(refusal) => {
            let (status, code, message) = (refusal.status, refusal.code, refusal.message);
            Err(format!(
                "the request's head is refused: {status} {code}: {message}"
            ))
        }
    }
}

/// An answer from a file: an HTTP response, or a body of a type that it shows.
pub(super) fn response(bytes: &[u8]) -> Result<Response, String> {
    let (head, body) = match http(bytes, is_http) {
        Some((head, body)) => (head, body),
        None => {
            let head = vec![
                "HTTP/1.1 200 OK".to_owned(),
                format!("Content-Type: {}", media_of(bytes)),
            ];
            (head, bytes)
        }
    };
    response_of(head, vec![body.to_vec()])
}

/// An answer of these parts, as a record has them.
pub(super) fn response_from(
    status: u16,
    media: &str,
    pieces: Vec<Vec<u8>>,
) -> Result<Response, String> {
    let mut head = vec![format!("HTTP/1.1 {status} Recorded")];
    if !media.is_empty() {
        head.push(format!("Content-Type: {media}"));
    }
    response_of(head, pieces)
}

fn response_of(mut head: Vec<String>, pieces: Vec<Vec<u8>>) -> Result<Response, String> {
    let length: usize = pieces.iter().map(Vec::len).sum();
    head.push(format!("Content-Length: {length}"));
    let text = joined(&head);
    match parse_response(text.as_bytes(), false, &HeadLimits::default()) {
        Ok(Progress::Complete { value, .. }) => Ok(Response {
            head: value,
            pieces,
        }),
        Ok(Progress::Incomplete) => Err("the answer's head is not whole".to_owned()),
        Err(fault) => Err(format!("the answer's head is refused: {}", fault.message)),
    }
}

fn is_http(word: &str) -> bool {
    word.starts_with("HTTP/1.")
}

/// What an answer without a head is: events, JSON, or text.
fn media_of(bytes: &[u8]) -> &'static str {
    let start = bytes.trim_ascii_start();
    let begins = |word: &str| start.starts_with(word.as_bytes());
    if ["data:", "event:", "id:", ":"].into_iter().any(begins) {
        "text/event-stream"
    } else if ["{", "["].into_iter().any(begins) {
        "application/json"
    } else {
        "text/plain"
    }
}

/// The lines of a head without what is dropped, and the body behind it; `None` when the first line
/// is not one of a head.
fn http(bytes: &[u8], is_start: impl Fn(&str) -> bool) -> Option<(Vec<String>, &[u8])> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    loop {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        let line = std::str::from_utf8(line).ok()?;
        rest = rest.get(end + 1..).unwrap_or_default();
        if lines.is_empty() && !is_start(line) {
            return None;
        }
        if line.is_empty() {
            return Some((lines, rest));
        }
        if lines.is_empty() || !DROPPED.contains(&name(line).as_str()) {
            lines.push(line.to_owned());
        }
        if rest.is_empty() {
            return Some((lines, rest));
        }
    }
}

/// The name of a field, in lower case.
fn name(line: &str) -> String {
    let name = line.split(':').next().unwrap_or_default();
    name.trim().to_ascii_lowercase()
}

fn joined(lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("{lines}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_people_write_it() {
        let text = "POST /v1/messages HTTP/1.1\nContent-Type: application/json\n\
                    Authorization: Bearer x\nContent-Length: 3\n\n{\"model\":\"m\"}\n";
        let Request { head, body } = request(text.as_bytes(), "/").expect("a request");
        assert_eq!((head.path(), body.len()), ("/v1/messages", 14));
        assert!(head.fields.get("authorization").is_none());
        let Request { head, body } = request(b"{\"model\":\"m\"}", "/v1/x").expect("a body");
        assert_eq!(
            (head.path(), body.as_slice()),
            ("/v1/x", &b"{\"model\":\"m\"}"[..])
        );
        let Request { body, .. } = request(b"GET /v1/models HTTP/1.1\n", "/").expect("no body");
        assert!(body.is_empty());
        let refused = request(b"BREW /pot HTTP/1.1\n\n", "/")
            .err()
            .expect("no method of ours");
        assert!(
            refused.contains("the request's head is refused: "),
            "{refused}"
        );
    }

    #[test]
    fn an_answer_without_a_head_is_what_it_looks_like() {
        for (body, media) in [
            (&b"data: {}\n\n"[..], "text/event-stream"),
            (b" {\"a\": 1}", "application/json"),
            (b"hello", "text/plain"),
        ] {
            let Response { head, pieces } = response(body).expect("an answer");
            assert_eq!(head.fields.text("content-type"), Some(media));
            assert_eq!(pieces, [body]);
        }
        let text = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nx";
        let Response { head, pieces } = response(text).expect("an answer");
        assert_eq!((head.status, pieces[0].as_slice()), (404, &b"x"[..]));
    }
}
