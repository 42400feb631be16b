//! Approvals in the state. Every change of one is a single statement that names the revision it was
//! made of and counts the rows that it changed; so of two changes at once one finds nothing to
//! change, whichever processes make them and whenever they die.

use sqlx::Row;

use super::outbox::{self, Delivery};
use super::{DbRow, State, StateError, seconds};
use crate::approvals::{Approval, Caller, Manner, Standing, Window};

/// The columns of an approval, in the order of [`approval`].
const COLUMNS: &str = "id, revision, digest, issuer, subject, tenant, key_id, matter, holds, manner, \
                       created_ms, expires_ms, lasts_ms, standing, history";

/// Opens a window, once.
const OPEN_WINDOW: &str = "INSERT INTO approval_window (approval, issuer, subject, tenant, hold, \
                           cause, until_ms) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                           ON CONFLICT (approval, hold, cause) DO NOTHING";

/// Which approvals are asked for.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Filter {
    /// Those that stand so.
    pub(in crate::control) standing: Option<Standing>,
    /// Those that this person asked for.
    pub(in crate::control) subject: Option<String>,
    /// The newest first; otherwise the oldest.
    pub(in crate::control) newest: bool,
}

/// How many may be pending.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct PendingMax {
    pub(in crate::control) per_caller: usize,
    pub(in crate::control) in_all: usize,
}

/// What became of a new approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Intake {
    Taken,
    /// Its caller has as many pending as one may.
    CallerFull,
    /// As many are pending as may be.
    Full,
}

