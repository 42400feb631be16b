-- What receivers are told, one row for each receiver and event. Times are milliseconds since 1970.
CREATE TABLE notification (
    id         TEXT   PRIMARY KEY NOT NULL,
    receiver   TEXT   NOT NULL,
    standing   TEXT   NOT NULL,
    notice     TEXT   NOT NULL,
    told_ms    BIGINT NOT NULL,
    attempts   BIGINT NOT NULL,
    next_ms    BIGINT NOT NULL,
    ended_ms   BIGINT,
    last_error TEXT   NOT NULL
);

CREATE INDEX notification_due ON notification (receiver, standing, next_ms);
