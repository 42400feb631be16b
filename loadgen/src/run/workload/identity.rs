//! Who asks: no one, one caller, or many, each with a token of its own.

use rand::RngExt as _;
use rand::rngs::StdRng;

/// The most identities of one run.
pub const IDENTITIES_MAX: usize = 1_000_000;

/// Lines of heads, ready to send. Debug output does not show them.
#[derive(Clone, Default)]
pub struct Identities {
    lines: Vec<String>,
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} identities", self.lines.len())
    }
}

// === impl Identities ===

impl Identities {
    /// Bearers of these tokens, drawn with equal chances.
    pub fn bearers<S: AsRef<str>>(tokens: impl IntoIterator<Item = S>) -> Result<Self, String> {
        let mut lines = Vec::new();
        for token in tokens {
            let token = token.as_ref();
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                let which = lines.len() + 1;
                return Err(format!(
                    "token {which} has characters that no header may have"
                ));
            }
            lines.push(format!("authorization: Bearer {token}\r\n"));
        }
        if lines.len() > IDENTITIES_MAX {
            return Err(format!("more than {IDENTITIES_MAX} tokens"));
        }
        Ok(Self { lines })
    }

    /// How many there are; none asks as nobody.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn pick(&self, rng: &mut StdRng) -> u32 {
        match self.lines.len() {
            0 | 1 => 0,
            many => rng.random_range(0..many as u32), // at most IDENTITIES_MAX
        }
    }

    pub(super) fn line(&self, identity: u32) -> &str {
        self.lines.get(identity as usize).map_or("", String::as_str)
    }
}
