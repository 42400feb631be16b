//! The claims of a token, held against the rules of its issuer (RFC 7519, section 4; RFC 9068).
//!
//! Called only after the signature was verified, so a refusal here tells nothing to somebody who
//! cannot sign. Everything that goes on into records and permissions is bounded and printable.

use super::error::{
    Fault, MALFORMED_AUDIENCE, MALFORMED_GROUPS, MALFORMED_IDENTIFIER, MALFORMED_SUBJECT,
    MALFORMED_TIME, TOKEN_EXPIRED, TOKEN_NOT_YET_VALID, TOO_MANY_GROUPS, WRONG_AUDIENCE,
};
use super::json::{Json, Object};
use super::principal::Principal;

/// The most groups that a token may carry.
pub(super) const GROUPS_MAX: usize = 1024;
/// The longest group name, in bytes.
pub(super) const GROUP_BYTES_MAX: usize = 256;
/// The longest subject, token id, session id or client id, in bytes.
pub(super) const IDENTIFIER_BYTES_MAX: usize = 512;
/// The last second of the year 9999. A later time is a unit mistake (milliseconds), not a date.
const TIME_MAX_UNIX: u64 = 253_402_300_799;

/// What an issuer's tokens must say.
#[derive(Clone, Debug)]
pub(super) struct ClaimRules {
    pub(super) issuer: String,
    pub(super) audiences: Vec<String>,
    /// Whom logout tokens are for; `audiences` where nothing else is said.
    pub(super) logout_audiences: Option<Vec<String>>,
    /// A claim's name, or a dotted path into nested claims.
    pub(super) subject_claim: String,
    pub(super) groups_claim: String,
    /// Put before every group, so that two issuers' groups of one name stay apart.
    pub(super) groups_prefix: String,
    /// The claim that tells the issuer's tenants apart, if it has several.
    pub(super) tenant_claim: Option<String>,
    pub(super) leeway_s: u64,
}

/// An accepted token: who it identifies, and from when without leeway.
pub(super) struct Accepted {
    pub(super) principal: Principal,
    pub(super) not_before_unix: u64,
}

// === impl ClaimRules ===

impl ClaimRules {
    pub(super) fn accept(&self, claims: &Object, now_unix: u64) -> Result<Accepted, Fault> {
        // The issuer was chosen by this very claim; comparing again keeps that from being assumed.
        debug_assert_eq!(
            claims.get("iss").and_then(Json::as_str),
            Some(self.issuer.as_str())
        );
        let (not_before_unix, expires_unix) = self.check_times(claims, now_unix)?;
        check_audience(claims, &self.audiences)?;
        let subject = self.subject(claims)?;
        let groups = self.groups(claims)?;
        let mut principal = Principal::oidc(self.issuer.clone(), subject, groups, expires_unix);
        if let Some(tenant) = self.tenant(claims)? {
            principal.tenant.push('\n');
            principal.tenant.push_str(tenant);
        }
        principal.issued_unix = time(claims, "iat")?.unwrap_or(0);
        principal.token_id = identifier(claims, "jti")?;
        principal.session_id = identifier(claims, "sid")?;
        principal.client_id = match identifier(claims, "azp")? {
            Some(azp) => Some(azp),
            None => identifier(claims, "client_id")?,
        };
        Ok(Accepted {
            principal,
            not_before_unix,
        })
    }

    /// Holds times and audience of a logout token against the rules; when it was made, 0 where it
    /// does not say, and when it ends.
    pub(super) fn logout_times(&self, claims: &Object, now_unix: u64) -> Result<(u64, u64), Fault> {
        let (_, expires) = self.check_times(claims, now_unix)?;
        let audiences = self.logout_audiences.as_ref().unwrap_or(&self.audiences);
        check_audience(claims, audiences)?;
        Ok((time(claims, "iat")?.unwrap_or(0), expires))
    }

    fn check_times(&self, claims: &Object, now_unix: u64) -> Result<(u64, u64), Fault> {
        let expires = time(claims, "exp")?.ok_or(MALFORMED_TIME)?;
        let not_before = time(claims, "nbf")?.unwrap_or(0);
        let issued = time(claims, "iat")?.unwrap_or(0);
        if now_unix >= expires.saturating_add(self.leeway_s) {
            return Err(TOKEN_EXPIRED);
        }
        let not_before = not_before.max(issued);
        if not_before > now_unix.saturating_add(self.leeway_s) {
            return Err(TOKEN_NOT_YET_VALID);
        }
        Ok((not_before, expires))
    }

