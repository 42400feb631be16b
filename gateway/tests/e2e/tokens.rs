//! Prompts whose tokens are counted exactly: by their number they pass or are refused, and whoever
//! shares a core with a very long one does not wait for it.

use std::sync::atomic::{AtomicBool, Ordering};

use penstock_loadgen::client::Response;

use crate::stack::{MODEL, Setup, Stack, chat_body};
use crate::witness::code;

/// Words are tokens.
const WORDS: &str = r#"{
  "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
  "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
  "model": {"type": "WordLevel", "vocab": {"?": 0, "one": 1}, "unk_token": "?"}
}"#;

/// Tokens that a prompt may have: fewer than the long ones here have, more than they would be
/// estimated to have.
const BOUND: usize = 300_000;

fn counting(setup: &mut Setup) {
    setup.top = "cores = [0]".to_owned();
    setup.record = false;
    setup.files = vec![(
        "policies/tokenizers/words.json".to_owned(),
        WORDS.to_owned(),
    )];
    setup.policy = format!(
        "[[grant]]\ngroups = [\"engineers\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n\
         limits = {{ prompt_tokens = {BOUND} }}\n\
         [[tokenizer]]\nmodels = [\"{MODEL}\"]\nfile = \"words.json\"\n"
    );
}

fn ask(stack: &Stack, text: &str) -> Response {
    stack.post(
        &stack.token(),
        "/v1/chat/completions",
        &chat_body(text, false),
    )
}

#[test]
fn long_prompts_pass_by_their_exact_number_and_hold_nobody_up() {
    let stack = Stack::with(counting);
    // Estimated these would be 200 thousand, and those 450 thousand, of 60 thousand words.
    let over = "a ".repeat(400_000);
    let under = "antidisestablishmentarianism! ".repeat(60_000);
    let is_over = AtomicBool::new(false);
    let meanwhile = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut answered = 0_usize;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(ask(&stack, "hello").status(), 200);
                answered += 1;
            }
            answered
        });
        let refused = ask(&stack, &over);
        assert_eq!(
            (refused.status(), code(&refused).as_str()),
            (403, "prompt_over_grant")
        );
        assert!(
            refused.text().contains("400002 tokens"),
            "{}",
            refused.text()
        );
        is_over.store(true, Ordering::Relaxed);
        others.join().expect("the others")
    });
    // While so many words are counted on the core that serves, at most two are answered: one
    // before, one after.
    assert!(meanwhile > 5, "{meanwhile} answers");
    assert_eq!(ask(&stack, &under).status(), 200);
    assert_eq!(
        stack.double.counters().paths["POST /v1/chat/completions"],
        meanwhile as u64 + 1
    );
}

#[test]
fn whoever_goes_away_while_they_are_counted_is_forgotten() {
    let stack = Stack::with(counting);
    let over = chat_body(&"a ".repeat(400_000), false);
    for _ in 0..3 {
        let mut connection = stack.connect();
        let bytes = crate::stack::post_bytes(&stack.token(), "/v1/chat/completions", &over);
        connection.send(&bytes).expect("it is sent");
        drop(connection);
    }
    assert_eq!(ask(&stack, "hello").status(), 200);
    assert_eq!(ask(&stack, &"a ".repeat(400_000)).status(), 403);
    assert_eq!(stack.double.counters().requests, 1, "the short one alone");
    assert!(!stack.log().contains("panic"), "{}", stack.log());
}
