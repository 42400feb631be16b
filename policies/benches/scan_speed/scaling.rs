//! More rules, smaller pieces, plainer processors, hostile megabytes.

use std::hint::black_box;
use std::time::Instant;

use penstock_policies::mask::Plan;
use penstock_policies::prefilter::{BATCH_BLOCKS, BLOCK, Level, Prefilter};
use penstock_policies::rule::Pack;
use penstock_policies::scan::Scanner;

use crate::{
    CODE, JSON, LINE_BYTES, PIECE_BYTES, PROSE, TEXT_BYTES, block, generated, scanner, stream, time,
};

/// How many rules there are.
const COUNTS: [usize; 4] = [10, 250, 1000, 5000];

/// Length of a hostile text.
const HOSTILE_BYTES: usize = 1 << 20;

fn texts() -> [(&'static str, String); 3] {
    [("prose", PROSE), ("code", CODE), ("chat json", JSON)].map(|(name, unit)| {
        let mut text = unit.repeat(TEXT_BYTES / unit.len() + 1);
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        (name, text)
    })
}

pub(crate) fn measure(filter: Option<&str>) {
    let everything: &[&str] = &["secrets", "personal", "customer", "injection", "high-risk"];
    let sets: [(&str, &[&str]); 2] = [("secrets", &["secrets"]), ("all packs", everything)];
    for (name, packs) in sets {
        let (scanner, plan) = scanner(packs);
        figures(name, &scanner, &plan, filter);
    }
    for count in COUNTS {
        let rules = generated::rules(count);
        let rules = Pack::parse("made", &generated::pack(&rules))
            .expect("is well-formed")
            .rules;
        let begun = Instant::now();
        let scanner = Scanner::compile(rules).expect("compiles");
        let took = begun.elapsed().as_millis();
        let mib = scanner.memory_bytes() as f64 / f64::from(1 << 20);
        println!("{count} made rules compile in {took} ms to {mib:.1} MiB");
        let plan = Plan {
            mask: scanner.all(),
            watch: scanner.none(),
        };
        figures(&format!("{count} made rules"), &scanner, &plan, filter);
    }
    hostile();
}

/// One set of rules over the ordinary texts.
fn figures(name: &str, scanner: &Scanner, plan: &Plan, filter: Option<&str>) {
    println!("{name}: GB/s whole; ns a piece of 24 and 5 bytes; prefilter in GB/s by level");
    for (text_name, text) in texts() {
        if filter.is_some_and(|word| !text_name.contains(word)) {
            continue;
        }
        let bytes = text.len() as f64;
        let whole = bytes / time(|| block(scanner, plan, &text));
        print!("{text_name:<12}{whole:>8.2}");
        for piece in [LINE_BYTES, PIECE_BYTES] {
            let pieces = bytes / piece as f64;
            print!(
                "{:>8.0}",
                time(|| stream(scanner, plan, &text, piece)) / pieces
            );
        }
        for level in Level::ALL.into_iter().rev() {
            if let Some(prefilter) = scanner.prefilter().at(level) {
                let (rate, hits) = alone(&prefilter, text.as_bytes());
                print!("  {level:?} {rate:.2}");
                if level == Level::Vbmi || level == Level::Avx2 {
                    print!(" ({hits:.1}%)");
                }
            }
        }
        println!();
    }
}

/// The prefilter alone: GB/s, and the places that it names in percent.
fn alone(prefilter: &Prefilter, bytes: &[u8]) -> (f64, f64) {
    let mut masks = [0; BATCH_BLOCKS];
    let mut named = 0;
    let took = time(|| {
        named = 0;
        for from in (0..bytes.len()).step_by(BATCH_BLOCKS * BLOCK) {
            let blocks = prefilter.masks(black_box(bytes), from, &mut masks);
            named += masks[..blocks]
                .iter()
                .map(|mask| mask.count_ones())
                .sum::<u32>();
        }
        black_box(named);
    });
    let bytes = bytes.len() as f64;
    (bytes / took, f64::from(named) / bytes * 100.0)
}

/// A megabyte of what beginnings are made of.
fn hostile() {
    let (scanner, plan) = scanner(&["secrets", "personal", "customer", "injection", "high-risk"]);
    println!("all packs over a hostile megabyte, nanoseconds a byte: whole, in pieces of 24");
    for unit in ["eyJ", "AKIA", "7", "@", "a@", "secret=", "key_", "bearer "] {
        let text = unit.repeat(HOSTILE_BYTES / unit.len());
        let bytes = text.len() as f64;
        let seconds = |call: &mut dyn FnMut()| {
            let begun = Instant::now();
            call();
            begun.elapsed().as_nanos() as f64
        };
        let whole = seconds(&mut || block(&scanner, &plan, &text)) / bytes;
        let pieces = seconds(&mut || stream(&scanner, &plan, &text, LINE_BYTES)) / bytes;
        println!("{unit:<12?}{whole:>10.2}{pieces:>10.2}");
    }
}
