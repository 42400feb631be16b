//! What is looked at in the text of an answer once it is there: whether it is the one expected,
//! where masks stand in it, whether a planted secret came back.

use regex::Regex;

/// What stands in the place of a masked value, by the templates of the shipped rules:
/// `[masked:rule]`, `[email:1f2e3d4c]`, `<customer:1f2e3d4c>`, `[card ending 1111]`.
pub const MASK_PATTERN: &str = r"\[masked:[^\]\s]{1,64}\]|[\[<][a-z][a-z0-9-]{1,32}:[0-9a-f]{4,16}[\]>]|[\[<][a-z]{2,16} ending [0-9A-Za-z]{2,8}[\]>]";

/// Which text an answer should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Any.
    Any,
    /// The one whose BLAKE3 is this.
    Hash([u8; 32]),
    /// The one whose BLAKE3 the answer's own head states (`x-text-blake3`); one that states
    /// nothing is as good as another text.
    Stated,
}

/// What to look for.
#[derive(Clone, Debug)]
pub struct Checks {
    /// The text.
    pub expected: Expected,
    /// Masks; nothing is looked for when absent.
    pub masks: Option<Regex>,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// It is another text than the one expected.
    pub altered: bool,
    /// Places where a mask stands.
    pub masked_spans: u64,
    /// The planted secret is in it.
    pub leaked: bool,
}

// === impl Checks ===

impl Checks {
    /// Counts masks as the shipped rules write them, and expects nothing of texts.
    pub fn usual() -> Self {
        Self {
            expected: Expected::Any,
            masks: Regex::new(MASK_PATTERN).ok(), // a constant, tried in a test
        }
    }

    /// Looks at the answer's text and at what is beside it (reasoning, arguments).
    pub fn look(
        &self,
        (said, beside): (&str, &str),
        stated: Option<[u8; 32]>,
        planted: Option<&str>,
    ) -> Findings {
        let expected = match self.expected {
            Expected::Any => None,
            Expected::Hash(hash) => Some(Some(hash)),
            Expected::Stated => Some(stated),
        };
        let altered = expected
            .is_some_and(|expected| expected != Some(*blake3::hash(said.as_bytes()).as_bytes()));
        let spans = |masks: &Regex, text: &str| {
            if text.is_empty() {
                0
            } else {
                masks.find_iter(text).count() as u64
            }
        };
        let masked_spans = self
            .masks
            .as_ref()
            .map_or(0, |masks| spans(masks, said) + spans(masks, beside));
        let leaked = planted.is_some_and(|value| said.contains(value) || beside.contains(value));
        Findings {
            altered,
            masked_spans,
            leaked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_the_shipped_rules_are_counted() {
        let text = "number <customer:6e1b7515>. Write to [email:42b39fa4]; her card is [card ending \
                    1111], her key [masked:aws-access-key-id], [see: above] and <b> and a[0:4]";
        let findings = Checks::usual().look((text, "[masked:x]"), None, None);
        assert_eq!(findings.masked_spans, 5);
    }

    #[test]
    fn texts_are_compared_by_their_hash() {
        let hash = *blake3::hash(b"as it was").as_bytes();
        let look = |expected, text, stated| {
            let checks = Checks {
                expected,
                masks: None,
            };
            checks.look((text, ""), stated, None).altered
        };
        assert!(!look(Expected::Any, "x", None));
        assert!(!look(Expected::Hash(hash), "as it was", None));
        assert!(look(Expected::Hash(hash), "as it is", None));
        assert!(!look(Expected::Stated, "as it was", Some(hash)));
        assert!(look(Expected::Stated, "as it is", Some(hash)));
        assert!(look(Expected::Stated, "as it was", None));
    }

    #[test]
    fn a_planted_value_is_found_wherever_it_is_said() {
        let look = |said, beside| Checks::usual().look((said, beside), None, Some("4111"));
        assert!(look("is 4111.", "").leaked && look("", "4111").leaked && !look("411", "1").leaked);
    }
}
