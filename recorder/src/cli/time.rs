//! Times as people write them: UTC, and how long something took.

use std::time::{SystemTime, UNIX_EPOCH};

const SECOND_NS: u64 = 1_000_000_000;
const DAY_SECONDS: u64 = 86_400;

/// `2026-11-21T06:05:57.123Z`.
pub(crate) fn utc(unix_ns: u64) -> String {
    let seconds = unix_ns / SECOND_NS;
    let (year, month, day) = civil(seconds / DAY_SECONDS);
    let rest = seconds % DAY_SECONDS;
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let millis = unix_ns / 1_000_000 % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// `850µs`, `12.3ms`, `4.56s`.
pub(crate) fn span(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{}µs", ns / 1000),
        1_000_000..SECOND_NS => format!("{:.1}ms", ns as f64 / 1e6),
        _ => format!("{:.2}s", ns as f64 / 1e9),
    }
}

/// A moment: `30m`, `12h`, `7d` ago, or `2026-11-21`, `2026-11-21T06:00:00Z`.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let seconds = ago(text)
        .map(|ago| now.saturating_sub(ago))
        .or_else(|| date(text));
    seconds
        .map(|seconds| seconds.saturating_mul(SECOND_NS))
        .ok_or_else(|| {
            format!("{text:?} is no time: write 30m, 12h, 7d, 2026-11-21 or 2026-11-21T06:00:00Z")
        })
}

fn ago(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => DAY_SECONDS,
        _ => return None,
    };
    text[..text.len() - 1]
        .parse::<u64>()
        .ok()?
        .checked_mul(seconds)
}

fn date(text: &str) -> Option<u64> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(day, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let possible = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    possible.then(|| days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second)
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let parts = text.split(separator).map(|part| part.parse().ok());
    let parts: Vec<u64> = parts.collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// Days since 1970 to a date, and back: the proleptic Gregorian calendar, counted in eras of 400
/// years that begin in March (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400 * SECOND_NS), "2000-02-29T00:00:00.000Z");
        for text in [
            "2026-11-21T06:05:57Z",
            "1970-01-01T00:00:00Z",
            "2100-03-01T23:59:59Z",
        ] {
            let ns = moment(text).expect("a date");
            assert_eq!(utc(ns), text.replace('Z', ".000Z"));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-21T25:00:00Z",
            "m",
            "é",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
        assert!(moment("5m").is_ok());
    }
}
