//! Strict TOML: what the decoder refuses is reported with file, line, column, and for an unknown
//! key the nearest known one.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a configuration was refused; `Display` is one line for an operator.
#[derive(Debug)]
pub struct ConfigError {
    file: PathBuf,
    position: Option<Position>,
    reason: String,
    suggestion: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    line: usize,
    column: usize,
}

/// Edits beyond which two names have nothing to do with each other.
const SUGGESTION_EDITS_MAX: usize = 3;

/// Decodes `text`, the content of `file`.
pub(super) fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let reason = error
            .message()
            .lines()
            .next()
            .unwrap_or("not valid TOML")
            .to_owned();
        ConfigError {
            file: file.to_owned(),
            position: error.span().map(|span| Position::of(text, span)),
            suggestion: suggestion(&reason),
            reason,
        }
    })
}

/// For "unknown field `a`, expected one of `b`, `c`": the expected name nearest to `a`.
fn suggestion(reason: &str) -> Option<String> {
    let rest = reason.strip_prefix("unknown field ")?;
    let mut names = rest.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    names
        .map(|known| (edits(unknown, known), known))
        .filter(|(distance, _)| *distance <= SUGGESTION_EDITS_MAX)
        .min()
        .map(|(_, known)| known.to_owned())
}

/// Levenshtein distance, in characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

// === impl Position ===

impl Position {
    fn of(text: &str, span: Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

// === impl ConfigError ===

impl ConfigError {
    /// An error about the file as a whole.
    pub fn plain(file: &Path, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            position: None,
            reason: reason.into(),
            suggestion: None,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.reason)?;
        match &self.suggestion {
            Some(known) => write!(f, " — did you mean `{known}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_known_key() {
        let text = "[listen]\ntcp = \"127.0.0.1:0\"\n[policy]\nenabled = false\n[upstream]\n\
                    adress = \"127.0.0.1:1\"\nprofiles = []\n[recorder]\nenabled = false\n";
        let error = parse::<Config>(Path::new("g.toml"), text)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("g.toml:6:1: unknown field `adress`"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `address`?"), "{error}");
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(edits("adress", "address"), 1);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("tcp", "unix"), 4);
    }
}
