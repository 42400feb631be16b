//! Sends what is due to one receiver, one message at a time, for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Inner, Mailbox, STATE_REST, now_ms};
use crate::control::state::{Delivery, Standing, State, TakeTimes};
use crate::notify::{Answer, Line, Next, Outgoing};

/// How long a row is taken for beyond the time that an attempt may take: to write down how it went.
const TAKEN_MORE: Duration = Duration::from_secs(3);
/// How often rows are looked for that another gateway wrote down.
const LOOK: Duration = Duration::from_secs(15);

/// Sends to one receiver.
pub(super) async fn run(inner: Arc<Inner>, mailbox: Arc<Mailbox>, state: State) {
    let mut sender = Sender {
        inner,
        mailbox,
        state,
        line: Line::default(),
        began: Instant::now(),
    };
    loop {
        let rest = sender.step().await;
        if rest.is_zero() {
            continue;
        }
        tokio::select! {
            () = sender.mailbox.wake.notified() => {}
            () = tokio::time::sleep(rest.min(LOOK)) => {}
        }
    }
}

struct Sender {
    inner: Arc<Inner>,
    mailbox: Arc<Mailbox>,
    state: State,
    line: Line,
    began: Instant,
}

// === impl Sender ===

impl Sender {
    /// Sends one message where one is due; how long there is nothing to do.
    async fn step(&mut self) -> Duration {
        if self.mailbox.forgiven.swap(false, Ordering::Relaxed) {
            self.line = Line::default();
        }
        let paused_ms = self.line.resumes_ms().saturating_sub(self.elapsed_ms());
        if paused_ms > 0 {
            return Duration::from_millis(paused_ms);
        }
        match self.take().await {
            Ok(Some(delivery)) => {
                self.deliver(delivery).await;
                Duration::ZERO
            }
            Ok(None) => self.rest().await,
            Err(error) => {
                tracing::warn!(
                    receiver = self.mailbox.receiver.name,
                    "the outbox cannot be used: {error}"
                );
                STATE_REST
            }
        }
    }

    async fn take(&self) -> Result<Option<Delivery>, crate::control::state::StateError> {
        let receiver = &self.mailbox.receiver;
        let now_ms = now_ms();
        let taken_ms = whole_ms(receiver.timeout + TAKEN_MORE);
        let times = TakeTimes {
            now_ms,
            until_ms: now_ms + taken_ms,
            farthest_ms: now_ms + taken_ms + receiver.patience.farthest_ms(),
        };
        self.state.take_due(&receiver.name, times).await
    }

    /// Until the next one is due.
    async fn rest(&self) -> Duration {
        match self.state.next_due_ms(&self.mailbox.receiver.name).await {
            // One that has become due meanwhile is looked for in a moment.
            Ok(Some(at_ms)) => Duration::from_millis(at_ms.saturating_sub(now_ms()).max(1)),
            Ok(None) => LOOK,
            Err(_) => STATE_REST,
        }
    }

    async fn deliver(&mut self, delivery: Delivery) {
        let mailbox = self.mailbox.clone();
        let (receiver, patience) = (&mailbox.receiver, mailbox.receiver.patience);
        let answer = match patience.is_used_up(delivery.attempts.saturating_sub(1)) {
            true => Answer::Refused {
                reason: "the gateway ended in the middle of the last attempt".to_owned(),
            },
            false => {
                let outgoing = Outgoing {
                    id: &delivery.id,
                    notice: &delivery.notice,
                };
                let answer = mailbox.courier.bring(receiver, &outgoing).await;
                self.line
                    .took(&answer, &patience, self.elapsed_ms(), chance());
                answer
            }
        };
        let (told_ms, now_ms) = (delivery.told_ms, now_ms());
        let next = patience.next(&answer, delivery.attempts, told_ms, now_ms, chance());
        let (standing, at_ms) = match next {
            Next::Done => (Standing::Delivered, now_ms),
            Next::Again { at_ms } => (Standing::Waiting, at_ms),
            Next::Dead => (Standing::Dead, now_ms),
        };
        self.tell(&delivery, standing, answer.reason());
        let settled = self
            .state
            .settle(&delivery.id, standing, at_ms, answer.reason());
        if let Err(error) = settled.await {
            tracing::error!(
                id = delivery.id,
                "how a notice fared is not written down, so it is sent again: {error}"
            );
        }
        self.inner.changed.store(true, Ordering::Relaxed);
    }

    fn tell(&self, delivery: &Delivery, standing: Standing, reason: &str) {
        let Delivery { id, attempts, .. } = delivery;
        let (figure, receiver) = (&self.mailbox, &self.mailbox.receiver.name);
        match standing {
            Standing::Delivered => {
                figure.delivered.fetch_add(1, Ordering::Relaxed);
                tracing::info!(receiver, id, attempts, "a notice has arrived");
            }
            Standing::Waiting => {
                figure.failed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(receiver, id, attempts, "a notice is sent again: {reason}");
            }
            Standing::Dead | Standing::Dropped => {
                figure.given_up.fetch_add(1, Ordering::Relaxed);
                tracing::error!(receiver, id, attempts, "a notice is given up: {reason}");
            }
        }
    }

    /// By a clock that never steps back.
    fn elapsed_ms(&self) -> u64 {
        whole_ms(self.began.elapsed())
    }
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// From 0 to 1.
fn chance() -> f64 {
    let mut random = [0; 4];
    // Without random numbers nothing is spread, and nothing else is lost.
    let _ = aws_lc_rs::rand::fill(&mut random);
    f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX)
}
