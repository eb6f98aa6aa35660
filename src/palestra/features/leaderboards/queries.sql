-- Statements of the leaderboards feature.

-- name: submit
-- Writes many scores, each owner at most once per call ($3 ascending), and returns what they led to, unchanged records
-- included. Rows are locked in the order of owners, here and in every other node, so that two calls never deadlock.
-- $8 says what a number does: 1 the greater wins, 2 the lesser wins, 3 set, 4 add, 5 subtract.
-- Most scores change nothing. They are told by a look beforehand, so they lock nothing and cost no flush to disk.
-- A conflicting row knows only the columns that were to be inserted, and a first subtraction inserts 0; so the update
-- finds what was submitted in the parameters, at the place of its owner (width_bucket is a binary search).
-- A row that was changed since the look, so that the score changes it no more, is missing in the answer.
WITH submitted AS MATERIALIZED (
    SELECT item.leaderboard_id, item.expires_at, item.owner_id, item.username, item.score, item.subscore,
        item.metadata, item.change, stored AS found,
        stored.owner_id IS NOT NULL AND CASE item.change
            WHEN 1 THEN item.score <= stored.score AND item.subscore <= stored.subscore
            WHEN 2 THEN item.score >= stored.score AND item.subscore >= stored.subscore
            WHEN 3 THEN item.score = stored.score AND item.subscore = stored.subscore
            ELSE item.score = 0 AND item.subscore = 0
        END AS unchanged
    FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::text[],
        $8::smallint[]) AS item (leaderboard_id, expires_at, owner_id, username, score, subscore, metadata, change)
    LEFT JOIN LATERAL (
        SELECT * FROM leaderboard_records AS record
        WHERE (record.owner_id, record.leaderboard_id, record.expires_at)
            >= (item.owner_id, item.leaderboard_id, item.expires_at)
        ORDER BY record.owner_id, record.leaderboard_id, record.expires_at
        LIMIT 1
    ) AS stored USING (owner_id, leaderboard_id, expires_at)
), written AS (
    INSERT INTO leaderboard_records AS stored
        (leaderboard_id, expires_at, owner_id, username, score, subscore, metadata)
    SELECT leaderboard_id, expires_at, owner_id, username, CASE change WHEN 5 THEN 0 ELSE score END,
        CASE change WHEN 5 THEN 0 ELSE subscore END, coalesce(metadata::jsonb, '{}')
    FROM submitted
    WHERE NOT unchanged
    ORDER BY owner_id
    ON CONFLICT (owner_id, leaderboard_id, expires_at) DO UPDATE
    SET score = CASE ($8::smallint[])[width_bucket(excluded.owner_id, $3::uuid[])]
            WHEN 1 THEN greatest(stored.score, excluded.score)
            WHEN 2 THEN least(stored.score, excluded.score)
            WHEN 3 THEN excluded.score
            WHEN 4 THEN stored.score + least(excluded.score, 9223372036854775807 - stored.score)
            ELSE greatest(stored.score - ($5::bigint[])[width_bucket(excluded.owner_id, $3::uuid[])], 0)
        END,
        subscore = CASE ($8::smallint[])[width_bucket(excluded.owner_id, $3::uuid[])]
            WHEN 1 THEN greatest(stored.subscore, excluded.subscore)
            WHEN 2 THEN least(stored.subscore, excluded.subscore)
            WHEN 3 THEN excluded.subscore
            WHEN 4 THEN stored.subscore + least(excluded.subscore, 9223372036854775807 - stored.subscore)
            ELSE greatest(stored.subscore - ($6::bigint[])[width_bucket(excluded.owner_id, $3::uuid[])], 0)
        END,
        num_score = least(stored.num_score, 2147483646) + 1,
        username = excluded.username,
        metadata = coalesce(($7::text[])[width_bucket(excluded.owner_id, $3::uuid[])]::jsonb, stored.metadata),
        updated_at = greatest(now(), stored.created_at)
    WHERE CASE ($8::smallint[])[width_bucket(excluded.owner_id, $3::uuid[])]
        WHEN 1 THEN excluded.score > stored.score OR excluded.subscore > stored.subscore
        WHEN 2 THEN excluded.score < stored.score OR excluded.subscore < stored.subscore
        WHEN 3 THEN excluded.score <> stored.score OR excluded.subscore <> stored.subscore
        ELSE ($5::bigint[])[width_bucket(excluded.owner_id, $3::uuid[])] <> 0
            OR ($6::bigint[])[width_bucket(excluded.owner_id, $3::uuid[])] <> 0
    END
    RETURNING stored.*
)
SELECT owner_id::text AS owner_id, username, score, subscore, num_score, max_num_score, metadata, created_at, updated_at
FROM written
UNION ALL
SELECT owner_id::text, (found).username, (found).score, (found).subscore, (found).num_score, (found).max_num_score,
    (found).metadata, (found).created_at, (found).updated_at
