//! One subject under one scenario, for as long as it is sampled.
//!
//! The same traffic, verification and placement as a round of `compare`: the profiled work is work
//! that was right. The profiler runs on a core of the load side.

use std::time::Duration;

use super::sampler::{Recording, Sampler};
use crate::compare::{self, bench, in_folder};
use crate::cpu::{Usage, process_tree};
use crate::driver::Edge;
use crate::error::{Error, Result};
use crate::scenario::Scenario;
use crate::subject::Subject;

/// The window goes on for so long after the last sample is due, so that none is taken at the end.
const MARGIN: Duration = Duration::from_millis(700);

/// What to profile.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// The measured program.
    pub subject: Subject,
    /// What it carries.
    pub scenario: Scenario,
    /// How long it is sampled.
    pub span: Duration,
    /// Samples a second of CPU time.
    pub frequency_hz: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Profiled {
    /// Every sample, as `perf script` prints it.
    pub script: Vec<u8>,
    /// CPU time of the subject for one unit of work, while it was sampled.
    pub cpu_us_per_unit: f64,
    /// Share of its core that the subject used.
    pub busy_percent: f64,
}

// === impl Round ===

impl Round {
    /// Starts everything, samples, ends everything.
    pub fn run(&self, sampler: &Sampler) -> Result<Profiled> {
        let (bench, folder) = bench(&mut |text| eprintln!("{text}"))?;
        in_folder(folder.path(), |directory| {
            let round = compare::round::Round {
                bench: &bench,
                scenario: &self.scenario,
                subject: self.subject,
                window: self.span + MARGIN,
                sheds: false,
                directory,
            };
            let mut stage = round.start()?;
            let profiled = self.sample(&round, &stage, sampler);
            stage.check(profiled)
        })
    }

    fn sample(
        &self,
        round: &compare::round::Round<'_>,
        stage: &compare::round::Stage,
        sampler: &Sampler,
    ) -> Result<Profiled> {
        let pid = stage.measured();
        let mut recording: Option<Recording> = None;
        let mut usages = Vec::with_capacity(2);
        let window = round.drive(stage, |edge| {
            usages.push(Usage::of_tree(pid));
            if edge == Edge::Open {
                let pids = process_tree(pid);
                let (hz, core) = (self.frequency_hz, round.bench.placement.driver);
                recording = Some(sampler.record(&pids, hz, self.span, core, round.directory)?);
            }
            Ok(())
        })?;
        let (Some(recording), [open, close]) = (recording, &usages[..]) else {
            return Err(Error::Unable("the window has not two edges".into()));
        };
        let script = sampler.script(&recording.finish()?)?;
        let cpu = close.since(open);
        Ok(Profiled {
            script,
            cpu_us_per_unit: cpu.as_secs_f64() * 1e6 / window.meter.units.max(1) as f64,
            busy_percent: 100.0 * cpu.as_secs_f64() / window.elapsed.as_secs_f64(),
        })
    }
}
