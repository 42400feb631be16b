//! `penstock-loadgen run`: arguments, the run, and what it means for the exit code.

mod arrivals;
mod caller;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use penstock_loadgen::outcome::{Objective, without_credentials};
use penstock_loadgen::run::check::{Checks, Expected, MASK_PATTERN};
use penstock_loadgen::run::target::{Access, Target};
use penstock_loadgen::run::{self, CONNECTIONS_MAX, Options, RunError};

use super::{Failure, output};
use run::time;

/// The least time for which a run is planned.
const DURATION_MIN: Duration = Duration::from_millis(1);

const NOTES: &str = "\
Arrivals (--arrivals):
  constant         one every 1/RATE, without drift
  poisson          exponential gaps: many callers who know nothing of each other
  gamma:CV         gamma gaps; CV is their coefficient of variation: 1 is poisson, 3 is bursty
  ramp:FROM-TO     a rate that grows or falls evenly over the run
  burst:N/T        N at once, every T
  trace:FILE       starts of a file: seconds a line; JSON lines or CSV with timestamp and lengths
                   (Mooncake's and Azure's traces load as they are)
  log:PATH         a recorder's log (its folder, or what its sessions and show --json print), at the
                   times and with the bodies that were recorded
  --closed         no arrivals: each connection sends again when it has its answer. Good for
                   throughput; its latencies are not those of users, and reports say so.

Lengths (--prompt-tokens, --output-tokens):
  128 · uniform:16-256 · normal:MEAN,SD · lognormal:MEAN,SD · exponential:MEAN; @16-512 bounds them

What is measured, from when a request should have started and from when it really was:
  connect, TLS, first byte, first token (the first text that is not empty), between tokens, per
  output token ((last - first) / (tokens - 1)), end to end.

The generator's own lag is the time from when a request was due to when the generator turned to it.
Waiting for a free connection is not in it: then the server is slow. If more than 1 % of the starts,
or of the reads, were later than --lag-max, the run measured the generator: exit code 2.

Exit codes: 0 good, 1 failed, 2 the generator was late, 64 wrong usage, 99 an assertion failed.";

/// Send requests at stated times, and report latencies from when each should have started.
///
/// HTTP/1.1; the gateway speaks no HTTP/2, so neither does this.
#[derive(Args)]
#[command(after_long_help = NOTES)]
pub(super) struct Arguments {
    /// Base URL: http://host:port, https://host:port or unix:/path.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    arrivals: arrivals::Arguments,
    #[command(flatten)]
    workload: workload::Arguments,
    #[command(flatten)]
    caller: caller::Arguments,
    #[command(flatten)]
    connections: Connections,
    #[command(flatten)]
    checks: Looks,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "Connections")]
