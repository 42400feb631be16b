//! Questions and answers without a network, with both clocks in the test's hand.

use futures_util::FutureExt as _;

use super::*;

const NOW: u64 = 1_700_000_000;
const SECOND: Duration = Duration::from_secs(1);

fn desk() -> Desk {
    let endpoint = Endpoint::Given("http://127.0.0.1:1".parse().expect("a URL"));
    let (issuer, client) = ("https://idp.example".to_owned(), "us".to_owned());
    Desk::new(Asker::new(issuer, endpoint, client, "none".into(), None))
}

fn hash(name: &str) -> TokenHash {
    *blake3::hash(name.as_bytes()).as_bytes()
}

/// What looking for this token comes to: its code, and whether there is something to wait for.
fn look(desk: &Desk, token: &str, now: Instant, now_unix: u64) -> (&'static str, bool) {
    match desk.look(&hash(token), token.as_bytes(), now, now_unix) {
        Ok(_) => ("ok", false),
        Err(error) => (error.code, error.refresh.is_some()),
    }
}

fn active(exp: u64) -> Outcome {
    Outcome::Active(Object::new(), Some(exp))
}

/// Asks about `token` and gets `outcome`, all in this moment.
fn settle(desk: &Desk, token: &str, outcome: Outcome, now: Instant, now_unix: u64) {
    let error = desk.look(&hash(token), token.as_bytes(), now, now_unix);
    let wait = error.err().and_then(|error| error.refresh);
    let question = desk.next().expect("a question");
    desk.answer(&question, outcome, (now, now_unix), now);
    assert!(wait.expect("a wait").now_or_never().is_some());
}

#[test]
fn many_ask_and_one_question_is_put() {
    let (desk, now) = (desk(), Instant::now());
    let mut waits: Vec<_> = (0..50)
        .map(|_| desk.look(&hash("t"), b"t", now, NOW).err().unwrap())
        .map(|error| error.refresh.expect("something to wait for"))
        .collect();
    let question = desk.next().expect("one question");
    assert!(desk.next().is_none(), "and no more");
    assert_eq!(
        look(&desk, "t", now, NOW),
        ("identity_provider_unavailable", true)
    );
    assert!(desk.next().is_none(), "it is under way already");
    assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()));
    desk.answer(&question, active(NOW + 60), (now, NOW), now);
    assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_some()));
    assert_eq!(look(&desk, "t", now, NOW), ("ok", false));
    assert!(!format!("{question:?}").contains("\"t\""));
}

#[test]
fn an_answer_ends_after_30_seconds_whatever_the_time_of_day_says() {
    let (desk, now) = (desk(), Instant::now());
    settle(&desk, "t", active(NOW + 3600), now, NOW);
    let almost = now + ANSWER_AGE_MAX - SECOND;
    assert_eq!(look(&desk, "t", almost, NOW + 29), ("ok", false));
    // Set back, or forward within the token's time: its age is by the clock that nobody sets.
    assert_eq!(look(&desk, "t", almost, NOW - 50_000), ("ok", false));
    let due = now + ANSWER_AGE_MAX;
    assert_eq!(
        look(&desk, "t", due, NOW - 50_000).0,
        "identity_provider_unavailable"
    );
}

#[test]
fn an_answer_is_never_used_past_the_end_of_the_token() {
    let (desk, now) = (desk(), Instant::now());
    settle(&desk, "t", active(NOW + 10), now, NOW);
    assert_eq!(look(&desk, "t", now + 9 * SECOND, NOW + 9), ("ok", false));
    let then = now + 10 * SECOND;
    let wait = desk.look(&hash("t"), b"t", then, NOW + 10).err();
    let code = wait.as_ref().map(|error| error.code);
    assert_eq!(code, Some("identity_provider_unavailable"));
    // Called active although its time is over: the leeway judges, and it is not asked about anew
    // by every call.
    let question = desk.next().expect("asked again");
    desk.answer(&question, active(NOW + 10), (then, NOW + 10), then);
    assert_eq!(look(&desk, "t", then, NOW + 11), ("ok", false));
}

#[test]
fn refusals_are_short_and_failures_shorter() {
    let (desk, now) = (desk(), Instant::now());
    settle(&desk, "bad", Outcome::Inactive, now, NOW);
    let refused = ("token_not_active", false);
    assert_eq!(look(&desk, "bad", now + 4 * SECOND, NOW), refused);
    assert!(
        look(&desk, "bad", now + INACTIVE_AGE_MAX, NOW).1,
        "asked again"
    );
    settle(&desk, "t", Outcome::Failed("down".to_owned()), now, NOW);
    assert_eq!(desk.status().trouble.as_deref(), Some("down"));
    assert_eq!(
        look(&desk, "t", now, NOW),
        ("identity_provider_unavailable", false)
    );
    assert!(
        look(&desk, "t", now + FAILURE_AGE_MAX, NOW).1,
        "asked again"
    );
}

#[test]
fn a_failure_does_not_prolong_an_answer() {
    let (desk, now) = (desk(), Instant::now());
    settle(&desk, "t", active(NOW + 3600), now, NOW);
    let due = now + ANSWER_AGE_MAX;
    settle(
        &desk,
        "t",
        Outcome::Failed("down".to_owned()),
        due,
        NOW + 30,
    );
    assert_eq!(
        look(&desk, "t", due, NOW + 30),
        ("identity_provider_unavailable", false)
    );
    assert_eq!(desk.status().failed, 1);
}

#[test]
fn open_questions_are_bounded_and_made_up_tokens_displace_no_good_one() {
    let (desk, now) = (desk(), Instant::now());
    settle(&desk, "good", active(NOW + 3600), now, NOW);
    let waits: Vec<_> = (0..OPEN_MAX)
        .map(|n| desk.look(&hash(&n.to_string()), b"x", now, NOW).err())
        .collect();
    assert_eq!(
        look(&desk, "one more", now, NOW),
        ("identity_provider_busy", false)
    );
    for _ in 0..OPEN_MAX {
        let question = desk.next().expect("a question");
        desk.answer(&question, Outcome::Inactive, (now, NOW), now);
    }
    drop(waits);
    for n in 0..2 * REFUSED_MAX {
        settle(&desk, &format!("made up {n}"), Outcome::Inactive, now, NOW);
    }
    assert_eq!(look(&desk, "good", now, NOW), ("ok", false));
}

#[test]
fn what_nobody_waits_for_is_not_asked() {
    let (desk, now) = (desk(), Instant::now());
    drop(desk.look(&hash("gone"), b"gone", now, NOW));
    let wait = desk.look(&hash("here"), b"here", now, NOW).err();
    assert_eq!(desk.next().expect("the other").token, "here");
    assert_eq!(desk.status().open, 1);
    assert!(desk.next().is_none());
    drop(wait);
}
