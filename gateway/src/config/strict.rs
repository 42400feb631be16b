//! Strict TOML: what the decoder refuses is reported with file, line, column, and for an unknown
//! key the nearest known one.

use std::fmt;
use std::path::{Path, PathBuf};

use penstock_policies::rule::{Position, position, suggest_from_message};
use serde::de::DeserializeOwned;

/// Why a configuration was refused; `Display` is one line for an operator.
#[derive(Debug)]
pub struct ConfigError {
    file: PathBuf,
    position: Option<Position>,
    reason: String,
    suggestion: Option<String>,
}

/// Decodes `text`, the content of `file`.
pub(crate) fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let reason = error
            .message()
            .lines()
            .next()
            .unwrap_or("not valid TOML")
            .to_owned();
        ConfigError {
            file: file.to_owned(),
            position: error.span().map(|span| position(text, span.start)),
            suggestion: suggest_from_message(&reason),
            reason,
        }
    })
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

    /// The file that it is about.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line and column, where it is about a place in the file.
    pub fn place(&self) -> Option<(usize, usize)> {
        let Position { line, column } = self.position?;
        Some((line, column))
    }

    /// What is wrong, without its place.
    pub fn reason(&self) -> String {
        match &self.suggestion {
            Some(known) => format!("{} — did you mean `{known}`?", self.reason),
            None => self.reason.clone(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.reason())
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
                    adress = \"127.0.0.1:1\"\nprofiles = [\"openai\"]\n[recorder]\nenabled = false\n";
        let error = parse::<Config>(Path::new("g.toml"), text)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("g.toml:6:1: unknown field `adress`"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `address`?"), "{error}");
    }
}
