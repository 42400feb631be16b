//! What approvals survive: restarts, kills at any moment, a state that is locked, and crowds.

use std::collections::HashMap;
use std::time::Duration;

use penstock_loadgen::client::Call;
use serde_json::{Value, json};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::approvals::{
    POLICY, ROLES, approval, approve, chat, decide, events, stack, ticket, with_approval,
};
use crate::approvals_wait::begin;
use crate::control::control;
use crate::crashes::Dice;
use crate::postgres::Postgres;
use crate::stack::Stack;
use crate::witness::code;

/// How often a gateway is killed while approvals are used.
const KILLS: usize = 6;
/// Tickets that are used when it is killed.
const TICKETS: usize = 4;

/// The state as another program sees it, where it is a file beside the socket.
pub(crate) fn run<T>(stack: &Stack, work: impl AsyncFnOnce(&mut SqliteConnection) -> T) -> T {
    let file = stack.path("state.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(Duration::from_secs(10));
        let mut connection = options.connect().await.expect("the state opens");
        work(&mut connection).await
    })
}

pub(crate) async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> u64 {
    let done = sqlx::query(statement).execute(connection).await;
    done.expect(statement).rows_affected()
}

#[test]
fn a_restart_changes_nothing_about_tickets() {
    let mut stack = stack(|_| {});
    let pending = ticket(&stack.call(chat("pending")));
    let approved = ticket(&stack.call(chat("approved")));
    let used = ticket(&stack.call(chat("used")));
    approve(&stack, &approved);
    approve(&stack, &used);
    assert_eq!(stack.call(with_approval(chat("used"), &used)).status(), 200);
    stack.kill_gateway();
    stack.start_gateway();
    let again = stack.call(with_approval(chat("used"), &used));
    assert_eq!(code(&again), "approval_used");
    let passed = stack.call(with_approval(chat("approved"), &approved));
    assert_eq!(passed.status(), 200, "{}", passed.text());
    let waits = stack.call(with_approval(chat("pending"), &pending));
    assert_eq!(code(&waits), "approval_pending");
    assert_eq!(ticket(&stack.call(chat("pending"))), pending);
    approve(&stack, &pending);
    assert_eq!(
        stack
            .call(with_approval(chat("pending"), &pending))
            .status(),
        200
    );
}

#[test]
fn a_ticket_that_is_approved_while_the_gateway_is_down_works() {
    let mut stack = stack(|_| {});
    let id = ticket(&stack.call(chat("meanwhile")));
    stack.kill_gateway();
    // As another gateway on the same state would have it.
    let event = json!({"at_ms": 1, "event": "approved", "by": ["i", "sam"], "reason": "",
        "session": null, "counts_for": [0]});
    let changed = run(&stack, async |connection| {
        sqlx::query(
            "UPDATE approval SET standing = 'approved', revision = revision + 1, \
             history = json_insert(history, '$[#]', json($1)) WHERE id = $2",
        )
        .bind(event.to_string())
        .bind(&id)
        .execute(connection)
        .await
        .unwrap()
        .rows_affected()
    });
    assert_eq!(changed, 1);
    stack.start_gateway();
    assert_eq!(
        stack.call(with_approval(chat("meanwhile"), &id)).status(),
        200
    );
    assert_eq!(events(&stack, &id), ["requested", "approved", "used"]);
}

#[test]
fn a_connection_that_died_with_its_gateway_leaves_a_record() {
    let mut stack = stack(|setup| {
        setup.policy = POLICY.replace("10m\"", "10m\", manner = \"wait\"");
    });
    let mut connection = stack.connect();
    chat("please")
        .token(&stack.token())
        .over(&mut connection)
        .unwrap();
    let list = || control_list(&stack);
    assert!(stack.wait(|| list().len() == 1));
    let id = list()[0]["id"].as_str().unwrap().to_owned();
    stack.kill_gateway();
    stack.start_gateway();
    let it = approval(&stack, &id);
    assert_eq!(it["standing"], "withdrawn");
    assert_eq!(
        it["history"][1]["reason"],
        "the gateway ended while the caller waited"
    );
    assert_eq!(
        decide(&stack, &id, "approve", "sam", &["security"]).status(),
        409
    );
}

#[test]
fn gateways_that_share_a_state_hear_of_each_others_decisions() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let gateway = |issuer: Option<&str>| {
        stack(|setup| {
            setup.control = format!("{ROLES}{}", postgres.state());
            if let Some(url) = issuer {
                setup.more = format!(
                    "[[issuer]]\nname = \"shared\"\nurl = \"{url}\"\naudiences = [\"penstock\"]"
                );
            }
        })
    };
    let first = gateway(None);
    let waits = chat("please").field("prefer", "wait=100");
    let (mut waiting, id) = begin(&first, waits);
    // Its start ends nobody's wait but its own.
    let second = gateway(Some(first.issuer.url()));
    let decide = |id: &str, who: &str| {
        let token = first.issuer.token(who, &["security"]);
        let call = Call::post(&format!("/approvals/{id}/approve"), &json!({}));
        control(&second, &call.token(&token)).status()
    };
    assert_eq!(decide(&id, "sam"), 200);
    let answer = waiting.read_response().unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let id = ticket(&first.call(chat("a ticket")));
    assert_eq!(decide(&id, "alice"), 403, "their own");
    assert_eq!(decide(&id, "sam"), 200);
    let used = || first.call(with_approval(chat("a ticket"), &id));
    assert_eq!(
        (used().status(), code(&used()).as_str()),
        (200, "approval_used")
    );
    assert_eq!(events(&second, &id), ["requested", "approved", "used"]);
}

