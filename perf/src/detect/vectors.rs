//! Vectors made of the shipped rules' own examples: `penstock-perf vectors`.
//!
//! Each example stands in a few carriers: prose, code, a log line, an environment file, Chinese.
//! What a rule says that it misses stands in the same carriers without a label, unless another rule
//! finds it bare: a key that is a sign too short is still a value that is assigned to a secret's
//! name, so it is labelled `undecided` and counts apart. Things that look like secrets and are none
//! stand there, too: hashes, versions, times. These vectors say whether rules
//! still do together, and in other surroundings, what they do alone; they say nothing about
//! formats that nobody has thought of.

use penstock_policies::rule::{Confidence, Rule};
use serde_json::{Value, json};

use super::Detector;
use super::read::UNDECIDED;
use crate::dice::Dice;
use crate::error::Result;
use crate::generate::Generator;
use crate::{rulesets, tokens};

/// Where an example stands; `{}` is its place.
const CARRIERS: [&str; 8] = [
    "As they said, {}, and that was all.",
    "Please check this for me: {}",
    "{} is what the log shows since Monday",
    "export VALUE='{}'\n./run --verbose",
    "2025-03-04T05:06:07Z INFO worker[71]: loaded {} from file\n",
    "| name | value |\n| --- | --- |\n| first | {} |\n",
    "请检查以下内容：{}。谢谢！",
    "def test():\n    value = {}\n    assert value\n",
];

/// How often a value is made anew because the rule wants more than its expression says.
const SAMPLE_TRIES: usize = 200;

const HEX: &[u8] = b"0123456789abcdef";
const DIGITS: &[u8] = b"0123456789";
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

/// Writes labelled texts made of the shipped rules' examples.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The same seed gives the same texts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Carriers of each example.
    #[arg(long, default_value_t = 3)]
    carriers: usize,
    /// Further values of each rule, made from its expression, in the place of its first example's.
    #[arg(long, default_value_t = 2)]
    sampled: usize,
    /// Benign look-alikes.
    #[arg(long, default_value_t = 500)]
    benign: usize,
    /// A set of rules: secrets, customer, no-email, personal, everything.
    #[arg(long, default_value = "everything")]
    set: String,
}

/// The command.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let mut dice = Dice::new(arguments.seed);
    // What is never worth more than a guess is found by guards that ask for guesses.
    let counts = |rule: &Rule| rule.confidence_max() >= Confidence::Medium;
    let shipped = Detector::shipped()?;
    for rule in rulesets::named(&arguments.set)?.into_iter().filter(counts) {
        for line in of_rule(&rule, &shipped, arguments.carriers, &mut dice)? {
            println!("{line}");
        }
        for line in sampled(&rule, arguments.sampled, &mut dice)? {
            println!("{line}");
        }
    }
    for _ in 0..arguments.benign {
        let carrier = CARRIERS[dice.below(CARRIERS.len())];
        let text = carry(carrier, &look_alike(&mut dice)).0;
        println!("{}", json!({"text": text, "label": null, "span": null}));
    }
    Ok(true)
}

/// The rule's examples, and what it promises not to find, in carriers. What it refuses and another
/// of the shipped rules finds where it stands alone is nothing that is benign for certain.
fn of_rule(
    rule: &Rule,
    shipped: &Detector,
    carriers: usize,
    dice: &mut Dice,
) -> Result<Vec<Value>> {
    let scanner = rulesets::compile(vec![rule.clone()])?;
    let mut lines = Vec::new();
    let carriers_of = |dice: &mut Dice| -> Vec<&'static str> {
        let from = dice.below(CARRIERS.len());
        let turn = |index| CARRIERS[(from + index) % CARRIERS.len()];
        (0..carriers.min(CARRIERS.len())).map(turn).collect()
    };
    for example in rule.matches() {
        let found = scanner.find(&scanner.all(), example);
        let Some(found) = found.first() else {
            continue; // the rule's own tests say so
        };
        for carrier in carriers_of(dice) {
            let (text, from) = carry(carrier, example);
            let chars = |at: usize| text[..from + at].chars().count();
            let span = [chars(found.start), chars(found.end)];
            lines.push(json!({"text": text, "label": rule.id(), "span": span}));
        }
    }
    for example in rule.misses() {
        let found = !shipped.alarms(example).is_empty();
        let label = found.then_some(UNDECIDED);
        for carrier in carriers_of(dice) {
            let text = carry(carrier, example).0;
            lines.push(json!({"text": text, "label": label, "span": null, "near": rule.id()}));
        }
    }
    Ok(lines)
}

