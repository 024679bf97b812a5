-- What payment providers told by webhook: each event once, written down before its sender hears 200.

CREATE TABLE webhook_events (
    -- As in the route's path.
    provider text COLLATE "C" NOT NULL CHECK (length(provider) BETWEEN 1 AND 32),
    -- The provider's id of it. Primary key: an event can only ever be here once.
    event text COLLATE "C" NOT NULL CHECK (length(event) BETWEEN 1 AND 255),
    type text NOT NULL CHECK (length(type) BETWEEN 1 AND 255),
    -- The idempotency key of the payment that it is about; none where it is about something else.
    payment text CHECK (length(payment) BETWEEN 1 AND 255),
    -- UTC milliseconds, by the gateway's clock.
    received_at_ms bigint NOT NULL,
    -- When the payment had been handed to whoever carries it on, or there was nothing to do. Without it, the event's next
    -- delivery does so.
    processed_at_ms bigint,
    PRIMARY KEY (provider, event)
);

CREATE INDEX webhook_events_by_age ON webhook_events (received_at_ms);
