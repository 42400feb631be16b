//! The control thread: everything that is not the data path, on the housekeeping core, on tokio.
//!
//! Keys are kept fresh, rings are handed to the recorder and its absence noticed, policies and
//! certificates are reloaded when they change, signals end the process gracefully, and an API, on a
//! Unix socket and over TCP, says how the gateway is doing and takes orders. Cores see the results as snapshots and flags;
//! none of them ever waits for this thread.

mod api;
mod approvals;
mod console;
mod fleet;
mod keys;
mod listen;
mod metrics;
mod notify;
mod recorder;
mod revocations;
mod scim;
mod state;

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::approvals::Ask;
use crate::exchange::Node;
use crate::identity::{self, IdentityShared};
use crate::reload::Reloader;
use crate::telemetry::Counters;
use crate::tokens;

pub use api::{Access, Facts};
pub use approvals::Approvals;
pub use console::Console;
pub use keys::Keys;
pub use listen::TcpPlace;
pub use notify::Notifier;
pub use recorder::RingOffer;
pub use revocations::Revocations;
pub use scim::Scim;

/// What the control thread looks after.
pub struct Control {
    /// Issuers and their keys.
    pub identity: Arc<IdentityShared>,
    /// Rings to hand over, and the flag that says whether somebody has them.
    pub rings: Option<RingOffer>,
    /// True while a recorder is connected.
    pub recorder_alive: Arc<AtomicBool>,
    /// Who is cut off.
    pub revocations: Arc<Revocations>,
    /// Keys that this gateway has issued.
    pub keys: Arc<Keys>,
    /// Who tells of people that come and go.
    pub scim: Option<Arc<Scim>>,
    /// Requests that people decide on.
    pub approvals: Arc<Approvals>,
    /// What cores ask about them.
    pub asks: mpsc::Receiver<Ask>,
    /// Prompts whose tokens they have counted.
    pub counts: mpsc::Receiver<tokens::Job>,
    /// Who is told of what is held.
    pub notifier: Notifier,
    /// Policies and certificates.
    pub reloader: Reloader,
    /// Where the API listens.
    pub socket: Option<UnixListener>,
    /// Where the API and the console listen over TCP.
    pub tcp: Option<TcpPlace>,
    /// Who may be an operator.
    pub access: Access,
    /// The pages.
    pub console: Console,
    /// Where `/metrics` alone is served.
    pub metrics: Option<TcpListener>,
    /// What the API tells that does not change.
    pub facts: Facts,
    /// Policy in force and limits.
    pub node: Arc<Node>,
    /// Counters of all cores.
    pub counters: Counters,
    /// Set once, when the process should stop.
    pub stop: watch::Sender<bool>,
}

/// The signals that end the process. To be listened for before anybody is told that it serves.
pub struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Stops ===

impl Stops {
    /// From now on a signal ends the process gracefully.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one; its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

// === impl Control ===

impl Control {
    /// Fetches keys and hands the rings over, before the first connection is accepted. What fails
    /// is tried again for as long as the gateway runs; until then its callers get a 503.
    ///
    /// # Errors
    /// When it cannot be known who is cut off: that is not tried again, and nobody is served.
    pub async fn prepare(&mut self) -> Result<(), String> {
        self.revocations.load().await?;
        if let Some(state) = self.revocations.state() {
            self.keys.load(state).await?;
            self.approvals.load(state).await?;
            self.notifier.load(state).await?;
        }
        identity::load_initial(&self.identity).await;
        if let Some(rings) = &mut self.rings {
            rings.connect_first(&self.recorder_alive).await;
        }
        Ok(())
    }

    /// Runs until the process is told to stop, by a signal.
    pub async fn run(self, mut stops: Stops) -> std::io::Result<()> {
        let started = Instant::now();
        tokio::spawn(identity::run_refresher(self.identity.clone()));
        tokio::spawn(identity::run_introspection(self.identity.clone()));
        if let Some(rings) = self.rings {
            tokio::spawn(rings.keep(self.recorder_alive.clone()));
        }
        tokio::spawn(self.revocations.clone().keep());
        tokio::spawn(self.keys.clone().keep_up());
        tokio::spawn(self.approvals.clone().serve(self.asks));
        tokio::spawn(self.approvals.clone().keep());
        tokio::spawn(tokens::serve(self.counts));
        let fleet = fleet::Fleet::new(
            self.revocations.clone(),
            self.keys.clone(),
            self.approvals.clone(),
        );
        tokio::spawn(fleet.clone().keep_up());
        let keys = self.keys.clone();
        self.notifier.run();
        tokio::spawn(self.reloader.clone().run());
        let api = Arc::new(api::Api {
            facts: self.facts,
            access: self.access,
            started,
            identity: self.identity,
            reloader: self.reloader,
            node: self.node,
            counters: self.counters,
            recorder_alive: self.recorder_alive,
            revocations: self.revocations,
            keys: self.keys,
            scim: self.scim,
            approvals: self.approvals,
            fleet,
            notifier: self.notifier,
            console: self.console,
            replays: Default::default(),
        });
        if let Some(listener) = self.metrics {
            api::serve_metrics(listener, api.clone())?;
        }
        tokio::spawn(console::keep(api.clone()));
        let router = api::router(api);
        if let Some(socket) = self.socket {
            listen::serve_unix(socket, router.clone())?;
        }
        if let Some(tcp) = self.tcp {
            listen::serve_tcp(tcp, router)?;
        }
        let name = stops.next().await;
        tracing::info!("{name}: no new connections; running calls may end");
        keys.write_down().await;
        // No receiver is left only when every core has ended already.
        let _ = self.stop.send(true);
        Ok(())
    }
}
