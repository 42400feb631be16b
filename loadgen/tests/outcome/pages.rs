//! Pages that nothing gets out of and nothing gets into.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use penstock_loadgen::outcome::{Loop, Outcome};
use penstock_loadgen::report::compare::{Question, compare};
use penstock_loadgen::report::{compared, html, table};

use crate::made_up;

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='a()'>";

/// Tags that are opened, with their attributes, in order.
fn tags(page: &str) -> Vec<&str> {
    page.split('<')
        .skip(1)
        .filter_map(|part| Some(part.split_once('>')?.0))
        .collect()
}

fn check(page: &str) {
    for tag in tags(page) {
        let name = tag.split([' ', '/']).next().unwrap();
        let forbidden = [
            "script", "img", "link", "iframe", "object", "a", "base", "form",
        ];
        assert!(!forbidden.contains(&name), "<{tag}>");
        for attribute in [" src=", " href=", " style=", " on", " srcset="] {
            assert!(!tag.contains(attribute), "<{tag}>");
        }
    }
    let (_, style) = page.split_once("<style>").unwrap();
    let (style, _) = style.split_once("</style>").unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    let hash = STANDARD.encode(digest(&SHA256, style.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'");
    assert!(page.contains(&format!("content=\"{policy}\"")), "{policy}");
}

fn hostile() -> Outcome {
    let mut outcome = made_up(Loop::Open, 1.0, 1);
    outcome.asked.model = HOSTILE.into();
    outcome.asked.target = format!("http://host/{HOSTILE}");
    outcome.asked.workload = HOSTILE.into();
    outcome.asked.notes.push(HOSTILE.into());
    outcome.asked.command.push(HOSTILE.into());
    outcome.counts.errors.insert(HOSTILE.into(), 3);
    outcome
}

#[test]
fn a_report_holds_everything_and_runs_nothing() {
    for kind in [Loop::Open, Loop::Closed] {
        let page = html::page(&made_up(kind, 1.0, 1)).unwrap();
        check(&page);
        assert_eq!(
            page.matches("<svg").count(),
            2 * page.matches("<figure>").count()
        );
        for text in [
            "By percentile",
            "Arrival against completion",
            "Errors",
            "llama-3-8b",
            "p99.99",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert_eq!(page.contains("coordinated omission"), kind == Loop::Open);
        assert_eq!(page.contains("Closed loop"), kind == Loop::Closed);
    }
}

#[test]
fn what_others_chose_is_shown_and_not_obeyed() {
    let outcome = hostile();
    check(&html::page(&outcome).unwrap());
    let question = Question {
        confidence: 0.99,
        margin: 0.01,
        seed: 1,
        figures: Vec::new(),
    };
    let compared = compare((HOSTILE, &outcome), ("b", &outcome), &question).unwrap();
    check(&compared::page(&compared, &outcome, &outcome).unwrap());
}

#[test]
fn a_run_in_which_nothing_was_answered_still_has_a_page_and_a_table() {
    let mut outcome = made_up(Loop::Open, 1.0, 1);
    outcome.metrics.clear();
    for slot in &mut outcome.timeline.slots {
        slot.metrics.clear();
    }
    check(&html::page(&outcome).unwrap());
    assert!(table::table(&outcome).contains("no latencies"));
    outcome.timeline.slots.clear();
    check(&html::page(&outcome).unwrap());
}

#[test]
fn the_table_says_both_series_and_why_they_differ() {
    let text = table::table(&made_up(Loop::Open, 1.0, 1));
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("time to first token intended"), "{text}");
    assert!(words.contains("coordinated omission"), "{text}");
    assert!(text.contains("status_503") && text.contains("goodput"));
    assert!(
        text.lines().all(|line| line.chars().count() <= 110),
        "{text}"
    );
    let closed = table::table(&made_up(Loop::Closed, 1.0, 1));
    assert!(
        closed.contains("closed loop") && !closed.contains("intended start"),
        "{closed}"
    );
}
