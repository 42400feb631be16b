//! From the credential of a request to its principal, on one core, without I/O.
//!
//! A verified token is remembered, so that the second request with it costs one keyed hash and one
//! map lookup in place of a signature. What is remembered is used only while all of this holds: the
//! time is within the token's own `nbf`, `iat` and `exp` (no leeway: at the edges the token is
//! verified again), the issuer's keys are not too old, and the very key that verified it is still
//! published.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::TOKEN_BYTES_MAX;
use super::cache::{TokenCache, TokenHash};
use super::compact::{Compact, is_meant_as_jwt};
use super::credential::Credential;
use super::error::{
    AuthError, Fault, ISSUED_KEY_EXPIRED, MALFORMED_ISSUED_KEY, MISSING_CREDENTIAL, NO_ISSUER,
    NOT_A_TOKEN, PROVIDER_UNAVAILABLE, TOKEN_TOO_LARGE, UNKNOWN_ISSUED_KEY, UNKNOWN_ISSUER,
    UNKNOWN_KEY, UNSUPPORTED_ALGORITHM,
};
use super::header::Header;
use super::introspection::Told;
use super::issued::{self, IssuedKey};
use super::json::{Json, Object};
use super::keys::Fingerprint;
use super::principal::Principal;
use super::providers::{Issuer, Providers};
use super::shared::IdentityShared;
use super::tag::Tag;

/// Turns credentials into principals. One per core; not shared between threads.
pub struct Authenticator {
    shared: Arc<IdentityShared>,
    /// The issuers under which everything was verified that is remembered.
    providers: Arc<Providers>,
    version: u64,
    cache: TokenCache<Verified, Tag>,
    /// Principals of issued keys: for what is derived of them, not in place of looking them up.
    by_key: TokenCache<(Arc<IssuedKey>, Rc<Principal>)>,
    /// Principals of opaque tokens, with the answer that each was made of.
    by_answer: TokenCache<Answered>,
    anonymous: Option<Rc<Principal>>,
}

/// What an issuer's answer about an opaque token came to.
struct Answered {
    told: Arc<Told>,
    principal: Rc<Principal>,
    not_before_unix: u64,
}

/// A verified token, remembered.
struct Verified {
    principal: Rc<Principal>,
    not_before_unix: u64,
    issuer: usize,
    /// The generation of keys in which `key` was last seen.
    generation: u64,
    key: Fingerprint,
}

// === impl Authenticator ===

impl Authenticator {
    /// An authenticator that remembers at most `cache_entries` verified tokens.
    #[must_use]
    pub fn new(shared: Arc<IdentityShared>, cache_entries: usize) -> Self {
        // The number first: issuers that change in between are taken up once more.
        let version = shared.version();
        let providers = shared.providers();
        Self {
            anonymous: anonymous(&providers),
            shared,
            providers,
            version,
            cache: TokenCache::new(cache_entries),
            by_key: TokenCache::new(cache_entries),
            by_answer: TokenCache::new(cache_entries),
        }
    }

    /// Takes up other issuers where they have changed, and forgets what was verified under those
    /// before.
    fn follow(&mut self) {
        let version = self.shared.version();
        if version == self.version {
            return;
        }
        self.version = version;
        self.providers = self.shared.providers();
        self.anonymous = anonymous(&self.providers);
        self.cache.clear();
        self.by_answer.clear();
    }

    /// Identifies the caller by the value of the request's one `Authorization` field, if any.
    ///
    /// # Errors
    /// Why not. When the error has a `refresh`, wait for it within a bound and ask once more.
    pub fn authenticate(
        &mut self,
        authorization: Option<&[u8]>,
        now_unix: u64,
    ) -> Result<Rc<Principal>, AuthError> {
        let credential = authorization
            .map(Credential::from_authorization)
            .transpose()?;
        self.authenticate_credential(credential, now_unix)
    }

