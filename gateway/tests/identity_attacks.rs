//! Everything that is known to have fooled a verifier of JSON Web Tokens, each with the code of its
//! refusal, and every good token accepted. References: RFC 8725, "Critical vulnerabilities in JSON
//! Web Token libraries" (2015), CVE-2022-21449 (psychic signatures), CVE-2018-0114 (embedded key).

mod identity_support;

use aws_lc_rs::hmac;
use identity_support::{
    AUDIENCE, ISSUER, NOW, TestKey, assert_refused, authenticator, b64, claims, claims_with, es256,
    header, header_with, jwks, keys, present, shared_from_files, token, token_of,
    token_of_segments,
};
use penstock_gateway::identity::{Authenticator, IssuerConfig};
use serde_json::json;

#[test]
fn every_good_algorithm_is_accepted() {
    let mut authenticator = authenticator();
    for (algorithm, key) in keys().by_algorithm() {
        let token = token(algorithm, key, &claims());
        assert_eq!(
            present(&mut authenticator, &token).as_deref(),
            Ok("ada"),
            "{algorithm}"
        );
        assert_eq!(
            present(&mut authenticator, &token).as_deref(),
            Ok("ada"),
            "{algorithm} again"
        );
    }
    assert_eq!(
        authenticator.remembered_count(),
        keys().by_algorithm().len()
    );
}

#[test]
fn a_good_token_says_who_is_calling() {
    let mut authenticator = authenticator();
    let claims = claims_with(json!({"groups": ["b", "a", "b"]}));
    let field = format!("bearer {}", token("EdDSA", &keys().ed, &claims));
    let principal = authenticator
        .authenticate(Some(field.as_bytes()), NOW)
        .expect("a good token");
    assert_eq!(principal.issuer, ISSUER);
    assert_eq!(principal.subject, "ada");
    assert_eq!(principal.groups, ["b", "a"]);
    assert_eq!(principal.token_id.as_deref(), Some("token-1"));
    assert_eq!(principal.session_id.as_deref(), Some("session-1"));
    assert_eq!(principal.client_id.as_deref(), Some("app-1"));
    assert_eq!(principal.expires_unix, NOW + 600);
}

#[test]
fn unsigned_tokens() {
    let mut cases = Vec::new();
    let payload = claims().to_string();
    let signature = keys().p256.sign("ES256", b"something else");
    for name in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        " none",
        "none\u{0}",
        "",
        "null",
    ] {
        for (how, signature) in [("empty", Vec::new()), ("some", signature.clone())] {
            let header = json!({"alg": name, "typ": "JWT", "kid": "p256-1"}).to_string();
            let token = token_of(&header, &payload, |_| signature);
            cases.push((
                format!("alg {name:?}, {how} signature"),
                token,
                "unsupported_algorithm",
            ));
        }
    }
    for value in [
        json!(null),
        json!(0),
        json!(["ES256"]),
        json!({"name": "ES256"}),
    ] {
        let header = header_with(json!({"alg": value.clone()}));
        cases.push((
            format!("alg {value}"),
            es256(&header, &claims()),
            "malformed_token",
        ));
    }
    let header = json!({"kid": "p256-1"});
    cases.push((
        "no alg".to_owned(),
        es256(&header, &claims()),
        "malformed_token",
    ));
    let good = token("ES256", &keys().p256, &claims());
    let stripped = good.rsplit_once('.').expect("three segments").0;
    cases.push((
        "signature cut off".to_owned(),
        format!("{stripped}."),
        "malformed_token",
    ));
    cases.push((
        "signature and dot cut off".to_owned(),
        stripped.to_owned(),
        "malformed_token",
    ));
    assert_refused(cases);
}

#[test]
fn hmac_with_a_public_key_as_the_secret() {
    let families = [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
    ];
    let mut cases = Vec::new();
    for key in keys().all() {
        for (form, secret) in key.public_bytes() {
            for (algorithm, family) in families {
                let header = header(algorithm, key).to_string();
                let token = token_of(&header, &claims().to_string(), |message| {
                    hmac::sign(&hmac::Key::new(family, &secret), message)
                        .as_ref()
                        .to_vec()
                });
                let name = format!("{algorithm} with {} as {form}", key.id);
                cases.push((name, token, "unsupported_algorithm"));
            }
            // The same under the name of the key's own algorithm.
            for algorithm in ["RS256", "ES256", "EdDSA"] {
                let header = header(algorithm, key).to_string();
                let token = token_of(&header, &claims().to_string(), |message| {
                    let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                    hmac::sign(&secret, message).as_ref().to_vec()
                });
                let fits = key.id.starts_with(match algorithm {
                    "RS256" => "rsa",
                    "ES256" => "p256",
                    _ => "ed",
                });
                let code = if fits {
                    "bad_signature"
                } else {
                    "unsupported_algorithm"
                };
                cases.push((
                    format!("HMAC called {algorithm}, {} as {form}", key.id),
                    token,
                    code,
                ));
            }
        }
    }
    assert_refused(cases);
}

