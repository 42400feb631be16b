//! The sets of rules that the text commands measure with.

use std::collections::BTreeSet;

use penstock_policies::mask::Plan;
use penstock_policies::rule::{Pack, Rule, shipped};
use penstock_policies::scan::Scanner;

use crate::dice::Dice;
use crate::error::{Error, Result};

/// Names of the sets of shipped rules, from the one that holds least to the one that holds most.
pub const NAMES: [&str; 5] = ["secrets", "customer", "no-email", "personal", "everything"];

/// What each set is, for people.
pub fn describe(name: &str) -> &'static str {
    match name {
        "secrets" => "the secrets pack",
        "customer" => "secrets and customer",
        "no-email" => "secrets, customer and personal without its e-mail rules",
        "personal" => "secrets, customer and personal",
        "everything" => "every shipped pack",
        _ => "",
    }
}

/// The rules of a named set.
pub fn named(name: &str) -> Result<Vec<Rule>> {
    let no_email = |rule: &Rule| !rule.id().contains("email");
    Ok(match name {
        "secrets" => of_packs(&["secrets"])?,
        "customer" => of_packs(&["secrets", "customer"])?,
        "personal" => of_packs(&["secrets", "customer", "personal"])?,
        "no-email" => named("personal")?.into_iter().filter(no_email).collect(),
        "everything" => {
            let packs: BTreeSet<&str> = shipped().iter().map(|(name, _)| *name).collect();
            of_packs(&packs.into_iter().collect::<Vec<_>>())?
        }
        _ => {
            let names = NAMES.join(", ");
            return Err(Error::Unable(format!(
                "no set of rules `{name}`; there are: {names}"
            )));
        }
    })
}

/// The rules of these shipped packs, in the order of the packs as shipped.
pub fn of_packs(names: &[&str]) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (name, toml) in shipped().iter().filter(|(name, _)| names.contains(name)) {
        rules.extend(parse(name, toml)?);
    }
    Ok(rules)
}

/// Parses a pack.
pub fn parse(name: &str, toml: &str) -> Result<Vec<Rule>> {
    match Pack::parse(name, toml) {
        Ok(pack) => Ok(pack.rules),
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(Error::Unable(errors.join("\n")))
        }
    }
}

/// Compiles rules.
pub fn compile(rules: Vec<Rule>) -> Result<Scanner> {
    Scanner::compile(rules).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Error::Unable(errors.join("\n"))
    })
}

/// Compiles the rules that compile; the others are told with their reason.
pub fn compile_most(mut rules: Vec<Rule>) -> Result<(Scanner, Vec<String>)> {
    let mut left_out = Vec::new();
    loop {
        match Scanner::compile(rules.clone()) {
            Ok(scanner) => return Ok((scanner, left_out)),
            Err(errors) => {
                let before = rules.len();
                rules.retain(|rule| errors.iter().all(|error| error.rule != rule.id()));
                left_out.extend(errors.iter().map(ToString::to_string));
                if rules.len() == before {
                    return Err(Error::Unable(left_out.join("\n")));
                }
            }
        }
    }
}

/// A plan that replaces every match of every rule.
pub fn mask_all(scanner: &Scanner) -> Plan {
    Plan {
        mask: scanner.all(),
        watch: scanner.none(),
    }
}

/// `count` rules in the manner of vendors' tokens, as TOML: a prefix of its own and an alphabet,
/// and of every eighth the value behind a name. A smaller count is a beginning of a larger one.
pub fn generated(count: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
    let mut dice = Dice::new(0x7275_6c65);
    let mut seen = BTreeSet::new();
    let mut toml = String::new();
    while seen.len() < count {
        let length = 3 + dice.below(5);
        let prefix = dice.word(LETTERS, length);
        let classes = [
            "[0-9a-f]",
            "[A-Za-z0-9]",
            "[a-z0-9]",
            "[A-Za-z0-9_-]",
            "[A-Z2-7]",
        ];
        let class = *dice.pick(&classes);
        let size = *dice.pick(&[20, 24, 32, 36, 40, 48, 64]);
        let separator = *dice.pick(&["_", "-", "_live_", "-v1-", "_pat_"]);
        let named = dice.below(8) == 0;
        if !seen.insert(prefix.clone()) {
            continue;
        }
        let expression = match named {
            true => format!(
                "regex = '{class}{{{size}}}\\b'\n\
                 after = '''(?i)\\b{prefix}[_-]?(?:key|token|secret)[\"']?\\s?[:=]\\s?[\"']?'''"
            ),
            false => format!("regex = '\\b{prefix}{separator}{class}{{{size}}}\\b'"),
        };
        toml.push_str(&format!(
            "[[rule]]\nid = \"generated-{}\"\ndescription = \"{prefix}\"\n{expression}\n\
             matches = [\"\"]\nmisses = [\"\"]\n\n",
            seen.len()
        ));
    }
    toml
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_set_compiles() {
        for name in NAMES {
            let rules = named(name).expect("is shipped");
            assert!(!rules.is_empty() && !describe(name).is_empty());
        }
        assert!(named("none").is_err());
    }

    #[test]
    fn generated_rules_nest() {
        let rules = |count| parse("generated", &generated(count)).expect("parses");
        let (few, many) = (rules(10), rules(60));
        assert_eq!((few.len(), many.len()), (10, 60));
        assert!(few.iter().zip(&many).all(|(a, b)| a.regex() == b.regex()));
        assert!(many.iter().any(|rule| rule.after().is_some()));
        compile(many).expect("compiles");
    }
}