    /// Identifies the caller by a credential that [`Credential::choose`] took from the request.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub fn authenticate_credential(
        &mut self,
        credential: Option<Credential<'_>>,
        now_unix: u64,
    ) -> Result<Rc<Principal>, AuthError> {
        self.follow();
        let Some(credential) = credential else {
            return self
                .anonymous
                .clone()
                .ok_or_else(|| MISSING_CREDENTIAL.into());
        };
        let token = credential.bytes();
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TOKEN_TOO_LARGE.into());
        }
        if issued::is_key(token) {
            return self.by_issued_key(token, now_unix).map_err(AuthError::from);
        }
        if self.providers.introspection.is_some() && !is_meant_as_jwt(token) {
            let hash = *blake3::keyed_hash(&self.shared.token_hash_key, token).as_bytes();
            return self.by_answer(hash, token, now_unix);
        }
        let tag = self.shared.tagger.tag(token);
        if let Some(principal) = self.remembered(&tag, now_unix) {
            return Ok(principal);
        }
        let verified = verify(&self.providers, token, now_unix)?;
        let principal = Rc::clone(&verified.principal);
        self.cache.insert(tag, verified);
        Ok(principal)
    }

    /// Whom an opaque token stands for, by the word of its issuer.
    fn by_answer(
        &mut self,
        hash: TokenHash,
        token: &[u8],
        now_unix: u64,
    ) -> Result<Rc<Principal>, AuthError> {
        let asked = self.providers.introspection.as_ref();
        let (index, desk) = asked.ok_or(NOT_A_TOKEN)?;
        let now = Instant::now();
        if let Some(known) = self.by_answer.find(&hash)
            && known.told.is_good(now, now_unix)
            && (known.not_before_unix..known.principal.expires_unix).contains(&now_unix)
        {
            return Ok(Rc::clone(&known.principal));
        }
        let told = desk.look(&hash, token, now, now_unix)?;
        let rules = &self.providers.issuers[*index].rules;
        let accepted = rules.accept(&told.claims, now_unix)?;
        let principal = Rc::new(accepted.principal);
        let answered = Answered {
            told,
            principal: Rc::clone(&principal),
            not_before_unix: accepted.not_before_unix,
        };
        self.by_answer.insert(hash, answered);
        Ok(principal)
    }

    /// The owner of a key, looked up anew each time: it may have been replaced since.
    fn by_issued_key(&mut self, token: &[u8], now_unix: u64) -> Result<Rc<Principal>, Fault> {
        let hash = issued::key_hash(token).ok_or(MALFORMED_ISSUED_KEY)?;
        let table = self.shared.issued_keys();
        let key = table.find(&hash).ok_or(UNKNOWN_ISSUED_KEY)?;
        if key.is_over(now_unix) {
            return Err(ISSUED_KEY_EXPIRED);
        }
        key.used(now_unix);
        if let Some((known, principal)) = self.by_key.find(&hash)
            && Arc::ptr_eq(known, key)
        {
            return Ok(Rc::clone(principal));
        }
        let principal = Rc::new(key.principal());
        self.by_key.insert(hash, (key.clone(), principal.clone()));
        Ok(principal)
    }

    /// Drops what [`Principal::set_derived`] stored with any principal that is remembered.
    pub fn forget_derived(&self) {
        let remembered = self.cache.values().map(|verified| &verified.principal);
        let issued = self.by_key.values().map(|(_, principal)| principal);
        let answered = self.by_answer.values().map(|known| &known.principal);
        remembered
            .chain(issued)
            .chain(answered)
            .chain(&self.anonymous)
            .for_each(|principal| principal.forget_derived());
    }

    /// How many tokens are remembered.
    #[must_use]
    pub fn remembered_count(&self) -> usize {
        self.cache.len()
    }

    fn remembered(&mut self, tag: &Tag, now_unix: u64) -> Option<Rc<Principal>> {
        let verified = self.cache.find(tag)?;
        let issuer = &self.providers.issuers[verified.issuer];
        let snapshot = issuer.snapshot();
        let keys = snapshot.keys_at(now_unix, issuer.keys_max_age_s)?;
        let in_time =
            (verified.not_before_unix..verified.principal.expires_unix).contains(&now_unix);
        if !in_time || (verified.generation != snapshot.generation && !keys.contains(&verified.key))
        {
            self.cache.remove(tag);
            return None;
        }
        verified.generation = snapshot.generation;
        Some(Rc::clone(&verified.principal))
    }
}

