//! What `run` prints, and what it means for the exit code: a table or one JSON document, and
//! assertions on its figures.

use std::fmt::Write as _;
use std::str::FromStr;

use clap::Args;
use penstock_loadgen::chart;
use penstock_loadgen::outcome::{Basis, Distribution, Metric, Outcome, parse_time};

use super::Failure;

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Output")]
pub(super) struct Arguments {
    /// Print the outcome as one JSON document, with whole histograms.
    #[arg(long)]
    json: bool,
    /// Fail unless this holds: ttft.p99<250ms, end_to_end.sent.p50<=1s, errors==0, error_rate<=1%,
    /// rate>=100, altered==0, leaked==0; repeatable.
    #[arg(long, value_name = "EXPR", value_delimiter = ',')]
    assert: Vec<Assertion>,
}

/// A figure compared with a limit.
#[derive(Clone, Debug)]
struct Assertion {
    text: String,
    figure: Figure,
    comparison: Comparison,
    /// In nanoseconds for times.
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Time(Metric, Option<Basis>, Point),
    Errors,
    ErrorRate,
    Rate,
    Completed,
    Altered,
    Leaked,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    Quantile(f64),
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
}

// === impl Arguments ===

impl Arguments {
    pub(super) fn ready(self) -> Result<Self, Failure> {
        Ok(self)
    }

    /// Prints, and judges.
    pub(super) fn publish(&self, outcome: &Outcome) -> Result<(), Failure> {
        if self.json {
            print!("{}", outcome.to_json().map_err(Failure::failed)?);
        } else {
            print!("{}", table(outcome));
        }
        let mut failed = false;
        for assertion in &self.assert {
            let measured = assertion.figure.of(outcome);
            let holds = measured.is_some_and(|measured| assertion.holds(measured));
            failed |= !holds;
            let verdict = if holds { "holds" } else { "FAILS" };
            let shown = match (measured, assertion.figure) {
                (None, _) => "nothing".to_owned(),
                (Some(ns), Figure::Time(..)) => chart::nanoseconds(ns),
                (Some(number), _) => number.to_string(),
            };
            eprintln!("  {verdict}: {} (measured {shown})", assertion.text);
        }
        let lateness = &outcome.lag.verdict;
        if lateness.late {
            eprintln!(
                "penstock-loadgen: {}; the figures say nothing of the server",
                lateness.reason
            );
            return Err(Failure::Late);
        }
        if failed {
            return Err(Failure::Asserted);
        }
        if outcome.counts.completed == 0 && outcome.counts.left_on_purpose == 0 {
            return Err(Failure::Failed("no request was answered well".into()));
        }
        Ok(())
    }
}

/// The figures, for people.
fn table(outcome: &Outcome) -> String {
    let (asked, counts, rates) = (&outcome.asked, &outcome.counts, &outcome.rates);
    let mut text = String::new();
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}"); // a String takes everything
    };
    line(format!(
        "{}: {}, {:.1} s, seed {}",
        asked.target, asked.arrivals, outcome.elapsed_s, asked.seed
    ));
    line(format!("  {}", asked.workload));
    asked
        .notes
        .iter()
        .for_each(|note| line(format!("  note: {note}")));
    line(format!(
        "  intended {}  started {}  good {} ({:.1}/s)  tokens {} ({:.1}/s)  connections {}",
        counts.intended,
        counts.started,
        counts.completed,
        rates.completed_per_s,
        counts.tokens,
        rates.tokens_per_s,
        counts.connections
    ));
    line(format!("  errors {:.3} %", counts.error_rate * 100.0));
    for (class, count) in &counts.errors {
        line(format!("    {class}: {count}"));
    }
    for (name, count) in [
        ("altered", counts.altered),
        ("masked spans", counts.masked_spans),
        ("secrets planted", counts.planted),
        ("came back unmasked", counts.leaked),
        ("left on purpose", counts.left_on_purpose),
    ] {
        if count > 0 {
            line(format!("  {name}: {count}"));
        }
    }
    if let Some(goodput) = &outcome.goodput {
        line(format!(
            "  goodput {:.1}/s, {:.2} % met every objective",
            goodput.per_s,
            goodput.share * 100.0
        ));
    }
    line(format!(
        "  {:<30}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "count", "p50", "p90", "p99", "p99.9", "max"
    ));
    for (metric, measured) in &outcome.metrics {
        for (basis, times) in measured.each() {
            let from = if metric.has_intended() {
                format!(", from {basis}")
            } else {
                String::new()
            };
            line(row(&format!("{}{from}", metric.title()), times));
        }
    }
    if let Some(lag) = &outcome.lag.times {
        line(row("the generator's own lag", lag));
    }
    if let Some(reading) = &outcome.lag.reading {
        line(row("its reading, at most", reading));
    }
    line(format!(
        "  busy {:.0} % of the time",
        outcome.lag.busy_share * 100.0
    ));
    text
}