/// Values that the rule finds when it is alone, made from its expression.
fn sampled(rule: &Rule, count: usize, dice: &mut Dice) -> Result<Vec<Value>> {
    let scanner = rulesets::compile(vec![rule.clone()])?;
    let first = rule.matches().first();
    let found = first.and_then(|example| scanner.find(&scanner.all(), example).first().copied());
    let (Some(example), Some(found), Some(generator)) =
        (first, found, Generator::new(rule.regex()))
    else {
        return Ok(Vec::new());
    };
    let mut lines = Vec::new();
    for _ in 0..SAMPLE_TRIES {
        if lines.len() == count {
            break;
        }
        let value = generator.text(dice);
        let inside = [&example[..found.start], &value, &example[found.end..]].concat();
        let (start, end) = (found.start, found.start + value.len());
        let same = scanner.find(&scanner.all(), &inside);
        if same.iter().any(|of| (of.start, of.end) == (start, end)) {
            let (text, from) = carry(CARRIERS[dice.below(CARRIERS.len())], &inside);
            let span = [start, end].map(|at| text[..from + at].chars().count());
            lines.push(json!({"text": text, "label": rule.id(), "span": span, "sampled": true}));
        }
    }
    Ok(lines)
}

/// A value in its carrier, and where it begins.
fn carry(carrier: &str, value: &str) -> (String, usize) {
    let at = carrier.find("{}").unwrap_or(carrier.len());
    (carrier.replacen("{}", value, 1), at)
}

/// Something with the look of a secret or of personal data that is neither.
fn look_alike(dice: &mut Dice) -> String {
    let number = |dice: &mut Dice, below: usize| dice.below(below);
    match dice.below(12) {
        0 => format!("commit {}", dice.word(HEX, 40)),
        1 => [8, 4, 4, 4, 12]
            .map(|length| dice.word(HEX, length))
            .join("-"),
        2 => format!("sha256:{}", dice.word(HEX, 64)),
        3 => format!(
            "version {}.{}.{}",
            number(dice, 30),
            number(dice, 30),
            number(dice, 99)
        ),
        4 => format!(
            "2{:03}-0{}-1{}",
            dice.below(100),
            1 + dice.below(9),
            dice.below(10)
        ),
        5 => format!("order {} of {}", dice.word(DIGITS, 7), dice.word(DIGITS, 3)),
        6 => format!("{}_{}", dice.word(LETTERS, 9), dice.word(LETTERS, 12)),
        7 => format!(
            "https://example.org/{}/{}",
            dice.word(LETTERS, 6),
            dice.word(HEX, 12)
        ),
        8 => format!("{} EUR", dice.word(DIGITS, 5)),
        9 => format!("data:image/png;base64,{}", dice.word(b"ABCDabcd0123+/", 80)),
        10 => format!("{}.{} s", dice.word(DIGITS, 4), dice.word(DIGITS, 9)),
        _ => format!("W/\"{}\"", dice.word(HEX, 16)),
    }
}

/// The examples of a set of rules as a model's tokens, for tests that split at them.
pub fn examples_in_tokens(rules: &[Rule]) -> Vec<Vec<String>> {
    let examples = rules.iter().flat_map(|rule| rule.matches());
    let cut = |example: &String| {
        let text = carry(CARRIERS[0], example).0;
        tokens::split(&text)
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    examples.map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Offsets, Vector};
    use super::*;

    #[test]
    fn vectors_are_read_back_with_their_spans() {
        let toml = "[[rule]]\nid = \"r\"\ndescription = \"r\"\nregex = 'key-[0-9]{2}'\n\
                    matches = [\"é key-12\"]\nmisses = [\"key-1\"]\n";
        let rules = rulesets::parse("t", toml).expect("parses");
        let shipped = Detector::shipped().expect("loads");
        let lines = of_rule(&rules[0], &shipped, 8, &mut Dice::new(3)).expect("compiles");
        assert_eq!(lines.len(), 16);
        for line in &lines {
            let vector = Vector::read(&line.to_string(), Offsets::Chars).expect("is valid");
            match vector.labelled.first() {
                Some(labelled) => {
                    let (start, end) = labelled.span.expect("has a span");
                    assert_eq!(&vector.text[start..end], "key-12");
                }
                None => assert!(vector.text.contains("key-1")),
            }
        }
    }
}
