//! Logout tokens: an identity provider says that somebody's login has ended (OpenID Connect
//! Back-Channel Logout 1.0, section 2.6).
//!
//! Validated as an access token is, up to and including its signature, and then: `aud` names us,
//! `iat` is recent, `exp` is not over, `jti` is there, `events` has the one member that makes it a
//! logout, `nonce` is absent (an ID token has one, and must not pass for this), and `sub`, `sid` or
//! both say who. That a `jti` is not used twice is for the caller to see to.

use super::authenticator::{Said, read, verify_signature};
use super::compact::Compact;
use super::error::{AuthError, Fault, NOT_A_LOGOUT};
use super::header::TokenTypes;
use super::json::{Json, Object};
use super::shared::IdentityShared;

/// How long after it was made a logout token is taken, in seconds; beyond it, it is a replay whose
/// `jti` may have been forgotten.
const AGE_MAX_S: u64 = 300;
/// The member of `events` that makes a token a logout.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A login that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// The issuer's URL.
    pub issuer: String,
    /// Whose logins have ended: that one, or all of this subject's when there is no session.
    pub subject: Option<String>,
    /// The login session that has ended.
    pub session: Option<String>,
    /// The token's own id, by which a replay is known.
    pub token_id: String,
    /// When it was made: tokens of the subject's that are newer belong to a later login.
    pub issued_unix: u64,
    /// Until when the token would be taken, and its id must be remembered.
    pub expires_unix: u64,
}

/// Verifies a logout token.
///
/// # Errors
/// Why it is none. When the error has a `refresh`, wait for it within a bound and ask once more.
pub fn verify_logout(
    shared: &IdentityShared,
    token: &[u8],
    now_unix: u64,
) -> Result<Logout, AuthError> {
    let token = Compact::parse(token)?;
    let providers = shared.providers();
    let Said {
        header,
        claims,
        issuer,
        ..
    } = read(&providers, &token)?;
    header.check_type(&TokenTypes::new(&[
        "logout+jwt".to_owned(),
        "JWT".to_owned(),
    ]))?;
    verify_signature(issuer, &token, &header, now_unix)?;
    // Times and audience by the issuer's own rules; the subject claim is always `sub` here.
    let (issued_unix, expires_unix) = issuer.rules.logout_times(&claims, now_unix)?;
    if issued_unix == 0 || now_unix > issued_unix.saturating_add(AGE_MAX_S) {
        return Err(NOT_A_LOGOUT.into());
    }
    let (subject, session) = who(&claims)?;
    Ok(Logout {
        issuer: issuer.rules.issuer.clone(),
        subject,
        session,
        token_id: identifier(&claims, "jti")?.ok_or(NOT_A_LOGOUT)?,
        issued_unix,
        expires_unix: expires_unix.min(issued_unix + AGE_MAX_S),
    })
}

/// Who has logged out, where the claims are those of a logout.
fn who(claims: &Object) -> Result<(Option<String>, Option<String>), Fault> {
    let is_logout = match claims.get("events") {
        Some(Json::Object(events)) => matches!(events.get(EVENT), Some(Json::Object(_))),
        _ => false,
    };
    if !is_logout || claims.contains_key("nonce") {
        return Err(NOT_A_LOGOUT);
    }
    match (identifier(claims, "sub")?, identifier(claims, "sid")?) {
        (None, None) => Err(NOT_A_LOGOUT),
        who => Ok(who),
    }
}

fn identifier(claims: &Object, name: &str) -> Result<Option<String>, Fault> {
    match claims.get(name) {
        None => Ok(None),
        Some(Json::String(text)) if crate::cutoff::is_text(text) => Ok(Some(text.clone())),
        Some(_) => Err(NOT_A_LOGOUT),
    }
}
