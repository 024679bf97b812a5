-- What is told by webhook: written down with the decision that it tells of, sent until it is acknowledged.
CREATE TABLE events (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    -- As it is sent, JSON.
    body       TEXT    NOT NULL,
    -- How often it has still to be acknowledged; more than once, if it is one that is repeated.
    remaining  INTEGER NOT NULL CHECK (remaining >= 0),
    -- How often it was sent.
    deliveries INTEGER NOT NULL DEFAULT 0,
    -- How often in a row that failed.
    failures   INTEGER NOT NULL DEFAULT 0,
    -- Not sent before, in ms since 1970.
    due_at     INTEGER NOT NULL
);

CREATE INDEX events_due ON events (due_at) WHERE remaining > 0;
