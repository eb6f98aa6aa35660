-- name: lock_joiners
-- Players about to get into a group. Any number of transactions may hold a player so, but none while the account is
-- being deleted. Taken before groups are locked, sorted.
SELECT pg_advisory_xact_lock_shared($1::integer, player) FROM unnest($2::integer[]) AS player;

-- name: lock_leaver
-- A player whose account is being deleted: waits for those who let the player in, and keeps others from it.
SELECT pg_advisory_xact_lock($1::integer, $2::integer);

-- name: lock_group
-- A group, held until the end of the transaction: whoever changes its members does so first.
SELECT id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at
FROM groups WHERE id = $1 FOR UPDATE;

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
-- Members came or went.
UPDATE groups SET edge_count = edge_count + $2, updated_at = now() WHERE id = $1;

-- name: delete_groups
-- Groups with all their members.
DELETE FROM groups WHERE id = ANY($1::uuid[]);

-- name: states_of
-- How some players stand to a group.
SELECT user_id::text, state FROM group_members WHERE group_id = $1 AND user_id = ANY($2::uuid[]);

-- name: count_superadmins
-- How many are in charge.
SELECT count(*) FROM group_members WHERE group_id = $1 AND state = 0;

-- name: admins_of
-- Those who decide about requests.
SELECT user_id::text FROM group_members WHERE group_id = $1 AND state <= 1 ORDER BY state, position;

-- name: set_members
-- Makes members of a group that is locked, or changes their states; a member keeps the time of joining.
INSERT INTO group_members (group_id, user_id, state, position)
SELECT $1, item.user_id, item.state, item.position
FROM unnest($2::uuid[], $3::smallint[], $4::bigint[]) AS item (user_id, state, position)
ORDER BY item.user_id
ON CONFLICT (group_id, user_id) DO UPDATE SET state = excluded.state, updated_at = now();

-- name: delete_members
-- Removes players from a group that is locked.
DELETE FROM group_members WHERE group_id = $1 AND user_id = ANY($2::uuid[]);

-- name: list_members
-- A group's players behind a position, up to a state.
SELECT user_id::text AS id, state, position FROM group_members
WHERE group_id = $1 AND state <= $5 AND (state, position, user_id) > ($2::smallint, $3::bigint, $4::uuid)
ORDER BY state, position, group_members.user_id
LIMIT $6;

-- name: list_groups_of_user
-- A player's groups behind a position, up to a state.
SELECT m.state, m.position, g.id::text, g.creator_id::text, g.name, g.description, g.avatar_url, g.lang_tag,
    g.metadata::text, g.open, g.edge_count, g.max_count, g.created_at, g.updated_at
FROM group_members m JOIN groups g ON g.id = m.group_id
WHERE m.user_id = $1 AND m.state <= $5 AND (m.state, m.position, m.group_id) > ($2::smallint, $3::bigint, $4::uuid)
ORDER BY m.state, m.position, m.group_id
LIMIT $6;

-- name: list_by_update
-- Groups, perhaps only the open or the closed ones, those longest without change first.
SELECT id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at
FROM groups
WHERE ($1::boolean IS NULL OR open = $1) AND (updated_at, edge_count, groups.id) > ($2::timestamptz, $3::integer, $4::uuid)
ORDER BY updated_at, edge_count, groups.id
LIMIT $5;

-- name: list_by_name
-- Groups whose name fits a pattern in any case, by name in small letters. All of them begin with the letters of $2,
-- which is what the index looks for.
SELECT id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at
FROM groups
WHERE name ILIKE $1
    AND lower(name) COLLATE "C" >= lower($2::text) AND lower(name) COLLATE "C" < lower($2::text) || chr(1114111)
    AND (lower(name) COLLATE "C", name COLLATE "C") > (lower($3::text), $3::text)
ORDER BY lower(groups.name) COLLATE "C", groups.name COLLATE "C"
LIMIT $4;

-- name: list_by_language
-- Groups of a language, the small ones first.
SELECT id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at
FROM groups
WHERE lang_tag = $1 AND (edge_count, groups.id) > ($2::integer, $3::uuid)
ORDER BY edge_count, groups.id
LIMIT $4;

-- name: list_by_size
-- Groups of at most so many members, the large ones first.
SELECT id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at
FROM groups
WHERE edge_count <= $1 AND (edge_count, updated_at, groups.id) < ($2::integer, $3::timestamptz, $4::uuid)
ORDER BY edge_count DESC, updated_at DESC, groups.id DESC
LIMIT $5;

-- name: list_by_size_in_language
-- Groups of a language, of at most so many members, perhaps only the open or the closed ones, the large ones first.
SELECT id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at
FROM groups
WHERE lang_tag = $1 AND edge_count <= $2 AND ($3::boolean IS NULL OR open = $3)
    AND (edge_count, groups.id) < ($4::integer, $5::uuid)
ORDER BY edge_count DESC, groups.id DESC
LIMIT $6;

-- name: list_by_size_if_open
-- Open groups, or closed ones, of at most so many members, the large ones first.
SELECT id::text, creator_id::text, name, description, avatar_url, lang_tag, metadata::text, open, edge_count, max_count,
    created_at, updated_at
FROM groups
WHERE open = $1 AND edge_count <= $2 AND (edge_count, groups.id) < ($3::integer, $4::uuid)
ORDER BY edge_count DESC, groups.id DESC
LIMIT $5;

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
