//! Tokens that are counted before a prompt is inspected: the inspection says the same as when it
//! counts them itself, and what cannot matter is not counted.

mod support;

use std::path::Path;

use penstock_policies::{Operation, PolicySet, Scope, Scratch, TokenCount};
use support::{WORDS, load, route, write};

const POLICY: &str = r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer"]
limits = { prompt_tokens = 5000 }

[[grant]]
groups = ["*"]
models = ["*"]
operations = ["embed"]

[[hold]]
name = "long prompts ask"
operations = ["infer"]
models = ["m", "masked"]
prompt_tokens = 3000
approvers = { groups = ["security"] }

[[tokenizer]]
models = ["m"]
file = "words.json"
"#;

fn policy(dir: &Path) -> PolicySet {
    write(dir, "main.toml", POLICY);
    std::fs::create_dir_all(dir.join("tokenizers")).expect("a folder");
    write(&dir.join("tokenizers"), "words.json", WORDS);
    load(dir).expect("a policy")
}

fn body(model: &str, prompt: &str) -> String {
    serde_json::json!({"model": model, "prompt": prompt}).to_string()
}

/// The scope for one call, with what was counted beforehand.
fn counted(scope: &Scope, path: &str, content_type: &str, body: &str) -> Scope {
    let count = TokenCount::new(scope, &route(path), content_type, body.as_bytes().to_vec());
    let (given_back, tokens) = count.run();
    assert_eq!(given_back, body.as_bytes());
    let mut scope = scope.clone();
    tokens.into_iter().for_each(|tokens| scope.counted(tokens));
    scope
}

#[test]
fn an_inspection_says_the_same_whoever_counted() {
    let dir = tempfile::tempdir().unwrap();
    let policy = policy(dir.path());
    let scope = policy.scope(&["staff".to_owned()]);
    let route = route("/v1/completions");
    let mut outcomes = std::collections::BTreeSet::new();
    for model in ["m", "other"] {
        for words in [0, 1, 1500, 2998, 2999, 3000, 4999, 5000, 9000] {
            for word in ["a ", "antidisestablishmentarianism ", "\u{fdfa} "] {
                let body = body(model, &word.repeat(words));
                let by_itself = policy.inspect_request(
                    &scope,
                    &route,
                    body.as_bytes(),
                    &mut Scratch::default(),
                );
                let before = counted(&scope, "/v1/completions", "", &body);
                let taken_over = policy.inspect_request(
                    &before,
                    &route,
                    body.as_bytes(),
                    &mut Scratch::default(),
                );
                let told = |verdict: &Result<_, _>| format!("{verdict:?}");
                assert_eq!(
                    told(&taken_over),
                    told(&by_itself),
                    "{model} {words} {word:?}"
                );
                outcomes.insert(by_itself.map_or("refused", |verdict| verdict.action.as_str()));
            }
        }
    }
    assert_eq!(
        outcomes.into_iter().collect::<Vec<_>>(),
        ["allow", "hold", "refused"]
    );
}

#[test]
fn a_form_is_counted_like_a_document() {
    let dir = tempfile::tempdir().unwrap();
    let policy = policy(dir.path());
    let scope = policy.scope(&["staff".to_owned()]);
    let path = "/v1/audio/transcriptions";
    let content_type = "multipart/form-data; boundary=b";
    let words = "a ".repeat(3000);
    let body = format!(
        "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n\
         --b\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\n{words}\r\n--b--\r\n"
    );
    let inspect = |scope: &Scope| {
        let verdict = policy.inspect_form(scope, &route(path), content_type, body.as_bytes());
        format!("{verdict:?}")
    };
    let by_itself = inspect(&scope);
    assert!(by_itself.contains("counted: 3001"), "{by_itself}");
    assert_eq!(
        inspect(&counted(&scope, path, content_type, &body)),
        by_itself
    );
}

#[test]
fn what_was_counted_for_another_model_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let policy = policy(dir.path());
    // Five thousand words, which are far more when they are estimated.
    let long = body("other", &"antidisestablishmentarianism ".repeat(1000));
    let scope = counted(
        &policy.scope(&["staff".to_owned()]),
        "/v1/completions",
        "",
        &body("m", "a a a"),
    );
    let route = route("/v1/completions");
    let verdict = policy.inspect_request(&scope, &route, long.as_bytes(), &mut Scratch::default());
    assert!(
        format!("{verdict:?}").contains("prompt_over_grant"),
        "{verdict:?}"
    );
}

#[test]
fn only_what_may_reach_a_bound_is_counted_and_nothing_short() {
    let dir = tempfile::tempdir().unwrap();
    let with_tokenizer = policy(dir.path());
    let scope = with_tokenizer.scope(&["staff".to_owned()]);
    let long = body("m", &"a ".repeat(4000));
    let completions = route("/v1/completions");
    assert_eq!(completions.operation, Operation::Infer);
    assert!(scope.must_count(&completions, long.as_bytes()));
    assert!(!scope.must_count(&completions, body("m", "a").as_bytes()));
    // Nothing bounds embeddings.
    assert!(!scope.must_count(&route("/v1/embeddings"), long.as_bytes()));
    // Nothing counts without a tokenizer.
    let (plain, _) = POLICY.split_once("[[tokenizer]]").expect("a tokenizer");
    write(dir.path(), "main.toml", plain);
    let scope = load(dir.path()).unwrap().scope(&["staff".to_owned()]);
    assert!(!scope.must_count(&completions, long.as_bytes()));
    // Nothing of a prompt is printed.
    let secret = b"{\"prompt\": \"mine alone\"}".to_vec();
    let told = format!("{:?}", TokenCount::new(&scope, &completions, "", secret));
    assert!(
        told.contains("body_bytes: 24") && !told.contains("mine"),
        "{told}"
    );
    assert!(!told.contains(&format!("{:?}", b"mine")[1..10]), "{told}");
    // A body that cannot be read is not counted: its inspection says what is wrong.
    let unreadable = TokenCount::new(&scope, &completions, "", b"{\"model\":".to_vec());
    assert_eq!(unreadable.run(), (b"{\"model\":".to_vec(), None));
}
