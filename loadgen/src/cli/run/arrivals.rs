//! The arguments that say when requests start.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use penstock_loadgen::run::arrivals::recorded::{self, Call};
use penstock_loadgen::run::arrivals::trace::{self, Entry};
use penstock_loadgen::run::arrivals::{Arrivals, Pace, Process, RATE_MAX, RATE_MIN};
use penstock_loadgen::run::time;

use super::{Failure, read_text};

/// Requests a second when nobody says how many.
const RATE: f64 = 10.0;
/// How long requests are started when nobody says how long.
const DURATION: Duration = Duration::from_secs(10);
/// What a trace or log is followed by, so that its last start is in the run.
const BEHIND_LAST: Duration = Duration::from_millis(1);

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "When requests start")]
pub(super) struct Arguments {
    /// Requests a second, 0.001 to 1000000 [default: 10].
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How they arrive: constant, poisson, gamma:CV, ramp:FROM-TO, burst:N/T, trace:FILE, log:PATH.
    #[arg(long, value_name = "PROCESS", default_value = "constant")]
    arrivals: Process,
    /// Closed loop: each connection sends again when it has its answer.
    #[arg(long, conflicts_with_all = ["rate", "speed"])]
    closed: bool,
    /// How long requests are started [default: 10s, or as long as the trace or log].
    #[arg(long, value_parser = time::parse, value_name = "TIME")]
    duration: Option<Duration>,
    /// Start at most so many.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    requests: u64,
    /// Play a trace or log so many times as fast.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
}

/// When requests start, and what came with that.
pub(super) struct Planned {
    pub(super) arrivals: Arrivals,
    pub(super) duration: Duration,
    pub(super) requests_max: u64,
    pub(super) entries: Option<Arc<[Entry]>>,
    pub(super) calls: Option<Arc<[Call]>>,
    pub(super) notes: Vec<String>,
}

// === impl Arguments ===

impl Arguments {
    pub(super) fn ready(self) -> Result<Planned, Failure> {
        let usage = |text: &str| Failure::Usage(text.into());
        if !(self.speed > 0.0 && self.speed.is_finite()) {
            return Err(usage("--speed is above 0"));
        }
        if self.closed && self.arrivals != Process::Constant {
            return Err(usage("--closed has no arrivals: leave --arrivals out"));
        }
        let at_a_rate = matches!(
            self.arrivals,
            Process::Constant | Process::Poisson | Process::Gamma(_)
        );
        if self.rate.is_some() && !at_a_rate {
            return Err(usage(
                "--rate says nothing here: the arrivals have rates of their own",
            ));
        }
        let rate = self.rate.unwrap_or(RATE);
        if !(RATE_MIN..=RATE_MAX).contains(&rate) {
            return Err(Failure::Usage(format!(
                "--rate is {RATE_MIN} to {RATE_MAX}"
            )));
        }
        let mut planned = Planned {
            arrivals: Arrivals::Closed,
            duration: self.duration.unwrap_or(DURATION),
            requests_max: self.requests,
            entries: None,
            calls: None,
            notes: Vec::new(),
        };
        if self.closed {
            return Ok(planned);
        }
        planned.arrivals = match &self.arrivals {
            Process::Constant => Arrivals::Rate(Pace::Constant, rate),
            Process::Poisson => Arrivals::Rate(Pace::Poisson, rate),
            Process::Gamma(cv) => Arrivals::Rate(Pace::Gamma(*cv), rate),
            Process::Ramp(from, to) => Arrivals::Ramp(*from, *to),
            Process::Burst(size, period) => Arrivals::Burst(*size, *period),
            Process::Trace(path) => self.trace(Path::new(path), &mut planned)?,
            Process::Log(path) => self.log(Path::new(path), &mut planned)?,
        };
        Ok(planned)
    }

    fn trace(&self, path: &Path, planned: &mut Planned) -> Result<Arrivals, Failure> {
        let entries = trace::parse(&read_text(path)?, self.speed)
            .map_err(|why| Failure::Failed(format!("{}: {why}", path.display())))?;
        let starts: Arc<[u64]> = entries.iter().map(|entry| entry.at_ns).collect();
        planned.entries = Some(entries.into());
        Ok(self.given(starts, "trace", planned))
    }

    fn log(&self, path: &Path, planned: &mut Planned) -> Result<Arrivals, Failure> {
        let calls = recorded::read(path, self.speed).map_err(Failure::Failed)?;
        let starts: Arc<[u64]> = calls.calls.iter().map(|call| call.at_ns).collect();
        if calls.left_out > 0 {
            planned.notes.push(format!(
                "{} sessions of the log could not be called again: refused, not on a known route, or \
                 not whole",
                calls.left_out
            ));
        }
        planned.calls = Some(calls.calls.into());
        Ok(self.given(starts, "recorded log", planned))
    }

    fn given(&self, starts: Arc<[u64]>, what: &'static str, planned: &mut Planned) -> Arrivals {
        if self.duration.is_none() {
            let last_ns = starts.last().copied().unwrap_or(0);
            planned.duration = Duration::from_nanos(last_ns) + BEHIND_LAST;
        }
        Arrivals::Given(starts, what)
    }
}
