//! Tokens that a provider did sign, or nearly: every shape, spelling, claim, time and type that is
//! refused, each with its code.

mod identity_support;

use identity_support::{
    Case, ISSUER, NOW, assert_refused, authenticator, b64, claims, claims_with, es256, header,
    header_with, keys, present, token, token_of, token_of_segments,
};
use penstock_gateway::identity::TOKEN_BYTES_MAX;
use serde_json::{Value, json};

#[test]
fn shapes_that_are_no_token() {
    let good = token("ES256", &keys().p256, &claims());
    let parts: Vec<_> = good.split('.').collect();
    let (h, p, s) = (parts[0], parts[1], parts[2]);
    let malformed = [
        ("a word", "secret".to_owned()),
        ("a vendor's key", ["sk", "test", "0123456789"].join("-")),
        ("two segments", format!("{h}.{p}")),
        ("four segments", format!("{good}.{s}")),
        (
            "five segments, as encrypted",
            format!("{h}.{p}.{s}.{p}.{s}"),
        ),
        ("dots", "..".to_owned()),
        ("no header", format!(".{p}.{s}")),
        ("no payload", format!("{h}..{s}")),
        ("header padded", format!("{h}=.{p}.{s}")),
        ("payload padded", format!("{h}.{p}==.{s}")),
        ("signature padded", format!("{good}==")),
        ("a percent sign", format!("{h}.{p}.%{s}")),
        (
            "standard alphabet",
            format!("{h}.{p}.{}+/", &s[..s.len() - 2]),
        ),
        ("ends in a dot", format!("{good}.")),
        ("begins with a dot", format!(".{good}")),
        ("quoted", format!("\"{good}\"")),
        (
            "a header that is no JSON",
            format!("{}.{p}.{s}", b64("alg")),
        ),
        (
            "a header that is an array",
            format!("{}.{p}.{s}", b64("[]")),
        ),
        (
            "JSON general serialisation",
            b64(r#"{"payload":"","signatures":[]}"#),
        ),
    ];
    let mut cases: Vec<Case> = malformed
        .into_iter()
        .map(|(name, token)| (name.to_owned(), token, "malformed_token"))
        .collect();
    for (name, token) in [
        ("space inside", format!("{h} .{p}.{s}")),
        ("space at the end", format!("{good} ")),
        ("newline inside", format!("{h}.{p}\n.{s}")),
        ("not ASCII", format!("{h}.{p}\u{e9}.{s}")),
        ("tab", format!("{h}.\t{p}.{s}")),
        ("two tokens", format!("{good},{good}")),
        ("empty", String::new()),
    ] {
        cases.push((name.to_owned(), token, "malformed_credential"));
    }
    assert_refused(cases);
}

#[test]
fn one_spelling_only() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let good = token("ES256", &keys().p256, &claims());
    let mut cases = Vec::new();
    // 64 bytes of signature leave four unused bits in the last character.
    let (rest, last) = good.split_at(good.len() - 1);
    let value = ALPHABET
        .iter()
        .position(|&b| b == last.as_bytes()[0])
        .expect("base64url");
    for other in &ALPHABET[value + 1..value + 16] {
        let other = char::from(*other);
        let name = format!("last character {other} for {last}");
        cases.push((name, format!("{rest}{other}"), "malformed_token"));
    }
    assert_refused(cases);
}

