//! A clock that somebody sets while the gateway runs: back by an hour, forward by a day, and to the
//! right time again. What the gateway is told of the time of day comes from Debian's libfaketime;
//! its timers, which nobody sets, are its own. Where that is not installed, tests say that they skip.

use std::fs;
use std::path::{Path, PathBuf};

use penstock_loadgen::client::{Call, Connection};
use penstock_recorder::frame::Outcome;
use serde_json::{Value, json};

use super::people::{
    alice, approve, ask, decision, forwarded, revocation, sam, spend, token, wanted_key,
};
use crate::approvals::{POLICY, approval, chat, events, stack, ticket};
use crate::approvals_wait::pending_but;
use crate::control::control;
use crate::stack::{Setup, Stack};
use crate::witness::{close_of, code, scripted_chat};

const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;

/// Inference is granted, and nothing else said: it is compiled at once.
const OPEN: &str =
    "[[grant]]\ngroups = [\"engineers\"]\nmodels = [\"*\"]\noperations = [\"infer\"]\n";

/// The clock of a gateway.
pub(super) struct Clock {
    folder: tempfile::TempDir,
    library: PathBuf,
}

// === impl Clock ===

impl Clock {
    /// `None`, said aloud, where there is none that can be set.
    pub(super) fn find() -> Option<Self> {
        let library = library();
        if library.is_none() {
            eprintln!("SKIPPED: no clock that can be set (Debian: faketime)");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Self {
            folder,
            library: library?,
        };
        clock.set(0);
        Some(clock)
    }

    /// The gateway has this clock.
    pub(super) fn put_under(&self, setup: &mut Setup) {
        let file = self.file().display().to_string();
        let library = self.library.display().to_string();
        for (name, value) in [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            // Files keep their times, as they do when a clock is set.
            ("NO_FAKE_STAT", "1"),
        ] {
            let pair = (name.to_owned(), value.to_owned());
            setup.launch.environment.push(pair);
        }
    }

    /// From now on so many seconds before or behind the right time.
    pub(super) fn set(&self, offset_s: i64) {
        let partial = self.folder.path().join("partial");
        fs::write(&partial, format!("{offset_s:+}\n")).expect("written");
        fs::rename(&partial, self.file()).expect("in place");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

impl Drop for Clock {
    /// A process that was killed leaves what it shared its clock through.
    fn drop(&mut self) {
        for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = ["faketime_shm_", "sem.faketime_sem_"]
                .iter()
                .find_map(|prefix| name.strip_prefix(prefix));
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Whoever else sweeps may have been quicker.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|it| it.path());
    let inside = |folder: PathBuf| folder.join("faketime/libfaketimeMT.so.1");
    folders
        .chain([Path::new("/usr/lib").to_owned(), "/usr/lib64".into()])
        .map(inside)
        .find(|path| path.exists())
}

/// The gateway's own idea of the time, in seconds since 1970, as a reload tells it.
fn told(stack: &Stack) -> i64 {
    let answer = control(stack, &Call::post("/reload", &Value::Null));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["at_unix"].as_i64().expect("a time")
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn standing(stack: &Stack, id: &str) -> String {
    let it = approval(stack, id);
    it["standing"].as_str().unwrap_or_default().to_owned()
}

/// Asked for and approved.
fn approved(stack: &Stack, text: &str) -> String {
    let id = ticket(&ask(stack, &alice(stack), text));
    approve(stack, &sam(stack), &id);
    id
}

#[test]
fn an_approval_has_its_time_whatever_the_clock_says() {
    let Some(clock) = Clock::find() else { return };
    let mut stack = stack(|setup| clock.put_under(setup));
    let (alice, sam) = (alice(&stack), sam(&stack));
    let [kept, used] = ["kept", "used"].map(|text| approved(&stack, text));
    assert_eq!(spend(&stack, &alice, "used", &used).0, 200);
    let pending = ticket(&ask(&stack, &alice, "pending"));
    let mut waiting = stack.connect();
    let call = chat("waiting").field("prefer", "wait=100").token(&alice);
    call.over(&mut waiting).expect("it is sent");
    let mut waits = None;
    let asked = stack.wait(|| {
        waits = pending_but(&stack, &[&pending]);
        waits.is_some()
    });
    assert!(asked, "{}", stack.log());
    let waits = waits.expect("it waits");

    // Back by an hour: nobody has more time than before, nor less, and waits go on.
    let right = told(&stack);
    clock.set(-HOUR_S);
    assert!(told(&stack) < right, "the clock was set");
    let until = |id: &str| approval(&stack, id)["expires"].clone();
    let before = until(&pending);
    assert_eq!(
        spend(&stack, &alice, "used", &used),
        is(403, "approval_used")
    );
    assert_eq!(spend(&stack, &alice, "kept", &kept).0, 200);
    assert_eq!(
        spend(&stack, &alice, "kept", &kept),
        is(403, "approval_used")
    );
    approve(&stack, &sam, &waits);
    assert_eq!(waiting.read_response().expect("an answer").status(), 200);
    assert_eq!(
        (standing(&stack, &pending), until(&pending)),
        ("pending".to_owned(), before)
    );

    // Forward by a day: whatever had ten minutes is over, and stays so when the clock is right again.
    let late = approved(&stack, "late");
    clock.set(DAY_S);
    for (id, text) in [(&pending, "pending"), (&late, "late")] {
        assert!(
            stack.wait(|| standing(&stack, id) == "expired"),
            "{}",
            stack.log()
        );
        assert_eq!(spend(&stack, &alice, text, id), is(403, "approval_expired"));
    }
    for offset_s in [0, -HOUR_S] {
        clock.set(offset_s);
        for (id, text) in [(&pending, "pending"), (&late, "late")] {
            assert_eq!(spend(&stack, &alice, text, id), is(403, "approval_expired"));
            assert_eq!(
                control(&stack, &decision(&sam, id, "approve")).status(),
                409
            );
        }
        // A new one is asked for and used as ever.
        let text = format!("new at {offset_s}");
        let new = approved(&stack, &text);
        assert_eq!(spend(&stack, &alice, &text, &new).0, 200);
        // Started anew with that clock, it is the same.
        stack.kill_gateway();
        stack.start_gateway();
        assert_eq!(spend(&stack, &alice, &text, &new), is(403, "approval_used"));
        assert_eq!(
            spend(&stack, &alice, "late", &late),
            is(403, "approval_expired")
        );
        assert_eq!(forwarded(&stack, &text), 1);
    }
    assert_eq!(events(&stack, &pending), ["requested", "expired"]);
    assert_eq!(
        (forwarded(&stack, "pending"), forwarded(&stack, "late")),
        (0, 0)
    );
    assert_eq!(
        (forwarded(&stack, "kept"), forwarded(&stack, "used")),
        (1, 1)
    );
}

#[test]
fn a_clock_that_is_set_back_gives_nobody_another_hour_to_decide() {
    let Some(clock) = Clock::find() else { return };
    let stack = stack(|setup| {
        setup.policy = POLICY.replace("10m", "2s");
        clock.put_under(setup);
    });
    let id = ticket(&ask(&stack, &alice(&stack), "soon or never"));
    clock.set(-HOUR_S);
    // By the clock there is an hour left; by its own time it is over in two seconds.
    let over = stack.wait(|| standing(&stack, &id) == "expired");
    assert!(over, "{}", approval(&stack, &id));
    let late = control(&stack, &decision(&sam(&stack), &id, "approve"));
    assert_eq!(late.status(), 409, "{}", late.text());
}

#[test]
fn whoever_is_cut_off_stays_so_whatever_the_clock_says() {
    let Some(clock) = Clock::find() else { return };
    let mut stack = Stack::with(|setup| {
        setup.record = false;
        setup.policy = OPEN.to_owned();
        clock.put_under(setup);
    });
    let alice = alice(&stack);
    let [bob, carol] = ["bob", "carol"].map(|who| token(&stack, who, &["engineers"]));
    let asked = |stack: &Stack, token: &str| {
        let answer = ask(stack, token, "hello");
        (answer.status(), code(&answer))
    };
    let issue = |expires: &str| {
        let answer = control(&stack, &wanted_key("alice", expires));
        assert_eq!(answer.status(), 201, "{}", answer.text());
        answer.json()["secret"].as_str().expect("a key").to_owned()
    };
    let (brief, lasting) = (issue("1s"), issue("2h"));
    for (who, until) in [("bob", Some("2h")), ("carol", None)] {
        assert_eq!(control(&stack, &revocation(who, until)).status(), 201);
    }
    let expired = is(401, "key_expired");
    assert!(
        stack.wait(|| asked(&stack, &brief) == expired),
        "{:?}",
        asked(&stack, &brief)
    );

    let cut = is(401, "revoked");
    for offset_s in [-HOUR_S, DAY_S, 0, -DAY_S] {
        clock.set(offset_s);
        // Set forward, it ends no revocation that was to last for two hours; set back, it gives no
        // key another hour.
        assert_eq!(
            (asked(&stack, &bob), asked(&stack, &carol)),
            (cut.clone(), cut.clone())
        );
        assert_eq!(asked(&stack, &brief), expired, "{offset_s}");
        assert_eq!(asked(&stack, &alice).0, 200);
        // One that has two hours has them, and by a clock that says that they are over it has not.
        let good = if offset_s == DAY_S { 401 } else { 200 };
        assert_eq!(asked(&stack, &lasting).0, good, "{offset_s}");
    }
    clock.set(-HOUR_S);
    stack.kill_gateway();
    stack.start_gateway();
    assert_eq!(
        (asked(&stack, &bob), asked(&stack, &carol)),
        (cut.clone(), cut)
    );
}

#[test]
fn what_a_provider_says_goes_by_the_systems_clock() {
    let Some(clock) = Clock::find() else { return };
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.policy = OPEN.to_owned();
        clock.put_under(setup);
    });
    // An hour from now, as its issuer's clock has it.
    let token = stack.token();
    let asked = || {
        let answer = ask(&stack, &token, "hello");
        (answer.status(), code(&answer))
    };
    assert_eq!(asked().0, 200);
    for (offset_s, expected) in [
        (2 * HOUR_S, is(401, "token_expired")),
        (-2 * HOUR_S, is(401, "token_not_yet_valid")),
        // It had not expired, and is as good as before.
        (0, is(200, "")),
    ] {
        clock.set(offset_s);
        assert_eq!(asked(), expected, "{offset_s}");
    }
}

#[test]
fn calls_reloads_and_the_record_go_on_while_the_clock_is_set() {
    const WORDS: usize = 40;
    let Some(clock) = Clock::find() else { return };
    let stack = Stack::with(|setup| {
        setup.policy = OPEN.to_owned();
        clock.put_under(setup);
    });
    let alice = alice(&stack);
    let answer = json!({"text": "word ".repeat(WORDS), "split": "words", "inter_token_ms": 20});
    let call = Call::post("/v1/chat/completions", &scripted_chat(&answer, true));
    let mut stream: Connection = stack.connect();
    call.token(&alice).over(&mut stream).expect("it is sent");
    let head = stream.read_head().expect("a head");
    let id = head.field("x-request-id").expect("an id").to_owned();
    for offset_s in [-HOUR_S, DAY_S, 0, -HOUR_S] {
        stream
            .next_event()
            .expect("it goes on")
            .expect("not the end");
        clock.set(offset_s);
        // Written an hour from now, by this clock, and read all the same.
        let policy = stack.path("policies/main.toml");
        let text = format!("# {offset_s}\n{OPEN}");
        fs::write(policy, text).expect("written");
        told(&stack);
        assert_eq!(ask(&stack, &alice, "meanwhile").status(), 200);
    }
    let mut last = String::new();
    while let Some(event) = stream.next_event().expect("it ends in order") {
        last = event.data;
    }
    assert_eq!(last, "[DONE]");
    assert_eq!(close_of(&stack.session(&id)).outcome, Outcome::Completed);
    stack.assert_verified();
    let folder = stack.segments();
    let folder = folder.to_str().expect("a path");
    for arguments in [vec!["sessions", folder], vec!["show", folder, &id]] {
        stack.recorder_tool(&arguments).expect("it is shown");
    }
    // A new policy is refused for nobody's clock.
    let held = format!("# held\n{POLICY}");
    fs::write(stack.path("policies/main.toml"), held).expect("written");
    told(&stack);
    ticket(&ask(&stack, &alice, "held"));
}
