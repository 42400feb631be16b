//! The HTTP/1.1 codec.

use crate::choice;
use crate::corpus::server::serve;
use crate::http1::{
    ChunkDecoder, Framing, HeadLimits, HeadScanner, Progress, RequestHead, RequestWriter,
    ResponseHead, parse_request, parse_response, parse_response_into,
};

/// A connection's bytes mean the same however they are cut; an accepted head written anew is
/// accepted again, and says the same.
pub fn request_head(data: &[u8]) {
    let (stride, bytes) = choice(data);
    let whole = serve(bytes, []);
    assert_eq!(serve(bytes, (0..bytes.len()).step_by(stride.max(1))), whole);
    let Ok(Progress::Complete {
        value: head,
        consumed,
    }) = parse_request(bytes, &HeadLimits::default())
    else {
        return;
    };
    assert!(consumed <= bytes.len());
    if !head.host().is_empty() {
        written_reads_back(&head);
    }
}

fn written_reads_back(head: &RequestHead) {
    let mut out = Vec::new();
    let mut writer = RequestWriter::new(&mut out, head.method, head.target(), head.host())
        .expect("what was accepted can be written");
    writer.copy(&head.fields, |_| true);
    writer.finish(head.framing);
    // Written anew a head may grow a little, by fields that were absent or not spelt out.
    let limits = HeadLimits {
        request_line: 10_000,
        head: 65_000,
        fields: 110,
    };
    let Ok(Progress::Complete {
        value: again,
        consumed,
    }) = parse_request(&out, &limits)
    else {
        panic!("refused: {}", out.escape_ascii());
    };
    assert_eq!(consumed, out.len());
    assert_eq!((again.method, again.target()), (head.method, head.target()));
    assert_eq!(again.host(), head.host());
    let framing = match head.framing {
        Framing::None if head.method.anticipates_content() => Framing::Length(0),
        framing => framing,
    };
    assert_eq!(again.framing, framing);
    assert!(again.fields.end_to_end().eq(head.fields.end_to_end()));
}

/// A response head read byte by byte is the head read whole.
pub fn response_head(data: &[u8]) {
    let (head_request, bytes) = choice(data);
    let head_request = head_request % 2 == 1;
    let limits = HeadLimits::default();
    let whole = parse_response(bytes, head_request, &limits);
    let mut scanner = HeadScanner::default();
    let mut head = ResponseHead::default();
    for end in 0..=bytes.len() {
        match parse_response_into(
            &mut scanner,
            &bytes[..end],
            head_request,
            &limits,
            &mut head,
        ) {
            Ok(Progress::Incomplete) if end < bytes.len() => continue,
            Ok(Progress::Incomplete) => assert!(matches!(whole, Ok(Progress::Incomplete))),
            Ok(Progress::Complete { consumed, .. }) => {
                let Ok(Progress::Complete {
                    value,
                    consumed: whole,
                }) = &whole
                else {
                    panic!("whole: {whole:?}");
                };
                assert_eq!((consumed, end), (*whole, *whole));
                assert_eq!(format!("{head:?}"), format!("{value:?}"));
            }
            Err(fault) => assert_eq!(whole.as_ref().err(), Some(&fault)),
        }
        break;
    }
}

/// A chunked body decodes to the same data however it is cut, and its data never overlaps.
pub fn chunk_decoder(data: &[u8]) {
    let (stride, bytes) = choice(data);
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(decode(bytes, stride.max(1)), whole);
    assert_eq!(decode(bytes, 1), whole);
}

type Decoded = (Vec<u8>, usize, Option<&'static str>);

fn decode(bytes: &[u8], stride: usize) -> Decoded {
    let mut decoder = ChunkDecoder::new();
    let (mut data, mut used) = (Vec::new(), 0);
    for piece in bytes.chunks(stride) {
        let mut at = 0;
        while at < piece.len() && !decoder.is_done() {
            match decoder.decode(&piece[at..]) {
                Ok(step) => {
                    assert!(step.data.end <= step.consumed && step.consumed > 0);
                    data.extend_from_slice(&piece[at..][step.data]);
                    at += step.consumed;
                    used += step.consumed;
                }
                Err(refusal) => {
                    assert_eq!(
                        decoder.decode(b"0\r\n\r\n"),
                        Err(refusal),
                        "a fault is final"
                    );
                    return (data, 0, Some(refusal.code));
                }
            }
        }
    }
    (data, used, None)
}
