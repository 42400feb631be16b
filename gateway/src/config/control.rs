//! `[control]` beyond its socket: who may be an operator from elsewhere, and how they sign in.

use std::net::SocketAddr;
use std::path::PathBuf;

use reqwest::Url;
use serde::Deserialize;

use super::ControlSection;

/// Connections to the control API's port that one address may have unless something else is said: a
/// quarter of the places there are.
pub(crate) const CONNECTIONS_PER_ADDRESS: usize = 32;

/// `[control.roles]`: which groups of an identity provider's tokens give which role. A role
/// includes those before it: whoever administers may decide, and whoever decides may look.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RoleGroups {
    /// See everything, change nothing.
    pub viewer: Vec<String>,
    /// Decide on what is held.
    pub approver: Vec<String>,
    /// Revoke, reload, look after keys.
    pub admin: Vec<String>,
}

/// `[[control.local]]`: the person behind a user id of this machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LocalPerson {
    /// The user id, as the kernel tells it of the other end of the control socket.
    pub uid: u32,
    /// Name or URL of their issuer; not needed where only one is configured.
    pub issuer: Option<String>,
    /// Their subject, as the issuer's tokens name them.
    pub subject: String,
    /// Their groups, for deciding on what is held.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// `[control.login]`: signing in to the console at an identity provider, by OpenID Connect's code
/// flow with PKCE.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LoginSection {
    /// Name or URL of an `[[issuer]]`; not needed where only one is configured.
    pub issuer: Option<String>,
    /// What the provider knows the console as.
    pub client_id: String,
    /// A file with the client's secret; without it the console is a public client.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for beside `openid`: whatever brings the groups into the ID token.
    #[serde(default)]
    pub scopes: Vec<String>,
}

// === impl ControlSection ===

impl ControlSection {
    /// What links to the console begin with, without a slash at the end: as configured, else by
    /// the bound address. `None` where the console cannot be reached over TCP.
    pub fn url_at(&self, bound: Option<SocketAddr>) -> Option<String> {
        let bound = bound?;
        let scheme = match self.tls {
            Some(_) => "https",
            None => "http",
        };
        let url = self.url.as_deref().map(|url| url.trim_end_matches('/'));
        Some(url.map_or_else(|| format!("{scheme}://{bound}"), str::to_owned))
    }

    /// What can be checked without starting.
    pub(super) fn validate(&self, issuers: &[(String, String)]) -> Result<(), String> {
        let say = |reason: &str| Err(format!("[control] {reason}"));
        let Some(listen) = self.listen else {
            for (given, key) in [
                (self.tls.is_some(), "tls"),
                (self.url.is_some(), "url"),
                (self.login.is_some(), "login"),
            ] {
                if given {
                    return say(&format!("`{key}` is about `listen`, which is absent"));
                }
            }
            return self.validate_local(issuers);
        };
        if self.tls.is_none() && !listen.ip().is_loopback() {
            return say(
                "`listen` is no loopback address, so tokens would travel in the clear: add [control.tls] \
                 with `certificate` and `key`",
            );
        }
        if self.connections_per_address == 0 {
            return say("`connections_per_address` must be at least 1");
        }
        if let Some(url) = &self.url {
            let parsed = Url::parse(url).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.host_str().is_some()
                    && matches!(url.path(), "" | "/")
                    && url.query().is_none()
                    && url.fragment().is_none()
            });
            if parsed.is_none() {
                return say(
                    "`url` must be as \"https://gateway.example.com:9443\", without a path",
                );
            }
        }
        if let Some(login) = &self.login {
            crate::cutoff::resolve_issuer(login.issuer.as_deref(), issuers)
                .map_err(|error| format!("[control.login] `issuer`: {error}"))?;
            if login.client_id.is_empty() {
                return Err("[control.login] `client_id` is empty".to_owned());
            }
        }
        self.validate_local(issuers)
    }

    fn validate_local(&self, issuers: &[(String, String)]) -> Result<(), String> {
        for (index, person) in self.local.iter().enumerate() {
            let uid = person.uid;
            crate::cutoff::resolve_issuer(person.issuer.as_deref(), issuers)
                .map_err(|error| format!("[[control.local]] uid {uid}: `issuer`: {error}"))?;
            if person.subject.is_empty() {
                return Err(format!("[[control.local]] uid {uid}: `subject` is empty"));
            }
            if self.local[..index].iter().any(|other| other.uid == uid) {
                return Err(format!("[[control.local]] uid {uid} stands there twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    fn section(text: &str) -> Result<(), String> {
        let section: ControlSection = toml::from_str(text).map_err(|it| it.to_string())?;
        section.validate(&[("dev".to_owned(), "https://dev.example".to_owned())])
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_write() {
        let tls = "[tls]\ncertificate = \"c\"\nkey = \"k\"\n";
        let good = [
            String::new(),
            "listen = \"127.0.0.1:9443\"".to_owned(),
            "listen = \"[::1]:0\"\nurl = \"https://gw.example/\"".to_owned(),
            format!("listen = \"0.0.0.0:9443\"\n{tls}"),
            "listen = \"127.0.0.1:1\"\n[login]\nclient_id = \"c\"".to_owned(),
            "[[local]]\nuid = 1\nsubject = \"ada\"\n[[local]]\nuid = 2\nsubject = \"bob\""
                .to_owned(),
        ];
        for text in good {
            assert_eq!(section(&text), Ok(()), "{text}");
        }
        for (text, part) in [
            ("listen = \"0.0.0.0:9443\"", "in the clear"),
            (tls, "`tls` is about `listen`"),
            ("url = \"https://a\"", "`url` is about"),
            (
                "listen = \"127.0.0.1:1\"\nurl = \"https://a/b\"",
                "without a path",
            ),
            (
                "listen = \"127.0.0.1:1\"\nconnections_per_address = 0",
                "at least 1",
            ),
            (
                "listen = \"127.0.0.1:1\"\nurl = \"ftp://a\"",
                "without a path",
            ),
            (
                "listen = \"127.0.0.1:1\"\n[login]\nclient_id = \"\"",
                "is empty",
            ),
            (
                "listen = \"127.0.0.1:1\"\n[login]\nclient_id = \"c\"\nissuer = \"x\"",
                "`issuer`",
            ),
            ("[[local]]\nuid = 1\nsubject = \"\"", "`subject` is empty"),
            (
                "[[local]]\nuid = 1\nsubject = \"a\"\n[[local]]\nuid = 1\nsubject = \"b\"",
                "twice",
            ),
            (
                "[[local]]\nuid = 1\nsubject = \"a\"\nissuer = \"x\"",
                "`issuer`",
            ),
        ] {
            let reason = section(text).expect_err(text);
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }

    #[test]
    fn links_begin_with_what_is_configured_or_bound() {
        let bound = Some("127.0.0.1:7".parse().expect("an address"));
        let mut section = ControlSection {
            key_lifetime_max: Span::secs(1),
            ..Default::default()
        };
        assert_eq!(section.url_at(None), None);
        assert_eq!(section.url_at(bound).as_deref(), Some("http://127.0.0.1:7"));
        section.url = Some("https://gw.example/".to_owned());
        assert_eq!(section.url_at(bound).as_deref(), Some("https://gw.example"));
    }
}
