//! The loop that moves frames from the rings into the log.
//!
//! A turn: news from the doorman, frames from every ring (each up to a share, so that none starves
//! the others), chunks to the disk, a sync when one is due, heads released when one is done. With
//! nothing to do it naps for a while, because the next frame is near while traffic flows, and a
//! sleeping recorder costs the gateway a system call; only then it sleeps until a bell rings.
//!
//! When the disk takes nothing the turns stop, and with them everything that would append. What the
//! log has not got stays in the rings, whose heads do not move; the write is tried again, less and
//! less often, until it succeeds or the end is asked for.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::books::Books;
use super::doorman::{Door, News};
use super::guests::{self, Guests};
use super::notify::Notify;
use super::recover::recover;
use super::store::{Store, Syncing};
use super::{Config, RunError, io};
use crate::frame::{Frame, FrameBody, Gap, SessionId};
use crate::link::Refusal;
use crate::ring::RingId;
use crate::segment::{Kind, NewRecord};

/// Between two looks while traffic flows.
const NAP: Duration = Duration::from_millis(1);
/// Traffic flows as long as the last frame is not older than this.
const LINGER: Duration = Duration::from_millis(10);
/// Longest sleep: what is due by the clock alone (abandoned sessions) is not late by more.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// At the end the rings are drained for at most this long, should a gateway keep pushing.
const LAST_DRAIN: Duration = Duration::from_secs(5);
/// The rings are told of progress when a sync is due anyway, or when one is filled to this part.
const RING_SHARE: u64 = 4;

/// First wait after a write that failed; doubled up to the longest.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest wait between two attempts to write.
const RETRY_MAX: Duration = Duration::from_secs(2);
/// While writing fails, the operator is told this often.
const FAILURE_TOLD_EVERY: Duration = Duration::from_secs(30);
/// News heard in one turn, so that no guest can keep the writer at the door.
const NEWS_PER_TURN: usize = 64;

/// Everything that turns frames into records.
pub(super) struct Ledger {
    pub(super) store: Store,
    pub(super) books: Books,
}

struct Writer<'a> {
    config: &'a Config,
    door: Door,
    notify: Arc<Notify>,
    ledger: Ledger,
    guests: Guests,
    sync: Option<(Syncing, Vec<(RingId, u64)>)>,
    unsynced_since: Option<Instant>,
    last_frame: Instant,
    stopping: Option<Instant>,
}

/// Runs until a signal asks for the end.
pub(super) async fn write(
    config: &Config,
    door: Door,
    notify: Arc<Notify>,
    ready_file: Option<&Path>,
) -> Result<(), RunError> {
    let directory = config.directory.display().to_string();
    let mut recovered = recover(&config.directory)
        .map_err(|error| io(format!("cannot read the log in {directory}"), error))?;
    let store = Store::open(config, &mut recovered, now_unix_ns())
        .await
        .map_err(|error| io(format!("cannot begin a segment in {directory}"), error))?;
    let guests = Guests::after_restart(&recovered.books);
    let writer = Writer {
        config,
        door,
        notify,
        ledger: Ledger {
            store,
            books: recovered.books,
        },
        guests,
        sync: None,
        unsynced_since: None,
        last_frame: Instant::now(),
        stopping: None,
    };
    let socket = config.socket.display().to_string();
    tracing::info!(
        socket,
        directory,
        segment = writer.ledger.store.number(),
        "ready"
    );
    if let Some(path) = ready_file {
        std::fs::write(path, &socket)
            .map_err(|error| io(format!("cannot write {}", path.display()), error))?;
    }
    writer
        .work()
        .await
        .map_err(|error| io(format!("cannot write the log in {directory}"), error))?;
    tracing::info!("stopped in good order");
    Ok(())
}

/// Wall clock.
pub(super) fn now_unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

// === impl Writer ===

