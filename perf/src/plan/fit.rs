//! From measured loads to a model: what a latency is unloaded, what a request costs a server, how
//! variable both are, and what more cores bring.
//!
//! The unknowns are the mean of the unloaded latency `D`, the variability `V`, and for each number
//! of cores `k` the time `s` that one core is busy for one request. Where the busy share of the
//! gateway is given, `s` is measured: busy core-seconds over requests. Where a run was saturated,
//! `s = k / throughput`. Otherwise it is searched for: for a given `s` the model `D + V g(λ)` is
//! linear in `D` and `V`, and what is left of the relative error says which `s` fits best
//! (variable projection, G. Golub and V. Pereyra, 1973). The shape of `D` is that of the lightest
//! run.

use std::collections::BTreeMap;

use super::in_words;
use super::linear;
use super::queue::{Servers, Unloaded};
use super::usl::Usl;

/// Different loads that a fit needs: it has three unknowns.
pub const LOADS_MIN: usize = 4;

/// The busiest run must be at least this busy: below it nothing waits, and nothing is learnt.
pub const UTILISATION_MIN: f64 = 0.3;

/// The lightest run may be at most this busy: its latency stands for that of nobody waiting.
pub const UTILISATION_LIGHT_MAX: f64 = 0.4;

/// A run whose completions fall behind its arrivals by more than this is saturated.
const BEHIND: f64 = 0.05;

/// Guesses of the utilisation of the busiest run.
const GUESSES: u32 = 250;

/// A guess whose error is at most this much above the best could be the truth just as well.
const ERROR_SLACK: f64 = 0.01;

/// The capacities of such guesses may differ by this factor; beyond it the data do not tell.
const CAPACITY_SPREAD_MAX: f64 = 1.6;

/// The name under which the servers' own busy share is given.
pub const GATEWAY: &str = "gateway";

/// One run at one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Where it comes from, for messages.
    pub name: String,
    /// Cores that served it.
    pub cores: u32,
    /// Arrivals a second, as intended.
    pub rate: f64,
    /// Good completions a second.
    pub completed: f64,
    /// Tokens that a good completion brought, on average; 0 when it brought none.
    pub tokens_each: f64,
    /// Seconds and how often they were seen, ascending.
    pub latencies: Vec<(f64, u64)>,
    /// Share of their capacity that parts were busy, by name.
    pub busy: BTreeMap<String, f64>,
}

/// The fitted model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Latency with nobody waiting.
    pub unloaded: Unloaded,
    /// `(Ca² + Cs²) / 2`.
    pub variability: f64,
    /// Seconds that a core is busy for a request, by the number of cores.
    pub service_s: BTreeMap<u32, f64>,
    /// The shortest and longest times that explain the runs about as well, where it was searched for.
    pub service_range_s: BTreeMap<u32, (f64, f64)>,
    /// How capacity grows with cores, where at least three numbers of cores were measured.
    pub scaling: Option<Usl>,
    /// Root of the mean squared relative error of the mean latencies.
    pub error: f64,
}

/// A run in which the queue did not grow for ever.
#[derive(Clone, Copy)]
struct Calm<'a> {
    load: &'a Load,
    mean_s: f64,
}

/// The data do not support an answer, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

// === impl Load ===

impl Load {
    /// Mean latency in seconds.
    pub fn mean_s(&self) -> f64 {
        let count: u64 = self.latencies.iter().map(|(_, n)| n).sum();
        let total: f64 = self.latencies.iter().map(|(s, n)| s * *n as f64).sum();
        total / count.max(1) as f64
    }

