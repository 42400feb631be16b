//! Requests on the wire that must be refused, and some that must not: one list, used twice.
//!
//! `http1_codec` reads them with the codec at every cut; the end-to-end tests send them to a
//! running gateway and assert that the upstream saw nothing. So each is written as if it would
//! otherwise be forwarded: the `fields` that the caller gives (its authorization, as whole field
//! lines) stand in every request that has a place for them.

#![allow(
    dead_code,
    reason = "each test binary that includes this uses its own part"
)]

pub(crate) mod server;

/// The path of the requests: one that a gateway would forward.
pub(crate) const PATH: &str = "/v1/chat/completions";

/// A request that must be refused.
pub(crate) struct Refused {
    /// Says what is wrong with it.
    pub(crate) name: &'static str,
    /// What to send, all of it; the connection stays open afterwards.
    pub(crate) bytes: Vec<u8>,
    /// The status of the answer.
    pub(crate) status: u16,
    /// The fault lies in the body: a gateway may answer for other reasons (401, 403) before it.
    pub(crate) in_body: bool,
}

/// A request that must be accepted by the codec.
pub(crate) struct Accepted {
    /// Says what is special about it.
    pub(crate) name: &'static str,
    /// What to send: one request or several.
    pub(crate) bytes: Vec<u8>,
    /// The decoded body of each request in it.
    pub(crate) bodies: &'static [&'static [u8]],
}

/// Every request that must be refused.
pub(crate) fn refused(fields: &str) -> Vec<Refused> {
    let mut list = Vec::new();
    for (name, status, line) in REQUEST_LINES {
        list.push(Refused::head(
            name,
            *status,
            format!("{line}Host: gateway\r\n{fields}\r\n"),
        ));
    }
    for (name, status, lines) in FIELD_LINES {
        let head = format!("POST {PATH} HTTP/1.1\r\nHost: gateway\r\n{fields}{lines}\r\n{{}}xxx");
        list.push(Refused::head(name, *status, head));
    }
    for (name, status, lines) in HOSTS {
        let head = format!("POST {PATH} HTTP/1.1\r\n{lines}{fields}Content-Length: 2\r\n\r\n{{}}");
        list.push(Refused::head(name, *status, head));
    }
    for (name, status, body) in CHUNKED_BODIES {
        let head =
            format!("POST {PATH} HTTP/1.1\r\nHost: gateway\r\n{fields}Transfer-Encoding: chunked");
        let bytes = [head.as_bytes(), b"\r\n\r\n", *body].concat();
        list.push(Refused {
            name,
            bytes,
            status: *status,
            in_body: true,
        });
    }
    list.extend(raw_bytes(fields));
    list.extend(too_large(fields));
    list
}

impl Refused {
    fn head(name: &'static str, status: u16, head: impl Into<Vec<u8>>) -> Self {
        Self {
            name,
            bytes: head.into(),
            status,
            in_body: false,
        }
    }
}

