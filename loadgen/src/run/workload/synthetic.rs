//! Made-up prompts: common English words, so many that their number is a length in tokens.
//!
//! Nearly every word of the list is one token in the usual tokenizers, with the space before it.
//! Part of a prompt may be the same as in others, from its beginning, so that the engine's prefix
//! cache has its usual work; behind that comes a number that no other prompt has.

use std::io::Write as _;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Words of the text that prompts are cut from. A longer prompt goes round.
const TEXT_WORDS: usize = 1 << 16;

const WORDS: &str = "the of and to in a is that for it as was with be by on not he this are or his \
    from at which but have an had they you were their one all we can her has there been if more \
    when will would who so no out up into do any your what than our man may then new like some \
    only could its over time very them other these two such first my after people most also made \
    way should many must through years where much before right too means well himself being now \
    just because day those long even work life own old place great same good small another found \
    still between name house water world year while last might being under again number part \
    almost hand high enough went less put think almost head above side during without group line \
    point form light late week far once left night home called given land set point river wheel \
    turn gate open flow stone field story early paper always those both around always city near";

/// A text to cut from, and how much of a prompt is common.
pub(super) struct Synthetic {
    text: Vec<u8>,
    /// Where each word starts, with the space before it; one more for the end.
    starts: Vec<u32>,
    shared_prefix: f64,
    prefixes: u32,
}

// === impl Synthetic ===

impl Synthetic {
    pub(super) fn new(shared_prefix: f64, prefixes: u32, seed: u64) -> Self {
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let mut rng = StdRng::seed_from_u64(seed ^ 0x776f_7264);
        let mut text = Vec::new();
        let mut starts = Vec::with_capacity(TEXT_WORDS + 1);
        for _ in 0..TEXT_WORDS {
            starts.push(text.len() as u32); // a few hundred kilobytes
            text.push(b' ');
            text.extend_from_slice(words[rng.random_range(0..words.len())].as_bytes());
        }
        starts.push(text.len() as u32); // as before
        Self {
            text,
            starts,
            shared_prefix: shared_prefix.clamp(0.0, 1.0),
            prefixes: prefixes.max(1),
        }
    }

    /// Appends a prompt of this many tokens. Nothing in it needs to be escaped.
    pub(super) fn write(&self, tokens: u32, serial: u64, rng: &mut StdRng, out: &mut Vec<u8>) {
        let shared = (f64::from(tokens) * self.shared_prefix).round() as usize;
        let which = rng.random_range(0..self.prefixes) as usize;
        let from = which * (TEXT_WORDS / self.prefixes as usize).max(1);
        self.words(from, shared, out);
        let own = tokens as usize - shared.min(tokens as usize);
        if own > 0 {
            let _ = write!(out, " {serial:x}"); // a Vec takes everything
            self.words(rng.random_range(0..TEXT_WORDS), own - 1, out);
        }
    }

    fn words(&self, from: usize, mut count: usize, out: &mut Vec<u8>) {
        let mut from = from % TEXT_WORDS;
        while count > 0 {
            let taken = count.min(TEXT_WORDS - from);
            let (start, end) = (self.starts[from], self.starts[from + taken]);
            out.extend_from_slice(&self.text[start as usize..end as usize]);
            count -= taken;
            from = 0;
        }
    }
}