fn row(name: &str, times: &Distribution) -> String {
    let shown = |ns: u64| chart::nanoseconds(ns as f64);
    format!(
        "  {name:<30}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}",
        times.count,
        shown(times.p50_ns),
        shown(times.p90_ns),
        shown(times.p99_ns),
        shown(times.p999_ns),
        shown(times.max_ns)
    )
}

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
        let found = operators
            .iter()
            .find_map(|(sign, comparison)| Some((text.split_once(sign)?, *comparison)));
        let ((figure, limit), comparison) =
            found.ok_or_else(|| format!("{text}: write it as ttft.p99<250ms or error_rate<=1%"))?;
        let figure = Figure::read(figure.trim())?;
        let limit = limit.trim();
        let limit = match figure {
            Figure::Time(..) => parse_time(limit)?,
            _ => {
                let (number, factor) = match limit.strip_suffix('%') {
                    Some(number) => (number, 0.01),
                    None => (limit, 1.0),
                };
                let number = number.parse::<f64>();
                number.map_err(|_| format!("{limit:?} is no number"))? * factor
            }
        };
        Ok(Self {
            text: text.trim().to_owned(),
            figure,
            comparison,
            limit,
        })
    }
}

impl Assertion {
    fn holds(&self, measured: f64) -> bool {
        match self.comparison {
            Comparison::Less => measured < self.limit,
            Comparison::AtMost => measured <= self.limit,
            Comparison::More => measured > self.limit,
            Comparison::AtLeast => measured >= self.limit,
            Comparison::Equal => (measured - self.limit).abs() < f64::EPSILON,
        }
    }
}

// === impl Figure ===

impl Figure {
    fn read(text: &str) -> Result<Self, String> {
        let counted = [
            ("errors", Figure::Errors),
            ("error_rate", Figure::ErrorRate),
            ("rate", Figure::Rate),
            ("completed", Figure::Completed),
            ("altered", Figure::Altered),
            ("leaked", Figure::Leaked),
        ];
        if let Some((_, figure)) = counted.iter().find(|(name, _)| *name == text) {
            return Ok(*figure);
        }
        let (metric, rest) = text.split_once('.').unwrap_or(("end_to_end", text));
        let metric: Metric = metric.parse()?;
        let (basis, point) = match rest.split_once('.') {
            Some(("intended", point)) => (Some(Basis::Intended), point),
            Some(("sent", point)) => (Some(Basis::Sent), point),
            Some((other, _)) => return Err(format!("{other:?}: intended or sent")),
            None => (None, rest),
        };
        let point = match point {
            "mean" => Point::Mean,
            "max" => Point::Max,
            "p50" => Point::Quantile(0.5),
            "p90" => Point::Quantile(0.9),
            "p95" => Point::Quantile(0.95),
            "p99" => Point::Quantile(0.99),
            "p999" => Point::Quantile(0.999),
            _ => return Err(format!("{point:?}: p50, p90, p95, p99, p999, mean or max")),
        };
        Ok(Figure::Time(metric, basis, point))
    }

    fn of(self, outcome: &Outcome) -> Option<f64> {
        let count = |count: u64| Some(count as f64);
        match self {
            Figure::Errors => count(outcome.errors()),
            Figure::ErrorRate => Some(outcome.counts.error_rate),
            Figure::Rate => Some(outcome.rates.completed_per_s),
            Figure::Completed => count(outcome.counts.completed),
            Figure::Altered => count(outcome.counts.altered),
            Figure::Leaked => count(outcome.counts.leaked),
            Figure::Time(metric, basis, point) => {
                let times = outcome.distribution(metric, basis)?;
                Some(match point {
                    Point::Quantile(quantile) => times.histogram.quantile(quantile) as f64,
                    Point::Mean => times.mean_ns,
                    Point::Max => times.max_ns as f64,
                })
            }
        }
    }
}
