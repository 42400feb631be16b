//! A panic in one exchange ends that connection and nothing else.
//!
//! Panics are made by borrowing, from outside, a cell that an exchange borrows on its way: what a
//! defect of ours would do, without a line in the program that exists only to fail.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use arc_swap::ArcSwap;
use compio::runtime::Runtime;
use penstock_loadgen::client::{Call, ClientError, Connection, Response};
use penstock_loadgen::double::{Double, DoubleOptions};
use penstock_policies::{PolicySet, Profiles};

use super::*;
use crate::approvals::Desk;
use crate::config::Limits;
use crate::cutoff::Cutoff;
use crate::exchange::InForce;
use crate::identity::IdentityShared;
use crate::telemetry::{Counters, Tallies};

/// A core in this thread, with a double behind it.
struct OneCore {
    runtime: Runtime,
    worker: Rc<Worker>,
    address: SocketAddr,
    double: Double,
}

// === impl OneCore ===

impl OneCore {
    /// Without a recorder, and everybody may call.
    fn start() -> Self {
        Self::shedding_past(Duration::ZERO)
    }

    fn shedding_past(limit: Duration) -> Self {
        let double = Double::start(DoubleOptions::default()).unwrap();
        let node = Node {
            name: "test".to_owned(),
            limits: Limits::default(),
            tallies: Tallies::new(1),
            in_force: ArcSwap::from_pointee(InForce {
                policy: Arc::new(PolicySet::allow_all()),
                profiles: Profiles::from_names(&["openai".to_owned()]).unwrap(),
                credential: None,
            }),
            upstream_host: double.address().to_string(),
            cutoff: Cutoff::new(1),
            desk: Desk::closed(),
            tokens: crate::tokens::TokenCounter::closed(),
        };
        let anonymous = Some(vec!["anybody".to_owned()]);
        let identity = IdentityShared::new(Vec::new(), anonymous).unwrap();
        let counters = Counters::new(1).core(0);
        let tap = Tap::disabled(counters.clone());
        let authenticator = Authenticator::new(identity, 16);
        let timers = Timers::new();
        let worker = Rc::new(Worker {
            core: Core::new(Arc::new(node), 0, authenticator, tap, counters),
            live: Live::new(timers.clone()),
            timers,
            pool: RefCell::new(Pool::new(8, 1000)),
            upstream: UpstreamAddress::Tcp(double.address()),
            tls: None,
            connections: Cell::new(0),
            refusals: Cell::new(0),
            shedding: Shedding::past(limit).unwrap(),
            room: Room::default(),
            heads: Heads::default(),
            stopping: Cell::new(false),
        });
        let runtime = build(None).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = worker.clone();
        runtime.block_on(async move {
            let marking = accepting.clone();
            compio::runtime::spawn(async move { mark(&marking).await }).detach();
            compio::runtime::spawn(accept_tcp(accepting, listener)).detach();
        });
        Self {
            runtime,
            worker,
            address,
            double,
        }
    }

    /// Runs `client` on a thread of its own, and the core until the client has ended.
    fn serve<T: Send + 'static>(&self, client: impl FnOnce() -> T + Send + 'static) -> T {
        let running = std::thread::spawn(client);
        self.runtime.block_on(async {
            while !running.is_finished() {
                compio::time::sleep(DRAIN_POLL).await;
            }
        });
        running.join().unwrap()
    }

    fn panics(&self) -> u64 {
        self.worker.core.counters.panics.read()
    }
}

