//! One core: its runtime, its listeners, its connections, its upstream pool.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use compio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use compio::runtime::Runtime;
use rustls::ServerConfig;
use tokio::sync::watch;

use super::connection;
use super::heads::Heads;
use super::io::Io;
use super::listen::Listeners;
use super::live::{Live, heed_cutoff};
use super::room::Room;
use super::runtime::{build, driver_name};
use super::shedding::Shedding;
use super::timers::Timers;
use crate::config::UpstreamAddress;
use crate::exchange::{Core, Node, Peer};
use crate::identity::Authenticator;
use crate::tap::Tap;
use crate::telemetry::CoreCounters;
use crate::upstream::Pool;

/// Connections accepted in one turn of the loop: with those who call already the core is done first.
const ACCEPTS_MAX: usize = 64;
/// How long to wait after `accept` failed, usually for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How often upstream connections that rested too long are closed.
const SWEEP: Duration = Duration::from_secs(1);
/// Connections beyond the bound that a core tells so at once; more of them are closed unanswered,
/// so that those who find no room do not take what is left of descriptors and time.
const REFUSALS_MAX: usize = 256;
/// A piece of work that takes so long is worth telling the timers and who sheds.
const LONG_PIECE: Duration = Duration::from_millis(1);
/// How often a stopping core looks whether its last exchange has ended.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Becomes true once, when the process should stop.
pub type Shutdown = watch::Receiver<bool>;

