//! What one answer has to meet to count as goodput: `ttft<200ms`, `end_to_end.sent<=5s`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::{Basis, Metric};

/// A bound on a time of each answer. Of `between_tokens`, the longest gap of the answer counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Objective {
    /// Of which time: `first_byte`, `ttft`, `between_tokens`, `per_output_token`, `end_to_end`.
    pub metric: Metric,
    /// Counted from where.
    pub basis: Basis,
    /// What it has to stay at or below.
    pub limit_ns: u64,
}

/// Reads `250ms`, `1.5s`, `40us`, `40µs`, `900ns`, `2m` as nanoseconds.
pub fn parse_time(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "" => return Err(format!("{text:?}: a time needs a unit: ns, us, ms, s or m")),
        other => {
            return Err(format!(
                "{text:?}: unknown unit {other:?}: ns, us, ms, s or m"
            ));
        }
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no time"))?;
    Ok(number * factor)
}

// === impl Objective ===

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?}: write an objective as ttft<200ms or end_to_end.sent<5s");
        let (what, limit) = text.split_once('<').ok_or_else(form)?;
        let (metric, basis) = match what.trim().split_once('.') {
            Some((metric, "intended")) => (metric, Some(Basis::Intended)),
            Some((metric, "sent")) => (metric, Some(Basis::Sent)),
            Some(_) => return Err(form()),
            None => (what.trim(), None),
        };
        let metric: Metric = metric.parse()?;
        if matches!(metric, Metric::Connect | Metric::Tls | Metric::Failed) {
            return Err(format!("{text:?}: {metric} is no time of a good answer"));
        }
        let usual = if metric.has_intended() {
            Basis::Intended
        } else {
            Basis::Sent
        };
        let basis = basis.unwrap_or(usual);
        if basis == Basis::Intended && !metric.has_intended() {
            return Err(format!(
                "{text:?}: {metric} is not counted from the intended start"
            ));
        }
        let limit = parse_time(limit.strip_prefix('=').unwrap_or(limit))?;
        Ok(Self {
            metric,
            basis,
            limit_ns: limit as u64,
        })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = crate::chart::nanoseconds(self.limit_ns as f64);
        if self.metric.has_intended() && self.basis == Basis::Sent {
            write!(f, "{}.sent ≤ {limit}", self.metric)
        } else {
            write!(f, "{} ≤ {limit}", self.metric)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_read() {
        let read = |text: &str| text.parse::<Objective>();
        let ttft = read("ttft<200ms").unwrap();
        assert_eq!(
            (ttft.metric, ttft.basis, ttft.limit_ns),
            (Metric::Ttft, Basis::Intended, 200_000_000)
        );
        assert_eq!(
            read("end_to_end.sent <= 1.5s").unwrap().to_string(),
            "end_to_end.sent ≤ 1.5 s"
        );
        assert_eq!(read("between_tokens<40µs").unwrap().basis, Basis::Sent);
        for bad in [
            "ttft",
            "ttft<5",
            "nope<5ms",
            "connect<5ms",
            "ttft.p99<5ms",
            "between_tokens.intended<5ms",
            "ttft<xms",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