impl State {
    /// Keeps a new approval where there is room for it, with the notices that tell of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn keep_approval(
        &self,
        approval: &Approval,
        (gateway, run): (&str, &str),
        most: PendingMax,
        notices: &[Delivery],
    ) -> Result<Intake, StateError> {
        let insert = "INSERT INTO approval (id, revision, digest, issuer, subject, tenant, key_id, \
                     matter, holds, manner, gateway, run, created_ms, expires_ms, lasts_ms, \
                     standing, changed_ms, history) \
                     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
                     $17, $18 WHERE \
                     (SELECT COUNT(*) FROM approval WHERE standing = 'pending') < $19 AND \
                     (SELECT COUNT(*) FROM approval WHERE issuer = $20 AND subject = $21 AND \
                     standing = 'pending') < $22";
        let caller = &approval.caller;
        let query = sqlx::query(insert)
            .bind(&approval.id)
            .bind(seconds(approval.revision))
            .bind(&approval.digest)
            .bind(&caller.issuer)
            .bind(&caller.subject)
            .bind(&caller.tenant)
            .bind(&caller.key)
            .bind(json(&approval.matter))
            .bind(json(&approval.holds))
            .bind(approval.manner.as_str())
            .bind(gateway)
            .bind(run)
            .bind(seconds(approval.created_ms))
            .bind(seconds(approval.expires_ms))
            .bind(seconds(approval.lasts_ms))
            .bind(approval.standing.as_str())
            .bind(seconds(approval.created_ms))
            .bind(json(&approval.history))
            .bind(seconds(most.in_all as u64))
            .bind(&caller.issuer)
            .bind(&caller.subject)
            .bind(seconds(most.per_caller as u64));
        let kept = async {
            let mut transaction = self.pool.begin().await?;
            let is_kept = query.execute(&mut *transaction).await?.rows_affected() == 1;
            match is_kept {
                true => {
                    outbox::add(&mut transaction, notices).await?;
                    transaction.commit().await?;
                }
                false => transaction.rollback().await?,
            }
            Ok(is_kept)
        };
        if kept.await.map_err(|error| self.failed(&error))? {
            return Ok(Intake::Taken);
        }
        let all = self.pending_approvals().await?;
        Ok(match all >= most.in_all as u64 {
            true => Intake::Full,
            false => Intake::CallerFull,
        })
    }

    /// Writes a change down, with the windows that follow from it and the notices that tell of it;
    /// false when the approval has changed since it was read, and then nothing is written.
    ///
    /// # Errors
    /// When it cannot be written; then nothing is.
    pub(in crate::control) async fn change_approval(
        &self,
        approval: &Approval,
        now_ms: u64,
        notices: &[Delivery],
    ) -> Result<bool, StateError> {
        let query = "UPDATE approval SET revision = $1, manner = $2, expires_ms = $3, \
                     standing = $4, changed_ms = $5, used_ms = $6, history = $7 \
                     WHERE id = $8 AND revision = $9 AND used_ms IS NULL";
        let used = (approval.standing == Standing::Used).then(|| seconds(now_ms));
        let changed = async {
            let mut transaction = self.pool.begin().await?;
            let changed = sqlx::query(query)
                .bind(seconds(approval.revision + 1))
                .bind(approval.manner.as_str())
                .bind(seconds(approval.expires_ms))
                .bind(approval.standing.as_str())
                .bind(seconds(now_ms))
                .bind(used)
                .bind(json(&approval.history))
                .bind(&approval.id)
                .bind(seconds(approval.revision))
                .execute(&mut *transaction)
                .await?;
            if changed.rows_affected() != 1 {
                transaction.rollback().await?;
                return Ok(false);
            }
            match approval.standing {
                Standing::Approved => {
                    for window in approval.windows() {
                        let caller = &approval.caller;
                        sqlx::query(OPEN_WINDOW)
                            .bind(&window.approval)
                            .bind(&caller.issuer)
                            .bind(&caller.subject)
                            .bind(&caller.tenant)
                            .bind(&window.hold)
                            .bind(&window.cause)
                            .bind(seconds(window.until_ms))
                            .execute(&mut *transaction)
                            .await?;
                    }
                }
                Standing::Denied => {
                    sqlx::query("DELETE FROM approval_window WHERE approval = $1")
                        .bind(&approval.id)
                        .execute(&mut *transaction)
                        .await?;
                }
                _ => {}
            }
            outbox::add(&mut transaction, notices).await?;
            transaction.commit().await?;
            Ok(true)
        };
        changed.await.map_err(|error| self.failed(&error))
    }

    /// The one with this id.
    ///
    /// # Errors
    /// When it cannot be read, or makes no sense.
    pub(in crate::control) async fn approval(
        &self,
        id: &str,
    ) -> Result<Option<Approval>, StateError> {
        let query = format!("SELECT {COLUMNS} FROM approval WHERE id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        let found = row.as_ref().map(approval).transpose();
        found.map_err(|error| self.failed(&error))
    }

    /// A ticket for the same request that is not decided, or not used.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::control) async fn open_ticket(
        &self,
        digest: &str,
        now_ms: u64,
    ) -> Result<Option<Approval>, StateError> {
        let query = format!(
            "SELECT {COLUMNS} FROM approval WHERE digest = $1 AND manner = 'ticket' AND standing IN \
             ('pending', 'approved') AND expires_ms > $2 ORDER BY id LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(digest)
            .bind(seconds(now_ms))
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        let found = row.as_ref().map(approval).transpose();
        found.map_err(|error| self.failed(&error))
    }

    /// At most `limit`, in the order of their ids or against it, behind `after`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::control) async fn approvals(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Approval>, StateError> {
        let (behind, order) = match filter.newest {
            true => ("id < $1", "id DESC"),
            false => ("id > $1", "id"),
        };
        let query = format!(
            "SELECT {COLUMNS} FROM approval WHERE {behind} AND ($2 = '' OR standing = $3) AND \
             ($4 = '' OR subject = $5) ORDER BY {order} LIMIT $6"
        );
        // Ids are hexadecimal digits and hyphens: all of them stand between these two.
        let from = after.unwrap_or(if filter.newest { "g" } else { "" });
        let standing = filter.standing.map_or("", Standing::as_str);
        let subject = filter.subject.as_deref().unwrap_or_default();
        let rows = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(from)
            .bind(standing)
            .bind(standing)
            .bind(subject)
            .bind(subject)
            .bind(seconds(limit as u64))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        let read = rows.iter().map(approval).collect::<Result<_, _>>();
        read.map_err(|error| self.failed(&error))
    }

    /// Those whose time is over and which nobody has marked yet, at most `limit`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::control) async fn expired_approvals(
        &self,
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        let query = "SELECT id FROM approval WHERE standing IN ('pending', 'approved') AND \
                     expires_ms <= $1 ORDER BY expires_ms LIMIT $2";
        let query = sqlx::query(query)
            .bind(seconds(now_ms))
            .bind(seconds(limit as u64));
        self.ids(query.fetch_all(&self.pool).await)
    }

    /// What other runs of this gateway left waiting.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::control) async fn orphaned_waits(
        &self,
        (gateway, run): (&str, &str),
    ) -> Result<Vec<String>, StateError> {
        let query = "SELECT id FROM approval WHERE standing IN ('pending', 'approved') AND \
                     manner = 'wait' AND gateway = $1 AND run <> $2 ORDER BY id";
        let query = sqlx::query(query).bind(gateway).bind(run);
        self.ids(query.fetch_all(&self.pool).await)
    }

    /// What this run waits for and anybody has changed since then.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::control) async fn changed_waits(
        &self,
        run: &str,
        since_ms: u64,
    ) -> Result<Vec<String>, StateError> {
        let query = "SELECT id FROM approval WHERE run = $1 AND changed_ms >= $2 AND \
                     revision > 0 AND manner = 'wait' ORDER BY id";
        let query = sqlx::query(query).bind(run).bind(seconds(since_ms));
        self.ids(query.fetch_all(&self.pool).await)
    }

    /// What anybody has changed since then, with its revision, the newest first and at most
    /// `limit`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::control) async fn changed_approvals(
        &self,
        since_ms: u64,
        limit: usize,
    ) -> Result<Vec<(String, u64)>, StateError> {
        let query = "SELECT id, revision FROM approval WHERE changed_ms >= $1 \
                     ORDER BY changed_ms DESC, id DESC LIMIT $2";
        let query = sqlx::query(query)
            .bind(seconds(since_ms))
            .bind(seconds(limit as u64));
        let rows = query.fetch_all(&self.pool).await;
        let changed = |row: &DbRow| Ok((row.try_get("id")?, number(row, "revision")?));
        let read = rows.and_then(|rows| rows.iter().map(changed).collect());
        read.map_err(|error| self.failed(&error))
    }

    fn ids(&self, rows: Result<Vec<DbRow>, sqlx::Error>) -> Result<Vec<String>, StateError> {
        let ids = rows.and_then(|rows| rows.iter().map(|row| row.try_get("id")).collect());
        ids.map_err(|error| self.failed(&error))
    }

    /// Holds that are open for this caller.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::control) async fn windows(
        &self,
        caller: &Caller,
        now_ms: u64,
    ) -> Result<Vec<Window>, StateError> {
        let query = "SELECT approval, hold, cause, until_ms FROM approval_window WHERE \
                     issuer = $1 AND subject = $2 AND tenant = $3 AND until_ms > $4 ORDER BY \
                     until_ms DESC";
        let read = async {
            let rows = sqlx::query(query)
                .bind(&caller.issuer)
                .bind(&caller.subject)
                .bind(&caller.tenant)
                .bind(seconds(now_ms))
                .fetch_all(&self.pool)
                .await?;
            let window = |row: &DbRow| {
                Ok(Window {
                    approval: row.try_get("approval")?,
                    hold: row.try_get("hold")?,
                    cause: row.try_get("cause")?,
                    until_ms: number(row, "until_ms")?,
                })
            };
            rows.iter().map(window).collect::<Result<_, _>>()
        };
        read.await.map_err(|error| self.failed(&error))
    }

    /// How many are pending.
    ///
    /// # Errors
    /// When they cannot be counted.
    pub(in crate::control) async fn pending_approvals(&self) -> Result<u64, StateError> {
        self.number("SELECT COUNT(*) AS it FROM approval WHERE standing = 'pending'")
            .await
    }

    /// The latest time that stands in any approval; 0 without one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(in crate::control) async fn approvals_changed_ms(&self) -> Result<u64, StateError> {
        self.number("SELECT COALESCE(MAX(changed_ms), 0) AS it FROM approval")
            .await
    }

    async fn number(&self, query: &'static str) -> Result<u64, StateError> {
        let row = sqlx::query(query).fetch_one(&self.pool).await;
        row.and_then(|row| number(&row, "it"))
            .map_err(|error| self.failed(&error))
    }

    /// Forgets those that were over before this, and windows that were.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn forget_approvals(
        &self,
        before_ms: u64,
    ) -> Result<(), StateError> {
        let forgotten = async {
            sqlx::query(
                "DELETE FROM approval WHERE changed_ms < $1 AND standing IN \
                 ('denied', 'expired', 'withdrawn', 'used')",
            )
            .bind(seconds(before_ms))
            .execute(&self.pool)
            .await?;
            sqlx::query("DELETE FROM approval_window WHERE until_ms < $1")
                .bind(seconds(before_ms))
                .execute(&self.pool)
                .await?;
            Ok(())
        };
        forgotten.await.map_err(|error| self.failed(&error))
    }
}

