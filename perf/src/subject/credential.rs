//! One caller for a whole run: an issuer's keys, and a token that they signed.
//!
//! RS256, because that is what identity providers sign with unless told otherwise, and its long
//! signature is part of what every request carries. Subjects that do not look at tokens get a field
//! of the same length in its place, so that all read the same number of bytes.

use penstock_loadgen::issuer::{Algorithm, KeySet, TokenSpec, mint, now_unix};

use crate::error::{Error, Result};

/// The `iss` of the token. Nobody is asked there: the keys come from a file.
pub const ISSUER: &str = "http://127.0.0.1:9/bench";

/// The group that `subjects/penstock-policy.toml` grants the model to.
const GROUP: &str = "bench";

/// A token and the keys to verify it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// What the caller presents.
    pub token: String,
    /// The issuer's public keys, as a JWKS document.
    pub jwks: String,
}

// === impl Credential ===

impl Credential {
    /// Makes keys and a token that is valid for an hour.
    pub fn generate() -> Result<Credential> {
        let unable = |error: &dyn std::fmt::Display| Error::Unable(format!("a token: {error}"));
        let keys = KeySet::generate(&[Algorithm::Rs256]).map_err(|error| unable(&error))?;
        let caller = TokenSpec::new("penstock-perf", &[GROUP]);
        let token = mint(&keys, &caller, ISSUER, now_unix()).map_err(|error| unable(&error))?;
        Ok(Credential {
            token,
            jwks: keys.jwks().to_string(),
        })
    }

    /// The header field that a subject gets: the token, or as many bytes that mean nothing.
    pub fn field(&self, presented: bool) -> String {
        let name = "Authorization: Bearer ";
        match presented {
            true => format!("{name}{}", self.token),
            false => {
                let filler = "X-Filler: ";
                let length = name.len() + self.token.len() - filler.len();
                format!("{filler}{}", "f".repeat(length))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_token_the_field_is_equally_long() {
        let credential = Credential::generate().expect("keys");
        let (with, without) = (credential.field(true), credential.field(false));
        assert_eq!(with.len(), without.len());
        assert!(with.len() > 400 && with.ends_with(&credential.token));
        assert!(without.starts_with("X-Filler: ff"));
        assert!(credential.jwks.contains("\"keys\""));
    }
}