struct Connections {
    /// Connections at most, and so requests at a time; opened as they are needed.
    #[arg(long, default_value_t = 256, value_name = "N")]
    connections: usize,
    /// Share of requests that get a new connection of their own: 0.1, or 10%.
    #[arg(long, value_parser = share, default_value = "0", value_name = "SHARE")]
    new_connections: f64,
    /// How long an answer may take, from when its request is begun.
    #[arg(long, value_parser = time::parse, default_value = "30s", value_name = "TIME")]
    timeout: Duration,
    /// Certificate authorities to trust (PEM), instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name that the certificate must have, when it is not the URL's.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Resume no TLS session: every handshake is a full one.
    #[arg(long)]
    full_handshakes: bool,
    /// HTTP version; 1.1 is the only one there is.
    #[arg(long, value_parser = http_version, default_value = "1.1", value_name = "VERSION")]
    http: String,
    /// Send load to another machine than this one.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Args)]
#[group(skip)]
#[command(next_help_heading = "What is good")]
struct Looks {
    /// What an answer must meet to count as goodput: ttft<200ms, between_tokens<50ms; repeatable.
    #[arg(long, value_name = "METRIC<TIME", value_delimiter = ',')]
    objective: Vec<Objective>,
    /// The text that every answer must have, byte for byte; others count as altered.
    #[arg(long, value_name = "FILE", conflicts_with = "expect_stated")]
    expect_text: Option<PathBuf>,
    /// Every answer must have the text whose BLAKE3 its field x-text-blake3 states, as the double
    /// does when it is asked for `digest`.
    #[arg(long)]
    expect_stated: bool,
    /// What a mask looks like, as a regular expression; matches in answers are counted.
    #[arg(long, value_name = "REGEX", default_value = MASK_PATTERN, hide_default_value = true)]
    mask_pattern: String,
    /// How late the generator itself may be.
    #[arg(long, value_parser = time::parse, default_value = "10ms", value_name = "TIME")]
    lag_max: Duration,
}

pub(super) fn main(arguments: Arguments) -> Result<(), Failure> {
    let output = arguments.output.ready()?;
    let options = options(
        &arguments.url,
        arguments.arrivals,
        arguments.workload,
        arguments.caller,
        arguments.connections,
        arguments.checks,
    )?;
    eprintln!("penstock-loadgen: seed {}", options.workload.seed);
    let planned = options.duration;
    let mut live = None;
    let outcome = run::run(options, |progress| {
        live = Some(output.live(progress, planned))
    });
    drop(live);
    let outcome = outcome.map_err(|error| match error {
        RunError::Usage(text) => Failure::Usage(text),
        RunError::System(..) => Failure::failed(error),
    })?;
    output.publish(outcome)
}

fn options(
    url: &str,
    arrivals: arrivals::Arguments,
    workload: workload::Arguments,
    caller: caller::Arguments,
    connections: Connections,
    looks: Looks,
) -> Result<Options, Failure> {
    let access = Access {
        allow_remote: connections.allow_remote,
        authorities: connections.ca,
        server_name: connections.server_name,
        full_handshakes: connections.full_handshakes,
    };
    let target = Target::new(url, &access).map_err(|error| Failure::Usage(error.to_string()))?;
    if !(1..=CONNECTIONS_MAX).contains(&connections.connections) {
        return Err(Failure::Usage(format!(
            "--connections is 1 to {CONNECTIONS_MAX}"
        )));
    }
    let planned = arrivals.ready()?;
    let fields = caller.fields()?;
    let identities = caller.identities()?;
    let (workload, workload_words, mut notes) =
        workload.ready(&planned, identities, connections.new_connections)?;
    notes.extend(planned.notes);
    Ok(Options {
        target,
        arrivals: planned.arrivals,
        duration: planned.duration.max(DURATION_MIN),
        requests_max: planned.requests_max,
        connections: connections.connections,
        timeout: connections.timeout,
        workload,
        fields,
        checks: looks.checks()?,
        objectives: looks.objective,
        lag_max: looks.lag_max,
        command: without_credentials(std::env::args()),
        workload_words,
        notes,
    })
}

// === impl Looks ===

impl Looks {
    fn checks(&self) -> Result<Checks, Failure> {
        let expected = match &self.expect_text {
            Some(path) => Expected::Hash(*blake3::hash(&read_bytes(path)?).as_bytes()),
            None if self.expect_stated => Expected::Stated,
            None => Expected::Any,
        };
        let masks = regex::Regex::new(&self.mask_pattern)
            .map_err(|error| Failure::Usage(format!("--mask-pattern: {error}")))?;
        Ok(Checks {
            expected,
            masks: Some(masks),
        })
    }
}

/// `0.25` or `25%`.
fn share(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map(|number| number * factor);
    match share {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is 0 to 1, or 0% to 100%".into()),
    }
}

fn http_version(text: &str) -> Result<String, String> {
    match text {
        "1.1" | "1" => Ok("1.1".into()),
        "2" | "h2" => Err(
            "HTTP/2 is not spoken here: the gateway speaks HTTP/1.1 only, and what it \
                           does not speak cannot be measured"
                .into(),
        ),
        _ => Err("1.1 is the only version there is".into()),
    }
}

fn read_bytes(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}

fn read_text(path: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}
