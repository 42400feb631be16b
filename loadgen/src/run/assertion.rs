//! Thresholds: `p99<50ms`, `error_rate<=1%`, `rate>=100`. What fails one ends with exit code 1.

use std::str::FromStr;

use serde::Serialize;

use super::report::{Percentiles, Report};

/// A figure of the report, compared with a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    text: String,
    figure: String,
    comparison: Comparison,
    /// In microseconds for times.
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
}

/// Whether an assertion held.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// As it was written.
    pub assertion: String,
    /// What was measured, times in microseconds; null when nothing was.
    pub measured: Option<f64>,
    /// Whether it held; without a measurement it does not.
    pub holds: bool,
}

/// Names of figures that are no times.
const COUNTS: [&str; 6] = ["errors", "error_rate", "rate", "ok", "not_sent", "tokens"];
/// Prefixes of times; without one the latency is meant.
const TIMES: [&str; 4] = ["ttft_", "inter_token_", "start_delay_", "latency_"];
/// What may follow a prefix.
const POINTS: [&str; 6] = ["p50", "p90", "p99", "p999", "max", "mean"];

// === impl Assertion ===

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let operators = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::More),
        ];
        let found = operators.iter().find_map(|(sign, comparison)| {
            text.split_once(sign)
                .map(|(figure, limit)| (figure, limit, *comparison))
        });
        let (figure, limit, comparison) =
            found.ok_or_else(|| format!("{text}: write it as p99<50ms or error_rate<=1%"))?;
        let figure = figure.trim();
        let point = TIMES
            .iter()
            .find_map(|prefix| figure.strip_prefix(prefix))
            .unwrap_or(figure);
        let is_time = POINTS.contains(&point);
        if !is_time && !COUNTS.contains(&figure) {
            return Err(format!(
                "{figure:?} is no figure: use {}, or {} with one of {} before it",
                COUNTS.join(", "),
                POINTS.join(", "),
                TIMES.join(", "),
            ));
        }
        let limit = parse_limit(limit.trim(), is_time).map_err(|why| format!("{text}: {why}"))?;
        Ok(Self {
            text: text.trim().into(),
            figure: figure.into(),
            comparison,
            limit,
        })
    }
}

impl Assertion {
    /// Compares with what was measured.
    pub fn check(&self, report: &Report) -> Outcome {
        let measured = self.measured(report);
        let holds = measured.is_some_and(|value| match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::More => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Equal => (value - self.limit).abs() < f64::EPSILON,
        });
        Outcome {
            assertion: self.text.clone(),
            measured,
            holds,
        }
    }

    fn measured(&self, report: &Report) -> Option<f64> {
        let count = |count: u64| Some(count as f64);
        match self.figure.as_str() {
            "errors" => return count(report.errors.values().sum::<u64>() + report.not_sent),
            "error_rate" => return Some(report.error_rate),
            "rate" => return Some(report.rate),
            "ok" => return count(report.ok),
            "not_sent" => return count(report.not_sent),
            "tokens" => return count(report.tokens),
            _ => {}
        }
        let (times, point) = if let Some(point) = self.figure.strip_prefix("ttft_") {
            (&report.ttft_us, point)
        } else if let Some(point) = self.figure.strip_prefix("inter_token_") {
            (&report.inter_token_us, point)
        } else if let Some(point) = self.figure.strip_prefix("start_delay_") {
            (&report.start_delay_us, point)
        } else {
            let point = self.figure.strip_prefix("latency_").unwrap_or(&self.figure);
            (&report.latency_us, point)
        };
        times.point(point)
    }
}

impl Percentiles {
    fn point(&self, name: &str) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        Some(match name {
            "p50" => self.p50 as f64,
            "p90" => self.p90 as f64,
            "p99" => self.p99 as f64,
            "p999" => self.p999 as f64,
            "max" => self.max as f64,
            "mean" => self.mean,
            _ => return None,
        })
    }
}

fn parse_limit(text: &str, is_time: bool) -> Result<f64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match (unit, is_time) {
        ("us" | "µs", true) => 1.0,
        ("ms", true) => 1e3,
        ("s", true) => 1e6,
        ("", true) => return Err("a time needs a unit: us, ms or s".into()),
        ("", false) => 1.0,
        ("%", false) => 0.01,
        _ => return Err(format!("unknown unit {unit:?}")),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no number"))?;
    Ok(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_units() {
        let read = |text: &str| text.parse::<Assertion>().map(|assertion| assertion.limit);
        assert_eq!(read("p99 < 50ms"), Ok(50_000.0));
        assert_eq!(read("ttft_p50<=1.5s"), Ok(1_500_000.0));
        assert_eq!(read("error_rate<=1%"), Ok(0.01));
        assert_eq!(read("rate>=100"), Ok(100.0));
        for bad in ["p99<50", "p98<5ms", "errors<5ms", "p99", "p99<xms"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
