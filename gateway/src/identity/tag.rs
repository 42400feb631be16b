//! Tags by which verified tokens are known again.
//!
//! A tag is POLYVAL (RFC 8452, section 3) of the token and its length, under a key that lives and
//! dies with the process. That is universal hashing: of any two tokens, chosen without knowing the
//! key, the tags are equal with a chance of no more than (bytes / 16 + 2) / 2¹²⁸, and no tag ever
//! leaves the process. So a token that was never verified does not pass for one that was. With an
//! instruction for carry-less products, which every server has, it takes a seventh of the time of a
//! cryptographic hash, and it is taken for every request.
//!
//! Unlike such a hash it is linear: whoever holds both key and tag, as in a dump of the process, has
//! 128 equations about the token. A signature has more unknowns than that, an opaque token may not:
//! so only signed tokens are known by tags, others by a keyed hash.

use std::fmt;

use polyval::universal_hash::UniversalHash as _;
use polyval::{KEY_SIZE, Polyval};

/// The tag of a signed token.
pub(super) type Tag = [u8; 16];

/// Makes tags.
pub(super) struct Tagger(Polyval);

// === impl Tagger ===

impl Tagger {
    /// With a key of its own.
    ///
    /// # Panics
    /// When the operating system has no random numbers: nothing else here would be safe then.
    pub(super) fn new() -> Tagger {
        let mut key = [0; KEY_SIZE];
        aws_lc_rs::rand::fill(&mut key).expect("the system has random numbers");
        Tagger(Polyval::new(&key.into()))
    }

    /// The tag of a token.
    pub(super) fn tag(&self, token: &[u8]) -> Tag {
        let mut hash = self.0.clone();
        hash.update_padded(token);
        // Behind what was filled up with zeros: tokens of different lengths differ.
        hash.update(&[(token.len() as u128).to_le_bytes().into()]);
        hash.finalize().into()
    }
}

impl fmt::Debug for Tagger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tagger(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Tagger;

    #[test]
    fn tags_tell_tokens_apart() {
        let tagger = Tagger::new();
        let token: Vec<u8> = (0..700_u32).map(|at| b'!' + (at * 31 % 94) as u8).collect();
        let mut tags: HashSet<_> = (0..=token.len())
            .map(|len| tagger.tag(&token[..len]))
            .collect();
        for at in 0..token.len() {
            let mut other = token.clone();
            other[at] ^= 1;
            tags.insert(tagger.tag(&other));
        }
        let padded: Vec<u8> = token[..33].iter().copied().chain([0; 15]).collect();
        tags.insert(tagger.tag(&padded));
        assert_eq!(tags.len(), 701 + 700 + 1);
        assert_eq!(tagger.tag(&token), tagger.tag(&token));
        assert_ne!(tagger.tag(&token), Tagger::new().tag(&token));
    }

    /// RFC 8452, section 3: the hash, of one block and its length, by the definition bit by bit.
    #[test]
    fn a_tag_is_polyval() {
        /// x⁻¹²⁸ of a product in GF(2¹²⁸) modulo x¹²⁸ + x¹²⁷ + x¹²⁶ + x¹²¹ + 1.
        fn dot(a: u128, b: u128) -> u128 {
            let mut sum = 0_u128;
            for bit in 0..128 {
                // From the lowest power up; a division by x after each.
                if b >> bit & 1 == 1 {
                    sum ^= a;
                }
                let odd = sum & 1;
                sum >>= 1;
                if odd == 1 {
                    sum ^= 1 << 127 | 1 << 126 | 1 << 125 | 1 << 120;
                }
            }
            sum
        }
        let key = u128::from_le_bytes(*b"a key of 16 byte");
        let tagger = Tagger(polyval::Polyval::new(&key.to_le_bytes().into()));
        let token = *b"eyJhbGciOiJub25l";
        let first = dot(u128::from_le_bytes(token), key);
        let expected = dot(first ^ 16, key);
        assert_eq!(tagger.tag(&token), expected.to_le_bytes());
    }
}
