//! What must survive a restart: in one SQLite file (WAL, every commit synced), or in a Postgres
//! database that several gateways share.
//!
//! The queries keep to what both have in common, numbered parameters included, and run through
//! sqlx's `Any`; only opening knows which of them it is. Migrations are in the program. A state
//! that cannot be opened, migrated or read keeps the gateway from starting: without it nobody could
//! tell who is cut off, and that is not a reason to let them in.

pub(super) mod approvals;
mod keys;
mod logout;
mod outbox;
mod scim;

use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions, AnyRow};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row, SqlSafeStr};

use crate::config::{PostgresPlace, StatePlace};
pub(super) use scim::KeepError;

use crate::cutoff::{REVOCATIONS_MAX, Revocation, Source, Target};

pub(in crate::control) use outbox::{Delivery, DeliveryFilter, Standing, TakeTimes};

/// Who may read and write the file: the gateway's user alone.
const FILE_MODE: u32 = 0o600;
/// How long a statement waits for another program that has the file, as SQLite is told it.
const SQLITE_BUSY: &str = "PRAGMA busy_timeout = 2000";
/// How long a connection may take: to Postgres, or to a file on a disk that is busy.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Connections: one may write, the others read meanwhile.
const CONNECTIONS_MAX: u32 = 2;
/// The channel on which Postgres tells of changes.
const CHANNEL: &str = "penstock";

/// Migrations in their order; a new one is a new line, and none ever changes.
const MIGRATIONS: [(i64, &str, &str); 7] = [
    (
        1,
        "revocations",
        include_str!("../../migrations/0001_revocations.sql"),
    ),
    (2, "keys", include_str!("../../migrations/0002_keys.sql")),
    (
        3,
        "logins",
        include_str!("../../migrations/0003_logins.sql"),
    ),
    (
        4,
        "approvals",
        include_str!("../../migrations/0004_approvals.sql"),
    ),
    (
        6,
        "notifications",
        include_str!("../../migrations/0006_notifications.sql"),
    ),
    (7, "scim", include_str!("../../migrations/0007_scim.sql")),
    (
        8,
        "logout tokens",
        include_str!("../../migrations/0008_logout_tokens.sql"),
    ),
];

/// What Postgres has besides.
const POSTGRES_MIGRATIONS: [(i64, &str, &str); 3] = [
    (
        9,
        "tell",
        include_str!("../../migrations/0009_tell.postgres.sql"),
    ),
    (
        10,
        "tell approvals",
        include_str!("../../migrations/0010_tell_approvals.postgres.sql"),
    ),
    (
        11,
        "tell new approvals",
        include_str!("../../migrations/0011_tell_new_approvals.postgres.sql"),
    ),
];

/// A row of an answer.
type DbRow = AnyRow;

/// The gateway's state.
#[derive(Clone, Debug)]
pub(super) struct State {
    pool: AnyPool,
    place: Arc<str>,
    /// How to listen for changes; only where others may make them.
    shared: Option<Arc<PgConnectOptions>>,
}

/// The state cannot be read or written; `Display` says which and why.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub(super) struct StateError {
    place: Arc<str>,
    reason: String,
}

// === impl State ===

impl State {
    /// Opens what is configured.
    ///
    /// # Errors
    /// When it cannot be opened, is no database, or is of a newer gateway.
    pub(super) async fn open(place: impl Into<StatePlace>) -> Result<Self, StateError> {
        sqlx::any::install_default_drivers();
        let place = place.into();
        let opened = match &place {
            StatePlace::Sqlite(file) => Self::open_file(file).await,
            StatePlace::Postgres(server) => Self::open_server(server).await,
        };
        opened.map_err(|reason| StateError {
            place: place.to_string().into(),
            reason: format!("the state cannot be opened: {reason}"),
        })
    }

