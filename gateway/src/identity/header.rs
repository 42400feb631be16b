//! The token's header, of which three members are believed: `alg`, `kid` and `typ`.
//!
//! The rest is ignored, except what would change how the token is to be read. A token cannot bring
//! its own key (`jwk`, `jku`, `x5u`, `x5c`), cannot be critical about an extension (`crit`,
//! RFC 7515 section 4.1.11: this implementation understands none, so it refuses all), and cannot
//! leave its payload unencoded (`b64`, RFC 7797).

use super::algorithm::SigningAlgorithm;
use super::error::{
    BAD_HEADER, Fault, UNSUPPORTED_ALGORITHM, UNSUPPORTED_HEADER, WRONG_TOKEN_TYPE,
};
use super::json::Object;

/// What a verified header says.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) algorithm: SigningAlgorithm,
    pub(super) key_id: Option<&'a str>,
    token_type: Option<&'a str>,
}

/// The `typ` values that an issuer's tokens may have, normalised.
#[derive(Clone, Debug)]
pub(super) struct TokenTypes(Vec<String>);

const REFUSED: [&str; 7] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "enc"];

// === impl Header ===

impl<'a> Header<'a> {
    pub(super) fn read(object: &'a Object) -> Result<Self, Fault> {
        let algorithm = object
            .get("alg")
            .and_then(|v| v.as_str())
            .ok_or(BAD_HEADER)?;
        let algorithm = SigningAlgorithm::from_name(algorithm).ok_or(UNSUPPORTED_ALGORITHM)?;
        if REFUSED.iter().any(|name| object.contains_key(*name)) {
            return Err(UNSUPPORTED_HEADER);
        }
        Ok(Self {
            algorithm,
            key_id: optional_str(object, "kid")?,
            token_type: optional_str(object, "typ")?,
        })
    }

    /// The `typ` is absent or accepted (RFC 8725, section 3.11).
    pub(super) fn check_type(&self, accepted: &TokenTypes) -> Result<(), Fault> {
        match self.token_type {
            Some(name) if !accepted.contains(name) => Err(WRONG_TOKEN_TYPE),
            _ => Ok(()),
        }
    }
}

fn optional_str<'a>(object: &'a Object, name: &str) -> Result<Option<&'a str>, Fault> {
    object
        .get(name)
        .map(|value| value.as_str().ok_or(BAD_HEADER))
        .transpose()
}

// === impl TokenTypes ===

impl TokenTypes {
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| normalised(name)).collect())
    }

    fn contains(&self, name: &str) -> bool {
        let name = normalised(name);
        self.0.contains(&name)
    }
}

/// RFC 7515, section 4.1.9: media types are case-insensitive, and `application/` may be left out
/// when no other slash follows.
fn normalised(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix("application/") {
        Some(rest) if !rest.contains('/') => rest.to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Json;
    use super::*;

    fn object(text: &str) -> Object {
        Json::parse_object(text.as_bytes()).expect("a test's JSON")
    }

    #[test]
    fn refusals_by_code() {
        let cases = [
            (r#"{}"#, "malformed_token"),
            (r#"{"alg":7}"#, "malformed_token"),
            (r#"{"alg":null}"#, "malformed_token"),
            (r#"{"alg":["ES256"]}"#, "malformed_token"),
            (r#"{"alg":"ES256","kid":7}"#, "malformed_token"),
            (r#"{"alg":"ES256","kid":null}"#, "malformed_token"),
            (r#"{"alg":"ES256","typ":[]}"#, "malformed_token"),
            (r#"{"alg":"none"}"#, "unsupported_algorithm"),
            (r#"{"alg":"es256"}"#, "unsupported_algorithm"),
            (r#"{"alg":"ES256","crit":[]}"#, "unsupported_header"),
            (r#"{"alg":"ES256","b64":true}"#, "unsupported_header"),
            (r#"{"alg":"ES256","jwk":null}"#, "unsupported_header"),
        ];
        for (text, code) in cases {
            let object = object(text);
            assert_eq!(
                Header::read(&object).map(|_| ()).map_err(|f| f.code),
                Err(code),
                "{text}"
            );
        }
    }

    #[test]
    fn types_are_compared_as_media_types() {
        let accepted = TokenTypes::new(&["JWT".to_owned(), "application/at+jwt".to_owned()]);
        let check = |typ: &str| {
            let object = object(&format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#));
            Header::read(&object)
                .and_then(|header| header.check_type(&accepted))
                .is_ok()
        };
        for typ in [
            "JWT",
            "jwt",
            "at+jwt",
            "AT+JWT",
            "application/at+jwt",
            "Application/JWT",
        ] {
            assert!(check(typ), "{typ}");
        }
        for typ in [
            "",
            "logout+jwt",
            "dpop+jwt",
            "JOSE",
            "at+jwt ",
            "application/x/jwt",
            "text/jwt",
        ] {
            assert!(!check(typ), "{typ}");
        }
        let absent = object(r#"{"alg":"ES256"}"#);
        assert!(
            Header::read(&absent)
                .and_then(|h| h.check_type(&accepted))
                .is_ok()
        );
    }
}
