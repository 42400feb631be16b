//! Credentials whose own structure says that they are real.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use simd_json::prelude::ValueObjectAccess as _;

use crate::prefilter::rarity::ORDINARY;

/// How many signs a checked token has behind its prefix, and how many of them are the checksum.
const TOKEN_SIGNS: usize = 36;
const CHECKSUM_SIGNS: usize = 6;
/// The same of a key that a Penstock gateway issues.
const KEY_SIGNS: usize = 49;

/// The fewest letters and digits that can be told from a name by their mixture.
const RANDOM_SIGNS_MIN: usize = 16;

/// How often letters and digits must meet in a value for that alone to make it random: more often
/// than in a name with a few numbers in it.
const RANDOM_SWITCHES_MIN: usize = 8;

/// The shortest run of letters that counts as a word, and the most consonants side by side in one.
const WORD_SIGNS_MIN: usize = 4;
const WORD_CONSONANTS_MAX: usize = 4;

/// The fewest pairs of letters that can be told from a word.
const PAIRS_MIN: usize = 7;

/// How much of all that is written in the sample of ordinary text consists of common pairs, in percent.
const COMMON_SHARE: u32 = 95;

/// By letter, a bit for each that commonly follows it in words.
static COMMON_PAIRS: LazyLock<[u32; LETTERS]> = LazyLock::new(common_pairs);

const LETTERS: usize = 26;

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

/// Behind the prefix and its `_`, if it is there, thirty signs and their CRC-32 in base 62, six
/// signs with leading zeros: tokens of GitHub since 2021 and of npm.
pub(super) fn crc_suffixed(value: &str) -> bool {
    ends_in_crc(value, TOKEN_SIGNS)
}

/// The same with a longer secret: keys that a Penstock gateway issues.
pub(super) fn penstock_key(value: &str) -> bool {
    ends_in_crc(value, KEY_SIGNS)
}

/// Whether the last six of the `signs` behind the last `_`, if there is one, are the CRC-32 of the others.
fn ends_in_crc(value: &str, signs: usize) -> bool {
    let token = value.rsplit_once('_').map_or(value, |(_, token)| token);
    if token.len() != signs || !token.is_ascii() {
        return false;
    }
    let (body, checksum) = token.as_bytes().split_at(signs - CHECKSUM_SIGNS);
    let mut rest = crc32(body);
    checksum.iter().rev().all(|sign| {
        let digit =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[(rest % 62) as usize];
        rest /= 62;
        digit == *sign
    })
}

/// At least [`RANDOM_SIGNS_MIN`] letters and digits of which no more than half stand in what reads
/// like words: made by a machine, not named by a person. `user_session_token_2024` is a name. Without
/// digits their pairs must be [`random_letters`].
pub(super) fn random_looking(value: &str) -> bool {
    let bytes = value.as_bytes();
    let signs = bytes
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .count();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let mut words = 0;
    let mut from = 0;
    for at in 1..=bytes.len() {
        // A word goes on while its letters keep one case, but for a capital at its head.
        let goes_on = bytes.get(at).is_some_and(|byte| {
            let before = bytes[at - 1];
            byte.is_ascii_alphabetic()
                && before.is_ascii_alphabetic()
                && (byte.is_ascii_lowercase() == before.is_ascii_lowercase()
                    || at == from + 1 && byte.is_ascii_lowercase())
        });
        if !goes_on {
            words += word_signs(&bytes[from..at]);
            from = at;
        }
    }
    // Letters and digits that take turns are no words, however readable the letters between are.
    let switches = bytes
        .windows(2)
        .filter(|pair| {
            pair.iter().all(u8::is_ascii_alphanumeric)
                && pair[0].is_ascii_digit() != pair[1].is_ascii_digit()
        })
        .count();
    let is_mixed = switches >= RANDOM_SWITCHES_MIN;
    let is_random = match digits {
        0 | 1 => random_letters(value),
        _ => digits < signs && (is_mixed || 2 * words <= signs),
    };
    signs >= RANDOM_SIGNS_MIN && is_random
}

/// At least [`PAIRS_MIN`] pairs of neighbouring letters, of which no more than half are such as words
/// are made of: three of four values of eight random letters, and hardly a word.
pub(super) fn random_letters(value: &str) -> bool {
    let (mut pairs, mut common) = (0, 0);
    for pair in value.as_bytes().windows(2) {
        if let (Some(first), Some(second)) = (letter(pair[0]), letter(pair[1])) {
            pairs += 1;
            // Alphabets and rows of one letter are no chance.
            let is_common =
                second.wrapping_sub(first) <= 1 || COMMON_PAIRS[first] >> second & 1 != 0;
            common += usize::from(is_common);
        }
    }
    pairs >= PAIRS_MIN && 2 * common <= pairs
}

