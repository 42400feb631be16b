-- Logout tokens that were taken, until they would no longer be. Times are seconds since 1970.
CREATE TABLE logout_token (
    issuer       TEXT   NOT NULL,
    token_id     TEXT   NOT NULL,
    expires_unix BIGINT NOT NULL,
    PRIMARY KEY (issuer, token_id)
);
