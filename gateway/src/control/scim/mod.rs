//! People as a provisioning service tells of them (SCIM 2.0, RFC 7643 and 7644), as a source of
//! cut-off: whoever is deactivated or deleted there is revoked here, at once.
//!
//! A person's subject, as tokens name them, is the first of the configured attributes that they
//! have. SCIM's revocations are its own: `active = true` lifts those and no operator's. Where a
//! revocation cannot be written down it is in force all the same, and the service is told 503, so
//! that it comes again. Who is inactive when their subject changes is revoked under both.

mod patch;
mod user;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::revocations::{Revocations, RevokeError, new_id};
use super::state::{KeepError, State, StateError};
use crate::config::{ScimSection, SubjectAttribute};
use crate::cutoff::{Target, resolve_issuer};
use crate::exchange::unix_seconds;

use patch::{Change, parse_comparison};

pub(super) use patch::parse_changes;
pub(super) use user::{CORE_SCHEMA, Invalid, User};

/// By whom SCIM's revocations are. Operators are `uid:…` or `… of …`, so nobody else has it.
const BY: &str = "scim";
/// The shortest token that is taken for a secret.
const TOKEN_BYTES_MIN: usize = 24;

/// Who is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    Id(String),
    UserName(String),
    ExternalId(String),
}

/// Reads `userName eq "…"` and its like.
///
/// # Errors
/// When it asks for anything else.
pub(super) fn parse_filter(text: &str) -> Result<Filter, Invalid> {
    let filter = parse_comparison(text).and_then(|(name, value)| {
        let name = name
            .rsplit_once(':')
            .map_or(name.as_str(), |(_, name)| name);
        let known = |other: &str| name.eq_ignore_ascii_case(other);
        match () {
            () if known("userName") => Some(Filter::UserName(value)),
            () if known("externalId") => Some(Filter::ExternalId(value)),
            () if known("id") => Some(Filter::Id(value)),
            () => None,
        }
    });
    filter.ok_or_else(|| Invalid {
        kind: "invalidFilter",
        detail: "filters are `userName eq \"…\"`, `externalId eq \"…\"` and `id eq \"…\"`"
            .to_owned(),
    })
}

/// The provisioning service's side of the gateway.
pub struct Scim {
    /// The hash of the token that the service presents.
    token: blake3::Hash,
    /// The issuer whose subjects these people are.
    issuer: String,
    subject: Vec<SubjectAttribute>,
    revocations: Arc<Revocations>,
    /// One change at a time: each reads, decides and writes.
    changing: Mutex<()>,
}

/// Why a request was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScimError {
    #[error("there is no user with this id")]
    Unknown,
    #[error("somebody else has this userName")]
    Taken,
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("the state cannot be read or written: {0}")]
    State(#[from] StateError),
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    #[error("there is no state to keep people in ([control] state)")]
    Stateless,
}

// === impl Scim ===

impl Scim {
    /// Reads the token's file.
    ///
    /// # Errors
    /// When it cannot be read or has no token worth the name, or the issuer is not configured.
    pub fn new(section: &ScimSection, revocations: Arc<Revocations>) -> Result<Arc<Self>, String> {
        let issuer = resolve_issuer(section.issuer.as_deref(), &revocations.issuers())
            .map_err(|error| format!("[control] scim: {error}"))?;
        Ok(Arc::new(Self {
            token: read_token(&section.token_file)
                .map_err(|reason| format!("[control] scim: {reason}"))?,
            issuer,
            subject: section.subject.clone(),
            revocations,
            changing: Mutex::new(()),
        }))
    }

    /// Whether this is the service's token. Takes the same time whatever it is.
    pub(super) fn knows(&self, token: &[u8]) -> bool {
        // `Hash` compares in constant time.
        blake3::hash(token) == self.token
    }

    /// The one with this id.
    pub(super) async fn find(&self, id: &str) -> Result<User, ScimError> {
        self.state()?.scim_user(id).await?.ok_or(ScimError::Unknown)
    }

