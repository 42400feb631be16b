//! Rounds: every subject once a round, in an order that rotates, so that whatever drifts on the
//! machine drifts for all of them.
//!
//! A subject is started afresh for each round, with an upstream of its own. A subject that fails
//! loses all its figures and is not tried again; the others go on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::error::{Doing, Error, Result};
use crate::process::{Placement, pin_to, raise_file_limit};
use crate::report::{Cell, Comparison, Figure, REFERENCE, Sample};
use crate::scenario::{Method, Scenario};
use crate::subject::Subject;
use crate::subject::certificate::Certificate;
use crate::subject::credential::Credential;

pub mod command;
mod memory;
pub mod picture;
pub mod round;

use round::{Bench, Round};

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
    /// Requests a second at which added latency is measured; half of what the reference can do
    /// when it is not said.
    pub rate: Option<f64>,
}

/// How long a subject is driven to see what it can do.
const CAPACITY_WINDOW: Duration = Duration::from_millis(700);

/// A subject that would be busier than this at the reference's half load gets half of its own.
const BUSY_MAX: f64 = 0.85;

/// Places, keys and a folder, for everything that is started.
pub fn bench(say: &mut dyn FnMut(&str)) -> Result<(Bench, tempfile::TempDir)> {
    let placement = Placement::on_this_machine()?;
    if !placement.isolates_subject() {
        say("only one core may be used: subject, driver and upstream share it");
    }
    raise_file_limit()?;
    pin_to(placement.driver)?;
    let folder = tempfile::tempdir().doing(|| "making a temporary folder".into())?;
    // Proxies that drop privileges must still be able to pass through it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .doing(|| "opening the temporary folder to other users".into())?;
    let bench = Bench {
        placement,
        credential: Credential::generate()?,
        certificate: Certificate::generate()?,
    };
    Ok((bench, folder))
}

/// Measures everything asked for; `say` is told how it goes.
pub fn compare(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Comparison> {
    let (bench, folder) = bench(say)?;
    let mut comparison = Comparison::new(&options.scenarios, &options.subjects);
    for scenario in &options.scenarios {
        let mut rates = BTreeMap::new();
        if scenario.method == Method::HalfLoad {
            rates = half_loads(options, &bench, scenario, folder.path(), say);
        }
        for round in 0..options.rounds {
            for subject in rotated(&options.subjects, round as usize) {
                let cell = comparison.cell(scenario, subject);
                if let Some(reason) = subject.unfit_for(scenario) {
                    cell.skipped = Some(reason);
                }
                if cell.failure.is_some() || cell.skipped.is_some() {
                    continue;
                }
                let rate = rates.get(&subject).copied();
                let measured = in_folder(folder.path(), |directory| {
                    let one = Round {
                        bench: &bench,
                        scenario,
                        subject,
                        window: options.window,
                        sheds: false,
                        directory,
                    };
                    one.measure(rate)
                });
                match measured {
                    Ok(sample) => {
                        say(&progress(
                            scenario,
                            subject,
                            round + 1,
                            options.rounds,
                            &sample,
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
        comparison.add_latencies(scenario);
    }
    Ok(comparison)
}

/// Runs something in a folder of its own, which is gone afterwards: a recorder's log of one round
/// can be hundreds of megabytes.
pub fn in_folder<T>(parent: &Path, run: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = tempfile::tempdir_in(parent).doing(|| "making a folder for a round".into())?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
        .doing(|| "opening a round's folder to other users".into())?;
    run(folder.path())
}

/// The rate for each subject: half of what the reference can do, and where that is too much for a
/// subject, half of what it can do itself.
fn half_loads(
    options: &Options,
    bench: &Bench,
    scenario: &Scenario,
    folder: &Path,
    say: &mut dyn FnMut(&str),
) -> BTreeMap<Subject, f64> {
    let capacity = |subject: Subject| {
        let found = in_folder(folder, |directory| {
            let round = Round {
                bench,
                scenario,
                subject,
                window: CAPACITY_WINDOW,
                sheds: false,
                directory,
            };
            round.capacity()
        });
        found.map(|units| (subject, units))
    };
    // One that cannot be measured here will say why in its rounds.
    let all: BTreeMap<Subject, f64> = options
        .subjects
        .iter()
        .filter_map(|&subject| capacity(subject).ok())
        .collect();
    let carriers = || {
        all.iter()
            .filter(|(subject, _)| **subject != Subject::Direct)
    };
    let reference = all
        .get(&REFERENCE)
        .or(carriers().next().map(|(_, units)| units));
    let Some(rate) = options.rate.or(reference.map(|units| units / 2.0)) else {
        return BTreeMap::new();
    };
    say(&format!("{scenario}: {rate:.0} requests a second"));
    let own = |(&subject, &units): (&Subject, &f64)| match units * BUSY_MAX < rate {
        true => {
            say(&format!(
                "{scenario} {subject}: {:.0}, half of what it can do",
                units / 2.0
            ));
            (subject, units / 2.0)
        }
        false => (subject, rate),
    };
    all.iter().map(own).collect()
}

fn progress(
    scenario: &Scenario,
    subject: Subject,
    round: u32,
    rounds: u32,
    sample: &Sample,
) -> String {
    let of = |figure| sample.of(figure).unwrap_or(f64::NAN);
    let what = match scenario.method {
        Method::Cost => format!("{:8.2} us/{}", of(Figure::CpuUsPerUnit), scenario.unit()),
        Method::HalfLoad => format!(
            "p50 {:.0} us, p99 {:.0} us",
            of(Figure::LatencyP50Us),
            of(Figure::LatencyP99Us)
        ),
        Method::Memory => format!(
            "{:.0} bytes a connection at rest, {:.0} a stream",
            of(Figure::BytesPerIdleConnection),
            of(Figure::BytesPerStream)
        ),
    };
    format!("{scenario} round {round}/{rounds} {subject:<13} {what}")
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
