//! `[[issuer]]`: an identity provider whose tokens are accepted, as an operator writes it.
//!
//! [`IssuerConfig`] is the shape of the section; [`IssuerConfig::settle`] turns it into checked
//! values, so that whatever exists after start is valid.

use std::fmt;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;

use super::algorithm::{AlgorithmSet, SigningAlgorithm};
use super::claims::ClaimRules;
use super::error::{AuthError, BAD_JSON, UNKNOWN_ISSUER};
use super::gate::REFRESH_GAP_S;
use super::header::TokenTypes;
use super::introspection::{Asker, Endpoint, IntrospectionConfig};
use super::json::Json;
use super::principal::Principal;
use super::source::{KeySource, Place};
use crate::config::Span;

/// One `[[issuer]]` section.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// For people: logs, status, error reports at start.
    pub name: String,
    /// The `iss` of its tokens, exactly; also where discovery starts.
    pub url: String,
    /// A JWKS file in place of discovery, read again when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Where the JWKS is, in place of discovery.
    pub jwks_url: Option<String>,
    /// The `aud` values that are this gateway; a token needs one of them.
    pub audiences: Vec<String>,
    /// The `aud` values of its logout tokens: the clients that this gateway's `/logout` is
    /// registered for. `audiences` when absent.
    pub logout_audiences: Option<Vec<String>>,
    /// Accepted signature algorithms; all asymmetric ones when absent.
    pub algorithms: Option<Vec<String>>,
    /// The claim with the caller's groups, a dotted path into nested claims.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Put before each group of this issuer.
    #[serde(default)]
    pub groups_prefix: String,
    /// The claim with the caller's name, a dotted path into nested claims.
    #[serde(default = "default_subject_claim")]
    pub subject_claim: String,
    /// The claim that tells this issuer's tenants apart, a dotted path into nested claims. Each
    /// tenant's masked values get pseudonyms of its own; without it the issuer is one tenant.
    pub tenant_claim: Option<String>,
    /// Accepted `typ` values.
    #[serde(default = "default_token_types")]
    pub token_types: Vec<String>,
    /// By how much the clocks may differ; at most five minutes.
    #[serde(default = "default_leeway")]
    pub leeway: Span,
    /// How often the keys are fetched again.
    #[serde(default = "default_refresh")]
    pub refresh: Span,
    /// How long keys are trusted that could not be fetched again.
    #[serde(default = "default_keys_max_age")]
    pub keys_max_age: Span,
    /// PEM certificates to trust for this provider, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// How to ask this issuer about tokens that are no JWT; one issuer at most can be asked.
    pub introspection: Option<IntrospectionConfig>,
}

/// What is wrong with an `[[issuer]]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfigError {
    /// The section's `name`.
    pub issuer: String,
    /// The key at fault.
    pub key: &'static str,
    /// What is wrong and what to write.
    pub reason: String,
}

/// The checked form of a section.
pub(super) struct Settled {
    pub(super) name: String,
    pub(super) rules: ClaimRules,
    pub(super) algorithms: AlgorithmSet,
    pub(super) token_types: TokenTypes,
    pub(super) source: KeySource,
    pub(super) refresh_s: u64,
    pub(super) keys_max_age_s: u64,
    pub(super) introspection: Option<Asker>,
}

/// The largest clock difference that can be configured, in seconds.
const LEEWAY_MAX_S: u64 = 300;
/// The longest that stale keys can be trusted, in seconds: a week.
const KEYS_MAX_AGE_MAX_S: u64 = 7 * 86_400;

fn default_groups_claim() -> String {
    "groups".to_owned()
}

fn default_subject_claim() -> String {
    "sub".to_owned()
}

fn default_token_types() -> Vec<String> {
    ["JWT", "at+jwt", "application/at+jwt"]
        .map(str::to_owned)
        .to_vec()
}

fn default_leeway() -> Span {
    Span::secs(60)
}

fn default_refresh() -> Span {
    Span::secs(15 * 60)
}

fn default_keys_max_age() -> Span {
    Span::secs(24 * 3600)
}

/// The principal whom an issuer's token with these claims identifies, as if its signature held: for
/// asking what such a caller may do.
///
/// # Errors
/// What a caller with such a token would get.
pub fn principal_of_claims(
    issuer: &IssuerConfig,
    claims: &[u8],
    now_unix: u64,
) -> Result<Principal, AuthError> {
    let settled = issuer.clone().settle().map_err(|_| UNKNOWN_ISSUER)?;
    let claims = Json::parse_object(claims).map_err(|_| BAD_JSON)?;
    Ok(settled.rules.accept(&claims, now_unix)?.principal)
}

