//! Comparisons, from the library and from the command line.

use std::fs;
use std::process::{Command, Output};

use penstock_loadgen::outcome::{Loop, Outcome};
use penstock_loadgen::report::compare::{CompareError, Question, Verdict, compare};
use serde_json::Value;

use crate::made_up;

fn question(figures: &[&str]) -> Question {
    Question {
        confidence: 0.99,
        margin: 0.01,
        seed: 7,
        figures: figures.iter().map(ToString::to_string).collect(),
    }
}

fn verdict(a: &Outcome, b: &Outcome, figure: &str) -> Verdict {
    let compared = compare(("a", a), ("b", b), &question(&[figure])).unwrap();
    compared.rows[0].verdict
}

#[test]
fn what_is_slower_is_worse_and_what_is_not_is_not() {
    let (a, same) = (made_up(Loop::Open, 1.0, 1), made_up(Loop::Open, 1.0, 2));
    let slower = made_up(Loop::Open, 1.5, 3);
    for figure in ["ttft.sent.p50", "end_to_end.sent.p90", "between_tokens.p50"] {
        assert_eq!(verdict(&a, &slower, figure), Verdict::Worse, "{figure}");
        assert_eq!(verdict(&slower, &a, figure), Verdict::Better, "{figure}");
        assert_eq!(
            verdict(&a, &same, figure),
            Verdict::NoDifferenceShown,
            "{figure}"
        );
    }
    assert_eq!(
        verdict(&a, &slower, "completed_per_s"),
        Verdict::NoDifferenceShown
    );
    assert_eq!(verdict(&a, &same, "error_rate"), Verdict::NoDifferenceShown);
    // a thousand values have nothing to say about one in a thousand
    assert_eq!(verdict(&a, &slower, "ttft.p99.9"), Verdict::TooLittleData);
    assert_eq!(verdict(&a, &slower, "connect.p99"), Verdict::TooLittleData);
}

#[test]
fn the_same_seed_gives_the_same_intervals() {
    let (a, b) = (made_up(Loop::Open, 1.0, 1), made_up(Loop::Open, 1.2, 2));
    let all = |seed| {
        let asked = Question {
            seed,
            ..question(&[])
        };
        let compared = compare(("a", &a), ("b", &b), &asked).unwrap();
        compared
            .rows
            .iter()
            .map(|row| row.interval)
            .collect::<Vec<_>>()
    };
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
}

#[test]
fn what_cannot_be_compared_is_refused_or_said() {
    let a = made_up(Loop::Open, 1.0, 1);
    let mut late = a.clone();
    late.lag.verdict.late = true;
    let found = compare(("a", &a), ("b", &late), &question(&[])).unwrap_err();
    assert_eq!(found, CompareError::Late("b".into()));
    let found = compare(("a", &a), ("b", &a), &question(&["ttft.p98"])).unwrap_err();
    assert!(matches!(found, CompareError::Figure(..)), "{found}");
    let mut other = a.clone();
    other.asked.model = "another".into();
    let compared = compare(("a", &a), ("b", &other), &question(&[])).unwrap();
    assert_eq!(compared.warnings, ["model differs: llama-3-8b → another"]);
}

fn run(arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_penstock-loadgen");
    Command::new(binary)
        .arg("compare")
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_command_compares_files_and_its_exit_code_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (a, b, page) = (path("a.json"), path("b.json"), path("page.html"));
    fs::write(&a, made_up(Loop::Open, 1.0, 1).to_json().unwrap()).unwrap();
    fs::write(&b, made_up(Loop::Open, 1.5, 2).to_json().unwrap()).unwrap();

    let good = run(&[&a, &b, "--html", &page]);
    let text = String::from_utf8_lossy(&good.stdout).into_owned();
    assert_eq!(good.status.code(), Some(0), "{text}");
    assert!(
        text.contains("ttft.intended.p50") && text.contains("worse"),
        "{text}"
    );
    assert!(fs::read_to_string(&page).unwrap().contains("By percentile"));

    let figures = ["--fail-if-worse", "--on", "ttft.sent.p50", "--json"];
    let worse = run(&[&[a.as_str(), &b], figures.as_slice()].concat());
    assert_eq!(worse.status.code(), Some(99));
    let json: Value = serde_json::from_slice(&worse.stdout).unwrap();
    assert_eq!(json["rows"][0]["verdict"], "worse");
    let better = run(&[&[b.as_str(), &a], figures.as_slice()].concat());
    assert_eq!(better.status.code(), Some(0));

    let silent = run(&[&b, &a, "--fail-if-worse", "--on", "ttft.p99.9"]);
    assert_eq!(silent.status.code(), Some(99), "no data lets no gate pass");

    assert_eq!(run(&[&a, &path("nothing.json")]).status.code(), Some(1));
    fs::write(&b, "{}").unwrap();
    assert_eq!(run(&[&a, &b]).status.code(), Some(1));
    assert_eq!(run(&[&a]).status.code(), Some(2));
    assert_eq!(run(&[&a, &a, "--confidence", "100"]).status.code(), Some(2));
}
