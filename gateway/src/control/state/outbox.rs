//! Notices that are on their way, and those that did not arrive.
//!
//! A row is one notice for one receiver, under a name that follows from both, so that telling the
//! same twice adds nothing. It is written in the transaction of the change that it tells of. Whoever sends a row takes it first ([`State::take_due`]): it counts the
//! attempt and sets the next one behind the end of this one, so that a process that dies in between
//! loses nothing, and two gateways with one state do not send the same at once.

use sqlx::Row;

use super::{DbRow, State, StateError, seconds};
use crate::notify::Notice;

/// How often a row is looked for when others take them away.
const TAKES_MAX: usize = 8;

/// Where a notice stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Standing {
    /// It is sent at its time.
    Waiting,
    /// It has arrived.
    Delivered,
    /// It was given up.
    Dead,
    /// An operator gave it up.
    Dropped,
}

/// One notice for one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Delivery {
    pub(in crate::control) id: String,
    pub(in crate::control) receiver: String,
    pub(in crate::control) standing: Standing,
    pub(in crate::control) notice: Notice,
    pub(in crate::control) told_ms: u64,
    pub(in crate::control) attempts: u32,
    pub(in crate::control) next_ms: u64,
    pub(in crate::control) last_error: String,
}

/// Which rows are asked for.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct DeliveryFilter {
    pub(in crate::control) standing: Option<Standing>,
    pub(in crate::control) receiver: Option<String>,
}

/// The times that taking a row needs, milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct TakeTimes {
    pub(in crate::control) now_ms: u64,
    /// When the row is due again unless it is settled.
    pub(in crate::control) until_ms: u64,
    /// A row that is due later than this was planned by a clock that went wrong: it is due now.
    pub(in crate::control) farthest_ms: u64,
}

// === impl Standing ===

impl Standing {
    /// As the state and the API name it.
    pub(in crate::control) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Dropped => "dropped",
        }
    }

    pub(in crate::control) fn named(name: &str) -> Option<Self> {
        let all = [Self::Waiting, Self::Delivered, Self::Dead, Self::Dropped];
        all.into_iter().find(|it| it.as_str() == name)
    }
}

// === impl State ===

