//! The two text files of HdrHistogram, as its Java tools write and read them.
//!
//! `.hgrm` is one distribution by percentile ([`penstock_recorder::hgrm`]). `.hlog` is a log of whole histograms, one line for each slot,
//! metric and series, with a tag such as `ttft.intended`; `HistogramLogProcessor` and its like read
//! it. Values are in nanoseconds inside the histograms, and in milliseconds where a text shows them.

use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::machine::Moment;
use crate::outcome::{Basis, Metric, Outcome, Times};

/// Values are shown in milliseconds.
const NS_PER_SHOWN: f64 = 1e6;

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

/// A distribution by percentile, in milliseconds, as Java's HdrHistogram writes it.
pub fn hgrm(times: &Times) -> String {
    penstock_recorder::hgrm::text(times.histogram())
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
