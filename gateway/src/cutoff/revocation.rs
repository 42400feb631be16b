//! One revocation: whom it cuts off, until when, why, and by whose word.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time::format_time;

/// The longest identifier, reason or name, in bytes; as long as a token's own may be.
pub const TEXT_BYTES_MAX: usize = 512;

/// Whom a revocation cuts off.
#[derive(Clone, Debug, Deserialize, Hash, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum Target {
    /// A person: every token that says so, and every key that they own.
    Subject {
        /// The issuer's URL.
        issuer: String,
        /// The subject, as the issuer's tokens name them.
        subject: String,
    },
    /// Every key that a person owns; their own tokens go on.
    Owner {
        /// The issuer's URL.
        issuer: String,
        /// The owner's subject.
        subject: String,
    },
    /// Every token that was issued to an application (`azp`, else `client_id`).
    Client {
        /// The issuer's URL.
        issuer: String,
        /// The application's id.
        client: String,
    },
    /// Every token of one login session (`sid`).
    Session {
        /// The issuer's URL.
        issuer: String,
        /// The session's id.
        session: String,
    },
    /// The logins of a person so far: every token that was issued up to a time. Later ones go on,
    /// and so do their keys.
    Logins {
        /// The issuer's URL.
        issuer: String,
        /// The subject, as the issuer's tokens name them.
        subject: String,
        /// Seconds since 1970.
        issued_up_to: u64,
    },
    /// One token (`jti`).
    Token {
        /// The issuer's URL.
        issuer: String,
        /// The token's id.
        token: String,
    },
    /// One key that this gateway has issued.
    Key {
        /// The key's id, not the key.
        key: String,
    },
}

/// Where a revocation came from.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The control API; kept in the gateway's state.
    Api,
    /// The watched file; gone when it no longer says so.
    File,
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Revocation {
    /// Names it, for lifting.
    pub id: String,
    /// Whom it cuts off.
    pub target: Target,
    /// Seconds since 1970 at which it ends; absent: for good.
    #[serde(with = "as_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<u64>,
    /// Why, for whoever reads the list.
    pub reason: String,
    /// Who revoked: the user id at the other end of the control socket, or the file.
    pub by: String,
    /// Where it came from.
    pub source: Source,
    /// When it was made.
    #[serde(with = "as_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub created: Option<u64>,
}

/// Whom to cut off, as a person says it: the issuer by its name or URL, or not at all where there
/// is only one.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// Name or URL of the issuer; not needed where only one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// A person: tokens and keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// All keys of a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// An application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// A login session (`sid`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The logins of a person up to now: their next login works, and so do their keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logins: Option<String>,
    /// One token (`jti`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// One key of this gateway, by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Why nobody is meant by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// None of the members, or more than one.
    #[error(
        "say exactly one of `subject`, `owner`, `client`, `session`, `logins`, `token` and `key`"
    )]
    NotOne,
    /// An issuer is needed.
    #[error("say which `issuer`: {0} are configured")]
    IssuerMissing(usize),
    /// No issuer has this name or URL.
    #[error("no issuer {0:?} is configured; give its name or its URL")]
    IssuerUnknown(String),
    /// A key's id names its issuer already.
    #[error("a `key` has no `issuer`")]
    KeyWithIssuer,
    /// Empty, too long, or with control characters.
    #[error("`{0}` must be 1 to {TEXT_BYTES_MAX} bytes of text without control characters")]
    NotText(&'static str),
}

// === impl Wanted ===

impl Wanted {
    /// The target, with the issuer looked up among those configured, given as (name, URL).
    ///
    /// # Errors
    /// When it is not exactly one target of one known issuer.
    pub fn target(&self, issuers: &[(String, String)]) -> Result<Target, TargetError> {
        let members = [
            ("subject", &self.subject),
            ("owner", &self.owner),
            ("client", &self.client),
            ("session", &self.session),
            ("logins", &self.logins),
            ("token", &self.token),
            ("key", &self.key),
        ];
        let mut said = members
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)));
        let (Some((name, value)), None) = (said.next(), said.next()) else {
            return Err(TargetError::NotOne);
        };
        if !is_text(&value) {
            return Err(TargetError::NotText(name));
        }
        let issuer = match (name, &self.issuer) {
            ("key", None) => String::new(),
            ("key", Some(_)) => return Err(TargetError::KeyWithIssuer),
            (_, named) => resolve_issuer(named.as_deref(), issuers)?,
        };
        let now = crate::exchange::unix_seconds();
        // The names above are the kinds.
        Target::from_parts(name, issuer, value, Some(now)).ok_or(TargetError::NotOne)
    }
}

/// The URL of the issuer that is meant, among those configured as (name, URL).
///
/// # Errors
/// When none is named and there is not exactly one, or no such is configured.
pub(crate) fn resolve_issuer(
    named: Option<&str>,
    issuers: &[(String, String)],
) -> Result<String, TargetError> {
    match (named, issuers) {
        (None, [(_, url)]) => Ok(url.clone()),
        (None, _) => Err(TargetError::IssuerMissing(issuers.len())),
        (Some(named), _) => issuers
            .iter()
            .find(|(name, url)| name == named || url == named)
            .map(|(_, url)| url.clone())
            .ok_or_else(|| TargetError::IssuerUnknown(named.to_owned())),
    }
}

