//! The pictures of a run: latency by percentile and over time, arrival against completion, what was
//! under way, errors.

use super::reading::leading;
use crate::chart::{Axis, Chart, ChartError, Color, Series, Unit};
use crate::outcome::{Basis, Loop, Metric, Outcome, Slot, Times};

/// Width and height where there is room, and on a telephone.
const WIDE: (u32, u32) = (720, 400);
const NARROW: (u32, u32) = (340, 320);
/// Points of a curve by percentile at most.
const CURVE_POINTS: usize = 500;

/// A chart in two sizes, as SVG.
pub struct Picture {
    /// For screens with room.
    pub wide: String,
    /// For narrow ones.
    pub narrow: String,
}

/// Those that an outcome has data for.
pub fn pictures(outcome: &Outcome) -> Result<Vec<Picture>, ChartError> {
    let metric = leading(outcome);
    let mut charts = vec![by_percentile(outcome, metric)];
    if metric != Metric::EndToEnd {
        charts.push(by_percentile(outcome, Metric::EndToEnd));
    }
    charts.push(over_time(outcome, metric));
    charts.push(arrivals(outcome));
    charts.push(under_way(outcome));
    if outcome.errors() > 0 {
        charts.push(errors(outcome));
    }
    let mut drawn = Vec::new();
    for chart in charts {
        match Picture::of(&chart) {
            Ok(picture) => drawn.push(picture),
            Err(ChartError::Empty(_)) => {} // nothing to see, and the tables say so
            Err(error) => return Err(error),
        }
    }
    Ok(drawn)
}

// === impl Picture ===

impl Picture {
    /// Draws a chart in both sizes.
    pub fn of(chart: &Chart) -> Result<Self, ChartError> {
        Ok(Self {
            wide: chart.clone().size(WIDE.0, WIDE.1).svg()?,
            narrow: chart.clone().size(NARROW.0, NARROW.1).svg()?,
        })
    }
}

/// The name of a series in legends.
fn named(basis: Basis) -> &'static str {
    match basis {
        Basis::Intended => "from the intended start",
        Basis::Sent => "from the actual send",
    }
}

fn line(basis: Basis, points: Vec<(f64, f64)>) -> Series {
    let series = Series::line(named(basis), points);
    match basis {
        Basis::Intended => series.color(Color::Blue),
        Basis::Sent => series.color(Color::Orange).dashed(),
    }
}

/// Quantiles of a histogram, as far as single values reach.
pub(super) fn curve(times: &Times) -> Vec<(f64, f64)> {
    let total = times.count() as f64;
    let mut below = 0;
    let mut points = Vec::new();
    for (ns, count) in times.counted() {
        // the share below a bucket and up to its end: a step, as a distribution is
        points.push((below as f64 / total, ns as f64));
        below += count;
        points.push((below as f64 / total, ns as f64));
    }
    points.retain(|(share, _)| *share < 1.0);
    let every = points.len().div_ceil(CURVE_POINTS).max(1);
    let last = points.len().saturating_sub(CURVE_POINTS / 5);
    // the tail is where the eye goes: all of it is kept
    let thinned = points
        .iter()
        .enumerate()
        .filter(|(at, _)| at % every == 0 || *at >= last);
    thinned.map(|(_, point)| *point).collect()
}

fn by_percentile(outcome: &Outcome, metric: Metric) -> Chart {
    let measured = outcome.metrics.get(&metric);
    let mut chart = Chart::new(format!("By percentile: {}", metric.title()))
        .subtitle("how long the slowest were; lower is better")
        .x(Axis::percentile("percentile"))
        .y(Axis::log("", Unit::Nanoseconds));
    for (basis, found) in measured.into_iter().flat_map(|measured| measured.each()) {
        chart = chart.series(line(basis, curve(&found.histogram)));
    }
    chart
}

/// Middles of slots, in seconds from the start, with what a slot has.
fn in_time(outcome: &Outcome, value: impl Fn(&Slot) -> f64) -> Vec<(f64, f64)> {
    let slot_s = outcome.timeline.slot_s;
    let slots = outcome.timeline.slots.iter().enumerate();
    slots
        .map(|(at, slot)| ((at as f64 + 0.5) * slot_s, value(slot)))
        .collect()
}

