-- Requests that people decide on. Times are milliseconds since 1970; `matter`, `holds` and `history`
-- are JSON. A change names the revision that it was made of, so that two cannot both be made.
CREATE TABLE approval (
    id         TEXT   PRIMARY KEY NOT NULL,
    revision   BIGINT NOT NULL,
    digest     TEXT   NOT NULL,
    issuer     TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    tenant     TEXT   NOT NULL,
    key_id     TEXT,
    matter     TEXT   NOT NULL,
    holds      TEXT   NOT NULL,
    manner     TEXT   NOT NULL,
    gateway    TEXT   NOT NULL,
    run        TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    lasts_ms   BIGINT NOT NULL,
    standing   TEXT   NOT NULL,
    changed_ms BIGINT NOT NULL,
    used_ms    BIGINT,
    history    TEXT   NOT NULL
);
CREATE INDEX approval_by_standing ON approval (standing, expires_ms);
CREATE INDEX approval_by_caller ON approval (issuer, subject, standing);
CREATE INDEX approval_by_digest ON approval (digest);
CREATE INDEX approval_by_run ON approval (run, changed_ms);

-- Holds that are open for somebody until a time, because an approval says so.
CREATE TABLE approval_window (
    approval TEXT   NOT NULL,
    issuer   TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    tenant   TEXT   NOT NULL,
    hold     TEXT   NOT NULL,
    cause    TEXT   NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (approval, hold, cause)
);
CREATE INDEX approval_window_by_caller ON approval_window (issuer, subject, until_ms);
