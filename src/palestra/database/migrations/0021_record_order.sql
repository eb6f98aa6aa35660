-- migrate:up
-- A record that is made anew after a deletion must be younger than the one deleted, also when the statement that makes it
-- began earlier and waited: nodes tell each other's news apart by that.
ALTER TABLE leaderboard_records
    ALTER COLUMN created_at SET DEFAULT clock_timestamp(),
    ALTER COLUMN updated_at SET DEFAULT clock_timestamp();

-- One index finds a record and all records of an owner; every write of a score had to enter both.
DROP INDEX leaderboard_records_of_owner;
ALTER TABLE leaderboard_records
    DROP CONSTRAINT leaderboard_records_pkey,
    ADD PRIMARY KEY (owner_id, leaderboard_id, expires_at);
