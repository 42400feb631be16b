//! What scanning costs, in nanoseconds a byte: ordinary texts, and texts made to be dear.
//!
//! `cargo bench -p penstock-policies --bench scan_speed` prints one line a text and one column a
//! set of packs, then pieces of streams, the prefilter alone at every level of the processor, and
//! what becomes of it all with ten to thousands of rules; `-- prose` keeps the texts whose name
//! contains the word. Every figure is the fastest of several rounds, which is the one that other
//! work on the machine disturbs least. It is a tool for whoever changes the scanner, no gate.

mod exchange;
#[allow(dead_code, reason = "the texts are for the test that shares it")]
mod generated;
mod scaling;

use std::hint::black_box;
use std::time::{Duration, Instant};

use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::rule::{Pack, shipped};
use penstock_policies::scan::Scanner;

/// Length of a text.
const TEXT_BYTES: usize = 16 << 10;

/// Length of a piece of a stream: about a token.
const PIECE_BYTES: usize = 5;

/// Length of a larger one: about a line of tokens.
const LINE_BYTES: usize = 24;

/// Rounds of which the fastest counts.
const ROUNDS: u32 = 15;

/// How long a round takes at least.
const ROUND_MIN: Duration = Duration::from_millis(1);

const PROSE: &str = "The gate stands where the river meets the old mill, and every spring the \
    keeper walks the length of the channel to look for stones. Water that comes too fast breaks \
    the wheel, and water that comes too slowly leaves the millers waiting with their sacks of \
    barley. So the keeper raises the gate by the width of a hand, listens, and raises it again. \
    When I was 12, in 1987, Dr. Brown's well-known \"Almanac\" gave us the dates: the 3rd of May \
    and the 21st of June. In the evening the children sit on the wall and count the swallows. ";

const CODE: &str = r#"
fn settle(&mut self, compiled: &Compiled, view: &View<'_>) -> Outcome {
    if self.end == self.start || !compiled.checks.accept(view.slice(self.start, self.end)) {
        return Outcome::Failed; // no valid match at this start
    }
    let max_tokens = config.get("max_tokens").unwrap_or(&4096) * 2;
    for (index, user_name) in users.iter().enumerate().skip(1) { total_bytes += 0x1F; }
    const URL: &str = "https://api.example.com/v1/items?page=2&size=50";
}
"#;

const JSON: &str = r#"{"role": "user", "content": "Please summarise the meeting notes.", "name": "dana",
 "metadata": {"trace_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "temperature": 0.7, "stop": null},
 "tool_calls": [{"id": "call_9bQ2", "type": "function", "function": {"name": "get_weather",
 "arguments": "{\"city\": \"Berlin\", \"unit\": \"celsius\", \"days\": 3}"}}], "created": 1730000000}, "#;

struct Sample {
    name: &'static str,
    text: String,
}

fn samples() -> Vec<Sample> {
    let sample = |name, unit: &str| {
        let mut text = unit.repeat(TEXT_BYTES / unit.len() + 1);
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        Sample { name, text }
    };
    vec![
        sample("prose", PROSE),
        sample("code", CODE),
        sample("chat json", JSON),
        sample(
            "german prose",
            "Größere Schlüssel öffnen schwere Türen, außer im Winter. ",
        ),
        sample("digits", "4111 1111-11 2222 3.14 2024-05-06 900123456 "),
        sample("one long number", "1234567890"),
        sample("upper case", "GB NO AKIA SKU ASIA MTA "),
        sample("addresses", "jane.doe@example.com, "),
        sample("a@a@a@", "a@"),
        sample("a.a.a.", "a."),
        sample("a.a.a.@", &format!("{}@", "a.".repeat(32))),
        sample("@@@@", "@"),
        sample("eyJeyJ", "eyJ"),
        sample("-eyJ to 4000", &format!("{} ", "-eyJaaaa".repeat(500))),
        sample("bearer runs", "bearer aaaaaaaaaaaaaaaaaa/"),
        sample("key: key:", "password: key: secret= "),
        sample("ignore all", "ignore all the previous "),
        sample("tel 1 tel 2", "tel 1234 tel 567 "),
    ]
}

