-- People as a provisioning service tells of them (SCIM 2.0). Times are seconds since 1970.
CREATE TABLE scim_user (
    id            TEXT   PRIMARY KEY NOT NULL,
    user_name     TEXT   NOT NULL,
    -- In lower case: two people are never told apart by case alone.
    user_name_key TEXT   NOT NULL UNIQUE,
    external_id   TEXT,
    active        BIGINT NOT NULL,
    -- All attributes but the id, as JSON.
    attributes    TEXT   NOT NULL,
    created_unix  BIGINT NOT NULL,
    modified_unix BIGINT NOT NULL
);
CREATE INDEX scim_user_external_id ON scim_user (external_id);