    /// Opens the file, or makes it, and brings it up to date.
    async fn open_file(file: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let file = std::path::absolute(file).map_err(|error| failed(&error))?;
        // Made by us, so that it is never readable by others, not even for a moment.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .open(&file)
            .map_err(|error| failed(&error))?;
        let options: AnyConnectOptions = file_url(&file).parse().map_err(|e| failed(&e))?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_MAX)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // The wait first: the others may need it.
                    for setting in [
                        SQLITE_BUSY,
                        "PRAGMA journal_mode = WAL",
                        "PRAGMA synchronous = FULL",
                        "PRAGMA foreign_keys = ON",
                    ] {
                        connection.execute(setting).await?;
                    }
                    Ok(())
                })
            })
            .after_release(|connection, _| {
                Box::pin(async move {
                    // First what is still to be rolled back. Where a commit failed for want of room,
                    // SQLite has rolled back by itself, a rollback fails, and the driver would take
                    // the next transaction for one inside the last: its failure would keep the file
                    // locked for ever. Such a connection is not used again.
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options)
            .await
            .map_err(|error| failed(&error))?;
        Self::migrated(pool, file.display().to_string().into(), &[], None).await
    }

    /// Connects to the server and brings the database up to date.
    async fn open_server(server: &PostgresPlace) -> Result<Self, String> {
        let url = server.url_with_password()?;
        let failed = |error: sqlx::Error| error.to_string();
        let listening = PgConnectOptions::from_url(&url).map_err(failed)?;
        let options = AnyConnectOptions::from_url(&url).map_err(failed)?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_MAX)
            .connect_with(options)
            .await
            .map_err(failed)?;
        let place = server.to_string().into();
        let shared = Some(Arc::new(listening));
        Self::migrated(pool, place, &POSTGRES_MIGRATIONS, shared).await
    }

    async fn migrated(
        pool: AnyPool,
        place: Arc<str>,
        more: &[(i64, &'static str, &'static str)],
        shared: Option<Arc<PgConnectOptions>>,
    ) -> Result<Self, String> {
        let migrations = MIGRATIONS.iter().chain(more).map(|&(version, name, sql)| {
            let kind = MigrationType::Simple;
            Migration::new(version, name.into(), kind, sql.into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.collect())
            .run(&pool)
            .await
            .map_err(|error| format!("it cannot be brought up to date: {error}"))?;
        Ok(Self {
            pool,
            place,
            shared,
        })
    }

    /// Where it is, without a password.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether other gateways may change it too.
    pub(super) fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Listens for changes from now on; `None` where nobody else makes any.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(super) async fn listener(&self) -> Result<Option<PgListener>, StateError> {
        let Some(options) = &self.shared else {
            return Ok(None);
        };
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_MAX)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.as_ref().clone());
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.ignore_pool_close_event(true);
            // A lost connection is ours to notice: what was missed has to be read.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let listener = listening.await.map_err(|error| self.failed(&error))?;
        Ok(Some(listener))
    }

    fn failed(&self, error: &sqlx::Error) -> StateError {
        StateError {
            place: self.place.clone(),
            reason: error.to_string(),
        }
    }

    /// Every revocation that was made through the API and not lifted.
    ///
    /// # Errors
    /// When they cannot be read, or one of them makes no sense.
    pub(super) async fn revocations(&self) -> Result<Vec<Arc<Revocation>>, StateError> {
        let query = "SELECT id, kind, issuer, value, until_unix, reason, revoked_by, created_unix, \
                     issued_up_to_unix FROM revocation ORDER BY id LIMIT $1";
        let rows = sqlx::query(query)
            .bind(seconds(REVOCATIONS_MAX as u64))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        rows.iter()
            .map(|row| revocation(row).map_err(|error| self.failed(&error)))
            .collect()
    }

    /// Keeps one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn keep_revocation(&self, revocation: &Revocation) -> Result<(), StateError> {
        let query = "INSERT INTO revocation \
                     (id, kind, issuer, value, until_unix, reason, revoked_by, created_unix, \
                     issued_up_to_unix) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        sqlx::query(query)
            .bind(&revocation.id)
            .bind(revocation.target.kind())
            .bind(revocation.target.issuer())
            .bind(revocation.target.value())
            .bind(revocation.until.map(seconds))
            .bind(&revocation.reason)
            .bind(&revocation.by)
            .bind(seconds(revocation.created.unwrap_or_default()))
            .bind(revocation.target.issued_up_to().map(seconds))
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }

    /// Takes one away, and keeps who did.
    ///
    /// # Errors
    /// When it cannot be written; then it is still there.
    pub(super) async fn lift(&self, id: &str, by: &str, now_unix: u64) -> Result<(), StateError> {
        let kept = "INSERT INTO lifted (id, kind, issuer, value, reason, revoked_by, \
                    created_unix, lifted_by, lifted_unix) SELECT id, kind, issuer, value, reason, \
                    revoked_by, created_unix, $1, $2 FROM revocation WHERE id = $3";
        let lifted = async {
            let mut transaction = self.pool.begin().await?;
            sqlx::query(kept)
                .bind(by)
                .bind(seconds(now_unix))
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("DELETE FROM revocation WHERE id = $1")
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await
        };
        lifted.await.map_err(|error| self.failed(&error))
    }

    /// Forgets these, all or none: their time is over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn forget_ended(&self, ids: &[String]) -> Result<(), StateError> {
        let forgotten = async {
            let mut transaction = self.pool.begin().await?;
            for id in ids {
                // One for good is never over, whoever says so.
                sqlx::query("DELETE FROM revocation WHERE id = $1 AND until_unix IS NOT NULL")
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        forgotten.await.map_err(|error| self.failed(&error))
    }
}

