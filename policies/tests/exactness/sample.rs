//! Which texts, cut where; and what must not be seen in what comes out.

use std::sync::LazyLock;

use penstock_policies::rule::{Pack, Rule, shipped};

/// Consecutive characters of a secret that nobody may see.
const SECRET_CHARS: usize = 8;

/// Chance that a seed repeats: the splitmix64 recurrence.
pub(crate) struct Dice(u64);

impl Dice {
    /// The seed of this run, said so that a failure can be repeated.
    pub(crate) fn new() -> Dice {
        let seed = std::env::var("PENSTOCK_EXACTNESS_SEED").ok();
        let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(1);
        println!("repeat with PENSTOCK_EXACTNESS_SEED={seed}");
        Dice(seed)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }

    /// Pieces of 1 to `most` characters each.
    pub(crate) fn cut<'t>(&mut self, text: &'t str, most: usize) -> Vec<&'t str> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let chars = 1 + self.below(most);
            let at = rest
                .char_indices()
                .nth(chars)
                .map_or(rest.len(), |(at, _)| at);
            let (piece, after) = rest.split_at(at);
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}

/// The names of all shipped rules.
static NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| rules().iter().map(|rule| rule.id().to_owned()).collect());

/// Whether everything is to be tried.
pub(crate) fn full() -> bool {
    std::env::var("PENSTOCK_EXACTNESS").is_ok_and(|word| word == "full")
}

/// Every shipped rule, in the order of the packs.
pub(crate) fn rules() -> Vec<Rule> {
    let parse = |(name, toml): &(&str, &str)| Pack::parse(name, toml).expect("is shipped").rules;
    shipped().iter().flat_map(parse).collect()
}

/// Every shipped example as a text, with the rule that it is of.
pub(crate) fn texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for rule in rules() {
        for example in rule.matches() {
            let text = format!("Größe: siehe {example} – und weiter.");
            texts.push((rule.id().to_owned(), text));
        }
    }
    texts
}

/// Every way of cutting, or some: in two everywhere, by the character, and at random.
pub(crate) fn cuts<'t>(text: &'t str, some: usize, dice: &mut Dice) -> Vec<Vec<&'t str>> {
    let splits: Vec<usize> = text
        .char_indices()
        .map(|(at, _)| at)
        .chain([text.len()])
        .collect();
    let mut cuts: Vec<Vec<&str>> = Vec::new();
    let two = |at: usize| vec![&text[..at], &text[at..]];
    match full() {
        true => cuts.extend(splits.iter().map(|at| two(*at))),
        false => {
            for _ in 0..some {
                cuts.push(two(splits[dice.below(splits.len())]));
            }
        }
    }
    cuts.push(text.split("").filter(|char| !char.is_empty()).collect());
    for _ in 0..if full() { 8 * some } else { some } {
        let most = 2 + dice.below(14);
        cuts.push(dice.cut(text, most));
    }
    cuts
}

/// Panics when `seen` shows a masked value of `text`, or eight characters of one that stand
/// nowhere else in the text.
pub(crate) fn assert_hidden(seen: &str, text: &str, masked: &[(usize, usize)], what: &str) {
    let mut outside = text.as_bytes().to_vec();
    for (start, end) in masked {
        outside[*start..*end].fill(0);
    }
    let outside = String::from_utf8_lossy(&outside).into_owned();
    for (start, end) in masked {
        let value = &text[*start..*end];
        let ends: Vec<usize> = value
            .char_indices()
            .map(|(at, _)| at)
            .chain([value.len()])
            .collect();
        for from in 0..ends.len().saturating_sub(SECRET_CHARS) {
            let window = &value[ends[from]..ends[from + SECRET_CHARS]];
            let shown = seen.contains(window) && !outside.contains(window);
            // A run of one character is in a filler as well as in a value, and a phrase that a rule
            // finds may be a part of the rule's name, which replacements show.
            let telling = window.chars().any(|char| !window.starts_with(char))
                && !(shown && NAMES.iter().any(|name| name.contains(window)));
            assert!(
                !(shown && telling),
                "{what}: {window:?} of {value:?} is in {seen:?}"
            );
        }
    }
}
