//! `penstock-perf plan`: how many cores so many requests a second need, from a few measured runs.
//!
//! The runs are those of `penstock-loadgen run --json`, at different loads, in open loop. Three
//! models are fitted: M/G/k for latency at a load ([`queue`], [`fit`]), the Universal Scalability
//! Law for what more cores bring, and the same law over the requests in flight for what holds
//! throughput back ([`usl`]). Each run is left out once and foretold from the others ([`judge`]);
//! that error is printed with every answer. Where the runs do not support one, there is none, in
//! words, and with an exit code of its own ([`REFUSED`]).
//!
//! - [`runs`]: what is read; [`answer`]: questions; [`pictures`]: what is drawn
//!
//! What it does not know: bursts beyond random arrivals show up as variability only if the runs had
//! them; a service that changes with its load (caches, batching engines) is only as good as the
//! held-out error says; memory, connections and disks have limits of their own.

pub mod answer;
pub mod fit;
pub mod judge;
pub mod linear;
pub mod pictures;
pub mod queue;
pub mod runs;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod tests;
pub mod usl;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::{Doing, Result};
use crate::figures::{FigureLine, print_json, print_table};
use answer::{Bottleneck, Needed, Question, bottleneck, cores_needed};
use fit::{Load, Model, Refusal, fit};
use judge::{HeldOut, believable, errors, hold_out};
use runs::Target;

/// Exit code when the data do not support an answer.
pub const REFUSED: u8 = 3;

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Outcomes of `penstock-loadgen run --json`, all of `--cores` cores, each at another rate.
    #[arg(
        value_name = "OUTCOME",
        required_unless_present = "runs",
        conflicts_with = "runs"
    )]
    outcomes: Vec<PathBuf>,
    /// Cores of the gateway that served them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: u32,
    /// A table of runs (TOML): for each its outcome, its cores, and busy shares where known.
    #[arg(long, value_name = "FILE")]
    runs: Option<PathBuf>,
    /// Requests a second to plan for.
    #[arg(long, required_unless_present = "tokens", conflicts_with = "tokens")]
    rate: Option<f64>,
    /// Tokens a second to plan for, at as many tokens a request as the runs had.
    #[arg(long)]
    tokens: Option<f64>,
    /// What is promised, such as `ttft.p99<250ms` or `end_to_end.p99<2s`.
    #[arg(long)]
    objective: Target,
    /// Take capacity to grow with cores where that was not measured.
    #[arg(long)]
    assume_linear: bool,
    /// Where pictures go.
    #[arg(long, value_name = "FOLDER", default_value = "target/plan")]
    output: PathBuf,
    /// Print one JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
}

/// Everything that was found out.
struct Plan<'a> {
    loads: &'a [Load],
    target: &'a Target,
    model: Model,
    held_out: Vec<HeldOut>,
    question: Question,
    needed: Needed,
}

