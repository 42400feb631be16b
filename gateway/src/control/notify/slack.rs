//! What Slack says back: whose message it is, who pressed the button, and an answer for their eyes.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::Semaphore;

use super::{Mailbox, Notifier, courier};
use crate::exchange::unix_seconds;
use crate::notify::{SlackPerson, Unsigned, slack_answer, verify_slack};

/// How long an answer to whoever pressed a button is tried, once.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Answers that are on their way at a time; beyond them nobody is told.
const ANSWERS_MAX: usize = 16;

/// A genuine message of Slack, and the receiver whose app it came from.
pub(in crate::control) struct Heard {
    mailbox: Arc<Mailbox>,
    answers: Arc<Semaphore>,
}

/// Room for answers.
pub(super) fn answers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(ANSWERS_MAX))
}

// === impl Notifier ===

impl Notifier {
    /// Checks that Slack sent this, now and not before.
    ///
    /// # Errors
    /// Why it is not believed.
    pub(in crate::control) async fn hear_slack(
        &self,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
    ) -> Result<Heard, Unsigned> {
        let mut mailboxes = Vec::new();
        let mut secrets = Vec::new();
        for mailbox in &self.0.mailboxes {
            if !mailbox.receiver.takes_answers() {
                continue;
            }
            let read = courier::unseal(&mailbox.receiver).await;
            let read = read.and_then(|(_, sealed)| mailbox.receiver.secrets(&sealed));
            match read {
                Ok(Some(found)) => {
                    mailboxes.push(mailbox.clone());
                    secrets.push(found);
                }
                Ok(None) => {}
                Err(reason) => {
                    let receiver = &mailbox.receiver.name;
                    tracing::error!(receiver, "messages of Slack cannot be checked: {reason}");
                }
            }
        }
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = unix_seconds();
        let whose = verify_slack(&secrets, timestamp, signature, body, now, &mut seen)?;
        Ok(Heard {
            mailbox: mailboxes.swap_remove(whose),
            answers: self.0.answers.clone(),
        })
    }
}

// === impl Heard ===

impl Heard {
    /// Name of the receiver.
    pub(in crate::control) fn receiver(&self) -> &str {
        &self.mailbox.receiver.name
    }

    /// Who a user of Slack is.
    pub(in crate::control) fn person(&self, user: &str) -> Option<&SlackPerson> {
        let mut people = self.mailbox.receiver.people.iter();
        people.find(|person| person.slack == user)
    }

    /// Tells whoever pressed the button what came of it; once, and nobody waits for it. Only where
    /// the receiver's own address is: what is signed can still name any.
    pub(in crate::control) fn answer(self, to: Option<&str>, text: String) {
        let Some(to) = to.and_then(|to| Url::parse(to).ok()) else {
            return;
        };
        let Ok(permit) = self.answers.clone().try_acquire_owned() else {
            return;
        };
        tokio::spawn(async move {
            let mailbox = &self.mailbox;
            let told = async {
                let (own, _) = courier::unseal(&mailbox.receiver).await?;
                if own.origin() != to.origin() {
                    return Err("it would go elsewhere than the receiver's address".to_owned());
                }
                mailbox.courier.post(to, slack_answer(&text)).await
            };
            let receiver = &mailbox.receiver.name;
            match tokio::time::timeout(ANSWER_MAX, told).await {
                Ok(Ok(answer)) if answer.reason().is_empty() => {}
                Ok(Ok(answer)) => {
                    tracing::warn!(receiver, "an answer did not arrive: {}", answer.reason());
                }
                Ok(Err(reason)) => tracing::warn!(receiver, "an answer did not arrive: {reason}"),
                Err(_) => tracing::warn!(receiver, "an answer did not arrive in time"),
            }
            drop(permit);
        });
    }
}
