//! What the identity tests share: keys made at run time, tokens built by hand, a provider.
//!
//! Tokens are put together from raw parts and signed with aws-lc-rs directly, so that what the
//! gateway verifies was not made by the library that it verifies with.

#![allow(dead_code, reason = "each test file uses its own part of this")]

pub(crate) mod provider;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use penstock_gateway::identity::{Authenticator, Clock, IdentityShared, IssuerConfig};
use serde_json::{Value, json};

/// The time at which these tests play.
pub(crate) const NOW: u64 = 1_700_000_000;
pub(crate) const ISSUER: &str = "https://idp.example";
pub(crate) const AUDIENCE: &str = "penstock";

/// A private key of any kind, with the id under which it is published.
pub(crate) struct TestKey {
    pub(crate) id: String,
    private: Private,
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

impl TestKey {
    pub(crate) fn rsa(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        Self {
            id: id.to_owned(),
            private: Private::Rsa(pair),
        }
    }

    pub(crate) fn p256(id: &str) -> Self {
        Self::ec(id, &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")
    }

    pub(crate) fn p384(id: &str) -> Self {
        Self::ec(id, &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")
    }

    fn ec(id: &str, algorithm: &'static EcdsaSigningAlgorithm, curve: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(algorithm).expect("an EC key");
        Self {
            id: id.to_owned(),
            private: Private::Ec(pair, curve),
        }
    }

    pub(crate) fn ed25519(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("an Ed25519 key");
        Self {
            id: id.to_owned(),
            private: Private::Ed(pair),
        }
    }

    /// The public key as a provider publishes it.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.private {
            Private::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": b64(public.modulus().big_endian_without_leading_zero()),
                    "e": b64(public.exponent().big_endian_without_leading_zero()),
                })
            }
            Private::Ec(pair, curve) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Private::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The public key as bytes that a confused verifier could take for a shared secret.
    pub(crate) fn public_bytes(&self) -> Vec<(&'static str, Vec<u8>)> {
        let (raw, spki) = match &self.private {
            Private::Rsa(pair) => (pair.public_key().as_ref().to_vec(), spki(pair.public_key())),
            Private::Ec(pair, _) => (pair.public_key().as_ref().to_vec(), spki(pair.public_key())),
            Private::Ed(pair) => (pair.public_key().as_ref().to_vec(), spki(pair.public_key())),
        };
        let pem = pem("PUBLIC KEY", &spki);
        let mut forms = vec![
            ("PEM", pem.clone().into_bytes()),
            ("PEM with a final newline", format!("{pem}\n").into_bytes()),
            ("SubjectPublicKeyInfo", spki),
            ("raw public key", raw),
            ("JWK", self.jwk().to_string().into_bytes()),
            ("empty", Vec::new()),
        ];
        if let Some(n) = self.jwk()["n"].as_str() {
            forms.push(("modulus text", n.as_bytes().to_vec()));
            forms.push(("modulus", URL_SAFE_NO_PAD.decode(n).expect("our own")));
        }
        forms
    }

    pub(crate) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.private {
            Private::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_SHA256,
                    "RS384" => &signature::RSA_PKCS1_SHA384,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS384" => &signature::RSA_PSS_SHA384,
                    _ => &signature::RSA_PSS_SHA512,
                };
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut bytes)
                    .expect("signed");
                bytes
            }
            Private::Ec(pair, _) => pair
                .sign(&random, message)
                .expect("signed")
                .as_ref()
                .to_vec(),
            Private::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn spki<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Vec<u8> {
    AsDer::<PublicKeyX509Der<'static>>::as_der(key)
        .expect("a public key")
        .as_ref()
        .to_vec()
}

/// DER in its text form (RFC 7468), without the final newline.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----",
        lines.join("\n")
    )
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The keys of [`ISSUER`]; made once per test process, because RSA takes a while.
pub(crate) struct Keys {
    pub(crate) rsa: TestKey,
    pub(crate) rsa_other: TestKey,
    pub(crate) p256: TestKey,
    pub(crate) p384: TestKey,
    pub(crate) ed: TestKey,
}

pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        rsa: TestKey::rsa("rsa-1"),
        rsa_other: TestKey::rsa("rsa-2"),
        p256: TestKey::p256("p256-1"),
        p384: TestKey::p384("p384-1"),
        ed: TestKey::ed25519("ed-1"),
    })
}

impl Keys {
    pub(crate) fn all(&self) -> [&TestKey; 5] {
        [&self.rsa, &self.rsa_other, &self.p256, &self.p384, &self.ed]
    }

    /// Each accepted `alg` with a key that signs it.
    pub(crate) fn by_algorithm(&self) -> Vec<(&'static str, &TestKey)> {
        let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|a| (a, &self.rsa));
        let rest = [
            ("ES256", &self.p256),
            ("ES384", &self.p384),
            ("EdDSA", &self.ed),
            ("Ed25519", &self.ed),
        ];
        rsa.into_iter().chain(rest).collect()
    }
}