/// Plans. [`REFUSED`] when the runs do not support an answer.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut say = |text: &str| eprintln!("{text}");
    let target = &arguments.objective;
    let mut loads = match &arguments.runs {
        Some(table) => runs::of_table(table, target, &mut say)?,
        None => runs::of_files(&arguments.outcomes, arguments.cores, target, &mut say)?,
    };
    // A shell's `rate-*.json` puts 10000 before 1500.
    loads.sort_by(|a, b| a.cores.cmp(&b.cores).then(a.rate.total_cmp(&b.rate)));
    match plan(arguments, &loads) {
        Ok(plan) => {
            plan.draw(&arguments.output, &mut say)?;
            match arguments.json {
                true => print_json(&plan.lines())?,
                false => plan.print(),
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(refusal) => {
            eprintln!("no answer: {refusal}");
            Ok(ExitCode::from(REFUSED))
        }
    }
}

fn plan<'a>(arguments: &'a Arguments, loads: &'a [Load]) -> std::result::Result<Plan<'a>, Refusal> {
    let target = &arguments.objective;
    let model = fit(loads)?;
    let held_out = hold_out(loads, target.quantile);
    believable(&model, &held_out)?;
    let question = Question {
        rate: rate(arguments, loads)?,
        quantile: target.quantile,
        bound_s: target.bound_s,
        linear: arguments.assume_linear,
    };
    let needed = cores_needed(&model, &question)?;
    Ok(Plan {
        loads,
        target,
        model,
        held_out,
        question,
        needed,
    })
}

/// Requests a second that are asked for.
fn rate(arguments: &Arguments, loads: &[Load]) -> std::result::Result<f64, Refusal> {
    if let Some(rate) = arguments.rate.filter(|rate| *rate > 0.0) {
        return Ok(rate);
    }
    let tokens = arguments.tokens.unwrap_or(0.0);
    let each: f64 = loads.iter().map(|load| load.tokens_each).sum::<f64>() / loads.len() as f64;
    match tokens > 0.0 && each > 0.0 {
        true => Ok(tokens / each),
        false => Err(Refusal(
            "a rate above zero is needed; for tokens a second the runs' answers must have tokens"
                .into(),
        )),
    }
}

// === impl Plan ===

impl Plan<'_> {
    fn draw(&self, folder: &std::path::Path, say: &mut dyn FnMut(&str)) -> Result<()> {
        fs::create_dir_all(folder).doing(|| format!("creating {}", folder.display()))?;
        let needed = Some(&self.needed);
        for (name, svg) in pictures::draw(self.loads, &self.model, self.target, needed)? {
            let path = folder.join(name);
            fs::write(&path, svg).doing(|| format!("writing {}", path.display()))?;
            say(&format!("picture: {}", path.display()));
        }
        Ok(())
    }

    fn print(&self) {
        let percentile = format!("p{}", 100.0 * self.target.quantile);
        println!(
            "\n{} of {} runs\n",
            self.target.metric.title(),
            self.loads.len()
        );
        let head = [
            "run",
            "cores",
            "rate/s",
            "done/s",
            "in flight",
            "busy by the model %",
            "mean ms",
            &format!("{percentile} ms"),
            "left out: foretold ms",
            "error %",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.loads.iter().map(|load| self.row(load)));
        print_table(&rows);
        self.print_model();
        self.print_answer(&percentile);
    }

    fn row(&self, load: &Load) -> Vec<String> {
        let k = f64::from(load.cores);
        let busy = load.rate * self.model.service_s.get(&load.cores).unwrap_or(&0.0) / k;
        let held_out = self.held_out.iter().find(|held| held.name == load.name);
        let unknown = if load.saturated() { "saturated" } else { "-" };
        vec![
            load.name.clone(),
            load.cores.to_string(),
            format!("{:.0}", load.rate),
            format!("{:.0}", load.completed),
            format!("{:.1}", load.in_flight()),
            format!("{:.0}", 100.0 * busy.min(1.0)),
            format!("{:.2}", 1e3 * load.mean_s()),
            format!("{:.2}", 1e3 * load.quantile_s(self.target.quantile)),
            held_out.map_or(unknown.into(), |held| {
                format!("{:.2}", 1e3 * held.quantile_s.1)
            }),
            held_out.map_or("-".into(), |held| format!("{:.0}", 100.0 * held.error())),
        ]
    }

    fn print_model(&self) {
        let model = &self.model;
        println!(
            "M/G/k: {:.2} ms with nobody waiting, variability {:.2}, fit error {:.1} %",
            1e3 * model.unloaded.mean_s(),
            model.variability,
            100.0 * model.error
        );
        for (cores, s) in &model.service_s {
            let capacity = f64::from(*cores) / s;
            let each = 1e6 * s;
            let range = model.service_range_s.get(cores).map(|(low, high)| {
                let k = f64::from(*cores);
                format!(" (the runs allow {:.0} to {:.0})", k / high, k / low)
            });
            println!(
                "  {}: {each:.1} us of a core a request, full at {capacity:.0}/s{}",
                in_words(*cores),
                range.unwrap_or_default()
            );
        }
        match &model.scaling {
            Some(law) => println!(
                "USL over cores: {:.0}/s by the first, contention {:.4}, coherency {:.6}{}",
                law.gamma,
                law.sigma,
                law.kappa,
                law.peak()
                    .map_or(String::new(), |n| format!("; more than {n:.0} bring less"))
            ),
            None => println!("USL over cores: not fitted, it needs three numbers of cores"),
        }
        if let Some((median, largest)) = errors(&self.held_out) {
            println!(
                "on runs left out, one at a time: error {:.0} % in the middle, {:.0} % at most",
                100.0 * median,
                100.0 * largest
            );
        }
    }

    fn print_answer(&self, percentile: &str) {
        let (needed, question) = (&self.needed, &self.question);
        let cores = needed.servers.count;
        println!(
            "\n{:.0} requests a second with {} {percentile} within {:.1} ms: {}",
            question.rate,
            self.target.metric.title(),
            1e3 * question.bound_s,
            in_words(cores),
        );
        if needed.assumed {
            println!("  (assumed: capacity grows with cores; the runs do not show it)");
        }
        println!(
            "  {percentile} {:.1} ms there, {:.0} % busy; within the bound up to {:.0}/s, full at {:.0}/s",
            1e3 * needed.latency_s,
            100.0 * needed.utilisation,
            needed.rate_max,
            needed.servers.capacity()
        );
        let (first, full_at) = bottleneck(self.loads);
        println!("  next bottleneck: {}", words(&first));
        for (name, rate) in &full_at {
            println!("    {name} is full at {rate:.0}/s");
        }
    }

    fn lines(&self) -> Vec<FigureLine> {
        let scenario = format!("{}.p{}", self.target.metric, 100.0 * self.target.quantile);
        let line = |figure: &str, unit: &str, value: f64| {
            FigureLine::of(scenario.clone(), "penstock", figure, unit, vec![value])
        };
        let (median, largest) = errors(&self.held_out).unwrap_or((f64::NAN, f64::NAN));
        let needed = &self.needed;
        [
            line("cores_needed", "cores", f64::from(needed.servers.count)),
            line("rate_asked", "requests/s", self.question.rate),
            line("latency_ms", "ms", 1e3 * needed.latency_s),
            line("utilisation_percent", "%", 100.0 * needed.utilisation),
            line("rate_within_objective", "requests/s", needed.rate_max),
            line("rate_full", "requests/s", needed.servers.capacity()),
            line("held_out_error_median_percent", "%", 100.0 * median),
            line("held_out_error_max_percent", "%", 100.0 * largest),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// How many cores.
pub(super) fn in_words(cores: u32) -> String {
    match cores {
        1 => "1 core".to_owned(),
        _ => format!("{cores} cores"),
    }
}

fn words(bottleneck: &Bottleneck) -> String {
    match bottleneck {
        Bottleneck::Part { name, full_at } => {
            format!("{name}, full at {full_at:.0} requests a second")
        }
        Bottleneck::Contention => {
            "what has a queue: the cores themselves, or a lock or a single thread before them; the \
             runs alone cannot tell these apart, busy shares (--runs) would"
                .into()
        }
        Bottleneck::Coherency => {
            "coherency: what is in flight costs each other more the more there is; no busy shares \
             were given to tell what"
                .into()
        }
        Bottleneck::Cores => {
            "the cores themselves; nothing else shows (busy shares of other parts were not given)"
                .into()
        }
    }
}
