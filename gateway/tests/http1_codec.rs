//! The HTTP/1.1 codec from outside: lists of requests that it must refuse or accept, fed at every
//! cut; responses by the rules; and the bytes that the writers write.

mod corpus;

use corpus::server::{Outcome, serve};
use penstock_gateway::http1::{
    FieldError, Framing, HeadLimits, HeadScanner, Method, Persistence, Progress, RequestWriter,
    ResponseFraming, ResponseHead, ResponseWriter, Version, parse_request, parse_response,
    parse_response_into,
};

/// Asserts that no cut changes what comes out, and gives it.
fn serve_at_every_cut(name: &str, bytes: &[u8]) -> Outcome {
    let whole = serve(bytes, []);
    // Long cases are long by repetition: cut them at a stride, but always near both ends.
    let stride = 1 + bytes.len() / 2000;
    let near_ends = |cut: &usize| *cut < 300 || *cut + 300 > bytes.len();
    for cut in (0..=bytes.len()).filter(|cut| cut % stride == 0 || near_ends(cut)) {
        assert_eq!(serve(bytes, [cut]), whole, "{name}: cut at {cut}");
    }
    assert_eq!(serve(bytes, 0..=bytes.len()), whole, "{name}: byte by byte");
    assert_eq!(
        serve(bytes, (0..bytes.len()).step_by(7)),
        whole,
        "{name}: seven by seven"
    );
    whole
}

const FIELDS: &str = "Authorization: Bearer t\r\nContent-Type: application/json\r\n";

#[test]
fn every_bad_request_is_refused_with_its_status_at_every_cut() {
    let list = corpus::refused(FIELDS);
    assert!(list.len() >= 80, "only {} cases", list.len());
    for case in list {
        let outcome = serve_at_every_cut(case.name, &case.bytes);
        let refusal = outcome
            .refusal
            .unwrap_or_else(|| panic!("{}: accepted", case.name));
        assert_eq!(refusal.status, case.status, "{}: {refusal}", case.name);
        let heads = usize::from(case.in_body);
        assert_eq!(
            outcome.requests.len(),
            heads,
            "{}: heads that got through",
            case.name
        );
    }
}

