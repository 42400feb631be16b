//! `penstock-perf profile`: where the CPU time of the gateway goes, under a scenario of `compare`.
//!
//! One command starts everything, drives it, samples it with Linux's `perf`, and leaves a flame
//! graph (SVG) and the folded stacks that it was drawn from. It prints three tables: the split
//! between kernel and process, the shares of the gateway's parts (by the committed table
//! `perf/profile/parts.toml`), and the functions with most time of their own.
//!
//! - [`sampler`]: `perf` itself; [`round`]: what is sampled
//! - [`stacks`]: samples folded and added up; [`parts`]: which part a stack belongs to
//! - [`flame`]: the picture

pub mod flame;
pub mod parts;
pub mod round;
pub mod sampler;
pub mod stacks;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Doing, Error, Result};
use crate::figures::{FigureLine, print_json, print_table, profile};
use crate::machine::{Machine, Moment};
use crate::scenario::Scenario;
use crate::subject::{Subject, install};
use parts::Parts;
use round::{Profiled, Round};
use sampler::Sampler;
use stacks::{Function, Space, Stack};

/// With fewer samples than this, shares are too uncertain to print without a warning.
const SAMPLES_MIN: usize = 1000;

/// What the command line asks for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Who is profiled: penstock-off, penstock-auth, penstock-on, or another subject of `compare`.
    #[arg(long, default_value = "penstock-on", value_parser = parse_subject)]
    subject: Subject,
    /// What it carries: a scenario of `compare`.
    #[arg(long, default_value = "small")]
    scenario: Scenario,
    /// How long it is sampled.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Samples a second of CPU time; odd, so that it keeps no step with what happens regularly.
    #[arg(long, default_value_t = 997, value_parser = clap::value_parser!(u32).range(1..=9999))]
    frequency: u32,
    /// Functions in the table.
    #[arg(long, default_value_t = 25)]
    top: usize,
    /// Where the picture and the folded stacks go.
    #[arg(long, value_name = "FOLDER", default_value = "target/profile")]
    output: PathBuf,
    /// Print one JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
}

/// A profile, added up.
#[derive(Debug)]
struct Sums {
    total: u64,
    samples: usize,
    kernel: u64,
    /// Most first.
    parts: Vec<(String, u64)>,
    functions: Vec<Function>,
}

/// Profiles; true when it did.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut say = |text: &str| eprintln!("{text}");
    let (subject, scenario) = (arguments.subject, arguments.scenario);
    let date = Moment::now().iso();
    let machine = Machine::this();
    say(&format!("{date}, {}", machine.describe()));
    if cfg!(debug_assertions) {
        say("this is a debug build: its profile is not that of the gateway that is shipped");
    }
    install::ensure(subject, &mut say)
        .map_err(|reason| Error::Unable(format!("{subject}: {reason}")))?;
    let sampler = Sampler::ensure(&mut say)?;
    let parts = Parts::shipped()?;
    say(&format!(
        "{subject} under {scenario}: {} samples a second of {} for {} s",
        arguments.frequency, sampler.event, arguments.seconds
    ));
    let round = Round {
        subject,
        scenario,
        span: Duration::from_secs(arguments.seconds),
        frequency_hz: arguments.frequency,
    };
    let profiled = round.run(&sampler)?;
    let folded = stacks::fold(&profiled.script)?;
    let sums = Sums::of(
        &Stack::read_all(&folded)?,
        stacks::count_samples(&profiled.script),
        &parts,
    )?;
    sums.warn(&mut say);
    let title = format!("{subject} under {scenario}");
    let subtitle = format!(
        "{date} · {} samples of {} · {} build · {}",
        sums.samples,
        sampler.event,
        profile(),
        machine.describe()
    );
    let picture = flame::draw(&folded, &title, &subtitle, sampler.unit())?;
    let name = format!("{subject}-{scenario}-{}", date.replace(':', "-"));
    let svg = write(&arguments.output, &format!("{name}.svg"), &picture)?;
    write(
        &arguments.output,
        &format!("{name}.folded"),
        folded.as_bytes(),
    )?;
    match arguments.json {
        true => print_json(&sums.lines(arguments, &profiled))?,
        false => sums.print(arguments, &profiled, &subtitle),
    }
    say(&format!("flame graph: {}", svg.display()));
    Ok(true)
}

