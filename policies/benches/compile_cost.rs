//! What it costs to compile rules: time and table memory of the shipped rules, and of a thousand.
//! `cargo bench -p penstock-policies --bench compile_cost`

use std::time::Instant;

use penstock_policies::rule::{Pack, Rule, shipped};
use penstock_policies::scan::{RuleIndex, Scanner};

fn main() {
    let mut toml = String::new();
    for number in 0..1000 {
        toml.push_str(&format!(
            "[[rule]]\nid = \"made-{number}\"\ndescription = \"made up\"\n\
             regex = '\\bvend{number}_[a-z]{{2}}_[0-9A-Za-z]{{20,40}}\\b'\n\
             matches = [\"x\"]\nmisses = [\"y\"]\n"
        ));
    }
    let made = Pack::parse("made", &toml).expect("is a pack").rules;
    let parse = |(name, text): &(&str, &str)| Pack::parse(name, text).expect("is shipped").rules;
    measure("shipped", shipped().iter().flat_map(parse).collect());
    measure("made", made);
}

fn measure(name: &str, rules: Vec<Rule>) {
    let count = rules.len();
    let began = Instant::now();
    let scanner = Scanner::compile(rules).expect("compiles");
    let took = began.elapsed();
    let bytes: usize = (0..count as u16)
        .map(|rule| scanner.cost_bytes(RuleIndex(rule)))
        .sum();
    println!(
        "{name}: {count} rules in {took:.1?}, tables {} KiB",
        bytes >> 10
    );
    let mut heaviest: Vec<_> = (0..count as u16)
        .map(|rule| {
            (
                scanner.cost_bytes(RuleIndex(rule)),
                scanner.rule(RuleIndex(rule)).id(),
            )
        })
        .collect();
    heaviest.sort_unstable();
    for (bytes, id) in heaviest.iter().rev().take(5) {
        println!("  {:6} KiB {id}", bytes >> 10);
    }
    for warning in scanner.slow_rules() {
        println!("  {warning}");
    }
}