FROM submitted
WHERE unchanged;

-- name: remove
-- Deletes one record. Sent many times over in one go, in the order of owners, as `submit` locks them.
DELETE FROM leaderboard_records WHERE leaderboard_id = $1 AND expires_at = $2 AND owner_id = $3
RETURNING leaderboard_id, owner_id::text, created_at;

-- name: read_down
-- The records below many places, each in its own board and period, highest first.
SELECT wanted.n, found.*
FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::uuid[], $6::integer[])
    WITH ORDINALITY AS wanted (leaderboard_id, expires_at, score, subscore, owner_id, row_count, n)
CROSS JOIN LATERAL (
    SELECT owner_id::text AS owner_id, username, score, subscore, num_score, max_num_score, metadata, created_at,
        updated_at
    FROM leaderboard_records AS stored
    WHERE stored.leaderboard_id = wanted.leaderboard_id AND stored.expires_at = wanted.expires_at
        AND (stored.score, stored.subscore, stored.owner_id) < (wanted.score, wanted.subscore, wanted.owner_id)
    ORDER BY stored.score DESC, stored.subscore DESC, stored.owner_id DESC
    LIMIT wanted.row_count
) AS found;

-- name: read_up
-- The records above many places, each in its own board and period, lowest first.
SELECT wanted.n, found.*
FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::uuid[], $6::integer[])
    WITH ORDINALITY AS wanted (leaderboard_id, expires_at, score, subscore, owner_id, row_count, n)
CROSS JOIN LATERAL (
    SELECT owner_id::text AS owner_id, username, score, subscore, num_score, max_num_score, metadata, created_at,
        updated_at
    FROM leaderboard_records AS stored
    WHERE stored.leaderboard_id = wanted.leaderboard_id AND stored.expires_at = wanted.expires_at
        AND (stored.score, stored.subscore, stored.owner_id) > (wanted.score, wanted.subscore, wanted.owner_id)
    ORDER BY stored.score, stored.subscore, stored.owner_id
    LIMIT wanted.row_count
) AS found;

-- name: read_owners
-- The records of many owners, each in a board and period. The order and limit name the index to take: as long as the
-- table is new to the planner, a plain join may go through all records of a board.
SELECT wanted.n, found.owner_id::text AS owner_id, found.username, found.score, found.subscore, found.num_score,
    found.max_num_score, found.metadata, found.created_at, found.updated_at
FROM unnest($1::text[], $2::timestamptz[], $3::uuid[]) WITH ORDINALITY
    AS wanted (leaderboard_id, expires_at, owner_id, n)
CROSS JOIN LATERAL (
    SELECT * FROM leaderboard_records AS stored
    WHERE (stored.owner_id, stored.leaderboard_id, stored.expires_at)
        >= (wanted.owner_id, wanted.leaderboard_id, wanted.expires_at)
    ORDER BY stored.owner_id, stored.leaderboard_id, stored.expires_at
    LIMIT 1
) AS found
WHERE (found.owner_id, found.leaderboard_id, found.expires_at) = (wanted.owner_id, wanted.leaderboard_id, wanted.expires_at);

-- name: read_order
-- All scores of a period, to fill the ranks after a start; in board order, which is the cheapest to insert.
SELECT uuid_send(owner_id) AS owner, score, subscore
FROM leaderboard_records
WHERE leaderboard_id = $1 AND expires_at = $2
ORDER BY score, subscore, owner_id;

-- name: read_versions
-- Some scores of a period behind a place, with when the record was created and how often it was changed since: to build
-- the ranks that nodes share. Who moves past the reader meanwhile is told of by whoever moved them.
SELECT uuid_send(owner_id) AS owner, score, subscore, created_at, num_score
FROM leaderboard_records
WHERE leaderboard_id = $1 AND expires_at = $2 AND (score, subscore, owner_id) > ($3, $4, $5)
ORDER BY score, subscore, owner_id
LIMIT $6;

-- name: read_versions_of
-- The same of some owners.
SELECT uuid_send(owner_id) AS owner, score, subscore, created_at, num_score
FROM leaderboard_records
WHERE leaderboard_id = $1 AND expires_at = $2 AND owner_id = ANY ($3::uuid[]);

