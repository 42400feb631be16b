//! `penstock-loadgen upstream`: the double as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use penstock_loadgen::double::{Double, DoubleOptions, Script};
use penstock_loadgen::ready;
use serde_json::{Map, Value, json};

use super::{Failure, wait_for_signal};

/// Shown by `--help`: what a request can ask for by itself.
const DIRECTIVES: &str = "\
A request says what it wants in its prompt, or its model's name:
  [[double: text=\"two words\" split=chars:3 stall=2:500]]   [[double: {\"text\": \"as JSON\"}]]
  echo                          the text is the raw request, as JSON
  text= reasoning= refusal=     what is said; tool= arguments= for a tool call
  split=whole|words|chars:N|bytes:N|[\"a\",\"b\"]   escape=plain|ascii|all   repeat=N   choices=N
  ttft_ms= inter_token_ms= stall=DELTA:MS,… burst=N wire_bytes=N wire_ms=MS
  truncate=after:N|event:N|chunk:N|clean:N   close=before|reset|after|silently   invalid_json
  status= message= body= content_type= headers={…} encoding= framing=length|chunked|close
  events=[…] raw=               bytes taken literally
  model= finish_reason= usage= done= stream= profile=openai|transformers
  digest                        states the BLAKE3 of the text in x-text-blake3 (run --expect-stated)
A script has the same fields:
  [[rule]]
  model = \"llama-*\"             # and contains = \"…\", path = \"/v1/…\", times = N
  answer = { text = \"…\", split = \"bytes:2\" }
For measurements: models bench-1k, bench-300, bench-stream-64, bench-stream-64x1@20 (20 ms apart).";

/// An inference-server double: it says what it is told to say and remembers what it was sent.
#[derive(Args)]
#[command(after_long_help = DIRECTIVES)]
pub(super) struct Arguments {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Listen on this Unix socket too.
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
    /// Where to show what was seen (requests, counters), apart from what a gateway reaches.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Rules that choose answers, TOML or JSON.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Whose habits to imitate.
    #[arg(long, value_enum, default_value_t = Habits::Openai)]
    profile: Habits,
    /// Milliseconds before the first token.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    ttft: u64,
    /// Milliseconds between tokens.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    inter_token: u64,
    /// Threads, each with a listener of its own.
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Answer 401 to requests without the credential in this file.
    #[arg(long, value_name = "FILE")]
    require_credential: Option<PathBuf>,
    /// Models to list.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    models: Option<Vec<String>>,
    /// Write the bound addresses to this file, as JSON, as soon as it listens.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Habits {
    /// What the vendors document.
    Openai,
    /// What `transformers serve` does.
    Transformers,
}

pub(super) fn main(arguments: Arguments) -> Result<(), Failure> {
    let mut options = DoubleOptions {
        listen: arguments.listen,
        unix: arguments.unix.clone(),
        admin: arguments.admin,
        threads: arguments.threads,
        defaults: defaults(&arguments),
        ..DoubleOptions::default()
    };
    if let Some(path) = &arguments.script {
        options.script = Script::parse(&read(path)?)
            .map_err(|why| Failure::Failed(format!("{}: {why}", path.display())))?;
    }
    if let Some(path) = &arguments.require_credential {
        options.credential = Some(read(path)?.trim().to_owned());
    }
    if let Some(models) = arguments.models {
        options.models = models;
    }
    let double = Double::start(options)
        .map_err(|error| Failure::Failed(format!("{}: {error}", arguments.listen)))?;
    let url = format!("http://{}", double.address());
    let admin = double
        .admin_address()
        .map(|address| format!("http://{address}"));
    eprintln!("double: {url}");
    if let Some(admin) = &admin {
        eprintln!("double, what it saw: {admin}/__double/requests");
    }
    if let Some(path) = &arguments.ready_file {
        let ready = json!({ "url": url, "admin": admin, "unix": arguments.unix });
        ready::write(path, &format!("{ready}\n")).map_err(Failure::failed)?;
    }
    wait_for_signal()
}

fn defaults(arguments: &Arguments) -> Map<String, Value> {
    let mut fields = Map::new();
    if matches!(arguments.profile, Habits::Transformers) {
        fields.insert("profile".into(), "transformers".into());
    }
    if arguments.ttft > 0 {
        fields.insert("ttft_ms".into(), arguments.ttft.into());
    }
    if arguments.inter_token > 0 {
        fields.insert("inter_token_ms".into(), arguments.inter_token.into());
    }
    fields
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}