    fn subject(&self, claims: &Object) -> Result<String, Fault> {
        let subject = find(claims, &self.subject_claim).and_then(Json::as_str);
        match subject {
            Some(text) if is_name(text, IDENTIFIER_BYTES_MAX) => Ok(text.to_owned()),
            _ => Err(MALFORMED_SUBJECT),
        }
    }

    fn tenant<'c>(&self, claims: &'c Object) -> Result<Option<&'c str>, Fault> {
        let Some(path) = &self.tenant_claim else {
            return Ok(None);
        };
        match find(claims, path) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) if is_name(text, IDENTIFIER_BYTES_MAX) => Ok(Some(text)),
            Some(_) => Err(MALFORMED_IDENTIFIER),
        }
    }

    fn groups(&self, claims: &Object) -> Result<Vec<String>, Fault> {
        let items: Vec<&str> = match find(claims, &self.groups_claim) {
            None | Some(Json::Null) => return Ok(Vec::new()),
            Some(Json::Array(items)) => items
                .iter()
                .map(|item| item.as_str().ok_or(MALFORMED_GROUPS))
                .collect::<Result<_, _>>()?,
            // RFC 6749, section 3.3: scopes are one string, with spaces between them.
            Some(Json::String(scopes)) if self.groups_claim == "scope" => {
                scopes.split_ascii_whitespace().collect()
            }
            Some(Json::String(group)) => vec![group],
            Some(_) => return Err(MALFORMED_GROUPS),
        };
        if items.len() > GROUPS_MAX {
            return Err(TOO_MANY_GROUPS);
        }
        let mut seen = std::collections::HashSet::with_capacity(items.len());
        let mut groups = Vec::with_capacity(items.len());
        for group in items {
            if !is_name(group, GROUP_BYTES_MAX) {
                return Err(MALFORMED_GROUPS);
            }
            if seen.insert(group) {
                groups.push(format!("{}{group}", self.groups_prefix));
            }
        }
        Ok(groups)
    }
}

/// One of the token's audiences is one of these.
fn check_audience(claims: &Object, audiences: &[String]) -> Result<(), Fault> {
    let ours = |audience: &str| audiences.iter().any(|own| own == audience);
    let found = match claims.get("aud") {
        None => false,
        Some(Json::String(audience)) => ours(audience),
        Some(Json::Array(items)) => {
            let mut found = false;
            for item in items {
                found |= ours(item.as_str().ok_or(MALFORMED_AUDIENCE)?);
            }
            found
        }
        Some(_) => return Err(MALFORMED_AUDIENCE),
    };
    if found { Ok(()) } else { Err(WRONG_AUDIENCE) }
}

/// Finds a claim by its name, or by a dotted path. Names may have dots themselves
/// (`https://example.com/groups`, a client id under `resource_access`), so at each level the
/// longest name that exists is taken.
fn find<'a>(object: &'a Object, path: &str) -> Option<&'a Json> {
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.')
        .find_map(|(dot, _)| match object.get(&path[..dot])? {
            Json::Object(inner) => find(inner, &path[dot + 1..]),
            _ => None,
        })
}

/// A NumericDate: seconds, possibly with a fraction, which is cut off.
fn time(claims: &Object, name: &str) -> Result<Option<u64>, Fault> {
    let seconds = match claims.get(name) {
        None => return Ok(None),
        Some(Json::Integer(seconds)) => *seconds,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the range is checked first, and the fraction is meant to be cut off"
        )]
        Some(Json::Number(seconds)) if (0.0..=TIME_MAX_UNIX as f64).contains(seconds) => {
            *seconds as u64
        }
        Some(_) => return Err(MALFORMED_TIME),
    };
    if seconds > TIME_MAX_UNIX {
        Err(MALFORMED_TIME)
    } else {
        Ok(Some(seconds))
    }
}

fn identifier(claims: &Object, name: &str) -> Result<Option<String>, Fault> {
    match claims.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if is_name(text, IDENTIFIER_BYTES_MAX) => Ok(Some(text.clone())),
        Some(_) => Err(MALFORMED_IDENTIFIER),
    }
}

