//! Guards that only observe: they find what they would find if they acted, and nothing that passes
//! is any different for it.

mod support;

use penstock_policies::{
    Action, Direction, FilterError, Finding, Observes, PolicySet, RequestVerdict, Scratch,
};
use proptest::prelude::*;
use serde_json::json;
use support::{STYLES, Style, everyone, filter, load, policy_of, read_events, route, texts, write};

const GRANT: &str = r#"
[[grant]]
groups = ["*"]
models = ["*"]
operations = ["infer", "embed"]
"#;

fn policy(guards: &str) -> PolicySet {
    policy_of(&format!("{GRANT}{guards}"))
}

/// One guard on the pack `test` in both directions.
fn guard(name: &str, action: &str, more: &str) -> String {
    format!(
        "[[guard]]\nname = \"{name}\"\ndirection = \"both\"\npacks = [\"test\"]\n\
         action = \"{action}\"\n{more}\n"
    )
}

fn observing(action: &str) -> PolicySet {
    policy(&guard("trial", action, "observe = true"))
}

fn inspect(policy: &PolicySet, body: &str) -> RequestVerdict {
    let scope = policy.scope(&everyone());
    let route = route("/v1/chat/completions");
    let verdict = policy.inspect_request(&scope, &route, body.as_bytes(), &mut Scratch::default());
    verdict.expect("a body that is read")
}

/// What a client gets of a stream in these pieces, and what was found.
fn answer(
    policy: &PolicySet,
    media: &str,
    pieces: &[&[u8]],
) -> (Result<Vec<u8>, FilterError>, Vec<Finding>) {
    let scope = policy.scope(&everyone());
    let mut filter = filter(policy, &scope, media);
    let mut out = Vec::new();
    let mut result = pieces
        .iter()
        .try_for_each(|piece| filter.push(piece, &mut out));
    if result.is_ok() {
        result = filter.finish(&mut out);
    }
    (result.map(|()| out), filter.take_findings())
}

/// The same findings as if they were acted on.
fn as_acted(findings: &[Finding]) -> Vec<Finding> {
    let acted = |finding: &Finding| Finding {
        action: finding.observed.expect("it only observes"),
        observed: None,
        ..finding.clone()
    };
    findings.iter().map(acted).collect()
}

fn deltas(pieces: &[&str]) -> Vec<serde_json::Value> {
    let event = |text: &&str| json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    pieces.iter().map(event).collect()
}

#[test]
fn a_request_passes_as_it_is_and_what_would_have_happened_is_told() {
    let body = r#"{"model":"m","messages":[{"content":"for CUST-12345678 and CUSTOMS 123"}]}"#;
    for (word, action) in [
        ("mask", Action::Mask),
        ("block", Action::Block),
        ("flag", Action::Flag),
    ] {
        let seen = inspect(&observing(word), body);
        assert_eq!((seen.action, &seen.body), (Action::Allow, &None), "{word}");
        let acted = inspect(&policy(&guard("trial", word, "")), body);
        assert_eq!(acted.action, action);
        assert_eq!(as_acted(&seen.findings), acted.findings);
        assert_eq!(seen.findings[0].verdict(), format!("observed {word}"));
        assert_eq!(seen.findings.len(), 2);
        assert!(
            seen.findings
                .iter()
                .all(|finding| finding.action == Action::Flag)
        );
    }
}

#[test]
fn a_guard_that_acts_does_so_as_if_no_other_observed() {
    let acting = guard("real", "mask", "").replace("packs = [\"test\"]", "rules = [\"customer\"]");
    let both = policy(&format!(
        "{acting}{}",
        guard("trial", "block", "observe = true")
    ));
    let alone = policy(&acting);
    let body = r#"{"model":"m","messages":[{"content":"CUST-12345678 CUSTOMS 123"}]}"#;
    let (seen, acted) = (inspect(&both, body), inspect(&alone, body));
    assert_eq!((seen.action, &seen.body), (acted.action, &acted.body));
    assert_eq!(seen.findings[..1], acted.findings[..]);
    let observed: Vec<&str> = seen.findings[1..]
        .iter()
        .map(|found| &*found.rule)
        .collect();
    assert_eq!(observed, ["customer", "customs"]);
    assert!(
        seen.findings[1..]
            .iter()
            .all(|found| found.observed == Some(Action::Block))
    );
}

#[test]
fn single_rules_of_a_guard_observe() {
    let policy = policy(&guard("mixed", "block", "observe_rules = [\"customs\"]"));
    let summary = &policy.summary().guards[0];
    assert_eq!((summary.rules, summary.observes), (4, Observes::Rules(1)));
    let body = |text: &str| format!(r#"{{"model":"m","messages":[{{"content":"{text}"}}]}}"#);
    assert_eq!(inspect(&policy, &body("CUSTOMS 123")).action, Action::Allow);
    assert_eq!(
        inspect(&policy, &body("CUST-12345678")).action,
        Action::Block
    );
    let warnings = policy.warnings().join("\n");
    assert!(
        warnings.contains("guard \"mixed\" only observes 1 of its rules"),
        "{warnings}"
    );
}

#[test]
fn all_guards_observe_but_the_credential_stays_here() {
    let dir = tempfile::tempdir().expect("a folder");
    let main = format!(
        "{GRANT}[inspection]\nobserve = true\n{}",
        guard("real", "block", "")
    );
    write(dir.path(), "main.toml", &main);
    write(dir.path(), "packs/test.toml", support::PACK);
    let policy = PolicySet::load(&penstock_policies::PolicySources {
        dir: dir.path(),
        pseudonym_key: support::KEY,
        withheld: &["engine-key-of-the-test".to_owned()],
    })
    .expect("a policy");
    assert!(
        policy.warnings()[0].starts_with("ALL GUARDS ONLY OBSERVE"),
        "{:?}",
        policy.warnings()
    );
    let text = "CUST-12345678 engine-key-of-the-test";
    let (out, findings) = answer(&policy, "text/plain", &[text.as_bytes()]);
    assert_eq!(
        out.expect("it passes"),
        b"CUST-12345678 [masked:credential]"
    );
    assert_eq!(findings[1].observed, Some(Action::Block));
}

#[test]
fn a_word_that_is_no_rule_of_the_guard_is_told_by_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let main = format!(
        "{GRANT}{}",
        guard("g", "block", "observe_rules = [\"custms\"]")
    );
    write(dir.path(), "main.toml", &main);
    write(dir.path(), "packs/test.toml", support::PACK);
    let errors = load(dir.path()).expect_err("a wrong word");
    assert_eq!(
        errors,
        ["main.toml:11:18: unknown rule of this guard \"custms\"; did you mean \"customs\"?"]
    );
}

