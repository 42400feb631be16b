//! The signature algorithms that a token may be signed with: asymmetric ones only.
//!
//! `none` and the HMAC family have no representation here, so nothing can accept them.

use jsonwebtoken::Algorithm;

/// A signature algorithm of RFC 7518, RFC 8037 and RFC 9864.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum SigningAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    /// `EdDSA` with Ed25519, the only curve accepted; RFC 9864 calls it `Ed25519`.
    Ed25519,
}

/// A set of algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AlgorithmSet(u16);

const ALL: [SigningAlgorithm; 9] = [
    SigningAlgorithm::Rs256,
    SigningAlgorithm::Rs384,
    SigningAlgorithm::Rs512,
    SigningAlgorithm::Ps256,
    SigningAlgorithm::Ps384,
    SigningAlgorithm::Ps512,
    SigningAlgorithm::Es256,
    SigningAlgorithm::Es384,
    SigningAlgorithm::Ed25519,
];

// === impl SigningAlgorithm ===

impl SigningAlgorithm {
    /// By its registered name, exactly as registered.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        if name == "EdDSA" {
            return Some(Self::Ed25519);
        }
        ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ed25519 => "Ed25519",
        }
    }

    pub(super) const fn verifier(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Rs384 => Algorithm::RS384,
            Self::Rs512 => Algorithm::RS512,
            Self::Ps256 => Algorithm::PS256,
            Self::Ps384 => Algorithm::PS384,
            Self::Ps512 => Algorithm::PS512,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::Ed25519 => Algorithm::EdDSA,
        }
    }
}

// === impl AlgorithmSet ===

impl AlgorithmSet {
    pub(super) const EMPTY: Self = Self(0);
    pub(super) const RSA: Self = Self(0b11_1111);

    pub(super) fn all() -> Self {
        ALL.into_iter().fold(Self::EMPTY, Self::with)
    }

    pub(super) fn only(algorithm: SigningAlgorithm) -> Self {
        Self::EMPTY.with(algorithm)
    }

    pub(super) fn with(self, algorithm: SigningAlgorithm) -> Self {
        Self(self.0 | 1 << algorithm as u8)
    }

    pub(super) fn contains(self, algorithm: SigningAlgorithm) -> bool {
        self.0 & 1 << algorithm as u8 != 0
    }

    pub(super) fn bits(self) -> u16 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for algorithm in ALL {
            assert_eq!(
                SigningAlgorithm::from_name(algorithm.name()),
                Some(algorithm)
            );
            assert_eq!(
                SigningAlgorithm::from_name(&algorithm.name().to_lowercase()),
                None
            );
        }
        assert_eq!(
            SigningAlgorithm::from_name("EdDSA"),
            Some(SigningAlgorithm::Ed25519)
        );
        for name in [
            "none", "None", "NONE", "", "HS256", "HS384", "HS512", "ES512", "ES256K",
        ] {
            assert_eq!(SigningAlgorithm::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn the_rsa_set_holds_rs_and_ps() {
        for algorithm in ALL {
            let rsa = algorithm.name().starts_with("RS") || algorithm.name().starts_with("PS");
            assert_eq!(AlgorithmSet::RSA.contains(algorithm), rsa);
            assert!(AlgorithmSet::all().contains(algorithm));
            assert!(!AlgorithmSet::EMPTY.contains(algorithm));
        }
    }
}
