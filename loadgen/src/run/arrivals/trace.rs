//! Trace files: starts, and perhaps lengths, that were seen elsewhere.
//!
//! | a line | means |
//! | --- | --- |
//! | `0.25` or `250ms` | a start: seconds, or with a unit, since the first one's zero |
//! | `{"timestamp": 250, "input_length": 30, "output_length": 12}` | JSON: milliseconds (as the Mooncake traces have it), prompt and answer in tokens |
//! | `TIMESTAMP,ContextTokens,GeneratedTokens`, then rows | CSV with a head (as the Azure LLM traces have it): seconds or a date |
//!
//! Other names are known, too: [`TIME_NAMES`], [`PROMPT_NAMES`], [`OUTPUT_NAMES`]. A name that
//! ends in `_ms`, `_us`, `_ns` or `_s` says its unit; without one, JSON's `timestamp` is in
//! milliseconds and everything else in seconds. Dates are `2023-11-16 18:15:46.68` or
//! `2023-11-16T18:15:46.68Z`. The first start becomes the run's zero when times are dates or
//! seconds of an epoch (past 10⁸ s); small offsets stay as they are. Lines may come in any order.

use serde_json::Value;

use super::STARTS_MAX;
use crate::run::time;

/// What the time of a start is called in JSON and CSV, in any case.
pub const TIME_NAMES: [&str; 12] = [
    "timestamp",
    "timestamp_ms",
    "timestamp_s",
    "time",
    "time_s",
    "time_ms",
    "arrival",
    "arrival_time",
    "offset",
    "offset_s",
    "offset_ms",
    "at_ms",
];
/// What the length of a prompt is called.
pub const PROMPT_NAMES: [&str; 6] = [
    "input_length",
    "contexttokens",
    "prompt_tokens",
    "input_tokens",
    "num_prefill_tokens",
    "prompt_len",
];
/// What the length of an answer is called.
pub const OUTPUT_NAMES: [&str; 6] = [
    "output_length",
    "generatedtokens",
    "output_tokens",
    "completion_tokens",
    "num_decode_tokens",
    "output_len",
];
/// Seconds past which an offset is taken for the time of day of some year.
const EPOCH_S_MIN: f64 = 1e8;

/// One line of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Nanoseconds since the run's start.
    pub at_ns: u64,
    /// Tokens of the prompt, where the trace has them.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer.
    pub output_tokens: Option<u32>,
}

/// A line as it was read: seconds, whatever their zero.
struct Row {
    at_s: f64,
    prompt_tokens: Option<u32>,
    output_tokens: Option<u32>,
}

/// Columns of a CSV.
struct Columns {
    time: usize,
    /// What one of its numbers is, in seconds.
    unit_s: f64,
    prompt: Option<usize>,
    output: Option<usize>,
}

/// Reads a trace; the error names the line. `speed` 2 plays it twice as fast.
pub fn parse(text: &str, speed: f64) -> Result<Vec<Entry>, String> {
    let mut rows = Vec::new();
    let mut columns = None;
    let lines = text.lines().enumerate();
    for (number, line) in lines.map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let row = if line.starts_with('{') {
            json(line)
        } else if let Some(columns) = &columns {
            csv(line, columns)
        } else if rows.is_empty() && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            columns = Some(head(line).map_err(|why| format!("line {number}: {why}"))?);
            continue;
        } else {
            offset(line)
        };
        rows.push(row.map_err(|why| format!("line {number}: {why}"))?);
        if rows.len() > STARTS_MAX {
            return Err(format!("more than {STARTS_MAX} starts"));
        }
    }
    if rows.is_empty() {
        return Err("no start is in it".into());
    }
    rows.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let first = rows[0].at_s;
    let zero = if first > EPOCH_S_MIN { first } else { 0.0 };
    let entry = |row: Row| Entry {
        at_ns: super::nanoseconds((row.at_s - zero) / speed),
        prompt_tokens: row.prompt_tokens,
        output_tokens: row.output_tokens,
    };
    Ok(rows.into_iter().map(entry).collect())
}

/// A bare start: seconds, or with a unit.
fn offset(line: &str) -> Result<Row, String> {
    let at_s = match line.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => time::parse(line)
            .map_err(|_| format!("{line:?} is no time"))?
            .as_secs_f64(),
    };
    row(at_s, None, None)
}

fn row(at_s: f64, prompt: Option<u32>, output: Option<u32>) -> Result<Row, String> {
    if !at_s.is_finite() || at_s < 0.0 {
        return Err(format!("{at_s} is no time of a start"));
    }
    Ok(Row {
        at_s,
        prompt_tokens: prompt,
        output_tokens: output,
    })
}

fn json(line: &str) -> Result<Row, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let fields = value.as_object().ok_or("no object")?;
    let find = |names: &[&str]| {
        let known = |(name, _): &(&String, &Value)| {
            names.iter().any(|known| name.eq_ignore_ascii_case(known))
        };
        fields.iter().find(known)
    };
    let (name, value) = find(&TIME_NAMES).ok_or_else(|| missing(TIME_NAMES[0]))?;
    let at_s = match value {
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN) * unit_s(name, 1e-3),
        Value::String(text) => date_s(text)?,
        _ => return Err(format!("{name} is no time")),
    };
    let tokens = |names: &[&str]| {
        let tokens = find(names).and_then(|(_, value)| value.as_u64());
        tokens.and_then(|tokens| u32::try_from(tokens).ok())
    };
    row(at_s, tokens(&PROMPT_NAMES), tokens(&OUTPUT_NAMES))
}

