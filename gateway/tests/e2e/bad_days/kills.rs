//! kill -9 as each bad day breaks in: while approvals are asked for, decided and used and people
//! are cut off. Whatever the day, what somebody was told holds afterwards, no approval has been used
//! twice, nothing that was not approved has reached the model, and what was open can be decided.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use penstock_loadgen::client::{Call, Connection};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use super::clock::Clock;
use super::disk::Disk;
use super::people::{
    alice, approve, ask, attempt, decision, forwarded, revocation, sam, spend, token,
};
use super::policies::{hang_up, in_force, rename_into_place, write_in_place};
use crate::approvals::{POLICY, approval, chat, events, stack, ticket, with_approval};
use crate::approvals_state::{execute, run};
use crate::control::control;
use crate::crashes::Dice;
use crate::notifications::{HANG, Receiver, secret_file, webhook};
use crate::postgres::Postgres;
use crate::stack::{Setup, Stack};
use crate::witness::code;

/// How often the gateway is killed on each day.
const KILLS: usize = 2;
/// The longest that it goes well, and the longest of the bad day after it, in milliseconds.
const LIFE_MS: u64 = 80;
/// Between two decisions of an operator.
const THINKING: Duration = Duration::from_millis(15);
/// Tickets that are used, and tickets that are decided, while it is killed.
const TICKETS: usize = 4;
/// A crowd that waits besides.
const CROWD: u64 = 2000;

/// What is bad about a day.
trait Day: Sync {
    /// Before the gateway is started for the first time.
    fn set_up(&self, _setup: &mut Setup) {}
    /// Now it begins, in the middle of everything.
    fn begin(&mut self, _stack: &Stack) {}
    /// Goes on beside everything else until it is over.
    fn go_on(&self, _stack: &Stack, _is_over: &AtomicBool) {}
    /// The gateway is dead; whatever comes before its next start.
    fn end(&mut self, _stack: &mut Stack) {}
}

/// What was there before a day.
struct Open {
    /// Texts by the ids of their approvals; approved.
    approved: BTreeMap<String, String>,
    /// The same; not decided.
    pending: BTreeMap<String, String>,
    waiting: Connection,
    waits: String,
}

/// What operators were told.
#[derive(Default)]
struct Told {
    decided: BTreeMap<String, &'static str>,
    revoked: Vec<String>,
}

/// Somebody's life on such a day, until the gateway is killed, as often as it is.
fn live(day: &mut dyn Day) {
    let mut dice = Dice::new();
    let mut stack = stack(|setup| {
        setup.more = "[approvals]\npending_per_caller = 20000\n".to_owned();
        day.set_up(setup);
    });
    let version = in_force(&stack);
    let mut told = Told::default();
    for round in 0..KILLS {
        let open = before(&stack, round);
        let mut life = || Duration::from_millis(LIFE_MS / 10 + dice.below(LIFE_MS));
        work(&stack, day, (round, life(), life()), &open, &mut told);
        stack.kill_gateway();
        day.end(&mut stack);
        stack.start_gateway();
        assert_eq!(in_force(&stack), version, "{}", stack.log());
        assert_kept(&stack, open, &told);
    }
    println!(
        "{} decisions and {} revocations were acknowledged over {KILLS} kills",
        told.decided.len(),
        told.revoked.len()
    );
    let never = |body: &[u8]| memchr::memmem::find(body, b"never ").is_some();
    let passed = stack.double.requests().iter().any(|it| never(&it.body));
    assert!(!passed, "something reached the model that nobody approved");
}

/// On a good day still.
fn before(stack: &Stack, round: usize) -> Open {
    let (alice, sam) = (alice(stack), sam(stack));
    let tickets = |what: &str| -> BTreeMap<String, String> {
        let texts = (0..TICKETS).map(|number| format!("{what} {round} {number}"));
        let asked = texts.map(|text| (ticket(&ask(stack, &alice, &text)), text));
        asked.collect()
    };
    let (approved, pending) = (tickets("approved"), tickets("pending"));
    approved.keys().for_each(|id| approve(stack, &sam, id));
    let mut waiting = stack.connect();
    let text = format!("never waited for {round}");
    let walter = token(stack, "walter", &["engineers"]);
    let call = chat(&text).field("prefer", "wait=100").token(&walter);
    call.over(&mut waiting).expect("it is sent");
    let mut waits = None;
    let asked = stack.wait(|| {
        let list = Call::get("/approvals?standing=pending&subject=walter");
        let list = control(stack, &list).json();
        waits = list["approvals"][0]["id"].as_str().map(str::to_owned);
        waits.is_some()
    });
    assert!(asked, "nobody is asked: {}", stack.log());
    Open {
        approved,
        pending,
        waiting,
        waits: waits.expect("it waits"),
    }
}

