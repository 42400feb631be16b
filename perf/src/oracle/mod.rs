//! The same matches, found by others: `penstock-perf oracle`.
//!
//! Every rule alone, on thousands of texts: what our scanner finds in the whole text, what it finds
//! when the text comes in random pieces, and what the definition of a match gives, executed naively
//! with the `regex` crates (`policies/tests/oracle`, which shares no code with the scanner). Where
//! Vectorscan is built, a rule's expression is to match a text there if and only if the `regex`
//! crate says that it does, and every match of ours is to end at an end that it reports.
//!
//! Not compared: a match that is as long as its rule's bound, because the definition of the
//! expression alone knows no bound; and with Vectorscan, texts with letters whose other case its
//! Unicode tables do not know yet.

#[path = "../../../policies/tests/oracle/mod.rs"]
#[allow(missing_docs, unreachable_pub)]
mod definition;
mod texts;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::rule::Rule;
use penstock_policies::scan::{Lane, Match, Scanner};
use regex::Regex;

use crate::corpus;
use crate::dice::Dice;
use crate::error::{Error, Result};
use crate::generate::in_ascii;
use crate::rulesets;
use crate::speed::vectorscan::{Expression, Vectorscan, expression};
use definition::Oracle;
use texts::{Texts, cut};

/// Disagreements that are shown of each kind.
const SHOWN_MAX: usize = 10;

/// Letters of old Cyrillic print, case variants of common ones since Unicode 9: Vectorscan 5.4 reads
/// none of them as `в` or `о`, as `(?i)` says.
const NEWER_LETTERS: RangeInclusive<char> = '\u{1C80}'..='\u{1C88}';

/// Compares match sets with other engines.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many texts.
    #[arg(long, default_value_t = 10_000)]
    texts: usize,
    /// The same seed gives the same texts and cuts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A set of rules: secrets, customer, no-email, personal, everything.
    #[arg(long, default_value = "everything")]
    set: String,
    /// Where the corpora are; without them the texts are made of a paragraph of our own.
    #[arg(long, default_value = corpus::FOLDER)]
    corpora: PathBuf,
    /// Leave Vectorscan out.
    #[arg(long)]
    alone: bool,
    /// Print the texts of disagreements, too.
    #[arg(long)]
    show: bool,
    /// One JSON object instead of words.
    #[arg(long)]
    json: bool,
}

/// One rule with its rivals.
struct Pair {
    rule: Rule,
    /// The expression with what must stand before it.
    regex: Regex,
    oracle: Oracle,
}

/// What was compared, and what disagreed.
#[derive(Debug, Default, serde::Serialize)]
struct Report {
    texts: usize,
    bytes: usize,
    rules: usize,
    /// Matches that both sides found.
    matches: usize,
    /// Matches as long as their rule's bound.
    not_compared: usize,
    /// Rules that Vectorscan compiled.
    vectorscan_rules: usize,
    /// Pairs of a rule and a text in which Vectorscan and the `regex` crate both match.
    vectorscan_hits: usize,
    /// Texts with letters that are newer than Vectorscan's tables.
    vectorscan_not_compared: usize,
    /// By kind, how many.
    disagreements: BTreeMap<&'static str, usize>,
}