#[test]
fn the_algorithm_is_bound_to_the_key() {
    let k = keys();
    let all = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];
    let mut cases = Vec::new();
    for key in k.all() {
        for algorithm in all {
            let fits = k
                .by_algorithm()
                .iter()
                .any(|(a, own)| *a == algorithm && own.id == key.id)
                || key.id == "rsa-2" && (algorithm.starts_with('R') || algorithm.starts_with('P'));
            if !fits {
                let token = token(algorithm, key, &claims());
                let name = format!("{algorithm} by {}", key.id);
                cases.push((name, token, "unsupported_algorithm"));
            }
        }
    }
    let mut sign_as = |name: &str, said: &str, key: &TestKey, done: &str| {
        let header = header(said, key).to_string();
        let token = token_of(&header, &claims().to_string(), |m| key.sign(done, m));
        cases.push((name.to_owned(), token, "bad_signature"));
    };
    sign_as("PS256 called RS256", "RS256", &k.rsa, "PS256");
    sign_as("RS256 called PS256", "PS256", &k.rsa, "RS256");
    sign_as("RS512 called RS256", "RS256", &k.rsa, "RS512");
    for name in [
        "ES512", "ES256K", "RS1", "RSA1_5", "RSA-OAEP", "dir", "Ed448", "ed25519", "rs256",
    ] {
        let header = header_with(json!({"alg": name}));
        cases.push((
            format!("alg {name}"),
            es256(&header, &claims()),
            "unsupported_algorithm",
        ));
    }
    assert_refused(cases);
}

#[test]
fn a_key_of_ones_own() {
    let mut cases = Vec::new();
    for own in [
        TestKey::rsa("rsa-1"),
        TestKey::p256("p256-1"),
        TestKey::ed25519("ed-1"),
    ] {
        let algorithm = match own.id.as_str() {
            "rsa-1" => "RS256",
            "p256-1" => "ES256",
            _ => "EdDSA",
        };
        let forged = token(algorithm, &own, &claims());
        cases.push((format!("another {}", own.id), forged, "bad_signature"));
        let carried = [
            ("jwk", own.jwk()),
            ("jku", json!("https://evil.example/keys")),
            ("jku", json!(format!("{ISSUER}@evil.example/keys"))),
            ("x5u", json!("https://evil.example/cert.pem")),
            ("x5c", json!(["MIIB"])),
            ("jwk", json!(null)),
            ("jku", json!("")),
        ];
        for (member, value) in carried {
            let mut header = header(algorithm, &own);
            header[member] = value;
            let sign = |m: &[u8]| own.sign(algorithm, m);
            let token = token_of(&header.to_string(), &claims().to_string(), sign);
            cases.push((
                format!("{} in the header", member),
                token,
                "unsupported_header",
            ));
            header["kid"] = json!("mine");
            let token = token_of(&header.to_string(), &claims().to_string(), sign);
            cases.push((
                format!("{} and an own kid", member),
                token,
                "unsupported_header",
            ));
        }
    }
    // Refused even when the right key signed it: nothing may depend on such a member.
    let header = header_with(json!({"jwk": keys().p256.jwk()}));
    cases.push((
        "the true jwk".to_owned(),
        es256(&header, &claims()),
        "unsupported_header",
    ));
    assert_refused(cases);
}

#[test]
fn tricks_with_the_key_id() {
    let mut cases = Vec::new();
    let long = "k".repeat(4000);
    let names = [
        "../../../../../../dev/null",
        "/dev/null",
        "..\\..\\windows\\win.ini",
        "' OR 1=1 --",
        "p256-1'; DROP TABLE keys; --",
        "' UNION SELECT 'key' --",
        "p256-1\u{0}",
        " p256-1",
        "P256-1",
        "p256-1/",
        "",
        "*",
        "$(id)",
        "| id",
        "%70256-1",
        "http://evil.example/key",
        "file:///etc/passwd",
        "\u{1F511}",
        "\u{202e}1-652p",
        long.as_str(),
    ];
    for name in names {
        let header = header_with(json!({"kid": name}));
        let short: String = name.chars().take(40).collect();
        cases.push((
            format!("kid {short:?}"),
            es256(&header, &claims()),
            "unknown_key",
        ));
    }
    for value in [
        json!(null),
        json!(1),
        json!(["p256-1"]),
        json!({"$ne": ""}),
        json!(true),
    ] {
        let header = header_with(json!({"kid": value.clone()}));
        cases.push((
            format!("kid {value}"),
            es256(&header, &claims()),
            "malformed_token",
        ));
    }
    let header = json!({"alg": "RS256"}).to_string();
    let no_kid = token_of(&header, &claims().to_string(), |m| {
        keys().rsa.sign("RS256", m)
    });
    cases.push(("no kid, two keys fit".to_owned(), no_kid, "missing_key_id"));
    assert_refused(cases);
}

