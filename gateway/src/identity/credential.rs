//! The one credential of a request, taken from its header fields.
//!
//! `Authorization: Bearer <token>` (RFC 6750, section 2.1; the scheme is case-insensitive), or
//! `x-api-key: <token>`, which is where Anthropic's SDKs put it. Exactly one: two different
//! credentials are refused rather than one of them chosen, and a credential that cannot be read is
//! never the same as none.

use std::fmt;

use super::error::{AMBIGUOUS_CREDENTIAL, AuthError, MALFORMED_CREDENTIAL};

/// A token as it was sent, not yet looked at. Its `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential<'a>(&'a [u8]);

const SCHEME: &[u8] = b"bearer";

// === impl Credential ===

impl<'a> Credential<'a> {
    /// Reads the value of an `Authorization` field.
    ///
    /// # Errors
    /// `malformed_credential` when it is of another scheme or has no token.
    pub fn from_authorization(value: &'a [u8]) -> Result<Self, AuthError> {
        let space = value
            .iter()
            .position(|&b| b == b' ')
            .ok_or(MALFORMED_CREDENTIAL)?;
        let (scheme, rest) = value.split_at(space);
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(MALFORMED_CREDENTIAL.into());
        }
        let spaces = rest.iter().take_while(|&&b| b == b' ').count();
        Self::bare(&rest[spaces..])
    }

    /// Reads the value of an `x-api-key` field: the token alone.
    ///
    /// # Errors
    /// `malformed_credential` when it is empty or has spaces.
    pub fn from_api_key(value: &'a [u8]) -> Result<Self, AuthError> {
        Self::bare(value)
    }

    /// Takes every `Authorization` and every `x-api-key` value of a request; `None` when there is
    /// none at all.
    ///
    /// # Errors
    /// `ambiguous_credential` when a field is repeated or the two differ, `malformed_credential`
    /// when one cannot be read.
    pub fn choose(
        authorization: impl IntoIterator<Item = &'a [u8]>,
        api_key: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, AuthError> {
        let authorization = single(authorization)?
            .map(Credential::from_authorization)
            .transpose()?;
        let api_key = single(api_key)?.map(Credential::from_api_key).transpose()?;
        match (authorization, api_key) {
            (Some(a), Some(b)) if a != b => Err(AMBIGUOUS_CREDENTIAL.into()),
            (a, b) => Ok(a.or(b)),
        }
    }

    pub(super) fn bytes(self) -> &'a [u8] {
        self.0
    }

    fn bare(token: &'a [u8]) -> Result<Self, AuthError> {
        // RFC 6750's b64token, checked here only for what separates credentials from each other.
        // Looked at to the end, without a branch: it is long, read for every request, and clean.
        let clean = token.iter().fold(true, |clean, byte| {
            clean & byte.is_ascii_graphic() & (*byte != b',')
        });
        if token.is_empty() || !clean {
            return Err(MALFORMED_CREDENTIAL.into());
        }
        Ok(Self(token))
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(redacted)")
    }
}

fn single<T>(values: impl IntoIterator<Item = T>) -> Result<Option<T>, AuthError> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(AMBIGUOUS_CREDENTIAL.into());
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Vec<u8>, &'static str> {
        Credential::from_authorization(value.as_bytes())
            .map(|c| c.bytes().to_vec())
            .map_err(|e| e.code)
    }

    #[test]
    fn the_scheme_is_case_insensitive() {
        for value in [
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER a.b.c",
            "bEaReR   a.b.c",
        ] {
            assert_eq!(read(value).as_deref(), Ok(&b"a.b.c"[..]), "{value}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let cases = [
            "",
            " ",
            "Bearer",
            "Bearer ",
            "Bearer\ta.b.c",
            " Bearer a.b.c",
            "Basic dTpw",
            "a.b.c",
            "Bearer a.b.c d",
            "Bearer a.b.c ",
            "Bearer a,Bearer b",
            "Bearer=a.b.c",
            "Bearera.b.c x",
            "Bearer a\u{0}b",
            "Bearer \"a.b.c\"\r\nX: y",
        ];
        for value in cases {
            assert_eq!(read(value), Err("malformed_credential"), "{value:?}");
        }
    }

    #[test]
    fn exactly_one_credential() {
        let none: [&[u8]; 0] = [];
        let code = |a: &[&'static [u8]], k: &[&'static [u8]]| {
            Credential::choose(a.iter().copied(), k.iter().copied())
                .map(|c| c.map(|c| c.bytes()))
                .map_err(|e| e.code)
        };
        assert_eq!(code(&none, &none), Ok(None));
        assert_eq!(code(&[b"Bearer t"], &none), Ok(Some(&b"t"[..])));
        assert_eq!(code(&none, &[b"t"]), Ok(Some(&b"t"[..])));
        assert_eq!(code(&[b"Bearer t"], &[b"t"]), Ok(Some(&b"t"[..])));
        assert_eq!(code(&[b"Bearer t"], &[b"u"]), Err("ambiguous_credential"));
        assert_eq!(
            code(&[b"Bearer t", b"Bearer t"], &none),
            Err("ambiguous_credential")
        );
        assert_eq!(code(&none, &[b"t", b"t"]), Err("ambiguous_credential"));
        assert_eq!(code(&[b"Basic x"], &[b"t"]), Err("malformed_credential"));
        assert_eq!(code(&none, &[b""]), Err("malformed_credential"));
    }

    #[test]
    fn debug_shows_nothing() {
        let text = format!(
            "{:?}",
            Credential::from_api_key(b"very-secret").map_err(|_| ())
        );
        assert!(!text.contains("secret"));
    }
}
