-- name: lock_joiners
-- Players about to get into a group. Any number of transactions may hold a player so, but none while the account is
-- being deleted. Taken before groups are locked, sorted.
SELECT pg_advisory_xact_lock_shared($1::integer, player) FROM unnest($2::integer[]) AS player;

-- name: lock_leaver
-- A player whose account is being deleted: waits for those who let the player in, and keeps others from it.
SELECT pg_advisory_xact_lock($1::integer, $2::integer);

-- name: lock_groups
-- Groups, held until the end of the transaction: whoever changes their members does so first. In one order, so that two
-- transactions never wait for each other in a circle.
SELECT id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at
FROM groups WHERE id = ANY($1::uuid[]) ORDER BY groups.id FOR UPDATE;

-- name: create_group
-- A new group of one.
INSERT INTO groups (id, creator_id, name, description, avatar_url, lang_tag, metadata, open, edge_count, max_count)
VALUES ($1, $2, $3, nullif($4, ''), nullif($5, ''), $6, $7::text::jsonb, $8, 1, $9)
RETURNING id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at;

-- name: update_group
-- Changes what is not null, '' clears; the time moves only if something really changes.
UPDATE groups SET
    name = coalesce($2, name),
    description = CASE WHEN $3::text IS NULL THEN description ELSE nullif($3::text, '') END,
    avatar_url = CASE WHEN $4::text IS NULL THEN avatar_url ELSE nullif($4::text, '') END,
    lang_tag = coalesce($5, lang_tag),
    open = coalesce($6, open),
    updated_at = now()
WHERE id = $1 AND (
    name <> $2 OR coalesce(description, '') <> $3::text OR coalesce(avatar_url, '') <> $4::text
    OR lang_tag <> $5 OR open <> $6);

-- name: add_to_count
-- Members came to groups that are locked, or went.
UPDATE groups g SET edge_count = g.edge_count + item.change, updated_at = now()
FROM unnest($1::uuid[], $2::integer[]) AS item (id, change) WHERE g.id = item.id;

-- name: delete_groups
-- Groups that are locked, with all their members.
WITH members AS (
    DELETE FROM group_members WHERE group_id = ANY($1::uuid[])
)
DELETE FROM groups WHERE id = ANY($1::uuid[]);

-- name: states_of
-- How some players stand to a group.
SELECT user_id::text, state FROM group_members WHERE group_id = $1 AND user_id = ANY($2::uuid[]);

-- name: state_of
-- How a player stands to a group, for a whole batch of readers.
SELECT w.nr, m.state FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS w (group_id, user_id, nr)
JOIN group_members m USING (group_id, user_id);

-- name: count_superadmins
-- How many are in charge.
SELECT count(*) FROM group_members WHERE group_id = $1 AND state = 0;

-- name: standings_of_pairs
-- How players stand to groups, and whether they exist. Asked when both are held, and by a statement of its own: only one
-- that begins then sees what the last who held them did.
SELECT pair.group_id::text, pair.user_id::text, m.state, p.id IS NOT NULL AS player_exists
FROM unnest($1::uuid[], $2::uuid[]) AS pair (group_id, user_id)
LEFT JOIN player_ids p ON p.id = pair.user_id
LEFT JOIN group_members m ON m.group_id = pair.group_id AND m.user_id = pair.user_id;

-- name: existing_players
-- Those among players who exist; asked when they are held, as above.
SELECT id::text FROM player_ids WHERE id = ANY($1::uuid[]);

-- name: in_charge
-- Superadmins and admins of groups: those who decide about requests.
SELECT m.group_id::text, m.user_id::text, m.state
FROM unnest($1::uuid[]) AS asked (id) JOIN group_members m ON m.group_id = asked.id AND m.state <= 1
ORDER BY m.state, m.position;

-- name: set_members
-- Makes members of groups that are locked, of players who are held and were seen to exist, or changes their states; a
-- member keeps the time of joining.
INSERT INTO group_members (group_id, user_id, state, position)
SELECT item.group_id, item.user_id, item.state, item.position
FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::bigint[]) AS item (group_id, user_id, state, position)
ORDER BY item.group_id, item.user_id
ON CONFLICT (group_id, user_id) DO UPDATE SET state = excluded.state, updated_at = now();

