//! One round of one subject: started, driven, and its counters read at both edges of the window.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::cpu::{self, Usage};
use crate::driver::body::Lateness;
use crate::driver::closed::{self, Load, Window};
use crate::driver::open::{self, Offer, Outcome};
use crate::driver::plan::Plan;
use crate::driver::wire::Dialer;
use crate::driver::{Edge, probe};
use crate::error::{Doing, Error, Result};
use crate::process::{Placement, Running};
use crate::report::{Figure, Sample};
use crate::scenario::{Method, Scenario, Unit};
use crate::subject::certificate::Certificate;
use crate::subject::credential::Credential;
use crate::subject::{Setting, Started, Subject};

/// Time before the window for scenarios of single answers.
const WARM_UP: Duration = Duration::from_millis(500);

/// A window has at least so many steps of a stream.
const STEPS_MIN: u32 = 2;

/// Streams begin within this time.
const STAGGER: Duration = Duration::from_secs(1);

/// An open loop at half load has at most so many connections; more means that it cannot keep up.
const CONNECTIONS_MAX: usize = 1000;

/// A client of that loop waits so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all rounds share.
#[derive(Debug)]
pub struct Bench {
    /// Which core is whose.
    pub placement: Placement,
    /// The caller.
    pub credential: Credential,
    /// What subjects show where it is encrypted.
    pub certificate: Certificate,
}

/// What one round of one subject needs.
#[derive(Debug)]
pub struct Round<'a> {
    /// What all rounds share.
    pub bench: &'a Bench,
    /// The kind of traffic.
    pub scenario: &'a Scenario,
    /// Who carries it.
    pub subject: Subject,
    /// The measured window.
    pub window: Duration,
    /// Whether the subject may refuse what it could only serve late. The cost of a unit is that of
    /// serving it, however late on a busy machine.
    pub sheds: bool,
    /// An empty folder.
    pub directory: &'a Path,
}

/// Everything that was started for a round; all of it ends with this.
#[derive(Debug)]
pub struct Stage {
    /// Where requests go.
    pub target: SocketAddr,
    /// The server behind.
    pub upstream: Running,
    /// Where that listens.
    pub upstream_address: SocketAddr,
    /// What is between; none when nothing is.
    pub subject: Option<Running>,
    /// What works for it.
    pub recorder: Option<Running>,
}

/// Counters of everything that takes part, at one edge of the window.
#[derive(Debug)]
pub struct Counters {
    subject: Usage,
    recorder: Option<Usage>,
    load: [Usage; 2],
    machine: Duration,
    resident_bytes: u64,
}

// === impl Stage ===

impl Stage {
    /// The process that is measured.
    pub fn measured(&self) -> u32 {
        self.subject.as_ref().unwrap_or(&self.upstream).pid()
    }

    /// Reads them now.
    pub fn counters(&self) -> Counters {
        Counters {
            subject: Usage::of_tree(self.measured()),
            recorder: self.recorder.as_ref().map(|it| Usage::of_tree(it.pid())),
            load: [cpu::own_usage(), Usage::of_tree(self.upstream.pid())],
            machine: cpu::machine_busy(),
            resident_bytes: cpu::resident_bytes(self.measured()),
        }
    }

    /// Fails when something has ended that should not; adds the subject's log to what went wrong.
    pub fn check<T>(&mut self, result: Result<T>) -> Result<T> {
        let result = match (&self.subject, result) {
            (Some(process), Err(error)) => Err(process.failure(format!("failed: {error}"))),
            (_, result) => result,
        };
        let parts = [&mut self.subject, &mut self.recorder];
        let value = result?;
        for part in parts.into_iter().flatten() {
            part.check()?;
        }
        self.upstream.check()?;
        Ok(value)
    }
}

// === impl Counters ===

impl Counters {
    /// CPU time since an earlier reading: of the subject, and of everybody else on the machine.
    pub fn since(&self, earlier: &Counters) -> (Duration, Duration) {
        let subject = self.subject.since(&earlier.subject);
        let machine = self.machine.saturating_sub(earlier.machine);
        (subject, machine.saturating_sub(subject))
    }
}

// === impl Round ===

