//! The rounds of `penstock-perf scan`.

use std::path::Path;

use penstock_policies::rule::Rule;

use super::ours::{Ours, cpu_seconds};
use super::vectorscan::{Expression, Pass, Vectorscan, expression};
use super::{Arguments, each, event};
use crate::corpus::Corpus;
use crate::error::Result;
use crate::figures::FigureLine;
use crate::rulesets;

/// Sizes of generated sets.
const SCALES: [usize; 4] = [10, 250, 1000, 5000];

/// The size whose compilation has a target.
const COMPILE_RULES: usize = 1000;

/// What has been measured so far.
pub(super) struct Contest<'a> {
    arguments: &'a Arguments,
    corpora: Vec<Corpus>,
    lines: Vec<FigureLine>,
    conditions: Vec<String>,
    complete: bool,
}

/// How a text is given.
#[derive(Clone, Copy)]
enum Way {
    Prefilter,
    /// In blocks, the text as it is written: nothing is decoded, and nothing replaced.
    Plain(usize),
    Blocks(usize),
    Chunks(usize, usize),
}

// === impl Way ===

impl Way {
    fn name(self) -> String {
        match self {
            Way::Prefilter => "prefilter".to_owned(),
            Way::Plain(_) => "plain".to_owned(),
            Way::Blocks(_) => "block".to_owned(),
            Way::Chunks(_, chunk) => format!("stream{chunk}"),
        }
    }

    fn ours(self, ours: &Ours, text: &str, repeats: u32) -> Pass {
        match self {
            Way::Prefilter => ours.prefilter(text, repeats),
            Way::Plain(block) => ours.plain(text, block, repeats),
            Way::Blocks(block) => ours.blocks(text, block, repeats),
            Way::Chunks(block, chunk) => ours.chunks(text, block, chunk, repeats),
        }
    }

    fn theirs(self, theirs: &mut Vectorscan, repeats: u32) -> Result<Pass> {
        match self {
            // It has no such part: what it does whole stands beside it.
            Way::Prefilter => theirs.blocks(1 << 16, repeats),
            Way::Plain(block) | Way::Blocks(block) => theirs.blocks(block, repeats),
            Way::Chunks(block, chunk) => theirs.chunks(block, chunk, repeats),
        }
    }
}

// === impl Contest ===

