//! What is wrong with a policy folder, said so that it can be mended without a manual: the file,
//! the line, the column, the reason, and the word that was probably meant.

use std::fmt;
use std::path::{Path, PathBuf};

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
        let (line, column) = line_column(text, offset);
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
                match closest(unknown, known.iter().copied()) {
                    Some(word) => error.suggestion = Some(word),
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

/// Line and column, both from 1, of a byte offset.
fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The known word closest to `word`, if it is close enough to be a slip of the finger: at most a
/// third of its letters differ, and one letter always may.
pub(crate) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 1.max(word.chars().count().max(candidate.chars().count()) / 3)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Edit distance where a swap of two neighbours counts once (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut two_up: Vec<usize> = Vec::new();
    let mut up: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i; right.len() + 1];
        for j in 1..=right.len() {
            let substitution = usize::from(left[i - 1] != right[j - 1]);
            row[j] = (up[j] + 1)
                .min(row[j - 1] + 1)
                .min(up[j - 1] + substitution);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                row[j] = row[j].min(two_up[j - 2] + 1);
            }
        }
        two_up = std::mem::replace(&mut up, row);
    }
    up[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{closest, distance, line_column};

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("secrets", "secrets", 0),
            ("secretz", "secrets", 1),
            ("modles", "models", 1),
            ("action", "actions", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn suggests_slips_and_nothing_far() {
        let known = ["groups", "models", "operations"];
        assert_eq!(
            closest("modles", known.into_iter()).as_deref(),
            Some("models")
        );
        assert_eq!(
            closest("group", known.into_iter()).as_deref(),
            Some("groups")
        );
        assert_eq!(closest("xyzzy", known.into_iter()), None);
    }

    #[test]
    fn counts_lines_and_characters() {
        assert_eq!(line_column("ab\ncd", 0), (1, 1));
        assert_eq!(line_column("ab\ncd", 4), (2, 2));
        assert_eq!(line_column("é = 1\né = 2", 10), (2, 3));
        assert_eq!(line_column("", 7), (1, 1));
    }
}
