-- migrate:up
-- Of several nodes, one tells of what ends on a board: the `announcer`, for as long as it has that right.
ALTER TABLE leaderboards
    ADD COLUMN announcer        text NOT NULL DEFAULT '',
    ADD COLUMN announcing_until timestamptz NOT NULL DEFAULT 'epoch';
