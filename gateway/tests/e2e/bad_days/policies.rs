//! Policy files that change while they are read, and reloads asked for by everybody at once.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use penstock_loadgen::client::{Call, Response};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::control::control;
use crate::stack::{POLICY, Stack};
use crate::witness::code;

/// Policies that take turns.
const VERSIONS: usize = 4;
/// Lines of comment between the parts of a policy, so that no read of a file is over at once.
const PADDING_LINES: usize = 2000;
/// Pieces in which a file is written in place.
const PIECES: usize = 8;
/// Reloads that must have run before a test has seen enough.
const RELOADS_MIN: u64 = 5;

/// A policy that is right only as a whole: its last part is what blocks.
fn version(number: usize) -> String {
    let padding = format!("# version {number}, and more of it\n").repeat(PADDING_LINES);
    format!(
        "{POLICY}{padding}[[guard]]\nname = \"customers stay here {number}\"\n\
         direction = \"request\"\npacks = [\"customer\"]\naction = \"block\"\n"
    )
}

pub(super) fn rename_into_place(path: &Path, text: &str) {
    let partial = path.with_extension("partial");
    fs::write(&partial, text).expect("written");
    fs::rename(partial, path).expect("in place");
}

/// Over what is there, piece by piece. The first byte comes last: until then nothing of it is valid,
/// however long whoever writes is kept from going on.
pub(super) fn write_in_place(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("it is there");
    let mut put = |at: usize, bytes: &[u8]| {
        file.seek(SeekFrom::Start(at as u64)).expect("a place");
        file.write_all(bytes).expect("written");
        file.set_len((at + bytes.len()).max(1) as u64).expect("cut");
    };
    put(0, b"\0");
    let rest = &text.as_bytes()[1..];
    let piece = rest.len().div_ceil(PIECES);
    for (index, bytes) in rest.chunks(piece).enumerate() {
        put(1 + index * piece, bytes);
    }
    file.seek(SeekFrom::Start(0)).expect("a place");
    file.write_all(&text.as_bytes()[..1]).expect("written");
}

pub(super) fn hang_up(stack: &Stack) {
    let pid = i32::try_from(stack.gateway_pid()).expect("a process id");
    let pid = Pid::from_raw(pid).expect("a process id");
    kill_process(pid, Signal::HUP).expect("the gateway is signalled");
}

/// Something is over when this is dropped: also by a failure, else who waits for it goes on forever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn ask_for_reload(stack: &Stack) -> Response {
    control(stack, &Call::post("/reload", &Value::Null))
}

pub(super) fn in_force(stack: &Stack) -> String {
    let version = stack.status()["policy"]["version"].clone();
    version.as_str().expect("a version").to_owned()
}

fn reloads(stack: &Stack) -> u64 {
    let standing = stack.status()["policy"].clone();
    let count = |name: &str| standing[name].as_u64().unwrap_or(0);
    count("applied") + count("unchanged") + count("refused")
}

/// What a call with a customer's number gets.
fn outcome(stack: &Stack, text: &str) -> (u16, String) {
    let answer = stack.chat(text);
    (answer.status(), code(&answer))
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_is_never_half_in_force() {
    let stack = Stack::with(|setup| {
        setup.record = false;
        setup.policy = version(0);
    });
    let path = stack.path("policies/main.toml");
    // What there is to be in force, each known from a quiet moment.
    let mut known = BTreeSet::new();
    for number in 0..VERSIONS {
        rename_into_place(&path, &version(number));
        assert_eq!(ask_for_reload(&stack).status(), 200, "{}", stack.log());
        known.insert(in_force(&stack));
    }
    assert_eq!(known.len(), VERSIONS);
    let before = reloads(&stack);
    let is_over = AtomicBool::new(false);
    let seen: BTreeSet<String> = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut turn = 0;
            while !is_over.load(Ordering::SeqCst) {
                let text = version(turn % VERSIONS);
                match turn % 3 {
                    0 => rename_into_place(&path, &text),
                    _ => write_in_place(&path, &text),
                }
                turn += 1;
            }
            turn
        });
        let asking = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !is_over.load(Ordering::SeqCst) {
                hang_up(&stack);
                let answer = ask_for_reload(&stack);
                let attempt = answer.json();
                // 422: it was being written. It is said, and nothing changes.
                assert!(matches!(answer.status(), 200 | 422), "{attempt}");
                seen.insert(
                    attempt["policy_version"]
                        .as_str()
                        .expect("a version")
                        .to_owned(),
                );
            }
            seen
        });
        let calling = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                let blocked = (403, "request_blocked".to_owned());
                assert_eq!(outcome(&stack, "order CUST-12345678"), blocked);
                assert_eq!(outcome(&stack, "hello").0, 200);
            }
        });
        let enough = stack.wait(|| reloads(&stack) >= before + RELOADS_MIN);
        is_over.store(true, Ordering::SeqCst);
        assert!(enough, "{}", stack.log());
        calling
            .join()
            .expect("every call was decided by a whole policy");
        let turns = writer.join().expect("the writer");
        println!(
            "{turns} files written, {} reloads",
            reloads(&stack) - before
        );
        asking.join().expect("every reload was answered")
    });
    assert!(seen.is_subset(&known), "{seen:?} is not of {known:?}");
    // And when it is quiet again, the last one counts.
    rename_into_place(&path, &version(2));
    assert_eq!(ask_for_reload(&stack).status(), 200, "{}", stack.log());
    assert!(known.contains(&in_force(&stack)));
    assert_eq!(outcome(&stack, "order CUST-12345678").0, 403);
}

#[test]
fn in_a_storm_of_reloads_every_call_is_answered_and_the_last_state_wins() {
    const SIGNALS: usize = 300;
    const ASKERS: usize = 8;
    const ASKS: usize = 25;
    const FILES: usize = 100;
    let stack = Stack::with(|setup| setup.record = false);
    let path = stack.path("policies/main.toml");
    let is_over = AtomicBool::new(false);
    let called = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let storm: Vec<_> = std::iter::once(scope.spawn(|| {
            for _ in 0..SIGNALS {
                hang_up(&stack);
                std::thread::yield_now();
            }
        }))
        .chain(std::iter::once(scope.spawn(|| {
            for number in 0..FILES {
                let text = format!("# {number}\n{POLICY}");
                rename_into_place(&path, &text);
            }
        })))
        .chain((0..ASKERS).map(|_| {
            scope.spawn(|| {
                for _ in 0..ASKS {
                    let answer = ask_for_reload(&stack);
                    // Refused: the files kept changing while they were read.
                    let good = matches!(answer.status(), 200 | 422);
                    assert!(good, "{} {}", answer.status(), answer.text());
                }
            })
        }))
        .collect();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::SeqCst) {
                        assert_eq!(stack.chat("hello").status(), 200);
                        called.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let over = Over(&is_over);
        for part in storm {
            part.join().expect("everybody was answered");
        }
        drop(over);
        for caller in callers {
            caller.join().expect("every call was served");
        }
    });
    assert!(called.load(Ordering::SeqCst) > 0);
    // Nobody asks any more: the watch finds the last word.
    rename_into_place(&path, &version(1));
    let wins = stack.wait(|| outcome(&stack, "order CUST-12345678").0 == 403);
    assert!(wins, "{}", stack.log());
    let standing = stack.status()["policy"].clone();
    let asked = (SIGNALS + ASKERS * ASKS + FILES) as u64;
    assert!(
        reloads(&stack) < asked,
        "requests meanwhile are answered together: {standing}"
    );
    assert_eq!(standing["last"]["errors"], json!([]));
}
