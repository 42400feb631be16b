//! Times as operators write and read them: RFC 3339 in UTC, or a span from now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Years are kept to four digits.
const TIME_MAX_UNIX: u64 = 253_402_300_799;

/// Seconds since 1970 as `2026-11-30T18:00:00Z`.
#[must_use]
pub fn format_time(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(TIME_MAX_UNIX));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A time in the future, as seconds since 1970: `2026-11-30T18:00:00Z`, `2026-11-30 18:00:00` (UTC)
/// or a span such as `2h` or `30days`.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn parse_until(text: &str, now_unix: u64) -> Result<u64, String> {
    let seconds = match humantime::parse_duration(text) {
        Ok(span) => Some(now_unix.saturating_add(span.as_secs())),
        Err(_) => humantime::parse_rfc3339_weak(text)
            .ok()
            .and_then(|time: SystemTime| time.duration_since(UNIX_EPOCH).ok())
            .map(|since| since.as_secs()),
    };
    let Some(seconds) = seconds.filter(|seconds| *seconds <= TIME_MAX_UNIX) else {
        return Err(format!(
            "`{text}` is no time: write 2026-11-30T18:00:00Z, or a span from now such as 2h or \
             30days"
        ));
    };
    if seconds <= now_unix {
        return Err(format!("{} is not in the future", format_time(seconds)));
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans() {
        let now = 1_700_000_000;
        assert_eq!(parse_until("2h", now), Ok(now + 7200));
        assert_eq!(parse_until("30days", now), Ok(now + 30 * 86_400));
        let time = parse_until("2026-11-30T18:00:00Z", now).unwrap();
        assert_eq!(format_time(time), "2026-11-30T18:00:00Z");
        assert_eq!(parse_until("2026-11-30 18:00:00", now), Ok(time));
        for bad in [
            "",
            "soon",
            "2h ago",
            "2026-13-01T00:00:00Z",
            "99999999999years",
        ] {
            assert!(parse_until(bad, now).is_err(), "{bad}");
        }
        let past = parse_until("2020-01-01T00:00:00Z", now).unwrap_err();
        assert!(
            past.contains("2020-01-01T00:00:00Z is not in the future"),
            "{past}"
        );
        assert!(parse_until("0s", now).is_err());
    }
}
