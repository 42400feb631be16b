//! The recorder's configuration: TOML, strictly decoded. A key that nobody knows is an error with
//! its place and the nearest key that exists.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::segment::BODY_BYTES_MAX;

const SEGMENT_BYTES_DEFAULT: u64 = 256 << 20;
/// A segment holds at least its opening state and one longest record.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
const SEGMENT_BYTES_MAX: u64 = 1 << 40;
const SYNC_INTERVAL_DEFAULT: Duration = Duration::from_millis(50);
const SYNC_INTERVAL_MAX: Duration = Duration::from_secs(10);
const SYNC_BYTES_DEFAULT: u64 = 8 << 20;
const FILE_MODE_DEFAULT: u32 = 0o640;
const SOCKET_MODE_DEFAULT: u32 = 0o660;

/// What the recorder needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where gateways connect.
    pub socket: PathBuf,
    /// Permissions of the socket.
    pub socket_mode: u32,
    /// Where segments are written.
    pub directory: PathBuf,
    /// Permissions of segments.
    pub file_mode: u32,
    /// Users whose gateways are taken in.
    pub allowed_uids: Vec<u32>,
    /// A segment is finished when it has this many bytes.
    pub segment_bytes: u64,
    /// A frame waits at most this long until it is synced.
    pub sync_interval: Duration,
    /// So many unsynced bytes are synced at once.
    pub sync_bytes: u64,
}

/// A configuration that cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// `file`, `file:line` or `file:line:column`.
    pub place: String,
    /// What is wrong, and what was meant.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    socket: PathBuf,
    directory: PathBuf,
    allowed_uids: Option<Vec<u32>>,
    segment_bytes: Option<toml::Spanned<Number>>,
    sync_interval: Option<toml::Spanned<String>>,
    sync_bytes: Option<toml::Spanned<Number>>,
    file_mode: Option<toml::Spanned<String>>,
    socket_mode: Option<toml::Spanned<String>>,
}

/// A size: bytes, or text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Bytes(u64),
    Text(String),
}

// === impl Config ===

impl Config {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            place: path.display().to_string(),
            message: format!("cannot be read: {error}"),
        })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a text; `name` stands for it in errors.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let at = |span: std::ops::Range<usize>, message: String| ConfigError {
            place: place(name, text, span.start),
            message,
        };
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let message = with_suggestion(error.message());
            match error.span() {
                Some(span) => at(span, message),
                None => ConfigError {
                    place: name.to_owned(),
                    message,
                },
            }
        })?;
        let sized = |value: Option<toml::Spanned<Number>>,
                     default,
                     range: std::ops::RangeInclusive<u64>| {
            let Some(value) = value else {
                return Ok(default);
            };
            let span = value.span();
            let bytes = value
                .into_inner()
                .bytes()
                .map_err(|reason| at(span.clone(), reason))?;
            if range.contains(&bytes) {
                return Ok(bytes);
            }
            let (low, high) = (range.start(), range.end());
            Err(at(
                span,
                format!("{bytes} bytes, where {low} to {high} are possible"),
            ))
        };
        let moded = |value: Option<toml::Spanned<String>>, default| {
            let Some(value) = value else {
                return Ok(default);
            };
            let mode = u32::from_str_radix(value.get_ref().trim_start_matches("0o"), 8);
            match mode {
                Ok(mode) if mode <= 0o777 => Ok(mode),
                _ => Err(at(
                    value.span(),
                    "permissions are octal text, like \"0640\"".to_owned(),
                )),
            }
        };
        let sync_interval = match raw.sync_interval {
            None => SYNC_INTERVAL_DEFAULT,
            Some(value) => match duration(value.get_ref()) {
                Some(interval) if interval <= SYNC_INTERVAL_MAX => interval,
                _ => {
                    let message = "a time up to 10s, like \"50ms\" or \"1s\"".to_owned();
                    return Err(at(value.span(), message));
                }
            },
        };
        Ok(Self {
            socket: raw.socket,
            socket_mode: moded(raw.socket_mode, SOCKET_MODE_DEFAULT)?,
            directory: raw.directory,
            file_mode: moded(raw.file_mode, FILE_MODE_DEFAULT)?,
            allowed_uids: raw
                .allowed_uids
                .unwrap_or_else(|| vec![rustix::process::geteuid().as_raw()]),
            segment_bytes: sized(
                raw.segment_bytes,
                SEGMENT_BYTES_DEFAULT,
                SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX,
            )?,
            sync_interval,
            sync_bytes: sized(
                raw.sync_bytes,
                SYNC_BYTES_DEFAULT,
                4096..=16 * BODY_BYTES_MAX as u64,
            )?,
        })
    }
}