impl<'a> Contest<'a> {
    pub(super) fn new(arguments: &'a Arguments, corpora: Vec<Corpus>) -> Contest<'a> {
        let cut = format!("blocks of {} bytes", arguments.block);
        Contest {
            arguments,
            corpora,
            lines: Vec::new(),
            conditions: vec![cut],
            complete: true,
        }
    }

    pub(super) fn finish(self) -> (Vec<FigureLine>, Vec<String>, bool) {
        (self.lines, self.conditions, self.complete)
    }

    /// Shipped rules, in blocks and in chunks.
    pub(super) fn rules(&mut self, name: &str, rules: Vec<Rule>) -> Result<()> {
        let expressions: Vec<Expression> = rules.iter().map(expression).collect();
        self.note(format!("{name}: {} rules", rules.len()));
        self.both_ways(name, rules, &expressions)
    }

    /// A gitleaks configuration: its rules as we import them, its expressions as they stand.
    pub(super) fn gitleaks(&mut self, path: &Path) -> Result<()> {
        let (rules, expressions, left_out) = super::gitleaks::read(path)?;
        self.note(format!(
            "gitleaks: {} rules imported, {} expressions given to Vectorscan",
            rules.len(),
            expressions.len()
        ));
        for reason in left_out {
            self.note(format!("gitleaks: {reason}"));
        }
        self.both_ways("gitleaks", rules, &expressions)
    }

    /// More and more rules on the same texts.
    pub(super) fn scaling(&mut self) -> Result<()> {
        for count in SCALES {
            let rules = rulesets::parse("generated", &rulesets::generated(count))?;
            let expressions: Vec<Expression> = rules.iter().map(expression).collect();
            let ways = [Way::Blocks(self.arguments.block)];
            self.fight(&format!("scaling{count}"), rules, &expressions, &ways)?;
        }
        Ok(())
    }

    fn both_ways(
        &mut self,
        name: &str,
        rules: Vec<Rule>,
        expressions: &[Expression],
    ) -> Result<()> {
        let Arguments { block, chunk, .. } = *self.arguments;
        let ways = [
            Way::Prefilter,
            Way::Plain(block),
            Way::Blocks(block),
            Way::Chunks(block, chunk),
        ];
        self.fight(name, rules, expressions, &ways)
    }

    fn fight(
        &mut self,
        name: &str,
        rules: Vec<Rule>,
        expressions: &[Expression],
        ways: &[Way],
    ) -> Result<()> {
        eprintln!("{name}");
        let (scanner, left_out) = rulesets::compile_most(rules)?;
        for reason in left_out {
            self.note(format!("{name}: Penstock left out {reason}"));
            self.complete = false;
        }
        let ours = Ours::new(scanner);
        let mut theirs = self.vectorscan(name, expressions, ways)?;
        for corpus in self.corpora.clone() {
            if let Some(theirs) = &mut theirs {
                let path = self.arguments.corpora.join(format!("{}.txt", corpus.name));
                theirs.corpus(&path.canonicalize().unwrap_or(path))?;
            }
            for way in ways {
                self.rounds(name, &corpus, *way, &ours, theirs.as_mut())?;
            }
        }
        Ok(())
    }

    /// Starts Vectorscan for these ways, unless it is missing or not wanted.
    fn vectorscan(
        &mut self,
        name: &str,
        expressions: &[Expression],
        ways: &[Way],
    ) -> Result<Option<Vectorscan>> {
        if self.arguments.alone {
            return Ok(None);
        }
        let mut theirs = match Vectorscan::start(expressions) {
            Ok(theirs) => theirs,
            Err(missing) => {
                self.note(format!("Vectorscan is left out: {missing}"));
                self.complete = false;
                return Ok(None);
            }
        };
        for way in ways
            .iter()
            .filter(|way| matches!(way, Way::Blocks(_) | Way::Chunks(..)))
        {
            let compiled = theirs.compile(matches!(way, Way::Chunks(..)))?;
            self.note(format!(
                "{name}: Vectorscan {} compiled {} expressions for {} in {:.3} s, {} bytes",
                theirs.version(),
                compiled.patterns,
                way.name(),
                compiled.seconds,
                compiled.bytes
            ));
            for reason in compiled.refused {
                self.note(format!("{name}: Vectorscan refused {reason}"));
            }
            if compiled.patterns == 0 {
                self.complete = false;
                return Ok(None);
            }
        }
        Ok(Some(theirs))
    }

    fn rounds(
        &mut self,
        name: &str,
        corpus: &Corpus,
        way: Way,
        ours: &Ours,
        mut theirs: Option<&mut Vectorscan>,
    ) -> Result<()> {
        let window = f64::from(self.arguments.round_ms) / 1e3;
        let repeats = |pass: Pass| ((window / pass.seconds.max(1e-6)).ceil() as u32).max(1);
        // The first pass of each warms caches and tells how often a round repeats it.
        let our_repeats = repeats(way.ours(ours, &corpus.text, 1));
        let their_repeats = match &mut theirs {
            Some(theirs) => repeats(way.theirs(theirs, 1)?),
            None => 0,
        };
        let (mut our_speeds, mut their_speeds) = (Vec::new(), Vec::new());
        let (mut our_matches, mut their_matches) = (0.0, 0.0);
        for _ in 0..self.arguments.rounds {
            let pass = way.ours(ours, &corpus.text, our_repeats);
            our_speeds.push(pass.gigabytes_per_second());
            our_matches = pass.matches / f64::from(our_repeats);
            if let Some(theirs) = &mut theirs {
                let pass = way.theirs(theirs, their_repeats)?;
                their_speeds.push(pass.gigabytes_per_second());
                their_matches = pass.matches / f64::from(their_repeats);
            }
        }
        let scenario = format!("{name}/{}/{}", way.name(), corpus.name);
        let mut tell = |subject: &str, figure: &str, unit: &str, values: Vec<f64>| {
            let scenario = scenario.clone();
            self.lines
                .extend(FigureLine::of(scenario, subject, figure, unit, values));
        };
        let raced = !their_speeds.is_empty();
        tell("penstock", "gb_per_core_second", "GB/s", our_speeds);
        tell("vectorscan", "gb_per_core_second", "GB/s", their_speeds);
        if let Way::Prefilter = way {
            tell("penstock", "places", "places", vec![our_matches]);
            return Ok(());
        }
        tell("penstock", "matches", "matches", vec![our_matches]);
        if raced {
            tell("vectorscan", "matches", "matches", vec![their_matches]);
        }
        Ok(())
    }

    /// Time and memory of compiling.
    pub(super) fn compile(&mut self) -> Result<()> {
        let generated = rulesets::parse("generated", &rulesets::generated(COMPILE_RULES))?;
        let shipped = rulesets::named("everything")?;
        for (name, rules) in [
            (format!("generated{COMPILE_RULES}"), generated),
            ("shipped".to_owned(), shipped),
        ] {
            eprintln!("compile {name}: {} rules", rules.len());
            let scenario = format!("compile/{name}");
            let (mut times, mut kept, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..self.arguments.rounds {
                let rules = rules.clone();
                let mut scanner = None;
                let from = cpu_seconds();
                let counted = allocation_counter::measure(|| {
                    scanner = Some(rulesets::compile(rules));
                });
                times.push((cpu_seconds() - from) * 1e3);
                kept.push(counted.bytes_current as f64 / 1e6);
                peaks.push(counted.bytes_max as f64 / 1e6);
                scanner.transpose()?;
            }
            let mut tell = |subject: &str, figure: &str, unit: &str, values: Vec<f64>| {
                let scenario = scenario.clone();
                self.lines
                    .extend(FigureLine::of(scenario, subject, figure, unit, values));
            };
            tell("penstock", "compile_cpu_ms", "ms", times);
            tell("penstock", "compiled_bytes", "MB", kept);
            tell("penstock", "compile_peak_bytes", "MB", peaks);
            if self.arguments.alone {
                continue;
            }
            let expressions: Vec<Expression> = rules.iter().map(expression).collect();
            let Ok(mut theirs) = Vectorscan::start(&expressions) else {
                continue; // the other sets say that it is missing
            };
            let (mut times, mut sizes) = (Vec::new(), Vec::new());
            for _ in 0..self.arguments.rounds.min(3) {
                let compiled = theirs.compile(false)?;
                times.push(compiled.seconds * 1e3);
                sizes.push(compiled.bytes as f64 / 1e6);
            }
            tell("vectorscan", "compile_cpu_ms", "ms", times);
            tell("vectorscan", "compiled_bytes", "MB", sizes);
        }
        Ok(())
    }

    /// The cost of an event of a stream.
    pub(super) fn events(&mut self) -> Result<()> {
        for corpus in &self.corpora {
            eprintln!("event {}", corpus.name);
            self.lines
                .extend(event::measure(corpus, self.arguments.rounds)?);
        }
        Ok(())
    }

    /// Which rules cost most when they are alone.
    pub(super) fn each(&mut self, set: &str) -> Result<()> {
        eprintln!("each rule of {set}");
        self.lines
            .extend(each::measure(set, &self.corpora, self.arguments.block)?);
        Ok(())
    }

    fn note(&mut self, text: String) {
        eprintln!("{text}");
        self.conditions.push(text);
    }
}
