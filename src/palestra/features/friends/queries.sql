-- name: lock_players
-- Everybody whose edges a transaction may change, one transaction at a time. Keys come sorted, and are taken in that
-- order, so that two transactions never wait for each other in a circle. The lock is advisory because the edges to be
-- guarded may not exist yet.
SELECT pg_advisory_xact_lock($1::integer, player) FROM unnest($2::integer[]) AS player;

-- name: edges_of_pairs
-- How the two of each pair stand to each other, and whether they exist. Asked when both are held, and by a statement of
-- its own: only one that begins then sees what the last who held them did.
SELECT pair.one::text, pair.other::text, one.id IS NOT NULL AS one_exists, other.id IS NOT NULL AS other_exists,
    mine.state AS mine, theirs.state AS theirs
FROM unnest($1::uuid[], $2::uuid[]) AS pair (one, other)
LEFT JOIN player_ids one ON one.id = pair.one
LEFT JOIN player_ids other ON other.id = pair.other
LEFT JOIN friends mine ON mine.user_id = pair.one AND mine.friend_id = pair.other
LEFT JOIN friends theirs ON theirs.user_id = pair.other AND theirs.friend_id = pair.one;

-- name: player_exists
-- Whether there is such a player; asked when the player is held, as above.
SELECT EXISTS (SELECT FROM player_ids WHERE id = $1);

-- name: make_edges
-- Makes edges that were not there, of players who are held and were seen to exist.
INSERT INTO friends (user_id, friend_id, state, position, metadata)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::bigint[], $5::jsonb[]);

-- name: move_edges
-- Moves edges to another state; an edge keeps its age, and metadata is added to what it has.
UPDATE friends f SET state = item.state, metadata = f.metadata || item.metadata, updated_at = now()
FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::bigint[], $5::jsonb[])
    AS item (user_id, friend_id, state, position, metadata)
WHERE f.user_id = item.user_id AND f.friend_id = item.friend_id;

-- name: delete_edges
-- Removes edges.
DELETE FROM friends AS f
USING unnest($1::uuid[], $2::uuid[]) AS gone (user_id, friend_id)
WHERE f.user_id = gone.user_id AND f.friend_id = gone.friend_id;

-- name: list_edges
-- Players' edges from a position on, up to a state, for a whole batch of readers.
SELECT w.nr, edge.*
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::uuid[], $5::smallint[], $6::integer[])
    WITH ORDINALITY AS w (user_id, state, position, friend_id, last_state, size, nr)
CROSS JOIN LATERAL (
    SELECT f.friend_id::text AS friend, f.state, f.position, date_trunc('second', f.updated_at), f.metadata::text
    FROM friends f
    WHERE f.user_id = w.user_id AND f.state <= w.last_state
        AND (f.state, f.position, f.friend_id) >= (w.state, w.position, w.friend_id)
    ORDER BY f.state, f.position, f.friend_id
    LIMIT w.size
) AS edge;

-- name: list_friends_of_friends
-- Friends of players' friends behind a position, without the player and the player's own friends, for a whole batch of
-- readers.
SELECT w.nr, found.*
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[])
    WITH ORDINALITY AS w (user_id, referrer_id, friend_id, size, nr)
CROSS JOIN LATERAL (
    SELECT mine.friend_id::text AS referrer, theirs.friend_id::text AS friend
    FROM friends mine
    JOIN friends theirs ON theirs.user_id = mine.friend_id AND theirs.state = 0
    WHERE mine.user_id = w.user_id AND mine.state = 0 AND mine.friend_id >= w.referrer_id
        AND theirs.friend_id <> w.user_id AND (mine.friend_id, theirs.friend_id) > (w.referrer_id, w.friend_id)
        AND NOT EXISTS (
            SELECT FROM friends own WHERE own.user_id = w.user_id AND own.friend_id = theirs.friend_id AND own.state = 0
        )
    ORDER BY mine.friend_id, theirs.friend_id
    LIMIT w.size
) AS found;

-- name: blocked_among
-- Those among others whom a player has blocked.
SELECT friend_id::text FROM friends WHERE user_id = $1 AND friend_id = ANY($2::uuid[]) AND state = 3;

-- name: lock_edges_of
-- All edges to and from a player, locked in one order: two players who leave at once may share some. Whoever is no block
-- has its counterpart, so that the player's own edges lead to all but the blocks of others.
WITH concerned AS (
    SELECT user_id, friend_id FROM friends WHERE user_id = $1
    UNION SELECT friend_id, user_id FROM friends WHERE user_id = $1
    UNION SELECT user_id, friend_id FROM friends WHERE friend_id = $1 AND state = 3
)
SELECT f.user_id::text, f.friend_id::text, f.state FROM concerned JOIN friends f USING (user_id, friend_id)
ORDER BY f.user_id, f.friend_id
FOR UPDATE OF f;

-- name: export_friends
-- A player's side of all friendships, invitations and blocks. Of the others there is only the id.
SELECT json_build_object('user_id', friend_id,
    'state', (ARRAY['friend', 'invite sent', 'invite received', 'blocked'])[state + 1],
    'metadata', metadata, 'updated_at', updated_at)::text
FROM friends WHERE user_id = $1::uuid
ORDER BY state, position
LIMIT $2;
