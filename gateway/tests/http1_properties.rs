//! The HTTP/1.1 codec under random input: chunked bodies against a plain oracle, what the writers
//! write read back, and no byte that makes a parser panic or depend on where the bytes were cut.

mod corpus;

use corpus::server::serve;
use penstock_gateway::http1::{
    ChunkDecoder, Framing, HeadLimits, Method, Persistence, Progress, RequestWriter,
    ResponseFraming, ResponseWriter, chunk, is_hop_by_hop, last_chunk, parse_request,
    parse_response,
};
use proptest::prelude::*;

/// The chunk grammar again, over the whole input and line by line. `Ok(None)`: valid so far.
fn chunks_by_the_book(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let mut data = Vec::new();
    let mut at = 0;
    let mut extensions = 0;
    loop {
        let line = Line::at(input, at)?;
        let (digits, extension) = line.split(b';');
        if let Some(extension) = extension {
            extensions += extension.len();
            if extension.len() > 256 || extensions > 16 * 1024 {
                return Err(());
            }
        }
        let size = size_by_the_book(digits, extension, line.cr)?;
        if !line.lf {
            return Ok(None);
        }
        at += line.text.len() + 2;
        if size == 0 {
            return trailers_by_the_book(input, at).map(|end| end.map(|end| (data, end)));
        }
        let end = at.saturating_add(size as usize);
        if end >= input.len() {
            return Ok(None);
        }
        data.extend_from_slice(&input[at..end]);
        match &input[end..] {
            [b'\r', b'\n', ..] => at = end + 2,
            [b'\r'] => return Ok(None),
            _ => return Err(()),
        }
    }
}

fn size_by_the_book(digits: &[u8], extension: Option<&[u8]>, ended: bool) -> Result<u64, ()> {
    let hex = std::str::from_utf8(digits).map_err(drop)?;
    let must_be_there = ended || extension.is_some();
    if hex.len() > 16
        || !hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        || (hex.is_empty() && must_be_there)
    {
        return Err(());
    }
    match extension {
        Some([]) if ended => return Err(()),
        Some([first, ..]) if !is_token(*first) => return Err(()),
        Some(text) if !text.iter().all(is_printable) => return Err(()),
        _ => {}
    }
    let size = u64::from_str_radix(&format!("0{hex}"), 16).map_err(drop)?;
    if size > i64::MAX as u64 {
        Err(())
    } else {
        Ok(size)
    }
}

fn trailers_by_the_book(input: &[u8], mut at: usize) -> Result<Option<usize>, ()> {
    loop {
        let line = Line::at(input, at)?;
        let (name, value) = line.split(b':');
        let empty = line.text.is_empty();
        if !name.iter().copied().all(is_token) || (name.is_empty() && value.is_some()) {
            return Err(());
        }
        if !value.unwrap_or_default().iter().all(is_printable)
            || (line.cr && !empty && value.is_none())
        {
            return Err(());
        }
        if !line.lf {
            return Ok(None);
        }
        at += line.text.len() + 2;
        if empty {
            return Ok(Some(at));
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_printable(byte: &u8) -> bool {
    *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)
}

/// A line, and how much of its end is there.
struct Line<'a> {
    text: &'a [u8],
    cr: bool,
    lf: bool,
}

impl<'a> Line<'a> {
    fn at(input: &'a [u8], at: usize) -> Result<Self, ()> {
        let rest = &input[at..];
        let cr = rest.iter().position(|&byte| byte == b'\r');
        let text = &rest[..cr.unwrap_or(rest.len())];
        match cr.and_then(|cr| rest.get(cr + 1)) {
            Some(b'\n') => Ok(Self {
                text,
                cr: true,
                lf: true,
            }),
            Some(_) => Err(()),
            None => Ok(Self {
                text,
                cr: cr.is_some(),
                lf: false,
            }),
        }
    }

    fn split(&self, separator: u8) -> (&'a [u8], Option<&'a [u8]>) {
        let mut parts = self.text.splitn(2, |&byte| byte == separator);
        (parts.next().unwrap_or_default(), parts.next())
    }
}

/// Decodes with input handed over in pieces: in the oracle's terms.
fn decode(input: &[u8], cuts: &[usize]) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let mut decoder = ChunkDecoder::new();
    let mut data = Vec::new();
    let mut used = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        while used < cut && !decoder.is_done() {
            let piece = &input[used..cut];
            let step = decoder.decode(piece).map_err(drop)?;
            assert!(step.consumed > 0, "no progress");
            assert!(step.data.end <= step.consumed);
            data.extend_from_slice(&piece[step.data]);
            used += step.consumed;
        }
    }
    Ok(decoder.is_done().then_some((data, used)))
}

/// Cuts in order within `0..=len`.
fn cuts(len: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=len, 0..8).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

/// Bodies that are valid or nearly so: pieces of the grammar, right and wrong, in a row.
fn chunk_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => Just("3\r\nabc\r\n"),
        6 => Just("00A;x=\"y\"\r\n0123456789\r\n"),
        6 => Just("0\r\n\r\n"),
        2 => Just("2\r\n\r\n\r\n"),
        2 => Just("0;z\r\nT: v\r\nU:\r\n\r\n"),
        4 => prop::sample::select(vec![
            "\r", "\n", "\r\n", ";", ":", " ", "\t", "0", "1", "f", "G", "+", "\0", "\u{e9}",
            "7fffffffffffffff\r\n", "8000000000000000\r\n", "00000000000000001\r\na\r\n",
        ]),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Of a field that is the caller's to state: "te" and its kin a writer leaves out.
fn field_name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}".prop_filter("for one connection or the writer's", |name| {
        let stated = ["host", "expect", "content-length"];
        !is_hop_by_hop(name) && !stated.iter().any(|other| name.eq_ignore_ascii_case(other))
    })
}