-- name: count_above
-- How many records are above those of some owners, $4 at most: a walk along the index.
SELECT wanted.n, (
    SELECT count(*) FROM (
        SELECT FROM leaderboard_records AS other
        WHERE other.leaderboard_id = own.leaderboard_id AND other.expires_at = own.expires_at
            AND (other.score, other.subscore, other.owner_id) > (own.score, own.subscore, own.owner_id)
        ORDER BY other.score, other.subscore, other.owner_id
        LIMIT $4
    ) AS before
)
FROM unnest($1::text[], $2::timestamptz[], $3::uuid[]) WITH ORDINALITY
    AS wanted (leaderboard_id, expires_at, owner_id, n)
CROSS JOIN LATERAL (
    SELECT * FROM leaderboard_records AS stored
    WHERE (stored.owner_id, stored.leaderboard_id, stored.expires_at)
        >= (wanted.owner_id, wanted.leaderboard_id, wanted.expires_at)
    ORDER BY stored.owner_id, stored.leaderboard_id, stored.expires_at
    LIMIT 1
) AS own
WHERE (own.owner_id, own.leaderboard_id, own.expires_at) = (wanted.owner_id, wanted.leaderboard_id, wanted.expires_at);

-- name: count_below
-- The same of records below, where the lowest score leads.
SELECT wanted.n, (
    SELECT count(*) FROM (
        SELECT FROM leaderboard_records AS other
        WHERE other.leaderboard_id = own.leaderboard_id AND other.expires_at = own.expires_at
            AND (other.score, other.subscore, other.owner_id) < (own.score, own.subscore, own.owner_id)
        ORDER BY other.score DESC, other.subscore DESC, other.owner_id DESC
        LIMIT $4
    ) AS before
)
FROM unnest($1::text[], $2::timestamptz[], $3::uuid[]) WITH ORDINALITY
    AS wanted (leaderboard_id, expires_at, owner_id, n)
CROSS JOIN LATERAL (
    SELECT * FROM leaderboard_records AS stored
    WHERE (stored.owner_id, stored.leaderboard_id, stored.expires_at)
        >= (wanted.owner_id, wanted.leaderboard_id, wanted.expires_at)
    ORDER BY stored.owner_id, stored.leaderboard_id, stored.expires_at
    LIMIT 1
) AS own
WHERE (own.owner_id, own.leaderboard_id, own.expires_at) = (wanted.owner_id, wanted.leaderboard_id, wanted.expires_at);

-- name: lock_tournaments_of
-- The tournaments an owner takes part in, locked in the order in which scores lock them.
SELECT id FROM leaderboards
WHERE duration_seconds > 0 AND id IN (SELECT leaderboard_id FROM leaderboard_records WHERE owner_id = $1)
ORDER BY id
FOR NO KEY UPDATE;

-- name: free_seats_of
-- The seats of an owner in running periods. The tournaments are locked.
UPDATE leaderboards AS tournament SET size = size - 1
FROM leaderboard_records AS record
WHERE record.owner_id = $1 AND tournament.id = record.leaderboard_id AND tournament.duration_seconds > 0
    AND tournament.size_expires_at = record.expires_at AND tournament.size > 0;

-- name: forget
-- Deletes all records of an owner who leaves.
DELETE FROM leaderboard_records WHERE owner_id = $1 RETURNING leaderboard_id, expires_at, created_at;

-- name: all_boards
-- Every definition, once per start of a node.
-- plan: whole table, because a node keeps all boards in memory.
SELECT id, authoritative, sort, operator, reset, metadata, enable_ranks, created_at,
    duration_seconds, start_at, end_at, title, description, category, max_size, max_num_score, join_required, announced_at
FROM leaderboards;

-- name: find_boards
-- Definitions by id: boards that were made elsewhere.
SELECT id, authoritative, sort, operator, reset, metadata, enable_ranks, created_at,
    duration_seconds, start_at, end_at, title, description, category, max_size, max_num_score, join_required, announced_at
FROM leaderboards
WHERE id = ANY ($1::text[]);

-- name: list_boards
-- Leaderboards behind an id, in order.
SELECT id, authoritative, sort, operator, reset, metadata, enable_ranks, created_at,
    duration_seconds, start_at, end_at, title, description, category, max_size, max_num_score, join_required, announced_at
FROM leaderboards
WHERE id > $1 AND duration_seconds = 0
ORDER BY id
LIMIT $2;