/// Everybody does what they do, for so long on a good day and for so long on a bad one, and the
/// gateway is killed among them.
fn work(
    stack: &Stack,
    day: &mut dyn Day,
    (round, good, bad): (usize, Duration, Duration),
    open: &Open,
    told: &mut Told,
) {
    let pid = i32::try_from(stack.gateway_pid()).expect("a process id");
    let pid = Pid::from_raw(pid).expect("a process id");
    let (alice, sam) = (&alice(stack), &sam(stack));
    let is_over = &AtomicBool::new(false);
    let goes_on = || !is_over.load(Ordering::SeqCst);
    let told = &Mutex::new(told);
    std::thread::scope(move |scope| {
        // Two connections at once for each approval; every other one is used on the bad day.
        let spend_all = |from: usize| {
            for (id, text) in open.approved.iter().skip(from).step_by(2) {
                for _ in 0..2 {
                    let call = with_approval(chat(text), id).token(alice);
                    scope.spawn(move || call.to(stack.address()).map(|it| it.status()));
                }
            }
        };
        scope.spawn(move || {
            for (number, id) in open.pending.keys().enumerate() {
                decide(stack, (sam, id, number), told);
                std::thread::sleep(THINKING);
            }
        });
        scope.spawn(move || {
            for number in (0..).take_while(|_| goes_on()) {
                let subject = format!("gone-{round}-{number}");
                let answer = attempt(stack, &revocation(&subject, None));
                if answer.is_some_and(|it| it.status() == 201) {
                    told.lock().expect("what was told").revoked.push(subject);
                }
            }
        });
        scope.spawn(move || {
            for number in (0..).take_while(|_| goes_on()) {
                let call = chat(&format!("never {round} {number}")).token(alice);
                let status = call.to(stack.address()).map(|it| it.status());
                assert!(!matches!(status, Ok(200)), "nobody was asked");
            }
        });
        spend_all(0);
        std::thread::sleep(good);
        day.begin(stack);
        let day: &dyn Day = day;
        scope.spawn(move || day.go_on(stack, is_over));
        spend_all(1);
        std::thread::sleep(bad);
        kill_process(pid, Signal::KILL).expect("killed");
        is_over.store(true, Ordering::SeqCst);
    });
}

/// An operator's word, and what came of it where somebody answered.
fn decide(stack: &Stack, (sam, id, number): (&str, &str, usize), told: &Mutex<&mut Told>) {
    let (word, standing) = match number % 2 {
        0 => ("approve", "approved"),
        _ => ("deny", "denied"),
    };
    let answer = attempt(stack, &decision(sam, id, word));
    if answer.is_some_and(|it| it.status() == 200) {
        let mut told = told.lock().expect("what was told");
        told.decided.insert(id.to_owned(), standing);
    }
}