// === impl IssuerConfig ===

impl IssuerConfig {
    /// A section with the defaults of everything that has one.
    #[must_use]
    pub fn new(name: &str, url: &str, audience: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: url.to_owned(),
            jwks_file: None,
            jwks_url: None,
            audiences: vec![audience.to_owned()],
            logout_audiences: None,
            algorithms: None,
            groups_claim: default_groups_claim(),
            groups_prefix: String::new(),
            subject_claim: default_subject_claim(),
            tenant_claim: None,
            token_types: default_token_types(),
            leeway: default_leeway(),
            refresh: default_refresh(),
            keys_max_age: default_keys_max_age(),
            ca_file: None,
            introspection: None,
        }
    }

    /// Makes relative paths relative to `base`.
    pub fn resolve_paths(&mut self, base: &Path) {
        let secret = self
            .introspection
            .as_mut()
            .map(|it| &mut it.client_secret_file);
        for path in [self.jwks_file.as_mut(), self.ca_file.as_mut(), secret]
            .into_iter()
            .flatten()
        {
            if path.is_relative() {
                *path = base.join(&*path);
            }
        }
    }

    /// Checks the section without touching the network or a file.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), IdentityConfigError> {
        self.clone().settle().map(|_| ())
    }

    pub(super) fn settle(self) -> Result<Settled, IdentityConfigError> {
        let source = self.source()?;
        let introspection = self.asker()?;
        let algorithms = self.algorithm_set()?;
        self.check_names()?;
        let leeway_s = self.seconds("leeway", self.leeway, 0, LEEWAY_MAX_S)?;
        let refresh_s = self.seconds("refresh", self.refresh, REFRESH_GAP_S, KEYS_MAX_AGE_MAX_S)?;
        let keys_max_age_s = self.seconds(
            "keys_max_age",
            self.keys_max_age,
            refresh_s,
            KEYS_MAX_AGE_MAX_S,
        )?;
        Ok(Settled {
            name: self.name,
            rules: ClaimRules {
                issuer: self.url,
                audiences: self.audiences,
                logout_audiences: self.logout_audiences,
                subject_claim: self.subject_claim,
                groups_claim: self.groups_claim,
                groups_prefix: self.groups_prefix,
                tenant_claim: self.tenant_claim,
                leeway_s,
            },
            algorithms,
            token_types: TokenTypes::new(&self.token_types),
            source,
            refresh_s,
            keys_max_age_s,
            introspection,
        })
    }

    fn asker(&self) -> Result<Option<Asker>, IdentityConfigError> {
        let Some(section) = &self.introspection else {
            return Ok(None);
        };
        if section.client_id.is_empty() {
            return Err(self.wrong("introspection", "its `client_id` is empty"));
        }
        let discovers = self.jwks_file.is_none() && self.jwks_url.is_none();
        let endpoint = match &section.endpoint {
            Some(url) => Endpoint::Given(self.fetchable("introspection", url)?),
            None if discovers => Endpoint::Discovered {
                issuer: self.url.clone(),
                document: self.discovery_document()?,
            },
            None => {
                let reason = "it needs an `endpoint`: without discovery nobody says where it is";
                return Err(self.wrong("introspection", reason));
            }
        };
        Ok(Some(Asker::new(
            self.url.clone(),
            endpoint,
            section.client_id.clone(),
            section.client_secret_file.clone(),
            self.ca_file.clone(),
        )))
    }

    fn source(&self) -> Result<KeySource, IdentityConfigError> {
        let ca_file = self.ca_file.clone();
        let place = match (&self.jwks_file, &self.jwks_url) {
            (Some(_), Some(_)) => {
                return Err(self.wrong("jwks_url", "`jwks_file` is there too: choose one"));
            }
            // Without discovery the issuer's name need not be a place on the network.
            (Some(path), None) => Place::File(path.clone()),
            (None, Some(url)) => Place::Jwks(self.fetchable("jwks_url", url)?),
            (None, None) => Place::Discovery {
                issuer: self.url.clone(),
                document: self.discovery_document()?,
            },
        };
        Ok(KeySource { place, ca_file })
    }

    fn discovery_document(&self) -> Result<Url, IdentityConfigError> {
        let issuer = self.fetchable("url", &self.url)?;
        if issuer.query().is_some() {
            return Err(self.wrong("url", "an issuer has no query"));
        }
        // OpenID Connect Discovery 1.0, section 4.1: a trailing slash goes before the suffix.
        let base = self.url.strip_suffix('/').unwrap_or(&self.url);
        self.fetchable("url", &format!("{base}/.well-known/openid-configuration"))
    }

    fn fetchable(&self, key: &'static str, url: &str) -> Result<Url, IdentityConfigError> {
        super::source::fetchable(url).map_err(|reason| self.wrong(key, reason))
    }

    fn algorithm_set(&self) -> Result<AlgorithmSet, IdentityConfigError> {
        let Some(names) = &self.algorithms else {
            return Ok(AlgorithmSet::all());
        };
        if names.is_empty() {
            return Err(self.wrong(
                "algorithms",
                "the list is empty; leave it out to accept all",
            ));
        }
        names.iter().try_fold(AlgorithmSet::EMPTY, |set, name| {
            SigningAlgorithm::from_name(name)
                .map(|algorithm| set.with(algorithm))
                .ok_or_else(|| {
                    self.wrong(
                        "algorithms",
                        format!(
                            "`{name}` is not accepted; write some of RS256, RS384, RS512, PS256, \
                         PS384, PS512, ES256, ES384, EdDSA"
                        ),
                    )
                })
        })
    }

    fn check_names(&self) -> Result<(), IdentityConfigError> {
        let required = [
            ("name", &self.name),
            ("url", &self.url),
            ("groups_claim", &self.groups_claim),
            ("subject_claim", &self.subject_claim),
        ];
        for (key, value) in required {
            if value.is_empty() {
                return Err(self.wrong(key, "it is empty"));
            }
        }
        if self.tenant_claim.as_ref().is_some_and(String::is_empty) {
            return Err(self.wrong("tenant_claim", "it is empty"));
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            let reason = "name at least one audience: without it, tokens for any other service \
                          of this provider would be accepted";
            return Err(self.wrong("audiences", reason));
        }
        let nobody = |list: &Vec<String>| list.is_empty() || list.iter().any(String::is_empty);
        if self.logout_audiences.as_ref().is_some_and(nobody) {
            let reason = "name at least one client; leave it out where it is one of `audiences`";
            return Err(self.wrong("logout_audiences", reason));
        }
        if self.token_types.is_empty() {
            return Err(self.wrong(
                "token_types",
                "the list is empty; leave it out for JWT, at+jwt",
            ));
        }
        Ok(())
    }

    fn seconds(
        &self,
        key: &'static str,
        span: Span,
        least: u64,
        most: u64,
    ) -> Result<u64, IdentityConfigError> {
        let seconds = span.0.as_secs();
        if (least..=most).contains(&seconds) && span.0.subsec_nanos() == 0 {
            return Ok(seconds);
        }
        Err(self.wrong(
            key,
            format!("must be whole seconds from \"{least}s\" to \"{most}s\""),
        ))
    }

    fn wrong(&self, key: &'static str, reason: impl Into<String>) -> IdentityConfigError {
        IdentityConfigError {
            issuer: self.name.clone(),
            key,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for IdentityConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[[issuer]] \"{}\": `{}`: {}",
            self.issuer, self.key, self.reason
        )
    }
}