/// Faults in the request line; a Host field follows.
#[rustfmt::skip] // one case a line
const REQUEST_LINES: &[(&str, u16, &str)] = &[
    ("HTTP/0.9", 400, "GET /v1/models\r\n"),
    ("HTTP/2.0", 505, "GET /v1/models HTTP/2.0\r\n"),
    ("HTTP/1.2", 505, "GET /v1/models HTTP/1.2\r\n"),
    ("HTTP/3", 400, "GET /v1/models HTTP/3\r\n"),
    ("HTTP/11", 400, "GET /v1/models HTTP/11\r\n"),
    ("HTTP/1.10", 400, "GET /v1/models HTTP/1.10\r\n"),
    ("version in small letters", 400, "GET /v1/models http/1.1\r\n"),
    ("space in the version", 400, "GET /v1/models HTTP/ 1.1\r\n"),
    ("no version, no target", 400, "GET\r\n"),
    ("two spaces after the method", 400, "GET  /v1/models HTTP/1.1\r\n"),
    ("two spaces after the target", 400, "GET /v1/models  HTTP/1.1\r\n"),
    ("space after the version", 400, "GET /v1/models HTTP/1.1 \r\n"),
    ("tab as separator", 400, "GET\t/v1/models HTTP/1.1\r\n"),
    ("vertical tab as separator", 400, "GET /v1/models\x0bHTTP/1.1\r\n"),
    ("space before the method", 400, " GET /v1/models HTTP/1.1\r\n"),
    ("space in the target", 400, "GET /v1/mod els HTTP/1.1\r\n"),
    ("method in small letters", 501, "get /v1/models HTTP/1.1\r\n"),
    ("unknown method", 501, "BREW /v1/models HTTP/1.1\r\n"),
    ("method with a delimiter", 400, "GE(T /v1/models HTTP/1.1\r\n"),
    ("CONNECT", 405, "CONNECT gateway:443 HTTP/1.1\r\n"),
    ("TRACE", 405, "TRACE /v1/models HTTP/1.1\r\n"),
    ("OPTIONS *", 400, "OPTIONS * HTTP/1.1\r\n"),
    ("GET *", 400, "GET * HTTP/1.1\r\n"),
    ("authority form", 400, "GET gateway:80 HTTP/1.1\r\n"),
    ("relative target", 400, "GET v1/models HTTP/1.1\r\n"),
    ("fragment", 400, "GET /v1/models#x HTTP/1.1\r\n"),
    ("backslash", 400, "GET /v1\\models HTTP/1.1\r\n"),
    ("bare percent", 400, "GET /v1/models% HTTP/1.1\r\n"),
    ("percent and one digit", 400, "GET /v1/models%4 HTTP/1.1\r\n"),
    ("percent and no hex", 400, "GET /v1/%zzmodels HTTP/1.1\r\n"),
    ("letters beyond ASCII in the target", 400, "GET /v1/mod\u{e9}ls HTTP/1.1\r\n"),
    ("NUL in the target", 400, "GET /v1/models\0 HTTP/1.1\r\n"),
    ("DEL in the target", 400, "GET /v1/models\x7f HTTP/1.1\r\n"),
    ("absolute form for another host", 400, "GET http://other/v1/models HTTP/1.1\r\n"),
    ("absolute form with another port", 400, "GET http://gateway:81/v1/models HTTP/1.1\r\n"),
    ("absolute form with user", 400, "GET http://gateway@gateway/v1/models HTTP/1.1\r\n"),
    ("absolute form without host", 400, "GET http:///v1/models HTTP/1.1\r\n"),
    ("absolute form with another scheme", 400, "GET ftp://gateway/v1/models HTTP/1.1\r\n"),
    ("absolute form, query without path", 400, "GET http://gateway?x HTTP/1.1\r\n"),
    ("bare LF after the request line", 400, "GET /v1/models HTTP/1.1\n"),
    ("bare CR after the request line", 400, "GET /v1/models HTTP/1.1\rX: y\r\n"),
    ("CR CR LF after the request line", 400, "GET /v1/models HTTP/1.1\r\r\n"),
    ("two empty lines first", 400, "\r\n\r\nGET /v1/models HTTP/1.1\r\n"),
    ("LF first", 400, "\nGET /v1/models HTTP/1.1\r\n"),
    ("CR first", 400, "\rGET /v1/models HTTP/1.1\r\n"),
    ("folded request line", 400, "GET /v1/models\r\n HTTP/1.1\r\n"),
];