/// Visible at both ends, so that nothing is trimmed; bytes above ASCII in between.
fn field_value() -> impl Strategy<Value = Vec<u8>> {
    let inner = prop_oneof![Just(b'\t'), b' '..=b'~', 0x80_u8..=0xff];
    prop_oneof![
        Just(Vec::new()),
        (
            b'!'..=b'~',
            prop::collection::vec(inner, 0..20),
            b'!'..=b'~'
        )
            .prop_map(|(first, inner, last)| [vec![first], inner, vec![last]].concat())
    ]
}

fn many() -> ProptestConfig {
    ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn chunks_agree_with_the_oracle(
        (input, cuts) in chunk_like().prop_flat_map(|input| {
            let cuts = cuts(input.len());
            (Just(input), cuts)
        })
    ) {
        prop_assert_eq!(decode(&input, &cuts), chunks_by_the_book(&input));
    }

    #[test]
    fn chunks_agree_with_the_oracle_on_small_alphabets(
        input in "[01aG;:=\r\n \t\"\0]{0,14}", cut in 0_usize..14
    ) {
        let input = input.as_bytes();
        prop_assert_eq!(decode(input, &[cut.min(input.len())]), chunks_by_the_book(input));
    }

    #[test]
    fn written_chunks_decode_to_the_data(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        at in prop::collection::vec(0_usize..2000, 0..8)
    ) {
        let mut out = Vec::new();
        for piece in &pieces {
            chunk(&mut out, piece);
        }
        last_chunk(&mut out);
        let mut cuts: Vec<_> = at.into_iter().map(|at| at.min(out.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(decode(&out, &cuts), Ok(Some((pieces.concat(), out.len()))));
    }

    #[test]
    fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = serve(&bytes, []);
        let _ = parse_response(&bytes, false, &HeadLimits::default());
        let _ = decode(&bytes, &[]);
    }

    #[test]
    fn nearly_valid_requests_are_read_alike_at_any_cut(
        parts in prop::collection::vec(prop::sample::select(vec![
            "GET ", "POST ", "/", "/a?b", "http://a", "*", " HTTP/1.1", " HTTP/1.0", "\r\n", "\r",
            "\n", "Host: a\r\n", "Host: b\r\n", "Content-Length: 3\r\n", "Content-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "X: y\r\n", " ", ":", "\0",
            "abc", "3\r\nabc\r\n", "0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n", "\r\n\r\n",
        ]), 0..12),
        at in prop::collection::vec(0_usize..200, 0..6)
    ) {
        let bytes = parts.concat().into_bytes();
        let mut cuts: Vec<_> = at.into_iter().map(|at| at.min(bytes.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(serve(&bytes, cuts), serve(&bytes, []));
        let _ = parse_response(&[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat(), true,
            &HeadLimits::default());
    }

    #[test]
    fn written_requests_read_back(
        target in "/[!-~&&[^#%\\\\]]{0,30}",
        host in "[a-z][a-z0-9.-]{0,10}(:[0-9]{1,4})?",
        fields in prop::collection::vec((field_name(), field_value()), 0..8),
        framing in prop_oneof![
            Just(Framing::Chunked), (0..=i64::MAX as u64).prop_map(Framing::Length)
        ],
    ) {
        let mut out = Vec::new();
        let mut writer = RequestWriter::new(&mut out, Method::Put, &target, &host)
            .expect("valid parts");
        for (name, value) in &fields {
            writer.field(name, value).expect("valid field");
        }
        writer.finish(framing);
        let read = parse_request(&out, &HeadLimits::default()).expect("what we write we accept");
        let Progress::Complete { value: head, consumed } = read else {
            return Err(TestCaseError::fail("unfinished"));
        };
        prop_assert_eq!(consumed, out.len());
        prop_assert_eq!((head.target(), head.host()), (&target[..], &host[..]));
        prop_assert_eq!(head.framing, framing);
        let expected: Vec<_> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(head.fields.end_to_end().collect::<Vec<_>>(), expected);

        let mut copied = Vec::new();
        let mut writer = RequestWriter::new(&mut copied, Method::Put, head.target(), head.host())
            .expect("parsed parts");
        writer.copy(&head.fields, |_| true);
        writer.finish(head.framing);
        prop_assert_eq!(copied, out, "a parsed request is written back the same");
    }

    #[test]
    fn written_responses_read_back(
        status in 100_u16..600,
        fields in prop::collection::vec((field_name(), field_value()), 0..8),
        framing in prop_oneof![
            Just(ResponseFraming::None), Just(ResponseFraming::Chunked),
            Just(ResponseFraming::UntilClose), (0..1000_u64).prop_map(ResponseFraming::Length)
        ],
    ) {
        prop_assume!(status != 101);
        let mut out = Vec::new();
        let mut writer = ResponseWriter::new(&mut out, status);
        for (name, value) in &fields {
            writer.field(name, value).expect("valid field");
        }
        writer.finish(framing, Persistence::KeepAlive);
        let read = parse_response(&out, false, &HeadLimits::default()).expect("accepted");
        let Progress::Complete { value: head, .. } = read else {
            return Err(TestCaseError::fail("unfinished"));
        };
        let bodiless = status < 200 || status == 204 || status == 304;
        let expected = match framing {
            _ if bodiless => ResponseFraming::None,
            ResponseFraming::None => ResponseFraming::Length(0),
            framing => framing,
        };
        prop_assert_eq!((head.status, head.framing), (status, expected));
        prop_assert_eq!(head.keep_alive, expected != ResponseFraming::UntilClose);
        let expected: Vec<_> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(head.fields.end_to_end().collect::<Vec<_>>(), expected);
    }
}
