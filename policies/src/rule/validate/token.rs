//! Credentials whose own structure says that they are real.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use simd_json::prelude::ValueObjectAccess as _;

/// How many signs a checked token has behind its prefix, and how many of them are the checksum.
const TOKEN_SIGNS: usize = 36;
const CHECKSUM_SIGNS: usize = 6;

/// Three dotted parts of which the first decodes to a JSON object with `alg` (RFC 7519).
pub(super) fn jwt(value: &str) -> bool {
    let Some((header, _)) = value.split_once('.') else {
        return false;
    };
    let Ok(mut json) = URL_SAFE_NO_PAD.decode(header) else {
        return false;
    };
    simd_json::to_borrowed_value(&mut json).is_ok_and(|header| header.contains_key("alg"))
}

/// Behind the prefix and its `_`, thirty signs and their CRC-32 in base 62, six signs with leading
/// zeros: tokens of GitHub since 2021 and of npm.
pub(super) fn crc_suffixed(value: &str) -> bool {
    let Some((_, token)) = value.rsplit_once('_') else {
        return false;
    };
    if token.len() != TOKEN_SIGNS || !token.is_ascii() {
        return false;
    }
    let (body, checksum) = token.as_bytes().split_at(TOKEN_SIGNS - CHECKSUM_SIGNS);
    let mut rest = crc32(body);
    checksum.iter().rev().all(|sign| {
        let digit =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(rest % 62) as usize];
        rest /= 62;
        digit == *sign
    })
}

/// CRC-32 of ISO 3309, bit by bit: it runs over thirty bytes of a value that looks like a token.
fn crc32(bytes: &[u8]) -> u32 {
    let feed = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(u32::MAX, feed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_has_a_header() {
        let with = |json: &str| format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(json));
        assert!(jwt(&with(r#"{"alg":"HS256","typ":"JWT"}"#)));
        assert!(!jwt(&with(r#"{"typ":"JWT"}"#)));
        assert!(!jwt(&with("not json")));
        assert!(!jwt("eyJ*.a.b"));
    }

    #[test]
    fn a_token_carries_its_checksum() {
        assert_eq!(
            crc32(b"123456789"),
            0xCBF4_3926,
            "the check value of CRC-32"
        );
        // A published example of the scheme, taken apart.
        let body = ["zQWBuTSOoRi4A9sp", "HcVY5ncnsDkxkJ"].concat();
        assert!(crc_suffixed(&format!("ghp_{body}0mLq17")));
        assert!(!crc_suffixed(&format!("ghp_{body}0mLq18")));
        assert!(!crc_suffixed(&format!("ghp_{}0mLq17", body.to_lowercase())));
        assert!(!crc_suffixed(&body));
    }
}
