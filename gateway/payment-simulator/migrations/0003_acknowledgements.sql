-- How often an event was acknowledged: more than once, if it is one that is repeated.
ALTER TABLE events ADD COLUMN acknowledged INTEGER NOT NULL DEFAULT 0;