/// After the next start.
fn assert_kept(stack: &Stack, mut open: Open, told: &Told) {
    let (alice, sam) = (alice(stack), sam(stack));
    let used = (403, "approval_used".to_owned());
    for (id, text) in &open.approved {
        let again = spend(stack, &alice, text, id);
        assert!(
            again.0 == 200 || again == used,
            "{text}: {again:?}\n{}",
            stack.log()
        );
        assert_eq!(spend(stack, &alice, text, id), used, "{text}");
        let times = forwarded(stack, text);
        assert!(times <= 1, "{text} was sent {times} times");
        assert!(
            again.0 != 200 || times == 1,
            "{text} was answered by nobody"
        );
        assert_eq!(events(stack, id), ["requested", "approved", "used"]);
    }
    for (id, text) in &open.pending {
        let standing = approval(stack, id)["standing"].clone();
        let standing = standing.as_str().expect("a standing");
        match told.decided.get(id) {
            Some(told) => assert_eq!(standing, *told, "{text}: it was said to be"),
            None => assert!(
                matches!(standing, "pending" | "approved" | "denied"),
                "{standing}"
            ),
        }
        if standing == "denied" {
            let denied = (403, "approval_denied".to_owned());
            assert_eq!(spend(stack, &alice, text, id), denied);
            continue;
        }
        if standing == "pending" {
            approve(stack, &sam, id);
        }
        assert_eq!(spend(stack, &alice, text, id).0, 200, "{}", stack.log());
        assert_eq!(spend(stack, &alice, text, id), used);
        assert_eq!(forwarded(stack, text), 1);
    }
    // Whoever waited is gone, and that stands there.
    assert!(open.waiting.read_response().is_err(), "nobody answered");
    let withdrawn = || approval(stack, &open.waits)["standing"] == "withdrawn";
    assert!(stack.wait(withdrawn), "{}", stack.log());
    assert_eq!(events(stack, &open.waits), ["requested", "withdrawn"]);
    // The first and the last of each life are as good as all.
    let ends = told
        .revoked
        .iter()
        .take(2)
        .chain(told.revoked.iter().rev().take(3));
    for subject in ends {
        let answer = ask(stack, &token(stack, subject, &["engineers"]), "never again");
        assert_eq!(
            (answer.status(), code(&answer).as_str()),
            (401, "revoked"),
            "{subject}"
        );
    }
}

// === the days ===

/// No room for the state; on the second day it is not made before the next start either.
struct Full(Disk, usize);

impl Day for Full {
    fn set_up(&self, setup: &mut Setup) {
        self.0.put_under(setup);
    }

    fn begin(&mut self, _: &Stack) {
        self.0.fill();
    }

    fn end(&mut self, stack: &mut Stack) {
        self.1 += 1;
        if self.1 > 1 {
            self.0.fill();
            stack.start_gateway();
            let held = ask(stack, &alice(stack), "never at all");
            // A log that SQLite writes over from its beginning has room in a full disk.
            let told = code(&held);
            let is_held = ["approvals_unavailable", "approval_required"].contains(&told.as_str());
            assert!(is_held, "{}", held.text());
            stack.kill_gateway();
        }
        self.0.clear();
    }
}

#[test]
fn killed_on_a_full_disk() {
    if let Some(disk) = Disk::mount() {
        live(&mut Full(disk, 0));
    }
}

/// Another program has the state, and keeps it.
struct Locked(Option<SqliteConnection>, tokio::runtime::Runtime);

impl Day for Locked {
    fn begin(&mut self, stack: &Stack) {
        let options = SqliteConnectOptions::new()
            .filename(stack.path("state.db"))
            .busy_timeout(Duration::from_secs(10));
        self.0 = Some(self.1.block_on(async {
            let mut connection = options.connect().await.expect("the state opens");
            execute(&mut connection, "BEGIN EXCLUSIVE").await;
            connection
        }));
    }

    fn end(&mut self, _: &mut Stack) {
        if let Some(mut connection) = self.0.take() {
            self.1.block_on(execute(&mut connection, "ROLLBACK"));
        }
    }
}

#[test]
fn killed_while_the_database_is_locked() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    live(&mut Locked(None, runtime.expect("a runtime")));
}

/// The shared state is gone.
struct Gone(Postgres);

impl Day for Gone {
    fn set_up(&self, setup: &mut Setup) {
        setup.control += &self.0.state();
    }

    fn begin(&mut self, _: &Stack) {
        self.0.stop();
    }

    fn end(&mut self, _: &mut Stack) {
        self.0.serve().expect("it comes back");
    }
}

#[test]
fn killed_while_postgres_is_gone() {
    if let Some(postgres) = Postgres::start() {
        live(&mut Gone(postgres));
    }
}

/// The identity provider is gone, and still is when the gateway starts again: then nobody is let in.
struct Unknown;

impl Day for Unknown {
    fn begin(&mut self, stack: &Stack) {
        stack.issuer.fail(true);
    }

    fn end(&mut self, stack: &mut Stack) {
        stack.start_gateway();
        let answer = ask(stack, &alice(stack), "never by a stranger");
        assert_eq!(answer.status(), 503, "{}", answer.text());
        stack.kill_gateway();
        stack.issuer.fail(false);
    }
}