/// SQLite's URL of a file, whatever signs its path has.
fn file_url(file: &Path) -> String {
    use std::fmt::Write as _;
    let mut url = "sqlite://".to_owned();
    for &byte in file.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            url.push(byte.into());
        } else {
            // Writing to a text cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

/// A number as databases keep it.
fn seconds(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn revocation(row: &DbRow) -> Result<Arc<Revocation>, sqlx::Error> {
    let kind: String = row.try_get("kind")?;
    let up_to: Option<i64> = row.try_get("issued_up_to_unix")?;
    let up_to = up_to.map(|seconds| u64::try_from(seconds).unwrap_or_default());
    let (issuer, value) = (row.try_get("issuer")?, row.try_get("value")?);
    let target = Target::from_parts(&kind, issuer, value, up_to)
        .ok_or_else(|| sqlx::Error::Decode(format!("a revocation of kind {kind:?}").into()))?;
    let until: Option<i64> = row.try_get("until_unix")?;
    let created: i64 = row.try_get("created_unix")?;
    Ok(Arc::new(Revocation {
        id: row.try_get("id")?,
        target,
        until: until.map(|until| u64::try_from(until).unwrap_or_default()),
        reason: row.try_get("reason")?,
        by: row.try_get("revoked_by")?,
        source: Source::Api,
        created: u64::try_from(created).ok(),
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(future)
    }

    fn revocation(id: &str, until: Option<u64>) -> Revocation {
        Revocation {
            id: id.to_owned(),
            target: Target::Subject {
                issuer: "https://corp.example".to_owned(),
                subject: "ada".to_owned(),
            },
            until,
            reason: "left".to_owned(),
            by: "uid:0".to_owned(),
            source: Source::Api,
            created: Some(7),
        }
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        // Signs that a URL would take for its own.
        let file = folder.path().join("st?te #1%20.db");
        let (first, second) = (revocation("a", Some(9)), revocation("b", None));
        run(async {
            let state = State::open(&file).await.unwrap();
            state.keep_revocation(&first).await.unwrap();
            state.keep_revocation(&second).await.unwrap();
            assert!(
                state.keep_revocation(&second).await.is_err(),
                "ids are unique"
            );
        });
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        run(async {
            let state = State::open(&file).await.unwrap();
            let found = state.revocations().await.unwrap();
            assert_eq!(found, [Arc::new(first), Arc::new(second)]);
            let both = ["a".to_owned(), "b".to_owned()];
            state.forget_ended(&both).await.unwrap();
            assert_eq!(
                state.revocations().await.unwrap().len(),
                1,
                "one is for good"
            );
            state.lift("b", "uid:1", 9).await.unwrap();
            assert!(state.revocations().await.unwrap().is_empty());
        });
    }

    #[test]
    fn what_is_no_state_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        std::fs::write(
            &file,
            "not a database, and long enough to be seen as such".repeat(99),
        )
        .unwrap();
        let error = run(State::open(&file)).unwrap_err().to_string();
        assert!(error.contains("state.db: the state cannot"), "{error}");
        let nowhere = folder.path().join("none").join("state.db");
        assert!(run(State::open(&nowhere)).is_err());
    }
}
