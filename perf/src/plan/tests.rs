//! The plan against a simulated queue, which knows nothing of its formulas; and its refusals.

use super::answer::{Bottleneck, Question, bottleneck, cores_needed};
use super::fit::{GATEWAY, Load, fit};
use super::judge::{believable, errors, hold_out};
use super::simulate::{Queue, Service};

/// Requests in a simulated run.
const REQUESTS: usize = 60_000;

fn queue(servers: u32, service: Service) -> Queue {
    Queue {
        servers,
        mean_s: 0.002,
        service,
        elsewhere_s: 0.0,
    }
}

/// Runs at these shares of the capacity.
fn runs(queue: Queue, shares: &[f64]) -> Vec<Load> {
    let capacity = f64::from(queue.servers) / queue.mean_s;
    let of = |(seed, share): (usize, &f64)| queue.run(capacity * share, REQUESTS, seed as u64 + 1);
    shares.iter().enumerate().map(of).collect()
}

fn simulated_p99(queue: Queue, rate: f64) -> f64 {
    // Longer than the runs: it is what the answer is held against.
    queue.run(rate, 5 * REQUESTS, 99).quantile_s(0.99)
}

const SHARES: [f64; 6] = [0.1, 0.3, 0.5, 0.65, 0.75, 0.85];

#[test]
fn the_latency_of_a_simulated_queue_is_foretold_between_the_runs() {
    for (service, servers) in [
        (Service::Exponential, 1),
        (Service::Exponential, 4),
        (Service::Erlang4, 2),
        (Service::Constant, 4),
        (Service::TwoKinds, 2),
    ] {
        let queue = queue(servers, service);
        let model = fit(&runs(queue, &SHARES)).expect("the runs suffice");
        let fitted = model.servers(servers, false).expect("was measured");
        let capacity = f64::from(servers) / queue.mean_s;
        let found = fitted.capacity() / capacity;
        assert!(
            (found - 1.0).abs() < 0.1,
            "{service:?} {servers}: capacity {found}"
        );
        for share in [0.2, 0.4, 0.7, 0.8] {
            let expected = simulated_p99(queue, capacity * share);
            let foretold = fitted.latency_s(&model.unloaded, capacity * share, 0.99);
            let error = foretold / expected - 1.0;
            assert!(
                error.abs() < 0.2,
                "{service:?} {servers} at {share}: {error}"
            );
        }
    }
}

#[test]
fn as_many_cores_are_named_as_the_simulation_needs() {
    let mut loads = Vec::new();
    for servers in [1, 2, 4] {
        loads.extend(runs(queue(servers, Service::Exponential), &SHARES));
    }
    let model = fit(&loads).expect("the runs suffice");
    // Nothing is shared in the simulation, so capacity grows with cores.
    let law = model.scaling.expect("three numbers of cores");
    assert!((law.throughput(6.0) / 3000.0 - 1.0).abs() < 0.1, "{law:?}");
    for (rate, bound_s) in [(900.0, 0.02), (2500.0, 0.012), (2900.0, 0.015)] {
        let question = Question {
            rate,
            quantile: 0.99,
            bound_s,
            linear: false,
        };
        let needed = cores_needed(&model, &question)
            .expect("can be done")
            .servers
            .count;
        let p99 = |servers| simulated_p99(queue(servers, Service::Exponential), rate);
        let enough = p99(needed);
        assert!(
            enough < 1.15 * bound_s,
            "{rate}/s: {needed} cores give {enough}"
        );
        let full = f64::from(needed - 1) / 0.002 <= rate;
        assert!(
            full || p99(needed - 1) > 0.85 * bound_s,
            "{rate}/s: {} would do",
            needed - 1
        );
    }
}

#[test]
fn a_constant_time_elsewhere_is_told_from_the_time_of_a_server() {
    let queue = Queue {
        elsewhere_s: 0.05,
        mean_s: 0.001,
        ..queue(2, Service::Exponential)
    };
    let mut loads = runs(queue, &[0.1, 0.4, 0.7, 0.85, 0.93]);
    // 50 ms of which a server takes 1: waits are a few per cent, so where it ends must be measured.
    for load in &mut loads {
        let share = load.completed * queue.mean_s / 2.0;
        load.busy.insert(GATEWAY.into(), share);
    }
    let model = fit(&loads).expect("the runs suffice");
    let found = model.servers(2, false).expect("was measured");
    assert!(
        (found.capacity() / 2000.0 - 1.0).abs() < 0.03,
        "{}",
        found.capacity()
    );
    let expected = simulated_p99(queue, 1800.0);
    let foretold = found.latency_s(&model.unloaded, 1800.0, 0.99);
    assert!(
        (foretold / expected - 1.0).abs() < 0.1,
        "{foretold} {expected}"
    );
}

