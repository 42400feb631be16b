//! When requests shall start: arrival processes as iterators of intended starts.
//!
//! Nothing here looks at a clock. A [`Schedule`] gives nanoseconds since the run's start, never
//! falling, computed from the process and the seed alone; so a run can be told before it happens,
//! and two runs with one seed intend the same starts.
//!
//! | process | intended starts |
//! | --- | --- |
//! | `constant` | one every 1/rate |
//! | `poisson` | exponential gaps: many independent callers |
//! | `gamma:CV` | gamma gaps with coefficient of variation CV: 1 is Poisson, more is burstier |
//! | `ramp:A-B` | a rate that grows (or falls) evenly from A to B over the run |
//! | `burst:N/T` | N at once, every T |
//! | `trace:FILE` | as a file says ([`trace`]) |
//! | `log:PATH` | as a recorder's log says ([`recorded`]) |
//! | closed loop | none: each connection starts again when its answer is complete |

pub mod recorded;
pub mod trace;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, Exp1, Gamma};

/// The most intended starts a second.
pub const RATE_MAX: f64 = 1_000_000.0;
/// The fewest: one in about a quarter of an hour.
pub const RATE_MIN: f64 = 0.001;
/// The most starts that a file may have.
pub const STARTS_MAX: usize = 20_000_000;

const SECOND_NS: f64 = 1e9;

/// An arrival process, as the command line names it; files are read into [`Arrivals`].
#[derive(Clone, Debug, PartialEq)]
pub enum Process {
    /// Evenly spaced.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// Gamma gaps with this coefficient of variation.
    Gamma(f64),
    /// From one rate to another over the run.
    Ramp(f64, f64),
    /// This many at once, this far apart.
    Burst(u32, Duration),
    /// A trace file.
    Trace(String),
    /// A recorder's log.
    Log(String),
}

/// What decides when requests start.
#[derive(Clone, Debug)]
pub enum Arrivals {
    /// Closed loop: no intended starts; a connection starts when its last answer is complete.
    Closed,
    /// Open loop at a rate, in requests a second.
    Rate(Pace, f64),
    /// A rate that changes evenly over the run.
    Ramp(f64, f64),
    /// Bursts.
    Burst(u32, Duration),
    /// Offsets in nanoseconds, never falling, and what they were read from.
    Given(Arc<[u64]>, &'static str),
}

/// How gaps at a rate are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Not at all.
    Constant,
    /// Exponentially.
    Poisson,
    /// Gamma, with this coefficient of variation.
    Gamma(f64),
}

/// One intended start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Nanoseconds since the run's start.
    pub at_ns: u64,
    /// Its number, from zero: an entry of a trace or log belongs to it.
    pub index: u64,
}

/// The intended starts of one run, in order.
pub struct Schedule {
    gaps: Gaps,
    rng: StdRng,
    /// The end of the last gap, in seconds: a float keeps fractions of a nanosecond.
    at_s: f64,
    index: u64,
    end_ns: u64,
    count_max: u64,
}

enum Gaps {
    None,
    Constant(f64),
    Exponential(f64),
    Gamma(Gamma<f64>),
    Ramp { from: f64, slope: f64 },
    Burst { size: u64, period_s: f64 },
    Given(Arc<[u64]>),
}

// === impl Process ===

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, figures) = text.split_once(':').unwrap_or((text, ""));
        let wrong = |shape: &str| format!("{text:?}: write it as {shape}");
        let rate = |text: &str| {
            let rate: f64 = text.parse().ok()?;
            (0.0..=RATE_MAX).contains(&rate).then_some(rate)
        };
        match (name, figures) {
            ("constant", "") => Ok(Process::Constant),
            ("poisson", "") => Ok(Process::Poisson),
            ("gamma", cv) => match cv.parse::<f64>() {
                Ok(cv) if (0.01..=100.0).contains(&cv) => Ok(Process::Gamma(cv)),
                _ => Err(wrong("gamma:CV, a coefficient of variation of 0.01 to 100")),
            },
            ("ramp", range) => {
                let both = range.split_once('-');
                let both = both.and_then(|(from, to)| Some((rate(from)?, rate(to)?)));
                match both {
                    Some((from, to)) if from.max(to) >= RATE_MIN => Ok(Process::Ramp(from, to)),
                    _ => Err(wrong("ramp:FROM-TO, rates a second")),
                }
            }
            ("burst", both) => {
                let shape = "burst:N/T, as burst:50/2s: N at once, every T";
                let (size, period) = both.split_once('/').ok_or_else(|| wrong(shape))?;
                let size = size.parse().ok().filter(|size| *size > 0);
                let period = crate::run::time::parse(period)
                    .ok()
                    .filter(|t| !t.is_zero());
                match (size, period) {
                    (Some(size), Some(period)) => Ok(Process::Burst(size, period)),
                    _ => Err(wrong(shape)),
                }
            }
            ("trace", path) if !path.is_empty() => Ok(Process::Trace(path.to_owned())),
            ("log", path) if !path.is_empty() => Ok(Process::Log(path.to_owned())),
            _ => Err(format!(
                "{text:?}: the processes are constant, poisson, gamma:CV, ramp:FROM-TO, burst:N/T, \
                 trace:FILE, log:PATH, closed"
            )),
        }
    }
}

