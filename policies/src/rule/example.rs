//! Examples are tests: each is run through a whole scanner that has the one rule.

use std::fmt;

use super::Rule;
use crate::scan::Scanner;

/// Which promise an example makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExampleKind {
    /// The rule must find something in it.
    Matches,
    /// The rule must find nothing in it.
    Misses,
}

/// An example whose promise does not hold, or a rule that does not compile at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleFailure {
    /// The rule's id.
    pub rule: String,
    /// What was promised.
    pub kind: ExampleKind,
    /// The example's text, `{+}` removed.
    pub example: String,
    /// What happened instead.
    pub found: String,
}

// === impl Rule ===

impl Rule {
    /// Runs the rule's own examples and tells which do not hold.
    pub fn check_examples(&self) -> Vec<ExampleFailure> {
        let failure = |kind, example: &str, found: String| ExampleFailure {
            rule: self.id.clone(),
            kind,
            example: example.to_owned(),
            found,
        };
        let scanner = match Scanner::compile(vec![self.clone()]) {
            Ok(scanner) => scanner,
            Err(errors) => {
                return errors
                    .iter()
                    .map(|error| failure(ExampleKind::Matches, "", error.to_string()))
                    .collect();
            }
        };
        let all = scanner.all();
        let mut failures = Vec::new();
        for example in &self.matches {
            if scanner.find(&all, example).is_empty() {
                failures.push(failure(
                    ExampleKind::Matches,
                    example,
                    "no match".to_owned(),
                ));
            }
        }
        for example in &self.misses {
            if let Some(found) = scanner.find(&all, example).first() {
                let text = format!("a match: {:?}", &example[found.start..found.end]);
                failures.push(failure(ExampleKind::Misses, example, text));
            }
        }
        failures
    }
}

// === impl ExampleFailure ===

impl fmt::Display for ExampleFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = match self.kind {
            ExampleKind::Matches => "matches",
            ExampleKind::Misses => "misses",
        };
        write!(
            f,
            "rule `{}`: in `{list}`, {:?} gave {}",
            self.rule, self.example, self.found
        )
    }
}