#[test]
fn names_in_the_list_are_unique() {
    let mut names: Vec<_> = corpus::refused("").iter().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn every_good_request_is_accepted_at_every_cut() {
    for case in corpus::accepted() {
        let outcome = serve_at_every_cut(case.name, &case.bytes);
        assert_eq!(outcome.refusal, None, "{}", case.name);
        assert!(!outcome.unfinished, "{}", case.name);
        let bodies: Vec<_> = outcome
            .requests
            .iter()
            .map(|request| &request.body[..])
            .collect();
        assert_eq!(bodies, case.bodies, "{}", case.name);
    }
}

#[test]
fn a_head_is_read_into_its_parts() {
    let bytes = b"\r\nPOST http://Gate.way:80/v1/a%20b?x=1&y HTTP/1.1\r\nhost: gate.WAY:80\r\n\
        Accept: a\r\nConnection: x-hop, Keep-Alive\r\nX-Hop: 1\r\naccept:  b\t\r\nTE: trailers\r\n\
        Proxy-Authorization: p\r\nExpect: 100-continue\r\nContent-Length: 3\r\nX-Empty:\r\n\r\nabc";
    let Ok(Progress::Complete {
        value: head,
        consumed,
    }) = parse_request(bytes, &HeadLimits::default())
    else {
        panic!("refused or unfinished");
    };
    assert_eq!(consumed, bytes.len() - 3);
    assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
    assert_eq!((head.path(), head.query()), ("/v1/a%20b", Some("x=1&y")));
    assert_eq!(
        (head.target(), head.host()),
        ("/v1/a%20b?x=1&y", "gate.WAY:80")
    );
    assert_eq!((head.framing, head.keep_alive), (Framing::Length(3), true));
    assert!(head.expect_continue);
    assert_eq!((head.fields.len(), head.fields.count("ACCEPT")), (10, 2));
    assert_eq!(head.fields.get("accept"), Some(&b"a"[..]));
    assert_eq!(
        head.fields.values("Accept").collect::<Vec<_>>(),
        [&b"a"[..], b"b"]
    );
    assert_eq!(
        (head.fields.text("x-empty"), head.fields.get("absent")),
        (Some(""), None)
    );
    let forwarded: Vec<_> = head.fields.end_to_end().collect();
    assert_eq!(
        forwarded,
        [("Accept", &b"a"[..]), ("accept", b"b"), ("X-Empty", b"")],
        "neither hop-by-hop fields, nor named ones, nor what the writer states"
    );
}

#[test]
fn persistence_and_expectation_depend_on_the_version() {
    let read = |text: &str| serve(text.as_bytes(), []).requests.remove(0);
    let kept = |text: &str| read(text).keep_alive;
    assert!(kept("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert!(!kept(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n"
    ));
    assert!(!kept("GET / HTTP/1.0\r\n\r\n"));
    assert!(kept("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    assert!(!kept(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(read("GET / HTTP/1.0\r\n\r\n").host, "");
    assert_eq!(read("GET http://h/ HTTP/1.0\r\n\r\n").host, "h");

    let waits = |version: &str, length: u8| {
        let head = format!("POST / {version}\r\nHost: a\r\nExpect: 100-continue\r\n");
        read(&format!("{head}Content-Length: {length}\r\n\r\n")).expect_continue
    };
    assert!(waits("HTTP/1.1", 1));
    assert!(!waits("HTTP/1.1", 0), "nothing to wait for");
    assert!(!waits("HTTP/1.0", 1), "unknown to HTTP/1.0");
    assert!(!read("GET / HTTP/1.0\r\nExpect: the worst\r\n\r\n").expect_continue);
}

#[test]
fn a_reused_head_carries_nothing_over() {
    let full = "POST /a?b HTTP/1.0\r\nHost: a\r\nConnection: x, close\r\nX: 1\r\n\
                Content-Length: 2\r\n\r\n{}";
    let plain = "GET / HTTP/1.1\r\nHost: b\r\n\r\n";
    let both = serve(format!("{full}{plain}").as_bytes(), []);
    assert_eq!(both.requests[1], serve(plain.as_bytes(), []).requests[0]);
}

// --- responses ---

/// Parses whole and at every cut, and gives status, framing, persistence and the bytes consumed.
fn respond(text: &str, head_request: bool) -> Result<(u16, ResponseFraming, bool), &'static str> {
    let limits = HeadLimits::default();
    let whole = parse_response(text.as_bytes(), head_request, &limits);
    let mut scanner = HeadScanner::default();
    let mut head = ResponseHead::default();
    let mut cut = Ok(Progress::Incomplete);
    for end in 0..=text.len() {
        let bytes = &text.as_bytes()[..end];
        cut = parse_response_into(&mut scanner, bytes, head_request, &limits, &mut head);
        if cut != Ok(Progress::Incomplete) {
            break;
        }
    }
    match (whole, cut) {
        (Err(whole), Err(cut)) if whole == cut => Err(whole.code),
        (
            Ok(Progress::Complete { value, consumed }),
            Ok(Progress::Complete { consumed: cut, .. }),
        ) => {
            assert_eq!(consumed, cut);
            assert_eq!(format!("{value:?}"), format!("{head:?}"), "byte by byte");
            Ok((value.status, value.framing, value.keep_alive))
        }
        (whole, cut) => panic!("{text:?}: {whole:?}, but byte by byte {cut:?}"),
    }
}

#[test]
fn responses_are_framed_by_the_rules() {
    use ResponseFraming::{Chunked, Length, None as Nothing, UntilClose};
    let cases = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
            (200, Length(5), true),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            (200, Chunked, true),
        ),
        (
            "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            (200, Length(0), true),
        ),
        (
            "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
            (200, Length(0), true),
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            (200, Length(0), false),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", (200, UntilClose, false)),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
            (200, Length(1), false),
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
            (200, Length(1), true),
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
            (200, UntilClose, false),
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", (204, Nothing, true)),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            (204, Nothing, true),
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            (304, Nothing, true),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n", (100, Nothing, true)),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            (103, Nothing, true),
        ),
        (
            "HTTP/1.1 599 \u{e9}\r\nContent-Length: 0\r\n\r\n",
            (599, Length(0), true),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(respond(text, false), Ok(expected), "{text}");
    }
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(
            respond(text, true),
            Ok((200, Nothing, true)),
            "HEAD: {text}"
        );
    }
    let head = parse_response(
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
        true,
        &HeadLimits::default(),
    );
    let Ok(Progress::Complete { value, .. }) = head else {
        panic!("{head:?}")
    };
    assert_eq!((value.declared_length, value.interim), (Some(7), false));
}

