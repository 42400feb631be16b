-- Who is cut off, by the control API. Times are seconds since 1970.
CREATE TABLE revocation (
    id           TEXT   PRIMARY KEY NOT NULL,
    kind         TEXT   NOT NULL,
    issuer       TEXT   NOT NULL,
    value        TEXT   NOT NULL,
    until_unix   BIGINT,
    reason       TEXT   NOT NULL,
    revoked_by   TEXT   NOT NULL,
    created_unix BIGINT NOT NULL
);

-- What became of those that were lifted: who gave somebody access again, and when.
CREATE TABLE lifted (
    id           TEXT   PRIMARY KEY NOT NULL,
    kind         TEXT   NOT NULL,
    issuer       TEXT   NOT NULL,
    value        TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    revoked_by   TEXT   NOT NULL,
    created_unix BIGINT NOT NULL,
    lifted_by    TEXT   NOT NULL,
    lifted_unix  BIGINT NOT NULL
);