#[test]
fn runs_that_are_left_out_are_foretold_and_the_error_is_told() {
    let loads = runs(queue(4, Service::Erlang4), &SHARES);
    let model = fit(&loads).expect("the runs suffice");
    let held_out = hold_out(&loads, 0.99);
    assert!(held_out.len() >= 5, "{held_out:?}");
    let (median, _) = errors(&held_out).expect("some");
    assert!(median < 0.1, "{held_out:?}");
    assert_eq!(believable(&model, &held_out), Ok(()));
}

#[test]
fn a_saturated_run_tells_the_capacity() {
    let queue = queue(2, Service::Erlang4);
    let loads = runs(queue, &[0.1, 0.3, 0.5, 0.6, 1.4]);
    assert!(loads[4].saturated());
    let model = fit(&loads).expect("the runs suffice");
    let found = model.servers(2, false).expect("was measured").capacity();
    assert!((found / 1000.0 - 1.0).abs() < 0.05, "{found}");
}

fn refused(loads: &[Load]) -> String {
    fit(loads).expect_err("is refused").to_string()
}

#[test]
fn data_that_do_not_support_an_answer_are_refused_in_words() {
    let queue = queue(4, Service::Exponential);
    let few = refused(&runs(queue, &[0.2, 0.5, 0.8]));
    assert!(few.contains("3 different loads"), "{few}");
    let same = refused(&runs(queue, &[0.5, 0.5, 0.5, 0.5]));
    assert!(same.contains("1 different loads"), "{same}");
    let idle = refused(&runs(queue, &[0.02, 0.05, 0.08, 0.12]));
    assert!(
        idle.contains("too little") || idle.contains("nothing waits"),
        "{idle}"
    );
    let busy = refused(&runs(queue, &[0.6, 0.7, 0.8, 0.9]));
    assert!(busy.contains("lightest run"), "{busy}");
}

#[test]
fn latencies_that_are_no_queue_are_not_believed() {
    let mut loads = runs(queue(2, Service::Exponential), &SHARES);
    // Every other run is of another service.
    for load in loads.iter_mut().step_by(2) {
        for (seconds, _) in &mut load.latencies {
            *seconds *= 6.0;
        }
    }
    let told = fit(&loads).map(|model| believable(&model, &hold_out(&loads, 0.99)));
    assert!(!matches!(told, Ok(Ok(()))), "{told:?}");
}

#[test]
fn questions_beyond_the_runs_are_refused_and_say_what_is_missing() {
    let loads = runs(queue(2, Service::Exponential), &SHARES);
    let model = fit(&loads).expect("the runs suffice");
    let ask = |rate, bound_s, linear| {
        let question = Question {
            rate,
            quantile: 0.99,
            bound_s,
            linear,
        };
        cores_needed(&model, &question)
    };
    let more = ask(3000.0, 0.05, false)
        .expect_err("more cores than measured")
        .to_string();
    assert!(more.contains("--assume-linear"), "{more}");
    let assumed = ask(3000.0, 0.05, true).expect("assumed");
    assert!(
        assumed.assumed && (7..=8).contains(&assumed.servers.count),
        "{assumed:?}"
    );
    let far = ask(50_000.0, 0.05, true)
        .expect_err("far beyond")
        .to_string();
    assert!(far.contains("4 times what was measured"), "{far}");
    let never = ask(10.0, 0.001, true)
        .expect_err("slower when idle")
        .to_string();
    assert!(never.contains("no number of cores"), "{never}");
}

#[test]
fn the_part_that_is_full_first_is_the_bottleneck() {
    let mut loads = runs(queue(2, Service::Exponential), &SHARES);
    for load in &mut loads {
        let shares = [(GATEWAY, 1000.0), ("engine", 800.0), ("recorder", 5000.0)];
        load.busy = shares
            .map(|(part, full)| (part.into(), load.completed / full))
            .into();
    }
    let (first, all) = bottleneck(&loads);
    match first {
        Bottleneck::Part { name, full_at } => {
            assert_eq!(name, "engine");
            assert!((full_at - 800.0).abs() < 1e-6, "{full_at}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(all.len(), 3);
}
