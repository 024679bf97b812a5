-- Money, from the same feed entries and in the same transactions as the orders. The keys make a second payment and a second refund of
-- a reservation impossible, and a payment of another amount than the order's, and a refund of another amount than the payment's.

CREATE UNIQUE INDEX orders_amount ON orders (reservation, total_minor, currency);

-- One row for every reservation that was paid, its order among them whatever became of it.
CREATE TABLE payments (
    reservation TEXT NOT NULL PRIMARY KEY,
    -- Money in the currency's minor unit: all units of the order.
    amount_minor INTEGER NOT NULL CHECK (amount_minor >= 0),
    currency TEXT NOT NULL CHECK (length(currency) = 3),
    -- The money came when the reservation was gone.
    late INTEGER NOT NULL CHECK (late IN (0, 1)),
    -- UTC milliseconds of cluster time: when the cluster was told.
    recorded_at_ms INTEGER NOT NULL,
    UNIQUE (reservation, amount_minor, currency),
    FOREIGN KEY (reservation, amount_minor, currency) REFERENCES orders (reservation, total_minor, currency)
) STRICT, WITHOUT ROWID;

-- One row for every payment that goes back, or went back: all of it.
CREATE TABLE refunds (
    reservation TEXT NOT NULL PRIMARY KEY,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    -- UTC milliseconds of cluster time. Without a refunded_at_ms it is due.
    due_at_ms INTEGER NOT NULL,
    refunded_at_ms INTEGER CHECK (refunded_at_ms >= due_at_ms),
    FOREIGN KEY (reservation, amount_minor, currency) REFERENCES payments (reservation, amount_minor, currency)
) STRICT, WITHOUT ROWID;

CREATE INDEX refunds_due ON refunds (due_at_ms) WHERE refunded_at_ms IS NULL;

-- What is in the database already.
INSERT INTO payments (reservation, amount_minor, currency, late, recorded_at_ms)
SELECT reservation, total_minor, currency, late, created_at_ms FROM orders;

INSERT INTO refunds (reservation, amount_minor, currency, due_at_ms, refunded_at_ms)
SELECT reservation, total_minor, currency, created_at_ms, CASE state WHEN 'refunded' THEN changed_at_ms END
FROM orders WHERE state IN ('refund_due', 'refunded');