-- name: delete_members
-- Removes players from groups that are locked.
DELETE FROM group_members AS m USING unnest($1::uuid[], $2::uuid[]) AS gone (group_id, user_id)
WHERE m.group_id = gone.group_id AND m.user_id = gone.user_id;

-- name: list_members
-- Players of groups from a position on, up to a state, for a whole batch of readers.
SELECT w.nr, member.*
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::uuid[], $5::smallint[], $6::integer[])
    WITH ORDINALITY AS w (group_id, state, position, user_id, last_state, size, nr)
CROSS JOIN LATERAL (
    SELECT m.state, m.position, m.user_id::text AS member_id FROM group_members m
    WHERE m.group_id = w.group_id AND m.state <= w.last_state
        AND (m.state, m.position, m.user_id) >= (w.state, w.position, w.user_id)
    ORDER BY m.state, m.position, m.user_id
    LIMIT w.size
) AS member;

-- name: list_groups_of_user
-- Groups of players from a position on, up to a state, for a whole batch of readers.
SELECT w.nr, membership.*
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::uuid[], $5::smallint[], $6::integer[])
    WITH ORDINALITY AS w (user_id, state, position, group_id, last_state, size, nr)
CROSS JOIN LATERAL (
    SELECT m.state, m.position, g.id::text AS gid, g.creator_id::text, g.name, g.description, g.avatar_url, g.lang_tag, g.metadata::text,
        g.open, g.edge_count, g.max_count, g.created_at, g.updated_at
    FROM group_members m JOIN groups g ON g.id = m.group_id
    WHERE m.user_id = w.user_id AND m.state <= w.last_state
        AND (m.state, m.position, m.group_id) >= (w.state, w.position, w.group_id)
    ORDER BY m.state, m.position, m.group_id
    LIMIT w.size
) AS membership;

-- name: list_by_update
-- Groups, perhaps only the open or the closed ones, those longest without change first; this list and the next ones for a
-- whole batch of readers.
SELECT w.nr, found.*
FROM unnest($1::boolean[], $2::timestamptz[], $3::integer[], $4::uuid[], $5::integer[])
    WITH ORDINALITY AS w (open, updated_at, edge_count, id, size, nr)
CROSS JOIN LATERAL (
    SELECT g.id::text AS gid, g.creator_id::text, g.name, g.description, g.avatar_url, g.lang_tag, g.metadata::text,
        g.open, g.edge_count, g.max_count, g.created_at, g.updated_at
    FROM groups g
    WHERE (w.open IS NULL OR g.open = w.open) AND (g.updated_at, g.edge_count, g.id) > (w.updated_at, w.edge_count, w.id)
    ORDER BY g.updated_at, g.edge_count, g.id
    LIMIT w.size
) AS found;

-- name: list_by_name
-- Groups whose name fits a pattern in any case, by name in small letters. All of them begin with the letters of `prefix`,
-- which is what the index looks for.
SELECT w.nr, found.*
FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[])
    WITH ORDINALITY AS w (pattern, prefix, after_name, size, nr)
CROSS JOIN LATERAL (
    SELECT g.id::text AS gid, g.creator_id::text, g.name, g.description, g.avatar_url, g.lang_tag, g.metadata::text,
        g.open, g.edge_count, g.max_count, g.created_at, g.updated_at
    FROM groups g
    WHERE g.name ILIKE w.pattern
        AND lower(g.name) COLLATE "C" >= lower(w.prefix) AND lower(g.name) COLLATE "C" < lower(w.prefix) || chr(1114111)
        AND (lower(g.name) COLLATE "C", g.name COLLATE "C") > (lower(w.after_name), w.after_name)
    ORDER BY lower(g.name) COLLATE "C", g.name COLLATE "C"
    LIMIT w.size
) AS found;

-- name: list_by_language
-- Groups of a language, the small ones first.
SELECT w.nr, found.*
FROM unnest($1::text[], $2::integer[], $3::uuid[], $4::integer[])
    WITH ORDINALITY AS w (lang_tag, edge_count, id, size, nr)
CROSS JOIN LATERAL (
    SELECT g.id::text AS gid, g.creator_id::text, g.name, g.description, g.avatar_url, g.lang_tag, g.metadata::text,
        g.open, g.edge_count, g.max_count, g.created_at, g.updated_at
    FROM groups g
    WHERE g.lang_tag = w.lang_tag AND (g.edge_count, g.id) > (w.edge_count, w.id)
    ORDER BY g.edge_count, g.id
    LIMIT w.size
) AS found;