impl State {
    /// Adds notices for receivers, all or none; those that are there already stay as they are.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(in crate::control) async fn tell(&self, deliveries: &[Delivery]) -> Result<(), StateError> {
        let told = async {
            let mut transaction = self.pool.begin().await?;
            add(&mut transaction, deliveries).await?;
            transaction.commit().await
        };
        told.await.map_err(|error| self.failed(&error))
    }

    /// Takes the row of this receiver that is due first, its attempt counted; `None` when none is
    /// due.
    ///
    /// # Errors
    /// When it cannot be read or written; then nothing is taken.
    pub(in crate::control) async fn take_due(
        &self,
        receiver: &str,
        times: TakeTimes,
    ) -> Result<Option<Delivery>, StateError> {
        let due = "SELECT id, receiver, standing, notice, told_ms, attempts, next_ms, last_error \
                   FROM notification WHERE receiver = $1 AND standing = 'waiting' \
                   AND (next_ms <= $2 OR next_ms > $3) ORDER BY next_ms, id LIMIT 1";
        let take = "UPDATE notification SET attempts = attempts + 1, next_ms = $1 \
                    WHERE id = $2 AND standing = 'waiting' AND next_ms = $3";
        let TakeTimes {
            now_ms,
            until_ms,
            farthest_ms,
        } = times;
        for _ in 0..TAKES_MAX {
            let row = sqlx::query(due)
                .bind(receiver)
                .bind(seconds(now_ms))
                .bind(seconds(farthest_ms))
                .fetch_optional(&self.pool)
                .await
                .map_err(|error| self.failed(&error))?;
            let Some(row) = row else {
                return Ok(None);
            };
            let mut found = delivery(&row).map_err(|error| self.failed(&error))?;
            let taken = sqlx::query(take)
                .bind(seconds(until_ms))
                .bind(&found.id)
                .bind(seconds(found.next_ms))
                .execute(&self.pool)
                .await
                .map_err(|error| self.failed(&error))?;
            if taken.rows_affected() == 1 {
                found.attempts = found.attempts.saturating_add(1);
                found.next_ms = until_ms;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// When the next row of this receiver is due; `None` when none waits.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::control) async fn next_due_ms(
        &self,
        receiver: &str,
    ) -> Result<Option<u64>, StateError> {
        let query = "SELECT next_ms FROM notification WHERE receiver = $1 AND \
                     standing = 'waiting' ORDER BY next_ms LIMIT 1";
        let row = sqlx::query(query)
            .bind(receiver)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        let next = row.map(|row| row.try_get::<i64, _>("next_ms")).transpose();
        let next = next.map_err(|error| self.failed(&error))?;
        Ok(next.map(|at| u64::try_from(at).unwrap_or_default()))
    }

    /// Writes down what became of a row that waits: when it is sent again, or that it is over.
    ///
    /// # Errors
    /// When it cannot be written; then it is sent again when the time of its taking is over.
    pub(in crate::control) async fn settle(
        &self,
        id: &str,
        standing: Standing,
        at_ms: u64,
        last_error: &str,
    ) -> Result<(), StateError> {
        let ended = (standing != Standing::Waiting).then(|| seconds(at_ms));
        let query = "UPDATE notification SET standing = $1, next_ms = $2, ended_ms = $3, \
                     last_error = $4 WHERE id = $5 AND standing = 'waiting'";
        sqlx::query(query)
            .bind(standing.as_str())
            .bind(seconds(at_ms))
            .bind(ended)
            .bind(last_error)
            .bind(id)
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }

    /// At most `limit` rows behind the one with this id.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::control) async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Delivery>, StateError> {
        let query = "SELECT id, receiver, standing, notice, told_ms, attempts, next_ms, last_error \
                     FROM notification WHERE id > $1 AND ($2 = '' OR standing = $2) \
                     AND ($3 = '' OR receiver = $3) ORDER BY id LIMIT $4";
        let rows = sqlx::query(query)
            .bind(after)
            .bind(filter.standing.map_or("", Standing::as_str))
            .bind(filter.receiver.as_deref().unwrap_or_default())
            .bind(seconds(limit as u64))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        rows.iter()
            .map(|row| delivery(row).map_err(|error| self.failed(&error)))
            .collect()
    }

    /// Sends a row again as if it had just been told; what its receiver is, or `None` where no row
    /// has this id that waits or is dead.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn send_again(
        &self,
        id: &str,
        now_ms: u64,
    ) -> Result<Option<String>, StateError> {
        let query = "UPDATE notification SET standing = 'waiting', attempts = 0, told_ms = $1, \
                     next_ms = $1, ended_ms = NULL WHERE id = $2 \
                     AND standing IN ('waiting', 'dead') RETURNING receiver";
        let row = sqlx::query(query)
            .bind(seconds(now_ms))
            .bind(id)
            .fetch_optional(&self.pool)
            .await;
        self.receiver_of(row)
    }

    /// Gives a row up for good; as [`State::send_again`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn drop_delivery(
        &self,
        id: &str,
        now_ms: u64,
    ) -> Result<Option<String>, StateError> {
        let query = "UPDATE notification SET standing = 'dropped', ended_ms = $1 WHERE id = $2 \
                     AND standing IN ('waiting', 'dead') RETURNING receiver";
        let row = sqlx::query(query)
            .bind(seconds(now_ms))
            .bind(id)
            .fetch_optional(&self.pool)
            .await;
        self.receiver_of(row)
    }

    fn receiver_of(
        &self,
        row: Result<Option<DbRow>, sqlx::Error>,
    ) -> Result<Option<String>, StateError> {
        let receiver = row.and_then(|row| row.map(|row| row.try_get("receiver")).transpose());
        receiver.map_err(|error| self.failed(&error))
    }

    /// How many rows stand how, by receiver; of those that wait or are dead.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::control) async fn delivery_counts(
        &self,
    ) -> Result<Vec<(String, Standing, u64)>, StateError> {
        let query = "SELECT receiver, standing, COUNT(*) AS count FROM notification \
                     WHERE standing IN ('waiting', 'dead') GROUP BY receiver, standing";
        let rows = sqlx::query(query)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        let count = |row: &DbRow| {
            let count: i64 = row.try_get("count")?;
            let count = u64::try_from(count).unwrap_or_default();
            Ok((row.try_get("receiver")?, standing(row)?, count))
        };
        rows.iter()
            .map(|row| count(row).map_err(|error| self.failed(&error)))
            .collect()
    }

    /// Forgets rows that are over: those that arrived or were dropped before one time, dead ones
    /// before another.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn forget_deliveries(
        &self,
        over_before_ms: u64,
        dead_before_ms: u64,
    ) -> Result<u64, StateError> {
        let query = "DELETE FROM notification WHERE \
                     (standing IN ('delivered', 'dropped') AND ended_ms < $1) \
                     OR (standing = 'dead' AND ended_ms < $2)";
        sqlx::query(query)
            .bind(seconds(over_before_ms))
            .bind(seconds(dead_before_ms))
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(|error| self.failed(&error))
    }
}

/// Adds notices within a transaction: they are there if and only if what they tell of is.
pub(super) async fn add(
    transaction: &mut sqlx::AnyConnection,
    deliveries: &[Delivery],
) -> Result<(), sqlx::Error> {
    let query = "INSERT INTO notification (id, receiver, standing, notice, told_ms, attempts, \
                 next_ms, last_error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                 ON CONFLICT (id) DO NOTHING";
    for delivery in deliveries {
        sqlx::query(query)
            .bind(&delivery.id)
            .bind(&delivery.receiver)
            .bind(delivery.standing.as_str())
            .bind(serde_json::to_string(&delivery.notice).unwrap_or_default())
            .bind(seconds(delivery.told_ms))
            .bind(i64::from(delivery.attempts))
            .bind(seconds(delivery.next_ms))
            .bind(&delivery.last_error)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}

fn standing(row: &DbRow) -> Result<Standing, sqlx::Error> {
    let name: String = row.try_get("standing")?;
    Standing::named(&name)
        .ok_or_else(|| sqlx::Error::Decode(format!("a notification that is {name:?}").into()))
}

fn delivery(row: &DbRow) -> Result<Delivery, sqlx::Error> {
    let number = |name: &str| -> Result<u64, sqlx::Error> {
        let number: i64 = row.try_get(name)?;
        Ok(u64::try_from(number).unwrap_or_default())
    };
    let notice: String = row.try_get("notice")?;
    let notice = serde_json::from_str(&notice)
        .map_err(|_| sqlx::Error::Decode("a notification's notice".into()))?;
    Ok(Delivery {
        id: row.try_get("id")?,
        receiver: row.try_get("receiver")?,
        standing: standing(row)?,
        notice,
        told_ms: number("told_ms")?,
        attempts: u32::try_from(number("attempts")?).unwrap_or(u32::MAX),
        next_ms: number("next_ms")?,
        last_error: row.try_get("last_error")?,
    })
}
