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

-- name: forget_entries
-- The same objects in all indexes.
WITH values_gone AS (
    DELETE FROM object_index_values WHERE user_id = $1::uuid
)
DELETE FROM object_index_entries WHERE user_id = $1::uuid;

-- name: export_objects
-- All objects of a player, those that only the server reads among them.
SELECT json_build_object('collection', collection, 'key', key, 'value', value, 'version', version,
    'permission_read', permission_read, 'permission_write', permission_write,
    'created_at', created_at, 'updated_at', updated_at)::text
FROM objects WHERE user_id = $1::uuid
ORDER BY collection, permission_read, key
LIMIT $2;

-- name: declare_indexes
-- Indexes that are to be known from now on.
INSERT INTO object_indexes (id) SELECT * FROM unnest($1::text[]) AS wanted (id) ORDER BY 1 ON CONFLICT (id) DO NOTHING;

-- name: all_indexes
-- plan: whole table, because there are as many rows as games declare indexes, and a node looks at them once at its start.
SELECT id, ready FROM object_indexes;

-- name: index_is_ready
-- Whether an index holds all objects.
SELECT ready FROM object_indexes WHERE id = $1;

-- name: lock_index
-- How far an index is built, held until the end of the transaction: one builder at a time.
SELECT ready, built_key, built_user::text AS built_user, built_rows FROM object_indexes WHERE id = $1 FOR UPDATE;

-- name: objects_to_index
-- The next objects of a collection, held in the order in which they are written.
SELECT key, user_id::text AS owner, value::text, permission_read, permission_write
FROM objects
WHERE collection = $1 AND (key, user_id) > ($2, $3::uuid)
ORDER BY objects.key, objects.user_id
LIMIT $4
FOR SHARE;

-- name: note_progress
-- How far an index is built by now.
UPDATE object_indexes SET built_key = $2, built_user = $3, built_rows = $4, ready = $5 WHERE id = $1;

-- name: entries_to_drop
-- Some objects of an index that is given up.
SELECT key, user_id::text FROM object_index_entries WHERE index_id = $1 ORDER BY key, object_index_entries.user_id LIMIT $2;

-- name: forget_index
-- An index without objects that is given up.
DELETE FROM object_indexes WHERE id = $1;

-- name: take_out
-- Takes objects out of indexes, with what they are found by.
WITH gone AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[]) AS t (index_id, key, user_id)
), values_gone AS (
    DELETE FROM object_index_values v USING gone
    WHERE v.index_id = gone.index_id AND v.key = gone.key AND v.user_id = gone.user_id
)
DELETE FROM object_index_entries e USING gone
WHERE e.index_id = gone.index_id AND e.key = gone.key AND e.user_id = gone.user_id;

-- name: enter
-- Enters objects that are held into indexes which they are not in.
INSERT INTO object_index_entries (index_id, key, user_id, permission_read, fields)
SELECT index_id, key, user_id, permission_read, fields::jsonb
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::smallint[], $5::text[])
    AS t (index_id, key, user_id, permission_read, fields)
ORDER BY index_id, key, user_id;

-- name: enter_values
-- What such objects are found by and sorted by.
INSERT INTO object_index_values (index_id, field, kind, number_value, text_value, key, user_id, sorts)
SELECT * FROM unnest($1::text[], $2::text[], $3::smallint[], $4::double precision[], $5::text[], $6::text[], $7::uuid[],
    $8::boolean[]);

-- name: stretch_lengths
-- How many values lie in stretches of an index, each counted up to a limit.
SELECT (
    SELECT count(*) FROM (
        SELECT FROM object_index_values v
        WHERE v.index_id = $1 AND v.field = w.field AND v.kind = w.kind AND NOT v.sorts
            AND v.number_value BETWEEN w.low AND w.high AND v.text_value BETWEEN w.first AND w.last
        LIMIT $8
    ) AS counted
) AS length
FROM unnest($2::text[], $3::smallint[], $4::double precision[], $5::double precision[], $6::text[], $7::text[])
    WITH ORDINALITY AS w (field, kind, low, high, first, last, nr)
ORDER BY w.nr;

-- name: narrowed
-- The objects of an index that have a value in any of some stretches.
WITH found AS (
    SELECT DISTINCT hit.key, hit.user_id
    FROM unnest($2::text[], $3::smallint[], $4::double precision[], $5::double precision[], $6::text[], $7::text[])
        AS w (field, kind, low, high, first, last)
    CROSS JOIN LATERAL (
        SELECT v.key, v.user_id FROM object_index_values v
        WHERE v.index_id = $1 AND v.field = w.field AND v.kind = w.kind AND NOT v.sorts
            AND v.number_value BETWEEN w.low AND w.high AND v.text_value BETWEEN w.first AND w.last
        LIMIT $8
    ) AS hit
)
SELECT e.key, e.user_id::text, e.permission_read, e.fields::text
FROM found JOIN object_index_entries e ON e.index_id = $1 AND e.key = found.key AND e.user_id = found.user_id;

-- name: walk_up
-- Objects of an index in the order of a field, behind a place.
SELECT v.kind, v.number_value, v.text_value, v.key, v.user_id::text, e.permission_read, e.fields::text
FROM object_index_values v
JOIN object_index_entries e ON e.index_id = v.index_id AND e.key = v.key AND e.user_id = v.user_id
WHERE v.index_id = $1 AND v.field = $2 AND v.sorts
    AND (v.kind, v.number_value, v.text_value, v.key, v.user_id)
        > ($3::smallint, $4::double precision, $5::text, $6::text, $7::uuid)
ORDER BY v.kind, v.number_value, v.text_value, v.key, v.user_id
LIMIT $8;

-- name: walk_down
-- The same downwards.
SELECT v.kind, v.number_value, v.text_value, v.key, v.user_id::text, e.permission_read, e.fields::text
FROM object_index_values v
JOIN object_index_entries e ON e.index_id = v.index_id AND e.key = v.key AND e.user_id = v.user_id
WHERE v.index_id = $1 AND v.field = $2 AND v.sorts
    AND (v.kind, v.number_value, v.text_value, v.key, v.user_id)
        < ($3::smallint, $4::double precision, $5::text, $6::text, $7::uuid)
ORDER BY v.kind DESC, v.number_value DESC, v.text_value DESC, v.key DESC, v.user_id DESC
LIMIT $8;
