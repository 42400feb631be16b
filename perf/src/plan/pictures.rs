//! The model as pictures: what was measured, and the curve through it.

use penstock_loadgen::chart::{Axis, Chart, Color, Series, Unit};

use super::answer::{Needed, in_flight};
use super::fit::{Load, Model};
use super::runs::Target;
use crate::error::{Error, Result};

/// Points of a curve.
const STEPS: u32 = 200;

/// Curves end here, where waits have become all there is.
const UTILISATION_DRAWN: f64 = 0.98;

/// A picture and its file's name.
pub type Picture = (&'static str, String);

/// Everything that there is to draw.
pub fn draw(
    loads: &[Load],
    model: &Model,
    target: &Target,
    needed: Option<&Needed>,
) -> Result<Vec<Picture>> {
    let mut pictures = vec![("latency.svg", latency(loads, model, target, needed)?)];
    let most = loads.iter().map(|load| load.cores).max().unwrap_or(0);
    let of_most: Vec<&Load> = loads.iter().filter(|load| load.cores == most).collect();
    pictures.push(("throughput.svg", throughput(&of_most)?));
    if model.service_s.len() > 1 {
        pictures.push(("cores.svg", capacity(model)?));
    }
    Ok(pictures)
}

/// The quantile over the rate: points for runs, a line for the model, one colour a number of cores.
fn latency(
    loads: &[Load],
    model: &Model,
    target: &Target,
    needed: Option<&Needed>,
) -> Result<String> {
    const COLORS: [Color; 6] = [
        Color::Blue,
        Color::Orange,
        Color::Green,
        Color::Purple,
        Color::Teal,
        Color::Brown,
    ];
    let percentile = format!("p{}", 100.0 * target.quantile);
    let mut chart = Chart::new(format!("{} {percentile} by load", target.metric.title()))
        .subtitle("points: measured; lines: the model (M/G/k)")
        .x(Axis::linear("requests a second", Unit::Plain).from_zero())
        .y(Axis::log(
            format!("{percentile}, {}", target.metric),
            Unit::Nanoseconds,
        ));
    let mut all: Vec<_> = model
        .service_s
        .keys()
        .filter_map(|&cores| model.servers(cores, false))
        .collect();
    if let Some(needed) = needed
        && !model.service_s.contains_key(&needed.servers.count)
    {
        all.push(needed.servers);
    }
    for (servers, color) in all.iter().zip(COLORS.into_iter().cycle()) {
        let points = (0..=STEPS).map(|step| {
            let share = UTILISATION_DRAWN * f64::from(step) / f64::from(STEPS);
            let rate = servers.capacity() * share;
            let seconds = servers.latency_s(&model.unloaded, rate, target.quantile);
            (rate, 1e9 * seconds)
        });
        let plural = if servers.count == 1 { "core" } else { "cores" };
        let name = format!("{} {plural}", servers.count);
        let mut line = Series::line(name.clone(), points).color(color);
        if !model.service_s.contains_key(&servers.count) {
            line = line.dashed();
        }
        let measured: Vec<(f64, f64)> = loads
            .iter()
            .filter(|load| load.cores == servers.count)
            .map(|load| (load.rate, 1e9 * load.quantile_s(target.quantile)))
            .collect();
        chart = chart.series(line);
        if !measured.is_empty() {
            let points = Series::points(format!("{name}, measured"), measured);
            chart = chart.series(points.color(color));
        }
    }
    finish(chart.mark_y(1e9 * target.bound_s, "objective"))
}

/// Completions over requests in flight, and the law through them.
fn throughput(loads: &[&Load]) -> Result<String> {
    let measured: Vec<(f64, f64)> = loads
        .iter()
        .map(|load| (load.in_flight(), load.completed))
        .filter(|(in_flight, _)| *in_flight > 0.0)
        .collect();
    let most = measured.iter().map(|(n, _)| *n).fold(0.0, f64::max);
    let least = measured.iter().map(|(n, _)| *n).fold(most, f64::min);
    let mut chart = Chart::new("Throughput by requests in flight")
        .subtitle("in flight = throughput × mean latency (Little); line: Universal Scalability Law")
        // A saturated run has thousands where the others have a few.
        .x(Axis::log("requests in flight", Unit::Plain))
        .y(Axis::linear("completions a second", Unit::Plain).from_zero());
    if let Some(law) = in_flight(loads) {
        let points = (0..=STEPS).map(|step| {
            let n = least * (most / least).powf(f64::from(step) / f64::from(STEPS));
            (n, law.throughput(n))
        });
        chart = chart.series(Series::line("the law", points).color(Color::Blue));
    }
    finish(chart.series(Series::points("measured", measured).color(Color::Orange)))
}

/// Capacity over cores, and the law through it where there is one.
fn capacity(model: &Model) -> Result<String> {
    let measured: Vec<(f64, f64)> = model
        .service_s
        .iter()
        .map(|(&cores, s)| (f64::from(cores), f64::from(cores) / s))
        .collect();
    let most = measured.iter().map(|(n, _)| *n).fold(1.0, f64::max);
    let mut chart = Chart::new("Capacity by cores")
        .subtitle("requests a second at which every core is always busy")
        .x(Axis::linear("cores", Unit::Plain).from_zero())
        .y(Axis::linear("requests a second", Unit::Plain).from_zero());
    if let Some(law) = model.scaling {
        let points = (0..=STEPS).map(|step| {
            let cores = 1.0 + (2.0 * most - 1.0) * f64::from(step) / f64::from(STEPS);
            (cores, law.throughput(cores))
        });
        chart = chart.series(Series::line("Universal Scalability Law", points).color(Color::Blue));
    }
    finish(chart.series(Series::points("fitted to the runs", measured).color(Color::Orange)))
}

fn finish(chart: Chart) -> Result<String> {
    chart
        .svg()
        .map_err(|error| Error::Unable(format!("drawing: {error}")))
}
