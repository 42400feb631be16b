//! A gitleaks configuration that the user gives: its rules for us, its expressions as they stand
//! for Vectorscan.

use std::fs;
use std::path::Path;

use penstock_policies::Library;
use penstock_policies::rule::{Pack, Rule};

use super::vectorscan::Expression;
use crate::error::{Doing, Error, Result};

/// Its rules, its expressions, and what was left out with the reason.
type Read = (Vec<Rule>, Vec<Expression>, Vec<String>);

pub(super) fn read(path: &Path) -> Result<Read> {
    let text = fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
    let expressions = expressions(&text)?;
    // As the product imports it; where it does not, the bare expressions as far as they go.
    let library = Library::read_files(&[path]);
    let mut left_out = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    match library {
        Ok(library) => rules.extend(library.packs().iter().flat_map(|pack| pack.rules.clone())),
        Err(errors) => {
            left_out.extend(errors.first().map(|error| format!("not imported: {error}")));
            for expression in &expressions {
                match rule(expression) {
                    Ok(rule) => rules.push(rule),
                    Err(reason) => left_out.push(format!("{}: {reason}", expression.id)),
                }
            }
        }
    }
    Ok((rules, expressions, left_out))
}

/// The expressions of its rules; a rule that looks at paths alone has none.
fn expressions(text: &str) -> Result<Vec<Expression>> {
    let file: toml::Table = text
        .parse()
        .map_err(|error| Error::Unable(format!("a gitleaks configuration: {error}")))?;
    let rules = file.get("rules").and_then(toml::Value::as_array);
    let rules = rules.ok_or_else(|| Error::Unable("no [[rules]] in that file".to_owned()))?;
    let word = |rule: &toml::Value, key: &str| Some(rule.get(key)?.as_str()?.to_owned());
    let expression = |rule: &toml::Value| {
        Some(Expression {
            id: word(rule, "id")?.replace(' ', "-"),
            regex: word(rule, "regex")?,
        })
    };
    Ok(rules.iter().filter_map(expression).collect())
}

/// The expression alone as a rule of ours.
fn rule(expression: &Expression) -> std::result::Result<Rule, String> {
    let literal = toml::Value::from(expression.regex.as_str());
    let body = |bound: &str| {
        format!(
            "[[rule]]\nid = {:?}\ndescription = \"gitleaks\"\nregex = {literal}\n{bound}\
             matches = [\"\"]\nmisses = [\"\"]\n",
            expression.id.to_lowercase()
        )
    };
    let parse = |bound: &str| Pack::parse("gitleaks", &body(bound));
    let pack = parse("").or_else(|_| parse("max_len = 4096\n"));
    let pack = pack.map_err(|errors| {
        let first = errors.first();
        first.map(ToString::to_string).unwrap_or_default()
    })?;
    let rule = pack.rules.into_iter().next();
    rule.ok_or_else(|| "no rule came of it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_and_rules_are_read() {
        let text = "title = 'x'\n[[rules]]\nid = 'A key'\nregex = '''\\bkey-[0-9]{8}\\b'''\n\
                    [[rules]]\nid = 'path-only'\npath = 'x'\n";
        let expressions = expressions(text).expect("is TOML");
        assert_eq!(expressions.len(), 1);
        assert_eq!(expressions[0].id, "A-key");
        assert_eq!(
            rule(&expressions[0]).expect("parses").regex(),
            r"\bkey-[0-9]{8}\b"
        );
        assert!(super::expressions("title = 'x'").is_err());
    }
}
