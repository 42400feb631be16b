//! Texts in pieces, through the channel alone.

use penstock_policies::mask::{Channel, MaskKey, Plan, mask_text};
use penstock_policies::rule::MATCH_BYTES_MAX;
use penstock_policies::scan::Scanner;

use crate::sample::{self, Dice, assert_hidden, cuts};

/// Cuts of each kind that a short run makes of every text.
const SOME: usize = 2;

fn key() -> MaskKey {
    MaskKey::new([5; 32])
}

/// All shipped rules, each match replaced.
struct Masker {
    scanner: Scanner,
    plan: Plan,
}

impl Masker {
    fn new() -> Masker {
        let scanner = Scanner::compile(sample::rules()).expect("are shipped");
        let plan = Plan {
            mask: scanner.all(),
            watch: scanner.none(),
        };
        Masker { scanner, plan }
    }

    fn block(&self, text: &str) -> (String, Vec<(usize, usize)>) {
        let mut found = Vec::new();
        let note = &mut |m: penstock_policies::scan::Match| found.push((m.start, m.end));
        let masked = mask_text(&self.scanner, &self.plan, &key(), text, note);
        (masked.unwrap_or_else(|| text.to_owned()), found)
    }

    /// Sends the pieces; at every step what was sent is a beginning of `masked`.
    fn stream(&self, pieces: &[&str], masked: &str) {
        let mut channel = Channel::new();
        let mut sent = String::new();
        for piece in pieces {
            channel.push(
                &self.scanner,
                &self.plan,
                &key(),
                piece,
                &mut |_| {},
                &mut sent,
            );
            assert!(
                masked.starts_with(&sent),
                "{sent:?}\nof {masked:?}\nin {pieces:?}"
            );
            assert!(
                channel.held_bytes() <= MATCH_BYTES_MAX + piece.len(),
                "{pieces:?}"
            );
        }
        channel.finish(&self.scanner, &self.plan, &key(), &mut |_| {}, &mut sent);
        assert_eq!(sent, masked, "in {pieces:?}");
    }
}

#[test]
fn every_example_is_masked_alike_however_it_is_cut() {
    let masker = Masker::new();
    let mut dice = Dice::new();
    let (mut all, mut masked_texts) = (0, 0);
    for (rule, text) in sample::texts() {
        let (masked, found) = masker.block(&text);
        all += 1;
        masked_texts += usize::from(!found.is_empty());
        assert_hidden(&masked, &text, &found, &rule);
        for pieces in cuts(&text, SOME, &mut dice) {
            masker.stream(&pieces, &masked);
        }
    }
    // A rule for whole lines finds nothing inside a sentence.
    assert!(
        masked_texts * 20 > all * 19,
        "only {masked_texts} of {all} are masked"
    );
}

/// Several examples in one text, so that a match ends where the next might have begun.
#[test]
fn examples_in_a_row_are_masked_alike_however_they_are_cut() {
    let masker = Masker::new();
    let mut dice = Dice::new();
    let texts = sample::texts();
    let rounds = if sample::full() { 2000 } else { 60 };
    for _ in 0..rounds {
        let mut text = String::new();
        for _ in 0..2 + dice.below(4) {
            let (_, part) = &texts[dice.below(texts.len())];
            // A part of an example is no value any more, or another one.
            let end = part.floor_char_boundary(part.len() - dice.below(part.len() / 2));
            text.push_str(&part[..end]);
        }
        let (masked, found) = masker.block(&text);
        assert_hidden(&masked, &text, &found, "a row");
        for pieces in cuts(&text, 1, &mut dice) {
            masker.stream(&pieces, &masked);
        }
    }
}

/// What a rule promises not to find alone may be found by another; what nothing finds is sent as
/// it came, in every cut.
#[test]
fn what_nothing_finds_is_sent_as_it_came() {
    let masker = Masker::new();
    let mut dice = Dice::new();
    let mut benign = 0;
    for rule in sample::rules() {
        for example in rule.misses() {
            let text = format!("Es heißt: {example} usw.");
            let (masked, found) = masker.block(&text);
            if found.is_empty() {
                assert_eq!(masked, text);
                benign += 1;
            }
            for pieces in cuts(&text, 1, &mut dice) {
                masker.stream(&pieces, &masked);
            }
        }
    }
    assert!(benign > 100, "only {benign} texts were benign");
}
