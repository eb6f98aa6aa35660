-- name: claim_name
-- Take a name that is free, or whose last node has been silent for $4 seconds, or is known to be gone ($5 is its epoch).
INSERT INTO nodes (name, epoch, process, serves, seen_at)
VALUES ($1, nextval('node_epochs'), $2::jsonb, $3, clock_timestamp())
ON CONFLICT (name) DO UPDATE
SET epoch = excluded.epoch, process = excluded.process, serves = excluded.serves, state = '{}', seen_at = excluded.seen_at
WHERE nodes.seen_at < clock_timestamp() - make_interval(secs => $4) OR nodes.epoch = $5
RETURNING epoch;

-- name: read_node
-- Who has a name now.
SELECT name, epoch, process::text, serves, state::text,
       extract(epoch FROM clock_timestamp() - seen_at)::float8 AS silent_seconds
FROM nodes WHERE name = $1;

-- name: read_nodes
-- plan: whole table, because it has a row for each node and is asked for by operators and at start.
SELECT name, epoch, process::text, serves, state::text,
       extract(epoch FROM clock_timestamp() - seen_at)::float8 AS silent_seconds
FROM nodes ORDER BY name;

-- name: see_node
-- A node lives, and says how it is doing; nothing happens when its name is another's by now.
UPDATE nodes SET seen_at = clock_timestamp(), state = $3::jsonb WHERE name = $1 AND epoch = $2 RETURNING epoch;

-- name: remove_node
-- A node has left, with all that it held.
WITH left_leases AS (DELETE FROM leases WHERE node = $1 AND epoch = $2)
DELETE FROM nodes WHERE name = $1 AND epoch = $2;

-- name: forget_nodes
-- Drop nodes that have been silent for a day: their names were given up.
DELETE FROM nodes WHERE seen_at < clock_timestamp() - interval '1 day';

-- name: hold_lease
-- Take a lease that is free, has expired, or is ours already; a row says that we hold it for $4 seconds from before now.
INSERT INTO leases (name, node, epoch, expires_at)
VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
ON CONFLICT (name) DO UPDATE
SET node = excluded.node, epoch = excluded.epoch, expires_at = excluded.expires_at
WHERE leases.expires_at < clock_timestamp() OR (leases.node = excluded.node AND leases.epoch <= excluded.epoch)
RETURNING epoch;

-- name: give_lease
-- Give a lease back before its time.
DELETE FROM leases WHERE name = $1 AND node = $2 AND epoch = $3;

-- name: read_leases
-- plan: whole table, because it has a row for each kind of lease and is asked for by operators.
SELECT name, node, epoch, extract(epoch FROM expires_at - clock_timestamp())::float8 AS seconds_left
FROM leases ORDER BY name;

-- name: read_replicas
-- How far those are behind that copy this database, as far as we may see them.
SELECT coalesce(application_name, '') AS name, coalesce(state, '') AS state, coalesce(sync_state, '') AS sync_state,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint AS behind_bytes,
       coalesce(extract(epoch FROM replay_lag), 0)::float8 AS behind_seconds
FROM pg_stat_replication WHERE NOT pg_is_in_recovery() ORDER BY 1;