/// One line of text, not empty and not too long.
pub(crate) fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

// === impl Target ===

impl Target {
    /// `subject`, `key`, …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Subject { .. } => "subject",
            Self::Owner { .. } => "owner",
            Self::Client { .. } => "client",
            Self::Session { .. } => "session",
            Self::Logins { .. } => "logins",
            Self::Token { .. } => "token",
            Self::Key { .. } => "key",
        }
    }

    /// The issuer's URL; empty for a key.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match self {
            Self::Subject { issuer, .. }
            | Self::Owner { issuer, .. }
            | Self::Client { issuer, .. }
            | Self::Session { issuer, .. }
            | Self::Logins { issuer, .. }
            | Self::Token { issuer, .. } => issuer,
            Self::Key { .. } => "",
        }
    }

    /// The identifier within the issuer.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::Subject { subject, .. }
            | Self::Owner { subject, .. }
            | Self::Logins { subject, .. } => subject,
            Self::Client { client, .. } => client,
            Self::Session { session, .. } => session,
            Self::Token { token, .. } => token,
            Self::Key { key } => key,
        }
    }

    /// Up to when tokens are concerned, of those that say so.
    #[must_use]
    pub fn issued_up_to(&self) -> Option<u64> {
        match self {
            Self::Logins { issued_up_to, .. } => Some(*issued_up_to),
            _ => None,
        }
    }

    /// A target from its parts, as the state keeps them; `None` for an unknown kind.
    #[must_use]
    pub fn from_parts(
        kind: &str,
        issuer: String,
        value: String,
        issued_up_to: Option<u64>,
    ) -> Option<Self> {
        Some(match kind {
            "subject" => Self::Subject {
                issuer,
                subject: value,
            },
            "owner" => Self::Owner {
                issuer,
                subject: value,
            },
            "client" => Self::Client {
                issuer,
                client: value,
            },
            "session" => Self::Session {
                issuer,
                session: value,
            },
            "token" => Self::Token {
                issuer,
                token: value,
            },
            "logins" => Self::Logins {
                issuer,
                subject: value,
                issued_up_to: issued_up_to?,
            },
            "key" => Self::Key { key: value },
            _ => return None,
        })
    }
}

mod as_time {
    //! Seconds since 1970 as RFC 3339 text.

    pub(super) fn serialize<S: serde::Serializer>(
        seconds: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match seconds {
            Some(seconds) => serializer.serialize_str(&super::format_time(*seconds)),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuers(names: &[&str]) -> Vec<(String, String)> {
        let url = |name: &&str| ((*name).to_owned(), format!("https://{name}.example"));
        names.iter().map(url).collect()
    }

    fn subject(issuer: Option<&str>) -> Wanted {
        Wanted {
            subject: Some("ada".to_owned()),
            issuer: issuer.map(str::to_owned),
            ..Wanted::default()
        }
    }

    #[test]
    fn the_issuer_is_found_by_name_by_url_or_because_it_is_the_only_one() {
        let one = issuers(&["corp"]);
        let two = issuers(&["corp", "ci"]);
        let expected = Target::Subject {
            issuer: "https://corp.example".to_owned(),
            subject: "ada".to_owned(),
        };
        assert_eq!(subject(None).target(&one), Ok(expected.clone()));
        assert_eq!(subject(Some("corp")).target(&two), Ok(expected.clone()));
        let by_url = subject(Some("https://corp.example"));
        assert_eq!(by_url.target(&two), Ok(expected));
        let unknown = subject(Some("x")).target(&two);
        assert_eq!(unknown, Err(TargetError::IssuerUnknown("x".to_owned())));
        let missing = subject(None).target(&two);
        assert_eq!(missing, Err(TargetError::IssuerMissing(2)));
    }

    #[test]
    fn exactly_one_is_meant() {
        let one = issuers(&["corp"]);
        assert_eq!(Wanted::default().target(&one), Err(TargetError::NotOne));
        let mut both = subject(None);
        both.token = Some("t".to_owned());
        assert_eq!(both.target(&one), Err(TargetError::NotOne));
        for bad in ["", "a\nb", &"x".repeat(TEXT_BYTES_MAX + 1)] {
            let wanted = Wanted {
                key: Some(bad.to_owned()),
                ..Wanted::default()
            };
            assert_eq!(wanted.target(&one), Err(TargetError::NotText("key")));
        }
    }

    #[test]
    fn a_target_survives_being_taken_apart() {
        for kind in [
            "subject", "owner", "client", "session", "logins", "token", "key",
        ] {
            let issuer = if kind == "key" { "" } else { "i" };
            let up_to = (kind == "logins").then_some(7);
            let parts = (issuer.to_owned(), "v".to_owned());
            let target = Target::from_parts(kind, parts.0, parts.1, up_to).unwrap();
            assert_eq!(target.issued_up_to(), up_to);
            assert_eq!(target.kind(), kind);
            assert_eq!((target.issuer(), target.value()), (issuer, "v"));
        }
        for kind in ["x", "logins"] {
            let none = Target::from_parts(kind, String::new(), String::new(), None);
            assert_eq!(none, None);
        }
    }
}
