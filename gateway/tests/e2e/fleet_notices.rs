//! The outbox where two gateways share it: each notice is sent once, whichever of them sends it, and
//! what did not arrive is everybody's to mend.

use std::collections::HashMap;

use penstock_loadgen::client::Call;
use serde_json::Value;

use crate::approvals::{POLICY, ROLES, chat, decide, ticket};
use crate::control::{control, verb_ok};
use crate::notifications::{Receiver, list, secret_file, webhook};
use crate::postgres::Postgres;
use crate::stack::Stack;

/// Requests that are held at each gateway.
const EACH: usize = 10;

fn gateway(postgres: &Postgres, receiver: &Receiver, more: &str) -> Stack {
    Stack::with(|setup| {
        setup.record = false;
        setup.policy = POLICY.to_owned();
        setup.control = format!("{ROLES}{}", postgres.state());
        setup.files.push(secret_file());
        let section = webhook("hook", receiver);
        setup.more = format!("[approvals]\npending_per_caller = 100\n{section}{more}");
    })
}

fn times(receiver: &Receiver) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for got in receiver.got() {
        got.assert_signed();
        *times.entry(got.field("webhook-id").to_owned()).or_default() += 1;
    }
    times
}

#[test]
fn two_gateways_send_each_notice_once() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let receiver = Receiver::start(204);
    // Longer than a machine can stand still: nobody else takes a row that is being sent.
    let [first, second] = [0; 2].map(|_| gateway(&postgres, &receiver, "timeout = \"100s\"\n"));
    let mut asked = Vec::new();
    for number in 0..EACH {
        for stack in [&first, &second] {
            asked.push(ticket(&stack.call(chat(&format!("number {number}")))));
        }
    }
    // Decided on where it was not asked for.
    let denied = &asked[..4];
    for (place, id) in denied.iter().enumerate() {
        let stack = [&second, &first][place % 2];
        let answer = decide(stack, id, "deny", "sam", &["security"]);
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let expected = asked.len() + denied.len();
    for stack in [&first, &second] {
        // What has been delivered is never sent again.
        let all = stack.wait(|| list(stack, "delivered").len() == expected);
        assert!(all, "{:?}\n{}", list(stack, "waiting"), stack.log());
    }
    let times = times(&receiver);
    assert_eq!(times.len(), expected);
    assert!(times.values().all(|it| *it == 1), "{times:?}");
    let told = |id: &String, event: &str| times.contains_key(&format!("{id}_{event}_hook"));
    assert!(asked.iter().all(|id| told(id, "requested")));
    assert!(denied.iter().all(|id| told(id, "denied")));
}

#[test]
fn dead_letters_are_listed_and_sent_again_from_either() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let receiver = Receiver::start(500);
    let few = "attempts_max = 2\ntimeout = \"100s\"\n";
    let [first, second] = [0; 2].map(|_| gateway(&postgres, &receiver, few));
    let here = ticket(&first.call(chat("here")));
    let there = ticket(&second.call(chat("there")));
    let names = [&here, &there].map(|id| format!("{id}_requested_hook"));
    let dead = |stack: &Stack| -> Vec<Value> {
        let dead = list(stack, "dead");
        dead.iter().map(|it| it["id"].clone()).collect()
    };
    for stack in [&first, &second] {
        let both = stack.wait(|| dead(stack).len() == 2);
        assert!(both, "{}\n{}", first.log(), second.log());
        assert!(
            names
                .iter()
                .all(|id| dead(stack).contains(&id.as_str().into()))
        );
        let told = verb_ok(stack, &["notifications", "list"]);
        assert!(names.iter().all(|id| told.contains(id)), "{told}");
    }
    // Two attempts of each in all, not by each gateway.
    assert!(times(&receiver).values().all(|it| *it == 2));
    receiver.answer(204);
    // Each by the gateway at which it was not asked for.
    verb_ok(&second, &["notifications", "retry", &names[0]]);
    verb_ok(&first, &["notifications", "retry", &names[1]]);
    for stack in [&first, &second] {
        let arrived = stack.wait(|| list(stack, "delivered").len() == 2);
        assert!(arrived, "{}\n{}", first.log(), second.log());
        assert!(dead(stack).is_empty());
    }
    assert!(times(&receiver).values().all(|it| *it == 3));
    let gone = control(
        &first,
        &Call::new("POST", &format!("/notifications/{}/retry", names[0])),
    );
    assert_eq!(gone.status(), 404, "{}", gone.text());
}
