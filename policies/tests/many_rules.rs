//! Scanners of ten to five thousand rules against every expression alone.
//!
//! The oracle takes each rule by itself: `regex` finds where its expression matches next, and a
//! second expression says whether what must stand before does. All matches of the made rules are
//! of one length, so that leftmost-first is longest.

#[allow(dead_code, reason = "packs of it are measured, too")]
#[path = "../benches/scan_speed/generated.rs"]
mod generated;

use std::time::Instant;

use generated::{Dice, Made};
use penstock_policies::mask::{Channel, MaskKey, Plan};
use penstock_policies::prefilter::Level;
use penstock_policies::rule::Pack;
use penstock_policies::scan::{Match, Scanner};
use regex::Regex;

struct Alone {
    regex: Regex,
    after: Option<Regex>,
}

// === impl Alone ===

impl Alone {
    fn new(made: &Made) -> Alone {
        let ascii = |source: &str| {
            source
                .replace(r"\b", r"(?-u:\b)")
                .replace(r"\w", "[0-9A-Za-z_]")
        };
        let after = made.after.as_ref();
        let after = after.map(|after| Regex::new(&format!(r"(?:{})\z", ascii(after))));
        Alone {
            regex: Regex::new(&ascii(&made.regex)).expect("parses"),
            after: after.map(|after| after.expect("parses")),
        }
    }

    fn find(&self, text: &str) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(next) = self.regex.find_at(text, from) {
            let stands = |after: &Regex| after.is_match(&text[..next.start()]);
            from = match self.after.as_ref().is_none_or(stands) {
                true => {
                    found.push((next.start(), next.end()));
                    next.end()
                }
                false => next.start() + 1,
            };
        }
        found
    }
}

fn scanner(rules: &[Made]) -> Scanner {
    let pack = Pack::parse("made", &generated::pack(rules)).expect("is well-formed");
    let begun = Instant::now();
    let scanner = Scanner::compile(pack.rules).expect("compiles");
    println!(
        "{} rules compile in {} ms to {} KiB",
        rules.len(),
        begun.elapsed().as_millis(),
        scanner.memory_bytes() >> 10
    );
    scanner
}

/// A text with values that match, values that nearly do, and words.
fn text(dice: &mut Dice, rules: &[Made]) -> String {
    const WORDS: [&str; 8] = [
        "the ",
        "gate=",
        "\"key\": \"",
        "\n",
        "über ",
        "token ",
        "-",
        "x9_",
    ];
    let mut text = String::new();
    for _ in 0..6 {
        for _ in 0..dice.below(4) {
            text.push_str(WORDS[dice.below(WORDS.len())]);
        }
        let made = &rules[dice.below(rules.len())];
        let short = dice.below(5) == 0;
        match made.after {
            Some(_) if dice.below(2) == 0 => text.push_str(&made.lead.to_uppercase()),
            _ => text.push_str(&made.lead),
        }
        let count = if made.regex.contains("24") { 24 } else { 32 };
        text.push_str(&dice.text("abcdef0123456789", count - usize::from(short)));
        text.push_str(["\" ", " ", ",", "_", ""][dice.below(5)]);
    }
    text
}

fn in_pieces(scanner: &Scanner, text: &str, piece: usize) -> Vec<Match> {
    let plan = Plan {
        mask: scanner.none(),
        watch: scanner.all(),
    };
    let key = MaskKey::new([3; 32]);
    let mut channel = Channel::new();
    let mut found = Vec::new();
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (first, after) = rest.split_at(rest.ceil_char_boundary(piece.min(rest.len())));
        channel.push(
            scanner,
            &plan,
            &key,
            first,
            &mut |m| found.push(m),
            &mut out,
        );
        rest = after;
    }
    channel.finish(scanner, &plan, &key, &mut |m| found.push(m), &mut out);
    found.sort_unstable_by_key(|m| (m.start, m.rule));
    found
}

fn check(count: usize, texts: usize) {
    let rules = generated::rules(count);
    let alone: Vec<Alone> = rules.iter().map(Alone::new).collect();
    let mut scanner = scanner(&rules);
    let mut dice = Dice(count as u64);
    let mut matches = 0;
    for _ in 0..texts {
        let text = text(&mut dice, &rules);
        let mut expected = Vec::new();
        for (index, alone) in alone.iter().enumerate() {
            let found = alone.find(&text).into_iter();
            expected.extend(found.map(|(start, end)| (start, index as u16, end)));
        }
        expected.sort_unstable();
        matches += expected.len();
        let told = |m: &Match| (m.start, m.rule.0, m.end);
        for level in Level::ALL {
            if !scanner.run_at(level) {
                continue;
            }
            let mut found = Vec::new();
            scanner.find_each(&scanner.all(), &text, &mut |m| found.push(told(&m)));
            assert_eq!(found, expected, "{level:?} in {text:?}");
        }
        let piece = 1 + dice.below(30);
        let found: Vec<_> = in_pieces(&scanner, &text, piece).iter().map(told).collect();
        assert_eq!(found, expected, "in pieces of {piece} of {text:?}");
    }
    assert!(matches > texts, "the texts hold something: {matches}");
}

#[test]
fn ten_rules() {
    check(10, 200);
}

#[test]
fn hundreds_of_rules() {
    check(250, 60);
}

#[test]
fn a_thousand_rules() {
    check(1000, 20);
}

#[test]
fn five_thousand_rules() {
    check(5000, 6);
}

/// So many beginnings that no window is rare, and nothing before them but a boundary: what leads to
/// the value is still looked for.
#[test]
fn a_rule_behind_many_prefixes_is_found() {
    let prefixes: Vec<String> = (b'a'..=b'z')
        .flat_map(|one| (b'a'..=b'e').map(move |two| [one, two]))
        .map(|pair| format!("{}_", String::from_utf8_lossy(&pair)))
        .collect();
    let rule = format!(
        "[[rule]]\nid = \"many\"\ndescription = \"d\"\nregex = '[A-Za-z0-9]{{16,}}'\n\
         after = '\\b(?:{})'\nmax_len = 64\nmatches = [\"aa_k7mNp2qRs4tUv8wXy1zA\"]\nmisses = [\"aa_\"]\n",
        prefixes.join("|")
    );
    let pack = Pack::parse("many", &rule).expect("is well-formed");
    let scanner = Scanner::compile(pack.rules).expect("compiles");
    for prefix in &prefixes {
        let text = format!("see {prefix}k7mNp2qRs4tUv8wXy1zA and go on");
        let mut found = Vec::new();
        scanner.find_each(&scanner.all(), &text, &mut |m| found.push((m.start, m.end)));
        assert_eq!(found, [(4 + prefix.len(), 24 + prefix.len())], "{text}");
    }
}
