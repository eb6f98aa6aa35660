-- name: find_identities
-- The players behind identifiers, for a whole batch of log-ins.
SELECT i.lookup, u.id::text AS user_id, u.username, u.disabled_at IS NOT NULL AS banned, u.password_hash
FROM unnest($1::smallint[], $2::bytea[]) AS wanted (kind, lookup)
JOIN identities i ON i.kind = wanted.kind AND i.lookup = wanted.lookup
JOIN users u ON u.id = i.user_id;

-- name: find_username
-- The player with a name, for log-in by name and password.
SELECT id::text AS user_id, username, disabled_at IS NOT NULL AS banned, password_hash
FROM users WHERE username = $1;

-- name: create_accounts
-- New players with their first identifier, for a whole batch. An identifier that exists already makes nothing; neither
-- does a taken name. Rows go in sorted, so that batches of several nodes wait for each other in one order.
-- An identifier taken by another node in this very moment fails the statement, and with it nothing is kept.
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::bytea[], $5::bytea[], $6::text[])
        AS t (user_id, username, kind, lookup, sealed, password_hash)
), free AS (
    SELECT * FROM input i
    WHERE NOT EXISTS (SELECT FROM identities x WHERE x.kind = i.kind AND x.lookup = i.lookup)
), made AS (
    INSERT INTO users (id, username, password_hash)
    SELECT user_id, username, password_hash FROM free ORDER BY username
    ON CONFLICT DO NOTHING
    RETURNING id
), linked AS (
    INSERT INTO identities (kind, lookup, user_id, sealed)
    SELECT f.kind, f.lookup, f.user_id, f.sealed FROM free f JOIN made m ON m.id = f.user_id ORDER BY f.kind, f.lookup
    RETURNING user_id
)
SELECT i.user_id::text, l.user_id IS NOT NULL AS created, f.user_id IS NULL AS existed
FROM input i LEFT JOIN free f ON f.user_id = i.user_id LEFT JOIN linked l ON l.user_id = i.user_id;

-- name: read_accounts
-- Players with all their identifiers, for a whole batch of readers.
SELECT u.id::text, u.username, u.display_name, u.avatar_url, u.lang_tag, u.location, u.timezone, u.metadata::text,
       u.edge_count, u.created_at, u.updated_at, u.disabled_at, i.kinds, i.lookups, i.sealed
FROM users u
LEFT JOIN LATERAL (
    SELECT array_agg(kind ORDER BY created_at, lookup) AS kinds, array_agg(lookup ORDER BY created_at, lookup) AS lookups,
           array_agg(sealed ORDER BY created_at, lookup) AS sealed
    FROM identities WHERE user_id = u.id
) i ON true
WHERE u.id = ANY($1::uuid[]);

-- name: read_own_accounts
-- Players with all their identifiers and their wallets, for a whole batch of players who look at themselves. Joined
-- to the view, PostgreSQL would add up everybody's wallet first; asked for each player it takes the index.
SELECT u.id::text, u.username, u.display_name, u.avatar_url, u.lang_tag, u.location, u.timezone, u.metadata::text,
       u.edge_count, u.created_at, u.updated_at, u.disabled_at, i.kinds, i.lookups, i.sealed,
       (SELECT wallet::text FROM player_wallets w WHERE w.user_id = u.id)
FROM users u
LEFT JOIN LATERAL (
    SELECT array_agg(kind ORDER BY created_at, lookup) AS kinds, array_agg(lookup ORDER BY created_at, lookup) AS lookups,
           array_agg(sealed ORDER BY created_at, lookup) AS sealed
    FROM identities WHERE user_id = u.id
) i ON true
WHERE u.id = ANY($1::uuid[]);

-- name: read_users
-- Players with their public identifiers, for a whole batch of readers. Times in seconds, as lists show them: what is cut off
-- here need not be cut off of each of some thousand rows later.
SELECT u.id::text, u.username, u.display_name, u.avatar_url, u.lang_tag, u.location, u.timezone, u.metadata::text,
       u.edge_count, date_trunc('second', u.created_at), date_trunc('second', u.updated_at),
       u.disabled_at, i.kinds, i.lookups, i.sealed
FROM users u
LEFT JOIN LATERAL (
    SELECT array_agg(kind ORDER BY created_at, lookup) AS kinds, array_agg(lookup ORDER BY created_at, lookup) AS lookups,
           array_agg(sealed ORDER BY created_at, lookup) AS sealed
    FROM identities WHERE user_id = u.id AND kind = ANY($2::smallint[])
) i ON true
WHERE u.id = ANY($1::uuid[]);

-- name: ids_of_usernames
-- Names to ids, for a whole batch of readers.
SELECT w.nr, u.id::text FROM unnest($1::text[]) WITH ORDINALITY AS w (username, nr) JOIN users u USING (username);

