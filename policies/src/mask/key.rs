//! The secret from which replacements are derived, and what is derived from it.
//!
//! Everything is BLAKE3 under a key: equal values get equal replacements, and without the key
//! nobody can try values out.

/// What sets the key of a tenant apart from a digest of a value.
const TENANT_CONTEXT: &[u8] = b"penstock tenant\0";

/// The key of replacements: who has it can test guesses, nobody else can.
#[derive(Clone)]
pub struct MaskKey([u8; 32]);

// === impl MaskKey ===

impl MaskKey {
    /// Takes a key; 32 random bytes, kept secret and kept the same for replacements to stay equal.
    pub fn new(key: [u8; 32]) -> MaskKey {
        MaskKey(key)
    }

    /// The key of one tenant: the same for the same tenant for as long as this key is, and telling
    /// nothing of any other's, so that one tenant's replacements cannot be looked up in another's.
    pub fn for_tenant(&self, tenant: &str) -> MaskKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(TENANT_CONTEXT).update(tenant.as_bytes());
        MaskKey(*hasher.finalize().as_bytes())
    }

    /// What is drawn for a value under a rule, as many bytes as are read from it.
    pub(crate) fn digest(&self, rule: &str, value: &str) -> blake3::OutputReader {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher
            .update(rule.as_bytes())
            .update(&[0])
            .update(value.as_bytes());
        hasher.finalize_xof()
    }
}

impl std::fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaskKey(..)")
    }
}
