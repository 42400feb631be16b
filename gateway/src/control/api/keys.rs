//! Keys that this gateway issues: listing, issuing, rotating, revoking.
//!
//! Anybody with a token of an identity provider looks after their own keys: they see and change
//! those, and give a key at most the groups that their token has. Operators see all keys. Admins
//! change them, too, and issue keys for others: they say whose the key is and which groups it has,
//! and it is kept who said so.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::operator::{Operator, Person, Role};
use super::problem::{Body, Problem, Query};
use super::revocations::{Made, PAGE, PAGE_MAX, text};
use super::{Api, Shared};
use crate::control::keys::{KEY_GROUPS_MAX, KeyEntry, KeyError, KeyState, NewKey};
use crate::cutoff::{TEXT_BYTES_MAX, Target, format_time, parse_until, resolve_issuer};
use crate::exchange::unix_seconds;
use crate::identity::{IssuedKey, KeyText};

/// How long a key goes on after it was rotated, when nothing else is said.
const OVERLAP: &str = "24h";
/// The longest that it may.
const OVERLAP_MAX_S: u64 = 7 * 24 * 3600;

/// Who made a key that its owner made.
const OWNER: &str = "owner";
/// Said to whoever is nobody in particular.
const NO_OWNER: &str =
    "`owner` is needed: every key is a person's. Or send the owner's token along";

/// A key to be issued.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct WantedKey {
    /// Whose it is. Absent when the owner's own token is sent along.
    pub(in crate::control) owner: Option<Owner>,
    /// What it is for, in a few words.
    pub(in crate::control) name: String,
    /// The groups that it has. Absent with the owner's own token: all of the token's.
    pub(in crate::control) groups: Option<Vec<String>>,
    /// When it ends: `2026-11-30T18:00:00Z`, or a span from now such as `30days`.
    pub(in crate::control) expires: String,
}

/// A person.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::control) struct Owner {
    /// Name or URL of the issuer; not needed where only one is configured.
    pub(in crate::control) issuer: Option<String>,
    /// The subject, as the issuer's tokens name them.
    pub(in crate::control) subject: String,
}

/// How a key is to be replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::control) struct Rotation {
    /// How long the old key goes on, `24h` when absent, seven days at most.
    pub(in crate::control) overlap: Option<String>,
    /// When the new key ends; when absent it lives as long as the old one was to.
    pub(in crate::control) expires: Option<String>,
}

/// Why a key is revoked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// For whoever reads the list of revocations.
    reason: String,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct Key {
    id: String,
    /// What it is for.
    name: String,
    /// Its first signs.
    hint: String,
    issuer: String,
    /// The owner.
    subject: String,
    groups: Vec<String>,
    state: KeyState,
    #[schema(format = DateTime)]
    created: String,
    /// `owner`, or the user id of the operator who said whose it is and which groups it has.
    created_by: String,
    #[schema(format = DateTime)]
    expires: String,
    /// To the minute; absent for never.
    #[schema(format = DateTime)]
    last_used: Option<String>,
    /// The key that it was made to replace.
    replaces: Option<String>,
}

/// A key that was issued.
#[derive(Debug, Serialize, ToSchema)]
struct Issued {
    key: Key,
    /// The key itself. It is shown this once and kept nowhere.
    secret: String,
}

/// A part of the list.
#[derive(Debug, Serialize, ToSchema)]
struct KeyPage {
    keys: Vec<Key>,
    /// `after` for the next part; absent when this is the end.
    next: Option<String>,
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct KeyPart {
    /// Of this owner only.
    subject: Option<String>,
    /// Behind the key with this id.
    after: Option<String>,
    /// At most so many; 100 when absent, 1000 at most.
    limit: Option<usize>,
}

/// Who asks, as far as keys are concerned.
struct Caller(Operator);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list_keys, issue_key))
        .routes(routes!(rotate_key))
        .routes(routes!(revoke_key))
}