#[test]
fn ambiguous_json_signed_by_the_provider() {
    let header = header("ES256", &keys().p256).to_string();
    let payload = claims().to_string();
    let sign = |m: &[u8]| keys().p256.sign("ES256", m);
    let with = |text: &str, extra: &str| format!("{},{extra}}}", &text[..text.len() - 1]);
    let deep = format!("\"x\":{}1{}", "[".repeat(40), "]".repeat(40));
    let mut cases = Vec::new();
    for extra in [
        "\"alg\":\"ES256\"",
        "\"\\u0061lg\":\"none\"",
        "\"kid\":\"p256-1\"",
        "\"typ\":\"JWT\"",
        deep.as_str(),
    ] {
        let token = token_of(&with(&header, extra), &payload, sign);
        cases.push((format!("header with {extra}"), token, "malformed_token"));
    }
    for extra in [
        "\"exp\":9999999999",
        "\"sub\":\"root\"",
        "\"s\\u0075b\":\"root\"",
        "\"iss\":\"x\"",
        "\"groups\":[\"admin\"]",
        "\"x\":{\"a\":1,\"a\":2}",
        "\"x\":\"\\ud800\"",
        "\"x\":1e999",
        deep.as_str(),
    ] {
        let token = token_of(&header, &with(&payload, extra), sign);
        cases.push((format!("payload with {extra}"), token, "malformed_token"));
    }
    for text in [
        "",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{",
        "{}{}",
        "{} x",
        "\u{feff}{}",
        "{'iss':1}",
    ] {
        let token = token_of(&header, text, sign);
        cases.push((format!("payload {text:?}"), token, "malformed_token"));
    }
    let token = token_of_segments(&b64(&header), &b64(b"{\"iss\":\"\xff\"}"), sign);
    cases.push(("payload not UTF-8".to_owned(), token, "malformed_token"));
    assert_refused(cases);
}

#[test]
fn claims_that_do_not_hold() {
    let table: [(&str, &[Value]); 9] = [
        (
            "token_expired",
            &[
                json!({"exp": NOW - 60}),
                json!({"exp": NOW - 100_000}),
                json!({"exp": 0}),
                json!({"exp": (NOW - 60) as f64 + 0.9}),
            ],
        ),
        (
            "token_not_yet_valid",
            &[
                json!({"nbf": NOW + 61}),
                json!({"iat": NOW + 61}),
                json!({"iat": NOW + 61, "nbf": NOW - 5}),
            ],
        ),
        (
            "malformed_claims",
            &[
                json!({"exp": null}),
                json!({"exp": (NOW + 600).to_string()}),
                json!({"exp": -1}),
                json!({"exp": -1e300}),
                json!({"exp": 1e300}),
                json!({"exp": u64::MAX}),
                json!({"exp": (NOW + 600) * 1000}),
                json!({"exp": [NOW + 600]}),
                json!({"exp": {"value": NOW + 600}}),
                json!({"exp": true}),
                json!({"nbf": "0"}),
                json!({"nbf": -1}),
                json!({"iat": u64::MAX}),
            ],
        ),
        (
            "wrong_audience",
            &[
                json!({"aud": null}),
                json!({"aud": "other"}),
                json!({"aud": "Penstock"}),
                json!({"aud": "penstock "}),
                json!({"aud": ""}),
                json!({"aud": []}),
                json!({"aud": ["other", "penstock.example"]}),
            ],
        ),
        (
            "malformed_claims",
            &[
                json!({"aud": 7}),
                json!({"aud": {"penstock": true}}),
                json!({"aud": [["penstock"]]}),
                json!({"aud": ["penstock", 7]}),
            ],
        ),
        (
            "unknown_issuer",
            &[
                json!({"iss": null}),
                json!({"iss": "https://evil.example"}),
                json!({"iss": format!("{ISSUER}/")}),
                json!({"iss": format!("{ISSUER}.evil.example")}),
                json!({"iss": ISSUER.to_uppercase()}),
                json!({"iss": [ISSUER]}),
                json!({"iss": ""}),
                json!({"iss": format!("{ISSUER}\u{0}")}),
            ],
        ),
        (
            "malformed_claims",
            &[
                json!({"sub": null}),
                json!({"sub": ""}),
                json!({"sub": 7}),
                json!({"sub": ["ada"]}),
                json!({"sub": "a\nb"}),
                json!({"sub": "x".repeat(513)}),
            ],
        ),
        (
            "malformed_claims",
            &[
                json!({"groups": [["admin"]]}),
                json!({"groups": ["a", ["b", ["c"]]]}),
                json!({"groups": {"admin": true}}),
                json!({"groups": [{"name": "admin"}]}),
                json!({"groups": 7}),
                json!({"groups": ["a", 7]}),
                json!({"groups": [""]}),
                json!({"groups": ["g".repeat(257)]}),
                json!({"groups": vec!["g"; 1025]}),
            ],
        ),
        (
            "malformed_claims",
            &[json!({"jti": 7}), json!({"sid": ""}), json!({"azp": ["a"]})],
        ),
    ];
    let mut cases = Vec::new();
    for (code, changes) in table {
        for change in changes {
            let token = es256(&header_with(json!({})), &claims_with(change.clone()));
            let name: String = change.to_string().chars().take(60).collect();
            cases.push((name, token, code));
        }
    }
    assert_refused(cases);
}

#[test]
fn tokens_for_another_purpose() {
    let mut cases = Vec::new();
    for name in [
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "JOSE",
        "JWE",
        "",
        "jwt2",
        "at+jwt;x",
        "id+jwt",
        "application/logout+jwt",
        "application/x/at+jwt",
    ] {
        let token = es256(&header_with(json!({"typ": name})), &claims());
        cases.push((format!("typ {name:?}"), token, "wrong_token_type"));
    }
    let token = es256(&header_with(json!({"typ": ["JWT"]})), &claims());
    cases.push(("typ in an array".to_owned(), token, "malformed_token"));
    assert_refused(cases);

    let mut authenticator = authenticator();
    for name in [
        "JWT",
        "jwt",
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "application/jwt",
    ] {
        let token = es256(&header_with(json!({"typ": name})), &claims());
        assert_eq!(
            present(&mut authenticator, &token).as_deref(),
            Ok("ada"),
            "{name}"
        );
    }
    let token = es256(&json!({"alg": "ES256", "kid": "p256-1"}), &claims());
    assert_eq!(
        present(&mut authenticator, &token).as_deref(),
        Ok("ada"),
        "no typ"
    );
}

#[test]
fn size_is_bounded() {
    let sized = |filler: usize| {
        es256(
            &header_with(json!({})),
            &claims_with(json!({"filler": "x".repeat(filler)})),
        )
    };
    // Three bytes of filler are four characters of token, so every fourth size is met.
    let fits = (0..)
        .map(|filler| sized(5500 + filler))
        .find(|t| t.len() > TOKEN_BYTES_MAX - 4);
    let fits = fits.expect("grows");
    assert!(fits.len() <= TOKEN_BYTES_MAX, "{}", fits.len());
    assert_eq!(present(&mut authenticator(), &fits).as_deref(), Ok("ada"));
    assert_refused(vec![
        (
            "a signed token too long".to_owned(),
            sized(6200),
            "token_too_large",
        ),
        (
            "long nonsense".to_owned(),
            "A".repeat(TOKEN_BYTES_MAX + 1),
            "token_too_large",
        ),
        (
            "very long nonsense".to_owned(),
            "A".repeat(1 << 20),
            "token_too_large",
        ),
    ]);
}
