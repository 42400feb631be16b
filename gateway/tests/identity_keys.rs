//! Which published keys are used, and for what.

mod identity_support;

use identity_support::{
    AUDIENCE, ISSUER, TestKey, claims, es256, keys, present, shared_from_files, token,
};
use penstock_gateway::identity::{Authenticator, IssuerConfig, IssuerStatus};
use serde_json::{Value, json};

/// An issuer that publishes exactly these keys, and what the gateway made of them.
fn publish(keys: &[Value]) -> (Authenticator, IssuerStatus) {
    let config = IssuerConfig::new("test", ISSUER, AUDIENCE);
    let shared = shared_from_files(&[(config, json!({"keys": keys}).to_string())]);
    let status = shared.status().remove(0);
    (Authenticator::new(shared, 16), status)
}

#[test]
fn keys_that_are_not_for_this_are_left_out() {
    let changed = |key: &TestKey, changes: &[(&str, Value)]| {
        let mut jwk = key.jwk();
        for (name, value) in changes {
            jwk[*name] = value.clone();
        }
        jwk
    };
    let (ec, rsa) = (&keys().p256, &keys().rsa);
    let y = ec.jwk()["y"].clone();
    let cases = [
        (
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256", "kid": "p256-1"}),
            "shared secret",
        ),
        (
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
            "curve \"P-521\"",
        ),
        (
            json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
            "curve",
        ),
        (json!({"kty": "OKP", "crv": "X25519", "x": "AA"}), "curve"),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}),
            "not an Ed25519 key",
        ),
        (json!({"kty": "AKP"}), "key type"),
        (json!({"kid": "x"}), "no \"kty\""),
        (json!("p256-1"), "not an object"),
        (changed(ec, &[("use", json!("enc"))]), "for use \"enc\""),
        (changed(ec, &[("key_ops", json!(["sign"]))]), "key_ops"),
        (changed(ec, &[("key_ops", json!("verify"))]), "key_ops"),
        (changed(ec, &[("d", json!("AA"))]), "private part"),
        (
            changed(ec, &[("alg", json!("ES384"))]),
            "algorithm \"ES384\"",
        ),
        (
            changed(ec, &[("alg", json!("HS256"))]),
            "algorithm \"HS256\"",
        ),
        (changed(ec, &[("alg", json!("none"))]), "algorithm \"none\""),
        (
            changed(ec, &[("crv", json!("P-384"))]),
            "length of its curve",
        ),
        (changed(ec, &[("x", y)]), "not on its curve"),
        (changed(ec, &[("x", json!("!"))]), "base64url"),
        (changed(ec, &[("kid", json!(7))]), "\"kid\" is not a string"),
        (changed(rsa, &[("alg", json!("RSA-OAEP"))]), "algorithm"),
        (changed(rsa, &[("n", json!("_".repeat(172)))]), "too short"),
        (changed(rsa, &[("n", json!("A".repeat(4000)))]), "too short"),
        (changed(rsa, &[("n", json!("_".repeat(2000)))]), "too long"),
        (changed(rsa, &[("e", json!("AQ"))]), "exponent"),
        (changed(rsa, &[("e", json!("Ag"))]), "exponent"),
        (changed(rsa, &[("e", json!("AA"))]), "exponent"),
        (changed(rsa, &[("e", json!(""))]), "exponent"),
    ];
    for (jwk, reason) in cases {
        // A good key beside it stays usable.
        let (mut authenticator, status) = publish(&[jwk.clone(), keys().ed.jwk()]);
        let trouble = status.trouble.unwrap_or_default();
        assert!(trouble.contains(reason), "{jwk}: {trouble}");
        assert_eq!(status.key_count, 1, "{jwk}");
        let good = token("EdDSA", &keys().ed, &claims());
        assert_eq!(present(&mut authenticator, &good).as_deref(), Ok("ada"));
        let other = token("ES256", ec, &claims());
        assert_eq!(
            present(&mut authenticator, &other),
            Err("unknown_key"),
            "{jwk}"
        );
    }
}

#[test]
fn a_key_with_an_algorithm_of_its_own_takes_no_other() {
    let mut jwk = keys().rsa.jwk();
    jwk["alg"] = json!("PS256");
    let (mut authenticator, _) = publish(&[jwk]);
    for algorithm in ["PS384", "PS512", "RS256", "RS384", "RS512"] {
        let token = token(algorithm, &keys().rsa, &claims());
        let outcome = present(&mut authenticator, &token);
        assert_eq!(outcome, Err("unsupported_algorithm"), "{algorithm}");
    }
    let token = token("PS256", &keys().rsa, &claims());
    assert_eq!(present(&mut authenticator, &token).as_deref(), Ok("ada"));
}

#[test]
fn keys_under_one_id_are_each_tried() {
    // Some providers repeat an id while they rotate; the right one is found among a few.
    let (a, b) = (TestKey::p256("same"), TestKey::p256("same"));
    let (mut authenticator, _) = publish(&[a.jwk(), b.jwk()]);
    for key in [&a, &b] {
        let token = token("ES256", key, &claims());
        assert_eq!(present(&mut authenticator, &token).as_deref(), Ok("ada"));
    }
    let third = token("ES256", &TestKey::p256("same"), &claims());
    assert_eq!(present(&mut authenticator, &third), Err("bad_signature"));
}

#[test]
fn a_key_without_an_id_serves_tokens_without_one() {
    let mut jwk = keys().p256.jwk();
    jwk.as_object_mut().expect("an object").remove("kid");
    let (mut authenticator, _) = publish(&[jwk]);
    let without = es256(&json!({"alg": "ES256"}), &claims());
    assert_eq!(present(&mut authenticator, &without).as_deref(), Ok("ada"));
    let with = token("ES256", &keys().p256, &claims());
    assert_eq!(present(&mut authenticator, &with), Err("unknown_key"));
}