/// The scanner of these packs, with a plan that replaces every rule.
fn scanner(packs: &[&str]) -> (Scanner, Plan) {
    let mut rules = Vec::new();
    for (name, toml) in shipped().iter().filter(|(name, _)| packs.contains(name)) {
        rules.extend(Pack::parse(name, toml).expect("is shipped").rules);
    }
    let scanner = Scanner::compile(rules).expect("is shipped");
    let plan = Plan {
        mask: scanner.all(),
        watch: scanner.none(),
    };
    (scanner, plan)
}

/// The plan of a guard that blocks on every rule: masked and reported.
fn blocking(scanner: &Scanner) -> Plan {
    Plan {
        mask: scanner.all(),
        watch: scanner.all(),
    }
}

/// Nanoseconds that one call takes.
fn time(mut call: impl FnMut()) -> f64 {
    let mut calls = 1_u32;
    let mut best = f64::MAX;
    let mut round = 0;
    while round < ROUNDS {
        let begun = Instant::now();
        for _ in 0..calls {
            call();
        }
        let took = begun.elapsed();
        if took < ROUND_MIN && round == 0 {
            calls *= 2;
            continue;
        }
        best = best.min(took.as_nanos() as f64 / f64::from(calls));
        round += 1;
    }
    best
}

fn block(scanner: &Scanner, plan: &Plan, text: &str) {
    let key = MaskKey::new([7; 32]);
    black_box(mask_text(
        scanner,
        plan,
        &key,
        black_box(text),
        &mut |found| {
            black_box(found);
        },
    ));
}

fn stream(scanner: &Scanner, plan: &Plan, text: &str, piece_bytes: usize) {
    let key = MaskKey::new([7; 32]);
    let mut channel = Channel::new();
    let mut out = String::new();
    let mut rest = black_box(text);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(piece_bytes.min(rest.len())));
        out.clear();
        channel.push(scanner, plan, &key, piece, &mut |_| {}, &mut out);
        rest = after;
    }
    channel.finish(scanner, plan, &key, &mut |_| {}, &mut out);
    black_box(out);
}

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let sets: [(&str, &[&str]); 3] = [
        ("secrets", &["secrets"]),
        ("+personal", &["secrets", "personal", "customer"]),
        (
            "all packs",
            &["secrets", "personal", "customer", "injection", "high-risk"],
        ),
    ];
    let compiled: Vec<_> = sets
        .iter()
        .map(|(name, packs)| (*name, scanner(packs)))
        .collect();
    let (all, masking) = &compiled[2].1;
    let rules = all.rules().to_vec();
    let begun = Instant::now();
    black_box(Scanner::compile(rules).is_ok());
    let took = begun.elapsed().as_millis();
    println!("{} rules compile in {took} ms", all.rules().len());
    println!("nanoseconds a byte, replacing{:>15}", "");
    print!("{:<18}", "text");
    for (name, _) in &compiled {
        print!("{name:>12}");
    }
    println!(
        "{:>12}{:>12}{:>12}",
        "and watching", "5-byte bits", "24-byte"
    );
    for Sample { name, text } in samples() {
        if filter
            .as_ref()
            .is_some_and(|word| !name.contains(word.as_str()))
        {
            continue;
        }
        let bytes = text.len() as f64;
        print!("{name:<18}");
        for (_, (scanner, plan)) in &compiled {
            print!("{:>12.2}", time(|| block(scanner, plan, &text)) / bytes);
        }
        let both = blocking(all);
        print!("{:>12.2}", time(|| block(all, &both, &text)) / bytes);
        let pieces = |piece| time(|| stream(all, masking, &text, piece)) / bytes;
        println!("{:>12.2}{:>12.2}", pieces(PIECE_BYTES), pieces(LINE_BYTES));
    }
    println!("nanoseconds a short text, replacing and watching, all packs");
    let both = blocking(all);
    for text in [
        "",
        "m",
        "user",
        "call_9bQ2",
        "Hello, how are you today?",
        "get_weather",
    ] {
        println!("{text:<30?}{:>8.0}", time(|| block(all, &both, text)));
    }
    scaling::measure(filter.as_deref());
    exchange::measure();
}
