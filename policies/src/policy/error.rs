//! What is wrong with a policy folder, said so that it can be mended without a manual: the file,
//! the line, the column, the reason, and the word that was probably meant.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::rule::{Position, position, suggest};

/// One thing wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The file, or the folder when it cannot be read at all.
    pub file: PathBuf,
    /// Line from 1; 0 when the error is about the file as a whole.
    pub line: usize,
    /// Column from 1, in characters; 0 when the error is about the file as a whole.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
    /// The closest known word.
    pub suggestion: Option<String>,
}

// === impl PolicyError ===

impl PolicyError {
    /// An error about a whole file.
    pub(crate) fn of_file(file: &Path, reason: impl Into<String>) -> PolicyError {
        PolicyError {
            file: file.to_owned(),
            line: 0,
            column: 0,
            reason: reason.into(),
            suggestion: None,
        }
    }

    /// An error at a byte offset of a file's text.
    pub(crate) fn at(file: &Path, text: &str, offset: usize, reason: impl Into<String>) -> Self {
        let Position { line, column } = position(text, offset.min(text.len()));
        PolicyError {
            line,
            column,
            ..PolicyError::of_file(file, reason)
        }
    }

    /// A decoder's error; unknown keys get a suggestion from the keys that it expected.
    pub(crate) fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> PolicyError {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message();
        let mut error = PolicyError::at(file, text, offset, message.replace('\n', " "));
        if let Some(rest) = message.strip_prefix("unknown field ") {
            let mut words = rest.split('`').skip(1).step_by(2);
            if let Some(unknown) = words.next() {
                error.reason = format!("unknown key \"{unknown}\"");
                let known: Vec<&str> = words.collect();
                match suggest(unknown, known.iter().copied()) {
                    Some(word) => error.suggestion = Some(word.to_owned()),
                    None => error.reason += &format!("; known here: {}", known.join(", ")),
                }
            }
        }
        error
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.reason)?;
        match &self.suggestion {
            Some(word) => write!(f, "; did you mean \"{word}\"?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PolicyError {}