/// All keys, or the caller's own when their token is sent along; the oldest first.
#[utoipa::path(get, path = "/keys", tag = "keys", security(("bearer" = [])), params(KeyPart), responses(
    (status = 200, description = "A part of the list.", body = KeyPage),
    (status = 400, description = "The query is not understood.", body = Problem),
    (status = 401, description = "The token that was sent along is not accepted.", body = Problem)))]
async fn list_keys(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Query(part): Query<KeyPart>,
) -> Result<Json<KeyPage>, Problem> {
    let caller = Caller(operator);
    let limit = part.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let wanted = |key: &IssuedKey| {
        caller.may_see(key) && part.subject.as_ref().is_none_or(|it| *it == key.subject)
    };
    let found = api.keys.page(part.after.as_deref(), limit, wanted);
    let next = (found.len() == limit).then(|| found.last().map(|last| last.key.id.clone()));
    Ok(Json(KeyPage {
        keys: found.iter().map(|entry| view(&api, entry)).collect(),
        next: next.flatten(),
    }))
}

/// Issues a key; the answer is the only place where it is ever shown.
#[utoipa::path(post, path = "/keys", tag = "keys", security(("bearer" = [])), request_body = WantedKey, responses(
    (status = 201, description = "It works from now on.", body = Issued),
    (status = 401, description = "The token that was sent along is not accepted.", body = Problem),
    (status = 403, description = "The token has not all of these groups.", body = Problem),
    (status = 422, description = "No such key can be.", body = Problem),
    (status = 503, description = "It cannot be written down, so it was not issued.", body = Problem),
    (status = 507, description = "No more can be kept.", body = Problem)))]
async fn issue_key(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Body(wanted): Body<WantedKey>,
) -> Result<(StatusCode, Json<Issued>), Problem> {
    let (entry, secret) = issue(&api, operator, wanted).await?;
    Ok((StatusCode::CREATED, Json(issued(&api, &entry, &secret))))
}

/// Issues a key like this one; the old one goes on for a while, so that its users can change over.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", security(("bearer" = [])), request_body = Rotation,
    params(("id" = String, Path, description = "The key's id.")),
    responses(
        (status = 201, description = "The new key works from now on.", body = Issued),
        (status = 401, description = "The token that was sent along is not accepted.", body = Problem),
        (status = 404, description = "There is none with this id.", body = Problem),
        (status = 409, description = "The key has ended.", body = Problem),
        (status = 422, description = "No such key can be.", body = Problem),
        (status = 503, description = "It cannot be written down; nothing has changed.", body = Problem)))]
async fn rotate_key(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Body(rotation): Body<Rotation>,
) -> Result<(StatusCode, Json<Issued>), Problem> {
    let (entry, secret) = rotate(&api, operator, &id, rotation).await?;
    Ok((StatusCode::CREATED, Json(issued(&api, &entry, &secret))))
}

/// Issues a key, as this operator may.
pub(in crate::control) async fn issue(
    api: &Api,
    operator: Operator,
    wanted: WantedKey,
) -> Result<(KeyEntry, KeyText), Problem> {
    let new = Caller(operator).new_key(api, wanted)?;
    Ok(api.keys.issue(new).await?)
}

/// Replaces a key, as this operator may.
pub(in crate::control) async fn rotate(
    api: &Api,
    operator: Operator,
    id: &str,
    rotation: Rotation,
) -> Result<(KeyEntry, KeyText), Problem> {
    let caller = Caller(operator);
    let old = caller.find(api, id)?;
    if !caller.is_admin() {
        caller.check_groups(&old.key.groups)?;
    }
    let overlap = rotation.overlap.as_deref().unwrap_or(OVERLAP);
    let overlap_s = humantime::parse_duration(overlap)
        .map(|span| span.as_secs())
        .ok()
        .filter(|span| *span <= OVERLAP_MAX_S)
        .ok_or_else(|| Problem::invalid("`overlap` must be a span up to 7days, such as 24h"))?;
    let expires = rotation.expires.map(|text| time("expires", &text));
    let expires = expires.transpose()?;
    let by = caller.name_for(&old.key);
    Ok(api.keys.rotate(id, expires, overlap_s, by).await?)
}

