//! Rules: what may not pass, written by people, checked once, valid from then on.
//!
//! A [`Pack`] is a TOML file of rules; a [`Rule`] that exists has parsed and keeps its promises:
//! its expression is of the dialect of [`mod@syntax`], matches no empty text, and has a bound on
//! its length; its template is harmless inside JSON. What it costs to run is known only once it is
//! compiled, by [`crate::scan::Scanner::compile`].
//!
//! ```toml
//! [[rule]]
//! id = "acme-customer-id"               # lower case, digits, hyphens; unique over all packs
//! description = "ACME customer number"
//! regex = '\bCUST-[0-9]{8}\b'
//! keywords = ["CUST-"]                  # optional: a match counts only if it contains one
//! after = '(?i)customer["'']?\s?[:=]\s?'  # optional: must stand immediately before the match
//! context = { words = ["customer"], within = 64 }  # optional: one must stand shortly before
//! validate = "luhn"                     # optional: luhn, iban, us_ssn, jwt
//! entropy = 3.0                         # optional: at least so many bits a byte
//! max_len = 13                          # bytes; may be left out when the regex has a bound
//! region = { end = 'END', max = 65536 } # optional: masked from the match to the end marker
//! replace = "<customer:{pseudonym}>"    # optional: see `template`
//! roles = ["tool", "document"]           # optional: whose words; else everybody's
//! matches = ["order for CUST-12345674"] # examples that are tests
//! misses = ["CUST-1", "XCUST-123456789"]
//! ```
//!
//! In `matches` and `misses` the three characters `{+}` are removed: they break up values that
//! look so real that a scanner of repositories would raise an alarm.

mod diagnostic;
mod example;
mod pack;
mod shipped;
mod speaker;
mod syntax;
mod template;
mod validate;

pub use diagnostic::{PackError, Position, position, suggest, suggest_from_message};
pub use example::{ExampleFailure, ExampleKind};
pub use pack::Pack;
pub use shipped::shipped;
pub use speaker::Speaker;
pub use validate::{Validator, entropy_bits};

pub(crate) use template::Template;

use crate::mask::MaskKey;
use regex_syntax::hir::Hir;

/// The longest match that a rule may bound itself to, in bytes. It is also the most that a
/// channel ever holds back.
pub const MATCH_BYTES_MAX: usize = 4096;

/// How far before a match its `after` and `context` may look, in bytes.
pub const LOOK_BEHIND_BYTES_MAX: usize = 128;

/// The longest region, in bytes.
pub const REGION_BYTES_MAX: usize = 1 << 20;

/// What the loader removes from examples; see the module's text.
pub const EXAMPLE_JOIN: &str = "{+}";

/// One rule, parsed and valid.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) pattern: Pattern,
    pub(crate) max_len: usize,
    pub(crate) after: Option<Pattern>,
    pub(crate) context: Option<Context>,
    pub(crate) checks: Checks,
    pub(crate) region: Option<Region>,
    pub(crate) template: Template,
    /// Whose words it is about; empty: everybody's.
    pub(crate) roles: Vec<Speaker>,
    pub(crate) matches: Vec<String>,
    pub(crate) misses: Vec<String>,
}

/// An expression of the rule dialect, as written and as parsed.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) source: String,
    pub(crate) hir: Hir,
}

/// Words of which one must stand shortly before a match.
#[derive(Clone, Debug)]
pub struct Context {
    /// Lower-case ASCII; found in any case, never as a part of a longer word.
    pub words: Vec<String>,
    /// How many bytes before the match the whole word must lie.
    pub within: usize,
}

/// What the text of a match must be, beyond matching.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub(crate) validator: Option<Validator>,
    pub(crate) entropy_bits_min: Option<f64>,
    /// Lower-case ASCII.
    pub(crate) keywords: Vec<String>,
}

/// A match that only opens a region.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) end: Pattern,
    /// Bytes from the start of the opening match.
    pub(crate) max: usize,
}

// === impl Rule ===

impl Rule {
    /// The rule's name, unique over all packs in use.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it finds, in words for a person.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The expression as written.
    pub fn regex(&self) -> &str {
        &self.pattern.source
    }

    /// The expression that must end where a match starts, as written.
    pub fn after(&self) -> Option<&str> {
        self.after.as_ref().map(|pattern| pattern.source.as_str())
    }

    /// Is the rule about the words of this speaker?
    pub fn is_about(&self, speaker: Speaker) -> bool {
        self.roles.is_empty() || self.roles.contains(&speaker)
    }

    /// The words of which one must stand shortly before a match.
    pub fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// The bound on a match, in bytes. A candidate that could still grow there is masked as far
    /// as it goes on.
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// For a rule that opens a region: the end marker's expression and the cap in bytes.
    pub fn region(&self) -> Option<(&str, usize)> {
        self.region
            .as_ref()
            .map(|region| (region.end.source.as_str(), region.max))
    }

    /// Texts in which the rule must find something, `{+}` removed.
    pub fn matches(&self) -> &[String] {
        &self.matches
    }

    /// Texts in which the rule must find nothing, `{+}` removed.
    pub fn misses(&self) -> &[String] {
        &self.misses
    }

    /// What stands in the place of a value; of one that is not held whole (a region, or longer
    /// than `max_len`) when there is none.
    pub fn replacement(&self, value: Option<&str>, key: &MaskKey) -> String {
        let mut out = String::new();
        match value {
            Some(value) => self.template.render(&self.id, value, key, &mut out),
            None => self.template.render_unseen(&self.id, &mut out),
        }
        out
    }

    /// Is this text, which the expression matched, also valid: checksum, entropy, keywords?
    pub fn accepts(&self, value: &str) -> bool {
        self.checks.accept(value)
    }
}

// === impl Checks ===

impl Checks {
    pub(crate) fn accept(&self, value: &str) -> bool {
        let keyed = self.keywords.is_empty()
            || self
                .keywords
                .iter()
                .any(|word| contains_folded(value.as_bytes(), word.as_bytes()));
        keyed
            && self
                .entropy_bits_min
                .is_none_or(|min| entropy_bits(value) >= min)
            && self
                .validator
                .is_none_or(|validator| validator.accepts(value))
    }
}

// === impl Context ===

impl Context {
    /// Does one of the words stand in `before`, the whole text before the match?
    pub fn stands_in(&self, before: &[u8]) -> bool {
        let from = before.len().saturating_sub(self.within);
        self.words.iter().any(|word| {
            let word = word.as_bytes();
            (from..(before.len() + 1).saturating_sub(word.len())).any(|at| {
                let end = at + word.len();
                before[at..end].eq_ignore_ascii_case(word)
                    && !(at > 0 && before[at - 1].is_ascii_alphanumeric())
                    && !before.get(end).is_some_and(u8::is_ascii_alphanumeric)
            })
        })
    }
}

/// Does `text` contain `word`, whatever the case of ASCII letters?
fn contains_folded(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_word_is_whole_and_near() {
        let context = Context {
            words: vec!["tel".to_owned()],
            within: 8,
        };
        assert!(context.stands_in(b"my TEL: "));
        assert!(context.stands_in(b"tel"));
        assert!(context.stands_in(b"my_tel="));
        assert!(!context.stands_in(b"hotel: "));
        assert!(!context.stands_in(b"telly "));
        assert!(!context.stands_in(b"tel is far away"));
        assert!(!context.stands_in(b""));
    }
}
