//! Sets of a scanner's rules, each rule with the least confidence that counts.

use super::RuleIndex;
use crate::rule::Confidence;

/// A set of a scanner's rules. A match of less than the rule's least confidence is, for whoever
/// asks with this set, no match.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RuleMask {
    words: Vec<u64>,
    /// By rule; any confidence counts for one that is not here.
    least: Vec<Confidence>,
}

// === impl RuleMask ===

impl RuleMask {
    /// The empty set, with room for so many rules.
    pub(super) fn none(rules: usize) -> RuleMask {
        RuleMask {
            words: vec![0; rules.div_ceil(64)],
            least: Vec::new(),
        }
    }

    /// Is the rule in the set?
    #[inline]
    pub fn contains(&self, rule: RuleIndex) -> bool {
        let word = self.words.get(usize::from(rule.0 >> 6));
        word.is_some_and(|word| word >> (rule.0 & 63) & 1 != 0)
    }

    /// The least confidence that counts for a rule.
    #[inline]
    pub fn least(&self, rule: RuleIndex) -> Confidence {
        let least = self.least.get(usize::from(rule.0));
        least.copied().unwrap_or(Confidence::Low)
    }

    /// Puts a rule in the set; its matches count whatever their confidence.
    pub fn insert(&mut self, rule: RuleIndex) {
        self.insert_from(rule, Confidence::Low);
    }

    /// Puts a rule in the set; its matches count from this confidence on.
    pub fn insert_from(&mut self, rule: RuleIndex, least: Confidence) {
        let word = usize::from(rule.0 >> 6);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (rule.0 & 63);
        let place = usize::from(rule.0);
        if place >= self.least.len() && least > Confidence::Low {
            self.least.resize(place + 1, Confidence::Low);
        }
        if let Some(of_rule) = self.least.get_mut(place) {
            *of_rule = least;
        }
    }

    /// Puts every rule of another set of the same scanner in this one.
    pub fn union(&mut self, other: &RuleMask) {
        for rule in other.iter() {
            let least = match self.contains(rule) {
                true => self.least(rule).min(other.least(rule)),
                false => other.least(rule),
            };
            self.insert_from(rule, least);
        }
    }

    /// Has the set no rule?
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The rules of the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = RuleIndex> + '_ {
        self.words.iter().enumerate().flat_map(|(word, bits)| {
            let bit = move |bit: &u16| bits >> bit & 1 != 0;
            (0..64_u16)
                .filter(bit)
                .map(move |bit| RuleIndex((word as u16) << 6 | bit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_takes_the_lesser_confidence() {
        let (mut left, mut right) = (RuleMask::default(), RuleMask::default());
        left.insert_from(RuleIndex(1), Confidence::High);
        right.insert_from(RuleIndex(1), Confidence::Medium);
        right.insert_from(RuleIndex(70), Confidence::High);
        left.union(&right);
        assert!(left.iter().eq([RuleIndex(1), RuleIndex(70)]));
        assert_eq!(left.least(RuleIndex(1)), Confidence::Medium);
        assert_eq!(left.least(RuleIndex(70)), Confidence::High);
        left.insert(RuleIndex(70));
        assert_eq!(left.least(RuleIndex(70)), Confidence::Low);
    }
}
