//! Two runs side by side: for each figure both values, their ratio, how sure that is, and a word.
//!
//! The word is "better" or "worse" only where the whole interval lies beyond the margin; else "no
//! difference shown", which is not the same as "equal". Where a percentile has too few values beyond
//! it there is no interval and no word at all. How intervals are made is in [`super::quantile`].
//!
//! Many figures are compared at once. At a confidence of 99 %, one figure in a hundred that did not
//! change is called better or worse all the same: a gate should name the few figures that it is for.

use schemars::JsonSchema;
use serde::Serialize;

use super::quantile::{Method, Sample, interval, ratios, share_difference};
use crate::outcome::{Basis, Metric, Outcome, Slot};

/// Percentiles that are compared where there is enough.
const SHARES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")];

/// What is counted in a slot.
type Count = fn(&Slot) -> u64;

/// How to compare.
#[derive(Clone, Debug)]
pub struct Question {
    /// Share of intervals that hold the truth; 0.99.
    pub confidence: f64,
    /// Changes up to this share are none; 0.01.
    pub margin: f64,
    /// What all chance comes from.
    pub seed: u64,
    /// Figures by name (`ttft.p99`, `ttft.sent.p99`, `error_rate`); empty for all.
    pub figures: Vec<String>,
}

/// Two runs, compared.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Comparison {
    /// `penstock-loadgen-comparison/1`.
    pub schema: String,
    /// The name of each run, first and second.
    pub runs: [String; 2],
    /// As asked.
    pub confidence: f64,
    /// As asked.
    pub margin: f64,
    /// As asked.
    pub seed: u64,
    /// How intervals were made.
    pub method: String,
    /// What was not the same in both runs, and what else makes the comparison weak.
    pub warnings: Vec<String>,
    /// In the order of an exchange's life; rates at the end.
    pub rows: Vec<Row>,
}

/// One figure.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Row {
    /// `ttft.intended.p99`, `error_rate`, …
    pub figure: String,
    /// What the values are in.
    pub unit: RowUnit,
    /// Of the first run.
    pub a: f64,
    /// Of the second.
    pub b: f64,
    /// b / a; of shares b − a.
    pub change: f64,
    /// Where the true change lies, with the confidence asked for; null where there is too little.
    pub interval: Option<(f64, f64)>,
    /// In a word.
    pub verdict: Verdict,
}

/// What the values of a row are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowUnit {
    /// Times; less is better.
    Nanoseconds,
    /// Events a second; more is better.
    PerSecond,
    /// A share of requests, 0 to 1; less is better; the change is a difference.
    Share,
}

/// What can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The second run is better, beyond the margin.
    Better,
    /// It is worse, beyond the margin.
    Worse,
    /// The interval reaches into the margin.
    NoDifferenceShown,
    /// No interval can be given.
    TooLittleData,
}

/// Why two runs are not compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    /// A run whose figures are not to be used.
    #[error("{0}: the generator was late, so its figures are not to be compared")]
    Late(String),
    /// A figure that was asked for by name, and is in neither list.
    #[error("{0:?} was not measured in both runs; there are: {1}")]
    Figure(String, String),
    /// Nothing in common.
    #[error("the runs have no figure in common")]
    Nothing,
}

/// Compares the second run with the first.
pub fn compare(
    (a_name, a): (&str, &Outcome),
    (b_name, b): (&str, &Outcome),
    question: &Question,
) -> Result<Comparison, CompareError> {
    for (name, outcome) in [(a_name, a), (b_name, b)] {
        if outcome.lag.verdict.late {
            return Err(CompareError::Late(name.into()));
        }
    }
    let mut methods = Vec::new();
    let mut rows = Vec::new();
    for metric in Metric::ALL {
        for basis in Basis::ALL {
            if question.wants(metric.name()) {
                rows.extend(percentiles(a, b, (metric, basis), question, &mut methods));
            }
        }
    }
    rows.extend(rates(a, b, question));
    if rows.is_empty() {
        return Err(CompareError::Nothing);
    }
    let known = || known(a, b, &rows);
    let rows = chosen(&rows, &question.figures, known)?;
    methods.sort_unstable();
    methods.dedup();
    Ok(Comparison {
        schema: "penstock-loadgen-comparison/1".into(),
        runs: [a_name.into(), b_name.into()],
        confidence: question.confidence,
        margin: question.margin,
        seed: question.seed,
        method: described(&methods),
        warnings: warnings(a, b),
        rows,
    })
}

/// Rows by name, in the order of the names.
fn chosen(
    rows: &[Row],
    names: &[String],
    known: impl Fn() -> String,
) -> Result<Vec<Row>, CompareError> {
    if names.is_empty() {
        return Ok(rows.to_vec());
    }
    let one = |name: &String| {
        let found = rows.iter().find(|row| is_called(&row.figure, name));
        found
            .cloned()
            .ok_or_else(|| CompareError::Figure(name.clone(), known()))
    };
    names.iter().map(one).collect()
}

