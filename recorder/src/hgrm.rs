//! A distribution of times as text that HdrHistogram's plotters read (`.hgrm`): by percentile, five
//! steps for each halving of what is left to 100 %.
//!
//! Values are nanoseconds inside the histogram and milliseconds in the text. It stands in this crate
//! because the gateway and the load generator both write such files, and both know this library.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Percentiles for each halving of the distance to 100 %, as the Java tool has by default.
const TICKS_PER_HALVING: u64 = 5;
/// Values are shown in milliseconds.
const NS_PER_SHOWN: f64 = 1e6;
/// Digits after the point of a value: as many as the histograms have significant ones.
const VALUE_PLACES: usize = 3;

/// A distribution by percentile, in milliseconds, byte for byte as Java's
/// `outputPercentileDistribution(out, 5, 1000000.0)` writes it.
pub fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    for step in steps(histogram) {
        let value = half_up(step.ns as f64 / NS_PER_SHOWN, VALUE_PLACES);
        let share = half_up(step.percent / 100.0, 12);
        let _ = write!(text, "{value:>12} {share} {:>10}", step.count); // into a String
        if step.percent < 100.0 {
            let left = half_up(1.0 / (1.0 - step.percent / 100.0), 2);
            let _ = write!(text, " {left:>14}");
        }
        text.push('\n');
    }
    let (mean, deviation) = mean_and_deviation(histogram);
    let shown = |ns: f64| half_up(ns / NS_PER_SHOWN, VALUE_PLACES);
    let max = if histogram.is_empty() {
        0
    } else {
        histogram.max()
    };
    let _ = write!(
        text,
        "#[Mean    = {:>12}, StdDeviation   = {:>12}]\n\
         #[Max     = {:>12}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]\n",
        shown(mean),
        shown(deviation),
        shown(max as f64),
        histogram.len(),
        histogram.buckets(),
        sub_buckets(histogram.sigfig()),
    );
    text
}

/// Values that were counted, ascending, each with its count: one for each bucket in use, given as
/// the highest value that counts as the same.
fn counted(histogram: &Histogram<u64>) -> impl Iterator<Item = (u64, u64)> + '_ {
    let steps = histogram.iter_recorded();
    steps.map(|step| (step.value_iterated_to(), step.count_at_value()))
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
fn steps(histogram: &Histogram<u64>) -> Vec<Step> {
    let total = histogram.len();
    let mut steps = Vec::new();
    let (mut count, mut percent) = (0, 0.0f64);
    for (ns, here) in counted(histogram) {
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
fn mean_and_deviation(histogram: &Histogram<u64>) -> (f64, f64) {
    if histogram.is_empty() {
        return (0.0, 0.0);
    }
    let middle = |ns| histogram.median_equivalent(ns) as f64;
    let total = histogram.len() as f64;
    let sum = |of: &dyn Fn(f64) -> f64| -> f64 {
        let parts = counted(histogram).map(|(ns, count)| of(middle(ns)) * count as f64);
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
            let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).unwrap();
            values.iter().for_each(|ns| times.record(*ns).unwrap());
            let mut sorted: Vec<u64> =
                values.iter().map(|ns| times.highest_equivalent(*ns)).collect();
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
