//! Assertions, files and exit codes.

use std::fs;

use penstock_loadgen::outcome::{Loop, Outcome};
use penstock_loadgen::report::assertion::Assertion;
use penstock_loadgen::report::publish::{Arguments, Exit};
use proptest::prelude::*;

use crate::made_up;

fn holds(outcome: &Outcome, text: &str) -> bool {
    text.parse::<Assertion>().unwrap().check(outcome).holds
}

#[test]
fn assertions_are_about_what_was_measured() {
    let outcome = made_up(Loop::Open, 1.0, 1);
    let ttft = outcome.metrics["ttft".parse().as_ref().unwrap()].clone();
    let (intended, sent) = (ttft.intended.unwrap(), ttft.sent.unwrap());
    assert!(
        intended.p99_ns > 5 * sent.p99_ns,
        "the pause is in the first alone"
    );
    for (text, expected) in [
        (format!("ttft.p99=={}ns", intended.p99_ns), true),
        (format!("ttft.intended.p99=={}ns", intended.p99_ns), true),
        (format!("ttft.sent.p99=={}ns", sent.p99_ns), true),
        (format!("ttft_p99 == {}ns", intended.p99_ns), true),
        (format!("ttft.p99.9=={}ns", intended.p999_ns), true),
        (format!("ttft_p999=={}ns", intended.p999_ns), true),
        (format!("ttft.p99<{}ns", intended.p99_ns), false),
        ("p50<1s".into(), true),
        ("p50<1us".into(), false),
        ("latency_max>=900ms".into(), true),
        ("sent.max<900ms".into(), true),
        ("inter_token_mean<1s".into(), true),
        ("lag.p99<1ms".into(), true),
        ("start_delay_max<1ms".into(), true),
        ("connect.p50<1ms".into(), true),
        ("errors==10".into(), true),
        ("error_rate<=1%".into(), true),
        ("error_rate<0.01".into(), false),
        ("errors.status_503==5".into(), true),
        ("errors.timeout==0".into(), true),
        ("truncated<=5".into(), true),
        ("rate>=40".into(), true),
        ("rate>60/s".into(), false),
        ("goodput>=80%".into(), true),
        ("goodput>40".into(), true),
        ("tokens_per_second>100".into(), true),
        ("altered==0".into(), true),
        ("masked_spans==100".into(), true),
        // of nothing, nothing holds
        ("tls.p99<1s".into(), false),
        ("tls.p99>0ns".into(), false),
    ] {
        assert_eq!(holds(&outcome, &text), expected, "{text}");
    }
    let closed = made_up(Loop::Closed, 1.0, 1);
    assert!(holds(&closed, "ttft.p50<1s") && !holds(&closed, "ttft.intended.p50<1s"));
    assert!(!holds(&closed, "lag.p99<1s"));
    let mut no_objectives = outcome;
    no_objectives.goodput = None;
    assert!(!holds(&no_objectives, "goodput>=0") && !holds(&no_objectives, "goodput>=0%"));
}

#[test]
fn what_is_no_assertion_is_refused_with_a_reason() {
    for text in [
        "",
        "p99",
        "p99<50",
        "p99<xms",
        "p99<5%",
        "nope<5",
        "errors<5ms",
        "rate>=1%",
        "p101<5ms",
        "ttft<5ms",
        "ttft.p<5ms",
        "ttft.felt.p99<5ms",
        "between_tokens.intended.p99<5ms",
        "error_rate<1%%",
        "error_rate<nan",
        "p99<-5ms",
        "tls_p98.7.6<5ms",
        "p99<<5ms",
    ] {
        let error = text.parse::<Assertion>().unwrap_err();
        assert!(!error.is_empty(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_odd_to_be_read_or_refused(text in "[a-z0-9_.<>=% µ/-]{0,40}") {
        let _ = text.parse::<Assertion>();
    }
}

#[test]
fn everything_asked_for_is_written_and_the_exit_code_is_the_worst() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| Some(folder.path().join(name));
    let publish = |assert: &[&str], late: bool| {
        let arguments = Arguments {
            json: path("run.json"),
            html: path("run.html"),
            hlog: path("run.hlog"),
            hgrm: path("hgrm"),
            assert: assert.iter().map(ToString::to_string).collect(),
            no_progress: true,
        };
        let mut outcome = made_up(Loop::Open, 1.0, 1);
        outcome.lag.verdict.late = late;
        arguments.ready().unwrap().publish(&mut outcome).unwrap()
    };
    assert_eq!(publish(&["p99<10s"], false).code(), 0);
    assert_eq!(publish(&["p99<10s", "tls.p99<1s"], false).code(), 99);
    assert_eq!(publish(&["tls.p99<1s"], true).code(), 2);
    let text = fs::read_to_string(folder.path().join("run.json")).unwrap();
    let written = Outcome::from_json(&text).unwrap();
    assert_eq!(Exit::of(&written), Exit::Late);
    assert_eq!(written.assertions[0].shown, "nothing was measured");
    let page = fs::read_to_string(folder.path().join("run.html")).unwrap();
    assert!(page.contains("Not to be used"));
    assert!(folder.path().join("hgrm/ttft.intended.hgrm").exists());
    assert!(fs::metadata(folder.path().join("run.hlog")).unwrap().len() > 1000);
    let wrong = Arguments {
        assert: vec!["p99".into()],
        ..Arguments::default()
    };
    assert!(wrong.ready().is_err());
    let mut nothing = made_up(Loop::Open, 1.0, 1);
    nothing.counts.completed = 0;
    assert_eq!(Exit::of(&nothing), Exit::Failed);
}
