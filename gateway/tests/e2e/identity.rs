//! Who is calling: everything that has fooled a verifier of tokens, sent over the wire; keys that
//! change; providers that are down.

use aws_lc_rs::hmac;
use penstock_loadgen::client::{Call, Response};
use penstock_loadgen::issuer::{
    Algorithm, Issuer, IssuerOptions, TokenSpec, encode_segment, jws, now_unix,
};
use penstock_recorder::frame::Outcome;
use serde_json::{Value, json};

use crate::stack::{MODEL, POLICY, Stack};
use crate::witness::{close_of, code, open_of, request_id};

fn chat() -> Call {
    Call::chat(MODEL, "hello", false)
}

fn good() -> TokenSpec {
    TokenSpec::new("alice", &["engineers"])
}

/// Claims of a good token, for tokens that are put together by hand.
fn claims(stack: &Stack) -> Value {
    good().payload(stack.issuer.url(), now_unix())
}

/// Tokens that a provider could have been made to mint, each with the code of its refusal.
fn minted(stack: &Stack) -> Vec<(&'static str, String, &'static str)> {
    let mint = |spec: TokenSpec| stack.issuer.mint(&spec).expect("a token");
    let future = now_unix() + 3600;
    let other = json!({"kty": "oct", "k": "AAAA"});
    vec![
        (
            "unsigned",
            mint(good().algorithm("none")),
            "unsupported_algorithm",
        ),
        (
            "key embedded",
            mint(good().header("jwk", other)),
            "unsupported_header",
        ),
        (
            "key elsewhere",
            mint(good().header("jku", "http://127.0.0.1:1/")),
            "unsupported_header",
        ),
        (
            "certificate elsewhere",
            mint(good().header("x5u", "http://127.0.0.1:1/")),
            "unsupported_header",
        ),
        (
            "critical extension",
            mint(good().header("crit", json!(["exp"]))),
            "unsupported_header",
        ),
        (
            "kid: a path",
            mint(good().header("kid", "../../../dev/null")),
            "unknown_key",
        ),
        (
            "kid: SQL",
            mint(good().header("kid", "' UNION SELECT 'k' --")),
            "unknown_key",
        ),
        (
            "kid: a number",
            mint(good().header("kid", 1)),
            "malformed_token",
        ),
        (
            "no kid, several keys",
            mint(good().algorithm("RS256").header("kid", Value::Null)),
            "one_key_fits",
        ),
        (
            "expired",
            mint(TokenSpec {
                ttl_s: -3600,
                ..good()
            }),
            "token_expired",
        ),
        (
            "not yet valid",
            mint(good().claim("nbf", future)),
            "token_not_yet_valid",
        ),
        (
            "issued in the future",
            mint(good().claim("iat", future)),
            "token_not_yet_valid",
        ),
        (
            "never expires",
            mint(good().claim("exp", Value::Null)),
            "malformed_claims",
        ),
        (
            "another audience",
            mint(TokenSpec {
                audience: vec!["crm".into()],
                ..good()
            }),
            "wrong_audience",
        ),
        (
            "no audience",
            mint(good().claim("aud", Value::Null)),
            "wrong_audience",
        ),
        (
            "a logout token",
            mint(good().header("typ", "logout+jwt")),
            "wrong_token_type",
        ),
        (
            "a proof",
            mint(good().header("typ", "dpop+jwt")),
            "wrong_token_type",
        ),
        (
            "nobody's",
            mint(good().claim("sub", Value::Null)),
            "malformed_claims",
        ),
        (
            "groups of another shape",
            mint(good().claim("groups", 7)),
            "malformed_claims",
        ),
        (
            "oversize",
            mint(good().claim("pad", "x".repeat(9000))),
            "token_too_large",
        ),
        (
            "another issuer",
            mint(TokenSpec {
                issuer: Some("http://127.0.0.1:1".into()),
                ..good()
            }),
            "unknown_issuer",
        ),
    ]
}

