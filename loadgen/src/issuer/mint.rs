//! Tokens for any claims, signed or mis-signed as asked.
//!
//! A token starts from usual claims (`iss sub aud exp nbf iat jti groups`) and a usual header
//! (`typ alg kid`); whatever the caller gives replaces them, and a JSON `null` takes one away, so
//! that every wrong token of a test is a right one with a single difference.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::keys::{Algorithm, KeyError};
use super::keyset::KeySet;

/// What a token shall say. Start from [`TokenSpec::default`] and change what matters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSpec {
    /// `iss`; the issuer that mints fills in its own URL when this is absent.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: String,
    /// `groups`.
    pub groups: Vec<String>,
    /// `aud`: a string when there is one, an array when there are more, absent when none.
    pub audience: Vec<String>,
    /// Seconds until `exp`; negative for a token that has expired.
    pub ttl_s: i64,
    /// Claims that replace or add to the usual ones; `null` removes one.
    pub claims: Map<String, Value>,
    /// Header fields that replace or add to the usual ones; `null` removes one.
    pub header: Map<String, Value>,
    /// The algorithm by its JOSE name; also `none`, which leaves the signature empty.
    pub algorithm: Option<String>,
    /// The id of the key to sign with.
    pub kid: Option<String>,
}

/// Why a token could not be minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// There is no such key, or it cannot sign that way.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The provider that was asked did not give a token.
    #[error("{0}")]
    Provider(String),
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

// === impl TokenSpec ===

impl Default for TokenSpec {
    fn default() -> Self {
        Self {
            issuer: None,
            subject: "dev".into(),
            groups: Vec::new(),
            audience: vec!["penstock".into()],
            ttl_s: 3600,
            claims: Map::new(),
            header: Map::new(),
            algorithm: None,
            kid: None,
        }
    }
}

impl TokenSpec {
    /// A token for `subject` in `groups`, valid for an hour at the audience `penstock`.
    pub fn new(subject: &str, groups: &[&str]) -> Self {
        Self {
            subject: subject.into(),
            groups: groups.iter().map(|group| (*group).into()).collect(),
            ..Self::default()
        }
    }

    /// With this claim (or without it, for `null`).
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// With this header field (or without it, for `null`).
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.into(), value.into());
        self
    }

    /// Signed with the newest key of this algorithm.
    #[must_use]
    pub fn algorithm(mut self, algorithm: &str) -> Self {
        self.algorithm = Some(algorithm.into());
        self
    }

    /// The claims at `now_unix`.
    pub fn payload(&self, issuer: &str, now_unix: u64) -> Value {
        let now = i64::try_from(now_unix).unwrap_or(i64::MAX);
        let issued = now.min(now.saturating_add(self.ttl_s)); // an expired token was issued before
        let mut claims = json!({
            "iss": self.issuer.as_deref().unwrap_or(issuer),
            "sub": self.subject,
            "iat": issued,
            "nbf": issued,
            "exp": now.saturating_add(self.ttl_s),
            "jti": format!("dev-{now_unix:x}-{}-{}", std::process::id(),
                SERIAL.fetch_add(1, Ordering::Relaxed)),
        });
        match self.audience.as_slice() {
            [] => {}
            [one] => claims["aud"] = one.clone().into(),
            many => claims["aud"] = many.into(),
        }
        if !self.groups.is_empty() {
            claims["groups"] = self.groups.clone().into();
        }
        replace(&mut claims, &self.claims);
        claims
    }
}

/// Mints what `spec` describes with a key of `keys`.
pub fn mint(
    keys: &KeySet,
    spec: &TokenSpec,
    issuer: &str,
    now_unix: u64,
) -> Result<String, MintError> {
    let claims = spec.payload(issuer, now_unix);
    let unsigned = spec
        .algorithm
        .as_deref()
        .is_some_and(|name| name.eq_ignore_ascii_case("none"));
    if unsigned {
        let mut header = json!({ "typ": "JWT", "alg": "none" });
        replace(&mut header, &spec.header);
        return jws(&header, &claims, |_| Ok(Vec::new()));
    }
    let algorithm = spec
        .algorithm
        .as_deref()
        .map(str::parse::<Algorithm>)
        .transpose()?;
    let key = keys.select(algorithm, spec.kid.as_deref())?;
    let algorithm = algorithm.unwrap_or(key.algorithm());
    let mut header = json!({ "typ": "JWT", "alg": algorithm.name(), "kid": key.kid() });
    replace(&mut header, &spec.header);
    jws(&header, &claims, |message| key.sign_as(algorithm, message))
}

/// Joins header, claims and the signature over both (RFC 7515 section 7.1).
pub fn jws(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, KeyError>,
) -> Result<String, MintError> {
    let message = format!(
        "{}.{}",
        encode_segment(header.to_string().as_bytes()),
        encode_segment(claims.to_string().as_bytes())
    );
    let signature = sign(message.as_bytes())?;
    Ok(format!("{message}.{}", encode_segment(&signature)))
}

/// base64url without padding, as in every part of a token.
pub fn encode_segment(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn replace(object: &mut Value, with: &Map<String, Value>) {
    let Value::Object(object) = object else {
        return;
    };
    for (name, value) in with {
        if value.is_null() {
            object.shift_remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(token: &str) -> (Value, Value, Vec<u8>) {
        let parts: Vec<_> = token
            .split('.')
            .map(|part| URL_SAFE_NO_PAD.decode(part).unwrap())
            .collect();
        assert_eq!(parts.len(), 3);
        let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap();
        (json(&parts[0]), json(&parts[1]), parts[2].clone())
    }

    #[test]
    fn claims_and_header_fields_are_replaced_added_and_removed() {
        let keys = KeySet::generate(&[Algorithm::Es256]).unwrap();
        let spec = TokenSpec::new("alice", &["ml"])
            .claim("realm_access", json!({ "roles": ["ml"] }))
            .claim("groups", Value::Null)
            .header("typ", "at+jwt")
            .header("kid", Value::Null);
        let (header, claims, signature) =
            parts(&mint(&keys, &spec, "http://i", 1_000_000).unwrap());
        assert_eq!(header, json!({ "typ": "at+jwt", "alg": "ES256" }));
        assert_eq!(claims["iss"], "http://i");
        assert_eq!(claims["exp"], 1_003_600);
        assert_eq!(claims["realm_access"]["roles"][0], "ml");
        assert!(claims.get("groups").is_none());
        assert_eq!(signature.len(), 64);
    }

    #[test]
    fn an_unsigned_token_has_an_empty_signature() {
        let keys = KeySet::generate(&[]).unwrap();
        let spec = TokenSpec::default().algorithm("none");
        let token = mint(&keys, &spec, "http://i", 1).unwrap();
        assert!(token.ends_with('.'));
        assert_eq!(parts(&token).0["alg"], "none");
    }
}
