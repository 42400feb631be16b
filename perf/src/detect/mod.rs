//! What is found and what is missed, on any labelled texts: `penstock-perf detect`.
//!
//! Every figure stands with its denominator. A vector is one labelled span (or one labelled text
//! without a span); it is *found* when an alarm overlaps it, *exact* when an alarm is the span.
//! A text without a label is benign, and any alarm in it is false. Values are never printed unless
//! asked for: misses are named by file and line.

mod read;
mod score;
pub mod vectors;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use penstock_policies::{Direction, PolicySet, PolicySources, Scope};

use crate::corpus;
use crate::error::{Doing, Error, Result};
use crate::figures;

pub use read::{Offsets, Vector};
pub use score::Score;

/// Size of the messages that wild text is cut into.
const WILD_MESSAGE_BYTES: usize = 4000;

/// Rules named in a list of the loudest.
const LOUDEST: usize = 15;

/// Scores detection on JSON lines of `{"text", "label", "span"}`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files of JSON lines; label null or absent means benign; span is [start, end] or a list.
    files: Vec<PathBuf>,
    /// A policy folder; otherwise every shipped pack is on.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// A JSON object from label to the ids of rules that count for it, `*` allowed at an end of
    /// either; an empty list says that no rule is meant to find these, and they count apart.
    #[arg(long, value_name = "FILE")]
    map: Option<PathBuf>,
    /// What spans count: characters (as Python does) or bytes of UTF-8.
    #[arg(long, value_enum, default_value_t = Offsets::Chars)]
    offsets: Offsets,
    /// How many misses and false alarms are named for each label.
    #[arg(long, default_value_t = 5)]
    examples: usize,
    /// Print the missed and the falsely found texts, too.
    #[arg(long)]
    show: bool,
    /// Count alarms a megabyte on the gathered corpora, too.
    #[arg(long)]
    wild: bool,
    /// Where those are.
    #[arg(long, default_value = corpus::FOLDER)]
    corpora: PathBuf,
    /// One JSON object a line instead of tables.
    #[arg(long)]
    json: bool,
}

/// Which rules count for which label.
#[derive(Debug, Default, Clone, serde::Deserialize)]
#[serde(transparent)]
pub struct LabelMap(BTreeMap<String, Vec<String>>);

/// One alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The rule that raised it.
    pub rule: Arc<str>,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// A policy that looks at texts.
#[derive(Debug)]
pub struct Detector {
    policy: PolicySet,
    scope: Scope,
}

/// The command; true unless nothing could be scored.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let detector = match &arguments.policies {
        Some(folder) => Detector::of_folder(folder)?,
        None => Detector::shipped()?,
    };
    let map = match &arguments.map {
        Some(path) => read_map(path)?,
        None => LabelMap::default(),
    };
    if arguments.files.is_empty() && !arguments.wild {
        return Err(Error::Unable(
            "no file of vectors is named, nor --wild".to_owned(),
        ));
    }
    let mut score = Score::new(map.clone());
    let mut corpora = vec![Score::HEAD.map(str::to_owned).to_vec()];
    for path in &arguments.files {
        let mut own = Score::new(map.clone());
        let text = fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
        let mut unread = 0;
        for (index, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
        {
            let place = format!("{}:{}", path.display(), index + 1);
            match Vector::read(line, arguments.offsets) {
                Ok(vector) => {
                    let alarms = detector.alarms(&vector.text);
                    score.add(&vector, &alarms, &place);
                    own.add(&vector, &alarms, &place);
                }
                Err(reason) => {
                    unread += 1;
                    eprintln!("{place}: {reason}");
                }
            }
        }
        if unread > 0 {
            eprintln!("{}: {unread} lines were left out", path.display());
        }
        let name = path.file_stem().unwrap_or(path.as_os_str());
        corpora.push(own.summary(name.to_string_lossy().into_owned()));
    }
    let mut lines = Vec::new();
    if !arguments.files.is_empty() {
        lines.extend(score.lines());
        if !arguments.json {
            score.print(arguments.examples, arguments.show);
            if arguments.files.len() > 1 {
                println!();
                corpora.push(score.summary("all".to_owned()));
                figures::print_table(&corpora);
            }
        }
    }
    if arguments.wild {
        lines.extend(wild(&detector, arguments)?);
    }
    if arguments.json {
        figures::print_json(&lines)?;
    }
    Ok(true)
}