// === impl Arrivals ===

impl Arrivals {
    /// Whether requests start when others end.
    pub fn is_closed(&self) -> bool {
        matches!(self, Arrivals::Closed)
    }

    /// The mean rate asked for, where there is one; `duration` is the run's.
    pub fn rate(&self, duration: Duration) -> Option<f64> {
        match self {
            Arrivals::Closed => None,
            Arrivals::Rate(_, rate) => Some(*rate),
            Arrivals::Ramp(from, to) => Some((from + to) / 2.0),
            Arrivals::Burst(size, period) => Some(f64::from(*size) / period.as_secs_f64()),
            Arrivals::Given(starts, _) => {
                let span = starts.last().map_or(0.0, |last| *last as f64 / SECOND_NS);
                Some(starts.len() as f64 / span.min(duration.as_secs_f64()).max(1e-9))
            }
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arrivals::Closed => f.write_str("closed loop"),
            Arrivals::Rate(Pace::Constant, rate) => write!(f, "constant, {rate}/s"),
            Arrivals::Rate(Pace::Poisson, rate) => write!(f, "Poisson, {rate}/s"),
            Arrivals::Rate(Pace::Gamma(cv), rate) => {
                write!(f, "gamma with coefficient of variation {cv}, {rate}/s")
            }
            Arrivals::Ramp(from, to) => write!(f, "ramp from {from}/s to {to}/s"),
            Arrivals::Burst(size, period) => write!(f, "bursts of {size}, {period:?} apart"),
            Arrivals::Given(starts, what) => write!(f, "{} starts of a {what}", starts.len()),
        }
    }
}

// === impl Schedule ===

impl Schedule {
    /// The starts of a run of this length; at most `count_max` of them.
    pub fn new(arrivals: &Arrivals, duration: Duration, count_max: u64, seed: u64) -> Self {
        let gaps = match arrivals {
            Arrivals::Closed => Gaps::None,
            Arrivals::Rate(Pace::Constant, rate) => Gaps::Constant(*rate),
            Arrivals::Rate(Pace::Poisson, rate) => Gaps::Exponential(*rate),
            Arrivals::Rate(Pace::Gamma(cv), rate) => {
                let (shape, scale) = (cv.powi(-2), cv * cv / rate);
                match Gamma::new(shape, scale) {
                    Ok(gamma) => Gaps::Gamma(gamma),
                    Err(_) => Gaps::Exponential(*rate), // not with figures that were parsed
                }
            }
            Arrivals::Ramp(from, to) => Gaps::Ramp {
                from: *from,
                slope: (to - from) / duration.as_secs_f64().max(1e-9),
            },
            Arrivals::Burst(size, period) => Gaps::Burst {
                size: u64::from(*size),
                period_s: period.as_secs_f64(),
            },
            Arrivals::Given(starts, _) => Gaps::Given(Arc::clone(starts)),
        };
        Self {
            gaps,
            rng: StdRng::seed_from_u64(seed),
            at_s: 0.0,
            index: 0,
            end_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
            count_max,
        }
    }
}

impl Iterator for Schedule {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        if self.index >= self.count_max {
            return None;
        }
        let index = self.index;
        let at_ns = match &self.gaps {
            Gaps::None => return None,
            // Products of the index, not sums of gaps: no error adds up.
            Gaps::Constant(rate) => nanoseconds(index as f64 / rate),
            Gaps::Burst { size, period_s } => nanoseconds((index / size) as f64 * period_s),
            Gaps::Ramp { from, slope } => nanoseconds(ramp(*from, *slope, index as f64)?),
            Gaps::Given(starts) => *starts.get(usize::try_from(index).ok()?)?,
            Gaps::Exponential(rate) => {
                let gap: f64 = Exp1.sample(&mut self.rng);
                self.at_s += gap / rate;
                nanoseconds(self.at_s)
            }
            Gaps::Gamma(gamma) => {
                self.at_s += gamma.sample(&mut self.rng);
                nanoseconds(self.at_s)
            }
        };
        if at_ns >= self.end_ns {
            self.count_max = 0;
            return None;
        }
        self.index += 1;
        Some(Arrival { at_ns, index })
    }
}

/// When the `index`-th start comes at a rate of `from + slope · t`: the `t` at which the rate's
/// integral, `from · t + slope · t² / 2`, reaches the index; none when it never does.
fn ramp(from: f64, slope: f64, index: f64) -> Option<f64> {
    let root = (from * from + 2.0 * slope * index).sqrt();
    if root.is_nan() {
        return None;
    }
    // The other form of the solution of the quadratic: exact for a slope of nothing, too.
    Some(if index == 0.0 {
        0.0
    } else {
        2.0 * index / (from + root)
    })
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * SECOND_NS) as u64 // saturates
}

#[cfg(test)]
mod tests;
