//! Validators: what a regular expression cannot say about a value.
//!
//! They run on the longest candidate at a start, and a refusal lets the next rule or the next
//! start try. All are pure functions of the value's text, so a stream and a block agree.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use simd_json::prelude::ValueObjectAccess as _;

/// A checksum or a structure that a candidate must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    /// 12 to 19 digits with a right Luhn check digit, not all the same (ISO/IEC 7812).
    Luhn,
    /// An IBAN of its country's length whose check digits are right (ISO 13616, mod 97).
    Iban,
    /// A US social security number that can have been issued.
    UsSsn,
    /// Three dotted parts of which the first decodes to a JSON object with `alg` (RFC 7519).
    Jwt,
}

/// Lengths of the countries whose IBANs are common; any other country takes 15 to 34.
const IBAN_LENGTHS: [(&str, usize); 24] = [
    ("AT", 20),
    ("BE", 16),
    ("BG", 22),
    ("CH", 21),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FR", 27),
    ("GB", 22),
    ("GR", 27),
    ("HU", 28),
    ("IE", 22),
    ("IT", 27),
    ("LU", 20),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SE", 24),
    ("TR", 26),
];

// === impl Validator ===

impl Validator {
    /// Every name that a rule's `validate` may give.
    pub const NAMES: [&'static str; 4] = ["luhn", "iban", "us_ssn", "jwt"];

    pub(crate) fn from_name(name: &str) -> Option<Validator> {
        match name {
            "luhn" => Some(Validator::Luhn),
            "iban" => Some(Validator::Iban),
            "us_ssn" => Some(Validator::UsSsn),
            "jwt" => Some(Validator::Jwt),
            _ => None,
        }
    }

    /// Is this value what it looks like?
    pub fn accepts(self, value: &str) -> bool {
        match self {
            Validator::Luhn => luhn(value),
            Validator::Iban => iban(value),
            Validator::UsSsn => us_ssn(value),
            Validator::Jwt => jwt(value),
        }
    }
}

/// Shannon entropy of a value's bytes, in bits per byte.
pub fn entropy_bits(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let total = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum()
}

fn luhn(value: &str) -> bool {
    let mut sum = 0_u32;
    let mut count = 0_usize;
    let mut first = None;
    let mut varied = false;
    for digit in value
        .bytes()
        .rev()
        .filter(u8::is_ascii_digit)
        .map(|b| u32::from(b - b'0'))
    {
        varied |= *first.get_or_insert(digit) != digit;
        let doubled = if count % 2 == 1 { digit * 2 } else { digit };
        sum += if doubled > 9 { doubled - 9 } else { doubled };
        count += 1;
    }
    varied && (12..=19).contains(&count) && sum.is_multiple_of(10)
}

fn iban(value: &str) -> bool {
    let mut compact = [0_u8; 34];
    let mut length = 0;
    for byte in value.bytes().filter(|b| *b != b' ' && *b != b'-') {
        if length == compact.len() || !byte.is_ascii_alphanumeric() {
            return false;
        }
        compact[length] = byte.to_ascii_uppercase();
        length += 1;
    }
    if length < 15 {
        return false;
    }
    let country = &compact[..2];
    let known = IBAN_LENGTHS
        .iter()
        .find(|(name, _)| name.as_bytes() == country);
    if known.is_some_and(|(_, wanted)| *wanted != length) {
        return false;
    }
    let rearranged = compact[4..length].iter().chain(&compact[..4]);
    let remainder = rearranged.fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    remainder == 1
}

fn us_ssn(value: &str) -> bool {
    let mut digits = [0_u8; 9];
    let mut count = 0;
    for byte in value.bytes().filter(u8::is_ascii_digit) {
        if count == digits.len() {
            return false;
        }
        digits[count] = byte;
        count += 1;
    }
    let (area, group, serial) = (&digits[..3], &digits[3..5], &digits[5..]);
    count == digits.len()
        && area != b"000"
        && area != b"666"
        && area[0] != b'9'
        && group != b"00"
        && serial != b"0000"
}

fn jwt(value: &str) -> bool {
    let Some((header, _)) = value.split_once('.') else {
        return false;
    };
    let Ok(mut json) = URL_SAFE_NO_PAD.decode(header) else {
        return false;
    };
    simd_json::to_borrowed_value(&mut json).is_ok_and(|header| header.contains_key("alg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luhn_takes_cards_and_refuses_slips() {
        assert!(luhn("4111 1111 1111 1111"));
        assert!(luhn("378282246310005"));
        assert!(!luhn("4111 1111 1111 1112"));
        assert!(!luhn("0000 0000 0000 0000"));
        assert!(!luhn("18"));
    }

    #[test]
    fn iban_checks_length_and_digits() {
        assert!(iban("DE89 3704 0044 0532 0130 00"));
        assert!(iban("GB82WEST12345698765432"));
        assert!(!iban("GB82WEST12345698765433"));
        assert!(!iban("DE8937040044053201300"));
    }

    #[test]
    fn ssn_ranges() {
        assert!(us_ssn("219-09-9999"));
        for bad in [
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "219-00-9999",
            "219-09-0000",
        ] {
            assert!(!us_ssn(bad), "{bad}");
        }
    }

    #[test]
    fn a_jwt_has_a_header() {
        let with = |json: &str| format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(json));
        assert!(jwt(&with(r#"{"alg":"HS256","typ":"JWT"}"#)));
        assert!(!jwt(&with(r#"{"typ":"JWT"}"#)));
        assert!(!jwt(&with("not json")));
        assert!(!jwt("eyJ*.a.b"));
    }

    #[test]
    fn entropy_of_known_texts() {
        assert!(entropy_bits("aaaaaaaa") < 0.01);
        assert!((entropy_bits("abcdefgh") - 3.0).abs() < 0.01);
    }
}