/// Alarms a megabyte of text that nobody has labelled: nearly all of them are false.
fn wild(detector: &Detector, arguments: &Arguments) -> Result<Vec<figures::FigureLine>> {
    let mut rows = vec![
        ["corpus", "MB", "alarms", "alarms/MB", "loudest rules"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut lines = Vec::new();
    for corpus in corpus::load(&arguments.corpora, &[])? {
        let mut by_rule: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let mut shown: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for message in corpus.messages(WILD_MESSAGE_BYTES) {
            for alarm in detector.alarms(message) {
                *by_rule.entry(alarm.rule.clone()).or_default() += 1;
                let seen = shown.entry(alarm.rule.clone()).or_default();
                *seen += 1;
                if arguments.show && *seen <= arguments.examples {
                    let value = message.get(alarm.start..alarm.end).unwrap_or_default();
                    eprintln!("{} {}: {value:?}", corpus.name, alarm.rule);
                }
            }
        }
        let alarms: usize = by_rule.values().sum();
        let megabytes = corpus.text.len() as f64 / 1e6;
        let mut loudest: Vec<_> = by_rule.into_iter().collect();
        loudest.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let named = |(rule, count): &(Arc<str>, usize)| format!("{rule} {count}");
        rows.push(vec![
            corpus.name.to_owned(),
            format!("{megabytes:.2}"),
            alarms.to_string(),
            format!("{:.1}", alarms as f64 / megabytes),
            loudest
                .iter()
                .take(LOUDEST)
                .map(named)
                .collect::<Vec<_>>()
                .join(", "),
        ]);
        let scenario = format!("wild/{}", corpus.name);
        let line = |scenario: String, figure: &str, unit: &str, value: f64| {
            figures::FigureLine::of(scenario, "penstock", figure, unit, vec![value])
        };
        lines.extend(line(scenario.clone(), "text", "MB", megabytes));
        lines.extend(line(scenario.clone(), "alarms", "alarms", alarms as f64));
        let rate = alarms as f64 / megabytes;
        lines.extend(line(scenario.clone(), "alarms_per_mb", "alarms/MB", rate));
        for (rule, count) in loudest {
            let scenario = format!("{scenario}/{rule}");
            lines.extend(line(scenario, "alarms", "alarms", count as f64));
        }
    }
    if !arguments.json {
        figures::print_table(&rows);
    }
    Ok(lines)
}

fn read_map(path: &Path) -> Result<LabelMap> {
    let text = fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| {
        let shape = r#"{"label": ["rule-id", "vendor-*"]}"#;
        Error::Unable(format!("{}: {error}; it is to be {shape}", path.display()))
    })
}

// === impl LabelMap ===

impl LabelMap {
    /// The rules that count for a label, by its own entry or the longest pattern that names it;
    /// none, where any rule does.
    pub fn rules(&self, label: &str) -> Option<&[String]> {
        let own = self.0.get(label);
        let patterns = self.0.iter().filter(|(of, _)| score::names(of, label));
        let longest = || {
            patterns
                .max_by_key(|(of, _)| of.len())
                .map(|(_, rules)| rules)
        };
        own.or_else(longest).map(Vec::as_slice)
    }
}

// === impl Detector ===

impl Detector {
    /// Every shipped pack in one guard.
    pub fn shipped() -> Result<Detector> {
        let folder = tempfile::tempdir().doing(|| "making a folder".to_owned())?;
        let mut packs: Vec<&str> = penstock_policies::rule::shipped()
            .iter()
            .map(|(name, _)| *name)
            .collect();
        packs.dedup();
        let packs: Vec<String> = packs.iter().map(|name| format!("{name:?}")).collect();
        let policy = format!(
            "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n\n\
             [[guard]]\nname = \"detect\"\ndirection = \"both\"\npacks = [{}]\n\
             action = \"flag\"\n",
            packs.join(", ")
        );
        fs::write(folder.path().join("main.toml"), policy).doing(|| "writing a policy".into())?;
        Detector::of_folder(folder.path())
    }

    /// The guards of a policy folder, for a caller of no particular group.
    pub fn of_folder(folder: &Path) -> Result<Detector> {
        let sources = PolicySources {
            dir: folder,
            pseudonym_key: [7; 32],
            withheld: &[],
        };
        let policy = PolicySet::load(&sources).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Error::Unable(errors.join("\n"))
        })?;
        let scope = policy.scope(&["staff".to_owned()]);
        if !scope.guards_request() {
            let folder = folder.display();
            return Err(Error::Unable(format!(
                "no guard in {folder} looks at requests"
            )));
        }
        Ok(Detector { policy, scope })
    }

    /// Everything that is found in a text, in order.
    pub fn alarms(&self, text: &str) -> Vec<Alarm> {
        let verdict = self
            .policy
            .inspect_text(&self.scope, Direction::Request, "text", text);
        let mut alarms: Vec<Alarm> = verdict
            .findings
            .into_iter()
            .map(|finding| Alarm {
                rule: finding.rule,
                start: finding.start,
                end: finding.end,
            })
            .collect();
        alarms.sort_by(|a, b| (a.start, a.end, &a.rule).cmp(&(b.start, b.end, &b.rule)));
        alarms
    }
}
