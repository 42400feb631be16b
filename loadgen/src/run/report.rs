//! Counting while it runs, and the report afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::Options;
use super::reader::Answered;
use super::worker::Trouble;

/// The longest time that is told apart: an hour.
const TIME_US_MAX: u64 = 3_600_000_000;
/// Significant digits of a histogram.
const DIGITS: u8 = 3;

/// Times in microseconds, while they are counted.
struct Times(Histogram<u64>);

/// What is counted.
pub(super) struct Tally {
    latency: Times,
    start_delay: Times,
    ttft: Times,
    inter_token: Times,
    ok: u64,
    tokens: u64,
    bytes: u64,
    errors: BTreeMap<String, u64>,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Half are at most this.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// All.
    pub max: u64,
}

/// How a run went.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where requests went.
    pub url: String,
    /// `open` or `closed`.
    pub mode: &'static str,
    /// Seconds from the first intended start to the last answer.
    pub elapsed_s: f64,
    /// Connections.
    pub connections: usize,
    /// Requests that should have been sent.
    pub asked: u64,
    /// Requests that were.
    pub sent: u64,
    /// Those that found no free connection in time; errors too.
    pub not_sent: u64,
    /// Answered with 2xx, to a proper end.
    pub ok: u64,
    /// All others, by status or by what went wrong.
    pub errors: BTreeMap<String, u64>,
    /// Errors and requests not sent, of those asked for.
    pub error_rate: f64,
    /// The rate asked for.
    pub rate_asked: Option<f64>,
    /// Good answers a second.
    pub rate: f64,
    /// Events that brought text.
    pub tokens: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// From the intended start to the end of a good answer.
    pub latency_us: Percentiles,
    /// From the intended start until it was really sent.
    pub start_delay_us: Percentiles,
    /// From the intended start to the first text of a stream.
    pub ttft_us: Percentiles,
    /// Between events that bring text.
    pub inter_token_us: Percentiles,
}

// === impl Times ===

impl Times {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, TIME_US_MAX, DIGITS);
        Self(histogram.expect("the bounds are constants in order"))
    }

    fn note(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(TIME_US_MAX);
        self.0.saturating_record(us);
    }

    fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile| self.0.value_at_quantile(quantile);
        Percentiles {
            count: self.0.len(),
            mean: (self.0.mean() * 10.0).round() / 10.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        }
    }
}

// === impl Tally ===

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            latency: Times::new(),
            start_delay: Times::new(),
            ttft: Times::new(),
            inter_token: Times::new(),
            ok: 0,
            tokens: 0,
            bytes: 0,
            errors: BTreeMap::new(),
        }
    }

    pub(super) fn note(
        &mut self,
        intended: Instant,
        sent: Instant,
        done: Instant,
        outcome: Result<Answered, Trouble>,
    ) {
        self.start_delay
            .note(sent.saturating_duration_since(intended));
        let error = match outcome {
            Ok(answered) => {
                self.bytes += answered.bytes;
                self.tokens += answered.tokens.len() as u64;
                let good = answered.status / 100 == 2 && !answered.failed;
                if good {
                    self.ok += 1;
                    self.latency.note(done.saturating_duration_since(intended));
                    self.note_tokens(intended, &answered.tokens);
                    return;
                }
                if answered.failed {
                    "error event".into()
                } else {
                    answered.status.to_string()
                }
            }
            Err(trouble) => trouble.name().to_owned(),
        };
        *self.errors.entry(error).or_default() += 1;
    }

    fn note_tokens(&mut self, intended: Instant, tokens: &[Instant]) {
        if let Some(first) = tokens.first() {
            self.ttft.note(first.saturating_duration_since(intended));
        }
        for pair in tokens.windows(2) {
            self.inter_token
                .note(pair[1].saturating_duration_since(pair[0]));
        }
    }

    pub(super) fn report(
        &self,
        options: &Options,
        elapsed: Duration,
        asked: u64,
        sent: u64,
    ) -> Report {
        let not_sent = asked.saturating_sub(sent);
        let failed = self.errors.values().sum::<u64>() + not_sent;
        let elapsed_s = elapsed.as_secs_f64();
        Report {
            url: options.target.url().to_owned(),
            mode: if options.rate.is_some() {
                "open"
            } else {
                "closed"
            },
            elapsed_s,
            connections: options.connections,
            asked,
            sent,
            not_sent,
            ok: self.ok,
            errors: self.errors.clone(),
            error_rate: if asked == 0 {
                0.0
            } else {
                failed as f64 / asked as f64
            },
            rate_asked: options.rate,
            rate: self.ok as f64 / elapsed_s.max(f64::EPSILON),
            tokens: self.tokens,
            bytes: self.bytes,
            latency_us: self.latency.percentiles(),
            start_delay_us: self.start_delay.percentiles(),
            ttft_us: self.ttft.percentiles(),
            inter_token_us: self.inter_token.percentiles(),
        }
    }
}

// === impl Report ===

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = match self.rate_asked {
            Some(rate) => format!("open loop at {rate}/s"),
            None => "closed loop".into(),
        };
        writeln!(
            f,
            "{}: {rate}, {} connections, {:.1} s",
            self.url, self.connections, self.elapsed_s
        )?;
        writeln!(
            f,
            "  asked {}  sent {}  good {} ({:.1}/s)  error rate {:.3} %",
            self.asked,
            self.sent,
            self.ok,
            self.rate,
            self.error_rate * 100.0
        )?;
        for (error, count) in &self.errors {
            writeln!(f, "  {error}: {count}")?;
        }
        if self.not_sent > 0 {
            writeln!(
                f,
                "  not sent, for want of a free connection: {}",
                self.not_sent
            )?;
        }
        let rows = [
            ("latency", self.latency_us),
            ("start delay", self.start_delay_us),
            ("first token", self.ttft_us),
            ("inter-token", self.inter_token_us),
        ];
        writeln!(
            f,
            "  {:<12}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "µs", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for (name, times) in rows.iter().filter(|(_, times)| times.count > 0) {
            writeln!(
                f,
                "  {name:<12}{:>10}{:>10}{:>10}{:>10}{:>10}",
                times.p50, times.p90, times.p99, times.p999, times.max
            )?;
        }
        Ok(())
    }
}
