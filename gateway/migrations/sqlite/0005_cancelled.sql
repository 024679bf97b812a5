-- Sales that were undone. One that was paid for is refund_due, then refunded, with its refund in refunds; one that nobody was known to
-- pay for is cancelled, which is its end.

-- UTC milliseconds of cluster time; none while it is not cancelled.
ALTER TABLE orders ADD COLUMN cancelled_at_ms INTEGER;
ALTER TABLE orders ADD COLUMN cancel_reason TEXT CHECK (cancel_reason IN ('customer', 'shop', 'fraud', 'duplicate'));
-- Whether its units went back on sale; else they were written off.
ALTER TABLE orders ADD COLUMN stock_returned INTEGER CHECK (stock_returned IN (0, 1)) CHECK (
    (cancelled_at_ms IS NULL) = (cancel_reason IS NULL) AND (cancelled_at_ms IS NULL) = (stock_returned IS NULL)
    AND NOT (state = 'confirmed' AND cancelled_at_ms IS NOT NULL)
    AND NOT (state = 'cancelled' AND cancelled_at_ms IS NULL)
);

-- SQLite alters no constraint. Making the table anew would lose triggers and indexes of the shop's own; a constraint that admits more
-- changes nothing of what is stored, and is changed in the schema's text, as SQLite's page on ALTER TABLE has it.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, '(''confirmed'', ''refund_due'', ''refunded'')', '(''confirmed'', ''refund_due'', ''refunded'', ''cancelled'')')
WHERE type = 'table' AND name = 'orders';
PRAGMA writable_schema = RESET;