/// Revokes a key for good: a revocation of kind `key`, which ends the calls under way with it.
#[utoipa::path(post, path = "/keys/{id}/revoke", tag = "keys", security(("bearer" = [])), request_body = Reason,
    params(("id" = String, Path, description = "The key's id.")),
    responses(
        (status = 201, description = "In force, and written down.", body = Made),
        (status = 401, description = "The token that was sent along is not accepted.", body = Problem),
        (status = 404, description = "There is none with this id.", body = Problem),
        (status = 422, description = "There is no reason.", body = Problem),
        (status = 503, description = "In force, but not written down.", body = Problem)))]
async fn revoke_key(
    State(api): Shared,
    Extension(operator): Extension<Operator>,
    Path(id): Path<String>,
    Body(Reason { reason }): Body<Reason>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    Ok((
        StatusCode::CREATED,
        Json(end(&api, operator, id, reason).await?),
    ))
}

/// Revokes a key, as this operator may.
pub(in crate::control) async fn end(
    api: &Api,
    operator: Operator,
    id: String,
    reason: String,
) -> Result<Made, Problem> {
    let caller = Caller(operator);
    let entry = caller.find(api, &id)?;
    let reason = text("reason", reason)?;
    let target = Target::Key { key: id };
    let revoked = api
        .revocations
        .revoke(target, None, reason, caller.name_for(&entry.key));
    let (revocation, effect) = revoked.await?;
    let revocation = revocation.as_ref().clone();
    Ok(Made { revocation, effect })
}

// === impl Caller ===

impl Caller {
    fn owns(&self, key: &IssuedKey) -> bool {
        let is_theirs = |it: &Person| it.issuer == key.issuer && it.subject == key.subject;
        self.0.person().is_some_and(is_theirs)
    }

    fn may_see(&self, key: &IssuedKey) -> bool {
        self.0.may(Role::Viewer).is_ok() || self.owns(key)
    }

    fn is_admin(&self) -> bool {
        self.0.may(Role::Admin).is_ok()
    }

    /// A key that they may change. Who may not even see it is not told that it is there.
    fn find(&self, api: &Api, id: &str) -> Result<KeyEntry, Problem> {
        let entry = api.keys.find(id)?;
        if self.owns(&entry.key) {
            return Ok(entry);
        }
        if !self.may_see(&entry.key) {
            return Err(KeyError::Unknown(id.to_owned()).into());
        }
        self.0.may(Role::Admin)?;
        Ok(entry)
    }

    /// A person gives no group away that they do not have now.
    fn check_groups(&self, wanted: &[String]) -> Result<(), Problem> {
        let Some(person) = self.0.person() else {
            return Ok(());
        };
        match wanted.iter().find(|group| !person.groups.contains(group)) {
            None => Ok(()),
            Some(other) => {
                let detail = format!("the token does not have the group {other:?}");
                Err(Problem::new(
                    StatusCode::FORBIDDEN,
                    "group_not_held",
                    detail,
                ))
            }
        }
    }

    fn new_key(&self, api: &Api, wanted: WantedKey) -> Result<NewKey, Problem> {
        match wanted.owner {
            Some(_) => self.key_of_another(api, wanted),
            None => self.own_key(wanted),
        }
    }

