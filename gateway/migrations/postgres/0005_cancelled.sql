-- Sales that were undone. One that was paid for is refund_due, then refunded, with its refund in refunds; one that nobody was known to
-- pay for is cancelled, which is its end.

ALTER TABLE orders DROP CONSTRAINT orders_state_check;
ALTER TABLE orders ADD CONSTRAINT orders_state_check CHECK (state IN ('confirmed', 'refund_due', 'refunded', 'cancelled'));

ALTER TABLE orders
    -- UTC milliseconds of cluster time; none while it is not cancelled.
    ADD COLUMN cancelled_at_ms bigint,
    ADD COLUMN cancel_reason text CHECK (cancel_reason IN ('customer', 'shop', 'fraud', 'duplicate')),
    -- Whether its units went back on sale; else they were written off.
    ADD COLUMN stock_returned boolean,
    ADD CONSTRAINT orders_cancelled_check CHECK (
        num_nulls(cancelled_at_ms, cancel_reason, stock_returned) IN (0, 3)
        AND NOT (state = 'confirmed' AND cancelled_at_ms IS NOT NULL)
        AND NOT (state = 'cancelled' AND cancelled_at_ms IS NULL)
    );
