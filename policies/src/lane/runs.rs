//! The quick look for runs that could be encoded text: no state to speak of, no allocation.
//!
//! What is asked is whether eight base64 characters in a row could be six bytes of printable ASCII,
//! or twelve hexadecimal digits could. Text seldom says yes. A short piece is read byte by byte; a
//! long one first in blocks, by comparisons that the compiler turns into vector code.

/// Flags of a byte. Of base64: it may be the first, second or third of four characters that stand
/// for printable bytes, or it is of the alphabet at all; of hexadecimal: it may be the first of two.
const FIRST: u8 = 1;
const SECOND: u8 = 2;
const THIRD: u8 = 4;
const BASE64: u8 = 8;
const LEADS: u8 = 1;
const HEX: u8 = 2;

/// Flags of base64 in the low four bits, of hexadecimal above.
static FLAGS: [u8; 256] = flags();

const fn base64_pattern() -> u32 {
    let group = [FIRST | BASE64, SECOND | BASE64, THIRD | BASE64, BASE64];
    let mut pattern = 0;
    let mut at = 0;
    while at < 8 {
        pattern = pattern << 4 | group[at % 4] as u32;
        at += 1;
    }
    pattern
}

const fn hex_pattern() -> u32 {
    let mut pattern = 0;
    let mut at = 0;
    while at < 6 {
        pattern = pattern << 4 | ((LEADS | HEX) as u32) << 2 | HEX as u32;
        at += 1;
    }
    pattern
}

const fn flags() -> [u8; 256] {
    let mut flags = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if let Some(value) = base64_value(byte as u8) {
            let mut flag = BASE64;
            // Tab and line ends begin with 2 and 3, what is printable with 8 to 31.
            if value == 2 || value == 3 || (value >= 8 && value < 32) {
                flag |= FIRST;
            }
            // The high half of the second byte: 0 for tab and line ends, or 2 to 7.
            if value & 15 == 0 || (value & 15 >= 2 && value & 15 < 8) {
                flag |= SECOND;
            }
            // The highest bits of the third byte: no byte above 0x7F.
            if value & 3 < 2 {
                flag |= THIRD;
            }
            flags[byte] = flag;
        }
        if let Some(value) = hex_value(byte as u8) {
            let leads = value >= 2 && value < 8;
            flags[byte] |= (HEX | if leads { LEADS } else { 0 }) << 4;
        }
        byte += 1;
    }
    flags
}

/// The value of a base64 character, of either alphabet.
pub(super) const fn base64_value(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// The value of a hexadecimal digit.
pub(super) const fn hex_value(byte: u8) -> Option<u8> {
    Some(match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => return None,
    })
}

/// Bytes that are looked at in one go.
const BLOCK: usize = 64;

/// The longest that is asked for.
const REACH: usize = 12;

/// What is read with a block, lest what begins in it be missed: no less than [`REACH`].
const AHEAD: usize = 16;

/// What the last bytes were, from piece to piece.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    base64: u32,
    hex: u32,
}

impl Runs {
    /// Reads the next piece: could a run that hides text show itself in it?
    #[inline]
    pub(crate) fn may_hide(&mut self, piece: &str) -> bool {
        let bytes = piece.as_bytes();
        if bytes.len() <= BLOCK {
            return self.read(bytes);
        }
        // The blocks overlap by what they cannot decide, and so does what was before.
        let mut found = self.read(&bytes[..REACH]);
        let mut from = 0;
        while from + BLOCK + AHEAD <= bytes.len() && !found {
            found = block_may_hide(&bytes[from..from + BLOCK + AHEAD]);
            from += BLOCK;
        }
        if !found {
            found = Runs::default().read(&bytes[from..]);
        }
        *self = Runs::default();
        self.read(&bytes[bytes.len() - REACH..]);
        found
    }

