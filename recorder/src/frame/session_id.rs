//! The name of a session.

use std::fmt;
use std::str::FromStr;

use rkyv::{Archive, Deserialize, Serialize};

/// Names one session: a UUIDv7, which is the `x-request-id` that the client was given, too.
#[derive(
    Archive, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default,
)]
pub struct SessionId(pub [u8; 16]);

/// A text that is no session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session id: expected 32 hexadecimal digits, hyphens allowed")]
pub struct NotASessionId;

// === impl SessionId ===

impl SessionId {
    /// The id of no session.
    pub const NIL: Self = Self([0; 16]);

    /// A UUIDv7 (RFC 9562 §5.7) from a time and ten random bytes, of which 74 bits are used.
    pub fn v7(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        id[6..].copy_from_slice(&random);
        id[6] = (id[6] & 0x0F) | 0x70;
        id[8] = (id[8] & 0x3F) | 0x80;
        Self(id)
    }

    /// Whether this is the id of no session.
    pub fn is_nil(&self) -> bool {
        *self == Self::NIL
    }
}

impl fmt::Display for SessionId {
    /// Every call writes one: the digits are laid out here, not formatted one by one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (index, byte) in self.0.iter().enumerate() {
            at += usize::from(matches!(index, 4 | 6 | 8 | 10));
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        // Digits and hyphens are ASCII, so this is never an error.
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        let mut id = [0; 16];
        let mut digits = 0;
        for character in text.chars().filter(|c| *c != '-') {
            let value = character.to_digit(16).ok_or(NotASessionId)?;
            let byte: &mut u8 = id.get_mut(digits / 2).ok_or(NotASessionId)?;
            // A digit is below 16, so it fits.
            *byte = *byte << 4 | value as u8;
            digits += 1;
        }
        if digits == 32 {
            Ok(Self(id))
        } else {
            Err(NotASessionId)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_read_back_what_they_print() {
        let id = SessionId::v7(0x0123_4567_89AB, [0xFF; 10]);
        assert_eq!(id.to_string(), "01234567-89ab-7fff-bfff-ffffffffffff");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("0123".parse::<SessionId>(), Err(NotASessionId));
        assert_eq!("z".repeat(32).parse::<SessionId>(), Err(NotASessionId));
        assert_eq!("0".repeat(34).parse::<SessionId>(), Err(NotASessionId));
    }
}
