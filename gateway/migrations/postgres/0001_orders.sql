-- What confirmed reservations became, and how far each shard's order feed is stored here.
-- One transaction stores entries and moves the position, so neither can be without the other.

CREATE TABLE orders (
    -- The reservation's id, 32 hexadecimal digits. Primary key: a reservation can only ever be one order.
    reservation text COLLATE "C" NOT NULL PRIMARY KEY CHECK (length(reservation) = 32),
    -- Where in the order feed it came from.
    shard integer NOT NULL CHECK (shard >= 0),
    position bigint NOT NULL CHECK (position > 0),
    -- Decimal text: product ids use all 64 bits, SQL's integers only 63.
    product text COLLATE "C" NOT NULL CHECK (length(product) BETWEEN 1 AND 20),
    -- The user's id, 32 hexadecimal digits.
    user_id text COLLATE "C" NOT NULL CHECK (length(user_id) = 32),
    quantity bigint NOT NULL CHECK (quantity > 0),
    -- Money in the currency's minor unit.
    price_minor bigint NOT NULL CHECK (price_minor >= 0),
    total_minor bigint NOT NULL GENERATED ALWAYS AS (quantity * price_minor) STORED,
    currency text NOT NULL CHECK (length(currency) = 3),
    state text NOT NULL CHECK (state IN ('confirmed', 'refund_due', 'refunded')),
    -- A late payment took the units again.
    late boolean NOT NULL,
    -- UTC milliseconds of cluster time.
    created_at_ms bigint NOT NULL,
    changed_at_ms bigint NOT NULL,
    UNIQUE (shard, position)
);

CREATE INDEX orders_by_user ON orders (user_id);
CREATE INDEX orders_by_product ON orders (product);
CREATE INDEX orders_refund_due ON orders (changed_at_ms) WHERE state = 'refund_due';

-- Whoever holds this row's lock (FOR UPDATE) writes the shard's orders.
CREATE TABLE feed_positions (
    shard integer NOT NULL PRIMARY KEY CHECK (shard >= 0),
    position bigint NOT NULL CHECK (position >= 0)
);
