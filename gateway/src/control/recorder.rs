//! Keeps the rings in a recorder's hands. The socket of the hand-over is the sign of life: its end
//! says that the recorder is gone, and the same rings are offered to the next one, which finds in
//! them what the last one had not yet written down.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use penstock_recorder::link::{Hello, LinkError, offer};
use penstock_recorder::ring::RingFds;
use tokio::io::AsyncReadExt;

/// First wait after a failed offer; doubled up to the longest.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest wait between two offers.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// How long the start waits for a recorder that is being started at the same time.
const START_WAIT: Duration = Duration::from_secs(3);

/// The rings of all cores, to be handed to whatever recorder listens.
pub struct RingOffer {
    socket: PathBuf,
    hello: Hello,
    rings: Arc<[RingFds]>,
    connected: Option<UnixStream>,
}

// === impl RingOffer ===

impl RingOffer {
    /// Nothing is offered yet.
    pub fn new(socket: PathBuf, gateway: String, rings: Vec<RingFds>) -> Self {
        let count = u32::try_from(rings.len()).unwrap_or(u32::MAX);
        let hello = Hello {
            gateway,
            pid: std::process::id(),
            rings: count,
        };
        Self {
            socket,
            hello,
            rings: rings.into(),
            connected: None,
        }
    }

    /// Offers for a bounded time, before the first connection is accepted.
    pub(super) async fn connect_first(&mut self, alive: &AtomicBool) {
        let deadline = tokio::time::Instant::now() + START_WAIT;
        loop {
            match self.offer_once().await {
                Ok(stream) => {
                    self.connected = Some(stream);
                    alive.store(true, Ordering::Relaxed);
                    return tracing::info!("recorder connected at {}", self.socket.display());
                }
                Err(error) if error.is_final() || tokio::time::Instant::now() >= deadline => {
                    return tracing::warn!(
                        "no recorder: {error}; calls fare as `on_recorder_loss` says"
                    );
                }
                Err(_) => tokio::time::sleep(RETRY_MIN).await,
            }
        }
    }

    async fn offer_once(&self) -> Result<UnixStream, LinkError> {
        let (socket, hello, rings) = (self.socket.clone(), self.hello.clone(), self.rings.clone());
        let offered = tokio::task::spawn_blocking(move || {
            let rings: Vec<&RingFds> = rings.iter().collect();
            offer(&socket, &hello, &rings)
        });
        offered
            .await
            .unwrap_or_else(|_| Err(LinkError::Invalid("the offer panicked".to_owned())))
    }

    /// Watches the recorder, and offers again whenever it is gone. Runs for ever.
    pub(super) async fn keep(mut self, alive: Arc<AtomicBool>) {
        let mut wait = RETRY_MIN;
        let mut complained = false;
        loop {
            let stream = match self.connected.take() {
                Some(stream) => stream,
                None => match self.offer_once().await {
                    Ok(stream) => stream,
                    Err(error) => {
                        if !std::mem::replace(&mut complained, true) {
                            tracing::warn!("no recorder: {error}; trying on");
                        }
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(RETRY_MAX);
                        continue;
                    }
                },
            };
            if !alive.swap(true, Ordering::Relaxed) {
                tracing::info!("recorder connected at {}", self.socket.display());
            }
            (wait, complained) = (RETRY_MIN, false);
            gone(stream).await;
            alive.store(false, Ordering::Relaxed);
            tracing::warn!("the recorder is gone; its rings are kept for the next");
        }
    }
}

/// Resolves when the other end is closed.
async fn gone(stream: UnixStream) {
    let watched = stream
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixStream::from_std(stream));
    match watched {
        Ok(mut stream) => {
            let mut byte = [0; 1];
            while matches!(stream.read(&mut byte).await, Ok(count) if count > 0) {}
        }
        Err(error) => tracing::warn!("the recorder's socket cannot be watched: {error}"),
    }
}
