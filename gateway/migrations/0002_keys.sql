-- Keys that this gateway has issued: by their hash, never as they are. Times are seconds since 1970.
CREATE TABLE issued_key (
    id             TEXT   PRIMARY KEY NOT NULL,
    hash           TEXT   NOT NULL UNIQUE,
    hint           TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    issuer         TEXT   NOT NULL,
    subject        TEXT   NOT NULL,
    tenant         TEXT   NOT NULL,
    group_list     TEXT   NOT NULL,
    created_unix   BIGINT NOT NULL,
    created_by     TEXT   NOT NULL,
    expires_unix   BIGINT NOT NULL,
    replaces       TEXT,
    last_used_unix BIGINT NOT NULL
);
