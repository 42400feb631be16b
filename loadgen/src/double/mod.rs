//! The inference-server double: it stands where vLLM would stand, says what it is told to say,
//! breaks what it is told to break, and remembers what it was sent, byte for byte.
//!
//! It speaks HTTP/1.1 with code of its own, because a well-behaved library cannot cut a chunk in
//! half. What it says comes from [`script`](Script) rules and from directives inside requests.
//!
//! ```no_run
//! use penstock_loadgen::double::{Double, DoubleOptions};
//! let double = Double::start(DoubleOptions::default()).unwrap();
//! println!("http://{}", double.address());
//! assert_eq!(double.counters().requests, 0);
//! ```

mod admin;
mod ask;
mod bench;
mod chat;
mod conn;
mod detail;
mod head;
mod ledger;
mod messages;
mod plan;
mod responses;
mod routes;
mod script;
mod send;
mod sound;
mod transformers;

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Map, Value};
use socket2::{Domain, Protocol, Type};
use tokio::sync::watch;

pub use ledger::{Counters, Recorded};
pub use script::{Answer, Close, Escape, Framing, Profile, Rule, Script, Split, Truncate};

use crate::http::Socket;
use ledger::Ledger;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long a failing accept waits before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(5);
/// How many threads the double may have.
const THREADS_MAX: usize = 256;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Models that `GET /v1/models` lists unless told otherwise.
const MODELS: [&str; 2] = ["double", "llama-3-8b"];

/// How a double is set up.
#[derive(Clone, Debug)]
pub struct DoubleOptions {
    /// Where to listen; port 0 picks one.
    pub listen: SocketAddr,
    /// Also a Unix socket; a stale one is replaced.
    pub unix: Option<PathBuf>,
    /// Where the admin listener is; none when absent.
    pub admin: Option<SocketAddr>,
    /// Threads, each with a listener of its own.
    pub threads: usize,
    /// Rules that choose answers.
    pub script: Script,
    /// Fields of an [`Answer`] that hold unless a rule or a directive says otherwise.
    pub defaults: Map<String, Value>,
    /// Requests must bring this as a bearer token or `x-api-key`.
    pub credential: Option<String>,
    /// Models that are listed; any is answered.
    pub models: Vec<String>,
}

/// What the threads share.
struct Shared {
    ledger: Ledger,
    script: Mutex<Script>,
    defaults: Map<String, Value>,
    credential: Option<String>,
    /// How a line with the credential ends, for the fast path.
    credential_line: Option<String>,
    models: Vec<String>,
    /// How long to stand still, told to every thread.
    pause: watch::Sender<Duration>,
}

/// A running double. It stops when dropped, and drops its connections then.
pub struct Double {
    shared: Arc<Shared>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    unix: Option<PathBuf>,
    stop: watch::Sender<bool>,
    threads: Vec<thread::JoinHandle<()>>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
    Admin(TcpListener),
}

// === impl DoubleOptions ===

impl Default for DoubleOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            unix: None,
            admin: None,
            threads: 1,
            script: Script::default(),
            defaults: Map::new(),
            credential: None,
            models: MODELS.map(String::from).to_vec(),
        }
    }
}

// === impl Double ===

