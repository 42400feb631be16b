//! The compact serialisation of a signed token (RFC 7515, section 7.1): three base64url segments.
//!
//! Every token has exactly one spelling here: the alphabet is the URL-safe one, there is no
//! padding, and unused bits of a segment's last character are zero. A second spelling of the same
//! token would be a second name for it in caches and revocation lists.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::TOKEN_BYTES_MAX;
use super::error::{BAD_BASE64, BAD_JSON, ENCRYPTED_TOKEN, Fault, NOT_A_TOKEN, TOKEN_TOO_LARGE};
use super::json::{Json, Object};

/// The three segments of a token, each known to be canonical base64url and not empty.
pub(super) struct Compact<'a> {
    /// Header and payload as they were signed.
    pub(super) signed: &'a [u8],
    /// The signature, still encoded.
    pub(super) signature: &'a str,
    /// The decoded header.
    pub(super) header: Object,
    payload: &'a str,
}

// === impl Compact ===

impl<'a> Compact<'a> {
    /// Splits a token and reads its header.
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, Fault> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TOKEN_TOO_LARGE);
        }
        let text = std::str::from_utf8(token).map_err(|_| NOT_A_TOKEN)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(NOT_A_TOKEN)?;
        let (header, payload) = signed.split_once('.').ok_or(NOT_A_TOKEN)?;
        match payload.bytes().filter(|&b| b == b'.').count() {
            0 => {}
            2 => return Err(ENCRYPTED_TOKEN),
            _ => return Err(NOT_A_TOKEN),
        }
        if header.is_empty() || payload.is_empty() {
            return Err(NOT_A_TOKEN);
        }
        let header = decode(header)?;
        let header = Json::parse_object(&header).map_err(|_| BAD_JSON)?;
        Ok(Self {
            signed: signed.as_bytes(),
            signature,
            header,
            payload,
        })
    }

    /// Reads the payload. What it says is not yet verified.
    pub(super) fn payload(&self) -> Result<Object, Fault> {
        Json::parse_object(&decode(self.payload)?).map_err(|_| BAD_JSON)
    }

    /// Checks the signature's spelling. An empty one is what is left of an unsigned token, so it is
    /// looked at after the header, whose refusal of `none` says more.
    pub(super) fn signature_is_canonical(&self) -> Result<(), Fault> {
        if self.signature.is_empty() {
            return Err(NOT_A_TOKEN);
        }
        decode(self.signature).map(|_| ())
    }
}

/// Whether this is meant to be a JSON Web Token, well made or not: such a one is verified here and
/// never shown to anybody. Its header is a JSON object, so that it begins as one in base64url does
/// (`eyJ`, with spaces `eyA`, `ewo`, `ewk`), or it has as many dots as one and a readable header.
pub(super) fn is_meant_as_jwt(token: &[u8]) -> bool {
    if token.starts_with(b"ey") || token.starts_with(b"ew") {
        return true;
    }
    let mut segments = token.split(|&byte| byte == b'.');
    let header = segments.next().unwrap_or_default();
    matches!(segments.count(), 2 | 4)
        && URL_SAFE_NO_PAD
            .decode(header)
            .is_ok_and(|header| Json::parse_object(&header).is_ok())
}

/// Decodes canonical base64url without padding; the engine refuses any other spelling.
pub(super) fn decode(segment: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| BAD_BASE64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{}` in base64url.
    const EMPTY: &str = "e30";

    fn refusal(token: &str) -> Option<&'static str> {
        let parsed = Compact::parse(token.as_bytes())
            .and_then(|t| t.payload().and(t.signature_is_canonical()));
        parsed.err().map(|fault| fault.code)
    }

    #[test]
    fn three_segments() {
        assert_eq!(refusal("e30.e30.AA"), None);
        for token in [
            "", ".", "..", "e30", "e30.e30", "e30.e30.", ".e30.AA", "e30..AA",
        ] {
            assert_eq!(refusal(token), Some("malformed_token"), "{token:?}");
        }
        let five = [EMPTY; 5].join(".");
        assert_eq!(Compact::parse(five.as_bytes()).err(), Some(ENCRYPTED_TOKEN));
        for count in [4, 6, 100] {
            let token = vec![EMPTY; count].join(".");
            assert_eq!(Compact::parse(token.as_bytes()).err(), Some(NOT_A_TOKEN));
        }
    }

    #[test]
    fn what_is_meant_as_a_token_is_never_taken_for_an_opaque_one() {
        for token in [
            "e30.e30.AA",
            "e30..",
            "e30.a.b.c.d",
            "eyJhbGciOiJF",
            "ewogICJhIjox.x",
        ] {
            assert!(is_meant_as_jwt(token.as_bytes()), "{token}");
        }
        for token in [
            "",
            "e30",
            "e30.e30",
            "ory_at_x.y",
            "a.b.c",
            "2YotnFZFEjr1zCsicMWpAA",
        ] {
            assert!(!is_meant_as_jwt(token.as_bytes()), "{token}");
        }
    }

    #[test]
    fn one_spelling() {
        // `e30` has two unused bits in its last character: 0 is canonical, 1, 2 and 3 are not.
        for header in [
            "e31", "e32", "e33", "e30=", "e30==", "e3 0", "e3\n0", "e3+", "e3/",
        ] {
            assert_eq!(
                refusal(&format!("{header}.e30.AA")),
                Some("malformed_token"),
                "{header}"
            );
        }
        assert_eq!(refusal("e30.e30.AB"), Some("malformed_token"));
        assert_eq!(refusal("e30.e30.A"), Some("malformed_token"));
    }

    #[test]
    fn size_is_bounded() {
        let long = format!("e30.{}.AA", "A".repeat(TOKEN_BYTES_MAX));
        assert_eq!(refusal(&long), Some("token_too_large"));
    }
}