fn control_list(stack: &Stack) -> Vec<Value> {
    let list = control(stack, &Call::get("/approvals")).json();
    list["approvals"].as_array().cloned().unwrap_or_default()
}

#[test]
fn no_approval_is_used_twice_whenever_the_gateway_dies() {
    let mut dice = Dice::new();
    let mut stack = stack(|setup| {
        setup.more = "[approvals]\npending_per_caller = 100\n".to_owned();
    });
    let token = stack.token();
    for round in 0..KILLS {
        let tickets: Vec<(String, String)> = (0..TICKETS)
            .map(|number| {
                let text = format!("round {round} ticket {number}");
                let id = ticket(&stack.call(chat(&text)));
                approve(&stack, &id);
                (text, id)
            })
            .collect();
        let address = stack.address();
        // Two connections at once for each ticket, and the gateway dies among them.
        let racing: Vec<_> = tickets
            .iter()
            .flat_map(|ticket| [ticket, ticket])
            .map(|(text, id)| with_approval(chat(text), id).token(&token))
            .map(|call| std::thread::spawn(move || call.to(address).map(|it| it.status())))
            .collect();
        std::thread::sleep(Duration::from_micros(dice.below(30_000)));
        stack.kill_gateway();
        for it in racing {
            let _ = it.join().unwrap();
        }
        stack.start_gateway();
        for (text, id) in &tickets {
            let again = stack.call(with_approval(chat(text), id));
            let told = code(&again);
            assert!(
                again.status() == 200 || told == "approval_used",
                "{}",
                again.text()
            );
            let last = stack.call(with_approval(chat(text), id));
            assert_eq!(code(&last), "approval_used");
        }
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    for request in stack.double.requests() {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let text = body["messages"][0]["content"].as_str().unwrap().to_owned();
        *seen.entry(text).or_default() += 1;
    }
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    assert!(seen.len() <= KILLS * TICKETS && !seen.is_empty());
}

#[test]
fn a_state_that_is_locked_lets_nothing_pass_and_loses_nothing() {
    let stack = stack(|_| {});
    let id = ticket(&stack.call(chat("locked")));
    approve(&stack, &id);
    run(&stack, async |connection| {
        execute(connection, "BEGIN EXCLUSIVE").await;
        let held = stack.call(chat("another"));
        assert_eq!(
            (held.status(), code(&held).as_str()),
            (503, "approvals_unavailable")
        );
        let used = stack.call(with_approval(chat("locked"), &id));
        assert_eq!(
            (used.status(), code(&used).as_str()),
            (503, "approvals_unavailable")
        );
        let decided = decide(&stack, &id, "deny", "sam", &["security"]);
        assert_eq!(decided.status(), 503, "{}", decided.text());
        // What nothing holds goes on meanwhile.
        let models = stack.call(Call::get("/v1/models"));
        assert_eq!(models.status(), 403);
        execute(connection, "ROLLBACK").await;
    });
    assert_eq!(stack.double.counters().requests, 0);
    assert_eq!(stack.call(with_approval(chat("locked"), &id)).status(), 200);
    assert_eq!(stack.double.counters().requests, 1);
}

#[test]
fn ten_thousand_wait_and_the_rest_goes_on() {
    let stack = stack(|setup| {
        setup.more = "[approvals]\npending_per_caller = 20000\n".to_owned();
    });
    let id = ticket(&stack.call(chat("the first")));
    // All like the first, but for their ids.
    let made = run(&stack, async |connection| {
        execute(
            connection,
            "WITH RECURSIVE number(it) AS (SELECT 1 UNION ALL SELECT it + 1 FROM number \
             WHERE it < 9999) INSERT INTO approval (id, revision, digest, issuer, subject, tenant, \
             key_id, matter, holds, manner, gateway, run, created_ms, expires_ms, lasts_ms, \
             standing, changed_ms, history) SELECT substr(id, 1, 30) || printf('%06x', it), 0, \
             digest || it, issuer, subject, tenant, key_id, matter, holds, manner, gateway, run, \
             created_ms, expires_ms, lasts_ms, standing, changed_ms, history FROM approval, number",
        )
        .await
    });
    assert_eq!(made, 9999);
    let full = stack.call(chat("one more"));
    assert_eq!(
        (full.status(), code(&full).as_str()),
        (429, "too_many_approvals")
    );
    let mut after = String::new();
    let mut seen = 0;
    loop {
        let path = format!("/approvals?standing=pending&limit=1000{after}");
        let page = control(&stack, &Call::get(&path)).json();
        seen += page["approvals"].as_array().unwrap().len();
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 10_000);
    let metrics = control(&stack, &Call::get("/metrics")).text();
    assert!(
        metrics.contains("penstock_approvals_pending 10000"),
        "{metrics}"
    );
    approve(&stack, &id);
    assert_eq!(
        stack.call(with_approval(chat("the first"), &id)).status(),
        200
    );
    ticket(&stack.call(chat("one more")));
}
