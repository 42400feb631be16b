//! Policy folders, good and bad: what an operator reads about each slip.

mod support;

use penstock_policies::{Action, Operation, PolicyError};
use support::{everyone, load, write};

const GRANT: &str = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n";

fn guard(lines: &str) -> String {
    format!(
        "[[guard]]\nname = \"g\"\ndirection = \"request\"\npacks = [\"secrets\"]\naction = \"block\"\n{lines}"
    )
}

#[test]
fn bad_files_and_what_is_said_about_them() {
    let cases: &[(&str, &str)] = &[
        (
            "x = 1",
            "main.toml:1:1: unknown key \"x\"; known here: grant, guard, hold, tokenizer",
        ),
        (
            "[[grants]]\n",
            "main.toml:1:3: unknown key \"grants\"; did you mean \"grant\"?",
        ),
        (
            "[[grant]]\ngroups = [\"a\"]\nmodles = [\"b\"]\noperations = [\"infer\"]",
            "main.toml:3:1: unknown key \"modles\"; did you mean \"models\"?",
        ),
        (
            "[[grant]]\ngroups = [\"a\"]\noperations = [\"models\"]\nlimits = { prompt_token = 1 }",
            "main.toml:4:12: unknown key \"prompt_token\"; did you mean \"prompt_tokens\"?",
        ),
        (
            "[[grant]]\ngroups = [\"a\"]\nmodels = [\"*\"]\noperations = [\"infre\"]",
            "main.toml:4:15: unknown operation \"infre\"; did you mean \"infer\"?",
        ),
        (
            "[[grant]]\ngroups = [\"a\"]\noperations = [\"infer\"]",
            "main.toml:1:1: a grant of \"infer\" must name its models ([\"*\"] is all)",
        ),
        (
            "[[grant]]\ngroups = []\noperations = [\"models\"]",
            "main.toml:1:1: a grant must name its groups (\"*\" is every group)",
        ),
        (
            "[[grant]]\noperations = [\"models\"]",
            "main.toml:1:1: missing field `groups`",
        ),
        (
            "[[guard]]\nname = \"g\"\ndirection = \"requests\"\n\
             packs = [\"secrets\"]\naction = \"block\"",
            "main.toml:3:13: unknown direction \"requests\"; did you mean \"request\"?",
        ),
        (
            "[[guard]]\nname = \"g\"\ndirection = \"request\"\n\
             packs = [\"secretz\"]\naction = \"deny\"",
            "main.toml:5:10: unknown action \"deny\"; known here: flag, mask, hold, block",
        ),
        (
            "[[guard]]\nname = \"g\"\ndirection = \"request\"\n\
             packs = [\"secretz\"]\naction = \"block\"",
            "main.toml:4:10: unknown pack \"secretz\"; did you mean \"secrets\"?",
        ),
        (
            "[[guard]]\nname = \"g\"\ndirection = \"request\"\n\
             rules = [\"customer-ids\"]\naction = \"block\"",
            "main.toml:4:10: unknown rule \"customer-ids\"; did you mean \"customer-id\"?",
        ),
        (
            "[[guard]]\nname = \"g\"\ndirection = \"response\"\n\
             packs = [\"secrets\"]\naction = \"hold\"",
            "main.toml:5:10: only requests can be held; a response can be masked or blocked",
        ),
        (
            "[[guard]]\nname = \"g\"\ndirection = \"request\"\n\
             packs = [\"secrets\"]\naction = \"allow\"",
            "main.toml:5:10: a guard cannot allow",
        ),
        (
            "[[guard]]\nname = \"g\"\ndirection = \"request\"\naction = \"block\"",
            "main.toml:1:1: a guard must name packs or rules",
        ),
        (
            "[[guard]]\nname = \"\"\ndirection = \"request\"\n\
             packs = [\"secrets\"]\naction = \"block\"",
            "main.toml:2:8: a guard needs a name",
        ),
        (
            "[[guard]]\nname = \"g\"\ndirection = \"request\"\n\
             packs = [\"secrets\"]\naction = \"hold\"\n\
             approvers = { groups = [\"s\"], expires = \"soon\" }",
            "main.toml:6:41: expires = \"soon\" is not a duration such as \"30m\"",
        ),
        ("[[guard]\n", "main.toml:1:"),
        ("a = \n", "main.toml:1:"),
    ];
    for (text, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "main.toml", text);
        let errors = load(dir.path()).expect_err(text);
        assert!(
            errors.iter().any(|error| error.starts_with(expected)),
            "for\n{text}\nexpected\n{expected}\ngot\n{}",
            errors.join("\n")
        );
    }
}

#[test]
fn all_slips_are_reported_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "a.toml",
        "[[grant]]\ngroups = []\noperations = [\"fly\"]\n",
    );
    write(
        dir.path(),
        "b.toml",
        &guard("").replace("secrets", "secretz"),
    );
    write(dir.path(), "c.toml", "nonsense = true");
    write(
        dir.path(),
        "packs/mine.toml",
        "[[rule]]\nid = \"x\"\nregx = 'a'\n",
    );
    let errors = load(dir.path()).unwrap_err();
    for file in [
        "a.toml:1:1",
        "a.toml:3:15",
        "b.toml:4:10",
        "c.toml:1:1",
        "packs/mine.toml:3:",
    ] {
        assert!(
            errors.iter().any(|error| error.starts_with(file)),
            "{file} in {errors:#?}"
        );
    }
}

