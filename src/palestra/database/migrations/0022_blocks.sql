-- migrate:up
-- Those who block a player: of all edges only these have no counterpart by which they are found.
CREATE INDEX friends_blocking ON friends (friend_id) WHERE state = 3;
