//! `penstock-gateway histograms`: how long calls took in each phase of their lives, over all cores
//! since the gateway started; as a table, as a log or as percentiles that HdrHistogram's
//! tools read.

use std::fs::File;
use std::io::{self, BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};
use serde_json::Value;

use super::{Place, report, table};

/// What the table shows of each phase.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];
/// Nanoseconds in the unit that an `.hlog` shows its maxima in.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

/// `penstock-gateway histograms`
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Write the whole distributions to this file, in HdrHistogram's log format, one tag a phase
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write one phase to this file by percentile, in milliseconds, for HdrHistogram's plotters
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// The phase that `--hgrm` writes: inspect, forward, first_byte, answer, hold or total
    #[arg(long, value_name = "PHASE", default_value = "total", requires = "hgrm")]
    phase: String,
    /// One JSON object in place of text
    #[arg(long)]
    json: bool,
}

/// One phase of calls.
struct Phase<'a> {
    name: &'a str,
    /// In nanoseconds.
    times: Histogram<u64>,
}

/// Runs the verb; the exit code of the process.
pub fn main(arguments: &Arguments) -> ExitCode {
    let found = arguments
        .place
        .client()
        .and_then(|it| it.get("/histograms"));
    let mut code = ExitCode::SUCCESS;
    let written = |path: &Path, written: io::Result<()>| {
        written.map_err(|error| eprintln!("penstock-gateway: {}: {error}", path.display()))
    };
    if let Ok(value) = &found {
        let hlog = arguments.hlog.as_deref();
        let hlog = hlog.map_or(Ok(()), |path| written(path, write_log(value, path)));
        let hgrm = arguments.hgrm.as_deref().map_or(Ok(()), |path| {
            written(path, write_percentiles(value, &arguments.phase, path))
        });
        if hlog.and(hgrm).is_err() {
            code = ExitCode::FAILURE;
        }
    }
    let reported = report(found, arguments.json, print);
    if code == ExitCode::SUCCESS {
        reported
    } else {
        code
    }
}

fn print(value: &Value) {
    let phases = match phases(value) {
        Ok(phases) => phases,
        Err(error) => return println!("what the gateway tells is not understood: {error}"),
    };
    let header = ["phase", "calls"].map(str::to_owned).into_iter();
    let header = header.chain(QUANTILES.map(|(name, _)| name.to_owned()));
    let rows = phases.iter().map(|phase| {
        let quantiles = QUANTILES.map(|(_, quantile)| match phase.times.len() {
            0 => "-".to_owned(),
            _ => shown(phase.times.value_at_quantile(quantile)),
        });
        let name = [phase.name.to_owned(), phase.times.len().to_string()];
        name.into_iter().chain(quantiles)
    });
    let rows: Vec<Vec<String>> = std::iter::once(header.collect())
        .chain(rows.map(Iterator::collect))
        .collect();
    table(&rows);
    if let Some(late) = value["cores_late"].as_u64().filter(|late| *late > 0) {
        println!("{late} cores had no time to answer: their part is an older one");
    }
}

/// Nanoseconds as a person reads them.
fn shown(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    match nanoseconds {
        0..1_000_000 => format!("{:.1} us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.2} s", value / 1e9),
    }
}

fn phases(value: &Value) -> Result<Vec<Phase<'_>>, String> {
    let phases = value["phases"].as_array().ok_or("no `phases`")?;
    phases
        .iter()
        .map(|phase| {
            let name = phase["phase"].as_str().ok_or("a phase without a name")?;
            let text = phase["histogram"].as_str().ok_or("no `histogram`")?;
            let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
            let times = Deserializer::new()
                .deserialize(&mut Cursor::new(bytes))
                .map_err(|error| error.to_string())?;
            Ok(Phase { name, times })
        })
        .collect()
}

fn write_percentiles(value: &Value, name: &str, path: &Path) -> io::Result<()> {
    let phases = phases(value).map_err(io::Error::other)?;
    let phase = phases.iter().find(|phase| phase.name == name);
    let phase = phase.ok_or_else(|| {
        let names: Vec<&str> = phases.iter().map(|phase| phase.name).collect();
        let known = names.join(", ");
        io::Error::other(format!("no phase is called {name:?}; there are {known}"))
    })?;
    std::fs::write(path, penstock_recorder::hgrm::text(&phase.times))
}

fn write_log(value: &Value, path: &Path) -> io::Result<()> {
    let phases = phases(value).map_err(io::Error::other)?;
    let unix = |name: &str| Duration::from_secs(value[name].as_u64().unwrap_or_default());
    let (since, at) = (unix("since_unix"), unix("at_unix"));
    let mut file = BufWriter::new(File::create(path)?);
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("penstock-gateway: nanoseconds of each phase, maxima in milliseconds")
        .with_start_time(SystemTime::UNIX_EPOCH + since)
        .with_base_time(SystemTime::UNIX_EPOCH + since)
        .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND)
        .begin_log_with(&mut file, &mut serializer)?;
    for phase in &phases {
        writer
            .write_histogram(
                &phase.times,
                Duration::ZERO,
                at.saturating_sub(since),
                Tag::new(phase.name),
            )
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    drop(writer);
    file.flush()
}
