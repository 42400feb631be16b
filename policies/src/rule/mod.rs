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
//! before = '[\s"'']|$'                  # optional: must stand immediately behind the match
//! context = { words = ["customer"], within = 64, after = 32 }  # optional: one must stand near
//! validate = "luhn"                     # optional: one of `Validator::NAMES`
//! entropy = 3.0                         # optional: at least so many bits a byte
//! allow = { values = ["CUST-00000000"], words = ["example"], regexes = ['0{6}$'] }  # optional
//! confidence = "low"                    # optional: low, medium or high, which is the default
//! confirm = { words = ["customer"], within = 64, validate = "luhn" }  # optional: makes it high
//! roles = ["user", "tool"]              # optional: whose text; system, assistant, document
//! max_len = 13                          # bytes; may be left out when the regex has a bound
//! region = { end = 'END', max = 65536 } # optional: masked from the match to the end marker
//! replace = "<customer:{pseudonym}>"    # optional: see `template`
//! matches = ["order for CUST-12345674"] # examples that are tests
//! misses = ["CUST-1", "XCUST-123456789"]
//! ```
//!
//! `before` reads at most 64 bytes behind the match and is no part of it: the match ends at the last
//! place where the expression may end and `before` stands. A word of `context` stands `within` bytes
//! before the match or `after` bytes behind it, one of the two may be left out; a blank in a word
//! is also found as `_`, as `-` and left out, as in names of fields. A value that `allow`
//! knows (equal to one of `values`, with one of `words` in it, in any ASCII case, or matched anywhere
//! by one of `regexes`) is no match. What a match is worth is its `confidence`; any part of `confirm`
//! that holds makes it high, and a guard counts what is at least of its `min_confidence`.
//!
//! In `matches` and `misses` the three characters `{+}` are removed: they break up values that
//! look so real that a scanner of repositories would raise an alarm.

mod allow;
mod confidence;
mod diagnostic;
mod example;
mod fields;
mod import;
mod pack;
mod shipped;
mod speaker;
mod syntax;
mod template;
mod validate;

pub use allow::Allow;
pub use confidence::{Confidence, Confirm};
pub use diagnostic::{PackError, Position, position, suggest, suggest_from_message};
pub use example::{ExampleFailure, ExampleKind};
pub use import::{
    Format, IMPORTED_REGEX_BYTES_MAX, IMPORTED_RULES_MAX, ImportKind, ImportNote, Imported,
};
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

/// How far behind a match its `before` may look, in bytes.
pub const LOOK_AHEAD_BYTES_MAX: usize = 64;

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
    pub(crate) before: Option<Pattern>,
    pub(crate) context: Option<Context>,
    pub(crate) checks: Checks,
    pub(crate) allow: Option<Allow>,
    pub(crate) confidence: Confidence,
    pub(crate) confirm: Option<Confirm>,
    /// Whose words it is about; empty: everybody's.
    pub(crate) roles: Vec<Speaker>,
    pub(crate) region: Option<Region>,
    pub(crate) template: Template,
    pub(crate) matches: Vec<String>,
    pub(crate) misses: Vec<String>,
}

/// An expression of the rule dialect, as written and as parsed.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) source: String,
    pub(crate) hir: Hir,
}

/// Words of which one must stand near a match.
#[derive(Clone, Debug)]
pub struct Context {
    /// ASCII letters in lower case; those are found in any case, never within a longer word.
    pub words: Vec<String>,
    /// Within how many bytes before the match the whole word must lie.
    pub within: usize,
    /// Within how many bytes behind the match it may lie instead.
    pub after: usize,
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

    /// The expression that must begin where a match ends, as written.
    pub fn before(&self) -> Option<&str> {
        self.before.as_ref().map(|pattern| pattern.source.as_str())
    }

    /// The words of which one must stand near a match.
    pub fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// What is known to be no match.
    pub fn allow(&self) -> Option<&Allow> {
        self.allow.as_ref()
    }

    /// What a match is worth that nothing confirms.
    pub fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// What makes a match's confidence high.
    pub fn confirm(&self) -> Option<&Confirm> {
        self.confirm.as_ref()
    }

    /// The most that a match of this rule can be worth.
    pub fn confidence_max(&self) -> Confidence {
        match self.confirm {
            Some(_) => Confidence::High,
            None => self.confidence,
        }
    }

    /// Is the rule about the words of this speaker?
    pub fn is_about(&self, speaker: Speaker) -> bool {
        self.roles.is_empty() || self.roles.contains(&speaker)
    }

    /// How many bytes behind a match decide about it.
    pub(crate) fn behind_bytes(&self) -> usize {
        let before = self.before.as_ref();
        let before = before.and_then(|pattern| pattern.hir.properties().maximum_len());
        let confirm = self
            .confirm
            .as_ref()
            .and_then(|confirm| confirm.context.as_ref());
        let words = self.context.iter().chain(confirm);
        // The byte behind a word tells whether it is whole.
        let words = words.map(|context| context.after + usize::from(context.after > 0));
        words.fold(before.unwrap_or(0), usize::max)
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
    /// How often the bytes of a value are read to check it.
    pub(crate) fn steps(&self, value: &str) -> usize {
        let reads = self.keywords.len()
            + 2 * usize::from(self.entropy_bits_min.is_some())
            + 2 * usize::from(self.validator.is_some());
        reads * value.len()
    }

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
        self.stands_between(before, from, before.len())
    }

    /// Does one of the words stand in `behind`, the whole text behind the match?
    pub fn stands_behind(&self, behind: &[u8]) -> bool {
        self.stands_between(behind, 0, behind.len().min(self.after))
    }

    /// Does one of the words lie in `text[from..to]` and is not part of a longer word of the text?
    fn stands_between(&self, text: &[u8], from: usize, to: usize) -> bool {
        self.words.iter().any(|word| {
            let word = word.as_bytes();
            (from..(to + 1).saturating_sub(word.len())).any(|at| {
                let end = at + word.len();
                text[at..end].eq_ignore_ascii_case(word)
                    && !(at > 0 && text[at - 1].is_ascii_alphanumeric())
                    && !text.get(end).is_some_and(u8::is_ascii_alphanumeric)
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
            after: 4,
        };
        assert!(context.stands_in(b"my TEL: "));
        assert!(context.stands_in(b"tel"));
        assert!(context.stands_in(b"my_tel="));
        assert!(!context.stands_in(b"hotel: "));
        assert!(!context.stands_in(b"telly "));
        assert!(!context.stands_in(b"tel is far away"));
        assert!(!context.stands_in(b""));
        assert!(context.stands_behind(b"tel") && context.stands_behind(b" TEL."));
        assert!(!context.stands_behind(b"  tel") && !context.stands_behind(b" tels"));
        assert!(!context.stands_behind(b""));
    }
}
