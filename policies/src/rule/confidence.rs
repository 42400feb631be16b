//! How sure a match is, and what may make it surer.
//!
//! A rule says what a bare match of it is worth. What `confirm` asks for raises that to
//! [`Confidence::High`], any one of it; a guard says from which confidence on it listens.

use super::{Context, Validator, entropy_bits};

/// How sure it is that a match is what its rule looks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// The shape is common; most such texts are something else.
    Low,
    /// More likely than not.
    Medium,
    /// The shape, a checksum or the words around it leave little doubt.
    #[default]
    High,
}

/// What raises a match to [`Confidence::High`]: any of these that holds.
#[derive(Clone, Debug, Default)]
pub struct Confirm {
    /// A word near the match.
    pub context: Option<Context>,
    /// What accepts the value.
    pub validator: Option<Validator>,
    /// Entropy of the value, in bits a byte.
    pub entropy_bits_min: Option<f64>,
}

// === impl Confidence ===

impl Confidence {
    /// Every confidence, the least first.
    pub const ALL: [Confidence; 3] = [Confidence::Low, Confidence::Medium, Confidence::High];

    /// The word used in packs, policy files and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Confidence::Low => "low",
            Confidence::Medium => "medium",
            Confidence::High => "high",
        }
    }

    /// The confidence of that name.
    pub fn from_name(name: &str) -> Option<Confidence> {
        Confidence::ALL
            .into_iter()
            .find(|confidence| confidence.as_str() == name)
    }
}

impl std::fmt::Display for Confidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Confirm ===

impl Confirm {
    /// Does the value alone confirm the match?
    pub fn accepts(&self, value: &str) -> bool {
        self.entropy_bits_min
            .is_some_and(|min| entropy_bits(value) >= min)
            || self
                .validator
                .is_some_and(|validator| validator.accepts(value))
    }
}
