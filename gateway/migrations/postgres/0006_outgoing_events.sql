-- What other systems are still to be told, shard by shard in the order of its feed. A shard's entries are written here in the
-- transaction that moves its position in feed_positions, as soon as it has a row in event_positions: so none is missing, whichever
-- gateway stores it.

CREATE TABLE event_positions (
    shard integer NOT NULL PRIMARY KEY CHECK (shard >= 0),
    -- Up to here the shard's feed is published, or came before publishing began.
    position bigint NOT NULL CHECK (position >= 0),
    -- Who publishes, and until when nobody else begins to: UTC milliseconds of the database's clock.
    publisher text NOT NULL DEFAULT '',
    claimed_until_ms bigint NOT NULL DEFAULT 0
);

CREATE TABLE outgoing_events (
    shard integer NOT NULL REFERENCES event_positions (shard) ON DELETE CASCADE,
    position bigint NOT NULL CHECK (position > 0),
    -- The whole feed entry, as in parked_orders.
    entry text NOT NULL,
    -- UTC milliseconds of the database's clock.
    stored_at_ms bigint NOT NULL,
    PRIMARY KEY (shard, position)
);