/// The command; true when everybody agreed.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let rules = rulesets::named(&arguments.set)?;
    let corpora = corpus::load(&arguments.corpora, &[]).unwrap_or_default();
    if corpora.is_empty() {
        eprintln!(
            "no corpora in {}: scripts/corpora gathers them",
            arguments.corpora.display()
        );
    }
    let texts = Texts::new(&corpora, &rules);
    let scanner = rulesets::compile(rules.clone())?;
    let pairs = rules.iter().map(Pair::new).collect::<Result<Vec<Pair>>>()?;
    let mut theirs = start(arguments, &rules)?;
    let mut report = Report {
        rules: rules.len(),
        vectorscan_rules: theirs
            .as_ref()
            .map_or(0, |(_, live)| live.iter().filter(|on| **on).count()),
        ..Report::default()
    };
    let mut dice = Dice::new(arguments.seed);
    for index in 0..arguments.texts {
        let text = texts.next(&mut dice);
        report.texts += 1;
        report.bytes += text.len();
        let mut wrong = Vec::new();
        let hits: Vec<bool> = pairs
            .iter()
            .map(|pair| pair.regex.is_match(&text))
            .collect();
        let expected = expected(&pairs, &hits, &text);
        let found = each(&scanner, &text);
        wrong.extend(compare(&pairs, &found, &expected, &mut report));
        if streamed(&scanner, &text, &mut dice) != found {
            wrong.push((
                "stream",
                "watching in pieces gives other matches".to_owned(),
            ));
        }
        wrong.extend(masked(&scanner, &text, &mut dice));
        if theirs.is_some() && text.contains(|c| NEWER_LETTERS.contains(&c)) {
            report.vectorscan_not_compared += 1;
        } else if let Some((theirs, live)) = &mut theirs {
            let ends = theirs.ends(&text)?;
            wrong.extend(rival(&pairs, live, &hits, &found, &ends, &mut report));
        }
        for (kind, what) in wrong {
            let count = report.disagreements.entry(kind).or_default();
            *count += 1;
            if *count <= SHOWN_MAX {
                let shown = if arguments.show {
                    format!(" in {text:?}")
                } else {
                    String::new()
                };
                eprintln!(
                    "text {index} of seed {}: {kind}: {what}{shown}",
                    arguments.seed
                );
            }
        }
    }
    match arguments.json {
        true => {
            let line = serde_json::to_string(&report);
            println!(
                "{}",
                line.map_err(|error| Error::Unable(error.to_string()))?
            );
        }
        false => println!("{report:#?}"),
    }
    Ok(report.disagreements.is_empty())
}

/// Vectorscan with the rules' expressions, and which of them it took.
fn start(arguments: &Arguments, rules: &[Rule]) -> Result<Option<(Vectorscan, Vec<bool>)>> {
    if arguments.alone {
        return Ok(None);
    }
    let expressions: Vec<Expression> = rules.iter().map(expression).collect();
    let mut theirs = match Vectorscan::start_in_characters(&expressions) {
        Ok(theirs) => theirs,
        Err(missing) => {
            eprintln!("Vectorscan is left out: {missing}");
            return Ok(None);
        }
    };
    let compiled = theirs.compile(false)?;
    let refused = |rule: &Rule| {
        let name = format!("{}: ", rule.id());
        compiled
            .refused
            .iter()
            .any(|reason| reason.starts_with(&name))
    };
    for reason in &compiled.refused {
        eprintln!("Vectorscan refused {reason}");
    }
    if compiled.patterns == 0 {
        return Ok(None);
    }
    Ok(Some((
        theirs,
        rules.iter().map(|rule| !refused(rule)).collect(),
    )))
}

/// What the definition gives: the rules whose expression matches somewhere, each on its own.
fn expected(pairs: &[Pair], hits: &[bool], text: &str) -> Vec<Match> {
    let mut expected = Vec::new();
    for (index, (pair, _)) in pairs
        .iter()
        .zip(hits)
        .enumerate()
        .filter(|(_, (_, hit))| **hit)
    {
        for mut found in pair.oracle.find_each(text) {
            found.rule.0 = index as u16;
            expected.push(found);
        }
    }
    expected.sort_unstable_by_key(place);
    expected
}

fn place(found: &Match) -> (usize, u16, usize) {
    (found.start, found.rule.0, found.end)
}

fn each(scanner: &Scanner, text: &str) -> Vec<Match> {
    let mut found = Vec::new();
    scanner.find_each(&scanner.all(), text, &mut |one| found.push(one));
    found.retain(plain);
    found.sort_unstable_by_key(place);
    found
}

fn streamed(scanner: &Scanner, text: &str, dice: &mut Dice) -> Vec<Match> {
    let plan = Plan {
        mask: scanner.none(),
        watch: scanner.all(),
    };
    let (mut channel, key) = (Channel::new(), MaskKey::new([7; 32]));
    let (mut found, mut out) = (Vec::new(), String::new());
    for piece in cut(text, dice) {
        channel.push(
            scanner,
            &plan,
            &key,
            piece,
            &mut |one| found.push(one),
            &mut out,
        );
    }
    channel.finish(scanner, &plan, &key, &mut |one| found.push(one), &mut out);
    found.retain(plain);
    found.sort_unstable_by_key(place);
    found
}

