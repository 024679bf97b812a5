-- Every key that was ever decided, in the order of the decisions.
CREATE TABLE charges (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    key         TEXT    NOT NULL UNIQUE,
    amount      INTEGER NOT NULL CHECK (amount >= 0),
    currency    TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('taken', 'declined', 'refunded')),
    reason      TEXT,
    made_at     INTEGER NOT NULL,
    -- Until then it is in progress.
    decides_at  INTEGER NOT NULL,
    refunded_at INTEGER,
    CHECK ((state = 'refunded') = (refunded_at IS NOT NULL)),
    CHECK ((state = 'declined') = (reason IS NOT NULL))
);

-- How often something was asked under a key: what gets lost is the first try of it.
CREATE TABLE arrivals (
    operation TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    times     INTEGER NOT NULL,
    PRIMARY KEY (operation, key)
) WITHOUT ROWID;