pub(crate) fn jwks(keys: &[&TestKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Good claims.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "exp": NOW + 600,
        "iat": NOW - 10,
        "groups": ["ml-engineers"],
        "jti": "token-1",
        "sid": "session-1",
        "azp": "app-1",
    })
}

/// Good claims with some replaced, added, or (with null) removed.
pub(crate) fn claims_with(changes: Value) -> Value {
    let mut all = claims();
    let (Value::Object(all_map), Value::Object(changes)) = (&mut all, changes) else {
        panic!("claims are objects");
    };
    for (name, value) in changes {
        if value.is_null() {
            all_map.remove(&name);
        } else {
            all_map.insert(name, value);
        }
    }
    all
}

pub(crate) fn header(algorithm: &str, key: &TestKey) -> Value {
    json!({"alg": algorithm, "kid": key.id, "typ": "JWT"})
}

/// A token of exactly this header text and payload text.
pub(crate) fn token_of(header: &str, payload: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    token_of_segments(&b64(header), &b64(payload), sign)
}

pub(crate) fn token_of_segments(
    header: &str,
    payload: &str,
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> String {
    let signed = format!("{header}.{payload}");
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", b64(signature))
}

/// A token as the provider would issue it.
pub(crate) fn token(algorithm: &str, key: &TestKey, claims: &Value) -> String {
    token_of(
        &header(algorithm, key).to_string(),
        &claims.to_string(),
        |m| key.sign(algorithm, m),
    )
}

/// A clock that stands still until it is moved.
#[derive(Clone)]
pub(crate) struct StillClock(Arc<AtomicU64>);

impl StillClock {
    pub(crate) fn at(now_unix: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now_unix)))
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn clock(&self) -> Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// An issuer whose keys are in a file.
pub(crate) fn file_issuer(url: &str, path: &Path) -> IssuerConfig {
    let mut config = IssuerConfig::new("test", url, AUDIENCE);
    config.jwks_file = Some(path.to_owned());
    config
}

/// Issuers with their key sets in files, loaded once.
pub(crate) fn shared_from_files(issuers: &[(IssuerConfig, String)]) -> Arc<IdentityShared> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut configs = Vec::new();
    for (index, (config, jwks)) in issuers.iter().enumerate() {
        let path = folder.path().join(format!("{index}.json"));
        std::fs::write(&path, jwks).expect("written");
        configs.push(IssuerConfig {
            jwks_file: Some(path),
            ..config.clone()
        });
    }
    let shared = IdentityShared::with_clock(configs, None, StillClock::at(NOW).clock())
        .expect("a good configuration");
    let loaded = block_on(penstock_gateway::identity::load_initial(&shared));
    assert_eq!(loaded, issuers.len(), "{:?}", shared.status());
    shared
}

/// The one issuer with all keys.
pub(crate) fn authenticator() -> Authenticator {
    let config = IssuerConfig::new("test", ISSUER, AUDIENCE);
    let shared = shared_from_files(&[(config, jwks(&keys().all()))]);
    Authenticator::new(shared, 64)
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Presents a token; the code of the refusal, or the subject.
pub(crate) fn present(
    authenticator: &mut Authenticator,
    token: &str,
) -> Result<String, &'static str> {
    let field = format!("Bearer {token}");
    authenticator
        .authenticate(Some(field.as_bytes()), NOW)
        .map(|principal| principal.subject.clone())
        .map_err(|error| error.code)
}

/// A name for the failure report, the token, and the code expected.
pub(crate) type Case = (String, String, &'static str);

/// Presents each case twice (the second time a cache could answer) and after a good token.
#[track_caller]
pub(crate) fn assert_refused(cases: Vec<Case>) {
    let mut authenticator = authenticator();
    let good = token("ES256", &keys().p256, &claims());
    assert_eq!(present(&mut authenticator, &good).as_deref(), Ok("ada"));
    let mut wrong = Vec::new();
    for (name, token, code) in &cases {
        for _ in 0..2 {
            let outcome = present(&mut authenticator, token);
            if outcome != Err(*code) {
                wrong.push(format!("{name}: expected {code}, got {outcome:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert_eq!(
        authenticator.remembered_count(),
        1,
        "only the good token is remembered"
    );
    assert_eq!(present(&mut authenticator, &good).as_deref(), Ok("ada"));
}

pub(crate) fn es256(header: &Value, claims: &Value) -> String {
    let key = &keys().p256;
    token_of(&header.to_string(), &claims.to_string(), |message| {
        key.sign("ES256", message)
    })
}

/// A good header with some members replaced or added.
pub(crate) fn header_with(changes: Value) -> Value {
    let mut all = header("ES256", &keys().p256);
    let (Value::Object(all_map), Value::Object(changes)) = (&mut all, changes) else {
        panic!("headers are objects");
    };
    all_map.extend(changes);
    all
}