/// What could have been asked for.
fn known(a: &Outcome, b: &Outcome, rows: &[Row]) -> String {
    let points = SHARES.map(|(_, name)| name).join("|");
    let both = |metric, basis| {
        let there = |outcome: &Outcome| outcome.distribution(metric, Some(basis)).is_some();
        (there(a) && there(b)).then(|| format!("{metric}.{basis}.{points}"))
    };
    let metrics = Metric::ALL.into_iter();
    let times = metrics.flat_map(|metric| Basis::ALL.map(|basis| both(metric, basis)));
    let rates = rows.iter().filter(|row| row.unit != RowUnit::Nanoseconds);
    let names = times.flatten().chain(rates.map(|row| row.figure.clone()));
    names.collect::<Vec<_>>().join(", ")
}

/// Whether a name means this figure. One without a series means the usual one, which comes first.
fn is_called(figure: &str, name: &str) -> bool {
    let short = [".intended.", ".sent."].map(|series| figure.replace(series, "."));
    figure == name || short.iter().any(|short| short == name)
}

fn percentiles(
    a: &Outcome,
    b: &Outcome,
    (metric, basis): (Metric, Basis),
    question: &Question,
    methods: &mut Vec<Method>,
) -> Vec<Row> {
    let Some((a, b)) = sample(a, metric, basis).zip(sample(b, metric, basis)) else {
        return Vec::new();
    };
    let both_slots = a.method() == Method::Slots && b.method() == Method::Slots;
    let method = if both_slots {
        Method::Slots
    } else {
        Method::Ranks
    };
    let shares: Vec<f64> = SHARES.iter().map(|(share, _)| *share).collect();
    let supported = shares
        .iter()
        .any(|share| a.supports(*share) && b.supports(*share));
    let draws = supported.then(|| {
        methods.push(method);
        // seeds apart, so that the two runs' chance is not the same chance
        let seed = question.seed ^ ((metric as u64) << 8) ^ ((basis as u64) << 16);
        (
            a.draw(method, &shares, seed),
            b.draw(method, &shares, seed.wrapping_add(1 << 32)),
        )
    });
    let rows = SHARES.iter().enumerate().map(|(at, (share, name))| {
        let (before, after) = (a.quantile(*share), b.quantile(*share));
        let enough = a.supports(*share) && b.supports(*share);
        let found = draws
            .as_ref()
            .filter(|_| enough)
            .map(|(a, b)| interval(ratios(a.of(at), b.of(at)), question.confidence));
        Row {
            figure: format!("{metric}.{basis}.{name}"),
            unit: RowUnit::Nanoseconds,
            a: before,
            b: after,
            change: after / before.max(1.0),
            interval: found,
            verdict: Verdict::of(found, 1.0, question.margin, true),
        }
    });
    rows.collect()
}

fn sample(outcome: &Outcome, metric: Metric, basis: Basis) -> Option<Sample> {
    let found = outcome.distribution(metric, Some(basis))?;
    let slots = outcome.timeline.slots.iter();
    let in_slots = slots.filter_map(|slot| slot.metrics.get(&metric).and_then(|m| m.of(basis)));
    Some(Sample::new(
        &found.histogram,
        in_slots.map(|moments| &moments.histogram),
    ))
}

fn rates(a: &Outcome, b: &Outcome, question: &Question) -> Vec<Row> {
    let mut rows = Vec::new();
    let both_goodput = a.goodput.is_some() && b.goodput.is_some();
    let counts: [(&str, bool, Count); 3] = [
        ("completed_per_s", true, |slot| slot.completed),
        (
            "tokens_per_s",
            a.counts.tokens > 0 && b.counts.tokens > 0,
            |slot| slot.tokens,
        ),
        ("goodput_per_s", both_goodput, |slot| slot.met),
    ];
    for (at, (name, there, count)) in counts.into_iter().enumerate() {
        let seed = question.seed.wrapping_add(1000 + at as u64);
        if there && let Some(row) = rate(a, b, (name, count), question, seed) {
            rows.push(row);
        }
    }
    let errors = |outcome: &Outcome| (outcome.errors(), outcome.counts.intended);
    let (before, after) = (errors(a), errors(b));
    let found = share_difference(before, after, question.confidence);
    let share = |(errors, of): (u64, u64)| errors as f64 / of.max(1) as f64;
    rows.push(Row {
        figure: "error_rate".into(),
        unit: RowUnit::Share,
        a: share(before),
        b: share(after),
        change: share(after) - share(before),
        interval: Some(found),
        // any number of errors more is worse: the margin is for times
        verdict: Verdict::of(Some(found), 0.0, 0.0, true),
    });
    rows
}

