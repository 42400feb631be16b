//! Texts for the oracle: stretches of the corpora, with values and near-values dropped into them.

use penstock_policies::rule::Rule;

use crate::corpus::Corpus;
use crate::dice::Dice;
use crate::generate::Generator;

/// Prose when no corpus was gathered.
const PROSE: &str = "The gate stands where the river meets the old mill, 12 miles from town; call \
    me at noon. key = value, {\"id\": 7, \"on\": true} and more: 2024-05-06T07:08:09Z, naïve – 你好.\n";

/// Longest stretch of a corpus in one text.
const STRETCH_BYTES_MAX: usize = 700;

/// Most values in one text.
const VALUES_MAX: usize = 4;

/// Makes texts.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    corpora: Vec<&'a str>,
    examples: Vec<&'a str>,
    generators: Vec<Generator>,
}

// === impl Texts ===

impl<'a> Texts<'a> {
    /// From corpora, which may be none, and the rules' examples and expressions.
    pub(super) fn new(corpora: &'a [Corpus], rules: &'a [Rule]) -> Texts<'a> {
        let mut texts: Vec<&str> = corpora.iter().map(|corpus| corpus.text.as_str()).collect();
        if texts.is_empty() {
            texts.push(PROSE);
        }
        let examples = rules
            .iter()
            .flat_map(|rule| rule.matches().iter().chain(rule.misses()));
        Texts {
            corpora: texts,
            examples: examples.map(String::as_str).collect(),
            generators: rules
                .iter()
                .filter_map(|rule| Generator::new(rule.regex()))
                .collect(),
        }
    }

    /// The next text.
    pub(super) fn next(&self, dice: &mut Dice) -> String {
        let mut text = self.stretch(dice);
        for _ in 0..dice.below(VALUES_MAX + 1) {
            let value = self.value(dice);
            let at = text.floor_char_boundary(dice.below(text.len() + 1));
            let glue = *dice.pick(&["", " ", "=", ": \"", "\n", "'"]);
            text.insert_str(at, &format!("{glue}{value}{glue}"));
        }
        text
    }

    fn stretch(&self, dice: &mut Dice) -> String {
        let corpus = self.corpora[dice.below(self.corpora.len())];
        let from = corpus.floor_char_boundary(dice.below(corpus.len()));
        let length = dice.below(STRETCH_BYTES_MAX);
        let to = corpus.floor_char_boundary((from + length).min(corpus.len()));
        corpus[from..to].to_owned()
    }

    /// An example, or something that a rule's expression matches; sometimes with an error in it.
    fn value(&self, dice: &mut Dice) -> String {
        let mut value = match dice.below(2) {
            0 => self.examples[dice.below(self.examples.len())].to_owned(),
            _ => self.generators[dice.below(self.generators.len())].text(dice),
        };
        let at = value.floor_char_boundary(dice.below(value.len().max(1)));
        match dice.below(6) {
            0 if !value.is_empty() => drop(value.remove(at)),
            1 => value.insert(at, *dice.pick(&['a', '0', ' ', 'Z', 'é', '\n', '-'])),
            2 => value.truncate(at),
            _ => {}
        }
        value
    }
}

/// A text in random pieces.
pub(super) fn cut<'t>(text: &'t str, dice: &mut Dice) -> Vec<&'t str> {
    let most = *dice.pick(&[1, 3, 8, 40, 300]);
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.ceil_char_boundary((1 + dice.below(most)).min(rest.len()));
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    pieces
}