/// Everything that a core's thread is made from; it crosses to that thread once.
pub struct WorkerSeed {
    /// The core to run on.
    pub core: usize,
    /// Which of the serving cores it is, from zero.
    pub index: usize,
    /// Shared by all cores.
    pub node: Arc<Node>,
    /// This core's listeners.
    pub listeners: Listeners,
    /// TLS for TCP, where configured; replaced when the files change.
    pub tls: Option<Arc<ArcSwapOption<ServerConfig>>>,
    /// Where the model listens.
    pub upstream: UpstreamAddress,
    /// Verifies credentials.
    pub authenticator: Box<dyn FnOnce() -> Authenticator + Send>,
    /// The way to the recorder.
    pub tap: Tap,
    /// This core's counters.
    pub counters: Arc<CoreCounters>,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// What the connections of one core share.
pub(super) struct Worker {
    pub(super) core: Rc<Core>,
    pub(super) timers: Timers,
    pub(super) live: Live,
    pub(super) pool: RefCell<Pool<Io>>,
    pub(super) upstream: UpstreamAddress,
    pub(super) tls: Option<Arc<ArcSwapOption<ServerConfig>>>,
    pub(super) connections: Cell<usize>,
    /// Connections that are being told that there is no room. They take no place from others.
    pub(super) refusals: Cell<usize>,
    pub(super) shedding: Shedding,
    pub(super) room: Room,
    pub(super) heads: Heads,
    pub(super) stopping: Cell<bool>,
}

/// Starts the thread; it ends after `shutdown`, once its exchanges have ended or the drain time is
/// over. `started` hears which I/O driver the core got, or why it has none.
pub fn start(
    seed: WorkerSeed,
    started: crossbeam::channel::Sender<io::Result<&'static str>>,
) -> io::Result<JoinHandle<()>> {
    let name = format!("core-{}", seed.core);
    std::thread::Builder::new().name(name).spawn(move || {
        let limit = seed.node.limits.queue_delay.0;
        let made = build(Some(seed.core)).and_then(|it| Ok((it, Shedding::past(limit)?)));
        match made {
            Ok((runtime, shedding)) => {
                let _ = started.send(Ok(driver_name(runtime.driver_type())));
                // The starter waits until every sender is gone.
                drop(started);
                run(&runtime, seed, shedding);
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    })
}

fn run(runtime: &Runtime, seed: WorkerSeed, shedding: Shedding) {
    let limits = seed.node.limits.clone();
    let core = Core::new(
        seed.node,
        u32::try_from(seed.core).unwrap_or(u32::MAX),
        (seed.authenticator)(),
        seed.tap,
        seed.counters,
    );
    let pool = Pool::new(limits.upstream_pool, limits.upstream_keep_alive.as_ms());
    let timers = Timers::new();
    let worker = Rc::new(Worker {
        core,
        live: Live::new(timers.clone()),
        timers,
        pool: RefCell::new(pool),
        upstream: seed.upstream,
        tls: seed.tls,
        connections: Cell::new(0),
        refusals: Cell::new(0),
        shedding,
        room: Room::default(),
        heads: Heads::default(),
        stopping: Cell::new(false),
    });
    let Listeners { tcp, unix } = seed.listeners;
    let mut shutdown = seed.shutdown;
    runtime.block_on(async {
        let timers = worker.timers.clone();
        let ticker = compio::runtime::spawn(async move {
            timers.run(compio::time::sleep).await;
        });
        let cutter = compio::runtime::spawn(heed_cutoff(worker.clone(), seed.index));
        let teller = compio::runtime::spawn(tell_tally(worker.clone(), seed.index));
        let sweeper = compio::runtime::spawn(sweep(worker.clone()));
        let marking = worker.clone();
        let marker = compio::runtime::spawn(async move { mark(&marking).await });
        let looking = worker.clone();
        let looker = compio::runtime::spawn(async move {
            looking
                .room
                .look(&looking.core.tap, compio::time::sleep)
                .await;
        });
        let mut accepting = Vec::new();
        if let Some(listener) = tcp {
            accepting.push(compio::runtime::spawn(accept_tcp(worker.clone(), listener)));
        }
        if let Some(listener) = unix {
            accepting.push(compio::runtime::spawn(accept_unix(
                worker.clone(),
                listener,
            )));
        }
        // An error means that the sender is gone: the process is ending all the same.
        let _ = shutdown.wait_for(|stop| *stop).await;
        drop(accepting);
        worker.stopping.set(true);
        worker.timers.end_rest();
        let mut waited = Duration::ZERO;
        while worker.connections.get() > 0 && waited < limits.drain.0 {
            compio::time::sleep(DRAIN_POLL).await;
            waited += DRAIN_POLL;
        }
        let _ = worker.core.tap.settled();
        // What still runs is dropped with the runtime.
        worker.core.stopped.set(true);
        drop((ticker, sweeper, cutter, teller, marker, looker));
    });
}

/// Runs for ever: answers the control thread's questions for what this core has counted.
async fn tell_tally(worker: Rc<Worker>, index: usize) {
    let core = &worker.core;
    let mut questions = core.node.tallies.questions();
    // An error means that nobody is left to ask.
    while questions.changed().await.is_ok() {
        let generation = *questions.borrow_and_update();
        let mut tally = core.tally.borrow().clone();
        tally.ring_backlog = core.tap.backlog_count() as u64;
        core.node.tallies.tell(index, generation, tally);
    }
}

/// Runs for ever: measures what waits here, for the core or for the recorder.
async fn mark(worker: &Worker) {
    worker.shedding.run(|| worker.core.tap.behind()).await;
}

/// Closes what rested too long; otherwise an idle gateway would keep the engine's dead ends. Moves
/// frames that found no room on; otherwise the last ones of a burst would wait for the next call.
async fn sweep(worker: Rc<Worker>) {
    loop {
        compio::time::sleep(SWEEP).await;
        // Whether all of them found room is for those who wait to ask.
        let _ = worker.core.tap.settled();
        if worker.pool.borrow().count() > 0 {
            let now_ms = worker.timers.refresh();
            worker.pool.borrow_mut().expire(now_ms);
        }
    }
}

async fn accept_tcp(worker: Rc<Worker>, listener: std::net::TcpListener) {
    let waiting = match listener.try_clone().and_then(TcpListener::from_std) {
        Ok(waiting) => waiting,
        Err(error) => return tracing::error!("the TCP listener cannot be used: {error}"),
    };
    let take = |stream: io::Result<TcpStream>, address| match stream.and_then(Io::tcp) {
        Ok(io) => worker.clone().take(io, Peer::Tcp(address)),
        // The client is gone already.
        Err(error) => tracing::debug!("accepted a dead connection: {error}"),
    };
    loop {
        match waiting.accept().await {
            Ok((stream, address)) => take(Ok(stream), address),
            Err(error) => retry_accept(&error).await,
        }
        for (stream, address) in those_who_wait(|| listener.accept()) {
            take(TcpStream::from_std(stream), address);
        }
    }
}

async fn accept_unix(worker: Rc<Worker>, listener: std::os::unix::net::UnixListener) {
    let waiting = match listener.try_clone().and_then(UnixListener::from_std) {
        Ok(waiting) => waiting,
        Err(error) => return tracing::error!("the Unix listener cannot be used: {error}"),
    };
    let take = |stream: io::Result<UnixStream>| match stream {
        Ok(stream) => worker.clone().take(Io::unix(stream), Peer::Unix),
        Err(error) => tracing::debug!("accepted a dead connection: {error}"),
    };
    loop {
        match waiting.accept().await {
            Ok((stream, _)) => take(Ok(stream)),
            Err(error) => retry_accept(&error).await,
        }
        for (stream, _) in those_who_wait(|| listener.accept()) {
            take(UnixStream::from_std(stream));
        }
    }
}

/// Who has connected meanwhile. One connection a turn of the loop would let a late core's clients
/// wait out of sight, where nobody tells them that it is late.
fn those_who_wait<T>(accept: impl FnMut() -> io::Result<T>) -> impl Iterator<Item = T> {
    // An error is that nobody waits, or one that the next `accept` of the loop meets and tells.
    std::iter::repeat_with(accept)
        .take(ACCEPTS_MAX - 1)
        .map_while(Result::ok)
}

async fn retry_accept(error: &io::Error) {
    tracing::warn!("a connection cannot be accepted: {error}");
    compio::time::sleep(ACCEPT_RETRY).await;
}

// === impl Worker ===

impl Worker {
    /// Serves a new connection on a task of its own.
    fn take(self: Rc<Self>, io: Io, peer: Peer) {
        let counters = &self.core.counters;
        counters.connections.bump();
        if self.connections.get() >= self.core.node.limits.connections_per_core {
            counters.connections_refused.bump();
            if self.refusals.get() < REFUSALS_MAX {
                let guest = Guest::new(self, |worker| &worker.refusals);
                compio::runtime::spawn(async move {
                    connection::refuse_full(&guest.worker, io, peer).await;
                })
                .detach();
            }
            return;
        }
        let guest = Guest::new(self, |worker| &worker.connections);
        compio::runtime::spawn(async move {
            connection::serve(&guest.worker, io, peer).await;
        })
        .detach();
    }

    /// Does `work`, in which nobody else on this core has a turn, however long it takes.
    pub(super) fn in_one_piece<T>(&self, work: impl FnOnce() -> T) -> T {
        let began_at = Instant::now();
        let done = work();
        let piece = began_at.elapsed();
        if piece >= LONG_PIECE {
            self.shedding.worked(piece);
            // A deadline that is set next must not begin in the past.
            self.timers.refresh();
        }
        done
    }
}

/// Counts a connection for as long as it lives, panics included.
struct Guest {
    worker: Rc<Worker>,
    count: fn(&Worker) -> &Cell<usize>,
}

// === impl Guest ===

impl Guest {
    fn new(worker: Rc<Worker>, count: fn(&Worker) -> &Cell<usize>) -> Self {
        let cell = count(&worker);
        cell.set(cell.get() + 1);
        Self { worker, count }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let cell = (self.count)(&self.worker);
        cell.set(cell.get() - 1);
    }
}

#[cfg(test)]
mod tests;
