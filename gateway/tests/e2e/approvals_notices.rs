//! A notice and the change that it tells of are written down together: there is never one without
//! the other, whatever fails and whenever the gateway dies.

use std::collections::BTreeSet;
use std::time::Duration;

use penstock_loadgen::client::Call;

use crate::approvals::{approval, approve, chat, decide, stack, ticket};
use crate::approvals_state::{execute, run};
use crate::control::control;
use crate::crashes::Dice;
use crate::notifications::{Receiver, secret_file, webhook};
use crate::stack::Stack;
use crate::witness::code;

/// How often a gateway is killed while approvals are asked for.
const KILLS: usize = 5;
/// Connections that ask when it is killed.
const ASKING: usize = 6;

fn told(stack_of: &Receiver) -> impl Fn(&str) -> Stack {
    let section = webhook("hook", stack_of);
    move |more| {
        stack(|setup| {
            setup.files.push(secret_file());
            setup.more = format!("[approvals]\npending_per_caller = 100\n{section}{more}");
        })
    }
}

/// The ids of all approvals.
fn ids(stack: &Stack) -> BTreeSet<String> {
    let list = control(stack, &Call::get("/approvals?limit=1000")).json();
    let list = list["approvals"].as_array().into_iter().flatten();
    list.map(|it| it["id"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn what_cannot_be_told_does_not_happen_and_what_happens_is_told_once() {
    let receiver = Receiver::start(204);
    let stack = told(&receiver)("");
    let first = ticket(&stack.call(chat("first")));
    receiver.wait_for(&stack, 1);
    run(&stack, async |connection| {
        let full = "CREATE TRIGGER no_room BEFORE INSERT ON notification \
                    BEGIN SELECT RAISE(ABORT, 'no room'); END";
        execute(connection, full).await;
    });
    let refused = stack.call(chat("second"));
    assert_eq!(
        (refused.status(), code(&refused).as_str()),
        (503, "approvals_unavailable")
    );
    let decided = decide(&stack, &first, "approve", "sam", &["security"]);
    assert_eq!(decided.status(), 503, "{}", decided.text());
    assert_eq!(ids(&stack), BTreeSet::from([first.clone()]));
    assert_eq!(approval(&stack, &first)["standing"], "pending");
    run(&stack, async |connection| {
        execute(connection, "DROP TRIGGER no_room").await;
    });
    let second = ticket(&stack.call(chat("second")));
    approve(&stack, &first);
    receiver.wait_for(&stack, 3);
    // The last thing that is told comes last: one message at a time goes to a receiver.
    approve(&stack, &second);
    let got = receiver.wait_for(&stack, 4);
    let got: BTreeSet<&str> = got.iter().map(|it| it.field("webhook-id")).collect();
    let named = |id: &str, event: &str| format!("{id}_{event}_hook");
    let expected = [&first, &second].map(|id| ["requested", "approved"].map(|it| named(id, it)));
    let expected = expected.iter().flatten().map(String::as_str).collect();
    assert_eq!(got, expected);
}

#[test]
fn no_notice_is_lost_and_none_is_made_up_whenever_the_gateway_dies() {
    let mut dice = Dice::new();
    let receiver = Receiver::start(204);
    let mut stack = told(&receiver)("timeout = \"1s\"\n");
    let token = stack.token();
    for round in 0..KILLS {
        let address = stack.address();
        let asking: Vec<_> = (0..ASKING)
            .map(|number| chat(&format!("round {round} number {number}")).token(&token))
            .map(|call| std::thread::spawn(move || call.to(address).map(|it| it.status())))
            .collect();
        std::thread::sleep(Duration::from_micros(dice.below(60_000)));
        stack.kill_gateway();
        for it in asking {
            // An answer, or none: both are well.
            let _ = it.join().expect("it ends");
        }
        stack.start_gateway();
    }
    ticket(&stack.call(chat("the last")));
    let asked = ids(&stack);
    let told = || -> BTreeSet<String> {
        let got = receiver.got();
        got.iter()
            .map(|it| it.field("webhook-id").to_owned())
            .collect()
    };
    let expected: BTreeSet<String> = asked
        .iter()
        .map(|id| format!("{id}_requested_hook"))
        .collect();
    // Some may come twice, under the same id: that of an answer which a kill cut off.
    let came = stack.wait(|| told().is_superset(&expected));
    assert!(came, "{:?} of {expected:?}\n{}", told(), stack.log());
    assert_eq!(told(), expected);
    println!(
        "{} approvals over {KILLS} kills, {} messages",
        asked.len(),
        receiver.got().len()
    );
}
