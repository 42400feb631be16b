//! Pictures of the overview, as SVG in the page: classes for colour and dash, so that the style
//! sheet gives them light and dark; nothing else is in them but numbers of ours. Each has its
//! figures as text beside it, for whoever does not see it.

use hdrhistogram::Histogram;
use maud::{Markup, html};

use super::page::digits;
use super::rates::Rate;

/// Units of the drawing area, across and down.
const WIDE: f64 = 640.0;
const HIGH: f64 = 150.0;
/// Room for what is written at the left and below.
const LEFT: f64 = 52.0;
const BELOW: f64 = 22.0;
/// Steps of a histogram in each power of ten.
const STEPS: usize = 8;
/// From a microsecond to a hundred seconds.
const DECADES: usize = 8;
const FIRST_NS: f64 = 1e3;
/// How far back the rates go, in seconds.
const SPAN_S: f64 = 900.0;

/// One line of the picture of rates.
struct Line {
    class: &'static str,
    read: fn(&Rate) -> f64,
}

const LINES: [Line; 3] = [
    Line {
        class: "line-a",
        read: |rate| rate.requests,
    },
    Line {
        class: "line-b",
        read: |rate| rate.refused,
    },
    Line {
        class: "line-c",
        read: |rate| rate.failed,
    },
];

/// Calls a second over the last quarter of an hour.
pub(super) fn rates(rates: &[Rate]) -> Markup {
    let highest = rates
        .iter()
        .map(|rate| rate.requests.max(rate.refused))
        .fold(0.0, f64::max);
    let top = ceiling(highest);
    let x = |ago_s: f64| LEFT + (WIDE - LEFT) * (1.0 - (ago_s / SPAN_S).min(1.0));
    let y = |value: f64| HIGH * (1.0 - value / top);
    let points = |line: &Line| {
        let point = |rate: &Rate| format!("{:.1},{:.1}", x(rate.ago_s), y((line.read)(rate)));
        rates.iter().map(point).collect::<Vec<_>>().join(" ")
    };
    html! {
        svg.chart.rates viewBox=(format!("0 -8 {WIDE} {}", HIGH + BELOW + 8.0)) role="img"
            aria-label="Calls a second over the last 15 minutes" {
            @for part in [0.0, 0.5, 1.0] {
                line.grid x1=(LEFT) x2=(WIDE) y1=(y(top * part)) y2=(y(top * part)) {}
                text.tick x=(LEFT - 8.0) y=(y(top * part) + 4.0) text-anchor="end" { (number(top * part)) }
            }
            @for minutes in [15, 10, 5, 0] {
                @let at = x(f64::from(minutes) * 60.0);
                @let anchor = match minutes { 15 => "start", 0 => "end", _ => "middle" };
                text.tick x=(at) y=(HIGH + 17.0) text-anchor=(anchor) {
                    @if minutes == 0 { "now" } @else { "−" (minutes) " min" }
                }
            }
            @for line in &LINES {
                polyline class=(line.class) points=(points(line)) {}
            }
        }
    }
}

/// How often a phase took how long, on a logarithmic axis.
pub(super) fn distribution(name: &str, histogram: &Histogram<u64>) -> Markup {
    let mut bars = [0u64; STEPS * DECADES];
    for recorded in histogram.iter_recorded() {
        let value = recorded.value_iterated_to() as f64;
        let step = ((value / FIRST_NS).log10() * STEPS as f64).floor();
        // Between zero and the last bar, whatever was recorded.
        let step = step.clamp(0.0, (bars.len() - 1) as f64) as usize;
        bars[step] += recorded.count_since_last_iteration();
    }
    let highest = bars.iter().copied().max().unwrap_or(0).max(1) as f64;
    let wide = WIDE / bars.len() as f64;
    let x_of = |ns: f64| {
        let decades = (ns.max(FIRST_NS) / FIRST_NS).log10();
        WIDE * (decades / DECADES as f64).min(1.0)
    };
    let marks = [("50 %", 0.5), ("99 %", 0.99)];
    html! {
        svg.chart viewBox=(format!("0 -18 {WIDE} {}", HIGH + BELOW + 18.0)) role="img"
            aria-label=(format!("Distribution of the phase {name}")) {
            @for (index, label) in ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"].iter().enumerate() {
                @let at = WIDE * index as f64 / DECADES as f64;
                line.grid x1=(at) x2=(at) y1="0" y2=(HIGH) {}
                text.tick x=(at + 3.0) y=(HIGH + 17.0) { (label) }
            }
            @for (index, bar) in bars.iter().enumerate().filter(|(_, bar)| **bar > 0) {
                // What is there is seen, however rare.
                @let high = (HIGH * *bar as f64 / highest).max(2.0);
                rect.bar x=(index as f64 * wide + 0.5) y=(HIGH - high) width=(wide - 1.0) height=(high) {}
            }
            @if !histogram.is_empty() {
                @for (label, quantile) in marks {
                    @let at = x_of(histogram.value_at_quantile(quantile) as f64);
                    @let near_end = at > WIDE - 60.0;
                    line.mark-line x1=(at) x2=(at) y1="-4" y2=(HIGH) {}
                    text.tick.mark-name x=(if near_end { at - 4.0 } else { at + 4.0 }) y="-6"
                        text-anchor=(if near_end { "end" } else { "start" }) { (label) }
                }
            }
        }
    }
}

/// The next number that reads well.
fn ceiling(value: f64) -> f64 {
    if value <= 1.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let fits = steps.into_iter().find(|step| step * power >= value);
    fits.unwrap_or(10.0) * power
}

fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v >= 1000.0 => format!(
            "{} k",
            digits(v / 1000.0)
                .trim_end_matches('0')
                .trim_end_matches('.')
        ),
        v if v.fract() == 0.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_numbers_that_read_well() {
        for (value, top) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (3.0, 5.0),
            (10.0, 10.0),
            (11.0, 20.0),
            (900.0, 1000.0),
        ] {
            assert!((ceiling(value) - top).abs() < 1e-9, "{value}");
        }
        assert_eq!(
            [number(0.0), number(0.5), number(20.0), number(2000.0)],
            ["0", "0.5", "20", "2 k"]
        );
    }

    #[test]
    fn every_recorded_value_is_in_the_picture() {
        let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 2).unwrap();
        for value in [1, 5_000, 5_000_000, 3_000_000_000_000] {
            histogram.record(value).unwrap();
        }
        let drawn = distribution("total", &histogram).into_string();
        assert_eq!(drawn.matches("<rect").count(), 4, "{drawn}");
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
        let nothing = Histogram::new_with_bounds(1, 1000, 2).unwrap();
        assert!(
            !distribution("hold", &nothing)
                .into_string()
                .contains("<rect")
        );
    }
}
