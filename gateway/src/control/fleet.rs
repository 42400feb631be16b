//! Gateways that share a Postgres database hear of each other's changes at once.
//!
//! The database tells of every commit that touches revocations, keys or approvals (LISTEN/NOTIFY, by
//! triggers, so that no writer can forget it), and what it tells of is read again: revocations and
//! keys as a whole, of approvals those that a connection here waits for, and those that have changed
//! lately, for whoever looks on here. A notice can be missed while the connection is lost: so
//! everything is read after each reconnecting, after listening has begun, and every half minute in
//! any case. While the database is gone the gateway goes on with what it knows; `/status` says so,
//! and whatever must be written down fails and says so itself.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sqlx::postgres::PgListener;

use super::approvals::Approvals;
use super::keys::Keys;
use super::revocations::Revocations;
use super::state::StateError;

/// The first wait before reconnecting; it doubles up to the last.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// How often everything is read although nothing was told.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// How long reading may take before the connection is given up.
const READ_MAX: Duration = Duration::from_secs(10);

/// What gateways tell each other of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Revocations,
    Keys,
    Approvals,
}

/// This gateway among those that share its state.
pub(super) struct Fleet {
    revocations: Arc<Revocations>,
    keys: Arc<Keys>,
    approvals: Arc<Approvals>,
    standing: Mutex<Standing>,
}

/// How the state is doing, for `/status`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Standing {
    /// Where it is, without a password.
    place: Option<String>,
    /// Other gateways may change it too.
    pub(super) shared: bool,
    /// Changes of other gateways are heard of; false while a shared state cannot be reached.
    pub(super) connected: bool,
    /// Why not.
    trouble: Option<String>,
    /// Times that the connection was lost since the start.
    lost: u64,
    /// Revocations that are in force and not written down yet.
    pub(super) not_written: usize,
}

// === impl Subject ===

impl Subject {
    const ALL: [Self; 3] = [Self::Revocations, Self::Keys, Self::Approvals];

    /// What a notice is about: the table that changed.
    fn of_table(name: &str) -> Option<Self> {
        match name {
            "revocation" => Some(Self::Revocations),
            "issued_key" => Some(Self::Keys),
            "approval" => Some(Self::Approvals),
            _ => None,
        }
    }
}

// === impl Fleet ===

impl Fleet {
    pub(super) fn new(
        revocations: Arc<Revocations>,
        keys: Arc<Keys>,
        approvals: Arc<Approvals>,
    ) -> Arc<Self> {
        let standing = match revocations.state() {
            None => Standing::default(),
            Some(state) => Standing {
                place: Some(state.place().to_owned()),
                shared: state.is_shared(),
                connected: true,
                ..Standing::default()
            },
        };
        Arc::new(Self {
            revocations,
            keys,
            approvals,
            standing: Mutex::new(standing),
        })
    }

    pub(super) fn standing(&self) -> Standing {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        Standing {
            not_written: self.revocations.unwritten(),
            ..standing.clone()
        }
    }

    /// Runs for ever where the state is shared; ends at once where it is not.
    pub(super) async fn keep_up(self: Arc<Self>) {
        let Some(state) = self.revocations.state().filter(|it| it.is_shared()) else {
            return;
        };
        let mut wait = BACK_OFF_MIN;
        loop {
            let reason = match state.listener().await {
                Ok(Some(listener)) => {
                    let ended = self.listen(listener, &mut wait).await;
                    ended.err().unwrap_or_default()
                }
                Ok(None) => return,
                Err(error) => error.to_string(),
            };
            self.lost(&reason);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF_MAX);
        }
    }

    /// Listens until the connection is lost; why it was.
    async fn listen(&self, mut listener: PgListener, wait: &mut Duration) -> Result<(), String> {
        // What changes from here on is told; what has changed until here is read.
        self.read(&Subject::ALL).await?;
        self.back();
        *wait = BACK_OFF_MIN;
        let mut again = tokio::time::interval(READ_AGAIN);
        again.tick().await;
        loop {
            let mut told = BTreeSet::new();
            {
                // Kept over the timer's turns: a notice that is half read must not be dropped.
                let mut notice = pin!(listener.try_recv());
                loop {
                    tokio::select! {
                        notice = &mut notice => match notice {
                            Ok(Some(notice)) => {
                                told.extend(Subject::of_table(notice.payload()));
                                break;
                            }
                            Ok(None) => return Err("the connection was lost".to_owned()),
                            Err(error) => return Err(error.to_string()),
                        },
                        _ = again.tick() => self.read(&Subject::ALL).await?,
                    }
                }
            }
            // A burst of changes is read once.
            while let Some(notice) = listener.next_buffered() {
                told.extend(Subject::of_table(notice.payload()));
            }
            let told: Vec<Subject> = told.into_iter().collect();
            self.read(&told).await?;
        }
    }

    async fn read(&self, subjects: &[Subject]) -> Result<(), String> {
        let read = async {
            for subject in subjects {
                match subject {
                    Subject::Revocations => self.revocations.read_again().await?,
                    Subject::Keys => self.keys.read_again().await?,
                    Subject::Approvals => self.approvals.read_again().await?,
                }
            }
            Ok::<(), StateError>(())
        };
        match tokio::time::timeout(READ_MAX, read).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {READ_MAX:?}")),
        }
    }

    fn lost(&self, reason: &str) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut standing.connected, false) {
            standing.lost += 1;
            tracing::error!(
                "the shared state cannot be reached, going on with what is known: {reason}"
            );
        }
        standing.trouble = Some(reason.to_owned());
    }

    fn back(&self) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut standing.connected, true) {
            tracing::info!("the shared state is back, and was read again");
        }
        standing.trouble = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_name_tables() {
        assert_eq!(Subject::of_table("revocation"), Some(Subject::Revocations));
        assert_eq!(Subject::of_table("issued_key"), Some(Subject::Keys));
        assert_eq!(Subject::of_table("approval"), Some(Subject::Approvals));
        assert_eq!(Subject::of_table("scim_user"), None);
    }
}
