//! The sender of notices: an outbox in the state, and one sender for each receiver.
//!
//! [`Notifier::tell`] puts a notice into a bounded queue and returns: whoever has something to tell
//! never waits, neither for a receiver nor for the state. From the queue it is written down, one row
//! for each receiver whom it concerns; from then on it survives a restart, and is sent until its
//! receiver has it or it is given up ([`Patience`](crate::notify::Patience)). One message at a time
//! goes to a receiver, and receivers do not wait for each other. A receiver can get a message twice,
//! under the same id: where the process died, or an answer got lost, in between.

mod courier;
#[cfg(test)]
mod receiving;
mod sender;
mod slack;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::state::{Delivery, DeliveryFilter, Standing, State, StateError};
use crate::exchange::unix_ns;
use crate::notify::{Notice, NotifyConfig, Receiver, Seen, settle_all};
use courier::Courier;

/// Notices that wait to be written down.
const QUEUE_MAX: usize = 4096;
/// Notices that are written down together.
const BATCH_MAX: usize = 64;
/// Notices that wait for one receiver; what comes after them is lost, and that is counted.
const WAITING_MAX: u64 = 100_000;
/// How long to rest when the state cannot be written or read.
const STATE_REST: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the queue to be written down.
const WRITE_DOWN_MAX: Duration = Duration::from_secs(2);
/// How often figures are brought up to date.
const COUNT: Duration = Duration::from_secs(1);
/// How often what is over is forgotten.
const FORGET: Duration = Duration::from_secs(3600);
/// How long what arrived is remembered, so that it is not told twice: longer than an approval lives.
const REMEMBERED_MS: u64 = 30 * 24 * 3_600_000;
/// How long dead letters are kept.
const DEAD_MS: u64 = 90 * 24 * 3_600_000;

/// Tells receivers what happens. Cheap to clone.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    mailboxes: Vec<Arc<Mailbox>>,
    queue: mpsc::Sender<Order>,
    /// Until somebody looks after it.
    orders: Mutex<Option<mpsc::Receiver<Order>>>,
    state: OnceLock<State>,
    lost: AtomicU64,
    /// Whether rows changed since they were last counted.
    changed: AtomicBool,
    /// Messages of Slack that were taken.
    seen: Mutex<Seen>,
    /// Room for answers to Slack.
    answers: Arc<Semaphore>,
}

/// One receiver and what is known of it.
struct Mailbox {
    receiver: Receiver,
    courier: Courier,
    /// Something is due, or the receiver should be tried at once.
    wake: tokio::sync::Notify,
    /// An operator wants it tried although it failed a moment ago.
    forgiven: AtomicBool,
    delivered: AtomicU64,
    failed: AtomicU64,
    given_up: AtomicU64,
    waiting: AtomicU64,
    dead: AtomicU64,
}

enum Order {
    Tell(Box<Notice>),
    /// Say when all that came before is written down.
    WriteDown(oneshot::Sender<()>),
}

/// How one receiver does.
#[derive(Clone, Debug)]
pub(super) struct ReceiverFigures {
    pub(super) name: String,
    /// Messages that arrived, since the start.
    pub(super) delivered: u64,
    /// Attempts that failed and were or will be repeated, since the start.
    pub(super) failed: u64,
    /// Notices that were given up, since the start.
    pub(super) given_up: u64,
    /// Notices that wait now.
    pub(super) waiting: u64,
    /// Dead letters now.
    pub(super) dead: u64,
}

/// Why an operator's wish about a notice was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotifyError {
    #[error("no receiver is called {0:?}; [[notify]] sections name them")]
    UnknownReceiver(String),
    #[error("no notice that waits or is dead has the id {0:?}")]
    UnknownId(String),
    #[error("the state cannot be used: {0}")]
    State(#[from] StateError),
    #[error("there is no state: [control] names neither `state` nor `socket`")]
    NoState,
}

// === impl Notifier ===

impl Notifier {
    /// For these receivers, with name and URL of each issuer. Their files are read once, to find
    /// early what is wrong with them.
    ///
    /// # Errors
    /// What is wrong with which section.
    pub fn new(sections: &[NotifyConfig], issuers: &[(String, String)]) -> Result<Self, String> {
        let mailboxes = settle_all(sections, issuers)?.into_iter().map(|receiver| {
            let courier = Courier::new(&receiver)
                .map_err(|reason| format!("[[notify]] {:?}: {reason}", receiver.name))?;
            Ok(Arc::new(Mailbox::new(receiver, courier)))
        });
        let mailboxes = mailboxes.collect::<Result<_, String>>()?;
        let (queue, orders) = mpsc::channel(QUEUE_MAX);
        Ok(Self(Arc::new(Inner {
            mailboxes,
            queue,
            orders: Mutex::new(Some(orders)),
            state: OnceLock::new(),
            lost: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            seen: Mutex::default(),
            answers: slack::answers(),
        })))
    }

