//! What a subject does with more than it can do.
//!
//! First its capacity: a short closed loop of some hundred clients. Then an open loop at 0.1 to 3 times that, each point with
//! a subject started afresh: requests come at that rate from ever more clients, each with its own
//! connection, until as many as allowed; who is not answered in time gives up. A subject that copes
//! goes on answering as many within the objective as it could before (goodput stays flat), refuses
//! the rest at once, and lets nobody whom it accepts wait long.
//!
//! - [`command`]: arguments, tables, files; [`picture`]: the two pictures
//!
//! Where driver, upstream and recorder share a core, they may not be able to offer the load, or to
//! answer it: the generator is late ([`Point::late`]), or their cores are full ([`Point::full`]).
//! Each point says so, and such a point tells of the load side and not of the subject.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::compare::round::{Bench, Counters, Round};
use crate::compare::{bench, in_folder};
use crate::driver::open::{self, Offer, Outcome};
use crate::error::{Error, Result};
use crate::scenario::Scenario;
use crate::subject::Subject;

pub mod command;
pub mod picture;

/// So many times the scenario's connections in the loop that says what a subject can do: an open loop
/// near its limit has hundreds of clients, and for any proxy a request of many costs more than one of
/// few (`perf/RESULTS.md`, "Overload and memory").
const CAPACITY_CROWD: usize = 4;

/// How long a subject is driven to see what it can do.
const CAPACITY_WINDOW: Duration = Duration::from_millis(1000);

/// Requests of this time at the beginning of a point are not counted: queues fill in it.
const WARM_UP: Duration = Duration::from_millis(700);

/// A generator that is later than this share of the objective, in one of a hundred requests, did not
/// offer what it should.
const LATE_SHARE: f64 = 0.5;

/// Cores of the load side that are busier than this are full: what waits may wait there.
const FULL_SHARE: f64 = 0.97;

/// What to offer.
#[derive(Debug, Clone)]
pub struct Options {
    /// The kind of traffic; the capacity run has a multiple of its connections.
    pub scenario: Scenario,
    /// Who is offered it.
    pub subjects: Vec<Subject>,
    /// Multiples of a subject's capacity.
    pub loads: Vec<f64>,
    /// The measured part of each point.
    pub window: Duration,
    /// An answer within this time is a good one.
    pub objective: Duration,
    /// A client waits this long.
    pub patience: Duration,
    /// The most clients.
    pub clients: usize,
}

/// What became of a load.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// Multiple of the capacity.
    pub load: f64,
    /// Requests a second.
    pub offered_per_second: f64,
    /// Answers a second within the objective.
    pub good_per_second: f64,
    /// Of all requests: answered, in time or not.
    pub answered_share: f64,
    /// Refused.
    pub refused_share: f64,
    /// Broken off, or answered wrongly.
    pub failed_share: f64,
    /// Given up by their clients, sent or not.
    pub given_up_share: f64,
    /// Median latency of those that were answered, from the intended start; none without any.
    pub latency_p50_ms: Option<f64>,
    /// Its 99th percentile.
    pub latency_p99_ms: Option<f64>,
    /// Median time to a refusal, from when it was sent; none without any.
    pub refusal_p50_ms: Option<f64>,
    /// Its 99th percentile.
    pub refusal_p99_ms: Option<f64>,
    /// Connections at the end.
    pub connections: usize,
    /// 99th percentile of how late the generator was.
    pub lag_p99_ms: f64,
    /// So late that this point tells of the generator.
    pub late: bool,
    /// How much of its core the subject used.
    pub busy_share: f64,
    /// How much of all other cores was used: driver, upstream, recorder, and whoever else.
    pub load_busy_share: f64,
    /// So much that this point tells of them.
    pub full: bool,
    /// The first failure, in words.
    pub failure: Option<String>,
}

/// A subject's way through all loads.
#[derive(Debug, Clone, Serialize)]
pub struct Course {
    /// Who.
    #[serde(serialize_with = "name")]
    pub subject: Subject,
    /// Requests a second in a closed loop.
    pub capacity_per_second: f64,
    /// In the order of loads.
    pub points: Vec<Point>,
    /// Why it ended early.
    pub failure: Option<String>,
}

fn name<S: serde::Serializer>(
    subject: &Subject,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(subject.name())
}