#[test]
fn a_guard_name_is_unique_over_all_files() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.toml", &guard(""));
    write(dir.path(), "b.toml", &format!("\n{}", guard("")));
    assert_eq!(
        load(dir.path()).unwrap_err(),
        ["b.toml:3:8: a second guard named \"g\""]
    );
}

#[test]
fn files_merge_in_the_order_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    write(
        dir.path(),
        "20-guards.toml",
        &guard("except_groups = [\"ops\"]\n"),
    );
    write(dir.path(), "10-grants.toml", GRANT);
    write(dir.path(), "ignored.txt", "not = [toml");
    let policy = load(dir.path()).unwrap();
    let summary = policy.summary();
    assert_eq!(summary.files, ["10-grants.toml", "20-guards.toml"]);
    assert_eq!((summary.grants, summary.guards.len()), (1, 1));
    assert_eq!(summary.guards[0].action, Action::Block);
    assert_eq!(policy.warnings(), ["no guard looks at any response"]);
    assert!(policy.scope(&everyone()).guards_request());
    assert!(!policy.scope(&["ops".to_owned()]).guards_request());
    assert!(!policy.scope(&everyone()).guards_response());
    assert!(
        policy.scope(&[]).may_operate(Operation::Infer).is_err(),
        "a caller needs a group"
    );
    let text = summary.to_string();
    assert!(
        text.contains("guard   \"g\": block on a match of"),
        "{text}"
    );
}

#[test]
fn user_packs_extend_and_replace_shipped_ones() {
    let rule = |id: &str, regex: &str, example: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\ndescription = \"d\"\nregex = '{regex}'\n\
             matches = [\"{example}\"]\nmisses = [\"no\"]\n"
        )
    };
    let shipped = tempfile::tempdir().unwrap();
    write(
        shipped.path(),
        "main.toml",
        &(GRANT.to_owned() + &guard("").replace("secrets", "customer")),
    );
    let before = load(shipped.path()).unwrap();
    let own = rule("customer-id", "KUNDE-[0-9]{4}", "KUNDE-1234")
        + &rule("extra", "EXTRA[0-9]", "EXTRA1");
    write(shipped.path(), "packs/customer.toml", &own);
    let after = load(shipped.path()).unwrap();
    let rules = |policy: &penstock_policies::PolicySet| policy.summary().guards[0].rules;
    assert_eq!(rules(&after), rules(&before) + 1);
    assert!(
        after.check_examples().is_empty(),
        "{:?}",
        after.check_examples()
    );
    assert_ne!(before.version(), after.version());
    let verdict = |policy: &penstock_policies::PolicySet, text: &str| {
        let body = format!("{{\"model\":\"m\",\"prompt\":\"{text}\"}}");
        let scope = policy.scope(&everyone());
        let route = support::route("/v1/completions");
        let scratch = &mut penstock_policies::Scratch::default();
        policy
            .inspect_request(&scope, &route, body.as_bytes(), scratch)
            .unwrap()
            .action
    };
    assert_eq!(verdict(&before, "CUST-12345678"), Action::Block);
    assert_eq!(verdict(&after, "CUST-12345678"), Action::Allow, "replaced");
    assert_eq!(verdict(&after, "KUNDE-1234"), Action::Block);
    assert_eq!(verdict(&after, "EXTRA1"), Action::Block);

    write(
        shipped.path(),
        "packs/mine.toml",
        &rule("customer-id", "X[0-9]", "X1"),
    );
    let errors = load(shipped.path()).unwrap_err();
    assert!(
        errors[0].contains("rule \"customer-id\" is also in pack \"customer\""),
        "{errors:?}"
    );
}

#[test]
fn the_version_is_that_of_everything_that_was_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "main.toml", GRANT);
    let version = |dir: &tempfile::TempDir| load(dir.path()).unwrap().version().to_owned();
    let first = version(&dir);
    assert_eq!(first.len(), 16);
    assert!(first.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(version(&dir), first, "the same folder has the same version");
    write(dir.path(), "main.toml", &format!("{GRANT}# a comment\n"));
    let second = version(&dir);
    write(dir.path(), "other.toml", "");
    let third = version(&dir);
    assert!(first != second && second != third && first != third);
}

#[test]
fn a_guard_that_holds_names_its_approvers() {
    let dir = tempfile::tempdir().unwrap();
    let text = GRANT.to_owned() + &guard("").replace("block", "hold");
    write(dir.path(), "main.toml", &text);
    let errors = load(dir.path()).unwrap_err();
    assert!(errors[0].contains("must say who may approve"), "{errors:?}");
}

#[test]
fn a_folder_without_policy_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load(dir.path()).unwrap_err()[0].contains("no *.toml here"));
    let errors = load(&dir.path().join("missing")).unwrap_err();
    assert!(errors[0].contains("cannot be read"), "{errors:?}");
    let error = PolicyError {
        file: "x.toml".into(),
        line: 2,
        column: 3,
        reason: "r".into(),
        suggestion: Some("s".into()),
    };
    assert_eq!(error.to_string(), "x.toml:2:3: r; did you mean \"s\"?");
}
