//! The two text files of HdrHistogram, as its Java tools write and read them.
//!
//! `.hgrm` is one distribution by percentile, five steps for each halving of what is left to 100 %;
//! plotters of HdrHistogram read it. `.hlog` is a log of whole histograms, one line for each slot,
//! metric and series, with a tag such as `ttft.intended`; `HistogramLogProcessor` and its like read
//! it. Values are in nanoseconds inside the histograms, and in milliseconds where a text shows them.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::machine::Moment;
use crate::outcome::{Basis, Metric, Outcome, Times};

/// Percentiles for each halving of the distance to 100 %, as the Java tool has by default.
const TICKS_PER_HALVING: u64 = 5;
/// Values are shown in milliseconds.
const NS_PER_SHOWN: f64 = 1e6;
/// Digits after the point of a value: as many as the histograms have significant ones.
const VALUE_PLACES: usize = 3;

/// Every distribution of an outcome with the name that its file and its tag have, in a fixed order:
/// `ttft.intended`, …, `lag`.
pub fn named(outcome: &Outcome) -> Vec<(String, &Times)> {
    let mut all: Vec<_> = outcome
        .metrics
        .iter()
        .flat_map(|(metric, measured)| {
            let each = measured.each();
            each.map(|(basis, found)| (tag(*metric, basis), &found.histogram))
        })
        .collect();
    let own = [
        ("lag", &outcome.lag.times),
        ("reading", &outcome.lag.reading),
    ];
    for (name, found) in own {
        all.extend(
            found
                .iter()
                .map(|found| (name.to_owned(), &found.histogram)),
        );
    }
    all
}

fn tag(metric: Metric, basis: Basis) -> String {
    format!("{metric}.{basis}")
}

/// A distribution by percentile, in milliseconds, byte for byte as Java's
/// `outputPercentileDistribution(out, 5, 1000000.0)` writes it.
pub fn hgrm(times: &Times) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for step in steps(times) {
        let value = half_up(step.ns as f64 / NS_PER_SHOWN, VALUE_PLACES);
        let share = half_up(step.percent / 100.0, 12);
        let _ = write!(text, "{value:>12} {share} {:>10}", step.count); // into a String
        if step.percent < 100.0 {
            let left = half_up(1.0 / (1.0 - step.percent / 100.0), 2);
            let _ = write!(text, " {left:>14}");
        }
        text.push('\n');
    }
    let (mean, deviation) = mean_and_deviation(times);
    let shown = |ns: f64| half_up(ns / NS_PER_SHOWN, VALUE_PLACES);
    let max = if times.is_empty() {
        0
    } else {
        times.histogram().max()
    };
    let _ = write!(
        text,
        "#[Mean    = {:>12}, StdDeviation   = {:>12}]\n\
         #[Max     = {:>12}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]\n",
        shown(mean),
        shown(deviation),
        shown(max as f64),
        times.count(),
        times.histogram().buckets(),
        sub_buckets(times.histogram().sigfig()),
    );
    text
}

/// One line of a distribution.
struct Step {
    ns: u64,
    /// The percentile that was asked for, not the one that the value really has.
    percent: f64,
    /// Values at or below.
    count: u64,
}

/// Percentiles at even steps in each half of what is left to 100 %, until the last value is
/// reached, and then 100 % itself.
fn steps(times: &Times) -> Vec<Step> {
    let total = times.count();
    let mut steps = Vec::new();
    let (mut count, mut percent) = (0, 0.0f64);
    for (ns, here) in times.counted() {
        count += here;
        while 100.0 * count as f64 / total as f64 >= percent {
            steps.push(Step { ns, percent, count });
            // how often the distance to 100 % has been halved, in the arithmetic of the Java tool
            let halvings = ((100.0 / (100.0 - percent)).ln() / 2f64.ln()) as i32;
            percent += 100.0 / (TICKS_PER_HALVING as f64 * 2f64.powi(halvings + 1));
            if count == total {
                break; // the last value: 100 % says all about it
            }
        }
        if count == total {
            let percent = 100.0;
            steps.push(Step { ns, percent, count });
        }
    }
    steps
}

/// Both from the middles of the buckets, as HdrHistogram has them.
fn mean_and_deviation(times: &Times) -> (f64, f64) {
    if times.is_empty() {
        return (0.0, 0.0);
    }
    let middle = |ns| times.histogram().median_equivalent(ns) as f64;
    let total = times.count() as f64;
    let sum = |of: &dyn Fn(f64) -> f64| -> f64 {
        let parts = times
            .counted()
            .map(|(ns, count)| of(middle(ns)) * count as f64);
        parts.sum()
    };
    let mean = sum(&|value| value) / total;
    let squares = sum(&|value| (value - mean) * (value - mean));
    (mean, (squares / total).sqrt())
}