/// Tokens that only an attacker would put together.
fn forged(stack: &Stack, stranger: &Issuer) -> Vec<(&'static str, String, &'static str)> {
    let claims = claims(stack);
    let mut forged = Vec::new();
    stack.issuer.with_keys(|keys| {
        let key = |algorithm| keys.newest(algorithm).expect("a usual key");
        let rsa = key(Algorithm::Rs256);
        for (name, secret) in [
            (
                "HMAC with the public key in PEM",
                rsa.public_pem().expect("PEM").into_bytes(),
            ),
            (
                "HMAC with the public key in DER",
                rsa.public_der().expect("DER"),
            ),
        ] {
            for algorithm in ["HS256", "RS256"] {
                let header = json!({"typ": "JWT", "alg": algorithm, "kid": rsa.kid()});
                let sign = |message: &[u8]| {
                    let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret);
                    Ok(hmac::sign(&secret, message).as_ref().to_vec())
                };
                let code = match algorithm {
                    "HS256" => "unsupported_algorithm",
                    _ => "bad_signature",
                };
                forged.push((name, jws(&header, &claims, sign).expect("a token"), code));
            }
        }
        let es = key(Algorithm::Es256);
        for (name, algorithm) in [("wrong curve", "ES384"), ("wrong family", "PS256")] {
            let header = json!({"typ": "JWT", "alg": algorithm, "kid": es.kid()});
            let token = jws(&header, &claims, |message| es.sign(message)).expect("a token");
            forged.push((name, token, "unsupported_algorithm"));
        }
        let psychic = json!({"typ": "JWT", "alg": "ES256", "kid": es.kid()});
        let token = jws(&psychic, &claims, |_| Ok(vec![0; 64])).expect("a token");
        forged.push(("a signature of zeros", token, "bad_signature"));
        let signed = jws(&psychic, &claims, |message| es.sign(message)).expect("a token");
        let (head, signature) = signed.rsplit_once('.').expect("three segments");
        let mut richer = claims.clone();
        richer["groups"] = json!(["engineers", "admins"]);
        let payload = encode_segment(richer.to_string().as_bytes());
        let changed = format!(
            "{}.{payload}.{signature}",
            head.split('.').next().expect("a segment")
        );
        forged.push(("claims changed", changed, "bad_signature"));
        forged.push(("signature cut off", format!("{head}."), "malformed_token"));
        forged.push((
            "four segments",
            format!("{signed}.{signature}"),
            "malformed_token",
        ));
        // The stranger's own key under the name of the true one.
        let own = TokenSpec {
            issuer: Some(stack.issuer.url().to_owned()),
            ..good().algorithm("ES256").header("kid", es.kid())
        };
        forged.push((
            "a stranger's key",
            stranger.mint(&own).expect("a token"),
            "bad_signature",
        ));
    });
    forged.push((
        "a vendor's key",
        ["sk-", "proj-", "0123456789abcdef"].concat(),
        "malformed_token",
    ));
    forged.push((
        "a stranger's token",
        stranger.token("eve", &["engineers"]),
        "unknown_issuer",
    ));
    forged
}

fn assert_refused(name: &str, answer: &Response, expected: &str) {
    assert_eq!(
        (answer.status(), code(answer).as_str()),
        (401, expected),
        "{name}"
    );
    let challenge = answer.head.field("www-authenticate").unwrap_or_default();
    assert!(
        challenge.starts_with("Bearer realm=\"penstock\""),
        "{name}: {challenge}"
    );
    let says_why = challenge.contains("error=\"invalid_");
    assert_eq!(
        says_why,
        expected != "missing_credential",
        "{name}: {challenge}"
    );
}

