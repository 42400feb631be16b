//! Thresholds on an outcome: `ttft.p99<250ms`, `error_rate<=1%`, `rate>=100`.
//!
//! A time is written `[metric][.intended|.sent].point`: the metric as in JSON (`end_to_end` when it is
//! left out), the series (from the intended start where the metric has it, when left out), and
//! `p50`, `p99.9`, `mean`, `min` or `max`. Between them a dot or an underscore, so that `ttft_p50`
//! and `p999` mean what they always have. Everything else is a count, a share or a rate.
//!
//! An assertion about something of which there is nothing does not hold.

use std::str::FromStr;

use crate::chart::nanoseconds;
use crate::outcome::{Basis, Checked, Distribution, Fault, Metric, Outcome, parse_time};

/// A figure of an outcome, compared with a limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    text: String,
    figure: Figure,
    comparison: Comparison,
    limit: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Figure {
    Time(Time, Option<Basis>, Point),
    Count(Count),
    ErrorsOf(String),
    GoodputShare,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Time {
    Of(Metric),
    Lag,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    /// A share: 0.99.
    Quantile(f64),
    Mean,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
}

/// Figures that are no times: their name, what they are written with, how they are read.
type Count = (&'static str, Kind, fn(&Outcome) -> Option<f64>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    /// A number, or with `%` a share.
    Share,
    /// A number, or with `/s`.
    Rate,
}

const COUNTS: [Count; 17] = [
    ("errors", Kind::Number, |outcome| {
        Some(outcome.errors() as f64)
    }),
    ("error_rate", Kind::Share, |outcome| {
        Some(outcome.counts.error_rate)
    }),
    ("rate", Kind::Rate, |outcome| {
        Some(outcome.rates.completed_per_s)
    }),
    ("offered_rate", Kind::Rate, |outcome| {
        Some(outcome.rates.offered_per_s)
    }),
    ("tokens_per_second", Kind::Rate, |outcome| {
        Some(outcome.rates.tokens_per_s)
    }),
    ("goodput", Kind::Rate, |outcome| {
        outcome.goodput.as_ref().map(|good| good.per_s)
    }),
    ("intended", Kind::Number, |outcome| {
        Some(outcome.counts.intended as f64)
    }),
    ("started", Kind::Number, |outcome| {
        Some(outcome.counts.started as f64)
    }),
    ("completed", Kind::Number, |outcome| {
        Some(outcome.counts.completed as f64)
    }),
    ("ok", Kind::Number, |outcome| {
        Some(outcome.counts.completed as f64)
    }),
    ("not_sent", Kind::Number, |outcome| {
        Some(errors_of(outcome, &Fault::NotSent.to_string()))
    }),
    ("tokens", Kind::Number, |outcome| {
        Some(outcome.counts.tokens as f64)
    }),
    ("truncated", Kind::Number, |outcome| {
        Some(outcome.counts.truncated as f64)
    }),
    ("altered", Kind::Number, |outcome| {
        Some(outcome.counts.altered as f64)
    }),
    ("planted", Kind::Number, |outcome| {
        Some(outcome.counts.planted as f64)
    }),
    ("leaked", Kind::Number, |outcome| {
        Some(outcome.counts.leaked as f64)
    }),
    ("masked_spans", Kind::Number, |outcome| {
        Some(outcome.counts.masked_spans as f64)
    }),
];

/// Names that metrics had before.
const FORMER: [(&str, Metric); 2] = [
    ("latency", Metric::EndToEnd),
    ("inter_token", Metric::BetweenTokens),
];

const OPERATORS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::More),
];

fn errors_of(outcome: &Outcome, class: &str) -> f64 {
    outcome.counts.errors.get(class).copied().unwrap_or(0) as f64
}

// === impl Assertion ===

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = OPERATORS.iter().find_map(|(sign, comparison)| {
            let (figure, limit) = text.split_once(sign)?;
            Some((figure.trim(), limit.trim(), *comparison))
        });
        let (name, limit, comparison) = found
            .ok_or_else(|| format!("{text:?}: write it as ttft.p99<250ms or error_rate<=1%"))?;
        let told = |why: String| format!("{text:?}: {why}");
        let (figure, limit) = read(name, limit).map_err(told)?;
        Ok(Self {
            text: text.trim().into(),
            figure,
            comparison,
            limit,
        })
    }
}

impl Assertion {
    /// Compares with what was measured.
    pub fn check(&self, outcome: &Outcome) -> Checked {
        let measured = self.figure.of(outcome);
        let holds = measured.is_some_and(|value| match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::More => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            Comparison::Equal => (value - self.limit).abs() <= 1e-12 * self.limit.abs(),
        });
        Checked {
            assertion: self.text.clone(),
            measured,
            shown: measured.map_or_else(|| "nothing was measured".into(), |value| self.show(value)),
            holds,
        }
    }

    fn show(&self, value: f64) -> String {
        match &self.figure {
            Figure::Time(..) => nanoseconds(value),
            Figure::GoodputShare | Figure::Count((_, Kind::Share, _)) => {
                format!("{:.4} %", value * 100.0)
            }
            Figure::Count((_, Kind::Rate, _)) => format!("{value:.2}/s"),
            Figure::Count(_) | Figure::ErrorsOf(_) => format!("{value}"),
        }
    }
}

