//! Runs: what `penstock-loadgen run --json` wrote, and what else is known about each.
//!
//! Either the outcomes alone, all of one number of cores, or a table in TOML:
//!
//! ```toml
//! [[run]]
//! outcome = "rate-1000.json"       # beside this file
//! cores = 2                        # that served it
//! busy = { gateway = 0.62, recorder = 0.2, engine = 0.9 }   # share of each part's capacity, if known
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use penstock_loadgen::outcome::{Metric, Outcome};
use serde::Deserialize;

use super::fit::Load;
use crate::error::{Doing, Error, Result};

/// More failures than this, and what a run's latencies are of is not the service that was asked
/// about. Failures by saturation are told apart by the rate of completions.
const ERROR_RATE_MAX: f64 = 0.01;

/// What `penstock-perf plan` is to promise: a metric, a share of the requests, and a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Of which time.
    pub metric: Metric,
    /// For which share of the requests.
    pub quantile: f64,
    /// The bound, in seconds.
    pub bound_s: f64,
}

/// A table of runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    run: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    outcome: PathBuf,
    cores: u32,
    #[serde(default)]
    busy: BTreeMap<String, f64>,
}

/// Reads a table of runs; `warn` is told which are left out, and why.
pub fn of_table(path: &Path, target: &Target, warn: &mut dyn FnMut(&str)) -> Result<Vec<Load>> {
    let text = fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
    let table: Table = toml::from_str(&text)
        .map_err(|error| Error::Unable(format!("{}: {error}", path.display())))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut loads = Vec::new();
    for row in table.run {
        if row.cores == 0 || row.busy.values().any(|share| !(0.0..=1.0).contains(share)) {
            return Err(Error::Unable(format!(
                "{}: {}: cores is at least 1, and a busy share lies between 0 and 1",
                path.display(),
                row.outcome.display()
            )));
        }
        loads.extend(read(
            &folder.join(&row.outcome),
            row.cores,
            row.busy,
            target,
            warn,
        )?);
    }
    Ok(loads)
}

/// Reads outcomes that so many cores served.
pub fn of_files(
    files: &[PathBuf],
    cores: u32,
    target: &Target,
    warn: &mut dyn FnMut(&str),
) -> Result<Vec<Load>> {
    let mut loads = Vec::new();
    for file in files {
        loads.extend(read(file, cores, BTreeMap::new(), target, warn)?);
    }
    Ok(loads)
}

fn read(
    path: &Path,
    cores: u32,
    busy: BTreeMap<String, f64>,
    target: &Target,
    warn: &mut dyn FnMut(&str),
) -> Result<Option<Load>> {
    let text = fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
    let outcome = Outcome::from_json(&text)
        .map_err(|error| Error::Unable(format!("{}: {error}", path.display())))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    match load(&outcome, &name, cores, busy, target) {
        Ok(load) => Ok(Some(load)),
        Err(reason) => {
            warn(&format!("{name} is left out: {reason}"));
            Ok(None)
        }
    }
}

/// A run as the model sees it; or why it must not.
fn load(
    outcome: &Outcome,
    name: &str,
    cores: u32,
    busy: BTreeMap<String, f64>,
    target: &Target,
) -> std::result::Result<Load, String> {
    if outcome.asked.rate_per_s.is_none() {
        return Err(
            "a closed loop offers what the service takes, so it tells nothing about waiting".into(),
        );
    }
    if outcome.lag.verdict.late {
        return Err(format!(
            "its generator was late: {}",
            outcome.lag.verdict.reason
        ));
    }
    let times = outcome
        .distribution(target.metric, None)
        .ok_or_else(|| format!("it has no {}", target.metric.title()))?;
    // Over the time in which requests were meant to start; what came back later came back too late.
    let rate = outcome.counts.intended as f64 / outcome.asked.duration_s.max(f64::MIN_POSITIVE);
    let load = Load {
        name: name.to_owned(),
        cores,
        rate,
        completed: outcome.rates.completed_per_s,
        tokens_each: outcome.counts.tokens as f64 / outcome.counts.completed.max(1) as f64,
        latencies: times
            .histogram
            .counted()
            .map(|(ns, n)| (ns as f64 / 1e9, n))
            .collect(),
        busy,
    };
    if outcome.counts.error_rate > ERROR_RATE_MAX && !load.saturated() {
        return Err(format!(
            "{:.1} % of its requests failed",
            100.0 * outcome.counts.error_rate
        ));
    }
    Ok(load)
}

// === impl Target ===

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Target, String> {
        let form = || format!("`{text}`: write it as ttft.p99<250ms or end_to_end.p99.9<2s");
        let (what, bound) = text.split_once('<').ok_or_else(form)?;
        let (metric, percentile) = what.split_once('.').ok_or_else(form)?;
        let percent: f64 = percentile
            .trim()
            .strip_prefix('p')
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(form)?;
        if !(50.0..100.0).contains(&percent) {
            return Err(format!("`{text}`: p50 up to p99.99"));
        }
        let metric: Metric = metric.trim().parse()?;
        if matches!(
            metric,
            Metric::Connect | Metric::Tls | Metric::Failed | Metric::BetweenTokens
        ) {
            return Err(format!(
                "`{text}`: {metric} is not a time that a request waits in"
            ));
        }
        let bound = bound.strip_prefix('=').unwrap_or(bound);
        let bound_s = penstock_loadgen::outcome::parse_time(bound)? / 1e9;
        Ok(Target {
            metric,
            quantile: percent / 100.0,
            bound_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_metric_a_percentile_and_a_bound() {
        let target: Target = "ttft.p99<250ms".parse().expect("a target");
        assert_eq!((target.metric, target.quantile), (Metric::Ttft, 0.99));
        assert!((target.bound_s - 0.25).abs() < 1e-12);
        let target: Target = "end_to_end.p99.9<=2s".parse().expect("a target");
        assert_eq!(target.metric, Metric::EndToEnd);
        assert!((target.quantile - 0.999).abs() < 1e-12 && (target.bound_s - 2.0).abs() < 1e-12);
        for wrong in [
            "ttft<250ms",
            "ttft.p99",
            "ttft.99<1s",
            "ttft.p100<1s",
            "ttft.p20<1s",
            "ttft.p99<250",
            "tls.p99<1s",
            "between_tokens.p99<1s",
            "speed.p99<1s",
        ] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_table_with_impossible_shares_or_unknown_keys_is_refused_with_its_name() {
        let target: Target = "ttft.p99<250ms".parse().expect("a target");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("runs.toml");
        let read = |text: &str| {
            fs::write(&path, text).expect("writable");
            let read = of_table(&path, &target, &mut |_| {});
            read.expect_err(text).to_string()
        };
        let row = "[[run]]\noutcome = \"a.json\"\ncores = 1\n";
        for (text, why) in [
            (
                format!("{row}busy = {{ gateway = 1.5 }}\n"),
                "between 0 and 1",
            ),
            (row.replace('1', "0"), "at least 1"),
            (format!("{row}speed = 3\n"), "speed"),
            (row.to_owned(), "a.json"),
        ] {
            let error = read(&text);
            assert!(error.contains(why), "{error}");
        }
    }
}
