//! Our side of a contest: masking, in blocks and in chunks with carried state.

use std::hint::black_box;

use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::prefilter::{BATCH_BLOCKS, BLOCK, Masks};
use penstock_policies::scan::Scanner;
use rustix::time::{ClockId, clock_gettime};

use super::vectorscan::Pass;
use crate::corpus;
use crate::rulesets;

/// A compiled set of rules whose every match is replaced.
#[derive(Debug)]
pub struct Ours {
    scanner: Scanner,
    plan: Plan,
}

/// CPU time of this thread, in seconds.
pub fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

// === impl Ours ===

impl Ours {
    /// Of a compiled scanner.
    pub fn new(scanner: Scanner) -> Ours {
        let plan = rulesets::mask_all(&scanner);
        Ours { scanner, plan }
    }

    /// Only looks for places where a rule may start; what it counts are those places.
    pub fn prefilter(&self, text: &str, repeats: u32) -> Pass {
        let mut masks: Masks = [0; BATCH_BLOCKS];
        let mut places = 0_u64;
        let from = cpu_seconds();
        for _ in 0..repeats {
            let (bytes, mut at) = (black_box(text.as_bytes()), 0);
            while at < bytes.len() {
                let blocks = self.scanner.prefilter().masks(bytes, at, &mut masks);
                places += masks[..blocks]
                    .iter()
                    .map(|m| u64::from(m.count_ones()))
                    .sum::<u64>();
                at += blocks * BLOCK;
            }
        }
        pass(text, repeats, from, places)
    }

    /// Finds what stands in a text as it is written, block by block.
    pub fn plain(&self, text: &str, block: usize, repeats: u32) -> Pass {
        let blocks = corpus::blocks(text, block);
        let mut matches = 0_u64;
        let from = cpu_seconds();
        for _ in 0..repeats {
            for block in &blocks {
                let found = self.scanner.find(&self.plan.mask, black_box(block));
                matches += black_box(found).len() as u64;
            }
        }
        pass(text, repeats, from, matches)
    }

    /// Masks a text block by block.
    pub fn blocks(&self, text: &str, block: usize, repeats: u32) -> Pass {
        let key = MaskKey::new([7; 32]);
        let blocks = corpus::blocks(text, block);
        let mut matches = 0_u64;
        let from = cpu_seconds();
        for _ in 0..repeats {
            for block in &blocks {
                let count = &mut |_| matches += 1;
                black_box(mask_text(
                    &self.scanner,
                    &self.plan,
                    &key,
                    black_box(block),
                    count,
                ));
            }
        }
        pass(text, repeats, from, matches)
    }

    /// Masks each block as a stream of chunks.
    pub fn chunks(&self, text: &str, block: usize, chunk: usize, repeats: u32) -> Pass {
        let key = MaskKey::new([7; 32]);
        let blocks = corpus::blocks(text, block);
        let cut: Vec<Vec<&str>> = blocks
            .iter()
            .map(|block| corpus::blocks(block, chunk))
            .collect();
        let mut matches = 0_u64;
        let mut out = String::new();
        let from = cpu_seconds();
        for _ in 0..repeats {
            for chunks in &cut {
                let mut channel = Channel::new();
                for chunk in chunks {
                    out.clear();
                    let count = &mut |_| matches += 1;
                    channel.push(&self.scanner, &self.plan, &key, chunk, count, &mut out);
                    black_box(&out);
                }
                let count = &mut |_| matches += 1;
                channel.finish(&self.scanner, &self.plan, &key, count, &mut out);
            }
        }
        pass(text, repeats, from, matches)
    }
}

fn pass(text: &str, repeats: u32, from: f64, matches: u64) -> Pass {
    Pass {
        bytes: text.len() as f64 * f64::from(repeats),
        seconds: cpu_seconds() - from,
        matches: matches as f64,
    }
}