/// Takes every subject through every load; `say` is told how it goes.
pub fn overload(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Vec<Course>> {
    let (bench, folder) = bench(say)?;
    let mut courses = Vec::new();
    for &subject in &options.subjects {
        let mut course = Course {
            subject,
            capacity_per_second: 0.0,
            points: Vec::new(),
            failure: None,
        };
        if let Err(error) = course.run(options, &bench, folder.path(), say) {
            say(&format!("{subject} failed: {error}"));
            course.failure = Some(error.to_string());
        }
        courses.push(course);
    }
    Ok(courses)
}

// === impl Course ===

impl Course {
    fn run(
        &mut self,
        options: &Options,
        bench: &Bench,
        folder: &Path,
        say: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let subject = self.subject;
        let crowd = Scenario {
            connections: CAPACITY_CROWD * options.scenario.connections,
            ..options.scenario
        };
        self.capacity_per_second = in_folder(folder, |directory| {
            let round = Round {
                bench,
                scenario: &crowd,
                subject,
                window: CAPACITY_WINDOW,
                sheds: false,
                directory,
            };
            round.capacity()
        })?;
        say(&format!(
            "{subject}: {:.0} requests a second",
            self.capacity_per_second
        ));
        // Subjects set their limits by it.
        let scenario = Scenario {
            connections: options.clients,
            ..options.scenario
        };
        for &load in &options.loads {
            let rate = (load * self.capacity_per_second).max(1.0);
            let offered = in_folder(folder, |directory| {
                let round = Round {
                    bench,
                    scenario: &scenario,
                    subject,
                    window: options.window,
                    sheds: true,
                    directory,
                };
                offer(&round, options, rate)
            })?;
            let point = Point::of(load, rate, &offered, options);
            say(&format!("{subject} {}", point.describe()));
            self.points.push(point);
        }
        Ok(())
    }

    /// The best goodput of all points, and the point of the highest load; of those that tell.
    pub fn best_and_last(&self) -> Option<(f64, &Point)> {
        let told = || self.points.iter().filter(|point| point.tells());
        let best = told()
            .map(|point| point.good_per_second)
            .fold(0.0, f64::max);
        Some((best, told().next_back()?))
    }
}

/// What became of an offer, and how busy whom it kept.
struct Offered {
    outcome: Outcome,
    busy_share: f64,
    load_busy_share: f64,
}

fn offer(round: &Round<'_>, options: &Options, rate: f64) -> Result<Offered> {
    let mut stage = round.start()?;
    let mut edges: Vec<(Instant, Counters)> = Vec::with_capacity(2);
    let plan = round.plan(stage.target, stage.upstream_address);
    let result = open::offer(
        Offer {
            dialer: round.dialer(stage.target)?,
            plan: &plan,
            rate,
            connections_max: options.clients,
            patience: options.patience,
            objective: options.objective,
            lateness: round.subject.lateness(),
            warm_up: WARM_UP,
            window: options.window,
        },
        |_| {
            edges.push((Instant::now(), stage.counters()));
            Ok(())
        },
    );
    let outcome = stage.check(result)?;
    let [(opened_at, open), (closed_at, close)] = &edges[..] else {
        return Err(Error::Unable("the window has not two edges".into()));
    };
    let window = *closed_at - *opened_at;
    let (subject, others) = close.since(open);
    // The subject has one core, everybody else the others.
    let cores = std::thread::available_parallelism().map_or(2, |count| count.get());
    let others_have = window * (cores.max(2) - 1) as u32;
    Ok(Offered {
        outcome,
        busy_share: subject.div_duration_f64(window),
        load_busy_share: others.div_duration_f64(others_have),
    })
}

// === impl Point ===

impl Point {
    fn of(load: f64, rate: f64, offered: &Offered, options: &Options) -> Point {
        let outcome = &offered.outcome;
        let share = |count: u64| count as f64 / outcome.offered.max(1) as f64;
        let ms = |histogram: &hdrhistogram::Histogram<u64>, quantile: f64| {
            let some = !histogram.is_empty();
            some.then(|| histogram.value_at_quantile(quantile) as f64 / 1e3)
        };
        let lag_p99_ms = ms(&outcome.lag_us, 0.99).unwrap_or_default();
        Point {
            load,
            offered_per_second: rate,
            good_per_second: outcome.good as f64 / options.window.as_secs_f64(),
            answered_share: share(outcome.answered),
            refused_share: share(outcome.refused),
            failed_share: share(outcome.failed),
            given_up_share: share(outcome.given_up + outcome.never_sent),
            latency_p50_ms: ms(&outcome.latency_us, 0.5),
            latency_p99_ms: ms(&outcome.latency_us, 0.99),
            refusal_p50_ms: ms(&outcome.refusal_us, 0.5),
            refusal_p99_ms: ms(&outcome.refusal_us, 0.99),
            connections: outcome.connections,
            lag_p99_ms,
            late: lag_p99_ms > LATE_SHARE * options.objective.as_secs_f64() * 1e3,
            busy_share: offered.busy_share,
            load_busy_share: offered.load_busy_share,
            full: offered.load_busy_share > FULL_SHARE,
            failure: outcome.first_failure.clone(),
        }
    }

    /// Whether this point tells of the subject.
    pub fn tells(&self) -> bool {
        !self.late && !self.full
    }

    /// How the load side did.
    pub fn generator(&self) -> &'static str {
        match (self.late, self.full) {
            (true, _) => "late",
            (false, true) => "full",
            (false, false) => "in time",
        }
    }

    fn describe(&self) -> String {
        let mut line = format!(
            "{:.2} x: {:.0} offered, {:.0} good a second, load side {}",
            self.load,
            self.offered_per_second,
            self.good_per_second,
            self.generator()
        );
        if let Some(failure) = &self.failure {
            line.push_str(", the first that failed: ");
            line.push_str(failure);
        }
        line
    }
}