impl Round<'_> {
    /// The figures of this round; `rate` is that of an open loop.
    pub fn measure(&self, rate: Option<f64>) -> Result<Sample> {
        let mut stage = self.start()?;
        let result = match (self.scenario.method, rate) {
            (Method::Cost, _) => self.cost(&stage),
            (Method::HalfLoad, Some(rate)) => self.half_load(&stage, rate),
            (Method::HalfLoad, None) => Err(Error::Unable("its capacity is not known".into())),
            (Method::Memory, _) => self.memory(&stage),
        };
        stage.check(result)
    }

    /// What the subject can do: units a second in a closed loop.
    pub fn capacity(&self) -> Result<f64> {
        let mut stage = self.start()?;
        let result = self.cost(&stage);
        let sample = stage.check(result)?;
        let units = sample.of(Figure::UnitsPerSecond);
        units.ok_or_else(|| Error::Unable("it has no capacity".into()))
    }

    /// Starts upstream and subject, and waits until requests are answered.
    pub fn start(&self) -> Result<Stage> {
        let (upstream, upstream_address) = self.start_upstream()?;
        let started = self.subject.start(&Setting {
            scenario: self.scenario,
            upstream: upstream_address,
            placement: self.bench.placement,
            sheds: self.sheds,
            directory: self.directory,
            credential: &self.bench.credential,
            certificate: &self.bench.certificate,
        })?;
        let Some(Started {
            address,
            mut process,
            recorder,
        }) = started
        else {
            return Ok(Stage {
                target: upstream_address,
                upstream,
                upstream_address,
                subject: None,
                recorder: None,
            });
        };
        self.wait_for_answer(address, upstream_address, &mut process)?;
        Ok(Stage {
            target: address,
            upstream,
            upstream_address,
            subject: Some(process),
            recorder,
        })
    }

    fn start_upstream(&self) -> Result<(Running, SocketAddr)> {
        let placement = &self.bench.placement;
        let core = match self.subject {
            Subject::Direct => placement.subject,
            _ => placement.upstream,
        };
        let this = std::env::current_exe().doing(|| "finding this program".into())?;
        let mut arguments = vec![
            "upstream".into(),
            "--scenario".into(),
            self.scenario.name.into(),
        ];
        if self.subject.lateness() == Lateness::Rewritten {
            arguments.push("--rewritten".into());
        }
        let mut upstream = Running::start("upstream", core, &this, &arguments, self.directory)?;
        let log = upstream.log().to_owned();
        let line = upstream.wait_for_line(&log)?;
        match line.parse() {
            Ok(address) => Ok((upstream, address)),
            Err(_) => Err(upstream.failure("did not say where it listens".into())),
        }
    }

    /// Some subjects accept connections before they can serve: the first 200 says that they can.
    fn wait_for_answer(
        &self,
        address: SocketAddr,
        upstream: SocketAddr,
        process: &mut Running,
    ) -> Result<()> {
        let mut dialer = self.dialer(address)?;
        let plan = self.plan(address, upstream);
        let mut request = Vec::new();
        plan.of(0, 1, 0).write(0, &mut request);
        let mut reason = String::new();
        let answered = process.wait_until(|| match probe(&mut dialer, &request) {
            Ok(()) => Some(()),
            Err(why) => {
                reason = why;
                None
            }
        });
        answered.map_err(|error| match reason.is_empty() {
            true => error,
            false => process.failure(reason),
        })
    }

    /// What is sent to `target`, which forwards it to `upstream`.
    pub fn plan(&self, target: SocketAddr, upstream: SocketAddr) -> Plan {
        let field = match self.subject {
            // It has no configuration but what a request says.
            Subject::Portkey => format!(
                "x-portkey-provider: openai\r\nx-portkey-custom-host: http://{upstream}/v1\r\n\
                 Authorization: Bearer none"
            ),
            subject => self.bench.credential.field(subject.wants_token()),
        };
        Plan::new(self.scenario, &target.to_string(), &field)
    }

    /// Connections to that address, as the scenario has them.
    pub fn dialer(&self, target: SocketAddr) -> Result<Dialer> {
        Dialer::new(target, self.scenario, &self.bench.certificate.certificate)
    }

    /// Drives the closed loop of the scenario.
    pub fn drive(&self, stage: &Stage, at_edge: impl FnMut(Edge) -> Result<()>) -> Result<Window> {
        let plan = self.plan(stage.target, stage.upstream_address);
        // Streams begin one after the other, so that not all of them do at the same step.
        let (stagger, warm_up) = match self.scenario.unit {
            Unit::Request => (Duration::ZERO, WARM_UP),
            Unit::Event => (STAGGER, WARM_UP.max(self.scenario.step * 2)),
        };
        let mut load = Load {
            dialer: self.dialer(stage.target)?,
            plan: &plan,
            connections: self.scenario.connections,
            new_each: self.scenario.wire.is_new(),
            pace: self.scenario.pace,
            lateness: self.subject.lateness(),
            stagger,
            warm_up,
            window: self.window.max(self.scenario.step * STEPS_MIN),
        };
        closed::drive(&mut load, at_edge)
    }

    fn cost(&self, stage: &Stage) -> Result<Sample> {
        let mut counters = Vec::with_capacity(2);
        let window = self.drive(stage, |_| {
            counters.push(stage.counters());
            Ok(())
        })?;
        let meter = &window.meter;
        let mut sample = self.sample(meter.units, window.elapsed, &counters)?;
        set_latency(&mut sample, &meter.latency_us);
        if self.scenario.streams() && meter.events > 0 {
            let late = 100.0 * meter.late_events as f64 / meter.events as f64;
            sample.set(Figure::LateTextPercent, late);
        }
        let [full, resumed] = window.handshakes;
        if full + resumed > 0 {
            let percent = 100.0 * resumed as f64 / (full + resumed) as f64;
            sample.set(Figure::ResumedPercent, percent);
        }
        Ok(sample)
    }

    fn half_load(&self, stage: &Stage, rate: f64) -> Result<Sample> {
        let plan = self.plan(stage.target, stage.upstream_address);
        let offer = Offer {
            dialer: self.dialer(stage.target)?,
            plan: &plan,
            rate,
            connections_max: CONNECTIONS_MAX,
            patience: PATIENCE,
            objective: PATIENCE,
            lateness: self.subject.lateness(),
            warm_up: WARM_UP,
            window: self.window,
        };
        let mut counters = Vec::with_capacity(2);
        let outcome = open::offer(offer, |_| {
            counters.push(stage.counters());
            Ok(())
        })?;
        whole(&outcome)?;
        let mut sample = self.sample(outcome.answered, self.window, &counters)?;
        set_latency(&mut sample, &outcome.latency_us);
        sample.set(Figure::OfferedPerSecond, rate);
        let lag = outcome.lag_us.value_at_quantile(0.99) as f64;
        sample.set(Figure::GeneratorLagP99Us, lag);
        Ok(sample)
    }

    fn sample(&self, units: u64, elapsed: Duration, counters: &[Counters]) -> Result<Sample> {
        let [open, close] = counters else {
            return Err(Error::Unable("the window has not two edges".into()));
        };
        let cpu = close.subject.since(&open.subject);
        if units == 0 || cpu.is_zero() {
            return Err(Error::Unable(format!(
                "{units} units in {cpu:?} of CPU time: the window is too short"
            )));
        }
        let units = units as f64;
        let percent = |cpu: Duration| 100.0 * cpu.as_secs_f64() / elapsed.as_secs_f64();
        let mut sample = Sample::default();
        sample.set(Figure::CpuUsPerUnit, cpu.as_secs_f64() * 1e6 / units);
        sample.set(Figure::UnitsPerCoreSecond, units / cpu.as_secs_f64());
        sample.set(Figure::RssBytes, close.resident_bytes as f64);
        sample.set(Figure::UnitsPerSecond, units / elapsed.as_secs_f64());
        sample.set(Figure::SubjectBusyPercent, percent(cpu));
        let recorder = match (&open.recorder, &close.recorder) {
            (Some(open), Some(close)) => Some(close.since(open)),
            _ => None,
        };
        if let Some(cpu) = recorder {
            let us_per_unit = cpu.as_secs_f64() * 1e6 / units;
            sample.set(Figure::RecorderCpuUsPerUnit, us_per_unit);
        }
        let pairs = close.load.iter().zip(&open.load);
        let mut load: Duration = pairs.map(|(close, open)| close.since(open)).sum();
        if self.subject == Subject::Direct {
            load = load.saturating_sub(cpu); // its subject is the upstream
        }
        sample.set(Figure::LoadBusyPercent, percent(load));
        let known = cpu + load + recorder.unwrap_or_default();
        let others = close
            .machine
            .saturating_sub(open.machine)
            .saturating_sub(known);
        sample.set(Figure::OthersBusyPercent, percent(others));
        Ok(sample)
    }
}

fn set_latency(sample: &mut Sample, latency_us: &hdrhistogram::Histogram<u64>) {
    let points = [
        (Figure::LatencyP50Us, 0.5),
        (Figure::LatencyP99Us, 0.99),
        (Figure::LatencyP999Us, 0.999),
    ];
    for (figure, quantile) in points {
        sample.set(figure, latency_us.value_at_quantile(quantile) as f64);
    }
}

/// At half load every request is answered; a figure over some of them would say too little.
fn whole(outcome: &Outcome) -> Result<()> {
    if outcome.answered == outcome.offered {
        return Ok(());
    }
    let why = outcome.first_failure.as_deref().unwrap_or("no failure");
    Err(Error::Unable(format!(
        "of {} requests {} were answered, {} refused, {} failed ({why}), {} given up, {} never sent",
        outcome.offered,
        outcome.answered,
        outcome.refused,
        outcome.failed,
        outcome.given_up,
        outcome.never_sent,
    )))
}
