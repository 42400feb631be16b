//! What every rule costs when it is alone: the set's speed is set by few of them.

use crate::corpus::Corpus;
use crate::error::Result;
use crate::figures::FigureLine;
use crate::rulesets;

use super::ours::Ours;

/// Bytes of each corpus that a rule is tried on.
const SAMPLE_BYTES: usize = 512 << 10;

/// How often, of which the fastest counts.
const TRIES: u32 = 3;

/// Rules that are told.
const TOLD: usize = 20;

/// Nanoseconds a kibibyte, and places a megabyte where the prefilter stops, of each rule of a set.
pub(super) fn measure(set: &str, corpora: &[Corpus], block: usize) -> Result<Vec<FigureLine>> {
    let sample = |corpus: &Corpus| {
        let to = corpus
            .text
            .floor_char_boundary(SAMPLE_BYTES.min(corpus.text.len()));
        corpus.text[..to].to_owned()
    };
    let texts: Vec<String> = corpora.iter().map(sample).collect();
    let bytes: usize = texts.iter().map(String::len).sum();
    let mut costs = Vec::new();
    for rule in rulesets::named(set)? {
        let id = rule.id().to_owned();
        let ours = Ours::new(rulesets::compile(vec![rule])?);
        let (mut seconds, mut places) = (0.0, 0.0);
        for text in &texts {
            let tries = (0..TRIES).map(|_| ours.blocks(text, block, 1).seconds);
            seconds += tries.fold(f64::MAX, f64::min);
            places += ours.prefilter(text, 1).matches;
        }
        let ns_per_kib = seconds * 1e9 / (bytes as f64 / 1024.0);
        costs.push((id, ns_per_kib, places / (bytes as f64 / 1e6)));
    }
    costs.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut lines = Vec::new();
    for (id, ns_per_kib, places) in costs.into_iter().take(TOLD) {
        let mut tell = |figure, unit, value| {
            let scenario = format!("each/{set}/{id}");
            lines.extend(FigureLine::of(
                scenario,
                "penstock",
                figure,
                unit,
                vec![value],
            ));
        };
        tell("cpu_ns_per_kib", "ns/KiB", ns_per_kib);
        tell("places_per_mb", "places/MB", places);
    }
    Ok(lines)
}