/// A subject, for which Penstock's may be shortened.
fn parse_subject(name: &str) -> std::result::Result<Subject, String> {
    let long = match name {
        "on" | "auth" | "off" => format!("penstock-{name}"),
        name => name.to_owned(),
    };
    match long.parse()? {
        Subject::Direct => {
            Err("`direct` is nothing in between: there is nothing to profile".into())
        }
        subject => Ok(subject),
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    fs::create_dir_all(folder).doing(|| format!("creating {}", folder.display()))?;
    let path = folder.join(name);
    fs::write(&path, bytes).doing(|| format!("writing {}", path.display()))?;
    Ok(path)
}

// === impl Sums ===

impl Sums {
    fn of(stacks: &[Stack], samples: usize, parts: &Parts) -> Result<Sums> {
        let total: u64 = stacks.iter().map(|stack| stack.weight).sum();
        if total == 0 {
            return Err(Error::Unable(
                "perf took no sample: was the subject given anything to do?".into(),
            ));
        }
        let in_kernel = |stack: &&Stack| stack.space() == Space::Kernel;
        let kernel = stacks.iter().filter(in_kernel).map(|stack| stack.weight);
        let mut shares: HashMap<&str, u64> = HashMap::new();
        for stack in stacks {
            *shares.entry(parts.of(stack)).or_default() += stack.weight;
        }
        let mut shares: Vec<(String, u64)> = shares
            .into_iter()
            .map(|(part, weight)| (part.to_owned(), weight))
            .collect();
        shares.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        Ok(Sums {
            total,
            samples,
            kernel: kernel.sum(),
            parts: shares,
            functions: stacks::functions(stacks),
        })
    }

    fn percent(&self, weight: u64) -> f64 {
        100.0 * weight as f64 / self.total as f64
    }

    /// Half of the interval in which the true share lies in 95 of 100 such profiles.
    fn margin(&self, weight: u64) -> f64 {
        let share = weight as f64 / self.total as f64;
        100.0 * 1.96 * (share * (1.0 - share) / self.samples.max(1) as f64).sqrt()
    }

    fn warn(&self, say: &mut dyn FnMut(&str)) {
        if self.samples < SAMPLES_MIN {
            say(&format!(
                "only {} samples: shares are rough; profile for longer (--seconds)",
                self.samples
            ));
        }
        if self.kernel == 0 {
            say("no sample is of the kernel: run as root, or lower kernel.perf_event_paranoid");
        }
    }

    fn print(&self, arguments: &Arguments, profiled: &Profiled, subtitle: &str) {
        let unit = arguments.scenario.unit();
        let cpu = profiled.cpu_us_per_unit;
        println!(
            "\n{} under {}: {subtitle}",
            arguments.subject, arguments.scenario
        );
        println!(
            "{cpu:.2} us of CPU time a {unit} while sampled, {:.0} % of a core busy\n",
            profiled.busy_percent
        );
        let us = |weight: u64| format!("{:.2}", cpu * self.percent(weight) / 100.0);
        let share = |weight: u64| format!("{:.1}", self.percent(weight));
        let row = |name: &str, weight: u64| {
            let margin = format!("{:.1}", self.margin(weight));
            vec![name.to_owned(), share(weight), margin, us(weight)]
        };
        let head = |first: &str| {
            let columns = [first, "share %", "±", &format!("us/{unit}")];
            columns.map(str::to_owned).to_vec()
        };
        print_table(&[
            head("where"),
            row("kernel", self.kernel),
            row("process", self.total - self.kernel),
        ]);
        let mut rows = vec![head("part")];
        rows.extend(self.parts.iter().map(|(part, weight)| row(part, *weight)));
        print_table(&rows);
        let mut rows = vec![head("function, by its own time")];
        rows[0].push("with what it calls %".into());
        for function in self.functions.iter().take(arguments.top) {
            let mark = match function.space {
                Space::Kernel => " (kernel)",
                Space::User => "",
            };
            let mut cells = row(&format!("{}{mark}", function.name), function.own);
            cells.push(share(function.with_callees));
            rows.push(cells);
        }
        print_table(&rows);
    }

    /// The same as objects, with the keys that every command of this program uses.
    fn lines(&self, arguments: &Arguments, profiled: &Profiled) -> Vec<FigureLine> {
        let subject = arguments.subject.name();
        let line = |figure: &str, unit: &str, value: f64| {
            FigureLine::of(arguments.scenario.name, subject, figure, unit, vec![value])
        };
        let cpu = profiled.cpu_us_per_unit;
        let mut lines = vec![
            line("cpu_us_per_unit", "us", cpu),
            line("subject_busy_percent", "%", profiled.busy_percent),
            line("samples", "1", self.samples as f64),
            line("share/kernel", "%", self.percent(self.kernel)),
        ];
        for (part, weight) in &self.parts {
            let name = format!("share/part/{part}");
            lines.push(line(&name, "%", self.percent(*weight)));
        }
        for function in self.functions.iter().take(arguments.top) {
            let name = format!("share/function/{}", function.name);
            lines.push(line(&name, "%", self.percent(function.own)));
        }
        lines.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_parts_and_of_spaces_add_up_to_the_whole() {
        let folded = "c;penstock_policies::scan::walk::Walk::next 30\n\
                      c;syscall;io_send_[k];tcp_sendmsg_[k] 50\n\
                      c;who_knows 15\nc;penstock_policies::mask::channel::push 5\n";
        let stacks = Stack::read_all(folded).expect("folded");
        let sums = Sums::of(&stacks, 100, &Parts::shipped().expect("valid")).expect("samples");
        assert_eq!((sums.total, sums.kernel), (100, 50));
        let parts: Vec<_> = sums.parts.iter().map(|(p, w)| (p.as_str(), *w)).collect();
        assert_eq!(
            parts,
            [
                ("kernel: network", 50),
                ("scanning", 35),
                ("other (user)", 15)
            ]
        );
        // 50 of 100 samples: the share lies between 40 and 60 %.
        assert!((sums.margin(50) - 9.8).abs() < 0.01, "{}", sums.margin(50));
    }

    #[test]
    fn a_profile_without_samples_is_an_error_and_not_an_empty_picture() {
        let parts = Parts::shipped().expect("valid");
        let error = Sums::of(&[], 0, &parts).expect_err("nothing").to_string();
        assert!(error.contains("no sample"), "{error}");
    }

    #[test]
    fn subjects_may_be_shortened_and_nothing_cannot_be_profiled() {
        assert_eq!(parse_subject("on"), Ok(Subject::PenstockOn));
        assert_eq!(parse_subject("penstock-auth"), Ok(Subject::PenstockAuth));
        assert_eq!(parse_subject("nginx"), Ok(Subject::Nginx));
        assert!(
            parse_subject("direct")
                .expect_err("nothing")
                .contains("nothing in between")
        );
        assert!(parse_subject("apache").is_err());
    }
}
