//! Where a message ends: Content-Length, Transfer-Encoding and Connection, read strictly.
//!
//! RFC 9112 §6 lets a recipient repair some contradictions; each repair is a way to make two
//! recipients disagree. Here a message has one framing field in one spelling, or is refused.

use super::fields::{Fields, Notable};
use super::head::Version;
use super::refusal::{self, Refusal};
use super::scan::is_token;

/// How long a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body: neither field was there.
    #[default]
    None,
    /// This many bytes, possibly none.
    Length(u64),
    /// Chunks, to be read with a [`ChunkDecoder`](super::ChunkDecoder).
    Chunked,
}

/// How long a response's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResponseFraming {
    /// No body, whatever the fields say: 1xx, 204, 304, or an answer to HEAD.
    #[default]
    None,
    /// This many bytes, possibly none.
    Length(u64),
    /// Chunks, to be read with a [`ChunkDecoder`](super::ChunkDecoder).
    Chunked,
    /// Everything until the connection closes. A connection that breaks looks the same, so the
    /// end of such a body proves nothing.
    UntilClose,
}

/// What the `Connection` fields ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    /// Something else is named: fields that concern this connection only.
    pub(super) names_fields: bool,
}

impl From<Framing> for ResponseFraming {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::None,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked,
        }
    }
}

impl ConnectionOptions {
    /// Adds the options of one `Connection` field (RFC 9110 §7.6.1).
    pub(super) fn read(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in list_elements(value) {
            if !is_token(option) {
                return Err(refusal::CONNECTION_INVALID);
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else {
                self.names_fields = true;
            }
        }
        Ok(())
    }

    /// Whether the connection outlives this message (RFC 9112 §9.3); `close` wins.
    pub(super) fn persists(self, version: Version) -> bool {
        !self.close && (self.keep_alive || version == Version::Http11)
    }
}

/// The non-empty elements of a comma-separated list, trimmed (RFC 9110 §5.6.1).
pub(super) fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(|element| element.trim_ascii())
        .filter(|element| !element.is_empty())
}

/// The framing that the fields declare (RFC 9112 §6.3). `Framing::None` means that neither field
/// is there; what that means differs between requests and responses.
pub(super) fn declared(
    version: Version,
    fields: &Fields,
    notable: &Notable,
) -> Result<Framing, Refusal> {
    let coding = &notable.transfer_encoding;
    let length = &notable.content_length;
    match (coding.count, length.count) {
        (0, 0) => Ok(Framing::None),
        (0, 1) => parse_length(fields.bytes(length.value)).map(Framing::Length),
        (0, _) => Err(refusal::LENGTH_REPEATED),
        (_, 1..) => Err(refusal::CODING_WITH_LENGTH),
        _ if version == Version::Http10 => Err(refusal::CODING_IN_10),
        (1, 0) => parse_coding(fields.bytes(coding.value)).map(|()| Framing::Chunked),
        _ => Err(refusal::CODING_REPEATED),
    }
}

/// `Content-Length = 1*DIGIT` (RFC 9110 §8.6), at most 2^63 - 1, so that sums of lengths and sizes
/// cannot wrap in any signed or unsigned 64-bit reader behind us.
fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(refusal::LENGTH_INVALID);
    }
    let mut length: u64 = 0;
    for digit in value {
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')))
            .filter(|&sum| sum <= i64::MAX as u64)
            .ok_or(refusal::LENGTH_TOO_LARGE)?;
    }
    Ok(length)
}

/// Exactly `chunked`, in any case (RFC 9112 §6.1, §7).
fn parse_coding(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    // A list of nothing but `chunked` is a known coding written in a way that we refuse; anything
    // else is a coding that we do not have.
    if list_elements(value).all(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
        return Err(refusal::CODING_REPEATED);
    }
    Err(refusal::CODING_UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_digits_within_bounds() {
        assert_eq!(parse_length(b"0"), Ok(0));
        assert_eq!(parse_length(b"0010"), Ok(10));
        assert_eq!(parse_length(b"9223372036854775807"), Ok(i64::MAX as u64));
        assert_eq!(
            parse_length(b"9223372036854775808"),
            Err(refusal::LENGTH_TOO_LARGE)
        );
        assert_eq!(
            parse_length(b"18446744073709551616"),
            Err(refusal::LENGTH_TOO_LARGE)
        );
        assert_eq!(
            parse_length(b"99999999999999999999999"),
            Err(refusal::LENGTH_TOO_LARGE)
        );
        for bad in [
            "", "+5", "-5", "5 5", "5,5", "0x5", "5.0", "\u{661}", "1_000", "5;",
        ] {
            assert_eq!(
                parse_length(bad.as_bytes()),
                Err(refusal::LENGTH_INVALID),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_one_coding_is_chunked() {
        assert_eq!(parse_coding(b"chunked"), Ok(()));
        assert_eq!(parse_coding(b"Chunked"), Ok(()));
        for bad in ["", ",", "chunked,", ",chunked", "chunked, chunked"] {
            assert_eq!(
                parse_coding(bad.as_bytes()),
                Err(refusal::CODING_REPEATED),
                "{bad}"
            );
        }
        for bad in [
            "gzip",
            "gzip, chunked",
            "xchunked",
            "chunked;q=1",
            "\"chunked\"",
            "identity",
        ] {
            assert_eq!(
                parse_coding(bad.as_bytes()),
                Err(refusal::CODING_UNKNOWN),
                "{bad}"
            );
        }
    }

    #[test]
    fn close_wins_and_old_connections_end() {
        let persists = |value: &str, version| {
            let mut options = ConnectionOptions::default();
            options.read(value.as_bytes()).expect("valid");
            options.persists(version)
        };
        assert!(persists("", Version::Http11));
        assert!(!persists("", Version::Http10));
        assert!(persists("Keep-Alive", Version::Http10));
        assert!(!persists("close", Version::Http11));
        assert!(!persists("keep-alive, Close", Version::Http11));
        assert!(!persists("keep-alive, ,close", Version::Http10));
        assert!(ConnectionOptions::default().read(b"clo se").is_err());
    }
}
