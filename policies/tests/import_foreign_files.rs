//! Real files of other programs, where one is at hand: `PENSTOCK_GITLEAKS_TOML` names a gitleaks or
//! Betterleaks configuration, `PENSTOCK_PRESIDIO_YAML` a file of recognizers.
//!
//! What the file's own expressions find, run one by one by another engine with the file's entropy
//! bounds, must be found by the imported rules: in the same places where a rule was taken exactly,
//! and covered where it was approximated. Texts are made from the expressions themselves, so each
//! rule meets what it is for. `cargo nextest run -p penstock-policies --test import_foreign_files
//! --no-capture` prints the counts.

use std::collections::{BTreeMap, BTreeSet};

use penstock_policies::rule::{Format, ImportKind, ImportNote, Imported, entropy_bits};
use penstock_policies::scan::Scanner;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Texts made for each rule.
const TEXTS_PER_RULE: usize = 40;

/// A small generator of numbers: the same each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }

    /// A text that the expression matches, assertions aside.
    fn text_of(&mut self, hir: &Hir, out: &mut String) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => out.push_str(&String::from_utf8_lossy(&literal.0)),
            HirKind::Class(Class::Unicode(class)) => {
                let ascii = |c: char| c.is_ascii() && (c == '\n' || !c.is_ascii_control());
                let all: Vec<char> = class
                    .iter()
                    .flat_map(|range| range.start()..=range.end().min('\u{7F}'))
                    .filter(|c| ascii(*c))
                    .collect();
                match all.is_empty() {
                    true => out.extend(class.iter().next().map(|range| range.start())),
                    false => out.push(all[self.below(all.len())]),
                }
            }
            HirKind::Class(Class::Bytes(_)) => out.push('x'),
            HirKind::Repetition(it) => {
                let most = it.max.unwrap_or(it.min + 12).min(it.min + 40);
                let rounds = it.min as usize + self.below((most - it.min) as usize + 1);
                (0..rounds).for_each(|_| self.text_of(&it.sub, out));
            }
            HirKind::Capture(capture) => self.text_of(&capture.sub, out),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.text_of(part, out)),
            HirKind::Alternation(parts) => {
                let branch = self.below(parts.len());
                self.text_of(&parts[branch], out);
            }
        }
    }
}

/// A rule as the other engine sees it.
struct Theirs {
    id: String,
    regex: regex::Regex,
    hir: Hir,
    group: usize,
    entropy: f64,
    keywords: Vec<String>,
}

impl Theirs {
    /// The secrets in a text.
    fn secrets(&self, text: &str) -> BTreeSet<(usize, usize)> {
        let mut secrets = BTreeSet::new();
        let lower = text.to_lowercase();
        if !self.keywords.is_empty() && !self.keywords.iter().any(|word| lower.contains(word)) {
            return secrets;
        }
        for found in self.regex.captures_iter(text) {
            let group = match self.group {
                0 => found
                    .iter()
                    .skip(1)
                    .flatten()
                    .find(|group| !group.is_empty()),
                wanted => found.get(wanted),
            };
            let Some(secret) = group.or_else(|| found.get(0)) else {
                continue;
            };
            if self.entropy <= 0.0 || entropy_bits(secret.as_str()) > self.entropy {
                secrets.insert((secret.start(), secret.end()));
            }
        }
        secrets
    }
}

fn theirs(toml_text: &str) -> Vec<Theirs> {
    let table: toml::Table = toml_text.parse().expect("TOML");
    let rules = table["rules"].as_array().expect("rules");
    let mut all = Vec::new();
    for rule in rules {
        let Some(source) = rule.get("regex").and_then(|regex| regex.as_str()) else {
            continue;
        };
        // ASCII classes, as in Go; what the engine does not take is left out and counted.
        let ascii = source
            .replace(r"\b", r"(?-u:\b)")
            .replace(r"\d", "[0-9]")
            .replace(r"\w", "[0-9A-Za-z_]");
        let parsed = regex_syntax::ParserBuilder::new().build().parse(&ascii);
        let (Ok(regex), Ok(hir)) = (regex::Regex::new(&ascii), parsed) else {
            println!("left out by the oracle: {}", rule["id"]);
            continue;
        };
        let number = |key: &str| match rule.get(key) {
            Some(toml::Value::Float(number)) => *number,
            Some(toml::Value::Integer(number)) => *number as f64,
            _ => 0.0,
        };
        all.push(Theirs {
            id: rule["id"].as_str().expect("an id").to_owned(),
            regex,
            hir,
            group: number("secretGroup") as usize,
            entropy: number("entropy"),
            keywords: rule.get("keywords").map_or(Vec::new(), |words| {
                let words = words.as_array().expect("a list").iter();
                words
                    .filter_map(|word| Some(word.as_str()?.to_lowercase()))
                    .collect()
            }),
        });
    }
    all
}

