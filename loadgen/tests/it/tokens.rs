//! The identity provider over HTTP, and its tokens verified by another library.

use std::collections::BTreeMap;
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use penstock_loadgen::client::{Call, mint_at};
use penstock_loadgen::issuer::{Algorithm, Client, Fetches, Issuer, IssuerOptions, TokenSpec};
use serde_json::{Value, json};

fn issuer() -> Issuer {
    let algorithms = vec![Algorithm::Es256, Algorithm::EdDsa];
    Issuer::start(IssuerOptions {
        algorithms,
        ..IssuerOptions::default()
    })
    .unwrap()
}

fn get(issuer: &Issuer, path: &str) -> Value {
    Call::get(path).to(issuer.address()).unwrap().json()
}

fn verify(issuer: &Issuer, token: &str) -> Result<Value, String> {
    let set: JwkSet = serde_json::from_value(get(issuer, "/jwks")).unwrap();
    let header = decode_header(token).map_err(|error| error.to_string())?;
    let kid = header.kid.ok_or("no kid")?;
    let jwk: &Jwk = set.find(&kid).ok_or("unknown kid")?;
    let key = DecodingKey::from_jwk(jwk).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer.url()]);
    validation.set_audience(&["penstock"]);
    let decoded = decode::<Value>(token, &key, &validation).map_err(|error| error.to_string())?;
    Ok(decoded.claims)
}

#[test]
fn discovery_leads_to_the_keys() {
    let issuer = issuer();
    let document = get(&issuer, "/.well-known/openid-configuration");
    assert_eq!(document["issuer"], issuer.url());
    assert_eq!(document["jwks_uri"], format!("{}/jwks", issuer.url()));
    let keys = get(&issuer, "/jwks");
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    assert_eq!(
        issuer.fetches(),
        Fetches {
            discovery: 1,
            jwks: 1,
            refused: 0
        }
    );
}

#[test]
fn tokens_of_every_algorithm_verify() {
    let options = IssuerOptions {
        algorithms: Algorithm::ALL.to_vec(),
        ..IssuerOptions::default()
    };
    let issuer = Issuer::start(options).unwrap();
    for algorithm in Algorithm::ALL {
        let spec = TokenSpec::new("alice", &["ml"]).algorithm(algorithm.name());
        let claims = verify(&issuer, &issuer.mint(&spec).unwrap()).unwrap();
        assert_eq!(claims["groups"], json!(["ml"]), "{}", algorithm.name());
    }
}

#[test]
fn wrong_tokens_are_wrong() {
    let issuer = issuer();
    let spec = TokenSpec::new("alice", &[]);
    let expired = TokenSpec {
        ttl_s: -300,
        ..spec.clone()
    };
    assert!(
        verify(&issuer, &issuer.mint(&expired).unwrap())
            .unwrap_err()
            .contains("Expired")
    );
    let elsewhere = TokenSpec {
        audience: vec!["other".into()],
        ..spec.clone()
    };
    assert!(verify(&issuer, &issuer.mint(&elsewhere).unwrap()).is_err());
    let foreign = self::issuer().mint(&spec).unwrap();
    assert!(verify(&issuer, &foreign).is_err());
    let unsigned = issuer.mint(&spec.algorithm("none")).unwrap();
    assert!(unsigned.ends_with('.'));
}

#[test]
fn rotation_keeps_old_tokens_until_keys_retire() {
    let issuer = issuer();
    let old = issuer.token("alice", &[]);
    assert_eq!(
        Call::new("POST", "/rotate")
            .to(issuer.address())
            .unwrap()
            .status(),
        200
    );
    let new = issuer.token("alice", &[]);
    assert_ne!(
        decode_header(&old).unwrap().kid,
        decode_header(&new).unwrap().kid
    );
    assert!(verify(&issuer, &old).is_ok() && verify(&issuer, &new).is_ok());
    let retire = Call::new("POST", "/rotate?retire=true")
        .to(issuer.address())
        .unwrap();
    assert_eq!(retire.json()["published"].as_array().unwrap().len(), 2);
    assert_eq!(verify(&issuer, &new).unwrap_err(), "unknown kid");
    assert!(verify(&issuer, &issuer.token("alice", &[])).is_ok());
}

#[test]
fn the_token_endpoint_gives_what_is_configured() {
    let ci = Client {
        subject: Some("robot".into()),
        groups: vec!["ci".into()],
        claims: json!({ "realm_access": { "roles": ["x"] } })
            .as_object()
            .unwrap()
            .clone(),
    };
    let options = IssuerOptions {
        algorithms: vec![Algorithm::Es256],
        clients: BTreeMap::from([("ci".to_owned(), ci)]),
        default_client: Client {
            groups: vec!["guests".into()],
            ..Client::default()
        },
        ..IssuerOptions::default()
    };
    let issuer = Issuer::start(options).unwrap();
    let ask = |form: &str| {
        let call = Call::new("POST", "/token").body(form).token("x");
        call.field("content-type", "application/x-www-form-urlencoded")
            .to(issuer.address())
            .unwrap()
    };
    let answer = ask("grant_type=client_credentials&client_id=ci&client_secret=x").json();
    let claims = verify(&issuer, answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["groups"]),
        (&json!("robot"), &json!(["ci"]))
    );
    assert_eq!(claims["realm_access"]["roles"][0], "x");
    let other = ask("grant_type=client_credentials&client_id=any%20one").json();
    let claims = verify(&issuer, other["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["groups"]),
        (&json!("any one"), &json!(["guests"]))
    );
    assert_eq!(ask("grant_type=password").status(), 400);
    assert_eq!(ask("grant_type=client_credentials").status(), 401);
}

#[test]
fn any_token_can_be_asked_for() {
    let issuer = issuer();
    let spec = TokenSpec::new("bob", &["a", "b"])
        .claim("scope", "x")
        .algorithm("EdDSA");
    let claims = verify(&issuer, &mint_at(issuer.url(), &spec).unwrap()).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["scope"]),
        (&json!("bob"), &json!("x"))
    );
    let unknown = TokenSpec {
        kid: Some("nobody".into()),
        ..TokenSpec::default()
    };
    assert!(
        mint_at(issuer.url(), &unknown)
            .unwrap_err()
            .to_string()
            .contains("nobody")
    );
}

#[test]
fn a_provider_fails_and_dawdles_when_told() {
    let issuer = issuer();
    issuer.fail(true);
    assert_eq!(
        Call::get("/jwks").to(issuer.address()).unwrap().status(),
        503
    );
    issuer.fail(false);
    issuer.delay(Duration::from_millis(50));
    let start = std::time::Instant::now();
    assert_eq!(
        Call::get("/jwks").to(issuer.address()).unwrap().status(),
        200
    );
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(
        issuer.fetches(),
        Fetches {
            discovery: 0,
            jwks: 1,
            refused: 1
        }
    );
    let address = issuer.address();
    drop(issuer);
    assert!(Call::get("/jwks").to(address).is_err());
}
