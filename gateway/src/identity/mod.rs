//! Who is calling: bearer tokens of any number of OpenID Connect providers, verified without I/O.
//!
//! A core holds one [`Authenticator`]. It turns the credential of a request into a [`Principal`] or
//! into an [`AuthError`] that says what the caller can do about it, synchronously and without a
//! socket. Keys come from [`IdentityShared`], which the control thread keeps fresh
//! ([`run_refresher`]); a core reads them as immutable snapshots.
//!
//! What a token passes, in this order (RFC 7515, RFC 7519, RFC 8725):
//! 1. size and shape: at most 8 KiB, three canonical base64url segments, strict JSON without
//!    duplicate names, bounded depth ([`compact`], [`json`]);
//! 2. its header: an asymmetric algorithm, an accepted `typ`, no `crit`, no key of its own
//!    ([`header`]);
//! 3. its issuer, read unverified only to choose whose keys and rules everything else is held
//!    against;
//! 4. its signature, by a key of that issuer that is bound to that algorithm ([`keys`]);
//! 5. its claims: audience, times, subject, groups ([`claims`]).
//!
//! A credential that begins with `pk_` is a key that this gateway has issued ([`issued`]): its
//! checksum and then its hash are looked at, in a table that the control thread publishes, and it
//! stands for its owner with the groups that it was given.
//!
//! A token that is no JWT is asked about at the one issuer that is configured for it
//! ([`introspection`]), by the control thread; its claims then pass the same rules.
//!
//! What this module does not do: permissions (policies decide what a group may), and encrypted
//! tokens. No token is kept, logged, or shown by any `Debug` here; the cache of verified
//! tokens knows them by a keyed hash or tag only.

mod algorithm;
mod authenticator;
mod cache;
mod claims;
mod compact;
mod config;
mod credential;
mod error;
mod gate;
mod header;
mod introspection;
mod issued;
mod json;
mod keys;
mod logout;
mod principal;
mod providers;
mod refresh;
mod shared;
mod source;
mod tag;

pub use authenticator::Authenticator;
pub use config::{IdentityConfigError, IssuerConfig, principal_of_claims};
pub use credential::Credential;
pub use error::AuthError;
pub use gate::{REFRESH_GAP_S, RefreshWait};
pub use introspection::{IntrospectionConfig, IntrospectionStatus, run_introspection};
pub use issued::{IssuedKey, KEY_PREFIX, KeyHash, KeyTable, KeyText};
pub use logout::{Logout, verify_logout};
pub use principal::{Principal, PrincipalKind};
pub use providers::IssuerStatus;
pub use refresh::{change_issuers, load_initial, run_refresher};
pub use shared::{Clock, IdentityShared, system_clock};
pub(crate) use source::{fetchable, is_loopback, read_bounded};

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
