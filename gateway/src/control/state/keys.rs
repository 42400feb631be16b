//! Issued keys in the state.

use std::sync::Arc;

use sqlx::Row;

use super::{DbRow, State, StateError, seconds};
use crate::control::keys::{KEYS_MAX, KeyEntry};
use crate::identity::{IssuedKey, KeyHash};

impl State {
    /// Every key, the oldest first.
    ///
    /// # Errors
    /// When they cannot be read, or one of them makes no sense.
    pub(in crate::control) async fn keys(&self) -> Result<Vec<KeyEntry>, StateError> {
        let query = "SELECT id, hash, hint, name, issuer, subject, tenant, group_list, \
                     created_unix, created_by, expires_unix, replaces, last_used_unix \
                     FROM issued_key ORDER BY id LIMIT $1";
        let rows = sqlx::query(query)
            .bind(seconds(KEYS_MAX as u64))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(&error))?;
        rows.iter()
            .map(|row| entry(row).map_err(|error| self.failed(&error)))
            .collect()
    }

    /// Keeps a new key, and with it the earlier end of the one that it replaces.
    ///
    /// # Errors
    /// When it cannot be written; then nothing has changed.
    pub(in crate::control) async fn keep_key(
        &self,
        entry: &KeyEntry,
        replaced: Option<&KeyEntry>,
    ) -> Result<(), StateError> {
        let groups = serde_json::to_string(&entry.key.groups).unwrap_or_default();
        let query = "INSERT INTO issued_key (id, hash, hint, name, issuer, subject, tenant, \
                     group_list, created_unix, created_by, expires_unix, replaces, \
                     last_used_unix) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0)";
        let kept = async {
            let mut transaction = self.pool.begin().await?;
            sqlx::query(query)
                .bind(&entry.key.id)
                .bind(blake3::Hash::from_bytes(entry.key.hash).to_hex().as_str())
                .bind(&entry.hint)
                .bind(&entry.name)
                .bind(&entry.key.issuer)
                .bind(&entry.key.subject)
                .bind(&entry.key.tenant)
                .bind(groups)
                .bind(seconds(entry.created_unix))
                .bind(&entry.created_by)
                .bind(seconds(entry.key.expires_unix))
                .bind(&entry.replaces)
                .execute(&mut *transaction)
                .await?;
            if let Some(replaced) = replaced {
                sqlx::query("UPDATE issued_key SET expires_unix = $1 WHERE id = $2")
                    .bind(seconds(replaced.key.expires_unix))
                    .bind(&replaced.key.id)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        kept.await.map_err(|error| self.failed(&error))
    }

    /// Notes when keys were last used, all or none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn keys_used(
        &self,
        used: &[(String, u64)],
    ) -> Result<(), StateError> {
        let noted = async {
            let mut transaction = self.pool.begin().await?;
            for (id, at) in used {
                sqlx::query("UPDATE issued_key SET last_used_unix = $1 WHERE id = $2")
                    .bind(seconds(*at))
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        };
        noted.await.map_err(|error| self.failed(&error))
    }

    /// Forgets keys that ended before this.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn forget_keys(&self, before_unix: u64) -> Result<(), StateError> {
        sqlx::query("DELETE FROM issued_key WHERE expires_unix < $1")
            .bind(seconds(before_unix))
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }
}

fn entry(row: &DbRow) -> Result<KeyEntry, sqlx::Error> {
    let unreadable = |what: &str| sqlx::Error::Decode(format!("a key's {what}").into());
    let hash: String = row.try_get("hash")?;
    let hash: KeyHash = *blake3::Hash::from_hex(hash)
        .map_err(|_| unreadable("hash"))?
        .as_bytes();
    let groups: String = row.try_get("group_list")?;
    let groups: Vec<String> = serde_json::from_str(&groups).map_err(|_| unreadable("groups"))?;
    let time = |name: &str| -> Result<u64, sqlx::Error> {
        let seconds: i64 = row.try_get(name)?;
        u64::try_from(seconds).map_err(|_| unreadable(name))
    };
    let last_used_unix = time("last_used_unix")?;
    let key = IssuedKey::new(
        row.try_get("id")?,
        row.try_get("issuer")?,
        row.try_get("subject")?,
        row.try_get("tenant")?,
        groups,
        time("expires_unix")?,
        hash,
        last_used_unix,
    );
    Ok(KeyEntry {
        key: Arc::new(key),
        hint: row.try_get("hint")?,
        name: row.try_get("name")?,
        created_unix: time("created_unix")?,
        created_by: row.try_get("created_by")?,
        replaces: row.try_get("replaces")?,
        noted_unix: last_used_unix,
    })
}