/// Faults in the fields of a POST that has a proper Host; the body is five bytes long.
#[rustfmt::skip] // one case a line
const FIELD_LINES: &[(&str, u16, &str)] = &[
    ("length with plus", 400, "Content-Length: +5\r\n"),
    ("length with minus", 400, "Content-Length: -5\r\n"),
    ("length in hex", 400, "Content-Length: 0x5\r\n"),
    ("length with letter", 400, "Content-Length: 5a\r\n"),
    ("length with point", 400, "Content-Length: 5.0\r\n"),
    ("length empty", 400, "Content-Length:\r\n"),
    ("length as equal list", 400, "Content-Length: 5, 5\r\n"),
    ("length as unequal list", 400, "Content-Length: 5, 0\r\n"),
    ("length quoted", 400, "Content-Length: \"5\"\r\n"),
    ("length with inner space", 400, "Content-Length: 5 0\r\n"),
    ("length with underscore", 400, "Content-Length: 5_0\r\n"),
    ("length twice, equal", 400, "Content-Length: 5\r\nContent-Length: 5\r\n"),
    ("length twice, unequal", 400, "Content-Length: 5\r\nContent-Length: 0\r\n"),
    ("length twice, in two cases", 400, "content-length: 5\r\nCONTENT-LENGTH: 5\r\n"),
    ("length beyond 63 bits", 413, "Content-Length: 9223372036854775808\r\n"),
    ("length beyond 64 bits", 413, "Content-Length: 18446744073709551621\r\n"),
    ("length with a folded value", 400, "Content-Length: 5\r\n 0\r\n"),
    ("length and chunked", 400, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("chunked and length", 400, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ("unknown coding and length", 400, "Transfer-Encoding: x\r\nContent-Length: 5\r\n"),
    ("empty coding and length", 400, "Transfer-Encoding:\r\nContent-Length: 5\r\n"),
    ("unknown coding", 501, "Transfer-Encoding: xchunked\r\n"),
    ("identity coding", 501, "Transfer-Encoding: identity\r\n"),
    ("gzip, then chunked", 501, "Transfer-Encoding: gzip, chunked\r\n"),
    ("chunked, then gzip", 501, "Transfer-Encoding: chunked, gzip\r\n"),
    ("chunked with parameter", 501, "Transfer-Encoding: chunked;q=1\r\n"),
    ("chunked quoted", 501, "Transfer-Encoding: \"chunked\"\r\n"),
    ("chunked and something", 501, "Transfer-Encoding: chunked x\r\n"),
    ("chunked twice in a list", 400, "Transfer-Encoding: chunked, chunked\r\n"),
    ("chunked with comma", 400, "Transfer-Encoding: chunked,\r\n"),
    ("coding empty", 400, "Transfer-Encoding:\r\n"),
    ("chunked twice", 400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("chunked and identity", 400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ("chunked behind a vertical tab", 400, "Transfer-Encoding: \x0bchunked\r\n"),
    ("chunked folded", 400, "Transfer-Encoding:\r\n chunked\r\n"),
    ("space before the colon of a coding", 400, "Transfer-Encoding : chunked\r\n"),
    ("tab before the colon of a length", 400, "Content-Length\t: 5\r\n"),
    ("coding with underscore", 400, "Transfer_Encoding: chunked\r\n"),
    ("length with underscore name", 400, "Content_Length: 5\r\n"),
    ("empty field name", 400, ": x\r\nContent-Length: 5\r\n"),
    ("no colon", 400, "Content-Length 5\r\n"),
    ("name with space", 400, "Content Length: 5\r\n"),
    ("name with a delimiter", 400, "X(y): z\r\nContent-Length: 5\r\n"),
    ("name beyond ASCII", 400, "X-\u{e9}: z\r\nContent-Length: 5\r\n"),
    ("name with NUL", 400, "X\0Y: z\r\nContent-Length: 5\r\n"),
    ("value with NUL", 400, "X: a\0b\r\nContent-Length: 5\r\n"),
    ("value with DEL", 400, "X: a\x7fb\r\nContent-Length: 5\r\n"),
    ("value with escape", 400, "X: a\x1bb\r\nContent-Length: 5\r\n"),
    ("value with bare CR", 400, "X: a\rContent-Length: 5\r\n"),
    ("value ending in CR CR LF", 400, "X: a\r\r\nContent-Length: 5\r\n"),
    ("line ending in a bare LF", 400, "X: a\nContent-Length: 5\r\n"),
    ("folded line", 400, "X: a\r\n b\r\nContent-Length: 5\r\n"),
    ("folded with tab", 400, "X: a\r\n\tb\r\nContent-Length: 5\r\n"),
    ("request line among the fields", 400, "GET / HTTP/1.1\r\nContent-Length: 5\r\n"),
    ("Host again", 400, "Host: gateway\r\nContent-Length: 5\r\n"),
    ("Host again, another", 400, "hOsT: other\r\nContent-Length: 5\r\n"),
    ("Upgrade to WebSocket", 400, "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    ("Upgrade to h2c", 400, "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
    ("HTTP2-Settings alone", 400, "HTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n"),
    ("Connection that is no list of tokens", 400, "Connection: a b\r\nContent-Length: 5\r\n"),
    ("Connection names Content-Length", 400, "Connection: content-length\r\nContent-Length: 5\r\n"),
    ("Connection names Host", 400, "Connection: close, Host\r\nContent-Length: 5\r\n"),
    ("Connection names Content-Type", 400, "Connection: content-type\r\nContent-Type: a/b\r\n"),
    ("unknown expectation", 417, "Expect: 200-ok\r\nContent-Length: 5\r\n"),
    ("Expect twice", 417, "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"),
    ("Expect with more", 417, "Expect: 100-continue, x\r\nContent-Length: 5\r\n"),
];

/// Faults around Host; the lines stand where the Host field would.
#[rustfmt::skip] // one case a line
const HOSTS: &[(&str, u16, &str)] = &[
    ("no Host", 400, ""),
    ("Host empty", 400, "Host:\r\n"),
    ("Host with space", 400, "Host: gate way\r\n"),
    ("Host with path", 400, "Host: gateway/v1\r\n"),
    ("Host with user", 400, "Host: user@gateway\r\n"),
    ("Host as a list", 400, "Host: gateway, other\r\n"),
    ("Host with query", 400, "Host: gateway?x\r\n"),
    ("Host with letters in the port", 400, "Host: gateway:8o\r\n"),
    ("Host with an empty port", 400, "Host: gateway:\r\n"),
    ("Host with a port too large", 400, "Host: gateway:65536\r\n"),
    ("Host with two ports", 400, "Host: gateway:80:80\r\n"),
    ("Host with an open bracket", 400, "Host: [::1\r\n"),
    ("Host with no address in brackets", 400, "Host: [gateway]\r\n"),
    ("Host with an address without brackets", 400, "Host: ::1\r\n"),
    ("Host beyond ASCII", 400, "Host: gat\u{e9}way\r\n"),
    ("Host with scheme", 400, "Host: http://gateway\r\n"),
    ("space before the colon of Host", 400, "Host : gateway\r\n"),
    ("Host folded onto the next line", 400, "Host:\r\n gateway\r\n"),
    ("two Hosts", 400, "Host: gateway\r\nHost: gateway\r\n"),
];

/// Faults in a chunked body.
#[rustfmt::skip] // one case a line
const CHUNKED_BODIES: &[(&str, u16, &[u8])] = &[
    ("chunk size empty", 400, b"\r\n{}\r\n0\r\n\r\n"),
    ("chunk size with plus", 400, b"+2\r\n{}\r\n0\r\n\r\n"),
    ("chunk size with minus", 400, b"-2\r\n{}\r\n0\r\n\r\n"),
    ("chunk size with 0x", 400, b"0x2\r\n{}\r\n0\r\n\r\n"),
    ("chunk size with underscore", 400, b"0_2\r\n{}\r\n0\r\n\r\n"),
    ("space before the chunk size", 400, b" 2\r\n{}\r\n0\r\n\r\n"),
    ("space after the chunk size", 400, b"2 \r\n{}\r\n0\r\n\r\n"),
    ("tab before an extension", 400, b"2\t;a\r\n{}\r\n0\r\n\r\n"),
    ("chunk size no hex", 400, b"g\r\n{}\r\n0\r\n\r\n"),
    ("chunk size of 17 digits", 400, b"00000000000000002\r\n{}\r\n0\r\n\r\n"),
    ("chunk size beyond 63 bits", 413, b"8000000000000000\r\n{}\r\n0\r\n\r\n"),
    ("chunk size wraps to 2 in 64 bits", 400, b"10000000000000002\r\n{}\r\n0\r\n\r\n"),
    ("chunk size line ends in LF", 400, b"2\n{}\r\n0\r\n\r\n"),
    ("chunk size line ends in CR", 400, b"2\r{}\r\n0\r\n\r\n"),
    ("chunk size line ends in CR CR LF", 400, b"2\r\r\n{}\r\n0\r\n\r\n"),
    ("chunk data ends in LF", 400, b"2\r\n{}\n0\r\n\r\n"),
    ("chunk data ends in CR", 400, b"2\r\n{}\r0\r\n\r\n"),
    ("chunk data without an end", 400, b"2\r\n{}0\r\n\r\n"),
    ("chunk data longer than announced", 400, b"1\r\n{}\r\n0\r\n\r\n"),
    ("chunk data shorter than announced", 400, b"3\r\n{}\r\n0\r\n\r\n"),
    ("extension with bare LF", 400, b"2;a\n{}\r\n0\r\n\r\n"),
    ("extension with bare CR", 400, b"2;a\rb\r\n{}\r\n0\r\n\r\n"),
    ("extension with quoted line end", 400, b"2;a=\"\n\"\r\n{}\r\n0\r\n\r\n"),
    ("extension with NUL", 400, b"2;a=\0\r\n{}\r\n0\r\n\r\n"),
    ("extension without name", 400, b"2;\r\n{}\r\n0\r\n\r\n"),
    ("extension that starts with a space", 400, b"2; a\r\n{}\r\n0\r\n\r\n"),
    ("last chunk line ends in LF", 400, b"2\r\n{}\r\n0\n\r\n"),
    ("body ends in LF", 400, b"2\r\n{}\r\n0\r\n\n"),
    ("body ends in CR and a request", 400, b"2\r\n{}\r\n0\r\n\rGET / HTTP/1.1\r\n\r\n"),
    ("trailer folded", 400, b"2\r\n{}\r\n0\r\nA: b\r\n c\r\n\r\n"),
    ("trailer with bare LF", 400, b"2\r\n{}\r\n0\r\nA: b\n\r\n"),
    ("trailer without colon", 400, b"2\r\n{}\r\n0\r\nGET / HTTP/1.1\r\n\r\n"),
    ("trailer with space before the colon", 400, b"2\r\n{}\r\n0\r\nA : b\r\n\r\n"),
    ("trailer with empty name", 400, b"2\r\n{}\r\n0\r\n: b\r\n\r\n"),
    ("trailer with NUL", 400, b"2\r\n{}\r\n0\r\nA: \0\r\n\r\n"),
];

/// Faults that no text can hold, and what other protocols send.
fn raw_bytes(fields: &str) -> Vec<Refused> {
    let old = format!("POST {PATH} HTTP/1.0\r\nHost: gateway\r\n{fields}");
    vec![
        Refused::head(
            "HTTP/2 preface",
            505,
            *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ),
        Refused::head(
            "TLS handshake",
            400,
            *b"\x16\x03\x01\0\xa5\x01\0\0\xa1\x03\x03",
        ),
        Refused::head("NUL bytes", 400, *b"\0\0\0\0"),
        Refused::head(
            "byte order mark",
            400,
            *b"\xef\xbb\xbfGET / HTTP/1.1\r\n\r\n",
        ),
        Refused::head("a JSON body only", 400, *b"{\"model\": \"m\"}"),
        Refused::head(
            "target of bytes that are no text",
            400,
            [
                b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: gateway\r\n",
                fields.as_bytes(),
                b"\r\n",
            ]
            .concat(),
        ),
        Refused::head(
            "Host of bytes that are no text",
            400,
            [
                b"GET /v1/models HTTP/1.1\r\nHost: \xff\r\n",
                fields.as_bytes(),
                b"\r\n",
            ]
            .concat(),
        ),
        Refused::head(
            "chunked in HTTP/1.0",
            400,
            format!("{old}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
        ),
        Refused::head(
            "chunked with length in HTTP/1.0",
            400,
            format!("{old}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{{}}"),
        ),
        Refused::head(
            "two Hosts in HTTP/1.0",
            400,
            format!("{old}Host: other\r\nContent-Length: 2\r\n\r\n{{}}"),
        ),
        Refused::head(
            "unknown method in HTTP/1.0",
            501,
            format!("PROPFIND {PATH} HTTP/1.0\r\n{fields}\r\n"),
        ),
    ]
}

/// Faults of size, against the default bounds: 8 KiB request line, 32 KiB and 100 fields.
fn too_large(fields: &str) -> Vec<Refused> {
    let line = format!("POST {PATH} HTTP/1.1\r\nHost: gateway\r\n{fields}");
    let long_line = format!(
        "GET /{} HTTP/1.1\r\nHost: gateway\r\n\r\n",
        "a".repeat(8 * 1024)
    );
    let chunked = format!("{line}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let in_body = |name, status, body: String| Refused {
        name,
        bytes: [chunked.clone(), body.into_bytes()].concat(),
        status,
        in_body: true,
    };
    vec![
        Refused::head("request line too long", 414, long_line.clone()),
        Refused::head(
            "request line too long, unfinished",
            414,
            &long_line.as_bytes()[..8195],
        ),
        Refused::head(
            "one field too large",
            431,
            format!("{line}X: {}", "a".repeat(32 * 1024)),
        ),
        Refused::head(
            "fields too large together",
            431,
            format!(
                "{line}{}\r\n",
                format!("X: {}\r\n", "a".repeat(1000)).repeat(33)
            ),
        ),
        Refused::head(
            "too many fields",
            431,
            format!("{line}{}\r\n", "X: y\r\n".repeat(100)),
        ),
        Refused::head(
            "a name without end",
            431,
            format!("{line}{}", "a".repeat(32 * 1024)),
        ),
        in_body(
            "chunk extension too long",
            400,
            format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(257)),
        ),
        in_body(
            "chunk extensions too long together",
            400,
            format!(
                "{}0\r\n\r\n",
                format!("2;{}\r\n{{}}\r\n", "a".repeat(256)).repeat(65)
            ),
        ),
        in_body(
            "trailers too large",
            431,
            format!(
                "2\r\n{{}}\r\n0\r\n{}\r\n",
                format!("X: {}\r\n", "a".repeat(996)).repeat(9)
            ),
        ),
    ]
}

/// Requests that must be accepted, whole messages only.
pub(crate) fn accepted() -> Vec<Accepted> {
    let case = |name, bytes: &str, bodies| Accepted {
        name,
        bytes: bytes.into(),
        bodies,
    };
    vec![
        case(
            "plain GET",
            "GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n",
            &[b""],
        ),
        case(
            "POST with length",
            "POST /v1/embeddings HTTP/1.1\r\nHost: gateway:80\r\nContent-Length: 2\r\n\r\n{}",
            &[b"{}"],
        ),
        case(
            "chunked, in capitals, with extensions and trailers",
            "POST / HTTP/1.1\r\nHost: [::1]:8080\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n\
             3;a=b\r\nabc\r\n00A;name=\"quoted; \t\"\r\n0123456789\r\n0;last\r\nX: y\r\nZ:\r\n\r\n",
            &[b"abc0123456789"],
        ),
        case(
            "empty chunked",
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[b""],
        ),
        case(
            "length 0",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            &[b""],
        ),
        case(
            "spaces around values",
            "GET / HTTP/1.1\r\nHost: \t a \t\r\nX:y\r\nE:\r\nF: \r\n\r\n",
            &[b""],
        ),
        case(
            "one empty line first",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &[b""],
        ),
        case("HTTP/1.0 without Host", "GET /?q HTTP/1.0\r\n\r\n", &[b""]),
        case(
            "absolute form",
            "GET http://GATEWAY/v1/models?a=%20 HTTP/1.1\r\nHost: gateway\r\n\r\n",
            &[b""],
        ),
        case(
            "absolute form without path",
            "GET http://gateway HTTP/1.1\r\nHost: gateway\r\n\r\n",
            &[b""],
        ),
        case(
            "OPTIONS",
            "OPTIONS /v1/models HTTP/1.1\r\nHost: a\r\nOrigin: null\r\n\r\n",
            &[b""],
        ),
        case(
            "Expect and Connection",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nConnection: x-own, close\r\n\
             X-Own: 1\r\nContent-Length: 3\r\n\r\nabc",
            &[b"abc"],
        ),
        Accepted {
            name: "value beyond ASCII",
            bytes: b"GET / HTTP/1.1\r\nHost: a\r\nX: caf\xe9 \x80\xff\r\n\r\n".to_vec(),
            bodies: &[b""],
        },
        case(
            "three in one go",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
             POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
             \r\nHEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            &[b"abc", b"x", b""],
        ),
    ]
}