fn print_notes(imported: &Imported) {
    let (exact, nearly, missing) = imported.counts();
    println!(
        "{} rules in the file: {exact} exact, {nearly} not wholly, {missing} not at all; {} rules \
         of ours",
        imported.rules_in_file,
        imported.pack.rules.len()
    );
    for line in ImportNote::summary(&imported.notes) {
        println!("  {line}");
    }
}

/// The imported rules of each rule of the file: its id, and that with a number.
fn is_of(ours: &str, theirs: &str) -> bool {
    let numbered = |rest: &str| {
        rest.is_empty()
            || rest
                .strip_prefix('-')
                .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    ours.strip_prefix(theirs).is_some_and(numbered)
}

#[test]
fn a_gitleaks_file_finds_what_it_found() {
    let Ok(path) = std::env::var("PENSTOCK_GITLEAKS_TOML") else {
        return;
    };
    let text = std::fs::read_to_string(path).expect("the file");
    let begun = std::time::Instant::now();
    let imported = Format::Gitleaks.read("foreign", &text).expect("it loads");
    println!("read in {:?}", begun.elapsed());
    print_notes(&imported);
    let begun = std::time::Instant::now();
    let scanner = Scanner::compile(imported.pack.rules.clone()).expect("they compile");
    println!("compiled in {:?}", begun.elapsed());
    let touched: BTreeMap<&str, ImportKind> = imported
        .notes
        .iter()
        .filter(|note| note.kind != ImportKind::Ignored)
        .filter_map(|note| Some((note.rule.as_deref()?, note.kind)))
        .collect();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut figures = (0, 0, 0);
    let mut faults: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for rule in theirs(&text) {
        let mut mask = scanner.none();
        for (index, ours) in scanner.rules().iter().enumerate() {
            if is_of(ours.id(), &rule.id) {
                mask.insert(penstock_policies::scan::RuleIndex(index as u16));
            }
        }
        if mask.is_empty() {
            continue;
        }
        for round in 0..TEXTS_PER_RULE {
            let word = rule.keywords.get(round % 7).map_or("words", String::as_str);
            let mut sample = format!("some text before {word}\n");
            dice.text_of(&rule.hir, &mut sample);
            sample.push_str(["", " ", "\n", ";x", "'", "a"][round % 6]);
            let wanted = rule.secrets(&sample);
            let mut found = BTreeSet::new();
            scanner.find_each(&mask, &sample, &mut |it| {
                let value = &sample[it.start..it.end];
                if !scanner.rule(it.rule).accepts(value) {
                    return;
                }
                found.insert((it.start, it.end));
            });
            let allowed = |it: &(usize, usize)| {
                let value = &sample[it.0..it.1];
                let allow = scanner.rule(mask.iter().next().expect("not empty")).allow();
                allow.is_some_and(|allow| {
                    let lower = value.to_lowercase();
                    allow.words.iter().any(|word| lower.contains(word))
                        || allow.regexes().any(|regex| {
                            regex::Regex::new(regex).is_ok_and(|regex| regex.is_match(value))
                        })
                })
            };
            figures.0 += 1;
            figures.1 += wanted.len();
            let exact = !touched.contains_key(rule.id.as_str());
            for it in wanted.iter().filter(|it| !allowed(it)) {
                // Exactly, or with some of the `=` and quotes that stand before.
                let alike = found.iter().any(|ours| {
                    let more = sample.get(ours.0..it.0);
                    ours.1 == it.1 && more.is_some_and(|more| !more.contains(char::is_alphanumeric))
                });
                let covered = found.iter().any(|ours| ours.0 <= it.0 && it.1 <= ours.1);
                if alike || (!exact && covered) {
                    figures.2 += 1;
                } else {
                    let text = format!("{it:?} but {found:?} in {sample:?}");
                    faults.entry(rule.id.clone()).or_default().push(text);
                }
            }
        }
    }
    let (texts, secrets, same) = figures;
    println!("{texts} texts, {secrets} secrets by the file's own expressions, {same} found alike");
    for (rule, texts) in &faults {
        println!("{rule}: {} times, such as {:.400}", texts.len(), texts[0]);
    }
    let missed: usize = faults.values().map(Vec::len).sum();
    assert!(
        missed * 200 <= secrets,
        "{missed} of {secrets} secrets differ"
    );
}

#[test]
fn a_presidio_file_is_read() {
    let Ok(path) = std::env::var("PENSTOCK_PRESIDIO_YAML") else {
        return;
    };
    let text = std::fs::read_to_string(path).expect("the file");
    let imported = Format::Presidio.read("foreign", &text).expect("it loads");
    print_notes(&imported);
    Scanner::compile(imported.pack.rules).expect("they compile");
}
