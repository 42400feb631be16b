//! The load generator.
//!
//! In open loop, requests have intended starts ([`arrivals`]), whatever the target does, and a
//! latency counts from the intended start: a target that stalls pays for every request that waited
//! meanwhile (coordinated omission is what one gets otherwise). Requests that never found a free
//! connection before the end are reported as not sent, and count as errors. In closed loop each
//! connection sends its next request when the last one is answered; that measures throughput, and
//! its latencies say nothing about users, so every report says that it was one.
//!
//! One thread sends and reads, and another adds up. How late the sending one was is measured apart
//! from how slow the target was ([`pacer`] has the definition), and a run in which the generator was
//! late beyond a bound is not to be used: its [`Outcome`] says so.
//!
//! | module | is | touches |
//! | --- | --- | --- |
//! | [`arrivals`], [`length`] | when requests start, how long they are | nothing |
//! | [`pacer`] | what is due, and how late it is | the time that it is handed |
//! | [`workload`] | the bytes of requests | nothing |
//! | [`answer`], [`check`] | what answers are | nothing |
//! | [`target`] | where to | the resolver, certificate files |
//! | `engine` | the loop | sockets, the clock |
//!
//! HTTP/1.1 only, as the gateway speaks no other.

pub mod answer;
pub mod arrivals;
pub mod check;
mod engine;
pub mod length;
pub mod pacer;
pub mod target;
pub mod time;
pub mod workload;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::machine::Moment;
use crate::outcome::{Asked, Lateness, Loop, Objective, Outcome, Progress, Recorder};
use arrivals::{Arrivals, Schedule};
use check::Checks;
use engine::{After, Engine, Parts};
use pacer::Pacer;
use target::Target;
use time::nanoseconds;
use workload::{Workload, WorkloadOptions};

/// The most connections of one run.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Files that are open beside connections.
const DESCRIPTORS_BESIDE: u64 = 64;
/// The share of starts (and of reads) that may be later than the bound.
pub const LATE_SHARE_MAX: f64 = 0.01;

/// What to send, how fast, how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// When requests start.
    pub arrivals: Arrivals,
    /// How long requests are started.
    pub duration: Duration,
    /// How many are started at most.
    pub requests_max: u64,
    /// Connections, and so requests at a time.
    pub connections: usize,
    /// How long one request may take from when it is begun.
    pub timeout: Duration,
    /// What is asked.
    pub workload: WorkloadOptions,
    /// Further lines of each head, each with its line end.
    pub fields: String,
    /// What is looked at in answers.
    pub checks: Checks,
    /// What an answer must meet to be of use.
    pub objectives: Vec<Objective>,
    /// One start in a hundred may be later than this by the generator's fault.
    pub lag_max: Duration,
    /// The command line, without credentials, for the report.
    pub command: Vec<String>,
    /// The workload in words, for the report.
    pub workload_words: String,
    /// What a reader must know beside.
    pub notes: Vec<String>,
}

/// Why there was no run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Options that do not go together.
    #[error("{0}")]
    Usage(String),
    /// The system refused.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// Runs until the duration is over or SIGINT or SIGTERM comes, then waits for what is under way; a