/// The figure of a name, and the limit in that figure's own unit.
fn read(name: &str, limit: &str) -> Result<(Figure, f64), String> {
    if let Some(class) = name.strip_prefix("errors.") {
        return Ok((Figure::ErrorsOf(class.into()), number(limit)?));
    }
    if let Some(count) = COUNTS.iter().find(|(known, ..)| *known == name) {
        let (value, is_share) = match (count.1, limit.strip_suffix('%')) {
            (Kind::Share, Some(share)) => (number(share)? / 100.0, true),
            (Kind::Rate, Some(share)) if name == "goodput" => (number(share)? / 100.0, true),
            (Kind::Rate, None) => (number(limit.strip_suffix("/s").unwrap_or(limit))?, false),
            _ => (number(limit)?, false),
        };
        let share = is_share && count.1 == Kind::Rate;
        let figure = if share {
            Figure::GoodputShare
        } else {
            Figure::Count(*count)
        };
        return Ok((figure, value));
    }
    let figure = time(name)?;
    Ok((figure, parse_time(limit)?))
}

fn time(name: &str) -> Result<Figure, String> {
    let starts = name.match_indices(['.', '_']).map(|(at, _)| at);
    let split = starts
        .clone()
        .find_map(|at| Some((&name[..at], point(&name[at + 1..])?)));
    let (what, point) = match (point(name), split) {
        (Some(point), _) => ("end_to_end", point),
        (None, Some(split)) => split,
        (None, None) => return Err(unknown(name)),
    };
    if what == "lag" || what == "start_delay" {
        return Ok(Figure::Time(Time::Lag, None, point));
    }
    let (metric, basis) = match what.rsplit_once('.') {
        Some((metric, "intended")) => (metric, Some(Basis::Intended)),
        Some((metric, "sent")) => (metric, Some(Basis::Sent)),
        Some(_) => return Err(unknown(name)),
        None if what == "intended" => ("end_to_end", Some(Basis::Intended)),
        None if what == "sent" => ("end_to_end", Some(Basis::Sent)),
        None => (what, None),
    };
    let former = FORMER.iter().find(|(former, _)| *former == metric);
    let metric = match former {
        Some((_, metric)) => *metric,
        None => metric.parse().map_err(|_| unknown(name))?,
    };
    if basis == Some(Basis::Intended) && !metric.has_intended() {
        return Err(format!(
            "{metric} is not counted from the intended start: leave .intended out"
        ));
    }
    Ok(Figure::Time(Time::Of(metric), basis, point))
}

/// `p99`, `p99.9`; `p999` and `p9999` have their point after the second nine.
fn point(text: &str) -> Option<Point> {
    match text {
        "mean" => return Some(Point::Mean),
        "min" => return Some(Point::Min),
        "max" => return Some(Point::Max),
        _ => {}
    }
    let digits = text.strip_prefix('p')?;
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let percent: f64 = match digits.split_at_checked(2) {
        Some((whole @ "99", rest)) if !rest.is_empty() && !rest.starts_with('.') => {
            format!("{whole}.{rest}").parse().ok()?
        }
        _ => digits.parse().ok()?,
    };
    (0.0..=100.0)
        .contains(&percent)
        .then_some(Point::Quantile(percent / 100.0))
}

fn number(text: &str) -> Result<f64, String> {
    let value = text
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|value| value.is_finite());
    value.ok_or_else(|| format!("{text:?} is no number that fits here"))
}

fn unknown(name: &str) -> String {
    let counts: Vec<_> = COUNTS.iter().map(|(known, ..)| *known).collect();
    let metrics: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    format!(
        "{name:?} is no figure: use {}, errors.CLASS; or one of {}, lag, with .p50, .p99.9, .mean, \
         .min or .max after it",
        counts.join(", "),
        metrics.join(", "),
    )
}

// === impl Figure ===

impl Figure {
    fn of(&self, outcome: &Outcome) -> Option<f64> {
        match self {
            Figure::Count((_, _, value)) => value(outcome),
            Figure::ErrorsOf(class) => Some(errors_of(outcome, class)),
            Figure::GoodputShare => outcome.goodput.as_ref().map(|good| good.share),
            Figure::Time(Time::Lag, _, point) => {
                let lag = outcome.lag.times.as_ref()?;
                (lag.count > 0).then(|| point.of(lag))
            }
            Figure::Time(Time::Of(metric), basis, point) => outcome
                .distribution(*metric, *basis)
                .map(|found| point.of(found)),
        }
    }
}

// === impl Point ===

impl Point {
    fn of(self, distribution: &Distribution) -> f64 {
        match self {
            Point::Quantile(share) => distribution.histogram.quantile(share) as f64,
            Point::Mean => distribution.mean_ns,
            Point::Min => distribution.min_ns as f64,
            Point::Max => distribution.max_ns as f64,
        }
    }
}