#[test]
fn a_missing_key_id_is_fine_when_one_key_fits() {
    let token = es256(&json!({"alg": "ES256"}), &claims());
    assert_eq!(present(&mut authenticator(), &token).as_deref(), Ok("ada"));
}

#[test]
fn signatures_that_are_none() {
    let k = keys();
    // The order of P-256: r = s = n is zero in the arithmetic of a careless verifier.
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut one = [0; 32];
    one[31] = 1;
    let zero = [0; 32];
    // An ECDSA signature in DER with r = s = 0, where the fixed form is required.
    let der = vec![0x30, 6, 2, 1, 0, 2, 1, 0];
    let mut cases = Vec::new();
    let mut with = |name: &str, algorithm: &str, key: &TestKey, signature: Vec<u8>| {
        let header = header(algorithm, key).to_string();
        let token = token_of(&header, &claims().to_string(), |_| signature);
        cases.push((format!("{algorithm}: {name}"), token, "bad_signature"));
    };
    for (name, r, s) in [
        ("r = s = 0", &zero, &zero),
        ("r = 0, s = 1", &zero, &one),
        ("r = 1, s = 0", &one, &zero),
        ("r = s = n", &order, &order),
        ("r = s = 1", &one, &one),
    ] {
        with(name, "ES256", &k.p256, [r.as_slice(), s].concat());
    }
    with("DER zeros", "ES256", &k.p256, der);
    with("zeros", "ES384", &k.p384, vec![0; 96]);
    with("P-256 length", "ES384", &k.p384, vec![0; 64]);
    for byte in [0, 1, 0xff] {
        with("one byte repeated", "EdDSA", &k.ed, vec![byte; 64]);
        with("one byte repeated", "RS256", &k.rsa, vec![byte; 256]);
        with("one byte repeated", "PS256", &k.rsa, vec![byte; 256]);
    }
    for (algorithm, key) in k.by_algorithm() {
        let header = header(algorithm, key).to_string();
        let message = format!("{}.{}", b64(&header), b64(claims().to_string()));
        let true_signature = key.sign(algorithm, message.as_bytes());
        let length = true_signature.len();
        with(
            "first byte missing",
            algorithm,
            key,
            true_signature[1..].to_vec(),
        );
        with(
            "last byte missing",
            algorithm,
            key,
            true_signature[..length - 1].to_vec(),
        );
        with(
            "only one byte",
            algorithm,
            key,
            true_signature[..1].to_vec(),
        );
        with(
            "one byte more",
            algorithm,
            key,
            [&true_signature[..], &[0]].concat(),
        );
        with(
            "zero before it",
            algorithm,
            key,
            [&[0], &true_signature[..]].concat(),
        );
        with(
            "of something else",
            algorithm,
            key,
            key.sign(algorithm, b"something else"),
        );
        with(
            "twice",
            algorithm,
            key,
            [&true_signature[..], &true_signature].concat(),
        );
    }
    assert_refused(cases);
}

#[test]
fn critical_and_unencoded() {
    let mut cases = Vec::new();
    for changes in [
        json!({"crit": ["exp"], "exp": NOW + 600}),
        json!({"crit": ["b64"], "b64": true}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"crit": []}),
        json!({"crit": null}),
        json!({"crit": "b64"}),
        json!({"b64": false}),
        json!({"b64": true}),
        json!({"enc": "A256GCM"}),
    ] {
        let token = es256(&header_with(changes.clone()), &claims());
        cases.push((changes.to_string(), token, "unsupported_header"));
    }
    // RFC 7797 in earnest: the payload goes in as it is.
    let header = b64(header_with(json!({"crit": ["b64"], "b64": false})).to_string());
    let token = token_of_segments(&header, "{}", |m| keys().p256.sign("ES256", m));
    cases.push(("unencoded payload".to_owned(), token, "unsupported_header"));
    assert_refused(cases);
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    for (algorithm, key) in [
        ("ES256", &keys().p256),
        ("RS256", &keys().rsa),
        ("EdDSA", &keys().ed),
    ] {
        let good = token(algorithm, key, &claims());
        let mut authenticator = authenticator();
        assert_eq!(present(&mut authenticator, &good).as_deref(), Ok("ada"));
        for at in 0..good.len() {
            let mut changed = good.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(
                present(&mut authenticator, &changed).is_err(),
                "{algorithm} at {at}"
            );
        }
        for end in 0..good.len() {
            assert!(
                present(&mut authenticator, &good[..end]).is_err(),
                "{algorithm} to {end}"
            );
        }
    }
}