    /// Tells everybody whom it concerns; at once, whatever state they are in. Telling the same twice
    /// (approval and event) tells it once, also after a restart.
    pub fn tell(&self, notice: Notice) {
        if !self.0.mailboxes.iter().any(|it| it.receiver.wants(&notice)) {
            return;
        }
        if let Err(error) = self
            .0
            .queue
            .try_send(Order::Tell(Box::new(notice.bounded())))
        {
            let (mpsc::error::TrySendError::Full(order) | mpsc::error::TrySendError::Closed(order)) =
                error;
            self.0.lose(&order);
        }
    }

    /// Takes over the outbox. To be done before [`Notifier::run`].
    pub(super) async fn load(&self, state: &State) -> Result<(), String> {
        // Nobody else sets it: this runs once.
        let _ = self.0.state.set(state.clone());
        let counts = self.0.count().await.map_err(|error| error.to_string())?;
        for (receiver, standing, count) in counts {
            let known = self
                .0
                .mailboxes
                .iter()
                .any(|it| it.receiver.name == receiver);
            if !known && standing == Standing::Waiting {
                tracing::warn!(
                    receiver,
                    "{count} notices wait for a receiver that is not configured; `notifications \
                     drop` gives them up"
                );
            }
        }
        Ok(())
    }

    /// Writes down and sends. Starts tasks of its own and returns.
    pub(super) fn run(&self) {
        let orders = self
            .0
            .orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (Some(orders), Some(state)) = (orders, self.0.state.get()) else {
            return;
        };
        tokio::spawn(self.0.clone().write(orders, state.clone()));
        tokio::spawn(self.0.clone().keep_up(state.clone()));
        for mailbox in &self.0.mailboxes {
            tokio::spawn(sender::run(self.0.clone(), mailbox.clone(), state.clone()));
        }
    }

    /// Waits until everything that was told is written down, for a bounded time.
    pub(super) async fn write_down(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.queue.try_send(Order::WriteDown(done)).is_ok()
            && tokio::time::timeout(WRITE_DOWN_MAX, is_done).await.is_err()
        {
            tracing::error!("notices of the last moment were not written down");
        }
    }

    /// How receivers do, in the order of the configuration.
    pub(super) fn figures(&self) -> Vec<ReceiverFigures> {
        self.0.mailboxes.iter().map(|it| it.figures()).collect()
    }

    /// Notices that were lost because too many waited, since the start.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// A part of the list.
    pub(super) async fn page(
        &self,
        filter: &DeliveryFilter,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Delivery>, NotifyError> {
        Ok(self.state()?.deliveries(filter, after, limit).await?)
    }

    /// Sends a notice again, now and as often as a new one.
    pub(super) async fn send_again(&self, id: &str) -> Result<(), NotifyError> {
        let receiver = self.state()?.send_again(id, now_ms()).await?;
        let receiver = receiver.ok_or_else(|| NotifyError::UnknownId(id.to_owned()))?;
        self.0.changed.store(true, Ordering::Relaxed);
        for mailbox in self
            .0
            .mailboxes
            .iter()
            .filter(|it| it.receiver.name == receiver)
        {
            mailbox.forgiven.store(true, Ordering::Relaxed);
            mailbox.wake.notify_one();
        }
        Ok(())
    }

    /// Gives a notice up.
    pub(super) async fn give_up(&self, id: &str) -> Result<(), NotifyError> {
        let receiver = self.state()?.drop_delivery(id, now_ms()).await?;
        self.0.changed.store(true, Ordering::Relaxed);
        receiver
            .map(|_| ())
            .ok_or_else(|| NotifyError::UnknownId(id.to_owned()))
    }

    /// Sends a notice that says that it is a test; its id.
    pub(super) async fn test(&self, receiver: &str) -> Result<String, NotifyError> {
        let found = self
            .0
            .mailboxes
            .iter()
            .find(|it| it.receiver.name == receiver);
        let mailbox = found.ok_or_else(|| NotifyError::UnknownReceiver(receiver.to_owned()))?;
        let now_ms = now_ms();
        let notice = Notice::test(&super::revocations::new_id(), now_ms / 1000);
        let delivery = delivery(receiver, &notice, now_ms);
        self.state()?.tell(std::slice::from_ref(&delivery)).await?;
        self.0.changed.store(true, Ordering::Relaxed);
        mailbox.forgiven.store(true, Ordering::Relaxed);
        mailbox.wake.notify_one();
        Ok(delivery.id)
    }

    fn state(&self) -> Result<&State, NotifyError> {
        self.0.state.get().ok_or(NotifyError::NoState)
    }
}

// === impl Inner ===

impl Inner {
    /// Takes notices out of the queue and writes them down, for ever.
    async fn write(self: Arc<Self>, mut orders: mpsc::Receiver<Order>, state: State) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while orders.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut written = Vec::new();
            let mut deliveries = Vec::new();
            let now_ms = now_ms();
            for order in batch.drain(..) {
                match order {
                    Order::Tell(notice) => self.address(&notice, now_ms, &mut deliveries),
                    Order::WriteDown(done) => written.push(done),
                }
            }
            let mut has_failed = false;
            while let Err(error) = state.tell(&deliveries).await {
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::error!("notices wait, because they cannot be written down: {error}");
                }
                tokio::time::sleep(STATE_REST).await;
            }
            self.changed.store(true, Ordering::Relaxed);
            for mailbox in &self.mailboxes {
                if deliveries
                    .iter()
                    .any(|it| it.receiver == mailbox.receiver.name)
                {
                    mailbox.wake.notify_one();
                }
            }
            for done in written {
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }

