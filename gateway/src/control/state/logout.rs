//! Logout tokens in the state: none is taken twice, by whichever gateway, after a restart neither.

use super::{State, StateError, seconds};
use crate::identity::Logout;

impl State {
    /// Keeps a logout token; false when it is kept already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn take_logout(
        &self,
        logout: &Logout,
    ) -> Result<bool, StateError> {
        let query = "INSERT INTO logout_token (issuer, token_id, expires_unix) \
                     VALUES ($1, $2, $3) ON CONFLICT (issuer, token_id) DO NOTHING";
        sqlx::query(query)
            .bind(&logout.issuer)
            .bind(&logout.token_id)
            .bind(seconds(logout.expires_unix))
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(|error| self.failed(&error))
    }

    /// Forgets one that came to nothing, so that it may be posted again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn forget_logout(
        &self,
        logout: &Logout,
    ) -> Result<(), StateError> {
        sqlx::query("DELETE FROM logout_token WHERE issuer = $1 AND token_id = $2")
            .bind(&logout.issuer)
            .bind(&logout.token_id)
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }

    /// Forgets those that would no longer be taken.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::control) async fn forget_logouts(&self, now_unix: u64) -> Result<(), StateError> {
        sqlx::query("DELETE FROM logout_token WHERE expires_unix < $1")
            .bind(seconds(now_unix))
            .execute(&self.pool)
            .await
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }
}