/// What is made of strings, numbers and lists can always be written as JSON.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn number(row: &DbRow, name: &str) -> Result<u64, sqlx::Error> {
    let value: i64 = row.try_get(name)?;
    u64::try_from(value).map_err(|_| sqlx::Error::Decode(format!("{name} below 0").into()))
}

fn approval(row: &DbRow) -> Result<Approval, sqlx::Error> {
    let unreadable = |what: &str| sqlx::Error::Decode(format!("an approval's {what}").into());
    fn parsed<T: serde::de::DeserializeOwned>(row: &DbRow, name: &str) -> Result<T, sqlx::Error> {
        let text: String = row.try_get(name)?;
        serde_json::from_str(&text)
            .map_err(|error| sqlx::Error::Decode(format!("an approval's {name}: {error}").into()))
    }
    let (manner, standing): (String, String) = (row.try_get("manner")?, row.try_get("standing")?);
    Ok(Approval {
        id: row.try_get("id")?,
        revision: number(row, "revision")?,
        digest: row.try_get("digest")?,
        caller: Caller {
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            tenant: row.try_get("tenant")?,
            key: row.try_get("key_id")?,
        },
        matter: parsed(row, "matter")?,
        holds: parsed(row, "holds")?,
        manner: Manner::from_word(&manner).ok_or_else(|| unreadable("manner"))?,
        created_ms: number(row, "created_ms")?,
        expires_ms: number(row, "expires_ms")?,
        lasts_ms: number(row, "lasts_ms")?,
        standing: Standing::from_word(&standing).ok_or_else(|| unreadable("standing"))?,
        history: parsed(row, "history")?,
    })
}
