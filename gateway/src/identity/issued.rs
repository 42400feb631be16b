//! Keys that this gateway has issued itself, for callers that cannot get a token: nightly jobs, old
//! tools. A key is a secret of 256 bits that stands for its owner, a person of a configured issuer.
//!
//! ```text
//! pk_ 43 letters and digits, drawn at random  6 letters and digits: CRC-32 of the 43, in base 62
//! ```
//!
//! The checksum tells a typing error from a wrong key before anything is looked up, and lets
//! scanners find keys without false alarms. A key itself is nowhere kept: it is known by its BLAKE3
//! hash, which needs no salt and no stretching since nobody can guess 256 bits.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::principal::Principal;
use crate::clock;

/// What every key begins with. No token does: the header of a token begins with `e`.
pub const KEY_PREFIX: &str = "pk_";
/// Random signs: 43 of 62 kinds are 256 bits.
const SECRET_SIGNS: usize = 43;
/// Signs of the checksum.
const CHECKSUM_SIGNS: usize = 6;
/// The length of a key.
pub(super) const KEY_BYTES: usize = KEY_PREFIX.len() + SECRET_SIGNS + CHECKSUM_SIGNS;
/// Signs of a key that may be shown, to tell it from others.
const HINT_SIGNS: usize = 4;
/// How far the time of a key's last use may be behind, in seconds.
const USE_STEP_S: u64 = 60;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The BLAKE3 hash of a key.
pub type KeyHash = [u8; 32];

/// A key as it is shown to its owner, once. Its `Debug` shows nothing of it.
pub struct KeyText(String);

/// What is known of a key.
pub struct IssuedKey {
    /// Names it in lists, records and revocations.
    pub id: String,
    /// The owner's issuer, by its URL.
    pub issuer: String,
    /// The owner.
    pub subject: String,
    /// Whose pseudonyms the caller's masked values get.
    pub tenant: String,
    /// What the owner gave it of their groups.
    pub groups: Vec<String>,
    /// When it ends, seconds since 1970.
    pub expires_unix: u64,
    /// By which it is found.
    pub hash: KeyHash,
    /// When it ends at the latest, wherever the system's clock is set (see [`crate::clock`]).
    latest_end: Option<Instant>,
    /// When it was last used, to the minute; 0 for never.
    last_used_unix: AtomicU64,
}

/// All keys, as cores see them.
#[derive(Default)]
pub struct KeyTable {
    by_hash: HashMap<KeyHash, Arc<IssuedKey>, foldhash::fast::RandomState>,
}

// === impl KeyText ===

impl KeyText {
    /// A new key.
    ///
    /// # Panics
    /// When the operating system has no random numbers: nothing else here would be safe then.
    #[must_use]
    pub fn draw() -> Self {
        // The largest multiple of 62 below 256: what lies above would prefer some signs.
        const FAIR: u8 = 248;
        let mut text = String::with_capacity(KEY_BYTES);
        text.push_str(KEY_PREFIX);
        let mut bytes = [0; 2 * SECRET_SIGNS];
        while text.len() < KEY_PREFIX.len() + SECRET_SIGNS {
            aws_lc_rs::rand::fill(&mut bytes).expect("the system's random numbers fail");
            let wanted = KEY_PREFIX.len() + SECRET_SIGNS - text.len();
            let fair = bytes.iter().filter(|byte| **byte < FAIR).take(wanted);
            text.extend(fair.map(|byte| char::from(DIGITS[usize::from(byte % 62)])));
        }
        let checksum = checksum(&text.as_bytes()[KEY_PREFIX.len()..]);
        text.extend(checksum.map(char::from));
        Self(text)
    }

    /// The key.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// By which it is found.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        *blake3::hash(self.0.as_bytes()).as_bytes()
    }

    /// Its first signs, to tell it from others of its owner.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("{}…", &self.0[..KEY_PREFIX.len() + HINT_SIGNS])
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(redacted)")
    }
}

/// Whether a credential claims to be a key of ours.
pub(super) fn is_key(credential: &[u8]) -> bool {
    credential.starts_with(KEY_PREFIX.as_bytes())
}

/// The hash by which a key is found, unless it is mistyped or cut short.
pub(super) fn key_hash(credential: &[u8]) -> Option<KeyHash> {
    let body = credential.strip_prefix(KEY_PREFIX.as_bytes())?;
    if body.len() != SECRET_SIGNS + CHECKSUM_SIGNS {
        return None;
    }
    let (secret, stated) = body.split_at(SECRET_SIGNS);
    (checksum(secret)[..] == *stated).then(|| *blake3::hash(credential).as_bytes())
}

