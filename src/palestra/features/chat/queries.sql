-- name: send
-- Messages of a whole batch of senders. One that is there already was stored by an attempt whose answer got lost.
INSERT INTO messages (id, channel_id, code, sender_id, username, content, created_at, updated_at)
SELECT id, channel_id, code, sender_id, username, content::jsonb, sent_at, sent_at
FROM unnest($1::uuid[], $2::text[], $3::smallint[], $4::uuid[], $5::text[], $6::text[], $7::timestamptz[])
    AS t (id, channel_id, code, sender_id, username, content, sent_at)
ON CONFLICT (id) DO NOTHING;

-- name: update
-- New content for a message; the name is the one that the sender has now.
UPDATE messages SET content = $4::text::jsonb, username = $5, updated_at = $6
WHERE id = $1 AND channel_id = $2 AND sender_id = $3
RETURNING id::text, channel_id, code, sender_id::text, username, content::text, created_at, updated_at;

-- name: remove
-- Takes a message out of the history.
DELETE FROM messages WHERE id = $1 AND channel_id = $2 AND sender_id = $3
RETURNING id::text, channel_id, code, sender_id::text, username, content::text, created_at, updated_at;

-- name: list_later
-- Messages of channels behind a position, the nearest first, for a whole batch of readers.
SELECT w.nr, found.*
FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::integer[])
    WITH ORDINALITY AS w (channel_id, created_at, id, size, nr)
CROSS JOIN LATERAL (
    SELECT m.id::text AS message_id, m.channel_id, m.code, m.sender_id::text, m.username, m.content::text, m.created_at,
        m.updated_at
    FROM messages m
    WHERE m.channel_id = w.channel_id AND (m.created_at, m.id) > (w.created_at, w.id)
    ORDER BY m.created_at, m.id
    LIMIT w.size
) AS found;

-- name: list_earlier
-- Messages of channels before a position, the nearest first, for a whole batch of readers.
SELECT w.nr, found.*
FROM unnest($1::text[], $2::timestamptz[], $3::uuid[], $4::integer[])
    WITH ORDINALITY AS w (channel_id, created_at, id, size, nr)
CROSS JOIN LATERAL (
    SELECT m.id::text AS message_id, m.channel_id, m.code, m.sender_id::text, m.username, m.content::text, m.created_at,
        m.updated_at
    FROM messages m
    WHERE m.channel_id = w.channel_id AND (m.created_at, m.id) < (w.created_at, w.id)
    ORDER BY m.created_at DESC, m.id DESC
    LIMIT w.size
) AS found;

-- name: forget
-- Everything that a player whose account is being deleted ever wrote.
DELETE FROM messages WHERE sender_id = $1;

-- name: export_messages
-- All that a player wrote; what others wrote is theirs.
SELECT json_build_object('id', id, 'channel_id', channel_id, 'code', code, 'username', username, 'content', content,
    'created_at', created_at, 'updated_at', updated_at)::text
FROM messages WHERE sender_id = $1::uuid
LIMIT $2;