impl Writer<'_> {
    async fn work(mut self) -> std::io::Result<()> {
        loop {
            let moved = match self.turn().await {
                Ok(moved) => moved,
                Err(error) => {
                    self.sit_out(error).await?;
                    continue;
                }
            };
            if let Some(since) = self.stopping
                && (!moved || since.elapsed() > LAST_DRAIN)
            {
                return self.end().await;
            }
            if moved {
                glommio::executor().yield_task_queue_now().await;
            } else {
                self.rest().await;
            }
        }
    }

    /// Whether something was moved.
    async fn turn(&mut self) -> std::io::Result<bool> {
        self.note_stop();
        self.hear_news();
        let moved = self.drain();
        self.ledger.store.write_chunks().await?;
        self.settle_sync().await?;
        self.guests.part(&mut self.ledger, &self.door);
        if self.ledger.store.is_spent() {
            self.rotate().await?;
        }
        Ok(moved)
    }

    /// Tries again what failed, until it succeeds. When the end is asked for it is tried once more;
    /// failing that, the rings hold what is missing, for the next recorder.
    async fn sit_out(&mut self, mut error: std::io::Error) -> std::io::Result<()> {
        let since = Instant::now();
        let (mut wait, mut told) = (RETRY_MIN, None::<Instant>);
        loop {
            if told.is_none_or(|told| told.elapsed() >= FAILURE_TOLD_EVERY) {
                told = Some(Instant::now());
                let file = self.ledger.store.path().display().to_string();
                let seconds = since.elapsed().as_secs();
                tracing::error!(
                    file, %error, seconds,
                    "cannot write the log; frames wait in the rings, and it is tried again"
                );
            }
            let last = self.pause(wait, &error).await;
            match self.try_again().await {
                Ok(()) => {
                    let file = self.ledger.store.path().display().to_string();
                    let seconds = since.elapsed().as_secs();
                    tracing::info!(
                        file,
                        seconds,
                        "the log can be written again; it has no hole"
                    );
                    return Ok(());
                }
                Err(again) if last => return Err(again),
                Err(again) => error = again,
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Waits, while whoever brings rings is turned away. `true`: the end is asked for.
    async fn pause(&mut self, wait: Duration, error: &std::io::Error) -> bool {
        let until = Instant::now() + wait;
        loop {
            self.note_stop();
            if self.stopping.is_some() {
                return true;
            }
            self.hear_excuses(error);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.notify.wait(left).await;
        }
    }

    async fn try_again(&mut self) -> std::io::Result<()> {
        self.ledger.store.take_back().await;
        if self.ledger.store.is_ended() {
            let state = self.ledger.books.state();
            return self.ledger.store.rotate(&state, now_unix_ns()).await;
        }
        self.sync_all().await
    }

    fn note_stop(&mut self) {
        if self.stopping.is_none() && self.door.is_closing() {
            tracing::info!("asked to stop: draining");
            self.stopping = Some(Instant::now());
        }
    }

    fn hear_news(&mut self) {
        for _ in 0..NEWS_PER_TURN {
            match self.door.news.try_recv() {
                Ok(News::Arrived {
                    link,
                    guest,
                    answer,
                }) => {
                    let taken = match self.stopping {
                        Some(_) => {
                            guests::send_off(&guest, &self.door);
                            Err(Refusal::Resume("the recorder is stopping".to_owned()))
                        }
                        None => self
                            .guests
                            .take_in(link, *guest, &mut self.ledger, &self.door),
                    };
                    // A greeter that gave up meanwhile has also said that its guest is gone.
                    let _ = answer.send(taken);
                }
                Ok(News::Gone(link)) => self.guests.gone(link),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stopping.get_or_insert_with(Instant::now);
                    return;
                }
            }
        }
        self.notify.wake(); // there may be more
    }

    /// As [`hear_news`](Self::hear_news), but nothing may be appended: nobody is taken in.
    fn hear_excuses(&mut self, error: &std::io::Error) {
        for news in self.door.news.try_iter().take(NEWS_PER_TURN) {
            match news {
                News::Arrived { guest, answer, .. } => {
                    guests::send_off(&guest, &self.door);
                    let why = format!("the log cannot be written ({error}); try again");
                    let _ = answer.send(Err(Refusal::Resume(why)));
                }
                News::Gone(link) => self.guests.gone(link),
            }
        }
    }

    fn drain(&mut self) -> bool {
        if self.ledger.store.is_full() {
            return false;
        }
        let moved = self.guests.drain(&mut self.ledger);
        if moved {
            self.last_frame = Instant::now();
        }
        if self.ledger.store.unsynced() > 0 {
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        moved
    }

    /// Takes note of a sync that is done, and begins one that is due.
    async fn settle_sync(&mut self) -> std::io::Result<()> {
        if self
            .sync
            .as_ref()
            .is_some_and(|(syncing, _)| syncing.is_done())
        {
            self.end_sync().await?;
        }
        let unsynced = self.ledger.store.unsynced();
        if self.sync.is_some() || unsynced == 0 {
            return Ok(());
        }
        let waited = self
            .unsynced_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        let due = unsynced >= self.config.sync_bytes
            || waited >= self.config.sync_interval
            || self.guests.pressed(RING_SHARE);
        if due {
            self.begin_sync();
        }
        Ok(())
    }

    fn begin_sync(&mut self) {
        self.guests.confess(&mut self.ledger);
        let heads = self.guests.positions();
        let syncing = self.ledger.store.begin_sync(Some(Arc::clone(&self.notify)));
        self.unsynced_since = None;
        self.sync = Some((syncing, heads));
    }

    /// Waits for the sync that is under way, and lets go of what it made durable.
    async fn end_sync(&mut self) -> std::io::Result<()> {
        if let Some((syncing, heads)) = self.sync.take() {
            self.ledger.store.end_sync(syncing).await?;
            self.guests.release(&heads);
        }
        Ok(())
    }

    async fn sync_all(&mut self) -> std::io::Result<()> {
        self.end_sync().await?;
        self.begin_sync();
        self.end_sync().await
    }

    async fn rotate(&mut self) -> std::io::Result<()> {
        self.sync_all().await?;
        let state = self.ledger.books.state();
        self.ledger.store.rotate(&state, now_unix_ns()).await?;
        Ok(())
    }

    async fn end(mut self) -> std::io::Result<()> {
        self.sync_all().await?;
        self.ledger.store.end(now_unix_ns()).await
    }

    /// Naps while traffic flows or a sync is under way, sleeps otherwise.
    async fn rest(&mut self) {
        if self.last_frame.elapsed() < LINGER {
            return self.notify.wait(NAP).await;
        }
        let until_sync = match self.unsynced_since {
            Some(since) => self.config.sync_interval.saturating_sub(since.elapsed()),
            None => SLEEP_MAX,
        };
        if self.ledger.store.is_full() {
            return self.notify.wait(until_sync.min(SLEEP_MAX)).await;
        }
        if self.guests.sleep() {
            self.notify.wait(until_sync.clamp(NAP, SLEEP_MAX)).await;
            self.guests.wake();
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// Appends a gap on the recorder's own account, in the place of what is missing.
    pub(super) fn gap(
        &mut self,
        ring: RingId,
        ring_position: u64,
        session: (SessionId, u32),
        gap: Gap,
    ) {
        let now = now_unix_ns();
        let (session, index) = session;
        let frame = Frame {
            session,
            index,
            at_unix_ns: now,
            body: FrameBody::Gap(gap),
        };
        self.store.append(&NewRecord {
            kind: Kind::Frame,
            by_recorder: true,
            ring,
            ring_position,
            written_unix_ns: now,
            body: &frame.encode(),
        });
        self.books.moved(ring, ring_position);
    }
}
