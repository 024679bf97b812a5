-- What confirmed reservations became, and how far each shard's order feed is stored here.
-- One transaction stores entries and moves the position, so neither can be without the other.

CREATE TABLE orders (
    -- The reservation's id, 32 hexadecimal digits. Primary key: a reservation can only ever be one order.
    reservation TEXT NOT NULL PRIMARY KEY CHECK (length(reservation) = 32),
    -- Where in the order feed it came from.
    shard INTEGER NOT NULL CHECK (shard >= 0),
    position INTEGER NOT NULL CHECK (position > 0),
    -- Decimal text: product ids use all 64 bits, SQL's integers only 63.
    product TEXT NOT NULL CHECK (length(product) BETWEEN 1 AND 20),
    -- The user's id, 32 hexadecimal digits.
    user_id TEXT NOT NULL CHECK (length(user_id) = 32),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    -- Money in the currency's minor unit.
    price_minor INTEGER NOT NULL CHECK (price_minor >= 0),
    total_minor INTEGER NOT NULL GENERATED ALWAYS AS (quantity * price_minor) STORED,
    currency TEXT NOT NULL CHECK (length(currency) = 3),
    state TEXT NOT NULL CHECK (state IN ('confirmed', 'refund_due', 'refunded')),
    -- A late payment took the units again.
    late INTEGER NOT NULL CHECK (late IN (0, 1)),
    -- UTC milliseconds of cluster time.
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    UNIQUE (shard, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX orders_by_user ON orders (user_id);
CREATE INDEX orders_by_product ON orders (product);
CREATE INDEX orders_refund_due ON orders (changed_at_ms) WHERE state = 'refund_due';

-- Whoever holds this row's lock writes the shard's orders. Here SQLite's one write lock stands for it.
CREATE TABLE feed_positions (
    shard INTEGER NOT NULL PRIMARY KEY CHECK (shard >= 0),
    position INTEGER NOT NULL CHECK (position >= 0)
) STRICT;
