//! Rules of vendors that do not exist, as many as one likes, and texts in which they match.
//!
//! Half of the rules are told by a prefix of the value, half by a name that is assigned to: the
//! two kinds of which collections of secrets consist. Shared by the measurement and by the test
//! that compares scanners of thousands of rules with single expressions.

use std::fmt::Write as _;

const ONSETS: [&str; 16] = [
    "b", "br", "c", "d", "f", "gl", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v",
];
const VOWELS: [&str; 6] = ["a", "e", "i", "o", "u", "ia"];
const CODAS: [&str; 4] = ["", "n", "x", "rd"];

/// A made rule: what a pack says of it.
pub(crate) struct Made {
    /// Its id.
    pub(crate) id: String,
    /// Its expression.
    pub(crate) regex: String,
    /// What must stand before.
    pub(crate) after: Option<String>,
    /// What a text writes before a value.
    pub(crate) lead: String,
}

/// A small generator of numbers that are always the same.
pub(crate) struct Dice(pub(crate) u64);

// === impl Dice ===

impl Dice {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }

    /// So many characters of these.
    pub(crate) fn text(&mut self, from: &str, count: usize) -> String {
        let from = from.as_bytes();
        (0..count)
            .map(|_| char::from(from[self.below(from.len())]))
            .collect()
    }
}

/// The name of the vendor with this number; no two have the same.
fn vendor(number: usize) -> String {
    let mut name = String::new();
    let mut rest = number * 7919 + 11;
    for _ in 0..3 {
        name.push_str(ONSETS[rest % ONSETS.len()]);
        rest /= ONSETS.len();
        name.push_str(VOWELS[rest % VOWELS.len()]);
        rest /= VOWELS.len();
    }
    name.push_str(CODAS[rest % CODAS.len()]);
    name
}

/// So many rules.
pub(crate) fn rules(count: usize) -> Vec<Made> {
    let rule = |number: usize| {
        let name = vendor(number);
        let id = format!("{name}-{number}");
        match number % 4 {
            0 => Made {
                id,
                regex: format!(r"\b{name}_[A-Za-z0-9]{{32}}\b"),
                after: None,
                lead: format!("{name}_"),
            },
            1 => Made {
                id,
                regex: format!(r"\b{}-{}-[a-f0-9]{{24}}\b", &name[..2], &name[2..]),
                after: None,
                lead: format!("{}-{}-", &name[..2], &name[2..]),
            },
            _ => Made {
                id,
                regex: r"[a-z0-9]{32}\b".to_owned(),
                after: Some(format!(
                    r#"(?i){name}[ \t\w.-]{{0,20}}["'\s]{{0,3}}(?::=|=>|[:=,])["'\s]{{0,5}}"#
                )),
                lead: format!("{name}_key = \""),
            },
        }
    };
    (0..count).map(rule).collect()
}

/// The rules as a pack.
pub(crate) fn pack(rules: &[Made]) -> String {
    let mut toml = String::new();
    for Made {
        id, regex, after, ..
    } in rules
    {
        let after = after
            .as_ref()
            .map_or(String::new(), |after| format!("after = '''{after}'''\n"));
        // Writing to a string cannot fail.
        let _ = write!(
            toml,
            "[[rule]]\nid = \"{id}\"\ndescription = \"made\"\nregex = '''{regex}'''\n{after}\
             matches = [\"\"]\nmisses = [\"\"]\n"
        );
    }
    toml
}