impl std::error::Error for IdentityConfigError {}

impl From<IdentityConfigError> for String {
    fn from(error: IdentityConfigError) -> Self {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> IssuerConfig {
        IssuerConfig::new("dev", "http://127.0.0.1:9000", "penstock")
    }

    fn wrong_key(change: impl FnOnce(&mut IssuerConfig)) -> Option<&'static str> {
        let mut config = good();
        change(&mut config);
        config.validate().err().map(|error| error.key)
    }

    #[test]
    fn the_shortest_section_has_defaults() {
        let text = "name = 'dev'\nurl = 'https://idp.example'\naudiences = ['penstock']";
        let config: IssuerConfig = toml::from_str(text).expect("the documented shape");
        assert_eq!(config.groups_claim, "groups");
        assert_eq!(config.leeway, Span::secs(60));
        assert_eq!(config.keys_max_age, Span::secs(86_400));
        assert_eq!(config.validate(), Ok(()));
        assert!(toml::from_str::<IssuerConfig>(&format!("{text}\naudience = 'x'")).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(wrong_key(|_| ()), None);
        assert_eq!(
            wrong_key(|c| c.url = "http://idp.example".to_owned()),
            Some("url")
        );
        assert_eq!(
            wrong_key(|c| c.url = "ftp://127.0.0.1".to_owned()),
            Some("url")
        );
        assert_eq!(
            wrong_key(|c| c.url = "https://u:p@idp.example".to_owned()),
            Some("url")
        );
        assert_eq!(
            wrong_key(|c| c.url = "https://idp.example?x=1".to_owned()),
            Some("url")
        );
        assert_eq!(wrong_key(|c| c.url.clear()), Some("url"));
        assert_eq!(wrong_key(|c| c.audiences.clear()), Some("audiences"));
        assert_eq!(
            wrong_key(|c| c.audiences.push(String::new())),
            Some("audiences")
        );
        for name in ["none", "HS256", "hs256", ""] {
            let list = vec![name.to_owned()];
            assert_eq!(
                wrong_key(|c| c.algorithms = Some(list)),
                Some("algorithms"),
                "{name}"
            );
        }
        assert_eq!(
            wrong_key(|c| c.algorithms = Some(vec![])),
            Some("algorithms")
        );
        assert_eq!(wrong_key(|c| c.leeway = Span::secs(301)), Some("leeway"));
        assert_eq!(wrong_key(|c| c.leeway = Span::ms(1500)), Some("leeway"));
        assert_eq!(wrong_key(|c| c.refresh = Span::secs(9)), Some("refresh"));
        assert_eq!(
            wrong_key(|c| c.keys_max_age = Span::secs(60)),
            Some("keys_max_age")
        );
        assert_eq!(
            wrong_key(|c| c.keys_max_age = Span::secs(30 * 86_400)),
            Some("keys_max_age")
        );
        let nobody = wrong_key(|c| c.logout_audiences = Some(Vec::new()));
        assert_eq!(nobody, Some("logout_audiences"));
        assert_eq!(wrong_key(|c| c.groups_claim.clear()), Some("groups_claim"));
        assert_eq!(wrong_key(|c| c.token_types.clear()), Some("token_types"));
        assert_eq!(
            wrong_key(|c| {
                c.jwks_file = Some("keys.json".into());
                c.jwks_url = Some("https://idp.example/keys".to_owned());
            }),
            Some("jwks_url")
        );
    }

    #[test]
    fn introspection_needs_a_place_and_a_client() {
        let section = |endpoint: Option<&str>, client_id: &str| {
            Some(IntrospectionConfig {
                endpoint: endpoint.map(str::to_owned),
                client_id: client_id.to_owned(),
                client_secret_file: "secret".into(),
            })
        };
        let found = wrong_key(|c| c.introspection = section(None, "us"));
        assert_eq!(found, None, "discovery says where");
        let found = wrong_key(|c| c.introspection = section(None, ""));
        assert_eq!(found, Some("introspection"));
        let found = wrong_key(|c| c.introspection = section(Some("http://far.example/x"), "us"));
        assert_eq!(found, Some("introspection"));
        let nowhere = wrong_key(|c| {
            c.jwks_file = Some("keys.json".into());
            c.introspection = section(None, "us");
        });
        assert_eq!(nowhere, Some("introspection"));
        let mut config = good();
        config.introspection = section(None, "us");
        config.resolve_paths(Path::new("/etc/penstock"));
        let path = config.introspection.map(|it| it.client_secret_file);
        assert_eq!(path.as_deref(), Some(Path::new("/etc/penstock/secret")));
        let text = "name = 'a'\nurl = 'https://a.example'\naudiences = ['p']\n\
                    introspection = { client_id = 'us', client_secret_file = 's' }";
        assert!(toml::from_str::<IssuerConfig>(text).is_ok());
    }

    #[test]
    fn a_file_needs_no_place_on_the_network() {
        let local = |c: &mut IssuerConfig| {
            c.url = "cluster.local".to_owned();
            c.jwks_file = Some("keys.json".into());
        };
        assert_eq!(wrong_key(local), None);
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let mut config = good();
        config.jwks_file = Some("keys.json".into());
        config.ca_file = Some("/etc/ca.pem".into());
        config.resolve_paths(Path::new("/etc/penstock"));
        assert_eq!(
            config.jwks_file.as_deref(),
            Some(Path::new("/etc/penstock/keys.json"))
        );
        assert_eq!(config.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    }
}
