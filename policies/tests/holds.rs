//! What must wait for a person, and whose approval it needs.

mod support;

use std::path::Path;
use std::time::Duration;

use penstock_policies::{
    Action, Covers, Hold, HoldCause, Manner, Operation, PolicySet, Profiles, RequestVerdict, Route,
    Scratch,
};
use support::{WORDS, load, policy_of, route, write};

const GRANT: &str = "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\", \
                     \"manage\", \"embed\"]\n";

fn inspect(policy: &PolicySet, groups: &[&str], route: &Route, body: &str) -> RequestVerdict {
    let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
    let scope = policy.scope(&groups);
    let scratch = &mut Scratch::default();
    let verdict = policy.inspect_request(&scope, route, body.as_bytes(), scratch);
    verdict.expect("a verdict")
}

fn completion(policy: &PolicySet, groups: &[&str], prompt: &str) -> RequestVerdict {
    let body = serde_json::json!({"model": "m", "prompt": prompt}).to_string();
    inspect(policy, groups, &route("/v1/completions"), &body)
}

fn names(holds: &[Hold]) -> Vec<&str> {
    holds.iter().map(|hold| &*hold.name).collect()
}

fn vllm(method: &str, path: &str) -> Route {
    let profiles =
        Profiles::from_names(&["openai".to_owned(), "vllm".to_owned()]).expect("shipped");
    profiles.resolve(method, path).expect(path)
}

