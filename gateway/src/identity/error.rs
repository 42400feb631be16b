//! Why a caller was not let in: one table of refusals, each with its status, its stable code and a
//! sentence that a developer can act on.
//!
//! The sentences never say what exists: no issuer, audience, key id or subject is named. Statuses
//! are 401, or 503 when the fault is the identity provider's and the same token may work later.

use std::fmt;

use super::gate::RefreshWait;

/// A refusal, ready to be put in an error body of the API addressed.
pub struct AuthError {
    /// 401, or 503 when the provider's keys are not available.
    pub status: u16,
    /// Stable, for programs.
    pub code: &'static str,
    /// For the developer who gets it.
    pub message: &'static str,
    /// The value of `WWW-Authenticate` (RFC 6750, section 3); absent with 503.
    pub www_authenticate: Option<String>,
    /// Present when fresh keys may change the answer: wait for it, within a bound, then
    /// authenticate once more.
    pub refresh: Option<RefreshWait>,
}

/// One row of the table. `Copy`, so that checks return it without allocating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: &'static str,
    /// The `error` of RFC 6750, section 3.1; none when no credential was presented.
    challenge: Option<&'static str>,
}

/// The protection space named in every challenge.
const REALM: &str = "penstock";

/// Declares the rows and, for the tests, the list of all of them.
macro_rules! faults {
    ($($name:ident = $status:literal $code:literal $challenge:expr, $message:literal;)*) => {
        $(pub(super) const $name: Fault = Fault {
            status: $status, code: $code, message: $message, challenge: $challenge,
        };)*
        #[cfg(test)]
        const ALL: &[Fault] = &[$($name),*];
    };
}

const INVALID_TOKEN: Option<&str> = Some("invalid_token");
const INVALID_REQUEST: Option<&str> = Some("invalid_request");

faults! {
    MISSING_CREDENTIAL = 401 "missing_credential" None,
        "No credential was sent. Send a token of your identity provider as \
         'Authorization: Bearer <token>' (most SDKs call it the API key).";
    MALFORMED_CREDENTIAL = 401 "malformed_credential" INVALID_REQUEST,
        "The Authorization header is not of the form 'Bearer <token>'.";
    AMBIGUOUS_CREDENTIAL = 401 "ambiguous_credential" INVALID_REQUEST,
        "More than one credential was sent. Send exactly one, in one header.";
    TOKEN_TOO_LARGE = 401 "token_too_large" INVALID_TOKEN,
        "The token is longer than 8 KiB. Ask for a token with fewer claims or groups.";
    NOT_A_TOKEN = 401 "malformed_token" INVALID_TOKEN,
        "The credential is not a signed JSON Web Token: three base64url segments joined by dots. \
         A vendor's API key does not work here; send a token of your identity provider.";
    ENCRYPTED_TOKEN = 401 "malformed_token" INVALID_TOKEN,
        "The token is encrypted (five segments). Ask your identity provider for a signed token.";
    BAD_BASE64 = 401 "malformed_token" INVALID_TOKEN,
        "A segment of the token is not canonical base64url without padding. It may have been \
         truncated or changed on the way.";
    BAD_JSON = 401 "malformed_token" INVALID_TOKEN,
        "The header or the payload of the token is not a JSON object with unique names, shallow \
         enough and in UTF-8.";
    BAD_HEADER = 401 "malformed_token" INVALID_TOKEN,
        "The token's header has a member of the wrong type ('alg', 'kid' and 'typ' are strings, \
         and 'alg' is required).";
    UNSUPPORTED_HEADER = 401 "unsupported_header" INVALID_TOKEN,
        "The token's header asks for something that is not accepted: critical extensions, an \
         unencoded payload, or a key carried by the token itself.";
    UNSUPPORTED_ALGORITHM = 401 "unsupported_algorithm" INVALID_TOKEN,
        "The token's signature algorithm is not accepted for this issuer and key. Tokens are \
         signed with RS, PS, ES (256, 384) or EdDSA, never unsigned, never with a shared secret.";
    WRONG_TOKEN_TYPE = 401 "wrong_token_type" INVALID_TOKEN,
        "The token's 'typ' says that it is for another purpose. Send an access token.";
    NO_ISSUER = 401 "unknown_issuer" INVALID_TOKEN,
        "The token has no 'iss' claim, so nobody can be asked about it.";
    UNKNOWN_ISSUER = 401 "unknown_issuer" INVALID_TOKEN,
        "The token's issuer is not accepted here. Check which identity provider issued it.";
    MISSING_KEY_ID = 401 "missing_key_id" INVALID_TOKEN,
        "The token's header has no 'kid', and its issuer has several keys that it could be \
         signed with.";
    UNKNOWN_KEY = 401 "unknown_key" INVALID_TOKEN,
        "The token is signed with a key that its issuer does not publish. Get a new token; if the \
         provider has just changed its keys, try again in a few seconds.";
    BAD_SIGNATURE = 401 "bad_signature" INVALID_TOKEN,
        "The token's signature does not fit. It was changed, truncated, or signed by someone else.";
    MALFORMED_TIME = 401 "malformed_claims" INVALID_TOKEN,
        "The token needs 'exp', and 'exp', 'nbf' and 'iat' are numbers of seconds since 1970.";
    MALFORMED_AUDIENCE = 401 "malformed_claims" INVALID_TOKEN,
        "The token's 'aud' is neither a string nor an array of strings.";
    MALFORMED_SUBJECT = 401 "malformed_claims" INVALID_TOKEN,
        "The token does not say whose it is: its subject claim is missing, empty, too long, or \
         not printable text.";
    MALFORMED_IDENTIFIER = 401 "malformed_claims" INVALID_TOKEN,
        "One of the token's claims 'jti', 'sid', 'azp' or 'client_id' is not a short printable \
         string.";
    MALFORMED_GROUPS = 401 "malformed_claims" INVALID_TOKEN,
        "The token's groups claim is neither a string nor an array of short printable strings.";
    TOO_MANY_GROUPS = 401 "malformed_claims" INVALID_TOKEN,
        "The token carries more than 1024 groups. Ask for a token with only the groups that \
         matter here.";
    TOKEN_EXPIRED = 401 "token_expired" INVALID_TOKEN,
        "The token has expired. Get a new one from your identity provider.";
    TOKEN_NOT_YET_VALID = 401 "token_not_yet_valid" INVALID_TOKEN,
        "The token is not valid yet ('nbf' or 'iat' is in the future). Check the clocks.";
    WRONG_AUDIENCE = 401 "wrong_audience" INVALID_TOKEN,
        "The token was issued for another service ('aud'). Ask for one for this gateway.";
    REVOKED = 401 "revoked" INVALID_TOKEN,
        "This access was revoked. If a new login does not give it back, ask the operator of this \
         gateway.";
    NOT_A_LOGOUT = 401 "not_a_logout" INVALID_TOKEN,
        "This is no logout token that is taken: it needs a recent 'iat', a 'jti', the logout event \
         in 'events', 'sub' or 'sid', and no 'nonce'.";
    MALFORMED_ISSUED_KEY = 401 "malformed_key" INVALID_TOKEN,
        "The key is mistyped or cut short: its checksum does not fit. Copy all of it again.";
    UNKNOWN_ISSUED_KEY = 401 "key_not_known" INVALID_TOKEN,
        "There is no such key here. It may be of another gateway, or have ended long ago.";
    ISSUED_KEY_EXPIRED = 401 "key_expired" INVALID_TOKEN,
        "The key has expired, or was replaced. Ask its owner for the new one.";
    INACTIVE_TOKEN = 401 "token_not_active" INVALID_TOKEN,
        "The issuer of this token says that it is not active: it has expired, was revoked, or was \
         never issued. Get a new one from your identity provider.";
    NOT_ANSWERED = 503 "identity_provider_unavailable" None,
        "The issuer of this token could not be asked about it. Nothing is known to be wrong with \
         your token: try again later, or tell the operator of this gateway.";
    TOO_MANY_QUESTIONS = 503 "identity_provider_busy" None,
        "The issuer of this token is being asked about too many others. Try again in a moment.";
    PROVIDER_UNAVAILABLE = 503 "identity_provider_unavailable" None,
        "The keys of the token's issuer cannot be had or are too old to trust. Nothing is wrong \
         with your token: try again later, or tell the operator of this gateway.";
}

