//! The credential that the gateway presents to the model. It comes from a file, is never shown,
//! and reaches nothing but the upstream's request head.

use std::fmt;
use std::path::Path;

use crate::config::ConfigError;

/// Longest credential: as long as one that answers can still be searched for.
const BYTES_MAX: usize = 1536;
/// Shorter ones are kept out of answers only as far as nobody sends them there: masking "key" in
/// every answer would help nobody.
const WITHHELD_BYTES_MIN: usize = 8;

/// The value of the upstream's `Authorization` field.
#[derive(Clone)]
pub struct Credential(String);

// === impl Credential ===

impl Credential {
    /// Reads the file; surrounding white space is not part of the credential.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::plain(path, format!("cannot be read: {error}")))?;
        Self::parse(path, &text)
    }

    /// Checks `text`, the content of `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let secret = text.trim();
        if secret.is_empty() || secret.len() > BYTES_MAX {
            return Err(ConfigError::plain(
                path,
                "must hold one credential, up to 1536 bytes",
            ));
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::plain(
                path,
                "must hold visible ASCII without spaces",
            ));
        }
        Ok(Self(format!("Bearer {secret}")))
    }

    /// The secret, where it is long enough to be looked for in answers.
    pub fn withheld(&self) -> Option<&str> {
        self.0
            .strip_prefix("Bearer ")
            .filter(|secret| secret.len() >= WITHHELD_BYTES_MIN)
    }

    /// The field's value. For the upstream's request head only.
    pub fn header_value(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_trimmed_checked_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "s3cret\n").unwrap();
        let credential = Credential::load(&path).unwrap();
        assert_eq!(credential.header_value(), "Bearer s3cret");
        assert_eq!(format!("{credential:?}"), "Credential(…)");
        let long = "x".repeat(BYTES_MAX + 1);
        for bad in ["", "two words", "line\r\nbreak", &long] {
            std::fs::write(&path, bad).unwrap();
            assert!(Credential::load(&path).is_err(), "{bad:?}");
        }
    }
}