impl Double {
    /// Starts a double on threads of its own and returns when it listens.
    pub fn start(options: DoubleOptions) -> io::Result<Self> {
        script::answer(&options.defaults)
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let threads = options.threads.clamp(1, THREADS_MAX);
        let first = listen(options.listen, threads > 1)?;
        let address = first.local_addr()?;
        let mut per_thread = vec![vec![Listener::Tcp(first)]];
        for _ in 1..threads {
            per_thread.push(vec![Listener::Tcp(listen(address, true)?)]);
        }
        if let Some(path) = &options.unix {
            per_thread[0].push(Listener::Unix(listen_unix(path)?));
        }
        let mut admin = None;
        if let Some(address) = options.admin {
            let listener = listen(address, false)?;
            admin = Some(listener.local_addr()?);
            per_thread[0].push(Listener::Admin(listener));
        }
        let shared = Arc::new(Shared {
            ledger: Ledger::default(),
            script: Mutex::new(options.script),
            defaults: options.defaults,
            credential_line: options
                .credential
                .as_ref()
                .map(|text| format!(" Bearer {text}\r\n")),
            credential: options.credential,
            models: options.models,
            pause: watch::Sender::new(Duration::ZERO),
        });
        let (stop, stopped) = watch::channel(false);
        let mut double = Self {
            shared,
            address,
            admin,
            unix: options.unix,
            stop,
            threads: Vec::new(),
        };
        for (index, listeners) in per_thread.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let (shared, stopped) = (Arc::clone(&double.shared), stopped.clone());
            let thread = thread::Builder::new()
                .name(format!("double-{index}"))
                .spawn(move || runtime.block_on(serve(shared, listeners, stopped)))?;
            double.threads.push(thread);
        }
        Ok(double)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin listener is.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The last requests, oldest first. Requests of bench models are only counted.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.ledger.requests()
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        self.shared.ledger.counters()
    }

    /// Waits until the counters satisfy `done`; false when `timeout` passed before that.
    pub fn wait(&self, timeout: Duration, done: impl Fn(&Counters) -> bool) -> bool {
        self.shared.ledger.wait(timeout, done)
    }

    /// Takes another script.
    pub fn script(&self, script: Script) {
        *self
            .shared
            .script
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// Stands still for so long: nothing is accepted, read or written meanwhile, as when a process
    /// is stopped or collects its garbage. Returns at once.
    pub fn pause(&self, pause: Duration) {
        self.shared.pause(pause);
    }

    /// Forgets requests and counts.
    pub fn clear(&self) {
        self.shared.ledger.clear();
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.stop.send(true); // the threads may have ended by themselves
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(path) = &self.unix {
            let _ = std::fs::remove_file(path);
        }
    }
}

// === impl Shared ===

impl Shared {
    fn pause(&self, pause: Duration) {
        self.pause.send_replace(pause.min(PAUSE_MAX));
    }
}

// === threads ===

fn listen(address: SocketAddr, shared_port: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt as _;
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(shared: Arc<Shared>, listeners: Vec<Listener>, mut stopped: watch::Receiver<bool>) {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            let mut pauses = shared.pause.subscribe();
            tokio::task::spawn_local(async move {
                while pauses.changed().await.is_ok() {
                    let pause = *pauses.borrow_and_update();
                    thread::sleep(pause); // blocks all tasks of this thread, as it should
                }
            });
            for listener in listeners {
                let shared = Arc::clone(&shared);
                tokio::task::spawn_local(async move {
                    if let Err(error) = accept(shared, listener).await {
                        eprintln!("double: no longer accepting: {error}");
                    }
                });
            }
            let _ = stopped.wait_for(|stop| *stop).await; // a dropped sender stops us too
        })
        .await;
}

async fn accept(shared: Arc<Shared>, listener: Listener) -> io::Result<()> {
    match listener {
        Listener::Admin(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, admin::router(shared)).await
        }
        Listener::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let Some((socket, _)) = accepted(listener.accept().await).await else {
                    continue;
                };
                let _ = socket.set_nodelay(true); // fails only on a socket already closed
                spawn(&shared, Socket::Tcp(socket));
            }
        }
        Listener::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                let Some((socket, _)) = accepted(listener.accept().await).await else {
                    continue;
                };
                spawn(&shared, Socket::Unix(socket));
            }
        }
    }
}

/// What was accepted. A failure (out of descriptors, a client gone at once) passes: a breath,
/// then on.
async fn accepted<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(accepted) => Some(accepted),
        Err(_) => {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

fn spawn(shared: &Arc<Shared>, socket: Socket) {
    thread_local! {
        static BENCH: Rc<RefCell<bench::Bench>> = Rc::default();
    }
    let shared = Arc::clone(shared);
    let bench = BENCH.with(Rc::clone);
    tokio::task::spawn_local(async move { conn::serve(&shared, socket, &bench).await });
}
