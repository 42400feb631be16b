//! From values to places on an axis: transforms, where the labels stand, and what they say.
//!
//! An axis works in its own linear space: a value is put there by [`Scale::place`], and labels are
//! written from the value that they stand for.

use super::{Axis, Kind};

/// The most labels of a linear axis.
const TICKS_MAX: f64 = 7.0;
/// Quantiles past this are drawn at it: nothing has been counted that could tell them apart.
const QUANTILE_MAX: f64 = 1.0 - 1e-9;

/// How the values of an axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The number alone; thousands as k, millions as M.
    Plain,
    /// Nanoseconds, written as ns, µs, ms or s.
    Nanoseconds,
    /// Seconds, as the number alone.
    Seconds,
    /// A share of one, written in per cent.
    Percent,
    /// Bytes, written with KiB, MiB, GiB.
    Bytes,
    /// The number and this after it: `/s`, ` µs`, `×`.
    Custom(&'static str),
}

/// An axis with its range settled.
#[derive(Clone)]
pub(super) struct Scale {
    kind: Kind,
    unit: Unit,
    /// In the axis' own space.
    pub(super) from: f64,
    pub(super) to: f64,
    /// Labelled places, in the axis' own space, with their text.
    pub(super) labels: Vec<(f64, String)>,
    /// Places of faint lines.
    pub(super) faint: Vec<f64>,
}

/// A time as a person reads it: three digits and a unit. `1.25 ms`, `40 µs`, `2.5 s`.
pub fn nanoseconds(value: f64) -> String {
    let (factor, unit) = match value.abs() {
        size if size >= 999.5e6 => (1e9, "s"),
        size if size >= 999.5e3 => (1e6, "ms"),
        size if size >= 999.5 => (1e3, "µs"),
        _ => (1.0, "ns"),
    };
    format!("{} {unit}", digits(value / factor))
}

/// Three significant digits at most, no zeros after a point; whole thousands stay whole.
pub(super) fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0" } else { "–" }.into();
    }
    let whole = value.abs().log10().floor() as i32 + 1;
    let places = (3 - whole).clamp(0, 9) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').into()
    } else {
        text
    }
}

// === impl Unit ===

impl Unit {
    /// A value with its unit.
    pub fn write(self, value: f64) -> String {
        match self {
            Unit::Nanoseconds if value == 0.0 => "0".into(),
            Unit::Nanoseconds => nanoseconds(value),
            Unit::Seconds => digits(value),
            Unit::Percent => format!("{} %", digits(value * 100.0)),
            Unit::Plain => thousands(value),
            Unit::Custom(after) => format!("{}{after}", thousands(value)),
            Unit::Bytes => {
                let (factor, unit) = match value.abs() {
                    size if size >= 1_073_741_824.0 => (1_073_741_824.0, "GiB"),
                    size if size >= 1_048_576.0 => (1_048_576.0, "MiB"),
                    size if size >= 1_024.0 => (1_024.0, "KiB"),
                    _ => (1.0, "B"),
                };
                format!("{} {unit}", digits(value / factor))
            }
        }
    }

    /// The base of round numbers: bytes are counted in powers of two.
    fn base(self) -> f64 {
        if self == Unit::Bytes { 2.0 } else { 10.0 }
    }
}

fn thousands(value: f64) -> String {
    match value.abs() {
        size if size >= 1e9 => format!("{}G", digits(value / 1e9)),
        size if size >= 1e6 => format!("{}M", digits(value / 1e6)),
        size if size >= 1e4 => format!("{}k", digits(value / 1e3)),
        _ => digits(value),
    }
}

// === impl Scale ===