// === impl Number ===

impl Number {
    fn bytes(self) -> Result<u64, String> {
        let text = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Text(text) => text,
        };
        let wrong =
            || format!("{text:?} is no size: write bytes, or \"64KiB\", \"256MiB\", \"1GiB\"");
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, unit) = text.split_at(digits);
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        count
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(factor))
            .ok_or_else(wrong)
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let count = count.parse().ok()?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        _ => None,
    }
}

fn place(name: &str, text: &str, at: usize) -> String {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{name}:{line}:{column}")
}

/// Serde lists what it expected; a person wants the one that was meant.
fn with_suggestion(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((wrong, known)) = names
        .split_first()
        .filter(|_| message.starts_with("unknown field"))
    else {
        return message.to_owned();
    };
    let nearest = known
        .iter()
        .min_by_key(|name| strsim::osa_distance(wrong, name));
    match nearest.filter(|name| strsim::osa_distance(wrong, name) <= 1 + wrong.len() / 3) {
        Some(name) => format!("unknown key `{wrong}`; did you mean `{name}`?"),
        None => format!("unknown key `{wrong}`; known are {}", known.join(", ")),
    }
}

// === impl ConfigError ===

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "socket = \"/run/s\"\ndirectory = \"/var/log/p\"\n";

    #[test]
    fn defaults_are_filled_in() {
        let config = Config::parse("c.toml", GOOD).expect("good");
        assert_eq!(config.segment_bytes, 256 << 20);
        assert_eq!(config.sync_interval, Duration::from_millis(50));
        assert_eq!((config.file_mode, config.socket_mode), (0o640, 0o660));
        assert_eq!(config.allowed_uids, [rustix::process::geteuid().as_raw()]);
    }

    #[test]
    fn unknown_keys_are_placed_and_explained() {
        let error = Config::parse("c.toml", &format!("{GOOD}segment_byte = 1\n")).expect_err("bad");
        assert_eq!(
            error.to_string(),
            "c.toml:3:1: unknown key `segment_byte`; did you mean `segment_bytes`?"
        );
        let error = Config::parse("c.toml", &format!("{GOOD}colour = 1\n")).expect_err("bad");
        assert!(
            error.to_string().contains("known are socket, directory"),
            "{error}"
        );
    }

    #[test]
    fn sizes_times_and_modes_are_checked_where_they_stand() {
        let text = format!("{GOOD}segment_bytes = \"1MiB\"\nsync_interval = \"1s\"\n");
        let config = Config::parse("c.toml", &text).expect("good");
        assert_eq!(
            (config.segment_bytes, config.sync_interval.as_millis()),
            (1 << 20, 1000)
        );
        for bad in [
            "segment_bytes = \"1 parsec\"",
            "segment_bytes = 7",
            "sync_interval = \"soon\"",
            "sync_interval = \"1h\"",
            "file_mode = \"rw\"",
            "file_mode = \"7777\"",
        ] {
            let error = Config::parse("c.toml", &format!("{GOOD}{bad}\n")).expect_err(bad);
            assert!(error.place.starts_with("c.toml:3:"), "{error}");
        }
    }
}
