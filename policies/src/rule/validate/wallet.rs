//! Addresses of cryptocurrencies: text with a checksum that is hard to meet by chance.

use sha2::{Digest as _, Sha256};
use sha3::Keccak256;

/// The fewest signs behind a segwit address's prefix: a version, a program of two bytes, a checksum.
const SEGWIT_SIGNS_MIN: usize = 11;

/// The longest text that is decoded: an address of Monero with a payment id.
const ADDRESS_SIGNS_MAX: usize = 106;

const BITCOIN: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const RIPPLE: &[u8; 58] = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";

/// Decodes base 58 to exactly `N` bytes.
fn base58<const N: usize>(text: &[u8], alphabet: &[u8; 58]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() > N * 2 {
        return None;
    }
    for sign in text {
        let mut carry = alphabet.iter().position(|known| known == sign)?;
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    // Zero bytes in front are written as that many first signs of the alphabet.
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let written = text.iter().take_while(|sign| **sign == alphabet[0]).count();
    (zeros == written).then_some(bytes)
}

/// The version byte of an address of twenty bytes in base58check.
fn version(value: &str, alphabet: &[u8; 58]) -> Option<u8> {
    let bytes: [u8; 25] = base58(value.as_bytes(), alphabet)?;
    let (payload, check) = bytes.split_at(21);
    (Sha256::digest(Sha256::digest(payload))[..4] == *check).then_some(payload[0])
}

/// Bitcoin: base58check of a key or script hash, or a segwit address (BIP 173, BIP 350), of the
/// main network or a test network.
pub(super) fn bitcoin(value: &str) -> bool {
    matches!(version(value, BITCOIN), Some(0x00 | 0x05 | 0x6F | 0xC4))
        || segwit(value, &["bc", "tb", "bcrt"])
}

/// Litecoin: the same with its own versions and prefix.
pub(super) fn litecoin(value: &str) -> bool {
    matches!(version(value, BITCOIN), Some(0x30 | 0x32 | 0x05)) || segwit(value, &["ltc", "tltc"])
}

/// Dogecoin: base58check of a key or script hash.
pub(super) fn dogecoin(value: &str) -> bool {
    matches!(version(value, BITCOIN), Some(0x1E | 0x16))
}

/// Dash: base58check of a key or script hash.
pub(super) fn dash(value: &str) -> bool {
    matches!(version(value, BITCOIN), Some(0x4C | 0x10))
}

/// Tron: base58check with version 0x41.
pub(super) fn tron(value: &str) -> bool {
    version(value, BITCOIN) == Some(0x41)
}

/// Ripple: base58check over an alphabet of its own.
pub(super) fn ripple(value: &str) -> bool {
    version(value, RIPPLE) == Some(0)
}

/// Solana: thirty-two bytes in base 58, without a checksum.
pub(super) fn solana(value: &str) -> bool {
    (32..=44).contains(&value.len()) && base58::<32>(value.as_bytes(), BITCOIN).is_some()
}

/// A private key in wallet import format: base58check, perhaps marked as compressed.
pub(super) fn bitcoin_wif(value: &str) -> bool {
    let checked = |payload: &[u8], check: &[u8]| {
        payload[0] == 0x80 && Sha256::digest(Sha256::digest(payload))[..4] == *check
    };
    let text = value.as_bytes();
    let long = base58::<38>(text, BITCOIN).is_some_and(|key| checked(&key[..34], &key[34..]));
    long || base58::<37>(text, BITCOIN).is_some_and(|key| checked(&key[..33], &key[33..]))
}

/// An extended public or private key (BIP 32).
pub(super) fn bip32_key(value: &str) -> bool {
    base58::<82>(value.as_bytes(), BITCOIN)
        .is_some_and(|key| Sha256::digest(Sha256::digest(&key[..78]))[..4] == key[78..])
}

/// A segwit address: bech32 for version 0, bech32m for the later ones, over one case.
fn segwit(value: &str, prefixes: &[&str]) -> bool {
    let upper = value.bytes().any(|byte| byte.is_ascii_uppercase());
    let lower = value.bytes().any(|byte| byte.is_ascii_lowercase());
    let Some((prefix, data)) = value.rsplit_once('1') else {
        return false;
    };
    let known = prefixes
        .iter()
        .any(|known| known.eq_ignore_ascii_case(prefix));
    if !known || upper && lower || !(SEGWIT_SIGNS_MIN..=ADDRESS_SIGNS_MAX).contains(&data.len()) {
        return false;
    }
    let mut remainder = 1;
    for sign in prefix.bytes() {
        remainder = polymod(remainder, u32::from(sign.to_ascii_lowercase() >> 5));
    }
    remainder = polymod(remainder, 0);
    for sign in prefix.bytes() {
        remainder = polymod(remainder, u32::from(sign.to_ascii_lowercase() & 31));
    }
    let mut version = None;
    for sign in data.bytes() {
        let Some(value) = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l"
            .iter()
            .position(|known| *known == sign.to_ascii_lowercase())
        else {
            return false;
        };
        version.get_or_insert(value);
        remainder = polymod(remainder, value as u32);
    }
    match version {
        // A hash of 20 or 32 bytes between the version and six signs of checksum (BIP 141).
        Some(0) => remainder == 1 && matches!(data.len(), 39 | 59),
        Some(1..=16) => remainder == 0x2BC8_30A3,
        _ => false,
    }
}

/// One step of bech32's code (BIP 173).
fn polymod(remainder: u32, value: u32) -> u32 {
    const GENERATOR: [u32; 5] = [
        0x3B6A_57B2,
        0x2650_8E6D,
        0x1EA1_19FA,
        0x3D42_33DD,
        0x2A14_62B3,
    ];
    let top = remainder >> 25;
    let shifted = (remainder & 0x01FF_FFFF) << 5 ^ value;
    GENERATOR
        .iter()
        .enumerate()
        .filter(|(bit, _)| top >> bit & 1 != 0)
        .fold(shifted, |remainder, (_, generator)| remainder ^ generator)
}

/// Ethereum: forty hexadecimal digits, of one case or with the checksum of EIP-55.
pub(super) fn ethereum(value: &str) -> bool {
    let Some(address) = value
        .strip_prefix("0x")
        .or_else(|| value.strip_prefix("0X"))
    else {
        return false;
    };
    let letter = |case: fn(&u8) -> bool| address.as_bytes().iter().any(case);
    let mixed = letter(u8::is_ascii_uppercase) && letter(u8::is_ascii_lowercase);
    let named = address.len() == 40 && !super::scheme::is_uniform(address.as_bytes());
    named && address.bytes().all(|byte| byte.is_ascii_hexdigit()) && (!mixed || eip55(value))
}

/// Ethereum's address with the mixed case of EIP-55: a letter is upper case where the Keccak-256
/// of the lower-case address has a high nibble.
pub(super) fn eip55(value: &str) -> bool {
    let Some(address) = value.strip_prefix("0x") else {
        return false;
    };
    let address = address.as_bytes();
    let mut lower = [0; 40];
    if address.len() != lower.len() || !address.iter().any(u8::is_ascii_uppercase) {
        return false;
    }
    lower.copy_from_slice(address);
    lower.make_ascii_lowercase();
    let hash = Keccak256::digest(lower);
    let right = |(at, sign): (usize, &u8)| match sign {
        b'0'..=b'9' => true,
        b'a'..=b'f' | b'A'..=b'F' => {
            let nibble = hash[at / 2] >> if at % 2 == 0 { 4 } else { 0 } & 15;
            sign.is_ascii_uppercase() == (nibble >= 8)
        }
        _ => false,
    };
    address.iter().enumerate().all(right)
}

/// Monero: base 58 in blocks of eleven signs for eight bytes, a network byte, and four bytes of
/// Keccak-256 over the rest.
pub(super) fn monero(value: &str) -> bool {
    let text = value.as_bytes();
    let (mut bytes, mut count) = ([0_u8; 77], 0);
    if !matches!(text.len(), 95 | 106) {
        return false;
    }
    for block in text.chunks(11) {
        let length = match block.len() {
            11 => 8,
            7 => 5,
            _ => return false,
        };
        let Some(number) = block.iter().try_fold(0_u128, |number, sign| {
            let digit = BITCOIN.iter().position(|known| known == sign)?;
            Some(number * 58 + digit as u128)
        }) else {
            return false;
        };
        if number >> (8 * length) != 0 {
            return false;
        }
        bytes[count..count + length].copy_from_slice(&number.to_be_bytes()[16 - length..]);
        count += length;
    }
    let (body, check) = bytes[..count].split_at(count - 4);
    // Standard, integrated and sub-addresses of the main network.
    matches!(body[0], 18 | 19 | 42) && Keccak256::digest(body)[..4] == *check
}

/// Words that sentences have and BIP 39's list has not.
const NO_MNEMONIC: [&str; 12] = [
    "and", "are", "but", "for", "from", "has", "her", "his", "not", "the", "was", "with",
];

/// Twelve to twenty-four lower-case words of three to eight letters, by threes, and no sentence: the
/// shape of a mnemonic (BIP 39).
pub(super) fn mnemonic(value: &str) -> bool {
    let mut count = 0;
    let plain = |word: &str| {
        (3..=8).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    for word in value
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
    {
        let of_a_sentence = |known: &&str| word.eq_ignore_ascii_case(known);
        if !plain(word) || NO_MNEMONIC.iter().any(of_a_sentence) {
            return false;
        }
        count += 1;
    }
    matches!(count, 12 | 15 | 18 | 21 | 24)
}

#[cfg(test)]
mod tests {
    use super::super::scheme::testing::*;

    #[test]
    fn bitcoin_and_its_kin() {
        // The first block's, those of BIP 173 and BIP 350, and one of a script.
        catches_a_changed_digit(
            "bitcoin",
            &[
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
                "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy",
                "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
                "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            ],
        );
        refuses(
            "bitcoin",
            &[
                "bc1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
                "1A1zP1eP5QGefi2DMPTfTL5SLmv7Divfna",
            ],
        );
        accepts("dogecoin", &["DH5yaieqoZN36fDVciNyRueRGvGLR3mr7L"]);
        accepts("tron", &["TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"]);
        accepts("ripple", &["rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"]);
        refuses("ripple", &["rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTi"]);
        accepts("solana", &["So11111111111111111111111111111111111111112"]);
        refuses("solana", &["So1111111111111111111111111111111"]);
    }

    #[test]
    fn litecoin() {
        accepts(
            "litecoin",
            &[
                "LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH9",
                "ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9",
            ],
        );
        refuses("litecoin", &["LVg2kJoFNg45Nbpy53h7Fe1wKyeXVRhMH8"]);
    }

    /// The examples of EIP-55.
    #[test]
    fn ethereum() {
        let right = [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        ];
        accepts("eip55", &right);
        accepts("ethereum", &right);
        accepts("ethereum", &["0xde709f2102306220921060314715629080e2fb77"]);
        refuses("eip55", &["0xde709f2102306220921060314715629080e2fb77"]);
        refuses(
            "ethereum",
            &[
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed",
                "0x0000000000000000000000000000000000000000",
            ],
        );
    }

    #[test]
    fn monero() {
        let donations = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";
        accepts("monero", &[donations]);
        refuses(
            "monero",
            &[&donations.replace("44AF", "44AG"), &donations[1..]],
        );
    }

    #[test]
    fn mnemonics() {
        let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
        accepts("mnemonic", &[words]);
        refuses("mnemonic", &[&words[8..], &words.replace("about", "it")]);
        refuses("mnemonic", &[&words.replacen("abandon", "and", 1)]);
    }
}