#[test]
fn every_guard_that_holds_must_be_satisfied() {
    let policy = policy_of(&format!(
        "{GRANT}
[[guard]]
name = \"first\"
direction = \"request\"
rules = [\"customer\"]
action = \"hold\"
approvers = {{ groups = [\"security\", \"sec-*\"], quorum = 2, expires = \"2h\", manner = \"wait\" }}
[[guard]]
name = \"second\"
direction = \"request\"
rules = [\"customs\"]
action = \"hold\"
approvers = {{ groups = [\"legal\"], window = \"1d\" }}
[[guard]]
name = \"never\"
direction = \"request\"
rules = [\"ward\"]
action = \"block\"
"
    ));
    assert!(completion(&policy, &[], "nothing").holds.is_empty());
    let one = completion(&policy, &[], "see CUST-12345678");
    assert_eq!(one.action, Action::Hold);
    assert_eq!(names(&one.holds), ["first"]);
    let cause = HoldCause::Rule {
        rule: "customer".into(),
        location: "prompt".to_owned(),
        start: 4,
        end: 17,
    };
    assert_eq!(one.holds[0].cause, cause);
    let approvers = &one.holds[0].approvers;
    assert_eq!(
        (approvers.quorum, approvers.expires),
        (2, Duration::from_secs(7200))
    );
    assert_eq!(
        (approvers.manner, approvers.covers),
        (Manner::Wait, Covers::Request)
    );
    let includes = |group: &str| approvers.includes(&[group.to_owned()]);
    assert!(includes("security") && includes("sec-eu") && !includes("legal") && !includes(""));

    // Matches without number are one hold each, and the last of them counts like the first.
    let many = "CUST-12345678 ".repeat(400) + "CUSTOMS 123";
    let both = completion(&policy, &[], &many);
    assert_eq!(names(&both.holds), ["first", "second"]);
    let second = &both.holds[1].approvers;
    assert_eq!(second.covers, Covers::Window(Duration::from_secs(86_400)));
    assert_eq!((second.quorum, second.manner), (1, Manner::Caller));

    let blocked = completion(&policy, &[], &(many + " Ωmega-1234"));
    assert_eq!(blocked.action, Action::Block);
    assert!(
        blocked.holds.is_empty(),
        "nobody can approve what is blocked"
    );
}

#[test]
fn calls_are_held_for_what_they_are() {
    let policy = policy_of(&format!(
        "{GRANT}
[[hold]]
name = \"management asks\"
operations = [\"manage\"]
except_groups = [\"platform\"]
approvers = {{ groups = [\"security\"] }}
[[hold]]
name = \"the large model asks\"
operations = [\"infer\"]
models = [\"large-*\"]
groups = [\"interns\"]
approvers = {{ groups = [\"security\"] }}
"
    ));
    let sleep = vllm("POST", "/sleep");
    assert_eq!(sleep.operation, Operation::Manage);
    let held = inspect(&policy, &[], &sleep, "");
    assert_eq!(held.action, Action::Hold);
    assert_eq!(held.holds[0].cause, HoldCause::Operation(Operation::Manage));
    let finding = &held.findings[0];
    assert_eq!(
        (&*finding.guard, &*finding.rule),
        ("management asks", "operation")
    );
    assert_eq!(
        inspect(&policy, &["platform"], &sleep, "").action,
        Action::Allow
    );

    let ask = |groups: &[&str], model: &str| {
        let body = serde_json::json!({"model": model, "prompt": "hi"}).to_string();
        inspect(&policy, groups, &route("/v1/completions"), &body).action
    };
    assert_eq!(ask(&["interns"], "large-70b"), Action::Hold);
    assert_eq!(ask(&["interns"], "small-7b"), Action::Allow);
    assert_eq!(ask(&["staff"], "large-70b"), Action::Allow);
}

const LONG: &str = "
[[hold]]
name = \"long prompts ask\"
operations = [\"infer\"]
prompt_tokens = 10
approvers = { groups = [\"security\"] }
";

#[test]
fn long_prompts_are_held_by_an_estimate() {
    let policy = policy_of(&(GRANT.to_owned() + LONG));
    // The model's name is a text, too: `m` and 39 characters are ten tokens.
    assert_eq!(
        completion(&policy, &[], &"a".repeat(39)).action,
        Action::Allow
    );
    let held = completion(&policy, &[], &"a".repeat(40));
    let cause = HoldCause::PromptTokens {
        counted: 11,
        over: 10,
    };
    assert_eq!(held.holds[0].cause, cause);
    // Its words are all that a record keeps of how long it was.
    let told = format!("{}: {cause}", held.holds[0].name);
    assert_eq!(HoldCause::tokens_told(&told), Some(11));
    for other in [
        "the operation is \"infer\"",
        "the prompt has many tokens",
        "",
    ] {
        assert_eq!(HoldCause::tokens_told(other), None);
    }
    let scope = policy.scope(&[]);
    let asks = |operation| -> Vec<(String, Option<u64>)> {
        let asking = scope.asks_about(operation, Some("m"));
        asking.map(|(name, over)| (name.to_owned(), over)).collect()
    };
    assert_eq!(
        asks(Operation::Infer),
        [("long prompts ask".to_owned(), Some(10))]
    );
    assert!(asks(Operation::Embed).is_empty());
    let ids = r#"{"model": "m", "prompt": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}"#;
    let held = inspect(&policy, &[], &route("/v1/completions"), ids);
    assert_eq!(held.action, Action::Hold, "token ids are tokens");
}

fn with_tokenizer(dir: &Path, models: &str, words: &str) {
    let named = format!("[[tokenizer]]\nmodels = [{models}]\nfile = \"words.json\"\n");
    write(dir, "main.toml", &(GRANT.to_owned() + LONG + &named));
    std::fs::create_dir_all(dir.join("tokenizers")).expect("a folder");
    write(&dir.join("tokenizers"), "words.json", words);
}

#[test]
fn a_known_tokenizer_counts_exactly() {
    let dir = tempfile::tempdir().unwrap();
    with_tokenizer(dir.path(), "\"m\"", WORDS);
    let policy = load(dir.path()).unwrap();
    // Estimated this would be more than ten; it is nine words and the model's name.
    let nine = "antidisestablishmentarianism ".repeat(9);
    assert_eq!(completion(&policy, &[], &nine).prompt_tokens, 10);
    assert_eq!(completion(&policy, &[], &nine).action, Action::Allow);
    // Estimated this would be less; cutting and filling up play no part.
    let ten = "a ".repeat(10);
    let held = completion(&policy, &[], &ten);
    let cause = HoldCause::PromptTokens {
        counted: 11,
        over: 10,
    };
    assert_eq!(held.holds[0].cause, cause);
    // Another model's tokens are estimated.
    let body = serde_json::json!({"model": "n", "prompt": nine}).to_string();
    let other = inspect(&policy, &[], &route("/v1/completions"), &body);
    assert_eq!(other.action, Action::Hold);
    // What cannot reach the bound is not counted, and says so by being estimated.
    assert_eq!(completion(&policy, &[], "").prompt_tokens, 1);
}

#[test]
fn tokenizers_are_part_of_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    with_tokenizer(dir.path(), "\"m\"", WORDS);
    let before = load(dir.path()).unwrap();
    assert_eq!(before.summary().tokenizers, ["of m by words.json"]);
    with_tokenizer(dir.path(), "\"m\"", &WORDS.replace("one", "two"));
    assert_ne!(load(dir.path()).unwrap().version(), before.version());
    with_tokenizer(dir.path(), "\"m\"", "{}");
    let errors = load(dir.path()).unwrap_err();
    assert!(
        errors[0].contains("main.toml:13:8: words.json: "),
        "{errors:?}"
    );
    with_tokenizer(dir.path(), "\"m\"", WORDS);
    std::fs::rename(
        dir.path().join("tokenizers/words.json"),
        dir.path().join("tokenizers/word.json"),
    )
    .unwrap();
    let errors = load(dir.path()).unwrap_err();
    assert!(
        errors[0].contains("did you mean \"word.json\"?"),
        "{errors:?}"
    );
}

#[test]
fn what_only_observes_holds_nothing() {
    for observe in ["observe = true\n", "[inspection]\nobserve = true\n"] {
        let hold = LONG.replace("prompt_tokens = 10", "prompt_tokens = 0");
        let policy = policy_of(&(GRANT.to_owned() + &hold + observe));
        let verdict = completion(&policy, &[], "hi");
        assert_eq!(verdict.action, Action::Allow);
        assert!(verdict.holds.is_empty());
        assert_eq!(verdict.findings[0].verdict(), "observed hold");
    }
}

#[test]
fn bad_holds_and_what_is_said_about_them() {
    let cases = [
        (
            "name = \"a\"\noperations = [\"mange\"]",
            "unknown operation \"mange\"; did you mean \"manage\"?",
        ),
        ("name = \"a\"\noperations = []", "must name the operations"),
        (
            "name = \"\"\noperations = [\"infer\"]",
            "a hold needs a name",
        ),
        (
            "name = \"a\"\noperations = [\"manage\"]\nprompt_tokens = 1",
            "\"manage\" has no prompt",
        ),
    ];
    let approvers = "\napprovers = { groups = [\"s\"] }\n";
    for (text, expected) in cases {
        expect(&format!("{GRANT}[[hold]]\n{text}{approvers}"), expected);
    }
    let cases = [
        ("groups = []", "approvers must name their groups"),
        ("groups = [\"s\"], quorum = 0", "would approve by itself"),
        ("groups = [\"s\"], quorum = 17", "16 at most"),
        (
            "groups = [\"s\"], manner = \"ask\"",
            "unknown manner \"ask\"",
        ),
        ("groups = [\"s\"], expires = \"31d\"", "of at most 30 days"),
        ("groups = [\"s\"], window = \"0s\"", "is not a duration"),
        (
            "groups = [\"s\"], windows = \"1h\"",
            "did you mean \"window\"?",
        ),
    ];
    for (text, expected) in cases {
        let hold = "[[hold]]\nname = \"a\"\noperations = [\"infer\"]\n";
        expect(
            &format!("{GRANT}{hold}approvers = {{ {text} }}\n"),
            expected,
        );
    }
    let twice = GRANT.to_owned() + LONG + LONG;
    expect(&twice, "\"long prompts ask\" is the name of another");
}

fn expect(text: &str, expected: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "main.toml", text);
    let errors = load(dir.path()).expect_err(text).join("\n");
    assert!(
        errors.contains(expected),
        "for\n{text}\nexpected\n{expected}\ngot\n{errors}"
    );
}