impl Scale {
    /// Settles the range of an axis over the values that it shows. `None` when there are none.
    pub(super) fn over(
        axis: &Axis,
        values: impl Iterator<Item = f64> + Clone,
        bars: bool,
    ) -> Option<Self> {
        let mut scale = Self {
            kind: axis.kind.clone(),
            unit: axis.unit,
            from: 0.0,
            to: 1.0,
            labels: Vec::new(),
            faint: Vec::new(),
        };
        let given = axis.range.map(|(from, to)| [from, to]);
        let shown = values.filter_map(|value| scale.place(value));
        let (mut low, mut high) = match given {
            Some(range) => {
                shown.clone().next()?;
                (scale.place(range[0])?, scale.place(range[1])?)
            }
            None => shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| {
                (low.min(at), high.max(at))
            }),
        };
        if low > high {
            return None;
        }
        match &axis.kind {
            Kind::Categories(names) => (low, high) = (-0.5, names.len().max(1) as f64 - 0.5),
            Kind::Percentile => low = if given.is_some() { low } else { 0.0 },
            Kind::Linear if given.is_none() => {
                let near_zero = low >= 0.0 && low < 0.5 * high;
                if bars || axis.from_zero || near_zero {
                    (low, high) = (low.min(0.0), high.max(0.0));
                }
            }
            Kind::Linear | Kind::Log => {}
        }
        if high - low < f64::EPSILON * high.abs().max(1.0) {
            (low, high) = scale.around(low);
        }
        (scale.from, scale.to) = (low, high);
        match &axis.kind {
            Kind::Linear => scale.linear_labels(given.is_some()),
            Kind::Log => scale.log_labels(given.is_some()),
            Kind::Percentile => scale.percentile_labels(),
            Kind::Categories(names) => {
                let named = names.iter().enumerate();
                scale.labels = named.map(|(at, name)| (at as f64, name.clone())).collect();
            }
        }
        Some(scale)
    }

    /// Where a value stands in the axis' own space; `None` where it has no place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        let at = match self.kind {
            Kind::Linear | Kind::Categories(_) => value,
            Kind::Log if value > 0.0 => value.log10(),
            Kind::Log => return None,
            Kind::Percentile if (0.0..1.0).contains(&value) => {
                -(1.0 - value.min(QUANTILE_MAX)).log10()
            }
            Kind::Percentile => return None,
        };
        at.is_finite().then_some(at)
    }

    /// What is written at a place; empty where nothing is.
    pub(super) fn label_at(&self, place: f64) -> String {
        let near = (self.to - self.from).abs() * 1e-6;
        let found = self.labels.iter().find(|(at, _)| (at - place).abs() < near);
        found.map(|(_, text)| text.clone()).unwrap_or_default()
    }

    /// A range around one single value.
    fn around(&self, at: f64) -> (f64, f64) {
        match self.kind {
            Kind::Log | Kind::Percentile => (at - 0.5, at + 0.5),
            _ if at == 0.0 => (0.0, 1.0),
            _ => (at.min(0.0), at.max(0.0) * 1.25),
        }
    }

    fn linear_labels(&mut self, exact: bool) {
        let step = round_step((self.to - self.from) / TICKS_MAX, self.unit.base());
        if !exact {
            self.from = (self.from / step).floor() * step;
            self.to = (self.to / step).ceil() * step;
        }
        let first = (self.from / step).ceil() as i64;
        let last = ((self.to / step) + 1e-9).floor() as i64;
        let unit = self.unit;
        self.labels = (first..=last)
            .map(|index| index as f64 * step)
            .map(|at| (at, unit.write(at)))
            .collect();
    }

    fn log_labels(&mut self, exact: bool) {
        if !exact && self.to - self.from < 1.0 {
            // less than a factor of ten: labels at 1, 2, 5 need some room around
            (self.from, self.to) = (self.from - 0.1, self.to + 0.1);
        }
        let decades = self.to - self.from;
        let steps: &[f64] = match decades {
            wide if wide > 4.0 => &[1.0],
            wide if wide > 1.6 => &[1.0, 3.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        };
        let exponents = self.from.floor() as i32..=self.to.ceil() as i32;
        let inside = |at: &f64| (self.from - 1e-9..=self.to + 1e-9).contains(at);
        self.labels = exponents
            .clone()
            .flat_map(|exponent| {
                let tens = 10f64.powi(exponent);
                steps.iter().map(move |step| step * tens)
            })
            .map(|value| (value.log10(), self.unit.write(value)))
            .filter(|(at, _)| inside(at))
            .collect();
        self.faint = exponents
            .flat_map(|exponent| {
                (1..10).map(move |step| f64::from(step).log10() + f64::from(exponent))
            })
            .filter(inside)
            .collect();
    }

    fn percentile_labels(&mut self) {
        let nines = (1..=8).map(f64::from);
        let mut labels = vec![
            (0.0, "0 %".to_owned()),
            (0.5f64.log10().abs(), "50 %".to_owned()),
        ];
        labels.extend(nines.map(|at| {
            let share = 100.0 * (1.0 - 10f64.powf(-at));
            let places = (at as usize).saturating_sub(2);
            (at, format!("{share:.places$} %"))
        }));
        labels.retain(|(at, _)| (self.from - 1e-9..=self.to + 1e-9).contains(at));
        self.labels = labels;
    }
}

/// The next of 1, 2, 5 × 10ⁿ (or of 2ⁿ) at or above a step.
fn round_step(step: f64, base: f64) -> f64 {
    if base == 2.0 {
        return 2f64.powf(step.log2().ceil());
    }
    let tens = 10f64.powf(step.log10().floor());
    let choice = [1.0, 2.0, 5.0, 10.0].into_iter();
    tens * choice
        .filter(|factor| factor * tens >= step * (1.0 - 1e-9))
        .fold(10.0, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis, values: &[f64]) -> Vec<String> {
        let scale = Scale::over(&axis, values.iter().copied(), false).unwrap();
        scale.labels.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn times_are_written_with_three_digits_and_a_fitting_unit() {
        let cases = [
            (40_000.0, "40 µs"),
            (1_250_000.0, "1.25 ms"),
            (999_600.0, "1 ms"),
            (2.5e9, "2.5 s"),
            (123.0, "123 ns"),
            (1.5, "1.5 ns"),
        ];
        for (value, text) in cases {
            assert_eq!(nanoseconds(value), text);
        }
        assert_eq!(Unit::Plain.write(25_000.0), "25k");
        assert_eq!(Unit::Bytes.write(65_536.0), "64 KiB");
        assert_eq!(Unit::Percent.write(0.125), "12.5 %");
        assert_eq!(Unit::Custom("/s").write(2_000_000.0), "2M/s");
    }

    #[test]
    fn labels_are_round_and_cover_what_is_shown() {
        let linear = labels(Axis::linear("", Unit::Plain), &[3.0, 97.0]);
        assert_eq!(linear, ["0", "20", "40", "60", "80", "100"]);
        let times = labels(Axis::log("", Unit::Nanoseconds), &[1e3, 1e9]);
        assert_eq!(
            times,
            ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
        );
        let shares = labels(Axis::percentile(""), &[0.0, 0.9999]);
        assert_eq!(shares, ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn what_has_no_place_is_left_out() {
        let log = Axis::log("", Unit::Plain);
        assert!(Scale::over(&log, [0.0, -1.0, f64::NAN].into_iter(), false).is_none());
        let scale = Scale::over(&log, [0.0, 10.0, 1000.0].into_iter(), false).unwrap();
        assert_eq!((scale.from, scale.to), (1.0, 3.0));
        let one = Scale::over(&Axis::linear("", Unit::Plain), [5.0].into_iter(), false).unwrap();
        assert!(one.from <= 0.0 && one.to > 5.0);
    }
}