/// Callers without a credential, where they are let in.
fn anonymous(providers: &Providers) -> Option<Rc<Principal>> {
    let groups = providers.anonymous_groups.clone()?;
    Some(Rc::new(Principal::anonymous(groups)))
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("remembered", &self.cache.len())
            .field("anonymous", &self.anonymous.is_some())
            .finish_non_exhaustive()
    }
}

/// What a token says, of an issuer that we know and signed by an algorithm that is accepted of it.
/// Nothing of it is verified yet.
pub(super) struct Said<'a> {
    pub(super) header: Header<'a>,
    pub(super) claims: Object,
    pub(super) index: usize,
    pub(super) issuer: &'a Issuer,
}

/// Reads a token up to its signature, in the order that the module's documentation gives.
pub(super) fn read<'a>(
    providers: &'a Providers,
    token: &'a Compact<'_>,
) -> Result<Said<'a>, Fault> {
    let header = Header::read(&token.header)?;
    token.signature_is_canonical()?;
    let claims = token.payload()?;
    let named = claims.get("iss").and_then(Json::as_str).ok_or(NO_ISSUER)?;
    let index = providers.index_of(named).ok_or(UNKNOWN_ISSUER)?;
    let issuer = &*providers.issuers[index];
    if !issuer.algorithms.contains(header.algorithm) {
        return Err(UNSUPPORTED_ALGORITHM);
    }
    Ok(Said {
        header,
        claims,
        index,
        issuer,
    })
}

/// Verifies a token from scratch.
fn verify(providers: &Providers, token: &[u8], now_unix: u64) -> Result<Verified, AuthError> {
    let token = Compact::parse(token)?;
    let Said {
        header,
        claims,
        index,
        issuer,
    } = read(providers, &token)?;
    header.check_type(&issuer.token_types)?;

    let (key, generation) = verify_signature(issuer, &token, &header, now_unix)?;
    let accepted = issuer.rules.accept(&claims, now_unix)?;
    Ok(Verified {
        principal: Rc::new(accepted.principal),
        not_before_unix: accepted.not_before_unix,
        issuer: index,
        generation,
        key,
    })
}

/// Verifies the signature by the issuer's keys as they are now. Returns which key it was, and in
/// which generation. A refusal that fresh keys might change comes with something to wait for.
pub(super) fn verify_signature(
    issuer: &Issuer,
    token: &Compact<'_>,
    header: &Header<'_>,
    now_unix: u64,
) -> Result<(Fingerprint, u64), AuthError> {
    /// Keys may be replaced between looking and asking for fresh ones, hardly twice in a row.
    const LOOKS_MAX: usize = 3;
    let mut refresh = None;
    let mut fault = UNKNOWN_KEY;
    for _ in 0..LOOKS_MAX {
        let snapshot = issuer.snapshot();
        let verified = snapshot
            .keys_at(now_unix, issuer.keys_max_age_s)
            .ok_or(PROVIDER_UNAVAILABLE)
            .and_then(|keys| keys.verify(token, header.key_id, header.algorithm));
        fault = match verified {
            Ok(key) => return Ok((key.fingerprint, snapshot.generation)),
            Err(fault @ (UNKNOWN_KEY | PROVIDER_UNAVAILABLE)) => fault,
            Err(fault) => return Err(fault.into()),
        };
        refresh = issuer.gate.ask(now_unix);
        if issuer.snapshot().is_same_fetch(&snapshot) {
            break;
        }
    }
    Err(fault.with_refresh(refresh))
}
