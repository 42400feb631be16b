//! Rounds: every subject once a round, in an order that rotates, so that whatever drifts on the
//! machine drifts for all of them.
//!
//! A subject is started afresh for each round, with an upstream of its own. A subject that fails
//! loses all its figures and is not tried again; the others go on.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::cpu::{self, Usage};
use crate::driver::{Edge, Load, Window, drive, probe};
use crate::error::{Doing, Error, Result};
use crate::process::{Placement, Running, pin_to, raise_file_limit};
use crate::report::{Cell, Comparison, Figure, Sample};
use crate::scenario::{Answer, Scenario};
use crate::subject::credential::Credential;
use crate::subject::{Setting, Started, Subject};
use crate::traffic::{self, Expected, STREAM_EVENTS};

/// Time before the window for scenarios of single answers.
const WARM_UP: Duration = Duration::from_millis(500);

/// What to compare, and how thoroughly.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kinds of traffic, measured one after the other.
    pub scenarios: Vec<Scenario>,
    /// Subjects, interleaved.
    pub subjects: Vec<Subject>,
    /// Rounds of each subject in each scenario.
    pub rounds: u32,
    /// The measured window of one round.
    pub window: Duration,
}

/// What one round of one subject needs.
struct Round<'a> {
    scenario: &'a Scenario,
    subject: Subject,
    placement: Placement,
    window: Duration,
    directory: &'a Path,
    credential: &'a Credential,
}

/// Counters of everything that takes part, at one edge of the window.
struct Counters {
    subject: Usage,
    recorder: Option<Usage>,
    load: [Usage; 2],
    machine: Duration,
}

/// Measures everything asked for; `say` is told how it goes.
pub fn compare(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Comparison> {
    let placement = Placement::on_this_machine()?;
    if !placement.isolates_subject() {
        say("only one core may be used: subject, driver and upstream share it");
    }
    raise_file_limit()?;
    pin_to(placement.driver)?;
    let credential = Credential::generate()?;
    let folder = tempfile::tempdir().doing(|| "making a temporary folder".into())?;
    // Proxies that drop privileges must still be able to pass through it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .doing(|| "opening the temporary folder to other users".into())?;

    let mut comparison = Comparison::new(&options.scenarios, &options.subjects);
    for scenario in &options.scenarios {
        for round in 0..options.rounds {
            for subject in rotated(&options.subjects, round as usize) {
                let cell = comparison.cell(scenario, subject);
                if cell.failure.is_some() {
                    continue;
                }
                let directory = folder.path().join(format!("{scenario}-{subject}-{round}"));
                fs::create_dir(&directory).doing(|| "making a folder for a round".into())?;
                let one = Round {
                    scenario,
                    subject,
                    placement,
                    window: options.window,
                    directory: &directory,
                    credential: &credential,
                };
                let measured = one.measure();
                // A recorder's log of one round can be hundreds of megabytes. What cannot be
                // removed now goes with the folder around it.
                let _ = fs::remove_dir_all(&directory);
                match measured {
                    Ok(sample) => {
                        let cpu = sample.of(Figure::CpuUsPerUnit).unwrap_or(f64::NAN);
                        say(&format!(
                            "{scenario} round {}/{} {subject:<13} {cpu:8.2} us/{}",
                            round + 1,
                            options.rounds,
                            scenario.unit()
                        ));
                        cell.samples.push(sample);
                    }
                    Err(error) => {
                        say(&format!("{scenario} {subject} failed: {error}"));
                        fail(cell, &error);
                    }
                }
            }
        }
    }
    Ok(comparison)
}

fn fail(cell: &mut Cell, error: &Error) {
    cell.failure = Some(error.to_string());
    cell.samples.clear();
}

/// The subjects in this round's order.
fn rotated(subjects: &[Subject], round: usize) -> impl Iterator<Item = Subject> + '_ {
    let first = round % subjects.len().max(1);
    subjects[first..].iter().chain(&subjects[..first]).copied()
}

// === impl Round ===