    fn key_of_another(&self, api: &Api, wanted: WantedKey) -> Result<NewKey, Problem> {
        if !self.is_admin() && self.0.role.is_none() {
            return Err(Problem::invalid(
                "`owner` and a token of the owner's exclude each other",
            ));
        }
        self.0.may(Role::Admin)?;
        let groups = wanted.groups.map(checked_groups).transpose()?;
        let owner = wanted.owner.ok_or_else(|| Problem::invalid(NO_OWNER))?;
        let issuer = resolve_issuer(owner.issuer.as_deref(), &api.revocations.issuers())
            .map_err(|error| Problem::invalid(error.to_string()))?;
        Ok(NewKey {
            tenant: issuer.clone(),
            issuer,
            subject: text("owner.subject", owner.subject)?,
            groups: groups.ok_or_else(|| Problem::invalid("`groups` is needed; [] for none"))?,
            name: text("name", wanted.name)?,
            expires_unix: time("expires", &wanted.expires)?,
            created_by: self.0.to_string(),
        })
    }

    fn own_key(&self, wanted: WantedKey) -> Result<NewKey, Problem> {
        let person = self.0.person().ok_or_else(|| Problem::invalid(NO_OWNER))?;
        let stated = wanted.groups.map(checked_groups).transpose()?;
        let stated = stated.unwrap_or_else(|| person.groups.clone());
        self.check_groups(&stated)?;
        Ok(NewKey {
            issuer: person.issuer.clone(),
            subject: person.subject.clone(),
            tenant: person.tenant.clone(),
            groups: checked_groups(stated)?,
            name: text("name", wanted.name)?,
            expires_unix: time("expires", &wanted.expires)?,
            created_by: OWNER.to_owned(),
        })
    }

    /// How they stand as the one who changed this key.
    fn name_for(&self, key: &IssuedKey) -> String {
        match self.owns(key) {
            true => OWNER.to_owned(),
            false => self.0.to_string(),
        }
    }
}

fn checked_groups(groups: Vec<String>) -> Result<Vec<String>, Problem> {
    if groups.len() > KEY_GROUPS_MAX {
        let detail = format!("a key has {KEY_GROUPS_MAX} groups at most: say which in `groups`");
        return Err(Problem::invalid(detail));
    }
    let mut distinct = Vec::with_capacity(groups.len());
    for group in groups {
        let group = text("groups", group)?;
        if !distinct.contains(&group) {
            distinct.push(group);
        }
    }
    Ok(distinct)
}

fn time(name: &str, text: &str) -> Result<u64, Problem> {
    debug_assert!(text.len() <= TEXT_BYTES_MAX * 64, "bodies are bounded");
    parse_until(text, unix_seconds())
        .map_err(|reason| Problem::invalid(format!("`{name}`: {reason}")))
}

fn issued(api: &Api, entry: &KeyEntry, secret: &KeyText) -> Issued {
    Issued {
        key: view(api, entry),
        secret: secret.expose().to_owned(),
    }
}

fn view(api: &Api, entry: &KeyEntry) -> Key {
    let key = &entry.key;
    let used = key.last_used_unix();
    Key {
        id: key.id.clone(),
        name: entry.name.clone(),
        hint: entry.hint.clone(),
        issuer: key.issuer.clone(),
        subject: key.subject.clone(),
        groups: key.groups.clone(),
        state: api.keys.state_of(entry),
        created: format_time(entry.created_unix),
        created_by: entry.created_by.clone(),
        expires: format_time(key.expires_unix),
        last_used: (used > 0).then(|| format_time(used)),
        replaces: entry.replaces.clone(),
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let (status, code) = match &error {
            KeyError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_id"),
            KeyError::Full | KeyError::OwnerFull(_) => {
                (StatusCode::INSUFFICIENT_STORAGE, "too_many_keys")
            }
            KeyError::TooLong(_) => (StatusCode::UNPROCESSABLE_ENTITY, "lifetime_too_long"),
            KeyError::Ended(_) => (StatusCode::CONFLICT, "key_ended"),
            KeyError::NotKept(_) => (StatusCode::SERVICE_UNAVAILABLE, "state_unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}