#[test]
fn one_issuers_key_does_not_speak_for_another() {
    // Both publish a key under the same id; each may sign for itself only.
    let (a, b) = (TestKey::p256("key"), TestKey::p256("key"));
    let issuer = |name: &str, audience: &str| {
        IssuerConfig::new(name, &format!("https://{name}.example"), audience)
    };
    let shared = shared_from_files(&[
        (issuer("a", "for-a"), jwks(&[&a])),
        (issuer("b", "for-b"), jwks(&[&b])),
    ]);
    let mut authenticator = Authenticator::new(shared, 16);
    let claims_of = |name: &str, audience: &str| {
        claims_with(json!({"iss": format!("https://{name}.example"), "aud": audience}))
    };
    let mut code = |key: &TestKey, name: &str, audience: &str| {
        present(
            &mut authenticator,
            &token("ES256", key, &claims_of(name, audience)),
        )
    };
    assert_eq!(code(&a, "a", "for-a").as_deref(), Ok("ada"));
    assert_eq!(code(&b, "b", "for-b").as_deref(), Ok("ada"));
    assert_eq!(code(&a, "b", "for-b"), Err("bad_signature"));
    assert_eq!(code(&b, "a", "for-a"), Err("bad_signature"));
    assert_eq!(code(&b, "b", "for-a"), Err("wrong_audience"));
}

#[test]
fn an_issuer_can_be_narrowed() {
    let mut config = IssuerConfig::new("narrow", ISSUER, AUDIENCE);
    config.algorithms = Some(vec!["ES384".to_owned(), "EdDSA".to_owned()]);
    config.token_types = vec!["at+jwt".to_owned()];
    let shared = shared_from_files(&[(config, jwks(&keys().all()))]);
    let mut authenticator = Authenticator::new(shared, 16);
    let mut code = |algorithm: &str, key: &TestKey, typ: &str| {
        let header = json!({"alg": algorithm, "kid": key.id, "typ": typ}).to_string();
        let token = token_of(&header, &claims().to_string(), |m| key.sign(algorithm, m));
        present(&mut authenticator, &token)
    };
    assert_eq!(code("ES384", &keys().p384, "at+jwt").as_deref(), Ok("ada"));
    assert_eq!(code("EdDSA", &keys().ed, "at+jwt").as_deref(), Ok("ada"));
    assert_eq!(
        code("ES256", &keys().p256, "at+jwt"),
        Err("unsupported_algorithm")
    );
    assert_eq!(
        code("RS256", &keys().rsa, "at+jwt"),
        Err("unsupported_algorithm")
    );
    assert_eq!(code("ES384", &keys().p384, "JWT"), Err("wrong_token_type"));
}

#[test]
fn a_refusal_names_nothing_that_exists() {
    let mut authenticator = authenticator();
    let tokens = [
        es256(&header_with(json!({"kid": "p256-2"})), &claims()),
        es256(
            &header_with(json!({})),
            &claims_with(json!({"aud": "other"})),
        ),
        es256(
            &header_with(json!({})),
            &claims_with(json!({"iss": "https://evil.example"})),
        ),
        es256(&header_with(json!({})), &claims_with(json!({"exp": 1}))),
        token("ES256", &TestKey::p256("p256-1"), &claims()),
    ];
    for token in tokens {
        let field = format!("Bearer {token}");
        let error = authenticator
            .authenticate(Some(field.as_bytes()), NOW)
            .expect_err("refused");
        assert_eq!(error.status, 401);
        let shown = format!(
            "{error} {error:?} {:?} {authenticator:?}",
            error.www_authenticate
        );
        for secret in [
            ISSUER,
            "evil.example",
            "p256-1",
            "rsa-1",
            "ada",
            "ml-engineers",
            &token,
        ] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        let challenge = error.www_authenticate.expect("a 401 has a challenge");
        assert!(challenge.starts_with("Bearer realm=\"penstock\", error=\"invalid_token\""));
    }
}
