//! One subject under one scenario, for as long as it is sampled.
//!
//! The same traffic, verification and placement as a round of `compare`: the profiled work is work
//! that was right. The profiler runs on a core of the load side.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::sampler::{Recording, Sampler};
use crate::cpu::{Usage, process_tree};
use crate::driver::{Edge, Load, drive, probe};
use crate::error::{Doing, Error, Result};
use crate::process::{Placement, Running, pin_to, raise_file_limit};
use crate::scenario::{Answer, Scenario};
use crate::subject::credential::Credential;
use crate::subject::{Setting, Started, Subject};
use crate::traffic::{self, Expected, STREAM_EVENTS};

/// Time before the window for scenarios of single answers.
const WARM_UP: Duration = Duration::from_millis(500);

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
        let placement = Placement::on_this_machine()?;
        raise_file_limit()?;
        pin_to(placement.driver)?;
        let credential = Credential::generate()?;
        let folder = tempfile::tempdir().doing(|| "making a temporary folder".into())?;
        // Proxies that drop privileges must still be able to pass through it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
            .doing(|| "opening the temporary folder to other users".into())?;
        let (mut upstream, address) = self.start_upstream(placement, folder.path())?;
        let setting = Setting {
            scenario: &self.scenario,
            upstream: address,
            placement,
            directory: folder.path(),
            credential: &credential,
        };
        let Some(mut started) = self.subject.start(&setting)? else {
            return Err(Error::Unable(format!("{} starts nothing", self.subject)));
        };
        let request = self.request(started.address, &credential);
        started
            .process
            .wait_until(|| probe(started.address, &request).ok())?;
        let profiled = self.drive(&started, &request, sampler, placement, folder.path());
        started.process.check()?;
        started.recorder.as_mut().map_or(Ok(()), Running::check)?;
        upstream.check()?;
        profiled
    }

    fn drive(
        &self,
        started: &Started,
        request: &[u8],
        sampler: &Sampler,
        placement: Placement,
        folder: &Path,
    ) -> Result<Profiled> {
        let model = self.scenario.model();
        let expected = match self.scenario.answer {
            Answer::Stream { .. } => Expected::Stream(traffic::stream_answer(model)),
            Answer::Json => Expected::Json(traffic::json_answer(model)),
        };
        // Streams warm up for one whole length, after their starts were spread over another.
        let (stagger, warm_up) = match self.scenario.answer {
            Answer::Json => (Duration::ZERO, WARM_UP),
            Answer::Stream { step } => (step * STREAM_EVENTS as u32, step * STREAM_EVENTS as u32),
        };
        let load = Load {
            target: started.address,
            connections: self.scenario.connections,
            request,
            expected: &expected,
            lateness: self.subject.lateness(),
            stagger,
            warm_up,
            window: self.span + MARGIN,
        };
        let pid = started.process.pid();
        let mut recording: Option<Recording> = None;
        let mut usages = Vec::with_capacity(2);
        let window = drive(&load, |edge| {
            usages.push(Usage::of_tree(pid));
            if edge == Edge::Open {
                let pids = process_tree(pid);
                let (hz, core) = (self.frequency_hz, placement.driver);
                recording = Some(sampler.record(&pids, hz, self.span, core, folder)?);
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
            cpu_us_per_unit: cpu.as_secs_f64() * 1e6 / window.units.max(1) as f64,
            busy_percent: 100.0 * cpu.as_secs_f64() / window.elapsed.as_secs_f64(),
        })
    }

    fn start_upstream(&self, placement: Placement, folder: &Path) -> Result<(Running, SocketAddr)> {
        let this = std::env::current_exe().doing(|| "finding this program".into())?;
        let words = ["upstream", "--scenario", self.scenario.name];
        let arguments = words.map(Into::into);
        let core = placement.upstream;
        let mut upstream = Running::start("upstream", core, &this, &arguments, folder)?;
        let log = upstream.log().to_owned();
        let line = upstream.wait_for_line(&log)?;
        match line.parse() {
            Ok(address) => Ok((upstream, address)),
            Err(_) => Err(upstream.failure("did not say where it listens".into())),
        }
    }

    fn request(&self, target: SocketAddr, credential: &Credential) -> Vec<u8> {
        let field = credential.field(self.subject.wants_token());
        let (model, streams) = (self.scenario.model(), self.scenario.streams());
        traffic::request(&target.to_string(), &field, model, streams)
    }
}