/// The definition and the other engines read a text as it stands.
fn plain(found: &Match) -> bool {
    found.lane == Lane::Plain
}

/// Masking in pieces against masking the whole.
fn masked(scanner: &Scanner, text: &str, dice: &mut Dice) -> Option<(&'static str, String)> {
    let (plan, key) = (rulesets::mask_all(scanner), MaskKey::new([7; 32]));
    let whole = mask_text(scanner, &plan, &key, text, &mut |_| {});
    let whole = whole.as_deref().unwrap_or(text);
    let (mut channel, mut out) = (Channel::new(), String::new());
    for piece in cut(text, dice) {
        channel.push(scanner, &plan, &key, piece, &mut |_| {}, &mut out);
        if !whole.starts_with(&out) {
            return Some((
                "mask",
                "what was sent is no beginning of the masked whole".into(),
            ));
        }
    }
    channel.finish(scanner, &plan, &key, &mut |_| {}, &mut out);
    (out != whole).then(|| ("mask", "masking in pieces gives another text".into()))
}

/// Our matches against the definition's.
fn compare(
    pairs: &[Pair],
    found: &[Match],
    expected: &[Match],
    report: &mut Report,
) -> Vec<(&'static str, String)> {
    let rule = |one: &Match| &pairs[usize::from(one.rule.0)].rule;
    let known = |of: &[Match], one: &Match| of.iter().any(|other| place(other) == place(one));
    let say = |one: &Match| format!("{} at {}..{}", rule(one).id(), one.start, one.end);
    let mut wrong = Vec::new();
    for one in found {
        match known(expected, one) {
            true => report.matches += 1,
            false if one.end - one.start >= rule(one).max_len() => report.not_compared += 1,
            false => wrong.push(("ours alone", say(one))),
        }
    }
    // A match at its bound swallows what the definition finds behind it.
    let long = |one: &Match| {
        one.end - one.start >= rule(one).max_len()
            || found.iter().any(|other| {
                other.rule == one.rule
                    && other.end - other.start >= rule(other).max_len()
                    && other.start <= one.start
                    && one.start < other.end
            })
    };
    for one in expected.iter().filter(|one| !known(found, one)) {
        match long(one) {
            true => report.not_compared += 1,
            false => wrong.push(("the definition alone", say(one))),
        }
    }
    wrong
}

/// Vectorscan against the `regex` crate, and our matches' ends among its ends.
fn rival(
    pairs: &[Pair],
    live: &[bool],
    hits: &[bool],
    found: &[Match],
    ends: &[(usize, usize)],
    report: &mut Report,
) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let mut theirs = vec![false; pairs.len()];
    ends.iter().for_each(|(index, _)| theirs[*index] = true);
    for (index, pair) in pairs.iter().enumerate().filter(|(index, _)| live[*index]) {
        match (theirs[index], hits[index]) {
            (true, true) => report.vectorscan_hits += 1,
            (false, false) => {}
            (true, false) => wrong.push(("Vectorscan, not regex", pair.rule.id().to_owned())),
            (false, true) => wrong.push(("regex, not Vectorscan", pair.rule.id().to_owned())),
        }
    }
    for one in found {
        let (index, rule) = (
            usize::from(one.rule.0),
            &pairs[usize::from(one.rule.0)].rule,
        );
        let bounded = one.end - one.start < rule.max_len()
            && rule.region().is_none()
            && rule.before().is_none();
        if live[index] && bounded && !ends.contains(&(index, one.end)) {
            let what = format!("{} ends at {}", rule.id(), one.end);
            wrong.push(("an end that Vectorscan does not know", what));
        }
    }
    wrong
}

// === impl Pair ===

impl Pair {
    fn new(rule: &Rule) -> Result<Pair> {
        let whole = in_ascii(&expression(rule).regex);
        let regex =
            Regex::new(&whole).map_err(|error| Error::Unable(format!("{}: {error}", rule.id())))?;
        Ok(Pair {
            rule: rule.clone(),
            regex,
            oracle: Oracle::new(std::slice::from_ref(rule)),
        })
    }
}
