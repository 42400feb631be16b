//! Arbitrary input: it never panics, and it never authenticates.

mod identity_support;

use std::cell::RefCell;

use identity_support::{
    AUDIENCE, ISSUER, NOW, authenticator, b64, claims, header, keys, token, token_of,
};
use penstock_gateway::identity::{Authenticator, Credential, Principal};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

thread_local! {
    static AUTHENTICATOR: RefCell<Authenticator> = RefCell::new(authenticator());
}

fn authenticates(field: &[u8]) -> bool {
    AUTHENTICATOR.with_borrow_mut(|a| a.authenticate(Some(field), NOW).is_ok())
}

fn principal_of(token: &str) -> Option<std::rc::Rc<Principal>> {
    let field = format!("Bearer {token}");
    AUTHENTICATOR.with_borrow_mut(|a| a.authenticate(Some(field.as_bytes()), NOW).ok())
}

/// Any JSON value, small but of every kind.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..4_u64).prop_map(|n| Value::from(NOW + 60 * n - 90)),
        any::<String>().prop_map(Value::from),
        Just(json!(ISSUER)),
        Just(json!(AUDIENCE)),
        Just(json!("ES256")),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Good members with some replaced by anything.
fn disturbed(good: Value, names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let changes = prop::collection::vec((prop::sample::select(names), any_json()), 0..4);
    changes.prop_map(move |changes| {
        let mut all = good.clone();
        for (name, value) in changes {
            all[name] = value;
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bytes_are_no_credential(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(!authenticates(&bytes));
        let field = [b"Bearer ", bytes.as_slice()].concat();
        prop_assert!(!authenticates(&field));
        if let Ok(credential) = Credential::from_api_key(&bytes) {
            let outcome = AUTHENTICATOR
                .with_borrow_mut(|a| a.authenticate_credential(Some(credential), NOW).is_ok());
            prop_assert!(!outcome);
        }
    }

    #[test]
    fn segments_are_no_token(
        segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..6),
    ) {
        let segments: Vec<_> = segments.iter().map(b64).collect();
        prop_assert!(principal_of(&segments.join(".")).is_none());
    }

    /// Any edit of a good token is refused.
    #[test]
    fn an_edited_token_is_no_token(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..3, any::<u8>()), 1..5),
    ) {
        let good = token("EdDSA", &keys().ed, &claims());
        let mut bytes = good.clone().into_bytes();
        for (at, how, byte) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        prop_assume!(bytes != good.as_bytes());
        let field = [b"Bearer ", bytes.as_slice()].concat();
        prop_assert!(!authenticates(&field));
    }

    /// Whatever the provider itself signs, only claims that hold are accepted, and what comes out
    /// is within its bounds.
    #[test]
    fn signed_claims_hold_or_are_refused(
        header in disturbed(
            header("EdDSA", &keys().ed),
            &["alg", "kid", "typ", "crit", "jwk", "cty", "x5t", "zip"],
        ),
        claims in disturbed(
            claims(),
            &["iss", "aud", "sub", "exp", "nbf", "iat", "groups", "jti", "sid", "azp", "scope"],
        ),
    ) {
        let sign = |message: &[u8]| keys().ed.sign("EdDSA", message);
        let token = token_of(&header.to_string(), &claims.to_string(), sign);
        if let Some(principal) = principal_of(&token) {
            prop_assert_eq!(&claims["iss"], ISSUER);
            let audience = claims["aud"].as_array().cloned().unwrap_or(vec![claims["aud"].clone()]);
            prop_assert!(audience.contains(&json!(AUDIENCE)));
            let exp = claims["exp"].as_f64().expect("a number");
            prop_assert!(exp + 60.0 > NOW as f64);
            for name in ["nbf", "iat"] {
                let time = claims.get(name).and_then(Value::as_f64).unwrap_or(0.0);
                prop_assert!(time < (NOW + 61) as f64);
            }
            prop_assert_eq!(claims["sub"].as_str(), Some(principal.subject.as_str()));
            prop_assert!(!principal.subject.is_empty());
            prop_assert!(principal.groups.iter().all(|group| !group.is_empty()));
            prop_assert!(header.get("crit").is_none() && header.get("jwk").is_none());
        }
    }

    /// The same claims signed by nobody are never accepted.
    #[test]
    fn unsigned_claims_are_refused(
        header in disturbed(header("EdDSA", &keys().ed), &["alg", "kid", "typ"]),
        claims in disturbed(claims(), &["iss", "aud", "sub", "exp"]),
        signature in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let token = token_of(&header.to_string(), &claims.to_string(), |_| signature);
        prop_assert!(principal_of(&token).is_none());
    }
}