fn head(line: &str) -> Result<Columns, String> {
    let names: Vec<String> = line
        .split(',')
        .map(|name| unquoted(name).to_ascii_lowercase())
        .collect();
    let find = |known: &[&str]| names.iter().position(|name| known.contains(&name.as_str()));
    let time = find(&TIME_NAMES).ok_or_else(|| missing(TIME_NAMES[0]))?;
    Ok(Columns {
        time,
        unit_s: unit_s(&names[time], 1.0),
        prompt: find(&PROMPT_NAMES),
        output: find(&OUTPUT_NAMES),
    })
}

fn csv(line: &str, columns: &Columns) -> Result<Row, String> {
    let cells: Vec<&str> = line.split(',').map(unquoted).collect();
    let time = cells.get(columns.time).copied().unwrap_or_default();
    let at_s = match time.parse::<f64>() {
        Ok(number) => number * columns.unit_s,
        Err(_) => date_s(time)?,
    };
    let tokens = |column: Option<usize>| cells.get(column?)?.parse().ok();
    row(at_s, tokens(columns.prompt), tokens(columns.output))
}

fn unquoted(cell: &str) -> &str {
    cell.trim().trim_matches('"')
}

fn missing(name: &str) -> String {
    format!("no time of a start: a field such as {name:?} is needed")
}

/// What a number under this name is, in seconds.
fn unit_s(name: &str, bare: f64) -> f64 {
    let name = name.to_ascii_lowercase();
    match name.rsplit('_').next() {
        Some("ns") => 1e-9,
        Some("us") => 1e-6,
        Some("ms") => 1e-3,
        Some("s") => 1.0,
        _ if name == "timestamp" => bare,
        _ => 1.0,
    }
}

/// Seconds since 1970 of `2023-11-16 18:15:46.68`, with a `T` or a `Z` if they are there.
fn date_s(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no time: write seconds, or 2023-11-16T18:15:46.68Z");
    let (date, clock) = text
        .trim_end_matches('Z')
        .split_once(['T', ' '])
        .ok_or_else(wrong)?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let mut clock = clock.splitn(3, ':').map(str::parse::<f64>);
    let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) = (date.next(), date.next(), date.next())
    else {
        return Err(wrong());
    };
    let (Some(Ok(hour)), Some(Ok(minute)), Some(Ok(second))) =
        (clock.next(), clock.next(), clock.next())
    else {
        return Err(wrong());
    };
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(wrong());
    }
    Ok(days(year, month, day) as f64 * 86_400.0 + hour * 3_600.0 + minute * 60.0 + second)
}

/// Days since 1970 of a date of the Gregorian calendar: years are counted from March, so that the
/// leap day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months = (month + 9) % 12;
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (months * 306 + 5) / 10 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(text: &str) -> Vec<u64> {
        parse(text, 1.0)
            .unwrap()
            .iter()
            .map(|entry| entry.at_ns)
            .collect()
    }

    #[test]
    fn offsets_are_seconds_or_have_a_unit_and_are_sorted() {
        assert_eq!(
            starts("# three\n0.5\n250ms\n\n1\n"),
            [250_000_000, 500_000_000, 1_000_000_000]
        );
        assert_eq!(parse("4\n", 2.0).unwrap()[0].at_ns, 2_000_000_000);
    }

    #[test]
    fn json_lines_bring_lengths() {
        let text = r#"{"timestamp": 0, "input_length": 30, "output_length": 12, "hash_ids": [1]}
                      {"timestamp": 250, "input_length": 6, "output_length": 1}"#;
        let entries = parse(text, 1.0).unwrap();
        assert_eq!(
            entries[1],
            Entry {
                at_ns: 250_000_000,
                prompt_tokens: Some(6),
                output_tokens: Some(1)
            }
        );
        assert_eq!(starts("{\"time_s\": 1.5}"), [1_500_000_000]);
        assert_eq!(
            starts("{\"timestamp_ms\": 1700000000000}\n{\"timestamp_ms\": 1700000000500}")[1]
                / 1_000_000,
            500
        );
    }

    #[test]
    fn csv_with_dates_begins_at_its_first_row() {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n\
                    2023-11-16 18:15:46.5,374,44\n2023-11-16 18:15:50.5,396,109\n";
        let entries = parse(text, 1.0).unwrap();
        assert_eq!((entries[0].at_ns, entries[1].at_ns), (0, 4_000_000_000));
        assert_eq!(
            entries[1].prompt_tokens.zip(entries[1].output_tokens),
            Some((396, 109))
        );
    }

    #[test]
    fn dates_are_days_of_the_calendar() {
        assert_eq!(date_s("1970-01-01T00:00:00Z"), Ok(0.0));
        assert_eq!(date_s("2000-03-01 00:00:00"), Ok(951_868_800.0));
        assert_eq!(date_s("2024-02-29T12:00:00Z"), Ok(1_709_208_000.0));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, why) in [
            ("", "no start"),
            ("1\nx\n", "line 2"),
            ("-1\n", "line 1"),
            ("{\"a\":1}", "line 1: no time"),
            ("a,b\n1,2\n", "line 1: no time"),
        ] {
            let error = parse(text, 1.0).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }
}
