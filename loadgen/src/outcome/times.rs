//! A histogram of times that goes into JSON as HdrHistogram's own compressed form.
//!
//! Nanoseconds from 1 to an hour with three significant digits; what is longer is counted as an
//! hour. The text form is base64 of the V2 compressed encoding, as in `.hlog` files: the Java, Go,
//! C and Python libraries of HdrHistogram read it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The longest time that is told apart: an hour.
pub const TIME_NS_MAX: u64 = 3_600_000_000_000;
/// Significant digits of a time.
pub const DIGITS: u8 = 3;
/// The longest encoded histogram that is read: far more than one with every bucket in use.
const ENCODED_BYTES_MAX: usize = 4 << 20;

/// Times in nanoseconds, counted.
#[derive(Clone, PartialEq)]
pub struct Times(Histogram<u64>);

/// A histogram that nothing is added to any more, as its buckets in use only: a run has hundreds of
/// them, and most have few values. In JSON it looks as [`Times`] do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactTimes(Vec<(u64, u64)>);

/// Why a text is no histogram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no compressed HdrHistogram in base64: {0}")]
pub struct TimesError(String);

// === impl Times ===

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

impl Times {
    /// An empty one.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, TIME_NS_MAX, DIGITS);
        // 1 ≤ low, 2 × low ≤ high, digits ≤ 5: the only conditions there are
        Self(histogram.unwrap_or_else(|error| unreachable!("constant bounds: {error}")))
    }

    /// Counts one time; cheap, and never fails.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Counts a time so many times.
    pub fn record_n(&mut self, ns: u64, count: u64) {
        self.0.saturating_record_n(ns, count);
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Times) {
        if let Err(error) = self.0.add(&other.0) {
            unreachable!("both have the same bounds: {error}"); // made by new() or decode()
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least value that at least this share (0 to 1) of all is at or below; 0 of nothing.
    pub fn quantile(&self, share: f64) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.0.value_at_quantile(share).min(self.0.max())
    }

    /// Their mean; 0 of nothing.
    pub fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// The histogram itself.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Values that were counted, ascending, each with its count: one for each bucket in use, given
    /// as the highest value that counts as the same.
    pub fn counted(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let steps = self.0.iter_recorded();
        steps.map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// As base64 of the compressed V2 encoding.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = V2DeflateSerializer::new().serialize(&self.0, &mut bytes) {
            unreachable!("writing into memory: {error}");
        }
        STANDARD.encode(bytes)
    }

    /// Reads what [`Times::encode`] or another HdrHistogram library wrote, for any bounds.
    pub fn decode(text: &str) -> Result<Self, TimesError> {
        if text.len() > ENCODED_BYTES_MAX {
            return Err(TimesError(format!("{} bytes long", text.len())));
        }
        let bytes = STANDARD.decode(text.trim());
        let bytes = bytes.map_err(|error| TimesError(error.to_string()))?;
        let read: Result<Histogram<u64>, _> =
            Deserializer::new().deserialize(&mut std::io::Cursor::new(&bytes));
        let read = read.map_err(|error| TimesError(error.to_string()))?;
        let mut times = Self::new();
        for step in read.iter_recorded() {
            times.record_n(step.value_iterated_to(), step.count_at_value());
        }
        Ok(times)
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Times({} values, at most {} ns)",
            self.count(),
            self.0.max()
        )
    }
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        Times::decode(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Times {
    fn schema_name() -> Cow<'static, str> {
        "Times".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "contentEncoding": "base64",
            "pattern": "^[A-Za-z0-9+/]+={0,2}$",
            "description": "HdrHistogram of nanoseconds, V2 compressed, as in .hlog files.",
        })
    }
}

// === impl CompactTimes ===

impl CompactTimes {
    /// Values in nanoseconds, ascending, each with its count.
    pub fn counted(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// As a histogram that can be added to.
    pub fn to_times(&self) -> Times {
        let mut times = Times::new();
        for (ns, count) in &self.0 {
            times.record_n(*ns, *count);
        }
        times
    }
}

impl FromIterator<(u64, u64)> for CompactTimes {
    /// Values in nanoseconds, ascending, each with its count.
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(counted: I) -> Self {
        Self(counted.into_iter().collect())
    }
}

impl From<&Times> for CompactTimes {
    fn from(times: &Times) -> Self {
        times.counted().collect()
    }
}

impl Serialize for CompactTimes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_times().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CompactTimes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Times::deserialize(deserializer).map(|times| Self::from(&times))
    }
}

impl JsonSchema for CompactTimes {
    fn schema_name() -> Cow<'static, str> {
        Times::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Times::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_again() {
        let mut times = Times::new();
        for ns in [0, 1, 999, 1_000_003, 59_000_000_000, u64::MAX] {
            times.record(ns);
        }
        times.record_n(5_000, 1_000_000);
        let read = Times::decode(&times.encode()).unwrap();
        assert_eq!(read, times);
        assert!(times.encode().starts_with("HISTFAAA"), "{}", times.encode());
        let longest = read.histogram().max() as f64 / TIME_NS_MAX as f64;
        assert!((1.0..1.001).contains(&longest), "{longest}");
        assert_eq!((Times::new().quantile(0.5), Times::new().mean()), (0, 0.0));
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for text in ["", "HISTFAAA", "not base64!", "AAAAAAAAAAAAAAAA"] {
            assert!(Times::decode(text).is_err(), "{text}");
        }
        let long = "A".repeat(ENCODED_BYTES_MAX + 4);
        assert!(Times::decode(&long).is_err());
    }

    #[test]
    fn quantiles_are_within_three_digits_of_sorted_values() {
        let mut times = Times::new();
        let values: Vec<u64> = (1..=10_000).map(|n| n * n * 37).collect();
        values.iter().for_each(|ns| times.record(*ns));
        for share in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let rank = ((share * values.len() as f64).ceil() as usize).max(1) - 1;
            let (exact, ours) = (values[rank] as f64, times.quantile(share) as f64);
            assert!(
                (ours / exact - 1.0).abs() < 0.001,
                "{share}: {ours} for {exact}"
            );
        }
    }
}