/// The number of a letter, whatever its case.
fn letter(byte: u8) -> Option<usize> {
    let byte = byte.to_ascii_lowercase();
    byte.is_ascii_lowercase().then(|| usize::from(byte - b'a'))
}

/// The commonest pairs of the sample, as many as make [`COMMON_SHARE`] of all.
fn common_pairs() -> [u32; LETTERS] {
    let mut counts = vec![(0_u32, 0, 0); LETTERS * LETTERS];
    for pair in ORDINARY.windows(2) {
        if let (Some(first), Some(second)) = (letter(pair[0]), letter(pair[1])) {
            let count = &mut counts[first * LETTERS + second];
            *count = (count.0 + 1, first, second);
        }
    }
    let all: u32 = counts.iter().map(|(count, ..)| count).sum();
    counts.sort_unstable_by(|left, right| right.cmp(left));
    let mut common = [0; LETTERS];
    let mut seen = 0;
    for (count, first, second) in counts {
        if seen * 100 >= all * COMMON_SHARE {
            break;
        }
        seen += count;
        common[first] |= 1 << second;
    }
    common
}

/// The length of a run of letters that could be read aloud; 0 of any other.
fn word_signs(run: &[u8]) -> usize {
    let vowel = |byte: &u8| b"aeiouyAEIOUY".contains(byte);
    let vowels = run.iter().filter(|byte| vowel(byte)).count();
    let letters = run.iter().all(u8::is_ascii_alphabetic);
    let pronounced = !run
        .split(vowel)
        .any(|consonants| consonants.len() > WORD_CONSONANTS_MAX);
    let readable = letters && pronounced && (run.len()..=run.len() * 3).contains(&(vowels * 5));
    if run.len() >= WORD_SIGNS_MIN && readable {
        run.len()
    } else {
        0
    }
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
    fn names_do_not_look_random() {
        for token in [
            "aB3dE5gH7jK9mN1p",
            "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "k7mNp2qRs4tUv8wXy1zA3bC5dEfGhIj",
            "Br3i8EE3pYXqvoXwCoXB",
            "7b3e5d8c-1a9f-4e2b-6c8d-3a5e9f1b7c4d",
            "v1.pjqKbeILsS9prSy4rJKA1mJkK4",
            "u3k62dryb9bpta1j7tfuujp7pvsu57",
            "OkoSCmCYltq8ZTilnXfbplt",
        ] {
            assert!(random_looking(token), "{token}");
        }
        for name in [
            "user_session_token_2024_v2",
            "my-secret-name-in-the-vault-01",
            "SHORT12abc",
            "1234567890123456",
            "abcdefghijklmnop",
            "com.example.service.Handler2Factory1",
            "ReplaceThisWithYourKey123",
            "eu-west1-cluster2-node14-volume3",
            "getAccessTokenFromRequest",
            "xxxxxxxxxxxxxxxx",
        ] {
            assert!(!random_looking(name), "{name}");
        }
    }

    #[test]
    fn letters_are_told_from_words_by_their_pairs() {
        for random in ["gjbubxsu", "tbvnwmxkqjrhdlcp", "SzsANQcSgpqaWgOrklNRy"] {
            assert!(random_letters(random), "{random}");
        }
        for words in [
            "password",
            "Geschwindigkeit",
            "contraseña",
            "correcthorsebatterystaple",
            "abcdefghijklmnopqrstuvwxyz",
            "XXXXXXXXXX",
            "gjbubxs",
        ] {
            assert!(!random_letters(words), "{words}");
        }
        let common: u32 = COMMON_PAIRS.iter().map(|row| row.count_ones()).sum();
        assert!((150..300).contains(&common), "{common}");
    }

    #[test]
    fn most_random_letters_and_hardly_a_word_look_random() {
        let mut state = 1_u32;
        let mut letter = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 16) as u8 % 26)
        };
        let random = |_: &u32| random_letters(&(0..8).map(|_| letter()).collect::<String>());
        let found = (0..1000).filter(random).count();
        assert!(found > 700, "{found} of 1000");
        let text = String::from_utf8_lossy(ORDINARY);
        let words = text.split(|sign: char| !sign.is_alphabetic());
        let words: Vec<&str> = words
            .filter(|word| word.len() >= 8 && word.is_ascii())
            .collect();
        let found = words.iter().filter(|word| random_letters(word)).count();
        assert!(found * 50 < words.len(), "{found} of {}", words.len());
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
