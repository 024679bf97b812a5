-- Feed entries that this database has refused as orders, each with what it said. They were parked in the transaction that moved
-- the feed's position past them: an entry is an order or it is here. `doorbuster orders retry` puts it back.

CREATE TABLE parked_orders (
    -- Where in the order feed it came from.
    shard INTEGER NOT NULL CHECK (shard >= 0),
    position INTEGER NOT NULL CHECK (position > 0),
    -- The reservation's id, 32 hexadecimal digits.
    reservation TEXT NOT NULL,
    -- The whole entry as JSON: whatever is in it, also what no column of orders takes.
    entry TEXT NOT NULL,
    -- What the database said, last.
    error TEXT NOT NULL,
    -- How often it was refused.
    tries INTEGER NOT NULL DEFAULT 1,
    -- UTC milliseconds of the database's clock.
    parked_at_ms INTEGER NOT NULL,
    PRIMARY KEY (shard, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX parked_orders_by_reservation ON parked_orders (reservation);
