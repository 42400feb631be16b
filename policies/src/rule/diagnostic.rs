//! Where an operator's file is wrong, and what to write instead.
//!
//! Every fault in a file that a person wrote names the file, the line, the column, the reason and,
//! when a name was mistyped, the nearest one that exists. The types here are shared by the pack
//! loader and by whoever else decodes TOML strictly.

use std::fmt;
use std::ops::Range;

/// A place in a text, both counted from one; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from one.
    pub line: usize,
    /// Character within the line, from one.
    pub column: usize,
}

/// One fault in a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackError {
    /// The name that the pack was parsed under: a file's path, or a shipped pack's name.
    pub pack: String,
    /// Line in the pack, from one.
    pub line: usize,
    /// Character in the line, from one.
    pub column: usize,
    /// The rule that is at fault, when the fault lies within one.
    pub rule: Option<String>,
    /// What is wrong and what is allowed.
    pub reason: String,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
}

/// The position of byte `offset` of `text`.
pub fn position(text: &str, offset: usize) -> Position {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// The candidate nearest to `unknown`, if it is near enough to be a slip of the finger: at most a
/// third of its letters differ, a swap of two neighbours counting once, and one letter always may.
pub fn suggest<'c>(
    unknown: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let length = unknown.chars().count();
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(unknown, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= 1.max(length.max(candidate.chars().count()) / 3))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The unknown name in a decoder's message and, when one is near, the known name that was meant.
///
/// The decoder words it ``unknown field `x`, expected one of `a`, `b` `` (or `unknown variant`);
/// the names are all that stands between backticks.
pub fn suggest_from_message(message: &str) -> Option<String> {
    if !message.contains("unknown field") && !message.contains("unknown variant") {
        return None;
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    suggest(unknown, names).map(str::to_owned)
}

/// A decoder's fault as a pack error.
pub(crate) fn decode_error(pack: &str, text: &str, error: &toml::de::Error) -> PackError {
    let span = error.span().unwrap_or(Range { start: 0, end: 0 });
    let Position { line, column } = position(text, span.start);
    PackError {
        pack: pack.to_owned(),
        line,
        column,
        rule: None,
        reason: error.message().to_owned(),
        suggestion: suggest_from_message(error.message()),
    }
}

// === impl Position ===

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

// === impl PackError ===

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.pack, self.line, self.column)?;
        if let Some(rule) = &self.rule {
            write!(f, "rule `{rule}`: ")?;
        }
        f.write_str(&self.reason)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, " (did you mean `{suggestion}`?)")?;
        }
        Ok(())
    }
}

impl std::error::Error for PackError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_characters_from_one() {
        assert_eq!(position("é = 1\nü = x", 0), Position { line: 1, column: 1 });
        assert_eq!(position("é = 1\nü = x", 7), Position { line: 2, column: 1 });
        assert_eq!(position("é = 1\nü = x", 9), Position { line: 2, column: 2 });
    }

    #[test]
    fn a_slip_is_suggested_and_a_stranger_is_not() {
        assert_eq!(suggest("keyword", ["keywords", "regex"]), Some("keywords"));
        assert_eq!(suggest("rgex", ["keywords", "regex"]), Some("regex"));
        assert_eq!(suggest("colour", ["keywords", "regex"]), None);
        let message = "unknown field `max_length`, expected one of `id`, `max_len`";
        assert_eq!(suggest_from_message(message).as_deref(), Some("max_len"));
    }
}
