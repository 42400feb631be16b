//! What must survive a restart, in one SQLite file (WAL, every commit synced).
//!
//! The queries keep to what SQLite and Postgres have in common, numbered parameters included; only
//! [`State::open`] knows which of them it is. Migrations are in the program. A file that cannot be
//! opened, migrated or read keeps the gateway from starting: without it nobody could tell who is
//! cut off, and that is not a reason to let them in.

mod keys;
mod scim;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlSafeStr, SqlitePool};

pub(super) use scim::KeepError;

use crate::cutoff::{REVOCATIONS_MAX, Revocation, Source, Target};

/// Who may read and write the file: the gateway's user alone.
const FILE_MODE: u32 = 0o600;
/// How long a statement waits for another program that has the file.
const BUSY_MAX: Duration = Duration::from_secs(2);
/// Connections: one may write, the other reads meanwhile.
const CONNECTIONS_MAX: u32 = 2;

/// Migrations in their order; a new one is a new line, and none ever changes.
const MIGRATIONS: [(i64, &str, &str); 4] = [
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
    (7, "scim", include_str!("../../migrations/0007_scim.sql")),
];

/// A row of an answer.
type DbRow = sqlx::sqlite::SqliteRow;

/// The gateway's state.
#[derive(Clone, Debug)]
pub(super) struct State {
    pool: SqlitePool,
    file: Arc<PathBuf>,
}

/// The state cannot be read or written; `Display` says which file and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub(super) struct StateError {
    file: PathBuf,
    reason: String,
}

// === impl State ===

impl State {
    /// Opens the file, or makes it, and brings it up to date.
    ///
    /// # Errors
    /// When it cannot be opened, is no database, or is of a newer gateway.
    pub(super) async fn open(file: &Path) -> Result<Self, StateError> {
        let failed = |reason: String| StateError {
            file: file.to_owned(),
            reason,
        };
        // Made by us, so that it is never readable by others, not even for a moment.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(FILE_MODE)
            .open(file)
            .map_err(|error| failed(format!("the state cannot be opened: {error}")))?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_MAX);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(BUSY_MAX)
            .connect_with(options)
            .await
            .map_err(|error| failed(format!("the state cannot be opened: {error}")))?;
        let migrations = MIGRATIONS.map(|(version, name, sql)| {
            let kind = MigrationType::Simple;
            Migration::new(version, name.into(), kind, sql.into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.to_vec())
            .run(&pool)
            .await
            .map_err(|error| failed(format!("the state cannot be brought up to date: {error}")))?;
        Ok(Self {
            pool,
            file: Arc::new(file.to_owned()),
        })
    }

    fn failed(&self, error: &sqlx::Error) -> StateError {
        StateError {
            file: self.file.as_ref().clone(),
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

    /// Forgets those whose time is over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn forget_ended(&self, now_unix: u64) -> Result<(), StateError> {
        sqlx::query("DELETE FROM revocation WHERE until_unix <= $1")
            .bind(seconds(now_unix))
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }
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
        let file = folder.path().join("state.db");
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
            state.forget_ended(9).await.unwrap();
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
