//! The caller of a request, as the rest of the gateway sees them.
//!
//! A principal is made once per verified token and shared by reference on its core. It keeps what
//! permissions, the record and revocation need, and nothing else of the token: no name, no e-mail.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::issued::IssuedKey;

/// How the caller was identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// By a verified token of an OpenID Connect provider.
    Oidc,
    /// By a key that this gateway has issued to its owner.
    Key,
    /// Not at all: no credential was presented and `anonymous_groups` is configured.
    Anonymous,
}

/// Who is calling.
pub struct Principal {
    /// The `iss` of the token, equal to the configured issuer's `url`; empty when anonymous.
    pub issuer: String,
    /// The value of the configured subject claim; `anonymous` when anonymous.
    pub subject: String,
    /// Whose pseudonyms this caller's masked values get: the issuer, and behind a line feed the
    /// value of the configured tenant claim, if the token has it; empty when anonymous.
    pub tenant: String,
    /// Groups in the token's order, without duplicates, each with the issuer's prefix if any.
    pub groups: Vec<String>,
    /// The token's own id (`jti`), by which one token can be revoked.
    pub token_id: Option<String>,
    /// The login session (`sid`), by which all tokens of a session can be revoked.
    pub session_id: Option<String>,
    /// The application that got the token (`azp`, else `client_id`).
    pub client_id: Option<String>,
    /// The key of this gateway that was presented, by its id; absent with a token.
    pub key_id: Option<String>,
    /// When the token was issued, seconds since the epoch; 0 where it does not say.
    pub issued_unix: u64,
    /// When the token expires, seconds since the epoch; `u64::MAX` when anonymous.
    pub expires_unix: u64,
    /// How the caller was identified.
    pub kind: PrincipalKind,
    derived: RefCell<Option<Rc<dyn Any>>>,
}

// === impl Principal ===

impl Principal {
    /// The principal of a verified token, with nothing optional set.
    #[must_use]
    pub fn oidc(issuer: String, subject: String, groups: Vec<String>, expires_unix: u64) -> Self {
        Self {
            tenant: issuer.clone(),
            issuer,
            subject,
            groups,
            token_id: None,
            session_id: None,
            client_id: None,
            key_id: None,
            issued_unix: 0,
            expires_unix,
            kind: PrincipalKind::Oidc,
            derived: RefCell::new(None),
        }
    }

    /// Whoever presents this key: its owner, with what they gave it.
    pub(super) fn by_key(key: &IssuedKey) -> Self {
        let (issuer, subject) = (key.issuer.clone(), key.subject.clone());
        Self {
            tenant: key.tenant.clone(),
            key_id: Some(key.id.clone()),
            kind: PrincipalKind::Key,
            ..Self::oidc(issuer, subject, key.groups.clone(), key.expires_unix)
        }
    }

    /// The principal of callers without any credential.
    #[must_use]
    pub fn anonymous(groups: Vec<String>) -> Self {
        Self {
            issuer: String::new(),
            tenant: String::new(),
            subject: "anonymous".to_owned(),
            groups,
            token_id: None,
            session_id: None,
            client_id: None,
            key_id: None,
            issued_unix: 0,
            expires_unix: u64::MAX,
            kind: PrincipalKind::Anonymous,
            derived: RefCell::new(None),
        }
    }

    /// What [`Principal::set_derived`] stored last, if it is a `T`: a place for what the data path
    /// computes once per token, such as the permissions of these groups under one policy version.
    #[must_use]
    pub fn derived<T: 'static>(&self) -> Option<Rc<T>> {
        self.derived
            .borrow()
            .clone()
            .and_then(|value| value.downcast().ok())
    }

    /// Stores a value that lives as long as this principal, in place of the one before it.
    pub fn set_derived<T: 'static>(&self, value: Rc<T>) {
        *self.derived.borrow_mut() = Some(value);
    }

    /// Drops what was stored.
    pub fn forget_derived(&self) {
        *self.derived.borrow_mut() = None;
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("kind", &self.kind)
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .field("tenant", &self.tenant)
            .field("groups", &self.groups)
            .field("token_id", &self.token_id)
            .field("session_id", &self.session_id)
            .field("client_id", &self.client_id)
            .field("key_id", &self.key_id)
            .field("expires_unix", &self.expires_unix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_value_is_found_again_by_its_type() {
        let principal = Principal::anonymous(vec!["trial".to_owned()]);
        assert!(principal.derived::<u32>().is_none());
        principal.set_derived(Rc::new(7_u32));
        assert_eq!(principal.derived::<u32>().as_deref(), Some(&7));
        assert!(principal.derived::<String>().is_none());
        principal.set_derived(Rc::new("next".to_owned()));
        assert!(principal.derived::<u32>().is_none());
    }
}
