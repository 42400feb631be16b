//! Questions to a fitted model, and where it keeps silent.

use std::collections::BTreeMap;

use super::fit::{Load, Model, Refusal};
use super::queue::Servers;
use super::usl::Usl;

/// Answers reach at most this many times the most cores that were measured.
const CORES_FACTOR_MAX: u32 = 4;

/// A part that is this busy is as good as full.
const FULL: f64 = 1.0;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// Requests a second.
    pub rate: f64,
    /// Share of the requests, such as 0.99.
    pub quantile: f64,
    /// Within so many seconds.
    pub bound_s: f64,
    /// Capacity may be taken to grow with cores where that was not measured.
    pub linear: bool,
}

/// So many cores do it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Needed {
    /// The cores.
    pub servers: Servers,
    /// How busy they are at that rate.
    pub utilisation: f64,
    /// The quantile of the latency at that rate.
    pub latency_s: f64,
    /// The most requests a second with which these cores stay within the bound.
    pub rate_max: f64,
    /// Capacity was taken to grow with cores, because that was not measured.
    pub assumed: bool,
}

/// What fills up first.
#[derive(Debug, Clone, PartialEq)]
pub enum Bottleneck {
    /// The part that is full at the lowest rate, and that rate; from measured busy shares.
    Part {
        /// Its name.
        name: String,
        /// Requests a second.
        full_at: f64,
    },
    /// By the law over requests in flight: something has a queue, the cores or what stands before
    /// them.
    Contention,
    /// By the same law: what those in flight cost each other.
    Coherency,
    /// Nothing shows but the cores themselves.
    Cores,
}

/// The fewest cores that do what is asked.
pub fn cores_needed(model: &Model, question: &Question) -> Result<Needed, Refusal> {
    let measured: Vec<u32> = model.service_s.keys().copied().collect();
    let most = measured.iter().copied().max().unwrap_or(0);
    let alone = Servers {
        count: 1,
        service_s: f64::MIN_POSITIVE,
        variability: 0.0,
    };
    let floor = alone.latency_s(&model.unloaded, 0.0, question.quantile);
    if floor > question.bound_s {
        return Err(Refusal(format!(
            "no number of cores: with nobody waiting at all, {:.0} % of the requests take up to \
             {:.1} ms",
            100.0 * question.quantile,
            1e3 * floor
        )));
    }
    let mut silent = Vec::new();
    for cores in 1..=most * CORES_FACTOR_MAX {
        let Some(servers) = model.servers(cores, question.linear) else {
            silent.push(cores);
            continue;
        };
        let latency_s = servers.latency_s(&model.unloaded, question.rate, question.quantile);
        if latency_s > question.bound_s {
            continue;
        }
        let rate_max = servers.rate_within(&model.unloaded, question.quantile, question.bound_s);
        return Ok(Needed {
            servers,
            utilisation: servers.utilisation(question.rate),
            latency_s,
            rate_max: rate_max.unwrap_or(0.0),
            assumed: model.scaling.is_none() && !model.service_s.contains_key(&cores),
        });
    }
    Err(Refusal(match silent.is_empty() {
        false => format!(
            "not with the {} cores that were measured, and what more would bring was not measured: \
             give runs with at least three numbers of cores, or say --assume-linear",
            most
        ),
        true => match model.scaling.and_then(|law| law.peak()) {
            Some(peak) if peak < f64::from(most * CORES_FACTOR_MAX) => format!(
                "no number of cores: past {peak:.0} of them more bring less (coherency), and these \
                 carry {:.0} a second at most",
                model.scaling.map_or(0.0, |law| law.ceiling())
            ),
            _ => format!(
                "not with {} cores, {CORES_FACTOR_MAX} times what was measured; further than that \
                 these runs tell nothing",
                most * CORES_FACTOR_MAX
            ),
        },
    }))
}

/// What fills up first, from the busy shares where they are given, else from the shape of the
/// throughput over the requests in flight.
pub fn bottleneck(loads: &[Load]) -> (Bottleneck, BTreeMap<String, f64>) {
    let cores = loads.iter().map(|load| load.cores).max().unwrap_or(0);
    let loads: Vec<&Load> = loads.iter().filter(|load| load.cores == cores).collect();
    let mut full_at = BTreeMap::new();
    let names: Vec<&String> = loads.iter().flat_map(|load| load.busy.keys()).collect();
    for name in names {
        let points = loads
            .iter()
            .filter_map(|load| Some((load.completed, *load.busy.get(name)?)));
        let (product, square) = points.fold((0.0, 0.0), |(product, square), (rate, busy)| {
            (product + rate * busy, square + rate * rate)
        });
        if product > 0.0 {
            full_at.insert(name.clone(), FULL * square / product);
        }
    }
    let first = full_at.iter().min_by(|a, b| a.1.total_cmp(b.1));
    if let Some((name, &at)) = first {
        let part = Bottleneck::Part {
            name: name.clone(),
            full_at: at,
        };
        return (part, full_at);
    }
    let law = in_flight(&loads);
    let shape = law.map_or(Bottleneck::Cores, |law| {
        let busiest = loads
            .iter()
            .map(|load| load.in_flight())
            .fold(1.0, f64::max);
        let contention = law.sigma * (busiest - 1.0);
        let coherency = law.kappa * busiest * (busiest - 1.0);
        match (contention, coherency) {
            (contention, coherency) if contention + coherency < 0.1 => Bottleneck::Cores,
            (contention, coherency) if coherency > contention => Bottleneck::Coherency,
            _ => Bottleneck::Contention,
        }
    });
    (shape, full_at)
}

/// The law over the requests in flight, which Little's law gives: throughput × latency.
pub fn in_flight(loads: &[&Load]) -> Option<Usl> {
    let points: Vec<(f64, f64)> = loads
        .iter()
        .map(|load| (load.in_flight(), load.completed))
        .collect();
    Usl::fit(&points)
}
