//! A development identity provider: keys, tokens for any claims (wrong ones too), discovery and
//! a key set over HTTP, and rotation.
//!
//! It hands a token to whoever asks. That is its purpose, and why it listens on loopback only.

mod keys;
mod keyset;
mod mint;
mod serve;

pub use keys::{Algorithm, KeyError, SigningKey, now_unix};
pub use keyset::KeySet;
pub use mint::{MintError, TokenSpec, encode_segment, jws, mint};
pub use serve::{Client, Fetches, Issuer, IssuerOptions};