    /// Some of those that `filter` lets through, and how many there are.
    pub(super) async fn page(
        &self,
        filter: &Filter,
        skip: u64,
        limit: u64,
    ) -> Result<(Vec<User>, u64), ScimError> {
        Ok(self.state()?.scim_users(filter, skip, limit).await?)
    }

    /// Takes a new person; one who was deleted and comes back active is let in again.
    pub(super) async fn create(
        &self,
        attributes: serde_json::Map<String, serde_json::Value>,
    ) -> Result<User, ScimError> {
        let _one = self.changing.lock().await;
        let user = User::new(new_id(), attributes, unix_seconds())?;
        // Kept first: a name that is taken must change nothing about whoever has it.
        self.state()?.add_scim_user(&user).await?;
        self.enforce(&user).await?;
        Ok(user)
    }

    /// Replaces all that is known of a person.
    pub(super) async fn replace(
        &self,
        id: &str,
        attributes: serde_json::Map<String, serde_json::Value>,
    ) -> Result<User, ScimError> {
        let _one = self.changing.lock().await;
        let before = self.find(id).await?;
        self.settle(before.replaced(attributes, unix_seconds())?)
            .await
    }

    /// Changes some of what is known of a person.
    pub(super) async fn change(&self, id: &str, changes: &[Change]) -> Result<User, ScimError> {
        let _one = self.changing.lock().await;
        let before = self.find(id).await?;
        self.settle(before.changed(changes, unix_seconds())?).await
    }

    /// Forgets a person and cuts them off for good.
    pub(super) async fn delete(&self, id: &str) -> Result<(), ScimError> {
        let _one = self.changing.lock().await;
        let user = self.find(id).await?;
        self.cut_off(&user, "deleted by SCIM").await?;
        Ok(self.state()?.forget_scim_user(id).await?)
    }

    /// Cuts off first and writes second, lets in the other way round.
    async fn settle(&self, user: User) -> Result<User, ScimError> {
        if !user.is_active() {
            self.enforce(&user).await?;
        }
        if !self.state()?.keep_scim_user(&user).await? {
            return Err(ScimError::Unknown);
        }
        if user.is_active() {
            self.enforce(&user).await?;
        }
        Ok(user)
    }

    /// Revokes or lifts, as this person's state says.
    async fn enforce(&self, user: &User) -> Result<(), ScimError> {
        match user.is_active() {
            false => self.cut_off(user, "deactivated by SCIM").await,
            true => self.let_in(user).await,
        }
    }

    async fn cut_off(&self, user: &User, reason: &str) -> Result<(), ScimError> {
        let target = self.target(user);
        if !self.revocations.made(&target, BY).is_empty() {
            // In force already, but perhaps not written down when the service came first.
            return Ok(self.revocations.write_rest().await?);
        }
        let (reason, by) = (reason.to_owned(), BY.to_owned());
        self.revocations.revoke(target, None, reason, by).await?;
        Ok(())
    }

    async fn let_in(&self, user: &User) -> Result<(), ScimError> {
        for id in self.revocations.made(&self.target(user), BY) {
            self.revocations.lift(&id, BY).await?;
        }
        Ok(())
    }

    fn target(&self, user: &User) -> Target {
        let said = self.subject.iter().find_map(|attribute| match attribute {
            SubjectAttribute::ExternalId => user.external_id(),
            SubjectAttribute::UserName => Some(user.user_name()),
            SubjectAttribute::Id => Some(&user.id),
        });
        Target::Subject {
            issuer: self.issuer.clone(),
            subject: said.unwrap_or_else(|| user.user_name()).to_owned(),
        }
    }

    fn state(&self) -> Result<&State, ScimError> {
        self.revocations.state().ok_or(ScimError::Stateless)
    }
}

fn read_token(file: &PathBuf) -> Result<blake3::Hash, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("{}: cannot be read: {error}", Path::new(file).display()))?;
    let token = text.trim();
    if token.len() < TOKEN_BYTES_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{}: a token is one line of at least {TOKEN_BYTES_MIN} printable characters",
            file.display()
        ));
    }
    Ok(blake3::hash(token.as_bytes()))
}

impl From<KeepError> for ScimError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Taken => Self::Taken,
            KeepError::State(error) => Self::State(error),
        }
    }
}