/// What guards cannot read is refused where they act, and passes where they only look.
#[test]
fn what_cannot_be_read_passes_and_is_told() {
    let policy = observing("block");
    let body = r#"{"model":"m","prompt":[1,2,3]}"#;
    let scope = policy.scope(&everyone());
    let route = route("/v1/completions");
    let seen = policy
        .inspect_request(&scope, &route, body.as_bytes(), &mut Scratch::default())
        .expect("it passes");
    assert_eq!(seen.action, Action::Allow);
    assert_eq!(&*seen.findings[0].rule, "prompt_not_text");
    let image = r#"{"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"url":"data:x"}}]}]}"#;
    let seen = inspect(&policy, image);
    assert_eq!(&*seen.findings[0].rule, "media_not_permitted");
    assert_eq!(seen.findings[0].observed, Some(Action::Block));

    for (media, bytes) in [
        ("application/json", &b"{\"broken"[..]),
        ("text/plain", b"\xff\xfe"),
        ("text/event-stream", b"data: {\"broken\n\n"),
        ("image/png", b"\x89PNG"),
    ] {
        let (out, findings) = answer(&policy, media, &[bytes]);
        assert_eq!(out.expect("it passes"), bytes, "{media}");
        assert_eq!(findings.len(), 1, "{media}: {findings:?}");
        assert_eq!(
            (&*findings[0].guard, findings[0].observed),
            ("inspection", Some(Action::Block))
        );
    }
}

#[test]
fn fields_and_queries_are_seen_too() {
    let policy = observing("block");
    let scope = policy.scope(&everyone());
    for way in [Direction::Request, Direction::Response] {
        let seen = policy.inspect_text(&scope, way, "header", "CUST-12345678");
        assert_eq!((seen.action, seen.findings.len()), (Action::Allow, 1));
        assert_eq!(seen.findings[0].observed, Some(Action::Block));
    }
}

/// A block that only observes ends nothing: the rest of the stream passes.
#[test]
fn a_stream_goes_on_where_a_guard_would_have_ended_it() {
    let stream = STYLES[0].stream(&deltas(&["a CUST-1234", "5678 b", " CUSTOMS 123", " c"]));
    let pieces: Vec<&[u8]> = stream.as_bytes().chunks(7).collect();
    let (out, findings) = answer(&observing("block"), "text/event-stream", &pieces);
    assert_eq!(out.expect("it passes"), stream.as_bytes());
    let (acted, told) = answer(
        &policy(&guard("trial", "block", "")),
        "text/event-stream",
        &pieces,
    );
    assert!(matches!(acted, Err(FilterError::Blocked(_))));
    assert_eq!(as_acted(&findings), told);
}

proptest! {
    /// Whatever streams, in whatever pieces: with guards that observe beside one that acts, the
    /// client gets byte for byte what it gets from the one that acts alone; and what is observed is
    /// what would have been found.
    #[test]
    fn what_observes_changes_no_byte_of_any_stream(
        words in prop::collection::vec(prop::sample::select(vec![
            "CUST-", "12345678", " ", "CUSTOMS 1", "23", "Ωmega-", "1234", "😀abc", "😀", "plain", "\\", "&#x4",
        ]), 0..24),
        cuts in prop::collection::vec(1_usize..40, 0..40),
        style in prop::sample::select(STYLES.to_vec()),
        acts in any::<bool>(),
    ) {
        let stream = Style::stream(style, &deltas(&words));
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut rest = stream.as_bytes();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let real = guard("real", "mask", "").replace("packs = [\"test\"]", "rules = [\"ward\"]");
        let real = if acts { real } else { String::new() };
        let trial = guard("trial", "mask", "");
        let media = "text/event-stream";
        let both = policy(&format!("{real}{}", guard("trial", "mask", "observe = true")));
        let (out, findings) = answer(&both, media, &pieces);
        let out = out.expect("it passes");
        let expected = if acts {
            answer(&policy(&real), media, &pieces).0.expect("it passes")
        } else {
            stream.clone().into_bytes()
        };
        prop_assert_eq!(&out, &expected);
        let observed: Vec<Finding> = findings.into_iter().filter(|f| f.observed.is_some()).collect();
        let (_, told) = answer(&policy(&trial), media, &pieces);
        prop_assert_eq!(as_acted(&observed), told);
        let read = texts(&read_events(&out));
        prop_assert!(read.len() <= 1);
    }
}