/// Not empty, not too long, and without control characters, which would forge lines in a log.
fn is_name(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn rules() -> ClaimRules {
        ClaimRules {
            issuer: "https://idp.example".to_owned(),
            audiences: vec!["penstock".to_owned(), "second".to_owned()],
            logout_audiences: None,
            subject_claim: "sub".to_owned(),
            groups_claim: "groups".to_owned(),
            groups_prefix: String::new(),
            tenant_claim: None,
            leeway_s: 60,
        }
    }

    /// Good claims, with `extra` members (`"name":value,`) in place of the good ones of that name.
    fn accept_with(rules: &ClaimRules, replace: &[(&str, &str)]) -> Result<Accepted, &'static str> {
        let exp = (NOW + 600).to_string();
        let mut members = vec![
            ("iss", "\"https://idp.example\""),
            ("aud", "\"penstock\""),
            ("sub", "\"ada\""),
            ("exp", exp.as_str()),
        ];
        members.retain(|(name, _)| replace.iter().all(|(other, _)| other != name));
        members.extend(replace.iter().filter(|(_, value)| !value.is_empty()));
        let text: Vec<_> = members
            .iter()
            .map(|(n, v)| format!("\"{n}\":{v}"))
            .collect();
        let text = format!("{{{}}}", text.join(","));
        let claims = Json::parse_object(text.as_bytes()).expect("a test's JSON");
        rules.accept(&claims, NOW).map_err(|fault| fault.code)
    }

    fn code(replace: &[(&str, &str)]) -> &'static str {
        accept_with(&rules(), replace).map_or_else(|code| code, |_| "ok")
    }

    fn groups(path: &str, replace: &[(&str, &str)]) -> Result<Vec<String>, &'static str> {
        let rules = ClaimRules {
            groups_claim: path.to_owned(),
            ..rules()
        };
        accept_with(&rules, replace).map(|accepted| accepted.principal.groups)
    }

    #[test]
    fn times_have_edges() {
        let at = |seconds: i64| (i64::try_from(NOW).expect("small") + seconds).to_string();
        assert_eq!(code(&[("exp", &at(-59))]), "ok");
        assert_eq!(code(&[("exp", &at(-60))]), "token_expired");
        assert_eq!(code(&[("nbf", &at(60))]), "ok");
        assert_eq!(code(&[("nbf", &at(61))]), "token_not_yet_valid");
        assert_eq!(code(&[("iat", &at(60))]), "ok");
        assert_eq!(code(&[("iat", &at(61))]), "token_not_yet_valid");
        assert_eq!(code(&[("exp", &format!("{}.75", at(5)))]), "ok");
        for bad in [
            "",
            "null",
            "\"1700000600\"",
            "-1",
            "-0.5",
            "1e30",
            "253402300800",
            "[1]",
            "true",
        ] {
            assert_eq!(code(&[("exp", bad)]), "malformed_claims", "{bad}");
        }
        assert_eq!(code(&[("exp", "0")]), "token_expired");
        assert_eq!(code(&[("nbf", "\"x\"")]), "malformed_claims");
        assert_eq!(code(&[("iat", "1700000000000")]), "malformed_claims");
    }

    #[test]
    fn audiences() {
        assert_eq!(code(&[("aud", "[\"other\",\"second\"]")]), "ok");
        for wrong in [
            "",
            "\"other\"",
            "[]",
            "[\"other\"]",
            "\"penstock \"",
            "\"\"",
        ] {
            assert_eq!(code(&[("aud", wrong)]), "wrong_audience", "{wrong}");
        }
        for bad in [
            "7",
            "null",
            "{\"penstock\":1}",
            "[[\"penstock\"]]",
            "[\"penstock\",1]",
        ] {
            assert_eq!(code(&[("aud", bad)]), "malformed_claims", "{bad}");
        }
    }

    #[test]
    fn subjects_and_identifiers() {
        let long = format!("\"{}\"", "x".repeat(IDENTIFIER_BYTES_MAX + 1));
        for bad in [
            "",
            "\"\"",
            "7",
            "null",
            "[\"ada\"]",
            "\"a\\nb\"",
            long.as_str(),
        ] {
            assert_eq!(code(&[("sub", bad)]), "malformed_claims", "{bad}");
        }
        let accepted = accept_with(
            &rules(),
            &[
                ("jti", "\"t1\""),
                ("sid", "\"s1\""),
                ("azp", "\"app\""),
                ("client_id", "\"x\""),
            ],
        );
        let principal = accepted
            .map(|a| a.principal)
            .map_err(str::to_owned)
            .expect("good claims");
        assert_eq!(principal.token_id.as_deref(), Some("t1"));
        assert_eq!(principal.session_id.as_deref(), Some("s1"));
        assert_eq!(principal.client_id.as_deref(), Some("app"));
        for bad in ["7", "\"\"", "[]", long.as_str()] {
            assert_eq!(code(&[("jti", bad)]), "malformed_claims", "{bad}");
        }
        assert_eq!(code(&[("jti", "null")]), "ok");
    }

    #[test]
    fn groups_from_any_shape() {
        let list = |names: &[&str]| Ok(names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>());
        assert_eq!(groups("groups", &[]), list(&[]));
        assert_eq!(groups("groups", &[("groups", "null")]), list(&[]));
        assert_eq!(groups("groups", &[("groups", "\"a b\"")]), list(&["a b"]));
        assert_eq!(
            groups("groups", &[("groups", "[\"b\",\"a\",\"b\"]")]),
            list(&["b", "a"])
        );
        let nested = [("realm_access", "{\"roles\":[\"r\"]}")];
        assert_eq!(groups("realm_access.roles", &nested), list(&["r"]));
        let scopes = [("scope", "\"openid infer  embed infer\"")];
        assert_eq!(
            groups("scope", &scopes),
            list(&["openid", "infer", "embed"])
        );
        let dotted = [("https://example.com/groups", "[\"g\"]")];
        assert_eq!(groups("https://example.com/groups", &dotted), list(&["g"]));
        let client = [("resource_access", "{\"my.app\":{\"roles\":[\"c\"]}}")];
        assert_eq!(
            groups("resource_access.my.app.roles", &client),
            list(&["c"])
        );
        let not_an_object = [("realm_access", "[\"roles\"]")];
        assert_eq!(groups("realm_access.roles", &not_an_object), list(&[]));
    }

    #[test]
    fn groups_that_are_refused() {
        let long = format!("[\"{}\"]", "g".repeat(GROUP_BYTES_MAX + 1));
        let bad = [
            "7",
            "true",
            "{\"a\":1}",
            "[[\"a\"]]",
            "[\"a\",7]",
            "[\"\"]",
            "[\"a\\u0000\"]",
            "[{\"name\":\"a\"}]",
            long.as_str(),
        ];
        for value in bad {
            assert_eq!(
                groups("groups", &[("groups", value)]),
                Err("malformed_claims"),
                "{value}"
            );
        }
        let many: Vec<_> = (0..=GROUPS_MAX).map(|n| format!("\"{n}\"")).collect();
        let value = format!("[{}]", many.join(","));
        assert_eq!(
            groups("groups", &[("groups", &value)]),
            Err("malformed_claims")
        );
        let value = format!("[{}]", many[1..].join(","));
        assert_eq!(
            groups("groups", &[("groups", &value)]).map(|g| g.len()),
            Ok(GROUPS_MAX)
        );
    }

    #[test]
    fn a_claim_tells_tenants_apart() {
        let tenant = |path: Option<&str>, replace: &[(&str, &str)]| {
            let rules = ClaimRules {
                tenant_claim: path.map(str::to_owned),
                ..rules()
            };
            accept_with(&rules, replace).map(|accepted| accepted.principal.tenant)
        };
        let issuer = Ok("https://idp.example".to_owned());
        let named = Ok("https://idp.example\nacme".to_owned());
        assert_eq!(tenant(None, &[("org", "\"acme\"")]), issuer);
        assert_eq!(tenant(Some("org"), &[("org", "\"acme\"")]), named);
        assert_eq!(
            tenant(Some("org.id"), &[("org", "{\"id\":\"acme\"}")]),
            named
        );
        assert_eq!(tenant(Some("org"), &[]), issuer);
        assert_eq!(tenant(Some("org"), &[("org", "null")]), issuer);
        for bad in ["7", "\"\"", "[\"acme\"]", "\"a\\nb\""] {
            let refused = Err("malformed_claims");
            assert_eq!(tenant(Some("org"), &[("org", bad)]), refused, "{bad}");
        }
    }

    #[test]
    fn a_prefix_keeps_issuers_apart() {
        let rules = ClaimRules {
            groups_prefix: "ci:".to_owned(),
            ..rules()
        };
        let accepted = accept_with(&rules, &[("groups", "[\"admin\"]")]);
        assert_eq!(
            accepted.map(|a| a.principal.groups).ok(),
            Some(vec!["ci:admin".to_owned()])
        );
    }
}