/// Starts of slots, and the end of the last, so that a step has its whole width.
fn in_steps(outcome: &Outcome, value: impl Fn(&Slot) -> f64) -> Vec<(f64, f64)> {
    let slot_s = outcome.timeline.slot_s;
    let slots = outcome.timeline.slots.iter().enumerate();
    let mut steps: Vec<_> = slots
        .map(|(at, slot)| (at as f64 * slot_s, value(slot)))
        .collect();
    if let Some((at, last)) = steps.last().copied() {
        steps.push((at + slot_s, last));
    }
    steps
}

/// From the start to the end of the last slot.
fn seconds(outcome: &Outcome) -> Axis {
    let end = outcome.timeline.slots.len() as f64 * outcome.timeline.slot_s;
    Axis::linear("seconds since the start", Unit::Seconds).range(0.0, end)
}

fn over_time(outcome: &Outcome, metric: Metric) -> Chart {
    let of = |basis: Basis, p99: bool| {
        in_time(outcome, |slot| {
            let moments = slot
                .metrics
                .get(&metric)
                .and_then(|measured| measured.of(basis));
            moments.map_or(
                f64::NAN,
                |found| if p99 { found.p99_ns } else { found.p50_ns } as f64,
            )
        })
    };
    let mut chart = Chart::new(format!("Over time: {}", metric.title()))
        .subtitle("of the answers that ended in each slot")
        .x(seconds(outcome))
        .y(Axis::log("", Unit::Nanoseconds));
    if outcome.asked.kind == Loop::Open {
        chart = chart
            .series(Series::line("p99, intended", of(Basis::Intended, true)).color(Color::Blue))
            .series(Series::line("p50, intended", of(Basis::Intended, false)).color(Color::Teal));
    }
    chart
        .series(
            Series::line("p99, sent", of(Basis::Sent, true))
                .color(Color::Orange)
                .dashed(),
        )
        .series(
            Series::line("p50, sent", of(Basis::Sent, false))
                .color(Color::Brown)
                .dashed(),
        )
}

fn arrivals(outcome: &Outcome) -> Chart {
    let slot_s = outcome.timeline.slot_s;
    let rate = |count: fn(&Slot) -> u64| in_steps(outcome, move |slot| count(slot) as f64 / slot_s);
    let mut chart = Chart::new("Arrival against completion")
        .subtitle("requests a second; a gap between the lines is work that piles up")
        .x(seconds(outcome))
        .y(Axis::linear("", Unit::Custom("/s")).from_zero());
    if outcome.asked.kind == Loop::Open {
        chart =
            chart.series(Series::step("offered", rate(|slot| slot.intended)).color(Color::Blue));
    }
    chart = chart
        .series(
            Series::step("sent", rate(|slot| slot.started))
                .color(Color::Orange)
                .dashed(),
        )
        .series(Series::step("answered well", rate(|slot| slot.completed)).color(Color::Green));
    if outcome.goodput.is_some() {
        let met = rate(|slot| slot.met);
        chart = chart.series(Series::step("met the objectives", met).color(Color::Purple));
    }
    chart
}

fn under_way(outcome: &Outcome) -> Chart {
    let count = |count: fn(&Slot) -> u64| in_time(outcome, move |slot| count(slot) as f64);
    let mut chart = Chart::new("Under way")
        .subtitle("requests at the end of each slot")
        .x(seconds(outcome))
        .y(Axis::linear("", Unit::Plain).from_zero())
        .series(Series::line("in flight", count(|slot| slot.in_flight)).color(Color::Orange));
    if outcome.asked.kind == Loop::Open {
        let waiting = count(|slot| slot.waiting);
        chart = chart.series(Series::line("due, and not sent yet", waiting).color(Color::Blue));
    }
    chart
}

fn errors(outcome: &Outcome) -> Chart {
    let slot_s = outcome.timeline.slot_s;
    let rate = in_steps(outcome, |slot| slot.errors as f64 / slot_s);
    Chart::new("Errors")
        .subtitle("of all classes, a second")
        .x(seconds(outcome))
        .y(Axis::linear("", Unit::Custom("/s")).from_zero())
        .series(Series::step("", rate).color(Color::Red))
}
