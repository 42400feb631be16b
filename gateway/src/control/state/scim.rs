//! People of a provisioning service in the state.

use serde_json::{Map, Value};
use sqlx::Row as _;

use super::{DbRow, State, StateError, seconds};
use crate::control::scim::{Filter, User};

const COLUMNS: &str = "id, attributes, created_unix, modified_unix";

/// Why a person was not kept.
#[derive(Debug, thiserror::Error)]
pub(in crate::control) enum KeepError {
    /// Somebody else has the name.
    #[error("somebody else has this userName")]
    Taken,
    #[error(transparent)]
    State(#[from] StateError),
}

impl State {
    /// The one with this id.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::control) async fn scim_user(&self, id: &str) -> Result<Option<User>, StateError> {
        let (mut found, _) = self.scim_users(&Filter::Id(id.to_owned()), 0, 1).await?;
        Ok(found.pop())
    }

    /// At most `limit` of those that `filter` lets through, behind the first `skip`, in the order
    /// of their ids; and how many there are in all.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(in crate::control) async fn scim_users(
        &self,
        filter: &Filter,
        skip: u64,
        limit: u64,
    ) -> Result<(Vec<User>, u64), StateError> {
        // The column is one of ours; what was asked for is bound.
        let (condition, value) = match filter {
            Filter::All => ("$1 = ''", String::new()),
            Filter::Id(id) => ("id = $1", id.clone()),
            Filter::UserName(name) => ("user_name_key = $1", name.to_lowercase()),
            Filter::ExternalId(id) => ("external_id = $1", id.clone()),
        };
        let page = format!(
            "SELECT {COLUMNS} FROM scim_user WHERE {condition} ORDER BY id LIMIT $2 OFFSET $3"
        );
        let count = format!("SELECT COUNT(*) AS found FROM scim_user WHERE {condition}");
        let found = async {
            let rows = sqlx::query(sqlx::AssertSqlSafe(page))
                .bind(&value)
                .bind(seconds(limit))
                .bind(seconds(skip))
                .fetch_all(&self.pool)
                .await?;
            let total = sqlx::query(sqlx::AssertSqlSafe(count))
                .bind(&value)
                .fetch_one(&self.pool)
                .await?;
            let total: i64 = total.try_get("found")?;
            let users: Result<Vec<User>, sqlx::Error> = rows.iter().map(user).collect();
            Ok((users?, u64::try_from(total).unwrap_or_default()))
        };
        found
            .await
            .map_err(|error: sqlx::Error| self.failed(&error))
    }

    /// Keeps a new person.
    ///
    /// # Errors
    /// When the name is taken, or they cannot be written.
    pub(in crate::control) async fn add_scim_user(&self, user: &User) -> Result<(), KeepError> {
        let query = "INSERT INTO scim_user (id, user_name, user_name_key, external_id, active, \
                     attributes, created_unix, modified_unix) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let added = sqlx::query(query)
            .bind(&user.id)
            .bind(user.user_name())
            .bind(user.user_name().to_lowercase())
            .bind(user.external_id())
            .bind(i64::from(user.is_active()))
            .bind(Value::Object(user.attributes.clone()).to_string())
            .bind(seconds(user.created_unix))
            .bind(seconds(user.modified_unix))
            .execute(&self.pool)
            .await;
        added.map(|_| ()).map_err(|error| self.not_kept(&error))
    }

    /// Keeps what has changed of a person; false when there is none.
    ///
    /// # Errors
    /// When the name is taken, or they cannot be written.
    pub(in crate::control) async fn keep_scim_user(&self, user: &User) -> Result<bool, KeepError> {
        let query = "UPDATE scim_user SET user_name = $1, user_name_key = $2, external_id = $3, \
                     active = $4, attributes = $5, modified_unix = $6 WHERE id = $7";
        let kept = sqlx::query(query)
            .bind(user.user_name())
            .bind(user.user_name().to_lowercase())
            .bind(user.external_id())
            .bind(i64::from(user.is_active()))
            .bind(Value::Object(user.attributes.clone()).to_string())
            .bind(seconds(user.modified_unix))
            .bind(&user.id)
            .execute(&self.pool)
            .await;
        kept.map(|done| done.rows_affected() > 0)
            .map_err(|error| self.not_kept(&error))
    }

    /// Forgets a person.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn forget_scim_user(&self, id: &str) -> Result<(), StateError> {
        sqlx::query("DELETE FROM scim_user WHERE id = $1")
            .bind(id)
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }

    fn not_kept(&self, error: &sqlx::Error) -> KeepError {
        match error.as_database_error() {
            Some(database) if database.is_unique_violation() => KeepError::Taken,
            _ => self.failed(error).into(),
        }
    }
}

fn user(row: &DbRow) -> Result<User, sqlx::Error> {
    let unreadable = |what: &str| sqlx::Error::Decode(format!("a person's {what}").into());
    let attributes: String = row.try_get("attributes")?;
    let attributes: Map<String, Value> =
        serde_json::from_str(&attributes).map_err(|_| unreadable("attributes"))?;
    let time = |name: &str| -> Result<u64, sqlx::Error> {
        let seconds: i64 = row.try_get(name)?;
        u64::try_from(seconds).map_err(|_| unreadable(name))
    };
    Ok(User {
        id: row.try_get("id")?,
        attributes,
        created_unix: time("created_unix")?,
        modified_unix: time("modified_unix")?,
    })
}