-- name: update_accounts
-- Changes what is given (a flag and a value per column) for a whole batch of players, each at most once; rows are locked in
-- the order of their ids. The time moves only if something really changes.
WITH changes AS (
    SELECT * FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::boolean[], $5::text[], $6::boolean[], $7::text[], $8::boolean[], $9::text[],
        $10::boolean[], $11::text[], $12::boolean[], $13::text[], $14::boolean[], $15::text[])
        AS t (user_id, has_username, username, has_display_name, display_name, has_avatar_url, avatar_url, has_lang_tag, lang_tag,
        has_location, location, has_timezone, timezone, has_metadata, metadata)
), locked AS (
    SELECT id FROM users WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE users u SET
    username = CASE WHEN c.has_username THEN c.username ELSE u.username END,
    display_name = CASE WHEN c.has_display_name THEN c.display_name ELSE u.display_name END,
    avatar_url = CASE WHEN c.has_avatar_url THEN c.avatar_url ELSE u.avatar_url END,
    lang_tag = CASE WHEN c.has_lang_tag THEN c.lang_tag ELSE u.lang_tag END,
    location = CASE WHEN c.has_location THEN c.location ELSE u.location END,
    timezone = CASE WHEN c.has_timezone THEN c.timezone ELSE u.timezone END,
    metadata = CASE WHEN c.has_metadata THEN c.metadata::jsonb ELSE u.metadata END,
    updated_at = now()
FROM changes c JOIN locked l ON l.id = c.user_id
WHERE u.id = c.user_id AND (
    (c.has_username AND u.username IS DISTINCT FROM c.username)
    OR (c.has_display_name AND u.display_name IS DISTINCT FROM c.display_name)
    OR (c.has_avatar_url AND u.avatar_url IS DISTINCT FROM c.avatar_url)
    OR (c.has_lang_tag AND u.lang_tag IS DISTINCT FROM c.lang_tag)
    OR (c.has_location AND u.location IS DISTINCT FROM c.location)
    OR (c.has_timezone AND u.timezone IS DISTINCT FROM c.timezone)
    OR (c.has_metadata AND u.metadata IS DISTINCT FROM c.metadata::jsonb));

-- name: fill_profile
-- Set what a provider tells and the player has not set; a row that has it all is not written.
UPDATE users SET display_name = coalesce(display_name, $2), avatar_url = coalesce(avatar_url, $3), updated_at = now()
WHERE id = $1 AND ((display_name IS NULL AND $2::text IS NOT NULL) OR (avatar_url IS NULL AND $3::text IS NOT NULL));

-- name: add_identity_if_free
-- Attach an identifier to a player unless somebody has it, or the player has another of its kind.
INSERT INTO identities (kind, lookup, user_id, sealed) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: delete_account
-- The player; identifiers and other rows that hang on it go with it.
DELETE FROM users WHERE id = $1;

-- name: set_disabled
-- Ban players, or let them in again.
UPDATE users SET disabled_at = CASE WHEN $2 THEN now() END, updated_at = now() WHERE id = ANY($1::uuid[])
RETURNING id::text;

-- name: add_edges
-- Change edge counters; rows are locked in the order of their ids.
WITH changes AS (
    SELECT * FROM unnest($1::uuid[], $2::integer[]) AS t (user_id, delta)
), locked AS (
    SELECT id FROM users WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE users u SET edge_count = greatest(u.edge_count + c.delta, 0), updated_at = now()
FROM changes c JOIN locked l ON l.id = c.user_id WHERE u.id = c.user_id;

-- name: lock_account
-- One linking at a time per player, and whether the player has a password.
SELECT password_hash IS NOT NULL FROM users WHERE id = $1 FOR UPDATE;

-- name: identities_of
-- The identifiers of a player, by blind index.
SELECT kind, lookup FROM identities WHERE user_id = $1;

-- name: owner_of_identity
-- Whose an identifier is.
SELECT user_id::text FROM identities WHERE kind = $1 AND lookup = $2;

-- name: add_identity
-- Attach an identifier to a player.
INSERT INTO identities (kind, lookup, user_id, sealed) VALUES ($1, $2, $3, $4);

-- name: remove_identity
-- Detach one identifier of a player.
DELETE FROM identities WHERE user_id = $1 AND kind = $2 AND lookup = $3;

-- name: remove_identities_of_kind
-- Detach whatever identifier of a kind a player has.
DELETE FROM identities WHERE user_id = $1 AND kind = $2;

-- name: set_password
-- Set or erase a player's password.
UPDATE users SET password_hash = $2 WHERE id = $1;

-- name: touch
-- A player's identifiers changed.
UPDATE users SET updated_at = now() WHERE id = $1;

-- name: lock_key_ring
-- Until the transaction ends, no other node looks for the key ring.
SELECT pg_advisory_xact_lock(hashtext('key_ring'));

-- name: remember_key_ring
-- The first node to come tells by which key ring the identifiers are found.
INSERT INTO key_ring (only_one, check_value) VALUES (true, $1);

-- name: known_key_ring
-- By which key ring the identifiers are found.
SELECT check_value FROM key_ring WHERE only_one;

-- name: export_in_utc
-- Until the transaction ends, times are told in UTC.
SELECT set_config('TimeZone', 'UTC', true);

-- name: export_account
-- A player's profile.
SELECT json_build_object('id', id, 'username', username, 'display_name', display_name, 'avatar_url', avatar_url,
    'lang_tag', lang_tag, 'location', location, 'timezone', timezone, 'metadata', metadata, 'friends', edge_count,
    'has_password', password_hash IS NOT NULL, 'created_at', created_at, 'updated_at', updated_at,
    'banned_at', disabled_at)::text
FROM users WHERE id = $1::uuid
LIMIT $2;
