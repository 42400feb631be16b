//! The sender of notices: an outbox in the state, and one sender for each receiver.
//!
//! [`Notifier::address`] makes a row of a notice for each receiver whom it concerns. Whoever changes
//! an approval commits the rows together with the change that they tell of, so that there is never
//! one without the other, whoever dies when; and says so with [`Notifier::posted`]. From then on a
//! notice survives a restart, and is sent until its receiver has it or it is given up
//! ([`Patience`](crate::notify::Patience)). One message at a time goes to a receiver, and receivers
//! do not wait for each other; nobody waits for them. A receiver can get a message twice, under the
//! same id: where the process died, or an answer got lost, in between.

mod courier;
#[cfg(test)]
mod receiving;
mod sender;
mod slack;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::state::{Delivery, DeliveryFilter, Standing, State, StateError};
use crate::exchange::unix_ns;
use crate::notify::{Notice, NotifyConfig, Receiver, Seen, settle_all};
use courier::Courier;

/// Notices that wait for one receiver; what comes after them is lost, and that is counted.
const WAITING_MAX: u64 = 100_000;
/// How long to rest when the state cannot be written or read.
const STATE_REST: Duration = Duration::from_secs(1);
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

/// Rows that belong into the transaction of what they tell of.
#[derive(Default)]
pub(in crate::control) struct Addressed {
    rows: Vec<Delivery>,
    /// Receivers for whom there is no room.
    lost: Vec<Arc<Mailbox>>,
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
        Ok(Self(Arc::new(Inner {
            mailboxes,
            state: OnceLock::new(),
            lost: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            seen: Mutex::default(),
            answers: slack::answers(),
        })))
    }

    /// A row for each receiver whom any of these concerns, to be written down together with what
    /// they tell of. Writing the same down twice (approval and event) tells it once.
    pub(in crate::control) fn address(
        &self,
        notices: impl IntoIterator<Item = Notice>,
    ) -> Addressed {
        let (mut addressed, now_ms) = (Addressed::default(), now_ms());
        for notice in notices.into_iter().map(Notice::bounded) {
            let mailboxes = self.0.mailboxes.iter();
            for mailbox in mailboxes.filter(|it| it.receiver.wants(&notice)) {
                if mailbox.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
                    addressed.lost.push(mailbox.clone());
                    continue;
                }
                let row = delivery(&mailbox.receiver.name, &notice, now_ms);
                addressed.rows.push(row);
            }
        }
        addressed
    }

    /// These rows are written down: they are sent from now on.
    pub(in crate::control) fn posted(&self, addressed: Addressed) {
        for mailbox in &addressed.lost {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                receiver = mailbox.receiver.name,
                "a notice is lost: {WAITING_MAX} wait for this receiver already"
            );
        }
        if addressed.rows.is_empty() {
            return;
        }
        self.0.changed.store(true, Ordering::Relaxed);
        for mailbox in &self.0.mailboxes {
            let mut rows = addressed.rows.iter();
            if rows.any(|it| it.receiver == mailbox.receiver.name) {
                mailbox.wake.notify_one();
            }
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

    /// Sends what is written down. Starts tasks of its own and returns; to be done once.
    pub(super) fn run(&self) {
        let Some(state) = self.0.state.get() else {
            return;
        };
        tokio::spawn(self.0.clone().keep_up(state.clone()));
        for mailbox in &self.0.mailboxes {
            tokio::spawn(sender::run(self.0.clone(), mailbox.clone(), state.clone()));
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

impl Addressed {
    /// What is to be written down.
    pub(in crate::control) fn rows(&self) -> &[Delivery] {
        &self.rows
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
