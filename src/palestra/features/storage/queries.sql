-- name: write
-- Creates or overwrites many objects, each at most once per call, in key order so that two calls never deadlock.
-- Returns the rows that were really written: not those that are unchanged, that an untrusted caller ($9 false) may not
-- write, or that exist although they were only to be created ($8 true).
INSERT INTO objects AS stored (collection, key, user_id, value, version, permission_read, permission_write)
SELECT item.collection, item.key, item.user_id, item.value::jsonb, item.version, item.permission_read, item.permission_write
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::smallint[], $7::smallint[])
    AS item (collection, key, user_id, value, version, permission_read, permission_write)
ORDER BY item.collection, item.key, item.user_id
ON CONFLICT (collection, key, user_id) DO UPDATE
SET value = excluded.value,
    version = excluded.version,
    permission_read = excluded.permission_read,
    permission_write = excluded.permission_write,
    updated_at = now()
WHERE NOT $8::boolean
    AND ($9::boolean OR stored.permission_write = 1)
    AND (stored.version, stored.permission_read, stored.permission_write)
        IS DISTINCT FROM (excluded.version, excluded.permission_read, excluded.permission_write)
RETURNING stored.collection, stored.key, stored.user_id::text AS user_id, stored.created_at, stored.updated_at;

-- name: standing
-- Everything but the values of many objects: what a write is judged by.
SELECT stored.collection, stored.key, stored.user_id::text AS user_id, stored.version, stored.permission_read,
    stored.permission_write, stored.created_at, stored.updated_at
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS wanted (collection, key, user_id)
JOIN objects AS stored USING (collection, key, user_id);

-- name: claim
-- Locks many objects until the end of the transaction in the same order as `write` does, so that no two of them ever
-- wait for each other in a circle. Where there is none, a place holder without a version is put: it is what can be locked,
-- and nobody else sees it, since the transaction either gives it its content or is undone.
INSERT INTO objects AS stored (collection, key, user_id, value, version, permission_read, permission_write)
SELECT wanted.collection, wanted.key, wanted.user_id, '{}'::jsonb, '', 0, 0
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS wanted (collection, key, user_id)
ORDER BY wanted.collection, wanted.key, wanted.user_id
ON CONFLICT (collection, key, user_id) DO UPDATE SET version = stored.version WHERE false;

-- name: lock
-- The same of objects that are to be deleted, locked until the end of the transaction, in the order of `write`.
SELECT stored.collection, stored.key, stored.user_id::text AS user_id, stored.version, stored.permission_read,
    stored.permission_write, stored.created_at, stored.updated_at
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS wanted (collection, key, user_id)
JOIN objects AS stored USING (collection, key, user_id)
ORDER BY stored.collection, stored.key, stored.user_id
FOR UPDATE OF stored;

-- name: delete
-- Deletes many objects that the transaction has locked.
DELETE FROM objects AS stored
USING unnest($1::text[], $2::text[], $3::uuid[]) AS wanted (collection, key, user_id)
WHERE stored.collection = wanted.collection AND stored.key = wanted.key AND stored.user_id = wanted.user_id;

-- name: read
-- Many objects by their names, whoever may see them.
SELECT stored.collection, stored.key, stored.user_id::text AS user_id, stored.value::text AS value, stored.version,
    stored.permission_read, stored.permission_write, stored.created_at, stored.updated_at
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS wanted (collection, key, user_id)
JOIN objects AS stored USING (collection, key, user_id);

-- name: list_of_owner
-- Owners' objects after the position (read permission, key), for a whole batch of readers; the position's permission is
-- the lowest that is shown.
SELECT w.nr, found.*
FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::text[], $5::integer[])
    WITH ORDINALITY AS w (user_id, collection, permission_read, key, size, nr)
CROSS JOIN LATERAL (
    SELECT o.collection, o.key, o.user_id::text AS owner, o.value::text, o.version, o.permission_read, o.permission_write,
        o.created_at, o.updated_at
    FROM objects o
    WHERE o.user_id = w.user_id AND o.collection = w.collection
        AND (o.permission_read, o.key) > (w.permission_read, w.key)
    ORDER BY o.permission_read, o.key
    LIMIT w.size
) AS found;

-- name: list_public
-- Everybody's public objects after the position (key, owner), for a whole batch of readers.
SELECT w.nr, found.*
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::integer[]) WITH ORDINALITY AS w (collection, key, user_id, size, nr)
CROSS JOIN LATERAL (
    SELECT o.collection, o.key, o.user_id::text AS owner, o.value::text, o.version, o.permission_read, o.permission_write,
        o.created_at, o.updated_at
    FROM objects o
    WHERE o.permission_read = 2 AND o.collection = w.collection AND (o.key, o.user_id) > (w.key, w.user_id)
    ORDER BY o.key, o.user_id
    LIMIT w.size
) AS found;

-- name: list_all
-- Everybody's objects after the position (key, owner), hidden ones too: for the server only.
SELECT w.nr, found.*
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::integer[]) WITH ORDINALITY AS w (collection, key, user_id, size, nr)
CROSS JOIN LATERAL (
    SELECT o.collection, o.key, o.user_id::text AS owner, o.value::text, o.version, o.permission_read, o.permission_write,
        o.created_at, o.updated_at
    FROM objects o
    WHERE o.collection = w.collection AND (o.key, o.user_id) > (w.key, w.user_id)
    ORDER BY o.key, o.user_id
    LIMIT w.size
) AS found;

-- name: forget
-- All objects of a player whose account is being deleted.
DELETE FROM objects WHERE user_id = $1::uuid;

-- name: export_objects
-- All objects of a player, those that only the server reads among them.
SELECT json_build_object('collection', collection, 'key', key, 'value', value, 'version', version,
    'permission_read', permission_read, 'permission_write', permission_write,
    'created_at', created_at, 'updated_at', updated_at)::text
FROM objects WHERE user_id = $1::uuid
ORDER BY collection, permission_read, key
LIMIT $2;