    /// A row for each receiver whom it concerns.
    fn address(&self, notice: &Notice, now_ms: u64, deliveries: &mut Vec<Delivery>) {
        for mailbox in self.mailboxes.iter().filter(|it| it.receiver.wants(notice)) {
            if mailbox.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
                self.lost.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    receiver = mailbox.receiver.name,
                    "a notice is lost: {WAITING_MAX} wait for this receiver already"
                );
                continue;
            }
            deliveries.push(delivery(&mailbox.receiver.name, notice, now_ms));
        }
    }

    fn lose(&self, order: &Order) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        if let Order::Tell(notice) = order {
            tracing::error!(
                approval = notice.approval,
                event = notice.event.as_str(),
                "a notice is lost: {QUEUE_MAX} wait to be written down already"
            );
        }
    }

    /// Keeps figures up to date and forgets what is over, for ever.
    async fn keep_up(self: Arc<Self>, state: State) {
        let mut forget = tokio::time::interval(FORGET);
        let mut count = tokio::time::interval(COUNT);
        loop {
            let done = tokio::select! {
                _ = forget.tick() => {
                    let now = now_ms();
                    let (over, dead) = (now.saturating_sub(REMEMBERED_MS), now.saturating_sub(DEAD_MS));
                    state.forget_deliveries(over, dead).await.map(|_| ())
                }
                _ = count.tick() => match self.changed.swap(false, Ordering::Relaxed) {
                    true => self.count().await.map(|_| ()),
                    false => Ok(()),
                }
            };
            if let Err(error) = done {
                tracing::warn!("the outbox cannot be looked after: {error}");
            }
        }
    }

    async fn count(&self) -> Result<Vec<(String, Standing, u64)>, StateError> {
        let Some(state) = self.state.get() else {
            return Ok(Vec::new());
        };
        let counts = state.delivery_counts().await?;
        for mailbox in &self.mailboxes {
            let of = |wanted: Standing| {
                let found = counts.iter().find(|(name, standing, _)| {
                    *name == mailbox.receiver.name && *standing == wanted
                });
                found.map_or(0, |(_, _, count)| *count)
            };
            mailbox
                .waiting
                .store(of(Standing::Waiting), Ordering::Relaxed);
            mailbox.dead.store(of(Standing::Dead), Ordering::Relaxed);
        }
        Ok(counts)
    }
}

// === impl Mailbox ===

impl Mailbox {
    fn new(receiver: Receiver, courier: Courier) -> Self {
        Self {
            receiver,
            courier,
            wake: tokio::sync::Notify::new(),
            forgiven: AtomicBool::new(false),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            dead: AtomicU64::new(0),
        }
    }

    fn figures(&self) -> ReceiverFigures {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        ReceiverFigures {
            name: self.receiver.name.clone(),
            delivered: of(&self.delivered),
            failed: of(&self.failed),
            given_up: of(&self.given_up),
            waiting: of(&self.waiting),
            dead: of(&self.dead),
        }
    }
}

fn delivery(receiver: &str, notice: &Notice, now_ms: u64) -> Delivery {
    let event = notice.event.as_str();
    Delivery {
        // No full stop: the id is a part of what a webhook's signature is over.
        id: format!("{}_{event}_{receiver}", notice.approval),
        receiver: receiver.to_owned(),
        standing: Standing::Waiting,
        notice: notice.clone(),
        told_ms: now_ms,
        attempts: 0,
        next_ms: now_ms,
        last_error: String::new(),
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    unix_ns() / 1_000_000
}