#[test]
fn faulty_responses_are_named() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let after_ok = [
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "content_length_repeated",
        ),
        ("Content-Length: 5, 5\r\n\r\n", "content_length_invalid"),
        ("Content-Length: +5\r\n\r\n", "content_length_invalid"),
        (
            "Content-Length: 9999999999999999999\r\n\r\n",
            "content_length_too_large",
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "transfer_encoding_with_content_length",
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n\r\n",
            "transfer_encoding_unsupported",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "transfer_encoding_repeated",
        ),
        ("X: a\r\n b\r\n\r\n", "field_name_invalid"),
        ("X : a\r\n\r\n", "field_name_invalid"),
        ("X: a\0\r\n\r\n", "field_value_invalid"),
        ("X: a\rb\r\n\r\n", "field_value_invalid"),
        ("X: a\n\r\n", "bare_lf"),
        ("Connection: a b\r\n\r\n", "connection_invalid"),
        (
            "Connection: content-encoding\r\nContent-Encoding: gzip\r\n\r\n",
            "connection_names_end_to_end_field",
        ),
    ];
    for (fields, code) in after_ok {
        assert_eq!(
            respond(&format!("{ok}{fields}"), false),
            Err(code),
            "{fields}"
        );
    }
    let whole = [
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
            "switching_protocols",
        ),
        ("HTTP/1.1 099 X\r\n\r\n", "status_out_of_range"),
        ("HTTP/1.1 600 X\r\n\r\n", "status_out_of_range"),
        ("HTTP/1.1 20 OK\r\n\r\n", "status_line_malformed"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "status_line_malformed"),
        ("HTTP/1.1  200 OK\r\n\r\n", "status_line_malformed"),
        ("HTTP/1.1 200 O\0K\r\n\r\n", "status_line_malformed"),
        ("HTTP/1.1 200 O\rK\r\n\r\n", "status_line_malformed"),
        ("HTTP/1.1 200 OK\n\r\n", "bare_lf"),
        ("HTTP/2 200\r\n\r\n", "http_version_unsupported"),
        (
            "HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n",
            "body_where_none_may_be",
        ),
        (
            "HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n",
            "body_where_none_may_be",
        ),
        (
            "HTTP/1.1 100 X\r\nContent-Length: 5\r\n\r\n",
            "body_where_none_may_be",
        ),
        (
            "HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n",
            "transfer_encoding_in_http10",
        ),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "not_http"),
        ("<html>", "not_http"),
    ];
    for (text, code) in whole {
        assert_eq!(respond(text, false), Err(code), "{text}");
    }
    let long = format!("{ok}X: {}", "a".repeat(40_000));
    assert_eq!(respond(&long, false), Err("head_too_large"));
    let many = format!("{ok}{}\r\n", "X: y\r\n".repeat(101));
    assert_eq!(respond(&many, false), Err("too_many_fields"));
    let line = format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(9000));
    assert_eq!(respond(&line, false), Err("status_line_too_long"));
}

// --- writers ---

#[test]
fn written_heads_are_these_bytes() {
    let written = |make: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        make(&mut out);
        String::from_utf8(out).expect("ASCII")
    };
    let request = |method, framing| {
        written(&|out| {
            let mut writer = RequestWriter::new(out, method, "/a?b", "h:1").expect("valid");
            writer.field("X", b"1").expect("valid");
            writer.field("Connection", b"close").expect("skipped");
            writer.field("content-length", b"77").expect("skipped");
            writer.finish(framing);
        })
    };
    assert_eq!(
        request(Method::Get, Framing::None),
        "GET /a?b HTTP/1.1\r\nhost: h:1\r\nX: 1\r\n\r\n"
    );
    assert!(request(Method::Post, Framing::None).ends_with("\r\ncontent-length: 0\r\n\r\n"));
    assert!(request(Method::Get, Framing::Length(120)).ends_with("content-length: 120\r\n\r\n"));
    assert!(request(Method::Put, Framing::Chunked).ends_with("transfer-encoding: chunked\r\n\r\n"));

    let response = |status, framing, persistence| {
        written(&|out| ResponseWriter::new(out, status).finish(framing, persistence))
    };
    use Persistence::{Close, KeepAlive, KeepAliveStated};
    assert_eq!(
        response(200, ResponseFraming::Length(u64::MAX), KeepAlive),
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n"
    );
    assert_eq!(
        response(404, ResponseFraming::None, Close),
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(
        response(200, ResponseFraming::UntilClose, KeepAlive),
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    );
    assert_eq!(
        response(204, ResponseFraming::Chunked, KeepAlive),
        "HTTP/1.1 204 No Content\r\n\r\n"
    );
    assert_eq!(
        response(299, ResponseFraming::Chunked, KeepAliveStated),
        "HTTP/1.1 299 \r\ntransfer-encoding: chunked\r\nconnection: keep-alive\r\n\r\n"
    );
    assert_eq!(
        written(&|out| ResponseWriter::new(out, 200).finish_head(None, KeepAlive)),
        "HTTP/1.1 200 OK\r\n\r\n"
    );
}

#[test]
fn nothing_that_could_end_a_line_is_written() {
    let mut out = Vec::new();
    for bad in ["", "a", "/a b", "/a\r\nX: y", "/\u{e9}", "/\0"] {
        let writer = RequestWriter::new(&mut out, Method::Get, bad, "h");
        assert_eq!(writer.err(), Some(FieldError::Target), "{bad:?}");
    }
    for bad in ["", "h\r\n", "h h"] {
        let writer = RequestWriter::new(&mut out, Method::Get, "/", bad);
        assert_eq!(writer.err(), Some(FieldError::Target), "{bad:?}");
    }
    assert!(out.is_empty());
    let mut writer = ResponseWriter::new(&mut out, 200);
    for bad in ["a\rb", "a\nb", "a\0b", "a\x7fb", "\r\n\r\n"] {
        assert_eq!(
            writer.field("x", bad.as_bytes()),
            Err(FieldError::Value),
            "{bad:?}"
        );
    }
    for bad in ["", "a b", "a:", "a\r\n", "\u{e9}"] {
        assert_eq!(writer.field(bad, b"x"), Err(FieldError::Name), "{bad:?}");
    }
    assert_eq!(writer.field("tab-and-more", b"a\tb \xff"), Ok(()));
    writer.finish(ResponseFraming::None, Persistence::KeepAlive);
    assert_eq!(
        out,
        b"HTTP/1.1 200 OK\r\ntab-and-more: a\tb \xff\r\ncontent-length: 0\r\n\r\n"
    );
}