    /// The latency under which a share of the requests stayed.
    pub fn quantile_s(&self, quantile: f64) -> f64 {
        let count: u64 = self.latencies.iter().map(|(_, n)| n).sum();
        let rank = (quantile * count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for &(seconds, n) in &self.latencies {
            seen += n;
            if seen >= rank {
                return seconds;
            }
        }
        f64::NAN
    }

    /// Requests in flight on average, by Little's law.
    pub fn in_flight(&self) -> f64 {
        self.completed * self.mean_s()
    }

    /// Completions fell behind arrivals: the queue grew for as long as the run took.
    pub fn saturated(&self) -> bool {
        self.completed < self.rate * (1.0 - BEHIND)
    }
}

/// Fits the model to runs of one service.
pub fn fit(loads: &[Load]) -> Result<Model, Refusal> {
    let calm: Vec<Calm<'_>> = loads
        .iter()
        .filter(|load| !load.saturated())
        .map(|load| Calm {
            load,
            mean_s: load.mean_s(),
        })
        .collect();
    let distinct = distinct_loads(&calm);
    if distinct < LOADS_MIN {
        return Err(Refusal(format!(
            "{distinct} different loads that did not saturate are too few: measure at least \
             {LOADS_MIN}, from a tenth of the capacity to nearly all of it"
        )));
    }
    let mut service = known_services(loads);
    let searched: Vec<u32> = calm
        .iter()
        .map(|calm| calm.load.cores)
        .filter(|cores| !service.contains_key(cores))
        .collect();
    let service_range_s = search(&calm, &searched, &mut service)?;
    let (unloaded_mean, variability, error) = project(&calm, &service).ok_or_else(|| {
        Refusal("all runs had about the same load: they do not tell what a load does".into())
    })?;
    let utilisation = |load: &Load| load.rate * service[&load.cores] / f64::from(load.cores);
    let of_calm = |calm: &Calm<'_>| utilisation(calm.load);
    let lightest = calm.iter().min_by(|a, b| of_calm(a).total_cmp(&of_calm(b)));
    let busiest = calm.iter().map(of_calm).fold(0.0, f64::max);
    let Some(lightest) = lightest.map(|calm| calm.load) else {
        return Err(Refusal("there is no run".into()));
    };
    if busiest < UTILISATION_MIN {
        return Err(Refusal(format!(
            "the busiest run used {:.0} % of the capacity: below {:.0} % nothing waits, and nothing \
             is learnt about more; measure at higher rates",
            100.0 * busiest,
            100.0 * UTILISATION_MIN
        )));
    }
    if utilisation(lightest) > UTILISATION_LIGHT_MAX {
        return Err(Refusal(format!(
            "the lightest run ({}) used {:.0} % of the capacity: a run of at most {:.0} % must show \
             the latency of an idle service",
            lightest.name,
            100.0 * utilisation(lightest),
            100.0 * UTILISATION_LIGHT_MAX
        )));
    }
    let shape = Unloaded::of(lightest.latencies.iter().copied())
        .ok_or_else(|| Refusal(format!("{} has no latencies", lightest.name)))?;
    let points: Vec<(f64, f64)> = service
        .iter()
        .map(|(&cores, s)| (f64::from(cores), f64::from(cores) / s))
        .collect();
    Ok(Model {
        unloaded: shape.shifted(unloaded_mean - shape.mean_s()),
        variability,
        service_s: service,
        service_range_s,
        scaling: Usl::fit(&points),
        error,
    })
}

fn distinct_loads(calm: &[Calm<'_>]) -> usize {
    let mut rates: Vec<(u32, u64)> = calm
        .iter()
        .map(|calm| (calm.load.cores, (calm.load.rate * 1000.0) as u64))
        .collect();
    rates.sort_unstable();
    rates.dedup();
    rates.len()
}

/// Service times that need no search, by cores.
fn known_services(loads: &[Load]) -> BTreeMap<u32, f64> {
    let mut by_cores: BTreeMap<u32, Vec<&Load>> = BTreeMap::new();
    for load in loads {
        by_cores.entry(load.cores).or_default().push(load);
    }
    let mut known = BTreeMap::new();
    for (cores, loads) in by_cores {
        let k = f64::from(cores);
        let saturated = loads.iter().filter(|load| load.saturated());
        let most = saturated.map(|load| load.completed).fold(0.0, f64::max);
        let busy: Option<Vec<f64>> = loads
            .iter()
            .map(|load| load.busy.get(GATEWAY).map(|share| share * k))
            .collect();
        if let Some(busy) = busy {
            // Busy cores over completions, by least squares through the origin.
            let pairs = busy.iter().zip(&loads);
            let product: f64 = pairs.map(|(busy, load)| busy * load.completed).sum();
            let square: f64 = loads.iter().map(|load| load.completed.powi(2)).sum();
            known.insert(cores, product / square.max(f64::MIN_POSITIVE));
        } else if most > 0.0 {
            known.insert(cores, k / most);
        }
    }
    known
}

/// Finds the service times that fit best, one number of cores after the other, until none moves.
fn search(
    calm: &[Calm<'_>],
    searched: &[u32],
    service: &mut BTreeMap<u32, f64>,
) -> Result<BTreeMap<u32, (f64, f64)>, Refusal> {
    let rate_max = |cores: u32| {
        let rates = calm.iter().filter(|calm| calm.load.cores == cores);
        rates.map(|calm| calm.load.rate).fold(0.0, f64::max)
    };
    let mut ranges = BTreeMap::new();
    let guess = |cores: u32, step: u32| {
        let utilisation = 0.02 + 0.975 * f64::from(step) / f64::from(GUESSES);
        utilisation * f64::from(cores) / rate_max(cores)
    };
    for &cores in searched {
        service.insert(cores, guess(cores, GUESSES / 2));
    }
    let mut several = searched.to_vec();
    several.sort_unstable();
    several.dedup();
    // The first sweep looks at the runs of one number of cores alone, where they suffice: with wrong
    // guesses for the others, the variability that they share would be wrong too.
    let sweeps = if several.len() > 1 { 4 } else { 1 };
    for sweep in 0..sweeps {
        for &cores in &several {
            let of_cores = |calm: &&Calm<'_>| calm.load.cores == cores;
            let own: Vec<Calm<'_>> = calm.iter().filter(of_cores).copied().collect();
            let calm = match sweep == 0 && own.len() >= LOADS_MIN {
                true => &own[..],
                false => calm,
            };
            let mut errors = Vec::with_capacity(GUESSES as usize);
            for step in 0..GUESSES {
                service.insert(cores, guess(cores, step));
                let error = project(calm, service).map_or(f64::INFINITY, |(_, _, error)| error);
                errors.push((guess(cores, step), error));
            }
            let best = errors.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1));
            let (best_s, least) = best.unwrap_or((guess(cores, 0), f64::INFINITY));
            service.insert(cores, best_s);
            let as_good = errors
                .iter()
                .filter(|(_, error)| *error <= least + ERROR_SLACK);
            let (low, high) = as_good.fold((f64::INFINITY, 0.0_f64), |(low, high), (s, _)| {
                (low.min(*s), high.max(*s))
            });
            ranges.insert(cores, (low, high));
            if sweep + 1 == sweeps && high / low > CAPACITY_SPREAD_MAX {
                let k = f64::from(cores);
                return Err(Refusal(format!(
                    "the latencies of {} rise too little to tell where they would \
                     end: a capacity of {:.0} a second explains them about as well as one of \
                     {:.0}; add runs at higher rates, or give the gateway's busy share",
                    in_words(cores),
                    k / high,
                    k / low
                )));
            }
        }
    }
    Ok(ranges)
}

/// The `D` and `V` that fit best for given service times, and the error that is left.
fn project(calm: &[Calm<'_>], service: &BTreeMap<u32, f64>) -> Option<(f64, f64, f64)> {
    let rows: Vec<(f64, f64)> = calm
        .iter()
        .map(|calm| {
            let servers = Servers {
                count: calm.load.cores,
                service_s: service[&calm.load.cores],
                variability: 1.0,
            };
            let wait_s = servers.mean_wait_s(calm.load.rate);
            (1.0 / calm.mean_s, wait_s / calm.mean_s)
        })
        .collect();
    if rows.iter().any(|(a, b)| !a.is_finite() || !b.is_finite()) {
        return None;
    }
    let sum = |f: &dyn Fn(&(f64, f64)) -> f64| rows.iter().map(f).sum::<f64>();
    let (aa, ab, bb) = (
        sum(&|r| r.0 * r.0),
        sum(&|r| r.0 * r.1),
        sum(&|r| r.1 * r.1),
    );
    let (a, b) = (sum(&|r| r.0), sum(&|r| r.1));
    let solved = linear::solve(vec![vec![aa, ab, a], vec![ab, bb, b]])?;
    // Negative variability or latency: the nearest that can be.
    let (mut unloaded, mut variability) = (solved[0], solved[1]);
    if variability < 0.0 {
        (unloaded, variability) = (a / aa, 0.0);
    } else if unloaded < 0.0 {
        (unloaded, variability) = (0.0, b / bb);
    }
    let error = |row: &(f64, f64)| (unloaded * row.0 + variability * row.1 - 1.0).powi(2);
    let squared: f64 = rows.iter().map(error).sum();
    Some((unloaded, variability, (squared / rows.len() as f64).sqrt()))
}

// === impl Model ===

impl Model {
    /// The servers that so many cores are; none where nothing tells what so many cores bring.
    ///
    /// `linear` says that capacity may be taken to grow with cores where it was not measured.
    pub fn servers(&self, cores: u32, linear: bool) -> Option<Servers> {
        let service_s = match (self.service_s.get(&cores), &self.scaling) {
            (Some(&measured), _) => measured,
            (None, Some(law)) => f64::from(cores) / law.throughput(f64::from(cores)),
            (None, None) if linear => {
                let measured = self.service_s.values();
                measured.copied().fold(0.0, f64::max)
            }
            (None, None) => return None,
        };
        Some(Servers {
            count: cores,
            service_s,
            variability: self.variability,
        })
    }
}