-- name: list_by_size
-- Groups of at most so many members, the large ones first.
SELECT w.nr, found.*
FROM unnest($1::integer[], $2::integer[], $3::timestamptz[], $4::uuid[], $5::integer[])
    WITH ORDINALITY AS w (members, edge_count, updated_at, id, size, nr)
CROSS JOIN LATERAL (
    SELECT g.id::text AS gid, g.creator_id::text, g.name, g.description, g.avatar_url, g.lang_tag, g.metadata::text,
        g.open, g.edge_count, g.max_count, g.created_at, g.updated_at
    FROM groups g
    WHERE g.edge_count <= w.members AND (g.edge_count, g.updated_at, g.id) < (w.edge_count, w.updated_at, w.id)
    ORDER BY g.edge_count DESC, g.updated_at DESC, g.id DESC
    LIMIT w.size
) AS found;

-- name: list_by_size_in_language
-- Groups of a language, of at most so many members, perhaps only the open or the closed ones, the large ones first.
SELECT w.nr, found.*
FROM unnest($1::text[], $2::integer[], $3::boolean[], $4::integer[], $5::uuid[], $6::integer[])
    WITH ORDINALITY AS w (lang_tag, members, open, edge_count, id, size, nr)
CROSS JOIN LATERAL (
    SELECT g.id::text AS gid, g.creator_id::text, g.name, g.description, g.avatar_url, g.lang_tag, g.metadata::text,
        g.open, g.edge_count, g.max_count, g.created_at, g.updated_at
    FROM groups g
    WHERE g.lang_tag = w.lang_tag AND g.edge_count <= w.members AND (w.open IS NULL OR g.open = w.open)
        AND (g.edge_count, g.id) < (w.edge_count, w.id)
    ORDER BY g.edge_count DESC, g.id DESC
    LIMIT w.size
) AS found;

-- name: list_by_size_if_open
-- Open groups, or closed ones, of at most so many members, the large ones first.
SELECT w.nr, found.*
FROM unnest($1::boolean[], $2::integer[], $3::integer[], $4::uuid[], $5::integer[])
    WITH ORDINALITY AS w (open, members, edge_count, id, size, nr)
CROSS JOIN LATERAL (
    SELECT g.id::text AS gid, g.creator_id::text, g.name, g.description, g.avatar_url, g.lang_tag, g.metadata::text,
        g.open, g.edge_count, g.max_count, g.created_at, g.updated_at
    FROM groups g
    WHERE g.open = w.open AND g.edge_count <= w.members AND (g.edge_count, g.id) < (w.edge_count, w.id)
    ORDER BY g.edge_count DESC, g.id DESC
    LIMIT w.size
) AS found;

-- name: lock_groups_of
-- All groups that know a player, locked in one order: two players who leave at once may share some.
SELECT g.id::text FROM group_members m JOIN groups g ON g.id = m.group_id
WHERE m.user_id = $1
ORDER BY g.id
FOR UPDATE OF g;

-- name: places_of
-- A player's place in each group, how many members it has, and how many of them are in charge.
SELECT m.group_id::text, m.state, g.edge_count,
    (SELECT count(*) FROM group_members s WHERE s.group_id = m.group_id AND s.state = 0) AS superadmins
FROM group_members m JOIN groups g ON g.id = m.group_id
WHERE m.user_id = $1;

-- name: leave_all
-- Takes a player out of all groups, which must be locked, and counts one member less where the player was one.
WITH gone AS (
    DELETE FROM group_members WHERE user_id = $1 RETURNING group_id, state
)
UPDATE groups g SET edge_count = g.edge_count - 1, updated_at = now()
FROM gone WHERE g.id = gone.group_id AND gone.state <= 2;

-- name: export_groups
-- A player's memberships, requests to join and bans.
SELECT json_build_object('group_id', m.group_id, 'name', g.name,
    'state', (ARRAY['superadmin', 'admin', 'member', 'join request', 'banned'])[m.state + 1],
    'creator', g.creator_id = $1::uuid, 'updated_at', m.updated_at)::text
FROM group_members m JOIN groups g ON g.id = m.group_id
WHERE m.user_id = $1::uuid
ORDER BY m.state, m.position
LIMIT $2;
