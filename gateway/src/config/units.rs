//! Sizes and durations as an operator writes them: `"8KiB"`, `"10s"`. A bare number is refused,
//! because nobody remembers a year later whether it was seconds or milliseconds.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer};

/// A size in bytes: `"512B"`, `"8KiB"`, `"8MiB"`, `"1GiB"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

/// A duration: `"250ms"`, `"10s"`, `"5m"`, `"24h"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

// === impl Size ===

impl Size {
    /// So many KiB.
    pub const fn kib(count: usize) -> Self {
        Self(count * 1024)
    }

    /// So many MiB.
    pub const fn mib(count: usize) -> Self {
        Self(count * 1024 * 1024)
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let factor: usize = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        usize::try_from(number).ok()?.checked_mul(factor).map(Self)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 && n % (1 << 20) == 0 => write!(f, "{}MiB", n >> 20),
            n if n >= 1 << 10 && n % (1 << 10) == 0 => write!(f, "{}KiB", n >> 10),
            n => write!(f, "{n}B"),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a size: write it like \"8KiB\" or \"4MiB\""
            ))
        })
    }
}

// === impl Span ===

impl Span {
    /// So many milliseconds.
    pub const fn ms(count: u64) -> Self {
        Self(Duration::from_millis(count))
    }

    /// So many seconds.
    pub const fn secs(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// The whole span in milliseconds, saturating.
    pub fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
        match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => seconds(1),
            "m" => seconds(60),
            "h" => seconds(3600),
            "d" => seconds(86_400),
            _ => None,
        }
        .map(Self)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a duration: write it like \"250ms\", \"10s\" or \"5m\""
            ))
        })
    }
}

/// Splits `"10s"` in its number and its unit; digits only, no sign, no fraction.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(at);
    Some((digits.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_as_written() {
        assert_eq!(Size::parse("8KiB"), Some(Size::kib(8)));
        assert_eq!(Size::parse("8 MiB"), Some(Size::mib(8)));
        assert_eq!(Span::parse("250ms"), Some(Span::ms(250)));
        assert_eq!(Span::parse("24h"), Some(Span::secs(86_400)));
        for bad in [
            "",
            "8",
            "KiB",
            "-1s",
            "1.5s",
            "8kb",
            "99999999999999999999s",
        ] {
            assert_eq!((Size::parse(bad), Span::parse(bad)), (None, None), "{bad}");
        }
    }
}