impl Round<'_> {
    fn measure(&self) -> Result<Sample> {
        let (mut upstream, upstream_address) = self.start_upstream()?;
        let started = self.subject.start(&Setting {
            scenario: self.scenario,
            upstream: upstream_address,
            placement: self.placement,
            directory: self.directory,
            credential: self.credential,
        })?;
        let measured = match started {
            None => self.drive(upstream_address, &upstream, None),
            Some(Started {
                address,
                mut process,
                mut recorder,
            }) => {
                self.wait_for_answer(address, &mut process)?;
                let measured = self
                    .drive(address, &upstream, Some((&process, recorder.as_ref())))
                    .map_err(|error| process.failure(format!("failed: {error}")))?;
                process.check()?;
                recorder.as_mut().map_or(Ok(()), Running::check)?;
                Ok(measured)
            }
        };
        upstream.check()?;
        measured
    }

    fn start_upstream(&self) -> Result<(Running, SocketAddr)> {
        let core = match self.subject {
            Subject::Direct => self.placement.subject,
            _ => self.placement.upstream,
        };
        let this = std::env::current_exe().doing(|| "finding this program".into())?;
        let arguments = [
            "upstream".into(),
            "--scenario".into(),
            self.scenario.name.into(),
        ];
        let mut upstream = Running::start("upstream", core, &this, &arguments, self.directory)?;
        let log = upstream.log().to_owned();
        let line = upstream.wait_for_line(&log)?;
        match line.parse() {
            Ok(address) => Ok((upstream, address)),
            Err(_) => Err(upstream.failure("did not say where it listens".into())),
        }
    }

    /// Some subjects accept connections before they can serve: the first 200 says that they can.
    fn wait_for_answer(&self, address: SocketAddr, process: &mut Running) -> Result<()> {
        let request = self.request(address);
        let mut reason = String::new();
        let answered = process.wait_until(|| match probe(address, &request) {
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

    fn request(&self, target: SocketAddr) -> Vec<u8> {
        let field = self.credential.field(self.subject.wants_token());
        let (model, streams) = (self.scenario.model(), self.scenario.streams());
        traffic::request(&target.to_string(), &field, model, streams)
    }

    fn drive(
        &self,
        target: SocketAddr,
        upstream: &Running,
        subject: Option<(&Running, Option<&Running>)>,
    ) -> Result<Sample> {
        let model = self.scenario.model();
        let streams = self.scenario.streams();
        let request = self.request(target);
        let expected: Expected = match streams {
            true => Expected::Stream(traffic::stream_answer(model)),
            false => Expected::Json(traffic::json_answer(model)),
        };
        // Streams warm up for one whole length, after their starts were spread over another.
        let (stagger, warm_up) = match self.scenario.answer {
            Answer::Json => (Duration::ZERO, WARM_UP),
            Answer::Stream { step } => (step * STREAM_EVENTS as u32, step * STREAM_EVENTS as u32),
        };
        let load = Load {
            target,
            connections: self.scenario.connections,
            request: &request,
            expected: &expected,
            lateness: self.subject.lateness(),
            stagger,
            warm_up,
            window: self.window,
        };
        let measured = subject.map_or(upstream, |(process, _)| process).pid();
        let recorder = subject.and_then(|(_, recorder)| recorder).map(Running::pid);
        let read = || Counters {
            subject: Usage::of_tree(measured),
            recorder: recorder.map(Usage::of_tree),
            load: [cpu::own_usage(), Usage::of_tree(upstream.pid())],
            machine: cpu::machine_busy(),
        };
        let mut counters = Vec::with_capacity(2);
        let mut resident_bytes = 0;
        let window = drive(&load, |edge| {
            counters.push(read());
            if edge == Edge::Close {
                resident_bytes = cpu::resident_bytes(measured);
            }
            Ok(())
        })?;
        match &counters[..] {
            [open, close] => self.sample(&window, open, close, resident_bytes),
            _ => Err(Error::Unable("the window has not two edges".into())),
        }
    }

    fn sample(
        &self,
        window: &Window,
        open: &Counters,
        close: &Counters,
        resident_bytes: u64,
    ) -> Result<Sample> {
        let units = window.units as f64;
        let cpu = close.subject.since(&open.subject);
        if window.units == 0 || cpu.is_zero() {
            return Err(Error::Unable(format!(
                "{} units in {cpu:?} of CPU time: the window is too short",
                window.units
            )));
        }
        let percent = |cpu: Duration| 100.0 * cpu.as_secs_f64() / window.elapsed.as_secs_f64();
        let latency = |quantile| window.latency_us.value_at_quantile(quantile) as f64;
        let mut sample = Sample::default();
        sample.set(Figure::CpuUsPerUnit, cpu.as_secs_f64() * 1e6 / units);
        sample.set(Figure::UnitsPerCoreSecond, units / cpu.as_secs_f64());
        sample.set(Figure::LatencyP50Us, latency(0.5));
        sample.set(Figure::LatencyP99Us, latency(0.99));
        sample.set(Figure::LatencyP999Us, latency(0.999));
        sample.set(Figure::RssBytes, resident_bytes as f64);
        sample.set(Figure::UnitsPerSecond, units / window.elapsed.as_secs_f64());
        sample.set(Figure::SubjectBusyPercent, percent(cpu));
        if self.scenario.streams() {
            let late = 100.0 * window.late_units as f64 / units;
            sample.set(Figure::LateTextPercent, late);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_begins_with_another_subject() {
        let subjects = [Subject::Direct, Subject::Nginx, Subject::Haproxy];
        let order = |round| rotated(&subjects, round).collect::<Vec<_>>();
        assert_eq!(order(0), subjects);
        assert_eq!(
            order(1),
            [Subject::Nginx, Subject::Haproxy, Subject::Direct]
        );
        assert_eq!(
            order(5),
            [Subject::Haproxy, Subject::Direct, Subject::Nginx]
        );
    }
}