/// second signal ends that, too. `on_start` gets what a display needs.
pub fn run(options: Options, on_start: impl FnOnce(Arc<Progress>)) -> Result<Outcome, RunError> {
    if !(1..=CONNECTIONS_MAX).contains(&options.connections) {
        let text = format!("connections are 1 to {CONNECTIONS_MAX}");
        return Err(RunError::Usage(text));
    }
    allow_descriptors(options.connections)?;
    let seed = options.workload.seed;
    let schedule = Schedule::new(
        &options.arrivals,
        options.duration,
        options.requests_max,
        seed,
    );
    let target = options.target.clone();
    let disconnect_after = options.workload.disconnect_after;
    let asked = asked(&options);
    let kind = asked.kind;
    let workload = Workload::new(
        options.workload,
        target.host(),
        target.base_path(),
        &options.fields,
    )
    .map_err(RunError::Usage)?;
    let recorder = Recorder::new(kind, options.duration, options.objectives)
        .map_err(|error| RunError::System("cannot start counting", error))?;
    on_start(recorder.progress());
    let began = Moment::now().iso();
    let interrupted = Arc::new(AtomicBool::new(false));
    let signals = Signals::watch(&interrupted)?;
    let parts = Parts {
        target,
        connections: options.connections,
        timeout_ns: nanoseconds(options.timeout),
        end_ns: nanoseconds(options.duration),
        requests_max: options.requests_max,
        closed_loop: kind == Loop::Closed,
        disconnect_after,
        workload,
        checks: options.checks,
        pacer: Pacer::new(schedule),
        recorder,
        interrupted,
    };
    let ran = Engine::new(parts).and_then(Engine::run);
    drop(signals);
    let (mut recorder, after) =
        ran.map_err(|error| RunError::System("cannot wait for sockets", error))?;
    let verdict = verdict(&recorder, &after, nanoseconds(options.lag_max));
    recorder.busy_share(after.busy_share);
    Ok(recorder.finish(asked, began, after.over_ns, verdict))
}

/// Whether the figures can be used: the worse of the two lags, and whether every start was handed
/// out at all.
fn verdict(recorder: &Recorder, after: &After, lag_max_ns: u64) -> Lateness {
    let mut starts = Lateness::judge(&recorder.lag_times(), lag_max_ns, LATE_SHARE_MAX);
    if after.never_released > 0 {
        starts.late = true;
        starts.reason = format!(
            "the generator was late: {} requests that had come due were not taken up before the end",
            after.never_released
        );
        return starts;
    }
    let mut reads = Lateness::judge(&recorder.reading_lag_times(), lag_max_ns, LATE_SHARE_MAX);
    if reads.late && !starts.late {
        reads.reason = format!(
            "the generator was late: {:.3} % of what could be read had waited more than {:?} for it, \
             allowed are {:.3} %",
            reads.late_share * 100.0,
            Duration::from_nanos(lag_max_ns),
            LATE_SHARE_MAX * 100.0
        );
        return reads;
    }
    starts
}

fn asked(options: &Options) -> Asked {
    let closed = options.arrivals.is_closed();
    let workload = &options.workload;
    Asked {
        command: options.command.clone(),
        target: options.target.url().to_owned(),
        api: workload.api.name().to_owned(),
        model: workload.model.clone(),
        stream: workload.stream,
        kind: if closed { Loop::Closed } else { Loop::Open },
        arrivals: options.arrivals.to_string(),
        rate_per_s: options.arrivals.rate(options.duration),
        duration_s: options.duration.as_secs_f64(),
        seed: workload.seed,
        connections: options.connections as u64,
        http: "HTTP/1.1".to_owned(),
        tls: options.target.is_tls(),
        keep_alive: workload.new_connections_share < 1.0,
        timeout_s: options.timeout.as_secs_f64(),
        workload: options.workload_words.clone(),
        notes: options.notes.clone(),
    }
}

/// Lets the process have a descriptor for every connection.
fn allow_descriptors(connections: usize) -> Result<(), RunError> {
    let wanted = connections as u64 + DESCRIPTORS_BESIDE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if let Some(most) = limit.maximum.filter(|most| *most < wanted) {
        return Err(RunError::Usage(format!(
            "{connections} connections need {wanted} open files; the system allows {most} (ulimit -Hn)"
        )));
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .map_err(|error| RunError::System("cannot allow more open files", error.into()))
}

/// Signals that ask for an end, while this lives.
struct Signals(Vec<signal_hook::SigId>);

impl Signals {
    fn watch(flag: &Arc<AtomicBool>) -> Result<Self, RunError> {
        let mut signals = Self(Vec::new());
        for signal in [SIGINT, SIGTERM] {
            let id = signal_hook::flag::register(signal, Arc::clone(flag))
                .map_err(|error| RunError::System("cannot watch for signals", error))?;
            signals.0.push(id);
        }
        Ok(signals)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