fn rate(
    a: &Outcome,
    b: &Outcome,
    (name, count): (&str, Count),
    question: &Question,
    seed: u64,
) -> Option<Row> {
    let per_second = |outcome: &Outcome| {
        // only slots in which requests were still started: what came after is the tail of the run
        let slot_s = outcome.timeline.slot_s;
        let whole = (outcome.asked.duration_s / slot_s) as usize;
        let slots = outcome.timeline.slots.iter().take(whole);
        slots
            .map(|slot| count(slot) as f64 / slot_s)
            .collect::<Vec<_>>()
    };
    let (before, after) = (per_second(a), per_second(b));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let (a, b) = (mean(&before), mean(&after));
    if a <= 0.0 {
        return None;
    }
    let drawn = super::quantile::means(&before, seed).zip(super::quantile::means(&after, !seed));
    let found = drawn.map(|(before, after)| interval(ratios(&before, &after), question.confidence));
    Some(Row {
        figure: name.into(),
        unit: RowUnit::PerSecond,
        a,
        b,
        change: b / a,
        interval: found,
        verdict: Verdict::of(found, 1.0, question.margin, false),
    })
}

fn described(methods: &[Method]) -> String {
    let one = |method: &Method| match method {
        Method::Slots => {
            "Percentiles and rates: bootstrap over the slots of each run's timeline, 1000 draws, so \
             that neighbouring requests which resemble each other do not feign certainty"
        }
        Method::Ranks => {
            "Percentiles of runs with fewer than ten slots: ranks drawn from their beta \
             distribution, 1000 draws; single requests are taken to be independent, which is \
             more certain than the truth"
        }
    };
    let mut parts: Vec<_> = methods.iter().map(one).collect();
    parts.push("Error rate: Newcombe's interval for a difference");
    parts.push("A percentile needs ten values on both sides of it");
    parts.join(". ")
}

fn warnings(a: &Outcome, b: &Outcome) -> Vec<String> {
    let (x, y) = (&a.asked, &b.asked);
    let machine = |outcome: &Outcome| outcome.machine.describe();
    let pairs = [
        ("target", x.target.clone(), y.target.clone()),
        ("API", x.api.clone(), y.api.clone()),
        ("model", x.model.clone(), y.model.clone()),
        ("streams", x.stream.to_string(), y.stream.to_string()),
        ("loop", format!("{:?}", x.kind), format!("{:?}", y.kind)),
        ("arrivals", x.arrivals.clone(), y.arrivals.clone()),
        (
            "duration",
            format!("{} s", x.duration_s),
            format!("{} s", y.duration_s),
        ),
        (
            "connections",
            x.connections.to_string(),
            y.connections.to_string(),
        ),
        ("HTTP", x.http.clone(), y.http.clone()),
        ("TLS", x.tls.to_string(), y.tls.to_string()),
        (
            "keep-alive",
            x.keep_alive.to_string(),
            y.keep_alive.to_string(),
        ),
        ("workload", x.workload.clone(), y.workload.clone()),
        ("machine", machine(a), machine(b)),
    ];
    let differing = pairs.iter().filter(|(_, before, after)| before != after);
    let mut said: Vec<_> = differing
        .map(|(what, before, after)| format!("{what} differs: {before} → {after}"))
        .collect();
    let errors = |outcome: &Outcome| outcome.counts.error_rate > 0.01;
    if errors(a) || errors(b) {
        said.push("more than 1 % errors in a run: latencies are of good answers only".into());
    }
    said
}

// === impl Question ===

impl Question {
    /// Whether a figure of this metric is asked for.
    fn wants(&self, metric: &str) -> bool {
        let asked = |name: &String| name.split('.').next() == Some(metric);
        self.figures.is_empty() || self.figures.iter().any(asked)
    }
}

// === impl Verdict ===

impl Verdict {
    fn of(found: Option<(f64, f64)>, same: f64, margin: f64, less_is_better: bool) -> Self {
        let Some((low, high)) = found.filter(|(low, high)| low.is_finite() && high.is_finite())
        else {
            return Verdict::TooLittleData;
        };
        match (low > same + margin, high < same - margin) {
            (true, _) if less_is_better => Verdict::Worse,
            (_, true) if less_is_better => Verdict::Better,
            (true, _) => Verdict::Better,
            (_, true) => Verdict::Worse,
            (false, false) => Verdict::NoDifferenceShown,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::NoDifferenceShown => "no difference shown",
            Verdict::TooLittleData => "too little data",
        }
    }
}

// === impl Comparison ===

impl Comparison {
    /// Whether a figure is worse in the second run.
    pub fn is_worse(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == Verdict::Worse)
    }

    /// Whether there is a figure of which nothing can be said.
    pub fn is_silent(&self) -> bool {
        self.rows
            .iter()
            .any(|row| row.verdict == Verdict::TooLittleData)
    }
}
