//! `penstock-loadgen run`: arguments, the report, and what it means for the exit code.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use penstock_loadgen::run::{self, Api, Assertion, CONNECTIONS_MAX, Options, Outcome, Target};

use super::{Failure, duration};

/// The longest prompt that --prompt-bytes makes.
const PROMPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Send requests at a constant rate and report latencies, counted from when each should have
/// started. Exit code 1 when an assertion fails.
#[derive(Args)]
pub(super) struct Arguments {
    /// Base URL: http://host:port or unix:/path.
    #[arg(long)]
    url: String,
    /// Bearer token. Visible to other users of the machine: prefer --token-file.
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// File with the bearer token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Model to ask.
    #[arg(long, default_value = "double")]
    model: String,
    /// API to speak.
    #[arg(long, value_enum, default_value_t = Speak::Chat)]
    api: Speak,
    /// What to ask.
    #[arg(long, default_value = "Say something short about water.")]
    prompt: String,
    /// Repeat the prompt until it has this many bytes.
    #[arg(long, value_name = "N")]
    prompt_bytes: Option<usize>,
    /// Requests a second.
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    rate: f64,
    /// Closed loop: each connection sends again when it has its answer; --rate means nothing.
    #[arg(long, conflicts_with = "rate")]
    closed: bool,
    /// How long requests are started.
    #[arg(long, value_parser = duration, default_value = "10s")]
    duration: Duration,
    /// Connections, and so requests at a time.
    #[arg(long, default_value_t = 64, value_name = "N")]
    connections: usize,
    /// Ask for streams.
    #[arg(long)]
    stream: bool,
    /// How long an answer may take.
    #[arg(long, value_parser = duration, default_value = "30s")]
    timeout: Duration,
    /// Fail unless this holds: p99<50ms, ttft_p50<1s, error_rate<=1%, rate>=100; repeatable.
    #[arg(long, value_name = "EXPR", value_delimiter = ',')]
    assert: Vec<String>,
    /// Print the report as one JSON object.
    #[arg(long)]
    json: bool,
    /// Send load to another machine than this one.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Speak {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Messages,
}

pub(super) fn main(arguments: Arguments) -> Result<(), Failure> {
    let usable = arguments.rate.is_finite() && arguments.rate > 0.0;
    if !usable || !(1..=CONNECTIONS_MAX).contains(&arguments.connections) {
        let text = format!("--rate is above 0, --connections is 1 to {CONNECTIONS_MAX}");
        return Err(Failure::Usage(text));
    }
    let assertions = arguments
        .assert
        .iter()
        .map(|text| text.parse::<Assertion>());
    let assertions = assertions
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::Usage)?;
    let token = match &arguments.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
            Some(text.trim().to_owned())
        }
        None => arguments.token.clone(),
    };
    let api = match arguments.api {
        Speak::Chat => Api::Chat,
        Speak::Responses => Api::Responses,
        Speak::Messages => Api::Messages,
    };
    let target = Target::new(
        &arguments.url,
        api,
        &arguments.model,
        &prompt(&arguments),
        arguments.stream,
        token.as_deref(),
        arguments.allow_remote,
    );
    let options = Options {
        target: target.map_err(|error| Failure::Usage(error.to_string()))?,
        rate: (!arguments.closed).then_some(arguments.rate),
        duration: arguments.duration,
        connections: arguments.connections,
        timeout: arguments.timeout,
    };
    let report = run::run(options).map_err(Failure::failed)?;
    let outcomes: Vec<Outcome> = assertions
        .iter()
        .map(|assertion| assertion.check(&report))
        .collect();
    if arguments.json {
        let mut value = serde_json::to_value(&report).map_err(Failure::failed)?;
        value["assertions"] = serde_json::to_value(&outcomes).map_err(Failure::failed)?;
        println!("{value}");
    } else {
        print!("{report}");
        for outcome in &outcomes {
            let verdict = if outcome.holds { "holds" } else { "FAILS" };
            let measured = outcome
                .measured
                .map_or("nothing".into(), |value| value.to_string());
            println!("  {verdict}: {} (measured {measured})", outcome.assertion);
        }
    }
    if outcomes.iter().any(|outcome| !outcome.holds) {
        return Err(Failure::Reported);
    }
    if report.ok == 0 {
        return Err(Failure::Failed("no request was answered well".into()));
    }
    Ok(())
}

fn prompt(arguments: &Arguments) -> String {
    let Some(bytes) = arguments.prompt_bytes else {
        return arguments.prompt.clone();
    };
    let line = format!("{} ", arguments.prompt);
    let mut text = line.repeat(bytes.min(PROMPT_BYTES_MAX) / line.len() + 1);
    text.truncate(text.floor_char_boundary(bytes.min(PROMPT_BYTES_MAX)));
    text
}
