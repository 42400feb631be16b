//! Content codings: what decodes, what is refused, and what a bomb does.

use std::io::Write;

use flate2::Compression;
use penstock_policies::{DecodeBounds, DecodeError, RATIO_FREE_BYTES, decode_content};

const BOUNDS: DecodeBounds = DecodeBounds {
    max_bytes: 1 << 20,
    max_ratio: 100,
};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("encodes into memory");
    encoder.finish().expect("encodes into memory")
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("encodes into memory");
    encoder.finish().expect("encodes into memory")
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).expect("encodes into memory");
    encoder.finish().expect("encodes into memory")
}

fn br(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 9, 22);
    encoder.write_all(body).expect("encodes into memory");
    drop(encoder);
    out
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(body, 3).expect("encodes into memory")
}

type Encode = fn(&[u8]) -> Vec<u8>;
const CODINGS: [(&str, Encode); 6] = [
    ("gzip", gzip),
    ("x-gzip", gzip),
    ("deflate", zlib),
    ("deflate", deflate),
    ("br", br),
    ("zstd", zstd),
];

fn text() -> Vec<u8> {
    (0..5000_u32)
        .flat_map(|n| format!("{{\"n\":{}}}", n * n).into_bytes())
        .collect()
}

#[test]
fn every_coding_decodes() {
    for (name, encode) in CODINGS {
        for body in [text(), b"x".to_vec(), Vec::new()] {
            let coded = encode(&body);
            assert_eq!(
                decode_content(name, &coded, &BOUNDS).as_ref(),
                Ok(&body),
                "{name}"
            );
            let shouted = format!(" {} , identity", name.to_uppercase());
            assert_eq!(
                decode_content(&shouted, &coded, &BOUNDS).as_ref(),
                Ok(&body)
            );
        }
    }
    assert_eq!(decode_content("identity", b"abc", &BOUNDS).unwrap(), b"abc");
    assert_eq!(
        decode_content("gzip, br", &br(&gzip(b"abc")), &BOUNDS).unwrap(),
        b"abc"
    );
}

#[test]
fn what_is_cut_short_or_followed_is_corrupt() {
    for (name, encode) in CODINGS {
        let coded = encode(&text());
        for cut in [0, 1, 5, coded.len() / 2, coded.len() - 1] {
            let result = decode_content(name, &coded[..cut], &BOUNDS);
            assert_eq!(result, Err(DecodeError::Corrupt), "{name} cut at {cut}");
        }
        if name != "br" {
            let followed = [coded, b"more".to_vec()].concat();
            assert_eq!(
                decode_content(name, &followed, &BOUNDS),
                Err(DecodeError::Corrupt),
                "{name}"
            );
        }
        assert!(
            decode_content(name, &[0x55; 64], &BOUNDS).is_err(),
            "{name} of noise"
        );
    }
}

#[test]
fn bombs_do_not_go_off() {
    let zeros = vec![0; 8 << 20];
    for (name, encode) in CODINGS {
        let bomb = encode(&zeros);
        assert!(bomb.len() < 64 << 10);
        let error = decode_content(name, &bomb, &BOUNDS).unwrap_err();
        assert!(
            matches!(error, DecodeError::Ratio | DecodeError::TooLarge),
            "{name}: {error:?}"
        );
        let wide = DecodeBounds {
            max_bytes: 1 << 20,
            max_ratio: usize::MAX,
        };
        assert_eq!(
            decode_content(name, &bomb, &wide),
            Err(DecodeError::TooLarge),
            "{name}"
        );
        let twice = format!("{name}, {name}");
        assert!(
            decode_content(&twice, &encode(&bomb), &BOUNDS).is_err(),
            "{name} twice"
        );
        let small = encode(&vec![0; RATIO_FREE_BYTES]);
        assert!(
            decode_content(name, &small, &BOUNDS).is_ok(),
            "{name}: small is no bomb"
        );
    }
    let long = vec![b'a'; (1 << 20) + 1];
    assert_eq!(
        decode_content("", &long, &BOUNDS),
        Err(DecodeError::TooLarge)
    );
}

#[test]
fn other_codings_are_refused() {
    for encoding in [
        "compress",
        "gzip;q=1",
        "gzip br",
        "*",
        "gzip, gzip, gzip",
        "exi",
    ] {
        assert_eq!(
            decode_content(encoding, b"", &BOUNDS),
            Err(DecodeError::Unsupported)
        );
    }
    assert_eq!(DecodeError::Unsupported.status(), 415);
    assert_eq!(DecodeError::Ratio.status(), 413);
}
