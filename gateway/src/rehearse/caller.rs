//! Who calls, as the asking says: claims of a token, or a subject and its groups.

use std::path::PathBuf;
use std::rc::Rc;

use super::message;
use crate::config::Config;
use crate::identity::{IssuerConfig, Principal, principal_of_claims, system_clock};

/// Who calls. Nothing of it is verified: the question is what such a caller may do.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Asked {
    /// The caller's name
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// The caller's groups, with the issuer's prefix if it has one. May be given more than once
    #[arg(long, value_name = "GROUP,…", value_delimiter = ',')]
    groups: Vec<String>,
    /// A token's claims as JSON, read as its issuer's configuration says: audience, times, groups
    #[arg(long, value_name = "FILE", conflicts_with_all = ["subject", "groups"])]
    token_claims: Option<PathBuf>,
}

// === impl Asked ===

impl Asked {
    /// The caller; the first error is for the one who asks, the second is what the caller would
    /// get.
    pub(super) fn principal(
        &self,
        config: &Config,
    ) -> Result<Result<Rc<Principal>, String>, String> {
        if let Some(path) = &self.token_claims {
            return self.by_claims(config, path);
        }
        let nobody = self.subject.is_none() && self.groups.is_empty();
        if let Some(groups) = config.identity.anonymous_groups.as_ref().filter(|_| nobody) {
            return Ok(Ok(Rc::new(Principal::anonymous(groups.clone()))));
        }
        let issuer = config.issuers.first();
        let issuer = issuer.map_or_else(String::new, |issuer| issuer.url.clone());
        let subject = self
            .subject
            .clone()
            .unwrap_or_else(|| "somebody".to_owned());
        let principal = Principal::oidc(issuer, subject, self.groups.clone(), u64::MAX);
        Ok(Ok(Rc::new(principal)))
    }

    fn by_claims(
        &self,
        config: &Config,
        path: &std::path::Path,
    ) -> Result<Result<Rc<Principal>, String>, String> {
        let claims = message::read(path)?;
        let refuse = |reason: &str| format!("{}: {reason}", path.display());
        let value: serde_json::Value = serde_json::from_slice(&claims)
            .map_err(|error| refuse(&format!("the claims are not JSON: {error}")))?;
        let named = value["iss"].as_str().unwrap_or_default();
        let issued = |issuer: &&IssuerConfig| issuer.url == named;
        let Some(issuer) = config.issuers.iter().find(issued) else {
            let known: Vec<&str> = config.issuers.iter().map(|it| it.url.as_str()).collect();
            let known = known.join(", ");
            return Err(refuse(&format!(
                "no [[issuer]] has the url {named:?} (there is {known})"
            )));
        };
        let now = system_clock()();
        match principal_of_claims(issuer, &claims, now) {
            Ok(principal) => Ok(Ok(Rc::new(principal))),
            Err(error) => Ok(Err(format!(
                "{} {}: {}",
                error.status, error.code, error.message
            ))),
        }
    }
}