/// CRC-32 in base 62, the highest digit first.
fn checksum(secret: &[u8]) -> [u8; CHECKSUM_SIGNS] {
    let mut rest = crc32fast::hash(secret);
    let mut signs = [0; CHECKSUM_SIGNS];
    for sign in signs.iter_mut().rev() {
        *sign = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    signs
}

// === impl IssuedKey ===

impl IssuedKey {
    /// A key that was last used at `last_used_unix`; 0 for never. It has, from now on, as much time as
    /// is left until `expires_unix`.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is a column of the state")]
    pub fn new(
        id: String,
        issuer: String,
        subject: String,
        tenant: String,
        groups: Vec<String>,
        expires_unix: u64,
        hash: KeyHash,
        last_used_unix: u64,
    ) -> Self {
        Self {
            id,
            issuer,
            subject,
            tenant,
            groups,
            expires_unix,
            hash,
            latest_end: clock::comes_at(expires_unix),
            last_used_unix: AtomicU64::new(last_used_unix),
        }
    }

    /// The same key with another, earlier end.
    #[must_use]
    pub fn ending(&self, expires_unix: u64) -> Self {
        let mut key = Self::new(
            self.id.clone(),
            self.issuer.clone(),
            self.subject.clone(),
            self.tenant.clone(),
            self.groups.clone(),
            expires_unix,
            self.hash,
            self.last_used_unix(),
        );
        let ends = key.latest_end.into_iter().chain(self.latest_end);
        key.latest_end = ends.min();
        key
    }

    /// Whether its time is over, by either clock.
    pub(crate) fn is_over(&self, now_unix: u64) -> bool {
        self.expires_unix <= now_unix || self.latest_end.is_some_and(|at| at <= Instant::now())
    }

    /// When it was last used, to the minute; 0 for never.
    pub fn last_used_unix(&self) -> u64 {
        self.last_used_unix.load(Ordering::Relaxed)
    }

    /// Notes a use; a store at most once a minute, so that cores do not fight over it.
    pub(super) fn used(&self, now_unix: u64) {
        if now_unix.saturating_sub(self.last_used_unix()) >= USE_STEP_S {
            self.last_used_unix.store(now_unix, Ordering::Relaxed);
        }
    }

    /// Whoever presents it.
    pub(crate) fn principal(&self) -> Principal {
        Principal::by_key(self)
    }
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedKey")
            .field("id", &self.id)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

// === impl KeyTable ===

impl KeyTable {
    /// Of these keys.
    pub fn of(keys: impl IntoIterator<Item = Arc<IssuedKey>>) -> Self {
        Self {
            by_hash: keys.into_iter().map(|key| (key.hash, key)).collect(),
        }
    }

    /// The key with this hash. What a look-up's time tells is about the hash of a secret, not the
    /// secret; the last comparison tells nothing at all.
    pub(super) fn find(&self, hash: &KeyHash) -> Option<&Arc<IssuedKey>> {
        let key = self.by_hash.get(hash)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(&key.hash, hash)
            .ok()
            .map(|()| key)
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyTable({})", self.by_hash.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_and_no_typing_error_gets_that_far() {
        let key = KeyText::draw();
        let text = key.expose();
        assert_eq!(text.len(), KEY_BYTES);
        assert_eq!(key_hash(text.as_bytes()), Some(key.hash()));
        assert!(text.starts_with("pk_") && key.hint().len() < 12);
        assert!(!format!("{key:?}").contains(&text[3..]));
        let mut wrong = text.as_bytes().to_vec();
        for at in 3..wrong.len() {
            let sign = wrong[at];
            wrong[at] = if sign == b'x' { b'y' } else { b'x' };
            assert_eq!(key_hash(&wrong), None, "sign {at}");
            wrong[at] = sign;
        }
        for bad in [&text[..text.len() - 1], &format!("{text}0"), "pk_", ""] {
            assert_eq!(key_hash(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn keys_differ_and_use_every_sign() {
        let keys: Vec<String> = (0..64)
            .map(|_| KeyText::draw().expose().to_owned())
            .collect();
        for sign in DIGITS {
            let sign = char::from(*sign);
            assert!(keys.iter().any(|key| key[3..46].contains(sign)), "{sign}");
        }
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn a_use_is_noted_once_a_minute() {
        let (id, hash) = (String::new(), [0; 32]);
        let text = String::new;
        let key = IssuedKey::new(id, text(), text(), text(), Vec::new(), 9, hash, 0);
        key.used(1000);
        key.used(1059);
        assert_eq!(key.last_used_unix(), 1000);
        key.used(1060);
        assert_eq!(key.last_used_unix(), 1060);
        assert_eq!(key.ending(5).last_used_unix(), 1060);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_a_key_no_more_time() {
        let now = crate::exchange::unix_seconds();
        let key = |expires_unix| {
            let text = String::new;
            IssuedKey::new(
                text(),
                text(),
                text(),
                text(),
                Vec::new(),
                expires_unix,
                [0; 32],
                0,
            )
        };
        let good = key(now + 3600);
        assert!(!good.is_over(now) && good.is_over(now + 3600));
        let over = key(now);
        assert!(over.is_over(now) && over.is_over(now - 3600));
        // An earlier end is no new beginning either.
        assert!(over.ending(now + 3600).is_over(now));
        assert!(good.ending(now).is_over(now - 3600));
    }
}