    #[inline]
    fn read(&mut self, bytes: &[u8]) -> bool {
        const BASE64_PATTERN: u32 = base64_pattern();
        const HEX_PATTERN: u32 = hex_pattern();
        let mut found = false;
        for byte in bytes {
            let flags = FLAGS[usize::from(*byte)];
            self.base64 = self.base64 << 4 | u32::from(flags & 15);
            self.hex = (self.hex << 2 | u32::from(flags >> 4)) & 0xFF_FFFF;
            found |= self.base64 & BASE64_PATTERN == BASE64_PATTERN;
            found |= self.hex & HEX_PATTERN == HEX_PATTERN;
        }
        found
    }
}

/// The same question of what begins in the first [`BLOCK`] bytes.
fn block_may_hide(bytes: &[u8]) -> bool {
    const WIDTH: usize = BLOCK + AHEAD;
    let Ok(bytes) = <&[u8; WIDTH]>::try_from(bytes) else {
        return true;
    };
    let mut of = [[0_u8; WIDTH]; 6];
    let [first, second, third, any, lead, digit] = &mut of;
    for at in 0..WIDTH {
        let byte = bytes[at];
        let within = |from: u8, count: u8| u8::from(byte.wrapping_sub(from) < count);
        let (upper, lower, decimal) = (within(b'A', 26), within(b'a', 26), within(b'0', 10));
        let marks = within(b'+', 1) | within(b'-', 1) | within(b'/', 1) | within(b'_', 1);
        // The value of a letter or decimal digit, modulo 64.
        let value = byte
            .wrapping_sub(upper * 65 + lower * 71)
            .wrapping_add(decimal * 4);
        let (high, low) = (value & 15, value & 3);
        let known = upper | lower | decimal;
        first[at] = within(b'C', 2) | within(b'I', 18) | within(b'a', 6);
        second[at] = known & (u8::from(high.wrapping_sub(2) < 6) | u8::from(high == 0));
        third[at] = known & u8::from(low < 2);
        any[at] = known | marks;
        lead[at] = within(b'2', 6);
        digit[at] = decimal | u8::from((byte | 0x20).wrapping_sub(b'a') < 6);
    }
    let (mut group, mut pair) = ([0_u8; WIDTH], [0_u8; WIDTH]);
    for at in 0..WIDTH - 4 {
        group[at] = first[at] & second[at + 1] & third[at + 2] & any[at + 3];
        pair[at] = lead[at] & digit[at + 1] & lead[at + 2] & digit[at + 3];
    }
    let mut found = 0;
    for at in 0..BLOCK {
        found |= group[at] & group[at + 4];
        found |= pair[at] & pair[at + 4] & pair[at + 8];
    }
    found != 0
}

#[cfg(test)]
mod tests {
    use super::Runs;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};

    fn may_hide(text: &str, cut: usize) -> bool {
        let mut runs = Runs::default();
        let mut found = false;
        for piece in text.as_bytes().chunks(cut) {
            found |= runs.may_hide(std::str::from_utf8(piece).expect("is ASCII"));
        }
        found
    }

    #[test]
    fn encoded_text_is_seen_wherever_it_stands() {
        for word in [
            "secret",
            "A\tb\r\n~x",
            "key: 12345678",
            "the quick brown fox",
        ] {
            let hex: String = word.bytes().map(|byte| format!("{byte:02X}")).collect();
            let mut codes = vec![
                BASE64_STANDARD.encode(word),
                BASE64_URL_SAFE_NO_PAD.encode(word),
            ];
            codes.extend(Some(hex).filter(|_| !word.contains('\t')));
            for code in codes {
                for before in 0..150 {
                    let text = format!("{}{code}{}", " .".repeat(before), " ,".repeat(90));
                    for cut in [1, 5, 64, 65, 100, 1000] {
                        assert!(may_hide(&text, cut), "{text} in {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn ordinary_text_is_passed_over() {
        let text = "It was the best of times, it was the worst of times; we had everything before \
                    us, we had nothing before us. fn main() { let value = compute(3, 4); } 今天. \
                    550e8400-e29b-41d4-a716-446655440000 2026-11-21T09:24:30Z";
        let text: String = text.chars().filter(char::is_ascii).collect();
        for cut in [1, 5, 64, 100, 1000] {
            assert!(!may_hide(&text, cut), "in {cut}");
        }
    }
}