#[test]
fn killed_while_the_identity_provider_is_gone() {
    live(&mut Unknown);
}

/// Whoever is to be told of all of it takes the message and never answers.
struct Hanging(Receiver);

impl Day for Hanging {
    fn set_up(&self, setup: &mut Setup) {
        setup.files.push(secret_file());
        setup.more += &webhook("hook", &self.0);
    }
}

#[test]
fn killed_while_a_receiver_hangs() {
    let mut day = Hanging(Receiver::start(HANG));
    live(&mut day);
    assert!(!day.0.got().is_empty(), "it was not told");
}

/// The clock goes back by an hour, each time.
struct Back(Clock, i64);

impl Day for Back {
    fn set_up(&self, setup: &mut Setup) {
        self.0.put_under(setup);
    }

    fn begin(&mut self, _: &Stack) {
        self.1 -= 3600;
        self.0.set(self.1);
    }
}

#[test]
fn killed_while_the_clock_goes_back() {
    if let Some(clock) = Clock::find() {
        live(&mut Back(clock, 0));
    }
}

/// Thousands wait for people.
struct Crowded(bool);

impl Day for Crowded {
    fn begin(&mut self, stack: &Stack) {
        if std::mem::replace(&mut self.0, true) {
            return;
        }
        let made = run(stack, async |connection| {
            execute(
                connection,
                "WITH RECURSIVE number(it) AS (SELECT 1 UNION ALL SELECT it + 1 FROM number \
                 WHERE it < 2000) INSERT INTO approval (id, revision, digest, issuer, subject, \
                 tenant, key_id, matter, holds, manner, gateway, run, created_ms, expires_ms, \
                 lasts_ms, standing, changed_ms, history) SELECT substr(id, 1, 30) || \
                 printf('%06x', it), 0, digest || it, issuer, subject, tenant, key_id, matter, \
                 holds, manner, gateway, run, created_ms, expires_ms, lasts_ms, standing, \
                 changed_ms, history FROM approval, number WHERE id = (SELECT MIN(id) FROM \
                 approval WHERE standing = 'pending' AND manner = 'ticket')",
            )
            .await
        });
        assert_eq!(made, CROWD);
    }
}

#[test]
fn killed_while_thousands_wait() {
    live(&mut Crowded(false));
}

/// The same policy, with more of nothing in it the higher the number, so that it takes a while.
fn version(number: usize) -> String {
    let padding = format!("# version {number}, and more of it\n").repeat(500 * (number % 4 + 1));
    format!("{padding}{POLICY}")
}

/// The policy is replaced while it is read, in one piece and in several.
struct Rewritten;

impl Day for Rewritten {
    fn go_on(&self, stack: &Stack, is_over: &AtomicBool) {
        let path = stack.path("policies/main.toml");
        for number in (0..).take_while(|_| !is_over.load(Ordering::SeqCst)) {
            match number % 2 {
                0 => rename_into_place(&path, &version(number)),
                _ => write_in_place(&path, &version(number)),
            }
            let _ = attempt(stack, &Call::post("/reload", &Value::Null));
        }
    }

    fn end(&mut self, stack: &mut Stack) {
        rename_into_place(&stack.path("policies/main.toml"), POLICY);
    }
}

#[test]
fn killed_while_policies_are_replaced() {
    live(&mut Rewritten);
}

/// Everybody asks for a reload, in both ways.
struct Stormy;

impl Day for Stormy {
    fn go_on(&self, stack: &Stack, is_over: &AtomicBool) {
        let path = stack.path("policies/main.toml");
        let goes_on = || !is_over.load(Ordering::SeqCst);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while goes_on() {
                        let _ = attempt(stack, &Call::post("/reload", &Value::Null));
                    }
                });
            }
            for number in (0..).take_while(|_| goes_on()) {
                hang_up(stack);
                rename_into_place(&path, &version(number));
            }
        });
    }

    fn end(&mut self, stack: &mut Stack) {
        rename_into_place(&stack.path("policies/main.toml"), POLICY);
    }
}

#[test]
fn killed_in_a_storm_of_reloads() {
    live(&mut Stormy);
}