-- name: create_board
-- A new definition; no row comes back when the id is taken. Whatever a node still wrote to a board of that id that was
-- deleted elsewhere goes.
WITH made AS (
    INSERT INTO leaderboards (id, authoritative, sort, operator, reset, metadata, enable_ranks, duration_seconds,
        start_at, end_at, title, description, category, max_size, max_num_score, join_required, size_expires_at,
        announced_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
    ON CONFLICT (id) DO NOTHING
    RETURNING id, authoritative, sort, operator, reset, metadata, enable_ranks, created_at, duration_seconds, start_at,
        end_at, title, description, category, max_size, max_num_score, join_required, announced_at
), left_over AS (
    DELETE FROM leaderboard_records AS record USING made WHERE record.leaderboard_id = made.id
)
SELECT * FROM made;

-- name: delete_board
-- A definition alone, if it is of the kind that is meant; its records are deleted in the same transaction.
DELETE FROM leaderboards WHERE id = $1 AND (duration_seconds > 0) = $2 RETURNING id;

-- name: delete_records
-- The records of a board, all periods of it.
DELETE FROM leaderboard_records WHERE leaderboard_id = $1;

-- name: claim_end
-- Grants a node ($3) the telling of what ends at a moment for $4 seconds, unless it was told or another node has that
-- right; and how far ends were told.
WITH claimed AS (
    UPDATE leaderboards SET announcer = $3, announcing_until = now() + make_interval(secs => $4)
    WHERE id = $1 AND announced_at < $2 AND (announcer = $3 OR announcing_until <= now())
    RETURNING id
)
SELECT EXISTS (SELECT FROM claimed), announced_at FROM leaderboards WHERE id = $1;

-- name: release_end
-- Gives that right back.
UPDATE leaderboards SET announcing_until = 'epoch' WHERE id = $1 AND announcer = $2;

-- name: mark_announced
-- How far the ends of a board's periods were told; whoever is next may tell of the next.
UPDATE leaderboards SET announced_at = $2, announcing_until = 'epoch' WHERE id = $1 AND announced_at < $2;

-- name: list_tournaments
-- Tournaments behind a place in the order of start, end (the latest first, 'epoch' for none last), category and id.
-- $5 and $6 are the categories; the end is in ($7, $8], or is none where $9 says so.
SELECT id, size, size_expires_at
FROM leaderboards
WHERE duration_seconds > 0 AND start_at >= $1
    AND (start_at > $1 OR end_at < $2 OR (end_at = $2 AND (category, id) > ($3, $4)))
    AND category BETWEEN $5 AND $6
    AND CASE WHEN end_at = 'epoch' THEN $9 ELSE end_at > $7 AND end_at <= $8 END
ORDER BY start_at, end_at DESC, category, id
LIMIT $10;

-- name: read_seats
-- How many take part in some tournaments, and in which period.
SELECT id, size, size_expires_at FROM leaderboards WHERE id = ANY ($1::text[]) AND duration_seconds > 0;

-- name: lock_tournaments
-- The same of tournaments that are about to be written to, in the order of ids. All that take part in a tournament
-- wait here for each other, whichever node they come through.
SELECT id, size, size_expires_at FROM leaderboards
WHERE id = ANY ($1::text[]) AND duration_seconds > 0
ORDER BY id
FOR NO KEY UPDATE;

-- name: put_standings
-- The records of many owners in tournaments that are locked, as they are after an attempt.
INSERT INTO leaderboard_records AS stored (leaderboard_id, expires_at, owner_id, username, score, subscore, num_score,
    max_num_score, metadata)
SELECT item.leaderboard_id, item.expires_at, item.owner_id, item.username, item.score, item.subscore, item.num_score,
    item.max_num_score, item.metadata::jsonb
FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::integer[],
    $8::integer[], $9::text[]) AS item (leaderboard_id, expires_at, owner_id, username, score, subscore, num_score,
    max_num_score, metadata)
ORDER BY item.leaderboard_id, item.expires_at, item.owner_id
ON CONFLICT (owner_id, leaderboard_id, expires_at) DO UPDATE
SET username = excluded.username,
    score = excluded.score,
    subscore = excluded.subscore,
    num_score = excluded.num_score,
    max_num_score = excluded.max_num_score,
    metadata = excluded.metadata,
    updated_at = greatest(now(), stored.created_at)
RETURNING leaderboard_id, owner_id::text AS owner_id, username, score, subscore, num_score, max_num_score, metadata,
    created_at, updated_at;

-- name: set_seats
-- How many take part in tournaments that are locked.
UPDATE leaderboards AS tournament SET size = item.size, size_expires_at = item.expires_at
FROM unnest($1::text[], $2::integer[], $3::timestamptz[]) AS item (id, size, expires_at)
WHERE tournament.id = item.id;

-- name: export_scores
-- All records of a player, of leaderboards and of tournaments. Numbers of 64 bits are texts.
SELECT json_build_object('leaderboard_id', leaderboard_id, 'period_ends_at', nullif(expires_at, 'epoch'),
    'username', username, 'score', score::text, 'subscore', subscore::text, 'num_score', num_score,
    'max_num_score', max_num_score, 'metadata', metadata, 'created_at', created_at, 'updated_at', updated_at)::text
FROM leaderboard_records WHERE owner_id = $1::uuid
LIMIT $2;
