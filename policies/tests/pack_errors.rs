//! What an operator is told about a pack that is wrong: where, what, and what was meant.

use penstock_policies::rule::{Confidence, Pack, PackError, Speaker};
use penstock_policies::scan::Scanner;

/// A good rule; a test replaces one of its lines.
const GOOD: &str = r#"[[rule]]
id = "acme-id"
description = "ACME number"
regex = 'ACME-[0-9]{4}'
max_len = 9
replace = "<{rule}>"
matches = ["ACME-1234"]
misses = ["ACME-1"]
"#;

fn errors(toml: &str) -> Vec<PackError> {
    Pack::parse("acme.toml", toml)
        .map(|pack| pack.rules)
        .expect_err("the pack is wrong")
}

/// The one error of the good rule with `line` in the place of the line that starts like it.
fn error_with(start: &str, line: &str) -> String {
    let lines = GOOD
        .lines()
        .map(|good| if good.starts_with(start) { line } else { good });
    let errors = errors(&lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

#[test]
fn the_good_rule_is_good() {
    let pack = Pack::parse("acme.toml", GOOD).expect("parses");
    assert_eq!(pack.rules[0].id(), "acme-id");
    assert_eq!(pack.rules[0].check_examples(), []);
}

#[test]
fn an_unknown_key_is_located_and_explained() {
    let text = error_with("max_len", "max_length = 9");
    assert!(
        text.starts_with("acme.toml:5:1: unknown field `max_length`"),
        "{text}"
    );
    assert!(text.ends_with("(did you mean `max_len`?)"), "{text}");
}

#[test]
fn broken_toml_is_located() {
    let errors = errors("[[rule]]\nid = \"a\nregex = 'x'\n");
    assert_eq!((errors[0].line, errors[0].pack.as_str()), (2, "acme.toml"));
}

#[test]
fn a_missing_key_is_named() {
    assert!(error_with("misses", "").contains("misses"));
}

#[test]
fn each_fault_of_a_rule_says_what_is_allowed() {
    let cases = [
        ("id", r#"id = "Acme_Id""#, "2:6", "lower-case"),
        (
            "description",
            r#"description = " ""#,
            "3:15",
            "what the rule finds",
        ),
        (
            "regex",
            "regex = 'ACME-([0-9]{4}'",
            "4:15",
            "unclosed group",
        ),
        ("regex", r"regex = 'ACME\B'", "4:14", "word boundaries"),
        ("regex", "regex = '(ACME)?'", "4:9", "empty"),
        (
            "max_len",
            "max_len = 3",
            "5:11",
            "at least the shortest match (9 bytes)",
        ),
        ("max_len", "max_len = 5000", "5:11", "at most 4096"),
        (
            "max_len",
            "validate = \"lunh\"",
            "5:12",
            "did you mean `luhn`?",
        ),
        ("max_len", "entropy = 9.0", "5:11", "bits a byte"),
        ("max_len", "after = 'a+'", "5:9", "bounded to 128 bytes"),
        ("max_len", "keywords = [\"\"]", "5:12", "not empty"),
        (
            "max_len",
            "context = { words = [], within = 9 }",
            "5:11",
            "one or more",
        ),
        (
            "max_len",
            "context = { words = [\"a\"], within = 999 }",
            "5:11",
            "1 to 128",
        ),
        (
            "max_len",
            "region = { end = 'x$', max = 99 }",
            "5:18",
            "no `^`, `$`",
        ),
        (
            "max_len",
            "region = { end = 'x', max = 1 }",
            "5:29",
            "opening's bound",
        ),
        ("replace", r#"replace = "a\"b""#, "6:11", "JSON"),
        ("replace", r#"replace = "{who}""#, "6:11", "no placeholder"),
        ("matches", "matches = []", "7:11", "at least one example"),
    ];
    for (start, line, place, part) in cases {
        let text = error_with(start, line);
        assert!(
            text.starts_with(&format!("acme.toml:{place}: rule `")),
            "{line}: {text}"
        );
        assert!(text.contains(part), "{line}: {text}");
    }
}

/// The fields that say what stands around a match, and what a match is worth.
#[test]
fn each_fault_around_a_match_says_what_is_allowed() {
    let cases = [
        ("before = 'a+'", "5:10", "bounded to 64 bytes"),
        ("before = 'a?'", "5:10", "always stands"),
        ("before = '(x'", "5:11", "unclosed group"),
        ("context = { words = ['a'] }", "5:11", "how near"),
        (
            "context = { words = ['a'], after = 0 }",
            "5:11",
            "`after` is 1 to 128",
        ),
        (
            "context = { words = ['ab'], after = 1 }",
            "5:11",
            "no longer than",
        ),
        ("allow = {}", "5:9", "names `values`, `words` or `regexes`"),
        ("allow = { words = [''] }", "5:9", "empty word"),
        ("allow = { regexes = ['a', 'x*'] }", "5:27", "empty text"),
        ("confidence = 'hihg'", "5:14", "did you mean `high`?"),
        (
            "confirm = {}",
            "5:11",
            "names `words`, `validate` or `entropy`",
        ),
        ("confirm = { within = 3 }", "5:11", "name them"),
        (
            "confirm = { validate = 'lunh' }",
            "5:24",
            "did you mean `luhn`?",
        ),
        ("confirm = { entropy = 8.0 }", "5:23", "bits a byte"),
        ("roles = []", "5:9", "one or more of system, user"),
        ("roles = ['user', 'tol']", "5:18", "did you mean `tool`?"),
    ];
    for (line, place, part) in cases {
        let text = error_with("max_len", line);
        assert!(
            text.starts_with(&format!("acme.toml:{place}: rule `")),
            "{line}: {text}"
        );
        assert!(text.contains(part), "{line}: {text}");
    }
    let toml = GOOD.replace("max_len = 9", "max_len = 4090\nbefore = 'x{7}'");
    let text = errors(&toml.replace("{4}", "+"))[0].to_string();
    assert!(text.contains("more than the 4096"), "{text}");
}

#[test]
fn what_stands_around_a_match_is_read() {
    let lines = "max_len = 9
before = '[ ;]|$'
context = { words = ['Order'], after = 12 }
allow = { values = ['ACME-0000'], words = ['TEST'], regexes = ['^A.*9$'] }
confidence = 'low'
confirm = { words = ['id'], within = 5, entropy = 2.5 }
roles = ['tool', 'document']";
    let pack = Pack::parse("acme.toml", &GOOD.replace("max_len = 9", lines)).expect("parses");
    let rule = &pack.rules[0];
    assert_eq!(rule.before(), Some("[ ;]|$"));
    let context = rule.context().expect("is given");
    assert_eq!((context.within, context.after), (0, 12));
    let allow = rule.allow().expect("is given");
    assert_eq!((&*allow.values[0], &*allow.words[0]), ("acme-0000", "test"));
    assert!(allow.regexes().eq(["^A.*9$"]));
    assert_eq!(rule.confidence(), Confidence::Low);
    assert_eq!(rule.confidence_max(), Confidence::High);
    let confirm = rule.confirm().expect("is given");
    assert_eq!(confirm.entropy_bits_min, Some(2.5));
    assert!(rule.is_about(Speaker::Tool) && !rule.is_about(Speaker::User));
}

#[test]
fn an_unbounded_expression_must_be_given_a_bound() {
    let toml = GOOD.replace("max_len = 9\n", "").replace("{4}", "+");
    assert!(errors(&toml)[0].reason.contains("give max_len"));
    assert!(Pack::parse("acme.toml", &GOOD.replace("{4}", "+")).is_ok());
}

#[test]
fn all_faults_are_told_in_order() {
    let broken = GOOD
        .replace("acme-id", "B")
        .replace("<{rule}>", "{")
        .replace("max_len = 9", "entropy = 0.0");
    let lines: Vec<usize> = errors(&format!("{GOOD}{broken}"))
        .iter()
        .map(|e| e.line)
        .collect();
    assert_eq!(lines, [10, 13, 14]);
    let twice = errors(&format!("{GOOD}{GOOD}"));
    assert!(twice[0].reason.contains("same id"), "{twice:?}");
}

#[test]
fn a_rule_that_costs_too_much_is_named_with_its_cost() {
    let toml = GOOD
        .replace("ACME-[0-9]{4}", "(?:[ab]{0,40}a[ab]{14})c")
        .replace("max_len = 9", "max_len = 60");
    let rules = Pack::parse("acme.toml", &toml)
        .expect("its syntax is right")
        .rules;
    let errors = Scanner::compile(rules).expect_err("its automaton is too big");
    let text = errors[0].to_string();
    assert!(
        text.starts_with("rule `acme-id`: ") && text.contains("iB"),
        "{text}"
    );
}

#[test]
fn a_slow_rule_is_named_with_its_cost_and_what_to_do() {
    let slow_rules = |regex: &str| {
        let toml = GOOD
            .replace("ACME-[0-9]{4}", regex)
            .replace("max_len = 9", "max_len = 60");
        let rules = Pack::parse("acme.toml", &toml).expect("parses").rules;
        Scanner::compile(rules).expect("compiles").slow_rules()
    };
    let told = slow_rules("[a-z ]{9,20}[0-9]");
    assert!(
        told[0].starts_with("rule \"acme-id\" is slow: it is tried at"),
        "{told:?}"
    );
    assert!(
        told[0].contains("let it begin with a fixed text"),
        "{told:?}"
    );
    assert!(slow_rules("ACME-[0-9]{4}").is_empty());
    // Told by the byte that it cannot do without.
    assert!(slow_rules("[a-z]{1,20}@[a-z]").is_empty());
}

#[test]
fn an_example_that_does_not_hold_is_told() {
    let toml = GOOD
        .replace("[\"ACME-1\"]", "[\"an ACME-9999\"]")
        .replace("[\"ACME-1234\"]", "[\"x\"]");
    let rules = Pack::parse("acme.toml", &toml).expect("parses").rules;
    let told: Vec<String> = rules[0]
        .check_examples()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "rule `acme-id`: in `matches`, \"x\" gave no match",
            "rule `acme-id`: in `misses`, \"an ACME-9999\" gave a match: \"ACME-9999\"",
        ]
    );
}