/// Twice the steps that so many digits need, as a power of two.
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10u64.pow(digits.into())).next_power_of_two()
}

/// A number with so many places, halves rounded up in decimal, as Java's formatter does; Rust's
/// rounds the binary value, and so halves in either direction.
fn half_up(value: f64, places: usize) -> String {
    let text = format!("{value}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let wanted = whole.len() + places;
    let up = digits.get(wanted).is_some_and(|digit| *digit >= b'5');
    digits.resize(wanted, b'0');
    if up {
        let nines = digits
            .iter()
            .rev()
            .take_while(|digit| **digit == b'9')
            .count();
        let from = digits.len() - nines;
        digits[from..].fill(b'0');
        match from
            .checked_sub(1)
            .filter(|at| digits[*at].is_ascii_digit())
        {
            Some(at) => digits[at] += 1,
            None => digits.insert(from, b'1'),
        }
    }
    let split = digits.len() - places;
    let part = |digits: &[u8]| String::from_utf8_lossy(digits).into_owned();
    format!("{}.{}", part(&digits[..split]), part(&digits[split..]))
}

/// The whole run as a log of histograms, one for each slot, metric and series. `lag` is one over the
/// whole run.
pub fn hlog(outcome: &Outcome) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let began = Moment::parse(&outcome.began).map_or(SystemTime::UNIX_EPOCH, Moment::system_time);
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment("[Logged by penstock-loadgen; values are nanoseconds, maxima milliseconds]")
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(NS_PER_SHOWN)
        .begin_log_with(&mut bytes, &mut serializer)?;
    let slot_s = outcome.timeline.slot_s;
    let failed = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
    for (index, slot) in outcome.timeline.slots.iter().enumerate() {
        let from = Duration::from_secs_f64(index as f64 * slot_s);
        for (metric, measured) in &slot.metrics {
            for (basis, moments) in measured.each() {
                let name = tag(*metric, basis);
                let times = moments.histogram.to_times();
                let length = Duration::from_secs_f64(slot_s);
                writer
                    .write_histogram(times.histogram(), from, length, Tag::new(&name))
                    .map_err(|error| failed(&error))?;
            }
        }
    }
    if let Some(lag) = &outcome.lag.times {
        let whole = Duration::from_secs_f64(outcome.elapsed_s);
        writer
            .write_histogram(
                lag.histogram.histogram(),
                Duration::ZERO,
                whole,
                Tag::new("lag"),
            )
            .map_err(|error| failed(&error))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_rounded_up_in_decimal() {
        let cases = [
            (0.0625, 3, "0.063"),
            (0.0045, 3, "0.005"),
            (0.9999267578125, 12, "0.999926757813"),
            (9.9996, 3, "10.000"),
            (99.5, 0, "100."),
            (1.0, 2, "1.00"),
            (0.1 + 0.2, 3, "0.300"),
        ];
        for (value, places, text) in cases {
            assert_eq!(half_up(value, places), text);
        }
    }

    proptest! {
        /// Against sorted values: what a line says of a value is what one counts there.
        #[test]
        fn every_line_says_what_is_true_of_the_values(
            values in prop::collection::vec(1u64..50_000_000_000, 1..400)
        ) {
            let mut times = Times::new();
            values.iter().for_each(|ns| times.record(*ns));
            let mut sorted: Vec<u64> =
                values.iter().map(|ns| times.histogram().highest_equivalent(*ns)).collect();
            sorted.sort_unstable();
            let steps = steps(&times);
            for pair in steps.windows(2) {
                prop_assert!(pair[0].percent < pair[1].percent && pair[0].ns <= pair[1].ns);
            }
            for step in &steps {
                let at_most = sorted.partition_point(|ns| *ns <= step.ns);
                prop_assert_eq!(at_most as u64, step.count);
                let below = sorted.partition_point(|ns| *ns < step.ns);
                let share = |count: usize| 100.0 * count as f64 / sorted.len() as f64;
                // the value has the percentile, and no lower value has
                prop_assert!(share(at_most) >= step.percent);
                prop_assert!(below == 0 || share(below) < step.percent);
            }
            let last = steps.last().map(|step| (step.percent, step.ns));
            prop_assert_eq!(last, Some((100.0, sorted[sorted.len() - 1])));
        }
    }
}