#[test]
fn forged_tokens_are_refused_recorded_and_written_nowhere() {
    let stack = Stack::with(|setup| setup.more = "[log]\nlevel = \"trace\"\n".to_owned());
    let stranger = Issuer::start(IssuerOptions::default()).expect("another provider");
    let mut attacks = minted(&stack);
    attacks.extend(forged(&stack, &stranger));
    // The one that is no attack: a single RSA key fits a token without a key id.
    let fine = attacks
        .iter()
        .position(|(_, _, code)| *code == "one_key_fits");
    let (_, fine, _) = attacks.swap_remove(fine.expect("it is in the list"));
    let mut refused = Vec::new();
    for (name, token, expected) in &attacks {
        let answer = stack.send(chat().token(token));
        assert_refused(name, &answer, expected);
        refused.push((request_id(&answer), *expected));
    }
    let (good, second) = (stack.token(), stack.token());
    for (name, call, expected) in [
        ("nothing", chat(), "missing_credential"),
        (
            "Basic",
            chat().field("authorization", "Basic YTpi"),
            "malformed_credential",
        ),
        (
            "empty",
            chat().field("authorization", "Bearer "),
            "malformed_credential",
        ),
        (
            "twice",
            chat().token(&good).token(&good),
            "ambiguous_credential",
        ),
        (
            "two ways",
            chat().token(&good).field("x-api-key", &second),
            "ambiguous_credential",
        ),
    ] {
        assert_refused(name, &stack.send(call), expected);
    }
    assert_eq!(stack.double.counters().requests, 0);
    assert_eq!(stack.send(chat().token(&fine)).status(), 200);
    for (id, expected) in refused.iter().step_by(7) {
        let session = stack.session(id);
        assert_eq!(open_of(&session).subject, "");
        let close = close_of(&session);
        assert_eq!((close.status, close.outcome), (401, Outcome::Refused));
        assert_eq!(close.error_code.as_deref(), Some(*expected));
    }
    let last = stack.send(chat().token(&good));
    stack.session(&request_id(&last));
    for (_, token, _) in attacks
        .iter()
        .chain([&("good", good, ""), &("fine", fine, "")])
    {
        stack.assert_never_written(&[token]);
        for segment in token
            .split('.')
            .filter(|segment| segment.len() > 40)
            .skip(1)
        {
            stack.assert_never_written(&[segment]);
        }
    }
}

#[test]
fn every_algorithm_is_accepted_and_only_the_gateways_credential_goes_on() {
    let credential = ["upstream", "credential", "1"].join("-");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &credential).expect("the credential");
    let stack = Stack::with(|setup| {
        setup.upstream = format!("credential_file = \"{}\"", file.path().display());
        setup.double.credential = Some(credential.clone());
        setup.provider.algorithms = Algorithm::ALL.to_vec();
        setup.more = "[log]\nlevel = \"trace\"\n".to_owned();
    });
    let mut tokens = Vec::new();
    for algorithm in Algorithm::ALL {
        let spec = TokenSpec::new("alice smith/é", &["engineers"]).algorithm(algorithm.name());
        let token = stack.issuer.mint(&spec).expect("a token");
        for try_number in 0..2 {
            let answer = stack.send(chat().token(&token));
            assert_eq!(answer.status(), 200, "{} {try_number}", algorithm.name());
        }
        tokens.push(token);
    }
    let access = stack
        .issuer
        .mint(&good().header("typ", "at+jwt"))
        .expect("a token");
    let claimed = chat().token(&access).field("x-penstock-subject", "root");
    let answer = stack.send(claimed.field("x-forwarded-for", "10.9.8.7"));
    assert_eq!(answer.status(), 200);
    // Anthropic's SDK sends its key so.
    let message = json!({"model": MODEL, "max_tokens": 9, "messages": [
        {"role": "user", "content": "hello"}]});
    let call = Call::post("/v1/messages", &message).field("x-api-key", &access);
    let answer = stack.send(call.field("anthropic-version", "2023-06-01"));
    assert_eq!(
        (answer.status(), answer.json()["type"].as_str()),
        (200, Some("message"))
    );
    let session = stack.session_of(&answer);
    assert_eq!(open_of(&session).subject, "alice");
    assert_eq!(open_of(&session).groups, ["engineers"]);
    assert!(open_of(&session).token_id.is_some());

    let seen = stack.double.requests();
    assert_eq!(seen.len(), 2 * Algorithm::ALL.len() + 2);
    for request in &seen {
        let authorization = request.field("authorization");
        assert_eq!(authorization, Some(format!("Bearer {credential}").as_str()));
        assert_eq!(request.field("x-api-key"), None);
        assert!(
            request
                .fields
                .iter()
                .filter(|(name, _)| name == "x-forwarded-for")
                .count()
                == 1
        );
        assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
        let head = String::from_utf8_lossy(&request.head).into_owned();
        assert!(
            tokens.iter().all(|token| !head.contains(token.as_str())),
            "{head}"
        );
        assert!(!head.contains(&access) && !head.contains("root"), "{head}");
    }
    assert_eq!(
        seen[0].field("x-penstock-subject"),
        Some("alice%20smith/%C3%A9")
    );
    tokens.push(access);
    tokens.push(credential);
    let texts: Vec<&str> = tokens.iter().map(String::as_str).collect();
    stack.assert_never_written(&texts);
}

