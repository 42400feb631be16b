//! What looks like a match and is known to be none: documented examples, placeholders.

use super::{Pattern, contains_folded};

/// Values that a rule's matches may have without being matches.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    /// Lower-case; a value that is one of these in any ASCII case is no match.
    pub values: Vec<String>,
    /// Lower-case; nor is one that contains one of these in any ASCII case.
    pub words: Vec<String>,
    /// Nor one in which one of these matches anywhere; `^` and `$` are the value's own ends.
    pub(crate) patterns: Vec<Pattern>,
}

// === impl Allow ===

impl Allow {
    /// The expressions as written.
    pub fn regexes(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|pattern| pattern.source.as_str())
    }

    /// Is the value one of `values`, or is one of `words` in it?
    pub fn names(&self, value: &str) -> bool {
        self.values
            .iter()
            .any(|allowed| value.eq_ignore_ascii_case(allowed))
            || self
                .words
                .iter()
                .any(|word| contains_folded(value.as_bytes(), word.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_whole_and_words_are_anywhere() {
        let allow = Allow {
            values: vec!["acme-0000".to_owned()],
            words: vec!["example".to_owned()],
            patterns: Vec::new(),
        };
        assert!(allow.names("ACME-0000") && allow.names("xEXAMPLEx"));
        assert!(!allow.names("ACME-00001") && !allow.names("exam"));
    }
}
