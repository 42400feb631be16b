//! The engine's credential: presented to the engine, and in nobody else's hands, even where the
//! engine repeats what it was sent.

use std::fs;

use crate::stack::{Stack, chat_body, post_bytes};

/// Assembled, so that no scanner takes it for a live one.
fn secret() -> String {
    ["engine", "-7f3a9c", "51d2e8"].concat()
}

fn stack(presented: &str, expected: &str) -> Stack {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let file = folder.join("engine.key");
    fs::write(&file, format!("{presented}\n")).expect("the credential is written");
    Stack::with(|setup| {
        setup.upstream = format!("credential_file = \"{}\"", file.display());
        setup.double.credential = Some(expected.to_owned());
        setup.more = "[log]\nlevel = \"trace\"".to_owned();
    })
}

#[test]
fn it_reaches_the_engine_and_nobody_else() {
    let stack = stack(&secret(), &secret());
    let token = stack.token();
    for stream in [false, true] {
        let mut connection = stack.connect();
        let body = chat_body("[[double: echo split=chars:5]]", stream);
        connection
            .send(&post_bytes(&token, "/v1/chat/completions", &body))
            .unwrap();
        let answer = connection.read_response().unwrap();
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.head.status, 200, "{text}");
        assert!(!text.contains(&secret()), "{text}");
        assert!(!format!("{:?}", answer.head).contains(&secret()));
        if !stream {
            assert!(text.contains("[masked:credential]"), "{text}");
        }
    }
    let seen = &stack.double.requests()[0];
    let expected = format!("Bearer {}", secret());
    assert_eq!(seen.field("authorization"), Some(expected.as_str()));
    assert!(!stack.log().contains(&secret()));
    assert!(!stack.log().contains(&token));
}

#[test]
fn an_engine_that_refuses_it_is_our_fault_not_the_callers() {
    let stack = stack("some-old-credential", &secret());
    let answer = stack.chat("hello");
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.head.status, 502, "{text}");
    assert!(text.contains("upstream_unauthorized"), "{text}");
}