#[test]
fn groups_come_from_where_the_provider_puts_them() {
    let stack = Stack::with(|setup| {
        setup.issuer = "groups_claim = \"realm_access.roles\"".to_owned();
        setup.record = false;
    });
    let status = |spec: TokenSpec| {
        let token = stack.issuer.mint(&spec).expect("a token");
        stack.send(chat().token(&token)).status()
    };
    let nested =
        |roles: Value| TokenSpec::new("bob", &[]).claim("realm_access", json!({"roles": roles}));
    assert_eq!(status(nested(json!(["staff", "engineers"]))), 200);
    assert_eq!(status(nested(json!("engineers"))), 200);
    assert_eq!(status(nested(json!(["sales"]))), 403);
    // The usual claim is not looked at where another one is configured.
    assert_eq!(status(TokenSpec::new("bob", &["engineers"])), 403);
}

#[test]
fn anonymous_callers_get_what_is_granted_to_them_and_a_bad_token_is_still_bad() {
    let stack = Stack::with(|setup| {
        let grant =
            "[[grant]]\ngroups = [\"trial\"]\nmodels = [\"tiny\"]\noperations = [\"infer\"]\n";
        setup.policy = format!("{POLICY}{grant}");
        setup.more = "[identity]\nanonymous_groups = [\"trial\"]\n".to_owned();
    });
    assert!(stack.log().contains("ANONYMOUS"), "{}", stack.log());
    let answer = stack.send(Call::chat("tiny", "hello", false));
    assert_eq!(answer.status(), 200);
    let session = stack.session_of(&answer);
    assert_eq!(open_of(&session).groups, ["trial"]);
    assert_eq!(open_of(&session).issuer, "");
    let seen = stack.double.requests();
    assert_eq!(seen[0].field("x-penstock-subject"), Some("anonymous"));
    assert_eq!(
        seen[0].field("x-penstock-issuer"),
        Some(""),
        "nobody vouched for it"
    );
    assert_eq!(stack.send(chat()).status(), 403, "another model");
    let expired = TokenSpec {
        ttl_s: -3600,
        ..good()
    };
    let token = stack.issuer.mint(&expired).expect("a token");
    let answer = stack.send(Call::chat("tiny", "hello", false).token(&token));
    assert_refused("expired", &answer, "token_expired");
}

#[test]
fn a_new_key_is_fetched_for_the_first_call_that_needs_it_and_a_retired_one_is_refused() {
    let stack = Stack::with(|setup| setup.record = false);
    let old = stack.token();
    assert_eq!(stack.send(chat().token(&old)).status(), 200);
    stack.issuer.rotate(true).expect("new keys");
    let fresh = stack.token();
    // Fetches on demand are rate-limited; after the gap the very first call must succeed.
    let gap = std::time::Duration::from_secs(penstock_gateway::identity::REFRESH_GAP_S + 1);
    let fetched = stack.issuer.fetches().jwks;
    std::thread::sleep(gap);
    assert_eq!(stack.send(chat().token(&fresh)).status(), 200);
    assert_refused("retired", &stack.send(chat().token(&old)), "unknown_key");
    // Made-up keys cannot turn the gateway on its provider.
    for number in 0..50 {
        let made_up = good().header("kid", format!("key-{number}"));
        let token = stack.issuer.mint(&made_up).expect("a token");
        assert_refused("made up", &stack.send(chat().token(&token)), "unknown_key");
    }
    let fetches = stack.issuer.fetches().jwks - fetched;
    assert!(fetches < 10, "{fetches} fetches for 52 tokens");
}

#[test]
fn a_provider_that_is_down_is_a_503_until_it_is_back() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.provider_fails = true;
    });
    let token = stack.token();
    let answer = stack.send(chat().token(&token));
    assert_eq!(
        (answer.status(), code(&answer).as_str()),
        (503, "identity_provider_unavailable")
    );
    assert!(answer.head.field("retry-after").is_some());
    assert!(answer.head.field("www-authenticate").is_none());
    assert_eq!(stack.double.counters().requests, 0);
    stack.issuer.fail(false);
    assert!(stack.wait(|| stack.send(chat().token(&token)).status() == 200));
    // Down again: the keys at hand go on.
    stack.issuer.fail(true);
    let another = stack.issuer.token("bob", &["engineers"]);
    assert_eq!(stack.send(chat().token(&another)).status(), 200);
}