// === impl Fault ===

impl Fault {
    fn www_authenticate(self) -> Option<String> {
        if self.status != 401 {
            return None;
        }
        Some(match self.challenge {
            None => format!("Bearer realm=\"{REALM}\""),
            Some(error) => {
                let message = self.message;
                format!(
                    "Bearer realm=\"{REALM}\", error=\"{error}\", error_description=\"{message}\""
                )
            }
        })
    }

    pub(super) fn with_refresh(self, refresh: Option<RefreshWait>) -> AuthError {
        AuthError {
            status: self.status,
            code: self.code,
            message: self.message,
            www_authenticate: self.www_authenticate(),
            refresh,
        }
    }
}

// === impl AuthError ===

impl AuthError {
    /// The caller is known, and cut off.
    #[must_use]
    pub fn revoked() -> Self {
        REVOKED.into()
    }
}

impl From<Fault> for AuthError {
    fn from(fault: Fault) -> Self {
        fault.with_refresh(None)
    }
}

impl fmt::Debug for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthError")
            .field("status", &self.status)
            .field("code", &self.code)
            .field("refresh", &self.refresh.is_some())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for AuthError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_challenge_is_a_valid_header_value() {
        for fault in ALL {
            // RFC 6750, section 3: no quote, no backslash, only printable ASCII.
            assert!(
                fault
                    .message
                    .bytes()
                    .all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
                "{}: {}",
                fault.code,
                fault.message
            );
            let error = AuthError::from(*fault);
            assert_eq!(
                error.www_authenticate.is_some(),
                error.status == 401,
                "{}",
                fault.code
            );
            if let Some(value) = error.www_authenticate {
                assert!(value.starts_with("Bearer realm=\""), "{value}");
            }
        }
    }

    #[test]
    fn codes_are_stable_snake_case() {
        for fault in ALL {
            assert!(
                fault
                    .code
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            assert!(matches!(fault.status, 401 | 503));
        }
    }

    #[test]
    fn no_credential_is_challenged_without_an_error() {
        let error = AuthError::from(MISSING_CREDENTIAL);
        assert_eq!(
            error.www_authenticate.as_deref(),
            Some("Bearer realm=\"penstock\"")
        );
    }
}