/// Takes the core's processor time, as a task that is always ready, until told to stop; counts the
/// turns of the core's loop.
async fn hog(turn: Duration, turns: Arc<AtomicUsize>, stop: Arc<AtomicBool>) {
    let taken = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    while !stop.load(Ordering::Relaxed) {
        let began = taken();
        while taken() < began + turn {}
        turns.fetch_add(1, Ordering::Relaxed);
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

fn models() -> Vec<u8> {
    Call::get("/v1/models").bytes()
}

#[test]
fn a_panic_before_the_answer_is_a_500_and_ends_one_connection() {
    let core = OneCore::start();
    let address = core.address;
    let mut other = core.serve(move || {
        let mut other = Connection::tcp(address).unwrap();
        other.send(&models()).unwrap();
        assert_eq!(other.read_response().unwrap().status(), 200);
        other
    });
    let borrowed = core.worker.core.authenticator.borrow_mut();
    core.serve(move || {
        let mut victim = Connection::tcp(address).unwrap();
        victim.send(&models()).unwrap();
        let answer = victim.read_response().unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.json()["error"]["code"], "internal_error");
        assert!(!answer.text().contains("borrow"), "{}", answer.text());
        assert!(victim.closed());
    });
    drop(borrowed);
    assert_eq!(core.panics(), 1);
    core.serve(move || {
        other.send(&models()).unwrap();
        assert_eq!(other.read_response().unwrap().status(), 200);
    });
    // The connections that ended are no longer counted: no place is lost to a panic.
    core.serve(|| std::thread::sleep(DRAIN_POLL * 5));
    assert_eq!(core.worker.connections.get(), 0);
    assert_eq!(core.double.counters().requests, 2);
}

#[test]
fn a_panic_after_the_answer_began_adds_nothing_to_it() {
    let core = OneCore::start();
    let address = core.address;
    // It is empty, so it is first changed when the answer is over, and then that cannot be.
    let call = Call::chat("m", &"word ".repeat(40_000), false);
    let borrowed = core.worker.pool.borrow();
    core.serve(move || {
        let mut victim = Connection::tcp(address).unwrap();
        call.over(&mut victim).unwrap();
        match victim.read_response() {
            Ok(answer) => {
                assert_eq!(answer.status(), 200);
                assert!(victim.closed());
            }
            // The reset may overtake the answer's last bytes.
            Err(ClientError::Closed(_) | ClientError::Io(_)) => {}
            Err(error) => panic!("{error}"),
        }
    });
    drop(borrowed);
    assert_eq!(core.panics(), 1);
    core.serve(move || {
        let mut next = Connection::tcp(address).unwrap();
        next.send(&models()).unwrap();
        assert_eq!(next.read_response().unwrap().status(), 200);
    });
}

/// Calls on one connection until the status is as wanted, or `enough`; that answer.
fn until(address: SocketAddr, status: u16, enough: &AtomicBool) -> Option<Response> {
    const TRIES: usize = 2000;
    let mut connection = Connection::tcp(address).unwrap();
    for _ in 0..TRIES {
        connection.send(&models()).unwrap();
        let answer = connection.read_response().unwrap();
        if answer.status() == status {
            enough.store(true, Ordering::Relaxed);
            return Some(answer);
        }
        if enough.load(Ordering::Relaxed) {
            return None;
        }
    }
    panic!("no {status} in {TRIES} calls");
}

#[test]
fn a_late_core_refuses_at_once_and_serves_again_when_it_has_time() {
    let core = OneCore::shedding_past(Duration::from_millis(1));
    let address = core.address;
    let stop = Arc::new(AtomicBool::new(false));
    let hogging = stop.clone();
    core.runtime.block_on(async move {
        compio::runtime::spawn(hog(Duration::from_millis(5), Arc::default(), hogging)).detach();
    });
    core.serve(move || {
        // Several clients, so that there is always one whose head has just come.
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let stop = stop.clone();
                std::thread::spawn(move || until(address, 503, &stop))
            })
            .collect();
        let answers: Vec<_> = callers.into_iter().map(|it| it.join().unwrap()).collect();
        let refused = answers.into_iter().flatten().next().unwrap();
        assert_eq!(refused.json()["error"]["code"], "overloaded");
        assert_eq!(refused.head.field("retry-after"), Some("1"));
        assert_eq!(
            refused.head.field("connection"),
            None,
            "it can be used again"
        );
        until(address, 200, &AtomicBool::new(false)).unwrap();
    });
    let counters = &core.worker.core.counters;
    assert!(counters.shed.read() > 0);
    assert_eq!(
        core.double.counters().requests,
        counters.requests.read() - counters.shed.read(),
        "nothing that was shed reached the model"
    );
}

#[test]
fn who_waits_at_a_busy_core_is_accepted_with_the_others() {
    const CLIENTS: usize = 60;
    let core = OneCore::start();
    let address = core.address;
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicUsize::new(0));
    let (hogging, counting) = (stop.clone(), turns.clone());
    core.runtime.block_on(async move {
        compio::runtime::spawn(hog(Duration::from_millis(10), counting, hogging)).detach();
    });
    core.serve(move || {
        let before = turns.load(Ordering::Relaxed);
        let mut clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let mut client = Connection::tcp(address).unwrap();
                client.send(&models()).unwrap();
                client
            })
            .collect();
        for client in &mut clients {
            assert_eq!(client.read_response().unwrap().status(), 200);
        }
        let took = turns.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Relaxed);
        // One a turn would take as many turns as there are clients, and then some.
        assert!(took < CLIENTS, "{took} turns");
    });
}
