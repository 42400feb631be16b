//! No text makes verification dear: what adversaries write is counted in steps, and past the bound
//! a message goes no further.

mod oracle;
mod support;

use oracle::{compile, pack, shipped_rules};
use penstock_policies::{Action, Direction, FilterError, PolicySet};
use support::{everyone, filter, load, write};

/// Long enough for anything that is not linear to show.
const BYTES: usize = 128 << 10;

/// The most steps that a byte of them may take: half of what a policy allows by default.
const STEPS_MAX: f64 = 256.0;

/// Texts made of one thing that rules begin with, over and over.
fn adversarial() -> Vec<(&'static str, String)> {
    let parts = [
        ("eyJ", "eyJ"),
        ("JWTs that never end", "-eyJaaaa"),
        ("JWTs of many starts", ".eyJaaaaaaaaaaaa"),
        ("cloud keys", "AKIA"),
        ("cloud keys apart", " AKIA"),
        ("digits", "4"),
        ("digits apart", "4111 "),
        ("at signs", "@"),
        ("addresses", "a@a."),
        ("dotted words", "a.a.a."),
        ("words", "aaaaaaaa-"),
        ("assignments", "key: key: "),
        ("assignments without space", "token=secret=password="),
        ("source hosts", "ghp_"),
        ("source hosts apart", "\"ghp_a"),
        ("quotes and colons", "\":\""),
        ("quotes, colons and words", "\"api_key\":\"a"),
        (
            "private keys",
            concat!("-----BEGIN ", "PRIVATE KEY-----\n-----BEGIN "),
        ),
        ("numbers with separators", "1-2 3.4/"),
        ("hexadecimal", "0123456789abcdef"),
        ("base64", "QUJD+/9z"),
        ("countries", "DE89GB82FR14"),
        ("phones", "+49 (0)30 "),
        ("white space", "password \t \n "),
        ("injection", "ignore all all all "),
    ];
    parts
        .map(|(name, part)| (name, part.repeat(BYTES / part.len())))
        .into()
}

/// Hundreds of rules may look at one number of a table; what must not be is that the cost of a byte
/// grows with the text.
#[test]
fn adversarial_texts_cost_the_same_a_byte_however_long_they_are() {
    let scanner = compile(shipped_rules());
    let all = scanner.all();
    let a_byte = |text: &str| scanner.verification_steps(&all, text) as f64 / text.len() as f64;
    let mut dear = Vec::new();
    for (name, text) in adversarial() {
        let (part, whole) = (a_byte(&text[..BYTES / 4]), a_byte(&text));
        println!("{whole:8.2} steps a byte: {name}");
        if whole > STEPS_MAX || whole > part * 1.1 + 1.0 {
            dear.push((name, part, whole));
        }
    }
    assert!(dear.is_empty(), "{dear:?}");
}

/// A later start of a rule goes the way of an earlier one, and need not be read again.
#[test]
fn starts_that_run_together_are_read_once() {
    let rules = [
        r#"regex = 'eyJ[A-Za-z0-9_-]{4,}\.[a-z]' max_len = 4000"#,
        r#"regex = 'a[a-z]*!' max_len = 4000 before = ' '"#,
    ];
    for (rule, part) in rules.into_iter().zip(["-eyJaaaa", "ab"]) {
        let scanner = compile(pack(&[rule]));
        let text = format!("{} ", part.repeat(3900 / part.len())).repeat(16);
        let steps = scanner.verification_steps(&scanner.all(), &text);
        assert!(steps < 64 * text.len() as u64, "{rule}: {steps}");
    }
}

/// Counts, so that no two starts run together: 400 steps a byte.
const COSTLY: &str = r#"
[[rule]]
id = "costly"
description = "dear where its beginning is frequent"
regex = 'a[ab]{1,399}c'
matches = ["abc"]
misses = ["ab"]
"#;

fn bounded(inspection: &str) -> PolicySet {
    let dir = tempfile::tempdir().expect("a folder for the policy");
    let main = format!(
        "[[grant]]\ngroups = [\"*\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n\
         [[guard]]\nname = \"g\"\ndirection = \"both\"\npacks = [\"own\"]\naction = \"mask\"\n\
         {inspection}"
    );
    write(dir.path(), "main.toml", &main);
    write(dir.path(), "packs/own.toml", COSTLY);
    load(dir.path()).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
}

#[test]
fn past_the_bound_the_policy_decides() {
    let text = "a".repeat(8 << 10);
    let verdict = |inspection: &str, text: &str| {
        let policy = bounded(inspection);
        let scope = policy.scope(&everyone());
        policy.inspect_text(&scope, Direction::Request, "query", text)
    };
    let least = "[inspection]\nwork_per_kib = 4096\n";
    let stopped = verdict(least, &text);
    assert_eq!(stopped.action, Action::Block);
    assert!(stopped.findings[0].is_excess());
    assert_eq!(&*stopped.findings[0].rule, "inspection-exhausted");
    let flagged = verdict(&format!("{least}on_excess = \"flag\"\n"), &text);
    assert_eq!(flagged.action, Action::Flag);
    assert!(flagged.findings[0].is_excess());
    assert_eq!(
        verdict("", &text).action,
        Action::Allow,
        "by default there is room for it"
    );
    assert_eq!(
        verdict(least, "aabc").action,
        Action::Mask,
        "and short texts are free"
    );
}

#[test]
fn a_stream_that_is_too_dear_is_stopped() {
    let policy = bounded("[inspection]\nwork_per_kib = 4096\n");
    let scope = policy.scope(&everyone());
    let mut filter = filter(&policy, &scope, "text/event-stream");
    let delta = "a".repeat(500);
    let event = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{delta}!\"}}}}]}}\n\n"
    );
    let mut out = Vec::new();
    let ended = (0..100).find_map(|_| filter.push(event.as_bytes(), &mut out).err());
    let error = ended.expect("it is stopped");
    assert!(matches!(&error, FilterError::Blocked(finding) if finding.is_excess()));
    assert_eq!(
        (error.code(), error.status()),
        ("inspection_exhausted", 502)
    );
    assert!(
        error.to_string().contains("more work to inspect"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_the_bound_is_located() {
    let errors = |inspection: &str| {
        let dir = tempfile::tempdir().expect("a folder for the policy");
        write(dir.path(), "main.toml", inspection);
        load(dir.path()).expect_err("is wrong").join("\n")
    };
    let text = errors("[inspection]\non_excess = \"blok\"\nwork_per_kib = 1\n");
    assert!(
        text.contains("main.toml:2:13: unknown action \"blok\""),
        "{text}"
    );
    assert!(
        text.contains("main.toml:3:16: work_per_kib is 4096 to"),
        "{text}"
    );
}
